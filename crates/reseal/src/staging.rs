//! The part of a plan that does not depend on what holds the files: guards, steps, self-checks.

use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{Observer, Plan, ShownFinding};
use crate::guards::{self, Checked, Refusal, Subject};
use crate::hives::HiveSet;
use crate::image::DiskFacts;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::rules::recipe::RecipeEntry;
use crate::session::Session;
use crate::steps::STEPS;
use crate::tree::{NodeId, Tree, TreeEdit};
use crate::volume_state::VolumeState;
use crate::{Change, Facts, SidOutcome, StepOutcome, invariants, leaving};
use reseal_dtyp::{Finding, Level};

/// What lies around an installation.
pub(crate) struct Around<'a> {
    pub(crate) state: &'a VolumeState,
    pub(crate) disk: &'a DiskFacts,
    pub(crate) boot: &'a mut BootStores,
}

/// An installation after all steps: its files are changed in the tree, its hives not yet put back.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) hives: HiveSet,
    pub(crate) changes: Vec<Change>,
    pub(crate) steps: Vec<StepOutcome>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) facts: Facts,
    checked: Vec<Checked>,
    allowed: Vec<Refusal>,
    recipe: Vec<RecipeEntry>,
    pub(crate) sid: Option<SidOutcome>,
    broken_before: Vec<Finding>,
    untouchable: invariants::Untouchable,
}

impl Staged {
    /// Reads the installation, asks the guards and runs the steps. `Refused` with all guards that refuse.
    pub(crate) fn run<T: TreeEdit>(
        tree: &mut T,
        around: Around<'_>,
        options: &Options,
        inputs: &Inputs,
        observer: &dyn Observer,
    ) -> Result<Staged> {
        observer.phase("reading");
        let roots = roots(tree)?;
        let (hives, survey) = rayon::join(|| HiveSet::load(tree, &roots), || tree.survey());
        let (mut hives, mut survey) = (hives?, survey?);
        let facts = Facts::read(&hives)?;
        let Around { state: volume, disk, boot } = around;
        let answer = options.unattend.as_deref();
        let leaving = &leaving::users(options, &facts)?;
        let subject =
            Subject { facts: &facts, hives: &hives, tree, volume, survey: &survey, disk, boot, answer, leaving };
        let (checked, allowed) = guards::preflight(&subject, options)?;
        observer.phase("checking");
        let mut findings = std::mem::take(&mut hives.findings);
        findings.extend(sound(std::mem::take(&mut survey.findings), "before")?);
        findings.extend(checked.iter().flat_map(|check| check.findings(options)));
        let broken_before = invariants::broken(&hives, tree)?;
        let untouchable = invariants::untouchable(&hives)?;

        observer.phase("staging");
        let (mut changes, mut recipe, mut sid) = (Vec::new(), Vec::new(), None);
        let mut session = Session {
            spec: STEPS[0].spec(),
            facts: &facts,
            options,
            inputs,
            hives: &mut hives,
            boot,
            disk,
            tree,
            survey: &survey,
            changes: &mut changes,
            findings: &mut findings,
            recipe: &mut recipe,
            in_rule: false,
            sid: &mut sid,
        };
        let steps = run_steps(&mut session)?;
        findings.extend(hives.self_check(tree)?);
        Ok(Staged { hives, changes, steps, findings, facts, checked, allowed, recipe, sid, broken_before, untouchable })
    }

    /// What others than steps have staged, as the guards against stray changes want to know it.
    pub(crate) fn of_changes(hives: HiveSet, changes: Vec<Change>, facts: Facts) -> Staged {
        Staged {
            hives,
            changes,
            facts,
            steps: Vec::new(),
            findings: Vec::new(),
            checked: Vec::new(),
            allowed: Vec::new(),
            recipe: Vec::new(),
            sid: None,
            broken_before: Vec::new(),
            untouchable: invariants::Untouchable::default(),
        }
    }

    /// What staging broke is a defect.
    pub(crate) fn check_invariants(&mut self, tree: &dyn Tree, options: &Options) -> Result<()> {
        let before = std::mem::take(&mut self.broken_before);
        self.findings.extend(compare_invariants(before, invariants::broken(&self.hives, tree)?)?);
        let now = invariants::untouchable(&self.hives)?;
        let kept = invariants::is_untouched(&self.untouchable, &now, options.leave_domain);
        refuse_unless(kept, "the boot key or the start of a service changed")
    }

    /// The plan, but for what depends on the medium: hives and bytes that are written, space that nobody wiped.
    pub(crate) fn into_plan(self, image: String, partition: String, options: &Options) -> Plan {
        Plan {
            schema: "reseal.plan/1",
            image,
            partition,
            allowed: self.allowed,
            unproven: unproven(&self.steps),
            facts: self.facts,
            steps: self.steps,
            changes: self.changes,
            recipe: self.recipe,
            findings: shown(self.findings),
            notes: self.checked.iter().flat_map(|check| check.notes(options)).collect(),
            sid: self.sid,
            hives_written: 0,
            changed_bytes: 0,
            unwiped: None,
        }
    }
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

/// `Refused` under `--strict` when anything was noticed.
pub(crate) fn strict(options: &Options, findings: &[Finding]) -> Result<()> {
    match findings.first() {
        Some(first) if options.strict => {
            Err(Error::new(Kind::Refused, format!("--strict: {first} ({} findings)", findings.len()))
                .hint("without --strict findings are reported only"))
        }
        _ => Ok(()),
    }
}
