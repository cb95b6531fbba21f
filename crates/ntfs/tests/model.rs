//! A volume against a tree in memory, through thousands of random operations: each geometry, empty, and fragmented and nearly
//! full. RESEAL_SOAK multiplies the operations (20: 100,000 for each).
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{FileTime, Kind, Result};
use reseal_ntfs::{FileName, FileReference, Namespace, NewFile, NewName, Scanned, Security, Volume};
use rig::{NOW, Random, Watched};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Units = Vec<u16>;

/// What should be known of a file. A folder has no streams.
#[derive(Default)]
struct Node {
    streams: BTreeMap<Units, Vec<u8>>,
    names: BTreeSet<(FileReference, Units)>,
    is_folder: bool,
    /// Created and changed.
    times: (FileTime, FileTime),
    /// Of those that anybody may set.
    attributes: u32,
    reparse: Option<Vec<u8>>,
    object_id: Option<Vec<u8>>,
}

/// The attributes that anybody may set, and what says that there is a reparse point.
const SETTABLE: u32 = 0x0018_3127;
const REPARSE_POINT: u32 = 0x400;

impl Node {
    fn is_reparse(&self) -> u32 {
        if self.reparse.is_some() { REPARSE_POINT } else { 0 }
    }

    /// Whether entries may come into it: Windows would look for them where a link leads.
    fn takes_entries(&self) -> bool {
        self.reparse.as_ref().is_none_or(|data| data[3] & 0x10 != 0)
    }
}

/// What should be on the volume, in one folder.
struct Model {
    top: FileReference,
    nodes: BTreeMap<FileReference, Node>,
    children: BTreeMap<FileReference, BTreeMap<Units, FileReference>>,
    /// Operations that found no room.
    refused: usize,
    /// Most records of a file that were seen.
    records: usize,
}

struct Play {
    random: Random,
    disk: Arc<MemoryDisk>,
    watched: Arc<Watched>,
    /// Writes before the operation under way.
    writes: usize,
    volume: Volume,
    model: Model,
    /// Files above the system's that were there before the first operation.
    before: Vec<FileReference>,
    /// Free places of a cluster at the start, and as many files between them.
    holes: usize,
    /// More files than this are made fewer.
    most: u64,
    /// Bytes of the longest content.
    longest: u64,
}

fn wide(text: &str) -> Units {
    text.encode_utf16().collect()
}

impl Model {
    fn add_name(&mut self, file: FileReference, parent: FileReference, name: &[u16]) {
        self.nodes.get_mut(&file).unwrap().names.insert((parent, name.to_vec()));
        assert!(self.children.get_mut(&parent).unwrap().insert(name.to_vec(), file).is_none());
    }

    fn drop_name(&mut self, file: FileReference, parent: FileReference, name: &[u16]) {
        assert!(self.nodes.get_mut(&file).unwrap().names.remove(&(parent, name.to_vec())));
        assert_eq!(self.children.get_mut(&parent).unwrap().remove(name), Some(file));
        if self.nodes[&file].names.is_empty() {
            self.nodes.remove(&file);
            assert!(self.children.remove(&file).unwrap_or_default().is_empty());
        }
    }

    fn is_below(&self, top: FileReference, mut folder: FileReference) -> bool {
        while folder != self.top {
            if folder == top {
                return true;
            }
            folder = self.nodes[&folder].names.first().unwrap().0;
        }
        false
    }

    /// The folder, its folders, and how many files are only in there.
    fn drop_tree(&mut self, top: FileReference) -> (u64, u64, u64) {
        let (mut folders, mut seen) = (vec![top], BTreeSet::new());
        let mut at = 0;
        while at < folders.len() {
            for (name, child) in self.children[&folders[at]].clone() {
                if self.nodes[&child].is_folder {
                    folders.push(child);
                } else {
                    seen.insert(child);
                    self.drop_name(child, folders[at], &name);
                }
            }
            at += 1;
        }
        for folder in folders.iter().rev() {
            let (parent, name) = self.nodes[folder].names.first().unwrap().clone();
            self.drop_name(*folder, parent, &name);
        }
        let kept = seen.iter().filter(|f| self.nodes.contains_key(f)).count() as u64;
        (seen.len() as u64 - kept, folders.len() as u64, kept)
    }
}

impl Play {
    fn pick(&mut self, folders: bool) -> Option<FileReference> {
        let fitting: Vec<_> =
            self.model.nodes.iter().filter(|(_, n)| n.is_folder == folders).map(|(r, _)| *r).collect();
        fitting.get(self.random.below(fitting.len() as u64) as usize).copied()
    }

