//! Symbols of Huffman codes that are built anew from what was seen, and the values that slots stand for.

use crate::Error;
use crate::bits::Bits;
use crate::huffman::Code;

/// Bits from the end.
pub(super) type BackBits<'a> = Bits<'a, true>;

const MAX_LENGTH: usize = 15;
const LAST_EXTRA_BITS: u8 = 30;

/// A code that adapts: after so many symbols it is built anew from how often each was seen.
pub(super) struct Adaptive {
    code: Code,
    counts: Vec<u32>,
    rebuild_every: u32,
    left: u32,
}

impl Adaptive {
    pub(super) fn new(symbols: usize, rebuild_every: u32) -> Adaptive {
        let counts = vec![1; symbols];
        Adaptive { code: code(&counts), counts, rebuild_every, left: rebuild_every }
    }

    #[inline(always)]
    pub(super) fn decode(&mut self, bits: &mut BackBits<'_>) -> Result<usize, Error> {
        let symbol = self.code.decode(bits)?;
        match self.counts.get_mut(symbol) {
            Some(count) => *count += 1,
            None => return Err(bits.error("a symbol that this chunk does not have")),
        }
        self.left -= 1;
        if self.left == 0 {
            self.rebuild();
        }
        Ok(symbol)
    }

    /// What was seen before counts half from now on.
    #[cold]
    fn rebuild(&mut self) {
        let is_complete = self.code.set(&lengths(&self.counts));
        debug_assert!(is_complete, "lengths of a Huffman tree make a complete code");
        self.counts.iter_mut().for_each(|count| *count = (*count >> 1) + 1);
        self.left = self.rebuild_every;
    }
}

/// The code of these counts, none of which is zero.
fn code(counts: &[u32]) -> Code {
    Code::new(&lengths(counts)).expect("lengths of a Huffman tree make a complete code")
}

/// Lengths of the codes, at most [`MAX_LENGTH`]: Huffman's algorithm, where a symbol comes before a joined pair that counts the
/// same, and a rarer symbol has no shorter code.
fn lengths(counts: &[u32]) -> Vec<u8> {
    if counts.len() < 2 {
        // One symbol: its code has one bit, as has a second one that never occurs.
        return vec![1; 2];
    }
    let symbols = by_count(counts);
    let of_length = length_counts(&symbols.iter().map(|key| (key >> 10) as u32).collect::<Vec<_>>());
    let mut out = vec![0; counts.len()];
    let mut rarest = symbols.into_iter();
    for (length, count) in of_length.into_iter().enumerate().rev() {
        for key in rarest.by_ref().take(count) {
            out[(key & 1023) as usize] = length as u8;
        }
    }
    out
}

/// The symbols with their counts, count << 10 | symbol (there are at most 799), in ascending order. Most counts are small, so they
/// are put where they belong, and only the large ones are sorted.
fn by_count(counts: &[u32]) -> Vec<u64> {
    /// Counts from here on are large.
    const LARGE: usize = 64;
    let place = |count: &u32| (*count as usize).min(LARGE);
    let mut starts = [0usize; LARGE + 2];
    for count in counts {
        starts[place(count) + 1] += 1;
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let large = starts[LARGE];
    let mut out = vec![0; counts.len()];
    for (count, symbol) in counts.iter().zip(0u64..) {
        let start = &mut starts[place(count)];
        out[*start] = u64::from(*count) << 10 | symbol;
        *start += 1;
    }
    out[large..].sort_unstable();
    out
}

/// How many codes there are of each length, from counts in ascending order.
fn length_counts(counts: &[u32]) -> [usize; MAX_LENGTH + 1] {
    let pairs = counts.len() - 1;
    let (mut weight, mut parent) = (Vec::with_capacity(pairs), vec![0; pairs]);
    let (mut leaf, mut joined) = (0, 0);
    for node in 0..pairs {
        let mut sum = 0;
        for _ in 0..2 {
            let takes_leaf = leaf < counts.len() && (joined == node || counts[leaf] <= weight[joined]);
            if takes_leaf {
                sum += counts[leaf];
                leaf += 1;
            } else {
                sum += weight[joined];
                parent[joined] = node;
                joined += 1;
            }
        }
        weight.push(sum);
    }
    // From the root down: each joined pair turns one code into two that are longer by a bit. One that would be too long is made
    // of the longest that may still grow.
    let mut out = [0; MAX_LENGTH + 1];
    let mut depth = vec![0; pairs];
    out[1] = 2;
    for node in (0..pairs - 1).rev() {
        depth[node] = depth[parent[node]] + 1;
        let mut length: usize = depth[node];
        if length >= MAX_LENGTH {
            length = MAX_LENGTH - 1;
            while out[length] == 0 {
                length -= 1;
            }
        }
        out[length] -= 1;
        out[length + 1] += 2;
    }
    out
}

/// Ranges of values, each with a first one and so many bits that tell which.
pub(super) struct Slots<const N: usize> {
    first: [u32; N],
    extra_bits: [u8; N],
}

impl<const N: usize> Slots<N> {
    /// From how many slots there are with 0, 1, 2, … extra bits, before a last one with 30; the first value is 1.
    const fn new(runs: &[u8]) -> Slots<N> {
        let mut out = Slots { first: [0; N], extra_bits: [0; N] };
        let (mut slot, mut bits, mut value) = (0, 0, 1u32);
        while bits < runs.len() {
            let mut left = runs[bits];
            while left > 0 {
                out.first[slot] = value;
                out.extra_bits[slot] = bits as u8;
                value = value.wrapping_add(1 << bits);
                slot += 1;
                left -= 1;
            }
            bits += 1;
        }
        assert!(slot + 1 == N);
        out.first[slot] = value;
        out.extra_bits[slot] = LAST_EXTRA_BITS;
        out
    }

    pub(super) const fn len(&self) -> usize {
        N
    }

    /// The slot of a value of at least 1.
    pub(super) fn slot_of(&self, value: u32) -> usize {
        self.first.partition_point(|first| *first <= value).saturating_sub(1)
    }

    /// The value whose slot was decoded.
    #[inline]
    pub(super) fn value(&self, slot: usize, bits: &mut BackBits<'_>) -> u32 {
        self.first[slot].wrapping_add(bits.take(u32::from(self.extra_bits[slot])))
    }
}

/// Offsets of matches.
pub(super) static OFFSET_SLOTS: Slots<799> =
    Slots::new(&[8, 0, 9, 7, 10, 15, 15, 20, 20, 30, 33, 40, 42, 45, 60, 73, 80, 85, 95, 105, 6]);

/// Lengths of matches.
pub(super) static LENGTH_SLOTS: Slots<54> = Slots::new(&[26, 4, 6, 4, 5, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_complete_and_short_enough() {
        let mut fibonacci = vec![1u32, 1];
        while fibonacci.len() < 40 {
            fibonacci.push(fibonacci[fibonacci.len() - 1] + fibonacci[fibonacci.len() - 2]);
        }
        for counts in [vec![1; 256], vec![1; 799], fibonacci, vec![5, 1, 1, 1], vec![1, 2], vec![7]] {
            let lengths = lengths(&counts);
            assert!(lengths.iter().all(|l| (1..=MAX_LENGTH as u8).contains(l)), "{lengths:?}");
            assert!(Code::new(&lengths).is_some(), "{lengths:?}");
        }
        assert_eq!(lengths(&[5, 1, 1, 1]), [1, 3, 3, 2], "the rarest have the longest codes");
    }
}
