//! Streams compared byte by byte: each is read once, in pieces.

use crate::tree::StreamRead;
use reseal_dtyp::{Error, Result};
use reseal_ntfs::Volume;
use reseal_wim::Sha1Hash;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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

    pub(super) fn take(&self, bytes: u64) -> Result<()> {
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

/// What contents of a WIM show as: each is read once, however many files have it.
#[derive(Debug, Default)]
pub(super) struct Digests(Mutex<HashMap<Sha1Hash, String>>);

/// A stream ready to be compared.
pub(super) struct Source<'v> {
    reader: Box<dyn StreamRead + 'v>,
    size: u64,
    /// Ranges that read as zero and are stored nowhere, ascending.
    zeros: Vec<Range<u64>>,
    /// Index of the first range of zeros that does not end before the place at hand.
    next: usize,
    /// The SHA-1 of a content of a WIM.
    blob: Option<(Sha1Hash, &'v Digests)>,
}

impl<'v> Source<'v> {
    pub(super) fn new(reader: Box<dyn StreamRead + 'v>, size: u64, zeros: Vec<Range<u64>>) -> Source<'v> {
        Source { reader, size, zeros, next: 0, blob: None }
    }

    /// The same, of a content whose SHA-1 is known.
    pub(super) fn of_blob(self, hash: Sha1Hash, digests: &'v Digests) -> Source<'v> {
        Source { blob: Some((hash, digests)), ..self }
    }

    fn size(&self) -> u64 {
        self.size
    }

    /// The range of zeros at an offset or the next one behind it; offsets only grow.
    fn zeros(&mut self, offset: u64) -> Option<Range<u64>> {
        while self.zeros.get(self.next).is_some_and(|range| range.end <= offset) {
            self.next += 1;
        }
        self.zeros.get(self.next).cloned()
    }

    fn unstored(&self) -> u64 {
        self.zeros.iter().map(|range| range.end - range.start).sum()
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

impl Source<'_> {
    /// Its SHA-1, zeros for an empty one; `None` when it would take too long to tell.
    fn sha1(&mut self) -> Result<Option<Sha1Hash>> {
        match self.blob {
            Some((hash, _)) => Ok(Some(hash)),
            None if self.size == 0 => Ok(Some([0; 20])),
            None if self.unstored() > MAX_ZEROS => Ok(None),
            None => self.all_through::<Sha1>().map(|hash| Some(hash.into())),
        }
    }

    fn all_through<D: Digest>(&mut self) -> Result<sha2::digest::Output<D>> {
        let mut digest = D::new();
        let mut buffer = vec![0; self.size.min(PIECE) as usize];
        self.next = 0;
        let mut offset = 0;
        while offset < self.size {
            let n = PIECE.min(self.size - offset) as usize;
            digest.update(self.fill(offset, &mut buffer[..n])?);
            offset += n as u64;
        }
        Ok(digest.finalize())
    }

    /// Its first bytes; `None` when it has fewer.
    pub(super) fn start<const N: usize>(&mut self) -> Result<Option<[u8; N]>> {
        if self.size < N as u64 {
            return Ok(None);
        }
        let mut start = [0; N];
        self.next = 0;
        self.fill(0, &mut start)?;
        Ok(Some(start))
    }

    /// Whether it begins as the primary file of a hive does.
    fn begins_as_hive(&mut self) -> Result<bool> {
        Ok(self.start::<4096>()?.is_some_and(|start| is_hive(&start)))
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
    if sides.iter().any(|side| side.blob.is_some())
        && let Some(compared) = compare_by_sha1(&mut sides, hives)?
    {
        return Ok(compared);
    }
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

/// The same where a side is a content of a WIM: that side is not unpacked to find that it is equal. `None` when the other side
/// has too many holes to have a SHA-1.
fn compare_by_sha1(sides: &mut [Source<'_>; 2], hives: bool) -> Result<Option<Compared>, SideError> {
    let [a, b] = sides;
    let at = |side: usize| move |e: Error| (side, e);
    // A disk first: it tells without unpacking.
    let mut are_hives = hives;
    for side in if a.blob.is_some() { [1, 0] } else { [0, 1] } {
        let stream = if side == 0 { &mut *a } else { &mut *b };
        are_hives = are_hives && stream.begins_as_hive().map_err(at(side))?;
    }
    if are_hives {
        return Ok(Some(Compared::Hives));
    }
    if a.size() == b.size() {
        match (a.sha1().map_err(at(0))?, b.sha1().map_err(at(1))?) {
            (Some(a), Some(b)) if a == b => return Ok(Some(Compared::Alike)),
            (Some(_), Some(_)) => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(Compared::Differ([shown_whole(a).map_err(at(0))?, shown_whole(b).map_err(at(1))?])))
}

/// Where zeros that neither side stores end, when the place at hand lies in such; both have one size.
fn common_zeros(sides: &mut [Source<'_>; 2], offset: u64) -> Option<u64> {
    let [a, b] = sides;
    let end = |side: &mut Source<'_>| side.zeros(offset).filter(|range| range.start <= offset).map(|range| range.end);
    Some(end(a)?.min(end(b)?))
}

/// Length and digest of a stream that only one side has.
pub(super) fn digest(mut source: Source<'_>) -> Result<String> {
    shown_whole(&mut source)
}

fn shown_whole(source: &mut Source<'_>) -> Result<String> {
    let known = source
        .blob
        .and_then(|(hash, Digests(known))| known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned());
    if let Some(known) = known {
        return Ok(known);
    }
    if source.unstored() > MAX_ZEROS {
        return Ok(shown(source.size(), None));
    }
    let text = shown(source.size(), Some(source.all_through::<Sha256>()?.into()));
    if let Some((hash, Digests(known))) = source.blob {
        known.lock().unwrap_or_else(PoisonError::into_inner).insert(hash, text.clone());
    }
    Ok(text)
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
