//! Data that uses every part of the formats.

/// A generator of numbers that look random: the same in every run.
pub(crate) fn random(mut state: u32) -> impl FnMut() -> u8 {
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    }
}

/// By name: content of `len` bytes each.
pub(crate) fn samples(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let mut random = random(1);
    let words = [&b"alpha "[..], b"beta ", b"gamma-delta "];
    let text: Vec<u8> =
        std::iter::repeat_with(|| words[usize::from(random() % 3)]).take(len).flatten().copied().collect();
    let mut noise = vec![0; len];
    noise.iter_mut().for_each(|b| *b = random());
    // Calls of one target from many places, near, far and backwards, with other opcodes that hold addresses.
    let mut code = Vec::with_capacity(len + 16);
    while code.len() < len {
        let at = code.len() as i32;
        match random() % 6 {
            0 | 1 => code.push(0xe8),
            2 => code.extend([0xff, 0x15]),
            3 => code.extend([0x48, 0x8d, 0x05]),
            4 => code.extend([0xe9]),
            _ => code.extend([random(), 0x90, random() % 4]),
        }
        let target = [4096, 70_000, 11_999_990, -5][usize::from(random() % 4)];
        code.extend((target - at).to_le_bytes());
        code.extend(&b"\x48\x89\xc3\x85\xc0\x74"[..usize::from(random() % 6)]);
    }
    let runs = (0..=255u8).flat_map(|i| vec![i; 1 + 37 * usize::from(i)]).collect::<Vec<_>>().repeat(3);
    let squares = (0..len as u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
    // Half noise, half a copy of it, so that matches lie as far back as they can.
    let mut far = noise[..len / 2].to_vec();
    far.extend_from_within(..);
    let mut skewed: Vec<u8> = Vec::new();
    while skewed.len() < len {
        // Symbols as rare as one in 2^16, in a code that has to be cut.
        skewed.push((u16::from_le_bytes([random(), random()]).leading_zeros()) as u8 * 3);
    }
    let all = [
        ("zeros", vec![0; len]),
        ("ones", vec![0xe8; len]),
        ("text", text),
        ("noise", noise),
        ("code", code),
        ("runs", runs),
        ("squares", squares),
        ("far", far),
        ("skewed", skewed),
    ];
    all.into_iter()
        .map(|(name, mut data)| {
            data.truncate(len);
            (name, data)
        })
        .collect()
}
