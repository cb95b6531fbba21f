//! Cells taken, given back and resized: best fit from the free cells, coalesced within an hbin, a new hbin at the end otherwise.
//!
//! What is given back is zeroed: removed data leaves no bytes behind.

use crate::base_block::{LEN, at::BINS, get32, put32};
use crate::image::{BIN_HEADER, Image, place};
use reseal_dtyp::{Error, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// The free cells and the starts of all cells, of those hbins that an edit has come to: most edits stay in a few, and only
/// an allocation needs all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    /// One bit per 8 bytes of hbins: a cell starts here.
    starts: Vec<u64>,
    /// Hbins whose cells are entered.
    bins: BTreeSet<u32>,
    by_start: BTreeMap<u32, u32>,
    by_size: BTreeSet<(u32, u32)>,
}

impl Space {
    /// Enters the cells of one hbin; `Damaged` unless they tile it. The free ones go to `free`.
    fn walk(&mut self, bytes: &[u8], bin: u32, end: u32, free: &mut Vec<(u32, u32)>) -> Result<()> {
        let mut at = bin + BIN_HEADER as u32;
        while at < end {
            let raw = get32(bytes, LEN + at as usize).unwrap_or(0) as i32;
            let len = raw.unsigned_abs();
            if len < 8 || !len.is_multiple_of(8) || len > end - at {
                let detail = format!("size {raw} does not tile the hbin, which has {:#x} bytes left", end - at);
                return Err(Error::damaged("cell", "size", place(at), detail));
            }
            self.mark(at, true);
            if raw > 0 {
                free.push((at, len));
            }
            at += len;
        }
        self.bins.insert(bin);
        Ok(())
    }

    /// Whether a cell starts here, in an hbin that was entered.
    fn is_start(&self, at: u32) -> bool {
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
    /// Enters the cells of the hbin around `at`, which must be below `size`, and says whether a cell starts there.
    pub(crate) fn open_cell(&mut self, at: u32) -> Result<bool> {
        self.editable()?;
        let bin = self.bin_start(at);
        if !self.space.bins.contains(&bin) {
            let mut free = Vec::new();
            self.space.walk(&self.bytes, bin, self.bin_end(bin), &mut free)?;
            free.into_iter().for_each(|(at, len)| self.space.insert(at, len));
        }
        Ok(self.space.is_start(at))
    }

    /// Enters the cells of all hbins.
    fn open_all(&mut self) -> Result<()> {
        self.editable()?;
        if self.space.bins.len() == self.bins.len() {
            return Ok(());
        }
        self.space.starts.resize((self.size as usize).div_ceil(512), 0);
        let mut free = Vec::new();
        for (i, &bin) in self.bins.iter().enumerate() {
            if !self.space.bins.contains(&bin) {
                let end = self.bins.get(i + 1).copied().unwrap_or(self.size);
                self.space.walk(&self.bytes, bin, end, &mut free)?;
            }
        }
        // Sets made of sorted lists and joined cost far less than insertions one by one.
        self.space.by_start.append(&mut free.iter().copied().collect());
        self.space.by_size.append(&mut free.into_iter().map(|(at, len)| (len, at)).collect());
        Ok(())
    }

    /// A new allocated cell with `len` zero bytes of content, at least.
    pub(crate) fn allocate(&mut self, len: usize) -> Result<u32> {
        let need = cell_len(len)?;
        self.open_all()?;
        let found = self.space.by_size.range((need, 0)..).next().copied();
        let (have, at) = match found {
            Some(hit) => hit,
            None => self.append_bin(need)?,
        };
        self.changed = true;
        self.space.remove(at);
        self.carve(at, have, need);
        self.fill_zero(at, 0, need);
        Ok(at)
    }

    /// Makes an allocated cell of `need` bytes of the `have` at `at`; the rest becomes a free cell.
    fn carve(&mut self, at: u32, have: u32, need: u32) {
        self.set_raw_size(at, -(need as i32));
        if have > need {
            self.space.mark(at + need, true);
            self.set_raw_size(at + need, (have - need) as i32);
            self.release(at + need);
        }
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
        self.release(at);
        Ok(())
    }

    /// Enters a cell whose header already says that it is free.
    fn release(&mut self, at: u32) {
        let (bin, end) = (self.bin_start(at), self.bin_end(at));
        let (mut at, mut len) = (at, self.raw_size(at).unsigned_abs());
        let space = &mut self.space;
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
    }

    /// Gives a cell room for `len` bytes; keeps the first `keep`, zeroes the rest. Returns where it is now.
    pub(crate) fn resize(&mut self, at: u32, keep: usize, len: usize, what: &'static str) -> Result<u32> {
        let need = cell_len(len)?;
        let have = self.content_mut(at, what)?.len() as u32 + 4;
        let keep = keep.min(len).min(have as usize - 4);
        self.fill_zero(at, keep, have);
        if need <= have {
            self.carve(at, have, need);
            return Ok(at);
        }
        if let Some(next) = self.take_next(at, have, need) {
            self.carve(at, next, need);
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
    fn take_next(&mut self, at: u32, have: u32, need: u32) -> Option<u32> {
        let (next, end) = (at + have, self.bin_end(at));
        let more = *self.space.by_start.get(&next).filter(|&&more| next < end && have + more >= need)?;
        self.space.remove(next);
        self.space.mark(next, false);
        Some(have + more)
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
        self.bytes.grow(end);
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
        self.space.bins.insert(bin);
        self.space.mark(at, true);
        self.space.insert(at, free);
        Ok((free, at))
    }
}
