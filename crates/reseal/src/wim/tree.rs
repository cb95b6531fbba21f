//! An image of a WIM as a [`Tree`].

use crate::tree::{NodeId, Stat, StreamRead, Survey, Tree, TreeEntry};
use reseal_dtyp::{Descriptor, DomainSid, Error, Finding, Kind, Level, Result, Sid, utf16_lossy};
use reseal_wim::{Blob, BlobReader, FileId, Image, Sha1Hash, Stream, StreamKind, Wim, names};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// `FILE_ATTRIBUTE_ENCRYPTED`.
const ENCRYPTED: u32 = 0x4000;
/// A file above this is not read at once.
const MAX_AT_ONCE: u64 = 1 << 30;

/// The adapter.
#[derive(Debug, Clone)]
pub(crate) struct WimTree {
    wim: Arc<Wim>,
    pub(crate) image: Image,
    /// Contents that the WIM does not have yet.
    pub(super) new: HashMap<Sha1Hash, NewContent>,
    pub(super) is_changed: bool,
    /// What is written of the image, once nothing changes any more.
    metadata: Option<Vec<u8>>,
}

/// A content that the WIM does not have yet.
#[derive(Debug, Clone)]
pub(super) struct NewContent {
    pub(super) bytes: Arc<Vec<u8>>,
    /// What the file had in the WIM.
    pub(super) earlier: Option<Sha1Hash>,
}

/// Where the content of a stream is.
enum Content<'a> {
    Empty,
    Stored(&'a Blob),
    New(&'a [u8]),
}

impl WimTree {
    /// Reads image `index`, from 1.
    pub(crate) fn open(wim: Arc<Wim>, index: u32) -> Result<WimTree> {
        let image = wim.image(index)?;
        Ok(WimTree { wim, image, new: HashMap::new(), is_changed: false, metadata: None })
    }

    /// The same as it will be read when `metadata`, its own, is written. Its files have other ids.
    pub(crate) fn as_written(&self, metadata: &[u8]) -> Result<WimTree> {
        let image = Image::read(metadata)?;
        let (wim, new) = (Arc::clone(&self.wim), self.new.clone());
        Ok(WimTree { wim, image, new, is_changed: self.is_changed, metadata: None })
    }

    /// Ids are checked once, here: whoever made one up gets an error.
    pub(crate) fn file(&self, node: NodeId) -> Result<FileId> {
        let file = self.image.file_of(node.0);
        file.ok_or_else(|| Error::not_found(format!("the image has no file {}", node.0)))
    }

    /// Keeps what is written of the image, which somebody had to know already.
    pub(super) fn keep_metadata(&mut self, metadata: Vec<u8>) {
        self.metadata = Some(metadata);
    }

    /// What is written of the image.
    pub(super) fn metadata(&self) -> Result<Cow<'_, [u8]>> {
        match &self.metadata {
            Some(metadata) => Ok(Cow::Borrowed(metadata)),
            None => self.image.to_metadata().map(Cow::Owned),
        }
    }

    /// Notes that something differs from what the WIM holds.
    pub(super) fn changed(&mut self) {
        self.is_changed = true;
        self.metadata = None;
    }

    fn files(&self) -> impl Iterator<Item = FileId> {
        self.image.files()
    }

    fn stream(&self, file: FileId, name: &[u16]) -> Result<&Stream> {
        let is_it = |stream: &&Stream| stream.kind == StreamKind::Data && stream.name == name;
        let found = self.image.streams(file).iter().find(is_it);
        found.ok_or_else(|| Error::not_found(format!("there is no stream `{}`", utf16_lossy(name))))
    }

    fn content(&self, stream: &Stream) -> Result<Content<'_>> {
        if let Some(bytes) = self.new.get(&stream.hash) {
            return Ok(Content::New(&bytes.bytes));
        }
        Ok(self.wim.blob(&stream.hash)?.map_or(Content::Empty, Content::Stored))
    }

    /// Opens a stream, of whatever kind.
    pub(crate) fn reader_of(&self, stream: &Stream) -> Result<Box<dyn StreamRead + '_>> {
        Ok(match self.content(stream)? {
            Content::Empty => Box::new(&[][..]),
            Content::Stored(blob) => Box::new(self.wim.reader(blob)?),
            Content::New(bytes) => Box::new(bytes),
        })
    }

    pub(crate) fn size_of(&self, stream: &Stream) -> Result<u64> {
        Ok(match self.content(stream)? {
            Content::Empty => 0,
            Content::Stored(blob) => blob.size,
            Content::New(bytes) => bytes.len() as u64,
        })
    }

    /// Every stream of every file.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (NodeId, &Stream)> {
        self.files().flat_map(|file| self.image.streams(file).iter().map(move |stream| (node(file), stream)))
    }

    /// Streams whose content the WIM does not have.
    pub(crate) fn missing_contents(&self, place: &str) -> Vec<Finding> {
        let streams = self.files().flat_map(|file| self.image.streams(file).iter().map(move |stream| (file, stream)));
        let missing = streams.filter_map(|(file, stream)| Some((file, self.content(stream).err()?)));
        let finding = |(file, error): (FileId, Error)| {
            let path = self.path(NodeId(u64::from(file.0))).unwrap_or_default();
            Finding::new(Level::Damage, "wim-content", format!("{place}{path}"), error.to_string())
        };
        missing.map(finding).collect()
    }
}

