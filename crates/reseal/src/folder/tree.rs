//! The folder as a [`Tree`].

use super::STREAM;
use super::host::HostKind;
use super::names;
use super::nodes::{Content, Entry, Fate, FolderTree, Node};
use crate::tree::{NodeId, Stat, StreamRead, Survey, Tree, TreeEntry};
use reseal_dtyp::{Descriptor, DomainSid, Error, FileTime, Finding, Kind, Result, Sid, utf16_lossy};
use reseal_wim::names as letters;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// `FILE_ATTRIBUTE_ENCRYPTED`.
pub(super) const ENCRYPTED: u32 = 0x4000;
/// A file above this is not read at once.
const MAX_AT_ONCE: u64 = 1 << 30;

/// An open file with what is staged over it.
struct Open {
    file: File,
    over: Option<Arc<std::collections::BTreeMap<u64, Vec<u8>>>>,
}

impl StreamRead for Open {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = read_at(&self.file, offset, buf)?;
        let end = offset + len as u64;
        for (at, piece) in self.over.iter().flat_map(|over| over.range(..end)) {
            let stop = (at + piece.len() as u64).min(end);
            let start = (*at).max(offset);
            if start < stop {
                let from = (start - at) as usize;
                let bytes = &piece[from..from + (stop - start) as usize];
                buf[(start - offset) as usize..(stop - offset) as usize].copy_from_slice(bytes);
            }
        }
        Ok(len)
    }
}

/// A content that is read whole.
struct Bytes(Arc<Vec<u8>>);

impl StreamRead for Bytes {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        (&self.0[..]).read_at(offset, buf)
    }
}

/// Fills `buf` as far as the file goes.
pub(super) fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("cannot read the file", e)),
        }
    }
    Ok(done)
}

impl FolderTree {
    fn node(&self, node: NodeId) -> Result<Node> {
        self.lock().node(node).cloned()
    }

    /// Opens the unnamed stream.
    pub(super) fn open(&self, id: NodeId) -> Result<Box<dyn StreamRead>> {
        let node = self.node(id)?;
        if let Content::Whole(bytes) = &node.content {
            return Ok(Box::new(Bytes(Arc::clone(bytes))));
        }
        if node.is_dir {
            return Err(Error::not_found("a folder has no unnamed stream"));
        }
        if node.host.is_none_or(|stat| stat.kind != HostKind::File) {
            return Err(Error::unsupported("a reparse point or no file: the mount does not show its content"));
        }
        let over = match &node.content {
            Content::Pieces(pieces) => Some(Arc::clone(pieces)),
            _ => None,
        };
        let (way, name) = self.lock().on_host(self.root, id)?;
        Ok(Box::new(Open { file: self.host.folder(&way)?.read(&name)?, over }))
    }

    /// Names and contents of the named streams, where the mount shows them.
    fn named_streams(&self, id: NodeId) -> Result<Vec<(Vec<u16>, OsString)>> {
        let node = self.node(id)?;
        if !self.mount.has_streams || node.host.is_none() {
            return Ok(Vec::new());
        }
        let (way, name) = self.lock().on_host(self.root, id)?;
        let all = self.host.folder(&way)?.attributes(&name)?;
        let streams = all.into_iter().filter_map(|attribute| {
            let stream = attribute.as_bytes().strip_prefix(STREAM.as_bytes())?.to_vec();
            Some((names::units(OsStr::from_bytes(&stream)).0, attribute))
        });
        Ok(streams.collect())
    }

    /// Opens a stream.
    fn open_stream(&self, id: NodeId, wanted: &[u16]) -> Result<Box<dyn StreamRead>> {
        if wanted.is_empty() {
            return self.open(id);
        }
        let none = || Error::not_found(format!("there is no stream `{}`", utf16_lossy(wanted)));
        let found = self.named_streams(id)?.into_iter().find(|(name, _)| letters::same(name, wanted));
        let attribute = found.ok_or_else(none)?.1;
        let (way, name) = self.lock().on_host(self.root, id)?;
        let bytes = self.host.folder(&way)?.attribute_os(&name, &attribute)?;
        Ok(Box::new(Bytes(Arc::new(bytes.ok_or_else(none)?))))
    }

    /// `system.ntfs_reparse_data` and the like, of a file that is on the host.
    fn attribute(&self, id: NodeId, attribute: &str) -> Result<Option<Vec<u8>>> {
        if self.node(id)?.host.is_none() {
            return Ok(None);
        }
        let (way, name) = self.lock().on_host(self.root, id)?;
        self.host.folder(&way)?.attribute(&name, attribute)
    }

