//! Decisions of one bit: a range decoder over 16-bit units from the front, with a probability for each state.

/// A probability is a number of 64ths.
const PROBABILITY_BITS: u32 = 6;

/// The last 64 decisions in one state: how probable a zero is.
#[derive(Clone, Copy)]
struct History {
    zeros: u32,
    bits: u64,
}

impl History {
    /// Three quarters zeros, spread evenly.
    const NEW: History = History { zeros: 48, bits: 0x5555_5555 };

    /// Never certain.
    fn probability(&self) -> u32 {
        self.zeros.clamp(1, (1 << PROBABILITY_BITS) - 1)
    }

    fn add(&mut self, bit: bool) {
        self.zeros += (self.bits >> 63) as u32;
        self.zeros -= u32::from(bit);
        self.bits = self.bits << 1 | u64::from(bit);
    }
}

/// One kind of decision; its state is what its last answers were, so many that there are `STATES` of them.
pub(super) struct Decision<const STATES: usize> {
    state: usize,
    histories: [History; STATES],
}

impl<const STATES: usize> Decision<STATES> {
    pub(super) fn new() -> Decision<STATES> {
        Decision { state: 0, histories: [History::NEW; STATES] }
    }

    #[inline(always)]
    pub(super) fn take(&mut self, from: &mut Decisions<'_>) -> bool {
        let history = &mut self.histories[self.state];
        let bit = from.bit(history.probability());
        history.add(bit);
        self.state = (self.state << 1 | usize::from(bit)) % STATES;
        bit
    }
}

/// The range decoder.
pub(super) struct Decisions<'a> {
    input: &'a [u8],
    at: usize,
    range: u32,
    code: u32,
    beyond: u32,
}

impl<'a> Decisions<'a> {
    pub(super) fn new(input: &'a [u8]) -> Decisions<'a> {
        let mut out = Decisions { input, at: 0, range: u32::MAX, code: 0, beyond: 0 };
        out.code = out.unit() << 16;
        out.code |= out.unit();
        out
    }

    fn unit(&mut self) -> u32 {
        let unit = self.input.get(self.at..self.at + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        self.at += 2;
        self.beyond += u32::from(unit.is_none());
        u32::from(unit.unwrap_or(0))
    }

    #[inline]
    fn bit(&mut self, probability: u32) -> bool {
        if self.range >> 16 == 0 {
            self.range <<= 16;
            self.code = self.code << 16 | self.unit();
        }
        let bound = (self.range >> PROBABILITY_BITS) * probability;
        let bit = self.code >= bound;
        if bit {
            self.range -= bound;
            self.code -= bound;
        } else {
            self.range = bound;
        }
        bit
    }

    /// Whether units were used that do not exist.
    pub(super) fn overrun(&self) -> bool {
        self.beyond > 0
    }
}
