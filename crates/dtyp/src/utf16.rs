//! UTF-16 as Windows stores it: little-endian code units, lone surrogates allowed.

/// The code units of little-endian bytes; an odd last byte is dropped.
pub fn from_utf16le(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Little-endian bytes of a text, without a terminator.
pub fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Text for people: lone surrogates become U+FFFD.
pub fn utf16_lossy(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}
