//! A new VHD.

use super::footer::*;
use crate::child::NewDisk;
use reseal_dtyp::{Error, Guid, Kind, Result, utf16le};

/// What a new VHD shall be.
#[derive(Debug, Clone, Copy)]
pub struct CreateVhd {
    /// Size of the virtual disk in bytes, a multiple of 512, at most 2040 GiB.
    pub disk_len: u64,
    /// Block size in bytes, a power of two from 512 KiB to 256 MiB; Windows takes 512 KiB and 2 MiB. Of a fixed disk, nothing.
    pub block_len: u32,
    /// Fixed: every sector has its place from the start.
    pub fixed: bool,
    /// Unique id, by which children know it.
    pub disk_id: Guid,
    /// When it was made, in seconds since 2000-01-01 UTC.
    pub time: u32,
}

/// The largest disk that the format takes: 2040 GiB.
const MAX_DISK_LEN: u64 = 2040 << 30;
/// Room for the path of a parent.
const PATH_ROOM: u64 = 4096;

/// A new disk without content. `Limit` when the sizes are not legal.
pub fn create_vhd(options: &CreateVhd) -> Result<NewDisk> {
    legal(options)?;
    if options.fixed {
        let footer = footer(options, DiskType::Fixed);
        return Ok(NewDisk { parts: vec![(options.disk_len, footer)], len: options.disk_len + FOOTER as u64 });
    }
    Ok(in_blocks(options, DiskType::Dynamic, HEADER_AT + HEADER as u64, |_| {}))
}

/// A child of a disk that bears the id `link`, and lies at a relative path as Windows writes it. What it does not hold itself is
/// read there.
pub(super) fn create_child(options: &CreateVhd, link: Guid, path: &str) -> Result<NewDisk> {
    legal(options)?;
    let (relative, name) = (utf16le(path), path.rsplit('\\').next().unwrap_or_default());
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_be_bytes).collect();
    if relative.len() as u64 > PATH_ROOM || name.len() > 510 {
        return Err(Error::new(Kind::Limit, format!("the path `{path}` of the parent is too long")));
    }
    let path_at = HEADER_AT + HEADER as u64;
    let mut out = in_blocks(options, DiskType::Differencing, path_at + PATH_ROOM, |header| {
        header[40..56].copy_from_slice(&link.0);
        header[64..64 + name.len()].copy_from_slice(&name);
        header[576..580].copy_from_slice(b"W2ru");
        // In bytes, as Windows has it.
        header[580..584].copy_from_slice(&(PATH_ROOM as u32).to_be_bytes());
        header[584..588].copy_from_slice(&(relative.len() as u32).to_be_bytes());
        header[592..600].copy_from_slice(&path_at.to_be_bytes());
    });
    out.parts.insert(1, (path_at, relative));
    Ok(out)
}

const HEADER_AT: u64 = FOOTER as u64;

fn legal(options: &CreateVhd) -> Result<()> {
    let CreateVhd { disk_len, block_len, fixed, .. } = *options;
    let is_block = fixed || block_len.is_power_of_two() && (512 << 10..=256 << 20).contains(&block_len);
    if !is_block || !(1..=MAX_DISK_LEN).contains(&disk_len) || !disk_len.is_multiple_of(SECTOR) {
        let detail = format!("no VHD can have {disk_len} bytes in blocks of {block_len}");
        return Err(Error::new(Kind::Limit, detail));
    }
    Ok(())
}

/// Footer, header, table at `bat_at`, footer; `more` may write to the header.
fn in_blocks(options: &CreateVhd, ty: DiskType, bat_at: u64, more: impl FnOnce(&mut [u8])) -> NewDisk {
    let footer = footer(options, ty);
    let entries = options.disk_len.div_ceil(u64::from(options.block_len));
    let mut header = vec![0; HEADER];
    header[..8].copy_from_slice(HEADER_COOKIE);
    header[8..16].copy_from_slice(&NOWHERE.to_be_bytes());
    header[16..24].copy_from_slice(&bat_at.to_be_bytes());
    header[24..28].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    // Below 2^22: a disk has at most 2040 GiB, a block at least 512 KiB.
    header[28..32].copy_from_slice(&(entries as u32).to_be_bytes());
    header[32..36].copy_from_slice(&options.block_len.to_be_bytes());
    more(&mut header);
    seal(&mut header, HEADER_SUM);
    let table = vec![0xff; (entries * 4).next_multiple_of(SECTOR) as usize];
    let end = bat_at + table.len() as u64;
    let head = [footer.as_slice(), &header].concat();
    NewDisk { parts: vec![(0, head), (bat_at, table), (end, footer)], len: end + FOOTER as u64 }
}

fn footer(options: &CreateVhd, ty: DiskType) -> Vec<u8> {
    let mut out = vec![0; FOOTER];
    out[..8].copy_from_slice(COOKIE);
    // Bit 1 is reserved and always set.
    out[8..12].copy_from_slice(&2u32.to_be_bytes());
    out[12..16].copy_from_slice(&0x0001_0000u32.to_be_bytes());
    let header_at = if ty == DiskType::Fixed { NOWHERE } else { HEADER_AT };
    out[16..24].copy_from_slice(&header_at.to_be_bytes());
    out[24..28].copy_from_slice(&options.time.to_be_bytes());
    // The creator is not a matter of pride: readers take the size for what it says, and not the geometry, of those
    // programs only that they know to write it.
    out[28..32].copy_from_slice(b"win ");
    out[32..36].copy_from_slice(&0x000a_0000u32.to_be_bytes());
    out[36..40].copy_from_slice(b"Wi2k");
    out[40..48].copy_from_slice(&options.disk_len.to_be_bytes());
    out[48..56].copy_from_slice(&options.disk_len.to_be_bytes());
    out[56..60].copy_from_slice(&geometry(options.disk_len / SECTOR));
    out[60..64].copy_from_slice(&(ty as u32).to_be_bytes());
    out[68..84].copy_from_slice(&options.disk_id.0);
    seal(&mut out, FOOTER_SUM);
    out
}

/// Cylinders, heads and sectors per track for a number of sectors: the specification's appendix "CHS Calculation".
fn geometry(sectors: u64) -> [u8; 4] {
    let sectors = sectors.min(65_535 * 16 * 255);
    let (per_track, heads, tracks);
    if sectors >= 65_535 * 16 * 63 {
        (per_track, heads, tracks) = (255, 16, sectors / 255);
    } else {
        let of_17 = sectors / 17;
        let wanted = of_17.div_ceil(1024).max(4);
        if of_17 < wanted * 1024 && wanted <= 16 {
            (per_track, heads, tracks) = (17, wanted, of_17);
        } else if sectors / 31 < 16 * 1024 {
            (per_track, heads, tracks) = (31, 16, sectors / 31);
        } else {
            (per_track, heads, tracks) = (63, 16, sectors / 63);
        }
    }
    let cylinders = ((tracks / heads) as u16).to_be_bytes();
    [cylinders[0], cylinders[1], heads as u8, per_track as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes and geometries of footers that Windows and QEMU wrote.
    #[test]
    fn geometries() {
        for (len, wanted) in [(0x40_0000, [0, 0x78, 4, 0x11]), (0x1_9800, [0, 3, 4, 0x11])] {
            assert_eq!(geometry(len / 512), wanted, "{len:#x}");
        }
        assert_eq!(geometry(u64::MAX), [0xff, 0xff, 16, 255]);
        assert_eq!(geometry((127u64 << 30) / 512), [0xfe, 0xfe, 16, 255]);
    }
}
