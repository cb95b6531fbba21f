//! [MS-DTYP] 2.4.10.1 CLAIM_SECURITY_ATTRIBUTE_RELATIVE_V1: the data of a resource attribute ACE.

use crate::{Result, Sid, View};

/// Claim value types, [MS-DTYP] 2.4.10.1.
#[allow(missing_docs, reason = "the names are the specification's")]
pub mod claim_type {
    pub const INT64: u16 = 1;
    pub const UINT64: u16 = 2;
    pub const STRING: u16 = 3;
    pub const SID: u16 = 5;
    pub const BOOLEAN: u16 = 6;
    pub const OCTET_STRING: u16 = 0x10;
}

/// The values of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimValues {
    /// Signed integers.
    Int64(Vec<i64>),
    /// Unsigned integers, or booleans where the flag is set.
    Uint64(Vec<u64>, bool),
    /// UTF-16 texts.
    Text(Vec<Vec<u16>>),
    /// SIDs.
    Sid(Vec<Sid>),
    /// Bytes.
    Octets(Vec<Vec<u8>>),
}

/// A resource attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: Vec<u16>,
    /// Flags.
    pub flags: u32,
    /// Type and values.
    pub values: ClaimValues,
}

/// Windows caps an ACE at 64 KiB; a value takes at least four bytes of offset.
const MAX_VALUES: usize = 0x4000;

/// Reads a claim. `Damaged` when an offset leaves the data, `Unsupported` for an unknown value type.
pub fn read(data: &[u8]) -> Result<Claim> {
    let view = View::new("claim", 0, data);
    let (name, ty, flags) =
        (text(&view, view.u32(0, "Name")? as usize)?, view.u16(4, "ValueType")?, view.u32(8, "Flags")?);
    let offsets = value_offsets(&view)?;
    let values = match ty {
        claim_type::INT64 => ClaimValues::Int64(each(&offsets, |at| view.i64(at, "value"))?),
        claim_type::UINT64 | claim_type::BOOLEAN => {
            ClaimValues::Uint64(each(&offsets, |at| view.u64(at, "value"))?, ty == claim_type::BOOLEAN)
        }
        claim_type::STRING => ClaimValues::Text(each(&offsets, |at| text(&view, at))?),
        claim_type::SID => ClaimValues::Sid(each(&offsets, |at| Sid::read_exact(octets(&view, at)?))?),
        claim_type::OCTET_STRING => ClaimValues::Octets(each(&offsets, |at| octets(&view, at).map(<[u8]>::to_vec))?),
        _ => return Err(crate::Error::unsupported(format!("claim value type {ty:#x}"))),
    };
    Ok(Claim { name, flags, values })
}

/// Offsets of the SIDs in a claim's data; none when it does not parse.
pub(crate) fn sid_offsets(data: &[u8]) -> Vec<usize> {
    let view = View::new("claim", 0, data);
    match (read(data), value_offsets(&view)) {
        (Ok(Claim { values: ClaimValues::Sid(_), .. }), Ok(offsets)) => offsets.into_iter().map(|at| at + 4).collect(),
        _ => Vec::new(),
    }
}

/// The claim's data as Windows lays it out: header, value offsets, name, values, each 4-aligned.
pub fn write(claim: &Claim) -> Vec<u8> {
    let utf16z = |units: &[u16]| units.iter().chain([&0]).flat_map(|u| u.to_le_bytes()).collect::<Vec<u8>>();
    let sized = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    let (ty, values): (u16, Vec<Vec<u8>>) = match &claim.values {
        ClaimValues::Int64(v) => (claim_type::INT64, v.iter().map(|x| x.to_le_bytes().to_vec()).collect()),
        ClaimValues::Uint64(v, boolean) => {
            let ty = if *boolean { claim_type::BOOLEAN } else { claim_type::UINT64 };
            (ty, v.iter().map(|x| x.to_le_bytes().to_vec()).collect())
        }
        ClaimValues::Text(v) => (claim_type::STRING, v.iter().map(|x| utf16z(x)).collect()),
        ClaimValues::Sid(v) => (claim_type::SID, v.iter().map(|x| sized(&x.to_bytes())).collect()),
        ClaimValues::Octets(v) => (claim_type::OCTET_STRING, v.iter().map(|x| sized(x)).collect()),
    };
    let mut body = Vec::new();
    let header = 16 + 4 * values.len();
    let mut place = |bytes: &[u8]| {
        let at = header + body.len();
        body.extend_from_slice(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        at as u32
    };
    let name = place(&utf16z(&claim.name));
    let offsets: Vec<u32> = values.iter().map(|value| place(value)).collect();
    let mut out = name.to_le_bytes().to_vec();
    out.extend_from_slice(&ty.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&claim.flags.to_le_bytes());
    out.extend_from_slice(&(values.len() as u32).to_le_bytes());
    offsets.iter().for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
    out.extend_from_slice(&body);
    out
}

fn value_offsets(view: &View<'_>) -> Result<Vec<usize>> {
    let count = view.u32(12, "ValueCount")? as usize;
    if count > MAX_VALUES {
        return Err(view.damaged(12, "ValueCount", format!("{count} values")));
    }
    (0..count).map(|i| view.u32(16 + 4 * i, "Values").map(|at| at as usize)).collect()
}

fn each<T>(offsets: &[usize], read: impl Fn(usize) -> Result<T>) -> Result<Vec<T>> {
    offsets.iter().map(|&at| read(at)).collect()
}

fn text(view: &View<'_>, at: usize) -> Result<Vec<u16>> {
    let mut units = Vec::new();
    loop {
        match view.u16(at + 2 * units.len(), "text")? {
            0 => return Ok(units),
            unit => units.push(unit),
        }
    }
}

fn octets<'a>(view: &View<'a>, at: usize) -> Result<&'a [u8]> {
    let len = view.u32(at, "Length")? as usize;
    view.bytes(at + 4, len, "value")
}
