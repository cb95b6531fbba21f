//! The header: what kind of WIM it is, and where its tables lie.

use crate::resource::ResourceHeader;
use reseal_dtyp::{Error, Guid, Result, View};

/// Length of the header in bytes.
pub(crate) const HEADER_LEN: usize = 208;
const MAGIC: &[u8; 8] = b"MSWIM\0\0\0";
/// wimlib's own layout for pipes: the header is repeated at the end, and chunks have headers.
const PIPABLE_MAGIC: &[u8; 8] = b"WLPWM\0\0\0";
/// The usual version, and the one with solid resources.
const VERSIONS: [u32; 2] = [0x10d00, 0xe00];

mod flag {
    pub(super) const COMPRESSED: u32 = 2;
    pub(super) const READ_ONLY: u32 = 4;
    pub(super) const SPANNED: u32 = 8;
    pub(super) const WRITE_IN_PROGRESS: u32 = 0x40;
    pub(super) const REPARSE_FIXED: u32 = 0x80;
    pub(super) const XPRESS: u32 = 0x2_0000;
    pub(super) const LZX: u32 = 0x4_0000;
    pub(super) const LZMS: u32 = 0x8_0000;
}

/// How chunks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// XPRESS with Huffman coding.
    Xpress,
    /// LZX.
    Lzx,
    /// LZMS.
    Lzms,
}

impl Compression {
    /// The name that the field uses.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Xpress => "XPRESS",
            Compression::Lzx => "LZX",
            Compression::Lzms => "LZMS",
        }
    }

    /// Sizes of a chunk that the format has, in bytes; LZMS is held to what Windows writes.
    pub(crate) fn check_chunk(self, chunk: u32) -> Option<()> {
        let (least, most) = match self {
            Compression::None => return Some(()),
            Compression::Xpress => (1 << 12, 1 << 16),
            Compression::Lzx => (1 << 15, 1 << 21),
            Compression::Lzms => (1 << 15, 1 << 26),
        };
        (chunk.is_power_of_two() && (least..=most).contains(&chunk)).then_some(())
    }
}

/// The header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `0x10d00`, or `0xe00` with solid resources.
    pub version: u32,
    /// Flags as they stand there.
    pub flags: u32,
    /// How resources are compressed that do not say so themselves.
    pub compression: Compression,
    /// Size of their chunks in bytes; 0 when nothing is compressed.
    pub chunk: u32,
    /// Id of the WIM, shared by its parts.
    pub guid: Guid,
    /// Number of images.
    pub images: u32,
    /// The image that a start from the network loads, from 1; 0 for none.
    pub boot_image: u32,
    pub(crate) blob_table: ResourceHeader,
    pub(crate) xml: ResourceHeader,
    pub(crate) boot_metadata: ResourceHeader,
    pub(crate) integrity: ResourceHeader,
}

impl Header {
    /// Reads it. `Unsupported` for a part of a split WIM, one made for pipes, and one that is being written.
    pub(crate) fn read(bytes: &[u8]) -> Result<Header> {
        let (header, part, parts) = Header::read_part(bytes)?;
        if (part, parts) != (1, 1) || header.flags & flag::SPANNED != 0 {
            return Err(Error::unsupported(format!(
                "part {part} of a WIM that is split into {parts}: `reseal wim export FIRST.swm:all OUT.wim` makes one of them"
            )));
        }
        Ok(header)
    }

