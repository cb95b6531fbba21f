//! The log, [MS-VHDX] 2.3: found, checked and replayed into the overlay.

use super::format::LOG_SECTOR;
use super::header::{Header, checksum};
use crate::io::{ReadAt, WriteAt};
use crate::overlay::Overlay;
use reseal_dtyp::{Error, Guid, Result};

/// One valid entry, by its place in the circular log.
struct Entry {
    /// Sector index of the entry's first sector.
    start: usize,
    sectors: usize,
    tail: usize,
    sequence: u64,
    flushed_len: u64,
    last_len: u64,
}

/// The whole log as sectors in a ring.
struct Ring<'a> {
    bytes: &'a [u8],
}

impl Ring<'_> {
    fn count(&self) -> usize {
        self.bytes.len() / LOG_SECTOR
    }

    fn sector(&self, index: usize) -> &[u8] {
        let at = index % self.count() * LOG_SECTOR;
        &self.bytes[at..at + LOG_SECTOR]
    }

    fn entry_bytes(&self, entry: &Entry) -> Vec<u8> {
        (0..entry.sectors).flat_map(|i| self.sector(entry.start + i)).copied().collect()
    }

    /// The entry that starts at a sector, when it is whole and belongs to the log's GUID.
    fn entry(&self, start: usize, log_guid: Guid) -> Option<Entry> {
        let head = self.sector(start);
        if &head[..4] != b"loge" || head[32..48] != log_guid.0 {
            return None;
        }
        let len = u32_at(head, 8) as usize;
        let (sectors, tail) = (len / LOG_SECTOR, u32_at(head, 12) as usize);
        if len == 0
            || !len.is_multiple_of(LOG_SECTOR)
            || sectors > self.count()
            || tail % LOG_SECTOR != 0
            || tail >= self.bytes.len()
        {
            return None;
        }
        let sequence = u64_at(head, 16);
        if sequence == 0 {
            return None;
        }
        let entry = Entry {
            start,
            sectors,
            tail: tail / LOG_SECTOR,
            sequence,
            flushed_len: u64_at(head, 48),
            last_len: u64_at(head, 56),
        };
        (checksum(&self.entry_bytes(&entry)) == u32_at(head, 4)).then_some(entry)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Applies the active sequence of the log to the overlay. Returns how many entries were applied.
/// `Damaged` when the log is said to be in use but holds no whole sequence.
pub(super) fn replay(file: &Overlay, header: &Header) -> Result<usize> {
    let (offset, len) = header.log;
    let legal =
        offset >= super::format::MIB && offset % super::format::MIB == 0 && len > 0 && len % super::format::MIB == 0;
    if !legal || offset.checked_add(len).is_none_or(|end| end > file.len()) {
        let detail = format!("a log of {len:#x} bytes at {offset:#x}, the file has {:#x}", file.len());
        return Err(Error::damaged("VHDX header", "LogOffset", offset, detail));
    }
    // `len` is bounded by the file's length above.
    let mut bytes = vec![0; len as usize];
    file.read_at(offset, &mut bytes)?;
    let ring = Ring { bytes: &bytes };
    let sequence = active_sequence(&ring, header.log_guid).ok_or_else(|| {
        Error::damaged("VHDX log", "LogGuid", offset, "the log is in use, but holds no complete sequence of entries")
    })?;
    let last = sequence.last().expect("an active sequence has an entry");
    if file.len() < last.flushed_len {
        let detail = format!(
            "the log was written for a file of {:#x} bytes, it has {:#x}: it was cut",
            last.flushed_len,
            file.len()
        );
        return Err(Error::damaged("VHDX log", "FlushedFileOffset", offset, detail));
    }
    let limit = last.last_len.max(file.len());
    if limit > super::format::MAX_DISK_LEN * 2 {
        return Err(Error::damaged("VHDX log", "LastFileOffset", offset, format!("a file of {limit:#x} bytes")));
    }
    file.grow(limit);
    for entry in &sequence {
        apply(file, &ring.entry_bytes(entry), entry, (offset, len))?;
    }
    Ok(sequence.len())
}

/// [MS-VHDX] 2.3.3: of all runs of entries with rising numbers whose head's tail is the run's start, the newest.
fn active_sequence(ring: &Ring<'_>, log_guid: Guid) -> Option<Vec<Entry>> {
    let mut best: Option<Vec<Entry>> = None;
    let mut start = 0;
    while start < ring.count() {
        let mut run: Vec<Entry> = Vec::new();
        let mut at = start;
        while let Some(entry) = ring.entry(at % ring.count(), log_guid) {
            let follows = run.last().is_none_or(|last| last.sequence.checked_add(1) == Some(entry.sequence));
            let total: usize = run.iter().map(|e| e.sectors).sum::<usize>() + entry.sectors;
            if !follows || total > ring.count() {
                break;
            }
            at += entry.sectors;
            run.push(entry);
        }
        // The head's tail may lie behind the run's start: then only the part from the tail on is active.
        if let Some(head) = run.last() {
            let (tail, sequence) = (head.tail, head.sequence);
            if let Some(first) = run.iter().position(|entry| entry.start == tail)
                && best.as_ref().and_then(|b| b.last()).is_none_or(|b| b.sequence < sequence)
            {
                best = Some(run.split_off(first));
            }
        }
        start = if at > start { at } else { start + 1 };
    }
    best
}

/// Writes what one entry describes. Descriptors follow its 64-byte head, 32 bytes each, then the data sectors.
fn apply(file: &Overlay, bytes: &[u8], entry: &Entry, log: (u64, u64)) -> Result<()> {
    let bad = |what: String| Error::damaged("VHDX log entry", "", log.0 + (entry.start * LOG_SECTOR) as u64, what);
    let count = u32_at(bytes, 24) as usize;
    let descriptor_sectors = (64usize.saturating_add(count.saturating_mul(32))).div_ceil(LOG_SECTOR);
    if descriptor_sectors > entry.sectors {
        return Err(bad(format!("{count} descriptors in {} sectors", entry.sectors)));
    }
    let mut data_sector = descriptor_sectors;
    for i in 0..count {
        let d = &bytes[64 + 32 * i..96 + 32 * i];
        let (offset, sequence) = (u64_at(d, 16), u64_at(d, 24));
        let len = if &d[..4] == b"zero" { u64_at(d, 8) } else { LOG_SECTOR as u64 };
        let end = offset.checked_add(len).filter(|&end| end <= file.len());
        let in_log = end.is_none_or(|end| offset < log.0 + log.1 && end > log.0);
        if sequence != entry.sequence || offset % LOG_SECTOR as u64 != 0 || len % LOG_SECTOR as u64 != 0 || in_log {
            return Err(bad(format!("descriptor {i} for {len:#x} bytes at {offset:#x}")));
        }
        match &d[..4] {
            b"zero" => {
                let zeros = vec![0; 1 << 20];
                let mut at = offset;
                while at < offset + len {
                    let n = (offset + len - at).min(zeros.len() as u64);
                    file.write_at(at, &zeros[..n as usize])?;
                    at += n;
                }
            }
            b"desc" => {
                let sector = bytes.get(data_sector * LOG_SECTOR..(data_sector + 1) * LOG_SECTOR);
                let sector = sector.ok_or_else(|| bad(format!("descriptor {i} has no data sector")))?;
                data_sector += 1;
                // The number is split: its high half in front, its low half at the end, so that a torn sector shows.
                let number = u64::from(u32_at(sector, 4)) << 32 | u64::from(u32_at(sector, LOG_SECTOR - 4));
                if &sector[..4] != b"data" || number != entry.sequence {
                    return Err(bad(format!("data sector of descriptor {i} is torn")));
                }
                let mut page = sector.to_vec();
                page[..8].copy_from_slice(&d[8..16]);
                page[LOG_SECTOR - 4..].copy_from_slice(&d[4..8]);
                file.write_at(offset, &page)?;
            }
            other => return Err(bad(format!("descriptor {i} with signature {other:02x?}"))),
        }
    }
    Ok(())
}
