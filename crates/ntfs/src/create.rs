//! New files and folders.

use crate::attribute::{kind, name};
use crate::attributes::settable;
use crate::file::{File, Record};
use crate::file_edit::FileEdit;
use crate::file_name::{DIRECTORY, Namespace};
use crate::index::collation;
use crate::names_edit::{self, Duplicated, stamp};
use crate::record::flag;
use crate::record_edit;
use crate::reference::FileReference;
use crate::security_add::Security;
use crate::short_name;
use crate::stat::file_attribute;
use crate::stream::Clusters;
use crate::tree_edit::TreeEdit;
use crate::tree_layout::empty_root;
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// The name of a new file, and by which rules it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewName<'a> {
    /// As Windows does: no other name of the folder may be the same without regard to case, and a name that is not a legal 8.3
    /// name gets an 8.3 twin.
    Windows(&'a [u16]),
    /// As in a case-sensitive folder: only exactly the same name is in the way, and there is no twin.
    Exact(&'a [u16]),
    /// A name and its 8.3 name as somebody else gave them. No other name of the folder may be the same as one of them without
    /// regard to case. Without an 8.3 name a legal 8.3 name is both, as in Windows, and a longer one has no twin.
    Given(&'a [u16], Option<&'a [u16]>),
}

impl<'a> NewName<'a> {
    fn units(self) -> &'a [u16] {
        let (NewName::Windows(units) | NewName::Exact(units) | NewName::Given(units, _)) = self;
        units
    }

    /// Why no folder takes it, whatever else is in there.
    pub fn fault(self) -> Option<&'static str> {
        let short = match self {
            NewName::Given(_, Some(short)) if !short_name::may_be_short(short) => Some("its 8.3 name is none"),
            _ => None,
        };
        short_name::fault(self.units()).or(short)
    }
}

/// What a new file or folder starts with.
#[derive(Debug, Clone, Copy)]
pub struct NewFile<'a> {
    /// Its content; none for a folder.
    pub data: Option<&'a [u8]>,
    /// Its security descriptor.
    pub security: Security<'a>,
    /// Created, content changed, record changed, accessed. The third is when the folder that it lies in changed.
    pub times: [FileTime; 4],
    /// `FILE_ATTRIBUTE_*`, of which those count that [`Volume::set_attributes`] sets.
    pub attributes: u32,
}

impl Volume {
    /// Makes a file in a folder. A name that is a legal 8.3 name gets one entry; a longer one gets an 8.3 twin, as Windows does.
    ///
    /// `Conflict` when the name exists (case does not matter) or is not legal; `NoSpace` without room.
    pub fn create_file(
        &mut self,
        parent: FileReference,
        name: &str,
        data: &[u8],
        security: Security<'_>,
        now: FileTime,
    ) -> Result<FileReference> {
        let units: Vec<u16> = name.encode_utf16().collect();
        self.create_as(parent, NewName::Windows(&units), Some(data), security, now)
    }

    /// Makes an empty folder in a folder; errors as in [`Volume::create_file`].
    pub fn create_dir(
        &mut self,
        parent: FileReference,
        name: &str,
        security: Security<'_>,
        now: FileTime,
    ) -> Result<FileReference> {
        let units: Vec<u16> = name.encode_utf16().collect();
        self.create_as(parent, NewName::Windows(&units), None, security, now)
    }

    /// Makes a file with this content, or without content a folder, under any legal name, lone surrogates included; errors as in
    /// [`Volume::create_file`].
    pub fn create_as(
        &mut self,
        parent: FileReference,
        name: NewName<'_>,
        data: Option<&[u8]>,
        security: Security<'_>,
        now: FileTime,
    ) -> Result<FileReference> {
        let attributes = if data.is_none() { 0 } else { file_attribute::ARCHIVE };
        self.create_with(parent, name, &NewFile { data, security, times: [now; 4], attributes })
    }

    /// Makes a file or folder with times and attributes of its own; errors as in [`Volume::create_file`], and `Conflict` for an
    /// 8.3 name that is none.
    pub fn create_with(
        &mut self,
        parent: FileReference,
        name: NewName<'_>,
        new: &NewFile<'_>,
    ) -> Result<FileReference> {
        self.operation(|volume| volume.create(parent, name, new))
            .map_err(|e| e.within(format!("creating `{}` in folder {parent}", reseal_dtyp::utf16_lossy(name.units()))))
    }

