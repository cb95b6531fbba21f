//! Sealing images of a WIM: the same steps as on a disk, committed by appending or by writing the file anew.

use super::commit::WimCommit;
use super::description::Counts;
use super::guard;
use super::images::WimImages;
use super::tree::WimTree;
use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{InPlace, Observer, Plan, Report};
use crate::image::DiskFacts;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::staging::{Around, Staged, strict};
use crate::tree::Tree;
use crate::volume_state::VolumeState;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plan for images of a WIM.
#[derive(Debug)]
pub(crate) struct WimPlanned {
    commit: WimCommit,
    plans: Vec<Plan>,
}

impl WimPlanned {
    /// Plans every image that is meant. `Refused` when a guard refuses one of them; nothing is written to any then.
    pub(crate) fn new(
        images: WimImages,
        options: &Options,
        inputs: &Inputs,
        observer: &dyn Observer,
    ) -> Result<WimPlanned> {
        let path = images.path().display().to_string();
        let (mut plans, mut changed) = (Vec::new(), Vec::new());
        let mut run = || -> Result<()> {
            only_for_disks(options)?;
            for (index, tree) in windows(&images)? {
                // Images of one machine must not get one SID.
                let own = if plans.is_empty() { *inputs } else { inputs.for_further(index) };
                let (tree, plan) = seal(&images, index, tree, options, &own, observer)?;
                plans.push(plan);
                changed.push((index, tree));
            }
            Ok(())
        };
        run().within(path)?;
        let guid = inputs.stream(&[b"wim-guid", &images.wim().header().guid.0]).guid();
        let kept = images.file.numbers();
        let commit = WimCommit { images, kept, changed, storage: options.wim_storage, guid, now: inputs.now() };
        Ok(WimPlanned { commit, plans })
    }

    pub(crate) fn plans(&self) -> Vec<&Plan> {
        self.plans.iter().collect()
    }

    /// Writes a new WIM with all images, those that are meant sealed.
    pub(crate) fn commit_to(self, out: &Path, observer: &dyn Observer) -> Result<Report> {
        let written = self.commit.write_to(out, observer)?;
        report(self.plans, out.to_owned(), "rebuilt", written)
    }

    /// Appends what changed.
    pub(crate) fn commit_in_place(self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        if how.keep_undo || how.journal_folder.is_some() {
            return Err(Error::new(
                Kind::Usage,
                "a WIM is changed by appending: there is no journal, and no undo file",
            )
            .hint("keep a copy of the file, or write a new one with `-o`"));
        }
        let path = self.commit.images.path().to_owned();
        let written = self.commit.append(observer)?;
        report(self.plans, path, "appended", written)
    }
}

fn report(plans: Vec<Plan>, output: PathBuf, method: &'static str, written_bytes: u64) -> Result<Report> {
    let mut plans = plans.into_iter();
    let none = || Error::new(Kind::Internal, "a plan without an image").hint("this is a defect of reseal");
    let plan = plans.next().ok_or_else(none)?;
    let more = plans.collect();
    Ok(Report { schema: "reseal.report/1", output, method, written_bytes, journal_bytes: 0, plan, more })
}

/// Options that mean something on a disk only.
fn only_for_disks(options: &Options) -> Result<()> {
    let asked = [
        (options.schedule_chkdsk, "--schedule-chkdsk"),
        (options.drop_snapshots, "--drop-snapshots"),
        (options.scrub, "--scrub"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, option)) => {
            Err(Error::new(Kind::Usage, format!("{option} is for volumes; an image of a WIM is none"))
                .hint("a WIM that is written anew, with `-o`, holds nothing of what was removed"))
        }
        None => Ok(()),
    }
}

/// The images that are meant, each of which must be a Windows unless all are meant.
fn windows(images: &WimImages) -> Result<Vec<(u32, WimTree)>> {
    let meant = images.meant()?;
    let several = meant.len() > 1;
    let mut out = Vec::new();
    for index in meant {
        let tree = WimTree::open(Arc::clone(images.wim()), index).within(WimImages::place(index))?;
        if tree.has_windows()? {
            out.push((index, tree));
        } else if !several {
            return Err(images.no_windows());
        }
    }
    if out.is_empty() { Err(images.no_windows()) } else { Ok(out) }
}

fn seal(
    images: &WimImages,
    index: u32,
    mut tree: WimTree,
    options: &Options,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<(WimTree, Plan)> {
    let place = WimImages::place(index);
    let run = || -> Result<(WimTree, Plan)> {
        let original = tree.clone();
        let state = VolumeState::clean(place.clone());
        let (disk, mut boot) = (DiskFacts::none(), BootStores::default());
        let around = Around { state: &state, disk: &disk, boot: &mut boot };
        let mut staged = Staged::run(&mut tree, around, options, inputs, observer)?;
        let hives_written = staged.hives.store(&mut tree, inputs.now())?;
        observer.phase("self-check");
        staged.check_invariants(&tree, options)?;
        let mut written = 0;
        if tree.is_changed {
            let guarded = || -> Result<Vec<u8>> {
                let metadata = tree.image.to_metadata()?;
                guard::refuse(&original, &tree.as_written(&metadata)?, &staged)?;
                Ok(metadata)
            };
            let (back, metadata) = rayon::join(|| staged.hives.read_back(&tree), guarded);
            back?;
            let metadata = metadata?;
            written = tree.new_bytes() + metadata.len() as u64;
            tree.keep_metadata(metadata);
        }
        strict(options, &staged.findings)?;
        let mut plan = staged.into_plan(images.path().display().to_string(), state.place.clone(), options);
        plan.hives_written = hives_written;
        plan.changed_bytes = written;
        Ok((tree, plan))
    };
    run().within(&place)
}

impl WimTree {
    /// Whether it is an installation.
    pub(crate) fn has_windows(&self) -> Result<bool> {
        let tree: &dyn Tree = self;
        Ok(tree.resolve(tree.root(), r"Windows\System32\config\SYSTEM")?.is_some())
    }

    /// Bytes of contents that are new and named.
    pub(crate) fn new_bytes(&self) -> u64 {
        let named = self.image.references();
        self.new
            .iter()
            .filter(|(hash, _)| named.contains_key(*hash))
            .map(|(_, content)| content.bytes.len() as u64)
            .sum()
    }

    /// What the XML data says of the image.
    pub(crate) fn counts(&self) -> Result<Counts> {
        Counts::of(&self.image, |stream| Ok(self.size_of(stream)?))
    }
}
