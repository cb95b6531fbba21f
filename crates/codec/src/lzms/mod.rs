//! LZMS, the compression of solid resources in a WIM ("ESD"): one chunk of up to 1 GiB.
//!
//! A chunk holds two streams of 16-bit units: decisions, each of one bit with an adaptive probability, from the front
//! (`decisions`), and symbols of adaptive Huffman codes with their extra bits from the end (`symbols`). An item is a literal,
//! a match, or a delta match: bytes whose differences at a power-of-two distance repeat. In the end, addresses in x86 code are
//! translated back (`x86`).

mod decisions;
mod symbols;
mod x86;

use crate::{Error, copy_match};
use decisions::{Decision, Decisions};
use symbols::{Adaptive, LENGTH_SLOTS, OFFSET_SLOTS};

/// Offsets that were used last, and can be told by their number.
const RECENT: usize = 3;
/// The largest chunk.
const MAX_CHUNK: usize = 1 << 30;

/// What the item before was; recent offsets count from the one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Literal,
    Match,
    Delta,
}

/// Offsets used last. The one of the item just before is not told again by its number: that would have been one match.
struct Recent<T>([T; RECENT + 1]);

impl<T: Copy> Recent<T> {
    fn push(&mut self, value: T) {
        self.0.copy_within(0..RECENT, 1);
        self.0[0] = value;
    }

    /// Takes the `index`th to the front; `skip` the first one when it belongs to the item just before.
    fn take(&mut self, index: usize, skip: bool) -> T {
        let at = index + usize::from(skip);
        let value = self.0[at];
        // The slot behind the front one keeps its place while the front one is the item just before.
        self.0.copy_within(0..at, 1);
        self.0[0] = value;
        value
    }
}

/// Everything that adapts.
struct Decoder<'a> {
    decisions: Decisions<'a>,
    bits: symbols::BackBits<'a>,
    is_match: Decision<16>,
    is_delta: Decision<32>,
    is_recent: Decision<64>,
    which_recent: [Decision<64>; RECENT - 1],
    delta_is_recent: Decision<64>,
    which_delta: [Decision<64>; RECENT - 1],
    literals: Adaptive,
    lengths: Adaptive,
    offsets: Adaptive,
    delta_offsets: Adaptive,
    delta_powers: Adaptive,
    recent: Recent<u32>,
    /// Power of the distance between compared bytes, and the offset in units of it.
    recent_deltas: Recent<(u32, u32)>,
}

/// Decodes one chunk so that it fills `out` (at most 1 GiB) exactly. A chunk that is as long as its content is stored as it
/// is, which is the container's to know.
pub fn decompress(input: &[u8], out: &mut [u8]) -> Result<(), Error> {
    if out.len() > MAX_CHUNK {
        return Err(Error { offset: 0, what: "a chunk above 1 GiB" });
    }
    if !input.len().is_multiple_of(2) || input.len() < 4 {
        return Err(Error { offset: input.len(), what: "the input is no sequence of at least two 16-bit units" });
    }
    Decoder::new(input, out.len()).run(out)?;
    x86::restore(out);
    Ok(())
}

impl<'a> Decoder<'a> {
    fn new(input: &'a [u8], size: usize) -> Decoder<'a> {
        // As many offset slots as this size can use.
        let slots = if size < 2 { 1 } else { 1 + OFFSET_SLOTS.slot_of(size as u32 - 1) };
        Decoder {
            decisions: Decisions::new(input),
            bits: symbols::BackBits::new(input, 0),
            is_match: Decision::new(),
            is_delta: Decision::new(),
            is_recent: Decision::new(),
            which_recent: [Decision::new(), Decision::new()],
            delta_is_recent: Decision::new(),
            which_delta: [Decision::new(), Decision::new()],
            literals: Adaptive::new(256, 1024),
            lengths: Adaptive::new(LENGTH_SLOTS.len(), 512),
            offsets: Adaptive::new(slots, 1024),
            delta_offsets: Adaptive::new(slots, 1024),
            delta_powers: Adaptive::new(8, 512),
            recent: Recent([1, 2, 3, 4]),
            recent_deltas: Recent([(0, 1), (0, 2), (0, 3), (0, 4)]),
        }
    }

    fn run(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let (mut done, mut before) = (0, Item::Literal);
        while done < out.len() {
            if !self.is_match.take(&mut self.decisions) {
                out[done] = self.literals.decode(&mut self.bits)? as u8;
                done += 1;
                before = Item::Literal;
            } else if !self.is_delta.take(&mut self.decisions) {
                let offset = self.offset(before)?;
                let length = self.length()?;
                done = copy_match(out, done, offset as usize, length).ok_or_else(|| self.leaves())?;
                before = Item::Match;
            } else {
                let (power, offset) = self.delta(before)?;
                let length = self.length()?;
                done = copy_delta(out, done, power, offset, length).ok_or_else(|| self.leaves())?;
                before = Item::Delta;
            }
            if self.decisions.overrun() || self.bits.overrun() {
                return Err(self.bits.error("the input ends early"));
            }
        }
        Ok(())
    }

    fn leaves(&self) -> Error {
        self.bits.error("a match leaves the chunk")
    }

    fn offset(&mut self, before: Item) -> Result<u32, Error> {
        if !self.is_recent.take(&mut self.decisions) {
            let offset = OFFSET_SLOTS.value(self.offsets.decode(&mut self.bits)?, &mut self.bits);
            self.recent.push(offset);
            return Ok(offset);
        }
        let index = which(&mut self.which_recent, &mut self.decisions);
        Ok(self.recent.take(index, before == Item::Match))
    }

    fn delta(&mut self, before: Item) -> Result<(u32, u32), Error> {
        if !self.delta_is_recent.take(&mut self.decisions) {
            let power = self.delta_powers.decode(&mut self.bits)? as u32;
            let offset = OFFSET_SLOTS.value(self.delta_offsets.decode(&mut self.bits)?, &mut self.bits);
            self.recent_deltas.push((power, offset));
            return Ok((power, offset));
        }
        let index = which(&mut self.which_delta, &mut self.decisions);
        Ok(self.recent_deltas.take(index, before == Item::Delta))
    }

    fn length(&mut self) -> Result<usize, Error> {
        let slot = self.lengths.decode(&mut self.bits)?;
        Ok(LENGTH_SLOTS.value(slot, &mut self.bits) as usize)
    }
}

/// Which of the recent ones: the first decision says "not the first", the second "not the second".
fn which(decisions: &mut [Decision<64>; RECENT - 1], from: &mut Decisions<'_>) -> usize {
    decisions.iter_mut().position(|decision| !decision.take(from)).unwrap_or(RECENT - 1)
}

/// Bytes of which each differs from the one `1 << power` before it as the bytes `offset << power` back do.
fn copy_delta(out: &mut [u8], at: usize, power: u32, offset: u32, length: usize) -> Option<usize> {
    let span = 1usize << power;
    let distance = (offset as usize) << power;
    let end = at.checked_add(length).filter(|&end| end <= out.len())?;
    at.checked_sub(distance.checked_add(span)?).filter(|_| distance > 0)?;
    for i in at..end {
        out[i] = out[i - span].wrapping_add(out[i - distance]).wrapping_sub(out[i - distance - span]);
    }
    Some(end)
}
