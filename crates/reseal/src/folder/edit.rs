//! Changing a folder in memory.

use super::host::HostKind;
use super::names;
use super::nodes::{Content, DIRECTORY, Fate, FolderTree, Node, State};
use super::tree::ENCRYPTED;
use crate::tree::{DescriptorCounts, NewSecurity, NodeId, Tree, TreeEdit};
use reseal_dtyp::{Error, FileTime, Kind, Result, utf16_lossy};
use reseal_sid::SidMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

/// `FILE_ATTRIBUTE_ARCHIVE`.
const ARCHIVE: u32 = 0x20;

fn host_name(units: &[u16]) -> Result<OsString> {
    names::host(units).ok_or_else(|| Error::unsupported(format!("`{}` is no name of a file", utf16_lossy(units))))
}

impl State {
    fn number_of(&mut self, new: NewSecurity<'_>) -> Result<usize> {
        match new {
            NewSecurity::Descriptor(bytes) => Ok(self.descriptor_to_be(bytes)),
            NewSecurity::SameAs(node) => {
                let number = self.node(node)?.descriptors.1;
                number.ok_or_else(|| Error::unsupported("the mount offers no security descriptors"))
            }
        }
    }

    /// Takes one name away; a file without names goes.
    fn drop_name(&mut self, id: u64, folder: u64, host: &OsString, now: FileTime) {
        if let Some(entries) = self.folders.get_mut(&folder) {
            entries.retain(|entry| !(entry.node == id && entry.host == *host));
        }
        if let Some(above) = self.nodes.get_mut(&folder) {
            above.written = Some(now);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.places.retain(|place| !(place.0 == folder && place.1 == *host));
            if node.places.is_empty() {
                node.fate = Fate::Goes;
            }
        }
    }

    /// Gives a file another name, in the same folder or another one.
    fn change_name(&mut self, id: u64, from: &(u64, OsString), to: (u64, Vec<u16>), now: FileTime) -> Result<()> {
        let host = host_name(&to.1)?;
        let entry = super::nodes::Entry { name: to.1, host: host.clone(), node: id };
        let old = self.folders.entry(from.0).or_default();
        let at = old.iter().position(|entry| entry.node == id && entry.host == from.1);
        // In the same folder it keeps its place in the list.
        match at {
            Some(at) if from.0 == to.0 => old[at] = entry,
            _ => {
                old.retain(|entry| !(entry.node == id && entry.host == from.1));
                self.folders.entry(to.0).or_default().push(entry);
            }
        }
        for folder in [from.0, to.0] {
            if let Some(above) = self.nodes.get_mut(&folder) {
                above.written = Some(now);
            }
        }
        let node = self.node_mut(NodeId(id))?;
        if let Some(place) = node.places.iter_mut().find(|place| *place == from) {
            *place = (to.0, host);
        }
        Ok(())
    }
}

impl FolderTree {
    /// Whether its content can be changed.
    fn can_change(&self, node: &Node) -> Result<()> {
        let what = if node.is_dir {
            "a folder"
        } else if node.host.is_some_and(|stat| stat.kind != HostKind::File) {
            "a reparse point or no file"
        } else if node.attributes & ENCRYPTED != 0 {
            "encrypted"
        } else {
            return Ok(());
        };
        Err(Error::unsupported(format!("it has no content that could be replaced: it is {what}")))
    }

    fn make(&mut self, folder: NodeId, name: &str, new: NewSecurity<'_>, node: Node, now: FileTime) -> Result<NodeId> {
        let units: Vec<u16> = name.encode_utf16().collect();
        if self.lookup(folder, &units)?.is_some() {
            return Err(Error::new(Kind::Conflict, format!("the folder has the name {name} already")));
        }
        self.survey_all()?;
        let host = host_name(&units)?;
        let mut state = self.lock();
        let number = state.number_of(new)?;
        state.node_mut(folder)?.written = Some(now);
        Ok(state.add(Node { descriptors: (None, Some(number)), ..node }, folder.0, units, host))
    }
}

/// A file that is not there yet.
fn new_node(is_dir: bool, content: Content, now: FileTime) -> Node {
    Node {
        host: None,
        is_dir,
        attributes: if is_dir { DIRECTORY } else { ARCHIVE },
        origin: Vec::new(),
        places: Vec::new(),
        content,
        written: Some(now),
        descriptors: (None, None),
        fate: Fate::Stays,
    }
}

impl TreeEdit for FolderTree {
    fn replace(&mut self, node: NodeId, data: &[u8], now: FileTime) -> Result<()> {
        let found = self.lock().node(node)?.clone();
        self.can_change(&found)?;
        let mut state = self.lock();
        let node = state.node_mut(node)?;
        node.content = Content::Whole(Arc::new(data.to_vec()));
        node.written = Some(now);
        Ok(())
    }

    fn overwrite(&mut self, id: NodeId, pieces: &[(u64, &[u8])], now: FileTime) -> Result<bool> {
        let found = self.lock().node(id)?.clone();
        self.can_change(&found)?;
        let size = found.size();
        if pieces.iter().any(|(at, bytes)| at.checked_add(bytes.len() as u64).is_none_or(|end| end > size)) {
            return Ok(false);
        }
        let content = match found.content {
            // Pieces over pieces would have to be merged: whoever does that has read the file.
            Content::Whole(_) | Content::Pieces(_) => return Ok(false),
            Content::Stored => pieces.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect::<BTreeMap<_, _>>(),
        };
        let mut state = self.lock();
        let node = state.node_mut(id)?;
        node.content = Content::Pieces(Arc::new(content));
        node.written = Some(now);
        Ok(true)
    }

