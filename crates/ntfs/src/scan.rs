//! All file records in one pass: large reads, several threads, no allocation per record.

use crate::attribute::kind;
use crate::file_name::NameView;
use crate::fixup;
use crate::record::{FileRecord, flag};
use crate::stat::StandardInformation;
use crate::volume::Volume;
use rayon::prelude::*;
use reseal_dtyp::{Error, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes read at once: a buffer that stays in a core's cache until its records are read.
const CHUNK: u64 = 512 << 10;

/// What the scan meets. Free records are passed over.
#[derive(Debug)]
pub enum Scanned<'a> {
    /// A record in use: a file, or the extension of one.
    Record(FileRecord<'a>),
    /// A record that says it is in use and cannot be read.
    Damaged {
        /// Its number.
        number: u64,
        /// What is wrong.
        error: Error,
    },
}

/// Buffers that wait for the next chunk: as many as there were threads at work at once.
#[derive(Default)]
struct Buffers(Mutex<Vec<Vec<u8>>>);

impl Buffers {
    fn idle(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends `len` bytes, at most a chunk, of any content.
    fn with<T>(&self, len: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let waiting = self.idle().pop();
        let mut buffer = waiting.unwrap_or_else(|| vec![0; CHUNK as usize]);
        let result = work(&mut buffer[..len]);
        self.idle().push(buffer);
        result
    }
}

impl<'a> FileRecord<'a> {
    /// The names that stand in this record; of a file with several records, each may hold some. Unreadable ones are passed
    /// over.
    pub fn names(&self) -> impl Iterator<Item = NameView<'a>> {
        let at = self.at;
        self.attributes()
            .map_while(Result::ok)
            .take_while(|a| a.kind <= kind::FILE_NAME)
            .filter(|a| a.kind == kind::FILE_NAME)
            .filter_map(move |a| NameView::read(a.resident()?, at + a.offset as u64).ok())
    }

    /// `$STANDARD_INFORMATION`, which only base records have.
    pub fn standard_information(&self) -> Option<StandardInformation> {
        let first = self.attributes().next()?.ok()?;
        let value = first.resident().filter(|_| first.kind == kind::STANDARD_INFORMATION)?;
        StandardInformation::read(value, self.at).ok()
    }

    /// The reference of the file that this record belongs to: itself, or the base record that it extends.
    pub fn owner(&self) -> crate::FileReference {
        self.base().unwrap_or_else(|| self.reference())
    }
}

impl Volume {
    /// Reads all file records, in chunks and in parallel. Each chunk starts with a state from `start`; `visit` is called for
    /// every record in use of the chunk in order; the states come back in the order of the chunks, whatever the threads did.
    pub fn scan<T: Send>(
        &self,
        start: impl Fn() -> T + Sync,
        visit: impl Fn(&mut T, Scanned<'_>) + Sync,
    ) -> Result<Vec<T>> {
        let record_size = u64::from(self.geometry.record_size);
        let total = self.record_count() * record_size;
        let chunks = total.div_ceil(CHUNK);
        let buffers = Buffers::default();
        (0..chunks)
            .into_par_iter()
            .map(|index| {
                let offset = index * CHUNK;
                let len = CHUNK.min(total - offset);
                if self.is_hole(offset, len)? {
                    return Ok(start());
                }
                let mut state = start();
                buffers.with(len as usize, |bytes| {
                    self.read_clusters(&self.mft, offset, bytes)?;
                    self.visit_chunk(bytes, offset, &mut |scanned| visit(&mut state, scanned));
                    Ok(())
                })?;
                Ok(state)
            })
            .collect()
    }

    /// Whether a part of `$MFT` is known to be zero without reading it.
    fn is_hole(&self, offset: u64, len: u64) -> Result<bool> {
        let pieces = self.mft.pieces(offset, len, self.geometry.cluster_size)?;
        Ok(pieces.iter().all(|(place, len)| place.is_none_or(|at| self.store.is_hole(at, *len))))
    }

    fn visit_chunk(&self, bytes: &mut [u8], offset: u64, visit: &mut dyn FnMut(Scanned<'_>)) {
        let record_size = self.geometry.record_size as usize;
        for (i, record) in bytes.chunks_exact_mut(record_size).enumerate() {
            let number = (offset + (i * record_size) as u64) / record_size as u64;
            let damaged = |error| Scanned::Damaged { number, error };
            match &record[..4] {
                b"FILE" => {}
                b"BAAD" => {
                    let detail = format!("record {number} is marked BAAD: an earlier reader found a torn write");
                    visit(damaged(Error::damaged("file record", "Signature", self.record_offset(number), detail)));
                    continue;
                }
                _ => continue,
            }
            if u16::from_le_bytes([record[0x16], record[0x17]]) & flag::IN_USE == 0 {
                continue;
            }
            // The offset on the volume is only for errors: found when one is made.
            let result = fixup::unprotect(record, "file record", 0).and_then(|()| FileRecord::new(number, record, 0));
            match result {
                Ok(view) => visit(Scanned::Record(view)),
                Err(error) => visit(damaged(error.within(format!("record {number}")))),
            }
        }
    }
}
