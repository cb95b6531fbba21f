//! Canonical Huffman codes of up to 16 bits: a table for short codes, canonical search for long ones.

use crate::Error;
use crate::bits::Bits;

const MAX_BITS: usize = 16;
/// Codes of at most so many bits are in the table.
const MAX_TABLE_BITS: usize = 11;

/// A code ready for decoding.
#[derive(Default)]
pub(crate) struct Code {
    /// By the next `table_bits` bits: symbol << 4 | length; 0 where the code is longer.
    table: Vec<u16>,
    /// As many as the longest code has, where the table takes that.
    table_bits: u32,
    /// For each length: the first code behind that length's codes, left-aligned to 16 bits.
    limits: [u32; MAX_BITS + 1],
    /// For each length: what to add to a code to get its index in `sorted`.
    bases: [i32; MAX_BITS + 1],
    /// Symbols by length, then value.
    sorted: Vec<u16>,
}

impl Code {
    /// Builds the code of the given lengths (0 to 16 bits; at most 4,096 symbols). `None` when they do not make a complete
    /// code. A code without any symbol is legal until it is used.
    pub(crate) fn new(lengths: &[u8]) -> Option<Code> {
        let mut out = Code::default();
        out.set(lengths).then_some(out)
    }

    /// The same, in place of what was there. `false` when the lengths do not make a complete code; what is there then is none.
    pub(crate) fn set(&mut self, lengths: &[u8]) -> bool {
        let mut counts = [0u32; MAX_BITS + 1];
        for &len in lengths {
            let Some(count) = counts.get_mut(usize::from(len)) else { return false };
            *count += 1;
        }
        counts[0] = 0;
        let (mut code, mut index) = (0u32, 0u32);
        // Where in `sorted` the symbols of each length start.
        let mut starts = [0; MAX_BITS + 1];
        for len in 1..=MAX_BITS {
            code <<= 1;
            starts[len] = index as usize;
            self.bases[len] = index as i32 - code as i32;
            code += counts[len];
            index += counts[len];
            if code > 1 << len {
                return false;
            }
            self.limits[len] = code << (MAX_BITS - len);
        }
        if code != 1 << MAX_BITS && index > 0 {
            return false;
        }
        self.sorted.clear();
        self.sorted.resize(index as usize, 0);
        for (symbol, &len) in (0..).zip(lengths) {
            if len > 0 {
                self.sorted[starts[usize::from(len)]] = symbol;
                starts[usize::from(len)] += 1;
            }
        }
        let longest = counts.iter().rposition(|count| *count > 0).unwrap_or(1);
        self.table_bits = longest.min(MAX_TABLE_BITS) as u32;
        self.fill_table(lengths);
        true
    }

    fn fill_table(&mut self, lengths: &[u8]) {
        let size = 1 << self.table_bits;
        self.table.clear();
        for &symbol in &self.sorted {
            let len = u32::from(lengths[usize::from(symbol)]);
            if len > self.table_bits {
                break;
            }
            self.table.resize(self.table.len() + (1 << (self.table_bits - len)), symbol << 4 | len as u16);
        }
        self.table.resize(size, 0);
    }

    /// Decodes one symbol.
    #[inline(always)]
    pub(crate) fn decode<const B: bool>(&self, bits: &mut Bits<'_, B>) -> Result<usize, Error> {
        bits.fill(MAX_BITS as u32);
        let entry = self.table[bits.peek(self.table_bits)];
        if entry & 15 != 0 {
            bits.drop(u32::from(entry & 15));
            return Ok(usize::from(entry >> 4));
        }
        self.decode_long(bits)
    }

    #[cold]
    fn decode_long<const B: bool>(&self, bits: &mut Bits<'_, B>) -> Result<usize, Error> {
        let next = bits.peek(MAX_BITS as u32) as u32;
        for len in self.table_bits as usize + 1..=MAX_BITS {
            if next < self.limits[len] {
                bits.drop(len as u32);
                let index = (next >> (MAX_BITS - len)) as i32 + self.bases[len];
                return self
                    .sorted
                    .get(index as usize)
                    .map(|s| usize::from(*s))
                    .ok_or_else(|| bits.error("a code that no symbol has"));
            }
        }
        Err(bits.error("a symbol of an empty code"))
    }
}
