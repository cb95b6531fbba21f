//! The volume: files by path, their bytes, and where they lie.

use crate::chain;
use crate::directory::{self, Entry};
use crate::layout::{FatType, Layout, Root};
use reseal_disk::WriteAt;
use reseal_dtyp::{Error, Kind, Result};
use std::sync::Arc;

/// A folder has at most 65,536 entries of 32 bytes.
const MOST_FOLDER: u64 = 2 << 20;

/// A part of a file that lies in one piece, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub in_file: u64,
    /// Where it begins on the volume.
    pub on_volume: u64,
    /// Its length; the last one ends with the file.
    pub len: u64,
}

/// A FAT volume.
pub struct Volume {
    bytes: Arc<dyn WriteAt>,
    layout: Layout,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Volume {
    /// Opens a volume. `Damaged`, with the field, when its boot sector contradicts itself or the length of the partition.
    pub fn open(bytes: Arc<dyn WriteAt>) -> Result<Volume> {
        let mut first = [0; 512];
        if bytes.len() < 512 {
            return Err(Error::new(Kind::Damaged, format!("{} bytes are no FAT volume", bytes.len())));
        }
        bytes.read_at(0, &mut first)?;
        let layout = Layout::read(&first, bytes.len())?;
        Ok(Volume { bytes, layout })
    }

    /// FAT12, FAT16 or FAT32.
    pub fn fat_type(&self) -> FatType {
        self.layout.ty
    }

    /// Cluster size in bytes.
    pub fn cluster_len(&self) -> u64 {
        self.layout.cluster_len
    }

    /// What a folder holds, without labels, `.` and `..`; the root folder for `None`.
    pub fn entries(&self, folder: Option<&Entry>) -> Result<Vec<Entry>> {
        let bytes = match (folder, self.layout.root) {
            (Some(entry), _) if !entry.is_folder => {
                return Err(Error::new(Kind::NotFound, format!("{} is no folder", entry.short_name)));
            }
            (Some(entry), _) => self.folder_bytes(entry.first)?,
            (None, Root::Chain(first)) => self.folder_bytes(first)?,
            (None, Root::Region(at, len)) => {
                let mut bytes = vec![0; len as usize];
                self.bytes.read_at(at, &mut bytes)?;
                bytes
            }
        };
        Ok(directory::parse(&bytes, self.layout.ty == FatType::Fat32))
    }

    fn folder_bytes(&self, first: u32) -> Result<Vec<u8>> {
        let most = MOST_FOLDER.div_ceil(self.layout.cluster_len);
        let clusters =
            chain::follow(&*self.bytes, &self.layout, first, None, most).map_err(|e| e.within("a folder"))?;
        let len = self.layout.cluster_len as usize;
        let mut bytes = vec![0; clusters.len() * len];
        for (cluster, part) in clusters.into_iter().zip(bytes.chunks_exact_mut(len)) {
            self.bytes.read_at(self.layout.cluster_at(cluster)?, part)?;
        }
        Ok(bytes)
    }

    /// A file or folder by its path from the root, with `\` or `/` between names; `None` when it is not there. `Conflict` when
    /// a folder holds two of that name.
    pub fn resolve(&self, path: &str) -> Result<Option<Entry>> {
        let mut at: Option<Entry> = None;
        for name in path.split(['\\', '/']).filter(|name| !name.is_empty()) {
            if at.as_ref().is_some_and(|entry| !entry.is_folder) {
                return Ok(None);
            }
            let mut found = self.entries(at.as_ref())?.into_iter().filter(|entry| entry.is_named(name));
            at = match (found.next(), found.next()) {
                (None, _) => return Ok(None),
                (found, None) => found,
                (_, Some(_)) => {
                    return Err(Error::new(Kind::Conflict, format!("two entries are named {name}")).within(path));
                }
            };
        }
        Ok(at)
    }

    fn clusters(&self, file: &Entry) -> Result<Vec<u32>> {
        if file.is_folder {
            return Err(Error::new(Kind::Unsupported, format!("{} is a folder", file.short_name)));
        }
        if file.size == 0 {
            return Ok(Vec::new());
        }
        let wanted = u64::from(file.size).div_ceil(self.layout.cluster_len);
        chain::follow(&*self.bytes, &self.layout, file.first, Some(wanted), u64::from(self.layout.end_cluster))
    }

    /// Where a file lies, in its order; adjoining clusters are one extent.
    pub fn extents(&self, file: &Entry) -> Result<Vec<Extent>> {
        let (mut out, mut at, end): (Vec<Extent>, u64, u64) = (Vec::new(), 0, u64::from(file.size));
        for cluster in self.clusters(file)? {
            let (on_volume, len) = (self.layout.cluster_at(cluster)?, self.layout.cluster_len.min(end - at));
            match out.last_mut() {
                Some(last) if last.on_volume + last.len == on_volume => last.len += len,
                _ => out.push(Extent { in_file: at, on_volume, len }),
            }
            at += len;
        }
        Ok(out)
    }

    /// Content of a file of at most `most` bytes; `Limit` for a larger one.
    pub fn read(&self, file: &Entry, most: u32) -> Result<Vec<u8>> {
        if file.size > most {
            let detail = format!("{} has {} bytes, at most {most} are read", file.short_name, file.size);
            return Err(Error::new(Kind::Limit, detail));
        }
        // Before the memory is taken: a size that the chain does not back is refused.
        let extents = self.extents(file)?;
        let mut out = vec![0; file.size as usize];
        for extent in extents {
            let part = extent.in_file as usize..(extent.in_file + extent.len) as usize;
            self.bytes.read_at(extent.on_volume, &mut out[part])?;
        }
        Ok(out)
    }

    /// Writes pieces (byte offset, bytes) over a file where it lies; size, times and chain stay. `Damaged`, with nothing
    /// written, when another chain leads into this file's clusters; `NoSpace` for a piece that leaves the file.
    pub fn overwrite(&self, file: &Entry, pieces: &[(u64, &[u8])]) -> Result<()> {
        let clusters = self.clusters(file)?;
        if let Some(other) = chain::referred(&*self.bytes, &self.layout, &clusters)? {
            let detail = format!("{}: cluster {other:#x} leads into this file, too", file.short_name);
            return Err(Error::new(Kind::Damaged, detail));
        }
        let size = u64::from(file.size);
        for (at, bytes) in pieces {
            if at.checked_add(bytes.len() as u64).is_none_or(|end| end > size) {
                let detail = format!("{} bytes at {at:#x} leave the file of {size} bytes", bytes.len());
                return Err(Error::new(Kind::NoSpace, detail).within(&file.short_name));
            }
        }
        for extent in self.extents(file)? {
            for (at, bytes) in pieces {
                let (from, to) = (extent.in_file.max(*at), (extent.in_file + extent.len).min(at + bytes.len() as u64));
                if from < to {
                    let part = &bytes[(from - at) as usize..(to - at) as usize];
                    self.bytes.write_at(extent.on_volume + (from - extent.in_file), part)?;
                }
            }
        }
        Ok(())
    }
}
