//! Located little-endian reads from untrusted bytes.

use crate::{Error, Result};

/// Bytes of one structure, with its name and its offset in the container, so that a failed read can say where.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    structure: &'static str,
    base: u64,
    bytes: &'a [u8],
}

macro_rules! int {
    ($name:ident, $ty:ty, $len:expr) => {
        /// Reads a little-endian integer; `Damaged` when the structure is too short.
        #[inline]
        pub fn $name(&self, offset: usize, field: &'static str) -> Result<$ty> {
            match self.bytes.get(offset..).and_then(|rest| rest.first_chunk()) {
                Some(raw) => Ok(<$ty>::from_le_bytes(*raw)),
                None => Err(self.short(offset, $len, field)),
            }
        }
    };
}

impl<'a> View<'a> {
    /// A view of `bytes`, which lie at `base` in their container.
    pub fn new(structure: &'static str, base: u64, bytes: &'a [u8]) -> Self {
        View { structure, base, bytes }
    }

    /// All bytes.
    pub fn all(&self) -> &'a [u8] {
        self.bytes
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `len` bytes at `offset`; `Damaged` when the structure is too short.
    #[inline]
    pub fn bytes(&self, offset: usize, len: usize, field: &'static str) -> Result<&'a [u8]> {
        match offset.checked_add(len).and_then(|end| self.bytes.get(offset..end)) {
            Some(bytes) => Ok(bytes),
            None => Err(self.short(offset, len, field)),
        }
    }

    /// Apart from the reads, so that these stay small enough to be inlined.
    #[cold]
    fn short(&self, offset: usize, len: usize, field: &'static str) -> Error {
        let detail = format!("needs {len} bytes at {offset:#x}, the structure has {:#x}", self.bytes.len());
        self.damaged(offset, field, detail)
    }

    /// A part as a structure of its own.
    pub fn part(&self, structure: &'static str, offset: usize, len: usize) -> Result<View<'a>> {
        Ok(View { structure, base: self.base + offset as u64, bytes: self.bytes(offset, len, structure)? })
    }

    int!(u8, u8, 1);
    int!(u16, u16, 2);
    int!(u32, u32, 4);
    int!(i32, i32, 4);
    int!(u64, u64, 8);
    int!(i64, i64, 8);

    /// A damage error located in this structure.
    pub fn damaged(&self, offset: usize, field: &'static str, detail: impl Into<String>) -> Error {
        Error::damaged(self.structure, field, self.base.saturating_add(offset as u64), detail)
    }
}