    /// The data of a reparse point, tag and length before it; `None` for others, and where the mount does not tell.
    pub(crate) fn reparse_data(&self, id: NodeId) -> Result<Option<Vec<u8>>> {
        if !self.mount.is_ntfs_3g || !self.node(id)?.is_reparse() {
            return Ok(None);
        }
        self.attribute(id, super::REPARSE)
    }

    /// When it was created and accessed last; `None` where the mount does not tell.
    pub(crate) fn created_and_accessed(&self, id: NodeId) -> Result<[Option<FileTime>; 2]> {
        let times = if self.mount.is_ntfs_3g { self.attribute(id, super::TIMES)? } else { None };
        let time = |at: usize| {
            let bytes = times.as_deref()?.get(at..at + 8)?;
            Some(FileTime(u64::from_le_bytes(bytes.try_into().ok()?)))
        };
        Ok([time(0), time(16)])
    }

    /// The 8.3 name beside the long one.
    pub(crate) fn short_name(&self, id: NodeId) -> Result<Option<Vec<u16>>> {
        if !self.mount.is_ntfs_3g || id.0 == self.root {
            return Ok(None);
        }
        let short = self.attribute(id, super::SHORT_NAME)?.map(|bytes| names::units(&OsString::from_vec(bytes)).0);
        // A name that is both long and short is told, too.
        let is_own = |short: &Vec<u16>| {
            let places = self.node(id).map(|node| node.origin).unwrap_or_default();
            places.iter().any(|(_, name)| letters::same(&names::units(name).0, short))
        };
        Ok(short.filter(|short| !short.is_empty() && !is_own(short)))
    }

    /// Every file that is there, with all but the root named.
    pub(crate) fn all(&self) -> Result<Vec<NodeId>> {
        self.survey_all()?;
        let state = self.lock();
        let stays = state.nodes.iter().filter(|(_, node)| node.fate == Fate::Stays);
        let mut out: Vec<NodeId> = stays.map(|(id, _)| NodeId(*id)).collect();
        out.sort_unstable();
        Ok(out)
    }

    /// `FILE_ATTRIBUTE_*`.
    pub(crate) fn attributes_of(&self, id: NodeId) -> Result<u32> {
        Ok(self.node(id)?.attributes)
    }
}

impl Tree for FolderTree {
    fn root(&self) -> NodeId {
        NodeId(self.root)
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        self.list(folder.0)?;
        let state = self.lock();
        let entries = state.folders.get(&folder.0).map_or(&[][..], Vec::as_slice);
        let exact = entries.iter().find(|entry| entry.name == name);
        let found = exact.or_else(|| entries.iter().find(|entry| letters::same(&entry.name, name)));
        Ok(found.map(|entry| NodeId(entry.node)))
    }

    fn entries(&self, folder: NodeId) -> Result<Vec<TreeEntry>> {
        self.list(folder.0)?;
        let state = self.lock();
        let entry = |entry: &Entry| -> Result<TreeEntry> {
            let node = state.node(NodeId(entry.node))?;
            Ok(TreeEntry {
                name: entry.name.clone(),
                node: NodeId(entry.node),
                is_dir: node.is_dir,
                is_reparse: node.is_reparse(),
                size: node.size(),
            })
        };
        state.folders.get(&folder.0).map_or(&[][..], Vec::as_slice).iter().map(entry).collect()
    }

    fn size(&self, node: NodeId) -> Result<u64> {
        Ok(self.node(node)?.size())
    }

    fn size_at_once(&self, node: NodeId) -> Result<usize> {
        let size = self.size(node)?;
        match usize::try_from(size) {
            Ok(len) if size <= MAX_AT_ONCE => Ok(len),
            _ => Err(Error::new(Kind::Limit, format!("{size} bytes, at most {MAX_AT_ONCE} are read at once"))),
        }
    }

    fn read(&self, node: NodeId) -> Result<Vec<u8>> {
        let mut reader = self.open(node)?;
        let mut out = vec![0; self.size_at_once(node)?];
        let got = reader.read_at(0, &mut out)?;
        if got < out.len() {
            return Err(Error::new(
                Kind::Conflict,
                format!("{got} of {} bytes can be read: the file shrank", out.len()),
            ));
        }
        Ok(out)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.open(node)?.read_at(offset, buf)
    }

