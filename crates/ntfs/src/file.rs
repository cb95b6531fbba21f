//! A file: its base record and the extension records that its attribute list names.

use crate::attribute::kind;
use crate::attribute_list;
use crate::record::FileRecord;
use crate::reference::FileReference;
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result};

/// A file record with its own bytes, fixups undone.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) number: u64,
    /// Byte offset on the volume of its first byte.
    pub(crate) at: u64,
    /// Bytes that it has on the volume.
    pub(crate) size: usize,
    /// While a file is edited they may be more than `size`: what is too much moves to other records in the end.
    pub(crate) bytes: Vec<u8>,
}

impl Record {
    pub(crate) fn view(&self) -> Result<FileRecord<'_>> {
        FileRecord::new(self.number, &self.bytes, self.at)
    }
}

/// All records of one file, the base record first.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) reference: FileReference,
    pub(crate) records: Vec<Record>,
    /// Whether it has an attribute list.
    pub(crate) has_list: bool,
}

impl File {
    pub(crate) fn number(&self) -> u64 {
        self.reference.record()
    }

    pub(crate) fn base(&self) -> Result<FileRecord<'_>> {
        // A file is only ever made with its base record.
        self.records.first().ok_or_else(|| Error::not_found("a file without records"))?.view()
    }

    /// Calls `each` for every attribute of the file.
    pub(crate) fn for_each<'a>(
        &'a self,
        mut each: impl FnMut(usize, crate::attribute::Attribute<'a>) -> Result<()>,
    ) -> Result<()> {
        for (index, record) in self.records.iter().enumerate() {
            for attribute in record.view()?.attributes() {
                each(index, attribute?)?;
            }
        }
        Ok(())
    }

    /// The resident value of the first attribute of this type and name.
    pub(crate) fn resident(&self, kind: u32, name: &[u16]) -> Result<Option<&[u8]>> {
        for record in &self.records {
            if let Some(value) = record.view()?.find(kind, name)?.and_then(|a| a.resident()) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl Volume {
    /// Reads one file record and undoes its fixups.
    pub(crate) fn record(&self, number: u64) -> Result<Record> {
        let size = u64::from(self.geometry.record_size);
        if number >= self.record_count() {
            return Err(Error::not_found(format!("file record {number} of {}", self.record_count())));
        }
        let mut bytes = vec![0; size as usize];
        let pieces = self.mft.pieces(number * size, size, self.geometry.cluster_size)?;
        let at = pieces.first().and_then(|p| p.0).unwrap_or(0);
        self.read_clusters(&self.mft, number * size, &mut bytes)?;
        FileRecord::new(number, &bytes, at)?;
        crate::fixup::unprotect(&mut bytes, "file record", at).map_err(|e| e.within(format!("record {number}")))?;
        Ok(Record { number, at, size: bytes.len(), bytes })
    }

    /// The file with this reference; `NotFound` when the record is free, extends another one or was reused, `Damaged` when its
    /// attribute list is not what its records hold.
    pub(crate) fn file(&self, reference: FileReference) -> Result<File> {
        let file = self.file_as_it_is(reference)?;
        self.agrees_with_list(&file)?;
        Ok(file)
    }

    /// [`Volume::file`] for the check, which tells itself how list and records disagree.
    pub(crate) fn file_as_it_is(&self, reference: FileReference) -> Result<File> {
        let base = self.record(reference.record())?;
        let view = base.view()?;
        if !view.is_in_use() || view.base().is_some() || view.sequence() != reference.sequence() {
            let detail = format!(
                "file {reference}: the record is {}, sequence {}",
                if view.is_in_use() { "in use" } else { "free" },
                view.sequence()
            );
            return Err(Error::not_found(detail));
        }
        self.with_extensions(reference, base)
    }

    /// Numbers of the file records that a file needs, the base record first. `NotFound` for a stale reference.
    pub fn records_of(&self, reference: FileReference) -> Result<Vec<u64>> {
        Ok(self.file(reference)?.records.iter().map(|record| record.number).collect())
    }

    /// The file whose base record has this number, whatever its sequence number.
    pub(crate) fn file_by_number(&self, number: u64) -> Result<File> {
        let sequence = self.record(number)?.view()?.sequence();
        self.file(FileReference::new(number, sequence))
    }

    /// Reads the extension records that the attribute list of `base` names, if it has one.
    pub(crate) fn with_extensions(&self, reference: FileReference, base: Record) -> Result<File> {
        let mut file = File { reference, records: vec![base], has_list: false };
        let Some(list) = file.stream(kind::ATTRIBUTE_LIST, &[], &self.geometry)? else {
            return Ok(file);
        };
        file.has_list = true;
        let list = self.attribute_list(&list)?;
        let mut seen = vec![reference.record()];
        for entry in attribute_list::entries(&list) {
            let owner = entry?.record;
            if seen.contains(&owner.record()) {
                continue;
            }
            seen.push(owner.record());
            let record = self.record(owner.record()).map_err(|e| e.within(format!("extension of file {reference}")))?;
            let view = record.view()?;
            if !view.is_in_use() || view.sequence() != owner.sequence() || view.base() != Some(reference) {
                let detail = format!(
                    "file {reference} lists record {owner}, which has sequence {} and base {:?}",
                    view.sequence(),
                    view.base()
                );
                return Err(Error::damaged("attribute list", "SegmentReference", record.at, detail));
            }
            file.records.push(record);
        }
        Ok(file)
    }

    /// Windows finds an attribute through the list alone: what the list does not name is not there for it, and what it names
    /// and is not there makes the file unreadable. A reader that takes what it finds in the records sees another file.
    fn agrees_with_list(&self, file: &File) -> Result<()> {
        if !file.has_list {
            return Ok(());
        }
        let list = file.stream(kind::ATTRIBUTE_LIST, &[], &self.geometry)?;
        let list = list.map(|l| self.attribute_list(&l)).transpose()?.unwrap_or_default();
        let mut listed = Vec::new();
        for entry in attribute_list::entries(&list) {
            let entry = entry?;
            listed.push((entry.kind, entry.name, entry.first_vcn, entry.record.record(), entry.id));
        }
        let mut held = Vec::with_capacity(listed.len());
        file.for_each(|index, a| {
            if a.kind != kind::ATTRIBUTE_LIST {
                held.push((a.kind, a.name, a.extent().map_or(0, |e| e.first_vcn), file.records[index].number, a.id));
            }
            Ok(())
        })?;
        listed.sort_unstable();
        held.sort_unstable();
        if listed == held {
            return Ok(());
        }
        let detail = match listed.iter().find(|l| held.binary_search(l).is_err()) {
            Some(l) => {
                format!("the list names attribute {:#x}, id {}, in record {}, which is not there", l.0, l.4, l.3)
            }
            None => format!("file {}: {} attributes, {} in the list", file.reference, held.len(), listed.len()),
        };
        Err(Error::damaged("attribute list", "", file.base()?.at, detail))
    }

    /// The bytes of an attribute list.
    pub(crate) fn attribute_list(&self, list: &Stream) -> Result<Vec<u8>> {
        self.read_metadata(list, attribute_list::MAX_BYTES, "$ATTRIBUTE_LIST")
    }
}
