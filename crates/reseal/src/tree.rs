//! The one door between the product and what holds files.
//!
//! An NTFS volume and an image of a WIM implement it; a mounted folder will. Names are UTF-16 units, since lone surrogates
//! exist; paths as `&str` are for selectors and messages only.

use reseal_dtyp::{DomainSid, FileTime, Finding, Result};
use reseal_ntfs::{ShadowCopy, ShadowHeader};
use reseal_sid::SidMap;
use std::collections::BTreeSet;

/// A file or folder of a tree; it means nothing outside its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// The name.
    pub name: Vec<u16>,
    /// What it names.
    pub node: NodeId,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Whether it is a reparse point: never descended into.
    pub is_reparse: bool,
    /// Size of the unnamed stream in bytes.
    pub size: u64,
}

impl TreeEntry {
    /// The name for people.
    pub fn name_lossy(&self) -> String {
        reseal_dtyp::utf16_lossy(&self.name)
    }
}

/// Who may do what with a new file.
#[derive(Debug, Clone, Copy)]
pub enum NewSecurity<'a> {
    /// The descriptor of an existing file.
    SameAs(NodeId),
    /// This self-relative descriptor.
    Descriptor(&'a [u8]),
}

/// What one call of [`TreeEdit::map_descriptors`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DescriptorCounts {
    /// Unique descriptors looked at.
    pub unique: usize,
    /// Unique descriptors changed.
    pub changed: usize,
    /// SIDs replaced, each unique descriptor counted once.
    pub sids: usize,
    /// Quotas are off, and their index had to be put in another order.
    pub quota_reordered: bool,
}

/// What one pass over all files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Files and folders in use.
    pub files: u64,
    /// Encrypted files (EFS), ascending.
    pub encrypted: Vec<NodeId>,
    /// Files and folders with a name that contains the text of any SID of a machine or domain, ascending.
    pub named_after_sids: Vec<NodeId>,
    /// Machines and domains that descriptors name.
    pub domains: BTreeSet<DomainSid>,
    /// What the fast check of the same pass found: everything that writing relies on.
    pub findings: Vec<Finding>,
}

/// What a listing says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Whether it is a reparse point.
    pub is_reparse: bool,
    /// When the content was written last.
    pub written: FileTime,
    /// Names of streams, the unnamed one's empty, and their sizes in bytes.
    pub streams: Vec<(Vec<u16>, u64)>,
}

/// A stream that is read piece by piece.
pub trait StreamRead: Send {
    /// Part of the stream; returns how many bytes there were.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize>;
}

