//! Many byte patterns in one pass, with shifts: from the last four bytes of a window it is known how far the next one may
//! lie (the method of Wu and Manber). Most bytes are never looked at, and the time hardly grows with the number of patterns.

/// Bytes by which a shift is chosen; no pattern is shorter.
pub(super) const BLOCK: usize = 4;
/// Longer windows shift farther, and this is far enough.
const WINDOW: usize = 32;

/// One pattern.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    pub(super) bytes: Vec<u8>,
    /// Whether ASCII letters match in either case.
    pub(super) folds: bool,
}

/// Patterns, prepared.
#[derive(Debug)]
pub(super) struct Finder {
    patterns: Vec<Bytes>,
    window: usize,
    bits: u32,
    /// By hash of a block: how far the window may move; 0 says that a pattern may end its window here.
    shifts: Vec<u8>,
    /// By hash: the first of its patterns in `candidates`; one more entry than hashes.
    starts: Vec<u32>,
    candidates: Vec<u32>,
}

/// Hash of a block; letters of either case give the same, and so do some other bytes.
fn hash(block: u32, bits: u32) -> usize {
    ((block & 0xdfdf_dfdf).wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

fn block(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + BLOCK).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

impl Finder {
    /// Prepares patterns; those shorter than [`BLOCK`] are never found.
    pub(super) fn new(patterns: Vec<Bytes>) -> Finder {
        let fit = || patterns.iter().enumerate().filter(|(_, p)| p.bytes.len() >= BLOCK);
        let window = fit().map(|(_, p)| p.bytes.len()).min().unwrap_or(WINDOW).min(WINDOW);
        let blocks = fit().count() * (window - BLOCK + 1);
        // One entry of sixteen is in use, as long as the table stays in the cache next to a core.
        let bits = (blocks * 16).next_power_of_two().trailing_zeros().clamp(12, 18);
        let mut shifts = vec![(window - BLOCK + 1) as u8; 1 << bits];
        let mut ends: Vec<(usize, u32)> = Vec::new();
        for (index, pattern) in fit() {
            for at in 0..=window - BLOCK {
                let slot = &mut shifts[hash(block(&pattern.bytes, at), bits)];
                *slot = (*slot).min((window - BLOCK - at) as u8);
            }
            ends.push((hash(block(&pattern.bytes, window - BLOCK), bits), index as u32));
        }
        ends.sort_unstable();
        let mut starts = vec![0; (1 << bits) + 1];
        for (hash, _) in &ends {
            starts[hash + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let candidates = ends.into_iter().map(|(_, index)| index).collect();
        Finder { patterns, window, bits, shifts, starts, candidates }
    }

    /// Length of the longest pattern.
    pub(super) fn longest(&self) -> usize {
        self.patterns.iter().map(|p| p.bytes.len()).max().unwrap_or(0)
    }

    /// Calls `hit` with the offset and the index of every pattern that is found, overlapping ones, too.
    pub(super) fn find(&self, bytes: &[u8], mut hit: impl FnMut(usize, usize)) {
        if self.candidates.is_empty() {
            return;
        }
        let last = self.window - BLOCK;
        let mut at = last;
        while let Some(four) = bytes.get(at..at + BLOCK) {
            let hash = hash(u32::from_le_bytes([four[0], four[1], four[2], four[3]]), self.bits);
            let shift = usize::from(self.shifts[hash]);
            if shift > 0 {
                at += shift;
                continue;
            }
            for &index in &self.candidates[self.starts[hash] as usize..self.starts[hash + 1] as usize] {
                let pattern = &self.patterns[index as usize];
                let Some(there) = bytes.get(at - last..at - last + pattern.bytes.len()) else { continue };
                let is_it =
                    if pattern.folds { there.eq_ignore_ascii_case(&pattern.bytes) } else { *there == *pattern.bytes };
                if is_it {
                    hit(at - last, index as usize);
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(patterns: &[(&str, bool)], text: &[u8]) -> Vec<(usize, usize)> {
        let list = patterns.iter().map(|(p, folds)| Bytes { bytes: p.as_bytes().to_vec(), folds: *folds }).collect();
        let mut out = Vec::new();
        Finder::new(list).find(text, |at, index| out.push((at, index)));
        out.sort_unstable();
        out
    }

    #[test]
    fn what_plain_search_finds_and_nothing_else() {
        let patterns = [("needle", false), ("Edle in", true), ("abcdabcd", false), ("dabc", true), ("eedl", false)];
        // A walk over few letters, so that parts of patterns stand everywhere.
        let mut text = Vec::new();
        let mut state = 1u32;
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.push(b"abcdNEedl in"[(state >> 16) as usize % 12]);
            if state >> 28 == 0 {
                text.extend_from_slice(b"abcdabcdabc NEEDLE IN needle in");
            }
        }
        let mut expected = Vec::new();
        for (index, (pattern, folds)) in patterns.iter().enumerate() {
            for (at, window) in text.windows(pattern.len()).enumerate() {
                let same =
                    if *folds { window.eq_ignore_ascii_case(pattern.as_bytes()) } else { window == pattern.as_bytes() };
                expected.extend(same.then_some((at, index)));
            }
        }
        expected.sort_unstable();
        assert!(expected.len() > 3000, "{}", expected.len());
        assert_eq!(found(&patterns, &text), expected);
    }

    #[test]
    fn ends_and_nothing() {
        assert_eq!(found(&[("abcd", false)], b"abcd"), [(0, 0)]);
        assert_eq!(found(&[("abcd", false)], b"xxabcd"), [(2, 0)]);
        assert_eq!(found(&[("abcd", false)], b"abc"), []);
        assert_eq!(found(&[], b"abc"), []);
        assert_eq!(found(&[("abcdefghijklmnopqrstuvwxyz0123456789abcdefgh", false)], &[b'x'; 90]), []);
    }
}
