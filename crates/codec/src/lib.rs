//! The compression that Windows uses in NTFS, WOF and WIM: bytes in, bytes out. Decoders for all of it, compressors for what a WIM
//! holds.
//!
//! Every decoder fills a buffer whose length the caller knows from its container; no input can make it allocate, read or
//! write more. Damaged input is an [`Error`] with the offset at which decoding stopped.
#![forbid(unsafe_code)]

mod bits;
mod huffman;
mod lengths;
pub mod lzms;
pub mod lznt1;
pub mod lzx;
mod matcher;
mod writer;
pub mod xpress;

/// Why a compressed buffer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compressed data is damaged at input byte {offset:#x}: {what}")]
pub struct Error {
    /// Offset in the compressed input at which decoding stopped, in bytes.
    pub offset: usize,
    /// What contradicts the format.
    pub what: &'static str,
}

/// Copies `len` bytes from `distance` bytes back; the ranges may overlap, as repetition does. `None` when it does not fit. Up to 15
/// bytes behind them may change: a decoder has yet to write those.
#[inline]
fn copy_match(out: &mut [u8], at: usize, distance: usize, len: usize) -> Option<usize> {
    /// Bytes that are copied at a time.
    const STEP: usize = 16;
    let end = at.checked_add(len).filter(|&end| end <= out.len())?;
    let from = at.checked_sub(distance).filter(|_| distance > 0)?;
    if distance >= STEP && out.len() - end >= STEP {
        let window = &mut out[from..end + STEP - 1];
        let mut done = 0;
        while done < len {
            let Some(step) = window.get(done..).and_then(|rest| rest.first_chunk::<STEP>().copied()) else { break };
            let Some(target) = window.get_mut(distance + done..).and_then(|rest| rest.first_chunk_mut::<STEP>()) else {
                break;
            };
            *target = step;
            done += STEP;
        }
        return Some(end);
    }
    copy_near(out, at, distance, len);
    Some(end)
}

/// A copy from fewer than 16 bytes back, or close to the end; the caller has checked the ranges.
fn copy_near(out: &mut [u8], at: usize, distance: usize, len: usize) {
    if distance >= len {
        out.copy_within(at - distance..at - distance + len, at);
    } else if distance == 1 {
        let byte = out[at - 1];
        out[at..at + len].fill(byte);
    } else {
        // Each round doubles what is repeated.
        let window = &mut out[at - distance..at + len];
        let mut known = distance;
        while known < window.len() {
            let n = known.min(window.len() - known);
            window.copy_within(..n, known);
            known += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::copy_match;

    #[test]
    fn copies_repeat_what_they_write() {
        for len in 0..70 {
            for distance in 1..40 {
                for room in [0, 1, 15, 16, 40] {
                    let mut out: Vec<u8> = (0..40 + len as u8 + room).collect();
                    let mut expected = out.clone();
                    (40..40 + len).for_each(|i| expected[i] = expected[i - distance]);
                    assert_eq!(copy_match(&mut out, 40, distance, len), Some(40 + len));
                    assert_eq!(out[..40 + len], expected[..40 + len], "{len} from {distance}");
                }
            }
        }
        assert_eq!(copy_match(&mut [0; 9], 3, 4, 1), None, "before the start");
        assert_eq!(copy_match(&mut [0; 9], 3, 0, 1), None, "from nowhere");
        assert_eq!(copy_match(&mut [0; 9], 3, 1, 7), None, "beyond the end");
        assert_eq!(copy_match(&mut [0; 9], 3, 1, usize::MAX), None, "beyond every end");
    }
}