    /// A file, often one of a few: those get most of the names and streams.
    fn favourite(&mut self) -> Option<FileReference> {
        let mut files = self.model.nodes.iter().filter(|(_, n)| !n.is_folder);
        match self.random.below(2) {
            0 => files.nth(self.random.below(5) as usize).map(|(r, _)| *r),
            _ => self.pick(false),
        }
    }

    /// A folder, often one of the first, so that some get large.
    fn folder(&mut self) -> FileReference {
        let any = self.model.children.len() as u64;
        let index = if self.random.below(2) == 0 { self.random.below(3) } else { self.random.below(any) };
        let folder = *self.model.children.keys().nth(index.min(any - 1) as usize).unwrap();
        let takes = self.model.nodes.get(&folder).is_none_or(Node::takes_entries);
        if takes { folder } else { self.model.top }
    }

    fn name(&mut self) -> Units {
        let number = self.random.below(100_000);
        match self.random.below(12) {
            0..=2 => wide(&format!("F{number}.DAT")),
            3..=5 => wide(&format!("a longer name with number {number}.text")),
            6 => wide(&format!("{number} {}", "long ".repeat(self.random.below(30) as usize + 1).trim_end())),
            7 => wide(&format!("Größe{number} ŸǅΣς")),
            8 => wide(&format!("S-1-5-21-{}-{}-{number}-1001", number * 7, number * 91)),
            // The longest there are.
            9 => wide(&format!("{number:05}{}", "x".repeat(250))),
            // Surrogates, in pairs and alone.
            10 => [wide(&format!("𝔘{number}")), vec![0xd800 + number as u16 % 0x800, 0x41]].concat(),
            _ => wide(&format!("{}{number}", ["readme", "README", "ReadMe"][number as usize % 3])),
        }
    }

    fn content(&mut self) -> Vec<u8> {
        let len = match self.random.below(6) {
            0 | 1 => self.random.below(100),
            2 | 3 => self.random.below(900),
            4 => self.random.below(9000),
            _ => self.random.below(self.longest),
        };
        let word = self.random.next().to_le_bytes();
        (0..len as usize).map(|i| word[i % 8].wrapping_add((i >> 9) as u8)).collect()
    }

