//! One attribute of a file record, checked when it is looked at.

use crate::runs::RunDecoder;
use reseal_dtyp::{Result, View};

/// Attribute type codes.
pub(crate) mod kind {
    pub(crate) const STANDARD_INFORMATION: u32 = 0x10;
    pub(crate) const ATTRIBUTE_LIST: u32 = 0x20;
    pub(crate) const FILE_NAME: u32 = 0x30;
    pub(crate) const OBJECT_ID: u32 = 0x40;
    pub(crate) const SECURITY_DESCRIPTOR: u32 = 0x50;
    pub(crate) const VOLUME_NAME: u32 = 0x60;
    pub(crate) const VOLUME_INFORMATION: u32 = 0x70;
    pub(crate) const DATA: u32 = 0x80;
    pub(crate) const INDEX_ROOT: u32 = 0x90;
    pub(crate) const INDEX_ALLOCATION: u32 = 0xa0;
    pub(crate) const BITMAP: u32 = 0xb0;
    pub(crate) const REPARSE_POINT: u32 = 0xc0;
    pub(crate) const EA_INFORMATION: u32 = 0xd0;
    pub(crate) const EA: u32 = 0xe0;
    pub(crate) const LOGGED_UTILITY_STREAM: u32 = 0x100;
    pub(crate) const END: u32 = 0xffff_ffff;
}

/// Attribute flags.
pub(crate) mod flag {
    pub(crate) const COMPRESSED: u16 = 0x0001;
    pub(crate) const COMPRESSION_MASK: u16 = 0x00ff;
    pub(crate) const ENCRYPTED: u16 = 0x4000;
    pub(crate) const SPARSE: u16 = 0x8000;
}

/// Names of attributes, as UTF-16 code units.
pub(crate) mod name {
    const fn wide<const N: usize>(text: &[u8; N]) -> [u16; N] {
        let mut out = [0; N];
        let mut i = 0;
        while i < N {
            out[i] = text[i] as u16;
            i += 1;
        }
        out
    }
    pub(crate) const I30: &[u16] = &wide(b"$I30");
    pub(crate) const SDS: &[u16] = &wide(b"$SDS");
    pub(crate) const SII: &[u16] = &wide(b"$SII");
    pub(crate) const SDH: &[u16] = &wide(b"$SDH");
    pub(crate) const O: &[u16] = &wide(b"$O");
    pub(crate) const Q: &[u16] = &wide(b"$Q");
    pub(crate) const R: &[u16] = &wide(b"$R");
    pub(crate) const BAD: &[u16] = &wide(b"$Bad");
    pub(crate) const EFS: &[u16] = &wide(b"$EFS");
    pub(crate) const WOF: &[u16] = &wide(b"WofCompressedData");
}

/// Whether little-endian bytes spell these code units.
pub(crate) fn same_name(bytes: &[u8], units: &[u16]) -> bool {
    bytes.len() == 2 * units.len() && bytes.chunks_exact(2).zip(units).all(|(b, u)| [b[0], b[1]] == u.to_le_bytes())
}

/// An attribute header whose ranges have been checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attribute<'a> {
    /// Offset in the file record.
    pub(crate) offset: usize,
    /// Length in the file record, a multiple of eight.
    pub(crate) len: usize,
    pub(crate) kind: u32,
    /// UTF-16LE bytes.
    pub(crate) name: &'a [u8],
    pub(crate) flags: u16,
    pub(crate) id: u16,
    pub(crate) form: Form<'a>,
}

/// Where the value is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form<'a> {
    /// In the record, `offset` bytes behind the attribute's start.
    Resident { value: &'a [u8], offset: usize, indexed: u8 },
    /// In clusters.
    NonResident(Extent<'a>),
}

/// The non-resident part of an attribute header: one extent of the attribute.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<'a> {
    pub(crate) first_vcn: u64,
    pub(crate) last_vcn: u64,
    /// Mapping pairs with the slack behind them.
    pub(crate) pairs: &'a [u8],
    /// Offset of the pairs in the attribute.
    pub(crate) pairs_offset: usize,
    /// Compression unit: clusters as a power of two, 0 for none.
    pub(crate) unit: u8,
    /// The three sizes hold in the extent with `first_vcn` 0 only.
    pub(crate) allocated: u64,
    pub(crate) size: u64,
    pub(crate) initialized: u64,
    /// Clusters really held, in bytes; compressed and sparse attributes only.
    pub(crate) total: Option<u64>,
}

