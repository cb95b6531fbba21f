//! Relative addresses in x86 code, which were made absolute so that calls of one target look alike.

/// Bytes at the end that are left alone.
const TAIL: usize = 16;
/// An address is translated when one before it, this near, had a target that was seen before.
const MAX_DISTANCE: i32 = 1023;
/// A target counts as seen before when that was within so many bytes.
const WINDOW: i32 = 65_535;

/// Undoes the translation in a decoded chunk.
pub(super) fn restore(data: &mut [u8]) {
    if data.len() <= TAIL + 1 {
        return;
    }
    // By the low 16 bits of a target: where it was last used.
    // Positions stay below 1 GiB.
    let mut last_uses = vec![-WINDOW - 1; 1 << 16];
    let mut last_code = -MAX_DISTANCE - 1;
    // No instruction is looked for at the first byte: found on chunks of wimlib that begin with one.
    let (mut at, end) = (1, data.len() - TAIL);
    while let Some(skipped) = data.get(at..end).and_then(|rest| rest.iter().position(|b| STARTS[usize::from(*b)])) {
        at += skipped;
        let (opcode, max_distance) = match instruction(&data[at..]) {
            Instruction::Other => {
                at += 1;
                continue;
            }
            Instruction::Jump => {
                at += 5;
                continue;
            }
            Instruction::Call => (1, MAX_DISTANCE / 2),
            Instruction::Relative(opcode) => (opcode, MAX_DISTANCE),
        };
        let field = at + opcode;
        if at as i32 - last_code <= max_distance {
            let address = u32::from_le_bytes([data[field], data[field + 1], data[field + 2], data[field + 3]]);
            data[field..field + 4].copy_from_slice(&address.wrapping_sub(at as u32).to_le_bytes());
        }
        let target = (at as u16).wrapping_add(u16::from_le_bytes([data[field], data[field + 1]]));
        at = field + 3;
        let last_use = &mut last_uses[usize::from(target)];
        if at as i32 - *last_use <= WINDOW {
            last_code = at as i32;
        }
        *last_use = at as i32;
        at += 1;
    }
}

/// The bytes that one of the instructions starts with.
static STARTS: [bool; 256] = {
    let mut out = [false; 256];
    let list = [0xe8, 0xe9, 0x48, 0x4c, 0xf0, 0xff];
    let mut i = 0;
    while i < list.len() {
        out[list[i]] = true;
        i += 1;
    }
    out
};

enum Instruction {
    Other,
    /// `jmp`: its five bytes are passed over.
    Jump,
    /// `call`, with its address behind the first byte.
    Call,
    /// Another one with a relative address, which stands behind so many bytes.
    Relative(usize),
}

/// The instruction at the start of at least [`TAIL`] bytes, if it is one of those with a relative address.
fn instruction(code: &[u8]) -> Instruction {
    match code {
        [0xe9, ..] => Instruction::Jump,
        [0xe8, ..] => Instruction::Call,
        // mov rax|rcx, [rip + n]
        [0x48, 0x8b, 0x05 | 0x0d, ..] => Instruction::Relative(3),
        // lea r, [rip + n]
        [0x48 | 0x4c, 0x8d, modrm, ..] if modrm & 7 == 5 => Instruction::Relative(3),
        // lock add dword [rip + n], i
        [0xf0, 0x83, 0x05, ..] => Instruction::Relative(3),
        // call [rip + n]
        [0xff, 0x15, ..] => Instruction::Relative(2),
        _ => Instruction::Other,
    }
}
