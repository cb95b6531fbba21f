//! XPRESS with Huffman coding ([MS-XCA] 2.2), in chunks as WOF and WIM store it.

mod compress;

pub use compress::Compressor;

use crate::bits::Bits;
use crate::huffman::Code;
use crate::{Error, copy_match};

/// Code lengths of 512 symbols, four bits each.
const LENGTHS: usize = 256;
/// One Huffman table serves at most this much output.
const MAX_CHUNK: usize = 65_536;

/// Decodes one chunk so that it fills `out` (at most 65,536 bytes) exactly. A chunk that is as long as its content is stored
/// as it is, which is the container's to know.
pub fn decompress(input: &[u8], out: &mut [u8]) -> Result<(), Error> {
    if out.len() > MAX_CHUNK {
        return Err(Error { offset: 0, what: "a chunk above 65,536 bytes" });
    }
    let packed = input.get(..LENGTHS).ok_or(Error { offset: input.len(), what: "the table of code lengths is cut" })?;
    let mut lengths = [0; 2 * LENGTHS];
    for (pair, byte) in lengths.chunks_exact_mut(2).zip(packed) {
        pair[0] = byte & 15;
        pair[1] = byte >> 4;
    }
    let code = Code::new(&lengths).ok_or(Error { offset: 0, what: "the code lengths make no code" })?;
    let mut bits = Bits::new(input, LENGTHS);
    let mut done = 0;
    while done < out.len() {
        let symbol = code.decode(&mut bits)?;
        if bits.overrun() {
            return Err(bits.error("the input ends early"));
        }
        if symbol < 256 {
            out[done] = symbol as u8;
            done += 1;
            continue;
        }
        let (mut len, distance_bits) = (symbol & 15, (symbol >> 4 & 15) as u32);
        if len == 15 {
            len = long_length(&mut bits)?;
        }
        let distance = bits.take(distance_bits) as usize + (1 << distance_bits);
        done = copy_match(out, done, distance, len + 3).ok_or_else(|| bits.error("a match leaves the chunk"))?;
    }
    Ok(())
}

/// A length that its symbol could not say, in bytes between the units.
fn long_length(bits: &mut Bits<'_>) -> Result<usize, Error> {
    bits.give_back();
    let first = usize::from(bits.byte()?);
    if first < 255 {
        return Ok(first + 15);
    }
    let word = usize::from(bits.byte()?) | usize::from(bits.byte()?) << 8;
    let len =
        if word != 0 { word } else { (0..4).try_fold(0, |acc, i| Ok(acc | usize::from(bits.byte()?) << (8 * i)))? };
    if len < 15 { Err(bits.error("a long length below 15")) } else { Ok(len) }
}
