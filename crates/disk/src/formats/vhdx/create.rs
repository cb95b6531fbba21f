//! A new, empty VHDX.

use super::bat::Shape;
use super::format::*;
use super::header::checksum;
use super::locator::{LINKAGE, Locator, RELATIVE_PATH};
use reseal_dtyp::{Error, Guid, Kind, Result};

/// What a new VHDX shall be.
#[derive(Debug, Clone, Copy)]
pub struct CreateVhdx {
    /// Size of the virtual disk in bytes, a multiple of the sector size.
    pub disk_len: u64,
    /// Payload block size in bytes, a power of two from 1 to 256 MiB.
    pub block_len: u32,
    /// Logical sector size: 512 or 4096 bytes.
    pub sector_size: u32,
    /// Fixed: every block has its place from the start.
    pub fixed: bool,
    /// Identity of the virtual disk.
    pub disk_id: Guid,
    /// First value of the write GUIDs.
    pub write_guid: Guid,
}

const LOG: (u64, u64) = (MIB, MIB);
const METADATA: (u64, u64) = (2 * MIB, MIB);
const BAT_OFFSET: u64 = 3 * MIB;

/// The leading bytes of the file, up to and including the BAT, and the file's whole length; the rest reads as zero.
/// `Limit` when the sizes are not legal.
pub fn create_vhdx(options: &CreateVhdx) -> Result<(Vec<u8>, u64)> {
    create(options, None)
}

/// A child of a disk that bears the id `link`, and lies at a relative path as Windows writes it. What it does not hold itself is
/// read there.
pub(super) fn create_child(options: &CreateVhdx, link: Guid, path: &str) -> Result<(Vec<u8>, u64)> {
    let nothing = format!("{{{}}}", Guid::NIL);
    let pairs = [(LINKAGE, format!("{{{link}}}")), ("parent_linkage2", nothing), (RELATIVE_PATH, path.to_owned())];
    create(options, Some(Locator::to_bytes(&pairs.map(|(key, value)| (key.to_owned(), value)))?))
}

fn create(options: &CreateVhdx, locator: Option<Vec<u8>>) -> Result<(Vec<u8>, u64)> {
    let CreateVhdx { disk_len, block_len, sector_size, fixed, .. } = *options;
    let block = u64::from(block_len);
    let legal = block.is_power_of_two()
        && (MIB..=256 * MIB).contains(&block)
        && matches!(sector_size, 512 | 4096)
        && (1..=MAX_DISK_LEN).contains(&disk_len)
        && disk_len % u64::from(sector_size) == 0;
    if !legal {
        let detail = format!("no VHDX can have {disk_len} bytes in blocks of {block_len} and sectors of {sector_size}");
        return Err(Error::new(Kind::Limit, detail));
    }
    let shape = Shape::new(disk_len, block, sector_size, locator.is_some());
    let bat_len = (shape.entries * 8).next_multiple_of(MIB);
    let payload = BAT_OFFSET + bat_len;
    let mut out = vec![0; payload as usize];
    out[..8].copy_from_slice(FILE_SIGNATURE);
    let creator: Vec<u8> = "reseal".encode_utf16().flat_map(u16::to_le_bytes).collect();
    out[8..8 + creator.len()].copy_from_slice(&creator);
    for (i, offset) in HEADERS.into_iter().enumerate() {
        let header = header(options, i as u64 + 1);
        out[offset as usize..][..HEADER_LEN].copy_from_slice(&header);
    }
    for offset in REGION_TABLES {
        out[offset as usize..][..REGION_TABLE_LEN].copy_from_slice(&region_table(bat_len));
    }
    let metadata = metadata(options, locator);
    if metadata.len() as u64 > METADATA.1 {
        return Err(Error::new(Kind::Limit, "the path of the parent is too long"));
    }
    out[METADATA.0 as usize..][..metadata.len()].copy_from_slice(&metadata);
    let mut file_len = payload;
    if fixed {
        for b in 0..shape.blocks {
            let at = (BAT_OFFSET + shape.index(b) * 8) as usize;
            out[at..at + 8].copy_from_slice(&((payload + b * block) | u64::from(state::FULLY_PRESENT)).to_le_bytes());
        }
        file_len += shape.blocks * block;
    }
    Ok((out, file_len))
}

fn header(options: &CreateVhdx, sequence: u64) -> Vec<u8> {
    let mut out = vec![0; HEADER_LEN];
    out[..4].copy_from_slice(b"head");
    out[8..16].copy_from_slice(&sequence.to_le_bytes());
    out[16..32].copy_from_slice(&options.write_guid.0);
    out[32..48].copy_from_slice(&options.write_guid.0);
    out[66..68].copy_from_slice(&1u16.to_le_bytes());
    out[68..72].copy_from_slice(&(LOG.1 as u32).to_le_bytes());
    out[72..80].copy_from_slice(&LOG.0.to_le_bytes());
    sealed(out)
}

fn region_table(bat_len: u64) -> Vec<u8> {
    let mut out = vec![0; REGION_TABLE_LEN];
    out[..4].copy_from_slice(b"regi");
    out[8..12].copy_from_slice(&2u32.to_le_bytes());
    for (i, (id, (offset, len))) in
        [(BAT_REGION, (BAT_OFFSET, bat_len)), (METADATA_REGION, METADATA)].into_iter().enumerate()
    {
        let entry = &mut out[16 + 32 * i..48 + 32 * i];
        entry[..16].copy_from_slice(&id.0);
        entry[16..24].copy_from_slice(&offset.to_le_bytes());
        entry[24..28].copy_from_slice(&(len as u32).to_le_bytes());
        entry[28..32].copy_from_slice(&1u32.to_le_bytes());
    }
    sealed(out)
}

fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn metadata(options: &CreateVhdx, locator: Option<Vec<u8>>) -> Vec<u8> {
    // Flags: 4 required, 2 virtual disk (rather than file) metadata.
    let kind = u32::from(options.fixed) | if locator.is_some() { 2 } else { 0 };
    let parameters = [options.block_len.to_le_bytes(), kind.to_le_bytes()].concat();
    let mut items: Vec<(Guid, Vec<u8>, u32)> = vec![
        (FILE_PARAMETERS, parameters, 4),
        (VIRTUAL_DISK_SIZE, options.disk_len.to_le_bytes().to_vec(), 6),
        (VIRTUAL_DISK_ID, options.disk_id.0.to_vec(), 6),
        (LOGICAL_SECTOR_SIZE, options.sector_size.to_le_bytes().to_vec(), 6),
        (PHYSICAL_SECTOR_SIZE, 4096u32.to_le_bytes().to_vec(), 6),
    ];
    items.extend(locator.map(|locator| (PARENT_LOCATOR, locator, 4)));
    let mut out = vec![0; METADATA_TABLE_LEN];
    out[..8].copy_from_slice(b"metadata");
    out[10..12].copy_from_slice(&(items.len() as u16).to_le_bytes());
    for (i, (id, value, flags)) in items.iter().enumerate() {
        let offset = out.len() as u32;
        let entry = &mut out[32 + 32 * i..64 + 32 * i];
        entry[..16].copy_from_slice(&id.0);
        entry[16..20].copy_from_slice(&offset.to_le_bytes());
        entry[20..24].copy_from_slice(&(value.len() as u32).to_le_bytes());
        entry[24..28].copy_from_slice(&flags.to_le_bytes());
        out.extend_from_slice(value);
    }
    out
}
