//! What is known of the files of a folder, and what is staged for them: read from the mount when it is first asked for, and
//! never again, so that a plan sees one state.

use super::host::{Host, HostKind, HostStat, Way};
use super::{Mount, names};
use crate::tree::NodeId;
use rayon::prelude::*;
use reseal_dtyp::{Error, FileTime, Finding, Kind, Level, Result, utf16_lossy};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// More files than any Windows has; who lists more has no end.
const MAX_FILES: usize = 1 << 24;
/// Units of a path (Windows' limit), and so the most folders that can lie in each other.
const MAX_DEPTH: usize = 32_767 / 2;
/// Ids of files that are not there yet begin here.
const FIRST_NEW: u64 = 1 << 63;
/// `FILE_ATTRIBUTE_DIRECTORY` and `FILE_ATTRIBUTE_REPARSE_POINT`.
pub(super) const DIRECTORY: u32 = 0x10;
pub(super) const REPARSE_POINT: u32 = 0x400;
/// Records of a volume's own files, which ntfs-3g lists when it is told to (`show_sys_files`).
const FIRST_USER_RECORD: u64 = 24;

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u16>,
    pub(super) host: OsString,
    pub(super) node: u64,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub(super) enum Content {
    /// As the mount has them.
    Stored,
    /// These.
    Whole(Arc<Vec<u8>>),
    /// As the mount has them, with these pieces over them, which lie inside; byte offset and bytes.
    Pieces(Arc<BTreeMap<u64, Vec<u8>>>),
}

/// Whether a file stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    Goes,
}

/// A file or folder.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// As it is on the host; `None` for a new one.
    pub(super) host: Option<HostStat>,
    pub(super) is_dir: bool,
    /// `FILE_ATTRIBUTE_*`.
    pub(super) attributes: u32,
    /// Names that it has on the host and that were seen: folder and name.
    pub(super) origin: Vec<(u64, OsString)>,
    /// Names that it will have.
    pub(super) places: Vec<(u64, OsString)>,
    pub(super) content: Content,
    /// When its content changes.
    pub(super) written: Option<FileTime>,
    /// Its descriptor on the host, and the one that it will have, by number.
    pub(super) descriptors: (Option<usize>, Option<usize>),
    pub(super) fate: Fate,
}

impl Node {
    pub(super) fn is_reparse(&self) -> bool {
        let kind = self.host.map(|stat| stat.kind);
        self.attributes & REPARSE_POINT != 0 || matches!(kind, Some(HostKind::Link | HostKind::Special))
    }

    /// Whether its names can be listed.
    pub(super) fn is_open(&self) -> bool {
        self.is_dir && !self.is_reparse()
    }

    pub(super) fn size(&self) -> u64 {
        match (&self.content, &self.host) {
            (Content::Whole(bytes), _) => bytes.len() as u64,
            (_, Some(stat)) if stat.kind == HostKind::File => stat.size,
            _ => 0,
        }
    }
}

/// Everything that is known.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) nodes: HashMap<u64, Node>,
    /// The names in each folder that was listed, as staged.
    pub(super) folders: HashMap<u64, Vec<Entry>>,
    /// The same as they are on the host.
    pub(super) listed: HashMap<u64, Arc<Vec<Entry>>>,
    /// Unique descriptors of the host, and what becomes of each; new ones behind them.
    pub(super) was: Vec<Vec<u8>>,
    pub(super) now: Vec<Vec<u8>>,
    known: HashMap<Vec<u8>, usize>,
    pub(super) findings: Vec<Finding>,
    /// Whether every folder was listed and every descriptor read.
    pub(super) is_surveyed: bool,
    new: u64,
}

/// What the mount says of one name.
struct Seen {
    host: OsString,
    stat: HostStat,
    attributes: u32,
}

/// The folder with what is staged for it.
#[derive(Debug)]
pub(crate) struct FolderTree {
    pub(super) host: Arc<Host>,
    pub(super) mount: Mount,
    pub(super) root: u64,
    pub(super) state: Mutex<State>,
}

impl Clone for FolderTree {
    fn clone(&self) -> FolderTree {
        let state = Mutex::new(self.lock().clone());
        FolderTree { host: Arc::clone(&self.host), mount: self.mount, root: self.root, state }
    }
}

impl State {
    pub(super) fn node(&self, node: NodeId) -> Result<&Node> {
        let found = self.nodes.get(&node.0).filter(|found| found.fate == Fate::Stays);
        found.ok_or_else(|| Error::not_found(format!("the folder has no file {}", node.0)))
    }

