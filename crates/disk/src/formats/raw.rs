//! A raw image: the file is the disk.

use super::{Container, Format};
use crate::changed::Layout;
use crate::io::{ReadAt, WriteAt};
use crate::overlay::Overlay;
use reseal_dtyp::Result;
use std::sync::Arc;

impl Format {
    /// Bytes of the disk, one by one.
    pub const RAW: Format = Format("raw");
}

/// The bytes of the file, one by one.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Arc<Overlay>);

impl Container for Raw {
    fn format(&self) -> Format {
        Format::RAW
    }

    fn file_offset(&self, offset: u64) -> Result<Option<u64>> {
        Ok(Some(offset))
    }

    fn layout(&self) -> Layout {
        Layout { pieces: vec![(0, 0, u64::MAX)], ..Layout::default() }
    }
}

impl ReadAt for Raw {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }

    fn len(&self) -> u64 {
        self.0.len()
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        self.0.is_hole(offset, len)
    }
}

impl WriteAt for Raw {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.write_at(offset, data)
    }
}
