//! Making the journal, and the commit itself.

use super::format::{Header, MAX_MARKS, MAX_RECORD, Record, digest, trailer};
use super::reader::{Journal, witness};
use super::roll::{Direction, read_padded, roll};
use super::{Media, Name, SECTOR};
use reseal_dtyp::{Error, Kind, Result};
use sha2::{Digest, Sha256};

/// New content of a range of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Byte offset, a multiple of a sector.
    pub offset: u64,
    /// Bytes, whole sectors but for the end of the image.
    pub data: Vec<u8>,
}

/// What to commit.
#[derive(Debug, Clone, Copy)]
pub struct Commit<'a> {
    /// Length of the new image in bytes, not less than now.
    pub len_after: u64,
    /// Where the image is marked while it is half written: byte offsets of 8 bytes inside a sector, ascending.
    pub marks: &'a [u64],
    /// Whether what stood there before is kept, for [`super::undo`].
    pub keep_undo: bool,
}

/// What a commit wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Length of the journal in bytes; 0 when nothing had to be written.
    pub journal: u64,
    /// Bytes of the image that changed, in whole sectors.
    pub changed: u64,
}

/// Writes changes, ascending and without overlap, into the image: all or, after a crash and [`super::recover`], all or none.
///
/// An error before the journal has its name leaves the image untouched; its text says so. After that the image needs
/// [`super::recover`]: the error is then of kind `Interrupted`.
pub fn commit(
    media: &mut dyn Media,
    commit: Commit<'_>,
    changes: &mut dyn Iterator<Item = Result<Change>>,
) -> Result<Written> {
    refuse_leftovers(media)?;
    let prepared = prepare(media, commit, changes).and_then(|written| match written.changed {
        0 => media.remove(Name::Temporary).map(|()| None),
        _ => decide(media).map(|journal| Some((journal, written))),
    });
    let (journal, written) = match prepared {
        Ok(None) => return Ok(Written::default()),
        Ok(Some(decided)) => decided,
        Err(error) => return Err(withdraw(media, error)),
    };
    let finished = roll(media, &journal, Direction::Forward).and_then(|()| {
        if commit.keep_undo {
            media.rename(Name::Journal, Name::Undo)?
        } else {
            media.remove(Name::Journal)?
        }
        media.sync_folder()
    });
    match finished {
        Ok(()) => Ok(written),
        Err(e) => Err(Error::new(Kind::Interrupted, format!("the image is half written: {e}"))),
    }
}

fn refuse_leftovers(media: &dyn Media) -> Result<()> {
    for name in [Name::Journal, Name::Rollback] {
        if media.exists(name)? {
            return Err(Error::new(Kind::Interrupted, "an interrupted commit lies beside the image"));
        }
    }
    if media.exists(Name::Undo)? {
        let detail = "an undo file of an earlier run lies beside the image, and would no longer fit it";
        return Err(Error::new(Kind::Conflict, detail));
    }
    Ok(())
}

/// Writes the whole journal under its temporary name.
fn prepare(
    media: &mut dyn Media,
    commit: Commit<'_>,
    changes: &mut dyn Iterator<Item = Result<Change>>,
) -> Result<Written> {
    let len_before = media.image_len()?;
    let good = commit.marks.iter().all(|m| m % SECTOR <= SECTOR - 8 && m / SECTOR * SECTOR + SECTOR <= len_before);
    if commit.len_after < len_before || commit.marks.len() as u64 > MAX_MARKS || !commit.marks.is_sorted() || !good {
        let detail = format!("marks {:x?}, {len_before} and {} bytes", commit.marks, commit.len_after);
        return Err(Error::new(Kind::Unsupported, detail));
    }
    media.create_temporary()?;
    let header =
        Header { has_before: commit.keep_undo, marks: commit.marks.to_vec(), len_before, len_after: commit.len_after };
    let mut writer = Writer::new(media, len_before, commit.keep_undo);
    writer.append(&header.to_bytes())?;
    let mut marks = commit.marks.iter().map(|mark| mark / SECTOR * SECTOR).peekable();
    let mut old = Vec::new();
    for change in changes {
        let change = change?;
        old.resize(change.data.len(), 0);
        read_padded(&*writer.media, change.offset, &mut old, len_before)?;
        let sectors = change.data.chunks(SECTOR as usize).zip(old.chunks(SECTOR as usize));
        for (i, (new, old)) in sectors.enumerate() {
            let offset = change.offset + i as u64 * SECTOR;
            while let Some(mark) = marks.next_if(|mark| *mark < offset) {
                writer.unchanged(mark)?;
            }
            let is_marked = marks.next_if_eq(&offset).is_some();
            if new != old || is_marked {
                writer.sector(offset, old, new)?;
            }
        }
    }
    for mark in marks {
        writer.unchanged(mark)?;
    }
    writer.finish()
}

