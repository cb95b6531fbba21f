//! What formats that hold the disk in blocks share: where a range of the disk falls, which sectors lie in the file, and
//! whether parts of the file overlap.

use reseal_dtyp::{Error, Result};
use std::ops::Range;

/// Splits a range of the disk into (block, offset in it, range of the buffer).
pub(super) fn pieces(block_len: u64, offset: u64, len: usize) -> impl Iterator<Item = (usize, u64, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = offset + done as u64;
        let within = at % block_len;
        let n = ((len - done) as u64).min(block_len - within) as usize;
        let piece = ((at / block_len) as usize, within, done..done + n);
        done += n;
        Some(piece)
    })
}

/// Splits a range of a block into parts whose sectors are alike: the range of the buffer, and what `here` says of them.
pub(super) fn alike(within: u64, len: usize, sector: u64, here: impl Fn(u64) -> bool) -> Vec<(Range<usize>, bool)> {
    let mut out: Vec<(Range<usize>, bool)> = Vec::new();
    let mut done = 0;
    while done < len {
        let at = within + done as u64;
        let n = ((len - done) as u64).min(sector - at % sector) as usize;
        let is_here = here(at / sector);
        match out.last_mut() {
            Some((last, same)) if *same == is_here => last.end = done + n,
            _ => out.push((done..done + n, is_here)),
        }
        done += n;
    }
    out
}

/// `Damaged` when two of the parts (byte offset, length) of the file share a byte.
pub(super) fn refuse_overlap(mut parts: Vec<(u64, u64)>, structure: &'static str, at: u64) -> Result<()> {
    parts.retain(|(_, len)| *len > 0);
    parts.sort_unstable();
    for pair in parts.windows(2) {
        if pair[0].0.checked_add(pair[0].1).is_none_or(|end| end > pair[1].0) {
            let detail = format!(
                "two of blocks and structures overlap: {:#x} bytes at {:#x} and {:#x}",
                pair[0].1, pair[0].0, pair[1].0
            );
            return Err(Error::damaged(structure, "entry", at, detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_that_are_alike_come_together() {
        let parts = alike(700, 2000, 512, |sector| sector == 2 || sector == 3);
        assert_eq!(parts, [(0..324, false), (324..1348, true), (1348..2000, false)]);
        assert!(alike(0, 0, 512, |_| true).is_empty());
        let all: Vec<_> = pieces(1000, 900, 1300).collect();
        assert_eq!(all, [(0, 900, 0..100), (1, 0, 100..1100), (2, 0, 1100..1300)]);
    }

    #[test]
    fn a_shared_byte_is_found() {
        refuse_overlap(vec![(10, 5), (0, 10), (15, 1), (12, 0)], "x", 0).unwrap();
        refuse_overlap(vec![(10, 5), (14, 1)], "x", 0).unwrap_err();
        refuse_overlap(vec![(u64::MAX, 5), (u64::MAX, 1)], "x", 0).unwrap_err();
    }
}
