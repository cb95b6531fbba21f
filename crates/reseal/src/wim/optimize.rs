//! Writing a WIM anew: without what belongs to nothing, or with some of its images.

use super::WimFile;
use super::commit::WimCommit;
use super::images::WimImages;
use crate::error::{Error, Kind, Result};
use crate::generalize::Observer;
use crate::inputs::digest;
use reseal_dtyp::{FileTime, Guid};
use reseal_wim::Storage;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What became of a WIM that was written anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WimResult {
    /// Version of this document.
    pub schema: &'static str,
    /// The file that was written.
    pub output: PathBuf,
    /// Length of the old file in bytes.
    pub bytes_before: u64,
    /// Length of the new one.
    pub bytes: u64,
    /// Bytes of the old file that belonged to nothing.
    pub unused_bytes: u64,
}

/// Writes a WIM without what belongs to nothing: to `out`, or in its own place, where it is the old file until the last act, a
/// rename. Contents stay as they are stored. `None` when nothing would be gained.
pub fn wim_optimize(file: &Path, out: Option<&Path>, observer: &dyn Observer) -> Result<Option<WimResult>> {
    let file = WimFile::open(file)?;
    if out.is_none() && file.wim.parts() > 1 {
        let what = "the WIM is split: one file cannot take the place of all its parts";
        return Err(Error::new(Kind::Unsupported, what)
            .hint("write a new one with `-o`")
            .subject(file.path.display().to_string()));
    }
    if out.is_none() && file.wim.holes().is_empty() {
        return Ok(None);
    }
    write(file, None, out, observer).map(Some)
}

/// Writes a new WIM with the images that `install.wim:2`, `install.wim:NAME` or `install.wim:all` means.
pub fn wim_export(image: &str, out: &Path, observer: &dyn Observer) -> Result<WimResult> {
    let images = WimImages::open(image).unwrap_or_else(|| {
        Err(Error::new(Kind::Unsupported, "this is no WIM file")
            .hint("name an image as in install.wim:2")
            .subject(image))
    })?;
    let kept = images.meant()?;
    write(images.file, Some(kept), Some(out), observer)
}

fn write(file: WimFile, kept: Option<Vec<u32>>, out: Option<&Path>, observer: &dyn Observer) -> Result<WimResult> {
    let kept = kept.unwrap_or_else(|| file.numbers());
    let (path, bytes_before) = (file.path.clone(), file.wim.file_len());
    let unused_bytes = file.wim.holes().iter().map(|hole| hole.end - hole.start).sum();
    let old = file.wim.header().guid;
    // The same images are the same WIM; some of them are another one, whose id follows from which.
    let guid = if kept == file.numbers() { old } else { guid_of(old, &kept) };
    let commit = WimCommit {
        images: WimImages::of(file),
        kept,
        changed: Vec::new(),
        storage: Storage::Compressed,
        guid,
        now: FileTime(0),
    };
    let bytes = match out {
        Some(out) => commit.write_to(out, observer)?,
        None => commit.replace(observer)?,
    };
    let output = out.map_or(path, Path::to_owned);
    Ok(WimResult { schema: "reseal.wim-result/1", output, bytes_before, bytes, unused_bytes })
}

fn guid_of(old: Guid, kept: &[u32]) -> Guid {
    let text =
        digest(&[&old.0[..], &kept.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()].concat());
    crate::Inputs::seeded(&text, FileTime(0)).stream(&[b"wim-export"]).guid()
}
