//! What a commit in place needs of a file system: one image and the files beside it.

use reseal_dtyp::Result;

/// The files beside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A journal that is not complete; worth nothing.
    Temporary,
    /// A complete journal: the commit is decided and may be half done.
    Journal,
    /// A journal of a finished commit, kept with what stood there before.
    Undo,
    /// An undo that is decided and may be half done.
    Rollback,
}

impl Name {
    /// All of them.
    pub const ALL: [Name; 4] = [Name::Temporary, Name::Journal, Name::Undo, Name::Rollback];

    /// What is added to the image's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Name::Temporary => ".reseal-journal.tmp",
            Name::Journal => ".reseal-journal",
            Name::Undo => ".reseal-undo",
            Name::Rollback => ".reseal-rollback",
        }
    }
}

/// An image that can be written and the files beside it. What is not synchronized may be lost, in any order, when the host
/// loses power; names may be lost until the folder is synchronized.
///
/// The host's own is [`crate::HostMedia`]; tests of crashes and faults have others.
pub trait Media {
    /// Length of the image in bytes.
    fn image_len(&self) -> Result<u64>;
    /// Reads from the image; the range lies inside it.
    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes to the image; the range lies inside it.
    fn write_image(&mut self, offset: u64, data: &[u8]) -> Result<()>;
    /// Makes room for a later write where the image has a hole or ends, without changing what it holds: a full disk shall be
    /// noticed while all can be taken back. Where the host cannot, it does nothing.
    fn reserve_image(&mut self, offset: u64, len: u64) -> Result<()>;
    /// Makes the image longer, with zeros, or cuts it.
    fn set_image_len(&mut self, len: u64) -> Result<()>;
    /// Makes what was written to the image durable, its length included.
    fn sync_image(&mut self) -> Result<()>;

    /// Whether a file is there.
    fn exists(&self, name: Name) -> Result<bool>;
    /// Makes an empty temporary file in place of one that is there.
    fn create_temporary(&mut self) -> Result<()>;
    /// Writes to the end of the temporary file.
    fn append(&mut self, data: &[u8]) -> Result<()>;
    /// Makes the content of the temporary file durable.
    fn sync_temporary(&mut self) -> Result<()>;
    /// Length of a file in bytes.
    fn file_len(&self, name: Name) -> Result<u64>;
    /// Reads from a file; the range lies inside it.
    fn read_file(&self, name: Name, offset: u64, buf: &mut [u8]) -> Result<()>;
    /// Gives a file another name; there is none of that name.
    fn rename(&mut self, from: Name, to: Name) -> Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: Name) -> Result<()>;
    /// Makes the names durable.
    fn sync_folder(&mut self) -> Result<()>;
}
