//! The bytes of a journal. All numbers are little-endian.
//!
//! ```text
//! header   0 "RSLJRNL\1"   8 flags u32    12 marks u32   16 length before u64   24 length after u64
//! marks    u64 each, ascending: byte offset in the image of the 8 bytes that are marked
//! record   0 offset u64    8 length u32   12 kind u32    16 a digest of 8 bytes for each sector before … [after] [before]
//! trailer  0 "RSLJEND\1"   8 witness (SHA-256)           40 SHA-256 of all that precedes it
//! ```

use super::SECTOR;
use reseal_dtyp::{Error, Kind, Result, View};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::sync::LazyLock;

pub(super) const HEADER: u64 = 32;
pub(super) const RECORD: u64 = 16;
pub(super) const TRAILER: u64 = 72;
/// The longest record, in bytes of the image.
pub(super) const MAX_RECORD: u64 = 1 << 20;
/// Stated limit: one per partition that was written.
pub(super) const MAX_MARKS: u64 = 128;
/// Bytes at the start and at the end of the image that tell it from another one.
pub(super) const WITNESS: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"RSLJRNL\x01";
const END: &[u8; 8] = b"RSLJEND\x01";

/// Flag: records hold what stood there before, too.
const HAS_BEFORE: u32 = 1;

/// The fixed part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) has_before: bool,
    pub(super) marks: Vec<u64>,
    pub(super) len_before: u64,
    pub(super) len_after: u64,
}

impl Header {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(if self.has_before { HAS_BEFORE } else { 0 }.to_le_bytes());
        out.extend((self.marks.len() as u32).to_le_bytes());
        out.extend(self.len_before.to_le_bytes());
        out.extend(self.len_after.to_le_bytes());
        out.extend(self.marks.iter().flat_map(|m| m.to_le_bytes()));
        out
    }

    /// Reads header and marks; `len` is the length of the file.
    pub(super) fn read(len: u64, mut read: impl FnMut(u64, &mut [u8]) -> Result<()>) -> Result<Header> {
        if len < HEADER + TRAILER {
            return Err(bad("header", 0, format!("{len} bytes, a journal has at least {}", HEADER + TRAILER)));
        }
        let mut bytes = [0; HEADER as usize];
        read(0, &mut bytes)?;
        if bytes[..8] != *MAGIC {
            return Err(bad("header", 0, "it does not begin as a journal of this version does"));
        }
        let view = View::new("journal header", 0, &bytes);
        let flags = view.u32(8, "flags")?;
        let count = u64::from(view.u32(12, "marks")?);
        let (len_before, len_after) = (view.u64(16, "length before")?, view.u64(24, "length after")?);
        if flags & !HAS_BEFORE != 0 || count > MAX_MARKS || len_after < len_before || HEADER + 8 * count + TRAILER > len
        {
            let detail = format!("flags {flags:#x}, {count} marks, lengths {len_before} and {len_after}");
            return Err(bad("header", 0, detail));
        }
        let mut marks = vec![0; 8 * count as usize];
        read(HEADER, &mut marks)?;
        let marks: Vec<u64> =
            marks.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap_or_default())).collect();
        let good = marks.iter().all(|m| m % SECTOR <= SECTOR - 8 && *m < len_before) && marks.is_sorted();
        if !good {
            return Err(bad("marks", HEADER, format!("{marks:x?} in an image of {len_before} bytes")));
        }
        Ok(Header { has_before: flags & HAS_BEFORE != 0, marks, len_before, len_after })
    }

    /// Where the records begin in the file.
    pub(super) fn start(&self) -> u64 {
        HEADER + 8 * self.marks.len() as u64
    }
}

/// One range of the image, to be written. Offset and length are multiples of a sector, but for the end of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) offset: u64,
    /// The first 8 bytes of the SHA-256 of each sector as it was.
    pub(super) digests: Vec<[u8; 8]>,
    pub(super) after: Vec<u8>,
    pub(super) before: Option<Vec<u8>>,
}

impl Record {
    /// Puts it behind what `out` holds. Zeros take no room.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let is_zero = self.after.iter().all(|b| *b == 0);
        out.extend(self.offset.to_le_bytes());
        out.extend((self.after.len() as u32).to_le_bytes());
        out.extend(u32::from(is_zero).to_le_bytes());
        out.extend(self.digests.iter().flatten());
        if !is_zero {
            out.extend(&self.after);
        }
        out.extend(self.before.iter().flatten());
    }
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct RecordView<'a> {
    /// The first 8 bytes of the SHA-256 of each sector as it was.
    pub(super) digests: &'a [[u8; 8]],
    pub(super) after: Cow<'a, [u8]>,
    pub(super) before: Option<&'a [u8]>,
}

/// What the first 16 bytes of a record say.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordHead {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) is_zero: bool,
    /// Bytes of the record behind its head.
    pub(super) body: u64,
}

/// Reads the head of a record that lies at `at` in the journal.
pub(super) fn record_head(bytes: &[u8], at: u64, header: &Header) -> Result<RecordHead> {
    let view = View::new("journal record", at, bytes);
    let (offset, len, kind) = (view.u64(0, "offset")?, u64::from(view.u32(8, "length")?), view.u32(12, "kind")?);
    let inside = offset
        .checked_add(len)
        .is_some_and(|end| end <= header.len_after && (len.is_multiple_of(SECTOR) || end == header.len_after));
    if len == 0 || len > MAX_RECORD || kind > 1 || !inside || !offset.is_multiple_of(SECTOR) {
        let detail = format!("{len} bytes at {offset:#x} of kind {kind}, the image has {}", header.len_after);
        return Err(bad("record", at, detail));
    }
    let data = if kind == 1 { 0 } else { len };
    let before = if header.has_before { len } else { 0 };
    Ok(RecordHead { offset, len, is_zero: kind == 1, body: 8 * len.div_ceil(SECTOR) + data + before })
}

/// Digest of a sector of zeros: most of what is written was free before.
static OF_ZEROS: LazyLock<[u8; 8]> = LazyLock::new(|| hashed(&[0; SECTOR as usize]));

/// The first 8 bytes of the SHA-256 of a sector.
pub(super) fn digest(sector: &[u8]) -> [u8; 8] {
    if *sector == [0; SECTOR as usize] { *OF_ZEROS } else { hashed(sector) }
}

fn hashed(sector: &[u8]) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&Sha256::digest(sector)[..8]);
    out
}

/// The trailer; `hash` was fed all that precedes it.
pub(super) fn trailer(witness: [u8; 32], mut hash: Sha256) -> [u8; TRAILER as usize] {
    let mut out = [0; TRAILER as usize];
    out[..8].copy_from_slice(END);
    out[8..40].copy_from_slice(&witness);
    hash.update(&out[..40]);
    out[40..].copy_from_slice(&hash.finalize());
    out
}

pub(super) fn bad(structure: &'static str, at: u64, detail: impl Into<String>) -> Error {
    Error::new(Kind::Damaged, detail).at(structure, "", at).within("the journal is damaged")
}
