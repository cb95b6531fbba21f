//! New image files; among them differencing disks: a child that holds nothing yet, and reads as its parent.

use crate::disk::Disk;
use crate::formats::chain::windows_path;
use crate::host::write_all_at;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::path::Path;

/// What a new child shall be.
#[derive(Debug, Clone, Copy)]
pub struct CreateChild {
    /// Block size in bytes: for a VHDX a power of two from 1 to 256 MiB, for a VHD from 512 KiB. A block is copied whole from the
    /// parent when it is first written.
    pub block_len: u32,
    /// Unique id of a VHD, first write id of a VHDX; the virtual disk of a VHDX is the parent's.
    pub id: Guid,
    /// When it was made, in seconds since 2000-01-01 UTC; a VHD says so.
    pub time: u32,
}

/// A new image file: what is not zero in it, and its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDisk {
    /// Byte offset and content of its parts, ascending.
    pub parts: Vec<(u64, Vec<u8>)>,
    /// Length of the file in bytes.
    pub len: u64,
}

impl NewDisk {
    /// Writes the file, which must not exist. `Conflict` when it does.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        let context = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => Error::new(Kind::Conflict, format!("{} exists", path.display())),
            _ => Error::io(format!("cannot write {}", path.display()), e),
        };
        let file = std::fs::File::create_new(path).map_err(context)?;
        for (offset, bytes) in &self.parts {
            write_all_at(&file, *offset, bytes).map_err(context)?;
        }
        file.set_len(self.len).and_then(|()| file.sync_all()).map_err(context)
    }
}

impl Disk {
    /// A new child of this disk, in the disk's own format, for a file at `path`. It names this disk by its id and by a path
    /// relative to its folder, which must exist. From then on this disk must not change.
    ///
    /// `Unsupported` for formats without children; `Limit` for a block size that is not legal.
    pub fn new_child(&self, path: &Path, options: &CreateChild) -> Result<NewDisk> {
        if self.link_id().is_none() {
            let detail = format!("a {} disk has no children; VHD and VHDX do", self.format().name());
            return Err(Error::unsupported(detail));
        }
        self.container.new_child(&windows_path(path, self.path())?, options)
    }
}
