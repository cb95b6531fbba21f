//! Content of streams, whatever way it is stored: resident, clusters, sparse, LZNT1, WOF.

use crate::attribute::{flag, kind, name};
use crate::file::File;
use crate::reference::FileReference;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use crate::wof::{self, WofContent};
use rayon::prelude::*;
use reseal_dtyp::{Error, Kind, Result};

/// Stated limit of [`Volume::read`]: longer streams are read in pieces.
const READ_LIMIT: u64 = 2 << 30;
/// A stream may be longer than the volume, with holes and packed units; what claims much more is not read at once.
const READ_FREE: u64 = 256 << 20;
/// A long stream is read in pieces of this many bytes, in parallel.
const READ_PIECE: usize = 2 << 20;
/// LZNT1 units are 16 clusters of at most 4 KiB; anything larger than this is damage.
const MAX_UNIT: u64 = 1 << 20;

/// An open stream of a file.
#[derive(Debug)]
pub struct StreamReader<'v> {
    volume: &'v Volume,
    source: Source,
    size: u64,
}

/// Which bytes of a stream are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamExtent {
    /// Bytes that the stream occupies in clusters or in its record.
    pub stored: u64,
    /// Ranges of the content that read as zero and are stored nowhere, ascending and disjoint.
    pub zeros: Vec<std::ops::Range<u64>>,
}

impl StreamExtent {
    fn push(&mut self, range: std::ops::Range<u64>) {
        match self.zeros.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.zeros.push(range),
        }
    }
}

#[derive(Debug)]
enum Source {
    Plain(Stream),
    Lznt1(Clusters),
    Wof(WofContent),
}

impl Volume {
    /// Opens a stream of a file; an empty name means the unnamed one. `NotFound` without such a stream, `Unsupported` when it
    /// is encrypted with EFS or lies outside the volume (WIMBoot).
    pub fn stream(&self, file: FileReference, name: &[u16]) -> Result<StreamReader<'_>> {
        let file = self.file(file)?;
        self.stream_of(&file, name)
    }

    pub(crate) fn stream_of(&self, file: &File, name: &[u16]) -> Result<StreamReader<'_>> {
        let stream = file.stream(kind::DATA, name, &self.geometry)?.ok_or_else(|| {
            let name = String::from_utf16_lossy(name);
            Error::not_found(format!("file {} has no stream `{name}`", file.reference))
        })?;
        let size = stream.size();
        if let Stream::Clusters(clusters) = &stream {
            if clusters.flags & flag::ENCRYPTED != 0 {
                return Err(Error::unsupported(format!("file {} is encrypted with EFS", file.reference)));
            }
            if clusters.is_compressed() {
                if clusters.flags & flag::COMPRESSION_MASK != flag::COMPRESSED {
                    let detail = format!("file {}: compression method {:#x}", file.reference, clusters.flags);
                    return Err(Error::unsupported(detail));
                }
                return Ok(StreamReader { volume: self, source: Source::Lznt1(clusters.clone()), size });
            }
        }
        if name.is_empty()
            && let Some(content) = wof::content(self, file, size)?
        {
            return Ok(StreamReader { volume: self, source: Source::Wof(content), size });
        }
        Ok(StreamReader { volume: self, source: Source::Plain(stream), size })
    }

    /// Opens a stream as it is stored: clusters of an encrypted or compressed stream as they are, and the unnamed stream of a
    /// WOF file as NTFS sees it. `NotFound` without such a stream.
    pub fn stored_stream(&self, file: FileReference, name: &[u16]) -> Result<StreamReader<'_>> {
        let file = self.file(file)?;
        let stream = file.stream(kind::DATA, name, &self.geometry)?;
        let stream = stream.ok_or_else(|| Error::not_found(format!("file {} has no such stream", file.reference)))?;
        let size = stream.size();
        Ok(StreamReader { volume: self, source: Source::Plain(stream), size })
    }

    /// All bytes of a stream. `Limit` above 2 GiB.
    pub fn read(&self, file: FileReference, stream: &[u16]) -> Result<Vec<u8>> {
        self.stream(file, stream)?.read_all()
    }

    /// Reads from a stream at an offset; returns how many bytes there were, less than `buf` only at the end.
    pub fn read_at(&self, file: FileReference, stream: &[u16], offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.stream(file, stream)?.read_at(offset, buf)
    }

    /// Length of a stream in bytes.
    pub fn size(&self, file: FileReference, stream: &[u16]) -> Result<u64> {
        let file = self.file(file)?;
        let found = file.stream(kind::DATA, stream, &self.geometry)?;
        found.map(|s| s.size()).ok_or_else(|| Error::not_found(format!("file {} has no such stream", file.reference)))
    }

    /// The data of the reparse point, tag and all; `None` when the file is not one.
    pub fn reparse_data(&self, file: FileReference) -> Result<Option<Vec<u8>>> {
        self.reparse_data_of(&self.file(file)?)
    }

    /// What an encrypted file says of who can read it ([MS-EFSR] 2.2.2.1), at most 256 KiB; `None` for others.
    pub fn efs_metadata(&self, file: FileReference) -> Result<Option<Vec<u8>>> {
        let stream = self.file(file)?.stream(kind::LOGGED_UTILITY_STREAM, name::EFS, &self.geometry)?;
        stream.map(|s| self.read_metadata(&s, 256 << 10, "$EFS")).transpose()
    }

    pub(crate) fn reparse_data_of(&self, file: &File) -> Result<Option<Vec<u8>>> {
        // MAXIMUM_REPARSE_DATA_BUFFER_SIZE is 16 KiB.
        let stream = file.stream(kind::REPARSE_POINT, &[], &self.geometry)?;
        stream.map(|s| self.read_metadata(&s, 16 << 10, "$REPARSE_POINT")).transpose()
    }
}

