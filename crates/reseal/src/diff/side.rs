//! What a side of the comparison is: an NTFS volume, or an image of a WIM.

use super::content::Source;
use crate::tree::NodeId;
use reseal_dtyp::{FileTime, Result};
use reseal_wim::Sha1Hash;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

/// A name in a folder of one side.
pub(super) struct Child {
    pub(super) name: Box<[u16]>,
    pub(super) file: NodeId,
    pub(super) is_folder: bool,
    /// One of the volume's own files.
    pub(super) is_system: bool,
    /// Bytes of the unnamed stream, as the folder tells.
    pub(super) size: u64,
}

/// What a side says of a file.
#[derive(Debug)]
pub(super) struct FileFacts {
    pub(super) file: NodeId,
    pub(super) is_directory: bool,
    /// `FILE_ATTRIBUTE_*`.
    pub(super) attributes: u32,
    /// Created, changed, record changed, accessed; `None` where a side of the comparison does not keep it.
    pub(super) times: [Option<FileTime>; 4],
    pub(super) reparse_tag: Option<u32>,
    /// The 8.3 names that stand beside long ones.
    pub(super) short_names: Vec<Vec<u16>>,
    /// Names of the streams that are compared; where the side knows it, the SHA-1 of the content.
    pub(super) streams: BTreeMap<Vec<u16>, Option<Sha1Hash>>,
    pub(super) security: SecurityOf,
}

/// Where a file's descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecurityOf {
    /// It has none.
    Nothing,
    /// In the store, under this id.
    Id(u32),
    /// With the file.
    Own,
}

/// A volume, or an image of a WIM.
pub(super) trait Files: Send + Sync {
    /// The root folder.
    fn root(&self) -> NodeId;
    /// The names in a folder in order of their code units, each once, 8.3 names and the folder's name for itself left out.
    fn children(&self, folder: NodeId) -> Result<Vec<Child>>;
    /// What is said of a file.
    fn facts(&self, file: NodeId) -> Result<FileFacts>;
    /// A name in a folder; case-insensitive where the folder is.
    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>>;
    /// Whether the unnamed stream begins so.
    fn starts_with(&self, file: NodeId, magic: &[u8; 4]) -> Result<bool>;
    /// A stream, to be compared.
    fn open(&self, file: NodeId, name: &[u16]) -> Result<Source<'_>>;
    /// The unnamed stream, whole. `Limit` above `max` bytes.
    fn read(&self, file: NodeId, max: usize) -> Result<Vec<u8>>;
    /// The data of a reparse point, tag and length before it; `None` for others.
    fn reparse_data(&self, file: NodeId) -> Result<Option<Vec<u8>>>;
    /// The self-relative descriptor; `None` for a file that has none.
    fn descriptor(&self, facts: &FileFacts) -> Result<Option<Cow<'_, [u8]>>>;
    /// All unique descriptors.
    fn descriptors(&self) -> HashSet<&[u8]>;
    /// `Damaged` when the files claimed more than could be stored.
    fn check(&self) -> Result<()>;
}