    fn create(&mut self, parent: FileReference, name: NewName<'_>, new: &NewFile<'_>) -> Result<FileReference> {
        let NewFile { data, security, times, attributes } = *new;
        let mut folder = self.edit_folder(parent)?;
        let names = match name {
            NewName::Windows(units) => self.new_names(&mut folder, units, None)?,
            NewName::Exact(units) => self.exact_name(&mut folder, units)?,
            NewName::Given(units, short) => self.given_names(&folder, units, short)?,
        };
        let is_directory = data.is_none();
        let id = self.security_id(security, parent, is_directory)?;
        // A descriptor may have been added; the folder was loaded before, but it is another file.
        let mut record = self.new_record(if is_directory { flag::DIRECTORY } else { 0 })?;
        let reference = record.view()?.reference();
        let size = data.map_or(0, |d| d.len() as u64);
        let attributes = settable(attributes, is_directory);
        record.insert(standard_information(attributes, id, times), &self.upcase)?;
        let mut facts = Duplicated { times, allocated: 0, size, attributes, reparse_tag: 0 };
        if is_directory {
            facts.attributes |= DIRECTORY;
        }
        for (name, namespace) in &names {
            let value = names_edit::value(parent, name, *namespace, &facts);
            record.insert(record_edit::resident(kind::FILE_NAME, &[], &value, true), &self.upcase)?;
        }
        record.set_link_count(names.len() as u16);
        let mut edit = FileEdit::new(File { reference, records: vec![record], has_list: false });
        let clusters = match data {
            Some(data) => self.new_content(&mut edit, data)?,
            None => {
                let root = empty_root(
                    collation::FILE_NAME,
                    kind::FILE_NAME,
                    self.geometry.index_size,
                    self.geometry.cluster_size,
                );
                edit.insert(self, record_edit::resident(kind::INDEX_ROOT, name::I30, &root, false))?;
                None
            }
        };
        facts.allocated = clusters.as_ref().map_or(size.next_multiple_of(8), |c| c.allocated);
        for spot in edit.spots(|a| a.kind == kind::FILE_NAME)? {
            let allocated = facts.allocated.to_le_bytes();
            edit.value_mut(spot)?[crate::file_name::offset::ALLOCATED..][..8].copy_from_slice(&allocated);
        }
        edit.finish(self)?;
        for (name, namespace) in &names {
            let value = names_edit::value(parent, name, *namespace, &facts);
            self.enter(&mut folder, reference, &value)?;
        }
        stamp(&mut folder.edit, times[2])?;
        folder.finish(self)?;
        self.recount_usage()?;
        if let (Some(clusters), Some(data)) = (clusters, data) {
            self.fill(&clusters, data, reference.record())?;
        }
        Ok(reference)
    }

    fn new_content(&mut self, edit: &mut FileEdit, data: &[u8]) -> Result<Option<Clusters>> {
        edit.insert(self, record_edit::resident(kind::DATA, &[], &[], false))?;
        let spot = edit.spot(kind::DATA, &[])?.ok_or_else(|| Error::new(Kind::Conflict, "the new stream got lost"))?;
        self.replace_resident(edit, spot, &[], data)
    }

    /// A blank record in use, with a sequence number that no older reference has.
    fn new_record(&mut self, flags: u16) -> Result<Record> {
        let number = self.allocate_record()?;
        self.fresh_record(number, flags)
    }

    /// A blank record in use in the place of a free one.
    pub(crate) fn fresh_record(&self, number: u64, flags: u16) -> Result<Record> {
        let (sequence, usn) = match self.record(number) {
            // Freeing moved the sequence number on; a record that was never used keeps what formatting gave it.
            Ok(old) => (old.view()?.sequence().max(1), old.update_sequence_number()),
            Err(_) => (1, 0),
        };
        if self.record(number).is_ok_and(|r| r.view().is_ok_and(|v| v.is_in_use())) {
            return Err(Error::damaged("$MFT", "$BITMAP", 0, format!("record {number} is marked free and in use")));
        }
        Ok(record_edit::blank(number, 0, self.geometry.record_size, sequence, flags | flag::IN_USE, usn))
    }

    /// A case-sensitive name; the index itself refuses one that it has.
    fn exact_name(&self, folder: &mut TreeEdit, name: &[u16]) -> Result<Vec<(Vec<u16>, Namespace)>> {
        let text = || reseal_dtyp::utf16_lossy(name);
        if let Some(fault) = short_name::fault(name) {
            return Err(Error::new(Kind::Conflict, format!("`{}` is no legal name: {fault}", text())));
        }
        match self.find_name(&folder.tree, name)? {
            Some((other, there)) if there == name => {
                Err(Error::new(Kind::Conflict, format!("`{}` exists: file {other}", text())))
            }
            _ => Ok(vec![(name.to_vec(), Namespace::Posix)]),
        }
    }

