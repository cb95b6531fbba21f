//! Renaming, within a folder and from one to another.

use crate::attribute::kind;
use crate::directory::MAX_PATH_PARTS;
use crate::file::File;
use crate::file_edit::FileEdit;
use crate::file_name::{FileName, HEADER, NameView, Namespace};
use crate::names_edit::{self, Duplicated, stamp};
use crate::record_edit;
use crate::reference::{FileReference, system};
use crate::replace::refuse_system;
use crate::short_name;
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// The values of a name and of its twin, and the text of the twin.
type NameAndTwin = (Vec<Vec<u8>>, Option<Vec<u16>>);

impl Volume {
    /// Gives one name of a file another text; the folder stays. `old` is one of [`Volume::names_of`], not an 8.3 twin. The twin
    /// is kept when it fits the new name as well, else it goes or is made anew; a case-sensitive name stays one.
    ///
    /// `NotFound` when the file has no such name; `Conflict` when the new name exists or is not legal.
    pub fn rename(&mut self, reference: FileReference, old: &FileName, new: &[u16], now: FileTime) -> Result<()> {
        self.operation(|volume| volume.rename_file(reference, old, old.parent, new, now))
            .map_err(|e| e.within(format!("renaming file {reference}")))
    }

    /// Like [`Volume::rename`], and the name moves to folder `parent`. Of a file with hard links the other names stay where they
    /// are. The security descriptor stays as it is.
    ///
    /// Besides those of [`Volume::rename`]: `Conflict` when `parent` is no folder, or lies below the folder that moves.
    pub fn rename_to(
        &mut self,
        reference: FileReference,
        old: &FileName,
        parent: FileReference,
        new: &[u16],
        now: FileTime,
    ) -> Result<()> {
        self.operation(|volume| volume.rename_file(reference, old, parent, new, now))
            .map_err(|e| e.within(format!("moving file {reference} to folder {parent}")))
    }

    fn rename_file(
        &mut self,
        reference: FileReference,
        old: &FileName,
        parent: FileReference,
        new: &[u16],
        now: FileTime,
    ) -> Result<()> {
        self.refuse_own(reference)?;
        if old.namespace == Namespace::Dos {
            return Err(Error::new(Kind::Conflict, "an 8.3 twin is renamed with its long name"));
        }
        if old.name == new && old.parent == parent {
            return Ok(());
        }
        if parent != old.parent {
            self.refuse_below(reference, parent)?;
        }
        let file = self.file(reference)?;
        let (mut going, twin) = self.name_and_twin(&file, old)?;
        let file = self.room_for_names(file, &going, new.len())?;
        let values = self.name_values(&file)?;
        // Making room may have changed what names repeat.
        going.iter_mut().for_each(|old| {
            if let Some(now) = values.iter().find(|v| v.get(0x40..) == old.get(0x40..) && v.get(..8) == old.get(..8)) {
                old.clone_from(now);
            }
        });
        let facts = self.facts_of(&file, Duplicated::of(&NameView::read(&going[0], 0)?))?;
        let mut folder = self.edit_folder(old.parent)?;
        for value in &going {
            self.leave(&mut folder, reference, value)?;
        }
        if parent != old.parent {
            stamp(&mut folder.edit, now)?;
        }
        // The new names are looked up in the folder as it is without the old ones.
        folder.finish(self)?;
        let mut folder = self.edit_folder(parent)?;
        let names = match (old.namespace, &twin) {
            (Namespace::Posix, _) => self.lone_name(&mut folder, new, Namespace::Posix)?,
            (Namespace::Win32, None) if !short_name::is_short(new) => {
                self.lone_name(&mut folder, new, Namespace::Win32)?
            }
            _ => self.new_names(&mut folder, new, twin.as_deref())?,
        };
        let mut edit = FileEdit::new(file);
        self.swap_names(&mut edit, &going, &names, parent, &facts)?;
        stamp_changed(&mut edit, now)?;
        edit.finish(self)?;
        for (name, namespace) in &names {
            let value = names_edit::value(parent, name, *namespace, &facts);
            self.enter(&mut folder, reference, &value)?;
        }
        stamp(&mut folder.edit, now)?;
        folder.finish(self)
    }

    /// The `$FILE_NAME` value of a name, that of its 8.3 twin behind it, and the twin's text. `NotFound` without that name.
    pub(crate) fn name_and_twin(&self, file: &File, old: &FileName) -> Result<NameAndTwin> {
        let mut going = Vec::new();
        let mut twin = None;
        let mut found = false;
        for value in self.name_values(file)? {
            let name = NameView::read(&value, 0)?.to_owned();
            let is_twin =
                old.namespace == Namespace::Win32 && name.namespace == Namespace::Dos && name.parent == old.parent;
            if name == *old {
                going.insert(0, value);
                found = true;
            } else if is_twin {
                twin = Some(name.name);
                going.push(value);
            }
        }
        if !found {
            let text = reseal_dtyp::utf16_lossy(&old.name);
            return Err(Error::not_found(format!("it has no name `{text}` in folder {}", old.parent)));
        }
        Ok((going, twin))
    }

