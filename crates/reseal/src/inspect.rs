//! `inspect`: what an image holds, and what guards would say.

use crate::Facts;
use crate::boot_store::{BootStoreInfo, BootStores};
use crate::error::{Result, Within};
use crate::folder::FolderImage;
use crate::generalize::ShownFinding;
use crate::guards::{self, Checked, Refusal, Subject};
use crate::hives::HiveSet;
use crate::image::{DiskFacts, DiskImage, Image, Medium, Windows};
use crate::tree::Tree;
use crate::volume_state::VolumeState;
use crate::wim::{WimImages, WimInfo, WimTree};
use reseal_disk::{Disk, PartitionType, Scheme};
use reseal_ntfs::Probe;
use serde::Serialize;
use std::sync::Arc;

/// Everything that is known of an image without changing it.
#[derive(Debug, Clone, Serialize)]
pub struct Inspection {
    /// Version of this document.
    pub schema: &'static str,
    /// The image file.
    pub image: String,
    /// Container: raw, vhd-fixed, vhd-dynamic, vhd-differencing, vhdx-fixed, vhdx-dynamic, vhdx-differencing, wim, folder.
    pub format: &'static str,
    /// Length of the file in bytes; 0 of a folder.
    pub file_bytes: u64,
    /// Length of the disk in bytes; of a WIM, of the file; 0 of a folder.
    pub disk_bytes: u64,
    /// Logical sector size, where the container states it.
    pub sector_bytes: Option<u32>,
    /// What a WIM says of itself; absent for a disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wim: Option<WimInfo>,
    /// Entries of the container's log that would be replayed.
    pub container_log_entries: usize,
    /// Of a differencing disk: the disks below it, its parent first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<LinkedDisk>,
    /// Differencing disks in the folder that stand on this one; it is not written in place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<String>,
    /// What is odd about the container, or broken; a broken one is not written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_notes: Vec<String>,
    /// gpt, mbr, bare or unknown; none of a WIM or a folder.
    pub scheme: &'static str,
    /// The partitions.
    pub partitions: Vec<PartitionInfo>,
    /// The boot stores of the whole disk, and partitions that may hold one and cannot be read.
    pub boot_stores: Vec<BootStoreInfo>,
    /// The installations.
    pub installations: Vec<InstallationInfo>,
}

/// A disk below a differencing one.
#[derive(Debug, Clone, Serialize)]
pub struct LinkedDisk {
    /// The image file.
    pub image: String,
    /// Container, as of the image itself.
    pub format: &'static str,
    /// The id by which the child knows it.
    pub id: Option<String>,
}

/// One partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionInfo {
    /// Number, as `#pN` takes it.
    pub number: u32,
    /// Type GUID or byte.
    pub ty: String,
    /// Name.
    pub name: String,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// What its first sector says.
    pub content: &'static str,
    /// The NTFS volume, when there is one that opens.
    pub ntfs: Option<VolumeSummary>,
    /// Why it does not open.
    pub error: Option<String>,
}

/// An NTFS volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeSummary {
    /// Label.
    pub label: String,
    /// NTFS version.
    pub version: String,
    /// Cluster size in bytes.
    pub cluster_bytes: u32,
    /// State of `$LogFile`.
    pub log: String,
    /// Whether it is marked dirty.
    pub dirty: bool,
}

/// One installation.
#[derive(Debug, Clone, Serialize)]
pub struct InstallationInfo {
    /// Where it lies.
    pub partition: String,
    /// What it says of itself.
    pub facts: Facts,
    /// Whether it is sealed to OOBE.
    pub sealed: bool,
    /// Hives that were found.
    pub hives: Vec<HiveInfo>,
    /// Files and folders.
    pub files: u64,
    /// Guards that refuse.
    pub refusals: Vec<Refusal>,
    /// What was noticed.
    pub findings: Vec<ShownFinding>,
}

/// One hive.
#[derive(Debug, Clone, Serialize)]
pub struct HiveInfo {
    /// Path from the volume's root.
    pub path: String,
    /// clean, replayed or unrecovered.
    pub state: String,
}

/// Reads everything that guards look at.
pub fn inspect(image: &Image) -> Result<Inspection> {
    match &image.0 {
        Medium::Disk(disk) => inspect_disk(disk),
        Medium::Wim(wim) => inspect_wim(wim).within(wim.path().display()),
        Medium::Folder(folder) => inspect_folder(folder).within(folder.path().display()),
    }
}

