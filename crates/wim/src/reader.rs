//! A content that is read piece by piece: its chunk table is read once, and the chunk at hand is kept.

use crate::blobs::{Blob, Place};
use crate::chunks::Chunks;
use crate::wim::{Wim, copy_part};
use reseal_dtyp::Result;
use std::borrow::Cow;

/// A content of a WIM, opened for reading.
pub struct BlobReader<'w> {
    wim: &'w Wim,
    from: From<'w>,
    size: u64,
    /// The chunk that was unpacked last.
    last: Option<(usize, Vec<u8>)>,
}

/// Where a content is.
enum From<'w> {
    /// Stored as it is, from this byte of the file on.
    Plain(u64),
    /// In chunks; it begins at this byte of what they unpack to.
    Chunks(Cow<'w, Chunks>, u64),
}

impl std::fmt::Debug for BlobReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Wim {
    /// Opens a content of this WIM. `Damaged` when its chunk table is not sound.
    pub fn reader(&self, blob: &Blob) -> Result<BlobReader<'_>> {
        let from = match &blob.place {
            Place::Own(header) if !header.is_compressed() => From::Plain(header.offset),
            Place::Own(header) => From::Chunks(Cow::Owned(self.chunks_of(header)?), 0),
            Place::Solid { resource, offset } => From::Chunks(Cow::Borrowed(self.solid_chunks(*resource)?), *offset),
        };
        Ok(BlobReader { wim: self, from, size: blob.size, last: None })
    }
}

impl BlobReader<'_> {
    /// Bytes of the content.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Part of the content; returns how many bytes there were. The SHA-1 is of the whole, so it is not checked.
    pub fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = self.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..len];
        if len == 0 {
            return Ok(0);
        }
        match &self.from {
            From::Plain(start) => self.wim.read_stored(start + offset, buf)?,
            From::Chunks(chunks, start) => {
                let range = start + offset..start + offset + len as u64;
                for index in chunks.covering(&range) {
                    let chunk = match self.last.take().filter(|(known, _)| *known == index) {
                        Some((_, chunk)) => chunk,
                        None => self.wim.unpack_solid(chunks, index)?,
                    };
                    copy_part(&chunk, chunks.start_of(index), &range, buf);
                    self.last = Some((index, chunk));
                }
            }
        }
        Ok(len)
    }
}
