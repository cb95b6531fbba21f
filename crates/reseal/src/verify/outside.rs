//! The disk outside of NTFS volumes: partition tables, gaps, other partitions. It is searched as it lies there.

use super::search::Search;
use super::{Trace, Verification};
use crate::boot_store::named_ranges;
use crate::error::Result;
use crate::image::DiskImage;
use rayon::prelude::*;
use reseal_ntfs::Probe;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes read at once.
const CHUNK: u64 = 1 << 20;

/// Needle, form, region: first offset on the disk, and how often.
type Found = BTreeMap<(usize, &'static str, String), (u64, u64)>;

pub(super) fn of_disk(image: &DiskImage, search: &Search, out: &mut Verification) -> Result<()> {
    // Whoever names one partition asks about that one.
    if image.selected.is_some() {
        return Ok(());
    }
    let bytes = image.disk.bytes();
    let mut found = Found::new();
    let files = store_files(image)?;
    for (region, range) in ranges(image, bytes.len())? {
        let hits: Mutex<Vec<(u64, usize, &'static str)>> = Mutex::default();
        let chunks = (range.end - range.start).div_ceil(CHUNK);
        let searched: u64 = (0..chunks)
            .into_par_iter()
            .map(|index| -> Result<u64> {
                let start = range.start + index * CHUNK;
                let len = (CHUNK + search.reach() as u64).min(range.end - start);
                if bytes.is_hole(start, len) {
                    return Ok(0);
                }
                let mut piece = vec![0; len as usize];
                bytes.read_at(start, &mut piece)?;
                search.find(&piece, |at, pattern| {
                    let hit = (start + at as u64, pattern.of, pattern.form);
                    hits.lock().unwrap_or_else(PoisonError::into_inner).push(hit);
                });
                Ok(len)
            })
            .sum::<Result<u64>>()?;
        out.searched_bytes += searched;
        let mut hits = hits.into_inner().unwrap_or_else(PoisonError::into_inner);
        hits.sort_unstable();
        hits.dedup();
        for (offset, of, form) in hits {
            let file = files.iter().find(|(_, range)| range.contains(&offset));
            let region = file.map_or_else(|| region.clone(), |(path, _)| format!("{region}: {path}"));
            found.entry((of, form, region)).or_insert((offset, 0)).1 += 1;
        }
    }
    out.traces.extend(found.into_iter().map(|((of, form, region), (offset, count))| Trace {
        of: search.names[of].clone(),
        form,
        kind: "disk",
        region,
        within: None,
        offset,
        count,
        on_purpose: None,
    }));
    Ok(())
}

/// Boot stores on FAT partitions, and where they lie on the disk.
fn store_files(image: &DiskImage) -> Result<Vec<(String, Range<u64>)>> {
    let mut out = Vec::new();
    for partition in image.partitions() {
        if image.probe(partition)? == Probe::Fat {
            out.extend(named_ranges(image, partition));
        }
    }
    Ok(out)
}

/// What no NTFS volume covers, with names.
fn ranges(image: &DiskImage, len: u64) -> Result<Vec<(String, Range<u64>)>> {
    let mut partitions: Vec<_> = image.partitions().collect();
    partitions.sort_by_key(|partition| partition.offset);
    let (mut out, mut at) = (Vec::new(), 0);
    for partition in partitions {
        let end = partition.offset.saturating_add(partition.len).min(len);
        if partition.offset > at {
            out.push(("outside of partitions".to_owned(), at..partition.offset.min(len)));
        }
        if image.probe(partition)? != Probe::Ntfs {
            out.push((DiskImage::place(partition), partition.offset.min(len)..end));
        }
        at = at.max(end);
    }
    if at < len {
        out.push(("outside of partitions".to_owned(), at..len));
    }
    Ok(out)
}
