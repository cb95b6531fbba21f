//! Resources in chunks: each is compressed alone, so that any part can be read without what stands before it.

use crate::header::Compression;
use crate::pack::Packing;
use crate::resource::ResourceHeader;
use crate::writer::Storage;
use rayon::prelude::*;
use reseal_disk::ReadAt;
use reseal_dtyp::{Error, Result, View};
use std::ops::Range;

/// Length of the header of a solid resource.
pub(crate) const SOLID_HEADER: usize = 16;

/// The chunks of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Chunks {
    compression: Compression,
    /// Bytes that each unpacks to, but for the last one.
    chunk: u64,
    /// Bytes that all unpack to.
    size: u64,
    /// Where each begins in the file, and where the last one ends.
    bounds: Vec<u64>,
}

impl Chunks {
    /// Reads the table of a compressed resource: the offset of each chunk but the first one, 64 bits wide from 4 GiB on.
    pub(crate) fn of_resource(
        store: &dyn ReadAt,
        header: &ResourceHeader,
        compression: Compression,
        chunk: u32,
    ) -> Result<Chunks> {
        header.check_place("compressed resource", store.len())?;
        if compression == Compression::None {
            let detail = "it is compressed, and the header of the WIM names no format";
            return Err(Error::damaged("compressed resource", "flags", header.offset, detail));
        }
        let chunk = u64::from(chunk);
        let count = header.size.div_ceil(chunk);
        let width = if header.size > u64::from(u32::MAX) { 8 } else { 4 };
        let table_len = count.saturating_sub(1).saturating_mul(width);
        let table = read_table(store, header, 0, table_len)?;
        let data = header.offset + table_len;
        let later = table.chunks_exact(width as usize).map(|entry| match *entry {
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            _ => entry.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        });
        let mut bounds = Vec::with_capacity(table.len() / width as usize + 2);
        if count > 0 {
            bounds.push(data);
        }
        bounds.extend(later.map(|offset| data.saturating_add(offset)));
        bounds.push(header.offset + header.stored);
        Chunks { compression, chunk, size: header.size, bounds }.checked(header)
    }

    /// What a solid resource unpacks to, in bytes.
    pub(crate) fn size_of_solid(store: &dyn ReadAt, header: &ResourceHeader) -> Result<u64> {
        View::new("solid resource", header.offset, &solid_head(store, header)?).u64(0, "uncompressed size")
    }

