//! After an interrupted commit in place, and back to the image before a finished one.

use crate::error::{Error, Kind, Result, Within};
use crate::image::DiskImage;
use reseal_disk::HostMedia;
use reseal_disk::journal::{self, Recovered};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to recover.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovery<'a> {
    /// The folder of the journal, when it does not lie beside the image.
    pub journal_folder: Option<&'a Path>,
    /// Go back to the image before the last commit, which kept an undo.
    pub undo: bool,
}

/// What a recovery did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveryReport {
    /// Version of this document.
    pub schema: &'static str,
    /// The image.
    pub image: PathBuf,
    /// `finished`: it is the new image. `discarded`: it is the old one, nothing had been decided. `undone`: it is the old one
    /// again.
    pub outcome: &'static str,
}

/// Finishes or discards what a killed [`crate::Planned::commit_in_place`] left, or takes a finished one back.
///
/// `NothingToDo` when nothing lies beside the image; `Conflict`, with nothing written, when the image was changed since;
/// A mounted folder is always taken back. `Interrupted` when the image is half written and its journal is not there.
pub fn recover(image: &str, how: Recovery<'_>) -> Result<RecoveryReport> {
    if Path::new(image).is_dir() {
        return crate::folder::recover(image, how);
    }
    let path = DiskImage::path_in(image)?;
    let run = || -> Result<Recovered> {
        let mut media = HostMedia::open(&path, how.journal_folder.or_else(|| device_default(&path)))?;
        let done = if how.undo { journal::undo(&mut media) } else { journal::recover(&mut media) };
        done.map_err(|e| advise(e.into()))
    };
    let outcome = match run().within(path.display())? {
        Recovered::Finished => "finished",
        Recovered::Discarded => "discarded",
        Recovered::Undone => "undone",
        Recovered::Nothing => {
            // Says so when the image is half written and the journal is elsewhere.
            DiskImage::open(image)?;
            return Err(Error::new(Kind::NothingToDo, "no interrupted commit lies beside the image").subject(image));
        }
    };
    Ok(RecoveryReport { schema: "reseal.recovery/1", image: path, outcome })
}

/// Without a folder a block device can still be asked whether it is marked: its own folder has no journal.
fn device_default(path: &Path) -> Option<&Path> {
    let is_file = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if is_file { None } else { path.parent() }
}

fn advise(error: Error) -> Error {
    match error.kind() {
        Kind::Conflict => error.hint(
            "nothing was written: restore the image from a copy, or, if you want it as it is now, remove the journal beside it",
        ),
        Kind::Damaged => error.hint("nothing was written: the journal cannot be trusted; restore the image from a copy"),
        _ => error,
    }
}
