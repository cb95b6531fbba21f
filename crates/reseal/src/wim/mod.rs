//! WIM files: which image is meant, what the XML data says of each, and whether all of it is sound.

mod apply;
mod applying;
mod capture;
mod change;
mod commit;
mod description;
mod edit;
mod faults;
mod guard;
mod images;
mod optimize;
mod output;
mod seal;
mod split;
mod tree;

use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{Observer, ShownFinding};
use crate::unattend::xml::Element;
use description::Description;
use rayon::prelude::*;
use reseal_dtyp::{Finding, Level};
use reseal_wim::Wim;
use serde::Serialize;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use apply::{ApplyOptions, ApplyPlanned, ApplyReport, wim_apply};
pub use applying::Applied;
pub(crate) use capture::NEVER_CAPTURED;
pub use capture::{CaptureOptions, wim_capture};
pub(crate) use change::WimEdit;
pub(crate) use commit::WimCommit;
pub(crate) use guard::Allowed;
pub(crate) use images::WimImages;
pub use optimize::{WimResult, wim_export, wim_optimize};
pub(crate) use seal::WimPlanned;
pub use split::{WimPart, WimSplit, wim_split};
pub(crate) use tree::WimTree;

/// A WIM file, for reading.
#[derive(Debug)]
pub struct WimFile {
    path: PathBuf,
    wim: Arc<Wim>,
    images: Vec<WimImageInfo>,
}

/// What a WIM says of itself.
#[derive(Debug, Clone, Serialize)]
pub struct WimInfo {
    /// Version of this document.
    pub schema: &'static str,
    /// The file.
    pub file: String,
    /// Its length in bytes; of a split WIM, that of all parts.
    pub bytes: u64,
    /// How many files it is, 1 unless it is split.
    pub parts: usize,
    /// none, XPRESS, LZX or LZMS.
    pub compression: &'static str,
    /// Size of a chunk in bytes; 0 when nothing is compressed.
    pub chunk_bytes: u32,
    /// Whether contents are packed together, as in an ESD file.
    pub solid: bool,
    /// Whether it is marked as not to be changed.
    pub read_only: bool,
    /// Its id.
    pub guid: String,
    /// The image that a start from the network loads.
    pub boot_image: Option<u32>,
    /// How many contents it holds.
    pub blobs: usize,
    /// Bytes that all contents unpack to.
    pub unpacked_bytes: u64,
    /// Its images.
    pub images: Vec<WimImageInfo>,
}

/// What the XML data says of an image; nothing of it is checked by anybody.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WimImageInfo {
    /// Its number, as `install.wim:N` takes it.
    pub index: u32,
    /// Its name, as `install.wim:NAME` takes it.
    pub name: Option<String>,
    /// Its description.
    pub description: Option<String>,
    /// Edition, such as Professional.
    pub edition: Option<String>,
    /// amd64, arm64 or x86.
    pub architecture: Option<String>,
    /// Such as 10.0.19041.1.
    pub version: Option<String>,
    /// Files.
    pub files: Option<u64>,
    /// Folders.
    pub folders: Option<u64>,
    /// Bytes of all files.
    pub bytes: Option<u64>,
}

/// Whether a file begins as a WIM does.
fn is_wim(path: &Path) -> bool {
    let mut start = [0; 8];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && Wim::is_one(&start)
}

/// Splits `install.wim:2`. `None` when the text names no WIM; an existing path wins over a selector.
pub(crate) fn selector(text: &str) -> Option<(PathBuf, Option<&str>)> {
    if is_wim(Path::new(text)) {
        return Some((PathBuf::from(text), None));
    }
    let (path, image) = text.rsplit_once(':').filter(|_| !Path::new(text).exists())?;
    is_wim(Path::new(path)).then(|| (PathBuf::from(path), Some(image)))
}

impl WimFile {
    /// Opens a WIM; of one that is split, the first part, with the others beside it. `Unsupported` for one that is made for pipes
    /// or being written.
    pub fn open(path: &Path) -> Result<WimFile> {
        let run = || -> Result<WimFile> { WimFile::of(path, Arc::new(split::open(path)?)) };
        run().within(path.display())
    }

    fn of(path: &Path, wim: Arc<Wim>) -> Result<WimFile> {
        let images = describe(&wim)?;
        Ok(WimFile { path: path.to_owned(), wim, images })
    }

    /// Opens the image that `install.wim:2` or `install.wim:NAME` means; the only one when nothing is said. `None` when the text
    /// names no WIM.
    pub(crate) fn tree(text: &str) -> Option<Result<WimTree>> {
        let (path, wanted) = selector(text)?;
        let run = || -> Result<WimTree> {
            let file = WimFile::open(&path)?;
            let index = file.index(wanted).within(path.display())?;
            WimTree::open(Arc::clone(&file.wim), index).within(path.display())
        };
        Some(run())
    }

