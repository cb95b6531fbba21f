//! An NTFS volume as a [`Tree`].

use crate::tree::{DescriptorCounts, NewSecurity, NodeId, Stat, StreamRead, Survey, Tree, TreeEdit, TreeEntry};
use memchr::memmem::Finder;
use reseal_dtyp::{Descriptor, DomainSid, Error, FileTime, Finding, Kind, Result, Sid, utf16le};
use reseal_ntfs::{
    FileRecord, FileReference, NameView, Namespace, Security, ShadowCopy, ShadowHeader, StreamReader, Visitor, Volume,
};
use reseal_sid::SidMap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// FILE_ATTRIBUTE_REPARSE_POINT and FILE_ATTRIBUTE_ENCRYPTED.
const REPARSE_POINT: u32 = 0x400;
const ENCRYPTED: u32 = 0x4000;

/// The adapter.
#[derive(Debug)]
pub(crate) struct NtfsTree {
    pub(crate) volume: Volume,
}

fn file(node: NodeId) -> FileReference {
    FileReference(node.0)
}

fn security(security: NewSecurity<'_>) -> Security<'_> {
    match security {
        NewSecurity::SameAs(node) => Security::SameAs(file(node)),
        NewSecurity::Descriptor(bytes) => Security::Descriptor(bytes),
    }
}

/// What the steps need to know of single files and descriptors. Whose SIDs they are is known only after the hives are read,
/// which happens at the same time.
#[derive(Default)]
struct Census {
    files: AtomicU64,
    encrypted: Mutex<Vec<NodeId>>,
    named_after_sids: Mutex<Vec<NodeId>>,
    domains: Mutex<BTreeSet<DomainSid>>,
}

/// `S-1-5-21-`, with which the text of the SID of any machine or domain begins.
static DOMAIN_TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&utf16le("S-1-5-21-")).into_owned());

impl Visitor for Census {
    fn record(&self, record: &FileRecord<'_>) {
        if let Some(standard) = record.standard_information() {
            self.files.fetch_add(1, Ordering::Relaxed);
            if standard.attributes & ENCRYPTED != 0 {
                self.encrypted.lock().unwrap_or_else(PoisonError::into_inner).push(NodeId(record.owner().0));
            }
        }
        // Most records are told by one search over all their bytes.
        let in_name = |name: NameView<'_>| DOMAIN_TEXT.find(name.name_bytes()).is_some();
        if DOMAIN_TEXT.find(record.bytes()).is_some() && record.names().any(in_name) {
            self.named_after_sids.lock().unwrap_or_else(PoisonError::into_inner).push(NodeId(record.owner().0));
        }
    }

    fn descriptor(&self, descriptor: &[u8]) {
        let offsets = Descriptor::sid_offsets(descriptor).unwrap_or_default();
        let domains = offsets.into_iter().filter_map(|at| Sid::read(&descriptor[at..]).ok()?.domain());
        self.domains.lock().unwrap_or_else(PoisonError::into_inner).extend(domains);
    }
}

impl StreamRead for StreamReader<'_> {
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        StreamReader::read_at(self, offset, buf)
    }
}

impl Tree for NtfsTree {
    fn root(&self) -> NodeId {
        NodeId(self.volume.root().0)
    }

    fn lookup(&self, folder: NodeId, name: &[u16]) -> Result<Option<NodeId>> {
        Ok(self.volume.lookup(file(folder), name)?.map(|f| NodeId(f.0)))
    }

    fn entries(&self, folder: NodeId) -> Result<Vec<TreeEntry>> {
        let entries = self.volume.entries(file(folder))?;
        let long = entries.into_iter().filter(|e| e.namespace != Namespace::Dos);
        Ok(long
            .map(|e| TreeEntry {
                is_dir: e.is_directory(),
                is_reparse: e.attributes & REPARSE_POINT != 0,
                size: e.size,
                node: NodeId(e.reference.0),
                name: e.name,
            })
            .collect())
    }

    fn size(&self, node: NodeId) -> Result<u64> {
        self.volume.size(file(node), &[])
    }

    fn size_at_once(&self, node: NodeId) -> Result<usize> {
        self.volume.stream(file(node), &[])?.size_at_once()
    }

    fn read(&self, node: NodeId) -> Result<Vec<u8>> {
        self.volume.read(file(node), &[])
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.volume.read_at(file(node), &[], offset, buf)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let stat = self.volume.stat(file(node))?;
        Ok(Stat {
            is_dir: stat.is_directory,
            is_reparse: stat.reparse_tag.is_some(),
            written: stat.standard.times[1],
            streams: stat.streams.into_iter().map(|stream| (stream.name, stream.size)).collect(),
        })
    }

