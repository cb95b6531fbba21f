//! Value cells (`vk`): name, type, data.

use crate::base_block::NIL;
use crate::image::{Image, dword, place, word};
use crate::key::{Key, nk};
use crate::name::{self, Name};
use reseal_dtyp::{Error, Result, from_utf16le, utf16_lossy};
use std::borrow::Cow;
use std::cmp::Ordering;

/// Field offsets in a value cell's content.
pub(crate) mod vk {
    pub(crate) const NAME_LEN: usize = 2;
    pub(crate) const DATA_LEN: usize = 4;
    pub(crate) const DATA: usize = 8;
    pub(crate) const TYPE: usize = 12;
    pub(crate) const FLAGS: usize = 16;
    pub(crate) const NAME: usize = 20;
    /// The name is Latin-1.
    pub(crate) const COMPRESSED: u16 = 1;
    /// In the data length: the data is in the data field, 4 bytes at most.
    pub(crate) const INLINE: u32 = 0x8000_0000;
}

/// Value types of the Windows SDK (`winnt.h`). Any other number is legal too.
pub mod types {
    /// No type.
    pub const NONE: u32 = 0;
    /// UTF-16 text.
    pub const SZ: u32 = 1;
    /// UTF-16 text with environment variables.
    pub const EXPAND_SZ: u32 = 2;
    /// Bytes.
    pub const BINARY: u32 = 3;
    /// A little-endian 32-bit number.
    pub const DWORD: u32 = 4;
    /// A big-endian 32-bit number.
    pub const DWORD_BIG_ENDIAN: u32 = 5;
    /// UTF-16 text: the target of a link.
    pub const LINK: u32 = 6;
    /// UTF-16 texts, each terminated.
    pub const MULTI_SZ: u32 = 7;
    /// A little-endian 64-bit number.
    pub const QWORD: u32 = 11;
}

/// A value as stored: nothing is interpreted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// Code units of the name; empty for the default value.
    pub name: Vec<u16>,
    /// Any 32-bit number; [`types`] names the usual ones.
    pub ty: u32,
    /// All bytes of the data.
    pub data: Vec<u8>,
}

impl Value {
    /// The name for people: lone surrogates become U+FFFD.
    pub fn name_lossy(&self) -> String {
        utf16_lossy(&self.name)
    }

    /// The text up to the first NUL, for SZ, EXPAND_SZ and LINK; `None` for other types.
    pub fn as_text(&self) -> Option<String> {
        let text = matches!(self.ty, types::SZ | types::EXPAND_SZ | types::LINK);
        let units = from_utf16le(&self.data);
        text.then(|| utf16_lossy(units.split(|&u| u == 0).next().unwrap_or(&[])))
    }

    /// The texts of a MULTI_SZ without its terminators. Empty texts in between count: Session Manager's list of pending
    /// renames has them.
    pub fn as_multi_text(&self) -> Option<Vec<String>> {
        let units = from_utf16le(&self.data);
        let mut texts: Vec<String> = units.split(|&u| u == 0).map(utf16_lossy).collect();
        while texts.last().is_some_and(String::is_empty) {
            texts.pop();
        }
        (self.ty == types::MULTI_SZ).then_some(texts)
    }

    /// A DWORD of either byte order, when the data has 4 bytes.
    pub fn as_u32(&self) -> Option<u32> {
        let bytes = <[u8; 4]>::try_from(&self.data[..]).ok()?;
        match self.ty {
            types::DWORD => Some(u32::from_le_bytes(bytes)),
            types::DWORD_BIG_ENDIAN => Some(u32::from_be_bytes(bytes)),
            _ => None,
        }
    }

    /// A QWORD, when the data has 8 bytes.
    pub fn as_u64(&self) -> Option<u64> {
        let bytes = <[u8; 8]>::try_from(&self.data[..]).ok()?;
        (self.ty == types::QWORD).then(|| u64::from_le_bytes(bytes))
    }
}

/// A checked value cell: long enough for its fields and its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueCell<'a> {
    pub(crate) at: u32,
    content: &'a [u8],
}