    /// Numbers of all images.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.images.iter().map(|info| info.index).collect()
    }

    fn index(&self, wanted: Option<&str>) -> Result<u32> {
        let has_name =
            |info: &&WimImageInfo, name: &str| info.name.as_deref().is_some_and(|n| n.eq_ignore_ascii_case(name));
        let found = match wanted {
            None if self.images.len() == 1 => Some(1),
            None => None,
            // A number is a number, whatever images are called.
            Some(text) => match text.parse::<u32>() {
                Ok(number) => self.images.iter().find(|info| info.index == number),
                Err(_) => self.images.iter().find(|info| has_name(info, text)),
            }
            .map(|info| info.index),
        };
        found.ok_or_else(|| {
            let what = match wanted {
                None => format!("which of the {} images is meant?", self.images.len()),
                Some(text) => format!("there is no image {text}"),
            };
            let names = self.images.iter().map(|i| format!("{}:{}", i.index, i.name.as_deref().unwrap_or("-")));
            let names = names.collect::<Vec<_>>().join(", ");
            Error::new(Kind::NotFound, what).hint(format!("name one as in install.wim:1; there are: {names}"))
        })
    }

    /// What it says of itself.
    pub fn info(&self) -> WimInfo {
        let header = self.wim.header();
        WimInfo {
            schema: "reseal.wim-info/1",
            file: self.path.display().to_string(),
            bytes: self.wim.file_len(),
            parts: self.wim.parts(),
            compression: header.compression.name(),
            chunk_bytes: header.chunk,
            solid: self.wim.has_solid(),
            read_only: header.is_read_only(),
            guid: header.guid.to_string(),
            boot_image: (header.boot_image > 0).then_some(header.boot_image),
            blobs: self.wim.blobs().len(),
            unpacked_bytes: self.wim.blobs().iter().map(|blob| blob.size).fold(0, u64::saturating_add),
            images: self.images.clone(),
        }
    }

    /// Reads everything: the integrity table, the metadata of each image, every content against its SHA-1, and whether each file
    /// finds its content.
    pub fn verify(&self, observer: &dyn Observer) -> Result<Vec<ShownFinding>> {
        let place = self.path.display().to_string();
        let mut out = Vec::new();
        let damage = |id, place: &str, detail: String| Finding::new(Level::Damage, id, place, detail);
        observer.phase("integrity");
        match self.wim.check_integrity() {
            Ok(wrong) => out.extend(wrong.into_iter().flatten().map(|range| {
                damage(
                    "wim-integrity",
                    &place,
                    format!("bytes {:#x} to {:#x} are not what the integrity table says", range.start, range.end),
                )
            })),
            Err(e) => out.push(damaged(e, "wim-integrity", &place)?),
        }
        observer.phase("images");
        for info in &self.images {
            let image = format!("{place}:{}", info.index);
            match WimTree::open(Arc::clone(&self.wim), info.index) {
                Ok(tree) => out.extend(tree.missing_contents(&image)),
                Err(e) => out.push(damaged(e, "wim-metadata", &image)?),
            }
        }
        // One after the other: each is unpacked in parallel.
        let (large, small): (Vec<_>, Vec<_>) = self.wim.blobs().iter().partition(|blob| blob.size > 1 << 20);
        observer.phase("contents");
        let total = self.wim.blobs().iter().map(|blob| blob.size).fold(0, u64::saturating_add);
        let done = AtomicU64::new(0);
        let check = |blob: &reseal_wim::Blob| {
            let wrong = self.wim.read_in_parts(blob, &mut |_| Ok(())).err();
            observer.bytes(done.fetch_add(blob.size, Ordering::Relaxed).saturating_add(blob.size).min(total), total);
            wrong
        };
        let wrong: Vec<_> = large.into_iter().filter_map(check).collect();
        let wrong = wrong.into_iter().chain(small.into_par_iter().filter_map(check).collect::<Vec<_>>());
        for error in wrong {
            out.push(damaged(error, "wim-blob", &place)?);
        }
        Ok(crate::staging::shown(out))
    }
}

/// An error as a finding, unless it is the host's.
fn damaged(error: reseal_dtyp::Error, id: &'static str, place: &str) -> Result<Finding> {
    match error.kind() {
        reseal_dtyp::Kind::Io => Err(error.into()),
        _ => Ok(Finding::new(Level::Damage, id, place, error.to_string())),
    }
}

/// What the XML data says; of an image that it does not know, the number.
fn describe(wim: &Wim) -> Result<Vec<WimImageInfo>> {
    let root = Description::read(&wim.xml()?).root()?;
    Ok((1..=wim.header().images).map(|index| describe_one(index, description::image(&root, index))).collect())
}

fn describe_one(index: u32, image: Option<&Element>) -> WimImageInfo {
    let Some(image) = image else { return WimImageInfo { index, ..WimImageInfo::default() } };
    let text = |path: &[&str]| image.at(path).map(|e| e.text.trim().to_owned()).filter(|text| !text.is_empty());
    let number = |path: &[&str]| text(path)?.parse().ok();
    let architecture = text(&["WINDOWS", "ARCH"]).map(|code| match code.as_str() {
        "0" => "x86".to_owned(),
        "9" => "amd64".to_owned(),
        "12" => "arm64".to_owned(),
        _ => code,
    });
    let parts = ["MAJOR", "MINOR", "BUILD", "SPBUILD"].map(|part| text(&["WINDOWS", "VERSION", part]));
    let version = parts[0].is_some().then(|| parts.into_iter().flatten().collect::<Vec<_>>().join("."));
    WimImageInfo {
        index,
        name: text(&["NAME"]),
        description: text(&["DESCRIPTION"]),
        edition: text(&["WINDOWS", "EDITIONID"]),
        architecture,
        version,
        files: number(&["FILECOUNT"]),
        folders: number(&["DIRCOUNT"]),
        bytes: number(&["TOTALBYTES"]),
    }
}
