//! Hard links and times.

use crate::attribute::kind;
use crate::file_edit::FileEdit;
use crate::file_name::{FileName, NameView, Namespace};
use crate::names_edit::{self, Duplicated, stamp};
use crate::reference::FileReference;
use crate::rename::stamp_changed;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// Windows' own limit of names of one file.
const MAX_NAMES: u16 = 1024;

impl Volume {
    /// Gives a file a further name in a folder: a hard link. It gets no 8.3 twin, as a file has one at most.
    ///
    /// `Conflict` when the file is a folder, or the name exists or is not legal; `Limit` above 1024 names.
    pub fn link(&mut self, reference: FileReference, parent: FileReference, name: &[u16], now: FileTime) -> Result<()> {
        self.operation(|volume| volume.link_file(reference, parent, name, now))
            .map_err(|e| e.within(format!("linking file {reference} into folder {parent}")))
    }

    fn link_file(
        &mut self,
        reference: FileReference,
        parent: FileReference,
        name: &[u16],
        now: FileTime,
    ) -> Result<()> {
        self.refuse_own(reference)?;
        let file = self.file(reference)?;
        if file.base()?.is_directory() {
            return Err(Error::new(Kind::Conflict, "a folder has one name only"));
        }
        if file.base()?.link_count() >= MAX_NAMES {
            return Err(Error::new(Kind::Limit, format!("a file has no more than {MAX_NAMES} names")));
        }
        let file = self.room_for_names(file, &[], name.len())?;
        let first = self.name_values(&file)?.into_iter().next();
        let first = first.ok_or_else(|| Error::not_found("the file has no name"))?;
        let facts = self.facts_of(&file, Duplicated::of(&NameView::read(&first, 0)?))?;
        let mut folder = self.edit_folder(parent)?;
        // The twin that comes with it is not wanted; the checks of the name are.
        self.new_names(&mut folder, name, None)?;
        let mut edit = FileEdit::new(file);
        self.swap_names(&mut edit, &[], &[(name.to_vec(), Namespace::Posix)], parent, &facts)?;
        stamp_changed(&mut edit, now)?;
        edit.finish(self)?;
        let value = names_edit::value(parent, name, Namespace::Posix, &facts);
        self.enter(&mut folder, reference, &value)?;
        stamp(&mut folder.edit, now)?;
        folder.finish(self)
    }

    /// Takes one name of a file away, with its 8.3 twin; with the last name the file is deleted as by [`Volume::remove`].
    /// `name` is one of [`Volume::names_of`], not an 8.3 twin.
    ///
    /// `NotFound` when the file has no such name; `Conflict` for a folder that is not empty.
    pub fn unlink(&mut self, reference: FileReference, name: &FileName, now: FileTime) -> Result<()> {
        self.operation(|volume| {
            volume.refuse_own(reference)?;
            if name.namespace == Namespace::Dos {
                return Err(Error::new(Kind::Conflict, "an 8.3 twin goes with its long name"));
            }
            let file = volume.file(reference)?;
            let (going, _) = volume.name_and_twin(&file, name)?;
            if volume.name_values(&file)?.len() == going.len() {
                return volume.remove_file(reference, now);
            }
            let mut folder = volume.edit_folder(name.parent)?;
            for value in &going {
                volume.leave(&mut folder, reference, value)?;
            }
            stamp(&mut folder.edit, now)?;
            folder.finish(volume)?;
            volume.drop_names(FileEdit::new(file), &going, now)
        })
        .map_err(|e| e.within(format!("taking a name from file {reference}")))
    }

    /// Takes names out of the records of a file that keeps others.
    pub(crate) fn drop_names(&mut self, mut edit: FileEdit, going: &[Vec<u8>], now: FileTime) -> Result<()> {
        let parent = edit.file.reference;
        self.swap_names(&mut edit, going, &[], parent, &Duplicated::default())?;
        stamp_changed(&mut edit, now)?;
        edit.finish(self)
    }

    /// Sets the four times of a file (created, content changed, record changed, accessed), in all its names too; of the root in
    /// its record only.
    pub fn set_times(&mut self, reference: FileReference, times: [FileTime; 4]) -> Result<()> {
        self.operation(|volume| {
            volume.refuse_own_but_root(reference)?;
            let mut edit = FileEdit::new(volume.file(reference)?);
            let spot = edit.spot(kind::STANDARD_INFORMATION, &[])?;
            let spot =
                spot.ok_or_else(|| Error::damaged("file record", "$STANDARD_INFORMATION", 0, "there is none"))?;
            let value = edit.value_mut(spot)?;
            for (field, time) in value.chunks_exact_mut(8).zip(times) {
                field.copy_from_slice(&time.0.to_le_bytes());
            }
            volume.sync_names_but_root(&mut edit, |facts| facts.times = times)?;
            edit.finish(volume)
        })
        .map_err(|e| e.within(format!("file {reference}")))
    }
}
