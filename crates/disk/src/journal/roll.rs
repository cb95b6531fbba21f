//! Writing a checked journal into the image, in either direction. Doing it again does no harm.

use super::format::{RecordView, digest};
use super::reader::{Extent, Journal, witness};
use super::{MARK, Media, SECTOR};
use reseal_dtyp::{Error, Kind, Result};

/// Which of the two images is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    Back,
}

/// Compares every sector of the journal with the image; whether all are as they will be. `Conflict`, with the first place,
/// when one is neither that nor as it was: the image went on to live.
pub(super) fn is_new(media: &dyn Media, journal: &Journal) -> Result<bool> {
    let len = media.image_len()?;
    let header = &journal.header;
    if len != header.len_before && len != header.len_after {
        return Err(foreign(format!(
            "the image has {len} bytes; it had {} and will have {}",
            header.len_before, header.len_after
        )));
    }
    let ranges: Vec<(u64, u64)> = journal.extents.iter().map(|e| (e.offset, e.len)).collect();
    if witness(media, header.len_before, &ranges)? != journal.witness {
        return Err(foreign("its first and last 64 KiB are not those of the image that was to be written".into()));
    }
    let mut all_new = len == header.len_after;
    let (mut body, mut now) = (Vec::new(), Vec::new());
    for &extent in &journal.extents {
        let record = journal.record(media, extent, &mut body)?;
        now.resize(extent.len as usize, 0);
        read_padded(media, extent.offset, &mut now, len)?;
        for (i, (sector, wanted)) in chunks(&now).zip(chunks(&record.after)).enumerate() {
            let offset = extent.offset + i as u64 * SECTOR;
            let mark = header.marks.iter().find(|mark| **mark / SECTOR * SECTOR == offset);
            let sector =
                mark.map_or_else(|| sector.to_vec(), |mark| unmarked(sector, wanted, (mark % SECTOR) as usize));
            let new = sector == wanted;
            if !new && digest(&sector) != record.digests[i] {
                return Err(foreign(format!("the sector at {offset:#x} is neither as it was nor as it will be")));
            }
            all_new &= new;
        }
    }
    Ok(all_new)
}

fn foreign(detail: String) -> Error {
    let text = format!("the image was changed since the commit was interrupted (was it booted?): {detail}");
    Error::new(Kind::Conflict, text)
}

/// The sector without the mark; the marked bytes are the same before and after.
fn unmarked(sector: &[u8], wanted: &[u8], at: usize) -> Vec<u8> {
    let mut out = sector.to_vec();
    if out.get(at..at + MARK.len()) == Some(&MARK[..]) {
        out[at..at + MARK.len()].copy_from_slice(&wanted[at..at + MARK.len()]);
    }
    out
}

fn chunks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.chunks(SECTOR as usize)
}

/// Reads from the image; what lies behind its end is zero.
pub(super) fn read_padded(media: &dyn Media, offset: u64, out: &mut [u8], image_len: u64) -> Result<()> {
    let there = image_len.saturating_sub(offset).min(out.len() as u64) as usize;
    let (inside, behind) = out.split_at_mut(there);
    behind.fill(0);
    if there > 0 {
        media.read_image(offset, inside)?;
    }
    Ok(())
}

/// Writes the image in one direction: marks, content, read back, marks off; each made durable before the next.
pub(super) fn roll(media: &mut dyn Media, journal: &Journal, direction: Direction) -> Result<()> {
    let header = &journal.header;
    let wanted_len = if direction == Direction::Forward { header.len_after } else { header.len_before };
    for &mark in &header.marks {
        let mut sector = sector_of(media, mark)?;
        let at = (mark % SECTOR) as usize;
        sector[at..at + MARK.len()].copy_from_slice(&MARK);
        media.write_image(mark / SECTOR * SECTOR, &sector)?;
    }
    media.sync_image()?;
    if media.image_len()? != wanted_len {
        media.set_image_len(wanted_len)?;
    }
    each_piece(media, journal, direction, false, |media, offset, bytes| media.write_image(offset, bytes))?;
    media.sync_image()?;
    let mut back = Vec::new();
    each_piece(media, journal, direction, false, |media, offset, bytes| {
        back.resize(bytes.len(), 0);
        media.read_image(offset, &mut back)?;
        if back == bytes {
            return Ok(());
        }
        Err(Error::new(Kind::Io, format!("what was written to the image at {offset:#x} reads back differently")))
    })?;
    if !header.marks.is_empty() {
        each_piece(media, journal, direction, true, |media, offset, bytes| media.write_image(offset, bytes))?;
        media.sync_image()?;
    }
    Ok(())
}

fn sector_of(media: &dyn Media, offset: u64) -> Result<Vec<u8>> {
    let len = media.image_len()?;
    let start = offset / SECTOR * SECTOR;
    let mut sector = vec![0; SECTOR.min(len.saturating_sub(start)) as usize];
    media.read_image(start, &mut sector)?;
    if sector.len() < (offset % SECTOR) as usize + MARK.len() {
        return Err(Error::damaged("journal", "marks", offset, format!("the image has {len} bytes")));
    }
    Ok(sector)
}

/// Calls `act` with every range that is to be written and its content: the marked sectors, or all others.
fn each_piece(
    media: &mut dyn Media,
    journal: &Journal,
    direction: Direction,
    marked: bool,
    mut act: impl FnMut(&mut dyn Media, u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut body = Vec::new();
    for &extent in &journal.extents {
        let record = journal.record(media, extent, &mut body)?;
        let content = content(extent, &record, direction, journal.header.len_before)?;
        for (offset, range) in pieces(extent, content.len(), &journal.header.marks, marked) {
            act(media, offset, &content[range])?;
        }
    }
    Ok(())
}

/// What a record wants to stand in the image; backwards, what lies behind the old end is nothing.
fn content<'a>(extent: Extent, record: &'a RecordView<'_>, direction: Direction, len_before: u64) -> Result<&'a [u8]> {
    if direction == Direction::Forward {
        return Ok(&record.after);
    }
    let before = record.before.ok_or_else(|| {
        Error::new(Kind::NotFound, "the journal does not hold what stood there before; it was made without an undo")
    })?;
    Ok(&before[..len_before.saturating_sub(extent.offset).min(before.len() as u64) as usize])
}

/// The parts of a record of `len` bytes: its marked sectors, or what lies between them.
fn pieces(extent: Extent, len: usize, marks: &[u64], marked: bool) -> Vec<(u64, std::ops::Range<usize>)> {
    let end = extent.offset + len as u64;
    let (mut out, mut at) = (Vec::new(), extent.offset);
    let mut add = |from: u64, to: u64| {
        if from < to {
            out.push((from, (from - extent.offset) as usize..(to - extent.offset) as usize));
        }
    };
    for sector in marks.iter().map(|mark| mark / SECTOR * SECTOR).filter(|s| (extent.offset..end).contains(s)) {
        let next = (sector + SECTOR).min(end);
        if marked {
            add(sector, next);
        } else {
            add(at, sector);
        }
        at = next;
    }
    if !marked {
        add(at, end);
    }
    out
}
