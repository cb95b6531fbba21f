//! One image: security data, and its files as a tree.

use crate::dentry::{self, DIRECTORY, Dentry, REPARSE_POINT, Stream, StreamKind, Times};
use reseal_dtyp::{Result, View};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// A file or folder of an image; it means nothing outside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u16>,
    /// Its 8.3 twin; empty for none.
    pub short_name: Vec<u16>,
    /// What it names.
    pub file: FileId,
}

/// What an image says of a file.
#[derive(Debug, Clone)]
struct File {
    attributes: u32,
    security: Option<u32>,
    times: Times,
    reparse_tag: u32,
    streams: Vec<Stream>,
    /// Names in it, where it is a folder.
    entries: Vec<Entry>,
    /// Folder and position there, for each of its names; the root has none.
    names: Vec<(FileId, u32)>,
}

/// An image.
#[derive(Debug)]
pub struct Image {
    metadata: Vec<u8>,
    descriptors: Vec<Range<usize>>,
    files: Vec<File>,
}

impl Image {
    /// Takes a metadata resource, unpacked, apart. `Damaged` for entries that leave it, folders that lie in themselves, or
    /// names that no folder can have.
    pub fn read(metadata: Vec<u8>) -> Result<Image> {
        let view = View::new("metadata resource", 0, &metadata);
        let (descriptors, root_at) = security_data(&view)?;
        let files = Tree::read(&view, root_at, descriptors.len())?;
        Ok(Image { descriptors, files, metadata })
    }

    /// The root folder.
    pub fn root(&self) -> FileId {
        FileId(0)
    }

    /// How many files and folders there are; ids are below.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    fn file(&self, file: FileId) -> &File {
        &self.files[file.0 as usize]
    }

    /// Attributes as `FILE_ATTRIBUTE_…`.
    pub fn attributes(&self, file: FileId) -> u32 {
        self.file(file).attributes
    }

    /// Whether it is a folder.
    pub fn is_dir(&self, file: FileId) -> bool {
        self.attributes(file) & DIRECTORY != 0
    }

    /// Whether it is a reparse point.
    pub fn is_reparse(&self, file: FileId) -> bool {
        self.attributes(file) & REPARSE_POINT != 0
    }

    /// The tag of a reparse point; 0 of others.
    pub fn reparse_tag(&self, file: FileId) -> u32 {
        self.file(file).reparse_tag
    }

    /// Its times.
    pub fn times(&self, file: FileId) -> Times {
        self.file(file).times
    }

    /// Its streams.
    pub fn streams(&self, file: FileId) -> &[Stream] {
        &self.file(file).streams
    }

    /// The stream that is the file's content, if it has one.
    pub fn content(&self, file: FileId) -> Option<&Stream> {
        self.streams(file).iter().find(|s| s.name.is_empty() && s.kind == StreamKind::Data)
    }

    /// The names in a folder, in the order of the image.
    pub fn entries(&self, folder: FileId) -> &[Entry] {
        &self.file(folder).entries
    }

    /// Folders that a file has a name in, with the name, one for each; none for the root.
    pub fn names(&self, file: FileId) -> impl Iterator<Item = (FileId, &Entry)> {
        self.file(file).names.iter().map(|(folder, at)| (*folder, &self.entries(*folder)[*at as usize]))
    }

    /// Its security descriptor, self-relative; `None` when it has none.
    pub fn descriptor(&self, file: FileId) -> Option<&[u8]> {
        self.file(file).security.map(|id| &self.metadata[self.descriptors[id as usize].clone()])
    }

    /// Every descriptor of the security data.
    pub fn descriptors(&self) -> impl Iterator<Item = &[u8]> {
        self.descriptors.iter().map(|range| &self.metadata[range.clone()])
    }
}

/// Where each descriptor lies, and where the root's entry begins.
fn security_data(view: &View<'_>) -> Result<(Vec<Range<usize>>, usize)> {
    let (total, count) = (view.u32(0, "security data length")?, view.u32(4, "descriptors")?);
    let total = if total == 0 { 8 } else { total as usize };
    let all = view.part("security data", 0, total)?;
    let sizes = all.bytes(8, (count as usize).saturating_mul(8), "sizes of descriptors")?;
    let mut at = 8 + sizes.len();
    let mut out = Vec::with_capacity(count as usize);
    for size in sizes.chunks_exact(8) {
        let size = size.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let end = usize::try_from(size).ok().and_then(|size| at.checked_add(size)).filter(|end| *end <= total);
        let end = end.ok_or_else(|| {
            let detail = format!("descriptor {} of {size:#x} bytes at {at:#x} leaves the {total:#x} of all", out.len());
            all.damaged(8 + 8 * out.len(), "size of a descriptor", detail)
        })?;
        out.push(at..end);
        at = end;
    }
    Ok((out, total.next_multiple_of(8)))
}

