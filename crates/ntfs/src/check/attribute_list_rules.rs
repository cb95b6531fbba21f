//! Stage 1, continued: files with several records. The list against the attributes, extents against each other, names against
//! the link count.

use super::Findings;
use super::survey::Survey;
use crate::attribute::{flag, kind};
use crate::attribute_list;
use crate::file::File;
use crate::reference::FileReference;
use crate::stream::Stream;
use crate::volume::Volume;
use rayon::prelude::*;
use reseal_dtyp::Result;
use std::collections::HashSet;

/// An attribute as the list and the record name it: type, name, first VCN, record number, id.
type Named = (u32, Vec<u16>, u64, u64, u16);

impl Volume {
    pub(crate) fn check_attribute_lists(&self, survey: &Survey, findings: &mut Findings) {
        let checked: Vec<(Findings, Vec<u64>)> = survey
            .lists
            .par_iter()
            .map(|&number| {
                let mut findings = Findings::default();
                let place = format!("record {number}");
                let records = match self.check_list_of(number, &place, &mut findings) {
                    Ok(records) => records,
                    Err(error) => {
                        findings.unreadable("attribute-list", place, &error);
                        Vec::new()
                    }
                };
                (findings, records)
            })
            .collect();
        let mut listed = HashSet::new();
        for (found, records) in checked {
            findings.absorb(found);
            listed.extend(records);
        }
        for (number, base) in survey.extensions.iter().filter(|(number, _)| !listed.contains(number)) {
            let detail = format!("it extends file {base}, whose attribute list does not name it");
            findings.damage("extension-orphaned", format!("record {number}"), detail);
        }
    }

    /// Returns the numbers of the records that belong to the file.
    fn check_list_of(&self, number: u64, place: &str, findings: &mut Findings) -> Result<Vec<u64>> {
        let sequence = self.record(number)?.view()?.sequence();
        let file = self.file_as_it_is(FileReference::new(number, sequence))?;
        let list = file.stream(kind::ATTRIBUTE_LIST, &[], &self.geometry)?;
        let list = list.map(|l| self.attribute_list(&l)).transpose()?.unwrap_or_default();
        let mut listed: HashSet<Named> = HashSet::new();
        let mut order: Option<(u32, Vec<u16>, u64)> = None;
        for entry in attribute_list::entries(&list) {
            let entry = entry?;
            let name = reseal_dtyp::from_utf16le(entry.name);
            if let Some((last, last_name, last_vcn)) = &order {
                let compared = last.cmp(&entry.kind).then_with(|| {
                    self.upcase
                        .compare(last_name.iter().copied(), name.iter().copied())
                        .then(last_vcn.cmp(&entry.first_vcn))
                });
                if compared.is_gt() {
                    let detail = format!("entry {:#x} at {:#x} is out of order", entry.kind, entry.offset);
                    findings.damage("attribute-list-order", place.into(), detail);
                }
            }
            order = Some((entry.kind, name.clone(), entry.first_vcn));
            listed.insert((entry.kind, name, entry.first_vcn, entry.record.record(), entry.id));
        }
        let mut streams: Vec<(u32, Vec<u16>)> = Vec::new();
        let mut names = 0u32;
        file.for_each(|index, attribute| {
            if attribute.kind == kind::ATTRIBUTE_LIST {
                return Ok(());
            }
            names += u32::from(attribute.kind == kind::FILE_NAME);
            let units = attribute.name_units();
            let first = attribute.extent().map_or(0, |e| e.first_vcn);
            if !listed.remove(&(attribute.kind, units.clone(), first, file.records[index].number, attribute.id)) {
                let detail = format!(
                    "attribute {:#x} in record {} is not in the list",
                    attribute.kind, file.records[index].number
                );
                findings.damage("attribute-list", place.into(), detail);
            }
            if attribute.extent().is_some() && !streams.contains(&(attribute.kind, units.clone())) {
                streams.push((attribute.kind, units));
            }
            Ok(())
        })?;
        for (kind, _, vcn, record, id) in listed {
            let detail = format!(
                "the list names attribute {kind:#x} (VCN {vcn}, id {id}) in record {record}, which is not there"
            );
            findings.damage("attribute-list", place.into(), detail);
        }
        let links = file.base()?.link_count();
        if u32::from(links) != names {
            findings.damage("link-count", place.into(), format!("link count {links}, {names} names"));
        }
        for (kind, name) in streams {
            self.check_extents(&file, kind, &name, place, findings);
        }
        Ok(file.records.iter().map(|r| r.number).collect())
    }

    /// The sizes in the first extent count the clusters of all of them.
    fn check_extents(&self, file: &File, kind: u32, name: &[u16], place: &str, findings: &mut Findings) {
        let clusters = match file.stream(kind, name, &self.geometry) {
            Ok(Some(Stream::Clusters(clusters))) => clusters,
            Ok(_) => return,
            Err(error) => return findings.unreadable("extents", place.into(), &error),
        };
        let size = u64::from(self.geometry.cluster_size);
        let reach = clusters.end_vcn().saturating_mul(size);
        if clusters.allocated != reach {
            let detail =
                format!("attribute {kind:#x}: allocated size {}, the extents cover {reach}", clusters.allocated);
            findings.damage("stream-sizes", place.into(), detail);
        }
        let holes = clusters.runs.iter().any(|r| r.lcn.is_none());
        if holes && clusters.flags & (flag::SPARSE | flag::COMPRESSION_MASK) == 0 {
            findings.damage("stream-sizes", place.into(), format!("attribute {kind:#x} has holes and is not sparse"));
        }
    }
}

impl Volume {
    /// A file whose reference a check found in some structure; used for messages only.
    pub(crate) fn describe(&self, reference: FileReference) -> String {
        match self.record(reference.record()) {
            Err(error) => error.to_string(),
            Ok(record) => match record.view() {
                Err(error) => error.to_string(),
                Ok(view) if !view.is_in_use() => "the record is free".into(),
                Ok(view) if view.sequence() != reference.sequence() => {
                    format!("the record has sequence {}", view.sequence())
                }
                Ok(view) if view.base().is_some() => "the record extends another file".into(),
                Ok(_) => "the file has no such name".into(),
            },
        }
    }
}
