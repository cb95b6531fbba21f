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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hive, LoadState, Recover, fixture};

    /// A dirty hive of sequence 8/7, and what it should become: one value more, with new hbins.
    fn pair() -> (Vec<u8>, Vec<u8>) {
        let mut hive = fixture::empty(5);
        let before = hive.to_bytes();
        let key = hive.create_path("Logged\\Key").unwrap();
        hive.set_value(key, "data", 3, &[0xab; 9000]).unwrap();
        let (mut dirty, after) = (before, hive.to_bytes());
        assert!(after.len() > dirty.len());
        seal(&mut dirty, 7);
        put32(&mut dirty, at::SEQ1, 8);
        let sum = crate::base_block::checksum(&dirty);
        put32(&mut dirty, at::CHECKSUM, sum);
        (dirty, after)
    }

    fn log_head(kind: u32, seq: u32, like: &[u8]) -> Vec<u8> {
        let mut head = like[..SECTOR].to_vec();
        put32(&mut head, at::TYPE, kind);
        seal(&mut head, seq);
        head
    }

    /// An entry with these 4 KiB pages of `image`.
    fn new_entry(seq: u32, image: &[u8], pages: &[usize]) -> Vec<u8> {
        let mut out = b"HvLE".to_vec();
        out.resize(ENTRY_HEADER, 0);
        put32(&mut out, 12, seq);
        put32(&mut out, 16, (image.len() - LEN) as u32);
        put32(&mut out, 20, pages.len() as u32);
        for page in pages {
            out.extend_from_slice(&(*page as u32 * 4096).to_le_bytes());
            out.extend_from_slice(&4096u32.to_le_bytes());
        }
        for page in pages {
            out.extend_from_slice(&image[LEN + page * 4096..][..4096]);
        }
        out.resize(out.len().next_multiple_of(SECTOR), 0);
        let len = out.len() as u32;
        put32(&mut out, 4, len);
        let body = marvin(&out[ENTRY_HEADER..]);
        out[24..32].copy_from_slice(&body.to_le_bytes());
        let head = marvin(&out[..32]);
        out[32..40].copy_from_slice(&head.to_le_bytes());
        out
    }

    fn pages(image: &[u8]) -> Vec<usize> {
        (0..(image.len() - LEN) / 4096).collect()
    }

    fn new_log_of(first: u32, entries: &[Vec<u8>], like: &[u8]) -> Vec<u8> {
        [log_head(NEW_LOG, first, like), entries.concat()].concat()
    }

    fn dump(bytes: &[u8]) -> Vec<String> {
        Hive::open(bytes, &[], Recover::Replay).unwrap().dump().unwrap()
    }

    fn opens_to(dirty: &[u8], logs: &[&[u8]], after: &[u8], expected: usize) {
        let hive = Hive::open(dirty, logs, Recover::Replay).unwrap();
        assert!(
            matches!(hive.state(), LoadState::Replayed { entries, .. } if *entries == expected),
            "{:?}",
            hive.state()
        );
        assert_eq!(hive.dump().unwrap(), dump(after));
        assert!(hive.check().is_empty());
    }

    fn fails(dirty: &[u8], logs: &[&[u8]], why: &str) {
        let e = Hive::open(dirty, logs, Recover::Replay).unwrap_err();
        assert!(e.kind() == Kind::Conflict && e.to_string().contains(why), "{e}");
        let as_is = Hive::open(dirty, logs, Recover::AsIs).unwrap();
        assert!(matches!(as_is.state(), LoadState::Unrecovered { why: w } if w.contains(why)));
        assert!(!as_is.is_changed() && as_is.to_bytes() == dirty);
    }

    #[test]
    fn new_logs_in_sequence() {
        let (dirty, after) = pair();
        let all = pages(&after);
        let (half, rest) = all.split_at(all.len() / 2);
        // One log, two entries; two logs, one entry each, in either order.
        let (one, two) = (new_entry(7, &after, half), new_entry(8, &after, rest));
        let log = new_log_of(7, &[one.clone(), two.clone()], &after);
        opens_to(&dirty, &[&log], &after, 2);
        let (log1, log2) =
            (new_log_of(7, std::slice::from_ref(&one), &after), new_log_of(8, std::slice::from_ref(&two), &after));
        opens_to(&dirty, &[&log1, &log2], &after, 2);
        opens_to(&dirty, &[&[], &log2, &log1], &after, 2);
        // Sequence numbers of the output are above every one in the hive and its logs.
        let hive = Hive::open(&dirty, &[&log], Recover::Replay).unwrap();
        assert_eq!(BaseBlock::read(&hive.to_bytes()).unwrap().seq, [9, 9]);
        let clean = Hive::open(&after, &[&log], Recover::Replay).unwrap();
        assert!(*clean.state() == LoadState::Clean && !clean.is_changed());
    }

    #[test]
    fn stale_and_broken_entries_do_not_apply() {
        let (dirty, after) = pair();
        let good = new_entry(7, &after, &pages(&after));
        // A stale entry behind a good one, left over from the log's earlier life.
        let mut junk = after.clone();
        junk[LEN + 200..].fill(0x55);
        let stale = new_entry(3, &junk, &pages(&after));
        opens_to(&dirty, &[&new_log_of(7, &[good.clone(), stale.clone()], &after)], &after, 1);
        let mut broken = new_entry(8, &junk, &pages(&after));
        broken[5000] ^= 1;
        opens_to(&dirty, &[&new_log_of(7, &[good.clone(), broken.clone()], &after)], &after, 1);
        // Another log that does not continue the first.
        let gap = new_log_of(9, &[new_entry(9, &junk, &pages(&after))], &after);
        opens_to(&dirty, &[&gap, &new_log_of(7, &[good], &after)], &after, 1);
        fails(&dirty, &[&new_log_of(3, &[stale], &after)], "before 7");
        fails(&dirty, &[&new_log_of(8, &[broken], &after)], "valid first entry");
        fails(&dirty, &[], "no transaction log");
        fails(&dirty, &[&[0; 8192]], "no transaction log");
        fails(&dirty, &[b"short"], "valid first entry");
    }

    #[test]
    fn a_broken_base_block_comes_from_the_later_log() {
        let (mut dirty, after) = pair();
        dirty[100] ^= 1;
        let early = new_log_of(5, &[new_entry(5, &dirty, &pages(&dirty))], &dirty);
        let late = new_log_of(7, &[new_entry(7, &after, &pages(&after))], &after);
        opens_to(&dirty, &[&late, &early], &after, 1);
    }

    #[test]
    fn growth_is_bounded_by_the_log() {
        let (dirty, after) = pair();
        let mut huge = new_entry(7, &after, &[0]);
        put32(&mut huge, 16, 0x7000_0000);
        let head = marvin(&huge[..32]);
        huge[32..40].copy_from_slice(&head.to_le_bytes());
        let log = new_log_of(7, &[huge], &after);
        let e = Hive::open(&dirty, &[&log], Recover::Replay).unwrap_err();
        assert!(e.to_string().contains("grows the hive"), "{e}");
    }

    /// An old log with every sector that differs.
    fn old_log(dirty: &[u8], after: &[u8], time: u64) -> Vec<u8> {
        let mut out = log_head(OLD_LOG, 8, after);
        out[at::TIME..at::TIME + 8].copy_from_slice(&time.to_le_bytes());
        seal(&mut out, 8);
        out.extend_from_slice(b"DIRT");
        let sectors = (after.len() - LEN) / SECTOR;
        let sector = |image: &[u8], i: usize| image.get(LEN + i * SECTOR..LEN + (i + 1) * SECTOR).map(<[u8]>::to_vec);
        let differs: Vec<bool> = (0..sectors).map(|i| sector(dirty, i) != sector(after, i)).collect();
        out.extend(differs.chunks(8).map(|bits| bits.iter().rev().fold(0u8, |byte, &bit| byte << 1 | u8::from(bit))));
        out.resize(out.len().next_multiple_of(SECTOR), 0);
        (0..sectors).filter(|&i| differs[i]).for_each(|i| out.extend(sector(after, i).unwrap()));
        out
    }

    #[test]
    fn old_logs() {
        let (dirty, after) = pair();
        let time = BaseBlock::read(&dirty).unwrap().time;
        let log = old_log(&dirty, &after, time);
        opens_to(&dirty, &[&log], &after, 1);
        fails(&dirty, &[&old_log(&dirty, &after, time + 1)], "another time");
        let mut torn = log.clone();
        put32(&mut torn, at::SEQ1, 9);
        let sum = crate::base_block::checksum(&torn);
        put32(&mut torn, at::CHECKSUM, sum);
        fails(&dirty, &[&torn], "being written itself");
        let mut without = log.clone();
        without[SECTOR] = b'X';
        fails(&dirty, &[&without], "no dirty vector");
        let cut = &log[..log.len() - 1];
        assert!(Hive::open(&dirty, &[cut], Recover::Replay).is_err());
    }
}