/// Gives the journal its name. From the synchronization of the folder on, the image is the new one.
fn decide(media: &mut dyn Media) -> Result<Journal> {
    media.sync_temporary()?;
    // What cannot be read back now could not be recovered from later.
    let journal = Journal::open(media, Name::Temporary)?;
    media.rename(Name::Temporary, Name::Journal)?;
    media.sync_folder()?;
    Ok(journal.renamed(Name::Journal))
}

/// Takes back a commit of which nothing reached the image.
fn withdraw(media: &mut dyn Media, error: Error) -> Error {
    let mut gone = || -> Result<()> {
        if media.exists(Name::Temporary)? {
            media.remove(Name::Temporary)?;
        }
        if media.exists(Name::Journal)? {
            media.remove(Name::Journal)?;
            // A temporary file may come back, it is worth nothing.
            media.sync_folder()?;
        }
        Ok(())
    };
    match gone() {
        Ok(()) => error.within("the image is untouched"),
        Err(e) => Error::new(Kind::Interrupted, format!("the journal could not be removed ({e}) after: {error}")),
    }
}

/// Puts sectors together to records.
struct Writer<'m> {
    media: &'m mut dyn Media,
    len_before: u64,
    hash: Sha256,
    record: Record,
    /// Room for a record as it is written.
    bytes: Vec<u8>,
    extents: Vec<(u64, u64)>,
    written: Written,
}

impl<'m> Writer<'m> {
    fn new(media: &'m mut dyn Media, len_before: u64, keep_undo: bool) -> Writer<'m> {
        Writer {
            media,
            len_before,
            hash: Sha256::new(),
            record: Record { offset: 0, digests: Vec::new(), after: Vec::new(), before: keep_undo.then(Vec::new) },
            bytes: Vec::new(),
            extents: Vec::new(),
            written: Written::default(),
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        self.written.journal += bytes.len() as u64;
        self.media.append(bytes)
    }

    /// A sector that is marked and stays as it is.
    fn unchanged(&mut self, offset: u64) -> Result<()> {
        let mut old = [0; SECTOR as usize];
        read_padded(&*self.media, offset, &mut old, self.len_before)?;
        self.sector(offset, &old, &old)
    }

    fn sector(&mut self, offset: u64, old: &[u8], new: &[u8]) -> Result<()> {
        let end = self.record.offset + self.record.after.len() as u64;
        if offset != end || self.record.after.len() as u64 >= MAX_RECORD {
            self.flush()?;
            self.record.offset = offset;
        }
        self.written.changed += if new == old { 0 } else { new.len() as u64 };
        self.record.digests.push(digest(old));
        self.record.after.extend_from_slice(new);
        if let Some(before) = &mut self.record.before {
            before.extend_from_slice(old);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.record.after.is_empty() {
            return Ok(());
        }
        self.extents.push((self.record.offset, self.record.after.len() as u64));
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.record.put(&mut bytes);
        self.append(&bytes)?;
        self.bytes = bytes;
        self.record.digests.clear();
        self.record.after.clear();
        if let Some(before) = &mut self.record.before {
            before.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Written> {
        self.flush()?;
        for &(offset, len) in &self.extents {
            self.media.reserve_image(offset, len)?;
        }
        let witness = witness(&*self.media, self.len_before, &self.extents)?;
        let trailer = trailer(witness, self.hash.clone());
        self.written.journal += trailer.len() as u64;
        self.media.append(&trailer)?;
        Ok(self.written)
    }
}