    pub(super) fn node_mut(&mut self, node: NodeId) -> Result<&mut Node> {
        let found = self.nodes.get_mut(&node.0).filter(|found| found.fate == Fate::Stays);
        found.ok_or_else(|| Error::not_found(format!("the folder has no file {}", node.0)))
    }

    /// The way to a folder on the host, or the name that a file has there.
    pub(super) fn way(&self, root: u64, folder: u64) -> Result<Way> {
        self.climb(root, folder, |node| node.origin.first())
    }

    /// The same as it will be.
    pub(super) fn way_to_be(&self, root: u64, folder: u64) -> Result<Way> {
        self.climb(root, folder, |node| node.places.first())
    }

    fn climb(&self, root: u64, from: u64, up: impl Fn(&Node) -> Option<&(u64, OsString)>) -> Result<Way> {
        let (mut at, mut way) = (from, Way::new());
        while at != root {
            let node = self.nodes.get(&at).ok_or_else(|| Error::not_found(format!("the folder has no file {at}")))?;
            let (folder, name) =
                up(node).ok_or_else(|| Error::not_found(format!("the file {at} has no name there")))?;
            way.push(name.clone());
            at = *folder;
            if way.len() > MAX_DEPTH {
                return Err(Error::new(Kind::Limit, format!("more than {MAX_DEPTH} folders in each other")));
            }
        }
        way.reverse();
        Ok(way)
    }

    /// Where a file is on the host: the way to its folder, and its name.
    pub(super) fn on_host(&self, root: u64, node: NodeId) -> Result<(Way, OsString)> {
        if node.0 == root {
            return Ok((Way::new(), OsString::from(".")));
        }
        let mut way = self.way(root, node.0)?;
        let name = way.pop().ok_or_else(|| Error::not_found("a file without a name"))?;
        Ok((way, name))
    }

    /// Takes in the names of a folder, unless that was done.
    fn take(&mut self, folder: u64, seen: Vec<Seen>) -> Result<()> {
        if self.listed.contains_key(&folder) {
            return Ok(());
        }
        if self.nodes.len() + seen.len() > MAX_FILES {
            return Err(Error::new(Kind::Limit, format!("more than {MAX_FILES} files")));
        }
        let mut entries = Vec::with_capacity(seen.len());
        for Seen { host, stat, attributes } in seen {
            let (name, is_exact) = names::units(&host);
            if stat.ino >= FIRST_NEW {
                return Err(Error::new(Kind::Limit, format!("{} has the inode {}", host.display(), stat.ino)));
            }
            if !is_exact {
                let detail = "no name of Windows: it is left alone";
                self.findings.push(Finding::new(Level::Note, "folder-name", utf16_lossy(&name), detail));
            }
            if stat.kind == HostKind::Special {
                let detail = "a device, a pipe, a socket or another mount: it is left alone";
                self.findings.push(Finding::new(Level::Note, "folder-special", utf16_lossy(&name), detail));
            }
            let is_dir = stat.kind == HostKind::Folder || attributes & DIRECTORY != 0;
            let node = self.nodes.entry(stat.ino).or_insert(Node {
                host: Some(stat),
                is_dir,
                attributes,
                origin: Vec::new(),
                places: Vec::new(),
                content: Content::Stored,
                written: None,
                descriptors: (None, None),
                fate: Fate::Stays,
            });
            if node.is_dir && !node.origin.is_empty() {
                let detail = format!("{}: a folder (inode {}) in two places", host.display(), stat.ino);
                return Err(Error::new(Kind::Damaged, detail));
            }
            node.origin.push((folder, host.clone()));
            node.places.push((folder, host.clone()));
            entries.push(Entry { name, host, node: stat.ino });
        }
        self.folders.insert(folder, entries.clone());
        self.listed.insert(folder, Arc::new(entries));
        Ok(())
    }

    /// The number of a descriptor of the host.
    fn intern(&mut self, bytes: Vec<u8>) -> usize {
        let State { was, now, known, .. } = self;
        *known.entry(bytes).or_insert_with_key(|bytes| {
            was.push(bytes.clone());
            now.push(bytes.clone());
            was.len() - 1
        })
    }

    /// The number of a descriptor that a file will have.
    pub(super) fn descriptor_to_be(&mut self, bytes: &[u8]) -> usize {
        let found = self.now.iter().position(|known| known == bytes);
        found.unwrap_or_else(|| {
            self.now.push(bytes.to_vec());
            self.now.len() - 1
        })
    }

