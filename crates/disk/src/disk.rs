//! An image file as a disk: format, partitions, changes, commit.

use crate::commit::{self, Committed, Progress};
use crate::host::HostFile;
use crate::io::{ReadAt, WriteAt};
use crate::overlay::Overlay;
use crate::partition::{Partition, PartitionTable, Slice};
use crate::vhdx::{self, Vhdx};
use reseal_dtyp::{Error, Guid, Result};
use std::path::Path;
use std::sync::Arc;

/// What holds the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Bytes of the disk, one by one.
    Raw,
    /// [MS-VHDX], every block in place.
    VhdxFixed,
    /// [MS-VHDX], blocks where needed.
    VhdxDynamic,
}

impl Format {
    /// The word for people and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::VhdxFixed => "vhdx-fixed",
            Format::VhdxDynamic => "vhdx-dynamic",
        }
    }
}

/// A disk image, opened for reading. Writes go to the overlay; the file itself changes never, and a new one is made only
/// by [`Disk::commit_to`].
#[derive(Debug)]
pub struct Disk {
    overlay: Arc<Overlay>,
    container: Container,
}

#[derive(Debug, Clone)]
enum Container {
    Raw(Arc<Overlay>),
    Vhdx(Arc<Vhdx>),
}

/// Signatures of formats that are recognized in order to be refused by name.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "VMDK"),
    (b"conectix", "dynamic VHD"),
    (b"MSWIM\0\0\0", "WIM"),
    (b"<<< Oracle VM VirtualBox", "VDI"),
];

impl Disk {
    /// Opens an image file. `Conflict` when another program writes to it; `Unsupported` for a format that is not handled.
    pub fn open(path: &Path) -> Result<Disk> {
        let overlay = Arc::new(Overlay::new(HostFile::open(path)?));
        if vhdx::is_vhdx(&*overlay)? {
            let vhdx = Arc::new(Vhdx::open(Arc::clone(&overlay))?);
            return Ok(Disk { overlay, container: Container::Vhdx(vhdx) });
        }
        let mut head = vec![0; overlay.len().min(64) as usize];
        overlay.read_at(0, &mut head)?;
        if let Some((_, name)) = FOREIGN.iter().find(|(signature, _)| head.starts_with(signature)) {
            let hint = format!(
                "{} is a {name} file; raw and VHDX are handled (convert it: qemu-img convert -O vhdx)",
                path.display()
            );
            return Err(Error::unsupported(hint));
        }
        let mut footer = [0; 8];
        if overlay.len() >= 512 {
            overlay.read_at(overlay.len() - 512, &mut footer)?;
        }
        if &footer == b"conectix" {
            let hint = format!(
                "{} is a fixed VHD; raw and VHDX are handled (convert it: qemu-img convert -O vhdx)",
                path.display()
            );
            return Err(Error::unsupported(hint));
        }
        Ok(Disk { container: Container::Raw(Arc::clone(&overlay)), overlay })
    }

    /// The image file.
    pub fn path(&self) -> &Path {
        self.overlay.host().path()
    }

    /// Length of the image file in bytes, as it was opened.
    pub fn file_len(&self) -> u64 {
        self.overlay.host().len()
    }

    /// The container.
    pub fn format(&self) -> Format {
        match &self.container {
            Container::Raw(_) => Format::Raw,
            Container::Vhdx(vhdx) if vhdx.is_fixed() => Format::VhdxFixed,
            Container::Vhdx(_) => Format::VhdxDynamic,
        }
    }

    /// Logical sector size in bytes, where the container states it.
    pub fn sector_size(&self) -> Option<u32> {
        match &self.container {
            Container::Raw(_) => None,
            Container::Vhdx(vhdx) => Some(vhdx.sector_size()),
        }
    }

    /// Payload block size in bytes of a VHDX.
    pub fn block_len(&self) -> Option<u64> {
        match &self.container {
            Container::Raw(_) => None,
            Container::Vhdx(vhdx) => Some(vhdx.block_len()),
        }
    }

    /// Identity of the virtual disk, where the container has one.
    pub fn container_id(&self) -> Option<Guid> {
        match &self.container {
            Container::Raw(_) => None,
            Container::Vhdx(vhdx) => Some(vhdx.disk_id()),
        }
    }

    /// Entries of the container's own log that were replayed into the overlay on opening.
    pub fn replayed_log_entries(&self) -> usize {
        match &self.container {
            Container::Raw(_) => 0,
            Container::Vhdx(vhdx) => vhdx.replayed(),
        }
    }

    /// The virtual disk's bytes.
    pub fn bytes(&self) -> Arc<dyn WriteAt> {
        match &self.container {
            Container::Raw(overlay) => Arc::clone(overlay) as _,
            Container::Vhdx(vhdx) => Arc::clone(vhdx) as _,
        }
    }

    /// Reads the partition table.
    pub fn partitions(&self) -> Result<PartitionTable> {
        PartitionTable::read(&*self.bytes(), self.sector_size())
    }

    /// The bytes of one partition.
    pub fn partition(&self, partition: &Partition) -> Arc<dyn WriteAt> {
        Arc::new(Slice { offset: partition.offset, len: partition.len, disk: self.bytes() })
    }

    /// Bytes that differ from the image file, in whole pages.
    pub fn changed_bytes(&self) -> Result<u64> {
        let mut changed = 0;
        for index in self.overlay.dirty_pages() {
            let (page, differs) = self.overlay.page(index)?;
            changed += if differs { page.len() as u64 } else { 0 };
        }
        Ok(changed)
    }

    /// Finishes the container's own metadata, then writes image and changes to the new file `out`. `write_guids` are the
    /// new write identifiers of a VHDX. `Conflict` when `out` exists.
    pub fn commit_to(self, out: &Path, write_guids: [Guid; 2], progress: Progress<'_>) -> Result<Committed> {
        if let Container::Vhdx(vhdx) = &self.container
            && self.changed_bytes()? > 0
        {
            vhdx.write_header(write_guids[0], write_guids[1])?;
        }
        commit::commit_to(&self.overlay, out, progress)
    }
}