impl StreamRead for BlobReader<'_> {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        BlobReader::read_at(self, offset, buf)
    }
}

/// A content in memory.
impl StreamRead for &[u8] {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = &self[offset.min(self.len() as u64) as usize..];
        let len = buf.len().min(rest.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
}

pub(super) fn node(file: FileId) -> NodeId {
    NodeId(u64::from(file.0))
}

impl Tree for WimTree {
    fn root(&self) -> NodeId {
        node(self.image.root())
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        let folder = self.file(folder)?;
        let entries = || self.image.entries(folder);
        let exact = entries().find(|entry| entry.name == name);
        let found = exact
            .or_else(|| entries().find(|entry| names::same(&entry.name, name) || names::same(&entry.short_name, name)));
        Ok(found.map(|entry| node(entry.file)))
    }

    fn entries(&self, folder: NodeId) -> Result<Vec<TreeEntry>> {
        let entry = |entry: &reseal_wim::Entry| -> Result<TreeEntry> {
            let content = self.image.content(entry.file).map(|stream| self.size_of(stream));
            Ok(TreeEntry {
                name: entry.name.clone(),
                node: node(entry.file),
                is_dir: self.image.is_dir(entry.file),
                is_reparse: self.image.is_reparse(entry.file),
                size: content.transpose()?.unwrap_or(0),
            })
        };
        self.image.entries(self.file(folder)?).map(entry).collect()
    }

    fn size(&self, node: NodeId) -> Result<u64> {
        self.size_of(self.stream(self.file(node)?, &[])?)
    }

    fn size_at_once(&self, node: NodeId) -> Result<usize> {
        let size = self.size(node)?;
        match usize::try_from(size) {
            Ok(len) if size <= MAX_AT_ONCE => Ok(len),
            _ => Err(Error::new(Kind::Limit, format!("{size} bytes, at most {MAX_AT_ONCE} are read at once"))),
        }
    }

    fn read(&self, node: NodeId) -> Result<Vec<u8>> {
        match self.content(self.stream(self.file(node)?, &[])?)? {
            Content::Empty => Ok(Vec::new()),
            Content::Stored(blob) => self.wim.read(blob, MAX_AT_ONCE),
            Content::New(bytes) => Ok(bytes.to_vec()),
        }
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.stream_at(node, &[], offset, buf)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let file = self.file(node)?;
        let data = self.image.streams(file).iter().filter(|stream| stream.kind == StreamKind::Data);
        Ok(Stat {
            is_dir: self.image.is_dir(file),
            is_reparse: self.image.is_reparse(file),
            written: self.image.times(file).written,
            streams: data.map(|stream| Ok((stream.name.clone(), self.size_of(stream)?))).collect::<Result<_>>()?,
        })
    }

    fn reader(&self, node: NodeId, name: &[u16]) -> Result<Box<dyn StreamRead + '_>> {
        self.reader_of(self.stream(self.file(node)?, name)?)
    }

    fn stream_at(&self, node: NodeId, name: &[u16], offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.content(self.stream(self.file(node)?, name)?)? {
            Content::Empty => Ok(0),
            Content::Stored(blob) => self.wim.read_at(blob, offset, buf),
            Content::New(mut bytes) => bytes.read_at(offset, buf),
        }
    }

    fn descriptor(&self, node: NodeId) -> Result<Vec<u8>> {
        let file = self.file(node)?;
        let own = self.image.descriptor(file).map(<[u8]>::to_vec);
        own.ok_or_else(|| Error::not_found("the image says nothing of its security: it was not captured from NTFS"))
    }

    fn descriptors(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.image.descriptors().map(<[u8]>::to_vec).collect())
    }

    fn link_count(&self, node: NodeId) -> Result<usize> {
        Ok(self.image.names(self.file(node)?).count())
    }

    fn path(&self, node: NodeId) -> Result<String> {
        let mut file = self.file(node)?;
        let mut names = Vec::new();
        // Folders form a tree, so this ends at the root.
        while let Some((folder, entry)) = self.image.names(file).next() {
            names.push(utf16_lossy(&entry.name));
            file = folder;
        }
        Ok(names.iter().rev().map(|name| format!(r"\{name}")).collect())
    }

    fn survey(&self) -> Result<Survey> {
        const DOMAIN_TEXT: &str = "S-1-5-21-";
        let mut domains: BTreeSet<DomainSid> = BTreeSet::new();
        for descriptor in self.image.descriptors() {
            let offsets = Descriptor::sid_offsets(descriptor).unwrap_or_default();
            domains.extend(offsets.into_iter().filter_map(|at| Sid::read(&descriptor[at..]).ok()?.domain()));
        }
        let is_named = |file: &FileId| self.image.names(*file).any(|(_, e)| utf16_lossy(&e.name).contains(DOMAIN_TEXT));
        Ok(Survey {
            files: self.image.files().count() as u64,
            encrypted: self.files().filter(|file| self.image.attributes(*file) & ENCRYPTED != 0).map(node).collect(),
            named_after_sids: self.files().filter(is_named).map(node).collect(),
            domains,
            findings: Vec::new(),
        })
    }

    fn check(&self) -> Result<Vec<Finding>> {
        Ok(self.missing_contents(""))
    }
}