impl<'a> Extent<'a> {
    /// The runs; `at` is the byte offset of the attribute, for errors.
    pub(crate) fn runs(&self, clusters: u64, at: u64) -> RunDecoder<'a> {
        RunDecoder::new(self.pairs, self.first_vcn, clusters, at + self.pairs_offset as u64)
    }
}

impl<'a> Attribute<'a> {
    /// Reads the attribute at the start of `bytes`, which reach to the end of the record; `at` is their offset on the volume.
    pub(crate) fn read(bytes: &'a [u8], offset: usize, at: u64) -> Result<Attribute<'a>> {
        let view = View::new("attribute", at, bytes);
        let kind = view.u32(0, "TypeCode")?;
        let len = view.u32(4, "RecordLength")? as usize;
        if len < 0x18 || !len.is_multiple_of(8) || len > bytes.len() {
            let detail = format!("{len} bytes for type {kind:#x}, {} bytes are left", bytes.len());
            return Err(view.damaged(4, "RecordLength", detail));
        }
        let view = View::new("attribute", at, &bytes[..len]);
        let name_len = usize::from(view.u8(9, "NameLength")?);
        let name = match name_len {
            0 => &[][..],
            n => view.bytes(usize::from(view.u16(0xa, "NameOffset")?), 2 * n, "Name")?,
        };
        let form = match view.u8(8, "FormCode")? {
            0 => resident(&view)?,
            1 => Form::NonResident(extent(&view)?),
            other => return Err(view.damaged(8, "FormCode", format!("{other} is neither 0 nor 1"))),
        };
        let (flags, id) = (view.u16(0xc, "Flags")?, view.u16(0xe, "Instance")?);
        Ok(Attribute { offset, len, kind, name, flags, id, form })
    }

    /// Type and name.
    pub(crate) fn is(&self, kind: u32, name: &[u16]) -> bool {
        self.kind == kind && same_name(self.name, name)
    }

    /// The value in the record, if it is there.
    pub(crate) fn resident(&self) -> Option<&'a [u8]> {
        match self.form {
            Form::Resident { value, .. } => Some(value),
            Form::NonResident(_) => None,
        }
    }

    /// The extent in clusters, if it is one.
    pub(crate) fn extent(&self) -> Option<Extent<'a>> {
        match self.form {
            Form::Resident { .. } => None,
            Form::NonResident(extent) => Some(extent),
        }
    }

    /// The name as code units.
    pub(crate) fn name_units(&self) -> Vec<u16> {
        reseal_dtyp::from_utf16le(self.name)
    }
}

fn resident<'a>(view: &View<'a>) -> Result<Form<'a>> {
    let len = view.u32(0x10, "ValueLength")? as usize;
    let offset = usize::from(view.u16(0x14, "ValueOffset")?);
    Ok(Form::Resident { value: view.bytes(offset, len, "Value")?, offset, indexed: view.u8(0x16, "IndexedFlag")? })
}

fn extent<'a>(view: &View<'a>) -> Result<Extent<'a>> {
    let (first_vcn, last_vcn) = (view.u64(0x10, "LowestVcn")?, view.u64(0x18, "HighestVcn")?);
    let pairs_offset = usize::from(view.u16(0x20, "MappingPairsOffset")?);
    let (allocated, size) = (view.u64(0x28, "AllocatedLength")?, view.u64(0x30, "FileSize")?);
    let initialized = view.u64(0x38, "ValidDataLength")?;
    let flags = view.u16(0xc, "Flags")?;
    let has_total = flags & (flag::COMPRESSION_MASK | flag::SPARSE) != 0 && pairs_offset >= 0x48;
    let total = if has_total { Some(view.u64(0x40, "TotalAllocated")?) } else { None };
    if pairs_offset < 0x40 || pairs_offset >= view.len() {
        return Err(view.damaged(0x20, "MappingPairsOffset", format!("{pairs_offset:#x} in {:#x} bytes", view.len())));
    }
    // HighestVcn is LowestVcn - 1 for an attribute without clusters.
    if first_vcn >> 62 != 0 || last_vcn.wrapping_add(1) >> 62 != 0 {
        return Err(view.damaged(0x10, "LowestVcn", format!("clusters {first_vcn} to {last_vcn}")));
    }
    let pairs = &view.all()[pairs_offset..];
    let unit = view.u8(0x22, "CompressionUnit")?;
    Ok(Extent { first_vcn, last_vcn, pairs, pairs_offset, unit, allocated, size, initialized, total })
}