/// Files with streams, descriptors and names.
pub trait Tree: Send + Sync {
    /// The root folder.
    fn root(&self) -> NodeId;
    /// A name in a folder; case-insensitive where the folder is.
    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>>;
    /// The names in a folder, 8.3 twins left out, in the tree's order.
    fn entries(&self, folder: NodeId) -> Result<Vec<TreeEntry>>;
    /// Size of the unnamed stream in bytes.
    fn size(&self, node: NodeId) -> Result<u64>;
    /// [`Tree::size`] of a file that can be read at once; `Limit` for one that claims more than its tree could hold.
    fn size_at_once(&self, node: NodeId) -> Result<usize>;
    /// Content of the unnamed stream.
    fn read(&self, node: NodeId) -> Result<Vec<u8>>;
    /// Part of the unnamed stream; returns how many bytes there were.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// What a listing says of it.
    fn stat(&self, node: NodeId) -> Result<Stat>;
    /// Opens any stream to be read in pieces. `NotFound` when it has no such stream.
    fn reader(&self, node: NodeId, name: &[u16]) -> Result<Box<dyn StreamRead + '_>>;
    /// Part of any stream; returns how many bytes there were. `NotFound` when it has no such stream.
    fn stream_at(&self, node: NodeId, name: &[u16], offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// Self-relative security descriptor.
    fn descriptor(&self, node: NodeId) -> Result<Vec<u8>>;
    /// What an encrypted file says of who can read it ([MS-EFSR] 2.2.2.1); `None` where nothing is said.
    fn efs_metadata(&self, node: NodeId) -> Result<Option<Vec<u8>>> {
        let _ = node;
        Ok(None)
    }
    /// Every unique descriptor once.
    fn descriptors(&self) -> Result<Vec<Vec<u8>>>;
    /// How many names it has, 8.3 twins left out.
    fn link_count(&self, node: NodeId) -> Result<usize>;
    /// Path from the root, with backslashes.
    fn path(&self, node: NodeId) -> Result<String>;
    /// One pass over all files: the fast check of what writing relies on, and what needs to be known of single files.
    fn survey(&self) -> Result<Survey>;

    /// What stands where Windows looks for shadow copies of the volume; a tree that is none has nothing there.
    fn shadow_header(&self) -> Result<ShadowHeader> {
        Ok(ShadowHeader::Absent)
    }
    /// The catalog of shadow copies at a byte offset of the volume.
    fn shadow_catalog(&self, offset: u64) -> Result<Vec<ShadowCopy>> {
        let _ = offset;
        Ok(Vec::new())
    }
    /// Every check there is.
    fn check(&self) -> Result<Vec<Finding>>;

    /// Follows a path of `\` or `/` separated names from `from`.
    fn resolve(&self, from: NodeId, path: &str) -> Result<Option<NodeId>> {
        let mut node = from;
        for name in path.split(['\\', '/']).filter(|name| !name.is_empty()) {
            let units: Vec<u16> = name.encode_utf16().collect();
            match self.lookup(node, &units)? {
                Some(next) => node = next,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    /// The entries of a folder given by path; empty when it does not exist.
    fn entries_of(&self, from: NodeId, path: &str) -> Result<Vec<TreeEntry>> {
        match self.resolve(from, path)? {
            Some(folder) => self.entries(folder),
            None => Ok(Vec::new()),
        }
    }
}

/// A tree that can be changed. Nothing of it is written before the whole plan is committed.
pub trait TreeEdit: Tree {
    /// Replaces the content of the unnamed stream.
    fn replace(&mut self, node: NodeId, data: &[u8], now: FileTime) -> Result<()>;
    /// [`TreeEdit::replace`] for bytes that nobody else needs: a tree that keeps them need not copy them.
    fn replace_with(&mut self, node: NodeId, data: Vec<u8>, now: FileTime) -> Result<()> {
        self.replace(node, &data, now)
    }
    /// Writes pieces (byte offset, bytes) over a file's content where it lies; its length stays. `false`, with nothing
    /// written, when the tree stores the file in a way that does not allow it: then [`TreeEdit::replace`] serves.
    fn overwrite(&mut self, node: NodeId, pieces: &[(u64, &[u8])], now: FileTime) -> Result<bool>;
    /// Makes a file.
    fn create_file(
        &mut self,
        folder: NodeId,
        name: &str,
        data: &[u8],
        security: NewSecurity<'_>,
        now: FileTime,
    ) -> Result<NodeId>;
    /// Makes a folder.
    fn create_dir(&mut self, folder: NodeId, name: &str, security: NewSecurity<'_>, now: FileTime) -> Result<NodeId>;
    /// Gives a file that has one name another one in a folder; its descriptor stays. `Unsupported` for a file with several
    /// names.
    fn move_to(&mut self, node: NodeId, folder: NodeId, name: &str, now: FileTime) -> Result<()>;
    /// Removes a file with all its names, or an empty folder.
    fn remove(&mut self, node: NodeId, now: FileTime) -> Result<()>;
    /// Removes a folder with all in it; files with names elsewhere (hard links) live on there, junctions are not followed.
    /// Returns how many files went.
    fn remove_tree(&mut self, node: NodeId, now: FileTime) -> Result<u64>;
    /// Renames within the folder; every name that contains an old SID gets the new one.
    fn rename_sids(&mut self, node: NodeId, map: &SidMap, now: FileTime) -> Result<usize>;
    /// Gives a file the descriptor.
    fn set_descriptor(&mut self, node: NodeId, descriptor: &[u8]) -> Result<()>;
    /// Replaces machine SIDs in every descriptor of the tree.
    fn map_descriptors(&mut self, map: &SidMap) -> Result<DescriptorCounts>;
    /// Has Windows check the volume at its next start; `false` when it will anyway.
    fn schedule_check(&mut self) -> Result<bool>;
    /// Makes the volume one that never had a shadow copy; their files are the caller's. `false` when it is one.
    fn clear_shadow_header(&mut self) -> Result<bool> {
        Ok(false)
    }
}
