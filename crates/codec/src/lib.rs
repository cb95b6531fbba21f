//! Decoders for LZNT1, XPRESS and LZX: bytes in, bytes out.
#![forbid(unsafe_code)]

/// Why a compressed buffer was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compressed data is damaged at input byte {offset:#x}: {what}")]
pub struct Error {
    /// Offset in the compressed input at which decoding stopped, in bytes.
    pub offset: usize,
    /// What contradicts the format.
    pub what: &'static str,
}

/// LZNT1 ([MS-XCA] 2.5), the compression of NTFS's compressed attributes.
pub mod lznt1 {
    /// Decodes one compression unit into `out`; what the input does not fill is zeroed. Returns the bytes produced.
    pub fn decompress(_input: &[u8], _out: &mut [u8]) -> Result<usize, crate::Error> {
        Err(crate::Error { offset: 0, what: "not built yet" })
    }
}

/// XPRESS with Huffman coding ([MS-XCA] 2.2), in chunks as WOF and WIM store it.
pub mod xpress {
    /// Decodes one chunk so that it fills `out` exactly.
    pub fn decompress(_input: &[u8], _out: &mut [u8]) -> Result<(), crate::Error> {
        Err(crate::Error { offset: 0, what: "not built yet" })
    }
}

/// LZX in its WIM variant (32 KiB windows for WOF, up to 2 MiB in a WIM).
pub mod lzx {
    /// Decodes one chunk so that it fills `out` exactly; `window` is the window size in bytes, a power of two.
    pub fn decompress(_input: &[u8], _out: &mut [u8], _window: usize) -> Result<(), crate::Error> {
        Err(crate::Error { offset: 0, what: "not built yet" })
    }
}
