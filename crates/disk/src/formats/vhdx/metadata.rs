//! The metadata region, [MS-VHDX] 2.6.

use super::format::*;
use super::header::guid_at;
use super::locator::Locator;
use crate::io::ReadAt;
use reseal_dtyp::{Error, Guid, Result, View};

/// What the metadata say of the disk.
#[derive(Debug, Clone)]
pub(super) struct Metadata {
    pub(super) block_len: u64,
    pub(super) fixed: bool,
    /// How the parent is named; `None` without one.
    pub(super) parent: Option<Locator>,
    pub(super) disk_len: u64,
    pub(super) sector_size: u32,
    pub(super) disk_id: Guid,
    /// Bytes of the region that are in use.
    pub(super) used: u64,
}

impl Metadata {
    /// Reads the metadata region at `(offset, length)`. `Unsupported` for an unknown required item.
    pub(super) fn read(file: &dyn ReadAt, region: (u64, u64)) -> Result<Metadata> {
        let mut table = vec![0; METADATA_TABLE_LEN];
        file.read_at(region.0, &mut table)?;
        let view = View::new("VHDX metadata table", region.0, &table);
        let count = usize::from(view.u16(10, "EntryCount")?);
        if view.bytes(0, 8, "Signature")? != b"metadata" || count > 2047 {
            return Err(view.damaged(0, "Signature", format!("wrong signature or {count} entries")));
        }
        let mut values = Values { used: METADATA_TABLE_LEN as u64, ..Values::default() };
        for i in 0..count {
            let at = 32 + 32 * i;
            let id = guid_at(&view, at, "ItemId")?;
            let (offset, len) = (u64::from(view.u32(at + 16, "Offset")?), u64::from(view.u32(at + 20, "Length")?));
            let flags = view.u32(at + 24, "Flags")?;
            if len > 0 && (offset < METADATA_TABLE_LEN as u64 || offset + len > region.1) {
                return Err(view.damaged(
                    at + 16,
                    "Offset",
                    format!("item of {len:#x} bytes at {offset:#x} of a region of {:#x}", region.1),
                ));
            }
            values.used = values.used.max(offset + len);
            // Bit 2: the item is required to load the file. User items (bit 0) are not ours to know.
            if !values.take(file, id, (region.0 + offset, len), region.0 + at as u64)? && flags & 4 != 0 {
                return Err(Error::unsupported(format!("required VHDX metadata item {id}")));
            }
        }
        values.finish(&view)
    }
}

#[derive(Default)]
struct Values {
    parameters: Option<(u32, u32)>,
    disk_len: Option<u64>,
    sector_size: Option<u32>,
    disk_id: Option<Guid>,
    locator: Option<Locator>,
    used: u64,
}

impl Values {
    /// Reads one item at (byte offset in the file, length), whose entry stands at `entry`; `false` when it is not known.
    fn take(&mut self, file: &dyn ReadAt, id: Guid, (offset, len): (u64, u64), entry: u64) -> Result<bool> {
        let mut raw = [0; 16];
        let mut read = |n: usize| -> Result<[u8; 16]> {
            if len < n as u64 {
                return Err(Error::damaged("VHDX metadata item", "Length", offset, format!("{len} bytes, {n} needed")));
            }
            file.read_at(offset, &mut raw[..n])?;
            Ok(raw)
        };
        let u32_at = |raw: [u8; 16], at: usize| u32::from_le_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        match id {
            FILE_PARAMETERS => {
                let raw = read(8)?;
                self.parameters = Some((u32_at(raw, 0), u32_at(raw, 4)));
            }
            VIRTUAL_DISK_SIZE => {
                let raw = read(8)?;
                self.disk_len = Some(u64::from(u32_at(raw, 0)) | u64::from(u32_at(raw, 4)) << 32);
            }
            LOGICAL_SECTOR_SIZE => self.sector_size = Some(u32_at(read(4)?, 0)),
            VIRTUAL_DISK_ID => self.disk_id = Some(Guid(read(16)?)),
            PHYSICAL_SECTOR_SIZE => {}
            PARENT_LOCATOR => self.locator = Some(Locator::read(file, offset, len, entry)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, view: &View<'_>) -> Result<Metadata> {
        let missing = |what: &str| view.damaged(10, "EntryCount", format!("the {what} item is missing"));
        let (block, flags) = self.parameters.ok_or_else(|| missing("file parameters"))?;
        let disk_len = self.disk_len.ok_or_else(|| missing("virtual disk size"))?;
        let sector_size = self.sector_size.ok_or_else(|| missing("logical sector size"))?;
        let block_len = u64::from(block);
        if !block_len.is_power_of_two() || !(MIB..=256 * MIB).contains(&block_len) {
            return Err(view.damaged(
                0,
                "BlockSize",
                format!("blocks of {block_len:#x} bytes; 1 to 256 MiB are legal"),
            ));
        }
        if sector_size != 512 && sector_size != 4096 {
            return Err(view.damaged(0, "LogicalSectorSize", format!("sectors of {sector_size} bytes")));
        }
        if disk_len == 0 || disk_len > MAX_DISK_LEN || disk_len % u64::from(sector_size) != 0 {
            return Err(view.damaged(0, "VirtualDiskSize", format!("a disk of {disk_len:#x} bytes")));
        }
        let has_parent = flags & 2 != 0;
        if has_parent != self.locator.is_some() {
            return Err(view.damaged(0, "HasParent", "the parent flag and the parent locator disagree"));
        }
        let disk_id = self.disk_id.unwrap_or(Guid::NIL);
        let (parent, used) = (self.locator, self.used);
        Ok(Metadata { block_len, fixed: flags & 1 != 0, parent, disk_len, sector_size, disk_id, used })
    }
}
