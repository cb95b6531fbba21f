//! Every byte of a volume, decoded: for a search that wants to say "nowhere".
//!
//! Two passes. The first reads the medium from end to end, free clusters included; file records and index blocks are seen
//! without their fixups, which replace two bytes of each sector. The second reads streams whose bytes do not lie side by
//! side on the medium: compressed, overlay-compressed or in several runs.

use crate::attribute::{Form, flag, kind};
use crate::fixup;
use crate::reference::FileReference;
use crate::scan::Scanned;
use crate::volume::Volume;
use rayon::prelude::*;
use reseal_dtyp::Result;

/// Bytes read at once, a multiple of every record and block size: what stays in the cache of a core while it is searched.
const CHUNK: u64 = 1 << 20;
/// Records and index blocks start at multiples of this.
const BLOCK_STEP: usize = 512;

/// Where swept bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SweepPlace {
    /// The medium, from this byte offset of the volume on.
    Medium {
        /// Byte offset on the volume.
        offset: u64,
    },
    /// A stream in its decoded form.
    Stream {
        /// The file.
        file: FileReference,
        /// Stream name; empty for the unnamed one.
        name: Vec<u16>,
        /// Byte offset in the stream.
        offset: u64,
    },
}

/// What holds a byte of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteOwner {
    /// A file record.
    Record(u64),
    /// Clusters of a file's attribute: type code and name.
    File {
        /// The file.
        file: FileReference,
        /// Attribute type code, 0x80 for `$DATA`.
        kind: u32,
        /// Attribute name.
        name: Vec<u16>,
    },
    /// Nothing: free space, or the sectors behind the last cluster.
    Free,
}

/// Runs of all files, for finding the owner of a byte; about 40 bytes for each run.
#[derive(Debug)]
pub struct Owners {
    /// Ascending, by place.
    runs: Vec<OwnedRun>,
    attributes: Vec<(FileReference, u32, Vec<u16>)>,
    cluster_size: u64,
    mft: Vec<(u64, u64, u64)>,
    record_size: u64,
    /// Clusters that `$Bitmap` shows as taken.
    taken: Vec<u64>,
}

/// A run with its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct OwnedRun {
    from: u64,
    to: u64,
    /// Index into the attributes.
    attribute: u32,
    /// Virtual cluster at which it starts.
    vcn: u64,
}

/// A stream that the first pass does not see in one piece.
type Scattered = (FileReference, Vec<u16>);

impl Volume {
    /// Calls `visit` with every byte of the volume at least once, from several threads. `overlap` bytes at the end of each
    /// piece are seen again at the start of the next, so that a pattern of `overlap + 1` bytes is never cut. Holes of the
    /// container are passed over: they read as zero. Returns how many bytes were visited. Encrypted streams are seen as
    /// they lie on the medium only.
    pub fn sweep(&self, overlap: usize, visit: &(dyn Fn(&SweepPlace, &[u8]) + Sync)) -> Result<u64> {
        let total = self.store.len();
        let medium: u64 = (0..total.div_ceil(CHUNK))
            .into_par_iter()
            .map_init(Vec::new, |bytes: &mut Vec<u8>, index| {
                let offset = index * CHUNK;
                let len = (CHUNK + overlap as u64).min(total - offset);
                if self.store.is_hole(offset, len) {
                    return Ok(0);
                }
                bytes.resize(len as usize, 0);
                self.store.read(offset, bytes)?;
                unprotect_blocks(bytes, self.block_sizes());
                visit(&SweepPlace::Medium { offset }, bytes);
                Ok(len)
            })
            .sum::<Result<u64>>()?;
        let scattered = self.scattered()?;
        let streams: u64 = scattered
            .into_par_iter()
            .map(|(file, name)| self.sweep_stream(file, name, overlap, visit))
            .sum::<Result<u64>>()?;
        Ok(medium + streams)
    }

    /// Sizes of a file record and of an index block of folders.
    fn block_sizes(&self) -> (usize, usize) {
        (self.geometry.record_size as usize, self.geometry.index_size as usize)
    }

    fn sweep_stream(
        &self,
        file: FileReference,
        name: Vec<u16>,
        overlap: usize,
        visit: &(dyn Fn(&SweepPlace, &[u8]) + Sync),
    ) -> Result<u64> {
        let reader = match self.stream(file, &name) {
            Ok(reader) => reader,
            // EFS and WIMBoot: what lies on the medium was seen in the first pass.
            Err(e) if e.kind() == reseal_dtyp::Kind::Unsupported => return Ok(0),
            Err(e) => return Err(e),
        };
        let mut offset = 0;
        let mut bytes = Vec::new();
        while offset < reader.size() {
            let len = (CHUNK + overlap as u64).min(reader.size() - offset) as usize;
            bytes.resize(len, 0);
            let n = reader.read_at(offset, &mut bytes)?;
            visit(&SweepPlace::Stream { file, name: name.clone(), offset }, &bytes[..n]);
            offset += CHUNK;
        }
        Ok(reader.size())
    }

