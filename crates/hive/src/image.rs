//! The bytes of a hive as hbins and cells: every reference is checked where it is followed.
//!
//! Offsets of cells (`at`) count from the first hbin. A cell is a signed 32-bit size (negative: allocated) and its content.

use crate::base_block::{BaseBlock, LEN, at as field, get16, get32, put32};
use crate::memory::Memory;
use crate::space::Space;
use reseal_dtyp::{Error, Result, View};
use std::collections::BTreeSet;
use std::ops::Range;

/// Length of an hbin's header.
pub(crate) const BIN_HEADER: usize = 32;

/// A hive file in memory, with the table of its hbins.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Base block, hbins, tail.
    pub(crate) bytes: Memory,
    /// Offset of each hbin, ascending; they tile `0..size`.
    pub(crate) bins: Vec<u32>,
    /// Length of all hbins.
    pub(crate) size: u32,
    /// Minor version: decides list kinds and big data.
    pub(crate) minor: u32,
    /// The table of free cells and cell starts, made as edits need it.
    pub(crate) space: Space,
    /// Whether an edit was made.
    pub(crate) changed: bool,
    /// Pages of 4 KiB of the file that edits wrote to.
    pub(crate) pages: BTreeSet<u32>,
}

/// A cell's extent: content from `start` (file offset), and whether it is allocated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) allocated: bool,
}

/// File offset of a cell, for messages.
pub(crate) fn place(at: u32) -> u64 {
    LEN as u64 + u64::from(at)
}

impl Image {
    /// Takes a hive whose base block was admitted; checks that hbins tile it, not the cells in them.
    pub(crate) fn new(bytes: Memory, base: &BaseBlock) -> Result<Image> {
        let mut bins = Vec::new();
        let mut at = 0u32;
        while at < base.bins {
            let len = bin_len(&bytes, at, base.bins)?;
            bins.push(at);
            at += len;
        }
        let image = Image {
            bytes,
            bins,
            size: base.bins,
            minor: base.minor,
            space: Space::default(),
            changed: false,
            pages: BTreeSet::new(),
        };
        Ok(image)
    }

    /// End of the hbin that holds `at`, which must be below `size`.
    pub(crate) fn bin_end(&self, at: u32) -> u32 {
        let next = self.bins.partition_point(|&start| start <= at);
        self.bins.get(next).copied().unwrap_or(self.size)
    }