fn inspect_wim(images: &WimImages) -> Result<Inspection> {
    let mut installations = Vec::new();
    for place in wim_places(images)? {
        let name = place.state.place.clone();
        installations.push(installation(&place).within(name)?);
    }
    let bytes = images.wim().file_len();
    Ok(Inspection {
        schema: "reseal.inspect/1",
        image: images.path().display().to_string(),
        format: "wim",
        file_bytes: bytes,
        disk_bytes: bytes,
        sector_bytes: None,
        wim: Some(images.file.info()),
        container_log_entries: 0,
        parents: Vec::new(),
        children: Vec::new(),
        container_notes: Vec::new(),
        scheme: "none",
        partitions: Vec::new(),
        boot_stores: Vec::new(),
        installations,
    })
}

fn inspect_folder(folder: &FolderImage) -> Result<Inspection> {
    let installations = folder_places(folder)?
        .iter()
        .map(|place| installation(place).within(&place.state.place))
        .collect::<Result<_>>()?;
    Ok(Inspection {
        schema: "reseal.inspect/1",
        image: folder.path().display().to_string(),
        format: "folder",
        file_bytes: 0,
        disk_bytes: 0,
        sector_bytes: None,
        wim: None,
        container_log_entries: 0,
        parents: Vec::new(),
        children: Vec::new(),
        container_notes: Vec::new(),
        scheme: "none",
        partitions: Vec::new(),
        boot_stores: Vec::new(),
        installations,
    })
}

fn inspect_disk(image: &DiskImage) -> Result<Inspection> {
    let run = || -> Result<Inspection> {
        let disk = &image.disk;
        let scheme = match image.table.scheme {
            Scheme::Gpt => "gpt",
            Scheme::Mbr => "mbr",
            Scheme::Bare => "bare",
            Scheme::Unknown => "unknown",
        };
        let mut partitions = Vec::new();
        for partition in image.partitions() {
            partitions.push(partition_info(image, partition)?);
        }
        let mut installations = Vec::new();
        for place in disk_places(image)? {
            let name = place.state.place.clone();
            installations.push(installation(&place).within(name)?);
        }
        Ok(Inspection {
            schema: "reseal.inspect/1",
            image: image.path().display().to_string(),
            format: disk.format().name(),
            file_bytes: disk.file_len(),
            disk_bytes: disk.bytes().len(),
            sector_bytes: disk.sector_size(),
            wim: None,
            container_log_entries: disk.replayed_log_entries(),
            parents: parents(disk),
            children: disk.children()?.iter().map(|path| path.display().to_string()).collect(),
            container_notes: disk
                .container_damage()
                .map(str::to_owned)
                .into_iter()
                .chain(disk.container_note())
                .collect(),
            scheme,
            partitions,
            boot_stores: BootStores::find(image, None)?.infos(),
            installations,
        })
    };
    run().within(image.path().display())
}

/// The chain below a differencing disk.
fn parents(disk: &Disk) -> Vec<LinkedDisk> {
    let chain = std::iter::successors(disk.parent(), |disk| disk.parent());
    let linked = |disk: &Disk| LinkedDisk {
        image: disk.path().display().to_string(),
        format: disk.format().name(),
        id: disk.link_id().map(|id| id.to_string()),
    };
    chain.map(linked).collect()
}

fn partition_info(image: &DiskImage, partition: &reseal_disk::Partition) -> Result<PartitionInfo> {
    let probe = image.probe(partition)?;
    let content = match probe {
        Probe::Ntfs => "ntfs",
        Probe::BitLocker => "bitlocker",
        Probe::ReFs => "refs",
        Probe::Fat => "fat",
        _ => "unknown",
    };
    let volume = (probe == Probe::Ntfs).then(|| image.volume(partition));
    let (ntfs, error) = match volume {
        None => (None, None),
        Some(Err(e)) => (None, Some(e.to_string())),
        Some(Ok(volume)) => {
            let info = volume.info();
            let summary = VolumeSummary {
                label: info.label,
                version: format!("{}.{}", info.version.0, info.version.1),
                cluster_bytes: info.cluster_size,
                log: info.log_state.to_string(),
                dirty: info.flags.is_dirty(),
            };
            (Some(summary), None)
        }
    };
    let ty = match partition.ty {
        PartitionType::Gpt(guid) => guid.to_string(),
        PartitionType::Mbr(byte) => format!("{byte:#04x}"),
        PartitionType::Whole => "whole disk".to_owned(),
    };
    let (number, name, offset, bytes) = (partition.number, partition.name.clone(), partition.offset, partition.len);
    Ok(PartitionInfo { number, ty, name, offset, bytes, content, ntfs, error })
}

/// An installation with what lies around it.
struct Place {
    tree: Box<dyn Tree>,
    state: VolumeState,
    disk: DiskFacts,
    boot: BootStores,
}

fn disk_places(image: &DiskImage) -> Result<Vec<Place>> {
    let place = |windows: Windows| -> Result<Place> {
        let disk = image.disk_facts(&windows.partition)?;
        let boot = BootStores::find(image, Some(&windows.partition))?;
        Ok(Place { tree: Box::new(windows.tree), state: windows.state, disk, boot })
    };
    image.windows()?.into_iter().map(place).collect()
}

