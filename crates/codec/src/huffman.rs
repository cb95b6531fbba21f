//! Canonical Huffman codes of up to 16 bits: a table for short codes, canonical search for long ones.

use crate::Error;
use crate::bits::Bits;

const MAX_BITS: usize = 16;
const TABLE_BITS: u32 = 10;

/// A code ready for decoding.
pub(crate) struct Code {
    /// By the next ten bits: symbol << 4 | length; 0 where the code is longer.
    table: Vec<u16>,
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
        let mut counts = [0u32; MAX_BITS + 1];
        for &len in lengths {
            *counts.get_mut(usize::from(len))? += 1;
        }
        counts[0] = 0;
        let mut sorted: Vec<u16> = (0..lengths.len() as u16).filter(|&s| lengths[usize::from(s)] > 0).collect();
        sorted.sort_by_key(|&s| (lengths[usize::from(s)], s));
        let (mut limits, mut bases) = ([0; MAX_BITS + 1], [0; MAX_BITS + 1]);
        let (mut code, mut index) = (0u32, 0u32);
        for len in 1..=MAX_BITS {
            code <<= 1;
            bases[len] = index as i32 - code as i32;
            code += counts[len];
            index += counts[len];
            if code > 1 << len {
                return None;
            }
            limits[len] = code << (MAX_BITS - len);
        }
        if code != 1 << MAX_BITS && !sorted.is_empty() {
            return None;
        }
        let mut out = Code { table: vec![0; 1 << TABLE_BITS], limits, bases, sorted };
        out.fill_table(lengths);
        Some(out)
    }

    fn fill_table(&mut self, lengths: &[u8]) {
        let mut at = 0;
        for &symbol in &self.sorted {
            let len = u32::from(lengths[usize::from(symbol)]);
            if len > TABLE_BITS {
                break;
            }
            let n = 1 << (TABLE_BITS - len);
            self.table[at..at + n].fill(symbol << 4 | len as u16);
            at += n;
        }
    }

    /// Decodes one symbol.
    #[inline]
    pub(crate) fn decode<const B: bool>(&self, bits: &mut Bits<'_, B>) -> Result<usize, Error> {
        bits.fill(MAX_BITS as u32);
        let entry = self.table[bits.peek(TABLE_BITS)];
        if entry & 15 != 0 {
            bits.drop(u32::from(entry & 15));
            return Ok(usize::from(entry >> 4));
        }
        let next = bits.peek(MAX_BITS as u32) as u32;
        for len in TABLE_BITS as usize + 1..=MAX_BITS {
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
