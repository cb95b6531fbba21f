//! The compressor: hash chains, lazy matching, one Huffman code.

use super::{LENGTHS, MAX_CHUNK};
use crate::lengths::{Lengths, codes};
use crate::matcher::{Chains, Match, Search};

const SYMBOLS: usize = 2 * LENGTHS;
const MAX_BITS: u8 = 15;
/// The end of the data ([MS-XCA] 2.1.4): a decoder that knows the length never gets to it, one of Windows expects it.
const END: usize = 256;
const MIN_MATCH: usize = 3;
/// A match of three bytes from further away costs more than three literals.
const NEAR: u32 = 1 << 12;
/// How many places are looked at for a match.
const DEPTH: u32 = 12;
/// A match as long as this is taken without looking further.
const NICE: usize = 48;

/// A literal, or a match, in one number: the symbol in the low 16 bits; the length, 0 for a literal; the bits of the distance that
/// the symbol does not tell.
#[derive(Clone, Copy)]
struct Item(u64);

impl Item {
    #[inline]
    fn literal(byte: u8) -> Item {
        Item(u64::from(byte))
    }

    #[inline]
    fn of_match(Match { len, distance }: Match) -> Item {
        let top = distance.ilog2();
        let symbol = 256 + 16 * top + (len - MIN_MATCH as u32).min(15);
        Item(u64::from(symbol) | u64::from(len) << 16 | u64::from(distance ^ 1 << top) << 32)
    }

    #[inline]
    fn symbol(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// Compresses chunk after chunk; its memory, at most 1 MiB, is kept from one to the next.
pub struct Compressor {
    chains: Chains<u16>,
    items: Vec<Item>,
    lengths: Lengths,
    counts: [u32; SYMBOLS],
    bits: [u8; SYMBOLS],
    codes: [u16; SYMBOLS],
    /// Codes with their lengths.
    texts: [(u16, u8); SYMBOLS],
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Compressor {
        Compressor {
            chains: Chains::default(),
            items: Vec::new(),
            lengths: Lengths::default(),
            counts: [0; SYMBOLS],
            bits: [0; SYMBOLS],
            codes: [0; SYMBOLS],
            texts: [(0, 0); SYMBOLS],
        }
    }
}

impl Compressor {
    /// A compressor that has no memory yet.
    pub fn new() -> Compressor {
        Compressor::default()
    }

    /// Appends the compressed form of `data` (at most 65,536 bytes) to `out`. `false`, with `out` as it was, when that is no
    /// shorter than the data, or the data too long: then the container stores it as it is. Equal data gives equal bytes.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        if data.len() <= LENGTHS || data.len() > MAX_CHUNK {
            return false;
        }
        self.parse(data);
        self.lengths.make(&self.counts, MAX_BITS, &mut self.bits);
        codes(&self.bits, &mut self.codes);
        for (text, both) in self.texts.iter_mut().zip(self.codes.iter().zip(&self.bits)) {
            *text = (*both.0, *both.1);
        }
        let start = out.len();
        // What does not fit is no shorter.
        out.resize(start + data.len() - 1, 0);
        for (byte, pair) in out[start..].iter_mut().zip(self.bits.chunks_exact(2)) {
            *byte = pair[0] | pair[1] << 4;
        }
        let written = self.write(&mut out[start + LENGTHS..]);
        out.truncate(start + written.map_or(0, |len| LENGTHS + len));
        written.is_some()
    }

    /// The best match of more than `above` bytes at a position; a length of 0 says that there is none.
    #[inline(always)]
    fn find(&mut self, data: &[u8], at: usize, above: usize, depth: u32) -> Match {
        let mut best = Match::default();
        let search = Search { depth, nice: NICE, max: usize::MAX };
        self.chains.find(data, at, above, search, |found| best = found);
        best
    }

    #[inline]
    fn push(&mut self, item: Item) {
        self.counts[item.symbol()] += 1;
        self.items.push(item);
    }

