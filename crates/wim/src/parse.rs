//! Reading a metadata resource.

use crate::dentry::{self, DIRECTORY, Dentry};
use crate::image::{Entry, File, FileId, Image};
use reseal_dtyp::{Result, View};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

/// Takes a metadata resource apart.
pub(crate) fn metadata(bytes: &[u8]) -> Result<Image> {
    let view = View::new("metadata resource", 0, bytes);
    let (descriptors, root_at) = security_data(&view)?;
    let files = Tree::read(&view, root_at, descriptors.len())?;
    Ok(Image { descriptors: descriptors.into_iter().map(|range| bytes[range].to_vec()).collect(), files })
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

impl<'v> Tree<'v> {
    fn read(view: &'v View<'v>, root_at: usize, descriptors: usize) -> Result<Vec<File>> {
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
            self.files[folder.0 as usize].entries.push(Some(Entry { name, short_name, file }));
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
            extra: entry.extra,
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
