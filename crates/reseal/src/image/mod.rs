//! An image: a disk in a host file, images of a WIM, or a folder where a volume is mounted.

mod disk;

pub(crate) use disk::{DiskFacts, DiskImage, Windows};

use crate::error::{Error, Kind, Result};
use crate::folder::FolderImage;
use crate::wim::WimImages;
use std::path::Path;

/// An image. Nothing of it is written before a plan is committed.
#[derive(Debug)]
pub struct Image(pub(crate) Medium);

/// What an image is.
#[derive(Debug)]
pub(crate) enum Medium {
    Disk(Box<DiskImage>),
    Wim(Box<WimImages>),
    Folder(Box<FolderImage>),
}

impl Image {
    /// Opens `disk.vhdx`, `disk.vhd`, `disk.raw`, one partition of it as `disk.vhdx#p3`, `install.wim:2`, or a folder where a
    /// volume is mounted, for reading. `Interrupted` when a commit in place has to be recovered first.
    pub fn open(text: &str) -> Result<Image> {
        if let Some(folder) = FolderImage::open(text) {
            return Ok(Image(Medium::Folder(Box::new(folder?))));
        }
        Ok(Image(match WimImages::open(text) {
            Some(wim) => Medium::Wim(Box::new(wim?)),
            None => Medium::Disk(Box::new(DiskImage::open(text)?)),
        }))
    }

    /// [`Image::open`] for [`crate::Planned::commit_in_place`]: nobody else may use the image meanwhile. `Refused` when a
    /// differencing disk in its folder stands on it.
    pub fn open_for_writing(text: &str) -> Result<Image> {
        if let Some(folder) = FolderImage::open_for_writing(text) {
            return Ok(Image(Medium::Folder(Box::new(folder?))));
        }
        Ok(Image(match WimImages::open_for_writing(text) {
            Some(wim) => Medium::Wim(Box::new(wim?)),
            None => Medium::Disk(Box::new(DiskImage::open_for_writing(text)?)),
        }))
    }

    /// `Refused` when a differencing disk in the folder stands on this one: it would read rubbish once this one has changed.
    pub fn refuse_parent(&self) -> Result<()> {
        match &self.0 {
            Medium::Disk(disk) => disk.refuse_parent(),
            Medium::Wim(_) | Medium::Folder(_) => Ok(()),
        }
    }

    /// The image file, or the folder.
    pub fn path(&self) -> &Path {
        match &self.0 {
            Medium::Disk(disk) => disk.path(),
            Medium::Wim(wim) => wim.path(),
            Medium::Folder(folder) => folder.path(),
        }
    }

    /// The disk; `Unsupported` for a WIM or a folder.
    pub(crate) fn disk(&self) -> Result<&DiskImage> {
        match &self.0 {
            Medium::Disk(disk) => Ok(disk),
            Medium::Wim(wim) => Err(no_disk(wim)),
            Medium::Folder(folder) => Err(no_volume(folder.path())),
        }
    }

    /// The disk; `Unsupported` for a WIM or a folder.
    pub(crate) fn into_disk(self) -> Result<DiskImage> {
        match self.0 {
            Medium::Disk(disk) => Ok(*disk),
            Medium::Wim(wim) => Err(no_disk(&wim)),
            Medium::Folder(folder) => Err(no_volume(folder.path())),
        }
    }
}

fn no_disk(wim: &WimImages) -> Error {
    Error::new(Kind::Unsupported, "a WIM is no disk: it has no partitions and volumes")
        .hint("`reseal inspect`, `generalize`, `verify`, `diff`, `driver`, `fs`, `hive` and `wim` work on it")
        .subject(wim.path().display().to_string())
}

/// What cannot be done with a folder.
pub(crate) fn no_volume(folder: &Path) -> Error {
    Error::new(Kind::Unsupported, "a mounted folder shows files only: no partitions, records and free space")
        .hint("`reseal inspect`, `generalize --in-place`, `verify`, `diff`, `fs` and `hive` work on it; for this, give the disk")
        .subject(folder.display().to_string())
}
