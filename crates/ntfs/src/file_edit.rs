//! Edits of a file over all its records. What fits into none of them, and the attribute list, are looked after in the end.

use crate::attribute::{Attribute, Form};
use crate::file::File;
use crate::record_edit;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use std::collections::BTreeSet;

/// A file whose records are being changed.
#[derive(Debug, Clone)]
pub(crate) struct FileEdit {
    pub(crate) file: File,
    pub(crate) dirty: BTreeSet<usize>,
    /// Whether attributes came, went or changed their length.
    pub(crate) reshaped: bool,
    /// Records taken for `$MFT` itself, whose bits are still to be set.
    pub(crate) claimed: Vec<u64>,
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
        FileEdit { file, dirty: BTreeSet::new(), reshaped: false, claimed: Vec::new() }
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

    /// Puts other bytes in the place of an attribute; it keeps its id. They may be more than its record can hold.
    pub(crate) fn replace(&mut self, spot: Spot, mut attribute: Vec<u8>) -> Result<()> {
        record_edit::set_id(&mut attribute, spot.id);
        self.file.records[spot.record].splice(spot.offset, spot.len, &attribute)?;
        self.dirty.insert(spot.record);
        self.reshaped |= attribute.len() != spot.len;
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

    /// Puts a new attribute into the first record that has room, else into the base record, which sheds what is too much when
    /// the edit is finished.
    pub(crate) fn insert(&mut self, volume: &Volume, attribute: Vec<u8>) -> Result<()> {
        let mut place = 0;
        for (index, record) in self.file.records.iter().enumerate() {
            if record.room()? >= attribute.len() {
                place = index;
                break;
            }
        }
        self.insert_into(volume, place, attribute)
    }

    /// Puts a new attribute into a record.
    pub(crate) fn insert_into(&mut self, volume: &Volume, record: usize, attribute: Vec<u8>) -> Result<()> {
        self.file.records[record].insert(attribute, &volume.upcase)?;
        self.dirty.insert(record);
        self.reshaped = true;
        Ok(())
    }

    /// Takes an attribute out. An extension record left empty is given up in the end.
    pub(crate) fn remove(&mut self, spot: Spot) -> Result<()> {
        self.file.records[spot.record].splice(spot.offset, spot.len, &[])?;
        self.dirty.insert(spot.record);
        self.reshaped = true;
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
        self.settle(volume)?;
        let mut given_up = Vec::new();
        for &index in &self.dirty {
            let record = &self.file.records[index];
            if index > 0 && record.view()?.attributes().next().is_none() {
                volume.stage_record(&record.freed()?)?;
                given_up.push(record.number);
            } else {
                volume.stage_record(record)?;
            }
        }
        // The bits come last: of $MFT, the records say where they lie.
        self.claimed.iter().try_for_each(|&number| volume.stage_record_bit(number, true))?;
        given_up.into_iter().try_for_each(|number| volume.release_record(number))
    }
}

/// Sets size and initialized size in the bytes of a non-resident attribute's first extent.
pub(crate) fn set_sizes(attribute: &mut [u8], size: u64, initialized: u64) {
    attribute[0x30..0x38].copy_from_slice(&size.to_le_bytes());
    attribute[0x38..0x40].copy_from_slice(&initialized.to_le_bytes());
}
