//! Where the bytes at a position stood before: hash chains, and binary trees that hand out a match of every length.
//!
//! Positions are 32-bit numbers; 0 stands for none, so what is stored is one more than the position.

/// Bytes that are hashed.
const HASHED: usize = 4;

/// How many bytes from `a` on equal those from `b` on (`b < a`), at most `max`; `a + max` lies within the data.
#[inline]
pub(crate) fn common(data: &[u8], a: usize, b: usize, max: usize) -> usize {
    let (x, y) = (&data[a..a + max], &data[b..b + max]);
    if let (Some(p), Some(q)) = (x.first_chunk(), y.first_chunk()) {
        let differ = u64::from_le_bytes(*p) ^ u64::from_le_bytes(*q);
        if differ != 0 {
            return differ.trailing_zeros() as usize / 8;
        }
    }
    common_words(x, y)
}

fn common_words(x: &[u8], y: &[u8]) -> usize {
    let (words_x, tail_x) = x.as_chunks::<8>();
    let (words_y, tail_y) = y.as_chunks::<8>();
    for (i, (p, q)) in words_x.iter().zip(words_y).enumerate() {
        let differ = u64::from_le_bytes(*p) ^ u64::from_le_bytes(*q);
        if differ != 0 {
            return 8 * i + differ.trailing_zeros() as usize / 8;
        }
    }
    8 * words_x.len() + tail_x.iter().zip(tail_y).take_while(|(p, q)| p == q).count()
}

