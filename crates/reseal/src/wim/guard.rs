//! The guard against stray changes: every file that differs must be one that the plan names.
//!
//! It compares the image as it was with the image as it will be read, and knows nothing of how the one became the other.

use super::tree::WimTree;
use crate::SidOutcome;
use crate::change::Target;
use crate::error::{Error, Kind, Result};
use crate::hives::LOG_SUFFIXES;
use crate::staging::Staged;
use reseal_dtyp::utf16_lossy;
use reseal_sid::SidMap;
use reseal_wim::{FileId, names};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Fails with kind `Internal` when the images differ in a file that the plan does not name.
pub(super) fn refuse(was: &WimTree, is: &WimTree, staged: &Staged) -> Result<()> {
    let map = staged.sid.as_ref().map(SidOutcome::map).transpose()?;
    let map = map.as_ref();
    let allowed = Allowed::of(staged, map);
    let (old, new) = (was.image.root(), is.image.root());
    if !same(was, old, is, new, map)? && !allowed.has("") {
        return Err(stray(r"\"));
    }
    // Folders form a tree, so this ends.
    let mut open = vec![(old, new, String::new())];
    while let Some((old, new, path)) = open.pop() {
        for pair in pairs(&names_in(was, old, map), &names_in(is, new, None)) {
            let path = || format!(r"{path}\{}", utf16_lossy(&names::upper(pair.name)));
            match (pair.old, pair.new) {
                (Some(old), Some(new)) => {
                    if !same(was, old, is, new, map)? && !allowed.has(&path()) {
                        return Err(stray(&path()));
                    }
                    if was.image.is_dir(old) && is.image.is_dir(new) {
                        open.push((old, new, path()));
                    }
                }
                (Some(old), None) => allowed.whole(was, old, path(), map)?,
                (None, Some(new)) => allowed.whole(is, new, path(), None)?,
                (None, None) => {}
            }
        }
    }
    Ok(())
}

fn stray(path: &str) -> Error {
    Error::new(Kind::Internal, format!("a change that the plan does not name: {path}"))
        .hint("this is a defect of reseal; nothing was written")
}

type Named<'a> = (Cow<'a, [u16]>, FileId);

/// The names in a folder, with SIDs in them replaced.
fn names_in<'a>(tree: &'a WimTree, folder: FileId, map: Option<&SidMap>) -> Vec<Named<'a>> {
    let renamed = |name: &[u16]| map.and_then(|map| map.rewrite_units(name));
    let entries = tree.image.entries(folder);
    entries.map(|e| (renamed(&e.name).map_or(Cow::Borrowed(&e.name[..]), Cow::Owned), e.file)).collect()
}

/// A name, and what it means in both images.
struct Pair<'a> {
    name: &'a [u16],
    old: Option<FileId>,
    new: Option<FileId>,
}

/// Names that are the same without regard to case belong together.
fn pairs<'a>(old: &'a [Named<'_>], new: &'a [Named<'_>]) -> Vec<Pair<'a>> {
    // Nearly every folder has the same names in the same order.
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.0 == b.0) {
        return old.iter().zip(new).map(|(a, b)| Pair { name: &a.0, old: Some(a.1), new: Some(b.1) }).collect();
    }
    let mut all: BTreeMap<Vec<u16>, Pair<'a>> = BTreeMap::new();
    for (name, file) in old {
        all.insert(names::upper(name), Pair { name, old: Some(*file), new: None });
    }
    for (name, file) in new {
        let pair = all.entry(names::upper(name)).or_insert(Pair { name, old: None, new: None });
        pair.new = Some(*file);
    }
    all.into_values().collect()
}

/// Whether nothing differs but SIDs in the descriptor.
fn same(was: &WimTree, old: FileId, is: &WimTree, new: FileId, map: Option<&SidMap>) -> Result<bool> {
    let (a, b) = (&was.image, &is.image);
    let streams_are_same = || {
        let (old, new) = (a.streams(old), b.streams(new));
        old == new || old.iter().collect::<BTreeSet<_>>() == new.iter().collect::<BTreeSet<_>>()
    };
    let said = a.attributes(old) == b.attributes(new)
        && a.times(old) == b.times(new)
        && a.reparse_tag(old) == b.reparse_tag(new)
        && streams_are_same();
    if !said {
        return Ok(false);
    }
    let mut descriptor = a.descriptor(old).map(<[u8]>::to_vec);
    if let (Some(descriptor), Some(map)) = (&mut descriptor, map) {
        map.rewrite_descriptor(descriptor)?;
    }
    Ok(descriptor.as_deref() == b.descriptor(new))
}

/// What the plan names, in capital letters.
pub(crate) struct Allowed {
    files: BTreeSet<String>,
    /// Folders with all in them.
    folders: Vec<String>,
}

impl Allowed {
    /// A folder that is renamed later is named as it was: SIDs are replaced in what the plan names, too.
    pub(crate) fn of(staged: &Staged, map: Option<&SidMap>) -> Allowed {
        let upper = |path: &str| {
            let units: Vec<u16> = path.trim_start_matches('\\').encode_utf16().collect();
            let renamed = map.and_then(|map| map.rewrite_units(&units));
            format!(r"\{}", utf16_lossy(&names::upper(renamed.as_deref().unwrap_or(&units))))
        };
        let mut allowed = Allowed { files: BTreeSet::new(), folders: Vec::new() };
        for change in &staged.changes {
            match &change.target {
                Target::File { path } => drop(allowed.files.insert(upper(path))),
                Target::Folder { path } => allowed.folders.push(upper(path)),
                _ => {}
            }
        }
        for file in staged.hives.files.iter().filter(|file| file.edited) {
            allowed.files.insert(upper(&file.path));
            allowed.files.extend(LOG_SUFFIXES.iter().map(|suffix| upper(&format!("{}{suffix}", file.path))));
        }
        allowed
    }

    /// Fails where a file or folder that came or went, or one below it, is not named.
    fn whole(&self, tree: &WimTree, file: FileId, path: String, map: Option<&SidMap>) -> Result<()> {
        let mut open = vec![(file, path)];
        while let Some((file, path)) = open.pop() {
            if !self.has(&path) {
                return Err(stray(&path));
            }
            if tree.image.is_dir(file) {
                let below = names_in(tree, file, map).into_iter();
                open.extend(below.map(|(n, file)| (file, format!(r"{path}\{}", utf16_lossy(&names::upper(&n))))));
            }
        }
        Ok(())
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        let below = |folder: &String| {
            path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
        };
        self.files.contains(path) || self.folders.iter().any(below)
    }
}
