//! Choosing items: the cheapest way through a stretch of data under given costs, with the recent offsets of each way's own past.

use super::costs::Costs;
use super::{MAX_MATCH, MIN_MATCH};
use crate::matcher::{Chains, Match, Place, Search, common};
use std::ops::Range;

/// Offsets that were used last.
pub(super) type Recent = [u32; 3];

/// A literal (length 1; its byte), or a match: its length and its offset in formatted form (0 to 2: a recent one, else plus two).
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) len: u32,
    pub(super) value: u32,
}

/// The recent offsets after an item.
#[inline]
pub(super) fn after(mut recent: Recent, item: Item) -> Recent {
    if item.len >= MIN_MATCH as u32 {
        match item.value {
            0 => {}
            number @ (1 | 2) => recent.swap(0, number as usize),
            formatted => recent = [formatted - 2, recent[0], recent[1]],
        }
    }
    recent
}

/// The slot of an offset in formatted form.
#[inline]
pub(super) fn slot_of(formatted: u32) -> usize {
    if formatted < 4 {
        return formatted as usize;
    }
    let top = formatted.ilog2();
    if top >= 18 {
        // From here on every slot spans 2^17.
        return 34 + (formatted >> 17) as usize;
    }
    (2 * top + (formatted >> (top - 1) & 1)) as usize
}

/// The matches of a stretch of data.
#[derive(Default)]
pub(super) struct Matches {
    /// Where the stretch starts.
    origin: usize,
    found: Vec<Match>,
    /// For each position of the stretch: where its matches start in `found`; one more at the end.
    starts: Vec<u32>,
}

/// Places that are looked at for a match.
const DEPTH: u32 = 6;
/// A match as long as this is taken, and none is looked for within it.
const NICE: usize = 48;

/// A match as long as this is taken without weighing what lies within it.
const TAKEN: usize = 128;

impl Matches {
    /// Collects those of `from..to`, which no match leaves, from at most `most` bytes back; `chains` hold everything before.
    pub(super) fn collect<P: Place>(
        &mut self,
        chains: &mut Chains<P>,
        data: &[u8],
        Range { start: from, end: to }: Range<usize>,
        most: u32,
    ) {
        self.origin = from;
        self.found.clear();
        self.starts.clear();
        let mut quiet_until = from;
        for at in from..to {
            self.starts.push(self.found.len() as u32);
            if at < quiet_until {
                chains.insert(data, at);
                continue;
            }
            let before = self.found.len();
            let search = Search { depth: DEPTH, nice: NICE, max: MAX_MATCH.min(to - at) };
            chains.find(data, at, 0, search, |found| self.found.push(found));
            // The longer, the further.
            while self.found[before..].last().is_some_and(|m| m.distance > most) {
                self.found.pop();
            }
            if let Some(longest) = self.found[before..].last().filter(|m| m.len as usize >= NICE) {
                quiet_until = at + longest.len as usize;
            }
        }
        self.starts.push(self.found.len() as u32);
    }

