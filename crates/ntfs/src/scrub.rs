//! Wiping what belongs to nothing: free clusters, the space behind content, free file records, the rest of records and index
//! blocks. What was deleted long before this program came lies there.

use crate::attribute::{Attribute, flag, kind};
use crate::index::header;
use crate::log_file::LogState;
use crate::record::FileRecord;
use crate::reference::system;
use crate::runs::Run;
use crate::scan::Scanned;
use crate::store::Touch;
use crate::stream::Stream;
use crate::tree::Tree;
use crate::volume::Volume;
use rayon::prelude::*;
use reseal_dtyp::{Error, Result};

/// How much was zeroed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Bytes in free clusters.
    pub free: u64,
    /// Bytes behind the content of files.
    pub tails: u64,
    /// File records that were free, or in use with something behind their attributes.
    pub records: u64,
    /// Index blocks that were free, or had something behind their entries.
    pub index_blocks: u64,
}

/// Free clusters are looked at in pieces of this many bytes.
const PIECE: u64 = 1 << 20;
/// Pieces overlap by this much, so that what is looked for is not cut.
const OVERLAP: u64 = 512;

/// File records that one operation takes at once: what it stages is kept in memory until it has succeeded.
const RECORDS_AT_ONCE: u64 = 4096;

/// Bytes on the volume: offset and length.
type Range = (u64, u64);

/// What a scan finds behind content.
#[derive(Default)]
struct Tails {
    ranges: Vec<Range>,
    /// Attributes whose runs stand in several records: file record, type code, name.
    spread: Vec<(u64, u32, Vec<u16>)>,
}

