//! VHDX, [MS-VHDX]: fixed and dynamic, read and written through the overlay.
//!
//! ```text
//! 0        64K    128K   192K   256K    1M
//! │ ident │ head │ head │ regi │ regi │ … log … metadata … BAT … payload blocks (1 MiB aligned) …
//! ```

mod create;
mod format;
mod header;
mod log;
mod metadata;

use super::{Container, Format};
use crate::changed::Layout;
use crate::io::{ReadAt, WriteAt, checked_range};
use crate::overlay::Overlay;
pub use create::{CreateVhdx, create_vhdx};
use format::*;
use header::{Header, Regions};
use metadata::Metadata;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::sync::{Arc, RwLock};

/// A virtual disk in a VHDX file.
#[derive(Debug)]
struct Vhdx {
    file: Arc<Overlay>,
    metadata: Metadata,
    header: Header,
    bat_offset: u64,
    chunk_ratio: u64,
    /// BAT entries of the payload blocks, by block number.
    blocks: RwLock<Vec<u64>>,
    replayed: usize,
}

impl Format {
    /// [MS-VHDX], every block in place.
    pub const VHDX_FIXED: Format = Format("vhdx-fixed");
    /// [MS-VHDX], blocks where needed.
    pub const VHDX_DYNAMIC: Format = Format("vhdx-dynamic");
}

/// Opens a file that starts with the signature of a VHDX.
pub(super) fn open(file: &Arc<Overlay>) -> Result<Option<Arc<dyn Container>>> {
    let mut signature = [0; 8];
    if file.len() < MIB {
        return Ok(None);
    }
    file.read_at(0, &mut signature)?;
    Ok(if &signature == FILE_SIGNATURE { Some(Arc::new(Vhdx::open(Arc::clone(file))?)) } else { None })
}

impl Vhdx {
    /// Opens the file, replaying its log into the overlay. `Unsupported` for a differencing disk; `Damaged` when blocks
    /// overlap each other, a region or the end of the file.
    fn open(file: Arc<Overlay>) -> Result<Vhdx> {
        let header = Header::current(&*file)?;
        let replayed = if header.log_guid == Guid::NIL { 0 } else { log::replay(&file, &header)? };
        let regions = Regions::read(&*file)?;
        let metadata = Metadata::read(&*file, regions.metadata)?;
        if metadata.has_parent {
            return Err(Error::unsupported(
                "the VHDX is a differencing disk; its content is spread over a chain of files",
            )
            .within("name the merged disk instead"));
        }
        let chunk_ratio = (1u64 << 23) * u64::from(metadata.sector_size) / metadata.block_len;
        let block_count = metadata.disk_len.div_ceil(metadata.block_len);
        let entry_count = block_count + (block_count - 1) / chunk_ratio;
        if entry_count * 8 > regions.bat.1 {
            let detail = format!("{entry_count} entries do not fit into a BAT of {:#x} bytes", regions.bat.1);
            return Err(Error::damaged("VHDX BAT", "", regions.bat.0, detail));
        }
        // Bounded by the BAT region, which lies within the file.
        let mut raw = vec![0; entry_count as usize * 8];
        file.read_at(regions.bat.0, &mut raw)?;
        let entry = |index: u64| {
            let at = index as usize * 8;
            u64::from_le_bytes(raw[at..at + 8].try_into().expect("eight bytes"))
        };
        let blocks: Vec<u64> = (0..block_count).map(|b| entry(b + b / chunk_ratio)).collect();
        check_blocks(&blocks, &metadata, &regions, &header, file.len())?;
        let bat_offset = regions.bat.0;
        Ok(Vhdx { file, metadata, header, bat_offset, chunk_ratio, blocks: RwLock::new(blocks), replayed })
    }

    /// Splits a disk range into (block, offset in it, range of the buffer).
    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, std::ops::Range<usize>)> + use<> {
        let block_len = self.metadata.block_len;
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + done as u64;
            let within = at % block_len;
            let n = (len - done).min((block_len - within) as usize);
            let piece = ((at / block_len) as usize, within, done..done + n);
            done += n;
            Some(piece)
        })
    }

    /// File offset of a block's data, when it is present.
    fn block_offset(&self, block: usize) -> Option<u64> {
        let entry = *self.blocks.read().unwrap_or_else(|e| e.into_inner()).get(block)?;
        (state_of(entry) == state::FULLY_PRESENT).then_some(entry >> 20 << 20)
    }

    /// Gives a block space at the end of the file, which reads as zero, and its BAT entry.
    fn allocate(&self, block: usize) -> Result<u64> {
        let mut blocks = self.blocks.write().unwrap_or_else(|e| e.into_inner());
        if state_of(blocks[block]) == state::FULLY_PRESENT {
            return Ok(blocks[block] >> 20 << 20);
        }
        let offset = self.file.len().next_multiple_of(MIB);
        if offset >> 44 != 0 {
            return Err(Error::new(Kind::Limit, format!("the VHDX file would grow to {offset:#x} bytes")));
        }
        self.file.grow(offset + self.metadata.block_len);
        let entry = offset | u64::from(state::FULLY_PRESENT);
        let index = block as u64 + block as u64 / self.chunk_ratio;
        self.file.write_at(self.bat_offset + index * 8, &entry.to_le_bytes())?;
        blocks[block] = entry;
        Ok(offset)
    }
}