    #[inline]
    fn at(&self, position: usize) -> &[Match] {
        let index = position - self.origin;
        &self.found[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

/// What getting to a position costs, above its last item: the smaller number is the better way.
type Step = u64;

/// Bits of a step that hold the value of its item, and those that hold its length.
const VALUE_BITS: u32 = 21;
const LENGTH_BITS: u32 = 9;

/// What a step adds to the cost before it.
#[inline]
fn step(cost: u32, len: usize, value: u32) -> Step {
    u64::from(cost) << 32 | (len as u64) << VALUE_BITS | u64::from(value)
}

#[inline]
fn item_of(step: Step) -> Item {
    let (len, value) = (step as u32 >> VALUE_BITS, step as u32);
    Item { len: len & ((1 << LENGTH_BITS) - 1), value: value & ((1 << VALUE_BITS) - 1) }
}

/// The search; its memory is kept.
#[derive(Default)]
pub(super) struct Parser {
    steps: Vec<Step>,
    /// At each position, when it is got to that way.
    recent: Vec<Recent>,
}

impl Parser {
    /// Appends items for `range` that few bytes are spent on finding: what repeats a recent offset, or the longest match.
    pub(super) fn guess(data: &[u8], range: Range<usize>, matches: &Matches, items: &mut Vec<Item>) {
        let (mut at, mut recent) = (range.start, [1; 3]);
        while at < range.end {
            let (number, repeated) = longest_repeat(data, at, range.end, recent);
            let found = matches.at(at).last().copied().unwrap_or_default();
            let (len, distance) = (found.len as usize, found.distance);
            let is_worth = len > 4 || len == 4 && distance < 1 << 14 || len == 3 && distance < 1 << 11;
            let item = if repeated >= 3 && repeated + 2 >= len {
                Item { len: repeated as u32, value: number }
            } else if is_worth {
                Item { len: len as u32, value: distance + 2 }
            } else {
                Item { len: 1, value: u32::from(data[at]) }
            };
            recent = after(recent, item);
            items.push(item);
            at += item.len as usize;
        }
    }

    /// Appends the cheapest items for `range` to `items` and returns the recent offsets behind them. `matches` are those of a
    /// stretch that holds it.
    pub(super) fn run(
        &mut self,
        data: &[u8],
        range: Range<usize>,
        matches: &Matches,
        costs: &Costs,
        recent: Recent,
        items: &mut Vec<Item>,
    ) -> Recent {
        self.steps.clear();
        self.steps.resize(range.len() + 1, Step::MAX);
        self.steps[0] = 0;
        self.recent.resize(range.len() + 1, recent);
        self.recent[0] = recent;
        let mut index = 0;
        while index < range.len() {
            let at = range.start + index;
            let (cost, item) = ((self.steps[index] >> 32) as u32, item_of(self.steps[index]));
            let recent = after(self.recent[index - item.len as usize], item);
            self.recent[index] = recent;
            let rest = &mut self.steps[index + 1..];
            let byte = data[at];
            rest[0] = rest[0].min(step(cost + costs.literal[usize::from(byte)], 1, u32::from(byte)));
            index += 1;
            let longest = repeat(data, at, recent, costs, cost, rest);
            if longest >= TAKEN {
                index += longest - 1;
                continue;
            }
            let mut len = MIN_MATCH + 1;
            for found in matches.at(at) {
                let reach = (found.len as usize).min(rest.len());
                // A recent offset that reaches as far is told in fewer bits.
                if reach <= longest || reach < len {
                    continue;
                }
                // One that is long is taken as it is, without a look at what lies within it.
                if reach >= TAKEN {
                    len = reach;
                    index += reach - 1;
                }
                let formatted = found.distance + 2;
                let number = slot_of(formatted);
                relax(rest, len..reach + 1, costs.of_slot(number), cost + costs.extra(number, formatted), formatted);
                len = reach + 1;
            }
        }
        self.trace(recent, items)
    }

    /// Reads the way from its end.
    fn trace(&self, recent: Recent, items: &mut Vec<Item>) -> Recent {
        let start = items.len();
        let mut at = self.steps.len() - 1;
        while at > 0 {
            let item = item_of(self.steps[at]);
            items.push(item);
            at -= item.len as usize;
        }
        items[start..].reverse();
        items[start..].iter().fold(recent, |recent, item| after(recent, *item))
    }
}

/// The recent offset with the longest match, and how long it is.
fn longest_repeat(data: &[u8], at: usize, end: usize, recent: Recent) -> (u32, usize) {
    let mut best = (0, 0);
    for (number, offset) in (0..).zip(recent) {
        if let Some(from) = at.checked_sub(offset as usize) {
            let len = common(data, at, from, MAX_MATCH.min(end - at));
            if len > best.1 {
                best = (number, len);
            }
        }
    }
    best
}

/// Matches at recent offsets; returns how far the longest reaches, 0 when there is none.
#[inline]
fn repeat(data: &[u8], at: usize, recent: Recent, costs: &Costs, cost: u32, rest: &mut [Step]) -> usize {
    let mut longest = MIN_MATCH - 1;
    let max = rest.len().min(MAX_MATCH);
    for (number, offset) in (0..).zip(recent) {
        let Some(from) = at.checked_sub(offset as usize) else { continue };
        // One that does not reach further than another recent one is not looked at.
        if longest >= max || data[from + longest] != data[at + longest] || data[from] != data[at] {
            continue;
        }
        let reach = common(data, at, from, max);
        if reach > longest {
            let first = if reach >= TAKEN { reach } else { longest + 1 };
            relax(rest, first..reach + 1, costs.of_slot(number as usize), cost, number);
            longest = reach;
        }
    }
    if longest < MIN_MATCH { 0 } else { longest }
}

/// Takes the matches of one offset, of each of the lengths, where they are cheaper than what is known.
#[inline]
fn relax(rest: &mut [Step], lengths: Range<usize>, by_length: &[u32], fixed: u32, value: u32) {
    let targets = &mut rest[lengths.start - 1..lengths.end - 1];
    let costs = &by_length[lengths.start - MIN_MATCH..lengths.end - MIN_MATCH];
    for ((target, cost), len) in targets.iter_mut().zip(costs).zip(lengths) {
        *target = (*target).min(step(fixed.wrapping_add(*cost), len, value));
    }
}