    /// `Conflict` when a folder is, or lies below, the file that is to move into it.
    fn refuse_below(&self, moving: FileReference, folder: FileReference) -> Result<()> {
        if folder.record() != system::ROOT {
            refuse_system(folder)?;
        }
        let mut current = folder;
        for _ in 0..MAX_PATH_PARTS {
            if current == moving {
                return Err(Error::new(Kind::Conflict, "a folder does not move below itself"));
            }
            if current.record() == system::ROOT {
                return Ok(());
            }
            let names = self.names_of(current)?;
            current = names.first().ok_or_else(|| Error::not_found(format!("file {current} has no name")))?.parent;
        }
        Err(Error::new(Kind::Limit, format!("folder {folder} is more than {MAX_PATH_PARTS} levels deep")))
    }

    /// What a name repeats, brought up to date: Windows does so when a file is renamed.
    pub(crate) fn facts_of(&self, file: &File, old: Duplicated) -> Result<Duplicated> {
        let mut facts = Duplicated { times: self.standard_information(file)?.times, ..old };
        match file.stream(kind::DATA, &[], &self.geometry)? {
            Some(Stream::Resident(value)) => {
                facts.size = value.len() as u64;
                facts.allocated = facts.size.next_multiple_of(8);
            }
            Some(Stream::Clusters(clusters)) => {
                facts.size = clusters.size;
                let held: u64 = clusters.runs.iter().filter(|r| r.lcn.is_some()).map(|r| r.len).sum();
                facts.allocated = held.saturating_mul(u64::from(self.geometry.cluster_size));
            }
            None => {}
        }
        Ok(facts)
    }

    /// Makes sure that a longer name fits into the record, with the longest twin that there can be.
    pub(crate) fn room_for_names(&mut self, file: File, going: &[Vec<u8>], new_len: usize) -> Result<File> {
        let attribute = |value: usize| 0x18 + value.next_multiple_of(8);
        let old: usize = going.iter().map(|v| attribute(v.len())).sum();
        let new = attribute(HEADER + 2 * new_len) + attribute(HEADER + 24);
        let room = file.records.first().map_or(Ok(0), |r| r.room())?;
        if room + old >= new {
            return Ok(file);
        }
        match self.make_room(file.clone()) {
            // It may fit all the same: an extension record, or no twin.
            Err(error) if error.kind() == Kind::NoSpace => Ok(file),
            other => other,
        }
    }

    fn lone_name(
        &self,
        folder: &mut crate::tree_edit::TreeEdit,
        new: &[u16],
        namespace: Namespace,
    ) -> Result<Vec<(Vec<u16>, Namespace)>> {
        // The twin that comes with it is not wanted; the checks of the name are.
        self.new_names(folder, new, None)?;
        Ok(vec![(new.to_vec(), namespace)])
    }

    /// Takes the old `$FILE_NAME` attributes out of the records and puts the new ones in.
    pub(crate) fn swap_names(
        &self,
        edit: &mut FileEdit,
        going: &[Vec<u8>],
        names: &[(Vec<u16>, Namespace)],
        parent: FileReference,
        facts: &Duplicated,
    ) -> Result<()> {
        let base = edit.file.base()?;
        let links = base.link_count();
        for value in going {
            let spots =
                edit.spots(|a| a.kind == kind::FILE_NAME && a.resident().is_some_and(|v| v.starts_with(value)))?;
            let spot = spots.first().ok_or_else(|| Error::new(Kind::Conflict, "a name got lost"))?;
            edit.remove(*spot)?;
        }
        for (name, namespace) in names {
            let value = names_edit::value(parent, name, *namespace, facts);
            edit.insert(self, record_edit::resident(kind::FILE_NAME, &[], &value, true))?;
        }
        let links = usize::from(links).saturating_sub(going.len()) + names.len();
        edit.set_link_count(u16::try_from(links).map_err(|_| Error::new(Kind::Limit, "more than 65535 names"))?);
        Ok(())
    }
}

/// Sets the time "record changed".
pub(crate) fn stamp_changed(edit: &mut FileEdit, now: FileTime) -> Result<()> {
    let Some(spot) = edit.spot(kind::STANDARD_INFORMATION, &[])? else { return Ok(()) };
    if let Some(time) = edit.value_mut(spot)?.get_mut(16..24) {
        time.copy_from_slice(&now.0.to_le_bytes());
    }
    Ok(())
}
