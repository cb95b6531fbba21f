//! Block headers: kind, size, and the lengths of the codes as differences to the last block's, with runs, in a code of their own.

use super::{DEFAULT_BLOCK, LENGTH_SYMBOLS};
use crate::lengths::{Lengths, codes};
use crate::writer::Writer;

/// The most symbols that the main code has: with a window of 2 MiB.
pub(super) const MAIN_SYMBOLS: usize = 256 + 8 * 50;
const MAX_BITS: u8 = 16;
const MAX_ALIGNED_BITS: u8 = 7;
/// The code for code lengths.
const PRE_SYMBOLS: usize = 20;
const MAX_PRE_BITS: u8 = 15;

/// A code: its lengths and the codes themselves.
#[derive(Clone)]
pub(super) struct Code<const N: usize> {
    pub(super) lengths: [u8; N],
    codes: [u16; N],
}

impl<const N: usize> Code<N> {
    pub(super) const fn new() -> Code<N> {
        Code { lengths: [0; N], codes: [0; N] }
    }

    fn make(&mut self, counts: &[u32; N], limit: u8, lengths: &mut Lengths) {
        lengths.make(counts, limit, &mut self.lengths);
        codes(&self.lengths, &mut self.codes);
    }

    #[inline]
    pub(super) fn put(&self, symbol: usize, to: &mut Writer) {
        to.put(u32::from(self.codes[symbol]), u32::from(self.lengths[symbol]));
    }
}

/// How often each symbol occurs.
#[derive(Clone)]
pub(super) struct Counts {
    pub(super) main: [u32; MAIN_SYMBOLS],
    pub(super) length: [u32; LENGTH_SYMBOLS],
    /// The low three bits of offsets that have at least three extra bits.
    pub(super) aligned: [u32; 8],
}

impl Counts {
    pub(super) const NONE: Counts = Counts { main: [0; MAIN_SYMBOLS], length: [0; LENGTH_SYMBOLS], aligned: [0; 8] };

    pub(super) fn add(&mut self, other: &Counts) {
        self.main.iter_mut().zip(&other.main).for_each(|(sum, n)| *sum += n);
        self.length.iter_mut().zip(&other.length).for_each(|(sum, n)| *sum += n);
        self.aligned.iter_mut().zip(&other.aligned).for_each(|(sum, n)| *sum += n);
    }
}

/// The codes of one block.
pub(super) struct Codes {
    pub(super) main: Code<MAIN_SYMBOLS>,
    pub(super) length: Code<LENGTH_SYMBOLS>,
    aligned: Code<8>,
    /// Whether the code for the low three bits is used.
    is_aligned: bool,
}

impl Codes {
    pub(super) const fn new() -> Codes {
        Codes { main: Code::new(), length: Code::new(), aligned: Code::new(), is_aligned: false }
    }

    /// The best codes for these counts.
    pub(super) fn make(&mut self, counts: &Counts, lengths: &mut Lengths) {
        self.main.make(&counts.main, MAX_BITS, lengths);
        self.length.make(&counts.length, MAX_BITS, lengths);
        self.aligned.make(&counts.aligned, MAX_ALIGNED_BITS, lengths);
        let with = counts.aligned.iter().zip(&self.aligned.lengths).map(|(n, bits)| n * u32::from(*bits)).sum::<u32>();
        // The code itself takes three bits for each symbol.
        self.is_aligned = with + 24 < 3 * counts.aligned.iter().sum::<u32>();
    }

    /// The extra bits of an offset.
    #[inline]
    pub(super) fn put_extra(&self, extra: u32, bits: u32, to: &mut Writer) {
        if self.is_aligned && bits >= 3 {
            to.put(extra >> 3, bits - 3);
            self.aligned.put(extra as usize & 7, to);
        } else {
            to.put(extra, bits);
        }
    }

    /// The header of a block of so many bytes, in a window of `1 << order` whose main code has `main_symbols`; `last` are the
    /// codes of the block before.
    pub(super) fn put_header(&self, last: &Codes, size: usize, shape: Shape, lengths: &mut Lengths, to: &mut Writer) {
        to.put(if self.is_aligned { 2 } else { 1 }, 3);
        if size == DEFAULT_BLOCK {
            to.put(1, 1);
        } else {
            to.put(0, 1);
            to.put(size as u32, if shape.order >= 16 { 24 } else { 16 });
        }
        if self.is_aligned {
            self.aligned.lengths.iter().for_each(|len| to.put(u32::from(*len), 3));
        }
        let main = 256..shape.main_symbols;
        put_lengths(&self.main.lengths[..256], &last.main.lengths[..256], lengths, to);
        put_lengths(&self.main.lengths[main.clone()], &last.main.lengths[main], lengths, to);
        put_lengths(&self.length.lengths, &last.length.lengths, lengths, to);
    }
}

/// What the window decides.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Logarithm of the window's size.
    pub(super) order: u32,
    /// Symbols of the main code.
    pub(super) main_symbols: usize,
}

/// One symbol of the code for code lengths, with its extra bits; 19 is followed by a symbol that is told how often it stands.
struct Told {
    symbol: usize,
    extra: u32,
    extra_bits: u32,
}

fn put_lengths(list: &[u8], last: &[u8], lengths: &mut Lengths, to: &mut Writer) {
    let mut told = Vec::with_capacity(list.len());
    tell(list, last, &mut told);
    let mut counts = [0; PRE_SYMBOLS];
    told.iter().for_each(|t| counts[t.symbol] += 1);
    let mut code = Code::<PRE_SYMBOLS>::new();
    code.make(&counts, MAX_PRE_BITS, lengths);
    code.lengths.iter().for_each(|len| to.put(u32::from(*len), 4));
    for t in &told {
        code.put(t.symbol, to);
        to.put(t.extra, t.extra_bits);
    }
}

/// Lengths as symbols: 0 to 16 say how much shorter than before (modulo 17), 17 and 18 are runs of zeros, 19 a run of any length.
fn tell(list: &[u8], last: &[u8], told: &mut Vec<Told>) {
    let mut at = 0;
    while at < list.len() {
        let (len, rest) = (list[at], &list[at..]);
        let run = rest.iter().take_while(|other| **other == len).count();
        let differ = (usize::from(last[at]) + 17 - usize::from(len)) % 17;
        let plain = Told { symbol: differ, extra: 0, extra_bits: 0 };
        at += match (len, run) {
            (0, 20..) => {
                let run = run.min(51);
                told.push(Told { symbol: 18, extra: run as u32 - 20, extra_bits: 5 });
                run
            }
            (0, 4..) => {
                told.push(Told { symbol: 17, extra: run as u32 - 4, extra_bits: 4 });
                run
            }
            (_, 4..) => {
                let run = run.min(5);
                told.push(Told { symbol: 19, extra: run as u32 - 4, extra_bits: 1 });
                told.push(plain);
                run
            }
            _ => {
                told.push(plain);
                1
            }
        };
    }
}
