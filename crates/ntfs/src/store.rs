//! The volume's bytes with the changes of the operation under way.
//!
//! An operation stages its metadata here; nothing reaches the storage before the whole operation has succeeded, so that a
//! refusal half way leaves the volume as it was.

use reseal_disk::WriteAt;
use reseal_dtyp::Result;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

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
    seen: Seen,
}

/// Pages of the storage that the operation under way has read: one looks at the same records and blocks many times, and
/// nothing else writes meanwhile.
#[derive(Default)]
struct Seen {
    active: bool,
    pages: Mutex<HashMap<u64, Box<[u8]>>>,
}

impl Seen {
    /// One MiB; what an operation needs again lies close.
    const LIMIT: usize = 256;

    fn get<T>(&self, page: u64, storage: &dyn WriteAt, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = pages.get(&page) {
            return Ok(take(bytes));
        }
        let mut bytes = vec![0; PAGE.min(storage.len().saturating_sub(page * PAGE)) as usize].into_boxed_slice();
        storage.read_at(page * PAGE, &mut bytes)?;
        let out = take(&bytes);
        if self.active {
            if pages.len() >= Seen::LIMIT {
                pages.clear();
            }
            pages.insert(page, bytes);
        }
        Ok(out)
    }

    fn set(&mut self, active: bool) {
        self.active = active;
        self.pages.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A range was written.
    fn forget(&mut self, offset: u64, len: u64) {
        let pages = self.pages.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !pages.is_empty() {
            (offset / PAGE..(offset + len).div_ceil(PAGE)).for_each(|page| drop(pages.remove(&page)));
        }
    }
}

impl Store {
    pub(crate) fn new(storage: Arc<dyn WriteAt>) -> Store {
        Store {
            storage,
            staged: BTreeMap::new(),
            staged_touches: Vec::new(),
            touched: BTreeMap::new(),
            seen: Seen::default(),
        }
    }

    /// An operation begins; it ends with [`Store::commit`] or [`Store::rollback`].
    pub(crate) fn begin(&mut self) {
        self.seen.set(true);
    }

    pub(crate) fn len(&self) -> u64 {
        self.storage.len()
    }

    /// Whether a range is known to read as zero.
    pub(crate) fn is_hole(&self, offset: u64, len: u64) -> bool {
        let staged = self.staged.range(offset / PAGE..offset.saturating_add(len).div_ceil(PAGE)).next();
        staged.is_none() && self.storage.is_hole(offset, len)
    }

    /// Fills `buf` from `offset`, staged changes included.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let page = offset / PAGE;
        if self.seen.active && !buf.is_empty() && (offset + buf.len() as u64 - 1) / PAGE == page {
            let from = (offset % PAGE) as usize;
            let range = from..from + buf.len();
            reseal_disk::checked_range(offset, buf.len(), self.storage.len())?;
            if let Some(bytes) = self.staged.get(&page) {
                buf.copy_from_slice(&bytes[range]);
                return Ok(());
            }
            return self.seen.get(page, &*self.storage, |bytes| buf.copy_from_slice(&bytes[range]));
        }
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
                let mut bytes = self.seen.get(page, &*self.storage, <[u8]>::to_vec)?;
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
        self.seen.set(false);
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
        self.seen.set(false);
        self.staged.clear();
        self.staged_touches.clear();
    }

    /// Writes content at once, only the pages that differ: into clusters that were free, or as the last act of an operation.
    pub(crate) fn write_data(&mut self, offset: u64, data: &[u8], what: Touch) -> Result<()> {
        reseal_disk::checked_range(offset, data.len(), self.storage.len())?;
        self.seen.forget(offset, data.len() as u64);
        let mut old = vec![0; data.len().min(64 * PAGE as usize)];
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
            if !self.is_hole(offset + done, n) {
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