    fn reader(&self, node: NodeId, name: &[u16]) -> Result<Box<dyn StreamRead + '_>> {
        Ok(Box::new(self.volume.stream(file(node), name)?))
    }

    fn stream_at(&self, node: NodeId, name: &[u16], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.volume.read_at(file(node), name, offset, buf)
    }

    fn descriptor(&self, node: NodeId) -> Result<Vec<u8>> {
        self.volume.descriptor(file(node))
    }

    fn efs_metadata(&self, node: NodeId) -> Result<Option<Vec<u8>>> {
        self.volume.efs_metadata(file(node))
    }

    fn descriptors(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.volume.descriptors()?.into_iter().map(|(_, bytes)| bytes).collect())
    }

    fn link_count(&self, node: NodeId) -> Result<usize> {
        Ok(self.volume.names_of(file(node))?.iter().filter(|name| name.namespace != Namespace::Dos).count())
    }

    fn path(&self, node: NodeId) -> Result<String> {
        Ok(self.volume.path_of(file(node))?.replace('/', "\\"))
    }

    fn survey(&self) -> Result<Survey> {
        let census = Census::default();
        let findings = self.volume.preflight_with(&census)?;
        let sorted = |nodes: Mutex<Vec<NodeId>>| {
            let mut nodes = nodes.into_inner().unwrap_or_else(PoisonError::into_inner);
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        };
        Ok(Survey {
            files: census.files.into_inner(),
            encrypted: sorted(census.encrypted),
            named_after_sids: sorted(census.named_after_sids),
            domains: census.domains.into_inner().unwrap_or_else(PoisonError::into_inner),
            findings,
        })
    }

    fn shadow_header(&self) -> Result<ShadowHeader> {
        self.volume.shadow_header()
    }

    fn shadow_catalog(&self, offset: u64) -> Result<Vec<ShadowCopy>> {
        self.volume.shadow_catalog(offset)
    }

    fn check(&self) -> Result<Vec<Finding>> {
        self.volume.check()
    }
}

impl TreeEdit for NtfsTree {
    fn replace(&mut self, node: NodeId, data: &[u8], now: FileTime) -> Result<()> {
        self.volume.replace(file(node), &[], data, now)
    }

    fn overwrite(&mut self, node: NodeId, pieces: &[(u64, &[u8])], now: FileTime) -> Result<bool> {
        self.volume.overwrite(file(node), &[], pieces, now)
    }

    fn create_file(
        &mut self,
        folder: NodeId,
        name: &str,
        data: &[u8],
        new: NewSecurity<'_>,
        now: FileTime,
    ) -> Result<NodeId> {
        Ok(NodeId(self.volume.create_file(file(folder), name, data, security(new), now)?.0))
    }

    fn create_dir(&mut self, folder: NodeId, name: &str, new: NewSecurity<'_>, now: FileTime) -> Result<NodeId> {
        Ok(NodeId(self.volume.create_dir(file(folder), name, security(new), now)?.0))
    }

    fn move_to(&mut self, node: NodeId, folder: NodeId, name: &str, now: FileTime) -> Result<()> {
        let names = self.volume.names_of(file(node))?;
        let long: Vec<_> = names.iter().filter(|name| name.namespace != Namespace::Dos).collect();
        let [old] = long[..] else {
            return Err(Error::new(Kind::Unsupported, format!("it has {} names, and only one would move", long.len())));
        };
        let new: Vec<u16> = name.encode_utf16().collect();
        self.volume.rename_to(file(node), old, file(folder), &new, now)
    }

    fn remove(&mut self, node: NodeId, now: FileTime) -> Result<()> {
        self.volume.remove(file(node), now)
    }

    fn remove_tree(&mut self, node: NodeId, now: FileTime) -> Result<u64> {
        Ok(self.volume.remove_tree(file(node), now)?.files)
    }

    fn rename_sids(&mut self, node: NodeId, map: &SidMap, now: FileTime) -> Result<usize> {
        let mut renamed = 0;
        for name in self.volume.names_of(file(node))? {
            // An 8.3 twin is too short for a SID; it follows its long name.
            if let Some(new) = map.rewrite_units(&name.name) {
                self.volume.rename(file(node), &name, &new, now)?;
                renamed += 1;
            }
        }
        Ok(renamed)
    }

    fn set_descriptor(&mut self, node: NodeId, descriptor: &[u8]) -> Result<()> {
        self.volume.set_security_id(file(node), Security::Descriptor(descriptor))
    }

    fn map_descriptors(&mut self, map: &SidMap) -> Result<DescriptorCounts> {
        let done = self.volume.rewrite_sids(map)?;
        let changed = done.changed + done.own_descriptors;
        Ok(DescriptorCounts {
            unique: done.descriptors + done.own_descriptors,
            changed,
            sids: done.sids,
            quota_reordered: done.quota_reordered,
        })
    }

    fn schedule_check(&mut self) -> Result<bool> {
        self.volume.schedule_check()
    }

    fn clear_shadow_header(&mut self) -> Result<bool> {
        self.volume.clear_shadow_header()
    }
}
