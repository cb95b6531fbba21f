//! Where a changed image goes; the same for every verb that changes one.

use clap::Args;
use reseal::{Image, InPlace};
use std::path::PathBuf;

/// A new image, the old one, or nowhere.
#[derive(Debug, Args)]
pub(crate) struct WriteTo {
    /// The new image; it must not exist.
    #[arg(short, long, value_name = "OUT", required_unless_present_any = ["dry_run", "in_place"])]
    pub(crate) output: Option<PathBuf>,
    /// Write the image itself, with a journal beside it: after a crash it is the old one or the new one.
    #[arg(long, conflicts_with = "output")]
    pub(crate) in_place: bool,
    /// Folder for the journal, on a medium that keeps it; a block device needs one.
    #[arg(long, value_name = "DIR", requires = "in_place")]
    pub(crate) journal: Option<PathBuf>,
    /// Keep what stood there before beside the image, for `reseal recover --undo`.
    #[arg(long, requires = "in_place")]
    pub(crate) keep_undo: bool,
    /// Show the plan and write nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

impl WriteTo {
    /// Opens the image for what is asked for.
    pub(crate) fn open(&self, image: &str) -> reseal::Result<Image> {
        if self.in_place && !self.dry_run { Image::open_for_writing(image) } else { Image::open(image) }
    }

    /// How to write the image itself.
    pub(crate) fn how(&self) -> InPlace<'_> {
        InPlace { journal_folder: self.journal.as_deref(), keep_undo: self.keep_undo }
    }
}