impl StreamReader<'_> {
    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Byte offset on the volume where content at `offset` lies and how many bytes follow it there; `None` when it is
    /// resident, compressed, a hole, or behind the initialized size.
    pub fn place(&self, offset: u64) -> Result<Option<(u64, u64)>> {
        let Source::Plain(Stream::Clusters(clusters)) = &self.source else { return Ok(None) };
        let known = clusters.initialized.saturating_sub(offset);
        let pieces = clusters.pieces(offset, known, self.volume.geometry.cluster_size)?;
        Ok(pieces.first().and_then(|&(place, len)| place.map(|p| (p, len))))
    }

    /// What of the stream is stored, and what reads as zero without being stored.
    ///
    /// `Damaged` when the runs do not cover the stream.
    pub fn extent(&self) -> Result<StreamExtent> {
        let cluster = self.volume.geometry.cluster_size;
        let (clusters, unit) = match &self.source {
            Source::Plain(Stream::Clusters(clusters)) => (clusters, 1),
            Source::Lznt1(clusters) => {
                let per_unit = 1u64.checked_shl(u32::from(clusters.unit)).unwrap_or(1);
                (clusters, per_unit.saturating_mul(u64::from(cluster)).max(1))
            }
            Source::Plain(Stream::Resident(value)) => {
                return Ok(StreamExtent { stored: value.len() as u64, zeros: Vec::new() });
            }
            Source::Wof(content) => return Ok(StreamExtent { stored: content.stored(), zeros: Vec::new() }),
        };
        let known = clusters.initialized.min(self.size);
        let mut out = StreamExtent { stored: 0, zeros: Vec::new() };
        let mut at = 0u64;
        // A compression unit may end behind the content: what is not there counts as a hole.
        let reach = clusters.end_vcn().saturating_mul(u64::from(cluster)).min(known);
        for (place, len) in clusters.pieces(0, if unit > 1 { reach } else { known }, cluster)? {
            match place {
                Some(_) => out.stored += len,
                // Of a compressed stream, only whole units without any cluster are zero.
                None => out.push(at.checked_next_multiple_of(unit).unwrap_or(u64::MAX)..(at + len) / unit * unit),
            }
            at += len;
        }
        out.push(known..self.size);
        Ok(out)
    }

    /// Reads at an offset; returns how many bytes there were, less than `buf` only at the end of the stream.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let n = self.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..n];
        match &self.source {
            Source::Plain(Stream::Resident(value)) => {
                let start = offset.min(value.len() as u64) as usize;
                buf.copy_from_slice(&value[start..start + n]);
            }
            Source::Plain(Stream::Clusters(clusters)) => {
                let pieces = buf.par_chunks_mut(READ_PIECE).enumerate();
                pieces.try_for_each(|(i, piece)| {
                    self.volume.read_clusters(clusters, offset + (i * READ_PIECE) as u64, piece)
                })?;
            }
            Source::Lznt1(clusters) => read_lznt1(self.volume, clusters, offset, buf)?,
            Source::Wof(content) => content.read(self.volume, offset, buf)?,
        }
        Ok(n)
    }

    /// The length, if it can be read at once; `Limit` above 2 GiB, and when it claims far more than the volume holds.
    pub fn size_at_once(&self) -> Result<usize> {
        let limit = READ_LIMIT.min(self.volume.store.len().saturating_mul(16).saturating_add(READ_FREE));
        if self.size > limit {
            let detail = format!("the stream has {} bytes; at most {limit} are read at once", self.size);
            return Err(Error::new(Kind::Limit, detail));
        }
        Ok(self.size as usize)
    }

    /// All bytes. `Limit` as for [`StreamReader::size_at_once`].
    pub fn read_all(&self) -> Result<Vec<u8>> {
        let mut out = vec![0; self.size_at_once()?];
        self.read_at(0, &mut out)?;
        Ok(out)
    }
}