    fn stat(&self, id: NodeId) -> Result<Stat> {
        let node = self.node(id)?;
        let mut streams = if node.is_dir { Vec::new() } else { vec![(Vec::new(), node.size())] };
        for (name, _) in self.named_streams(id)? {
            let size = self.open_stream(id, &name).map(|mut stream| length(&mut *stream));
            streams.push((name, size??));
        }
        let written = node.written.or(node.host.map(|stat| stat.written)).unwrap_or_default();
        Ok(Stat { is_dir: node.is_dir, is_reparse: node.is_reparse(), written, streams })
    }

    fn reader(&self, node: NodeId, name: &[u16]) -> Result<Box<dyn StreamRead + '_>> {
        self.open_stream(node, name).map(|reader| reader as Box<dyn StreamRead + '_>)
    }

    fn stream_at(&self, node: NodeId, name: &[u16], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.open_stream(node, name)?.read_at(offset, buf)
    }

    fn descriptor(&self, id: NodeId) -> Result<Vec<u8>> {
        let none = || Error::not_found("the mount says nothing of its security");
        let (way, name) = {
            let state = self.lock();
            match state.node(id)?.descriptors.1 {
                Some(number) => return state.now.get(number).cloned().ok_or_else(none),
                None if state.is_surveyed => return Err(none()),
                None => state.on_host(self.root, id)?,
            }
        };
        self.mount.descriptor_of(&self.host.folder(&way)?, &name)?.ok_or_else(none)
    }

    fn descriptors(&self) -> Result<Vec<Vec<u8>>> {
        self.survey_all()?;
        let state = self.lock();
        let used: BTreeSet<usize> = state.nodes.values().filter_map(|node| node.descriptors.1).collect();
        Ok(used.into_iter().filter_map(|number| state.now.get(number).cloned()).collect())
    }

    fn link_count(&self, id: NodeId) -> Result<usize> {
        let node = self.node(id)?;
        let Some(stat) = node.host.filter(|stat| stat.kind == HostKind::File) else { return Ok(1) };
        // ntfs-3g counts the 8.3 name.
        let short = usize::from(stat.links > 1 && self.short_name(id)?.is_some());
        Ok(usize::try_from(stat.links).unwrap_or(usize::MAX).saturating_sub(short).max(1))
    }

    fn path(&self, node: NodeId) -> Result<String> {
        let state = self.lock();
        state.node(node)?;
        let way = state.way_to_be(self.root, node.0)?;
        Ok(way.iter().map(|name| format!(r"\{}", utf16_lossy(&names::units(name).0))).collect())
    }

    fn survey(&self) -> Result<Survey> {
        const DOMAIN_TEXT: &str = "S-1-5-21-";
        self.survey_all()?;
        let domains: BTreeSet<DomainSid> = self
            .descriptors()?
            .iter()
            .flat_map(|bytes| {
                let offsets = Descriptor::sid_offsets(bytes).unwrap_or_default();
                offsets.into_iter().filter_map(|at| Sid::read(bytes.get(at..)?).ok()?.domain()).collect::<Vec<_>>()
            })
            .collect();
        let state = self.lock();
        let stays = || state.nodes.iter().filter(|(_, node)| node.fate == Fate::Stays);
        let sorted = |wanted: &dyn Fn(&Node) -> bool| {
            let mut out: Vec<NodeId> = stays().filter(|(_, node)| wanted(node)).map(|(id, _)| NodeId(*id)).collect();
            out.sort_unstable();
            out
        };
        let is_named = |node: &Node| node.places.iter().any(|(_, name)| name.to_string_lossy().contains(DOMAIN_TEXT));
        Ok(Survey {
            files: stays().count() as u64,
            encrypted: sorted(&|node| node.attributes & ENCRYPTED != 0),
            named_after_sids: sorted(&is_named),
            domains,
            findings: state.findings.clone(),
        })
    }

    /// A mount shows no structure that could be checked.
    fn check(&self) -> Result<Vec<Finding>> {
        self.survey_all()?;
        Ok(self.lock().findings.clone())
    }
}

/// Bytes of a stream.
fn length(stream: &mut dyn StreamRead) -> Result<u64> {
    let (mut buf, mut at) = (vec![0; 64 << 10], 0);
    loop {
        match stream.read_at(at, &mut buf)? {
            0 => return Ok(at),
            n => at += n as u64,
        }
    }
}
