//! How a differencing VHD names its parent.

use super::footer::*;
use crate::formats::chain::Wanted;
use crate::io::{ReadAt, WriteAt};
use reseal_dtyp::{Error, Guid, Kind, Result, from_utf16le, utf16_lossy, utf16le};

/// Eight entries of 24 bytes at this place in the header.
const ENTRIES: std::ops::Range<usize> = 576..576 + 8 * 24;
/// A path relative to the child, and an absolute one, in UTF-16LE.
const RELATIVE: &[u8; 4] = b"W2ru";
const ABSOLUTE: &[u8; 4] = b"W2ku";
/// The longest path of Windows in bytes.
const MAX_PATH: u64 = 65_536;

/// One way to the parent.
#[derive(Debug, Clone)]
struct Entry {
    /// Byte offset in the header.
    at: usize,
    code: [u8; 4],
    /// Byte offset in the file, room and length in bytes.
    place: (u64, u64, u64),
    path: String,
}

/// All ways to the parent.
#[derive(Debug, Clone)]
pub(super) struct Locator {
    entries: Vec<Entry>,
    /// The parent's name in the header.
    name: String,
    id: Guid,
    /// When the parent was written last, in seconds since 2000, as the child says; Windows writes 0.
    pub(super) time: u32,
}

impl Locator {
    /// Reads what the header says; paths end before byte `end` of the file.
    pub(super) fn read(file: &dyn ReadAt, header: &Header, end: u64) -> Result<Locator> {
        let bytes = &header.bytes;
        let name: Vec<u16> = bytes[64..576].chunks_exact(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect();
        let name = utf16_lossy(name.split(|unit| *unit == 0).next().unwrap_or_default());
        let mut entries = Vec::new();
        for at in ENTRIES.step_by(24) {
            let (code, len) =
                ([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]], u64::from(u32_at(bytes, at + 8)));
            let (space, offset) = (u64::from(u32_at(bytes, at + 4)), u64_at(bytes, at + 16));
            if len == 0 || (&code != RELATIVE && &code != ABSOLUTE) {
                continue;
            }
            if len > MAX_PATH || offset.checked_add(len).is_none_or(|last| last > end) {
                let detail = format!("a path of {len:#x} bytes at {offset:#x} of {end:#x}");
                return Err(Error::damaged(
                    "VHD parent locator",
                    "Platform Data Length",
                    header.at + at as u64,
                    detail,
                ));
            }
            // The specification counts the room in sectors, Windows writes bytes.
            let room = if space < len { space.saturating_mul(SECTOR) } else { space };
            let mut raw = vec![0; len as usize];
            file.read_at(offset, &mut raw)?;
            let path = utf16_lossy(&from_utf16le(&raw));
            entries.push(Entry { at, code, place: (offset, room, len), path: path.trim_end_matches('\0').to_owned() });
        }
        Ok(Locator { entries, name, id: guid_at(bytes, 40), time: u32_at(bytes, 56) })
    }

    /// What it says. `Damaged` without an id.
    pub(super) fn wanted(&self, header: &Header) -> Result<Wanted> {
        if self.id == Guid::NIL {
            return Err(Error::damaged(
                "VHD header",
                "Parent Unique ID",
                header.at + 40,
                "the id of the parent is missing",
            ));
        }
        let with = |code| self.entries.iter().filter(move |e| e.code == code).map(|e| e.path.clone());
        let names = with(*RELATIVE).chain(with(*ABSOLUTE)).chain((!self.name.is_empty()).then(|| self.name.clone()));
        Ok(Wanted { ids: vec![self.id], names: names.collect(), sector_size: SECTOR as u32 })
    }

    /// Byte offset and length of each path in the file.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.iter().map(|e| (e.place.0, e.place.2))
    }

    /// A path has no more room than up to the next of the parts of the file, (byte offset, length).
    pub(super) fn limit_room(&mut self, parts: &[(u64, u64)]) {
        for entry in &mut self.entries {
            let (offset, room, len) = entry.place;
            let next = parts.iter().map(|(start, _)| *start).filter(|start| *start > offset).min();
            entry.place.1 = room.min(next.map_or(len, |next| next - offset)).max(len);
        }
    }

    /// Names the parent by another relative path, where the old one stands. Whether something had to change. `NoSpace` when the
    /// path is too long, or there is none that could be replaced.
    pub(super) fn move_to(&self, file: &dyn WriteAt, header: &Header, path: &str) -> Result<bool> {
        let no_room = |what: &str| {
            let detail = format!("{what}; write the disk into the folder of the original, or convert it to VHDX");
            Err(Error::new(Kind::NoSpace, detail))
        };
        let Some(entry) = self.entries.iter().find(|e| &e.code == RELATIVE) else {
            return no_room("the differencing VHD names its parent by no relative path");
        };
        if entry.path == path {
            return Ok(false);
        }
        let bytes = utf16le(path);
        let (offset, there, len) = entry.place;
        if bytes.len() as u64 > there {
            return no_room(&format!("no room for `{path}` in the {there} bytes that the differencing VHD has for it"));
        }
        let mut data = vec![0; (len as usize).max(bytes.len())];
        data[..bytes.len()].copy_from_slice(&bytes);
        file.write_at(offset, &data)?;
        let mut new = header.bytes.clone();
        new[entry.at + 8..entry.at + 12].copy_from_slice(&(bytes.len() as u32).to_be_bytes());
        seal(&mut new, HEADER_SUM);
        file.write_at(header.at, &new)?;
        Ok(true)
    }
}
