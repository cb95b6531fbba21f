//! A mounted folder as a side of the comparison.

use super::content::Source;
use super::side::{Child, FileFacts, Files, SecurityOf};
use crate::folder::FolderTree;
use crate::tree::{NodeId, Tree};
use reseal_dtyp::{Error, Kind, Result};
use std::borrow::Cow;
use std::collections::HashSet;

/// The attributes that say something of a file, beside how a volume stores and indexes it.
const ATTRIBUTES: u32 = 0x7fff;

/// The adapter.
pub(super) struct FolderSide<'t> {
    tree: &'t FolderTree,
    /// Unique descriptors.
    descriptors: Vec<Vec<u8>>,
}

impl<'t> FolderSide<'t> {
    pub(super) fn new(tree: &'t FolderTree) -> Result<FolderSide<'t>> {
        Ok(FolderSide { tree, descriptors: tree.descriptors()? })
    }
}

impl Files for FolderSide<'_> {
    fn root(&self) -> NodeId {
        self.tree.root()
    }

    fn children(&self, folder: NodeId) -> Result<Vec<Child>> {
        let child = |entry: crate::tree::TreeEntry| Child {
            name: entry.name.into(),
            file: entry.node,
            is_folder: entry.is_dir,
            is_system: false,
            size: entry.size,
        };
        // A junction is a folder that holds nothing.
        if self.tree.stat(folder)?.is_reparse {
            return Ok(Vec::new());
        }
        let mut out: Vec<Child> = self.tree.entries(folder)?.into_iter().map(child).collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out.dedup_by(|a, b| a.name == b.name);
        Ok(out)
    }

    fn facts(&self, node: NodeId) -> Result<FileFacts> {
        let stat = self.tree.stat(node)?;
        let [created, accessed] = self.tree.created_and_accessed(node)?;
        let reparse = self.tree.reparse_data(node)?;
        let tag = reparse.and_then(|data| Some(u32::from_le_bytes(data.get(..4)?.try_into().ok()?)));
        Ok(FileFacts {
            file: node,
            is_directory: stat.is_dir,
            attributes: self.tree.attributes_of(node)? & ATTRIBUTES,
            times: [created, Some(stat.written), None, accessed],
            reparse_tag: tag.or(stat.is_reparse.then_some(0)),
            short_names: self.tree.short_name(node)?.into_iter().collect(),
            streams: stat.streams.into_iter().map(|(name, _)| (name, None)).collect(),
            security: if self.descriptors.is_empty() { SecurityOf::Nothing } else { SecurityOf::Own },
        })
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        self.tree.lookup(folder, name)
    }

    fn starts_with(&self, file: NodeId, magic: &[u8; 4]) -> Result<bool> {
        let mut start = [0; 4];
        Ok(self.tree.read_at(file, 0, &mut start)? == 4 && start == *magic)
    }

    fn open(&self, node: NodeId, name: &[u16]) -> Result<Source<'_>> {
        let stat = self.tree.stat(node)?;
        let stream = stat.streams.into_iter().find(|(own, _)| own == name);
        let (_, size) = stream.ok_or_else(|| Error::not_found("there is no such stream"))?;
        // The unnamed stream of a reparse point is not shown; that it has one is.
        let reader: Box<dyn crate::tree::StreamRead + '_> =
            if stat.is_reparse && name.is_empty() { Box::new(&[][..]) } else { self.tree.reader(node, name)? };
        Ok(Source::new(reader, size, Vec::new()))
    }

    fn read(&self, node: NodeId, max: usize) -> Result<Vec<u8>> {
        let len = self.tree.size_at_once(node)?;
        if len > max {
            return Err(Error::new(Kind::Limit, format!("{len} bytes; hives of at most {max} are compared")));
        }
        self.tree.read(node)
    }

    fn reparse_data(&self, node: NodeId) -> Result<Option<Vec<u8>>> {
        self.tree.reparse_data(node)
    }

    fn descriptor(&self, facts: &FileFacts) -> Result<Option<Cow<'_, [u8]>>> {
        match facts.security {
            SecurityOf::Nothing => Ok(None),
            _ => self.tree.descriptor(facts.file).map(|bytes| Some(Cow::Owned(bytes))),
        }
    }

    fn descriptors(&self) -> HashSet<&[u8]> {
        self.descriptors.iter().map(Vec::as_slice).collect()
    }

    /// The mount is believed.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
