//! Cells taken, given back and resized: best fit from the free cells, coalesced within an hbin, a new hbin at the end otherwise.
//!
//! What is given back is zeroed: removed data leaves no bytes behind.

use crate::base_block::{LEN, at::BINS, put32};
use crate::image::{BIN_HEADER, Image, place};
use reseal_dtyp::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The free cells and the starts of all cells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    /// One bit per 8 bytes of hbins: a cell starts here.
    starts: Vec<u64>,
    by_start: BTreeMap<u32, u32>,
    by_size: BTreeSet<(u32, u32)>,
}

impl Space {
    /// Walks every cell; `Damaged` unless they tile their hbins.
    pub(crate) fn build(image: &Image) -> Result<Space> {
        let mut space = Space { starts: vec![0; (image.size as usize).div_ceil(512)], ..Space::default() };
        for &bin in &image.bins {
            let end = image.bin_end(bin);
            let mut at = bin + BIN_HEADER as u32;
            while at < end {
                let raw = image.raw_size(at);
                let len = raw.unsigned_abs();
                if len < 8 || !len.is_multiple_of(8) || len > end - at {
                    let detail = format!("size {raw} does not tile the hbin, which has {:#x} bytes left", end - at);
                    return Err(Error::damaged("cell", "size", place(at), detail));
                }
                space.mark(at, true);
                if raw > 0 {
                    space.insert(at, len);
                }
                at += len;
            }
        }
        Ok(space)
    }

    pub(crate) fn is_start(&self, at: u32) -> bool {
        self.starts.get(at as usize / 512).is_some_and(|bits| bits >> (at / 8 % 64) & 1 == 1)
    }

    fn mark(&mut self, at: u32, start: bool) {
        let (index, bit) = (at as usize / 512, 1u64 << (at / 8 % 64));
        if index >= self.starts.len() {
            self.starts.resize(index + 1, 0);
        }
        if start { self.starts[index] |= bit } else { self.starts[index] &= !bit }
    }

    fn insert(&mut self, at: u32, len: u32) {
        self.by_start.insert(at, len);
        self.by_size.insert((len, at));
    }

    fn remove(&mut self, at: u32) -> Option<u32> {
        let len = self.by_start.remove(&at)?;
        self.by_size.remove(&(len, at));
        Some(len)
    }
}

/// Length of a cell that holds `len` bytes of content.
fn cell_len(len: usize) -> Result<u32> {
    u32::try_from(len.saturating_add(4 + 7) & !7)
        .ok()
        .filter(|&n| n < i32::MAX as u32 - 2 * LEN as u32)
        .map(|n| n.max(8))
        .ok_or_else(|| Error::new(Kind::Limit, format!("a cell cannot hold {len} bytes")))
}

impl Image {
    fn space_mut(&mut self) -> Result<&mut Space> {
        self.open_space()?;
        self.space.as_mut().ok_or_else(|| Error::new(Kind::Conflict, "no table of cells"))
    }

    /// A new allocated cell with `len` zero bytes of content, at least.
    pub(crate) fn allocate(&mut self, len: usize) -> Result<u32> {
        let need = cell_len(len)?;
        let space = self.space_mut()?;
        let found = space.by_size.range((need, 0)..).next().copied();
        let (have, at) = match found {
            Some(hit) => hit,
            None => self.append_bin(need)?,
        };
        self.changed = true;
        self.space_mut()?.remove(at);
        self.carve(at, have, need)?;
        self.fill_zero(at, 0, need);
        Ok(at)
    }

    /// Makes an allocated cell of `need` bytes of the `have` at `at`; the rest becomes a free cell.
    fn carve(&mut self, at: u32, have: u32, need: u32) -> Result<()> {
        self.set_raw_size(at, -(need as i32));
        if have > need {
            self.space_mut()?.mark(at + need, true);
            self.set_raw_size(at + need, (have - need) as i32);
            self.release(at + need)?;
        }
        Ok(())
    }

    /// Zeroes a cell's content from `from` to the end of its `len` bytes (header included).
    fn fill_zero(&mut self, at: u32, from: usize, len: u32) {
        let start = LEN + at as usize + 4;
        let (first, end) = (start.saturating_add(from), start + len as usize - 4);
        if first < end {
            self.mark(first, end - first);
            self.bytes[first..end].fill(0);
        }
    }

