//! Transaction logs: what a dirty hive needs before it may be read or written.
//!
//! New logs (`HvLE` entries with Marvin32 hashes, Windows 8.1 and later) and old ones (`DIRT` and a bitmap of sectors).

use crate::base_block::{BaseBlock, LEN, NEW_LOG, OLD_LOG, PRIMARY, SECTOR, at, get32, put32, seal};
use crate::marvin::marvin;
use reseal_dtyp::{Error, Kind, Result, View};

/// Bytes of an entry before its page references.
const ENTRY_HEADER: usize = 40;
/// The file type that some versions wrote into old logs instead of 1.
const OLD_LOG_2: u32 = 2;

/// A replayed hive.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) bytes: Vec<u8>,
    /// Entries applied; an old log counts as one.
    pub(crate) entries: usize,
}

/// One entry whose hashes are right.
#[derive(Debug)]
struct Entry<'a> {
    seq: u32,
    flags: u32,
    bins: u32,
    /// Offset in the hbins, and the bytes.
    pages: Vec<(u32, &'a [u8])>,
}

/// A new-format log with at least one valid entry.
#[derive(Debug)]
struct NewLog<'a> {
    sector: &'a [u8],
    entries: Vec<Entry<'a>>,
}

impl NewLog<'_> {
    fn first(&self) -> u32 {
        self.entries.first().map_or(0, |e| e.seq)
    }

    fn last(&self) -> u32 {
        self.entries.last().map_or(0, |e| e.seq)
    }
}

fn conflict(detail: impl Into<String>) -> Error {
    Error::new(Kind::Conflict, detail)
}

/// Replays what applies. `Conflict` when nothing does, with the reason.
pub(crate) fn recover(primary: &[u8], logs: &[&[u8]]) -> Result<Recovered> {
    let base = BaseBlock::read(primary).filter(|_| primary.len() >= LEN).ok_or_else(|| {
        Error::damaged("base block", "", 0, format!("{} bytes, a base block has {LEN}", primary.len()))
    })?;
    let base = base.intact().then_some(base);
    let used: Vec<&[u8]> = logs.iter().copied().filter(|log| log.iter().take(SECTOR).any(|&b| b != 0)).collect();
    if used.is_empty() {
        return Err(conflict("it has no transaction log with content"));
    }
    let new: Vec<NewLog<'_>> = used.iter().filter_map(|log| new_log(log)).collect();
    if !new.is_empty() {
        return recover_new(primary, base, new);
    }
    let mut why = conflict("no log has an intact base block and a valid first entry");
    for log in used {
        match recover_old(primary, base, log) {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            Err(e) => why = e,
        }
    }
    Err(why)
}

/// The valid entries of a new-format log: right hashes, ascending without a gap.
fn new_log(log: &[u8]) -> Option<NewLog<'_>> {
    let base = BaseBlock::read(log).filter(|b| b.intact() && b.kind == NEW_LOG)?;
    let (mut entries, mut at) = (Vec::<Entry<'_>>::new(), SECTOR);
    while let Some((entry, len)) = log.get(at..).and_then(entry) {
        let follows = match entries.last() {
            Some(before) => before.seq.checked_add(1) == Some(entry.seq),
            None => entry.seq >= base.seq[0],
        };
        if !follows {
            break;
        }
        entries.push(entry);
        at += len;
    }
    (!entries.is_empty()).then_some(NewLog { sector: &log[..SECTOR], entries })
}

/// The entry at the start of `bytes` and its length; `None` unless it is whole and its hashes are right.
fn entry(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let len = header(bytes)?;
    let view = View::new("log entry", 0, bytes.get(..len)?);
    let hash = get32(bytes, 24).zip(get32(bytes, 28)).map(|(low, high)| u64::from(high) << 32 | u64::from(low));
    if hash != Some(marvin(view.bytes(ENTRY_HEADER, len - ENTRY_HEADER, "").ok()?)) {
        return None;
    }
    let dword = |offset| view.u32(offset, "").ok();
    let (flags, seq, bins, count) = (dword(8)?, dword(12)?, dword(16)?, dword(20)? as usize);
    let mut page_at = ENTRY_HEADER.checked_add(count.checked_mul(8)?)?;
    let mut pages = Vec::new();
    for i in 0..count {
        let (offset, size) = (dword(ENTRY_HEADER + 8 * i)?, dword(ENTRY_HEADER + 8 * i + 4)?);
        if offset.checked_add(size)? > bins {
            return None;
        }
        pages.push((offset, view.bytes(page_at, size as usize, "").ok()?));
        page_at += size as usize;
    }
    bins.is_multiple_of(LEN as u32).then_some((Entry { seq, flags, bins, pages }, len))
}

/// Length of the entry at the start of `bytes` if its header's hash is right.
fn header(bytes: &[u8]) -> Option<usize> {
    let len = get32(bytes, 4)? as usize;
    let sane = bytes.starts_with(b"HvLE") && len >= SECTOR && len.is_multiple_of(SECTOR) && bytes.len() >= ENTRY_HEADER;
    let hash = u64::from(get32(bytes, 36)?) << 32 | u64::from(get32(bytes, 32)?);
    (sane && hash == marvin(&bytes[..32])).then_some(len)
}

