//! One image: security data, and its files as a tree.

use crate::dentry::{DIRECTORY, Extra, REPARSE_POINT, Stream, StreamKind, Times};
use crate::parse;
use reseal_dtyp::Result;

/// A file or folder of an image; it means nothing outside it, and is nobody else's after its file is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u16>,
    /// Its 8.3 twin; empty for none.
    pub short_name: Vec<u16>,
    /// What it names.
    pub file: FileId,
}

/// What an image says of a file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) attributes: u32,
    /// Index into the descriptors.
    pub(crate) security: Option<u32>,
    pub(crate) times: Times,
    pub(crate) reparse_tag: u32,
    pub(crate) streams: Vec<Stream>,
    pub(crate) extra: Extra,
    /// Names in it, where it is a folder; `None` where one was removed, so that the places of others stay.
    pub(crate) entries: Vec<Option<Entry>>,
    /// Folder and place there, for each of its names. Only the root has none, and what was removed.
    pub(crate) names: Vec<(FileId, u32)>,
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    pub(crate) descriptors: Vec<Vec<u8>>,
    pub(crate) files: Vec<File>,
}

impl Image {
    /// Takes a metadata resource, unpacked, apart. `Damaged` for entries that leave it, folders that lie in themselves, or
    /// names that no folder can have.
    pub fn read(metadata: &[u8]) -> Result<Image> {
        parse::metadata(metadata)
    }

    /// The root folder.
    pub fn root(&self) -> FileId {
        FileId(0)
    }

    /// All files and folders, the root first.
    pub fn files(&self) -> impl Iterator<Item = FileId> {
        let exist = self.files.iter().enumerate().filter(|(index, file)| *index == 0 || !file.names.is_empty());
        exist.map(|(index, _)| FileId(index as u32))
    }

    /// The file of a number, when there is one.
    pub fn file_of(&self, number: u64) -> Option<FileId> {
        let file = self.files.get(usize::try_from(number).ok()?)?;
        (number == 0 || !file.names.is_empty()).then_some(FileId(number as u32))
    }

    pub(crate) fn file(&self, file: FileId) -> &File {
        &self.files[file.0 as usize]
    }

    /// Attributes as `FILE_ATTRIBUTE_…`.
    pub fn attributes(&self, file: FileId) -> u32 {
        self.file(file).attributes
    }

    /// Whether it is a folder.
    pub fn is_dir(&self, file: FileId) -> bool {
        self.attributes(file) & DIRECTORY != 0
    }

    /// Whether it is a reparse point.
    pub fn is_reparse(&self, file: FileId) -> bool {
        self.attributes(file) & REPARSE_POINT != 0
    }

    /// The tag of a reparse point; 0 of others.
    pub fn reparse_tag(&self, file: FileId) -> u32 {
        self.file(file).reparse_tag
    }

    /// Its times.
    pub fn times(&self, file: FileId) -> Times {
        self.file(file).times
    }

    /// Its streams.
    pub fn streams(&self, file: FileId) -> &[Stream] {
        &self.file(file).streams
    }

    /// Its object id: 16 bytes, or 64 with the ids of its birth.
    pub fn object_id(&self, file: FileId) -> Option<&[u8]> {
        self.file(file).extra.object_id()
    }

    /// The stream that is the file's content, if it has one.
    pub fn content(&self, file: FileId) -> Option<&Stream> {
        self.streams(file).iter().find(|s| s.name.is_empty() && s.kind == StreamKind::Data)
    }

    /// The names in a folder, in the order of the image.
    pub fn entries(&self, folder: FileId) -> impl Iterator<Item = &Entry> {
        self.file(folder).entries.iter().flatten()
    }

    /// Folders that a file has a name in, with the name, one for each; none for the root.
    pub fn names(&self, file: FileId) -> impl Iterator<Item = (FileId, &Entry)> {
        let entry = |(folder, at): &(FileId, u32)| Some((*folder, self.file(*folder).entries[*at as usize].as_ref()?));
        self.file(file).names.iter().filter_map(entry)
    }

    /// Its security descriptor, self-relative; `None` when it has none.
    pub fn descriptor(&self, file: FileId) -> Option<&[u8]> {
        self.file(file).security.map(|id| self.descriptors[id as usize].as_slice())
    }

    /// Every descriptor of the security data.
    pub fn descriptors(&self) -> impl Iterator<Item = &[u8]> {
        self.descriptors.iter().map(Vec::as_slice)
    }
}
