//! Free clusters and file records.

use crate::attribute::kind;
use crate::reference::system;
use crate::runs::Run;
use crate::store::Touch;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

/// What may be given out. A cluster must be free in `$Bitmap` and belong to no run that was parsed.
#[derive(Debug)]
pub(crate) struct Allocator {
    /// Bits of clusters that are taken.
    used: Vec<u64>,
    /// Where `$Bitmap` lies.
    bitmap: Clusters,
    /// Bits of file records that are taken.
    pub(crate) records: Vec<u64>,
    /// Given up by the operation under way: free and zeroed when it has succeeded.
    freed: Vec<Run>,
}

/// At most this many runs are given out for one request; their list takes some hundred file records.
const MAX_RUNS: usize = 1 << 16;
/// Clusters behind `$MFT` are left to its growth as long as there are others; Windows reserves an eighth of the volume.
const MFT_ZONE_BYTES: u64 = 64 << 20;

fn is_set(bits: &[u64], index: u64) -> bool {
    bits.get((index / 64) as usize).is_none_or(|w| w >> (index % 64) & 1 != 0)
}

fn set_range(bits: &mut [u64], first: u64, len: u64, value: bool) {
    for index in first..first.saturating_add(len) {
        let Some(word) = bits.get_mut((index / 64) as usize) else { return };
        if value {
            *word |= 1 << (index % 64);
        } else {
            *word &= !(1 << (index % 64));
        }
    }
}

impl Allocator {
    /// The free runs in `range`, in order.
    fn free_runs(&self, range: std::ops::Range<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = range.start;
        std::iter::from_fn(move || {
            while at < range.end {
                // Whole words that are full are passed over.
                if at.is_multiple_of(64) && self.used.get((at / 64) as usize) == Some(&u64::MAX) {
                    at += 64;
                } else if is_set(&self.used, at) {
                    at += 1;
                } else {
                    break;
                }
            }
            let start = at;
            while at < range.end {
                if at.is_multiple_of(64) && at + 64 <= range.end && self.used.get((at / 64) as usize) == Some(&0) {
                    at += 64;
                } else if !is_set(&self.used, at) {
                    at += 1;
                } else {
                    break;
                }
            }
            (start < range.end && at > start).then_some((start, at - start))
        })
    }

    /// Free clusters right behind `lcn`, at most `want`.
    fn free_behind(&self, lcn: u64, want: u64) -> u64 {
        (0..want).take_while(|&i| !is_set(&self.used, lcn + i)).count() as u64
    }
}

impl Volume {
    /// Makes the allocator, which takes one pass over all file records.
    fn allocator(&mut self) -> Result<&mut Allocator> {
        if self.allocator.is_none() {
            let mut findings = crate::check::Findings::default();
            let survey = self.survey(false, &mut findings, &crate::check::Silent)?;
            let mut used = self.cluster_bitmap()?;
            used.iter_mut().zip(survey.clusters.words()).for_each(|(a, b)| *a |= b);
            let mut records = self.record_bitmap()?;
            records.iter_mut().zip(survey.in_use.words()).for_each(|(a, b)| *a |= b);
            let bitmap = match self.system_stream(system::BITMAP, kind::DATA, &[])? {
                Stream::Clusters(clusters) => clusters,
                Stream::Resident(_) => return Err(Error::unsupported("$Bitmap is resident")),
            };
            self.allocator = Some(Allocator { used, bitmap, records, freed: Vec::new() });
        }
        self.allocator.as_mut().ok_or_else(|| Error::new(Kind::Conflict, "no allocator"))
    }