/// Where a value's data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In the value cell itself, or empty: how many bytes.
    Inline(usize),
    /// A cell and the length in it.
    Cell(u32, usize),
    /// A big data record and the length.
    Big(u32, usize),
}

impl<'a> ValueCell<'a> {
    pub(crate) fn ty(&self) -> u32 {
        dword(self.content, vk::TYPE)
    }

    pub(crate) fn flags(&self) -> u16 {
        word(self.content, vk::FLAGS)
    }

    pub(crate) fn name_len(&self) -> usize {
        usize::from(word(self.content, vk::NAME_LEN))
    }

    pub(crate) fn name(&self) -> Name<'a> {
        let bytes = self.content.get(vk::NAME..vk::NAME + self.name_len()).unwrap_or(&[]);
        Name { bytes, compressed: self.flags() & vk::COMPRESSED != 0 }
    }

    /// The data length and data fields as they are.
    pub(crate) fn raw_data(&self) -> (u32, u32) {
        (dword(self.content, vk::DATA_LEN), dword(self.content, vk::DATA))
    }
}

impl Image {
    /// The value cell at `at`.
    pub(crate) fn value_cell(&self, at: u32) -> Result<ValueCell<'_>> {
        let content = self.content(at, "vk")?;
        let bad = |field, detail: String| Err(Error::damaged("vk", field, place(at) + 4, detail));
        if !content.starts_with(b"vk") {
            return bad("signature", format!("is {:02x?}, not `vk`", &content[..content.len().min(2)]));
        }
        if content.len() < vk::NAME {
            return bad("", format!("the cell holds {} bytes, a value needs {}", content.len(), vk::NAME));
        }
        let value = ValueCell { at, content };
        if vk::NAME + value.name_len() > content.len() {
            return bad(
                "name",
                format!("{} bytes of name, the cell has {}", value.name_len(), content.len() - vk::NAME),
            );
        }
        Ok(value)
    }

    /// Where the data of a value lies; nothing of it is read yet.
    pub(crate) fn storage(&self, value: &ValueCell<'_>) -> Result<Storage> {
        let (len, at) = value.raw_data();
        if len & vk::INLINE != 0 {
            let len = (len & !vk::INLINE) as usize;
            if len > 4 {
                let detail = format!("{len} bytes are said to lie in the data field, which has 4");
                return Err(Error::damaged("vk", "data length", place(value.at) + 4, detail));
            }
            return Ok(Storage::Inline(len));
        }
        Ok(match len as usize {
            0 => Storage::Inline(0),
            len if self.is_big(len) => Storage::Big(at, len),
            len => Storage::Cell(at, len),
        })
    }

    /// The bytes of a value.
    pub(crate) fn data(&self, value: &ValueCell<'_>) -> Result<Cow<'_, [u8]>> {
        Ok(match self.storage(value)? {
            Storage::Inline(len) => Cow::Borrowed(self.view(value.at, "vk")?.bytes(vk::DATA, len, "data")?),
            Storage::Cell(at, len) => Cow::Borrowed(self.view(at, "value data")?.bytes(0, len, "data")?),
            Storage::Big(at, len) => Cow::Owned(self.read_big(at, len)?),
        })
    }

    /// Offsets of a key's value cells, in list order.
    pub(crate) fn value_offsets(&self, key: &Key<'_>) -> Result<Vec<u32>> {
        let count = key.values() as usize;
        if count == 0 {
            return Ok(Vec::new());
        }
        let list = self.view(key.value_list(), "value list")?;
        if count > list.len() / 4 || count > self.size as usize / vk::NAME {
            let detail = format!("the key claims {count} values, the cell holds {}", list.len() / 4);
            return Err(Error::damaged("value list", "", place(key.value_list()) + 4, detail));
        }
        Ok((0..count).map(|i| dword(list.all(), 4 * i)).collect())
    }

    /// The value of a name, case-insensitive: its index in the list and its cell.
    pub(crate) fn find_value(&self, key: &Key<'_>, units: &[u16]) -> Result<Option<(usize, u32)>> {
        for (i, at) in self.value_offsets(key)?.into_iter().enumerate() {
            let stored = self.value_cell(at)?.name();
            if name::compare(stored.units(), units.iter().copied()) == Ordering::Equal {
                return Ok(Some((i, at)));
            }
        }
        Ok(None)
    }

    /// Gives back the cells of a value's data.
    pub(crate) fn free_data(&mut self, storage: Storage) -> Result<()> {
        match storage {
            Storage::Inline(_) => Ok(()),
            Storage::Cell(at, _) => self.free(at, "value data"),
            Storage::Big(at, len) => self.free_big(at, len),
        }
    }

    /// Replaces a value's data, in its old cell where it fits.
    pub(crate) fn write_data(&mut self, at: u32, data: &[u8]) -> Result<()> {
        let old = self.storage(&self.value_cell(at)?)?;
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let (len_field, data_field) = match old {
            _ if data.len() <= 4 => {
                self.free_data(old)?;
                let mut inline = [0; 4];
                inline[..data.len()].copy_from_slice(data);
                (vk::INLINE | len, u32::from_le_bytes(inline))
            }
            Storage::Cell(cell, old_len) if old_len == data.len() => {
                self.put(cell, 0, data, "value data")?;
                (len, cell)
            }
            Storage::Big(record, old_len) if old_len == data.len() => {
                self.overwrite_big(record, data)?;
                (len, record)
            }
            _ if self.is_big(data.len()) => {
                self.free_data(old)?;
                (len, self.write_big(data)?)
            }
            Storage::Cell(cell, _) => {
                let cell = self.resize(cell, 0, data.len(), "value data")?;
                self.put(cell, 0, data, "value data")?;
                (len, cell)
            }
            _ => {
                self.free_data(old)?;
                let cell = self.allocate(data.len())?;
                self.put(cell, 0, data, "value data")?;
                (len, cell)
            }
        };
        self.put_u32(at, vk::DATA_LEN, len_field, "vk")?;
        self.put_u32(at, vk::DATA, data_field, "vk")
    }

    /// Writes the offsets of a key's values and their number.
    pub(crate) fn write_value_list(&mut self, key: u32, offsets: &[u32]) -> Result<()> {
        let (had, list) = {
            let key = self.key(key)?;
            (key.values(), key.value_list())
        };
        let bytes: Vec<u8> = offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
        let list = match (had, offsets.is_empty()) {
            (0, true) => NIL,
            (_, true) => {
                self.free(list, "value list")?;
                NIL
            }
            (0, false) => self.allocate(bytes.len())?,
            (_, false) => self.resize(list, 0, bytes.len(), "value list")?,
        };
        if !bytes.is_empty() {
            self.put(list, 0, &bytes, "value list")?;
        }
        self.put_u32(key, nk::VALUE_LIST, list, "nk")?;
        self.put_u32(key, nk::VALUES, offsets.len() as u32, "nk")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::utf16le;

    fn value(ty: u32, data: Vec<u8>) -> Value {
        Value { name: Vec::new(), ty, data }
    }

    #[test]
    fn typed_views() {
        assert_eq!(value(types::SZ, utf16le("abc\0def")).as_text().as_deref(), Some("abc"));
        assert_eq!(value(types::BINARY, utf16le("abc")).as_text(), None);
        let multi = value(types::MULTI_SZ, utf16le("a\0\0bc\0\0"));
        assert_eq!(multi.as_multi_text(), Some(vec!["a".to_string(), String::new(), "bc".to_string()]));
        assert_eq!(value(types::MULTI_SZ, utf16le("\0\0")).as_multi_text(), Some(vec![]));
        assert_eq!(value(types::DWORD, vec![1, 2, 0, 0]).as_u32(), Some(0x201));
        assert_eq!(value(types::DWORD_BIG_ENDIAN, vec![0, 0, 2, 1]).as_u32(), Some(0x201));
        assert_eq!(value(types::DWORD, vec![1, 2, 0]).as_u32(), None);
        assert_eq!(value(types::QWORD, vec![1, 0, 0, 0, 0, 0, 0, 1]).as_u64(), Some(0x0100_0000_0000_0001));
    }
}
