//! Where the bytes at a position stood before: chains of the places whose next four bytes have the same hash.

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

/// The upper bits of a product that all bits of the value have a part in.
#[inline]
fn hash(value: u32, shift: u32) -> usize {
    (value.wrapping_mul(0x9e37_79b1) >> (shift & 31)) as usize
}

/// A match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) len: u32,
    pub(crate) distance: u32,
}

/// A position, or none. The narrower, the more of the tables is near the processor.
pub(crate) trait Place: Copy + Default {
    /// Of a position that is in reach.
    fn of(position: usize) -> Self;
    fn position(self) -> Option<usize>;
}

/// Positions below 65,535; 0 stands for none.
impl Place for u16 {
    #[inline]
    fn of(position: usize) -> u16 {
        (position as u16).wrapping_add(1)
    }

    #[inline]
    fn position(self) -> Option<usize> {
        usize::from(self).checked_sub(1)
    }
}

/// Positions below 4,294,967,295; 0 stands for none.
impl Place for u32 {
    #[inline]
    fn of(position: usize) -> u32 {
        (position as u32).wrapping_add(1)
    }

    #[inline]
    fn position(self) -> Option<usize> {
        (self as usize).checked_sub(1)
    }
}

/// How hard to look.
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Places that are looked at.
    pub(crate) depth: u32,
    /// A match as long as this ends the search.
    pub(crate) nice: usize,
    /// No match is longer.
    pub(crate) max: usize,
}

/// The positions that were told, by the hash of the four bytes there; besides, where three bytes stood last.
pub(crate) struct Chains<P> {
    heads: Box<[P; 1 << BITS4]>,
    heads3: Box<[P; 1 << BITS3]>,
    /// For each position: the one before it with the same hash.
    links: Vec<P>,
    /// 32 less the bits of the hashes that are in use: little data needs few heads, and has few to forget.
    shift: u32,
}

/// Bits of the hash of four bytes, at most; that of three bytes has one less.
const BITS4: u32 = 16;
const BITS3: u32 = BITS4 - 1;

impl<P: Place> Default for Chains<P> {
    fn default() -> Chains<P> {
        Chains {
            heads: Box::new([P::default(); 1 << BITS4]),
            heads3: Box::new([P::default(); 1 << BITS3]),
            links: Vec::new(),
            shift: 32 - BITS4,
        }
    }
}

impl<P: Place> Chains<P> {
    /// Forgets everything; positions are below `len` from now on, and the last three of them are not taken in.
    pub(crate) fn reset(&mut self, len: usize) {
        let bits = (len.max(1).ilog2() + 2).clamp(8, BITS4);
        self.shift = 32 - bits;
        self.heads[..1 << bits].fill(P::default());
        self.heads3[..1 << (bits - 1)].fill(P::default());
        // What is left of earlier data is never reached: a link is written before a head leads to it.
        self.links.resize(len, P::default());
    }

    /// Takes a position in; the last ones of the data, which have no four bytes, are passed over.
    #[inline]
    pub(crate) fn insert(&mut self, data: &[u8], at: usize) {
        if let Some(four) = data[at..].first_chunk() {
            self.take(u32::from_le_bytes(*four), at);
        }
    }

    /// The nearest places before, of which four and three bytes have the same hash.
    #[inline]
    fn take(&mut self, next: u32, at: usize) -> (P, P) {
        let near =
            std::mem::replace(&mut self.heads3[hash(next << 8, self.shift + 1) & (self.heads3.len() - 1)], P::of(at));
        let before = std::mem::replace(&mut self.heads[hash(next, self.shift) & (self.heads.len() - 1)], P::of(at));
        self.links[at] = before;
        (before, near)
    }

    /// Tells matches of more than `above` bytes at a position, nearest first, each longer than the one before; takes the position
    /// in. Of matches of three bytes only the nearest is known; there are none of fewer.
    #[inline(always)]
    pub(crate) fn find(&mut self, data: &[u8], at: usize, above: usize, search: Search, mut tell: impl FnMut(Match)) {
        let here = &data[at..];
        let Some(four) = here.first_chunk() else { return };
        let next = u32::from_le_bytes(*four);
        let (mut place, near) = self.take(next, at);
        let mut best = above;
        if best < HASHED - 1 {
            best = HASHED - 1;
            if let Some(from) = near.position()
                && word(data, from) << 8 == next << 8
            {
                tell(Match { len: 3, distance: (at - from) as u32 });
            }
        }
        let max = here.len().min(search.max);
        if best >= max {
            return;
        }
        // What is longer has the four bytes up to there.
        let mut last = word(here, best + 1 - HASHED);
        for _ in 0..search.depth {
            let Some(from) = place.position() else { break };
            if word(data, from + best + 1 - HASHED) == last {
                let len = common(data, at, from, max);
                if len > best {
                    best = len;
                    tell(Match { len: len as u32, distance: (at - from) as u32 });
                    if best >= search.nice || best == max {
                        break;
                    }
                    last = word(here, best + 1 - HASHED);
                }
            }
            place = self.links[from];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_found<P: Place>(data: &[u8], nice: usize, above: usize) -> Result<(), TestCaseError> {
        let mut chains = Chains::<P>::default();
        chains.reset(data.len());
        for at in 0..data.len() {
            let mut found = Vec::new();
            let search = Search { depth: 1000, nice, max: 100 };
            chains.find(data, at, above, search, |m| found.push(m));
            let mut before = above;
            for m in &found {
                let (len, distance) = (m.len as usize, m.distance as usize);
                prop_assert!(distance <= at && len > before && (3..=100).contains(&len));
                prop_assert_eq!(&data[at..at + len], &data[at - distance..at - distance + len]);
                before = len;
            }
            let longest = (0..at).map(|from| common(data, at, from, data.len() - at)).max().unwrap_or(0);
            if longest > above.max(3) {
                // With the depth unbounded nothing is overlooked, up to the length that ends the search; three bytes are known
                // only where they stood last, and not when others with the same hash came since.
                prop_assert!(before >= longest.min(nice).min(100), "{at}: {before} of {longest}");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn what_is_found_is_there(data in prop::collection::vec(0u8..3, 0..600), nice in 4usize..40, above in 0usize..6) {
            is_found::<u16>(&data, nice, above)?;
            is_found::<u32>(&data, nice, above)?;
        }
    }
}
