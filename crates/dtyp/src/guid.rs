//! [MS-DTYP] 2.3.4 GUID.

use std::fmt;

/// A GUID in its packet form: the first three fields little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// All zero.
    pub const NIL: Guid = Guid([0; 16]);

    /// Parses `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, braces optional.
    pub fn parse(text: &str) -> Option<Guid> {
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        let bytes = text.as_bytes();
        if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|&i| bytes[i] != b'-') {
            return None;
        }
        let mut out = [0u8; 16];
        let mut digits = text.chars().filter(|c| *c != '-');
        for byte in &mut out {
            let (hi, lo) = (digits.next()?.to_digit(16)?, digits.next()?.to_digit(16)?);
            *byte = (hi * 16 + lo) as u8;
        }
        out[0..4].reverse();
        out[4..6].reverse();
        out[6..8].reverse();
        Some(Guid(out))
    }

    /// A version-4 (random) GUID made from 16 random bytes (RFC 9562 5.4).
    pub fn from_random(mut bytes: [u8; 16]) -> Guid {
        bytes[7] = (bytes[7] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Guid(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        write!(
            f,
            "{:02x}{:02x}{:02x}{:02x}-{:02x}{:02x}-{:02x}{:02x}-",
            b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6]
        )?;
        write!(f, "{:02x}{:02x}-", b[8], b[9])?;
        b[10..].iter().try_for_each(|x| write!(f, "{x:02x}"))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes() {
        let guid = Guid::parse("{2dc27766-f623-4200-9d64-115e9bfd4a08}").unwrap();
        assert_eq!(guid.0[..4], [0x66, 0x77, 0xc2, 0x2d]);
        assert_eq!(guid.to_string(), "2dc27766-f623-4200-9d64-115e9bfd4a08");
        assert_eq!(Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a0"), None);
        assert_eq!(Guid::parse("2dc27766-f623-4200-9d64-115e9bfd4a0é"), None);
    }
}
