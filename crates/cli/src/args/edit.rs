//! How a change of an image is planned, where it goes and how it is told; the same for every verb that changes one.

use super::ProgressMode;
use anyhow::Context;
use clap::Args;
use reseal::{FileTime, Image, InPlace};
use std::path::PathBuf;

/// A planned change.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// The new image; it must not exist.
    #[arg(short, long, value_name = "OUT", required_unless_present_any = ["dry_run", "in_place"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the image itself, with a journal beside it: after a crash it is the old one or the new one. A WIM is appended to;
    /// the files of a mounted folder are changed one by one, and `reseal recover` puts them back.
    #[arg(long, conflicts_with = "output")]
    in_place: bool,
    /// Folder for the journal, on a medium that keeps it; a block device needs one.
    #[arg(long, value_name = "DIR", requires = "in_place")]
    journal: Option<PathBuf>,
    /// Keep what stood there before beside the image, for `reseal recover --undo`.
    #[arg(long, requires = "in_place")]
    keep_undo: bool,
    /// Show the plan and write nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Go on although this guard refuses, such as dirty-volume; repeatable.
    #[arg(long, value_name = "GUARD", value_delimiter = ',')]
    pub(crate) allow: Vec<String>,
    /// Which installation, from 1, where the image has several.
    #[arg(long, value_name = "N")]
    pub(crate) installation: Option<usize>,
    /// The time that counts as now: seconds since 1970 or 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME", env = "SOURCE_DATE_EPOCH")]
    time: Option<String>,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Progress on stderr.
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE")]
    pub(crate) progress: ProgressMode,
}

impl Edit {
    /// Opens the image for what is asked for.
    pub(crate) fn open(&self, image: &str) -> reseal::Result<Image> {
        if self.in_place && !self.dry_run {
            return Image::open_for_writing(image);
        }
        let opened = Image::open(image)?;
        if self.in_place {
            // A dry run refuses what the run would refuse.
            opened.refuse_parent()?;
        }
        Ok(opened)
    }

    /// How to write the image itself.
    pub(crate) fn how(&self) -> InPlace<'_> {
        InPlace { journal_folder: self.journal.as_deref(), keep_undo: self.keep_undo }
    }

    /// The time that counts as now.
    pub(crate) fn now(&self) -> anyhow::Result<FileTime> {
        now(self.time.as_deref())
    }
}

/// The time that counts as now: what was given, else the host's clock.
pub(crate) fn now(given: Option<&str>) -> anyhow::Result<FileTime> {
    match given {
        Some(text) => FileTime::parse(text)
            .with_context(|| format!("`{text}` is no time: give seconds since 1970 or 2026-01-01T00:00:00Z")),
        None => {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Ok(FileTime::from_unix(since.as_secs() as i64))
        }
    }
}
