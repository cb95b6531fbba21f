//! Deleting files and empty folders.

use crate::attribute::{kind, name};
use crate::file::File;
use crate::file_name::NameView;
use crate::names_edit::stamp;
use crate::reference::FileReference;
use crate::tree_edit::TreeEdit;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

impl Volume {
    /// Deletes a file with all its names, 8.3 twins and hard links included, or an empty folder. Its keys in `$ObjId` and
    /// `$Reparse` go, its clusters are freed and zeroed, its records are marked free.
    ///
    /// `Conflict` for a folder that is not empty; `Unsupported` for the volume's own files.
    pub fn remove(&mut self, reference: FileReference, now: FileTime) -> Result<()> {
        self.operation(|volume| volume.remove_file(reference, now))
            .map_err(|e| e.within(format!("removing file {reference}")))
    }

    pub(crate) fn remove_file(&mut self, reference: FileReference, now: FileTime) -> Result<()> {
        self.refuse_own(reference)?;
        let file = self.file(reference)?;
        if file.base()?.is_directory() && !self.entries(reference)?.is_empty() {
            return Err(Error::new(Kind::Conflict, "the folder is not empty"));
        }
        let names = self.name_values(&file)?;
        if names.is_empty() {
            return Err(Error::damaged("file record", "$FILE_NAME", file.base()?.at, "the file has no name"));
        }
        let mut left = &names[..];
        while let Some(first) = left.first() {
            let parent = NameView::read(first, 0)?.parent();
            let here = left.iter().take_while(|n| n.get(..8) == first.get(..8)).count();
            let mut folder = self.edit_folder(parent)?;
            for value in &left[..here] {
                self.leave(&mut folder, reference, value)?;
            }
            stamp(&mut folder.edit, now)?;
            folder.finish(self)?;
            left = &left[here..];
        }
        self.remove_keys(&file)?;
        self.release_file(&file)
    }

    /// Frees clusters and records: extension records first.
    pub(crate) fn release_file(&mut self, file: &File) -> Result<()> {
        let runs = self.clusters_of(file)?;
        self.release(&runs)?;
        for record in file.records.iter().rev() {
            self.stage_record(&record.freed()?)?;
            self.release_record(record.number)?;
        }
        Ok(())
    }

    /// Takes the file's keys out of `$ObjId:$O` and `$Reparse:$R`, and its charge out of `$Quota:$Q`. A key that is missing is not looked for further: Windows
    /// leaves such files behind, too.
    pub(crate) fn remove_keys(&mut self, file: &File) -> Result<()> {
        if let Some(id) = file.resident(kind::OBJECT_ID, &[])?.and_then(|v| v.get(..16)).map(<[u8]>::to_vec) {
            self.remove_key("$ObjId", name::O, &id, file.reference)?;
        }
        if let Some(data) = self.reparse_data_of(file)? {
            let mut key = data.get(..4).unwrap_or_default().to_vec();
            key.extend_from_slice(&file.reference.0.to_le_bytes());
            self.remove_key("$Reparse", name::R, &key, file.reference)?;
        }
        self.discharge(file)
    }

    pub(crate) fn remove_key(
        &mut self,
        file_name: &str,
        index: &[u16],
        key: &[u8],
        owner: FileReference,
    ) -> Result<()> {
        let Some(reference) = self.extend_file(file_name)? else { return Ok(()) };
        let file = self.file(reference)?;
        if self.tree(&file, index)?.is_none() {
            return Ok(());
        }
        let mut tree: TreeEdit = self.edit_tree(file, index)?;
        // An object id may meanwhile belong to another file: its entry stays.
        let owns = |entry: &[u8]| index == name::R || entry.get(0x20..0x28) == Some(&owner.0.to_le_bytes()[..]);
        if tree.get(self, key)?.is_some_and(|entry| owns(&entry)) {
            tree.remove(self, key)?;
            tree.finish(self)?;
        }
        Ok(())
    }
}