/// A tree being read.
struct Tree<'v> {
    view: &'v View<'v>,
    descriptors: usize,
    files: Vec<File>,
    groups: HashMap<u64, FileId>,
    /// Where entries were read. None is in two folders, so that the time follows the length, and no folder lies in itself.
    seen: HashSet<usize>,
}

impl Tree<'_> {
    fn read(view: &View<'_>, root_at: usize, descriptors: usize) -> Result<Vec<File>> {
        let mut tree =
            Tree { view, descriptors, files: Vec::new(), groups: HashMap::new(), seen: HashSet::from([root_at]) };
        let Some(root) = dentry::read(view, root_at)? else {
            return Err(view.damaged(root_at, "root", "there is none"));
        };
        if root.attributes & DIRECTORY == 0 {
            return Err(view.damaged(root_at, "root", "it is no folder"));
        }
        let mut queue = vec![(FileId(0), root.children)];
        tree.file(root_at, root)?;
        while let Some((folder, at)) = queue.pop() {
            if at != 0 {
                tree.folder(folder, at, &mut queue)?;
            }
        }
        Ok(tree.files)
    }

    /// The entries of one folder.
    fn folder(&mut self, folder: FileId, at: u64, queue: &mut Vec<(FileId, u64)>) -> Result<()> {
        let leaves = || self.view.damaged(0, "subdirectory offset", format!("{at:#x} is not in the resource"));
        let mut at = usize::try_from(at).map_err(|_| leaves())?;
        let mut names = BTreeSet::new();
        while let Some(entry) = dentry::read(self.view, at)? {
            if !self.seen.insert(at) {
                return Err(self.view.damaged(at, "subdirectory offset", "the entry is in two folders"));
            }
            check_name(self.view, at, &entry.name)?;
            if !names.insert(entry.name.clone()) {
                let name = reseal_dtyp::utf16_lossy(&entry.name);
                return Err(self.view.damaged(at, "name", format!("a folder has the name {name} twice")));
            }
            let (len, children, is_dir) = (entry.len, entry.children, entry.attributes & DIRECTORY != 0);
            let (name, short_name) = (entry.name.clone(), entry.short_name.clone());
            let file = self.file(at, entry)?;
            let place = self.files[folder.0 as usize].entries.len() as u32;
            self.files[folder.0 as usize].entries.push(Entry { name, short_name, file });
            self.files[file.0 as usize].names.push((folder, place));
            if is_dir {
                queue.push((file, children));
            }
            at += len;
        }
        Ok(())
    }

    /// The file that an entry names: a new one, unless its group has one with the same content.
    fn file(&mut self, at: usize, entry: Dentry) -> Result<FileId> {
        let security = match entry.security {
            -1 => None,
            id if (id as i64) >= 0 && (id as usize) < self.descriptors => Some(id as u32),
            id => {
                let detail = format!("{id}, of {} descriptors", self.descriptors);
                return Err(self.view.damaged(at + 0xc, "security id", detail));
            }
        };
        let is_dir = entry.attributes & DIRECTORY != 0;
        if entry.link_group != 0 && !is_dir {
            if let Some(&known) = self.groups.get(&entry.link_group)
                && self.files[known.0 as usize].streams == entry.streams
            {
                return Ok(known);
            }
            self.groups.insert(entry.link_group, FileId(self.files.len() as u32));
        }
        let id = FileId(self.files.len() as u32);
        self.files.push(File {
            attributes: entry.attributes,
            security,
            times: entry.times,
            reparse_tag: entry.reparse_tag,
            streams: entry.streams,
            entries: Vec::new(),
            names: Vec::new(),
        });
        Ok(id)
    }
}

/// A name that a path could not hold, or that leads out of its folder.
fn check_name(view: &View<'_>, at: usize, name: &[u16]) -> Result<()> {
    const DOT: u16 = b'.' as u16;
    let is_path = matches!(name, [] | [DOT] | [DOT, DOT]);
    let separator = name.iter().find(|c| [0, u16::from(b'/'), u16::from(b'\\')].contains(c));
    if is_path || separator.is_some() {
        let text = reseal_dtyp::utf16_lossy(name);
        return Err(view.damaged(at, "name", format!("{text:?} is no name of a file")));
    }
    Ok(())
}
