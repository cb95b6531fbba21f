//! Where a resource lies, how long it is, and how it is stored.

use reseal_dtyp::{Error, Result, View};

/// Length of such a header in bytes.
pub(crate) const RESOURCE_HEADER_LEN: usize = 24;

mod flag {
    pub(super) const METADATA: u8 = 2;
    pub(super) const COMPRESSED: u8 = 4;
    pub(super) const SPANNED: u8 = 8;
    pub(super) const SOLID: u8 = 0x10;
}

/// A resource header, as the WIM's header and its blob table have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResourceHeader {
    /// Bytes in the file.
    pub(crate) stored: u64,
    pub(crate) flags: u8,
    /// Where they begin; of a blob in a solid resource, the offset in what that unpacks to.
    pub(crate) offset: u64,
    /// Bytes that it unpacks to.
    pub(crate) size: u64,
}

impl ResourceHeader {
    /// That of a resource that is stored as it is.
    pub(crate) fn plain(offset: u64, size: u64) -> ResourceHeader {
        ResourceHeader { stored: size, flags: 0, offset, size }
    }

    /// That of a resource in compressed chunks.
    pub(crate) fn compressed(offset: u64, stored: u64, size: u64) -> ResourceHeader {
        ResourceHeader { stored, flags: flag::COMPRESSED, offset, size }
    }

    /// The same of metadata.
    pub(crate) fn of_metadata(self) -> ResourceHeader {
        ResourceHeader { flags: self.flags | flag::METADATA, ..self }
    }

    /// The same of a solid resource.
    pub(crate) fn of_solid(self) -> ResourceHeader {
        ResourceHeader { flags: self.flags | flag::SOLID, ..self }
    }

    /// The same elsewhere.
    pub(crate) fn moved_to(self, offset: u64) -> ResourceHeader {
        ResourceHeader { offset, ..self }
    }

    /// What the blob table says of a blob of `size` bytes in a solid resource, at an offset of all that its run unpacks to.
    pub(crate) fn in_solid(offset: u64, size: u64) -> ResourceHeader {
        ResourceHeader { stored: size, flags: flag::SOLID, offset, size: 0 }
    }

    /// As it is stored.
    pub(crate) fn to_bytes(self) -> [u8; RESOURCE_HEADER_LEN] {
        let mut out = [0; RESOURCE_HEADER_LEN];
        out[..8].copy_from_slice(&(self.stored | u64::from(self.flags) << 56).to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..].copy_from_slice(&self.size.to_le_bytes());
        out
    }

    /// Where it ends in the file.
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.stored)
    }

    /// Reads the one at `at`.
    pub(crate) fn read(view: &View<'_>, at: usize) -> Result<ResourceHeader> {
        let word = view.u64(at, "resource size and flags")?;
        Ok(ResourceHeader {
            stored: word & 0xff_ffff_ffff_ffff,
            flags: (word >> 56) as u8,
            offset: view.u64(at + 8, "resource offset")?,
            size: view.u64(at + 16, "uncompressed size")?,
        })
    }

    /// Whether it says of a resource that there is none.
    pub(crate) fn is_absent(&self) -> bool {
        self.stored == 0 && self.size == 0
    }

    pub(crate) fn is_metadata(&self) -> bool {
        self.flags & flag::METADATA != 0
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.flags & flag::COMPRESSED != 0
    }

    pub(crate) fn is_spanned(&self) -> bool {
        self.flags & flag::SPANNED != 0
    }

    pub(crate) fn is_solid(&self) -> bool {
        self.flags & flag::SOLID != 0
    }

    /// `Damaged` unless it lies behind the header and within a file of `len` bytes.
    pub(crate) fn check_place(&self, what: &'static str, len: u64) -> Result<()> {
        let end = self.offset.checked_add(self.stored);
        if self.offset >= crate::header::HEADER_LEN as u64 && end.is_some_and(|end| end <= len) {
            return Ok(());
        }
        let detail = format!("{:#x} bytes do not lie in the file, which has {len:#x}", self.stored);
        Err(Error::damaged(what, "place", self.offset, detail))
    }
}
