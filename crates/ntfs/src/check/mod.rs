//! The volume's own checker, in the three stages of chkdsk: records and runs, names and indexes, security.
//!
//! It finds; it never repairs. A structure that cannot be read becomes a finding like any other.

mod attribute_list_rules;
mod index_rules;
mod name_rules;
mod recheck;
mod record_rules;
mod secure_rules;
mod survey;

use crate::bits;
use crate::geometry::Geometry;
use crate::record::FileRecord;
use crate::volume::Volume;
use record_rules::DANGLING_ID;
use reseal_dtyp::{Error, Finding, Level, Result};
use survey::Survey;

/// Findings of one kind that are listed; more are only counted.
const SHOWN_PER_ID: usize = 50;
/// Ranges of clusters or records that are listed.
const SHOWN_RANGES: usize = 20;

/// Collects findings of one thread, with a bound on memory.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    dropped: u64,
}

impl Findings {
    const LIMIT: usize = 20_000;

    pub(crate) fn push(&mut self, level: Level, id: &'static str, place: String, detail: String) {
        if self.list.len() < Findings::LIMIT {
            self.list.push(Finding::new(level, id, place, detail));
        } else {
            self.dropped += 1;
        }
    }

    pub(crate) fn damage(&mut self, id: &'static str, place: String, detail: String) {
        self.push(Level::Damage, id, place, detail);
    }

    pub(crate) fn inconsistent(&mut self, id: &'static str, place: String, detail: String) {
        self.push(Level::Inconsistent, id, place, detail);
    }

    /// A structure that cannot be read.
    pub(crate) fn unreadable(&mut self, id: &'static str, place: String, error: &Error) {
        self.damage(id, place, error.to_string());
    }

    pub(crate) fn absorb(&mut self, other: Findings) {
        let room = Findings::LIMIT.saturating_sub(self.list.len());
        self.dropped += other.dropped + other.list.len().saturating_sub(room) as u64;
        self.list.extend(other.list.into_iter().take(room));
    }

    /// Takes out the findings of one rule.
    fn take(&mut self, id: &'static str) -> Findings {
        let (taken, list) = std::mem::take(&mut self.list).into_iter().partition(|f| f.id == id);
        self.list = list;
        Findings { list: taken, dropped: 0 }
    }

    /// Worst first, then by rule and place; many of one kind are cut and counted.
    fn finish(mut self) -> Vec<Finding> {
        sort(&mut self.list);
        let mut out: Vec<Finding> = Vec::new();
        for group in self.list.chunk_by(|a, b| a.id == b.id && a.level == b.level) {
            out.extend_from_slice(&group[..group.len().min(SHOWN_PER_ID)]);
            if group.len() > SHOWN_PER_ID {
                let detail = format!("{} more of this kind", group.len() - SHOWN_PER_ID);
                out.push(Finding::new(group[0].level, group[0].id, "volume", detail));
            }
        }
        if self.dropped > 0 {
            let detail = format!("{} findings are not listed", self.dropped);
            out.push(Finding::new(Level::Damage, "too-many-findings", "volume", detail));
        }
        out
    }
}

/// Worst first, then by rule; of one rule as they were found.
fn sort(list: &mut [Finding]) {
    list.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.id.cmp(b.id)));
}

/// A part of the whole check, as chkdsk divides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// File records, attributes and runs, the two bitmaps, the state of the volume.
    Records,
    /// Folders and other indexes against the names in the records.
    Names,
    /// `$Secure`, and the ids that files hold.
    Security,
}

impl Stage {
    /// From 1 to 3.
    pub fn number(self) -> u8 {
        self as u8 + 1
    }

    /// What is looked at.
    pub fn title(self) -> &'static str {
        match self {
            Stage::Records => "file records, runs and bitmaps",
            Stage::Names => "names and indexes",
            Stage::Security => "security descriptors",
        }
    }

    /// What [`StageResult::examined`] counts.
    pub fn unit(self) -> &'static str {
        match self {
            Stage::Records => "file records in use",
            Stage::Names => "names",
            Stage::Security => "descriptors",
        }
    }
}

/// What one stage of [`Volume::check_stages`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageResult {
    /// Which.
    pub stage: Stage,
    /// How many file records in use, names, or descriptors were looked at.
    pub examined: u64,
    /// Worst first.
    pub findings: Vec<Finding>,
}

/// Told of what the pass of [`Volume::preflight_with`] meets, so that no second pass is needed for it.
pub trait Visitor: Sync {
    /// A readable record in use, from several threads and in no promised order.
    fn record(&self, record: &FileRecord<'_>) {
        let _ = record;
    }
    /// A descriptor of `$Secure` whose copies and hash are right.
    fn descriptor(&self, descriptor: &[u8]) {
        let _ = descriptor;
    }
}

/// A visitor that does not look.
pub(crate) struct Silent;

impl Visitor for Silent {}

impl Volume {
    /// The fast check before writing: one parallel pass over the file records. Records, attributes and runs; who owns which
    /// cluster against `$Bitmap`; the record bitmap; attribute lists; link counts; `$Secure` and the ids that files hold; the
    /// state of the volume. Folders are not read.
    pub fn preflight(&self) -> Result<Vec<Finding>> {
        self.preflight_with(&Silent)
    }

    /// [`Volume::preflight`] that shows what it meets to a visitor.
    pub fn preflight_with(&self, visitor: &dyn Visitor) -> Result<Vec<Finding>> {
        let mut findings = Findings::default();
        let mut survey = self.survey(false, &mut findings, visitor)?;
        let _ = self.own_descriptors.set(std::mem::take(&mut survey.own_descriptors));
        self.check_records(&survey, &mut findings);
        self.check_secure(&mut findings, visitor);
        Ok(findings.finish())
    }