    /// Gives a cell back: zeroed, coalesced with free neighbours of its hbin.
    pub(crate) fn free(&mut self, at: u32, what: &'static str) -> Result<()> {
        let len = self.content_mut(at, what)?.len() as u32 + 4;
        self.fill_zero(at, 0, len);
        self.set_raw_size(at, len as i32);
        self.release(at)
    }

    /// Enters a cell whose header already says that it is free.
    fn release(&mut self, at: u32) -> Result<()> {
        let (bin, end) = (self.bin_start(at), self.bin_end(at));
        let (mut at, mut len) = (at, self.raw_size(at).unsigned_abs());
        let space = self.space.as_mut().ok_or_else(|| Error::new(Kind::Conflict, "no table of cells"))?;
        while at + len < end
            && let Some(more) = space.remove(at + len)
        {
            space.mark(at + len, false);
            self.bytes[LEN + (at + len) as usize..][..4].fill(0);
            self.pages.insert(1 + (at + len) / LEN as u32);
            len += more;
        }
        while let Some((&before, &more)) = space.by_start.range(bin..at).next_back()
            && before + more == at
        {
            space.remove(before);
            space.mark(at, false);
            self.bytes[LEN + at as usize..][..4].fill(0);
            self.pages.insert(1 + at / LEN as u32);
            (at, len) = (before, len + more);
        }
        space.insert(at, len);
        self.set_raw_size(at, len as i32);
        Ok(())
    }

    /// Gives a cell room for `len` bytes; keeps the first `keep`, zeroes the rest. Returns where it is now.
    pub(crate) fn resize(&mut self, at: u32, keep: usize, len: usize, what: &'static str) -> Result<u32> {
        let need = cell_len(len)?;
        let have = self.content_mut(at, what)?.len() as u32 + 4;
        let keep = keep.min(len).min(have as usize - 4);
        self.fill_zero(at, keep, have);
        if need <= have {
            self.carve(at, have, need)?;
            return Ok(at);
        }
        if let Some(next) = self.take_next(at, have, need)? {
            self.carve(at, next, need)?;
            self.fill_zero(at, keep, need);
            return Ok(at);
        }
        let new = self.allocate(len)?;
        let (from, to) = (LEN + at as usize + 4, LEN + new as usize + 4);
        self.mark(to, keep);
        self.bytes.copy_within(from..from + keep, to);
        self.free(at, what)?;
        Ok(new)
    }

    /// Takes the free cell behind an allocated one if both together hold `need`; returns their length.
    fn take_next(&mut self, at: u32, have: u32, need: u32) -> Result<Option<u32>> {
        let (next, end) = (at + have, self.bin_end(at));
        let space = self.space_mut()?;
        match space.by_start.get(&next) {
            Some(&more) if next < end && have + more >= need => {
                space.remove(next);
                space.mark(next, false);
                Ok(Some(have + more))
            }
            _ => Ok(None),
        }
    }

    /// Adds an hbin with one free cell that holds `need` bytes; returns its length and offset.
    fn append_bin(&mut self, need: u32) -> Result<(u32, u32)> {
        let page = LEN as u32;
        let len = (need + BIN_HEADER as u32).div_ceil(page) * page;
        let bin = self.size;
        let size = bin.checked_add(len).filter(|&n| n <= i32::MAX as u32 - page).ok_or_else(|| {
            Error::new(Kind::Limit, format!("a hive cannot grow to {} bytes", u64::from(bin) + u64::from(len)))
        })?;
        let (start, end) = (LEN + bin as usize, LEN + size as usize);
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.mark(0, LEN);
        self.mark(start, end - start);
        self.bytes[start..end].fill(0);
        self.bytes[start..start + 4].copy_from_slice(b"hbin");
        put32(&mut self.bytes, start + 4, bin);
        put32(&mut self.bytes, start + 8, len);
        put32(&mut self.bytes, BINS, size);
        self.bins.push(bin);
        self.size = size;
        let (at, free) = (bin + BIN_HEADER as u32, len - BIN_HEADER as u32);
        self.set_raw_size(at, free as i32);
        let space = self.space_mut()?;
        space.mark(at, true);
        space.insert(at, free);
        Ok((free, at))
    }
}
