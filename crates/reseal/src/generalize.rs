//! The main job: guards, steps, self-checks; a plan that can be dropped (the dry run) or committed.

use crate::boot_store::{BootStores, StoresWritten};
use crate::error::{Error, Kind, Result, Within};
use crate::guards::{self, Refusal, Subject};
use crate::hives::HiveSet;
use crate::image::{Image, Windows};
use crate::inputs::Inputs;
use crate::ntfs_tree::NtfsTree;
use crate::options::Options;
use crate::rules::recipe::RecipeEntry;
use crate::session::Session;
use crate::steps::STEPS;
use crate::tree::{NodeId, Tree};
use crate::{Change, Facts, SidOutcome, StepOutcome, invariants, leaving, scrub, stray_hives, strays, unwiped};
use reseal_disk::Partition;
use reseal_dtyp::{DomainSid, Finding, Guid, Level};
use reseal_sid::SidMap;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Told how far a long run has come.
pub trait Observer: Sync {
    /// A phase begins.
    fn phase(&self, name: &str) {
        let _ = name;
    }
    /// Bytes done of bytes in all, within a phase.
    fn bytes(&self, done: u64, total: u64) {
        let _ = (done, total);
    }
}

/// An observer that does not look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// What would be done, or was done.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Version of this document.
    pub schema: &'static str,
    /// The image.
    pub image: String,
    /// Where Windows lies.
    pub partition: String,
    /// What the installation says of itself.
    pub facts: Facts,
    /// Guards that would refuse and were allowed.
    pub allowed: Vec<Refusal>,
    /// Each step's outcome.
    pub steps: Vec<StepOutcome>,
    /// Every change.
    pub changes: Vec<Change>,
    /// What became of each thing that the image's own recipe wants.
    pub recipe: Vec<RecipeEntry>,
    /// What was noticed.
    pub findings: Vec<ShownFinding>,
    /// What checks say that is worth knowing and never counts.
    pub notes: Vec<String>,
    /// The machine SID, when it was replaced.
    pub sid: Option<SidOutcome>,
    /// Hives that are written.
    pub hives_written: usize,
    /// Bytes of the image file that change, in pages of 4 KiB.
    pub changed_bytes: u64,
    /// Without `--scrub`: where remains of what was deleted earlier may lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwiped: Option<unwiped::Unwiped>,
    /// What only a real Windows can confirm, by step.
    pub unproven: Vec<String>,
}

/// A finding for people and JSON.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ShownFinding {
    /// note, inconsistent or damage.
    pub level: String,
    /// Rule.
    pub id: &'static str,
    /// Where.
    pub place: String,
    /// What.
    pub detail: String,
}

impl From<Finding> for ShownFinding {
    fn from(f: Finding) -> ShownFinding {
        ShownFinding { level: f.level.to_string(), id: f.id, place: f.place, detail: f.detail }
    }
}

/// A plan with everything that is needed to commit it. Dropping it is the dry run.
#[derive(Debug)]
pub struct Planned {
    pub(crate) image: Image,
    inputs: Inputs,
    plan: Plan,
    pub(crate) partition: Partition,
    written: Written,
    /// Whether what belongs to nothing is wiped.
    scrub: bool,
}

/// What is written besides what the changes name.
#[derive(Debug)]
struct Written {
    /// Paths of the hives on the volume.
    hives: Vec<String>,
    /// What they are, where the guard looks into them.
    staged: Vec<stray_hives::StagedHive>,
    /// Boot stores on other partitions.
    stores: StoresWritten,
}

impl Written {
    fn of(hives: &HiveSet, stores: StoresWritten, options: &Options) -> Written {
        Written {
            hives: hives.files.iter().filter(|file| file.edited).map(|file| file.path.clone()).collect(),
            staged: if options.scrub { stray_hives::staged(hives) } else { Vec::new() },
            stores,
        }
    }
}

