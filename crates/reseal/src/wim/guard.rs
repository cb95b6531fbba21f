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
use std::collections::{BTreeMap, BTreeSet};

/// Fails with kind `Internal` when the images differ in a file that the plan does not name.
pub(super) fn refuse(was: &WimTree, is: &WimTree, staged: &Staged) -> Result<()> {
    let map = staged.sid.as_ref().map(SidOutcome::map).transpose()?;
    let allowed = Allowed::of(staged, map.as_ref());
    let (before, after) = (files(was, map.as_ref())?, files(is, None)?);
    for path in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(path), after.get(path));
        if allowed.has(path) {
            continue;
        }
        match (old, new) {
            (Some(old), Some(new)) if same(was, *old, is, *new, map.as_ref())? => {}
            _ => return Err(stray(path)),
        }
    }
    Ok(())
}

fn stray(path: &str) -> Error {
    Error::new(Kind::Internal, format!("a change that the plan does not name: {path}"))
        .hint("this is a defect of reseal; nothing was written")
}

/// Every file by its path, in capital letters, with SIDs in names replaced.
fn files(tree: &WimTree, map: Option<&SidMap>) -> Result<BTreeMap<String, FileId>> {
    let mut out = BTreeMap::from([(String::new(), tree.image.root())]);
    let mut queue = vec![(tree.image.root(), String::new())];
    while let Some((folder, path)) = queue.pop() {
        for entry in tree.image.entries(folder) {
            let renamed = map.and_then(|map| map.rewrite_units(&entry.name));
            let name = names::upper(renamed.as_deref().unwrap_or(&entry.name));
            let path = format!(r"{path}\{}", utf16_lossy(&name));
            if tree.image.is_dir(entry.file) {
                queue.push((entry.file, path.clone()));
            }
            out.insert(path, entry.file);
        }
    }
    Ok(out)
}

/// Whether nothing differs but SIDs in the descriptor.
fn same(was: &WimTree, old: FileId, is: &WimTree, new: FileId, map: Option<&SidMap>) -> Result<bool> {
    let (a, b) = (&was.image, &is.image);
    let said = a.attributes(old) == b.attributes(new)
        && a.times(old) == b.times(new)
        && a.reparse_tag(old) == b.reparse_tag(new)
        && a.streams(old).iter().collect::<BTreeSet<_>>() == b.streams(new).iter().collect::<BTreeSet<_>>();
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
struct Allowed {
    files: BTreeSet<String>,
    /// Folders with all in them.
    folders: Vec<String>,
}

impl Allowed {
    /// A folder that is renamed later is named as it was: SIDs are replaced in what the plan names, too.
    fn of(staged: &Staged, map: Option<&SidMap>) -> Allowed {
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

    fn has(&self, path: &str) -> bool {
        let below = |folder: &String| {
            path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
        };
        self.files.contains(path) || self.folders.iter().any(below)
    }
}
