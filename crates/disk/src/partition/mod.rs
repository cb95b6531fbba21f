//! Partition tables: GPT (UEFI 2.10 chapter 5), MBR with extended partitions, and a bare volume.

mod gpt;
mod mbr;

use crate::io::{ReadAt, WriteAt};
pub use gpt::{GptPartition, write_gpt};
use reseal_dtyp::{Guid, Result};
use std::sync::Arc;

/// How the disk is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
    /// No table: the disk is one volume.
    Bare,
    /// Nothing that is known.
    Unknown,
}

/// Type of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionType {
    /// GPT type GUID.
    Gpt(Guid),
    /// MBR type byte.
    Mbr(u8),
    /// The whole disk.
    Whole,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Number as Linux and Windows count: from 1; logical MBR partitions from 5; 0 for a bare volume.
    pub number: u32,
    /// Type.
    pub ty: PartitionType,
    /// GPT name; empty elsewhere.
    pub name: String,
    /// GPT unique id; nil elsewhere.
    pub id: Guid,
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// All partitions of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionTable {
    /// How the disk is divided.
    pub scheme: Scheme,
    /// GPT disk GUID, or the MBR disk signature in its first four bytes; nil for a bare volume.
    pub disk_id: Guid,
    /// The partitions in table order.
    pub partitions: Vec<Partition>,
    /// Whether the primary GPT was damaged and its backup was read.
    pub from_backup: bool,
}

impl PartitionTable {
    /// Reads the table. `sector_size` in bytes, or `None` to try 512, then 4096.
    pub(crate) fn read(disk: &dyn ReadAt, sector_size: Option<u32>) -> Result<PartitionTable> {
        let mut first = vec![0; 512];
        if disk.len() < 512 {
            return Ok(PartitionTable {
                scheme: Scheme::Unknown,
                disk_id: Guid::NIL,
                partitions: vec![],
                from_backup: false,
            });
        }
        disk.read_at(0, &mut first)?;
        let whole = |scheme| PartitionTable {
            scheme,
            disk_id: Guid::NIL,
            partitions: vec![Partition {
                number: 0,
                ty: PartitionType::Whole,
                name: String::new(),
                id: Guid::NIL,
                offset: 0,
                len: disk.len(),
            }],
            from_backup: false,
        };
        let is_marked = first[3..11] == crate::journal::MARK;
        if is_marked || &first[3..11] == b"NTFS    " || &first[3..11] == b"-FVE-FS-" || &first[3..7] == b"ReFS" {
            return Ok(whole(Scheme::Bare));
        }
        let sizes = sector_size.map_or_else(|| vec![512, 4096], |size| vec![size]);
        for size in &sizes {
            if let Some(table) = gpt::read(disk, *size)? {
                return Ok(table);
            }
        }
        match mbr::read(disk, &first, sizes[0])? {
            Some(table) => Ok(table),
            None => Ok(PartitionTable { partitions: vec![], ..whole(Scheme::Unknown) }),
        }
    }
}

/// A range of a disk as a disk of its own.
#[derive(Debug)]
pub(crate) struct Slice<D: ?Sized> {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) disk: Arc<D>,
}

impl<D: ReadAt + ?Sized> ReadAt for Slice<D> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        crate::io::checked_range(offset, buf.len(), self.len)?;
        self.disk.read_at(self.offset + offset, buf)
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len) && self.disk.is_hole(self.offset + offset, len)
    }
}

impl<D: WriteAt + ?Sized> WriteAt for Slice<D> {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        crate::io::checked_range(offset, data.len(), self.len)?;
        self.disk.write_at(self.offset + offset, data)
    }
}
