//! A FAT partition of both sides: the boot store as a hive, the rest byte by byte.

use super::content::{compare_bytes, digest_of};
use super::descriptors::Words;
use super::filter::Filter;
use super::hives::state;
use super::registry::{self, Shown};
use super::{DiffEntry, DiffKind, DiffOptions, VolumeDifference};
use crate::boot_store::PATHS;
use crate::error::Result;
use crate::hives::LOG_SUFFIXES;
use crate::reg_text::Root;
use reseal_disk::{ReadAt, WriteAt};
use reseal_fat::{Extent, Volume};
use reseal_hive::{Hive, Recover};
use std::sync::Arc;

/// A larger store is compared as bytes.
const MOST: u32 = 16 << 20;

/// A file on one side.
struct File {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
}

fn file(volume: &Volume, path: &str) -> reseal_dtyp::Result<Option<File>> {
    let Some(entry) = volume.resolve(path)? else { return Ok(None) };
    Ok(Some(File { bytes: volume.read(&entry, MOST)?, extents: volume.extents(&entry)? }))
}

/// A volume of which some places read as zero: they are compared otherwise.
struct Masked {
    bytes: Arc<dyn WriteAt>,
    places: Vec<Extent>,
}

impl ReadAt for Masked {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> reseal_dtyp::Result<()> {
        self.bytes.read_at(offset, buf)?;
        let end = offset + buf.len() as u64;
        for place in &self.places {
            let (from, to) = (place.on_volume.max(offset), (place.on_volume + place.len).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize].fill(0);
            }
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.bytes.len()
    }
}

/// Adds what differs. A store that does not read on both sides, or lies elsewhere, is part of the rest.
pub(super) fn compare(
    sides: [Arc<dyn WriteAt>; 2],
    options: &DiffOptions,
    filter: &Filter,
    out: &mut VolumeDifference,
) -> Result<(), (usize, reseal_dtyp::Error)> {
    let mut places = Vec::new();
    if let [Ok(a), Ok(b)] = [Volume::open(Arc::clone(&sides[0])), Volume::open(Arc::clone(&sides[1]))] {
        for path in PATHS {
            places.extend(store([&a, &b], path, options, filter, out)?);
        }
    }
    if filter.is_empty() {
        let masked = sides.map(|bytes| Masked { bytes, places: places.clone() });
        let differing = compare_bytes([&masked[0], &masked[1]])?;
        let entry = |sides: [String; 2]| DiffEntry::new(DiffKind::Partition, "", sides.map(|s| Some(Arc::from(s))));
        out.entries.extend(differing.map(|sides| entry(sides).named("content")));
    }
    Ok(())
}

/// Compares the store at a path with its logs; returns the places that are thereby compared.
fn store(
    volumes: [&Volume; 2],
    path: &str,
    options: &DiffOptions,
    filter: &Filter,
    out: &mut VolumeDifference,
) -> Result<Vec<Extent>, (usize, reseal_dtyp::Error)> {
    let [Ok(Some(a)), Ok(Some(b))] = volumes.map(|volume| file(volume, path)) else { return Ok(Vec::new()) };
    let logs = LOG_SUFFIXES.map(|suffix| volumes.map(|volume| file(volume, &format!("{path}{suffix}"))));
    let mut places = a.extents.clone();
    let mut log_bytes: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];
    let mut entries = Vec::new();
    for (log, suffix) in logs.into_iter().zip(LOG_SUFFIXES) {
        let [a, b] = match log {
            [Ok(None), Ok(None)] => continue,
            [Ok(Some(a)), Ok(Some(b))] if a.extents == b.extents => [a, b],
            _ => return Ok(Vec::new()),
        };
        places.extend(&a.extents);
        if a.bytes != b.bytes {
            let shown = [&a, &b].map(|log| Some(Arc::from(digest_of(&log.bytes))));
            entries.push(DiffEntry::new(DiffKind::HiveLog, &format!("{path}{suffix}"), shown));
        }
        log_bytes[0].push(a.bytes);
        log_bytes[1].push(b.bytes);
    }
    let hive = |file: &File, logs: &[Vec<u8>]| {
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        Hive::open(&file.bytes, &logs, Recover::AsIs)
    };
    let [Ok(left), Ok(right)] = [hive(&a, &log_bytes[0]), hive(&b, &log_bytes[1])] else { return Ok(Vec::new()) };
    if a.extents != b.extents {
        return Ok(Vec::new());
    }
    let states = [state(&left), state(&right)];
    if states[0] != states[1] {
        entries.push(DiffEntry::new(DiffKind::HiveState, path, states.map(|s| Some(Arc::from(s)))));
    }
    let (root, whole) = (Root::of_file(path).path, filter.wants_file(path));
    if whole || filter.wants_hive(&root) {
        out.hives += 1;
        let (words, before) = (&Words::default(), entries.len());
        let shown = Shown { path, root: &root, options, filter, words, whole, secret: false };
        registry::compare([&left, &right], &shown, &mut entries)?;
        if entries.len() == before && a.bytes != b.bytes && options.raw {
            let shown = [&a, &b].map(|file| Some(Arc::from(digest_of(&file.bytes))));
            entries.push(DiffEntry::new(DiffKind::HiveBytes, path, shown));
        }
        out.files += 1;
        out.entries.extend(entries);
    }
    Ok(places)
}
