//! Streams: the value of one attribute, put together from all its extents.

use crate::attribute::{Form, flag};
use crate::file::File;
use crate::geometry::Geometry;
use crate::runs::Run;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result};

/// The value of an attribute.
#[derive(Debug, Clone)]
pub(crate) enum Stream {
    /// In the file record.
    Resident(Vec<u8>),
    /// In clusters.
    Clusters(Clusters),
}

/// A non-resident value: its runs over all extents, and its sizes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clusters {
    /// In order of virtual cluster, without gaps.
    pub(crate) runs: Vec<Run>,
    pub(crate) allocated: u64,
    pub(crate) size: u64,
    pub(crate) initialized: u64,
    pub(crate) unit: u8,
    pub(crate) flags: u16,
    /// How many extents it has.
    pub(crate) extents: usize,
}

impl Clusters {
    /// First virtual cluster behind the last run.
    pub(crate) fn end_vcn(&self) -> u64 {
        self.runs.last().map_or(0, Run::end)
    }

    /// Whether content may be written where it is: not compressed, sparse or encrypted.
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (flag::COMPRESSION_MASK | flag::SPARSE | flag::ENCRYPTED) == 0
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.flags & flag::COMPRESSION_MASK != 0
    }

    /// `Damaged` when the initialized size reaches behind the runs, or the runs hold more clusters than the volume has.
    fn bounded(&self, geometry: &Geometry) -> Result<()> {
        let reach = self.end_vcn().saturating_mul(u64::from(geometry.cluster_size));
        let held = self.runs.iter().filter(|r| r.lcn.is_some()).fold(0u64, |sum, r| sum.saturating_add(r.len));
        if self.initialized > reach || held > geometry.clusters {
            let detail = format!(
                "initialized size {:#x}, the runs reach {reach:#x} and hold {held} clusters of {}",
                self.initialized, geometry.clusters
            );
            return Err(Error::damaged("attribute", "ValidDataLength", 0, detail));
        }
        Ok(())
    }

    /// The run that holds a virtual cluster.
    fn run_at(&self, vcn: u64) -> Option<Run> {
        self.runs.get(self.runs.partition_point(|r| r.end() <= vcn)).filter(|r| r.vcn <= vcn).copied()
    }

    /// The pieces of the volume that hold `len` bytes from `offset` on: (byte offset, or `None` for a hole; length).
    pub(crate) fn pieces(&self, offset: u64, len: u64, cluster_size: u32) -> Result<Vec<(Option<u64>, u64)>> {
        let size = u64::from(cluster_size);
        let mut out = Vec::new();
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            let Some(run) = self.run_at(at / size) else {
                let detail =
                    format!("no run holds byte {at:#x}; the runs end at {:#x}", self.end_vcn().saturating_mul(size));
                return Err(Error::damaged("run list", "", at, detail));
            };
            let n = run.end().saturating_mul(size).min(end) - at;
            out.push((run.lcn.map(|lcn| lcn * size + (at - run.vcn * size)), n));
            at += n;
        }
        Ok(out)
    }
}

impl Stream {
    /// Length in bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Stream::Resident(value) => value.len() as u64,
            Stream::Clusters(clusters) => clusters.size,
        }
    }
}

impl File {
    /// The attribute of this type and name, all extents joined; `None` when the file has none.
    pub(crate) fn stream(&self, kind: u32, name: &[u16], geometry: &Geometry) -> Result<Option<Stream>> {
        let mut extents = Vec::new();
        for record in &self.records {
            let view = record.view()?;
            for attribute in view.attributes() {
                let attribute = attribute?;
                if !attribute.is(kind, name) {
                    continue;
                }
                match attribute.form {
                    Form::Resident { value, .. } => return Ok(Some(Stream::Resident(value.to_vec()))),
                    Form::NonResident(extent) => {
                        let at = view.at + attribute.offset as u64;
                        extents.push((extent.first_vcn, extent, attribute.flags, at));
                    }
                }
            }
        }
        if extents.is_empty() {
            return Ok(None);
        }
        extents.sort_by_key(|e| e.0);
        let mut out = Clusters { extents: extents.len(), ..Clusters::default() };
        for (first, extent, flags, at) in extents {
            let bad = |detail: String| Err(Error::damaged("attribute", "LowestVcn", at, detail));
            if first != out.end_vcn() {
                return bad(format!(
                    "record {}: extent starts at cluster {first}, not {}",
                    self.number(),
                    out.end_vcn()
                ));
            }
            if first == 0 {
                out.allocated = extent.allocated;
                out.size = extent.size;
                out.initialized = extent.initialized.min(extent.size);
                out.unit = extent.unit;
                out.flags = flags;
            }
            for run in extent.runs(geometry.clusters, at) {
                out.runs.push(run?);
            }
            if out.end_vcn() != extent.last_vcn.wrapping_add(1) {
                let (end, last) = (out.end_vcn(), extent.last_vcn.wrapping_add(1));
                return bad(format!("record {}: runs end at cluster {end}, the header says {last}", self.number()));
            }
        }
        out.bounded(geometry).map_err(|e| e.within(format!("record {}", self.number())))?;
        Ok(Some(Stream::Clusters(out)))
    }
}

impl Volume {
    /// Reads a non-resident value as it lies: holes and what is behind the initialized size read as zero. Compression is not
    /// looked at. The range must lie within the runs unless it is behind the initialized size.
    pub(crate) fn read_clusters(&self, clusters: &Clusters, offset: u64, buf: &mut [u8]) -> Result<()> {
        let known = clusters.initialized.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (mut rest, tail) = buf.split_at_mut(known);
        tail.fill(0);
        for (place, len) in clusters.pieces(offset, known as u64, self.geometry.cluster_size)? {
            let (part, next) = rest.split_at_mut(len as usize);
            match place {
                Some(at) => self.store.read(at, part)?,
                None => part.fill(0),
            }
            rest = next;
        }
        Ok(())
    }

    /// Reads a whole metadata stream; `Limit` above `limit` bytes.
    pub(crate) fn read_metadata(&self, stream: &Stream, limit: u64, what: &str) -> Result<Vec<u8>> {
        match stream {
            Stream::Resident(value) => Ok(value.clone()),
            Stream::Clusters(clusters) => {
                // What is stored cannot be longer than the volume, whatever the header says.
                if clusters.size > limit.min(self.store.len()) {
                    let detail = format!("{what} has {} bytes, more than {limit}", clusters.size);
                    return Err(Error::new(reseal_dtyp::Kind::Limit, detail));
                }
                let mut out = vec![0; clusters.size as usize];
                self.read_clusters(clusters, 0, &mut out)?;
                Ok(out)
            }
        }
    }
}
