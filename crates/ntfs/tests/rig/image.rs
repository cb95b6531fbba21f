//! A host file as storage: what is written stays in memory until it is saved.

use reseal_disk::{ReadAt, WriteAt, checked_range};
use reseal_dtyp::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::RwLock;

const PAGE: u64 = 4096;

/// A range of a file, with the changes in memory.
pub struct Image {
    file: File,
    start: u64,
    len: u64,
    pages: RwLock<BTreeMap<u64, Vec<u8>>>,
}

impl Image {
    /// The whole file, or the part that starts at a byte offset.
    pub fn open(path: &Path, start: u64) -> std::io::Result<Image> {
        let file = File::open(path)?;
        let len = file.metadata()?.len() - start;
        Ok(Image { file, start, len, pages: RwLock::default() })
    }

    /// How many bytes of pages were written.
    pub fn dirty(&self) -> usize {
        self.pages.read().unwrap().values().map(Vec::len).sum()
    }

    /// Writes the changes into another file that already holds a copy of this one.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let out = File::options().write(true).open(path)?;
        for (page, bytes) in self.pages.read().unwrap().iter() {
            out.write_all_at(bytes, self.start + page * PAGE)?;
        }
        Ok(())
    }

    fn page(&self, page: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; PAGE.min(self.len - page * PAGE) as usize];
        let at = self.start + page * PAGE;
        self.file.read_exact_at(&mut bytes, at).map_err(|e| Error::io("reading the image", e))?;
        Ok(bytes)
    }
}

impl ReadAt for Image {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        checked_range(offset, buf.len(), self.len)?;
        self.file.read_exact_at(buf, self.start + offset).map_err(|e| Error::io("reading the image", e))?;
        let end = offset + buf.len() as u64;
        for (page, bytes) in self.pages.read().unwrap().range(offset / PAGE..end.div_ceil(PAGE)) {
            let at = page * PAGE;
            let (from, to) = (at.max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }
}

impl WriteAt for Image {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        checked_range(offset, data.len(), self.len)?;
        let mut pages = self.pages.write().unwrap();
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE, (at % PAGE) as usize);
            let n = (data.len() - done).min(PAGE as usize - within);
            let bytes = match pages.get_mut(&page) {
                Some(bytes) => bytes,
                None => pages.entry(page).or_insert(self.page(page)?),
            };
            bytes[within..within + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
        Ok(())
    }
}
