//! Key cells (`nk`): fields, names, class names.

use crate::base_block::NIL;
use crate::image::{Image, dword, place, word};
use crate::name::Name;
use reseal_dtyp::{Error, FileTime, Result};

/// Bytes of a key name: Windows allows 255 characters and keeps room for one more.
const MAX_NAME_BYTES: usize = 512;

/// Field offsets in a key cell's content.
pub(crate) mod nk {
    pub(crate) const FLAGS: usize = 2;
    pub(crate) const TIME: usize = 4;
    pub(crate) const PARENT: usize = 16;
    pub(crate) const SUBKEYS: usize = 20;
    pub(crate) const SUBKEY_LIST: usize = 28;
    pub(crate) const VOLATILE_LIST: usize = 32;
    pub(crate) const VALUES: usize = 36;
    pub(crate) const VALUE_LIST: usize = 40;
    pub(crate) const SK: usize = 44;
    pub(crate) const CLASS: usize = 48;
    /// A word: the upper half of this dword holds virtualization flags.
    pub(crate) const MAX_SUBKEY_NAME: usize = 52;
    pub(crate) const MAX_CLASS: usize = 56;
    pub(crate) const MAX_VALUE_NAME: usize = 60;
    pub(crate) const MAX_VALUE_DATA: usize = 64;
    pub(crate) const NAME_LEN: usize = 72;
    pub(crate) const CLASS_LEN: usize = 74;
    pub(crate) const NAME: usize = 76;

    /// The root of the hive.
    pub(crate) const ROOT: u16 = 0x04;
    /// The key cannot be deleted.
    pub(crate) const NO_DELETE: u16 = 0x08;
    /// The name is Latin-1.
    pub(crate) const COMPRESSED: u16 = 0x20;
    /// The value count is a predefined handle: there are no values.
    pub(crate) const PREDEFINED: u16 = 0x40;
}

/// A checked key cell: long enough for its fields and its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'a> {
    content: &'a [u8],
}

impl<'a> Key<'a> {
    pub(crate) fn flags(&self) -> u16 {
        word(self.content, nk::FLAGS)
    }

    pub(crate) fn time(&self) -> FileTime {
        FileTime(u64::from(dword(self.content, nk::TIME + 4)) << 32 | u64::from(dword(self.content, nk::TIME)))
    }

    pub(crate) fn field(&self, offset: usize) -> u32 {
        dword(self.content, offset)
    }

    pub(crate) fn parent(&self) -> u32 {
        self.field(nk::PARENT)
    }

    pub(crate) fn subkeys(&self) -> u32 {
        self.field(nk::SUBKEYS)
    }

    /// The list of subkeys, where there are any.
    pub(crate) fn subkey_list(&self) -> Option<u32> {
        (self.subkeys() > 0).then(|| self.field(nk::SUBKEY_LIST))
    }

    /// Number of values; none where the field holds a predefined handle.
    pub(crate) fn values(&self) -> u32 {
        if self.flags() & nk::PREDEFINED != 0 { 0 } else { self.field(nk::VALUES) }
    }

    pub(crate) fn value_list(&self) -> u32 {
        self.field(nk::VALUE_LIST)
    }

    pub(crate) fn sk(&self) -> u32 {
        self.field(nk::SK)
    }

    /// The class name's cell and its length in bytes.
    pub(crate) fn class(&self) -> Option<(u32, usize)> {
        let (at, len) = (self.field(nk::CLASS), usize::from(word(self.content, nk::CLASS_LEN)));
        (len > 0 && at != NIL).then_some((at, len))
    }

    pub(crate) fn max_subkey_name(&self) -> u16 {
        word(self.content, nk::MAX_SUBKEY_NAME)
    }

    pub(crate) fn name_len(&self) -> usize {
        usize::from(word(self.content, nk::NAME_LEN))
    }

    pub(crate) fn name(&self) -> Name<'a> {
        let bytes = self.content.get(nk::NAME..nk::NAME + self.name_len()).unwrap_or(&[]);
        Name { bytes, compressed: self.flags() & nk::COMPRESSED != 0 }
    }
}

impl Image {
    /// The key cell at `at`.
    pub(crate) fn key(&self, at: u32) -> Result<Key<'_>> {
        let content = self.content(at, "nk")?;
        let bad = |field, detail: String| Err(Error::damaged("nk", field, place(at) + 4, detail));
        if !content.starts_with(b"nk") {
            return bad("signature", format!("is {:02x?}, not `nk`", &content[..content.len().min(2)]));
        }
        if content.len() < nk::NAME {
            return bad("", format!("the cell holds {} bytes, a key needs {}", content.len(), nk::NAME));
        }
        let key = Key { content };
        if key.name_len() > MAX_NAME_BYTES {
            return bad("name", format!("{} bytes of name, {MAX_NAME_BYTES} are the most", key.name_len()));
        }
        if nk::NAME + key.name_len() > content.len() {
            return bad("name", format!("{} bytes of name, the cell has {}", key.name_len(), content.len() - nk::NAME));
        }
        Ok(key)
    }

    /// Bytes of the class name.
    pub(crate) fn class_bytes(&self, key: &Key<'_>) -> Result<Option<&[u8]>> {
        key.class().map(|(at, len)| self.view(at, "class name")?.bytes(0, len, "text")).transpose()
    }
}