/// The first four bytes as a number; `at + 4` lies within the data.
#[inline]
fn word(data: &[u8], at: usize) -> u32 {
    let bytes = &data[at..at + HASHED];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[inline]
fn hash(value: u32, bits: u32) -> usize {
    (value.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// So many bits that the table has about an entry for each position.
fn hash_bits(len: usize, most: u32) -> u32 {
    len.max(1).ilog2().clamp(8, most)
}

/// A match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) len: u32,
    pub(crate) distance: u32,
}

/// Hash chains over four bytes: the longest match among the nearest ones; besides, where three bytes stood last. Positions are
/// 16-bit numbers here, so that all of it stays near the processor.
pub(crate) struct Chains {
    heads: Box<[u16; 1 << BITS4]>,
    heads3: Box<[u16; 1 << BITS3]>,
    links: Vec<u16>,
}

/// Bits of the hash of four bytes in chains.
const BITS4: u32 = 15;

impl Default for Chains {
    fn default() -> Chains {
        Chains { heads: Box::new([0; 1 << BITS4]), heads3: Box::new([0; 1 << BITS3]), links: Vec::new() }
    }
}

impl Chains {
    /// Forgets everything; positions are below `len`, at most 65,536, from now on.
    pub(crate) fn reset(&mut self, len: usize) {
        self.heads.fill(0);
        self.heads3.fill(0);
        // What is left of earlier data is never reached: a link is written before a head leads to it.
        self.links.resize(len, 0);
    }

    /// Takes a position in; returns the nearest ones before, of which four and three bytes have the same hash.
    #[inline]
    pub(crate) fn insert(&mut self, data: &[u8], at: usize) -> [u16; 2] {
        let Some(four) = data[at..].first_chunk() else { return [0; 2] };
        let next = u32::from_le_bytes(*four);
        // The last positions have no four bytes, so there is room for one more.
        let new = at as u16 + 1;
        let near = std::mem::replace(&mut self.heads3[hash(next << 8, BITS3)], new);
        let before = std::mem::replace(&mut self.heads[hash(next, BITS4)], new);
        self.links[at] = before;
        [before, near]
    }

    /// The longest match of at least three bytes, nearest first, after looking at `depth` places; one of `nice` bytes ends the
    /// search. A length of 0 says that there is none. Of matches of three bytes only the nearest is known.
    #[inline]
    pub(crate) fn longest(&mut self, data: &[u8], at: usize, depth: u32, nice: usize) -> Match {
        let [mut place, near] = self.insert(data, at);
        let mut best = Match::default();
        if place == 0 && near == 0 {
            return best;
        }
        let here = &data[at..];
        let max = here.len();
        if let Some(from) = usize::from(near).checked_sub(1)
            && data[from..].first_chunk::<3>() == here.first_chunk::<3>()
        {
            best = Match { len: 3, distance: (at - from) as u32 };
        }
        for _ in 0..depth {
            let Some(from) = usize::from(place).checked_sub(1) else { break };
            let longer = (best.len as usize).max(HASHED - 1);
            if longer >= max {
                break;
            }
            // What is longer has the four bytes up to there.
            let last = longer + 1 - HASHED;
            if word(data, from + last) == word(here, last) {
                let len = common(data, at, from, max);
                if len > longer {
                    best = Match { len: len as u32, distance: (at - from) as u32 };
                    if len >= nice {
                        break;
                    }
                }
            }
            place = self.links[from];
        }
        best
    }
}

/// A binary tree for each hash of four bytes, ordered by what follows; besides, where three bytes stood last.
#[derive(Default)]
pub(crate) struct Trees {
    heads: Vec<u32>,
    heads3: Vec<u32>,
    /// For each position: what sorts before it, and what behind.
    children: Vec<[u32; 2]>,
    bits: u32,
}

/// Bits of the hash of three bytes.
const BITS3: u32 = 14;

impl Trees {
    /// Forgets everything; positions are below `len` from now on. Eight bytes for each, and the heads: four for each, at most
    /// 4 MiB.
    pub(crate) fn reset(&mut self, len: usize) {
        self.bits = hash_bits(len, 20);
        self.heads.clear();
        self.heads.resize(1 << self.bits, 0);
        self.heads3.clear();
        self.heads3.resize(1 << BITS3, 0);
        self.children.resize(len, [0; 2]);
    }

    /// Appends matches at a position, each longer than the one before and the nearest that the search sees of its length, none
    /// above `max` bytes; takes the position in. One of `nice` (at most `max`) bytes ends the search. Positions
    /// are told in ascending order, always with the same data: what was compared once has to compare the same again.
    pub(crate) fn find(&mut self, data: &[u8], at: usize, max: usize, nice: usize, depth: u32, found: &mut Vec<Match>) {
        let max = max.min(data.len() - at);
        if max < HASHED {
            return;
        }
        let next = word(data, at);
        let head3 = &mut self.heads3[hash(next << 8, BITS3)];
        let near = (*head3 as usize).checked_sub(1);
        *head3 = at as u32 + 1;
        let mut best = 2;
        if let Some(from) = near.filter(|from| data[*from..from + 3] == data[at..at + 3]) {
            best = 3;
            found.push(Match { len: 3, distance: (at - from) as u32 });
        }
        let head = &mut self.heads[hash(next, self.bits)];
        let mut place = *head;
        *head = at as u32 + 1;
        let nice = nice.min(max);
        // Which side of which position waits for the next subtree: what sorts before, what behind; and what they share with us.
        let mut open = [(at, 0), (at, 1)];
        let mut shared = [0, 0];
        for _ in 0..depth {
            let Some(from) = (place as usize).checked_sub(1) else { break };
            let known = shared[0].min(shared[1]);
            let len = if data[from + known] == data[at + known] {
                known + common(data, at + known, from + known, nice - known)
            } else {
                known
            };
            let children = self.children[from];
            if len > best {
                best = len;
                if len >= nice {
                    let len = len + common(data, at + len, from + len, max - len);
                    found.push(Match { len: len as u32, distance: (at - from) as u32 });
                    self.children[open[0].0][open[0].1] = children[0];
                    self.children[open[1].0][open[1].1] = children[1];
                    return;
                }
                found.push(Match { len: len as u32, distance: (at - from) as u32 });
            } else if len >= nice {
                self.children[open[0].0][open[0].1] = children[0];
                self.children[open[1].0][open[1].1] = children[1];
                return;
            }
            // It sorts before us: it takes the place on that side, and what sorts behind it is looked at next.
            let side = usize::from(data[from + len] > data[at + len]);
            self.children[open[side].0][open[side].1] = place;
            open[side] = (from, 1 - side);
            shared[side] = len;
            place = children[1 - side];
        }
        self.children[open[0].0][open[0].1] = 0;
        self.children[open[1].0][open[1].1] = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_found_is_there(data in prop::collection::vec(0u8..3, 0..600), nice in 4usize..40) {
            let mut trees = Trees::default();
            let mut chains = Chains::default();
            trees.reset(data.len());
            chains.reset(data.len());
            for at in 0..data.len() {
                let mut found = Vec::new();
                trees.find(&data, at, 100, nice, 1000, &mut found);
                let mut before = 0;
                for m in &found {
                    let (len, distance) = (m.len as usize, m.distance as usize);
                    prop_assert!(distance <= at && len > before && len <= 100);
                    prop_assert_eq!(&data[at..at + len], &data[at - distance..at - distance + len]);
                    before = len;
                }
                let longest = (0..at).map(|from| common(&data, at, from, data.len() - at)).max().unwrap_or(0);
                if longest >= 4 {
                    // With the depth unbounded nothing is overlooked, up to the length that ends the search.
                    prop_assert!(before >= longest.min(nice).min(100), "{at}: {before} of {longest}");
                }
                let chained = chains.longest(&data, at, 1000, 1000);
                if longest >= 3 && data.len() - at >= 4 {
                    prop_assert_eq!(chained.len as usize, longest);
                    let distance = chained.distance as usize;
                    prop_assert_eq!(&data[at..at + longest], &data[at - distance..at - distance + longest]);
                }
            }
        }
    }
}
