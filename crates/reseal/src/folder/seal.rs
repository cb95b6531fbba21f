//! Sealing a mounted folder: the same steps as on a disk, committed file by file.

use super::commit::commit;
use super::work::Work;
use super::{FolderImage, FolderTree, PROMISES};
use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{InPlace, Observer, Plan, Report};
use crate::image::DiskFacts;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::staging::{Around, Staged, strict};
use crate::volume_state::VolumeState;

/// A plan for a folder.
#[derive(Debug)]
pub(crate) struct FolderPlanned {
    tree: FolderTree,
    work: Work,
    plan: Plan,
}

impl FolderPlanned {
    /// Plans to seal the installation in the folder.
    pub(crate) fn new(
        image: FolderImage,
        options: &Options,
        inputs: &Inputs,
        observer: &dyn Observer,
    ) -> Result<FolderPlanned> {
        let path = image.path().display().to_string();
        let run = || -> Result<FolderPlanned> {
            only_for_disks(options)?;
            if !image.has_windows()? {
                return Err(image.no_windows());
            }
            image.need_descriptors()?;
            seal(image, options, inputs, observer)
        };
        run().within(path)
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A folder has no copy that could be written instead.
    pub(crate) fn refuse_output(&self) -> Error {
        Error::new(Kind::Usage, "a mounted folder is changed where it lies: there is no new image to write")
            .hint("use `--in-place`, or unmount it and give the disk or WIM itself with `-o`")
            .subject(self.tree.host.path.display().to_string())
    }

    /// Changes the files, after everything that is there was kept.
    pub(crate) fn commit_in_place(self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        let path = self.tree.host.path.clone();
        let journal = commit(&self.tree, &self.work, how, observer).within(path.display())?;
        Ok(Report {
            schema: "reseal.report/1",
            output: path,
            method: "files",
            written_bytes: self.work.bytes(),
            journal_bytes: journal,
            plan: self.plan,
            more: Vec::new(),
        })
    }
}

fn seal(image: FolderImage, options: &Options, inputs: &Inputs, observer: &dyn Observer) -> Result<FolderPlanned> {
    let path = image.path().display().to_string();
    let FolderImage { mut tree } = image;
    let state = VolumeState::clean(FolderImage::place());
    let (disk, mut boot) = (DiskFacts::none(), BootStores::default());
    let around = Around { state: &state, disk: &disk, boot: &mut boot };
    let mut staged = Staged::run(&mut tree, around, options, inputs, observer)?;
    let hives_written = staged.hives.store(&mut tree, inputs.now())?;
    observer.phase("self-check");
    staged.check_invariants(&tree, options)?;
    staged.hives.read_back(&tree)?;
    let work = Work::of(&tree)?;
    work.refuse_strays(&staged)?;
    strict(options, &staged.findings)?;
    let mut plan = staged.into_plan(path, state.place.clone(), options);
    plan.hives_written = hives_written;
    plan.changed_bytes = work.bytes();
    if !work.is_empty() {
        plan.notes.extend(PROMISES.map(str::to_owned));
        if !tree.mount.has_streams {
            plan.notes.push(
                "this mount hides named streams: those of files that are removed cannot be brought back by `recover`"
                    .to_owned(),
            );
        }
    }
    Ok(FolderPlanned { tree, work, plan })
}

/// Options that mean something on a disk only.
fn only_for_disks(options: &Options) -> Result<()> {
    let asked = [
        (options.schedule_chkdsk, "--schedule-chkdsk"),
        (options.drop_snapshots, "--drop-snapshots"),
        (options.scrub, "--scrub"),
        (options.generalize_boot, "--boot generalize"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, option)) => Err(Error::new(
            Kind::Usage,
            format!("{option} is for disks; a mounted folder does not show the volume's own"),
        )
        .hint("unmount it, and give the disk itself")),
        None => Ok(()),
    }
}
