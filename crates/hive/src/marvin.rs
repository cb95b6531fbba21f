//! Marvin32 with the seed that Windows uses for hive logs.

/// The seed as one little-endian number.
const SEED: u64 = 0x82ef_4d88_7a4e_55c5;

/// The hash of `bytes`, low half in the low dword.
pub(crate) fn marvin(bytes: &[u8]) -> u64 {
    let mut state = (SEED as u32, (SEED >> 32) as u32);
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        mix(&mut state, u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    }
    // The tail is closed with 0x80, as in other Merkle–Damgård hashes, then one empty round.
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    last[rest.len()] = 0x80;
    mix(&mut state, u32::from_le_bytes(last));
    mix(&mut state, 0);
    u64::from(state.1) << 32 | u64::from(state.0)
}

fn mix((low, high): &mut (u32, u32), word: u32) {
    *low = low.wrapping_add(word);
    *high ^= *low;
    *low = low.rotate_left(20).wrapping_add(*high);
    *high = high.rotate_left(9) ^ *low;
    *low = low.rotate_left(27).wrapping_add(*high);
    *high = high.rotate_left(19);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a real entry and the hash that Windows stored for it.
    #[test]
    fn known_entry() {
        let header = [
            0x48, 0x76, 0x4c, 0x45, 0x00, 0x3e, 0, 0, 1, 0, 0, 0, 0x3b, 0x08, 0, 0, 0, 0x30, 0xbd, 0, 3, 0, 0, 0, 0xc4,
            0x81, 0x2c, 0xbe, 0xa1, 0xb6, 0x70, 0x4b,
        ];
        assert_eq!(marvin(&header).to_le_bytes(), [0x0a, 0xf3, 0x48, 0xdf, 0xd7, 0xc5, 0x88, 0xdd]);
    }
}
