//! LZX in its WIM variant: chunks of 32 KiB (WOF) or up to 2 MiB (WIM), always with x86 call translation.

mod calls;
mod compress;
mod costs;
mod header;
mod parse;

pub use compress::Compressor;

use crate::bits::Bits;
use crate::huffman::Code;
use crate::{Error, copy_match};

const LENGTH_SYMBOLS: usize = 249;
/// Match lengths: the shortest, and the longest.
const MIN_MATCH: usize = 2;
const MAX_MATCH: usize = 257;
/// Lengths (less the shortest) from here on need a symbol of the length code.
const LONG: usize = 7;
const DEFAULT_BLOCK: usize = 32_768;

/// Code lengths that the next block's are told relative to.
struct Lengths {
    main: Vec<u8>,
    length: [u8; LENGTH_SYMBOLS],
}

/// The codes of one block.
struct Codes {
    main: Code,
    length: Code,
    aligned: Option<Code>,
}

/// Slots of match offsets by window size (powers of two from 15 to 21).
fn offset_slots(order: u32) -> Option<usize> {
    [30, 32, 34, 36, 38, 42, 50].get(order.checked_sub(15)? as usize).copied()
}

/// First offset of a slot (in the formatted form, which is the offset plus two) and its extra bits.
fn slot(slot: usize) -> (u32, u32) {
    let bits = |s: usize| if s < 4 { 0 } else { (s as u32 / 2 - 1).min(17) };
    let base = if slot < 38 {
        match slot {
            0..4 => slot as u32,
            _ => (2 + (slot as u32 & 1)) << bits(slot),
        }
    } else {
        // From here on every slot spans 2^17.
        (slot as u32 - 34) << 17
    };
    (base, bits(slot))
}

/// Decodes one chunk so that it fills `out` exactly; `window` is the window size in bytes, a power of two from 32 KiB to
/// 2 MiB. A chunk that is as long as its content is stored as it is, which is the container's to know.
pub fn decompress(input: &[u8], out: &mut [u8], window: usize) -> Result<(), Error> {
    let order = window.trailing_zeros();
    let slots = offset_slots(order).filter(|_| window.is_power_of_two() && out.len() <= window);
    let slots = slots.ok_or(Error { offset: 0, what: "a window that LZX does not have" })?;
    let mut bits = Bits::new(input, 0);
    let mut lengths = Lengths { main: vec![0; 256 + 8 * slots], length: [0; LENGTH_SYMBOLS] };
    let mut recent = [1u32; 3];
    let mut done = 0;
    while done < out.len() {
        let kind = bits.take(3);
        let size = block_size(&mut bits, order);
        if size == 0 || size > out.len() - done {
            return Err(bits.error("a block of no length or beyond the chunk"));
        }
        let end = done + size;
        match kind {
            1 | 2 => {
                let codes = read_codes(&mut bits, kind == 2, &mut lengths)?;
                done = compressed(&mut bits, &codes, &mut recent, out, done, end)?;
            }
            3 => done = uncompressed(&mut bits, &mut recent, out, done, end)?,
            _ => return Err(bits.error("an unknown block type")),
        }
    }
    calls::restore(out);
    Ok(())
}

fn block_size(bits: &mut Bits<'_>, order: u32) -> usize {
    if bits.take(1) == 1 {
        return DEFAULT_BLOCK;
    }
    bits.take(if order >= 16 { 24 } else { 16 }) as usize
}

fn read_codes(bits: &mut Bits<'_>, aligned: bool, lengths: &mut Lengths) -> Result<Codes, Error> {
    let bad = |bits: &Bits<'_>| bits.error("code lengths that make no code");
    let aligned = if aligned {
        let mut list = [0; 8];
        list.iter_mut().for_each(|len| *len = bits.take(3) as u8);
        Some(Code::new(&list).ok_or_else(|| bad(bits))?)
    } else {
        None
    };
    let (literals, matches) = lengths.main.split_at_mut(256);
    read_lengths(bits, literals)?;
    read_lengths(bits, matches)?;
    let main = Code::new(&lengths.main).ok_or_else(|| bad(bits))?;
    read_lengths(bits, &mut lengths.length)?;
    let length = Code::new(&lengths.length).ok_or_else(|| bad(bits))?;
    Ok(Codes { main, length, aligned })
}