impl Container for Vhdx {
    fn format(&self) -> Format {
        if self.metadata.fixed { Format::VHDX_FIXED } else { Format::VHDX_DYNAMIC }
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.metadata.sector_size)
    }

    fn block_len(&self) -> Option<u64> {
        Some(self.metadata.block_len)
    }

    fn id(&self) -> Option<Guid> {
        Some(self.metadata.disk_id)
    }

    fn file_offset(&self, offset: u64) -> Result<Option<u64>> {
        let Ok(block) = usize::try_from(offset / self.metadata.block_len) else { return Ok(None) };
        Ok(self.block_offset(block).map(|base| base + offset % self.metadata.block_len))
    }

    fn layout(&self) -> Layout {
        let blocks = self.blocks.read().unwrap_or_else(|e| e.into_inner());
        let present = blocks.iter().enumerate().filter(|(_, entry)| state_of(**entry) == state::FULLY_PRESENT);
        let len = self.metadata.block_len;
        let mut pieces: Vec<_> = present.map(|(i, entry)| (entry >> 20 << 20, i as u64 * len, len)).collect();
        pieces.sort_unstable();
        let entries = blocks.len() as u64 + blocks.len() as u64 / self.chunk_ratio;
        let headers = 64 << 10..192 << 10;
        let structures = vec![headers, self.bat_offset..self.bat_offset + 8 * entries];
        // A log that is replayed may write to every structure of the container.
        Layout { pieces, structures, anywhere: self.replayed > 0 }
    }

    /// Writes the next header into the slot that is not current: new GUIDs tell caches and children that the file changed.
    fn before_commit(&self, ids: [Guid; 2]) -> Result<()> {
        let (offset, bytes) = self.header.next(ids[0], ids[1]);
        self.file.write_at(offset, &bytes)
    }

    fn replayed_log_entries(&self) -> usize {
        self.replayed
    }
}

fn state_of(entry: u64) -> u8 {
    (entry & 7) as u8
}

/// Every present block lies 1 MiB-aligned behind the headers, within the file, and shares no byte with another block, a
/// region or the log. `qemu-img check` does not see two entries that share a block.
fn check_blocks(blocks: &[u64], metadata: &Metadata, regions: &Regions, header: &Header, file_len: u64) -> Result<()> {
    let mut taken = vec![(0, MIB), regions.bat, regions.metadata];
    if header.log.1 > 0 {
        taken.push(header.log);
    }
    for (index, &entry) in blocks.iter().enumerate() {
        let bad = |what: &str| {
            let detail = format!("block {index}: {what} (entry {entry:#018x}, the file has {file_len:#x} bytes)");
            Err(Error::damaged("VHDX BAT", "entry", regions.bat.0, detail))
        };
        match state_of(entry) {
            state::NOT_PRESENT | state::UNDEFINED | state::ZERO | state::UNMAPPED => continue,
            state::FULLY_PRESENT => {}
            state::PARTIALLY_PRESENT => return bad("partially present in a disk without a parent"),
            _ => return bad("unknown state"),
        }
        let offset = entry >> 20 << 20;
        // The last block of a fixed disk may end with the disk.
        let rest = metadata.disk_len - index as u64 * metadata.block_len;
        let len = metadata.block_len.min(rest);
        if offset < MIB || offset.checked_add(len).is_none_or(|end| end > file_len) {
            return bad("outside the file");
        }
        taken.push((offset, metadata.block_len));
    }
    taken.sort_unstable();
    for pair in taken.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            let detail = format!(
                "two of blocks and regions overlap: {:#x} bytes at {:#x} and {:#x}",
                pair[0].1, pair[0].0, pair[1].0
            );
            return Err(Error::damaged("VHDX BAT", "entry", regions.bat.0, detail));
        }
    }
    Ok(())
}

impl ReadAt for Vhdx {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        checked_range(offset, buf.len(), self.metadata.disk_len)?;
        for (block, within, range) in self.pieces(offset, buf.len()) {
            match self.block_offset(block) {
                Some(base) => self.file.read_at(base + within, &mut buf[range])?,
                None => buf[range].fill(0),
            }
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.metadata.disk_len
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        usize::try_from(len).is_ok_and(|n| {
            checked_range(offset, n, self.metadata.disk_len).is_ok()
                && self.pieces(offset, n).all(|(block, within, range)| {
                    self.block_offset(block).is_none_or(|base| self.file.is_hole(base + within, range.len() as u64))
                })
        })
    }
}

impl WriteAt for Vhdx {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        checked_range(offset, data.len(), self.metadata.disk_len)?;
        for (block, within, range) in self.pieces(offset, data.len()) {
            let piece = &data[range];
            let base = match self.block_offset(block) {
                Some(base) => base,
                // An absent block reads as zero already.
                None if piece.iter().all(|b| *b == 0) => continue,
                None => self.allocate(block)?,
            };
            self.file.write_at(base + within, piece)?;
        }
        Ok(())
    }
}
