//! A disk in a host file, its partitions, and the Windows installations on them.

use crate::error::{Error, Kind, Result, Within};
use crate::ntfs_tree::NtfsTree;
use crate::volume_state::VolumeState;
use reseal_disk::journal::MARK;
use reseal_disk::{Disk, Partition, PartitionTable, PartitionType, WriteAt};
use reseal_ntfs::{Probe, Volume};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk. Nothing of it is written before a plan is committed.
#[derive(Debug)]
pub(crate) struct DiskImage {
    pub(crate) disk: Disk,
    pub(crate) table: PartitionTable,
    /// Partition that the user named with `#pN`.
    pub(crate) selected: Option<u32>,
}

/// A volume with a Windows folder.
pub(crate) struct Windows {
    pub(crate) partition: Partition,
    pub(crate) tree: NtfsTree,
    pub(crate) state: VolumeState,
}

/// A partition of the disk, for checks.
#[derive(Debug, Clone)]
pub(crate) struct PartitionFacts {
    pub(crate) place: String,
    pub(crate) partition: Partition,
    pub(crate) probe: Probe,
    pub(crate) has_windows: bool,
}

impl PartitionFacts {
    /// Whether it is one for people's files: basic data of GPT, or NTFS of MBR; recovery partitions have types of their own.
    pub(crate) fn is_data(&self) -> bool {
        match self.partition.ty {
            PartitionType::Gpt(guid) => guid.to_string().eq_ignore_ascii_case("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),
            PartitionType::Mbr(byte) => byte == 7,
            PartitionType::Whole => true,
        }
    }
}

/// The disk around one installation.
#[derive(Debug, Clone)]
pub(crate) struct DiskFacts {
    own: u32,
    partitions: Vec<PartitionFacts>,
}

impl DiskFacts {
    /// Those of an installation that lies on no disk.
    pub(crate) fn none() -> DiskFacts {
        DiskFacts { own: 0, partitions: Vec::new() }
    }

    /// The partition of the installation.
    pub(crate) fn own(&self) -> Option<&PartitionFacts> {
        self.partitions.iter().find(|p| p.partition.number == self.own)
    }

    /// All others.
    pub(crate) fn others(&self) -> impl Iterator<Item = &PartitionFacts> {
        self.partitions.iter().filter(|p| p.partition.number != self.own)
    }
}

/// Splits `disk.vhdx#p3`. An existing path wins over a selector.
fn selector(text: &str) -> Result<(PathBuf, Option<u32>)> {
    if !Path::new(text).exists()
        && let Some((path, part)) = text.rsplit_once("#p")
    {
        let number = part.parse().map_err(|_| {
            Error::new(Kind::Usage, format!("`#p{part}` names no partition: a number is needed, as in disk.vhdx#p3"))
        })?;
        return Ok((PathBuf::from(path), Some(number)));
    }
    Ok((PathBuf::from(text), None))
}

/// The boot sector of a half-written volume says so, though its journal be lost.
fn refuse_marked(disk: &Disk, table: &PartitionTable) -> Result<()> {
    for partition in &table.partitions {
        let bytes = disk.partition(partition);
        let mut id = [0; MARK.len()];
        if bytes.len() >= BOOT_SECTOR {
            bytes.read_at(OEM_ID, &mut id)?;
        }
        if id == MARK {
            return Err(Error::new(
                Kind::Interrupted,
                "a commit in place was interrupted, and the volume is half written",
            )
            .subject(DiskImage::place(partition))
            .hint(
                "run `reseal recover IMAGE --journal DIR`, with the folder that holds its journal; without the journal \
                       the image is lost: take a copy of the original",
            ));
        }
    }
    Ok(())
}

/// Where the name of the system that formatted a volume stands in its boot sector.
const OEM_ID: u64 = 3;
const BOOT_SECTOR: u64 = 512;

impl DiskImage {
    /// Opens `disk.vhdx`, `disk.vhd`, `disk.raw` or, for one partition of it, `disk.vhdx#p3`, for reading. `Interrupted` when a commit in
    /// place has to be recovered first.
    pub(crate) fn open(text: &str) -> Result<DiskImage> {
        DiskImage::open_as(text, Disk::open)
    }

    /// [`DiskImage::open`] for [`crate::Planned::commit_in_place`]: nobody else may use the image meanwhile.
    pub(crate) fn open_for_writing(text: &str) -> Result<DiskImage> {
        let image = DiskImage::open_as(text, Disk::open_for_writing)?;
        image.refuse_parent()?;
        Ok(image)
    }

    /// `Refused` when differencing disks in the folder have this disk as their parent.
    pub(crate) fn refuse_parent(&self) -> Result<()> {
        let children = self.disk.children().within(self.path().display())?;
        let refusals: Vec<_> = children
            .iter()
            .map(|child| {
                let reason =
                    format!("it is the parent of {}, which would read rubbish once it has changed", child.display());
                let hint = "write a new image with `-o`, or merge or remove the differencing disk first";
                crate::Refusal::new("parent-disk", self.path().display().to_string(), reason, hint)
            })
            .collect();
        if refusals.is_empty() {
            Ok(())
        } else {
            Err(Error::refused(refusals).subject(self.path().display().to_string()))
        }
    }

