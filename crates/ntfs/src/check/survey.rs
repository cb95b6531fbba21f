//! One pass over all records: what the later stages need to know about each.

use super::record_rules::RecordRules;
use super::{Findings, Visitor};
use crate::bits::Bits;
use crate::reference::FileReference;
use crate::scan::Scanned;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

/// Stated limit: the check holds 24 bytes per record. A volume of Windows has under a million.
const MAX_RECORDS: u64 = 1 << 26;

/// What is known about a record after the pass; 24 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    /// Length of the unnamed stream.
    pub(crate) size: u64,
    /// Allocated bytes of the unnamed stream.
    pub(crate) allocated: u64,
    pub(crate) sequence: u16,
    /// In use, base record, directory.
    pub(crate) flags: u8,
}

/// Bits of [`Summary::flags`].
pub(crate) mod summary_flag {
    pub(crate) const BASE: u8 = 1;
    pub(crate) const DIRECTORY: u8 = 2;
    /// The sizes are known from the base record.
    pub(crate) const SIZED: u8 = 4;
}

/// A name in a record, to be found in a folder; 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NameFact {
    /// Record number of the folder.
    pub(crate) parent: u32,
    /// Record number of the file.
    pub(crate) child: u32,
    /// Of both sequence numbers, the namespace and the name.
    pub(crate) hash: u64,
}

/// What the pass found.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) clusters: Bits,
    pub(crate) in_use: Bits,
    /// Base records with an attribute list.
    pub(crate) lists: Vec<u64>,
    /// Extension records and the base records they name.
    pub(crate) extensions: Vec<(u64, FileReference)>,
    /// By record number; empty for a fast check.
    pub(crate) summaries: Vec<Summary>,
    /// In order of folder; empty for a fast check.
    pub(crate) names: Vec<NameFact>,
    /// Records with a security descriptor of their own.
    pub(crate) own_descriptors: Vec<u64>,
}

/// What one chunk of records gives.
#[derive(Debug, Default)]
pub(crate) struct ChunkFacts {
    pub(crate) findings: Findings,
    pub(crate) lists: Vec<u64>,
    pub(crate) extensions: Vec<(u64, FileReference)>,
    pub(crate) summaries: Vec<(u64, Summary)>,
    pub(crate) names: Vec<NameFact>,
    /// Records with a security descriptor of their own.
    pub(crate) own_descriptors: Vec<u64>,
    /// Attribute ids of the record under way; here so that it is allocated once.
    pub(crate) ids: Vec<u16>,
}

/// A hash of everything in which a name in a record and its entry in a folder must agree.
pub(crate) fn name_hash(child: FileReference, parent: FileReference, namespace: u8, name: &[u8]) -> u64 {
    // FNV-1a over 8-byte words: fast, and nobody gains from a collision that only hides damage from its author.
    let step = |h: u64, w: u64| (h ^ w).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let mut h =
        step(step(step(0xcbf2_9ce4_8422_2325, child.0), parent.0), u64::from(namespace) | (name.len() as u64) << 8);
    for chunk in name.chunks(8) {
        let mut wide = [0; 8];
        wide[..chunk.len()].copy_from_slice(chunk);
        h = step(h, u64::from_le_bytes(wide));
    }
    h ^ h >> 29
}

impl Volume {
    /// Looks at every record once, and shows each to the visitor. With `names`, names and sizes are kept for the comparison with the folders.
    pub(crate) fn survey(&self, names: bool, findings: &mut Findings, visitor: &dyn Visitor) -> Result<Survey> {
        let records = self.record_count();
        if records > MAX_RECORDS {
            return Err(Error::new(Kind::Limit, format!("{records} file records; at most {MAX_RECORDS} are checked")));
        }
        let clusters = Bits::new(self.geometry.clusters);
        let in_use = Bits::new(records);
        // Without the list of ids, files are not compared with it; why it is missing is found by the check of $Secure.
        let ids = self.security_ids().ok();
        let rules = RecordRules { volume: self, clusters: &clusters, in_use: &in_use, ids: ids.as_deref(), names };
        let chunks = self.scan(ChunkFacts::default, |facts, scanned| match scanned {
            Scanned::Record(record) => {
                rules.check(&record, facts);
                visitor.record(&record);
            }
            Scanned::Damaged { number, error } => {
                in_use.set(number);
                facts.findings.unreadable("record-unreadable", format!("record {number}"), &error);
            }
        })?;
        let mut survey = Survey {
            clusters,
            in_use,
            lists: Vec::new(),
            extensions: Vec::new(),
            summaries: if names { vec![Summary::default(); records as usize] } else { Vec::new() },
            names: Vec::new(),
            own_descriptors: Vec::new(),
        };
        for chunk in chunks {
            findings.absorb(chunk.findings);
            survey.lists.extend(chunk.lists);
            survey.extensions.extend(chunk.extensions);
            survey.names.extend(chunk.names);
            survey.own_descriptors.extend(chunk.own_descriptors);
            for (number, summary) in chunk.summaries {
                if let Some(slot) = survey.summaries.get_mut(number as usize) {
                    *slot = summary;
                }
            }
        }
        survey.names.sort_unstable();
        Ok(survey)
    }

    /// The bitmap of `$MFT` as words, one bit per record below the initialized size.
    pub(crate) fn record_bitmap(&self) -> Result<Vec<u64>> {
        let stream = self.system_stream(crate::reference::system::MFT, crate::attribute::kind::BITMAP, &[])?;
        let records = self.record_count();
        let mut bytes = self.read_metadata(&stream, 512 << 20, "$MFT:$BITMAP")?;
        if (bytes.len() as u64) < records.div_ceil(8) {
            let detail = format!("{} bytes for {records} records", bytes.len());
            return Err(Error::damaged("$MFT", "$BITMAP", 0, detail));
        }
        bytes.resize(records.div_ceil(64) as usize * 8, 0);
        let mut words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect();
        if let Some(last) = words.last_mut().filter(|_| !records.is_multiple_of(64)) {
            *last &= !(u64::MAX << (records % 64));
        }
        Ok(words)
    }
}
