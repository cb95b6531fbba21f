//! What an image file can be: one folder for each format, and the door through which a disk uses it.
//!
//! A format is added with a folder that implements [`Container`] and one line in [`FORMATS`].

mod blocks;
pub(crate) mod chain;
mod raw;
pub(crate) mod vhd;
pub(crate) mod vhdx;

use crate::changed::Layout;
use crate::child::{CreateChild, NewDisk};
use crate::io::{ReadAt, WriteAt};
use crate::journal::MARK;
use crate::overlay::Overlay;
use chain::Parent;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a file is opened.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    /// The children through which the file was found, the leaf first.
    pub(crate) chain: Vec<PathBuf>,
    /// Whether parents are opened, too. Without them a differencing disk can be looked at, and not read.
    pub(crate) follow: bool,
}

/// What a commit means for a container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit<'a> {
    /// New ids, random.
    pub(crate) ids: [Guid; 2],
    /// Whether something has changed but the place.
    pub(crate) is_changed: bool,
    /// The new file, when the image is not written in place.
    pub(crate) out: Option<&'a Path>,
}

/// What holds the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Format(pub(crate) &'static str);

impl Format {
    /// The word for people and JSON.
    pub fn name(self) -> &'static str {
        self.0
    }
}

/// A virtual disk in an image file: its bytes, which are read and written through the overlay of the file, and what else a
/// disk asks of its format.
pub(crate) trait Container: WriteAt + Debug {
    fn format(&self) -> Format;

    /// Logical sector size in bytes, where the format states it.
    fn sector_size(&self) -> Option<u32> {
        None
    }

    /// Granule of allocation in bytes, where there is one.
    fn block_len(&self) -> Option<u64> {
        None
    }

    /// Identity of the virtual disk, where the format has one.
    fn id(&self) -> Option<Guid> {
        None
    }

    /// Where a byte of the disk lies in the file; `None` when the file holds no such place, or says that it is not in use.
    fn file_offset(&self, offset: u64) -> Result<Option<u64>>;

    /// Where eight bytes of the file stand without which nobody opens it, which no commit changes.
    fn signature_offset(&self) -> Option<u64> {
        None
    }

    /// What the parts of the file are for.
    fn layout(&self) -> Layout;

    /// Finishes the format's own metadata, in the overlay. Called when something has changed, or when the new file lies in
    /// another folder.
    fn before_commit(&self, commit: Commit<'_>) -> Result<()> {
        let _ = commit;
        Ok(())
    }

    /// Entries of the format's own log that were replayed into the overlay on opening.
    fn replayed_log_entries(&self) -> usize {
        0
    }

    /// What lies below a differencing disk.
    fn parent(&self) -> Option<&Parent> {
        None
    }

    /// The id by which children know this disk as their parent, where the format has children.
    fn link_id(&self) -> Option<Guid> {
        None
    }

    /// A new file for a child that reads as this disk, which it finds by a path as Windows writes it. For formats with a
    /// [`Container::link_id`].
    fn new_child(&self, path: &str, options: &CreateChild) -> Result<NewDisk> {
        let _ = (path, options);
        Err(Error::unsupported(format!("a {} disk has no children", self.format().name())))
    }

    /// Something odd that is no damage.
    fn note(&self) -> Option<String> {
        None
    }

    /// What is wrong with the container and yet does not keep it from being read; nothing is written then.
    fn damage(&self) -> Option<&str> {
        None
    }
}

/// Opens a file as the format that it has; `None` when it has another one.
type Open = fn(&Arc<Overlay>, &Opening) -> Result<Option<Arc<dyn Container>>>;

/// Every format, in the order in which a file is asked. What none of them takes is raw.
const FORMATS: &[Open] = &[vhdx::open, vhd::open];

/// Signatures of formats that are recognized in order to be refused by name.
const FOREIGN: &[(&[u8], &str)] =
    &[(b"QFI\xfb", "qcow2"), (b"KDMV", "VMDK"), (b"MSWIM\0\0\0", "WIM"), (b"<<< Oracle VM VirtualBox", "VDI")];

/// Opens the disk in a file. `Unsupported` for a format that is known by name only.
pub(crate) fn open(file: &Arc<Overlay>, opening: &Opening) -> Result<Arc<dyn Container>> {
    let mut head = vec![0; file.len().min(64) as usize];
    file.read_at(0, &mut head)?;
    if head.starts_with(&MARK) {
        return Err(half_written());
    }
    for open in FORMATS {
        if let Some(container) = open(file, opening)? {
            return Ok(container);
        }
    }
    if let Some((_, name)) = FOREIGN.iter().find(|(signature, _)| head.starts_with(signature)) {
        let path = file.host().path().display();
        return Err(Error::unsupported(format!(
            "{path} is a {name} file; raw, VHD and VHDX are handled (convert it: qemu-img convert -O vhdx)"
        )));
    }
    Ok(Arc::new(raw::Raw(Arc::clone(file))))
}

/// The container's own signature was replaced by the mark of a commit in place.
fn half_written() -> Error {
    Error::new(
        Kind::Interrupted,
        "a commit in place was interrupted, and the file is half written; its journal is needed (`reseal recover IMAGE \
         --journal DIR`), or a copy of the original",
    )
}
