//! The main job on a disk: guards, steps, self-checks; a plan that can be dropped (the dry run) or committed.

use crate::boot_store::{BootStores, StoresWritten};
use crate::error::{Result, Within};
use crate::guards::Refusal;
use crate::hives::HiveSet;
use crate::image::{DiskImage, Windows};
use crate::inputs::Inputs;
use crate::ntfs_tree::NtfsTree;
use crate::options::Options;
use crate::rules::recipe::RecipeEntry;
use crate::staging::{Around, Staged, sound, strict};
use crate::{Change, Facts, SidOutcome, StepOutcome, scrub, stray_hives, strays, unwiped};
use reseal_disk::Partition;
use reseal_dtyp::{Finding, Guid};
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

/// A plan for a disk with everything that is needed to commit it.
#[derive(Debug)]
pub(crate) struct DiskPlanned {
    pub(crate) image: DiskImage,
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
    /// What was done with further images of the same file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Plan>,
}

/// Plans to generalize the installation of a disk.
pub(crate) fn plan_disk(
    image: DiskImage,
    options: &Options,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<DiskPlanned> {
    let path = image.path().display().to_string();
    let run = || -> Result<(Plan, Partition, Written)> {
        let windows = image.one_windows(options.installation)?;
        let (place, partition) = (windows.state.place.clone(), windows.partition.clone());
        let (plan, written) = stage(&image, windows, options, inputs, observer).within(place)?;
        Ok((plan, partition, written))
    };
    let (plan, partition, written) = run().within(path)?;
    Ok(DiskPlanned { image, inputs: *inputs, plan, partition, written, scrub: options.scrub })
}

/// Everything between opening and the finished overlay.
fn stage(
    image: &DiskImage,
    windows: Windows,
    options: &Options,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<(Plan, Written)> {
    let Windows { partition, mut tree, state } = windows;
    let free = tree.volume.free_map()?;
    let mut stores = BootStores::find(image, Some(&partition))?;
    let disk = &image.disk_facts(&partition)?;
    let around = Around { state: &state, disk, boot: &mut stores };
    let mut staged = Staged::run(&mut tree, around, options, inputs, observer)?;
    let stores = stores.write(image, inputs.now(), &mut staged.findings)?;
    let hives_written = staged.hives.store(&mut tree, inputs.now())? + stores.hives();
    scrub::volume(options, observer, &mut tree, (&mut staged.changes, &mut staged.steps), &mut staged.findings)?;

    observer.phase("self-check");
    staged.check_invariants(&tree, options)?;
    if hives_written > 0 || !staged.changes.is_empty() {
        read_back(image, &partition, &tree, &staged.hives)?;
    }
    strict(options, &staged.findings)?;
    let written = Written::of(&staged.hives, stores, options);
    let mut plan = staged.into_plan(image.path().display().to_string(), state.place, options);
    plan.hives_written = hives_written;
    plan.changed_bytes = image.disk.changed_bytes()?;
    plan.unwiped = unwiped::of(options, &tree.volume, &free)?;
    Ok((plan, written))
}

/// Opens the staged volume anew, checks it, and reads every written hive as Windows would.
pub(crate) fn read_back(
    image: &DiskImage,
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

/// A SID of the report.
impl DiskPlanned {
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Writes the sealed image to a new file. Before its last act, a rename, there is no file of that name; after it, the
    /// whole new image.
    pub(crate) fn commit_to(self, out: &Path, observer: &dyn Observer) -> Result<Report> {
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
            more: Vec::new(),
        })
    }

    /// Writes the sealed image over the old one, which must be open for writing. Killed at any instant, or without power, it
    /// is the old image or, after [`crate::recover`], the new one.
    ///
    /// `Interrupted` when the image needs a recovery; after every other error it is untouched.
    pub(crate) fn commit_in_place(self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        self.refuse_strays(observer)?;
        let guids = self.write_guids();
        observer.phase("writing");
        let path = self.image.path().to_owned();
        let volumes = self.written.stores.systems.iter().map(|system| &system.partition).chain([&self.partition]);
        let marks: Vec<u64> = volumes.map(DiskImage::mark_of).collect();
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
            more: Vec::new(),
        })
    }

    /// The last look before the image is written.
    fn refuse_strays(&self, observer: &dyn Observer) -> Result<()> {
        observer.phase("guard");
        let sids = self.plan.sid.as_ref().map(SidOutcome::map).transpose()?;
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
