//! VHD, Virtual Hard Disk Image Format Specification 1.0: fixed, dynamic and differencing, read and written through the overlay.
//!
//! ```text
//! fixed   │ disk … │ footer │
//! blocks  │ footer │ header │ BAT │ … bitmap, block │ bitmap, block … │ footer │
//! ```

mod blocks;
mod create;
mod fixed;
mod footer;
mod locator;

use super::{Container, Format, Opening};
use crate::child::{CreateChild, NewDisk};
use crate::io::ReadAt;
use crate::overlay::Overlay;
pub use create::{CreateVhd, create_vhd};
use footer::{COOKIE, DiskType, FOOTER, Footer, whole};
use reseal_dtyp::{Error, Result};
use std::sync::Arc;

impl Format {
    /// VHD, every sector in place.
    pub const VHD_FIXED: Format = Format("vhd-fixed");
    /// VHD, blocks where needed.
    pub const VHD_DYNAMIC: Format = Format("vhd-dynamic");
    /// VHD, sectors where they differ from a parent.
    pub const VHD_DIFFERENCING: Format = Format("vhd-differencing");
}

/// The footer that counts, and where it stands.
#[derive(Debug)]
struct Found {
    footer: Footer,
    /// Where the footer at the end stands, or should: what lies before it is the disk's.
    end: u64,
    /// Length of the footer at the end: 512, 511 in old files, 0 where it is damaged.
    len: usize,
    damage: Option<String>,
}

impl Footer {
    /// A child of the disk with this footer.
    fn new_child(&self, path: &str, options: &CreateChild) -> Result<NewDisk> {
        let CreateChild { block_len, id, time } = *options;
        let options = CreateVhd { disk_len: self.disk_len, block_len, fixed: false, disk_id: id, time };
        create::create_child(&options, self.id, path)
    }
}

/// Opens a file with a footer whose checksum is right. A raw disk may well end with something that looks like one.
pub(super) fn open(file: &Arc<Overlay>, opening: &Opening) -> Result<Option<Arc<dyn Container>>> {
    let Some(found) = find(&**file)? else { return Ok(None) };
    Ok(Some(match found.footer.ty {
        DiskType::Fixed => Arc::new(fixed::Fixed::open(Arc::clone(file), found)?),
        DiskType::Dynamic | DiskType::Differencing => Arc::new(blocks::Vhd::open(Arc::clone(file), found, opening)?),
    }))
}

/// The footer at the end; where that is damaged, its copy at the start, which a disk in blocks has.
fn find(file: &dyn ReadAt) -> Result<Option<Found>> {
    let len = file.len();
    if len < FOOTER as u64 {
        return Ok(None);
    }
    let mut last = None;
    for footer_len in [FOOTER, FOOTER - 1] {
        let end = len - footer_len as u64;
        if let (None, Some(bytes)) = (&last, whole(file, end, footer_len)?) {
            last = Some((Footer::read(bytes, end)?, end, footer_len));
        }
    }
    let first = whole(file, 0, FOOTER)?;
    match (last, first) {
        (Some((footer, end, len)), first) => {
            let is_copied = footer.ty == DiskType::Fixed || first.is_some_and(|copy| copy == footer.bytes());
            let damage = (!is_copied).then(|| "the copy of the VHD footer at 0 is not what it should be".to_owned());
            Ok(Some(Found { footer, end, len, damage }))
        }
        (None, Some(bytes)) => {
            let footer = Footer::read(bytes, 0)?;
            if footer.ty == DiskType::Fixed {
                return Ok(None);
            }
            let damage = Some("the VHD footer at the end is damaged, its copy at 0 was read".to_owned());
            Ok(Some(Found { footer, end: len, len: 0, damage }))
        }
        (None, None) => {
            let (mut head, mut tail) = (vec![0; FOOTER], vec![0; FOOTER]);
            file.read_at(0, &mut head)?;
            if &head[..8] != COOKIE {
                return Ok(None);
            }
            let end = len - FOOTER as u64;
            file.read_at(end, &mut tail)?;
            if head == tail {
                // Some tool changed a field and not the sum; two copies that agree are read, and what they name has sums too.
                let damage = Some("the checksum of both VHD footers, which are alike, is wrong".to_owned());
                return Ok(Some(Found { footer: Footer::read(head, 0)?, end, len: FOOTER, damage }));
            }
            let detail = "neither the footer at the end nor its copy at 0 is whole";
            Err(Error::damaged("VHD footer", "Checksum", 0, detail))
        }
    }
}
