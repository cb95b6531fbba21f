//! Huffman codes for writing: the lengths that make the text of given counts shortest, none above a limit, and the codes of them.

/// Builds code lengths; the memory is kept from one call to the next.
#[derive(Default)]
pub(crate) struct Lengths {
    /// Count << 16 | symbol of each symbol that occurs, in ascending order.
    symbols: Vec<u64>,
    weights: Vec<u64>,
    parents: Vec<u32>,
    /// Package-merge: for each level, which items are packages.
    packages: Vec<Vec<bool>>,
    /// Package-merge: weights of two levels.
    levels: [Vec<u64>; 2],
}

impl Lengths {
    /// Fills `lengths` (0 for what does not occur) for symbols that occur so often. `1 << limit` must be at least their number.
    /// The code is complete: where fewer than two symbols occur, two have a bit each, unless none occurs at all.
    pub(crate) fn make(&mut self, counts: &[u32], limit: u8, lengths: &mut [u8]) {
        lengths.fill(0);
        self.symbols.clear();
        let used = counts.iter().zip(0u64..).filter(|(count, _)| **count > 0);
        self.symbols.extend(used.map(|(count, symbol)| u64::from(*count) << 16 | symbol));
        if let [only] = self.symbols[..] {
            let symbol = (only & 0xffff) as usize;
            lengths[symbol] = 1;
            lengths[usize::from(symbol == 0)] = 1;
        }
        if self.symbols.len() < 2 {
            return;
        }
        self.symbols.sort_unstable();
        if !self.huffman(limit, lengths) {
            self.package_merge(limit, lengths);
        }
    }

    /// Huffman's algorithm with two queues. `false` when a code gets longer than the limit.
    fn huffman(&mut self, limit: u8, lengths: &mut [u8]) -> bool {
        let n = self.symbols.len();
        self.weights.clear();
        self.parents.clear();
        // Leaves first, then the joined pairs in the order they were made, which is that of their weights.
        self.parents.resize(2 * n - 1, 0);
        let (mut leaf, mut joined) = (0, 0);
        for node in 0..n - 1 {
            let mut sum = 0;
            for _ in 0..2 {
                let weight = self.symbols.get(leaf).map(|s| s >> 16);
                if let Some(weight) = weight.filter(|w| joined == node || *w <= self.weights[joined]) {
                    sum += weight;
                    self.parents[leaf] = node as u32;
                    leaf += 1;
                } else {
                    sum += self.weights[joined];
                    self.parents[n + joined] = node as u32;
                    joined += 1;
                }
            }
            self.weights.push(sum);
        }
        // From the root down, depths take the place of the weights.
        self.weights[n - 2] = 0;
        for node in (0..n - 2).rev() {
            self.weights[node] = self.weights[self.parents[n + node] as usize] + 1;
        }
        if self.symbols.iter().zip(&self.parents).any(|(_, p)| self.weights[*p as usize] >= u64::from(limit)) {
            return false;
        }
        for (symbol, parent) in self.symbols.iter().zip(&self.parents) {
            lengths[(symbol & 0xffff) as usize] = self.weights[*parent as usize] as u8 + 1;
        }
        true
    }

    /// Package-merge (Larmore and Hirschberg): a symbol's length is in how many levels it is among the cheapest 2n - 2 items.
    fn package_merge(&mut self, limit: u8, lengths: &mut [u8]) {
        let n = self.symbols.len();
        self.packages.resize_with(usize::from(limit), Vec::new);
        self.levels[0].clear();
        for is_package in &mut self.packages {
            let [before, merged] = &mut self.levels;
            merged.clear();
            is_package.clear();
            let mut pairs = before.chunks_exact(2).map(|pair| pair[0] + pair[1]).peekable();
            for leaf in self.symbols.iter().map(|s| s >> 16) {
                while let Some(pair) = pairs.next_if(|pair| *pair < leaf) {
                    merged.push(pair);
                    is_package.push(true);
                }
                merged.push(leaf);
                is_package.push(false);
            }
            for pair in pairs {
                merged.push(pair);
                is_package.push(true);
            }
            self.levels.swap(0, 1);
        }
        let mut take = 2 * n - 2;
        for is_package in self.packages.iter().rev() {
            let packages = is_package[..take.min(is_package.len())].iter().filter(|p| **p).count();
            for symbol in &self.symbols[..take.min(is_package.len()) - packages] {
                lengths[(symbol & 0xffff) as usize] += 1;
            }
            take = 2 * packages;
        }
    }
}

