//! The compressor: hash chains, lazy matching, one Huffman code.

use super::{LENGTHS, MAX_CHUNK};
use crate::lengths::{Lengths, codes};
use crate::matcher::{Chains, Match};

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

/// A literal (length 0, the byte), or a match (length, distance).
#[derive(Clone, Copy)]
struct Item {
    len: u16,
    value: u16,
}

/// Compresses chunk after chunk; its memory, at most 1 MiB, is kept from one to the next.
pub struct Compressor {
    chains: Chains,
    items: Vec<Item>,
    lengths: Lengths,
    counts: [u32; SYMBOLS],
    bits: [u8; SYMBOLS],
    codes: [u16; SYMBOLS],
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
        self.count();
        self.lengths.make(&self.counts, MAX_BITS, &mut self.bits);
        codes(&self.bits, &mut self.codes);
        let start = out.len();
        out.extend(self.bits.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4));
        self.write(out);
        let is_shorter = out.len() - start < data.len();
        if !is_shorter {
            out.truncate(start);
        }
        is_shorter
    }

    /// The best match at a position.
    fn find(&mut self, data: &[u8], at: usize) -> Match {
        let found = self.chains.longest(data, at, DEPTH, NICE);
        let costs_more = found.len as usize == MIN_MATCH && found.distance > NEAR;
        if costs_more || found.distance == 0 { Match::default() } else { found }
    }

    /// Cuts the data into items. A match is put off when one that starts at the next byte, or the one behind it, saves more.
    fn parse(&mut self, data: &[u8]) {
        self.chains.reset(data.len());
        self.items.clear();
        let mut at = 0;
        let mut found = Match::default();
        while at < data.len() {
            if found.len == 0 {
                found = self.find(data, at);
            }
            // `ahead` positions beyond this one are in the chains by the time an item is made.
            let mut ahead = 0;
            let mut better = None;
            while found.len > 0 && (found.len as usize) < NICE && ahead < 2 && better.is_none() {
                ahead += 1;
                if at + ahead >= data.len() {
                    break;
                }
                let next = self.find(data, at + ahead);
                if next.len > 0 && gain(next) > gain(found) + if ahead == 1 { 4 } else { 7 } {
                    better = Some(next);
                }
            }
            if found.len == 0 {
                self.items.push(Item { len: 0, value: u16::from(data[at]) });
                at += 1;
            } else if let Some(next) = better {
                self.items.extend(data[at..at + ahead].iter().map(|b| Item { len: 0, value: u16::from(*b) }));
                at += ahead;
                found = next;
                continue;
            } else {
                self.items.push(Item { len: found.len as u16, value: found.distance as u16 });
                for skipped in at + 1 + ahead..at + found.len as usize {
                    self.chains.insert(data, skipped);
                }
                at += found.len as usize;
            }
            found = Match::default();
        }
    }

    fn count(&mut self) {
        self.counts.fill(0);
        self.counts[END] = 1;
        for item in &self.items {
            self.counts[symbol(*item)] += 1;
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut units = Units::new(out);
        for item in &self.items {
            let symbol = symbol(*item);
            units.put(u32::from(self.codes[symbol]), u32::from(self.bits[symbol]));
            if item.len > 0 {
                units.long_length(usize::from(item.len) - MIN_MATCH);
                let extra = item.value.ilog2();
                units.put(u32::from(item.value) - (1 << extra), extra);
            }
        }
        units.put(u32::from(self.codes[END]), u32::from(self.bits[END]));
        units.finish();
    }
}

/// What a match saves, in quarters of a literal, less the bits of its distance.
fn gain(found: Match) -> i32 {
    4 * found.len as i32 - found.distance.ilog2() as i32
}

fn symbol(item: Item) -> usize {
    if item.len == 0 {
        return usize::from(item.value);
    }
    256 + 16 * item.value.ilog2() as usize + (usize::from(item.len) - MIN_MATCH).min(15)
}

/// 16-bit units, most significant bit first, with bytes between them: room for two units is kept ahead of the bytes, as a reader
/// has fetched two when it meets them ([MS-XCA] 2.1.4.3).
struct Units<'a> {
    out: &'a mut Vec<u8>,
    /// Where the unit that is being filled goes, and the next one.
    places: [usize; 2],
    bits: u32,
    count: u32,
}

impl<'a> Units<'a> {
    fn new(out: &'a mut Vec<u8>) -> Units<'a> {
        let start = out.len();
        out.extend([0; 4]);
        Units { out, places: [start, start + 2], bits: 0, count: 0 }
    }

    /// Up to 16 bits. A full unit waits for the next bit, as the reader does.
    fn put(&mut self, value: u32, n: u32) {
        self.bits = self.bits << n | value;
        self.count += n;
        if self.count > 16 {
            self.count -= 16;
            self.place((self.bits >> self.count) as u16);
            self.bits &= (1 << self.count) - 1;
            self.places = [self.places[1], self.out.len()];
            self.out.extend([0; 2]);
        }
    }

    fn place(&mut self, unit: u16) {
        self.out[self.places[0]..self.places[0] + 2].copy_from_slice(&unit.to_le_bytes());
    }

    /// What the symbol could not say of a length (less three): a byte, or 255 and 16 bits.
    fn long_length(&mut self, len: usize) {
        if let Some(more) = len.checked_sub(15) {
            self.out.push(more.min(255) as u8);
            if more >= 255 {
                self.out.extend((len as u16).to_le_bytes());
            }
        }
    }

    fn finish(mut self) {
        let unit = (self.bits << (16 - self.count)) as u16;
        self.place(unit);
    }
}
