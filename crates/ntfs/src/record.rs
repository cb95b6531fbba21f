//! File records of `$MFT`, fixups undone.

use crate::attribute::{Attribute, kind};
use crate::reference::FileReference;
use reseal_dtyp::{Error, Result, View};

/// Record header flags.
pub(crate) mod flag {
    pub(crate) const IN_USE: u16 = 1;
    pub(crate) const DIRECTORY: u16 = 2;
}

/// A file record: its header fields and the way to its attributes. The bytes have their fixups undone.
#[derive(Debug, Clone, Copy)]
pub struct FileRecord<'a> {
    pub(crate) number: u64,
    pub(crate) bytes: &'a [u8],
    /// Byte offset on the volume.
    pub(crate) at: u64,
}

/// Smallest header (version 3.0 and before).
const HEADER: usize = 0x2a;

impl<'a> FileRecord<'a> {
    /// Wraps bytes that carry the signature `FILE`; `Damaged` when the header contradicts itself.
    pub(crate) fn new(number: u64, bytes: &'a [u8], at: u64) -> Result<FileRecord<'a>> {
        let record = FileRecord { number, bytes, at };
        if bytes.get(..4) != Some(b"FILE") || bytes.len() < HEADER {
            let detail = format!("record {number} has no FILE signature: {:02x?}", bytes.get(..4).unwrap_or_default());
            return Err(Error::damaged("file record", "Signature", at, detail));
        }
        let start = usize::from(record.u16(0x14));
        if start < HEADER || start % 8 != 0 || start + 8 > bytes.len() {
            let detail = format!("record {number}: attributes start at {start:#x} of {:#x}", bytes.len());
            return Err(Error::damaged("file record", "FirstAttributeOffset", at + 0x14, detail));
        }
        Ok(record)
    }

    fn u16(&self, offset: usize) -> u16 {
        self.bytes.get(offset..offset + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
    }

    pub(crate) fn u32(&self, offset: usize) -> u32 {
        u32::from(self.u16(offset)) | u32::from(self.u16(offset + 2)) << 16
    }

    pub(crate) fn u64(&self, offset: usize) -> u64 {
        u64::from(self.u32(offset)) | u64::from(self.u32(offset + 4)) << 32
    }

    /// All bytes of the record, fixups undone, what lies behind its end included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of the record.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        self.u16(0x10)
    }

    /// The reference that a directory entry to this record holds.
    pub fn reference(&self) -> FileReference {
        FileReference::new(self.number, self.sequence())
    }

    /// Number of names, 8.3 names included.
    pub fn link_count(&self) -> u16 {
        self.u16(0x12)
    }

    pub(crate) fn attributes_offset(&self) -> usize {
        usize::from(self.u16(0x14))
    }

    pub(crate) fn flags(&self) -> u16 {
        self.u16(0x16)
    }

    /// Whether it belongs to a file.
    pub fn is_in_use(&self) -> bool {
        self.flags() & flag::IN_USE != 0
    }

    /// Whether it is a directory with names.
    pub fn is_directory(&self) -> bool {
        self.flags() & flag::DIRECTORY != 0
    }

    pub(crate) fn bytes_in_use(&self) -> u32 {
        self.u32(0x18)
    }

    pub(crate) fn bytes_allocated(&self) -> u32 {
        self.u32(0x1c)
    }

    pub(crate) fn next_id(&self) -> u16 {
        self.u16(0x28)
    }

    /// The base record that this one extends; `None` for a base record.
    pub fn base(&self) -> Option<FileReference> {
        match self.u64(0x20) {
            0 => None,
            base => Some(FileReference(base)),
        }
    }

    /// The attributes in order; stops at the end marker or the first error.
    pub(crate) fn attributes(&self) -> Attributes<'a> {
        Attributes { record: *self, offset: Some(self.attributes_offset()) }
    }

    /// The first attribute of this type and name in this record.
    pub(crate) fn find(&self, kind: u32, name: &[u16]) -> Result<Option<Attribute<'a>>> {
        for attribute in self.attributes() {
            let attribute = attribute?;
            if attribute.is(kind, name) {
                return Ok(Some(attribute));
            }
        }
        Ok(None)
    }

    /// Offset of the end marker.
    pub(crate) fn end_offset(&self) -> Result<usize> {
        let mut end = self.attributes_offset();
        for attribute in self.attributes() {
            let attribute = attribute?;
            end = attribute.offset + attribute.len;
        }
        Ok(end)
    }
}

/// Iterator over a record's attributes.
#[derive(Debug, Clone)]
pub(crate) struct Attributes<'a> {
    record: FileRecord<'a>,
    offset: Option<usize>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Result<Attribute<'a>>> {
        let offset = self.offset.take()?;
        let at = self.record.at + offset as u64;
        let rest = self.record.bytes.get(offset..).unwrap_or_default();
        match View::new("attribute", at, rest).u32(0, "TypeCode") {
            Ok(kind::END) => None,
            Err(e) => Some(Err(e.within(format!("record {}: no end marker", self.record.number)))),
            Ok(_) => Some(match Attribute::read(rest, offset, at) {
                Ok(attribute) => {
                    // Every attribute is at least 0x18 bytes long, so the walk ends with the record.
                    self.offset = Some(offset + attribute.len);
                    Ok(attribute)
                }
                Err(e) => Err(e.within(format!("record {}", self.record.number))),
            }),
        }
    }
}
