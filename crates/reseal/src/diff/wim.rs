//! An image of a WIM as a side of the comparison.

use super::content::{Digests, Source};
use super::side::{Child, FileFacts, Files, SecurityOf};
use crate::tree::{NodeId, Tree};
use crate::wim::WimTree;
use reseal_dtyp::{Error, Kind, Result};
use reseal_wim::{FileId, Stream, StreamKind, names};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// More than a reparse point holds (MAXIMUM_REPARSE_DATA_BUFFER_SIZE is 16 KiB).
const MAX_REPARSE: u64 = 64 << 10;
/// The attributes that say something of a file, beside how a volume stores and indexes it.
const ATTRIBUTES: u32 = 0x7fff;

/// What the names of a folder, in capitals, mean.
type Folders = HashMap<NodeId, Arc<HashMap<Vec<u16>, NodeId>>>;

/// The adapter.
pub(super) struct WimSide<'t> {
    tree: &'t WimTree,
    /// Folders in which names were looked up: a WIM has no index of them.
    folders: Mutex<Folders>,
    digests: Digests,
    /// The other side is a disk.
    against_disk: bool,
}

impl<'t> WimSide<'t> {
    pub(super) fn new(tree: &'t WimTree, against_disk: bool) -> WimSide<'t> {
        WimSide { tree, folders: Mutex::default(), digests: Digests::default(), against_disk }
    }

    fn file(&self, node: NodeId) -> Result<FileId> {
        self.tree.file(node)
    }

    /// Streams that are compared as content. An encrypted file has one, as backup programs get it.
    fn contents(&self, file: FileId) -> impl Iterator<Item = &Stream> {
        self.tree.image.streams(file).iter().filter(|stream| stream.kind != StreamKind::Reparse)
    }

    fn stream(&self, file: FileId, name: &[u16]) -> Result<Option<&Stream>> {
        let found = self.contents(file).find(|stream| stream.name == name);
        match found {
            Some(stream) if self.against_disk && stream.kind == StreamKind::EncryptedRaw => {
                Err(Error::new(Kind::Unsupported, "encrypted (EFS): a WIM holds it in another form than a disk"))
            }
            found => Ok(found),
        }
    }

    /// Every file but a folder has an unnamed stream on a disk, and a reparse point in a WIM need not say so of an empty one.
    fn has_silent_stream(&self, file: FileId) -> bool {
        !self.tree.image.is_dir(file) && !self.contents(file).any(|stream| stream.name.is_empty())
    }
}

impl Files for WimSide<'_> {
    fn root(&self) -> NodeId {
        self.tree.root()
    }

    fn children(&self, folder: NodeId) -> Result<Vec<Child>> {
        let image = &self.tree.image;
        let child = |entry: &reseal_wim::Entry| {
            // A content that is missing is told with its file.
            let size = image.content(entry.file).and_then(|stream| self.tree.size_of(stream).ok());
            Child {
                name: entry.name.clone().into(),
                file: NodeId(u64::from(entry.file.0)),
                is_folder: image.is_dir(entry.file),
                is_system: false,
                size: size.unwrap_or(0),
            }
        };
        let mut out: Vec<Child> = image.entries(self.file(folder)?).map(child).collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out.dedup_by(|a, b| a.name == b.name);
        Ok(out)
    }

    fn facts(&self, node: NodeId) -> Result<FileFacts> {
        let (file, image) = (self.file(node)?, &self.tree.image);
        let times = image.times(file);
        let mut streams: BTreeMap<_, _> =
            self.contents(file).map(|stream| (stream.name.clone(), Some(stream.hash))).collect();
        if self.has_silent_stream(file) {
            streams.insert(Vec::new(), Some([0; 20]));
        }
        // A name that is both long and short is none beside it.
        let short =
            image.names(file).map(|(_, entry)| entry).filter(|e| !e.short_name.is_empty() && e.short_name != e.name);
        Ok(FileFacts {
            file: node,
            is_directory: image.is_dir(file),
            attributes: image.attributes(file) & if self.against_disk { ATTRIBUTES } else { u32::MAX },
            times: [Some(times.created), Some(times.written), None, Some(times.accessed)],
            reparse_tag: image.is_reparse(file).then(|| image.reparse_tag(file)),
            short_names: short.map(|entry| entry.short_name.clone()).collect(),
            streams,
            security: if image.security(file).is_some() { SecurityOf::Own } else { SecurityOf::Nothing },
        })
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        let known = |folders: &Folders| folders.get(&folder).map(Arc::clone);
        let lock = || self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known(&lock());
        let names = match known {
            Some(names) => names,
            None => {
                let mut all = HashMap::new();
                for entry in self.tree.image.entries(self.file(folder)?) {
                    all.entry(names::upper(&entry.name)).or_insert(NodeId(u64::from(entry.file.0)));
                }
                let all = Arc::new(all);
                lock().insert(folder, Arc::clone(&all));
                all
            }
        };
        Ok(names.get(&names::upper(name)).copied())
    }

    fn starts_with(&self, file: NodeId, magic: &[u8; 4]) -> Result<bool> {
        let mut start = [0; 4];
        Ok(self.tree.read_at(file, 0, &mut start)? == 4 && start == *magic)
    }

    fn open(&self, node: NodeId, name: &[u16]) -> Result<Source<'_>> {
        let file = self.file(node)?;
        match self.stream(file, name)? {
            Some(stream) => {
                let (reader, size) = (self.tree.reader_of(stream)?, self.tree.size_of(stream)?);
                Ok(Source::new(reader, size, Vec::new()).of_blob(stream.hash, &self.digests))
            }
            None if name.is_empty() && self.has_silent_stream(file) => {
                Ok(Source::new(Box::new(&[][..]), 0, Vec::new()).of_blob([0; 20], &self.digests))
            }
            None => Err(Error::not_found("there is no such stream")),
        }
    }

    fn read(&self, node: NodeId, max: usize) -> Result<Vec<u8>> {
        let len = self.tree.size_at_once(node)?;
        if len > max {
            return Err(Error::new(Kind::Limit, format!("{len} bytes; hives of at most {max} are compared")));
        }
        self.tree.read(node)
    }

    /// The WIM holds what stands behind tag and length.
    fn reparse_data(&self, node: NodeId) -> Result<Option<Vec<u8>>> {
        let (file, image) = (self.file(node)?, &self.tree.image);
        if !image.is_reparse(file) {
            return Ok(None);
        }
        let stream = image.streams(file).iter().find(|stream| stream.kind == StreamKind::Reparse);
        let size = stream.map_or(Ok(0), |stream| self.tree.size_of(stream))?;
        if size > MAX_REPARSE {
            return Err(Error::new(Kind::Limit, format!("a reparse point of {size} bytes")));
        }
        let mut data = vec![0; size as usize];
        if let Some(stream) = stream {
            self.tree.reader_of(stream)?.read_at(0, &mut data)?;
        }
        let head = [image.reparse_tag(file).to_le_bytes(), (size as u32).to_le_bytes()].concat();
        Ok(Some([head, data].concat()))
    }

    fn descriptor(&self, facts: &FileFacts) -> Result<Option<Cow<'_, [u8]>>> {
        Ok(self.tree.image.descriptor(self.file(facts.file)?).map(Cow::Borrowed))
    }

    fn descriptors(&self) -> HashSet<&[u8]> {
        self.tree.image.descriptors().collect()
    }

    /// A content is read once, however many files have it.
    fn check(&self) -> Result<()> {
        Ok(())
    }
}