    /// Data streams that are compressed or lie in several pieces, and files of the overlay filter.
    fn scattered(&self) -> Result<Vec<Scattered>> {
        let clusters = self.geometry.clusters;
        let parts = self.scan(Vec::new, |out: &mut Vec<Scattered>, scanned| {
            let Scanned::Record(record) = scanned else { return };
            let mut wof = false;
            for attribute in record.attributes().map_while(Result::ok) {
                if attribute.is(kind::DATA, crate::attribute::name::WOF) {
                    wof = true;
                }
                let Form::NonResident(extent) = attribute.form else { continue };
                if attribute.kind != kind::DATA {
                    continue;
                }
                let runs: Vec<_> = extent.runs(clusters, 0).map_while(Result::ok).collect();
                let split = extent.first_vcn > 0 || runs.windows(2).any(|w| w[0].lcn.map(|l| l + w[0].len) != w[1].lcn);
                if split || attribute.flags & flag::COMPRESSION_MASK != 0 {
                    out.push((record.owner(), attribute.name_units()));
                }
            }
            if wof {
                out.push((record.owner(), Vec::new()));
            }
        })?;
        let mut all: Vec<Scattered> = parts.into_iter().flatten().collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Gathers what is needed to name the owner of a byte: one scan.
    pub fn owners(&self) -> Result<Owners> {
        let clusters = self.geometry.clusters;
        type Part = (Vec<OwnedRun>, Vec<(FileReference, u32, Vec<u16>)>);
        let parts = self.scan(Part::default, |(runs, attributes): &mut Part, scanned| {
            let Scanned::Record(record) = scanned else { return };
            for attribute in record.attributes().map_while(Result::ok) {
                let Form::NonResident(extent) = attribute.form else { continue };
                let index = attributes.len() as u32;
                attributes.push((record.owner(), attribute.kind, attribute.name_units()));
                let placed = extent.runs(clusters, 0).map_while(Result::ok).filter_map(|run| {
                    let from = run.lcn?;
                    Some(OwnedRun { from, to: from + run.len, attribute: index, vcn: run.vcn })
                });
                runs.extend(placed);
            }
        })?;
        let mut owners = Owners {
            runs: Vec::new(),
            attributes: Vec::new(),
            cluster_size: u64::from(self.geometry.cluster_size),
            mft: Vec::new(),
            record_size: u64::from(self.geometry.record_size),
            taken: self.cluster_bitmap()?,
        };
        for (runs, attributes) in parts {
            let base = owners.attributes.len() as u32;
            owners.runs.extend(runs.into_iter().map(|run| OwnedRun { attribute: base + run.attribute, ..run }));
            owners.attributes.extend(attributes);
        }
        owners.runs.sort_unstable();
        let mut vcn = 0;
        for run in &self.mft.runs {
            if let Some(lcn) = run.lcn {
                owners.mft.push((lcn, lcn + run.len, vcn));
            }
            vcn += run.len;
        }
        Ok(owners)
    }
}

impl Owners {
    /// The owner of a byte of the volume.
    pub fn of(&self, offset: u64) -> ByteOwner {
        let lcn = offset / self.cluster_size;
        if let Some((from, _, vcn)) = self.mft.iter().find(|(from, to, _)| (*from..*to).contains(&lcn)) {
            let within = (vcn + lcn - from) * self.cluster_size + offset % self.cluster_size;
            return ByteOwner::Record(within / self.record_size);
        }
        match self.run_at(lcn) {
            Some(run) => {
                let (file, kind, name) = self.attributes[run.attribute as usize].clone();
                ByteOwner::File { file, kind, name }
            }
            None => ByteOwner::Free,
        }
    }

    fn run_at(&self, lcn: u64) -> Option<&OwnedRun> {
        let before = self.runs.partition_point(|run| run.from <= lcn);
        self.runs[..before].last().filter(|run| lcn < run.to)
    }

    /// Offset within its file record of a byte that belongs to one.
    pub(crate) fn offset_in_record(&self, offset: u64) -> Option<u64> {
        let lcn = offset / self.cluster_size;
        let (from, _, vcn) = self.mft.iter().find(|(from, to, _)| (*from..*to).contains(&lcn))?;
        Some(((vcn + lcn - from) * self.cluster_size + offset % self.cluster_size) % self.record_size)
    }

    /// The offset in the owner's stream of a byte that belongs to one.
    pub fn offset_in_stream(&self, offset: u64) -> Option<u64> {
        let lcn = offset / self.cluster_size;
        let run = self.run_at(lcn)?;
        Some((run.vcn + lcn - run.from) * self.cluster_size + offset % self.cluster_size)
    }

    /// How many bytes from `offset` on belong to no file and are free in `$Bitmap`; whole clusters but for the first one.
    pub fn free_stretch(&self, offset: u64) -> u64 {
        let first = offset / self.cluster_size;
        let next = self.runs.partition_point(|run| run.from <= first);
        let in_mft = |lcn: u64| self.mft.iter().any(|(from, to, _)| (*from..*to).contains(&lcn));
        if self.run_at(first).is_some() || in_mft(first) {
            return 0;
        }
        let mft = self.mft.iter().map(|(from, _, _)| *from).filter(|from| *from > first);
        let limit = mft.chain(self.runs.get(next).map(|run| run.from)).min().unwrap_or(u64::MAX);
        let is_taken = |lcn: u64| self.taken.get((lcn / 64) as usize).is_none_or(|word| word >> (lcn % 64) & 1 != 0);
        let end = (first..limit).find(|&lcn| is_taken(lcn)).unwrap_or(limit);
        (end * self.cluster_size).saturating_sub(offset)
    }
}

/// Takes the fixups out of every whole file record and index block, in place. What does not look like one, or is torn,
/// stays as it is.
fn unprotect_blocks(bytes: &mut [u8], (record, index): (usize, usize)) {
    let mut at = 0;
    while at + BLOCK_STEP <= bytes.len() {
        let size = match &bytes[at..at + 4] {
            b"FILE" => record,
            b"INDX" => index,
            _ => 0,
        };
        if size > 0 && at + size <= bytes.len() && fixup::unprotect(&mut bytes[at..at + size], "block", 0).is_ok() {
            at += size;
        } else {
            at += BLOCK_STEP;
        }
    }
}