    fn create_file(
        &mut self,
        folder: NodeId,
        name: &str,
        data: &[u8],
        new: NewSecurity<'_>,
        now: FileTime,
    ) -> Result<NodeId> {
        let node = new_node(false, Content::Whole(Arc::new(data.to_vec())), now);
        self.make(folder, name, new, node, now)
    }

    fn create_dir(&mut self, folder: NodeId, name: &str, new: NewSecurity<'_>, now: FileTime) -> Result<NodeId> {
        self.make(folder, name, new, new_node(true, Content::Stored, now), now)
    }

    fn move_to(&mut self, node: NodeId, folder: NodeId, name: &str, now: FileTime) -> Result<()> {
        self.survey_all()?;
        let names = self.link_count(node)?;
        if names != 1 {
            return Err(Error::unsupported(format!("it has {names} names")));
        }
        let units: Vec<u16> = name.encode_utf16().collect();
        if self.lookup(folder, &units)?.is_some() {
            return Err(Error::new(Kind::Conflict, format!("the folder has the name {name} already")));
        }
        let mut state = self.lock();
        let from = state.node(node)?.places.first().cloned();
        let from = from.ok_or_else(|| Error::unsupported("the root of the folder is not moved"))?;
        state.change_name(node.0, &from, (folder.0, units), now)
    }

    fn remove(&mut self, node: NodeId, now: FileTime) -> Result<()> {
        self.survey_all()?;
        let links = self.link_count(node)?;
        let mut state = self.lock();
        let found = state.node(node)?.clone();
        if found.is_open() && state.folders.get(&node.0).is_none_or(|entries| !entries.is_empty()) {
            return Err(Error::new(Kind::Conflict, "the folder is not empty"));
        }
        if found.places.is_empty() || found.host.is_some() && found.places.len() < links {
            let detail = format!("it has {links} names, of which {} are in the folder", found.places.len());
            return Err(Error::unsupported(detail));
        }
        for (folder, host) in &found.places {
            state.drop_name(node.0, *folder, host, now);
        }
        Ok(())
    }

    fn remove_tree(&mut self, node: NodeId, now: FileTime) -> Result<u64> {
        self.survey_all()?;
        let mut state = self.lock();
        let place = state.node(node)?.places.first().cloned();
        let (above, name) = place.ok_or_else(|| Error::unsupported("the root of the folder is not removed"))?;
        let (mut open, mut all) = (vec![node.0], Vec::new());
        // Each folder has one name, so this ends.
        while let Some(folder) = open.pop() {
            for entry in state.folders.get(&folder).cloned().unwrap_or_default() {
                if state.node(NodeId(entry.node))?.is_open() {
                    open.push(entry.node);
                }
                all.push((folder, entry));
            }
        }
        let mut gone = BTreeSet::from([node.0]);
        for (folder, entry) in all {
            state.drop_name(entry.node, folder, &entry.host, now);
            gone.insert(entry.node);
        }
        state.drop_name(node.0, above, &name, now);
        Ok(gone.iter().filter(|id| state.nodes.get(id).is_some_and(|node| node.fate == Fate::Goes)).count() as u64)
    }

    fn rename_sids(&mut self, node: NodeId, map: &SidMap, now: FileTime) -> Result<usize> {
        let places = self.lock().node(node)?.places.clone();
        let mut renamed = 0;
        for (folder, host) in places {
            let (old, is_exact) = names::units(&host);
            let Some(new) = map.rewrite_units(&old).filter(|_| is_exact) else { continue };
            if self.lookup(NodeId(folder), &new)?.is_some_and(|found| found != node) {
                let detail = format!("the folder has the name {} already", utf16_lossy(&new));
                return Err(Error::new(Kind::Conflict, detail));
            }
            self.lock().change_name(node.0, &(folder, host), (folder, new), now)?;
            renamed += 1;
        }
        Ok(renamed)
    }

    fn set_descriptor(&mut self, node: NodeId, descriptor: &[u8]) -> Result<()> {
        self.survey_all()?;
        let mut state = self.lock();
        let number = state.descriptor_to_be(descriptor);
        state.node_mut(node)?.descriptors.1 = Some(number);
        Ok(())
    }

    fn map_descriptors(&mut self, map: &SidMap) -> Result<DescriptorCounts> {
        self.survey_all()?;
        let mut state = self.lock();
        let used: BTreeSet<usize> = state.nodes.values().filter_map(|node| node.descriptors.1).collect();
        let mut counts = DescriptorCounts::default();
        for number in used {
            let Some(descriptor) = state.now.get_mut(number) else { continue };
            let done = map.rewrite_descriptor(descriptor).map_err(|e| e.within(format!("descriptor {number}")))?;
            counts.unique += 1;
            counts.changed += usize::from(done.total() > 0);
            counts.sids += done.total();
        }
        Ok(counts)
    }

    fn schedule_check(&mut self) -> Result<bool> {
        Err(Error::unsupported("a mounted folder does not show the mark that has Windows check the volume"))
    }
}
