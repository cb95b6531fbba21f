//! A write-ahead log applied to its database, by the file format that SQLite documents (Database File Format, section 4).
//!
//! SQLite itself would need the two as files on the host, and would write a third; here they are byte strings.

use reseal_dtyp::{Error, Kind, Result, View};
use std::collections::BTreeMap;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The two magic numbers: checksums over little-endian and over big-endian words.
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;
/// The only version there is.
const VERSION: u32 = 3_007_000;

/// The last state that was committed to a log.
struct Committed {
    page_len: usize,
    /// Pages of the database.
    pages: u32,
    /// Page number → offset of its newest content in the log.
    newest: BTreeMap<u32, usize>,
}

/// The database with everything that its log has committed; as it stands when the log has nothing. `limit` in bytes.
pub(super) fn merged(database: &[u8], log: &[u8], limit: usize) -> Result<Vec<u8>> {
    let Some(state) = committed(log)? else { return Ok(database.to_vec()) };
    let len = usize::try_from(state.pages).ok().and_then(|pages| pages.checked_mul(state.page_len));
    let len = len.filter(|len| *len <= limit).ok_or_else(|| {
        let detail = format!(
            "its log makes it {} pages of {} bytes, at most {limit} bytes are handled",
            state.pages, state.page_len
        );
        Error::new(Kind::Limit, detail)
    })?;
    let missing = |page: u32| page as usize * state.page_len > database.len() && !state.newest.contains_key(&page);
    if let Some(page) = (1..=state.pages).find(|page| missing(*page)) {
        return Err(Error::new(
            Kind::Damaged,
            format!("page {page} of {} stands neither in it nor in its log", state.pages),
        ));
    }
    let mut out = database.to_vec();
    out.resize(len, 0);
    for (page, at) in state.newest.range(1..=state.pages) {
        let to = (*page as usize - 1) * state.page_len;
        out[to..to + state.page_len].copy_from_slice(&log[*at..*at + state.page_len]);
    }
    Ok(out)
}

/// Reads the log up to its last commit. A log that was never begun, or begun by a writer that died at once, has none.
fn committed(log: &[u8]) -> Result<Option<Committed>> {
    let view = View::new("write-ahead log", 0, log);
    if log.len() < HEADER {
        return Ok(None);
    }
    let big = |offset: usize, field: &'static str| view.u32(offset, field).map(u32::swap_bytes);
    let magic = big(0, "magic")?;
    if magic != MAGIC_LITTLE && magic != MAGIC_BIG {
        return Ok(None);
    }
    let words = if magic == MAGIC_BIG { u32::from_be_bytes } else { u32::from_le_bytes };
    let mut sum = checksum([0, 0], &log[..24], words);
    if sum != [big(24, "checksum")?, big(28, "checksum")?] {
        return Ok(None);
    }
    if big(4, "version")? != VERSION {
        return Err(view.damaged(4, "version", format!("version {} is not known", big(4, "version")?)));
    }
    let page_len = big(8, "page size")? as usize;
    if !(512..=65_536).contains(&page_len) || !page_len.is_power_of_two() {
        return Err(view.damaged(8, "page size", format!("pages of {page_len} bytes do not exist")));
    }
    let salts = [big(16, "salt")?, big(20, "salt")?];
    let (mut pending, mut out) = (BTreeMap::new(), None::<Committed>);
    let mut at = HEADER;
    while let Some(frame) = log.get(at..at + FRAME_HEADER + page_len) {
        let number = |i: usize| u32::from_be_bytes([frame[i], frame[i + 1], frame[i + 2], frame[i + 3]]);
        sum = checksum(checksum(sum, &frame[..8], words), &frame[FRAME_HEADER..], words);
        // What an earlier round of the log left behind has other salts; a torn frame has another sum.
        if [number(8), number(12)] != salts || sum != [number(16), number(20)] || number(0) == 0 {
            break;
        }
        pending.insert(number(0), at + FRAME_HEADER);
        if number(4) != 0 {
            let mut newest = out.take().map(|c| c.newest).unwrap_or_default();
            newest.append(&mut pending);
            out = Some(Committed { page_len, pages: number(4), newest });
        }
        at += FRAME_HEADER + page_len;
    }
    Ok(out)
}

/// The format's Fibonacci-weighted sum over pairs of words.
fn checksum(sum: [u32; 2], bytes: &[u8], word: fn([u8; 4]) -> u32) -> [u32; 2] {
    let [mut a, mut b] = sum;
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word([pair[0], pair[1], pair[2], pair[3]])).wrapping_add(b);
        b = b.wrapping_add(word([pair[4], pair[5], pair[6], pair[7]])).wrapping_add(a);
    }
    [a, b]
}
