//! GUID partition table, UEFI 2.10 chapter 5.3.

use super::{Partition, PartitionTable, PartitionType, Scheme};
use crate::io::{ReadAt, WriteAt};
use reseal_dtyp::{Error, Guid, Kind, Result, View, from_utf16le, utf16_lossy, utf16le};

/// More entries than any tool writes; Windows writes 128.
const MAX_ENTRIES: u32 = 4096;
const SIGNATURE: &[u8; 8] = b"EFI PART";

struct Header {
    entries_offset: u64,
    count: u32,
    entry_len: u32,
    entries_crc: u32,
    disk_id: Guid,
}

/// `None` when neither header carries the signature; `Damaged` when one does and none is valid.
pub(super) fn read(disk: &dyn ReadAt, sector_size: u32) -> Result<Option<PartitionTable>> {
    let sector = u64::from(sector_size);
    if disk.len() < 3 * sector {
        return Ok(None);
    }
    let signed = |lba: u64| -> Result<bool> {
        let mut signature = [0; 8];
        disk.read_at(lba * sector, &mut signature)?;
        Ok(&signature == SIGNATURE)
    };
    let last = disk.len() / sector - 1;
    if !signed(1)? {
        // The backup alone may be the leftover of a former life of the disk.
        return Ok(None);
    }
    let primary = read_at_lba(disk, sector, 1);
    let (table, from_backup) = match primary {
        Ok(table) => (table, false),
        Err(e) if e.kind() == Kind::Damaged && signed(last)? => (read_at_lba(disk, sector, last).map_err(|_| e)?, true),
        Err(e) => return Err(e),
    };
    Ok(Some(PartitionTable { from_backup, ..table }))
}

fn read_header(disk: &dyn ReadAt, sector: u64, lba: u64) -> Result<Header> {
    let offset = lba * sector;
    let mut bytes = vec![0; sector as usize];
    disk.read_at(offset, &mut bytes)?;
    let view = View::new("GPT header", offset, &bytes);
    let len = view.u32(12, "HeaderSize")? as usize;
    if view.bytes(0, 8, "Signature")? != SIGNATURE || !(92..=bytes.len()).contains(&len) {
        return Err(view.damaged(12, "HeaderSize", format!("no signature, or a header of {len} bytes")));
    }
    let mut summed = bytes[..len].to_vec();
    summed[16..20].fill(0);
    if crc32fast::hash(&summed) != view.u32(16, "HeaderCRC32")? {
        return Err(view.damaged(16, "HeaderCRC32", "the checksum is wrong"));
    }
    let mut disk_id = Guid::NIL;
    disk_id.0.copy_from_slice(view.bytes(56, 16, "DiskGUID")?);
    let (count, entry_len) = (view.u32(80, "NumberOfPartitionEntries")?, view.u32(84, "SizeOfPartitionEntry")?);
    if count > MAX_ENTRIES || !(128..=4096).contains(&entry_len) || entry_len % 8 != 0 {
        return Err(view.damaged(80, "NumberOfPartitionEntries", format!("{count} entries of {entry_len} bytes")));
    }
    let entries_lba = view.u64(72, "PartitionEntryLBA")?;
    let entries_offset = entries_lba
        .checked_mul(sector)
        .ok_or_else(|| view.damaged(72, "PartitionEntryLBA", format!("LBA {entries_lba:#x}")))?;
    let entries_crc = view.u32(88, "PartitionEntryArrayCRC32")?;
    Ok(Header { entries_offset, count, entry_len, entries_crc, disk_id })
}

