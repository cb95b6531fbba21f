//! After a crash: the interrupted commit is finished, or what was never decided is thrown away.

use super::reader::Journal;
use super::roll::{Direction, is_new, roll};
use super::{Media, Name};
use reseal_dtyp::{Error, Kind, Result};

/// What a recovery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing lay beside the image.
    Nothing,
    /// A journal that was never complete was removed; the image is the old one.
    Discarded,
    /// The image is the new one.
    Finished,
    /// The image is the old one again.
    Undone,
}

/// Finishes what was interrupted. `Conflict`, with nothing written, when the image was changed since; `Damaged` for a journal
/// that is not whole. After an I/O error it can be called again.
pub fn recover(media: &mut dyn Media) -> Result<Recovered> {
    if media.exists(Name::Rollback)? {
        let journal = Journal::open(media, Name::Rollback)?;
        is_new(media, &journal)?;
        return take_back(media, &journal);
    }
    if media.exists(Name::Journal)? {
        let journal = Journal::open(media, Name::Journal)?;
        is_new(media, &journal)?;
        roll(media, &journal, Direction::Forward)?;
        // Whoever asked for an undo still gets it.
        if journal.header.has_before {
            media.rename(Name::Journal, Name::Undo)?;
        } else {
            media.remove(Name::Journal)?;
        }
        media.sync_folder()?;
        return Ok(Recovered::Finished);
    }
    if media.exists(Name::Temporary)? {
        media.remove(Name::Temporary)?;
        media.sync_folder()?;
        return Ok(Recovered::Discarded);
    }
    Ok(Recovered::Nothing)
}

/// Gives back the image as it was before the last commit that kept an undo. `NotFound` without one, `Interrupted` when a
/// commit has to be recovered first, `Conflict` when the image was changed since.
pub fn undo(media: &mut dyn Media) -> Result<Recovered> {
    if media.exists(Name::Rollback)? {
        return recover(media);
    }
    if media.exists(Name::Journal)? {
        return Err(Error::new(Kind::Interrupted, "an interrupted commit lies beside the image"));
    }
    if !media.exists(Name::Undo)? {
        return Err(Error::not_found("no undo file lies beside the image"));
    }
    let journal = Journal::open(media, Name::Undo)?;
    if !journal.header.has_before {
        return Err(Error::damaged("journal", "flags", 8, "the undo file does not hold what stood there before"));
    }
    if !is_new(media, &journal)? {
        return Err(Error::new(Kind::Conflict, "the image is not as the commit left it: it was changed since"));
    }
    media.rename(Name::Undo, Name::Rollback)?;
    media.sync_folder()?;
    take_back(media, &journal.renamed(Name::Rollback))
}

fn take_back(media: &mut dyn Media, journal: &Journal) -> Result<Recovered> {
    roll(media, journal, Direction::Back)?;
    media.remove(Name::Rollback)?;
    media.sync_folder()?;
    Ok(Recovered::Undone)
}