    /// Whether an operation happened. It may find no room, and nothing else may keep it from happening.
    fn happened<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                assert_eq!(error.kind(), Kind::NoSpace, "{error}");
                assert_eq!(self.watched.writes(), self.writes, "a refused operation has written: {error}");
                self.model.refused += 1;
                None
            }
        }
    }

    /// The name of a file as the volume has it.
    fn stored(&self, file: FileReference, parent: FileReference, name: &[u16]) -> FileName {
        let names = self.volume.names_of(file).unwrap();
        let fits = |n: &FileName| n.parent == parent && n.name == name && n.namespace != Namespace::Dos;
        names.into_iter().find(fits).unwrap_or_else(|| panic!("file {file} has lost a name"))
    }

    /// One of the names of a file.
    fn any_name(&mut self, file: FileReference) -> (FileReference, Units) {
        let names = &self.model.nodes[&file].names;
        names.iter().nth(self.random.below(names.len() as u64) as usize).unwrap().clone()
    }

    fn step(&mut self) {
        self.writes = self.watched.writes();
        let crowded = self.model.nodes.len() as u64 > self.most;
        match self.random.below(if crowded { 70 } else { 100 }) {
            0..=11 => self.remove(),
            12..=21 => self.replace(),
            22..=27 => self.stream(),
            28..=34 => self.link(),
            35..=44 => self.rename(),
            45 | 46 => self.times(),
            47 => self.attributes(),
            48 => self.reparse(),
            49 => self.remove_tree(),
            50..=59 if crowded => self.remove(),
            60..=69 if crowded => self.unlink(),
            50..=59 => self.unlink(),
            60..=65 => self.create(true),
            66 => self.object_id(),
            67..=74 => self.create_given(),
            75 | 76 => self.attributes(),
            77..=79 => self.reparse(),
            80..=83 => self.reserve(),
            _ => self.create(false),
        }
    }

    fn create(&mut self, folder: bool) {
        let (parent, name) = (self.folder(), self.name());
        let data = if folder { None } else { Some(self.content()) };
        let exact = self.random.below(8) == 0;
        let taken = match exact {
            true => self.model.children[&parent].contains_key(&name),
            false => self.volume.lookup(parent, &name).unwrap().is_some(),
        };
        let security = match self.random.below(3) {
            0 => Security::SameAs(FileReference::ROOT),
            _ => Security::Inherit,
        };
        let how = if exact { NewName::Exact(&name) } else { NewName::Windows(&name) };
        let made = self.volume.create_as(parent, how, data.as_deref(), security, NOW);
        if taken {
            // A twin may have exactly that name too: the model does not know twins.
            assert_eq!(made.unwrap_err().kind(), Kind::Conflict);
            return;
        }
        if exact && made.as_ref().is_err_and(|e| e.kind() == Kind::Conflict) {
            return;
        }
        let Some(file) = self.happened(made) else { return };
        let attributes = if folder { 0 } else { 0x20 };
        let mut node = Node { is_folder: folder, times: (NOW, NOW), attributes, ..Node::default() };
        node.streams.extend(data.map(|d| (Units::new(), d)));
        assert!(self.model.nodes.insert(file, node).is_none());
        if folder {
            self.model.children.insert(file, BTreeMap::new());
        }
        self.model.add_name(file, parent, &name);
    }

    /// A name and its 8.3 name, or none, as a backup has them, with attributes and times.
    fn create_given(&mut self) {
        let (parent, name) = (self.folder(), self.name());
        let folder = self.random.below(4) == 0;
        let number = self.random.below(200);
        let short = match self.random.below(4) {
            0 => None,
            1 => Some(name.clone()),
            2 => Some(wide(&format!("GRÖSS~{number}.TXT"))),
            _ => Some(wide(&format!("GIVEN~{number}"))),
        };
        let data = if folder { None } else { Some(self.content()) };
        let attributes = self.random.next() as u32;
        let times = [NOW, FileTime(NOW.0 + number), NOW, NOW];
        let is_short = |n: &[u16]| n.iter().position(|&u| u == 0x2e).unwrap_or(n.len()) <= 8 && n.len() <= 12;
        let legal = short.as_deref().is_none_or(|s| is_short(s) && !s.iter().any(|&u| u == 0x20 || u >= 0xd800));
        let taken = [Some(&name), short.as_ref()]
            .into_iter()
            .flatten()
            .any(|n| self.volume.lookup(parent, n).unwrap().is_some());
        let new = NewFile { data: data.as_deref(), security: Security::Inherit, times, attributes };
        let made = self.volume.create_with(parent, NewName::Given(&name, short.as_deref()), &new);
        if taken || !legal {
            assert_eq!(made.unwrap_err().kind(), Kind::Conflict);
            return;
        }
        let Some(file) = self.happened(made) else { return };
        let names = self.volume.names_of(file).unwrap();
        let dos = names.iter().find(|n| n.namespace == Namespace::Dos).map(|n| &n.name);
        assert_eq!(dos, short.as_ref().filter(|s| **s != name), "8.3 name of {file}");
        let attributes = attributes & SETTABLE & if folder { !0x100 } else { !0 };
        let mut node = Node { is_folder: folder, times: (times[0], times[1]), attributes, ..Node::default() };
        node.streams.extend(data.map(|d| (Units::new(), d)));
        assert!(self.model.nodes.insert(file, node).is_none());
        if folder {
            self.model.children.insert(file, BTreeMap::new());
        }
        self.model.add_name(file, parent, &name);
    }

    fn attributes(&mut self) {
        let folders = self.random.below(3) == 0;
        let Some(file) = self.pick(folders) else { return };
        let attributes = self.random.next() as u32;
        let done = self.volume.set_attributes(file, attributes, NOW);
        if self.happened(done).is_some() {
            let node = self.model.nodes.get_mut(&file).unwrap();
            node.attributes = attributes & SETTABLE & if folders { !0x100 } else { !0 };
        }
    }

    /// Makes a reparse point, gives one other data, or takes it away.
    fn reparse(&mut self) {
        let folders = self.random.below(3) == 0;
        let Some(file) = self.pick(folders) else { return };
        let node = &self.model.nodes[&file];
        if node.reparse.is_some() && self.random.below(2) == 0 {
            let done = self.volume.remove_reparse(file, NOW);
            if self.happened(done).is_some() {
                self.model.nodes.get_mut(&file).unwrap().reparse = None;
            }
            return;
        }
        // A cloud file, which as a folder may have entries; the link of a packaged program; somebody's own.
        let (tag, header) = [(0x9000_601au32, 8), (0x8000_001b, 8), (0x4711, 24)][self.random.below(3) as usize];
        let len = match self.random.below(3) {
            0 => self.random.below(60),
            1 => self.random.below(2000),
            _ => 16384 - 24 - self.random.below(3),
        } as usize;
        let mut data = vec![0; header];
        data[..4].copy_from_slice(&tag.to_le_bytes());
        data[4..6].copy_from_slice(&(len as u16).to_le_bytes());
        data.extend(self.random.bytes(len));
        let other = node.reparse.as_ref().is_some_and(|old| old[..4] != data[..4]);
        let full = tag & 0x1000_0000 == 0 && self.model.children.get(&file).is_some_and(|c| !c.is_empty());
        let done = self.volume.set_reparse(file, &data, NOW);
        if other || full {
            assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
        } else if self.happened(done).is_some() {
            self.model.nodes.get_mut(&file).unwrap().reparse = Some(data);
        }
    }

    fn object_id(&mut self) {
        let folders = self.random.below(3) == 0;
        let Some(file) = self.pick(folders) else { return };
        let mut id = vec![0x11; if self.random.below(2) == 0 { 16 } else { 64 }];
        id[0] = self.random.below(100) as u8;
        let taken = self.model.nodes.values().filter_map(|n| n.object_id.as_ref()).any(|other| other[..16] == id[..16]);
        let has = self.model.nodes[&file].object_id.is_some();
        let done = self.volume.set_object_id(file, &id, NOW);
        if taken || has {
            assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
        } else if self.happened(done).is_some() {
            self.model.nodes.get_mut(&file).unwrap().object_id = Some(id);
        }
    }

    /// A new stream of a file or folder that gets its content in parts.
    fn reserve(&mut self) {
        let folders = self.random.below(4) == 0;
        let Some(file) = self.pick(folders) else { return };
        let name = wide(&format!("long {}", self.random.below(10)));
        let data = self.content();
        let exists = self.model.nodes[&file].streams.get(&name).is_some_and(|old| !old.is_empty());
        let done = self.volume.reserve(file, &name, data.len() as u64, NOW);
        if exists || data.is_empty() {
            assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
            return;
        }
        if self.happened(done).is_none() {
            return;
        }
        assert!(self.volume.read(file, &name).unwrap() == vec![0; data.len()], "what was not written is not zero");
        let step = 1 + self.random.below(20_000) as usize;
        for part in data.chunks(step) {
            self.volume.append(file, &name, part).unwrap();
        }
        assert_eq!(self.volume.append(file, &name, b"more").unwrap_err().kind(), Kind::Conflict);
        let node = self.model.nodes.get_mut(&file).unwrap();
        node.streams.insert(name, data);
        node.times.1 = NOW;
    }

    fn replace(&mut self) {
        let Some(file) = self.favourite() else { return };
        let data = self.content();
        let done = self.volume.replace(file, &[], &data, NOW);
        if self.happened(done).is_some() {
            let node = self.model.nodes.get_mut(&file).unwrap();
            if node.streams[&Units::new()] != data {
                node.times.1 = NOW;
            }
            node.streams.insert(Units::new(), data);
        }
    }

    fn stream(&mut self) {
        let Some(file) = self.favourite() else { return };
        let name = wide(&format!("stream {}", self.random.below(40)));
        let exists = self.model.nodes[&file].streams.contains_key(&name);
        if exists && self.random.below(2) == 0 {
            let done = self.volume.remove_stream(file, &name, NOW);
            if self.happened(done).is_some() {
                let node = self.model.nodes.get_mut(&file).unwrap();
                node.streams.remove(&name);
                node.times.1 = NOW;
            }
            return;
        }
        let data = self.content();
        let done = self.volume.replace(file, &name, &data, NOW);
        if self.happened(done).is_some() {
            let node = self.model.nodes.get_mut(&file).unwrap();
            if node.streams.insert(name, data.clone()) != Some(data) {
                node.times.1 = NOW;
            }
        }
    }

    fn link(&mut self) {
        let Some(file) = self.favourite() else { return };
        let (parent, name) = (self.folder(), self.name());
        let taken = self.volume.lookup(parent, &name).unwrap().is_some();
        let done = self.volume.link(file, parent, &name, NOW);
        if taken {
            assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
        } else if self.happened(done).is_some() {
            self.model.add_name(file, parent, &name);
        }
    }

    fn unlink(&mut self) {
        let Some(file) = self.pick(false) else { return };
        let (parent, name) = self.any_name(file);
        let stored = self.stored(file, parent, &name);
        let done = self.volume.unlink(file, &stored, NOW);
        if self.happened(done).is_some() {
            self.model.drop_name(file, parent, &name);
        }
    }

    fn remove(&mut self) {
        let folder = self.random.below(6) == 0;
        let Some(file) = self.pick(folder) else { return };
        // What has grown large stays most of the time.
        let node = &self.model.nodes[&file];
        if node.names.len() + node.streams.len() > 8 && self.random.below(20) > 0 {
            return;
        }
        let inside = self.model.children.get(&file).is_some_and(|c| !c.is_empty());
        let done = self.volume.remove(file, NOW);
        if inside {
            assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
        } else if self.happened(done).is_some() {
            for (parent, name) in self.model.nodes[&file].names.clone() {
                self.model.drop_name(file, parent, &name);
            }
        }
    }

    fn remove_tree(&mut self) {
        let Some(folder) = self.pick(true) else { return };
        // The large ones stay most of the time.
        if self.model.children[&folder].len() > 40 && self.random.below(20) > 0 {
            return;
        }
        let done = self.volume.remove_tree(folder, NOW);
        if let Some(done) = self.happened(done) {
            let expected = self.model.drop_tree(folder);
            assert_eq!((done.files, done.folders, done.kept), expected);
        }
    }

    fn rename(&mut self) {
        let folders = self.random.below(3) == 0;
        let Some(file) = self.pick(folders) else { return };
        let (old_parent, old) = self.any_name(file);
        let parent = if self.random.below(2) == 0 { old_parent } else { self.folder() };
        let name = if self.random.below(4) == 0 { old.clone() } else { self.name() };
        let stored = self.stored(file, old_parent, &old);
        let twin = self.volume.names_of(file).unwrap().into_iter().find(|n| n.namespace == Namespace::Dos);
        let below = folders && parent != old_parent && self.model.is_below(file, parent);
        let there = self.volume.lookup(parent, &name).unwrap();
        let done = self.volume.rename_to(file, &stored, parent, &name, NOW);
        if (old_parent, &old) == (parent, &name) {
            return done.unwrap();
        }
        if below {
            return assert_eq!(done.unwrap_err().kind(), Kind::Conflict);
        }
        // Its own names that go are not in the way; whatever else is there is.
        if there.is_some() && done.as_ref().is_err_and(|e| e.kind() == Kind::Conflict) {
            return;
        }
        let own = there == Some(file) && (parent == old_parent || twin.is_some());
        assert!(there.is_none() || own || done.is_err(), "a name was taken twice");
        if self.happened(done).is_some() {
            // Not first dropped: with the last name the model forgets the file.
            self.model.add_name(file, parent, &name);
            self.model.drop_name(file, old_parent, &old);
        }
    }

    fn times(&mut self) {
        let folders = self.random.below(4) == 0;
        let Some(file) = self.pick(folders) else { return };
        let mut times = [NOW; 4];
        times.iter_mut().for_each(|t| t.0 += self.random.below(1 << 40));
        let done = self.volume.set_times(file, times);
        if self.happened(done).is_some() {
            self.model.nodes.get_mut(&file).unwrap().times = (times[0], times[1]);
        }
    }

    fn compare(&self, volume: &Volume) -> usize {
        let (mut seen, mut records) = (0, 0);
        for (&folder, children) in &self.model.children {
            let mut left = children.clone();
            for entry in volume.entries(folder).unwrap() {
                if entry.namespace == Namespace::Dos {
                    continue;
                }
                let shown = reseal_dtyp::utf16_lossy(&entry.name);
                assert_eq!(left.remove(&entry.name), Some(entry.reference), "{shown} in folder {folder}");
                let node = &self.model.nodes[&entry.reference];
                let attributes = entry.attributes & (SETTABLE | REPARSE_POINT);
                assert_eq!(attributes, node.attributes | node.is_reparse(), "attributes of {shown}");
                if !node.is_folder {
                    assert_eq!(entry.size, node.streams[&Units::new()].len() as u64, "{shown}");
                    assert_eq!((entry.times[0], entry.times[1]), node.times, "{shown}");
                }
                seen += 1;
            }
            assert!(left.is_empty(), "folder {folder} has lost {} names", left.len());
        }
        assert_eq!(seen, self.model.nodes.values().map(|n| n.names.len()).sum::<usize>());
        for (&file, node) in &self.model.nodes {
            let stat = volume.stat(file).unwrap();
            records = records.max(stat.records);
            let names = stat.names.iter().filter(|n| n.namespace != Namespace::Dos).map(|n| (n.parent, n.name.clone()));
            assert_eq!(names.collect::<BTreeSet<_>>(), node.names, "names of {file}");
            assert_eq!(stat.is_directory, node.is_folder);
            let streams: BTreeSet<_> = stat.streams.iter().map(|s| s.name.clone()).collect();
            assert!(streams.iter().eq(node.streams.keys()), "streams of {file}");
            assert_eq!(stat.standard.attributes & (SETTABLE | REPARSE_POINT), node.attributes | node.is_reparse());
            assert!(volume.reparse_data(file).unwrap() == node.reparse, "reparse data of {file}");
            for (name, data) in &node.streams {
                assert!(volume.read(file, name).unwrap() == *data, "stream {name:?} of {file}");
            }
        }
        let tag = |data: &Vec<u8>| u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
        let nodes = self.model.nodes.iter();
        let expected: BTreeSet<_> =
            nodes.filter_map(|(file, node)| Some((tag(node.reparse.as_ref()?), *file))).collect();
        assert_eq!(volume.reparse_points().unwrap().into_iter().collect::<BTreeSet<_>>(), expected);
        records
    }

    /// All that ntfs-3g lists and reads: every name, found through the index too, every size, stream and content.
    fn compare_with_others(&self) {
        let image = rig::save(&self.disk);
        let Some(seen) = rig::ntfs_3g::read(image.path()) else { return };
        assert_eq!(seen.faults, []);
        for (&reference, node) in &self.model.nodes {
            let file = &seen.files[&reference.record()];
            assert_eq!((file.reference, file.is_folder()), (reference.0, node.is_folder), "file {reference}");
            assert_eq!(usize::from(file.links), file.names.len(), "links of {reference}");
            let long = file.names.iter().filter(|n| n.namespace != 2);
            let names = long.map(|n| (FileReference(n.parent), n.name.clone())).collect::<BTreeSet<_>>();
            assert_eq!(names, node.names, "names of {reference}");
            // The model does not follow when the content of a folder changes.
            let changed = if node.is_folder { file.times[1] } else { node.times.1.0 };
            assert_eq!((file.times[0], file.times[1]), (node.times.0.0, changed), "times of {reference}");
            let attributes = file.names.iter().map(|n| n.attributes).chain([file.attributes]);
            for attributes in attributes {
                let attributes = attributes & (SETTABLE | REPARSE_POINT);
                assert_eq!(attributes, node.attributes | node.is_reparse(), "attributes of {reference}");
            }
            assert!(file.reparse == node.reparse, "reparse data of {reference}");
            let object_id = file.content.iter().find(|a| a.kind == 0x40).map(|a| (a.size, a.checksum));
            let expected = node.object_id.as_ref();
            let expected = expected.map(|id| (16, Some(rig::ntfs_3g::checksum(&id[..16]))));
            assert_eq!(object_id, expected, "object id of {reference}");
            let streams = file.streams().map(|s| (&s.name, s.size, s.checksum));
            let expected = node.streams.iter();
            let expected = expected.map(|(name, data)| (name, data.len() as u64, Some(rig::ntfs_3g::checksum(data))));
            assert!(streams.eq(expected), "streams of {reference}: {:?}", file.content);
        }
        for (&folder, children) in &self.model.children {
            self.compare_folder(&seen.files[&folder.record()], children);
        }
        // Nothing that went is still there: all files are in the model, are its folder, or were there before.
        let grown = seen.files.values().filter(|f| f.reference & 0xffff_ffff_ffff > 15);
        let grown: BTreeSet<_> = grown.map(|f| FileReference(f.reference)).collect();
        let expected = self.before.iter().chain([&self.model.top]).chain(self.model.nodes.keys()).copied().collect();
        assert_eq!(grown, expected);
    }

    /// The kernel's driver on the volume as it is, where it meets every name that it can find again, and no fault of the volume.
    fn compare_with_kernel_as_it_is(&self) {
        let Some(mounted) = rig::kernel::mount(rig::save(&self.disk).path()) else { return };
        let mut names = self.holes as u64 + if self.holes > 0 { 4 } else { 2 };
        let mut lost = 0;
        let mut folders = vec![self.model.top];
        while let Some(folder) = folders.pop() {
            for (name, child) in &self.model.children[&folder] {
                names += 1;
                let is_text = String::from_utf16(name).is_ok();
                lost += u64::from(!is_text);
                folders.extend((is_text && self.model.nodes[child].is_folder).then_some(*child));
            }
        }
        assert_eq!((mounted.files + mounted.folders, mounted.without_descriptor), (names, 1 + lost), "{mounted:?}");
        // A name that is not found counts again when its content is asked for.
        assert!((lost..=2 * lost).contains(&mounted.errors) && mounted.complaints.is_empty(), "{lost}, {mounted:?}");
    }

    /// The kernel's driver lists and reads every file, and goes on to write.
    ///
    /// It shows names as UTF-8 and cannot find a file again that has no such name, so on a copy of the volume those are renamed
    /// first; and the file that fills the volume goes there, so that there is room for the files of the driver. Records for
    /// them are made as well: the driver gives up where `$MFT` could go on in single clusters only.
    fn compare_with_kernel(&self) {
        let copy = Arc::new(MemoryDisk::new(self.disk.to_vec()));
        let mut volume = rig::open(&copy);
        let mut files = self.holes as u64;
        if let Some(filler) = volume.resolve("/filler").unwrap() {
            volume.remove(filler, NOW).unwrap();
        }
        let mut folders = 2 + u64::from(self.holes > 0);
        for (&file, node) in &self.model.nodes {
            *if node.is_folder { &mut folders } else { &mut files } += node.names.len() as u64;
            for (parent, name) in node.names.iter().filter(|(_, name)| String::from_utf16(name).is_err()) {
                let text = reseal_dtyp::utf16_lossy(name).replace('\u{fffd}', "_");
                let stored =
                    volume.names_of(file).unwrap().into_iter().find(|n| n.parent == *parent && n.name == *name);
                volume.rename_to(file, &stored.unwrap(), *parent, &wide(&text), NOW).unwrap();
            }
        }
        let root = volume.root();
        let room =
            (0..250).map_while(|i| volume.create_file(root, &format!("ROOM{i}"), b"", Security::Inherit, NOW).ok());
        room.collect::<Vec<_>>().into_iter().for_each(|file| volume.remove(file, NOW).unwrap());
        let Some(mounted) = rig::kernel::mount(rig::save(&copy).path()) else { return };
        assert_eq!((mounted.files, mounted.folders), (files, folders), "{mounted:?}");
        // The root of mkntfs has its descriptor in its record, where the driver does not look.
        let healthy = (mounted.errors, mounted.without_descriptor, mounted.probes, mounted.complaints.len());
        assert_eq!(healthy, (0, 1, 400, 0), "{mounted:?}");
    }

    fn compare_folder(&self, folder: &rig::ntfs_3g::Seen, children: &BTreeMap<Units, FileReference>) {
        let mut left = children.clone();
        let mut twins = BTreeSet::new();
        for entry in &folder.entries {
            let shown = reseal_dtyp::utf16_lossy(&entry.name);
            assert_eq!(entry.found, entry.reference, "{shown} is not found in {}", folder.reference);
            if entry.namespace == 2 {
                assert!(twins.insert(entry.reference) || !self.model.nodes[&FileReference(entry.reference)].is_folder);
            } else {
                assert_eq!(left.remove(&entry.name), Some(FileReference(entry.reference)), "{shown}");
            }
        }
        assert!(left.is_empty(), "folder {} has lost {} names", folder.reference, left.len());
    }
}

