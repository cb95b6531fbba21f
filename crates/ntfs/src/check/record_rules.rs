//! Stage 1: one file record by itself.

use super::survey::{ChunkFacts, NameFact, Summary, name_hash, summary_flag};
use crate::attribute::{Attribute, Extent, Form, flag, kind, name, same_name};
use crate::bits::Bits;
use crate::file_name::{self, NameView};
use crate::record::FileRecord;
use crate::reference::system;
use crate::stat::StandardInformation;
use crate::volume::Volume;
use reseal_dtyp::Level;

/// The rule that a file's security id leads to a descriptor.
pub(crate) const DANGLING_ID: &str = "security-id-dangling";

/// The rules and what they compare with.
pub(crate) struct RecordRules<'a> {
    pub(crate) volume: &'a Volume,
    pub(crate) clusters: &'a Bits,
    pub(crate) in_use: &'a Bits,
    /// Known security ids in order.
    pub(crate) ids: Option<&'a [u32]>,
    /// Whether names and sizes are kept.
    pub(crate) names: bool,
}

/// What is gathered while the attributes of a record pass by.
#[derive(Default)]
struct Seen {
    names: u16,
    has_list: bool,
    has_standard: bool,
    /// Smallest and largest length that a name repeats; names of new files say 0.
    name_sizes: Option<(u64, u64)>,
    summary: Summary,
    end: usize,
}

/// The volume's own files below have names, or are reserved and have none.
const FIRST_NAMED: u64 = 24;

fn place(record: &FileRecord<'_>) -> String {
    format!("record {}", record.number())
}