fn read_at_lba(disk: &dyn ReadAt, sector: u64, lba: u64) -> Result<PartitionTable> {
    let header = read_header(disk, sector, lba)?;
    let mut bytes = vec![0; header.count as usize * header.entry_len as usize];
    disk.read_at(header.entries_offset, &mut bytes)?;
    let view = View::new("GPT partition entries", header.entries_offset, &bytes);
    if crc32fast::hash(&bytes) != header.entries_crc {
        return Err(view.damaged(0, "PartitionEntryArrayCRC32", "the checksum is wrong"));
    }
    let mut partitions = Vec::new();
    for i in 0..header.count {
        let entry = view.part("GPT partition entry", (i * header.entry_len) as usize, header.entry_len as usize)?;
        let guid = |at| -> Result<Guid> {
            let mut guid = Guid::NIL;
            guid.0.copy_from_slice(entry.bytes(at, 16, "GUID")?);
            Ok(guid)
        };
        let ty = guid(0)?;
        if ty == Guid::NIL {
            continue;
        }
        let (first, last) = (entry.u64(32, "StartingLBA")?, entry.u64(40, "EndingLBA")?);
        let end =
            last.checked_add(1).and_then(|n| n.checked_mul(sector)).filter(|&end| first <= last && end <= disk.len());
        let end = end.ok_or_else(|| {
            entry.damaged(
                32,
                "StartingLBA",
                format!("partition {} from LBA {first:#x} to {last:#x} of a disk of {:#x} bytes", i + 1, disk.len()),
            )
        })?;
        let name = from_utf16le(entry.bytes(56, 72, "PartitionName")?);
        let name = utf16_lossy(name.split(|unit| *unit == 0).next().unwrap_or_default());
        let offset = first * sector;
        partitions.push(Partition {
            number: i + 1,
            ty: PartitionType::Gpt(ty),
            name,
            id: guid(16)?,
            offset,
            len: end - offset,
        });
    }
    Ok(PartitionTable { scheme: Scheme::Gpt, disk_id: header.disk_id, partitions, from_backup: false })
}

/// A partition to be written into a new GPT.
#[derive(Debug, Clone)]
pub struct GptPartition {
    /// Type GUID.
    pub ty: Guid,
    /// Unique GUID.
    pub id: Guid,
    /// Name, at most 36 UTF-16 units.
    pub name: String,
    /// First byte, a multiple of the sector size.
    pub offset: u64,
    /// Length in bytes, a multiple of the sector size.
    pub len: u64,
}

/// Writes a protective MBR and both GPTs with 128 entries. `Limit` for more partitions or too long a name.
pub fn write_gpt(disk: &dyn WriteAt, sector_size: u32, disk_id: Guid, partitions: &[GptPartition]) -> Result<()> {
    let sector = u64::from(sector_size);
    let sectors = disk.len() / sector;
    let mut entries = vec![0; 128 * 128];
    let table_sectors = entries.len() as u64 / sector;
    if partitions.len() > 128 || sectors < 2 * (table_sectors + 2) {
        return Err(Error::new(Kind::Limit, format!("{} partitions on {sectors} sectors", partitions.len())));
    }
    for (partition, entry) in partitions.iter().zip(entries.chunks_exact_mut(128)) {
        let name = utf16le(&partition.name);
        if name.len() > 72 {
            return Err(Error::new(Kind::Limit, format!("the partition name `{}` is too long", partition.name)));
        }
        entry[..16].copy_from_slice(&partition.ty.0);
        entry[16..32].copy_from_slice(&partition.id.0);
        entry[32..40].copy_from_slice(&(partition.offset / sector).to_le_bytes());
        entry[40..48].copy_from_slice(&((partition.offset + partition.len) / sector - 1).to_le_bytes());
        entry[56..56 + name.len()].copy_from_slice(&name);
    }
    let mut mbr = vec![0; sector as usize];
    let protective = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    mbr[446..458].copy_from_slice(&protective);
    mbr[458..462].copy_from_slice(&u32::try_from(sectors - 1).unwrap_or(u32::MAX).to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.write_at(0, &mbr)?;
    let backup_entries = sectors - 1 - table_sectors;
    for (own, other, entries_lba) in [(1, sectors - 1, 2), (sectors - 1, 1, backup_entries)] {
        let mut header = vec![0; sector as usize];
        header[..8].copy_from_slice(SIGNATURE);
        header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
        header[12..16].copy_from_slice(&92u32.to_le_bytes());
        for (at, lba) in [(24, own), (32, other), (40, 2 + table_sectors), (48, backup_entries - 1), (72, entries_lba)]
        {
            header[at..at + 8].copy_from_slice(&lba.to_le_bytes());
        }
        header[56..72].copy_from_slice(&disk_id.0);
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&header[..92]);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.write_at(own * sector, &header)?;
        disk.write_at(entries_lba * sector, &entries)?;
    }
    Ok(())
}
