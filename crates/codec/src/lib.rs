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

/// Copies `len` bytes from `distance` bytes back; the ranges may overlap, as repetition does. `None` when it does not fit.
fn copy_match(out: &mut [u8], at: usize, distance: usize, len: usize) -> Option<usize> {
    let end = at.checked_add(len).filter(|&end| end <= out.len())?;
    let from = at.checked_sub(distance).filter(|_| distance > 0)?;
    if distance >= len {
        out.copy_within(from..from + len, at);
    } else {
        for i in at..end {
            out[i] = out[i - distance];
        }
    }
    Some(end)
}