impl RecordRules<'_> {
    pub(crate) fn check(&self, record: &FileRecord<'_>, facts: &mut ChunkFacts) {
        self.in_use.set(record.number());
        self.header(record, facts);
        facts.ids.clear();
        let mut seen = Seen { end: record.attributes_offset(), ..Seen::default() };
        let mut last: Option<Attribute<'_>> = None;
        for attribute in record.attributes() {
            let attribute = match attribute {
                Ok(attribute) => attribute,
                Err(error) => return facts.findings.unreadable("attribute-unreadable", place(record), &error),
            };
            if let Some(last) = &last {
                self.order(record, last, &attribute, facts);
            }
            self.attribute(record, &attribute, &mut seen, facts);
            seen.end = attribute.offset + attribute.len;
            last = Some(attribute);
        }
        self.whole(record, &mut seen, facts);
    }

    fn header(&self, record: &FileRecord<'_>, facts: &mut ChunkFacts) {
        if record.bytes_allocated() != self.volume.geometry.record_size {
            let detail = format!(
                "allocated size {}, a record has {}",
                record.bytes_allocated(),
                self.volume.geometry.record_size
            );
            facts.findings.inconsistent("record-header", place(record), detail);
        }
        // The number stands at 0x2C since NTFS 3.1, where the update sequence array starts behind it.
        let own = record.u32(0x2c);
        if record.u32(4) & 0xffff >= 0x30 && u64::from(own) != record.number() & 0xffff_ffff {
            facts.findings.inconsistent("record-number", place(record), format!("the record calls itself {own}"));
        }
        if record.sequence() == 0 {
            facts.findings.inconsistent("record-header", place(record), "sequence number 0".into());
        }
    }

    fn order(&self, record: &FileRecord<'_>, a: &Attribute<'_>, b: &Attribute<'_>, facts: &mut ChunkFacts) {
        let units = |bytes: &[u8]| reseal_dtyp::from_utf16le(bytes);
        let order = a.kind.cmp(&b.kind).then_with(|| {
            if a.name == b.name {
                return std::cmp::Ordering::Equal;
            }
            self.volume.upcase.compare(units(a.name).into_iter(), units(b.name).into_iter())
        });
        if order.is_gt() {
            let detail = format!("attribute {:#x} at {:#x} stands behind {:#x}", b.kind, b.offset, a.kind);
            facts.findings.damage("attribute-order", place(record), detail);
        }
        let extents = (a.extent().map(|e| e.first_vcn), b.extent().map(|e| e.first_vcn));
        let twice = match extents {
            (Some(x), Some(y)) => x >= y,
            _ => true,
        };
        if order.is_eq() && a.kind != kind::FILE_NAME && twice {
            let detail = format!("attribute {:#x} at {:#x} exists twice", b.kind, b.offset);
            facts.findings.damage("attribute-twice", place(record), detail);
        }
    }

    fn attribute(&self, record: &FileRecord<'_>, attribute: &Attribute<'_>, seen: &mut Seen, facts: &mut ChunkFacts) {
        if attribute.kind == kind::SECURITY_DESCRIPTOR {
            facts.own_descriptors.push(record.number());
        }
        if facts.ids.contains(&attribute.id) {
            let detail = format!("two attributes have the id {}", attribute.id);
            facts.findings.inconsistent("attribute-id", place(record), detail);
        }
        facts.ids.push(attribute.id);
        match attribute.form {
            Form::Resident { value, indexed, .. } => self.resident(record, attribute, value, indexed, seen, facts),
            Form::NonResident(extent) => self.non_resident(record, attribute, &extent, seen, facts),
        }
        seen.has_list |= attribute.kind == kind::ATTRIBUTE_LIST;
    }

    fn resident(
        &self,
        record: &FileRecord<'_>,
        attribute: &Attribute<'_>,
        value: &[u8],
        indexed: u8,
        seen: &mut Seen,
        facts: &mut ChunkFacts,
    ) {
        let at = record.at + attribute.offset as u64;
        match attribute.kind {
            kind::STANDARD_INFORMATION => self.standard(record, value, seen, facts),
            kind::FILE_NAME => match NameView::read(value, at) {
                Ok(view) if view.bytes().len() == value.len() => self.name(record, &view, indexed, seen, facts),
                Ok(view) => {
                    let detail = format!("$FILE_NAME has {} bytes, its name needs {}", value.len(), view.bytes().len());
                    facts.findings.damage("name-unreadable", place(record), detail);
                }
                Err(error) => facts.findings.unreadable("name-unreadable", place(record), &error),
            },
            kind::DATA if attribute.name.is_empty() => {
                seen.summary.size = value.len() as u64;
                seen.summary.allocated = (value.len() as u64).next_multiple_of(8);
                seen.summary.flags |= summary_flag::SIZED;
            }
            kind::INDEX_ALLOCATION => {
                facts.findings.damage("attribute-form", place(record), "$INDEX_ALLOCATION is resident".into());
            }
            _ => {}
        }
    }

    fn standard(&self, record: &FileRecord<'_>, value: &[u8], seen: &mut Seen, facts: &mut ChunkFacts) {
        seen.has_standard = true;
        match StandardInformation::read(value, record.at) {
            Ok(information) => {
                let id = information.security_id.unwrap_or(0);
                if id != 0 && self.ids.is_some_and(|ids| ids.binary_search(&id).is_err()) {
                    let detail = format!("security id {id:#x} is not in $Secure");
                    facts.findings.damage(DANGLING_ID, place(record), detail);
                }
            }
            Err(error) => facts.findings.unreadable("standard-information", place(record), &error),
        }
    }

    fn name(&self, record: &FileRecord<'_>, view: &NameView<'_>, indexed: u8, seen: &mut Seen, facts: &mut ChunkFacts) {
        seen.names = seen.names.saturating_add(1);
        if indexed & 1 == 0 {
            let detail = "$FILE_NAME is not marked as indexed".to_string();
            facts.findings.damage("name-not-marked", place(record), detail);
        }
        let is_directory = view.attributes() & file_name::DIRECTORY != 0;
        if record.base().is_none() && is_directory != record.is_directory() && record.number() >= system::FIRST_USER {
            let detail = format!("flags {:#06x}, attributes in $FILE_NAME {:#010x}", record.flags(), view.attributes());
            facts.findings.inconsistent("directory-flag", place(record), detail);
        }
        if self.names {
            let (child, parent) = (record.owner(), view.parent());
            facts.names.push(NameFact {
                // Numbers above 32 bits were refused; a wild parent finds no folder.
                parent: u32::try_from(parent.record()).unwrap_or(u32::MAX),
                child: u32::try_from(child.record()).unwrap_or(u32::MAX),
                hash: name_hash(child, parent, view.namespace().byte(), view.name_bytes()),
            });
            if view.size() != 0 {
                let (low, high) = seen.name_sizes.unwrap_or((view.size(), view.size()));
                seen.name_sizes = Some((low.min(view.size()), high.max(view.size())));
            }
        }
    }

    fn non_resident(
        &self,
        record: &FileRecord<'_>,
        attribute: &Attribute<'_>,
        extent: &Extent<'_>,
        seen: &mut Seen,
        facts: &mut ChunkFacts,
    ) {
        if matches!(
            attribute.kind,
            kind::STANDARD_INFORMATION | kind::FILE_NAME | kind::INDEX_ROOT | kind::VOLUME_INFORMATION
        ) {
            let detail = format!("attribute {:#x} lies in clusters", attribute.kind);
            return facts.findings.damage("attribute-form", place(record), detail);
        }
        let (mut end, mut held) = (extent.first_vcn, 0);
        for run in extent.runs(self.volume.geometry.clusters, attribute.offset as u64) {
            let run = match run {
                Ok(run) => run,
                Err(error) => return facts.findings.unreadable("runs-unreadable", place(record), &error),
            };
            end = run.end();
            let Some(lcn) = run.lcn else { continue };
            held += run.len;
            if let Some(cluster) = self.clusters.claim(lcn, run.len) {
                let detail =
                    format!("attribute {:#x} claims cluster {cluster}, which another one holds", attribute.kind);
                facts.findings.damage("cluster-shared", place(record), detail);
            }
        }
        if end != extent.last_vcn.wrapping_add(1) {
            let detail =
                format!("attribute {:#x}: runs end at cluster {end}, highest VCN {}", attribute.kind, extent.last_vcn);
            facts.findings.damage("runs-and-header", place(record), detail);
        }
        if extent.first_vcn == 0 {
            self.sizes(record, attribute, extent, end, held, facts);
            if attribute.is(kind::DATA, &[]) {
                seen.summary.size = extent.size;
                seen.summary.allocated = extent.total.unwrap_or(extent.allocated);
                seen.summary.flags |= summary_flag::SIZED;
            }
        }
    }

    /// The sizes in the first extent. Of a file with several records they count the clusters of all extents; those are
    /// compared with the attribute list.
    fn sizes(
        &self,
        record: &FileRecord<'_>,
        attribute: &Attribute<'_>,
        extent: &Extent<'_>,
        end: u64,
        held: u64,
        facts: &mut ChunkFacts,
    ) {
        let cluster = u64::from(self.volume.geometry.cluster_size);
        let mut bad = |what: String| {
            let name = String::from_utf16_lossy(&attribute.name_units());
            let detail = format!("attribute {:#x} `{name}`: {what}", attribute.kind);
            facts.findings.damage("stream-sizes", place(record), detail);
        };
        // $BadClus:$Bad is one hole over the whole volume; formatters disagree about its sizes.
        if record.number() == system::BAD_CLUSTERS && same_name(attribute.name, name::BAD) {
            return;
        }
        if extent.initialized > extent.size {
            bad(format!("initialized size {} is above the size {}", extent.initialized, extent.size));
        }
        if extent.size > extent.allocated {
            bad(format!("size {} is above the allocated size {}", extent.size, extent.allocated));
        }
        let alone = !self.has_list(record) && record.base().is_none();
        if alone && extent.allocated != end.saturating_mul(cluster) {
            bad(format!("allocated size {}, the runs cover {end} clusters of {cluster}", extent.allocated));
        }
        if let Some(total) = extent.total.filter(|_| alone) {
            if total != held.saturating_mul(cluster) {
                bad(format!("total allocated size {total}, the runs hold {held} clusters of {cluster}"));
            }
        } else if alone && held != end && attribute.flags & (flag::SPARSE | flag::COMPRESSION_MASK) == 0 {
            bad(format!("{} clusters are holes and the attribute is not sparse", end - held));
        }
    }

    fn has_list(&self, record: &FileRecord<'_>) -> bool {
        matches!(record.find(kind::ATTRIBUTE_LIST, &[]), Ok(Some(_)) | Err(_))
    }

    fn whole(&self, record: &FileRecord<'_>, seen: &mut Seen, facts: &mut ChunkFacts) {
        if u64::from(record.bytes_in_use()) != seen.end as u64 + 8 {
            let detail = format!("{} bytes in use, the attributes end at {}", record.bytes_in_use(), seen.end + 8);
            facts.findings.inconsistent("record-used-size", place(record), detail);
        }
        if facts.ids.iter().any(|&id| id >= record.next_id()) {
            let detail = format!("the next attribute id is {}, a larger one is in use", record.next_id());
            facts.findings.push(Level::Note, "attribute-next-id", place(record), detail);
        }
        if let Some(base) = record.base() {
            facts.extensions.push((record.number(), base));
            return;
        }
        if seen.has_list {
            facts.lists.push(record.number());
        } else if record.link_count() != seen.names {
            let detail = format!("link count {}, {} names", record.link_count(), seen.names);
            facts.findings.damage("link-count", place(record), detail);
        }
        if !seen.has_list && seen.names == 0 && record.number() >= FIRST_NAMED {
            facts.findings.damage("file-without-name", place(record), "the file has no name".into());
        }
        // The reserved records 12 to 23 are in use and nearly empty.
        if !seen.has_standard && !(12..24).contains(&record.number()) {
            facts.findings.damage("standard-information", place(record), "there is no $STANDARD_INFORMATION".into());
        }
        if self.names {
            self.name_sizes(record, seen, facts);
            let mut summary = seen.summary;
            summary.sequence = record.sequence();
            summary.flags |= summary_flag::BASE;
            if record.is_directory() {
                summary.flags |= summary_flag::DIRECTORY;
            }
            facts.summaries.push((record.number(), summary));
        }
    }

    /// Windows refreshes the sizes in `$FILE_NAME` only when a file is renamed, so a stale one is worth a note only.
    fn name_sizes(&self, record: &FileRecord<'_>, seen: &Seen, facts: &mut ChunkFacts) {
        let Some((low, high)) = seen.name_sizes.filter(|_| seen.summary.flags & summary_flag::SIZED != 0) else {
            return;
        };
        let size = seen.summary.size;
        // What names say about the volume's own files is never updated.
        if record.number() >= FIRST_NAMED && (low != size || high != size) {
            let stale = if low != size { low } else { high };
            let detail = format!("$FILE_NAME says {stale} bytes, the file has {size}");
            facts.findings.push(Level::Note, "name-size-stale", place(record), detail);
        }
    }
}
