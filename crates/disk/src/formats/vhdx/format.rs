//! On-disk constants of [MS-VHDX], in the order of the file.

use reseal_dtyp::Guid;

/// `vhdxfile` at offset 0.
pub(super) const FILE_SIGNATURE: &[u8; 8] = b"vhdxfile";
/// Offsets of the two headers.
pub(super) const HEADERS: [u64; 2] = [64 << 10, 128 << 10];
/// Length of a header in bytes.
pub(super) const HEADER_LEN: usize = 4096;
/// Offsets of the two region tables.
pub(super) const REGION_TABLES: [u64; 2] = [192 << 10, 256 << 10];
/// Length of a region table in bytes.
pub(super) const REGION_TABLE_LEN: usize = 64 << 10;
/// Everything behind the headers is aligned to, and counted in, this.
pub(super) const MIB: u64 = 1 << 20;
/// Length of the metadata table in bytes.
pub(super) const METADATA_TABLE_LEN: usize = 64 << 10;
/// Granule of the log.
pub(super) const LOG_SECTOR: usize = 4096;
/// The largest virtual disk, [MS-VHDX] 2.6.2.2.
pub(super) const MAX_DISK_LEN: u64 = 64 << 40;

/// A GUID as its four text groups, for constants.
const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> Guid {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
}

pub(super) const BAT_REGION: Guid = guid(0x2dc2_7766, 0xf623, 0x4200, [0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08]);
pub(super) const METADATA_REGION: Guid =
    guid(0x8b7c_a206, 0x4790, 0x4b9a, [0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e]);

pub(super) const FILE_PARAMETERS: Guid =
    guid(0xcaa1_6737, 0xfa36, 0x4d43, [0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b]);
pub(super) const VIRTUAL_DISK_SIZE: Guid =
    guid(0x2fa5_4224, 0xcd1b, 0x4876, [0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8]);
pub(super) const VIRTUAL_DISK_ID: Guid =
    guid(0xbeca_12ab, 0xb2e6, 0x4523, [0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46]);
pub(super) const LOGICAL_SECTOR_SIZE: Guid =
    guid(0x8141_bf1d, 0xa96f, 0x4709, [0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f]);
pub(super) const PHYSICAL_SECTOR_SIZE: Guid =
    guid(0xcda3_48c7, 0x445d, 0x4471, [0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56]);
pub(super) const PARENT_LOCATOR: Guid =
    guid(0xa8d3_5f2d, 0xb30b, 0x454d, [0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c]);

/// Type of a parent locator that names a VHDX.
pub(super) const VHDX_LOCATOR: Guid =
    guid(0xb04a_efb7, 0xd19e, 0x4a81, [0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13]);

/// States of a BAT entry, [MS-VHDX] 2.5.1.1.
pub(super) mod state {
    pub(in crate::formats::vhdx) const NOT_PRESENT: u8 = 0;
    pub(in crate::formats::vhdx) const UNDEFINED: u8 = 1;
    pub(in crate::formats::vhdx) const ZERO: u8 = 2;
    pub(in crate::formats::vhdx) const UNMAPPED: u8 = 3;
    pub(in crate::formats::vhdx) const FULLY_PRESENT: u8 = 6;
    pub(in crate::formats::vhdx) const PARTIALLY_PRESENT: u8 = 7;
}
