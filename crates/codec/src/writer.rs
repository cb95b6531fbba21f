//! Bits to 16-bit little-endian units, most significant bit first: the other side of `bits`.

/// A bit writer.
#[derive(Default)]
pub(crate) struct Writer {
    /// Whole units.
    pub(crate) units: Vec<u16>,
    bits: u64,
    count: u32,
}

impl Writer {
    pub(crate) fn clear(&mut self) {
        self.units.clear();
        self.bits = 0;
        self.count = 0;
    }

    /// Writes the low `n` (0 to 32) bits of a value that has no others.
    #[inline]
    pub(crate) fn put(&mut self, value: u32, n: u32) {
        self.bits = self.bits << n | u64::from(value);
        self.count += n;
        while self.count >= 16 {
            self.count -= 16;
            self.units.push((self.bits >> self.count) as u16);
        }
    }

    /// Fills the last unit with zeros.
    pub(crate) fn finish(&mut self) {
        if self.count > 0 {
            self.put(0, 16 - self.count);
        }
    }

    /// Bytes that whole units take.
    pub(crate) fn len(&self) -> usize {
        2 * self.units.len()
    }
}