impl Volume {
    /// Zeroes every stretch of unowned bytes for which `remains` holds; `|_| true` wipes all that is not zero already. A
    /// stretch is a piece of up to 1 MiB of free clusters, the space behind one file's content, one free record or index block,
    /// or the space behind the attributes of a record or the entries of a block. File content is never touched.
    pub fn scrub(&mut self, remains: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<Scrubbed> {
        let mut done = Scrubbed::default();
        for first in (0..self.record_count()).step_by(RECORDS_AT_ONCE as usize) {
            done.records += self.operation(|volume| volume.scrub_records(first, remains))?;
        }
        done.index_blocks = self.scrub_indexes(remains)?;
        let tails = self.tails()?;
        done.tails = self.zero_where(tails, remains)?;
        let free = self.free_pieces()?;
        done.free = self.zero_where(free, remains)?;
        Ok(done)
    }

    /// Reads ranges in parallel and zeroes those that are not zero and for which `remains` holds; returns the bytes zeroed.
    fn zero_where(&mut self, ranges: Vec<Range>, remains: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<u64> {
        let look = |&(at, len): &Range| -> Result<bool> {
            if self.store.is_hole(at, len) {
                return Ok(false);
            }
            let mut bytes = vec![0; len as usize];
            self.store.read(at, &mut bytes)?;
            Ok(bytes.iter().any(|&b| b != 0) && remains(&bytes))
        };
        let found: Vec<bool> = ranges.par_iter().map(look).collect::<Result<_>>()?;
        let (mut total, mut counted) = (0, 0);
        for ((at, len), _) in ranges.into_iter().zip(found).filter(|(_, found)| *found) {
            self.store.zero(at, len)?;
            // Pieces overlap.
            total += (at + len).saturating_sub(at.max(counted));
            counted = counted.max(at + len);
        }
        Ok(total)
    }

    /// Free clusters in overlapping pieces.
    fn free_pieces(&mut self) -> Result<Vec<Range>> {
        let cluster = u64::from(self.geometry.cluster_size);
        let mut out = Vec::new();
        for (lcn, len) in self.free_runs()? {
            in_pieces(lcn * cluster, len * cluster, &mut out);
        }
        Ok(out)
    }

    /// The space behind the initialized content of streams, up to the end of their clusters, in overlapping pieces.
    fn tails(&self) -> Result<Vec<Range>> {
        let parts = self.scan(Tails::default, |out: &mut Tails, scanned| {
            let Scanned::Record(record) = scanned else { return };
            for attribute in record.attributes().map_while(Result::ok) {
                self.tail(&record, &attribute, out);
            }
        })?;
        let mut all = Vec::new();
        for part in parts {
            all.extend(part.ranges);
            for (number, kind, name) in part.spread {
                // What cannot be read whole is the check's to report.
                let stream = self.file_by_number(number).and_then(|file| file.stream(kind, &name, &self.geometry));
                if let Ok(Some(Stream::Clusters(c))) = stream {
                    self.behind(&c.runs, c.initialized.min(c.size), &mut all);
                }
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Compressed and encrypted content fills its clusters in a way of its own; indexes are looked at block by block.
    fn tail(&self, record: &FileRecord<'_>, attribute: &Attribute<'_>, out: &mut Tails) {
        let packed = attribute.flags & (flag::COMPRESSION_MASK | flag::ENCRYPTED) != 0;
        let Some(extent) = attribute.extent().filter(|e| !packed && e.first_vcn == 0) else { return };
        let owner = record.owner().record();
        if attribute.kind == kind::INDEX_ALLOCATION || owner < FIRST_ORDINARY {
            return;
        }
        let reach = extent.last_vcn.wrapping_add(1).saturating_mul(u64::from(self.geometry.cluster_size));
        if extent.allocated != reach {
            out.spread.push((owner, attribute.kind, attribute.name_units()));
            return;
        }
        let runs: Vec<Run> = extent.runs(self.geometry.clusters, 0).map_while(Result::ok).collect();
        self.behind(&runs, extent.initialized.min(extent.size), &mut out.ranges);
    }

    /// The bytes of runs from byte `start` of the stream on.
    fn behind(&self, runs: &[Run], start: u64, out: &mut Vec<Range>) {
        let cluster = u64::from(self.geometry.cluster_size);
        for run in runs.iter().filter(|r| r.end().saturating_mul(cluster) > start) {
            let Some(lcn) = run.lcn else { continue };
            let skip = start.saturating_sub(run.vcn * cluster);
            in_pieces(lcn * cluster + skip, run.len * cluster - skip, out);
        }
    }

    /// Fills all of a settled `$LogFile` with 0xFF, the form of a log that was never used: Windows, ntfs-3g and the kernel then
    /// begin a new one. Returns how many bytes were something else; `None`, with nothing written, when chkdsk left its mark.
    /// `Unsupported` for a log that a replay would bring into the volume.
    pub fn empty_log(&mut self) -> Result<Option<u64>> {
        match self.facts.log_state {
            LogState::Clean | LogState::Empty => {}
            LogState::ChkdskRan => return Ok(None),
            state => {
                return Err(Error::unsupported(format!("$LogFile is {state}: emptying it would lose what it holds")));
            }
        }
        let Stream::Clusters(clusters) = self.system_stream(system::LOG_FILE, kind::DATA, &[])? else {
            return Err(Error::unsupported("$LogFile is resident"));
        };
        if !clusters.is_plain() || clusters.runs.iter().any(|run| run.lcn.is_none()) {
            return Err(Error::unsupported("$LogFile is compressed, sparse or encrypted"));
        }
        let mut pieces = Vec::new();
        self.behind(&clusters.runs, 0, &mut pieces);
        let unused = vec![0xff; PIECE as usize];
        let mut bytes = vec![0; PIECE as usize];
        let mut total = 0;
        for (at, len) in pieces {
            let len = len.min(PIECE) as usize;
            self.store.read(at, &mut bytes[..len])?;
            total += bytes[..len].iter().filter(|&&b| b != 0xff).count() as u64;
            self.store.write_data(at, &unused[..len], Touch::Data(system::LOG_FILE))?;
        }
        self.facts.log_state = LogState::Empty;
        Ok(Some(total))
    }

    /// Free records become blank ones; behind the attributes of used ones there is nothing.
    fn scrub_records(&mut self, first: u64, remains: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<u64> {
        let mut count = 0;
        for number in first..self.record_count().min(first + RECORDS_AT_ONCE) {
            // Records that cannot be read are the check's to report.
            let Ok(mut record) = self.record(number) else { continue };
            let Ok(view) = record.view() else { continue };
            if !view.is_in_use() {
                let start = view.attributes_offset();
                let (sequence, blank) = (view.sequence(), remains(&record.bytes[start..]));
                if blank && record.bytes[start + 8..].iter().any(|&b| b != 0) {
                    self.stage_record(&record.blanked(sequence))?;
                    count += 1;
                }
                continue;
            }
            let Ok(end) = view.end_offset() else { continue };
            let rest = end + 8..record.bytes.len();
            if rest.start < rest.end
                && record.bytes[rest.clone()].iter().any(|&b| b != 0)
                && remains(&record.bytes[rest.clone()])
            {
                record.bytes[rest].fill(0);
                self.stage_record(&record)?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn scrub_indexes(&mut self, remains: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<u64> {
        let owners = self.scan(Vec::new, |out: &mut Vec<(u64, Vec<u16>)>, scanned| {
            let Scanned::Record(record) = scanned else { return };
            for attribute in record.attributes().map_while(Result::ok).filter(|a| a.kind == kind::INDEX_ALLOCATION) {
                if attribute.extent().is_some_and(|e| e.first_vcn == 0) {
                    out.push((record.owner().record(), attribute.name_units()));
                }
            }
        })?;
        let mut count = 0;
        for (number, name) in owners.into_iter().flatten() {
            let Ok(Some(tree)) = self.file_by_number(number).and_then(|file| self.tree(&file, &name)) else { continue };
            count += self.operation(|volume| volume.scrub_tree(&tree, remains))?;
        }
        Ok(count)
    }

    fn scrub_tree(&mut self, tree: &Tree, remains: &(dyn Fn(&[u8]) -> bool + Sync)) -> Result<u64> {
        let blocks = tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(tree.block_size));
        let mut count = 0;
        for block in 0..blocks {
            let vcn = block * u64::from(tree.block_size) / u64::from(tree.vcn_unit);
            let Ok(mut node) = self.index_block(tree, vcn) else { continue };
            let used = tree.bitmap.get((block / 8) as usize).is_some_and(|b| b >> (block % 8) & 1 != 0);
            let Ok(head) = header(&node.bytes, node.header, node.at) else { continue };
            // Of a free block nothing but its header counts; its first entry is looked at with the rest.
            let rest = if used { head.end } else { head.first }..node.bytes.len();
            if !node.bytes[rest.clone()].iter().any(|&b| b != 0) || !remains(&node.bytes[rest.clone()]) {
                continue;
            }
            node.bytes[rest].fill(0);
            if !used {
                end_only(&mut node.bytes, node.header, head.first);
            }
            self.stage_index_block(tree, vcn, &node.bytes)?;
            count += 1;
        }
        Ok(count)
    }
}

/// Cuts a range into pieces that overlap.
fn in_pieces(mut at: u64, len: u64, out: &mut Vec<Range>) {
    let end = at + len;
    while at < end {
        out.push((at, (end - at).min(PIECE + OVERLAP)));
        at += PIECE;
    }
}

/// The volume's own files are left as they are: what lies behind them is theirs.
const FIRST_ORDINARY: u64 = 24;

/// Makes a block an empty leaf.
fn end_only(bytes: &mut [u8], header: usize, first: usize) {
    if let Some(entry) = bytes.get_mut(first..first + 0x10) {
        entry.copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0]);
        bytes[header + 4..header + 8].copy_from_slice(&((first + 0x10 - header) as u32).to_le_bytes());
        bytes[header + 0xc] = 0;
    }
}
