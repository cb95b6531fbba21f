//! Streams compared byte by byte: each is read once, in pieces.

use reseal_dtyp::{Error, Kind, Result};
use reseal_ntfs::{FileReference, StreamExtent, StreamReader, Volume};
use sha2::{Digest, Sha256};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read at once from each side.
const PIECE: u64 = 256 << 10;
/// A stream with more bytes that are stored nowhere than this is not digested: it may claim more than could ever be read.
const MAX_ZEROS: u64 = 4 << 30;
/// Two bytes of a file may be stored as one, and a file's packed stream counts beside its content; only files that share
/// clusters have this many times the volume's bytes.
const MAX_SHARE: u64 = 3;

/// What of a volume the files so far claim to store.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
}

impl Budget {
    pub(super) fn of(volume: &Volume) -> Budget {
        let info = volume.info();
        let bytes = info.clusters.saturating_mul(u64::from(info.cluster_size)).saturating_mul(MAX_SHARE);
        Budget { left: AtomicU64::new(bytes) }
    }

    fn take(&self, bytes: u64) -> Result<()> {
        let taken =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
        if taken.is_ok_and(|left| left > bytes) { Ok(()) } else { Err(shared_clusters()) }
    }

    /// `Damaged` when the files claim more than the volume could store.
    pub(super) fn check(&self) -> Result<()> {
        if self.left.load(Ordering::Relaxed) > 0 { Ok(()) } else { Err(shared_clusters()) }
    }
}

fn shared_clusters() -> Error {
    let detail = format!("the files claim more than {MAX_SHARE} times the volume's bytes: they share clusters");
    Error::damaged("volume", "", 0, detail)
}

/// A stream ready to be compared.
pub(super) struct Source<'v> {
    reader: StreamReader<'v>,
    extent: StreamExtent,
    /// Index of the first range of zeros that does not end before the place at hand.
    next: usize,
}

impl<'v> Source<'v> {
    /// Opens a stream; one that is encrypted, or whose content lies elsewhere, as it is stored.
    pub(super) fn open(volume: &'v Volume, file: FileReference, name: &[u16], budget: &Budget) -> Result<Source<'v>> {
        let reader = match volume.stream(file, name) {
            Err(e) if e.kind() == Kind::Unsupported => volume.stored_stream(file, name)?,
            other => other?,
        };
        let extent = reader.extent()?;
        budget.take(extent.stored)?;
        Ok(Source { reader, extent, next: 0 })
    }

    fn size(&self) -> u64 {
        self.reader.size()
    }

    /// The range of zeros at an offset or the next one behind it; offsets only grow.
    fn zeros(&mut self, offset: u64) -> Option<Range<u64>> {
        while self.extent.zeros.get(self.next).is_some_and(|range| range.end <= offset) {
            self.next += 1;
        }
        self.extent.zeros.get(self.next).cloned()
    }

    fn unstored(&self) -> u64 {
        self.extent.zeros.iter().map(|range| range.end - range.start).sum()
    }

    /// Fills `buf` with what there is from `offset` on; returns how many bytes.
    fn fill<'b>(&mut self, offset: u64, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        let n = self.size().saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..n];
        let all_zero = self.zeros(offset).is_some_and(|range| range.start <= offset && range.end >= offset + n as u64);
        if all_zero {
            buf.fill(0);
            return Ok(buf);
        }
        let got = self.reader.read_at(offset, buf)?;
        if got < n {
            return Err(Error::damaged("stream", "", offset, format!("{got} of {n} bytes can be read")));
        }
        Ok(buf)
    }
}

/// Length and digest of data.
pub(super) fn digest_of(data: &[u8]) -> String {
    shown(data.len() as u64, Some(Sha256::digest(data).into()))
}

fn shown(size: u64, digest: Option<[u8; 32]>) -> String {
    match digest {
        Some(digest) => {
            let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
            format!("{size} bytes, sha256 {hex}")
        }
        None => format!("{size} bytes, most of them holes"),
    }
}

/// What the comparison of two streams gave.
pub(super) enum Compared {
    Alike,
    /// Length and digest of each.
    Differ([String; 2]),
    /// Both begin as the primary file of a hive does: to be compared key by key.
    Hives,
}

/// Which side failed, and how.
pub(super) type SideError = (usize, Error);