fn recover_new(primary: &[u8], base: Option<BaseBlock>, mut logs: Vec<NewLog<'_>>) -> Result<Recovered> {
    let mut bytes = primary.to_vec();
    match base {
        Some(base) => {
            let stale = logs.iter().map(NewLog::last).max().unwrap_or(0);
            logs.retain(|log| log.first() >= base.seq[1]);
            if logs.is_empty() {
                let detail = format!("its logs end at sequence number {stale}, before {} of the hive", base.seq[1]);
                return Err(conflict(detail));
            }
        }
        None => {
            // A broken base block comes back from the log with the latest entries, and only that log counts.
            logs.sort_by_key(NewLog::last);
            logs.drain(..logs.len() - 1);
            bytes[..SECTOR].copy_from_slice(logs[0].sector);
            put32(&mut bytes, at::TYPE, PRIMARY);
        }
    }
    logs.sort_by_key(NewLog::first);
    let room: usize = logs.iter().flat_map(|log| &log.entries).flat_map(|e| &e.pages).map(|(_, page)| page.len()).sum();
    let (mut entries, mut last) = (0, None::<u32>);
    for log in &logs {
        if last.is_some_and(|last| last.checked_add(1) != Some(log.first())) {
            break;
        }
        for entry in &log.entries {
            apply(&mut bytes, entry, primary.len() + room)?;
            last = Some(entry.seq);
            entries += 1;
        }
    }
    seal(&mut bytes, last.unwrap_or(0));
    Ok(Recovered { bytes, entries })
}

/// Writes an entry's pages; a hive grows by what its logs hold and no more.
fn apply(bytes: &mut Vec<u8>, entry: &Entry<'_>, most: usize) -> Result<()> {
    let end = LEN + entry.bins as usize;
    if end > bytes.len() {
        if end > most {
            let detail = format!("grows the hive to {end:#x} bytes, the logs hold pages up to {most:#x}");
            return Err(Error::damaged("log entry", "hbins size", 0, detail));
        }
        bytes.resize(end, 0);
    }
    for (offset, page) in &entry.pages {
        let start = LEN + *offset as usize;
        bytes[start..start + page.len()].copy_from_slice(page);
    }
    put32(bytes, at::BINS, entry.bins);
    let flags = get32(bytes, at::FLAGS).unwrap_or(0) & !1 | entry.flags & 1;
    put32(bytes, at::FLAGS, flags);
    Ok(())
}

/// An old log; `None` when it is something else.
fn recover_old(primary: &[u8], base: Option<BaseBlock>, log: &[u8]) -> Result<Option<Recovered>> {
    let Some(own) = BaseBlock::read(log).filter(|b| b.intact() && matches!(b.kind, OLD_LOG | OLD_LOG_2)) else {
        return Ok(None);
    };
    if own.seq[0] != own.seq[1] {
        return Err(conflict(format!(
            "its log was being written itself (sequence numbers {} and {})",
            own.seq[0], own.seq[1]
        )));
    }
    if let Some(base) = base.filter(|b| b.time != own.time) {
        let detail = format!("its log is of another time ({:#x}) than the hive ({:#x})", own.time, base.time);
        return Err(conflict(detail));
    }
    let view = View::new("log", 0, log);
    if view.bytes(SECTOR, 4, "signature")? != b"DIRT" || !own.bins.is_multiple_of(LEN as u32) {
        return Err(conflict("its log has no dirty vector"));
    }
    let bitmap = view.bytes(SECTOR + 4, own.bins as usize / LEN, "bitmap")?;
    let mut page_at = (SECTOR + 4 + bitmap.len()).next_multiple_of(SECTOR);
    let mut bytes = primary.to_vec();
    let dirty: usize = bitmap.iter().map(|b| b.count_ones() as usize).sum();
    let end = LEN + own.bins as usize;
    if end > bytes.len() {
        if end - bytes.len() > dirty * SECTOR {
            let detail = format!("grows the hive to {end:#x} bytes with {dirty} sectors");
            return Err(view.damaged(at::BINS, "hbins size", detail));
        }
        bytes.resize(end, 0);
    }
    for sector in (0..own.bins as usize / SECTOR).filter(|i| bitmap[i / 8] >> (i % 8) & 1 == 1) {
        let start = LEN + sector * SECTOR;
        bytes[start..start + SECTOR].copy_from_slice(view.bytes(page_at, SECTOR, "sector")?);
        page_at += SECTOR;
    }
    bytes[..SECTOR].copy_from_slice(&log[..SECTOR]);
    put32(&mut bytes, at::TYPE, PRIMARY);
    seal(&mut bytes, own.seq[0]);
    Ok(Some(Recovered { bytes, entries: 1 }))
}

/// The highest sequence number that stands in a hive or its logs, also in entries that are stale.
pub(crate) fn highest_sequence(primary: &[u8], logs: &[&[u8]]) -> u32 {
    let own = BaseBlock::read(primary).map_or(0, |b| b.seq[0].max(b.seq[1]));
    let of_log = |log: &&[u8]| {
        let base = BaseBlock::read(log).filter(BaseBlock::intact).map_or(0, |b| b.seq[0].max(b.seq[1]));
        let entries =
            (SECTOR..log.len()).step_by(SECTOR).filter_map(|at| header(&log[at..]).and_then(|_| get32(log, at + 12)));
        entries.fold(base, u32::max)
    };
    logs.iter().map(of_log).fold(own, u32::max)
}
