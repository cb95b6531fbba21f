//! The footer, and the header of a disk in blocks, of the Virtual Hard Disk Image Format Specification 1.0. All numbers are
//! big-endian.

use crate::io::ReadAt;
use crate::journal::MARK;
use reseal_dtyp::{Error, Guid, Result};

/// Length of a footer in bytes.
pub(super) const FOOTER: usize = 512;
/// Length of the header of a disk in blocks.
pub(super) const HEADER: usize = 1024;
/// A BAT entry of a block that is not there.
pub(super) const ABSENT: u32 = u32::MAX;
/// An offset of nothing.
pub(super) const NOWHERE: u64 = u64::MAX;
/// Granule of blocks and bitmaps, whatever the disk below has.
pub(super) const SECTOR: u64 = 512;

pub(super) const COOKIE: &[u8; 8] = b"conectix";
pub(super) const HEADER_COOKIE: &[u8; 8] = b"cxsparse";

/// How a disk lies in the file: field "Disk Type".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskType {
    Fixed = 2,
    Dynamic = 3,
    Differencing = 4,
}

/// A footer whose checksum is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) ty: DiskType,
    /// Where the header of a disk in blocks stands.
    pub(super) header_offset: u64,
    /// Field "Current Size". The geometry is never used: it cannot say most sizes.
    pub(super) disk_len: u64,
    pub(super) id: Guid,
    bytes: Vec<u8>,
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

pub(super) fn guid_at(bytes: &[u8], at: usize) -> Guid {
    let mut guid = Guid::NIL;
    guid.0.copy_from_slice(&bytes[at..at + 16]);
    guid
}

/// The one's complement of the sum of all bytes, those of the checksum's own field (byte offset `field`) left out.
fn checksum(bytes: &[u8], field: usize) -> u32 {
    let sum = |part: &[u8]| part.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    !sum(&bytes[..field]).wrapping_add(sum(&bytes[field + 4..]))
}

/// Writes the checksum into its field.
pub(super) fn seal(bytes: &mut [u8], field: usize) {
    let sum = checksum(bytes, field);
    bytes[field..field + 4].copy_from_slice(&sum.to_be_bytes());
}

/// Byte offset of the checksum in a footer, and in a header.
pub(super) const FOOTER_SUM: usize = 64;
pub(super) const HEADER_SUM: usize = 36;

/// The bytes at `at`, when they are a footer with a right checksum. Those of 511 bytes, which old versions wrote, lack
/// a byte that is reserved.
pub(super) fn whole(file: &dyn ReadAt, at: u64, len: usize) -> Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; FOOTER];
    file.read_at(at, &mut bytes[..len])?;
    let is_whole = &bytes[..8] == COOKIE && u32_at(&bytes, FOOTER_SUM) == checksum(&bytes, FOOTER_SUM);
    Ok(is_whole.then_some(bytes))
}

impl Footer {
    /// What a footer at byte `at` of the file says. `Unsupported` for other versions and types, and for a machine whose state was
    /// saved; `Damaged` for a size that is none.
    pub(super) fn read(bytes: Vec<u8>, at: u64) -> Result<Footer> {
        let bad = |field, offset, detail: String| Err(Error::damaged("VHD footer", field, at + offset, detail));
        let version = u32_at(&bytes, 12);
        if version >> 16 != 1 {
            return Err(Error::unsupported(format!(
                "VHD version {}.{}; 1.0 is known",
                version >> 16,
                version & 0xffff
            )));
        }
        let ty = match u32_at(&bytes, 60) {
            2 => DiskType::Fixed,
            3 => DiskType::Dynamic,
            4 => DiskType::Differencing,
            other => return Err(Error::unsupported(format!("VHD of disk type {other}; 2, 3 and 4 are known"))),
        };
        if bytes[84] != 0 {
            return Err(Error::unsupported(
                "the VHD belongs to a machine whose state was saved: start it and shut it down, or drop the state",
            ));
        }
        let disk_len = u64_at(&bytes, 48);
        if disk_len == 0 || !disk_len.is_multiple_of(SECTOR) {
            return bad("Current Size", 48, format!("a disk of {disk_len:#x} bytes"));
        }
        Ok(Footer { ty, header_offset: u64_at(&bytes, 16), disk_len, id: guid_at(&bytes, 68), bytes })
    }

    /// Its bytes, with another unique id.
    pub(super) fn with_id(&self, id: Guid) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[68..84].copy_from_slice(&id.0);
        seal(&mut bytes, FOOTER_SUM);
        bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The header of a disk in blocks.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) at: u64,
    pub(super) bat_offset: u64,
    /// Entries of the BAT.
    pub(super) entries: u32,
    pub(super) block_len: u64,
    pub(super) bytes: Vec<u8>,
}

impl Header {
    /// Reads the header that a footer names, which ends before byte `end` of the file.
    pub(super) fn read(file: &dyn ReadAt, at: u64, end: u64) -> Result<Header> {
        let bad = |field, offset: u64, detail: String| {
            Err(Error::damaged("VHD header", field, at.saturating_add(offset), detail))
        };
        if at < FOOTER as u64 || at.checked_add(HEADER as u64).is_none_or(|last| last > end) {
            return bad("Data Offset", 0, format!("a header at {at:#x} of {end:#x} bytes"));
        }
        let mut bytes = vec![0; HEADER];
        file.read_at(at, &mut bytes)?;
        if bytes[..8] == MARK {
            return Err(crate::formats::half_written());
        }
        if &bytes[..8] != HEADER_COOKIE || u32_at(&bytes, HEADER_SUM) != checksum(&bytes, HEADER_SUM) {
            return bad("Checksum", HEADER_SUM as u64, "signature or checksum is wrong".into());
        }
        let version = u32_at(&bytes, 24);
        if version >> 16 != 1 {
            return Err(Error::unsupported(format!("VHD header version {}.{}", version >> 16, version & 0xffff)));
        }
        let (bat_offset, entries, block_len) = (u64_at(&bytes, 16), u32_at(&bytes, 28), u64::from(u32_at(&bytes, 32)));
        if !block_len.is_power_of_two() || !(4096..=256 << 20).contains(&block_len) {
            return bad("Block Size", 32, format!("blocks of {block_len:#x} bytes"));
        }
        if bat_offset.checked_add(4 * u64::from(entries)).is_none_or(|last| last > end) {
            return bad("Table Offset", 16, format!("{entries} entries at {bat_offset:#x} of {end:#x} bytes"));
        }
        Ok(Header { at, bat_offset, entries, block_len, bytes })
    }

    /// Length in bytes of the bitmap in front of each block, in whole sectors.
    pub(super) fn bitmap_len(&self) -> u64 {
        (self.block_len / SECTOR).div_ceil(8).next_multiple_of(SECTOR)
    }
}
