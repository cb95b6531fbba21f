//! Positional I/O on `&self`: the door between a volume and what holds its bytes.

use reseal_dtyp::{Error, Kind, Result};
use std::sync::RwLock;

/// Something of fixed length that can be read at any offset, from several threads at once.
pub trait ReadAt: Send + Sync {
    /// Fills `buf` from `offset`. An error when the range does not lie within [`ReadAt::len`], or the host fails.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;

    /// Length in bytes.
    fn len(&self) -> u64;

    /// Whether the length is zero.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `len` bytes at `offset` are known to read as zero without being read (a hole, an absent block).
    /// `false` says nothing.
    fn is_hole(&self, offset: u64, len: u64) -> bool {
        let _ = (offset, len);
        false
    }
}

/// Something that can also be written, below which lies an overlay or memory, never the image itself.
pub trait WriteAt: ReadAt {
    /// Writes all of `data` at `offset`; the range must lie within [`ReadAt::len`].
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()>;
}

/// A disk in memory, for tests and small fixtures.
#[derive(Debug, Default)]
pub struct MemoryDisk(RwLock<Vec<u8>>);

impl MemoryDisk {
    /// A disk with the given content.
    pub fn new(bytes: Vec<u8>) -> MemoryDisk {
        MemoryDisk(RwLock::new(bytes))
    }

    /// A copy of the content.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// The range as `usize`, when it lies within `len`; `Damaged` otherwise, since offsets come from the image.
pub fn checked_range(offset: u64, count: usize, len: u64) -> Result<std::ops::Range<usize>> {
    let end = offset.checked_add(count as u64).filter(|&end| end <= len).ok_or_else(|| {
        Error::new(Kind::Damaged, format!("{count:#x} bytes at {offset:#x} lie outside the {len:#x} bytes there are"))
    })?;
    Ok(offset as usize..end as usize)
}

impl ReadAt for MemoryDisk {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.0.read().unwrap_or_else(|e| e.into_inner());
        buf.copy_from_slice(&bytes[checked_range(offset, buf.len(), bytes.len() as u64)?]);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.read().unwrap_or_else(|e| e.into_inner()).len() as u64
    }
}

impl WriteAt for MemoryDisk {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(|e| e.into_inner());
        let range = checked_range(offset, data.len(), bytes.len() as u64)?;
        bytes[range].copy_from_slice(data);
        Ok(())
    }
}
