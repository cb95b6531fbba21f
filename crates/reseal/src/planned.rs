//! A plan for an image, whatever it lies in.

use crate::error::Result;
use crate::folder::FolderPlanned;
use crate::generalize::{self, DiskPlanned, InPlace, Observer, Plan, Report};
use crate::image::{Image, Medium};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::wim::WimPlanned;
use std::path::Path;

/// A plan with everything that is needed to commit it. Dropping it is the dry run.
#[derive(Debug)]
pub struct Planned(Kind);

#[derive(Debug)]
enum Kind {
    Disk(Box<DiskPlanned>),
    Wim(Box<WimPlanned>),
    Folder(Box<FolderPlanned>),
}

/// Plans to generalize the image. `Refused` when a guard refuses, with all guards that do.
pub fn plan(image: Image, options: &Options, inputs: &Inputs, observer: &dyn Observer) -> Result<Planned> {
    options.check()?;
    Ok(Planned(match image.0 {
        Medium::Disk(disk) => Kind::Disk(Box::new(generalize::plan_disk(*disk, options, inputs, observer)?)),
        Medium::Wim(wim) => Kind::Wim(Box::new(WimPlanned::new(*wim, options, inputs, observer)?)),
        Medium::Folder(folder) => Kind::Folder(Box::new(FolderPlanned::new(*folder, options, inputs, observer)?)),
    }))
}

impl Planned {
    /// What would be done: one plan for each installation, never none.
    pub fn plans(&self) -> Vec<&Plan> {
        match &self.0 {
            Kind::Disk(disk) => vec![disk.plan()],
            Kind::Wim(wim) => wim.plans(),
            Kind::Folder(folder) => vec![folder.plan()],
        }
    }

    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.plans().iter().all(|plan| plan.changes.is_empty() && plan.hives_written == 0)
    }

    /// Writes the sealed image to a new file. Before its last act, a rename, there is no file of that name; after it, the
    /// whole new image. `Usage` for a mounted folder.
    pub fn commit_to(self, out: &Path, observer: &dyn Observer) -> Result<Report> {
        match self.0 {
            Kind::Disk(disk) => disk.commit_to(out, observer),
            Kind::Wim(wim) => wim.commit_to(out, observer),
            Kind::Folder(folder) => Err(folder.refuse_output()),
        }
    }

    /// Writes the sealed image over the old one, which must be open for writing. Killed at any instant, or without power, it
    /// is the old image or, after [`crate::recover`], the new one; a WIM needs no recovery, and a mounted folder becomes the old
    /// one by it.
    ///
    /// `Interrupted` when the image needs a recovery; after every other error it is untouched.
    pub fn commit_in_place(self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        match self.0 {
            Kind::Disk(disk) => disk.commit_in_place(how, observer),
            Kind::Wim(wim) => wim.commit_in_place(how, observer),
            Kind::Folder(folder) => folder.commit_in_place(how, observer),
        }
    }
}
