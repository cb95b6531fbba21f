//! What an image file can be: one folder for each format, and the door through which a disk uses it.
//!
//! A format is added with a folder that implements [`Container`] and one line in [`FORMATS`].

mod raw;
pub(crate) mod vhdx;

use crate::changed::Layout;
use crate::io::{ReadAt, WriteAt};
use crate::overlay::Overlay;
use reseal_dtyp::{Error, Guid, Result};
use std::fmt::Debug;
use std::sync::Arc;

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

    /// Where a byte of the disk lies in the file; `None` when the file holds no such place.
    fn file_offset(&self, offset: u64) -> Result<Option<u64>>;

    /// What the parts of the file are for.
    fn layout(&self) -> Layout;

    /// Finishes the format's own metadata, in the overlay, when something has changed. `ids` are new and random.
    fn before_commit(&self, ids: [Guid; 2]) -> Result<()> {
        let _ = ids;
        Ok(())
    }

    /// Entries of the format's own log that were replayed into the overlay on opening.
    fn replayed_log_entries(&self) -> usize {
        0
    }
}

/// Opens a file as the format that it has; `None` when it has another one.
type Open = fn(&Arc<Overlay>) -> Result<Option<Arc<dyn Container>>>;

/// Every format, in the order in which a file is asked. What none of them takes is raw.
const FORMATS: &[Open] = &[vhdx::open];

/// Signatures of formats that are recognized in order to be refused by name.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "VMDK"),
    (b"conectix", "dynamic VHD"),
    (b"MSWIM\0\0\0", "WIM"),
    (b"<<< Oracle VM VirtualBox", "VDI"),
];

/// Opens the disk in a file. `Unsupported` for a format that is known by name only.
pub(crate) fn open(file: &Arc<Overlay>) -> Result<Arc<dyn Container>> {
    for open in FORMATS {
        if let Some(container) = open(file)? {
            return Ok(container);
        }
    }
    let refuse = |name: &str| {
        let path = file.host().path().display();
        let text = format!("{path} is a {name} file; raw and VHDX are handled (convert it: qemu-img convert -O vhdx)");
        Err(Error::unsupported(text))
    };
    let mut head = vec![0; file.len().min(64) as usize];
    file.read_at(0, &mut head)?;
    if let Some((_, name)) = FOREIGN.iter().find(|(signature, _)| head.starts_with(signature)) {
        return refuse(name);
    }
    let mut footer = [0; 8];
    if file.len() >= 512 {
        file.read_at(file.len() - 512, &mut footer)?;
    }
    if &footer == b"conectix" {
        return refuse("fixed VHD");
    }
    Ok(Arc::new(raw::Raw(Arc::clone(file))))
}