    /// Reads that of a part, its number, and how many parts there are.
    pub(crate) fn read_part(bytes: &[u8]) -> Result<(Header, u16, u16)> {
        let view = View::new("WIM header", 0, bytes);
        let magic = view.bytes(0, 8, "magic")?;
        if magic == PIPABLE_MAGIC {
            return Err(Error::unsupported(
                "a pipable WIM: `wimlib-imagex export IN.wim all OUT.wim` makes a usual one of it",
            ));
        }
        if magic != MAGIC {
            return Err(view.damaged(0, "magic", "this is no WIM file"));
        }
        let size = view.u32(8, "size")?;
        if (size as usize) != HEADER_LEN {
            return Err(view.damaged(8, "size", format!("{size} bytes instead of {HEADER_LEN}")));
        }
        let (version, flags) = (view.u32(0xc, "version")?, view.u32(0x10, "flags")?);
        if !VERSIONS.contains(&version) {
            return Err(Error::unsupported(format!("a WIM of version {version:#x}; {VERSIONS:#x?} are known")));
        }
        let (part, parts) = (view.u16(0x28, "part")?, view.u16(0x2a, "parts")?);
        if part == 0 || part > parts {
            return Err(view.damaged(0x28, "part", format!("part {part} of {parts}")));
        }
        if flags & flag::WRITE_IN_PROGRESS != 0 {
            return Err(Error::unsupported("a WIM whose writing was interrupted, or still goes on"));
        }
        let compression = compression(&view, flags)?;
        let chunk = view.u32(0x14, "chunk size")?;
        if compression.check_chunk(chunk).is_none() {
            return Err(view.damaged(
                0x14,
                "chunk size",
                format!("{chunk} bytes do not go with {}", compression.name()),
            ));
        }
        let mut guid = [0; 16];
        guid.copy_from_slice(view.bytes(0x18, 16, "GUID")?);
        let header = Header {
            version,
            flags,
            compression,
            chunk,
            guid: Guid(guid),
            images: view.u32(0x2c, "images")?,
            boot_image: view.u32(0x78, "boot image")?,
            blob_table: ResourceHeader::read(&view, 0x30)?,
            xml: ResourceHeader::read(&view, 0x48)?,
            boot_metadata: ResourceHeader::read(&view, 0x60)?,
            integrity: ResourceHeader::read(&view, 0x7c)?,
        };
        Ok((header, part, parts))
    }

    /// As it is stored.
    pub(crate) fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &(HEADER_LEN as u32).to_le_bytes());
        put(0xc, &self.version.to_le_bytes());
        put(0x10, &self.flags.to_le_bytes());
        put(0x14, &self.chunk.to_le_bytes());
        put(0x18, &self.guid.0);
        put(0x28, &[1, 0, 1, 0]);
        put(0x2c, &self.images.to_le_bytes());
        put(0x30, &self.blob_table.to_bytes());
        put(0x48, &self.xml.to_bytes());
        put(0x60, &self.boot_metadata.to_bytes());
        put(0x78, &self.boot_image.to_le_bytes());
        put(0x7c, &self.integrity.to_bytes());
        out
    }

    /// That of a new WIM.
    pub fn new(compression: Compression, chunk: u32, guid: Guid) -> Header {
        let format = match compression {
            Compression::None => 0,
            Compression::Xpress => flag::COMPRESSED | flag::XPRESS,
            Compression::Lzx => flag::COMPRESSED | flag::LZX,
            Compression::Lzms => flag::COMPRESSED | flag::LZMS,
        };
        Header {
            version: VERSIONS[usize::from(compression == Compression::Lzms)],
            flags: format,
            compression,
            chunk: if compression == Compression::None { 0 } else { chunk },
            guid,
            images: 0,
            boot_image: 0,
            blob_table: ResourceHeader::default(),
            xml: ResourceHeader::default(),
            boot_metadata: ResourceHeader::default(),
            integrity: ResourceHeader::default(),
        }
    }

    /// That of another WIM in the same format, which may be changed.
    pub fn of_copy(&self, guid: Guid) -> Header {
        Header { guid, flags: self.flags & !flag::READ_ONLY, ..self.clone() }
    }

    /// That of one of so many parts.
    pub(crate) fn of_part(&self, guid: Guid, parts: usize) -> Header {
        let header = self.of_copy(guid);
        Header { flags: header.flags | if parts > 1 { flag::SPANNED } else { 0 }, ..header }
    }

    /// That of all parts together.
    pub(crate) fn whole(&self) -> Header {
        Header { flags: self.flags & !flag::SPANNED, ..self.clone() }
    }

    /// Whether targets of absolute links were made to begin at the root of the image, where they lie in it.
    pub fn has_fixed_targets(&self) -> bool {
        self.flags & flag::REPARSE_FIXED != 0
    }

    /// Whether it is marked as not to be changed.
    pub fn is_read_only(&self) -> bool {
        self.flags & flag::READ_ONLY != 0
    }
}

fn compression(view: &View<'_>, flags: u32) -> Result<Compression> {
    if flags & flag::COMPRESSED == 0 {
        return Ok(Compression::None);
    }
    match flags & (flag::XPRESS | flag::LZX | flag::LZMS) {
        flag::XPRESS => Ok(Compression::Xpress),
        flag::LZX => Ok(Compression::Lzx),
        flag::LZMS => Ok(Compression::Lzms),
        other => Err(view.damaged(0x10, "flags", format!("compressed, with {other:#x} instead of one format"))),
    }
}
