//! LZNT1 ([MS-XCA] 2.5), the compression of NTFS's compressed attributes.

use crate::{Error, copy_match};

/// Decompressed bytes of a chunk.
const CHUNK: usize = 4096;

/// Decodes one compression unit into `out`; what the input does not fill is zeroed. Returns the bytes up to the end of the
/// last chunk. Each chunk but the last stands for 4,096 bytes; a shorter one is followed by zeros.
pub fn decompress(input: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let (mut at, mut done, mut end) = (0, 0, 0);
    while done < out.len() {
        let Some(header) = input.get(at..at + 2) else { break };
        let header = u16::from_le_bytes([header[0], header[1]]);
        if header == 0 {
            break;
        }
        if header >> 12 & 7 != 3 {
            return Err(Error { offset: at, what: "a chunk header without its signature" });
        }
        let len = usize::from(header & 0xfff) + 1;
        let data =
            input.get(at + 2..at + 2 + len).ok_or(Error { offset: at, what: "a chunk reaches beyond the input" })?;
        let target_len = CHUNK.min(out.len() - done);
        let target = &mut out[done..done + target_len];
        let produced = if header & 0x8000 != 0 {
            chunk(data, target).map_err(|e| Error { offset: at + 2 + e.offset, ..e })?
        } else {
            let n = len.min(target_len);
            target[..n].copy_from_slice(&data[..n]);
            n
        };
        target[produced..].fill(0);
        end = done + produced;
        done += target_len;
        at += 2 + len;
    }
    out[end..].fill(0);
    Ok(end)
}

/// Decodes the data of one compressed chunk.
fn chunk(data: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let (mut at, mut done) = (0, 0);
    while at < data.len() {
        let flags = data[at];
        at += 1;
        for bit in 0..8 {
            if at >= data.len() || done >= out.len() {
                break;
            }
            if flags >> bit & 1 == 0 {
                out[done] = data[at];
                at += 1;
                done += 1;
                continue;
            }
            let bad = |what| Error { offset: at, what };
            let pair = data.get(at..at + 2).ok_or(bad("a match is cut"))?;
            let word = usize::from(u16::from_le_bytes([pair[0], pair[1]]));
            // The further the chunk has come, the more bits the distance takes from the length.
            let mut length_bits = 12;
            let mut reach = done.checked_sub(1).ok_or(bad("a match before the first byte"))?;
            while reach >= 0x10 {
                reach >>= 1;
                length_bits -= 1;
            }
            let len = ((word & ((1 << length_bits) - 1)) + 3).min(out.len() - done);
            done =
                copy_match(out, done, (word >> length_bits) + 1, len).ok_or(bad("a match reaches before the chunk"))?;
            at += 2;
        }
        if done >= out.len() {
            break;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of [MS-XCA] 3.3.
    #[test]
    fn example_of_the_specification() {
        let input = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01, 0xa0, 0x45,
            0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24, 0x13, 0x88, 0x05, 0xb4,
            0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48, 0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00,
            0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let mut out = [0xff; 300];
        let n = decompress(&input, &mut out).unwrap();
        let expected = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        assert_eq!(String::from_utf8_lossy(&out[..n]), String::from_utf8_lossy(expected));
        assert!(out[n..].iter().all(|b| *b == 0));
    }

    #[test]
    fn stored_chunks_and_damage() {
        let stored = [&[0x02, 0x30][..], b"abc"].concat();
        let mut out = [9; 5000];
        assert_eq!(decompress(&stored, &mut out), Ok(3));
        assert_eq!(out[..4], *b"abc\0");
        for bad in [&[0x02u8, 0x70, 0, 0, 0][..], &[0xff, 0xbf, 0], &[0x02, 0xb0, 0x01, 0x00, 0x00]] {
            assert!(decompress(bad, &mut out).is_err(), "{bad:02x?}");
        }
        assert_eq!(decompress(&[], &mut out), Ok(0));
    }
}
