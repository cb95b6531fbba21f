//! `FILE_ATTRIBUTE_*` that anybody may set, and object ids.

use crate::attribute::{kind, name};
use crate::file_edit::FileEdit;
use crate::names_edit::Duplicated;
use crate::record_edit;
use crate::reference::{FileReference, system};
use crate::rename::stamp_changed;
use crate::tree_edit::payload;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// Read-only, hidden, system, archive, temporary, offline, not content indexed, pinned, unpinned: [MS-FSCC] 2.6. The others say how
/// a file is stored or what it is, and change with that alone.
const SETTABLE: u32 = 0x0018_3127;
/// Not for folders.
const TEMPORARY: u32 = 0x100;

/// An object id with the ids of its birth: volume, object, domain.
const OBJECT_ID: usize = 64;
const GUID: usize = 16;

/// What of `attributes` a file or folder can be given.
pub(crate) fn settable(attributes: u32, is_directory: bool) -> u32 {
    attributes & SETTABLE & if is_directory { !TEMPORARY } else { !0 }
}

/// Sets the bits `mask` of `$STANDARD_INFORMATION` to those of `bits`.
pub(crate) fn change_attributes(edit: &mut FileEdit, mask: u32, bits: u32) -> Result<()> {
    let spot = edit.spot(kind::STANDARD_INFORMATION, &[])?;
    let missing = || Error::damaged("file record", "$STANDARD_INFORMATION", 0, "there is none");
    let field = edit.value_mut(spot.ok_or_else(missing)?)?.get_mut(0x20..0x24).ok_or_else(missing)?;
    let old = u32::from_le_bytes([field[0], field[1], field[2], field[3]]);
    field.copy_from_slice(&(old & !mask | bits & mask).to_le_bytes());
    Ok(())
}

impl Volume {
    /// Sets the attributes of a file or folder, in all its names too, as `SetFileAttributes` does: read-only, hidden, system,
    /// archive, temporary (files only), offline, not content indexed, pinned, unpinned become what `attributes` says, and
    /// bits that tell how a file is stored (compressed, encrypted, sparse, reparse point) stay as they are.
    pub fn set_attributes(&mut self, reference: FileReference, attributes: u32, now: FileTime) -> Result<()> {
        self.operation(|volume| {
            volume.refuse_own_but_root(reference)?;
            let mut edit = FileEdit::new(volume.file(reference)?);
            let bits = settable(attributes, edit.file.base()?.is_directory());
            change_attributes(&mut edit, SETTABLE, bits)?;
            stamp_changed(&mut edit, now)?;
            volume.sync_names_but_root(&mut edit, |facts| {
                facts.times[2] = now;
                facts.attributes = facts.attributes & !SETTABLE | bits;
            })?;
            edit.finish(volume)
        })
        .map_err(|e| e.within(format!("file {reference}")))
    }

    /// As [`Volume::refuse_own`], but the root is everybody's.
    pub(crate) fn refuse_own_but_root(&self, reference: FileReference) -> Result<()> {
        if reference.record() == system::ROOT { Ok(()) } else { self.refuse_own(reference) }
    }

    /// As [`Volume::sync_names`]; the name `.` of the root keeps what formatting gave it, as in Windows.
    pub(crate) fn sync_names_but_root(&mut self, edit: &mut FileEdit, change: impl Fn(&mut Duplicated)) -> Result<()> {
        if edit.file.number() == system::ROOT { Ok(()) } else { self.sync_names(edit, change) }
    }

    /// Gives a file or folder an object id: 16 bytes, or 64 with the ids of its birth, which stand in the index alone: the
    /// attribute is the id, as ntfs-3g reads and writes it.
    ///
    /// `Conflict` when it has one, or another file has this one; `Unsupported` for a volume without `$Extend\$ObjId`.
    pub fn set_object_id(&mut self, reference: FileReference, id: &[u8], now: FileTime) -> Result<()> {
        self.operation(|volume| volume.add_object_id(reference, id, now))
            .map_err(|e| e.within(format!("giving file {reference} an object id")))
    }

    fn add_object_id(&mut self, reference: FileReference, id: &[u8], now: FileTime) -> Result<()> {
        self.refuse_own(reference)?;
        if id.len() != GUID && id.len() != OBJECT_ID {
            return Err(Error::new(Kind::Conflict, format!("an object id has 16 or 64 bytes, not {}", id.len())));
        }
        let mut edit = FileEdit::new(self.file(reference)?);
        if edit.spot(kind::OBJECT_ID, &[])?.is_some() {
            return Err(Error::new(Kind::Conflict, "it has an object id already"));
        }
        let missing = || Error::unsupported("the volume has no index of object ids ($Extend\\$ObjId)");
        let index = self.file(self.extend_file("$ObjId")?.ok_or_else(missing)?)?;
        if self.tree(&index, name::O)?.is_none() {
            return Err(missing());
        }
        let mut tree = self.edit_tree(index, name::O)?;
        let (key, birth) = id.split_at(GUID);
        if tree.get(self, key)?.is_some() {
            return Err(Error::new(Kind::Conflict, "another file has this object id"));
        }
        // Behind the key: the file, and the three ids of its birth, zero where they are not known.
        let mut data = reference.0.to_le_bytes().to_vec();
        data.extend_from_slice(birth);
        data.resize(8 + OBJECT_ID - GUID, 0);
        let mut head = [0; 8];
        head[..2].copy_from_slice(&(0x10 + key.len() as u16).to_le_bytes());
        head[2..4].copy_from_slice(&(data.len() as u16).to_le_bytes());
        tree.insert(self, payload(head, key, &data))?;
        tree.finish(self)?;
        edit.insert(self, record_edit::resident(kind::OBJECT_ID, &[], key, false))?;
        stamp_changed(&mut edit, now)?;
        edit.finish(self)
    }
}