    /// A node for a new file or folder.
    pub(super) fn add(&mut self, node: Node, folder: u64, name: Vec<u16>, host: OsString) -> NodeId {
        let id = FIRST_NEW + self.new;
        self.new += 1;
        if node.is_dir {
            self.folders.insert(id, Vec::new());
            self.listed.insert(id, Arc::default());
        }
        self.nodes.insert(id, Node { places: vec![(folder, host.clone())], ..node });
        self.folders.entry(folder).or_default().push(Entry { name, host, node: id });
        NodeId(id)
    }
}

impl FolderTree {
    /// The root must be a folder.
    pub(super) fn new(host: Arc<Host>, mount: Mount) -> Result<FolderTree> {
        let folder = host.folder(&[])?;
        let here = OsStr::new(".");
        let stat = folder.stat(here)?;
        let attributes = mount.attributes_of(&folder, here, &stat)?;
        let root = Node {
            host: Some(stat),
            is_dir: true,
            attributes: attributes & !REPARSE_POINT,
            origin: Vec::new(),
            places: Vec::new(),
            content: Content::Stored,
            written: None,
            descriptors: (None, None),
            fate: Fate::Stays,
        };
        let mut state = State::default();
        state.nodes.insert(stat.ino, root);
        Ok(FolderTree { host, mount, root: stat.ino, state: Mutex::new(state) })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists a folder, unless that was done.
    pub(super) fn list(&self, folder: u64) -> Result<()> {
        let way = {
            let state = self.lock();
            if state.listed.contains_key(&folder) {
                return Ok(());
            }
            if !state.node(NodeId(folder))?.is_open() {
                return Err(Error::unsupported("it is no folder whose names can be listed"));
            }
            state.way(self.root, folder)?
        };
        let seen = self.see(folder, &way)?;
        self.lock().take(folder, seen)
    }

    fn see(&self, id: u64, way: &[OsString]) -> Result<Vec<Seen>> {
        let folder = self.host.folder(way)?;
        let mut out = Vec::new();
        for host in folder.names(MAX_FILES)? {
            let stat = folder.stat(&host)?;
            let is_own = id == self.root && stat.ino < FIRST_USER_RECORD && host.as_encoded_bytes().starts_with(b"$");
            if is_own && self.mount.descriptors.is_some() {
                continue;
            }
            let attributes = self.mount.attributes_of(&folder, &host, &stat)?;
            out.push(Seen { host, stat, attributes });
        }
        Ok(out)
    }

    /// Lists every folder and reads every descriptor, level by level, side by side.
    pub(super) fn survey_all(&self) -> Result<()> {
        if self.lock().is_surveyed {
            return Ok(());
        }
        self.read_descriptors_of_root()?;
        let mut level = vec![self.root];
        for _ in 0..=MAX_DEPTH {
            if level.is_empty() {
                break;
            }
            level.par_iter().try_for_each(|folder| self.list(*folder))?;
            let read: Vec<_> = level.par_iter().map(|folder| self.descriptors_in(*folder)).collect::<Result<_>>()?;
            let mut state = self.lock();
            // One after the other, in order: numbers of descriptors do not depend on the threads.
            for (node, descriptor) in read.into_iter().flatten() {
                let number = descriptor.map(|bytes| state.intern(bytes));
                if let Some(node) = state.nodes.get_mut(&node) {
                    node.descriptors = (number, number);
                }
            }
            let below = level.iter().filter_map(|folder| state.listed.get(folder)).flat_map(|list| list.iter());
            let open = below.map(|entry| entry.node).filter(|node| state.nodes.get(node).is_some_and(Node::is_open));
            let next: Vec<u64> = open.collect();
            drop(state);
            level = next;
        }
        self.lock().is_surveyed = true;
        Ok(())
    }

    fn read_descriptors_of_root(&self) -> Result<()> {
        let own = self.mount.descriptor_of(&self.host.folder(&[])?, OsStr::new("."))?;
        let mut state = self.lock();
        let number = own.map(|bytes| state.intern(bytes));
        let root = self.root;
        state.node_mut(NodeId(root))?.descriptors = (number, number);
        Ok(())
    }

    fn descriptors_in(&self, folder: u64) -> Result<Vec<(u64, Option<Vec<u8>>)>> {
        let (way, names) = {
            let state = self.lock();
            (state.way(self.root, folder)?, state.listed.get(&folder).cloned().unwrap_or_default())
        };
        let folder = self.host.folder(&way)?;
        let read = |entry: &Entry| {
            let descriptor = self.mount.descriptor_of(&folder, &entry.host);
            descriptor.map(|bytes| (entry.node, bytes)).map_err(|e| e.within(entry.host.display()))
        };
        names.iter().map(read).collect()
    }
}