    /// Start of the hbin that holds `at`.
    pub(crate) fn bin_start(&self, at: u32) -> u32 {
        let next = self.bins.partition_point(|&start| start <= at);
        self.bins.get(next.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// The extent of the cell at `at`, allocated or free.
    pub(crate) fn extent(&self, at: u32, what: &'static str) -> Result<Extent> {
        let bad = |detail: String| Error::damaged(what, "cell", place(at), detail);
        if !at.is_multiple_of(8) || at >= self.size {
            let size = self.size;
            return Err(bad(format!("cell offset {at:#x} is not a multiple of 8 within hbins of {size:#x} bytes")));
        }
        let raw = get32(&self.bytes, LEN + at as usize).unwrap_or(0) as i32;
        let len = raw.unsigned_abs();
        if len < 8 || !len.is_multiple_of(8) {
            return Err(bad(format!("cell size {raw} is not a multiple of 8")));
        }
        // A cell inside one page is inside one hbin; only the others need the table.
        let (in_page, page) = (at % LEN as u32, LEN as u32);
        let inside = (in_page >= BIN_HEADER as u32 && in_page + len.min(page) <= page && len <= page)
            || (at - self.bin_start(at) >= BIN_HEADER as u32 && len <= self.bin_end(at) - at);
        if !inside {
            return Err(bad(format!("cell of {len:#x} bytes crosses its hbin, which ends at {:#x}", self.bin_end(at))));
        }
        Ok(Extent { start: LEN + at as usize + 4, len: len as usize - 4, allocated: raw < 0 })
    }

    /// Content of an allocated cell.
    pub(crate) fn content(&self, at: u32, what: &'static str) -> Result<&[u8]> {
        let extent = self.extent(at, what)?;
        if !extent.allocated {
            return Err(Error::damaged(what, "cell", place(at), "the cell is free, yet something refers to it"));
        }
        Ok(&self.bytes[extent.start..extent.start + extent.len])
    }

    /// Content of an allocated cell, for located reads.
    pub(crate) fn view(&self, at: u32, what: &'static str) -> Result<View<'_>> {
        Ok(View::new(what, place(at) + 4, self.content(at, what)?))
    }

    /// Content of an allocated cell for writing. Counts as an edit.
    pub(crate) fn content_mut(&mut self, at: u32, what: &'static str) -> Result<&mut [u8]> {
        let extent = self.extent(at, what)?;
        if !self.open_cell(at)? || !extent.allocated {
            return Err(Error::damaged(what, "cell", place(at), "does not refer to an allocated cell"));
        }
        self.changed = true;
        self.mark(extent.start, extent.len);
        Ok(&mut self.bytes[extent.start..extent.start + extent.len])
    }

    /// Stores bytes into a cell.
    pub(crate) fn put(&mut self, at: u32, offset: usize, new: &[u8], what: &'static str) -> Result<()> {
        let content = self.content_mut(at, what)?;
        let len = content.len();
        match offset.checked_add(new.len()).and_then(|end| content.get_mut(offset..end)) {
            Some(slot) => {
                slot.copy_from_slice(new);
                Ok(())
            }
            None => {
                let detail = format!("{} bytes at {offset:#x} do not fit the cell's {len:#x}", new.len());
                Err(Error::damaged(what, "", place(at), detail))
            }
        }
    }

    /// Stores a dword into a cell.
    pub(crate) fn put_u32(&mut self, at: u32, offset: usize, value: u32, what: &'static str) -> Result<()> {
        self.put(at, offset, &value.to_le_bytes(), what)
    }

    /// Stores a word into a cell.
    pub(crate) fn put_u16(&mut self, at: u32, offset: usize, value: u16, what: &'static str) -> Result<()> {
        self.put(at, offset, &value.to_le_bytes(), what)
    }

    /// `Unsupported` for layered hives.
    pub(crate) fn editable(&self) -> Result<()> {
        if self.minor >= 6 {
            return Err(Error::unsupported("hives of version 1.6 (layered, differencing) are read, not edited"));
        }
        Ok(())
    }

    /// Zeroes a range of the file. Counts as an edit.
    pub(crate) fn zero(&mut self, range: Range<usize>) {
        if let Some(bytes) = self.bytes.get_mut(range.clone()) {
            bytes.fill(0);
            self.changed = true;
            self.mark(range.start, range.len());
        }
    }

    /// Remembers that a range of the file was written.
    pub(crate) fn mark(&mut self, start: usize, len: usize) {
        self.pages.extend((start / LEN) as u32..(start + len).div_ceil(LEN) as u32);
    }

    /// Names another root key in the base block.
    pub(crate) fn set_root(&mut self, at: u32) {
        self.mark(0, LEN);
        put32(&mut self.bytes, field::ROOT, at);
    }

    pub(crate) fn raw_size(&self, at: u32) -> i32 {
        get32(&self.bytes, LEN + at as usize).unwrap_or(0) as i32
    }

    pub(crate) fn set_raw_size(&mut self, at: u32, size: i32) {
        self.mark(LEN + at as usize, 4);
        put32(&mut self.bytes, LEN + at as usize, size as u32);
    }
}

/// Length of the hbin at `at`, checked against `total`.
pub(crate) fn bin_len(bytes: &[u8], at: u32, total: u32) -> Result<u32> {
    let start = LEN + at as usize;
    let bad = |field, detail: String| Error::damaged("hbin", field, start as u64, detail);
    if bytes.get(start..start + 4) != Some(b"hbin") {
        return Err(bad("signature", "is not `hbin`".into()));
    }
    let (own, len) = (get32(bytes, start + 4).unwrap_or(0), get32(bytes, start + 8).unwrap_or(0));
    if own != at {
        return Err(bad("offset", format!("says {own:#x}, the hbin lies at {at:#x}")));
    }
    if len == 0 || !len.is_multiple_of(LEN as u32) || len > total - at {
        return Err(bad("size", format!("{len:#x} is not a multiple of 4096 within the {:#x} bytes left", total - at)));
    }
    Ok(len)
}

/// A dword of a cell's content that is known to be long enough; 0 past its end.
pub(crate) fn dword(content: &[u8], at: usize) -> u32 {
    get32(content, at).unwrap_or(0)
}

/// A word of a cell's content that is known to be long enough; 0 past its end.
pub(crate) fn word(content: &[u8], at: usize) -> u16 {
    get16(content, at).unwrap_or(0)
}