    /// Takes `count` clusters, in one run if there is one that long, right behind `after` if that is free. The runs start at
    /// virtual cluster `vcn`. `NoSpace` when there are not enough.
    pub(crate) fn allocate(&mut self, count: u64, vcn: u64, after: Option<u64>) -> Result<Vec<Run>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let total = self.geometry.clusters;
        let zone = self.mft_zone();
        let allocator = self.allocator()?;
        let mut found: Vec<(u64, u64)> = Vec::new();
        if let Some(after) = after.filter(|&a| allocator.free_behind(a, count) == count) {
            found.push((after, count));
        } else {
            let one =
                |range| allocator.free_runs(range).find(|&(_, len)| len >= count).map(|(start, _)| (start, count));
            match one(0..zone.start).or_else(|| one(zone.end..total)).or_else(|| one(0..total)) {
                Some(run) => found.push(run),
                None => {
                    let mut all: Vec<_> = allocator.free_runs(0..total).collect();
                    // Few long runs, and those in order of place.
                    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
                    let mut left = count;
                    for (start, len) in all.into_iter().take(MAX_RUNS) {
                        found.push((start, len.min(left)));
                        left -= len.min(left);
                        if left == 0 {
                            break;
                        }
                    }
                    if left > 0 {
                        let detail = format!("{count} clusters are needed, {left} of them are not free in long runs");
                        return Err(Error::new(Kind::NoSpace, detail));
                    }
                    found.sort_unstable();
                }
            }
        }
        let mut runs = Vec::new();
        let mut next = vcn;
        for (lcn, len) in found {
            set_range(&mut self.allocator()?.used, lcn, len, true);
            self.stage_bitmap(lcn, len, true)?;
            runs.push(Run { vcn: next, lcn: Some(lcn), len });
            next += len;
        }
        Ok(runs)
    }

    /// All free runs, in order: first cluster and length.
    pub(crate) fn free_runs(&mut self) -> Result<Vec<(u64, u64)>> {
        let total = self.geometry.clusters;
        Ok(self.allocator()?.free_runs(0..total).collect())
    }

    /// Whether that many clusters are free in one run.
    pub(crate) fn has_free_run(&mut self, count: u64) -> Result<bool> {
        let total = self.geometry.clusters;
        Ok(self.allocator()?.free_runs(0..total).any(|(_, len)| len >= count))
    }

    fn mft_zone(&self) -> std::ops::Range<u64> {
        let total = self.geometry.clusters;
        let start = self.mft.runs.last().and_then(|r| r.lcn.map(|l| l + r.len)).unwrap_or(0);
        let len = (MFT_ZONE_BYTES / u64::from(self.geometry.cluster_size)).min(total / 8);
        start..start.saturating_add(len).min(total)
    }

    /// Gives clusters up. They are not given out again before the operation has succeeded, and are zeroed then.
    pub(crate) fn release(&mut self, runs: &[Run]) -> Result<()> {
        for run in runs {
            if let Some(lcn) = run.lcn {
                self.stage_bitmap(lcn, run.len, false)?;
                self.allocator()?.freed.push(*run);
            }
        }
        Ok(())
    }

    /// After a successful operation: zeroes what it gave up and makes it available.
    pub(crate) fn settle_freed(&mut self) -> Result<()> {
        let freed = self.allocator.as_mut().map(|a| std::mem::take(&mut a.freed)).unwrap_or_default();
        let size = u64::from(self.geometry.cluster_size);
        for run in freed {
            let Some(lcn) = run.lcn else { continue };
            self.store.zero(self.geometry.offset_of(lcn), run.len.saturating_mul(size))?;
            if let Some(allocator) = &mut self.allocator {
                set_range(&mut allocator.used, lcn, run.len, false);
            }
        }
        Ok(())
    }

    /// Sets or clears bits of `$Bitmap`; each must have had the other value.
    fn stage_bitmap(&mut self, lcn: u64, len: u64, value: bool) -> Result<()> {
        let bitmap = self.allocator()?.bitmap.clone();
        stage_bits(self, &bitmap, lcn, len, value, Touch::ClusterBitmap)
    }

    /// Takes a free file record from 64 on; grows `$MFT` when there is none.
    pub(crate) fn allocate_record(&mut self) -> Result<u64> {
        for _ in 0..2 {
            let count = self.record_count();
            let allocator = self.allocator()?;
            let words = allocator.records.iter().enumerate().skip((system::FIRST_USER / 64) as usize);
            let word = words.into_iter().find(|(_, w)| **w != u64::MAX).map_or(count, |(i, _)| i as u64 * 64);
            let free = (word.max(system::FIRST_USER)..count).find(|&n| !is_set(&allocator.records, n));
            if let Some(number) = free {
                set_range(&mut allocator.records, number, 1, true);
                self.stage_record_bit(number, true)?;
                return Ok(number);
            }
            self.grow_mft()?;
        }
        Err(Error::new(Kind::NoSpace, "there is no free file record"))
    }

    /// Takes a free file record for a part of `$MFT` itself: one of those that are set aside for it, else the lowest one, so
    /// that it lies in a part that is found without it. `$MFT` does not grow for it, and the caller sets the bit.
    pub(crate) fn claim_record_for_mft(&mut self) -> Result<u64> {
        let count = self.record_count();
        let records = &mut self.allocator()?.records;
        let free = (system::FIRST_SPARE..count).find(|&n| !is_set(records, n));
        let number = free.ok_or_else(|| Error::new(Kind::NoSpace, "no file record is free for the runs of $MFT"))?;
        set_range(records, number, 1, true);
        Ok(number)
    }

    /// Marks a file record as free.
    pub(crate) fn release_record(&mut self, number: u64) -> Result<()> {
        set_range(&mut self.allocator()?.records, number, 1, false);
        self.stage_record_bit(number, false)
    }

    pub(crate) fn stage_record_bit(&mut self, number: u64, value: bool) -> Result<()> {
        match self.system_stream(system::MFT, kind::BITMAP, &[])? {
            Stream::Clusters(bitmap) => stage_bits(self, &bitmap, number, 1, value, Touch::RecordBitmap),
            Stream::Resident(_) => Err(Error::unsupported("the bitmap of $MFT is resident")),
        }
    }
}

/// Sets or clears bits in a bitmap that lies in clusters; `Conflict` when one already has the value.
fn stage_bits(volume: &mut Volume, bitmap: &Clusters, first: u64, len: u64, value: bool, what: Touch) -> Result<()> {
    const STEP: u64 = 1 << 15;
    let (mut at, end) = (first, first + len);
    while at < end {
        let n = (end - at).min(STEP);
        let (from, to) = (at / 8, (at + n).div_ceil(8));
        let mut bytes = vec![0; (to - from) as usize];
        volume.read_clusters(bitmap, from, &mut bytes)?;
        for bit in at..at + n {
            let (byte, mask) = ((bit / 8 - from) as usize, 1u8 << (bit % 8));
            if (bytes[byte] & mask != 0) == value {
                let detail = format!("{what:?}: bit {bit} is already {}", u8::from(value));
                return Err(Error::new(Kind::Conflict, detail));
            }
            bytes[byte] ^= mask;
        }
        volume.stage_clusters(bitmap, from, &bytes, what)?;
        at += n;
    }
    Ok(())
}

impl Volume {
    /// Tells the allocator that `$MFT` has grown to `count` records; the new ones are free.
    pub(crate) fn forget_records(&mut self, count: u64) {
        if let Some(allocator) = &mut self.allocator {
            allocator.records.resize(count.div_ceil(64) as usize, 0);
        }
    }
}
