//! Large bit sets that several threads fill: clusters and file records in use.

use std::sync::atomic::{AtomicU64, Ordering};

/// A set of numbers below a fixed limit. Setting takes `&self`.
#[derive(Debug)]
pub(crate) struct Bits {
    words: Vec<AtomicU64>,
    len: u64,
}

impl Bits {
    /// An empty set of numbers below `len`. The caller has checked `len` against the volume.
    pub(crate) fn new(len: u64) -> Bits {
        let words = (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Bits { words, len }
    }

    pub(crate) fn get(&self, index: u64) -> bool {
        index < self.len && self.words[(index / 64) as usize].load(Ordering::Relaxed) >> (index % 64) & 1 != 0
    }

    /// Sets one bit; whether it was clear before.
    pub(crate) fn set(&self, index: u64) -> bool {
        self.claim(index, 1).is_none()
    }

    /// Sets `count` bits; the first one that was set before, if any was. What lies behind the limit is passed over.
    pub(crate) fn claim(&self, first: u64, count: u64) -> Option<u64> {
        let end = first.saturating_add(count).min(self.len);
        let mut at = first;
        let mut taken = None;
        while at < end {
            let bit = at % 64;
            let n = (64 - bit).min(end - at);
            let mask = (u64::MAX >> (64 - n)) << bit;
            let before = self.words[(at / 64) as usize].fetch_or(mask, Ordering::Relaxed) & mask;
            if before != 0 && taken.is_none() {
                taken = Some(at - bit + u64::from(before.trailing_zeros()));
            }
            at += n;
        }
        taken
    }

    /// The words, bit 0 of the first one for number 0.
    pub(crate) fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().map(|w| w.load(Ordering::Relaxed))
    }
}

/// Ranges of bits in which `a` has ones and `b` has zeros, at most `limit` of them, and how many bits in all.
pub(crate) fn excess(a: &[u64], b: &[u64], limit: usize) -> (Vec<std::ops::Range<u64>>, u64) {
    let mut ranges: Vec<std::ops::Range<u64>> = Vec::new();
    let mut total = 0;
    for (index, (x, y)) in a.iter().zip(b).enumerate() {
        let mut rest = x & !y;
        total += u64::from(rest.count_ones());
        while rest != 0 && ranges.len() <= limit {
            let start = rest.trailing_zeros();
            let len = (!(rest >> start)).trailing_zeros().min(64 - start);
            let from = index as u64 * 64 + u64::from(start);
            match ranges.last_mut() {
                Some(last) if last.end == from => last.end += u64::from(len),
                _ => ranges.push(from..from + u64::from(len)),
            }
            rest &= !(u64::MAX.checked_shr(64 - len).unwrap_or(0) << start);
        }
    }
    ranges.truncate(limit);
    (ranges, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        let bits = Bits::new(200);
        assert_eq!(bits.claim(60, 100), None);
        assert_eq!(bits.claim(150, 100), Some(150));
        assert_eq!(bits.claim(0, 61), Some(60));
        assert!(bits.get(199) && !bits.get(200) && !bits.set(0));
    }

    #[test]
    fn excess_joins_ranges_over_words() {
        let (ranges, total) = excess(&[u64::MAX, 0b111, 0], &[0xff, 0b10, 0], 9);
        assert_eq!((ranges, total), (vec![8..65, 66..67], 58));
        let (ranges, total) = excess(&[u64::MAX, u64::MAX], &[0, 0], 9);
        assert_eq!((ranges.len(), ranges[0].clone(), total), (1, 0..128, 128));
    }
}
