//! The compressor: every match of a stretch, a quick parse that tells what to expect, the cheapest parse under the costs that
//! follow from it, and blocks where what it chose changes.

use super::costs::{Costs, of_block};
use super::header::{Codes, Counts, Shape};
use super::parse::{Item, Matches, Parser, Recent, slot_of};
use super::{LONG, MIN_MATCH, calls, offset_slots, slot};
use crate::lengths::Lengths;
use crate::matcher::Chains;
use crate::writer::Writer;
use std::ops::Range;

/// Bytes whose matches are kept at a time.
const STRETCH: usize = 1 << 17;
/// Items that a block has at least, but for the last one.
const PIECE: usize = 1024;

/// The longest data whose positions are told by 16 bits.
const NARROW: usize = 1 << 16;

/// Compresses chunk after chunk; its memory is kept from one to the next: 5 bytes for each of the window's, the heads of the
/// chains (384 KiB), and at most 25 MiB for a stretch.
pub struct Compressor {
    window: usize,
    shape: Shape,
    buffer: Vec<u8>,
    /// For data up to 64 KiB, and for what is longer.
    narrow: Chains<u16>,
    wide: Chains<u32>,
    matches: Matches,
    parser: Parser,
    items: Vec<Item>,
    costs: Costs,
    lengths: Lengths,
    writer: Writer,
    /// Of the block that is being written, and of the one before.
    codes: Box<[Codes; 2]>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").field("window", &self.window).finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor for chunks of at most `window` bytes. `None` unless that is a window that LZX has: a power of two from 32 KiB
    /// to 2 MiB.
    pub fn new(window: usize) -> Option<Compressor> {
        let order = window.trailing_zeros();
        let slots = offset_slots(order).filter(|_| window.is_power_of_two())?;
        Some(Compressor {
            window,
            shape: Shape { order, main_symbols: 256 + 8 * slots },
            buffer: Vec::new(),
            narrow: Chains::default(),
            wide: Chains::default(),
            matches: Matches::default(),
            parser: Parser::default(),
            items: Vec::new(),
            costs: Costs::new(),
            lengths: Lengths::default(),
            writer: Writer::default(),
            codes: Box::new([Codes::new(), Codes::new()]),
        })
    }

    /// Appends the compressed form of `data` (at most the window) to `out`. `false`, with `out` as it was, when that is no shorter
    /// than the data, or the data too long: then the container stores it as it is. Equal data gives equal bytes.
    pub fn compress(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        if data.is_empty() || data.len() > self.window {
            return false;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(data);
        calls::translate(&mut self.buffer);
        if data.len() <= NARROW {
            self.narrow.reset(data.len());
        } else {
            self.wide.reset(data.len());
        }
        self.writer.clear();
        *self.codes = [Codes::new(), Codes::new()];
        let mut recent = [1; 3];
        for start in (0..data.len()).step_by(STRETCH) {
            recent = self.stretch(start..data.len().min(start + STRETCH), recent);
            if self.writer.len() >= data.len() {
                return false;
            }
        }
        self.writer.finish();
        if self.writer.len() >= data.len() {
            return false;
        }
        out.extend(self.writer.units.iter().flat_map(|unit| unit.to_le_bytes()));
        true
    }

    /// Writes the blocks of a stretch; returns the recent offsets behind it.
    fn stretch(&mut self, range: Range<usize>, recent: Recent) -> Recent {
        // Formatted offsets are two more, and below the window's size.
        let most = self.window as u32 - 3;
        if self.buffer.len() <= NARROW {
            self.matches.collect(&mut self.narrow, &self.buffer, range.clone(), most);
        } else {
            self.matches.collect(&mut self.wide, &self.buffer, range.clone(), most);
        }
        self.items.clear();
        Parser::guess(&self.buffer, range.clone(), &self.matches, &mut self.items);
        let mut counts = Costs::prior(self.shape);
        self.items.iter().for_each(|item| count(*item, &mut counts));
        self.costs.set(&counts, self.shape);
        self.items.clear();
        let behind = self.parser.run(&self.buffer, range, &self.matches, &self.costs, recent, &mut self.items);
        for (block, counts) in split(&self.items) {
            self.write(block, &counts);
        }
        behind
    }

    /// Writes items as a block.
    fn write(&mut self, block: Range<usize>, counts: &Counts) {
        self.codes.swap(0, 1);
        let [codes, last] = &mut *self.codes;
        codes.make(counts, &mut self.lengths);
        let items = &self.items[block];
        let size = items.iter().map(|item| item.len as usize).sum();
        codes.put_header(last, size, self.shape, &mut self.lengths, &mut self.writer);
        for item in items {
            let Some(len) = (item.len as usize).checked_sub(MIN_MATCH) else {
                codes.main.put(item.value as usize, &mut self.writer);
                continue;
            };
            let number = slot_of(item.value);
            codes.main.put(256 + 8 * number + len.min(LONG), &mut self.writer);
            if len >= LONG {
                codes.length.put(len - LONG, &mut self.writer);
            }
            let (first, bits) = slot(number);
            codes.put_extra(item.value - first, bits, &mut self.writer);
        }
    }
}

fn count(item: Item, counts: &mut Counts) {
    let Some(len) = (item.len as usize).checked_sub(MIN_MATCH) else {
        counts.main[item.value as usize] += 1;
        return;
    };
    let number = slot_of(item.value);
    counts.main[256 + 8 * number + len.min(LONG)] += 1;
    if len >= LONG {
        counts.length[len - LONG] += 1;
    }
    if slot(number).1 >= 3 {
        counts.aligned[item.value as usize & 7] += 1;
    }
}

/// Cuts items into blocks where codes of their own are worth their header.
fn split(items: &[Item]) -> Vec<(Range<usize>, Counts)> {
    let mut out: Vec<(Range<usize>, Counts, u64)> = Vec::new();
    for (start, piece) in (0..).step_by(PIECE).zip(items.chunks(PIECE)) {
        let mut counts = Counts::NONE;
        piece.iter().for_each(|item| count(*item, &mut counts));
        let (end, cost) = (start + piece.len(), of_block(&counts));
        if let Some((range, before, cost_before)) = out.last_mut() {
            let mut both = before.clone();
            both.add(&counts);
            let cost_of_both = of_block(&both);
            if cost_of_both <= *cost_before + cost {
                (range.end, *before, *cost_before) = (end, both, cost_of_both);
                continue;
            }
        }
        out.push((start..end, counts, cost));
    }
    out.into_iter().map(|(range, counts, _)| (range, counts)).collect()
}
