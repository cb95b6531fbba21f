//! An NTFS volume as a side of the comparison.

use super::content::{Budget, Source};
use super::side::{Child, FileFacts, Files, SecurityOf};
use crate::tree::NodeId;
use reseal_dtyp::{Error, Kind, Result};
use reseal_ntfs::{FileReference, FileStat, Namespace, Volume};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// Records below this one are the volume's own files; the root folder is one of them.
const FIRST_USER_RECORD: u64 = 24;
const ROOT_RECORD: u64 = 5;
/// The list of bad clusters is as long as the volume, and none of it is stored.
const BAD_CLUSTERS_RECORD: u64 = 8;
/// The tag of files that WOF compresses (`IO_REPARSE_TAG_WOF`).
const WOF: u32 = 0x8000_0017;

mod attribute {
    pub(super) const DIRECTORY: u32 = 0x10;
    pub(super) const SPARSE: u32 = 0x200;
    pub(super) const REPARSE_POINT: u32 = 0x400;
    pub(super) const COMPRESSED: u32 = 0x800;
    /// Those that a WIM holds: what is above says how a volume stores and indexes.
    pub(super) const OF_A_WIM: u32 = 0x7fff;
}

/// The adapter.
pub(super) struct NtfsSide<'v> {
    volume: &'v Volume,
    /// The descriptors of the volume's store by id; empty when it is damaged, and each file tells of its own descriptor.
    store: HashMap<u32, Vec<u8>>,
    budget: Budget,
    /// The other side is an image of a WIM: what such a one cannot hold is not told.
    against_wim: bool,
}

impl<'v> NtfsSide<'v> {
    pub(super) fn new(volume: &'v Volume, against_wim: bool) -> NtfsSide<'v> {
        let store = volume.descriptors().map(|list| list.into_iter().collect()).unwrap_or_default();
        NtfsSide { volume, store, budget: Budget::of(volume), against_wim }
    }

    /// WOF's reparse point is how the content is stored; a WIM holds the content.
    fn hides_reparse(&self, stat: &FileStat) -> bool {
        self.against_wim && stat.reparse_tag == Some(WOF)
    }

    fn attributes(&self, stat: &FileStat) -> u32 {
        let mut out = stat.standard.attributes;
        if self.against_wim {
            out &= attribute::OF_A_WIM;
            out |= if stat.is_directory { attribute::DIRECTORY } else { 0 };
        }
        if self.hides_reparse(stat) {
            out &= !(attribute::REPARSE_POINT | attribute::SPARSE | attribute::COMPRESSED);
        }
        out
    }
}

fn reference(file: NodeId) -> FileReference {
    FileReference(file.0)
}

/// Names of the streams; the packed form of a WOF file is not a stream of its own.
fn stream_names(stat: &FileStat) -> impl Iterator<Item = &[u16]> {
    let packed: Vec<u16> = "WofCompressedData".encode_utf16().collect();
    let counts = move |name: &&[u16]| stat.wof.is_none() || *name != packed.as_slice();
    let is_told = stat.reference.record() != BAD_CLUSTERS_RECORD;
    stat.streams.iter().filter(move |_| is_told).map(|s| s.name.as_slice()).filter(counts)
}

impl Files for NtfsSide<'_> {
    fn root(&self) -> NodeId {
        NodeId(self.volume.root().0)
    }

    fn children(&self, folder: NodeId) -> Result<Vec<Child>> {
        let folder = reference(folder);
        let is_root = folder == self.volume.root();
        let is_own = |file: FileReference| is_root && file.record() < FIRST_USER_RECORD && file.record() != ROOT_RECORD;
        let entries = self.volume.entries(folder)?;
        let named = entries.into_iter().filter(|e| e.namespace != Namespace::Dos && e.reference != folder);
        let mut out: Vec<Child> = named
            .map(|e| Child {
                is_folder: e.is_directory(),
                is_system: is_own(e.reference),
                size: e.size,
                file: NodeId(e.reference.0),
                name: e.name.into(),
            })
            .filter(|child| !(self.against_wim && child.is_system))
            .collect();
        // By code units: the order of the index depends on each volume's own table of capitals.
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out.dedup_by(|a, b| a.name == b.name);
        Ok(out)
    }

    fn facts(&self, file: NodeId) -> Result<FileFacts> {
        let stat = self.volume.stat(reference(file))?;
        let mut times = stat.standard.times.map(Some);
        if self.against_wim {
            times[2] = None;
        }
        let dos = stat.names.iter().filter(|name| name.namespace == Namespace::Dos);
        let id = stat.standard.security_id.filter(|id| *id != 0);
        let security = match id {
            Some(id) => SecurityOf::Id(id),
            None if stat.own_descriptor => SecurityOf::Own,
            None => SecurityOf::Nothing,
        };
        Ok(FileFacts {
            file,
            is_directory: stat.is_directory,
            attributes: self.attributes(&stat),
            times,
            reparse_tag: stat.reparse_tag.filter(|_| !self.hides_reparse(&stat)),
            short_names: dos.map(|name| name.name.clone()).collect(),
            streams: stream_names(&stat).map(|name| (name.to_vec(), None)).collect(),
            security,
        })
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        Ok(self.volume.lookup(reference(folder), name)?.map(|file| NodeId(file.0)))
    }

    fn starts_with(&self, file: NodeId, magic: &[u8; 4]) -> Result<bool> {
        let mut start = [0; 4];
        Ok(self.volume.read_at(reference(file), &[], 0, &mut start)? == 4 && start == *magic)
    }

    /// One that is encrypted, or whose content lies elsewhere, as it is stored.
    fn open(&self, file: NodeId, name: &[u16]) -> Result<Source<'_>> {
        let reader = match self.volume.stream(reference(file), name) {
            Err(e) if e.kind() == Kind::Unsupported => self.volume.stored_stream(reference(file), name)?,
            other => other?,
        };
        let extent = reader.extent()?;
        self.budget.take(extent.stored)?;
        let size = reader.size();
        Ok(Source::new(Box::new(reader), size, extent.zeros))
    }

    fn read(&self, file: NodeId, max: usize) -> Result<Vec<u8>> {
        let reader = self.volume.stream(reference(file), &[])?;
        let len = reader.size_at_once()?;
        if len > max {
            return Err(Error::new(Kind::Limit, format!("{len} bytes; hives of at most {max} are compared")));
        }
        reader.read_all()
    }

    fn reparse_data(&self, file: NodeId) -> Result<Option<Vec<u8>>> {
        self.volume.reparse_data(reference(file))
    }

    fn descriptor(&self, facts: &FileFacts) -> Result<Option<Cow<'_, [u8]>>> {
        let known = match facts.security {
            SecurityOf::Nothing => return Ok(None),
            SecurityOf::Id(id) => self.store.get(&id),
            SecurityOf::Own => None,
        };
        if let Some(bytes) = known {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        self.volume.descriptor(reference(facts.file)).map(|bytes| Some(Cow::Owned(bytes)))
    }

    fn descriptors(&self) -> HashSet<&[u8]> {
        self.store.values().map(Vec::as_slice).collect()
    }

    fn check(&self) -> Result<()> {
        self.budget.check()
    }
}
