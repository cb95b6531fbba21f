//! The parent locator, [MS-VHDX] 2.6.2.6: how a differencing disk names its parent.

use super::format::*;
use super::header::guid_at;
use crate::formats::chain::Wanted;
use crate::io::{ReadAt, WriteAt};
use reseal_dtyp::{Error, Guid, Kind, Result, View, from_utf16le, utf16_lossy, utf16le};

/// The longest locator: five paths of Windows are far shorter.
const MAX_LEN: u64 = 1 << 20;

/// A parent locator and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Locator {
    /// Keys and values in the order of the file.
    pairs: Vec<(String, String)>,
    /// Byte offset in the file and length of the item.
    item: (u64, u64),
    /// Byte offset in the file of the item's entry in the metadata table.
    entry: u64,
}

pub(super) const LINKAGE: &str = "parent_linkage";
pub(super) const RELATIVE_PATH: &str = "relative_path";

impl Locator {
    /// Reads the item at a byte offset of the file; `entry` is the place of its entry in the metadata table.
    pub(super) fn read(file: &dyn ReadAt, offset: u64, len: u64, entry: u64) -> Result<Locator> {
        if len > MAX_LEN {
            let detail = format!("a parent locator of {len:#x} bytes");
            return Err(Error::damaged("VHDX metadata item", "Length", offset, detail));
        }
        let mut bytes = vec![0; len as usize];
        file.read_at(offset, &mut bytes)?;
        let view = View::new("VHDX parent locator", offset, &bytes);
        let ty = guid_at(&view, 0, "LocatorType")?;
        if ty != VHDX_LOCATOR {
            return Err(Error::unsupported(format!("the parent is named by a locator of type {ty}; a VHDX is needed")));
        }
        let text = |at: usize, len: usize, field| -> Result<String> {
            Ok(utf16_lossy(&from_utf16le(view.bytes(at, len, field)?)))
        };
        let mut pairs = Vec::new();
        for i in 0..usize::from(view.u16(18, "KeyValueCount")?) {
            let at = 20 + 12 * i;
            let (key, value) = (view.u32(at, "KeyOffset")? as usize, view.u32(at + 4, "ValueOffset")? as usize);
            let (key_len, value_len) = (view.u16(at + 8, "KeyLength")?, view.u16(at + 10, "ValueLength")?);
            let pair = (text(key, usize::from(key_len), "Key")?, text(value, usize::from(value_len), "Value")?);
            pairs.push(pair);
        }
        Ok(Locator { pairs, item: (offset, len), entry })
    }

    fn value(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// What it says. `Damaged` without the id of the parent.
    pub(super) fn wanted(&self, sector_size: u32) -> Result<Wanted> {
        let id = |key: &str| self.value(key).and_then(Guid::parse).filter(|id| *id != Guid::NIL);
        let ids: Vec<Guid> = [LINKAGE, "parent_linkage2"].into_iter().filter_map(id).collect();
        if ids.is_empty() {
            return Err(Error::damaged("VHDX parent locator", LINKAGE, self.item.0, "the id of the parent is missing"));
        }
        let keys = [RELATIVE_PATH, "absolute_win32_path", "volume_path"];
        let names = keys.into_iter().filter_map(|key| self.value(key).map(str::to_owned)).collect();
        Ok(Wanted { ids, names, sector_size })
    }

    /// The bytes of an item.
    pub(super) fn to_bytes(pairs: &[(String, String)]) -> Result<Vec<u8>> {
        let mut out = VHDX_LOCATOR.0.to_vec();
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&(pairs.len() as u16).to_le_bytes());
        let mut strings = Vec::new();
        let start = 20 + 12 * pairs.len();
        for (key, value) in pairs {
            let (key, value) = (utf16le(key), utf16le(value));
            let long = |_| Error::new(Kind::Limit, "a path of more than 32767 characters");
            let (key_len, value_len) =
                (u16::try_from(key.len()).map_err(long)?, u16::try_from(value.len()).map_err(long)?);
            let at = (start + strings.len()) as u32;
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&(at + u32::from(key_len)).to_le_bytes());
            out.extend_from_slice(&key_len.to_le_bytes());
            out.extend_from_slice(&value_len.to_le_bytes());
            strings.extend_from_slice(&key);
            strings.extend_from_slice(&value);
        }
        out.extend_from_slice(&strings);
        Ok(out)
    }

    /// Names the parent by another relative path, in place or, where that has no room, behind the last item of the metadata
    /// region (byte offset and length in the file), of which `used` bytes are in use. Paths that do not depend on where the
    /// child lies stay. Whether something had to change.
    pub(super) fn move_to(&self, file: &dyn WriteAt, path: &str, region: (u64, u64), used: u64) -> Result<bool> {
        if self.value(RELATIVE_PATH) == Some(path) {
            return Ok(false);
        }
        let mut pairs = self.pairs.clone();
        match pairs.iter_mut().find(|(key, _)| key == RELATIVE_PATH) {
            Some((_, value)) => path.clone_into(value),
            None => pairs.push((RELATIVE_PATH.to_owned(), path.to_owned())),
        }
        let bytes = Locator::to_bytes(&pairs)?;
        let len = bytes.len() as u64;
        let offset = if len <= self.item.1 { self.item.0 - region.0 } else { used.next_multiple_of(8) };
        if offset + len > region.1 {
            let detail = format!("no room for a parent locator of {len} bytes in the metadata region");
            return Err(Error::new(Kind::NoSpace, detail));
        }
        file.write_at(self.item.0, &vec![0; self.item.1 as usize])?;
        file.write_at(region.0 + offset, &bytes)?;
        // Both are below the region's length, which has 32 bits.
        let place = [(offset as u32).to_le_bytes(), (len as u32).to_le_bytes()].concat();
        file.write_at(self.entry + 16, &place)?;
        Ok(true)
    }
}