/// How to commit in place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InPlace<'a> {
    /// Folder of the journal; beside the image when not given. A block device needs one, on a medium that keeps it.
    pub journal_folder: Option<&'a Path>,
    /// Keep what stood there before, for [`crate::Recovery::undo`].
    pub keep_undo: bool,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Version of this document.
    pub schema: &'static str,
    /// The new image.
    pub output: PathBuf,
    /// reflink, copy or in-place.
    pub method: &'static str,
    /// Changed bytes written.
    pub written_bytes: u64,
    /// Length of the journal of a commit in place.
    pub journal_bytes: u64,
    /// What was done.
    pub plan: Plan,
}

/// Plans to generalize the image. `Refused` when a guard refuses, with all guards that do.
pub fn plan(image: Image, options: &Options, inputs: &Inputs, observer: &dyn Observer) -> Result<Planned> {
    options.check()?;
    let path = image.path().display().to_string();
    let run = || -> Result<(Plan, Partition, Written)> {
        let windows = image.one_windows(options.installation)?;
        let (place, partition) = (windows.state.place.clone(), windows.partition.clone());
        let (plan, written) = stage(&image, windows, options, inputs, observer).within(place)?;
        Ok((plan, partition, written))
    };
    let (plan, partition, written) = run().within(path)?;
    Ok(Planned { image, inputs: *inputs, plan, partition, written, scrub: options.scrub })
}

