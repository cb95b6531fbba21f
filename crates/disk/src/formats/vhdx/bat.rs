//! The block allocation table, [MS-VHDX] 2.5.

use super::format::*;
use super::header::{Header, Regions};
use super::metadata::Metadata;
use crate::formats::blocks::refuse_overlap;
use crate::io::ReadAt;
use reseal_dtyp::{Error, Result};

/// The entries of the table, as they stand in it.
#[derive(Debug)]
pub(super) struct Bat {
    /// Of the payload blocks, by number.
    pub(super) blocks: Vec<u64>,
    /// Of the sector bitmap blocks, one for each chunk; empty in a disk without a parent.
    pub(super) bitmaps: Vec<u64>,
}

/// How a table of a disk is laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Payload blocks that share a sector bitmap block.
    pub(super) ratio: u64,
    pub(super) blocks: u64,
    pub(super) entries: u64,
}

impl Shape {
    /// [MS-VHDX] 2.5: after each `ratio` payload entries stands that of their bitmap; a disk with a parent has that of the last
    /// chunk, too.
    pub(super) fn new(disk_len: u64, block_len: u64, sector_size: u32, has_parent: bool) -> Shape {
        let ratio = (1u64 << 23) * u64::from(sector_size) / block_len;
        let blocks = disk_len.div_ceil(block_len);
        let entries =
            if has_parent { blocks.div_ceil(ratio) * (ratio + 1) } else { blocks + blocks.saturating_sub(1) / ratio };
        Shape { ratio, blocks, entries }
    }

    /// Where the entry of a payload block stands in the table.
    pub(super) fn index(&self, block: u64) -> u64 {
        block + block / self.ratio
    }

    /// Where the entry of a chunk's bitmap stands.
    pub(super) fn bitmap_index(&self, chunk: u64) -> u64 {
        (chunk + 1) * self.ratio + chunk
    }
}

pub(super) fn state_of(entry: u64) -> u8 {
    (entry & 7) as u8
}

pub(super) fn offset_of(entry: u64) -> u64 {
    entry >> 20 << 20
}

impl Bat {
    /// Reads and checks the table. `Damaged` when a block overlaps another one, a region or the end of the file.
    pub(super) fn read(
        file: &dyn ReadAt,
        shape: Shape,
        metadata: &Metadata,
        regions: &Regions,
        header: &Header,
    ) -> Result<Bat> {
        if shape.entries.checked_mul(8).is_none_or(|len| len > regions.bat.1) {
            let detail = format!("{} entries do not fit into a BAT of {:#x} bytes", shape.entries, regions.bat.1);
            return Err(Error::damaged("VHDX BAT", "", regions.bat.0, detail));
        }
        // Bounded by the BAT region, which lies within the file.
        let mut raw = vec![0; shape.entries as usize * 8];
        file.read_at(regions.bat.0, &mut raw)?;
        let entry = |index: u64| {
            let at = index as usize * 8;
            u64::from_le_bytes(raw[at..at + 8].try_into().expect("eight bytes"))
        };
        let blocks = (0..shape.blocks).map(|b| entry(shape.index(b))).collect();
        let chunks = if metadata.parent.is_some() { shape.blocks.div_ceil(shape.ratio) } else { 0 };
        let bitmaps = (0..chunks).map(|c| entry(shape.bitmap_index(c))).collect();
        let bat = Bat { blocks, bitmaps };
        bat.check(shape, metadata, regions, header, file.len())?;
        Ok(bat)
    }

    /// Every present block lies 1 MiB-aligned behind the headers, within the file, and shares no byte with another block, a
    /// region or the log. `qemu-img check` does not see two entries that share a block.
    fn check(
        &self,
        shape: Shape,
        metadata: &Metadata,
        regions: &Regions,
        header: &Header,
        file_len: u64,
    ) -> Result<()> {
        let mut taken = vec![(0, MIB), regions.bat, regions.metadata, header.log];
        let bad = |what: &str, name: &str, index: usize, entry: u64| {
            let detail = format!("{name} {index}: {what} (entry {entry:#018x}, the file has {file_len:#x} bytes)");
            Err(Error::damaged("VHDX BAT", "entry", regions.bat.0, detail))
        };
        let is_outside =
            |entry, len| offset_of(entry) < MIB || offset_of(entry).checked_add(len).is_none_or(|end| end > file_len);
        for (index, &entry) in self.blocks.iter().enumerate() {
            match state_of(entry) {
                state::NOT_PRESENT | state::UNDEFINED | state::ZERO | state::UNMAPPED => continue,
                state::FULLY_PRESENT => {}
                state::PARTIALLY_PRESENT => match self.bitmaps.get(index / shape.ratio as usize) {
                    None => return bad("partially present in a disk without a parent", "block", index, entry),
                    Some(map) if state_of(*map) != state::FULLY_PRESENT => {
                        return bad("partially present, and its sector bitmap is absent", "block", index, entry);
                    }
                    Some(_) => {}
                },
                _ => return bad("unknown state", "block", index, entry),
            }
            // The last block of a fixed disk may end with the disk.
            let rest = metadata.disk_len - index as u64 * metadata.block_len;
            if is_outside(entry, metadata.block_len.min(rest)) {
                return bad("outside the file", "block", index, entry);
            }
            taken.push((offset_of(entry), metadata.block_len));
        }
        for (index, &entry) in self.bitmaps.iter().enumerate() {
            match state_of(entry) {
                state::NOT_PRESENT => continue,
                state::FULLY_PRESENT if !is_outside(entry, MIB) => taken.push((offset_of(entry), MIB)),
                state::FULLY_PRESENT => return bad("outside the file", "sector bitmap", index, entry),
                _ => return bad("unknown state", "sector bitmap", index, entry),
            }
        }
        refuse_overlap(taken, "VHDX BAT", regions.bat.0)
    }
}
