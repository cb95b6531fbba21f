//! Targets of x86 calls (opcode E8): relative in code, absolute in what is compressed, so that calls of one target look alike
//! ([MS-PATCH] 2.8; a WIM has it in every chunk, with positions from the chunk's start and one file size for all).

/// The file size that the translation assumes in a WIM.
const FILE_SIZE: i32 = 12_000_000;
/// The last bytes of a chunk are left alone.
const TAIL: usize = 10;

/// Undoes the translation in a decoded chunk.
pub(super) fn restore(data: &mut [u8]) {
    each_call(data, |absolute, position| {
        if absolute >= 0 {
            (absolute < FILE_SIZE).then(|| absolute - position)
        } else {
            (absolute >= -position).then(|| absolute.wrapping_add(FILE_SIZE))
        }
    });
}

/// Makes the targets absolute.
pub(super) fn translate(data: &mut [u8]) {
    each_call(data, |relative, position| {
        let is_within = relative >= -position && relative < FILE_SIZE;
        is_within.then(|| if relative < FILE_SIZE - position { relative + position } else { relative - FILE_SIZE })
    });
}

/// Replaces what follows each E8 by what `change` makes of it and of its position, if it makes anything.
fn each_call(data: &mut [u8], change: impl Fn(i32, i32) -> Option<i32>) {
    let last = data.len().saturating_sub(TAIL);
    let mut at = 0;
    while let Some(skipped) = data.get(at..last).and_then(|rest| memchr::memchr(0xe8, rest)) {
        at += skipped;
        let field = &mut data[at + 1..at + 5];
        if let Some(target) = change(i32::from_le_bytes([field[0], field[1], field[2], field[3]]), at as i32) {
            field.copy_from_slice(&target.to_le_bytes());
        }
        at += 5;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_call_is_made_absolute() {
        let mut data = [0x90; 20];
        data[3..8].copy_from_slice(&[0xe8, 2, 1, 0, 0]);
        translate(&mut data);
        assert_eq!(data[3..8], [0xe8, 5, 1, 0, 0]);
        let mut short = [0xe8; 10];
        translate(&mut short);
        assert_eq!(short, [0xe8; 10], "the last ten bytes stay");
    }

    proptest! {
        #[test]
        fn what_was_translated_is_restored(
            parts in prop::collection::vec(
                prop_oneof![
                    Just(vec![0xe8]),
                    prop::collection::vec(any::<u8>(), 0..6),
                    (-FILE_SIZE - 99..FILE_SIZE + 99).prop_map(|n| n.to_le_bytes().to_vec()),
                    (-99i32..99).prop_map(|n| n.to_le_bytes().to_vec()),
                ],
                0..80,
            )
        ) {
            let data = parts.concat();
            let mut changed = data.clone();
            translate(&mut changed);
            restore(&mut changed);
            prop_assert_eq!(changed, data);
        }
    }
}
