//! Where old SIDs may stand: one raw search over the hive's bytes, and the cells that the hits fall into.
//!
//! The search is for what all forms of a SID share, its three numbers, and ignores what precedes and follows: whether a
//! hit is a SID is decided on the bytes of the name or value that it belongs to, since a digit of the next cell is not
//! part of a name. No hit, no further work.

use crate::base_block::LEN;
use crate::big_data::SEGMENT;
use crate::image::{BIN_HEADER, Image, dword, place, word};
use memchr::memmem::Finder;
use rayon::prelude::*;
use reseal_dtyp::{DomainSid, Error, Result};
use reseal_sid::SidMap;
use std::collections::BTreeMap;
use std::ops::Range;

/// More than half of the longest form: `S-1-5-21-` and three numbers of ten digits in UTF-16 take 82 bytes.
const WINDOW: usize = 96;

/// A cell with at least one hit.
#[derive(Debug, Clone, Default)]
pub(crate) struct HitCell {
    pub(crate) allocated: bool,
    /// The hits, relative to the cell's content.
    pub(crate) hits: Vec<Range<usize>>,
}

/// All hits of a hive.
#[derive(Debug, Clone, Default)]
pub(crate) struct HitMap {
    /// One bit per 8 bytes of hbins: the cell that starts here has a hit.
    bits: Vec<u64>,
    pub(crate) cells: BTreeMap<u32, HitCell>,
    /// File ranges in the base block, in hbin headers and in hbins whose cells do not tile.
    pub(crate) outside: Vec<Range<usize>>,
    /// File ranges behind the hbins.
    pub(crate) tail: Vec<Range<usize>>,
}

impl HitMap {
    pub(crate) fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.outside.is_empty() && self.tail.is_empty()
    }

    /// Whether the cell at `at` has a hit.
    pub(crate) fn has(&self, at: u32) -> bool {
        self.bits.get(at as usize / 512).is_some_and(|bits| bits >> (at / 8 % 64) & 1 == 1)
    }

    pub(crate) fn cell(&mut self, at: u32, allocated: bool) -> &mut HitCell {
        let index = at as usize / 512;
        if index >= self.bits.len() {
            self.bits.resize(index + 1, 0);
        }
        self.bits[index] |= 1 << (at / 8 % 64);
        let cell = self.cells.entry(at).or_default();
        cell.allocated = allocated;
        cell
    }
}

/// The three numbers of a SID in each form.
fn anchors(sid: DomainSid) -> [Vec<u8>; 3] {
    let DomainSid([a, b, c]) = sid;
    let text = format!("-{a}-{b}-{c}");
    [
        [a, b, c].iter().flat_map(|n| n.to_le_bytes()).collect(),
        text.bytes().flat_map(|b| [b, 0]).collect(),
        text.into_bytes(),
    ]
}

/// Bytes that one task searches for all forms, while they are in the cache.
const PIECE: usize = 256 << 10;