/// Whether a file begins with the base block of a hive's primary file; logs have another type.
fn is_hive(start: &[u8]) -> bool {
    start.starts_with(b"regf") && start.get(0x1c..0x20) == Some(&[0; 4]) && start.len() >= 4096
}

/// Compares two streams. With `hives`, two hives are told instead.
pub(super) fn compare(mut sides: [Source<'_>; 2], hives: bool) -> Result<Compared, SideError> {
    let sizes = [sides[0].size(), sides[1].size()];
    let digested = sides.iter().all(|side| side.unstored() <= MAX_ZEROS);
    // While both sides are equal, one digest serves both.
    let mut digests: [Option<Sha256>; 2] = [digested.then(Sha256::new), None];
    let mut differ = sizes[0] != sizes[1];
    let mut split = false;
    let (mut offset, end) = (0, sizes[0].max(sizes[1]));
    let len = end.min(PIECE) as usize;
    let mut buffers = [vec![0; len], vec![0; len]];
    while offset < end && (digested || !differ) {
        if !digested && let Some(past) = common_zeros(&mut sides, offset) {
            offset = past;
            continue;
        }
        let [a, b] = &mut buffers;
        let n = PIECE.min(end - offset) as usize;
        let [left, right] = &mut sides;
        let a = left.fill(offset, &mut a[..n]).map_err(|e| (0, e))?;
        let b = right.fill(offset, &mut b[..n]).map_err(|e| (1, e))?;
        if hives && offset == 0 && is_hive(a) && is_hive(b) {
            return Ok(Compared::Hives);
        }
        if !split && a != b {
            (split, differ) = (true, true);
            digests[1] = digests[0].clone();
        }
        let [first, second] = &mut digests;
        first.iter_mut().for_each(|d| d.update(a));
        second.iter_mut().for_each(|d| d.update(b));
        offset += n as u64;
    }
    if !differ {
        return Ok(Compared::Alike);
    }
    let [a, b] = digests.map(|digest| digest.map(|d| d.finalize().into()));
    Ok(Compared::Differ([shown(sizes[0], a), shown(sizes[1], b)]))
}

/// Where zeros that neither side stores end, when the place at hand lies in such; both have one size.
fn common_zeros(sides: &mut [Source<'_>; 2], offset: u64) -> Option<u64> {
    let [a, b] = sides;
    let end = |side: &mut Source<'_>| side.zeros(offset).filter(|range| range.start <= offset).map(|range| range.end);
    Some(end(a)?.min(end(b)?))
}

/// Length and digest of a stream that only one side has.
pub(super) fn digest(mut source: Source<'_>) -> Result<String> {
    let size = source.size();
    if source.unstored() > MAX_ZEROS {
        return Ok(shown(size, None));
    }
    let mut digest = Sha256::new();
    let mut buffer = vec![0; size.min(PIECE) as usize];
    let mut offset = 0;
    while offset < size {
        let n = PIECE.min(size - offset) as usize;
        digest.update(source.fill(offset, &mut buffer[..n])?);
        offset += n as u64;
    }
    Ok(shown(size, Some(digest.finalize().into())))
}

/// Compares what lies on two partitions that are not NTFS.
pub(super) fn compare_bytes(sides: [&dyn reseal_disk::ReadAt; 2]) -> Result<Option<[String; 2]>, SideError> {
    let sizes = sides.map(|side| side.len());
    let mut digests = [Sha256::new(), Sha256::new()];
    let mut buffers = [vec![0; PIECE as usize], vec![0; PIECE as usize]];
    let mut alike = sizes[0] == sizes[1];
    let mut offset = 0;
    while offset < sizes[0].max(sizes[1]) {
        for (i, side) in sides.iter().enumerate() {
            let n = PIECE.min(sizes[i].saturating_sub(offset)) as usize;
            side.read_at(offset, &mut buffers[i][..n]).map_err(|e| (i, e))?;
            digests[i].update(&buffers[i][..n]);
            alike &= i == 0 || buffers[0][..n] == buffers[1][..n];
        }
        offset += PIECE;
    }
    let [a, b] = digests.map(|digest| digest.finalize().into());
    Ok((!alike).then(|| [shown(sizes[0], Some(a)), shown(sizes[1], Some(b))]))
}
