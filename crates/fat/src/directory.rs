//! Folders: 32-byte entries, long names in entries before the short one.

use reseal_dtyp::utf16_lossy;

/// Attributes.
const READ_ONLY_HIDDEN_SYSTEM_VOLUME: u8 = 0x0f;
const VOLUME_LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
/// A long name takes at most this many entries of 13 units.
const MOST_PARTS: usize = 20;

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its long name, or the short one where it has no other.
    pub name: Vec<u16>,
    /// The 8.3 name, with a dot.
    pub short_name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Size in bytes; 0 for a folder.
    pub size: u32,
    /// First cluster; 0 for an empty file.
    pub(crate) first: u32,
}

impl Entry {
    /// Whether this is its name, long or short; letters of ASCII match in both cases.
    pub fn is_named(&self, name: &str) -> bool {
        utf16_lossy(&self.name).eq_ignore_ascii_case(name) || self.short_name.eq_ignore_ascii_case(name)
    }
}

/// The sum over a short name that every part of its long name repeats.
fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Parts of a long name as they were read: the last one comes first.
#[derive(Debug, Default)]
struct Parts {
    units: Vec<[u16; 13]>,
    /// Number of the part that must come next; 0 when the name is whole.
    awaited: u8,
    sum: u8,
}

impl Parts {
    fn add(&mut self, raw: &[u8; 32]) {
        const LAST: u8 = 0x40;
        let number = raw[0] & 0x3f;
        if raw[0] & LAST != 0 {
            *self = Parts { awaited: number, sum: raw[13], ..Parts::default() };
        }
        // A part that does not fit is an orphan, as a system without long names leaves it: the short name counts.
        if number == 0 || number != self.awaited || raw[13] != self.sum || self.units.len() >= MOST_PARTS {
            *self = Parts::default();
            return;
        }
        let fields = raw[1..11].chunks_exact(2).chain(raw[14..26].chunks_exact(2)).chain(raw[28..32].chunks_exact(2));
        let mut part = [0; 13];
        part.iter_mut().zip(fields).for_each(|(unit, field)| *unit = u16::from_le_bytes([field[0], field[1]]));
        self.units.push(part);
        self.awaited = number - 1;
    }

    /// The name, when it is whole and belongs to this short name.
    fn take(&mut self, short: &[u8; 11]) -> Option<Vec<u16>> {
        let parts = std::mem::take(self);
        if parts.units.is_empty() || parts.awaited != 0 || parts.sum != checksum(short) {
            return None;
        }
        let units = parts.units.iter().rev().flatten().copied();
        Some(units.take_while(|unit| *unit != 0).collect())
    }
}

/// The name of eight and three bytes; bytes beyond ASCII are of a code page that the volume does not state.
fn short_name(raw: &[u8; 11]) -> String {
    let part = |bytes: &[u8]| {
        let text: String = bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{fffd}' }).collect();
        text.trim_end_matches(' ').to_owned()
    };
    let mut raw = *raw;
    // 0xE5 marks what is deleted; a name that begins with it is written so.
    if raw[0] == 5 {
        raw[0] = 0xe5;
    }
    let (name, extension) = (part(&raw[..8]), part(&raw[8..]));
    if extension.is_empty() { name } else { format!("{name}.{extension}") }
}

/// The entries of a folder's bytes, without labels, `.` and `..`. `wide` tells whether first clusters have an upper half
/// (FAT32).
pub(crate) fn parse(bytes: &[u8], wide: bool) -> Vec<Entry> {
    let (mut out, mut parts) = (Vec::new(), Parts::default());
    for raw in bytes.chunks_exact(32) {
        let raw: &[u8; 32] = raw.try_into().expect("a chunk of 32 bytes");
        let (first_byte, attributes) = (raw[0], raw[11]);
        if first_byte == 0 {
            break;
        }
        if first_byte == 0xe5 {
            parts = Parts::default();
            continue;
        }
        if attributes & 0x3f == READ_ONLY_HIDDEN_SYSTEM_VOLUME {
            parts.add(raw);
            continue;
        }
        let short: &[u8; 11] = raw[..11].try_into().expect("eleven of 32 bytes");
        let long = parts.take(short);
        if attributes & VOLUME_LABEL != 0 || first_byte == b'.' {
            continue;
        }
        let field = |at: usize| u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
        let is_folder = attributes & FOLDER != 0;
        let size = u32::from_le_bytes([raw[28], raw[29], raw[30], raw[31]]);
        let short_name = short_name(short);
        out.push(Entry {
            name: long.unwrap_or_else(|| short_name.encode_utf16().collect()),
            short_name,
            is_folder,
            size: if is_folder { 0 } else { size },
            first: field(26) | if wide { field(20) << 16 } else { 0 },
        });
    }
    out
}
