//! A journal that is there: checked from the first byte to the last before a single one of it is believed.

use super::format::{HEADER, Header, RECORD, RecordHead, RecordView, TRAILER, WITNESS, bad, record_head, trailer};
use super::roll::read_padded;
use super::{Media, Name, SECTOR};
use reseal_dtyp::Result;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// Bytes that are read at once.
const STEP: u64 = 1 << 20;

/// A whole journal.
#[derive(Debug)]
pub(super) struct Journal {
    name: Name,
    pub(super) header: Header,
    pub(super) witness: [u8; 32],
    /// Ascending, without overlap.
    pub(super) extents: Vec<Extent>,
}

/// Where a record lies, in the image and in the journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Where its digests begin in the journal, and the bytes from there to its end.
    at: u64,
    body: u64,
    is_zero: bool,
}

impl Journal {
    /// Opens and checks a journal. `Damaged` when it is not whole.
    pub(super) fn open(media: &dyn Media, name: Name) -> Result<Journal> {
        let len = media.file_len(name)?;
        let header = Header::read(len, |at, buf| media.read_file(name, at, buf))?;
        let witness = check_trailer(media, name, len)?;
        let end = len - TRAILER;
        let mut extents: Vec<Extent> = Vec::new();
        let mut at = header.start();
        while at < end {
            let mut head = [0; RECORD as usize];
            if end - at < RECORD {
                return Err(bad("record", at, "it is cut off"));
            }
            media.read_file(name, at, &mut head)?;
            let RecordHead { offset, len, is_zero, body } = record_head(&head, at, &header)?;
            let free_from = extents.last().map_or(0, |last| last.offset + last.len);
            if offset < free_from || body > end - at - RECORD {
                return Err(bad(
                    "record",
                    at,
                    format!("{len} bytes at {offset:#x}; the last one ends at {free_from:#x}"),
                ));
            }
            at += RECORD;
            extents.push(Extent { offset, len, at, body, is_zero });
            at += body;
        }
        let journal = Journal { name, header, witness, extents };
        match journal.header.marks.iter().find(|mark| !journal.holds(**mark)) {
            Some(mark) => Err(bad("marks", HEADER, format!("no record holds the sector of the mark at {mark:#x}"))),
            None => Ok(journal),
        }
    }

    /// The same journal under another name.
    pub(super) fn renamed(self, name: Name) -> Journal {
        Journal { name, ..self }
    }

    /// Whether a record holds the sector around an offset.
    fn holds(&self, offset: u64) -> bool {
        let sector = offset / SECTOR * SECTOR;
        let next = self.extents.partition_point(|e| e.offset <= sector);
        next.checked_sub(1).is_some_and(|i| sector < self.extents[i].offset + self.extents[i].len)
    }

    /// Reads a record into `body`.
    pub(super) fn record<'a>(
        &self,
        media: &dyn Media,
        extent: Extent,
        body: &'a mut Vec<u8>,
    ) -> Result<RecordView<'a>> {
        // At most 2 MiB and the digests: the head was checked.
        body.resize(extent.body as usize, 0);
        media.read_file(self.name, extent.at, body)?;
        let (digests, rest) = body.split_at(8 * extent.len.div_ceil(SECTOR) as usize);
        let len = extent.len as usize;
        let (after, before) = if extent.is_zero { (vec![0; len].into(), rest) } else { split(rest, len) };
        let (digests, _) = digests.as_chunks();
        Ok(RecordView { digests, after, before: self.header.has_before.then_some(before) })
    }
}

fn split(bytes: &[u8], len: usize) -> (Cow<'_, [u8]>, &[u8]) {
    let (first, rest) = bytes.split_at(len);
    (first.into(), rest)
}

/// Compares the trailer with all that precedes it; gives the witness.
fn check_trailer(media: &dyn Media, name: Name, len: u64) -> Result<[u8; 32]> {
    let (mut hash, mut at, end) = (Sha256::new(), 0, len - TRAILER);
    let mut buffer = vec![0; STEP.min(end) as usize];
    while at < end {
        let part = &mut buffer[..STEP.min(end - at) as usize];
        media.read_file(name, at, part)?;
        hash.update(&part);
        at += part.len() as u64;
    }
    let mut found = [0; TRAILER as usize];
    media.read_file(name, end, &mut found)?;
    let mut witness = [0; 32];
    witness.copy_from_slice(&found[8..40]);
    if found != trailer(witness, hash) {
        return Err(bad("trailer", end, "it does not agree with the bytes before it"));
    }
    Ok(witness)
}

/// Digest of the first and the last 64 KiB of the image as it was, without the sectors that change: what tells it from
/// another image of the same name.
pub(super) fn witness(media: &dyn Media, len: u64, extents: &[(u64, u64)]) -> Result<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update(len.to_le_bytes());
    for start in [0, len.saturating_sub(WITNESS)] {
        let mut bytes = vec![0; WITNESS.min(len - start) as usize];
        read_padded(media, start, &mut bytes, media.image_len()?)?;
        let end = start + bytes.len() as u64;
        for &(offset, n) in extents {
            let (from, to) = (offset.max(start), (offset + n).min(end));
            if from < to {
                bytes[(from - start) as usize..(to - start) as usize].fill(0);
            }
        }
        hash.update(&bytes);
    }
    Ok(hash.finalize().into())
}