    /// The whole check: what [`Volume::preflight`] does, and every index of every folder against the names in the records.
    pub fn check(&self) -> Result<Vec<Finding>> {
        let mut out = Vec::new();
        self.check_stages(&mut |stage| out.extend(stage.findings))?;
        sort(&mut out);
        Ok(out)
    }

    /// [`Volume::check`] in the three stages of chkdsk; each is told as it ends.
    pub fn check_stages(&self, done: &mut dyn FnMut(StageResult)) -> Result<()> {
        let (mut records, mut names) = (Findings::default(), Findings::default());
        let survey = self.survey(true, &mut records, &Silent)?;
        // Found in the records, and a matter of $Secure.
        let mut security = records.take(DANGLING_ID);
        self.check_records(&survey, &mut records);
        let examined = survey.in_use.words().map(|w| u64::from(w.count_ones())).sum();
        done(StageResult { stage: Stage::Records, examined, findings: records.finish() });
        let examined = survey.names.len() as u64;
        self.check_names(survey, &mut names);
        done(StageResult { stage: Stage::Names, examined, findings: names.finish() });
        let examined = self.check_secure(&mut security, &Silent);
        done(StageResult { stage: Stage::Security, examined, findings: security.finish() });
        Ok(())
    }

    /// Stage 1, after the pass over the records.
    fn check_records(&self, survey: &Survey, findings: &mut Findings) {
        self.check_state(findings);
        self.check_attribute_lists(survey, findings);
        self.check_cluster_bitmap(survey, findings);
        self.check_record_bitmap(survey, findings);
    }

    /// Flags, `$LogFile`, `$MFTMirr`, the backup boot sector.
    fn check_state(&self, findings: &mut Findings) {
        let info = self.info();
        if info.flags.is_dirty() || info.flags.has_pending_work() {
            let detail =
                format!("volume flags {:#06x}: Windows will check or change it at the next mount", info.flags.0);
            findings.inconsistent("volume-dirty", "$Volume".into(), detail);
        }
        if !info.log_state.is_settled() {
            findings.inconsistent("log-not-clean", "$LogFile".into(), format!("the log is {}", info.log_state));
        }
        if let Some(fault) = &self.mirror_fault {
            findings.damage("mft-mirror", "$MFTMirr".into(), fault.clone());
        }
        self.check_backup_boot(findings);
    }

    fn check_backup_boot(&self, findings: &mut Findings) {
        let Geometry { sector_size, .. } = self.geometry;
        let offset = self.geometry.backup_boot_offset();
        if offset.saturating_add(u64::from(sector_size)) > self.store.len() {
            let place = format!("byte {offset:#x}");
            findings.push(
                Level::Note,
                "backup-boot-sector",
                place,
                "there is no room for the backup boot sector".into(),
            );
            return;
        }
        let (mut first, mut backup) = ([0; 512], [0; 512]);
        let read = self.store.read(0, &mut first).and_then(|()| self.store.read(offset, &mut backup));
        if let Err(error) = read {
            findings.unreadable("backup-boot-sector", format!("byte {offset:#x}"), &error);
        } else if first != backup {
            let byte = first.iter().zip(&backup).position(|(a, b)| a != b).unwrap_or(0);
            let detail = format!("the backup boot sector differs from the boot sector at byte {byte:#x}");
            findings.inconsistent("backup-boot-sector", format!("byte {offset:#x}"), detail);
        }
    }

    fn check_cluster_bitmap(&self, survey: &Survey, findings: &mut Findings) {
        let marked = match self.cluster_bitmap() {
            Ok(words) => words,
            Err(error) => return findings.unreadable("cluster-bitmap", "$Bitmap".into(), &error),
        };
        let owned: Vec<u64> = survey.clusters.words().collect();
        let (ranges, total) = bits::excess(&owned, &marked, SHOWN_RANGES);
        for range in ranges {
            let detail = format!("{} clusters hold data and are marked free ({total} in all)", range.end - range.start);
            findings.damage("cluster-unmarked", format!("cluster {}", range.start), detail);
        }
        let mut marked = marked;
        // Bits behind the last cluster are no clusters.
        if let Some(last) = marked.last_mut().filter(|_| !self.geometry.clusters.is_multiple_of(64)) {
            *last &= !(u64::MAX << (self.geometry.clusters % 64));
        }
        let (ranges, total) = bits::excess(&marked, &owned, SHOWN_RANGES);
        for range in ranges {
            let detail =
                format!("{} clusters are marked used and belong to nothing ({total} in all)", range.end - range.start);
            findings.inconsistent("cluster-leaked", format!("cluster {}", range.start), detail);
        }
    }

    fn check_record_bitmap(&self, survey: &Survey, findings: &mut Findings) {
        let marked = match self.record_bitmap() {
            Ok(words) => words,
            Err(error) => return findings.unreadable("record-bitmap", "$MFT:$BITMAP".into(), &error),
        };
        let used: Vec<u64> = survey.in_use.words().collect();
        let (ranges, _) = bits::excess(&used, &marked, SHOWN_RANGES);
        for range in ranges {
            let detail = format!("{} records are in use and marked free", range.end - range.start);
            findings.damage("record-unmarked", format!("record {}", range.start), detail);
        }
        let (ranges, _) = bits::excess(&marked, &used, SHOWN_RANGES);
        for range in ranges {
            // Records 12 to 23 are reserved: marked, and on some volumes not in use.
            let (start, end) = if range.start < 24 { (24.min(range.end), range.end) } else { (range.start, range.end) };
            if start < end {
                let detail = format!("{} records are marked used and are free", end - start);
                findings.inconsistent("record-leaked", format!("record {start}"), detail);
            }
        }
    }
}
