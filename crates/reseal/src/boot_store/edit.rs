//! Stores on FAT: SIDs replaced, written back where they lie, and what the guard against stray writes may see changed. System
//! volumes are written with them.

use super::find::{BootStores, Home, PATHS, Store};
use super::system::SystemAt;
use crate::error::{Error, Kind, Result, Within};
use crate::hives::LOG_SUFFIXES;
use crate::image::DiskImage;
use crate::tree::Tree;
use reseal_disk::{Disk, Partition};
use reseal_dtyp::{FileTime, Finding, Level};
use reseal_fat::Volume;
use reseal_hive::{LoadState, SidEdits};
use reseal_sid::SidMap;
use std::borrow::Cow;
use std::ops::Range;

/// A store on FAT that a plan writes.
#[derive(Debug, Clone)]
pub(crate) struct StoreAt {
    pub(crate) partition: Partition,
    /// Path from the volume's root.
    pub(crate) path: String,
}

/// What [`BootStores::write`] wrote.
#[derive(Debug, Default)]
pub(crate) struct StoresWritten {
    /// Stores on FAT.
    pub(crate) on_fat: Vec<StoreAt>,
    /// System volumes of which something changed.
    pub(crate) systems: Vec<SystemAt>,
}

impl StoresWritten {
    /// How many hives were written.
    pub(crate) fn hives(&self) -> usize {
        self.on_fat.len() + self.systems.iter().map(|system| system.hives.len()).sum::<usize>()
    }
}

/// What became of the SIDs of a store: name, what was replaced, whether only its logs have to go.
type Edits = (String, SidEdits, bool);

impl BootStores {
    /// Replaces SIDs in every store on FAT, in memory. The second list names stores that hold an old SID and are only read.
    pub(crate) fn rewrite_sids(&mut self, map: &SidMap, now: FileTime) -> Result<(Vec<Edits>, Vec<String>)> {
        let (mut done, mut left) = (Vec::new(), Vec::new());
        for store in &mut self.stores {
            let name = store.name();
            let Home::Fat { logs, .. } = &store.home else {
                let is_edited = self.systems.iter().any(|system| system.partition.number == store.partition.number);
                if matches!(store.home, Home::Other) && !is_edited && map.is_in(&store.hive.to_bytes()) {
                    left.push(name);
                }
                continue;
            };
            store.hive.set_clock(Some(now));
            let edits = store.hive.rewrite_sids(map).within(&name)?;
            let used = logs.iter().any(|log| log.bytes.iter().any(|b| *b != 0));
            let replayed = matches!(store.hive.state(), LoadState::Replayed { .. });
            let logs_only = !edits.any() && used && (replayed || logs.iter().any(|log| map.is_in(&log.bytes)));
            if edits.any() || logs_only {
                store.refuse_dirty()?;
                store.edited = true;
            }
            done.push((name, edits, logs_only));
        }
        Ok((done, left))
    }

    /// The place of a SID in a store, or in a descriptor of a system volume.
    pub(crate) fn holding(&self, probe: &SidMap) -> Result<Option<String>> {
        if let Some(store) = self.stores.iter().find(|store| !store.hive.residue(probe).is_empty()) {
            return Ok(Some(store.name()));
        }
        for system in &self.systems {
            if system.tree.descriptors()?.iter().any(|sd| probe.is_in(sd)) {
                return Ok(Some(system.named("a security descriptor")));
            }
        }
        Ok(None)
    }

    /// Puts edited stores back and empties their logs; those on FAT, which are overwritten where they lie, are all checked
    /// before the first is written. `Unsupported` for one of them that would have to grow.
    pub(crate) fn write(
        &mut self,
        image: &DiskImage,
        now: FileTime,
        findings: &mut Vec<Finding>,
    ) -> Result<StoresWritten> {
        let edited: Vec<&Store> = self.stores.iter().filter(|store| store.edited).collect();
        for store in &edited {
            store.check().map_err(|e| e.subject(store.name()))?;
        }
        for store in &edited {
            store.write(image).map_err(|e| e.subject(store.name()))?;
        }
        let at = |store: &&Store| StoreAt { partition: store.partition.clone(), path: store.path.clone() };
        let on_fat = edited.iter().map(at).collect();
        let written = self.systems.iter_mut().map(|system| system.write(image, now, findings));
        let systems = written.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(StoresWritten { on_fat, systems })
    }
}

