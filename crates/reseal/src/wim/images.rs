//! The images of a WIM that a user means: `install.wim:2`, `install.wim:NAME`, `install.wim:all`.

use super::{WimFile, selector};
use crate::error::{Error, Kind, Result, Within};
use reseal_disk::{HostMedia, open_file_for_writing};
use reseal_wim::Wim;
use std::path::Path;
use std::sync::Arc;

/// A WIM, and which of its images are meant.
#[derive(Debug)]
pub(crate) struct WimImages {
    pub(crate) file: WimFile,
    /// What the user wrote behind the colon.
    wanted: Option<String>,
    /// The file, locked for writing.
    pub(super) media: Option<HostMedia>,
}

impl WimImages {
    /// Opens what `install.wim:2` means. `None` when the text names no WIM.
    pub(crate) fn open(text: &str) -> Option<Result<WimImages>> {
        let (path, wanted) = selector(text)?;
        let wanted = wanted.map(str::to_owned);
        Some(WimFile::open(&path).map(|file| WimImages { file, wanted, media: None }))
    }

    /// The same, to be written; nobody else may use the file meanwhile.
    pub(crate) fn open_for_writing(text: &str) -> Option<Result<WimImages>> {
        let (path, wanted) = selector(text)?;
        let wanted = wanted.map(str::to_owned);
        let run = || -> Result<WimImages> {
            let (store, media) = open_file_for_writing(&path)?;
            let file = WimFile::of(&path, Arc::new(Wim::open(store)?))?;
            Ok(WimImages { file, wanted, media: Some(media) })
        };
        Some(run().within(path.display()))
    }

    /// All images of a WIM.
    pub(super) fn of(file: WimFile) -> WimImages {
        WimImages { file, wanted: Some("all".to_owned()), media: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.file.path
    }

    pub(crate) fn wim(&self) -> &Arc<Wim> {
        &self.file.wim
    }

    /// Numbers of the images that are meant, ascending: the only one when nothing is said.
    pub(crate) fn meant(&self) -> Result<Vec<u32>> {
        match self.wanted.as_deref() {
            Some(text) if text.eq_ignore_ascii_case("all") => Ok(self.file.numbers()),
            _ => Ok(vec![self.one()?]),
        }
    }

    /// The one image that is meant.
    pub(crate) fn one(&self) -> Result<u32> {
        self.file.index(self.wanted.as_deref())
    }

    /// The same for verbs that only look: all images when nothing is said.
    pub(crate) fn looked_at(&self) -> Result<Vec<u32>> {
        if self.wanted.is_none() { Ok(self.file.numbers()) } else { self.meant() }
    }

    /// How messages name an image.
    pub(crate) fn place(index: u32) -> String {
        format!("image {index}")
    }

    /// Why none of the images is a Windows.
    pub(crate) fn no_windows(&self) -> Error {
        Error::new(Kind::NotFound, "no Windows installation was found in the images that are meant")
            .hint("`reseal wim info FILE` shows what the WIM holds")
    }
}