/// Everything between opening and the finished overlay.
fn stage(
    image: &Image,
    windows: Windows,
    options: &Options,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<(Plan, Written)> {
    let Windows { partition, mut tree, state } = windows;
    observer.phase("reading");
    let roots = roots(&tree)?;
    let (hives, survey) = rayon::join(|| HiveSet::load(&tree, &roots), || tree.survey());
    let (mut hives, mut survey) = (hives?, survey?);
    let facts = Facts::read(&hives)?;
    let disk = &image.disk_facts(&partition)?;
    let mut stores = BootStores::find(image, Some(&partition))?;
    let (boot, volume, answer) = (&stores, &state, options.unattend.as_deref());
    let leaving = &leaving::users(options, &facts)?;
    let subject =
        Subject { facts: &facts, hives: &hives, tree: &tree, volume, survey: &survey, disk, boot, answer, leaving };
    let (checked, refusals) = guards::preflight(&subject, options)?;
    observer.phase("checking");
    let mut findings = std::mem::take(&mut hives.findings);
    findings.extend(sound(std::mem::take(&mut survey.findings), "before")?);
    findings.extend(checked.iter().flat_map(|check| check.findings(options)));
    let broken_before = invariants::broken(&hives, &tree)?;
    let fixed = invariants::untouchable(&hives)?;
    let free = tree.volume.free_map()?;

    observer.phase("staging");
    let mut staged = Staged::default();
    let mut session = Session {
        spec: STEPS[0].spec(),
        facts: &facts,
        options,
        inputs,
        hives: &mut hives,
        boot: &mut stores,
        disk,
        tree: &mut tree,
        survey: &survey,
        changes: &mut staged.changes,
        findings: &mut findings,
        recipe: &mut staged.recipe,
        in_rule: false,
        sid: &mut staged.sid,
    };
    staged.steps = run_steps(&mut session)?;
    findings.extend(hives.self_check(&tree)?);
    let stores = stores.write(image, inputs.now(), &mut findings)?;
    let hives_written = hives.store(&mut tree, inputs.now())? + stores.hives();
    scrub::volume(options, observer, &mut tree, (&mut staged.changes, &mut staged.steps), &mut findings)?;

    observer.phase("self-check");
    findings.extend(compare_invariants(broken_before, invariants::broken(&hives, &tree)?)?);
    let kept = invariants::is_untouched(&fixed, &invariants::untouchable(&hives)?, options.leave_domain);
    refuse_unless(kept, "the boot key or the start of a service changed")?;
    if hives_written > 0 || !staged.changes.is_empty() {
        read_back(image, &partition, &tree, &hives)?;
    }
    strict(options, &findings)?;
    let plan = Plan {
        schema: "reseal.plan/1",
        image: image.path().display().to_string(),
        partition: state.place,
        allowed: refusals,
        unproven: unproven(&staged.steps),
        facts,
        steps: staged.steps,
        changes: staged.changes,
        recipe: staged.recipe,
        findings: shown(findings),
        notes: checked.iter().flat_map(|check| check.notes(options)).collect(),
        sid: staged.sid,
        hives_written,
        changed_bytes: image.disk.changed_bytes()?,
        unwiped: unwiped::of(options, &tree.volume, &free)?,
    };
    Ok((plan, Written::of(&hives, stores, options)))
}

/// Every step that runs, in order.
fn run_steps(session: &mut Session<'_>) -> Result<Vec<StepOutcome>> {
    let (options, is_server) = (session.options, session.facts.is_server());
    let mut out = Vec::new();
    for step in STEPS.iter().filter(|step| options.runs(step.spec(), is_server)) {
        let (spec, before) = (step.spec(), session.changes.len());
        session.spec = spec;
        session.in_rule = false;
        let note = step.stage(session).within(format!("step {}", spec.id))?;
        let changes = session.changes.len() - before;
        out.push(StepOutcome { id: spec.id, changes, note, evidence: spec.evidence });
    }
    Ok(out)
}

/// What must hold whatever the steps do.
fn refuse_unless(holds: bool, else_what: &str) -> Result<()> {
    let defect = || Error::new(Kind::Internal, else_what).hint("this is a defect of reseal; nothing was written");
    if holds { Ok(()) } else { Err(defect()) }
}

/// What the steps have left.
#[derive(Debug, Default)]
struct Staged {
    changes: Vec<Change>,
    steps: Vec<StepOutcome>,
    recipe: Vec<RecipeEntry>,
    sid: Option<SidOutcome>,
}

pub(crate) fn shown(findings: Vec<Finding>) -> Vec<ShownFinding> {
    let mut shown: Vec<ShownFinding> = findings.into_iter().map(ShownFinding::from).collect();
    shown.sort();
    shown.dedup();
    shown
}

/// What only a real Windows can confirm about the steps that change something.
fn unproven(steps: &[StepOutcome]) -> Vec<String> {
    let changed = |id| steps.iter().any(|outcome| outcome.id == id && outcome.changes > 0);
    let specs = STEPS.iter().map(|step| step.spec());
    let open = specs.filter(|spec| changed(spec.id) && !spec.unproven.is_empty());
    open.map(|spec| format!("{}: {}", spec.id, spec.unproven)).collect()
}

/// The volume's root, and the former installation that an upgrade left behind.
pub(crate) fn roots(tree: &dyn Tree) -> Result<Vec<(NodeId, String)>> {
    let root = tree.root();
    let mut out = vec![(root, String::new())];
    if let Some(old) = tree.resolve(root, "Windows.old")? {
        out.push((old, r"\Windows.old".to_owned()));
    }
    Ok(out)
}

/// Damage refuses, notes are passed on.
pub(crate) fn sound(mut findings: Vec<Finding>, when: &str) -> Result<Vec<Finding>> {
    // The state of the volume is the guard's to judge: whoever allowed it knows.
    findings.retain(|f| f.id != "volume-dirty" && f.id != "log-not-clean");
    let damage: Vec<&Finding> = findings.iter().filter(|f| f.level > Level::Note).collect();
    match damage.first() {
        None => Ok(findings),
        Some(first) => Err(Error::new(
            Kind::Damaged,
            format!("the volume does not pass its check {when} the change: {first} ({} findings)", damage.len()),
        )
        .hint("`reseal fs check IMAGE` lists all findings; in Windows run `chkdsk C: /f`; nothing was written")),
    }
}

/// What was broken before is passed on as a finding; what staging broke is a defect.
pub(crate) fn compare_invariants(before: Vec<Finding>, after: Vec<Finding>) -> Result<Vec<Finding>> {
    if let Some(new) = after.iter().find(|finding| !before.contains(finding)) {
        return Err(Error::new(Kind::Internal, format!("the sealed image would not work: {new}"))
            .hint("this is a defect of reseal; nothing was written"));
    }
    Ok(after)
}

/// Opens the staged volume anew, checks it, and reads every written hive as Windows would.
pub(crate) fn read_back(
    image: &Image,
    partition: &reseal_disk::Partition,
    staged: &NtfsTree,
    hives: &HiveSet,
) -> Result<()> {
    let tree = NtfsTree { volume: image.volume(partition)? };
    let touched = staged.volume.touched();
    let (checked, read) = rayon::join(|| tree.volume.recheck(&touched), || hives.read_back(&tree));
    sound(checked?, "after")?;
    read
}

fn strict(options: &Options, findings: &[Finding]) -> Result<()> {
    match findings.first() {
        Some(first) if options.strict => {
            Err(Error::new(Kind::Refused, format!("--strict: {first} ({} findings)", findings.len()))
                .hint("without --strict findings are reported only"))
        }
        _ => Ok(()),
    }
}

/// A SID of the report.
fn parsed(sid: &str) -> Result<DomainSid> {
    sid.parse().map_err(|e: reseal_dtyp::Error| e.into())
}

impl Planned {
    /// What would be done.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.plan.changes.is_empty() && self.plan.hives_written == 0
    }

    /// Writes the sealed image to a new file. Before its last act, a rename, there is no file of that name; after it, the
    /// whole new image.
    pub fn commit_to(self, out: &Path, observer: &dyn Observer) -> Result<Report> {
        self.refuse_strays(observer)?;
        let guids = self.write_guids();
        observer.phase("writing");
        let done =
            self.image.disk.commit_to(out, guids, &|done, total| observer.bytes(done, total)).within(out.display())?;
        let method = match done.method {
            reseal_disk::CopyMethod::Reflink => "reflink",
            reseal_disk::CopyMethod::Copy => "copy",
        };
        Ok(Report {
            schema: "reseal.report/1",
            output: done.path,
            method,
            written_bytes: done.changed_bytes,
            journal_bytes: 0,
            plan: self.plan,
        })
    }

    /// Writes the sealed image over the old one, which must be open for writing. Killed at any instant, or without power, it
    /// is the old image or, after [`crate::recover`], the new one.
    ///
    /// `Interrupted` when the image needs a recovery; after every other error it is untouched.
    pub fn commit_in_place(self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        self.refuse_strays(observer)?;
        let guids = self.write_guids();
        observer.phase("writing");
        let path = self.image.path().to_owned();
        let volumes = self.written.stores.systems.iter().map(|system| &system.partition).chain([&self.partition]);
        let marks: Vec<u64> = volumes.map(Image::mark_of).collect();
        let how = reseal_disk::InPlace { marks: &marks, journal_folder: how.journal_folder, keep_undo: how.keep_undo };
        let written = self
            .image
            .disk
            .commit_in_place(how, guids, &|done, total| observer.bytes(done, total))
            .within(path.display())?;
        Ok(Report {
            schema: "reseal.report/1",
            output: path,
            method: "in-place",
            written_bytes: written.changed,
            journal_bytes: written.journal,
            plan: self.plan,
        })
    }

    /// The last look before the image is written.
    fn refuse_strays(&self, observer: &dyn Observer) -> Result<()> {
        observer.phase("guard");
        let sids = match &self.plan.sid {
            None => None,
            Some(sid) => Some(SidMap::new([(parsed(&sid.old)?, parsed(&sid.new)?)])?),
        };
        let planned = strays::Planned {
            changes: &self.plan.changes,
            hives: &self.written.hives,
            staged: &self.written.staged,
            stores: &self.written.stores.on_fat,
            systems: &self.written.stores.systems,
            sids: sids.as_ref(),
            scrub: self.scrub,
        };
        strays::refuse(&self.image, &self.partition, &planned).within(self.image.path().display())
    }

    /// New identifiers for a container that has such.
    fn write_guids(&self) -> [Guid; 2] {
        let label = self.plan.facts.machine_sid.map(|sid| sid.to_string()).unwrap_or_default();
        let mut stream = self.inputs.stream(&[b"vhdx-write-guids", label.as_bytes()]);
        [stream.guid(), stream.guid()]
    }
}
