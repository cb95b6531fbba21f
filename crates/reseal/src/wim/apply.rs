//! Applying an image of a WIM to an empty NTFS volume of a disk.

use super::applying::{Applied, Applying};
use super::{WimFile, selector};
use crate::change::{Change, Target};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{InPlace, Observer, ShownFinding};
use crate::guards::Refusal;
use crate::image::{DiskImage, Image};
use crate::inputs::Inputs;
use crate::steps::is_store_file;
use crate::volume_state::VolumeState;
use crate::{staging, strays};
use reseal_disk::Partition;
use reseal_dtyp::{Guid, utf16_lossy};
use reseal_ntfs::{Probe, Volume};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Files of the volume's own have numbers below.
const FIRST_ORDINARY: u64 = 24;
/// What Windows makes on a volume by itself; an image is not applied over it.
pub(super) const VOLUME_INFORMATION: &str = "System Volume Information";

/// How an image is applied.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// Guards that the user allows: dirty-volume.
    pub allow: Vec<String>,
}

/// What would be applied, or was.
#[derive(Debug, Clone, Serialize)]
pub struct ApplyReport {
    /// Version of this document.
    pub schema: &'static str,
    /// The WIM.
    pub wim: String,
    /// Number of the image in it.
    pub index: u32,
    /// The disk.
    pub image: String,
    /// The partition with the volume.
    pub partition: String,
    /// What came onto the volume.
    #[serde(flatten)]
    pub applied: Applied,
    /// Bytes that were free on the volume before.
    pub free_bytes: u64,
    /// Guards that would refuse and were allowed.
    pub allowed: Vec<Refusal>,
    /// What was noticed.
    pub findings: Vec<ShownFinding>,
    /// Bytes of the image file that change, in pages of 4 KiB.
    pub changed_bytes: u64,
    /// The written image; none after a dry run.
    pub output: Option<PathBuf>,
    /// reflink, copy or in-place.
    pub method: Option<&'static str>,
}

/// An applied image that is not written yet. Dropping it is the dry run.
#[derive(Debug)]
pub struct ApplyPlanned {
    image: DiskImage,
    inputs: Inputs,
    partition: Partition,
    report: ApplyReport,
    /// What lies in the root now.
    changes: Vec<Change>,
}

