//! Master boot record with extended partitions.

use super::{Partition, PartitionTable, PartitionType, Scheme};
use crate::io::ReadAt;
use reseal_dtyp::{Error, Guid, Result, View};

/// Logical partitions beyond this are a loop or a joke.
const MAX_LOGICAL: u32 = 128;
const PROTECTIVE: u8 = 0xee;

struct Entry {
    ty: u8,
    first: u64,
    count: u64,
}

fn entries(sector: &[u8], offset: u64) -> Result<Vec<Entry>> {
    let view = View::new("MBR", offset, sector);
    (0..4)
        .map(|i| {
            let at = 446 + 16 * i;
            Ok(Entry {
                ty: view.u8(at + 4, "type")?,
                first: u64::from(view.u32(at + 8, "first sector")?),
                count: u64::from(view.u32(at + 12, "sector count")?),
            })
        })
        .collect()
}

fn is_extended(ty: u8) -> bool {
    matches!(ty, 0x05 | 0x0f | 0x85)
}

/// `None` when the sector is no MBR.
pub(super) fn read(disk: &dyn ReadAt, first: &[u8], sector_size: u32) -> Result<Option<PartitionTable>> {
    if first[510..512] != [0x55, 0xaa] {
        return Ok(None);
    }
    let primary = entries(first, 0)?;
    // A boot sector of some other volume ends with 55 AA too; its code is no list of partitions.
    if primary.iter().any(|e| e.ty == PROTECTIVE) || first[446..510].chunks_exact(16).any(|e| e[0] & 0x7f != 0) {
        return Ok(None);
    }
    let mut disk_id = Guid::NIL;
    disk_id.0[..4].copy_from_slice(&first[440..444]);
    let sector = u64::from(sector_size);
    let mut partitions = Vec::new();
    for (i, entry) in primary.iter().enumerate().filter(|(_, e)| e.ty != 0 && e.count != 0) {
        if is_extended(entry.ty) {
            logical(disk, entry, sector, &mut partitions)?;
        } else {
            partitions.push(partition(disk, i as u32 + 1, entry, 0, sector)?);
        }
    }
    partitions.sort_by_key(|p| p.number);
    Ok((!partitions.is_empty()).then_some(PartitionTable {
        scheme: Scheme::Mbr,
        disk_id,
        partitions,
        from_backup: false,
    }))
}

fn partition(disk: &dyn ReadAt, number: u32, entry: &Entry, base: u64, sector: u64) -> Result<Partition> {
    let offset = (base + entry.first).saturating_mul(sector);
    let len = entry.count.saturating_mul(sector);
    if offset.checked_add(len).is_none_or(|end| end > disk.len()) {
        let detail = format!("partition {number}: {len:#x} bytes at {offset:#x} of a disk of {:#x}", disk.len());
        return Err(Error::damaged("MBR", "first sector", 0, detail));
    }
    Ok(Partition { number, ty: PartitionType::Mbr(entry.ty), name: String::new(), id: Guid::NIL, offset, len })
}

/// The chain of extended boot records: one logical partition each, relative to its own record; the next record is
/// relative to the extended partition.
fn logical(disk: &dyn ReadAt, extended: &Entry, sector: u64, out: &mut Vec<Partition>) -> Result<()> {
    let mut at = extended.first;
    for number in 5..5 + MAX_LOGICAL {
        let mut record = vec![0; 512];
        disk.read_at(at.saturating_mul(sector), &mut record)?;
        if record[510..512] != [0x55, 0xaa] {
            return Err(Error::damaged(
                "extended boot record",
                "signature",
                at.saturating_mul(sector),
                "55 AA is missing",
            ));
        }
        let list = entries(&record, at * sector)?;
        if list[0].ty != 0 && list[0].count != 0 {
            out.push(partition(disk, number, &list[0], at, sector)?);
        }
        if list[1].ty == 0 || list[1].count == 0 {
            return Ok(());
        }
        at = extended.first + list[1].first;
    }
    Err(Error::damaged(
        "extended boot record",
        "",
        at * sector,
        format!("more than {MAX_LOGICAL} logical partitions, or a loop"),
    ))
}
