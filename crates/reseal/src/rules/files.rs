//! Rules for files and folders.

use super::Action;
use super::place::{FilePlace, fits, is_pattern};
use crate::error::{Result, Within};
use crate::session::Session;
use crate::tree::{NodeId, Tree, TreeEntry};

/// Something that exists and that a place means.
struct Found {
    path: String,
    node: NodeId,
    is_dir: bool,
}

pub(super) fn run(session: &mut Session<'_>, action: &Action<'_>) -> Result<()> {
    let place = FilePlace::parse(action.place())?;
    for found in find(session.tree, &place)? {
        match action {
            Action::DeleteFile(_) if !found.is_dir => session.remove_file(&found.path, found.node)?,
            Action::DeleteFolder(_) if found.is_dir => session.remove_folder(&found.path, found.node)?,
            Action::ClearFolder(_) if found.is_dir => clear(session, &found)?,
            _ => {}
        }
    }
    Ok(())
}

/// Whether a place means anything that exists.
pub(super) fn exists(tree: &dyn Tree, place: &str) -> Result<bool> {
    Ok(!find(tree, &FilePlace::parse(place)?)?.is_empty())
}

fn clear(session: &mut Session<'_>, folder: &Found) -> Result<()> {
    for entry in session.tree.entries(folder.node).within(&folder.path)? {
        let path = format!(r"{}\{}", folder.path, entry.name_lossy());
        if is_folder(&entry) {
            session.remove_folder(&path, entry.node)?;
        } else {
            session.remove_file(&path, entry.node)?;
        }
    }
    Ok(())
}

/// A folder that may be gone into: a junction is removed like a file.
fn is_folder(entry: &TreeEntry) -> bool {
    entry.is_dir && !entry.is_reparse
}

fn find(tree: &dyn Tree, place: &FilePlace) -> Result<Vec<Found>> {
    let mut found = vec![Found { path: String::new(), node: tree.root(), is_dir: true }];
    for pattern in &place.names {
        let mut next = Vec::new();
        for folder in found.iter().filter(|f| f.is_dir) {
            next.extend(entries(tree, folder, pattern).within(&folder.path)?);
        }
        found = next;
    }
    Ok(found)
}

/// The entries of a folder whose names fit.
fn entries(tree: &dyn Tree, folder: &Found, pattern: &str) -> reseal_dtyp::Result<Vec<Found>> {
    if !is_pattern(pattern) {
        let units: Vec<u16> = pattern.encode_utf16().collect();
        if tree.lookup(folder.node, &units)?.is_none() {
            return Ok(Vec::new());
        }
    }
    let all = tree.entries(folder.node)?;
    let fitting = all.iter().filter(|e| String::from_utf16(&e.name).is_ok_and(|name| fits(pattern, &name)));
    Ok(fitting
        .map(|e| Found { path: format!(r"{}\{}", folder.path, e.name_lossy()), node: e.node, is_dir: is_folder(e) })
        .collect())
}
