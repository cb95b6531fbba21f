//! The check after writing: what was touched, at a cost that follows the change.

use super::record_rules::RecordRules;
use super::survey::ChunkFacts;
use super::{Findings, Silent};
use crate::bits::Bits;
use crate::file::Record;
use crate::store::{Touch, Touched};
use crate::volume::Volume;
use reseal_dtyp::{Finding, Result};
use std::collections::BTreeSet;

/// Above this many records, one pass over all of them is the cheaper check.
const MANY: usize = 10_000;

impl Volume {
    /// Checks what [`Volume::touched`] of a staged volume lists, on a volume opened anew: every touched record, the indexes
    /// that were written, `$Secure`, the volume's state. When clusters or records were taken or given up, who owns what
    /// matters everywhere, and this is [`Volume::preflight`] with those indexes.
    pub fn recheck(&self, touched: &[Touched]) -> Result<Vec<Finding>> {
        let (mut records, mut folders, mut space) = (BTreeSet::new(), BTreeSet::new(), false);
        for touch in touched {
            match touch.what {
                Touch::FileRecord(number) => drop(records.insert(number)),
                Touch::IndexBlock(number) => drop(folders.insert(number)),
                Touch::ClusterBitmap | Touch::RecordBitmap => space = true,
                Touch::Data(_) | Touch::Freed => {}
            }
        }
        folders.extend(records.iter().copied());
        let mut findings = Findings::default();
        self.recheck_indexes(&folders, &mut findings);
        if space || records.len() > MANY {
            let mut list = self.preflight()?;
            list.extend(findings.finish());
            return Ok(list);
        }
        self.recheck_records(&records, &mut findings)?;
        self.check_state(&mut findings);
        self.check_secure(&mut findings, &Silent);
        Ok(findings.finish())
    }

    fn recheck_records(&self, records: &BTreeSet<u64>, findings: &mut Findings) -> Result<()> {
        // Fresh sets: that no cluster changed hands is known, since the bitmap was not written.
        let (clusters, in_use) = (Bits::new(self.geometry.clusters), Bits::new(self.record_count()));
        let ids = self.security_ids().ok();
        let rules =
            RecordRules { volume: self, clusters: &clusters, in_use: &in_use, ids: ids.as_deref(), names: false };
        let mut facts = ChunkFacts::default();
        for &number in records {
            match self.record(number).as_ref().map(Record::view) {
                Ok(Ok(view)) => rules.check(&view, &mut facts),
                Ok(Err(e)) => findings.unreadable("record-unreadable", format!("record {number}"), &e),
                Err(e) => findings.unreadable("record-unreadable", format!("record {number}"), e),
            }
        }
        findings.absorb(facts.findings);
        Ok(())
    }

    /// Shape and order of the `$I30` of every touched folder.
    fn recheck_indexes(&self, folders: &BTreeSet<u64>, findings: &mut Findings) {
        for &number in folders {
            let Ok(file) = self.file_by_number(number) else { continue };
            if let Ok(Some(tree)) = self.tree(&file, crate::attribute::name::I30) {
                self.check_tree(&tree, format!("folder {number}"), findings, &mut |_, _| {});
            }
        }
    }
}