/// Lengths are told as differences to the last block's, modulo 17, with runs, in a code of their own.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), Error> {
    let mut list = [0; 20];
    list.iter_mut().for_each(|len| *len = bits.take(4) as u8);
    let code = Code::new(&list).ok_or_else(|| bits.error("a code for code lengths that is none"))?;
    let differ = |old: u8, symbol: usize| ((17 + usize::from(old) - symbol) % 17) as u8;
    let mut at = 0;
    while at < lengths.len() {
        let symbol = code.decode(bits)?;
        let (run, value) = match symbol {
            17 => (4 + bits.take(4) as usize, 0),
            18 => (20 + bits.take(5) as usize, 0),
            19 => {
                let run = 4 + bits.take(1) as usize;
                let symbol = code.decode(bits)?;
                if symbol > 16 {
                    return Err(bits.error("a run of a run"));
                }
                (run, differ(lengths[at], symbol))
            }
            _ => (1, differ(lengths[at], symbol)),
        };
        let end = (at + run).min(lengths.len());
        lengths[at..end].fill(value);
        at = end;
        if bits.overrun() {
            return Err(bits.error("the input ends within code lengths"));
        }
    }
    Ok(())
}

fn compressed(
    bits: &mut Bits<'_>,
    codes: &Codes,
    recent: &mut [u32; 3],
    out: &mut [u8],
    start: usize,
    end: usize,
) -> Result<usize, Error> {
    let mut done = start;
    while done < end {
        let symbol = codes.main.decode(bits)?;
        if symbol < 256 {
            out[done] = symbol as u8;
            done += 1;
        } else {
            let (header, number) = ((symbol - 256) & 7, (symbol - 256) >> 3);
            let len = 2 + if header == 7 { 7 + codes.length.decode(bits)? } else { header };
            let offset = match_offset(bits, codes, recent, number)?;
            if len > end - done {
                return Err(bits.error("a match leaves its block"));
            }
            done = copy_match(out, done, offset as usize, len)
                .ok_or_else(|| bits.error("a match reaches before the chunk"))?;
        }
        if bits.overrun() {
            return Err(bits.error("the input ends early"));
        }
    }
    Ok(done)
}

/// Slots 0 to 2 repeat one of the last three offsets, which moves to the front.
fn match_offset(bits: &mut Bits<'_>, codes: &Codes, recent: &mut [u32; 3], number: usize) -> Result<u32, Error> {
    if number < 3 {
        recent.swap(0, number);
        return Ok(recent[0]);
    }
    let (base, extra) = slot(number);
    let footer = match &codes.aligned {
        Some(aligned) if extra >= 3 => (bits.take(extra - 3) << 3) + aligned.decode(bits)? as u32,
        _ => bits.take(extra),
    };
    *recent = [base + footer - 2, recent[0], recent[1]];
    Ok(recent[0])
}

fn uncompressed(
    bits: &mut Bits<'_>,
    recent: &mut [u32; 3],
    out: &mut [u8],
    start: usize,
    end: usize,
) -> Result<usize, Error> {
    bits.align();
    for offset in recent.iter_mut() {
        let raw = bits.bytes(4)?;
        *offset = u32::from_le_bytes([raw[0], raw[1], raw[2], raw[3]]);
        if *offset == 0 {
            return Err(bits.error("a recent offset of zero"));
        }
    }
    out[start..end].copy_from_slice(bits.bytes(end - start)?);
    if (end - start) % 2 == 1 && bits.offset() % 2 == 1 {
        bits.bytes(1)?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_format() {
        let bases: Vec<u32> = (0..12).map(|s| slot(s).0).collect();
        assert_eq!(bases, [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48]);
        assert_eq!(
            (slot(36), slot(37), slot(38), slot(49)),
            ((0x40000, 17), (0x60000, 17), (0x80000, 17), (0x1e0000, 17))
        );
        for s in 3..49 {
            let ((base, bits), (next, _)) = (slot(s), slot(s + 1));
            assert_eq!(base + (1 << bits), next, "slot {s}");
        }
    }
}