    fn open_as(text: &str, open: fn(&Path) -> reseal_dtyp::Result<Disk>) -> Result<DiskImage> {
        let (path, selected) = selector(text)?;
        let open = || -> Result<DiskImage> {
            let disk = open(&path)?;
            let table = disk.partitions()?;
            refuse_marked(&disk, &table)?;
            if let Some(number) = selected
                && !table.partitions.iter().any(|p| p.number == number)
            {
                let have: Vec<String> = table.partitions.iter().map(|p| p.number.to_string()).collect();
                return Err(Error::new(Kind::NotFound, format!("there is no partition {number}"))
                    .hint(format!("there are: {}", have.join(", "))));
            }
            Ok(DiskImage { disk, table, selected })
        };
        open().within(path.display())
    }

    /// The image file.
    pub(crate) fn path(&self) -> &Path {
        self.disk.path()
    }

    /// The partitions that the user's selector leaves.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.table.partitions.iter().filter(|p| self.selected.is_none_or(|number| number == p.number))
    }

    /// The bytes of a partition.
    pub(crate) fn bytes(&self, partition: &Partition) -> Arc<dyn WriteAt> {
        self.disk.partition(partition)
    }

    /// What a partition holds, by its first sector.
    pub(crate) fn probe(&self, partition: &Partition) -> Result<Probe> {
        let bytes = self.bytes(partition);
        let mut first = [0; 512];
        if bytes.len() < 512 {
            return Ok(Probe::Unknown);
        }
        bytes.read_at(0, &mut first)?;
        Ok(Volume::probe(&first))
    }

    /// Where the volume of a partition is marked while it is half written: byte offset on the disk.
    pub(crate) fn mark_of(partition: &Partition) -> u64 {
        partition.offset + OEM_ID
    }

    /// The image's path without the selector of a partition.
    pub(crate) fn path_in(text: &str) -> Result<PathBuf> {
        Ok(selector(text)?.0)
    }

    /// How messages name a partition.
    pub(crate) fn place(partition: &Partition) -> String {
        if partition.number == 0 { "volume".to_owned() } else { format!("partition {}", partition.number) }
    }

    /// The volume of a partition.
    pub(crate) fn volume(&self, partition: &Partition) -> Result<Volume> {
        Volume::open(self.bytes(partition)).within(DiskImage::place(partition))
    }

    /// What lies around the installation on partition `own`, whatever the user selected. A volume that does not open has no
    /// Windows.
    pub(crate) fn disk_facts(&self, own: &Partition) -> Result<DiskFacts> {
        let mut partitions = Vec::new();
        for partition in &self.table.partitions {
            let probe = self.probe(partition)?;
            let open = probe == Probe::Ntfs && partition.number != own.number;
            let has_windows = open
                && self
                    .volume(partition)
                    .is_ok_and(|v| matches!(v.resolve(r"Windows\System32\config\SYSTEM"), Ok(Some(_))));
            let place = DiskImage::place(partition);
            partitions.push(PartitionFacts { place, partition: partition.clone(), probe, has_windows });
        }
        Ok(DiskFacts { own: own.number, partitions })
    }

    /// Every volume with `Windows\System32\config\SYSTEM`, in table order.
    pub(crate) fn windows(&self) -> Result<Vec<Windows>> {
        let mut out = Vec::new();
        for partition in self.partitions() {
            if self.probe(partition)? != Probe::Ntfs {
                continue;
            }
            let volume = match self.volume(partition) {
                Ok(volume) => volume,
                // Another partition's damage is no reason to refuse, unless the user named it or there is no other.
                Err(e) if self.selected.is_some() || self.partitions().count() == 1 => return Err(e),
                Err(_) => continue,
            };
            if volume.resolve(r"Windows\System32\config\SYSTEM").within(DiskImage::place(partition))?.is_some() {
                let state = VolumeState::of(&volume, DiskImage::place(partition));
                out.push(Windows { partition: partition.clone(), tree: NtfsTree { volume }, state });
            }
        }
        Ok(out)
    }

    /// The installation to work on: the only one, or number `wanted` from 1.
    pub(crate) fn one_windows(&self, wanted: Option<usize>) -> Result<Windows> {
        let mut found = self.windows()?;
        let count = found.len();
        match (count, wanted) {
            (0, _) => Err(self.no_windows()?),
            (1, None) => Ok(found.remove(0)),
            (_, Some(n)) if (1..=count).contains(&n) => Ok(found.remove(n - 1)),
            (_, Some(n)) => {
                Err(Error::new(Kind::NotFound, format!("there is no installation {n}; the image has {count}")))
            }
            (_, None) => {
                let list: Vec<String> =
                    found.iter().enumerate().map(|(i, w)| format!("{} on {}", i + 1, w.state.place)).collect();
                Err(Error::new(
                    Kind::Usage,
                    format!("the image has {count} Windows installations: {}", list.join(", ")),
                )
                .hint("choose one with `--installation N` or `IMAGE#pN`"))
            }
        }
    }

    /// Why there is no installation: encrypted, another file system, or really none.
    pub(crate) fn no_windows(&self) -> Result<Error> {
        for partition in self.partitions() {
            let refusal = |id, reason: &str, hint: &str| {
                Error::refused(vec![crate::Refusal::new(id, DiskImage::place(partition), reason, hint)])
            };
            match self.probe(partition)? {
                Probe::BitLocker => {
                    return Ok(refusal(
                        "bitlocker",
                        "the volume is encrypted with BitLocker",
                        "in Windows run `manage-bde -off C:` and wait until it is decrypted",
                    ));
                }
                Probe::ReFs => {
                    return Ok(refusal("refs", "the volume is ReFS, which is not handled", "install Windows on NTFS"));
                }
                _ => {}
            }
        }
        Ok(Error::new(
            Kind::NotFound,
            format!("no Windows installation was found on {} partitions", self.partitions().count()),
        )
        .hint("`reseal inspect IMAGE` shows what the image holds"))
    }
}
