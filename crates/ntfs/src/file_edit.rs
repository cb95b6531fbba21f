//! Edits of a file over all its records; the attribute list follows.

use crate::attribute::{Attribute, Form, kind};
use crate::attribute_list;
use crate::file::File;
use crate::record_edit;
use crate::store::Touch;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use std::collections::BTreeSet;

/// A file whose records are being changed.
#[derive(Debug)]
pub(crate) struct FileEdit {
    pub(crate) file: File,
    dirty: BTreeSet<usize>,
    /// Records that have become empty.
    emptied: Vec<usize>,
    list_changed: bool,
}

/// Where an attribute lies: index of the record, offset, length, id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) record: usize,
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) id: u16,
}

impl FileEdit {
    pub(crate) fn new(file: File) -> FileEdit {
        FileEdit { file, dirty: BTreeSet::new(), emptied: Vec::new(), list_changed: false }
    }

    /// All places for which `wanted` holds.
    pub(crate) fn spots(&self, mut wanted: impl FnMut(&Attribute<'_>) -> bool) -> Result<Vec<Spot>> {
        let mut out = Vec::new();
        self.file.for_each(|record, a| {
            if wanted(&a) {
                out.push(Spot { record, offset: a.offset, len: a.len, id: a.id });
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// The place of an attribute, of its first extent if there are several.
    pub(crate) fn spot(&self, kind: u32, name: &[u16]) -> Result<Option<Spot>> {
        let first = |a: &Attribute<'_>| a.is(kind, name) && a.extent().is_none_or(|e| e.first_vcn == 0);
        Ok(self.spots(first)?.into_iter().next())
    }

    /// The bytes of the record that holds a place, to be changed without changing lengths.
    pub(crate) fn bytes_mut(&mut self, spot: Spot) -> &mut [u8] {
        self.dirty.insert(spot.record);
        &mut self.file.records[spot.record].bytes[spot.offset..spot.offset + spot.len]
    }

    /// The value of a resident attribute, to be changed in place.
    pub(crate) fn value_mut(&mut self, spot: Spot) -> Result<&mut [u8]> {
        let record = &self.file.records[spot.record];
        let attribute = Attribute::read(&record.bytes[spot.offset..], spot.offset, record.at)?;
        let Form::Resident { value, offset, .. } = attribute.form else {
            return Err(Error::new(Kind::Conflict, format!("attribute {:#x} is not resident", attribute.kind)));
        };
        let range = offset..offset + value.len();
        Ok(&mut self.bytes_mut(spot)[range])
    }

    /// Puts other bytes in the place of an attribute; it keeps its id. `NoSpace` when they do not fit into its record.
    pub(crate) fn replace(&mut self, spot: Spot, mut attribute: Vec<u8>) -> Result<()> {
        record_edit::set_id(&mut attribute, spot.id);
        self.file.records[spot.record].splice(spot.offset, spot.len, &attribute)?;
        self.dirty.insert(spot.record);
        Ok(())
    }

    /// Type and name of the attribute in a place.
    pub(crate) fn named(&self, spot: Spot) -> Result<(u32, Vec<u16>)> {
        let record = &self.file.records[spot.record];
        let attribute = Attribute::read(&record.bytes[spot.offset..], spot.offset, record.at)?;
        Ok((attribute.kind, attribute.name_units()))
    }

    /// Flags of the attribute in a place.
    pub(crate) fn flags(&self, spot: Spot) -> Result<u16> {
        let record = &self.file.records[spot.record];
        Ok(Attribute::read(&record.bytes[spot.offset..], spot.offset, record.at)?.flags)
    }

    /// Bytes that an attribute in this place may have.
    pub(crate) fn room_at(&self, spot: Spot) -> Result<usize> {
        Ok(self.file.records[spot.record].room()? + spot.len)
    }

    /// Puts a new attribute into the first record that has room. `NoSpace` when none has.
    pub(crate) fn insert(&mut self, volume: &Volume, attribute: Vec<u8>) -> Result<()> {
        for index in 0..self.file.records.len() {
            if self.emptied.contains(&index) || self.file.records[index].room()? < attribute.len() {
                continue;
            }
            self.file.records[index].insert(attribute, &volume.upcase)?;
            self.dirty.insert(index);
            self.list_changed = true;
            return Ok(());
        }
        let detail = format!(
            "file {}: an attribute of {} bytes fits into none of its {} records, and further records are not added",
            self.file.reference,
            attribute.len(),
            self.file.records.len()
        );
        Err(Error::new(Kind::NoSpace, detail))
    }

    /// Takes an attribute out. An extension record left empty is given up.
    pub(crate) fn remove(&mut self, spot: Spot) -> Result<()> {
        self.file.records[spot.record].splice(spot.offset, spot.len, &[])?;
        self.dirty.insert(spot.record);
        self.list_changed = true;
        let view = self.file.records[spot.record].view()?;
        if spot.record > 0 && view.attributes().next().is_none() {
            self.emptied.push(spot.record);
        }
        Ok(())
    }

    /// Sets the number of names in the base record.
    pub(crate) fn set_link_count(&mut self, count: u16) {
        if let Some(base) = self.file.records.first_mut() {
            base.set_link_count(count);
            self.dirty.insert(0);
        }
    }

    /// Stages everything that changed.
    pub(crate) fn finish(mut self, volume: &mut Volume) -> Result<()> {
        if self.file.has_list && self.list_changed {
            self.rewrite_list(volume)?;
        }
        for &index in &self.dirty {
            if self.emptied.contains(&index) {
                let record = self.file.records[index].freed()?;
                volume.stage_record(&record)?;
                volume.release_record(record.number)?;
            } else {
                volume.stage_record(&self.file.records[index])?;
            }
        }
        Ok(())
    }

    /// Makes the attribute list anew from the attributes.
    fn rewrite_list(&mut self, volume: &mut Volume) -> Result<()> {
        let list = self.list_bytes(volume)?;
        let Some(spot) = self.spot(kind::ATTRIBUTE_LIST, &[])? else {
            return Err(Error::new(
                Kind::Conflict,
                format!("file {} has lost its attribute list", self.file.reference),
            ));
        };
        match self.file.stream(kind::ATTRIBUTE_LIST, &[], &volume.geometry)? {
            Some(Stream::Clusters(clusters)) => {
                if list.len() as u64 > clusters.allocated || list.len() as u64 > attribute_list::MAX_BYTES {
                    let detail =
                        format!("the attribute list of file {} would outgrow its clusters", self.file.reference);
                    return Err(Error::new(Kind::NoSpace, detail));
                }
                let old = clusters.size as usize;
                let mut padded = list.clone();
                padded.resize(list.len().max(old), 0);
                let whole = Clusters { initialized: clusters.allocated, ..clusters.clone() };
                volume.stage_clusters(&whole, 0, &padded, Touch::FileRecord(self.file.number()))?;
                set_sizes(self.bytes_mut(spot), list.len() as u64, list.len() as u64);
                Ok(())
            }
            _ => self.replace(spot, record_edit::resident(kind::ATTRIBUTE_LIST, &[], &list, false)),
        }
    }

    fn list_bytes(&self, volume: &Volume) -> Result<Vec<u8>> {
        let mut entries = Vec::new();
        self.file.for_each(|index, a| {
            if a.kind != kind::ATTRIBUTE_LIST {
                let owner = self.file.records[index].view()?.reference();
                entries.push((a.kind, a.name_units(), a.extent().map_or(0, |e| e.first_vcn), owner, a.id));
            }
            Ok(())
        })?;
        entries.sort_by(|a, b| {
            let names = || volume.upcase.compare(a.1.iter().copied(), b.1.iter().copied());
            a.0.cmp(&b.0).then_with(names).then(a.2.cmp(&b.2))
        });
        let mut out = Vec::new();
        for (kind, name, vcn, owner, id) in entries {
            let start = out.len();
            let len = (0x1a + 2 * name.len()).next_multiple_of(8);
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&(len as u16).to_le_bytes());
            out.extend_from_slice(&[name.len() as u8, 0x1a]);
            out.extend_from_slice(&vcn.to_le_bytes());
            out.extend_from_slice(&owner.0.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
            name.iter().for_each(|u| out.extend_from_slice(&u.to_le_bytes()));
            out.resize(start + len, 0);
        }
        Ok(out)
    }
}

/// Sets size and initialized size in the bytes of a non-resident attribute's first extent.
pub(crate) fn set_sizes(attribute: &mut [u8], size: u64, initialized: u64) {
    attribute[0x30..0x38].copy_from_slice(&size.to_le_bytes());
    attribute[0x38..0x40].copy_from_slice(&initialized.to_le_bytes());
}