impl Store {
    /// An edit of what logs do not cover would be an edit of something else than Windows reads.
    pub(crate) fn refuse_dirty(&self) -> Result<()> {
        match self.hive.state() {
            LoadState::Unrecovered { why } => {
                Err(Error::new(Kind::Damaged, format!("the boot store has to change and is not whole: {why}"))
                    .subject(self.name())
                    .hint("boot the image once and shut it down fully, or leave out the step that changes it"))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<()> {
        let Home::Fat { size, .. } = self.home else { return Ok(()) };
        let len = self.hive.byte_len();
        if len as u64 > u64::from(size) {
            let detail =
                format!("the store would grow from {size} to {len} bytes, and a file on FAT is only overwritten");
            return Err(Error::new(Kind::Unsupported, detail)
                .hint("give a SID with as many digits as the old one, or leave out the step that changes the store"));
        }
        let damage = self.hive.check_edits().into_iter().find(|finding| finding.level == Level::Damage);
        match damage {
            // What was wrong before is told by its own check: an edit beside it is not made.
            Some(finding) => Err(Error::new(Kind::Damaged, format!("the store does not pass its check: {finding}"))
                .hint("in Windows run `bcdedit /export` and `/import`; nothing was written")),
            None => Ok(()),
        }
    }

    fn write(&self, image: &DiskImage) -> Result<()> {
        let Home::Fat { logs, .. } = &self.home else { return Ok(()) };
        let volume = Volume::open(image.bytes(&self.partition))?;
        let missing = || Error::new(Kind::Internal, "the store is gone");
        let file = volume.resolve(&self.path)?.ok_or_else(missing)?;
        let pieces: Vec<(u64, Cow<'_, [u8]>)> = match self.hive.changed_pages() {
            Some(pages) => pages.collect(),
            None => vec![(0, Cow::Owned(self.hive.to_bytes()))],
        };
        let pieces: Vec<(u64, &[u8])> = pieces.iter().map(|(at, bytes)| (*at, bytes.as_ref())).collect();
        volume.overwrite(&file, &pieces)?;
        for log in logs.iter().filter(|log| log.bytes.iter().any(|b| *b != 0)) {
            volume.overwrite(&log.entry, &[(0, &vec![0; log.bytes.len()])])?;
        }
        let back = volume.read(&file, super::find::MOST)?;
        let wanted = self.hive.to_bytes();
        if back.get(..wanted.len()) != Some(&wanted[..]) {
            return Err(Error::new(Kind::Internal, "the store reads back differently")
                .hint("this is a defect of reseal; nothing was written"));
        }
        Ok(())
    }
}

/// Where stores and their logs lie, in bytes of the disk, by the FAT of the disk as it was.
pub(crate) fn original_ranges(original: &Disk, stores: &[StoreAt]) -> Result<Vec<Range<u64>>> {
    let mut out = Vec::new();
    for store in stores {
        let volume = Volume::open(original.partition(&store.partition))?;
        for suffix in std::iter::once("").chain(LOG_SUFFIXES) {
            out.extend(ranges(&volume, &format!("{}{suffix}", store.path), store.partition.offset)?);
        }
    }
    Ok(out)
}

fn ranges(volume: &Volume, path: &str, base: u64) -> Result<Vec<Range<u64>>> {
    let Some(file) = volume.resolve(path)? else { return Ok(Vec::new()) };
    let extents = volume.extents(&file)?.into_iter();
    Ok(extents.map(|e| base + e.on_volume..base + e.on_volume + e.len).collect())
}

/// Files of stores on a FAT partition with the ranges of the disk where they lie; empty for what cannot be read.
pub(crate) fn named_ranges(image: &DiskImage, partition: &Partition) -> Vec<(String, Range<u64>)> {
    let Ok(volume) = Volume::open(image.bytes(partition)) else { return Vec::new() };
    let mut out = Vec::new();
    for path in PATHS {
        for suffix in std::iter::once("").chain(LOG_SUFFIXES) {
            let path = format!("{path}{suffix}");
            let found = ranges(&volume, &path, partition.offset).unwrap_or_default();
            out.extend(found.into_iter().map(|range| (path.clone(), range)));
        }
    }
    out
}