const STEPS: usize = 5000;
const CHECK_EVERY: usize = 1000;
const OTHERS_EVERY: usize = 20_000;

/// All files above the system's.
fn all_files(volume: &Volume) -> Vec<FileReference> {
    let found = volume.scan(Vec::new, |out: &mut Vec<FileReference>, scanned| {
        if let Scanned::Record(record) = scanned
            && record.number() > 15
            && record.owner() == record.reference()
        {
            out.push(record.reference());
        }
    });
    found.unwrap().into_iter().flatten().collect()
}

/// `holes` makes the volume fragmented and nearly full before it starts.
fn play(seed: u64, mib: u64, options: &[&str], holes: usize) {
    play_with(seed, mib, options, holes, None);
}

/// `longest` content in bytes: short ones leave the clusters to folders and to `$MFT`, which goes on in further records then.
fn play_with(seed: u64, mib: u64, options: &[&str], holes: usize, longest: Option<u64>) {
    if let Some(disk) = rig::blank(mib, options) {
        play_on(&disk, seed, &format!("{options:?}"), holes, longest);
    }
}

fn play_on(disk: &Arc<MemoryDisk>, seed: u64, geometry: &str, holes: usize, longest: Option<u64>) {
    let disk = disk.clone();
    let seed = seed + 100 * rig::soak() as u64;
    let watched = Watched::new(&disk);
    let mut volume = Volume::open(watched.clone()).unwrap();
    let cluster = u64::from(volume.info().cluster_size);
    if holes > 0 {
        rig::fragment(&mut volume, holes, 0);
    }
    // What is there already lives outside of the model, which knows the folder only that it starts in.
    let before = all_files(&volume);
    let top = volume.create_dir(volume.root(), "model", Security::Inherit, NOW).unwrap();
    let mut model = Model { top, nodes: BTreeMap::new(), children: BTreeMap::new(), refused: 0, records: 0 };
    model.children.insert(top, BTreeMap::new());
    let usual = if holes > 0 { 20 * cluster.max(20_000) } else { 200_000 };
    let (most, longest) = longest.map_or((1500, usual), |longest| (4000, longest));
    let mut play =
        Play { random: Random::new(seed), disk, watched, writes: 0, volume, model, before, holes, most, longest };
    for index in 0..STEPS * rig::soak() {
        play.step();
        let done = index + 1;
        if done % CHECK_EVERY == 0 {
            rig::assert_sound(&play.volume, &format!("seed {seed}, {done} operations"));
            rig::witnesses(&play.disk);
            play.model.records = play.model.records.max(play.compare(&play.volume));
        }
        if done % OTHERS_EVERY == 0 {
            play.compare_with_others();
            play.compare_with_kernel_as_it_is();
            play.compare_with_kernel();
        }
    }
    // What another volume object reads from the medium is the same.
    play.compare(&rig::open(&play.disk));
    play.compare_with_others();
    play.compare_with_kernel();
    let (files, refused) = (play.model.nodes.len(), play.model.refused);
    let records = play.model.records;
    let table = play.volume.stat(FileReference::new(0, 1)).unwrap().records;
    println!(
        "{geometry}, {holes} holes, {} operations: {files} files in the end, up to {records} records, $MFT {table}, \
         {refused} times no room",
        STEPS * rig::soak()
    );
}