/// [`search`] in pieces and in parallel, with the same hits whatever the number of threads.
fn search_all(finders: &[Finder<'_>], bytes: &[u8]) -> Vec<Range<usize>> {
    let pieces = bytes.len().div_ceil(PIECE);
    let hits = (0..pieces).into_par_iter().map(|i| {
        let (start, end) = (i * PIECE, (i + 1) * PIECE);
        let mut hits = search(finders, &bytes[start..(end + WINDOW).min(bytes.len())]);
        // A hit that begins in the next piece is found there.
        hits.retain_mut(|hit| {
            *hit = hit.start + start..hit.end + start;
            hit.start < end
        });
        hits
    });
    hits.collect::<Vec<_>>().into_iter().flatten().collect()
}

/// Whether the end of `bytes` may be the beginning of something that is looked for.
fn ends_in_part(finders: &[Finder<'_>], bytes: &[u8]) -> bool {
    finders.iter().any(|finder| {
        let needle = finder.needle();
        (1..needle.len()).any(|n| bytes.ends_with(&needle[..n]))
    })
}

/// File ranges of all hits, ascending.
fn search(finders: &[Finder<'_>], bytes: &[u8]) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    for finder in finders {
        let len = finder.needle().len();
        out.extend(finder.find_iter(bytes).map(|at| at..at + len));
    }
    out.sort_by_key(|hit| hit.start);
    out
}

impl Image {
    /// Searches the whole file. With `strict`, hbins whose cells do not tile are an error if they have a hit.
    pub(crate) fn hit_map(&self, map: &SidMap, strict: bool) -> Result<HitMap> {
        let needles: Vec<Vec<u8>> = map.pairs().iter().flat_map(|(old, _)| anchors(*old)).collect();
        let finders: Vec<Finder<'_>> = needles.iter().map(|n| Finder::new(n.as_slice())).collect();
        let mut out = HitMap::default();
        let mut cursor = 0;
        for hit in search_all(&finders, &self.bytes) {
            if hit.start < LEN {
                out.outside.push(hit);
            } else if hit.start >= LEN + self.size as usize {
                out.tail.push(hit);
            } else {
                self.assign(hit, &mut cursor, &mut out, strict)?;
            }
        }
        if self.minor > 3 && self.may_be_split(&finders) {
            self.find_split(&finders, &mut out);
        }
        Ok(out)
    }

    /// Enters a hit inside the hbins; `cursor` is the cell where the last one was found.
    pub(crate) fn assign(&self, hit: Range<usize>, cursor: &mut u32, out: &mut HitMap, strict: bool) -> Result<()> {
        let target = (hit.start - LEN) as u32;
        let (bin, end) = (self.bin_start(target), self.bin_end(target));
        let first = bin + BIN_HEADER as u32;
        if target < first {
            out.outside.push(hit);
            return Ok(());
        }
        let mut at = if (first..=target).contains(cursor) { *cursor } else { first };
        while at < end {
            let raw = self.raw_size(at);
            let len = raw.unsigned_abs();
            if len < 8 || !len.is_multiple_of(8) || len > end - at {
                if strict {
                    return Err(Error::damaged(
                        "cell",
                        "size",
                        place(at),
                        format!("size {raw} does not tile the hbin"),
                    ));
                }
                *cursor = at;
                break;
            }
            if target < at + len {
                *cursor = at;
                let start = (target - at) as usize;
                // A hit that begins in the size field belongs to the cell before or to chance.
                let range = start.saturating_sub(4)..(start + hit.len()).saturating_sub(4).min(len as usize - 4);
                out.cell(at, raw < 0).hits.push(range);
                return Ok(());
            }
            at += len;
        }
        out.outside.push(hit);
        Ok(())
    }

    /// Whether a cell that can be a full segment of big data ends in what may be the beginning of a SID.
    fn may_be_split(&self, finders: &[Finder<'_>]) -> bool {
        let full = SEGMENT as u32 + 4;
        self.bins.iter().any(|&bin| {
            let (mut at, end) = (bin + BIN_HEADER as u32, self.bin_end(bin));
            while at < end && end - at >= full {
                let raw = self.raw_size(at);
                let len = raw.unsigned_abs();
                if len < 8 || !len.is_multiple_of(8) || len > end - at {
                    break;
                }
                let start = LEN + at as usize + 4;
                if raw < 0 && len >= full && ends_in_part(finders, &self.bytes[start..start + SEGMENT]) {
                    return true;
                }
                at += len;
            }
            false
        })
    }

    /// Finds big data records where a SID lies across two segments: no raw search sees those.
    fn find_split(&self, finders: &[Finder<'_>], out: &mut HitMap) {
        // Records that share segments could claim more joints than the hive has room for.
        let mut budget = 2 * self.size as usize / SEGMENT + 16;
        for &bin in &self.bins {
            let (mut at, end) = (bin + BIN_HEADER as u32, self.bin_end(bin));
            while at < end {
                let raw = self.raw_size(at);
                let len = raw.unsigned_abs();
                if len < 8 || !len.is_multiple_of(8) || len > end - at {
                    break;
                }
                let start = LEN + at as usize + 4;
                if raw < 0 && self.bytes.get(start..start + 2) == Some(b"db") && self.is_split(at, finders, &mut budget)
                {
                    out.cell(at, true);
                }
                at += len;
            }
        }
    }

    /// Whether a hit lies across two segments of what may be a big data record.
    fn is_split(&self, record: u32, finders: &[Finder<'_>], budget: &mut usize) -> bool {
        let Ok(content) = self.content(record, "db") else { return false };
        let (count, list) = (usize::from(word(content, 2)), dword(content, 4));
        let Ok(list) = self.content(list, "db list") else { return false };
        let segment = |i: usize| self.content(dword(list, 4 * i), "db segment").ok();
        for i in 1..count.min(list.len() / 4) {
            let (Some(before), Some(after)) = (segment(i - 1), segment(i)) else { return false };
            let Some(before) = before.get(SEGMENT - WINDOW..SEGMENT).filter(|_| *budget > 0) else { return false };
            *budget -= 1;
            let joint = [before, &after[..after.len().min(WINDOW)]].concat();
            if !search(finders, &joint).is_empty() {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_lies_across_pieces_once() {
        let needles = anchors(DomainSid([1_234_567_890, 0, 4_294_967_295]));
        let finders: Vec<Finder<'_>> = needles.iter().map(|n| Finder::new(n.as_slice())).collect();
        for needle in &needles {
            for start in (PIECE - needle.len() - 1..=PIECE + 1).chain([0, 2 * PIECE + 5]) {
                let mut bytes = vec![0; 2 * PIECE + 200];
                bytes[start..start + needle.len()].copy_from_slice(needle);
                let found = search_all(&finders, &bytes);
                assert_eq!((found.len(), &found[0]), (1, &(start..start + needle.len())));
            }
        }
    }

    #[test]
    fn every_beginning_at_the_end_is_seen() {
        let needles = anchors(DomainSid([1_234_567_890, 22, 4_294_967_295]));
        let finders: Vec<Finder<'_>> = needles.iter().map(|n| Finder::new(n.as_slice())).collect();
        for needle in &needles {
            for n in 1..needle.len() {
                assert!(ends_in_part(&finders, &[&[0; 100], &needle[..n]].concat()));
            }
        }
        assert!(!ends_in_part(&finders, &[0; 100]));
    }
}
