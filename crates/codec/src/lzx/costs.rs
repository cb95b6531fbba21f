//! What items cost, estimated from how often symbols were used: sixteenths of a bit, by the entropy of the counts. Integers only,
//! so that every machine makes the same choice.

use super::header::{Counts, MAIN_SYMBOLS, Shape};
use super::{LENGTH_SYMBOLS, LONG, MAX_MATCH, MIN_MATCH, slot};

/// A bit.
pub(super) const BIT: u32 = 16;
const LENGTHS: usize = MAX_MATCH - MIN_MATCH + 1;
/// Slots of offsets, at most.
const SLOTS: usize = 50;

/// `BIT` times the binary logarithm of a number above zero, rounded down.
pub(super) fn log2(number: u32) -> u32 {
    let whole = number.ilog2();
    // From 1 to below 2, in 2^31ths; squaring doubles the logarithm.
    let mut fraction = u64::from(number) << (31 - whole);
    let mut out = whole;
    for _ in 0..4 {
        fraction = (fraction * fraction) >> 31;
        let above = fraction >> 32;
        out = out << 1 | above as u32;
        fraction >>= above;
    }
    out
}

/// What each symbol of a code costs; those that were not seen cost as much as one that was seen once, and a bit more.
fn of_code(counts: &[u32], costs: &mut [u32]) {
    let total = counts.iter().sum::<u32>().max(1);
    let all = log2(total);
    for (cost, &count) in costs.iter_mut().zip(counts) {
        // No code is shorter than a bit.
        *cost = if count == 0 { all + BIT } else { (all - log2(count)).max(BIT / 2) };
    }
}

/// What the text of the counts takes in a code of their own.
fn text(counts: &[u32]) -> u64 {
    let total = counts.iter().sum::<u32>().max(1);
    let all = u64::from(log2(total));
    counts.iter().filter(|n| **n > 0).map(|&n| u64::from(n) * (all - u64::from(log2(n)))).sum()
}

/// What a block with these counts takes, header included.
pub(super) fn of_block(counts: &Counts) -> u64 {
    /// A code length that is told, about.
    const TOLD: u64 = 3 * BIT as u64;
    /// Kind, size, and the codes for code lengths.
    const FIXED: u64 = 300 * BIT as u64;
    let used = counts.main.iter().chain(&counts.length).filter(|n| **n > 0).count() as u64;
    text(&counts.main) + text(&counts.length) + FIXED + TOLD * used
}

/// Costs for choosing items.
pub(super) struct Costs {
    pub(super) literal: [u32; 256],
    /// By slot and length: main symbol and length symbol.
    matches: Vec<[u32; LENGTHS]>,
    /// By slot: the extra bits.
    extra: [u32; SLOTS],
    aligned: [u32; 8],
}

impl Costs {
    pub(super) fn new() -> Costs {
        Costs { literal: [0; 256], matches: vec![[0; LENGTHS]; SLOTS], extra: [0; SLOTS], aligned: [0; 8] }
    }

    /// What to add to counts that say little: some for every symbol, more for the recent offsets, which a quick parse hardly uses.
    pub(super) fn prior(shape: Shape) -> Counts {
        let mut counts = Counts::NONE;
        counts.main[..256].fill(24);
        counts.main[256..shape.main_symbols].fill(12);
        counts.main[256..256 + 24].fill(60);
        counts.length.fill(1);
        counts.length[..32].fill(8);
        counts.aligned.fill(1);
        counts
    }

    pub(super) fn set(&mut self, counts: &Counts, shape: Shape) {
        let (mut main, mut length) = ([0; MAIN_SYMBOLS], [0; LENGTH_SYMBOLS]);
        of_code(&counts.main[..shape.main_symbols], &mut main[..shape.main_symbols]);
        of_code(&counts.length, &mut length);
        self.literal.copy_from_slice(&main[..256]);
        for (number, costs) in self.matches.iter_mut().enumerate().take((shape.main_symbols - 256) / 8) {
            let headers = &main[256 + 8 * number..264 + 8 * number];
            costs[..LONG].copy_from_slice(&headers[..LONG]);
            costs[LONG..].iter_mut().zip(&length).for_each(|(cost, length)| *cost = headers[LONG] + length);
            self.extra[number] = BIT * slot(number).1;
        }
        of_code(&counts.aligned, &mut self.aligned);
        // Without a code for them the low three bits take three.
        let saves = counts.aligned.iter().zip(&self.aligned).map(|(n, cost)| n * cost).sum::<u32>()
            < counts.aligned.iter().sum::<u32>() * 3 * BIT * 15 / 16;
        if !saves {
            self.aligned.fill(3 * BIT);
        }
    }

    /// The extra bits of an offset in formatted form.
    #[inline]
    pub(super) fn extra(&self, number: usize, formatted: u32) -> u32 {
        let all = self.extra[number];
        if all >= 3 * BIT { all - 3 * BIT + self.aligned[((formatted) & 7) as usize] } else { all }
    }

    /// By length (less the shortest): what a match with an offset of this slot costs, without the extra bits.
    #[inline]
    pub(super) fn of_slot(&self, number: usize) -> &[u32; LENGTHS] {
        &self.matches[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        assert_eq!([1, 2, 3, 4, 1000, u32::MAX].map(log2), [0, 16, 25, 32, 159, 511]);
    }
}
