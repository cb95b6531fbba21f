//! The disk's bytes: where a block is, and what becomes of one that is written.

use super::Vhdx;
use super::bat::{offset_of, state_of};
use super::format::*;
use crate::formats::blocks::{alike, pieces};
use crate::io::{ReadAt, WriteAt, checked_range};
use reseal_dtyp::{Error, Kind, Result};

/// Bytes that are copied at a time while a block is filled.
const STEP: u64 = MIB;

impl Vhdx {
    /// Reads part of a block; `at` is its byte offset on the disk.
    fn read_piece(&self, block: usize, within: u64, at: u64, buf: &mut [u8]) -> Result<()> {
        let entry = self.entry(block).unwrap_or_default();
        match (state_of(entry), &self.parent) {
            (state::FULLY_PRESENT, _) => self.file.read_at(offset_of(entry) + within, buf),
            (state::PARTIALLY_PRESENT, Some(parent)) => {
                let sector = u64::from(self.metadata.sector_size);
                let bits = self.bits(block, within, buf.len())?;
                for (part, is_here) in alike(within, buf.len(), sector, |n| bits.is_set(n)) {
                    let skip = part.start as u64;
                    if is_here {
                        self.file.read_at(offset_of(entry) + within + skip, &mut buf[part])?;
                    } else {
                        parent.read_at(at + skip, &mut buf[part])?;
                    }
                }
                Ok(())
            }
            (state::NOT_PRESENT, Some(parent)) => parent.read_at(at, buf),
            // [MS-VHDX] 2.5.1.1.1: zero, unmapped and undefined blocks hide the parent.
            _ => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// The bits of the sectors of a range of a block.
    fn bits(&self, block: usize, within: u64, len: usize) -> Result<Bits> {
        let sector = u64::from(self.metadata.sector_size);
        let per_block = self.metadata.block_len / sector;
        let entry = self.bitmaps.get(block / self.shape.ratio as usize).copied().unwrap_or_default();
        // Of a whole number of bytes: a block has 256 sectors at least.
        let base = (block as u64 % self.shape.ratio) * per_block / 8;
        let (first, end) = (within / sector / 8, (within + len as u64).div_ceil(sector).div_ceil(8));
        let mut bytes = vec![0; (end - first) as usize];
        self.file.read_at(offset_of(entry) + base + first, &mut bytes)?;
        Ok(Bits { first: first * 8, bytes })
    }

    /// Gives a block a place of its own, with all that it reads as now, and its BAT entry.
    fn fill(&self, block: usize) -> Result<u64> {
        let _alone = self.filling.lock().unwrap_or_else(|e| e.into_inner());
        let entry = self.entry(block).unwrap_or_default();
        let offset = match state_of(entry) {
            state::FULLY_PRESENT => return Ok(offset_of(entry)),
            state::PARTIALLY_PRESENT => offset_of(entry),
            _ => self.append()?,
        };
        if self.parent.is_some() && matches!(state_of(entry), state::PARTIALLY_PRESENT | state::NOT_PRESENT) {
            let start = block as u64 * self.metadata.block_len;
            let len = self.metadata.block_len.min(self.metadata.disk_len - start);
            let mut buf = Vec::new();
            let mut done = 0;
            while done < len {
                buf.resize((len - done).min(STEP) as usize, 0);
                self.read_piece(block, done, start + done, &mut buf)?;
                if state_of(entry) == state::PARTIALLY_PRESENT || buf.iter().any(|b| *b != 0) {
                    self.file.write_at(offset + done, &buf)?;
                }
                done += buf.len() as u64;
            }
        }
        let entry = offset | u64::from(state::FULLY_PRESENT);
        self.file.write_at(self.regions.bat.0 + self.shape.index(block as u64) * 8, &entry.to_le_bytes())?;
        let mut blocks = self.blocks.write().unwrap_or_else(|e| e.into_inner());
        blocks.entries[block] = entry;
        if self.parent.is_some() {
            blocks.filled.insert(block);
        }
        Ok(offset)
    }

    /// Room for a block at the end of the file, which reads as zero.
    fn append(&self) -> Result<u64> {
        let offset = self.file.len().next_multiple_of(MIB);
        if offset >> 44 != 0 {
            return Err(Error::new(Kind::Limit, format!("the VHDX file would grow to {offset:#x} bytes")));
        }
        self.file.grow(offset + self.metadata.block_len);
        Ok(offset)
    }
}

/// Part of a sector bitmap, [MS-VHDX] 2.5.1.2: the first sector is the lowest bit.
struct Bits {
    /// Sector of the block that the first bit means.
    first: u64,
    bytes: Vec<u8>,
}

impl Bits {
    fn is_set(&self, sector: u64) -> bool {
        let bit = sector - self.first;
        self.bytes.get((bit / 8) as usize).is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

impl ReadAt for Vhdx {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        checked_range(offset, buf.len(), self.metadata.disk_len)?;
        for (block, within, range) in pieces(self.metadata.block_len, offset, buf.len()) {
            self.read_piece(block, within, offset + range.start as u64, &mut buf[range])?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.metadata.disk_len
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        let Ok(n) = usize::try_from(len) else { return false };
        checked_range(offset, n, self.metadata.disk_len).is_ok()
            && pieces(self.metadata.block_len, offset, n).all(|(block, within, range)| {
                let (entry, len) = (self.entry(block).unwrap_or_default(), range.len() as u64);
                match (state_of(entry), &self.parent) {
                    (state::FULLY_PRESENT, _) => self.file.is_hole(offset_of(entry) + within, len),
                    (state::PARTIALLY_PRESENT, _) => false,
                    (state::NOT_PRESENT, Some(parent)) => parent.is_hole(offset + range.start as u64, len),
                    _ => true,
                }
            })
    }
}

impl WriteAt for Vhdx {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        checked_range(offset, data.len(), self.metadata.disk_len)?;
        for (block, within, range) in pieces(self.metadata.block_len, offset, data.len()) {
            let at = offset + range.start as u64;
            let piece = &data[range];
            let base = match self.block_offset(block) {
                Some(base) => base,
                // A block that reads so already gets no place.
                None if self.reads_as(block, within, at, piece)? => continue,
                None => self.fill(block)?,
            };
            self.file.write_at(base + within, piece)?;
        }
        Ok(())
    }
}

impl Vhdx {
    fn reads_as(&self, block: usize, within: u64, at: u64, piece: &[u8]) -> Result<bool> {
        if self.parent.is_none() {
            return Ok(piece.iter().all(|b| *b == 0));
        }
        let mut now = vec![0; piece.len()];
        self.read_piece(block, within, at, &mut now)?;
        Ok(now == piece)
    }
}
