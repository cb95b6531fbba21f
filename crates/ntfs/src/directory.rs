//! Folders: looking up names, listing, paths.

use crate::attribute::name;
use crate::file_name::{NameView, Namespace};
use crate::index::Entry;
use crate::reference::{FileReference, system};
use crate::tree::Tree;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result, utf16_lossy};
use std::cmp::Ordering;

/// An entry of a folder. The sizes and times are the copies that the folder keeps; they may be stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// UTF-16 code units.
    pub name: Vec<u16>,
    /// The rules that the name follows; `Dos` entries stand beside a long name.
    pub namespace: Namespace,
    /// The file.
    pub reference: FileReference,
    /// File attributes (`FILE_ATTRIBUTE_*`; 0x10000000 marks a directory here).
    pub attributes: u32,
    /// Length of the unnamed stream in bytes.
    pub size: u64,
    /// Allocated bytes of the unnamed stream.
    pub allocated: u64,
    /// Created, content changed, record changed, accessed.
    pub times: [FileTime; 4],
}

impl DirEntry {
    /// Whether it is a folder.
    pub fn is_directory(&self) -> bool {
        self.attributes & crate::file_name::DIRECTORY != 0
    }
}

/// Stated limit of [`Volume::path_of`].
pub(crate) const MAX_PATH_PARTS: usize = 512;

impl Volume {
    /// The `$I30` index of a folder; `Conflict` when the file is not a folder.
    pub(crate) fn directory_tree(&self, directory: FileReference) -> Result<Tree> {
        let file = self.file(directory)?;
        let tree = if file.base()?.is_directory() { self.tree(&file, name::I30)? } else { None };
        tree.ok_or_else(|| Error::new(Kind::Conflict, format!("file {directory} is not a folder")))
    }

    /// The file that `name` means in a folder: the entry with exactly this name or else the one that differs only in case, by
    /// the volume's own table. Long and 8.3 names count alike.
    pub fn lookup(&self, directory: FileReference, name: &[u16]) -> Result<Option<FileReference>> {
        let tree = self.directory_tree(directory)?;
        Ok(self.find_name(&tree, name)?.map(|(reference, _)| reference))
    }

    /// The reference and the name as it is stored.
    pub(crate) fn find_name(&self, tree: &Tree, name: &[u16]) -> Result<Option<(FileReference, Vec<u16>)>> {
        let wanted = name.iter().copied();
        let found = |entry: &Entry<'_>| {
            let units = NameView::read(entry.key, 0).map(|n| n.units().collect()).unwrap_or_default();
            (FileReference(entry.reference()), units)
        };
        let exact = |key: &[u8]| Ok(self.upcase.compare(wanted.clone(), NameView::read(key, 0)?.units()));
        if let Some(hit) = self.search(tree, &exact, &found)? {
            return Ok(Some(hit));
        }
        let any_case = |key: &[u8]| -> Result<Ordering> {
            Ok(self.upcase.compare_ignoring_case(wanted.clone(), NameView::read(key, 0)?.units()))
        };
        self.search(tree, &any_case, &found)
    }

    /// The file at a path from the root, parts separated by `/` or `\`, without regard to case. `None` when a part is missing
    /// or a part in the middle is not a folder. Reparse points are not followed.
    pub fn resolve(&self, path: &str) -> Result<Option<FileReference>> {
        let mut current = self.root();
        for part in path.split(['/', '\\']).filter(|p| !p.is_empty()) {
            if !self.file(current)?.base()?.is_directory() {
                return Ok(None);
            }
            match self.lookup(current, &part.encode_utf16().collect::<Vec<_>>())? {
                Some(next) => current = next,
                None => return Ok(None),
            }
        }
        Ok(Some(current))
    }

    /// All entries of a folder in its order, 8.3 twins included.
    pub fn entries(&self, directory: FileReference) -> Result<Vec<DirEntry>> {
        let tree = self.directory_tree(directory)?;
        let mut out = Vec::new();
        self.walk_tree(&tree, &mut |entry| {
            let name = NameView::read(entry.key, 0).map_err(|e| e.within(format!("folder {directory}")))?;
            out.push(DirEntry {
                name: name.units().collect(),
                namespace: name.namespace(),
                reference: FileReference(entry.reference()),
                attributes: name.attributes(),
                size: name.size(),
                allocated: name.allocated(),
                times: name.times(),
            });
            Ok(())
        })?;
        Ok(out)
    }

    /// The path of a file from the root, parts separated by `/`; long names are preferred, of several hard links the first.
    pub fn path_of(&self, file: FileReference) -> Result<String> {
        let mut parts = Vec::new();
        let mut current = file;
        while current.record() != system::ROOT {
            if parts.len() >= MAX_PATH_PARTS {
                let detail = format!("the folders above file {file} do not lead to the root");
                return Err(Error::damaged("$FILE_NAME", "ParentDirectory", 0, detail));
            }
            let names = self.names_of(current)?;
            let best = names.iter().find(|n| n.namespace != Namespace::Dos).or(names.first());
            let best = best.ok_or_else(|| Error::not_found(format!("file {current} has no name")))?;
            parts.push(utf16_lossy(&best.name));
            current = best.parent;
        }
        parts.reverse();
        Ok(format!("/{}", parts.join("/")))
    }
}