/// The canonical codes of complete lengths (at most 16 bits): shorter ones first, equal ones by symbol.
pub(crate) fn codes(lengths: &[u8], codes: &mut [u16]) {
    let mut next = [0u32; 18];
    for &len in lengths {
        next[usize::from(len) + 1] += u32::from(len > 0);
    }
    let mut code = 0;
    for first in &mut next[1..] {
        code = (code + *first) << 1;
        *first = code;
    }
    for (code, &len) in codes.iter_mut().zip(lengths) {
        let first = &mut next[usize::from(len)];
        // Codes of length n stand at `next[n]`, made from the count that was added one further.
        *code = (*first) as u16;
        *first += u32::from(len > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huffman::Code;
    use proptest::prelude::*;

    /// The best cost under a limit, by dynamic programming over the number of leaves and inner nodes of each level.
    fn best_cost(counts: &[u32], limit: usize) -> u64 {
        let mut sorted: Vec<u64> = counts.iter().filter(|c| **c > 0).map(|c| u64::from(*c)).collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let n = sorted.len();
        let mut sums = vec![0];
        sorted.iter().for_each(|c| sums.push(sums[sums.len() - 1] + c));
        // State: symbols that have a code, nodes that are open at this depth. A level costs what has no code yet.
        let mut states = std::collections::BTreeMap::from([((0usize, 1usize), 0u64)]);
        let mut best = u64::MAX;
        for _ in 0..=limit {
            let mut next = std::collections::BTreeMap::new();
            for ((coded, open), cost) in states {
                for leaves in 0..=open.min(n - coded) {
                    let (coded, inner) = (coded + leaves, open - leaves);
                    if coded == n && inner == 0 {
                        best = best.min(cost);
                    }
                    if inner > 0 && 2 * inner <= 2 * n && coded < n {
                        let cost = cost + sums[n] - sums[coded];
                        let entry = next.entry((coded, 2 * inner)).or_insert(u64::MAX);
                        *entry = cost.min(*entry);
                    }
                }
            }
            states = next;
        }
        best
    }

    fn check(counts: &[u32], limit: u8) {
        let mut lengths = vec![9; counts.len()];
        Lengths::default().make(counts, limit, &mut lengths);
        assert!(lengths.iter().all(|l| *l <= limit), "{counts:?}: {lengths:?}");
        assert!(Code::new(&lengths).is_some(), "{counts:?}: {lengths:?} is not complete");
        if counts.iter().filter(|c| **c > 0).count() > 1 {
            let cost: u64 = counts.iter().zip(&lengths).map(|(c, l)| u64::from(*c) * u64::from(*l)).sum();
            assert!(counts.iter().zip(&lengths).all(|(c, l)| (*c > 0) == (*l > 0)));
            assert_eq!(cost, best_cost(counts, usize::from(limit)), "{counts:?}: {lengths:?}");
        }
    }

    #[test]
    fn lengths_of_few_and_of_steep_counts() {
        for counts in [&[0u32, 0][..], &[0, 7], &[7, 0], &[1, 1], &[0, 0, 3, 0], &[1, 2, 4, 8, 16, 32, 64, 128]] {
            check(counts, 15);
            check(counts, 4);
        }
        let mut fibonacci = vec![1u32, 1];
        while fibonacci.len() < 32 {
            fibonacci.push(fibonacci[fibonacci.len() - 1] + fibonacci[fibonacci.len() - 2]);
        }
        for limit in 5..=16 {
            check(&fibonacci, limit);
        }
    }

    #[test]
    fn codes_are_canonical() {
        let mut out = [9; 5];
        codes(&[2, 0, 1, 3, 3], &mut out);
        assert_eq!(out, [0b10, 0, 0, 0b110, 0b111]);
    }

    proptest! {
        #[test]
        fn lengths_are_the_best(counts in prop::collection::vec(prop_oneof![0u32..3, 0u32..1000, any::<u16>().prop_map(u32::from)], 2..24), limit in 5u8..16) {
            check(&counts, limit);
        }
    }
}
