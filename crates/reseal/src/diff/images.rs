//! An image of a WIM against another one, or against the volume of a disk.

use super::census::LeaveOut;
use super::filter::Filter;
use super::ntfs::NtfsSide;
use super::side::Files;
use super::wim::WimSide;
use super::{DiffOptions, Side, VolumeDifference, volume};
use crate::error::{Result, Within};
use crate::image::Medium;
use crate::wim::{NEVER_CAPTURED, WimImages, WimTree};
use crate::{Observer, browse};
use reseal_ntfs::Volume;
use std::sync::Arc;

/// What is compared of an image.
enum Opened {
    Wim(Box<WimTree>),
    Volume(Box<Volume>),
}

impl Opened {
    /// The image that is meant, or the volume, and how messages name it.
    fn of(medium: &Medium) -> Result<(Opened, String)> {
        match medium {
            Medium::Wim(images) => {
                let run = || -> Result<(Opened, String)> {
                    let index = images.one()?;
                    let place = WimImages::place(index);
                    let tree = WimTree::open(Arc::clone(images.wim()), index).within(&place)?;
                    Ok((Opened::Wim(Box::new(tree)), place))
                };
                run().within(images.path().display())
            }
            Medium::Disk(disk) => {
                let volume = browse::volume(disk).within(disk.path().display())?;
                Ok((Opened::Volume(Box::new(volume)), "volume".to_owned()))
            }
        }
    }

    fn is_wim(&self) -> bool {
        matches!(self, Opened::Wim(_))
    }

    /// As a side whose other side is a WIM, or is none.
    fn side(&self, against_wim: bool) -> Box<dyn Files + '_> {
        match self {
            Opened::Wim(tree) => Box::new(WimSide::new(tree, !against_wim)),
            Opened::Volume(volume) => Box::new(NtfsSide::new(volume, against_wim)),
        }
    }
}

/// Compares two images of which one at least is a WIM.
pub(super) fn compare(
    images: [&Medium; 2],
    options: &DiffOptions,
    filter: &Filter,
    observer: &dyn Observer,
) -> Result<VolumeDifference> {
    let [(a, place), (b, other)] = [Opened::of(images[0])?, Opened::of(images[1])?];
    let place = if a.is_wim() { place } else { other };
    let disk = [&a, &b].into_iter().position(|opened| !opened.is_wim());
    let sides = [a.side(b.is_wim()), b.side(a.is_wim())];
    let mut out = VolumeDifference::new(place.clone(), Side::Both);
    let leave_out = disk.map(|side| LeaveOut { side, paths: NEVER_CAPTURED });
    volume::compare_files([&*sides[0], &*sides[1]], leave_out, (options, filter), observer, &mut out).within(place)?;
    Ok(out)
}
