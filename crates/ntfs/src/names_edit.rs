//! Names of files in the records and in the folders, changed together.

use crate::attribute::{kind, name};
use crate::file::File;
use crate::file_edit::FileEdit;
use crate::file_name::{self, NameView, Namespace};
use crate::reference::FileReference;
use crate::tree_edit::{TreeEdit, payload};
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// What a name repeats about its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Duplicated {
    pub(crate) times: [FileTime; 4],
    pub(crate) allocated: u64,
    pub(crate) size: u64,
    pub(crate) attributes: u32,
    pub(crate) reparse_tag: u32,
}

impl Duplicated {
    /// Writes it into a `$FILE_NAME` value.
    fn write(&self, value: &mut [u8]) {
        for (i, time) in self.times.iter().enumerate() {
            let at = file_name::offset::TIMES + 8 * i;
            value[at..at + 8].copy_from_slice(&time.0.to_le_bytes());
        }
        value[file_name::offset::ALLOCATED..][..8].copy_from_slice(&self.allocated.to_le_bytes());
        value[file_name::offset::SIZE..][..8].copy_from_slice(&self.size.to_le_bytes());
        value[file_name::offset::ATTRIBUTES..][..4].copy_from_slice(&self.attributes.to_le_bytes());
        value[file_name::offset::REPARSE_TAG..][..4].copy_from_slice(&self.reparse_tag.to_le_bytes());
    }

    /// What a name says now.
    pub(crate) fn of(view: &NameView<'_>) -> Duplicated {
        Duplicated {
            times: view.times(),
            allocated: view.allocated(),
            size: view.size(),
            attributes: view.attributes(),
            reparse_tag: u32::from_le_bytes(
                view.bytes()[file_name::offset::REPARSE_TAG..][..4].try_into().unwrap_or_default(),
            ),
        }
    }
}

/// The bytes of a `$FILE_NAME` value.
pub(crate) fn value(parent: FileReference, name: &[u16], namespace: Namespace, facts: &Duplicated) -> Vec<u8> {
    let mut out = vec![0; file_name::HEADER];
    out[..8].copy_from_slice(&parent.0.to_le_bytes());
    facts.write(&mut out);
    out[0x40] = name.len() as u8;
    out[0x41] = namespace.byte();
    name.iter().for_each(|u| out.extend_from_slice(&u.to_le_bytes()));
    out
}

impl Volume {
    /// The index of a folder, to be changed; `Conflict` when the file is no folder.
    pub(crate) fn edit_folder(&self, folder: FileReference) -> Result<TreeEdit> {
        let file = self.file(folder)?;
        if !file.base()?.is_directory() {
            return Err(Error::new(Kind::Conflict, format!("file {folder} is not a folder")));
        }
        self.edit_tree(file, name::I30)
    }

    /// All `$FILE_NAME` values of a file.
    pub(crate) fn name_values(&self, file: &File) -> Result<Vec<Vec<u8>>> {
        let mut out = Vec::new();
        file.for_each(|_, a| {
            if a.kind == kind::FILE_NAME {
                out.push(NameView::read(a.resident().unwrap_or_default(), 0)?.bytes().to_vec());
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Puts a name of a file into its folder.
    pub(crate) fn enter(&mut self, folder: &mut TreeEdit, file: FileReference, value: &[u8]) -> Result<()> {
        folder.insert(self, payload(file.0.to_le_bytes(), value, &[]))
    }

    /// Takes a name of a file out of its folder; `Damaged` when the folder has not exactly this name for this file.
    pub(crate) fn leave(&mut self, folder: &mut TreeEdit, file: FileReference, value: &[u8]) -> Result<()> {
        let taken = folder.remove(self, value)?;
        let fits = taken.as_deref().is_some_and(|entry| {
            entry.get(..8) == Some(&file.0.to_le_bytes()[..])
                && entry.get(0x10..0x18) == value.get(..8)
                && entry.get(0x10 + 0x40..0x10 + value.len()) == value.get(0x40..)
        });
        if fits {
            return Ok(());
        }
        let name = NameView::read(value, 0)?.to_owned();
        let detail =
            format!("folder {} does not list file {file} as `{}`", name.parent, reseal_dtyp::utf16_lossy(&name.name));
        Err(Error::damaged("index entry", "", 0, detail))
    }

    /// Brings what all names of a file repeat up to date, in the records and in the folders.
    pub(crate) fn sync_names(&mut self, edit: &mut FileEdit, change: impl Fn(&mut Duplicated)) -> Result<()> {
        let reference = edit.file.reference;
        for spot in edit.spots(|a| a.kind == kind::FILE_NAME)? {
            let bytes = edit.value_mut(spot)?;
            let mut facts = Duplicated::of(&NameView::read(bytes, 0)?);
            change(&mut facts);
            facts.write(bytes);
            let key = bytes.to_vec();
            let mut folder = self.edit_folder(NameView::read(&key, 0)?.parent())?;
            let mut fits = false;
            folder.update(self, &key, |entry| {
                fits = entry.get(..8) == Some(&reference.0.to_le_bytes()[..]);
                if let Some(value) = entry.get_mut(0x10..0x10 + key.len()).filter(|_| fits) {
                    value.copy_from_slice(&key);
                }
            })?;
            if !fits {
                let detail = format!("a folder does not list file {reference} by a name that it has");
                return Err(Error::damaged("index entry", "", 0, detail));
            }
            folder.finish(self)?;
        }
        Ok(())
    }
}

/// Sets the times "content changed" and "record changed" in `$STANDARD_INFORMATION`.
pub(crate) fn stamp(edit: &mut FileEdit, now: FileTime) -> Result<()> {
    let Some(spot) = edit.spot(kind::STANDARD_INFORMATION, &[])? else { return Ok(()) };
    let value = edit.value_mut(spot)?;
    for offset in [8, 16] {
        if let Some(time) = value.get_mut(offset..offset + 8) {
            time.copy_from_slice(&now.0.to_le_bytes());
        }
    }
    Ok(())
}