fn wim_places(images: &WimImages) -> Result<Vec<Place>> {
    let mut out = Vec::new();
    for index in images.looked_at()? {
        let state = VolumeState::clean(WimImages::place(index));
        let tree = WimTree::open(Arc::clone(images.wim()), index).within(&state.place)?;
        if tree.has_windows()? {
            let (disk, boot) = (DiskFacts::none(), BootStores::default());
            out.push(Place { tree: Box::new(tree), state, disk, boot });
        }
    }
    Ok(out)
}

fn folder_places(folder: &FolderImage) -> Result<Vec<Place>> {
    if !folder.has_windows()? {
        return Ok(Vec::new());
    }
    let state = VolumeState::clean(FolderImage::place());
    let (disk, boot) = (DiskFacts::none(), BootStores::default());
    Ok(vec![Place { tree: Box::new(folder.tree.clone()), state, disk, boot }])
}

/// What checks and `inspect` read of an installation.
struct Read {
    hives: HiveSet,
    facts: Facts,
    survey: crate::Survey,
    checked: Vec<Checked>,
}

fn read(place: &Place) -> Result<Read> {
    let tree = &*place.tree;
    let hives = HiveSet::load(tree, &[(tree.root(), String::new())])?;
    let facts = Facts::read(&hives)?;
    let survey = tree.survey()?;
    let Place { state: volume, disk, boot, .. } = place;
    let (answer, leaving) = (None, &crate::leaving::Leaving::default());
    let subject = Subject { facts: &facts, hives: &hives, tree, volume, survey: &survey, disk, boot, answer, leaving };
    let checked = guards::run(&subject)?;
    Ok(Read { hives, facts, survey, checked })
}

fn installation(place: &Place) -> Result<InstallationInfo> {
    let Read { mut hives, facts, survey, checked } = read(place)?;
    let state = |file: &crate::hives::HiveFile| crate::boot_store::state(file.hive.state());
    let hive_infos = hives.files.iter().map(|f| HiveInfo { path: f.path.clone(), state: state(f) }).collect();
    let broken = crate::invariants::broken(&hives, &*place.tree)?;
    let findings = std::mem::take(&mut hives.findings).into_iter().chain(broken).chain(survey.findings);
    let options = crate::Options::default();
    let findings = findings.chain(checked.iter().flat_map(|check| check.findings(&options)));
    Ok(InstallationInfo {
        partition: place.state.place.clone(),
        sealed: facts.setup.is_sealed(),
        hives: hive_infos,
        files: survey.files,
        refusals: checked.iter().flat_map(|c| c.refusals(&options)).collect(),
        findings: findings.map(ShownFinding::from).collect(),
        facts,
    })
}

/// Every check with its result.
#[derive(Debug, Clone, Serialize)]
pub struct Checklist {
    /// Version of this document.
    pub schema: &'static str,
    /// The image file.
    pub image: String,
    /// Whether `generalize` would refuse an installation.
    pub refuses: bool,
    /// The installations.
    pub installations: Vec<CheckedInstallation>,
}

/// One installation's checks.
#[derive(Debug, Clone, Serialize)]
pub struct CheckedInstallation {
    /// Where it lies.
    pub partition: String,
    /// Whether `generalize` would refuse it, unless `--allow` names the guards.
    pub refuses: bool,
    /// The checks, in the order in which they ran.
    pub checks: Vec<Checked>,
}

/// Runs every check of [`crate::checks`] on every installation. `Refused` or `NotFound`, as `generalize` says it, when the
/// image has none that can be read.
pub fn check(image: &Image) -> Result<Checklist> {
    let run = || -> Result<Checklist> {
        let places = match &image.0 {
            Medium::Disk(disk) => disk_places(disk)?,
            Medium::Wim(wim) => wim_places(wim)?,
            Medium::Folder(folder) => folder_places(folder)?,
        };
        let mut installations = Vec::new();
        for place in places {
            let partition = place.state.place.clone();
            let checks = read(&place).within(&partition)?.checked;
            let refuses = checks.iter().any(|c| c.refuses);
            installations.push(CheckedInstallation { partition, refuses, checks });
        }
        if installations.is_empty() {
            return Err(match &image.0 {
                Medium::Disk(disk) => disk.no_windows()?,
                Medium::Wim(wim) => wim.no_windows(),
                Medium::Folder(folder) => folder.no_windows(),
            });
        }
        let refuses = installations.iter().any(|i| i.refuses);
        let path = image.path().display().to_string();
        Ok(Checklist { schema: "reseal.check/1", image: path, refuses, installations })
    };
    run().within(image.path().display())
}