#[test]
fn clusters_of_4_kib() {
    play(1, 64, &[], 0);
}

#[test]
fn clusters_of_4_kib_nearly_full() {
    play(2, 16, &[], 700);
}

#[test]
fn short_files_in_single_clusters() {
    play_with(11, 16, &[], 1200, Some(500));
}

#[test]
fn clusters_of_512_bytes() {
    play(3, 64, &["-c", "512"], 0);
}

#[test]
fn clusters_of_512_bytes_nearly_full() {
    play(4, 16, &["-c", "512"], 3000);
}

#[test]
fn clusters_of_2_kib() {
    play(5, 64, &["-c", "2048"], 0);
}

#[test]
fn clusters_of_64_kib() {
    play(6, 256, &["-c", "65536"], 0);
}

#[test]
fn clusters_of_64_kib_nearly_full() {
    play(7, 128, &["-c", "65536"], 600);
}

#[test]
fn records_of_4_kib() {
    play(8, 64, &["-s", "4096"], 0);
}

#[test]
fn records_of_4_kib_nearly_full() {
    play(9, 32, &["-s", "4096"], 700);
}

#[test]
fn records_of_4_kib_in_clusters_of_64_kib() {
    play(10, 256, &["-s", "4096", "-c", "65536"], 0);
}

/// A geometry that mkntfs does not make.
fn records_of_4_kib_in_clusters_of_512_bytes(seed: u64, mib: u64, holes: usize) {
    let Some(disk) = rig::blank(mib, &["-s", "4096"]) else { return };
    let disk = Arc::new(MemoryDisk::new(rig::finer::with_clusters_of_512_bytes(disk.to_vec())));
    let info = rig::open(&disk).info();
    assert_eq!((info.sector_size, info.cluster_size, info.record_size), (512, 512, 4096));
    rig::assert_sound(&rig::open(&disk), "a blank volume");
    rig::witnesses(&disk);
    play_on(&disk, seed, "records of 4 KiB in clusters of 512 bytes", holes, None);
}

#[test]
fn records_larger_than_clusters() {
    records_of_4_kib_in_clusters_of_512_bytes(12, 64, 0);
}

#[test]
fn records_larger_than_clusters_nearly_full() {
    records_of_4_kib_in_clusters_of_512_bytes(13, 32, 3000);
}
