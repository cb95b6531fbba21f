//! The volume's bytes with the changes of the operation under way.
//!
//! An operation stages its metadata here; nothing reaches the storage before the whole operation has succeeded, so that a
//! refusal half way leaves the volume as it was.

use reseal_disk::WriteAt;
use reseal_dtyp::Result;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Granularity of staging and of comparing before a write, in bytes.
pub(crate) const PAGE: u64 = 4096;

/// What a written range is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Touch {
    /// The file record with this number, or its copy in `$MFTMirr`.
    FileRecord(u64),
    /// A block of an index that belongs to the file record with this number.
    IndexBlock(u64),
    /// `$Bitmap`.
    ClusterBitmap,
    /// The bitmap of `$MFT`.
    RecordBitmap,
    /// Content of the file record with this number.
    Data(u64),
    /// Clusters or tails that were given up and zeroed.
    Freed,
}

/// A byte range of the volume that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Touched {
    /// Byte offset on the volume.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// What it is for.
    pub what: Touch,
}

pub(crate) struct Store {
    storage: Arc<dyn WriteAt>,
    staged: BTreeMap<u64, Vec<u8>>,
    staged_touches: Vec<Touched>,
    touched: BTreeMap<(u64, u64), Touch>,
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn WriteAt>) -> Store {
        Store { storage, staged: BTreeMap::new(), staged_touches: Vec::new(), touched: BTreeMap::new() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.storage.len()
    }

    /// Whether a range is known to read as zero.
    pub(crate) fn is_hole(&self, offset: u64, len: u64) -> bool {
        self.staged.is_empty() && self.storage.is_hole(offset, len)
    }

    /// Fills `buf` from `offset`, staged changes included.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.storage.read_at(offset, buf)?;
        if self.staged.is_empty() || buf.is_empty() {
            return Ok(());
        }
        let end = offset + buf.len() as u64;
        for (&page, bytes) in self.staged.range(offset / PAGE..=(end - 1) / PAGE) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(())
    }

    /// Stages a small write.
    pub(crate) fn stage(&mut self, offset: u64, data: &[u8], what: Touch) -> Result<()> {
        reseal_disk::checked_range(offset, data.len(), self.storage.len())?;
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE, (at % PAGE) as usize);
            let n = (data.len() - done).min(PAGE as usize - within);
            let part = &data[done..done + n];
            if let Some(bytes) = self.staged.get_mut(&page) {
                bytes[within..within + n].copy_from_slice(part);
            } else {
                let len = PAGE.min(self.storage.len() - page * PAGE) as usize;
                let mut bytes = vec![0; len];
                self.storage.read_at(page * PAGE, &mut bytes)?;
                if bytes[within..within + n] != *part {
                    bytes[within..within + n].copy_from_slice(part);
                    self.staged.insert(page, bytes);
                }
            }
            done += n;
        }
        self.staged_touches.push(Touched { offset, len: data.len() as u64, what });
        Ok(())
    }

    /// Writes what was staged, in order of offset.
    pub(crate) fn commit(&mut self) -> Result<()> {
        while let Some((page, bytes)) = self.staged.pop_first() {
            self.storage.write_at(page * PAGE, &bytes)?;
        }
        for touch in self.staged_touches.drain(..) {
            self.touched.insert((touch.offset, touch.len), touch.what);
        }
        Ok(())
    }

    /// Forgets what was staged.
    pub(crate) fn rollback(&mut self) {
        self.staged.clear();
        self.staged_touches.clear();
    }

    /// Writes content at once, only the pages that differ: into clusters that were free, or as the last act of an operation.
    pub(crate) fn write_data(&mut self, offset: u64, data: &[u8], what: Touch) -> Result<()> {
        reseal_disk::checked_range(offset, data.len(), self.storage.len())?;
        let mut old = vec![0; 64 * PAGE as usize];
        let mut done = 0;
        while done < data.len() {
            let n = (data.len() - done).min(old.len());
            let at = offset + done as u64;
            self.storage.read_at(at, &mut old[..n])?;
            self.write_differing(at, &data[done..done + n], &old[..n])?;
            done += n;
        }
        if !data.is_empty() {
            self.touched.insert((offset, data.len() as u64), what);
            self.patch_staged(offset, data);
        }
        Ok(())
    }

    /// With clusters below 4 KiB, a staged page may hold content beside metadata.
    fn patch_staged(&mut self, offset: u64, data: &[u8]) {
        let end = offset + data.len() as u64;
        for (&page, bytes) in self.staged.range_mut(offset / PAGE..=(end - 1) / PAGE) {
            let start = page * PAGE;
            let (from, to) = (start.max(offset), (start + bytes.len() as u64).min(end));
            if from < to {
                bytes[(from - start) as usize..(to - start) as usize]
                    .copy_from_slice(&data[(from - offset) as usize..(to - offset) as usize]);
            }
        }
    }

    fn write_differing(&self, offset: u64, new: &[u8], old: &[u8]) -> Result<()> {
        let mut pages = new.chunks(PAGE as usize).zip(old.chunks(PAGE as usize)).enumerate();
        let mut start = None;
        loop {
            let (index, differs) = match pages.next() {
                Some((index, (a, b))) => (index * PAGE as usize, a != b),
                None => (new.len(), false),
            };
            match (start, differs) {
                (None, true) => start = Some(index),
                (Some(from), false) => {
                    self.storage.write_at(offset + from as u64, &new[from..index])?;
                    start = None;
                }
                _ => {}
            }
            if index == new.len() {
                return Ok(());
            }
        }
    }

    /// Zeroes a range that was given up; what already reads as zero is left alone.
    pub(crate) fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        const STEP: u64 = 1 << 20;
        let zeros = vec![0; STEP.min(len) as usize];
        let mut done = 0;
        while done < len {
            let n = (len - done).min(STEP);
            if !self.storage.is_hole(offset + done, n) {
                self.write_data(offset + done, &zeros[..n as usize], Touch::Freed)?;
            }
            done += n;
        }
        Ok(())
    }

    /// Everything written since the volume was opened, in order of offset.
    pub(crate) fn touched(&self) -> Vec<Touched> {
        self.touched.iter().map(|(&(offset, len), &what)| Touched { offset, len, what }).collect()
    }
}
