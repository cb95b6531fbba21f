//! Changing an image of a WIM in memory.

use super::tree::{NewContent, WimTree, node};
use crate::tree::{DescriptorCounts, NewSecurity, NodeId, Tree, TreeEdit};
use reseal_dtyp::{Error, FileTime, Kind, Result, utf16_lossy};
use reseal_sid::SidMap;
use reseal_wim::{FileId, NewFile, Sha1Hash, Stream, StreamKind, Times, hash_of};
use std::sync::Arc;

/// `FILE_ATTRIBUTE_DIRECTORY` and `FILE_ATTRIBUTE_ARCHIVE`.
const DIRECTORY: u32 = 0x10;
const ARCHIVE: u32 = 0x20;

impl WimTree {
    /// Keeps a content that is to be written, in place of an earlier one. Its SHA-1; zeros for the empty one.
    fn keep(&mut self, data: Vec<u8>, before: Option<Sha1Hash>) -> Sha1Hash {
        let hash = hash_of(&data);
        if !data.is_empty() {
            // What was new itself stands for what the WIM has.
            let earlier = before.and_then(|before| self.new.get(&before).map_or(Some(before), |new| new.earlier));
            self.new.entry(hash).or_insert_with(|| NewContent { bytes: Arc::new(data), earlier });
        }
        hash
    }

    fn security(&mut self, new: NewSecurity<'_>) -> Result<Option<u32>> {
        Ok(match new {
            NewSecurity::SameAs(node) => self.image.security(self.file(node)?),
            NewSecurity::Descriptor(bytes) => Some(self.image.add_descriptor(bytes)),
        })
    }

    fn create(&mut self, folder: NodeId, name: &str, file: NewFile) -> Result<NodeId> {
        let units: Vec<u16> = name.encode_utf16().collect();
        if self.lookup(folder, &units)?.is_some() {
            return Err(Error::new(Kind::Conflict, format!("the folder has the name {name} already")));
        }
        let folder = self.file(folder)?;
        self.changed();
        Ok(node(self.image.create(folder, &units, &[], file)))
    }
}

impl TreeEdit for WimTree {
    fn replace(&mut self, node: NodeId, data: &[u8], now: FileTime) -> Result<()> {
        self.replace_with(node, data.to_vec(), now)
    }

    fn replace_with(&mut self, node: NodeId, data: Vec<u8>, now: FileTime) -> Result<()> {
        let file = self.file(node)?;
        let Some(before) = self.image.content(file).map(|stream| stream.hash) else {
            let what = "a folder, a reparse point, or encrypted";
            return Err(Error::unsupported(format!("it has no content that could be replaced: it is {what}")));
        };
        let hash = self.keep(data, Some(before));
        self.image.set_stream(file, &[], hash);
        self.image.set_times(file, Times { written: now, ..self.image.times(file) });
        self.changed();
        Ok(())
    }

    /// Contents have a SHA-1: none is changed where it lies.
    fn overwrite(&mut self, _node: NodeId, _pieces: &[(u64, &[u8])], _now: FileTime) -> Result<bool> {
        Ok(false)
    }

    fn create_file(
        &mut self,
        folder: NodeId,
        name: &str,
        data: &[u8],
        new: NewSecurity<'_>,
        now: FileTime,
    ) -> Result<NodeId> {
        let (security, hash) = (self.security(new)?, self.keep(data.to_vec(), None));
        let content = Stream { kind: StreamKind::Data, name: Vec::new(), hash };
        let times = Times { created: now, accessed: now, written: now };
        let file = NewFile { attributes: ARCHIVE, security, times, streams: vec![content], reparse_tag: 0 };
        self.create(folder, name, file)
    }

    fn create_dir(&mut self, folder: NodeId, name: &str, new: NewSecurity<'_>, now: FileTime) -> Result<NodeId> {
        let security = self.security(new)?;
        let times = Times { created: now, accessed: now, written: now };
        self.create(folder, name, NewFile { attributes: DIRECTORY, security, times, ..NewFile::default() })
    }

    fn move_to(&mut self, node: NodeId, folder: NodeId, name: &str, _now: FileTime) -> Result<()> {
        let (file, units) = (self.file(node)?, name.encode_utf16().collect::<Vec<u16>>());
        let names = self.image.names(file).count();
        if names != 1 {
            return Err(Error::unsupported(format!("it has {names} names")));
        }
        if self.lookup(folder, &units)?.is_some() {
            return Err(Error::new(Kind::Conflict, format!("the folder has the name {name} already")));
        }
        self.image.move_to(file, self.file(folder)?, &units);
        self.changed();
        Ok(())
    }

    fn remove(&mut self, node: NodeId, _now: FileTime) -> Result<()> {
        self.image.remove(self.file(node)?)?;
        self.changed();
        Ok(())
    }

    fn remove_tree(&mut self, node: NodeId, _now: FileTime) -> Result<u64> {
        let gone = self.image.remove_tree(self.file(node)?)?;
        self.changed();
        Ok(gone)
    }

    fn rename_sids(&mut self, node: NodeId, map: &SidMap, _now: FileTime) -> Result<usize> {
        let file = self.file(node)?;
        let names: Vec<(FileId, Vec<u16>)> =
            self.image.names(file).map(|(folder, entry)| (folder, entry.name.clone())).collect();
        let mut renamed = 0;
        for (folder, old) in names {
            if let Some(new) = map.rewrite_units(&old) {
                self.image.rename(file, folder, &old, &new).map_err(|e| e.within(utf16_lossy(&old)))?;
                renamed += 1;
            }
        }
        if renamed > 0 {
            self.changed();
        }
        Ok(renamed)
    }

    fn set_descriptor(&mut self, node: NodeId, descriptor: &[u8]) -> Result<()> {
        let file = self.file(node)?;
        let security = self.image.add_descriptor(descriptor);
        self.image.set_security(file, Some(security));
        self.changed();
        Ok(())
    }

    fn map_descriptors(&mut self, map: &SidMap) -> Result<DescriptorCounts> {
        let mut counts = DescriptorCounts::default();
        for (index, descriptor) in self.image.descriptors_mut().enumerate() {
            let done = map.rewrite_descriptor(descriptor).map_err(|e| e.within(format!("descriptor {index}")))?;
            counts.unique += 1;
            counts.changed += usize::from(done.total() > 0);
            counts.sids += done.total();
        }
        if counts.changed > 0 {
            self.changed();
        }
        Ok(counts)
    }

    fn schedule_check(&mut self) -> Result<bool> {
        Err(Error::unsupported("an image of a WIM is no volume that Windows could check"))
    }
}
