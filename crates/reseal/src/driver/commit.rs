//! Where drivers are changed, and how that is written: a disk, or an image of a WIM.

use super::{Done, DriverOptions, DriverReport, Place, Work, stage_in};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{self, InPlace, Observer};
use crate::image::{DiskFacts, DiskImage, Image, Medium};
use crate::inputs::Inputs;
use crate::strays;
use crate::volume_state::VolumeState;
use crate::wim::{WimCommit, WimEdit, WimImages};
use reseal_disk::Partition;
use reseal_dtyp::Guid;
use std::path::Path;

/// A plan with everything that is needed to commit it. Dropping it is the dry run.
#[derive(Debug)]
pub struct DriverPlanned {
    medium: Planned,
    inputs: Inputs,
    report: DriverReport,
}

#[derive(Debug)]
enum Planned {
    Disk { image: Box<DiskImage>, partition: Partition, hives: Vec<String> },
    Wim(Box<WimCommit>),
}

/// Opens the installation, lets `work` stage its changes, and checks what came of it.
pub(super) fn stage(
    image: Image,
    how: &DriverOptions,
    inputs: &Inputs,
    verb: &'static str,
    observer: &dyn Observer,
    work: impl FnOnce(&mut Work<'_>) -> Result<()>,
) -> Result<DriverPlanned> {
    let path = image.path().display().to_string();
    let planned = match image.0 {
        Medium::Disk(disk) => on_disk(disk, how, inputs, verb, observer, work),
        Medium::Wim(images) => on_wim(*images, how, inputs, verb, observer, work),
        Medium::Folder(folder) => Err(crate::image::no_volume(folder.path())),
    };
    let (medium, report) = planned.within(path)?;
    Ok(DriverPlanned { medium, inputs: *inputs, report })
}

fn on_disk(
    image: Box<DiskImage>,
    how: &DriverOptions,
    inputs: &Inputs,
    verb: &'static str,
    observer: &dyn Observer,
    work: impl FnOnce(&mut Work<'_>) -> Result<()>,
) -> Result<(Planned, DriverReport)> {
    let mut windows = image.one_windows(how.installation)?;
    let partition = windows.partition.clone();
    let run = || -> Result<(DriverReport, Vec<String>)> {
        let disk = image.disk_facts(&partition)?;
        let place = Place { image: image.path().display().to_string(), state: &windows.state, disk: &disk };
        let Done { mut report, hives, .. } = stage_in(&mut windows.tree, &place, how, inputs, verb, observer, work)?;
        if !report.changes.is_empty() {
            generalize::read_back(&image, &partition, &windows.tree, &hives)?;
        }
        report.changed_bytes = image.disk.changed_bytes()?;
        let written = hives.files.iter().filter(|file| file.edited).map(|file| file.path.clone()).collect();
        Ok((report, written))
    };
    let (report, hives) = run().within(DiskImage::place(&partition))?;
    Ok((Planned::Disk { image, partition, hives }, report))
}

fn on_wim(
    images: WimImages,
    how: &DriverOptions,
    inputs: &Inputs,
    verb: &'static str,
    observer: &dyn Observer,
    work: impl FnOnce(&mut Work<'_>) -> Result<()>,
) -> Result<(Planned, DriverReport)> {
    let mut edit = WimEdit::of_windows(images)?;
    let place = WimImages::place(edit.index());
    let run = || -> Result<(Planned, DriverReport)> {
        let (state, disk) = (VolumeState::clean(place.clone()), DiskFacts::none());
        let place = Place { image: edit.path().display().to_string(), state: &state, disk: &disk };
        let Done { mut report, hives, facts } = stage_in(&mut edit.tree, &place, how, inputs, verb, observer, work)?;
        let commit = edit.finish(hives, &report.changes, facts, inputs)?;
        report.changed_bytes = commit.new_bytes()?;
        Ok((Planned::Wim(Box::new(commit)), report))
    };
    run().within(place)
}

impl DriverPlanned {
    /// What would be done.
    pub fn report(&self) -> &DriverReport {
        &self.report
    }

    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.report.changes.is_empty()
    }

    /// Writes the image with its drivers changed to a new file, as [`crate::Planned::commit_to`] does.
    pub fn commit_to(mut self, out: &Path, observer: &dyn Observer) -> Result<DriverReport> {
        match self.medium {
            Planned::Wim(commit) => {
                commit.write_to(out, observer)?;
                self.report.output = Some(out.to_owned());
                self.report.method = Some("rebuilt");
            }
            Planned::Disk { image, partition, hives } => {
                let guids = last_look(&self.report, &self.inputs, (&image, &partition, &hives), observer)?;
                let bytes = |done, total| observer.bytes(done, total);
                let done = image.disk.commit_to(out, guids, &bytes).within(out.display())?;
                self.report.output = Some(done.path);
                self.report.method = Some(match done.method {
                    reseal_disk::CopyMethod::Reflink => "reflink",
                    reseal_disk::CopyMethod::Copy => "copy",
                });
            }
        }
        Ok(self.report)
    }

    /// Writes over the image itself, with a journal, as [`crate::Planned::commit_in_place`] does; a WIM is appended to.
    pub fn commit_in_place(mut self, how: InPlace<'_>, observer: &dyn Observer) -> Result<DriverReport> {
        match self.medium {
            Planned::Wim(commit) => {
                if how.keep_undo || how.journal_folder.is_some() {
                    let what = "a WIM is changed by appending: there is no journal, and no undo file";
                    let hint = "keep a copy of the file, or write a new one with `-o`";
                    return Err(Error::new(Kind::Usage, what).hint(hint));
                }
                self.report.output = Some(commit.images.path().to_owned());
                commit.append(observer)?;
                self.report.method = Some("appended");
            }
            Planned::Disk { image, partition, hives } => {
                let guids = last_look(&self.report, &self.inputs, (&image, &partition, &hives), observer)?;
                let path = image.path().to_owned();
                let how = reseal_disk::InPlace {
                    marks: &[DiskImage::mark_of(&partition)],
                    journal_folder: how.journal_folder,
                    keep_undo: how.keep_undo,
                };
                let bytes = |done, total| observer.bytes(done, total);
                image.disk.commit_in_place(how, guids, &bytes).within(path.display())?;
                self.report.output = Some(path);
                self.report.method = Some("in-place");
            }
        }
        Ok(self.report)
    }
}

/// The guard against stray writes; then new identifiers for a container that has such.
fn last_look(
    report: &DriverReport,
    inputs: &Inputs,
    (image, partition, hives): (&DiskImage, &Partition, &[String]),
    observer: &dyn Observer,
) -> Result<[Guid; 2]> {
    observer.phase("guard");
    let planned = strays::Planned {
        changes: &report.changes,
        hives,
        staged: &[],
        stores: &[],
        systems: &[],
        sids: None,
        scrub: false,
    };
    strays::refuse(image, partition, &planned).within(image.path().display())?;
    observer.phase("writing");
    let mut stream = inputs.stream(&[b"vhdx-write-guids", b"driver"]);
    Ok([stream.guid(), stream.guid()])
}
