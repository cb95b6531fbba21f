//! Names of keys and values: one byte or two per character on disk, compared without case.

use crate::upcase::upcase;
use std::cmp::Ordering;

/// A stored name: Latin-1 when compressed, UTF-16LE otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) compressed: bool,
}

impl<'a> Name<'a> {
    /// Code units; an odd last byte of an uncompressed name is dropped.
    pub(crate) fn units(self) -> impl Iterator<Item = u16> + 'a {
        let step = if self.compressed { 1 } else { 2 };
        self.bytes.chunks_exact(step).map(|c| match c {
            [low, high] => u16::from_le_bytes([*low, *high]),
            _ => u16::from(c[0]),
        })
    }

    /// Length in UTF-16 bytes, the unit of the largest-name fields.
    pub(crate) fn utf16_len(self) -> usize {
        if self.compressed { self.bytes.len() * 2 } else { self.bytes.len() }
    }

    /// What an element of an `lf` list holds: the first four characters as bytes, or zero when one of them needs two.
    pub(crate) fn hint(self) -> u32 {
        hint(self.units())
    }

    /// What an element of an `lh` list holds.
    pub(crate) fn hash(self) -> u32 {
        hash(self.units())
    }
}

/// The `lf` hint of a name, case preserved.
pub(crate) fn hint(units: impl Iterator<Item = u16>) -> u32 {
    let mut out = [0; 4];
    for (byte, unit) in out.iter_mut().zip(units) {
        match u8::try_from(unit) {
            Ok(b) => *byte = b,
            Err(_) => return 0,
        }
    }
    u32::from_le_bytes(out)
}

/// The `lh` hash of a name: h = 37 h + upper-case unit.
pub(crate) fn hash(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0, |h: u32, unit| h.wrapping_mul(37).wrapping_add(u32::from(upcase(unit))))
}

/// Windows' order of subkeys: upper-case code units, a prefix first.
pub(crate) fn compare(a: impl Iterator<Item = u16>, b: impl Iterator<Item = u16>) -> Ordering {
    a.map(upcase).cmp(b.map(upcase))
}

/// A name as Windows compares it: two names of one folded form are one name.
pub fn fold_name(name: &[u16]) -> Vec<u16> {
    name.iter().map(|&unit| upcase(unit)).collect()
}

/// The stored form of a name and whether it is compressed. An empty name counts as not compressed.
pub(crate) fn encode(units: &[u16]) -> (Vec<u8>, bool) {
    if !units.is_empty() && units.iter().all(|&u| u <= 0xff) {
        (units.iter().map(|&u| u as u8).collect(), true)
    } else {
        (units.iter().flat_map(|u| u.to_le_bytes()).collect(), false)
    }
}

/// Code units of a text.
pub(crate) fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_hints() {
        for (name, expected) in
            [("ControlSet001", 0x8f3b_a9a2), ("Select", 0x5f00_24a0), ("S-1-5-21-1-2-3-1001", 0x1119_d913)]
        {
            assert_eq!(hash(name.encode_utf16()), expected, "{name}");
            assert_eq!(hash(name.to_uppercase().encode_utf16()), expected, "{name}");
        }
        assert_eq!(hint("Abc".encode_utf16()), u32::from_le_bytes(*b"Abc\0"));
        assert_eq!(hint("keyЖ".encode_utf16()), 0);
        assert_eq!(hint("keysЖ".encode_utf16()), u32::from_le_bytes(*b"keys"));
    }

    #[test]
    fn order_and_encoding() {
        let cmp = |a: &str, b: &str| compare(a.encode_utf16(), b.encode_utf16());
        assert_eq!(cmp("abc", "ABC"), Ordering::Equal);
        assert_eq!(cmp("a_", "ab"), Ordering::Greater);
        assert_eq!(cmp("ab", "abc"), Ordering::Less);
        assert_eq!(encode(&units("é")), (vec![0xe9], true));
        assert_eq!(encode(&units("Ж")), (vec![0x16, 0x04], false));
        assert_eq!(encode(&[]), (vec![], false));
        let stored = Name { bytes: &[0xe9, 0x41], compressed: true };
        assert_eq!(stored.units().collect::<Vec<_>>(), [0xe9, 0x41]);
        assert_eq!(stored.utf16_len(), 4);
    }
}