    /// Cuts the data into items and counts their symbols.
    fn parse(&mut self, data: &[u8]) {
        self.chains.reset(data.len());
        self.items.clear();
        self.counts.fill(0);
        self.counts[END] = 1;
        let mut at = 0;
        while at < data.len() {
            let found = self.find(data, at, 0, DEPTH);
            if found.len == 0 || found.len as usize == MIN_MATCH && found.distance > NEAR {
                self.push(Item::literal(data[at]));
                at += 1;
            } else {
                at = self.take(data, at, found);
            }
        }
    }

    /// Makes an item of a match, after literals when one that starts at the next byte, or the one behind it, saves more; and of
    /// that one the same way. Returns the position behind it.
    fn take(&mut self, data: &[u8], mut at: usize, mut found: Match) -> usize {
        // Positions behind `at` that are in the chains.
        let mut known = 0;
        'better: while (found.len as usize) < NICE {
            // What a later start has to save beyond what it costs.
            for (ahead, worth) in [(1, 4), (2, 7)] {
                if at + ahead >= data.len() {
                    break 'better;
                }
                known = ahead;
                // One of three bytes is not worth the wait.
                let next = self.find(data, at + ahead, (found.len as usize - 1).max(MIN_MATCH), DEPTH >> ahead);
                if next.len > 0 && gain(next) > gain(found) + worth {
                    for byte in &data[at..at + ahead] {
                        self.push(Item::literal(*byte));
                    }
                    (at, found, known) = (at + ahead, next, 0);
                    continue 'better;
                }
            }
            break;
        }
        self.push(Item::of_match(found));
        let end = at + found.len as usize;
        for skipped in at + 1 + known..end {
            self.chains.insert(data, skipped);
        }
        end
    }

    /// Writes the items; `None` when they don't fit.
    fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut units = Units::new(out);
        for item in &self.items {
            let symbol = item.symbol();
            let (code, bits) = self.texts[symbol];
            units.put(code, bits);
            if symbol >= END {
                units.long_length((item.0 >> 16) as u16 - MIN_MATCH as u16);
                units.put((item.0 >> 32) as u16, ((symbol - 256) / 16) as u8);
            }
        }
        units.put(self.codes[END], self.bits[END]);
        units.finish()
    }
}

/// What a match saves, in quarters of a literal, less the bits of its distance.
#[inline]
fn gain(found: Match) -> i32 {
    4 * found.len as i32 - found.distance.ilog2() as i32
}

/// 16-bit units, most significant bit first, with bytes between them: room for two units is kept ahead of the bytes, as a reader
/// has fetched two when it meets them ([MS-XCA] 2.1.4.3). What lies beyond the room there is, is counted and not written.
struct Units<'a> {
    out: &'a mut [u8],
    /// Where the unit that is being filled goes, and the next one.
    places: [usize; 2],
    len: usize,
    bits: u64,
    count: u32,
}

impl<'a> Units<'a> {
    fn new(out: &'a mut [u8]) -> Units<'a> {
        Units { out, places: [0, 2], len: 4, bits: 0, count: 0 }
    }

    /// Up to 16 bits. A full unit waits for the next bit, as the reader does.
    #[inline]
    fn put(&mut self, value: u16, n: u8) {
        self.bits = self.bits << n | u64::from(value);
        self.count += u32::from(n);
        if self.count > 16 {
            self.count -= 16;
            self.place((self.bits >> self.count) as u16);
            self.places = [self.places[1], self.len];
            self.len += 2;
        }
    }

    #[inline]
    fn place(&mut self, unit: u16) {
        if let Some(place) = self.out.get_mut(self.places[0]..).and_then(|out| out.first_chunk_mut()) {
            *place = unit.to_le_bytes();
        }
    }

    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    /// What the symbol could not say of a length (less three): a byte, or 255 and 16 bits.
    #[inline]
    fn long_length(&mut self, len: u16) {
        if let Some(more) = len.checked_sub(15) {
            self.byte(more.min(255) as u8);
            if more >= 255 {
                len.to_le_bytes().into_iter().for_each(|byte| self.byte(byte));
            }
        }
    }

    /// Ends the last unit. How long it is; `None` when it did not fit.
    fn finish(mut self) -> Option<usize> {
        self.place((self.bits << (16 - self.count)) as u16);
        (self.len <= self.out.len()).then_some(self.len)
    }
}
