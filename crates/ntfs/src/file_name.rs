//! `$FILE_NAME`: a name in a folder, as a file record and a directory entry both hold it.

use crate::reference::FileReference;
use reseal_dtyp::{FileTime, Result, View};

/// Which rules a name follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Namespace {
    /// Case-sensitive, any character.
    Posix,
    /// A long name; its 8.3 twin, if there is one, is a name of its own.
    Win32,
    /// An 8.3 name that stands beside a long one.
    Dos,
    /// A name that is both.
    Win32AndDos,
}

impl Namespace {
    pub(crate) fn from_byte(byte: u8) -> Option<Namespace> {
        Some(match byte {
            0 => Namespace::Posix,
            1 => Namespace::Win32,
            2 => Namespace::Dos,
            3 => Namespace::Win32AndDos,
            _ => return None,
        })
    }

    pub(crate) fn byte(self) -> u8 {
        self as u8
    }
}

/// One name of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileName {
    /// The folder.
    pub parent: FileReference,
    /// UTF-16 code units; lone surrogates are legal.
    pub name: Vec<u16>,
    /// The rules it follows.
    pub namespace: Namespace,
}

/// Bytes before the name.
pub(crate) const HEADER: usize = 0x42;
/// In the duplicated file attributes: a directory.
pub(crate) const DIRECTORY: u32 = 0x1000_0000;

/// Offsets of the duplicated information.
pub(crate) mod offset {
    pub(crate) const TIMES: usize = 0x08;
    pub(crate) const ALLOCATED: usize = 0x28;
    pub(crate) const SIZE: usize = 0x30;
    pub(crate) const ATTRIBUTES: usize = 0x38;
    pub(crate) const REPARSE_TAG: usize = 0x3c;
}

/// A `$FILE_NAME` value, length and namespace checked.
#[derive(Debug, Clone, Copy)]
pub struct NameView<'a>(View<'a>);

impl<'a> NameView<'a> {
    /// Reads the value at the start of `bytes`.
    pub(crate) fn read(bytes: &'a [u8], at: u64) -> Result<NameView<'a>> {
        let view = View::new("$FILE_NAME", at, bytes);
        let len = usize::from(view.u8(0x40, "FileNameLength")?);
        if len == 0 {
            return Err(view.damaged(0x40, "FileNameLength", "the name is empty"));
        }
        let namespace = view.u8(0x41, "Flags")?;
        if Namespace::from_byte(namespace).is_none() {
            return Err(view.damaged(0x41, "Flags", format!("namespace {namespace}")));
        }
        Ok(NameView(view.part("$FILE_NAME", 0, HEADER + 2 * len)?))
    }

    fn u64(&self, offset: usize) -> u64 {
        // The length was checked when the view was made.
        self.0.u64(offset, "").unwrap_or(0)
    }

    fn u32(&self, offset: usize) -> u32 {
        self.0.u32(offset, "").unwrap_or(0)
    }

    /// The whole value, without what may follow it.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0.all()
    }

    /// The folder.
    pub fn parent(&self) -> FileReference {
        FileReference(self.u64(0))
    }

    /// The name as little-endian bytes.
    pub fn name_bytes(&self) -> &'a [u8] {
        &self.0.all()[HEADER..]
    }

    /// The name as code units.
    pub fn units(&self) -> impl Iterator<Item = u16> + Clone + 'a {
        self.name_bytes().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    /// The rules it follows.
    pub fn namespace(&self) -> Namespace {
        Namespace::from_byte(self.0.all()[0x41]).unwrap_or(Namespace::Posix)
    }

    /// Allocated bytes of the unnamed stream when the entry was last updated.
    pub fn allocated(&self) -> u64 {
        self.u64(offset::ALLOCATED)
    }

    /// Length of the unnamed stream when the entry was last updated.
    pub fn size(&self) -> u64 {
        self.u64(offset::SIZE)
    }

    /// File attributes (`FILE_ATTRIBUTE_*`; 0x10000000 marks a directory here).
    pub fn attributes(&self) -> u32 {
        self.u32(offset::ATTRIBUTES)
    }

    /// Created, content changed, record changed, accessed.
    pub fn times(&self) -> [FileTime; 4] {
        [0, 8, 16, 24].map(|o| FileTime(self.u64(offset::TIMES + o)))
    }

    /// An owned copy.
    pub fn to_owned(&self) -> FileName {
        FileName { parent: self.parent(), name: self.units().collect(), namespace: self.namespace() }
    }
}