/// Applies the image that `install.wim:2` means to the empty NTFS volume of a disk. Everything is staged and checked; nothing is
/// written before it is committed.
///
/// `Refused` when the volume is not empty, holds shadow copies or was not dismounted cleanly; `Io` when it is too small;
/// `Unsupported` for encrypted files, for names that Windows does not allow and for paths above 32,767 units; `Damaged` for contents
/// that are not what their SHA-1 says, and for images that contradict themselves.
pub fn wim_apply(
    wim: &str,
    disk: Image,
    options: &ApplyOptions,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<ApplyPlanned> {
    let image = disk.into_disk()?;
    let (path, wanted) = selector(wim).ok_or_else(|| Error::new(Kind::Unsupported, format!("{wim} is no WIM")))?;
    let file = WimFile::open(&path)?;
    let index = file.index(wanted).within(path.display())?;
    observer.phase("reading");
    let source = file.wim.image(index).within(wim)?;
    let subject = image.path().display().to_string();
    let partition = partition(&image).within(&subject)?;
    let place = DiskImage::place(&partition);
    let run = || -> Result<(ApplyReport, Vec<Change>)> {
        let mut volume = image.volume(&partition)?;
        let allowed = guards(&volume, &place, options)?;
        staging::sound(volume.preflight()?, "before")?;
        let info = volume.info();
        let free_bytes = volume.free_clusters()? * u64::from(info.cluster_size);
        let mut applying = Applying::new(&file.wim, &source, &mut volume, inputs.now())?;
        applying.refuse_too_small(free_bytes)?;
        applying.run(observer)?;
        let (applied, findings) = applying.finish();
        observer.phase("self-check");
        let again = image.volume(&partition)?;
        staging::sound(again.check()?, "after")?;
        let report = ApplyReport {
            schema: "reseal.wim-apply/1",
            wim: path.display().to_string(),
            index,
            image: subject.clone(),
            partition: place.clone(),
            applied,
            free_bytes,
            allowed,
            findings: staging::shown(findings),
            changed_bytes: image.disk.changed_bytes()?,
            output: None,
            method: None,
        };
        Ok((report, changes(&again)?))
    };
    let (report, changes) = run().within(&place).map_err(|e| e.subject(subject.clone()))?;
    Ok(ApplyPlanned { image, inputs: *inputs, partition, report, changes })
}

/// The one NTFS volume that is meant.
fn partition(image: &DiskImage) -> Result<Partition> {
    let mut found = Vec::new();
    for partition in image.partitions() {
        if image.probe(partition)? == Probe::Ntfs {
            found.push(partition);
        }
    }
    match found[..] {
        [one] => Ok(one.clone()),
        [] => {
            Err(Error::new(Kind::NotFound, "the image has no NTFS volume")
                .hint("format one in Windows, or with mkntfs"))
        }
        _ => Err(Error::new(Kind::Usage, format!("the image has {} NTFS volumes", found.len()))
            .hint("name the empty one with IMAGE#pN")),
    }
}

/// `Refused` for a volume that something lies on, or that is not fit to be written.
fn guards(volume: &Volume, place: &str, options: &ApplyOptions) -> Result<Vec<Refusal>> {
    let mut refusals = Vec::new();
    if let Some(why) = VolumeState::of(volume, place.to_owned()).dirty {
        let mut refusal = Refusal::new("dirty-volume", place, why, "run `chkdsk X: /f` in Windows, or format it anew");
        refusal.allowed = options.allow.iter().any(|id| id == refusal.id);
        refusals.push(refusal);
    }
    let mut there = Vec::new();
    for entry in volume.entries(volume.root())? {
        let name = utf16_lossy(&entry.name);
        if entry.reference.record() < FIRST_ORDINARY {
            continue;
        }
        if !name.eq_ignore_ascii_case(VOLUME_INFORMATION) {
            // An 8.3 twin says nothing new.
            if entry.namespace != reseal_ntfs::Namespace::Dos {
                there.push(name);
            }
        } else if volume.entries(entry.reference)?.iter().any(|e| is_store_file(&utf16_lossy(&e.name))) {
            let hint = "format it anew, or in Windows run `vssadmin delete shadows /all /quiet`";
            refusals.push(Refusal::new("not-empty", place, "the volume holds shadow copies", hint));
        }
    }
    there.retain(|name| !is_twin(volume, name));
    if let Some(first) = there.first() {
        let reason = format!("the volume is not empty: `{first}` lies there, {} names in all", there.len());
        refusals.push(Refusal::new(
            "not-empty",
            place,
            reason,
            "format it anew: an image is applied to an empty volume only",
        ));
    }
    if refusals.iter().any(|refusal| !refusal.allowed) {
        return Err(Error::refused(refusals));
    }
    Ok(refusals)
}

/// Whether a name of the root is the 8.3 twin of [`VOLUME_INFORMATION`].
fn is_twin(volume: &Volume, name: &str) -> bool {
    let find = |name: &str| volume.lookup(volume.root(), &name.encode_utf16().collect::<Vec<u16>>()).ok().flatten();
    find(VOLUME_INFORMATION).is_some_and(|folder| find(name) == Some(folder))
}

/// What the guard against stray writes is told: the root, and all that lies in it now.
fn changes(volume: &Volume) -> Result<Vec<Change>> {
    let change = |target| Change { step: "apply", target, before: None, after: None };
    let mut out = vec![change(Target::file(""))];
    for entry in volume.entries(volume.root())? {
        if entry.reference.record() >= FIRST_ORDINARY {
            let path = utf16_lossy(&entry.name);
            out.push(change(Target::file(&path)));
            if entry.is_directory() {
                out.push(change(Target::folder(&path)));
            }
        }
    }
    Ok(out)
}

impl ApplyPlanned {
    /// What would be done.
    pub fn report(&self) -> &ApplyReport {
        &self.report
    }

    /// Writes the disk with the files to a new file, as [`crate::Planned::commit_to`] does.
    pub fn commit_to(mut self, out: &Path, observer: &dyn Observer) -> Result<ApplyReport> {
        let guids = self.last_look(observer)?;
        let bytes = |done, total| observer.bytes(done, total);
        let done = self.image.disk.commit_to(out, guids, &bytes).within(out.display())?;
        self.report.output = Some(done.path);
        self.report.method = Some(match done.method {
            reseal_disk::CopyMethod::Reflink => "reflink",
            reseal_disk::CopyMethod::Copy => "copy",
        });
        Ok(self.report)
    }

    /// Writes over the disk itself, with a journal, as [`crate::Planned::commit_in_place`] does.
    pub fn commit_in_place(mut self, how: InPlace<'_>, observer: &dyn Observer) -> Result<ApplyReport> {
        let guids = self.last_look(observer)?;
        let path = self.image.path().to_owned();
        let how = reseal_disk::InPlace {
            marks: &[DiskImage::mark_of(&self.partition)],
            journal_folder: how.journal_folder,
            keep_undo: how.keep_undo,
        };
        let bytes = |done, total| observer.bytes(done, total);
        self.image.disk.commit_in_place(how, guids, &bytes).within(path.display())?;
        self.report.output = Some(path);
        self.report.method = Some("in-place");
        Ok(self.report)
    }

    /// The guard against stray writes; then new identifiers for a container that has such.
    fn last_look(&self, observer: &dyn Observer) -> Result<[Guid; 2]> {
        observer.phase("guard");
        let planned = strays::Planned {
            changes: &self.changes,
            hives: &[],
            staged: &[],
            stores: &[],
            systems: &[],
            sids: None,
            scrub: false,
        };
        strays::refuse(&self.image, &self.partition, &planned).within(self.image.path().display())?;
        observer.phase("writing");
        let mut stream = self.inputs.stream(&[b"vhdx-write-guids", b"wim-apply"]);
        Ok([stream.guid(), stream.guid()])
    }
}
