//! An image of a WIM or a mounted folder against another one, or against the volume of a disk.

use super::census::LeaveOut;
use super::filter::Filter;
use super::folder::FolderSide;
use super::ntfs::NtfsSide;
use super::side::Files;
use super::wim::WimSide;
use super::{DiffOptions, Side, VolumeDifference, volume};
use crate::error::{Result, Within};
use crate::folder::{FolderImage, FolderTree};
use crate::image::Medium;
use crate::wim::{NEVER_CAPTURED, WimImages, WimTree};
use crate::{Observer, browse};
use reseal_ntfs::Volume;
use std::sync::Arc;

/// What is compared of an image.
enum Opened<'m> {
    Wim(Box<WimTree>),
    Folder(&'m FolderTree),
    Volume(Box<Volume>),
}

impl<'m> Opened<'m> {
    /// The image that is meant, or the volume, and how messages name it.
    fn of(medium: &'m Medium) -> Result<(Opened<'m>, String)> {
        match medium {
            Medium::Wim(images) => {
                let run = || -> Result<(Opened<'m>, String)> {
                    let index = images.one()?;
                    let place = WimImages::place(index);
                    let tree = WimTree::open(Arc::clone(images.wim()), index).within(&place)?;
                    Ok((Opened::Wim(Box::new(tree)), place))
                };
                run().within(images.path().display())
            }
            Medium::Folder(folder) => Ok((Opened::Folder(&folder.tree), FolderImage::place())),
            Medium::Disk(disk) => {
                let volume = browse::volume(disk).within(disk.path().display())?;
                Ok((Opened::Volume(Box::new(volume)), "volume".to_owned()))
            }
        }
    }

    fn is_wim(&self) -> bool {
        matches!(self, Opened::Wim(_))
    }

    /// As a side whose other side is a WIM, or is none. Of a volume neither a WIM nor a mount shows all.
    fn side(&self, other: &Opened<'_>) -> Result<Box<dyn Files + '_>> {
        Ok(match self {
            Opened::Wim(tree) => Box::new(WimSide::new(tree, !other.is_wim())),
            Opened::Folder(tree) => Box::new(FolderSide::new(tree).within(FolderImage::place())?),
            Opened::Volume(volume) => Box::new(NtfsSide::new(volume, true)),
        })
    }
}

/// Compares two images of which one at least is a WIM or a folder.
pub(super) fn compare(
    images: [&Medium; 2],
    options: &DiffOptions,
    filter: &Filter,
    observer: &dyn Observer,
) -> Result<VolumeDifference> {
    let [(a, place), (b, other)] = [Opened::of(images[0])?, Opened::of(images[1])?];
    let place = if matches!(a, Opened::Volume(_)) { other } else { place };
    // Whatever stands against a WIM has what capturing leaves out.
    let disk = [&a, &b].into_iter().position(|opened| !opened.is_wim()).filter(|_| a.is_wim() || b.is_wim());
    let sides = [a.side(&b)?, b.side(&a)?];
    let mut out = VolumeDifference::new(place.clone(), Side::Both);
    let leave_out = disk.map(|side| LeaveOut { side, paths: NEVER_CAPTURED });
    volume::compare_files([&*sides[0], &*sides[1]], leave_out, (options, filter), observer, &mut out).within(place)?;
    Ok(out)
}