/// Reads an LZNT1 stream. A unit with all its clusters is stored plainly, one without any is zero, one in between is packed.
fn read_lznt1(volume: &Volume, clusters: &Clusters, offset: u64, buf: &mut [u8]) -> Result<()> {
    let cluster = u64::from(volume.geometry.cluster_size);
    let per_unit = 1u64.checked_shl(u32::from(clusters.unit)).unwrap_or(0);
    let unit_size = per_unit.saturating_mul(cluster);
    if clusters.unit == 0 || !(1..=MAX_UNIT).contains(&unit_size) {
        let detail = format!("compression unit of 2^{} clusters of {cluster} bytes", clusters.unit);
        return Err(Error::damaged("attribute", "CompressionUnit", 0, detail));
    }
    let mut unit = vec![0; unit_size as usize];
    let mut done = 0;
    while done < buf.len() {
        let at = offset + done as u64;
        let (index, within) = (at / unit_size, (at % unit_size) as usize);
        let n = (unit.len() - within).min(buf.len() - done);
        if at >= clusters.initialized {
            buf[done..].fill(0);
            break;
        }
        read_unit(volume, clusters, index * unit_size, &mut unit)?;
        buf[done..done + n].copy_from_slice(&unit[within..within + n]);
        // Within a unit, what is behind the initialized size is not content.
        let valid = clusters.initialized.saturating_sub(at).min(n as u64) as usize;
        buf[done + valid..done + n].fill(0);
        done += n;
    }
    Ok(())
}

fn read_unit(volume: &Volume, clusters: &Clusters, start: u64, unit: &mut [u8]) -> Result<()> {
    let cluster_size = volume.geometry.cluster_size;
    // The last unit may have fewer clusters than a full one; the missing ones count as a hole.
    let reach = clusters.end_vcn().saturating_mul(u64::from(cluster_size));
    let len = (unit.len() as u64).min(reach.saturating_sub(start));
    let mut packed = Vec::new();
    let mut hole = len < unit.len() as u64;
    for (place, n) in clusters.pieces(start, len, cluster_size)? {
        let Some(at) = place else {
            hole = true;
            continue;
        };
        let from = packed.len();
        packed.resize(from + n as usize, 0);
        volume.store.read(at, &mut packed[from..])?;
    }
    if packed.is_empty() {
        unit.fill(0);
    } else if !hole {
        unit.copy_from_slice(&packed);
    } else {
        reseal_codec::lznt1::decompress(&packed, unit)
            .map_err(|e| Error::damaged("compression unit", "", start, e.to_string()))?;
    }
    Ok(())
}