    /// Reads header and table of a solid resource: the stored size of each chunk.
    pub(crate) fn of_solid(store: &dyn ReadAt, header: &ResourceHeader) -> Result<Chunks> {
        let head = solid_head(store, header)?;
        let view = View::new("solid resource", header.offset, &head);
        let size = view.u64(0, "uncompressed size")?;
        let (chunk, format) = (view.u32(8, "chunk size")?, view.u32(12, "format")?);
        let compression = match format {
            1 => Compression::Xpress,
            2 => Compression::Lzx,
            3 => Compression::Lzms,
            _ => return Err(view.damaged(12, "format", format!("{format} is none of XPRESS, LZX and LZMS"))),
        };
        if compression.check_chunk(chunk).is_none() {
            return Err(view.damaged(8, "chunk size", format!("{chunk} bytes do not go with {}", compression.name())));
        }
        let table_len = size.div_ceil(u64::from(chunk)).saturating_mul(4);
        let table = read_table(store, header, SOLID_HEADER as u64, table_len)?;
        let mut at = header.offset + SOLID_HEADER as u64 + table_len;
        let mut bounds = vec![at];
        for entry in table.chunks_exact(4) {
            at = at.saturating_add(u64::from(u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]])));
            bounds.push(at);
        }
        Chunks { compression, chunk: u64::from(chunk), size, bounds }.checked(header)
    }

    /// Every chunk lies within the resource, behind the one before it, and none is longer than its content.
    fn checked(self, header: &ResourceHeader) -> Result<Chunks> {
        let end = header.offset + header.stored;
        for (index, pair) in self.bounds.windows(2).enumerate() {
            // No chunk has no bytes, so the content is at most as large as so many chunks.
            let fits = pair[0] < pair[1] && pair[1] <= end && pair[1] - pair[0] <= self.len_of(index);
            if !fits {
                let detail = format!(
                    "chunk {index} of {} bytes is to lie at {:#x}..{:#x}",
                    self.len_of(index),
                    pair[0],
                    pair[1]
                );
                return Err(Error::damaged("compressed resource", "chunk table", header.offset, detail));
            }
        }
        Ok(self)
    }

    /// Bytes that a chunk unpacks to.
    pub(crate) fn len_of(&self, index: usize) -> u64 {
        self.size.saturating_sub(index as u64 * self.chunk).min(self.chunk)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Bytes in the file of one.
    pub(crate) fn stored(&self, index: usize) -> Range<u64> {
        self.bounds[index]..self.bounds[index + 1]
    }

    /// Bytes of the content that one unpacks to.
    pub(crate) fn content_of(&self, index: usize) -> Range<u64> {
        self.start_of(index)..self.start_of(index) + self.len_of(index)
    }

    /// How they are stored.
    pub(crate) fn packing(&self) -> Packing {
        Packing::new(self.compression, self.chunk as usize, Storage::Compressed)
    }

    /// The chunks that hold a range of the content.
    pub(crate) fn covering(&self, range: &Range<u64>) -> Range<usize> {
        (range.start / self.chunk) as usize..range.end.div_ceil(self.chunk) as usize
    }

    /// Where the content of a chunk begins.
    pub(crate) fn start_of(&self, index: usize) -> u64 {
        index as u64 * self.chunk
    }

    /// Unpacks one chunk.
    pub(crate) fn unpack(&self, store: &dyn ReadAt, index: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; self.len_of(index) as usize];
        self.unpack_to(store, index, &mut out)?;
        Ok(out)
    }

    fn unpack_to(&self, store: &dyn ReadAt, index: usize, out: &mut [u8]) -> Result<()> {
        let at = self.bounds[index];
        let mut packed = vec![0; (self.bounds[index + 1] - at) as usize];
        store.read_at(at, &mut packed)?;
        self.unpack_stored(index, &packed, out)
    }

    /// Unpacks one chunk from what is stored of it.
    pub(crate) fn unpack_stored(&self, index: usize, packed: &[u8], out: &mut [u8]) -> Result<()> {
        let at = self.bounds[index];
        // A chunk that did not get shorter is stored as it is.
        if packed.len() == out.len() {
            out.copy_from_slice(packed);
            return Ok(());
        }
        let done = match self.compression {
            Compression::None => return Err(Error::damaged("chunk", "length", at, "a stored chunk of another length")),
            Compression::Xpress => reseal_codec::xpress::decompress(packed, out),
            Compression::Lzx => reseal_codec::lzx::decompress(packed, out, self.chunk as usize),
            Compression::Lzms => reseal_codec::lzms::decompress(packed, out),
        };
        done.map_err(|e| Error::damaged(self.compression.name(), "chunk", at, e.to_string()))
    }

    /// Unpacks the bytes of the content from `offset` on, which it has, several chunks at once.
    pub(crate) fn unpack_range(&self, store: &dyn ReadAt, offset: u64, out: &mut [u8]) -> Result<()> {
        let lead = (offset.next_multiple_of(self.chunk) - offset).min(out.len() as u64) as usize;
        let (lead, whole) = out.split_at_mut(lead);
        self.unpack_part(store, offset, lead)?;
        let start = offset + lead.len() as u64;
        let pieces = whole.par_chunks_mut(self.chunk as usize).enumerate();
        pieces.try_for_each(|(at, piece)| self.unpack_part(store, start + at as u64 * self.chunk, piece))
    }

    /// Unpacks bytes that lie in one chunk.
    fn unpack_part(&self, store: &dyn ReadAt, offset: u64, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let (index, within) = ((offset / self.chunk) as usize, (offset % self.chunk) as usize);
        if within == 0 && out.len() as u64 == self.len_of(index) {
            return self.unpack_to(store, index, out);
        }
        out.copy_from_slice(&self.unpack(store, index)?[within..within + out.len()]);
        Ok(())
    }

    /// Unpacks everything, several chunks at once; `out` has the size of the content.
    pub(crate) fn unpack_all(&self, store: &dyn ReadAt, out: &mut [u8]) -> Result<()> {
        let pieces = out.par_chunks_mut(self.chunk as usize).enumerate();
        pieces.try_for_each(|(index, piece)| self.unpack_to(store, index, piece))
    }
}

fn solid_head(store: &dyn ReadAt, header: &ResourceHeader) -> Result<[u8; SOLID_HEADER]> {
    header.check_place("solid resource", store.len())?;
    let mut head = [0; SOLID_HEADER];
    store.read_at(header.offset, &mut head)?;
    Ok(head)
}

/// A table at the start of a resource; it must lie within it.
fn read_table(store: &dyn ReadAt, header: &ResourceHeader, at: u64, len: u64) -> Result<Vec<u8>> {
    if at.saturating_add(len) > header.stored {
        let detail =
            format!("a table of {len:#x} bytes at {at:#x} does not lie in the {:#x} that are stored", header.stored);
        return Err(Error::damaged("compressed resource", "chunk table", header.offset, detail));
    }
    let mut table = vec![0; len as usize];
    store.read_at(header.offset + at, &mut table)?;
    Ok(table)
}
