//! A fixed VHD: the disk, then a footer.

use super::Found;
use crate::changed::Layout;
use crate::child::{CreateChild, NewDisk};
use crate::formats::{Commit, Container, Format};
use crate::io::{ReadAt, WriteAt, checked_range};
use crate::overlay::Overlay;
use reseal_dtyp::{Error, Guid, Result};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Fixed {
    file: Arc<Overlay>,
    found: Found,
}

impl Fixed {
    pub(super) fn open(file: Arc<Overlay>, found: Found) -> Result<Fixed> {
        if found.footer.disk_len > found.end {
            let detail = format!("a disk of {:#x} bytes in a file of {:#x}", found.footer.disk_len, file.len());
            return Err(Error::damaged("VHD footer", "Current Size", found.end + 48, detail));
        }
        Ok(Fixed { file, found })
    }
}

impl Container for Fixed {
    fn format(&self) -> Format {
        Format::VHD_FIXED
    }

    fn sector_size(&self) -> Option<u32> {
        Some(512)
    }

    fn id(&self) -> Option<Guid> {
        Some(self.found.footer.id)
    }

    fn file_offset(&self, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn layout(&self) -> Layout {
        Layout { pieces: vec![(0, 0, self.found.footer.disk_len)], ..Layout::default() }
    }

    fn before_commit(&self, commit: Commit<'_>) -> Result<()> {
        if commit.is_changed {
            let footer = self.found.footer.with_id(commit.ids[1]);
            self.file.write_at(self.found.end, &footer[..self.found.len])?;
        }
        Ok(())
    }

    fn link_id(&self) -> Option<Guid> {
        Some(self.found.footer.id)
    }

    fn new_child(&self, path: &str, options: &CreateChild) -> Result<NewDisk> {
        self.found.footer.new_child(path, options)
    }
}

impl ReadAt for Fixed {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        checked_range(offset, buf.len(), self.found.footer.disk_len)?;
        self.file.read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        self.found.footer.disk_len
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len()) && self.file.is_hole(offset, len)
    }
}

impl WriteAt for Fixed {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        checked_range(offset, data.len(), self.found.footer.disk_len)?;
        self.file.write_at(offset, data)
    }
}
