//! Deleting a folder with everything in it.

use crate::file_edit::FileEdit;
use crate::file_name::NameView;
use crate::names_edit::stamp;
use crate::reference::FileReference;
use crate::replace::refuse_system;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};
use std::collections::{BTreeMap, BTreeSet};

/// What [`Volume::remove_tree`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovedTree {
    /// Files that are gone.
    pub files: u64,
    /// Folders that are gone, the top one included.
    pub folders: u64,
    /// Files that live on under names outside of the tree.
    pub kept: u64,
}

/// What a folder and the folders in it hold.
#[derive(Default)]
struct Members {
    folders: BTreeSet<FileReference>,
    /// Files, and how often the folders list each.
    files: BTreeMap<FileReference, usize>,
}

impl Volume {
    /// Deletes a folder with all files and folders in it, as one operation. A file that has names outside of the tree too (hard
    /// links) loses those inside and stays. Junctions and other reparse points go themselves; where they lead is not touched. A
    /// file instead of a folder is deleted as by [`Volume::remove`].
    ///
    /// `Damaged` when the entries of a folder and the names of the files disagree; `Unsupported` when one of the volume's own
    /// files is in the tree. Nothing is changed then.
    pub fn remove_tree(&mut self, reference: FileReference, now: FileTime) -> Result<RemovedTree> {
        self.operation(|volume| volume.remove_all(reference, now))
            .map_err(|e| e.within(format!("removing everything in file {reference}")))
    }

    fn remove_all(&mut self, top: FileReference, now: FileTime) -> Result<RemovedTree> {
        self.refuse_own(top)?;
        if !self.file(top)?.base()?.is_directory() {
            self.remove_file(top, now)?;
            return Ok(RemovedTree { files: 1, ..RemovedTree::default() });
        }
        let members = self.members(top)?;
        let mut done = RemovedTree { folders: members.folders.len() as u64, ..RemovedTree::default() };
        for (&reference, &listed) in &members.files {
            if self.remove_member(reference, listed, &members.folders, now)? {
                done.files += 1;
            } else {
                done.kept += 1;
            }
        }
        // Folders go with their indexes: nobody looks into them any more.
        for &folder in members.folders.iter().filter(|&&f| f != top) {
            let file = self.file(folder)?;
            for value in self.name_values(&file)? {
                let parent = NameView::read(&value, 0)?.parent();
                if !members.folders.contains(&parent) {
                    let detail = format!("folder {folder} lies in the tree and in folder {parent}");
                    return Err(Error::damaged("$FILE_NAME", "ParentDirectory", file.base()?.at, detail));
                }
            }
            self.remove_keys(&file)?;
            self.release_file(&file)?;
        }
        let file = self.file(top)?;
        for value in self.name_values(&file)? {
            let mut folder = self.edit_folder(NameView::read(&value, 0)?.parent())?;
            self.leave(&mut folder, top, &value)?;
            stamp(&mut folder.edit, now)?;
            folder.finish(self)?;
        }
        self.remove_keys(&file)?;
        self.release_file(&file)?;
        Ok(done)
    }

    fn members(&self, top: FileReference) -> Result<Members> {
        let mut members = Members { folders: BTreeSet::from([top]), ..Members::default() };
        let mut waiting = vec![top];
        while let Some(folder) = waiting.pop() {
            for entry in self.entries(folder)? {
                let child = entry.reference;
                refuse_system(child)?;
                // A stale entry ends it here: its record belongs to another file.
                let is_folder = self
                    .file(child)
                    .and_then(|file| Ok(file.base()?.is_directory()))
                    .map_err(|e| e.within(format!("an entry of folder {folder}")))?;
                if !is_folder {
                    *members.files.entry(child).or_default() += 1;
                } else if members.folders.insert(child) {
                    waiting.push(child);
                } else if child == top {
                    let detail = format!("folder {folder} lists folder {top}, in which it lies");
                    return Err(Error::new(Kind::Damaged, detail));
                }
            }
        }
        Ok(members)
    }

    /// Deletes a file of the tree, or its names in it when it has others. Whether the file is gone.
    fn remove_member(
        &mut self,
        reference: FileReference,
        listed: usize,
        folders: &BTreeSet<FileReference>,
        now: FileTime,
    ) -> Result<bool> {
        let file = self.file(reference)?;
        let (mut inside, mut outside) = (Vec::new(), 0);
        for value in self.name_values(&file)? {
            if folders.contains(&NameView::read(&value, 0)?.parent()) {
                inside.push(value);
            } else {
                outside += 1;
            }
        }
        if inside.len() != listed {
            let detail = format!("file {reference} has {} names in the tree, its folders list {listed}", inside.len());
            return Err(Error::damaged("$FILE_NAME", "", file.base()?.at, detail));
        }
        if outside > 0 {
            self.drop_names(FileEdit::new(file), &inside, now)?;
            return Ok(false);
        }
        self.remove_keys(&file)?;
        self.release_file(&file)?;
        Ok(true)
    }
}