    /// A name and its 8.3 name as they are given.
    fn given_names(
        &self,
        folder: &TreeEdit,
        name: &[u16],
        short: Option<&[u16]>,
    ) -> Result<Vec<(Vec<u16>, Namespace)>> {
        let text = |name: &[u16]| reseal_dtyp::utf16_lossy(name);
        let refuse = |detail: String| Err(Error::new(Kind::Conflict, detail));
        if let Some(fault) = short_name::fault(name) {
            return refuse(format!("`{}` is no legal name: {fault}", text(name)));
        }
        if let Some(short) = short.filter(|short| !short_name::may_be_short(short)) {
            return refuse(format!("`{}` is no legal 8.3 name", text(short)));
        }
        for name in std::iter::once(name).chain(short) {
            if let Some((other, _)) = self.find_name(&folder.tree, name)? {
                return refuse(format!("`{}` exists: file {other}", text(name)));
            }
        }
        let same =
            |a: &[u16], b: &[u16]| self.upcase.compare_ignoring_case(a.iter().copied(), b.iter().copied()).is_eq();
        Ok(match short {
            Some(short) if !same(short, name) => {
                vec![(name.to_vec(), Namespace::Win32), (short.to_vec(), Namespace::Dos)]
            }
            Some(_) => vec![(name.to_vec(), Namespace::Win32AndDos)],
            None if short_name::is_short(name) => vec![(name.to_vec(), Namespace::Win32AndDos)],
            None => vec![(name.to_vec(), Namespace::Win32)],
        })
    }

    /// The names that a file called `name` gets in a folder. `keep` is a twin that it has already and may keep.
    pub(crate) fn new_names(
        &self,
        folder: &mut TreeEdit,
        name: &[u16],
        keep: Option<&[u16]>,
    ) -> Result<Vec<(Vec<u16>, Namespace)>> {
        if let Some(fault) = short_name::fault(name) {
            let text = reseal_dtyp::utf16_lossy(name);
            return Err(Error::new(Kind::Conflict, format!("`{text}` is no legal name: {fault}")));
        }
        let tree = folder.tree.clone();
        if let Some((other, _)) = self.find_name(&tree, name)? {
            let text = reseal_dtyp::utf16_lossy(name);
            return Err(Error::new(Kind::Conflict, format!("`{text}` exists: file {other}")));
        }
        if short_name::is_short(name) {
            return Ok(vec![(name.to_vec(), Namespace::Win32AndDos)]);
        }
        let mut failed = None;
        let twin = match keep {
            // In another folder it may be taken.
            Some(twin) if short_name::is_twin_of(twin, name) && self.find_name(&tree, twin)?.is_none() => {
                Some(twin.to_vec())
            }
            _ => short_name::twin(name, |candidate| match self.find_name(&tree, candidate) {
                Ok(found) => found.is_some(),
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }),
        };
        if let Some(error) = failed {
            return Err(error);
        }
        let twin = twin.ok_or_else(|| Error::new(Kind::NoSpace, "no 8.3 name is free"))?;
        Ok(vec![(name.to_vec(), Namespace::Win32), (twin, Namespace::Dos)])
    }

    /// Writes content into fresh clusters and zeroes what is behind it.
    pub(crate) fn fill(&mut self, clusters: &Clusters, data: &[u8], number: u64) -> Result<()> {
        self.write_clusters(clusters, 0, data, number)?;
        let size = data.len() as u64;
        for (place, len) in
            clusters.pieces(size, clusters.allocated.saturating_sub(size), self.geometry.cluster_size)?
        {
            if let Some(at) = place {
                self.store.zero(at, len)?;
            }
        }
        Ok(())
    }
}

/// The 72-byte form.
fn standard_information(attributes: u32, security_id: u32, times: [FileTime; 4]) -> Vec<u8> {
    let mut value = [0; 0x48];
    for (field, time) in value.chunks_exact_mut(8).zip(times) {
        field.copy_from_slice(&time.0.to_le_bytes());
    }
    value[0x20..0x24].copy_from_slice(&attributes.to_le_bytes());
    value[0x34..0x38].copy_from_slice(&security_id.to_le_bytes());
    record_edit::resident(kind::STANDARD_INFORMATION, &[], &value, false)
}
