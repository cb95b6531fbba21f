//! Bits from 16-bit little-endian units, most significant bit first, as XPRESS and LZX store them; LZMS does so from the end of
//! the input backwards.

use crate::Error;

/// A bit reader. Behind the end of the input it reads zero bits and remembers that: the last unit of a stream may be cut.
pub(crate) struct Bits<'a, const BACKWARD: bool = false> {
    input: &'a [u8],
    /// Offset of the next unit, from the end when it goes backward.
    at: usize,
    buffer: u64,
    /// Valid bits at the top of `buffer`.
    count: u32,
    /// Bits taken beyond the end.
    beyond: u32,
}

impl<'a, const BACKWARD: bool> Bits<'a, BACKWARD> {
    pub(crate) fn new(input: &'a [u8], at: usize) -> Bits<'a, BACKWARD> {
        Bits { input, at, buffer: 0, count: 0, beyond: 0 }
    }

    /// Offset of the next unit that was not fetched.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn error(&self, what: &'static str) -> Error {
        let at = self.at.min(self.input.len());
        Error { offset: if BACKWARD { self.input.len() - at } else { at }, what }
    }

    /// The next four units, the first one on top.
    #[inline(always)]
    fn four_units(&self) -> Option<u64> {
        let from = if BACKWARD { self.input.len().checked_sub(self.at.checked_add(8)?)? } else { self.at };
        let units = u64::from_le_bytes(*self.input.get(from..)?.first_chunk()?);
        if BACKWARD {
            return Some(units);
        }
        let halves = units.rotate_left(32);
        Some((halves & 0xffff_0000_ffff_0000) >> 16 | (halves & 0x0000_ffff_0000_ffff) << 16)
    }

    fn unit(&self) -> Option<u16> {
        let from = if BACKWARD { self.input.len().checked_sub(self.at + 2)? } else { self.at };
        self.input.get(from..from + 2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// Makes at least `n` (up to 32) bits available.
    #[inline(always)]
    pub(crate) fn fill(&mut self, n: u32) {
        if self.count < n {
            match self.four_units() {
                Some(units) => {
                    // What does not make a whole unit is fetched again later, and is the same then.
                    self.buffer |= units >> self.count;
                    let whole = (64 - self.count) / 16;
                    self.at += 2 * whole as usize;
                    self.count += 16 * whole;
                }
                None => self.fill_at_the_end(n),
            }
        }
    }

    #[cold]
    fn fill_at_the_end(&mut self, n: u32) {
        while self.count < n {
            let unit = self.unit().unwrap_or_else(|| {
                self.beyond += 16;
                0
            });
            self.at += 2;
            self.buffer |= u64::from(unit) << (48 - self.count);
            self.count += 16;
        }
    }

    /// The next `n` bits (1 to 16) without taking them.
    #[inline]
    pub(crate) fn peek(&self, n: u32) -> usize {
        (self.buffer >> (64 - n)) as usize
    }

    #[inline]
    pub(crate) fn drop(&mut self, n: u32) {
        self.buffer <<= n;
        self.count -= n;
    }

    /// Takes `n` bits (0 to 32).
    #[inline(always)]
    pub(crate) fn take(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        self.fill(n);
        let value = (self.buffer >> (64 - n)) as u32;
        self.drop(n);
        value
    }

    /// Whether more bits were used than there are, by more than two units.
    #[inline]
    pub(crate) fn overrun(&self) -> bool {
        self.beyond > self.count + 32
    }
}

impl<'a> Bits<'a> {
    /// Gives back what was fetched beyond the unit behind the current one: a writer of bytes between the units has come that far
    /// ([MS-XCA] 2.2.4: two units at the start, another one as soon as fewer than 16 bits are left).
    pub(crate) fn give_back(&mut self) {
        self.fill(16);
        let units = self.count / 16 - 1;
        self.at -= 2 * units as usize;
        self.count -= 16 * units;
        self.beyond = self.beyond.saturating_sub(16 * units);
        self.buffer &= !(u64::MAX >> self.count);
    }

    /// A byte of the stream that stands between the units.
    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let byte = self.input.get(self.at).copied().ok_or_else(|| self.error("the input ends within a length"))?;
        self.at += 1;
        Ok(byte)
    }

    /// Drops what is left of the current unit; a whole unit when none was begun ([MS-PATCH] LZX uncompressed blocks).
    pub(crate) fn align(&mut self) {
        self.fill(1);
        let rest = self.count % 16;
        self.drop(if rest == 0 { 16 } else { rest });
        // Whole units that were fetched ahead are given back.
        self.at -= (self.count / 16) as usize * 2;
        self.beyond = self.beyond.saturating_sub(self.count);
        self.buffer = 0;
        self.count = 0;
    }

    /// Bytes between blocks; the reader is aligned.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let range = self.at.checked_add(len).and_then(|end| self.input.get(self.at..end));
        let bytes = range.ok_or_else(|| self.error("the input ends within an uncompressed block"))?;
        self.at += len;
        Ok(bytes)
    }
}
