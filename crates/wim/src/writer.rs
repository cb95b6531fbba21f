//! Writing a WIM: resources one behind the other, then the tables, and last the header, with which all of it counts.

use crate::blobs::{Blob, BlobTable, Place, Sha1Hash, hash_of};
use crate::earlier::Earlier;
use crate::header::{HEADER_LEN, Header};
use crate::image::Image;
use crate::integrity;
use crate::pack::{Packed, Packing, Stored, width_of};
use crate::resource::ResourceHeader;
use crate::wim::Wim;
use reseal_dtyp::{Error, Kind, Result};
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Bytes that are compressed, or copied, at once.
const STEP: usize = 16 << 20;

/// A file that is written.
pub trait Output {
    /// Writes all of `bytes` at `offset`, behind the end too.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Fills `buf` with what was written, or stood there before.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()>;
}

/// A file in memory.
impl Output for Vec<u8> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).map_err(|_| Error::new(Kind::Limit, "the file is too long"))?;
        let end = start + bytes.len();
        self.resize(self.len().max(end), 0);
        self[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = reseal_disk::checked_range(offset, buf.len(), self.len() as u64)?;
        buf.copy_from_slice(&self[range]);
        Ok(())
    }
}

/// How new resources are stored. All three are valid in every WIM; which of them a program reads is another matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Storage {
    /// In chunks, compressed as the WIM is.
    #[default]
    Compressed,
    /// As they are, whatever the WIM's format.
    Plain,
    /// In chunks that are stored as they are, as those are that do not compress.
    PlainChunks,
}

/// The header of a WIM that was written but for it; to be written at offset 0 when all else is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The header.
    pub header: [u8; HEADER_LEN],
    /// Length of the file in bytes.
    pub len: u64,
}

/// A WIM being written.
pub struct Writer<'o> {
    output: &'o mut dyn Output,
    at: u64,
    header: Header,
    packing: Packing,
    pub(crate) table: BlobTable,
    /// Hashes of the first pieces of the file, when the integrity table of the old WIM knows them.
    known: Vec<[u8; 20]>,
    has_integrity: bool,
}

impl std::fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("at", &self.at).field("header", &self.header).finish()
    }
}

impl<'o> Writer<'o> {
    /// Begins a new WIM, in the format of `header`.
    pub fn new(output: &'o mut dyn Output, header: Header, storage: Storage, has_integrity: bool) -> Writer<'o> {
        let at = HEADER_LEN as u64;
        let packing = Packing::new(header.compression, header.chunk as usize, storage);
        Writer { output, at, header, packing, table: BlobTable::default(), known: Vec::new(), has_integrity }
    }

    /// Goes on behind the last byte of a WIM that anything refers to; all that it holds stays where it is. `Unsupported` for one
    /// that is marked as not to be changed.
    pub fn behind(output: &'o mut dyn Output, wim: &Wim, storage: Storage) -> Result<Writer<'o>> {
        let header = wim.header().clone();
        if header.is_read_only() {
            return Err(Error::unsupported("the WIM is marked read-only: write a new one with `-o`"));
        }
        let at = wim.end().next_multiple_of(8);
        let (known, has_integrity) = (wim.known_pieces(at)?, wim.has_integrity());
        let table = wim.table().without_metadata();
        let packing = Packing::new(header.compression, header.chunk as usize, storage);
        Ok(Writer { output, at, header, packing, table, known, has_integrity })
    }

    /// Where the next byte is written.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// Whether a content is there already.
    pub fn has(&self, hash: &Sha1Hash) -> bool {
        self.table.has(hash)
    }

    /// Writes a content, unless it is there already. Its SHA-1; zeros for the empty one.
    pub fn blob(&mut self, data: &[u8]) -> Result<Sha1Hash> {
        self.hashed_blob(hash_of(data), data, None)
    }

    /// [`Writer::blob`] for a content whose SHA-1 is known, and perhaps what it was before.
    pub fn hashed_blob(&mut self, hash: Sha1Hash, data: &[u8], earlier: Option<&Earlier<'_>>) -> Result<Sha1Hash> {
        if !self.has(&hash) {
            let header = self.resource(data, earlier)?;
            self.table.add(Blob { hash, size: data.len() as u64, references: 0, place: Place::Own(header) });
        }
        Ok(hash)
    }

    /// Writes contents in their order, those that are there already left out: `read` puts each, by its number, into an empty
    /// buffer. They are read, hashed and compressed side by side, and all that is written of them is held until then. SHA-1 and
    /// size of each.
    pub fn blobs<E: From<Error> + Send>(
        &mut self,
        count: usize,
        read: impl Fn(usize, &mut Vec<u8>) -> std::result::Result<(), E> + Sync,
    ) -> std::result::Result<Vec<(Sha1Hash, u64)>, E> {
        use rayon::prelude::*;
        let seen = Mutex::new(HashSet::new());
        let (table, packing) = (&self.table, &self.packing);
        let make = |number: usize| {
            packing.with_buffer(|data| {
                read(number, data)?;
                let hash = hash_of(data);
                let is_new = !table.has(&hash) && seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hash);
                Ok((hash, data.len() as u64, is_new.then(|| packing.stored(data))))
            })
        };
        let made: Vec<_> = (0..count).into_par_iter().map(make).collect::<std::result::Result<_, E>>()?;
        // Who came first among equal ones is chance; where they are written is not.
        let mut new: HashMap<Sha1Hash, Stored> = HashMap::new();
        let mut known = Vec::with_capacity(made.len());
        for (hash, size, stored) in made {
            new.extend(stored.map(|stored| (hash, stored)));
            known.push((hash, size));
        }
        for (hash, size) in &known {
            if let Some(stored) = new.remove(hash) {
                let header = self.write_stored(&stored, *size)?;
                self.table.add(Blob { hash: *hash, size: *size, references: 0, place: Place::Own(header) });
            }
        }
        Ok(known)
    }

    /// Writes a content that is too large to be held at once: `read` fills a buffer from an offset. Its SHA-1. What is there
    /// already is not written twice, but read.
    pub fn large_blob(&mut self, size: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> Result<()>) -> Result<Sha1Hash> {
        let start = self.at;
        let chunk = u64::from(self.header.chunk);
        let (width, count) =
            if self.packing.is_chunked() { (width_of(size) as u64, size.div_ceil(chunk)) } else { (0, 1) };
        let table_len = width * count.saturating_sub(1);
        let mut offsets = Vec::new();
        let data = start + table_len;
        // Whole chunks, so that each but the last one is as long as the header says.
        let step = (STEP as u64).next_multiple_of(chunk.max(1));
        let (mut at, mut done, mut buf, mut sha) = (data, 0u64, Vec::new(), Sha1::new());
        while done < size {
            buf.resize((size - done).min(step) as usize, 0);
            read(done, &mut buf)?;
            sha.update(&buf);
            done += buf.len() as u64;
            if width == 0 {
                self.output.write_at(at, &buf)?;
                at += buf.len() as u64;
                continue;
            }
            for Packed { bytes, starts } in self.packing.chunks(&buf) {
                offsets.extend(starts.iter().map(|start| at - data + *start as u64));
                self.output.write_at(at, &bytes)?;
                at += bytes.len() as u64;
            }
        }
        let hash: Sha1Hash = sha.finalize().into();
        if self.has(&hash) {
            // What was written is written over by what comes next.
            return Ok(hash);
        }
        self.write_offsets(start, width as usize, &offsets)?;
        self.at = at;
        let header = if width == 0 {
            ResourceHeader::plain(start, size)
        } else {
            ResourceHeader::compressed(start, at - start, size)
        };
        self.table.add(Blob { hash, size, references: 0, place: Place::Own(header) });
        Ok(hash)
    }

    /// Takes over a content from another WIM: as it is stored where both compress alike, else anew.
    pub fn copy(&mut self, from: &Wim, blob: &Blob) -> Result<()> {
        if self.has(&blob.hash) {
            return Ok(());
        }
        match blob.place {
            Place::Own(header) if !header.is_compressed() || self.compresses_like(from) => {
                let moved = header.moved_to(self.at);
                self.copy_bytes(from, header.offset, header.stored)?;
                self.table.add(Blob { references: 0, place: Place::Own(moved), ..blob.clone() });
            }
            _ => {
                let hash = self.large_blob(blob.size, &mut |at, buf| from.read_at(blob, at, buf).map(drop))?;
                if hash != blob.hash {
                    return Err(Error::damaged(
                        "blob",
                        "SHA-1",
                        0,
                        "the content does not have the SHA-1 that is stated",
                    ));
                }
            }
        }
        Ok(())
    }

    fn compresses_like(&self, other: &Wim) -> bool {
        (self.header.compression, self.header.chunk) == (other.header().compression, other.header().chunk)
    }

    pub(crate) fn copy_bytes(&mut self, from: &Wim, offset: u64, len: u64) -> Result<()> {
        let mut buf = Vec::new();
        let mut done = 0;
        while done < len {
            buf.resize((len - done).min(STEP as u64) as usize, 0);
            from.read_stored(offset + done, &mut buf)?;
            self.put(&buf)?;
            done += buf.len() as u64;
        }
        Ok(())
    }

    /// Writes the metadata of the next image.
    pub fn image(&mut self, image: &Image) -> Result<()> {
        self.metadata(&image.to_metadata()?, None)
    }

    /// [`Writer::image`] for one that was serialized; perhaps with what it was before.
    pub fn metadata(&mut self, data: &[u8], earlier: Option<&Earlier<'_>>) -> Result<()> {
        let header = self.resource(data, earlier)?;
        self.add_metadata(Sha1::digest(data).into(), data.len() as u64, header);
        Ok(())
    }

    /// Takes over the metadata of an image as it is stored: where it is when both are one file, else a copy.
    pub fn copy_image(&mut self, from: &Wim, number: u32, same_file: bool) -> Result<()> {
        let (blob, header) = from.metadata_of(number)?;
        if same_file {
            self.add_metadata(blob.hash, blob.size, header);
        } else if !header.is_compressed() || self.compresses_like(from) {
            let moved = header.moved_to(self.at);
            self.copy_bytes(from, header.offset, header.stored)?;
            self.add_metadata(blob.hash, blob.size, moved);
        } else {
            self.image(&from.image(number)?)?;
        }
        Ok(())
    }

    fn add_metadata(&mut self, hash: Sha1Hash, size: u64, header: ResourceHeader) {
        self.table.metadata.push(Blob { hash, size, references: 1, place: Place::Own(header.of_metadata()) });
    }

    /// Writes the tables. `references` says how often the files of all images name each content; what they don't name is
    /// left out of the table. `Damaged` where they name what is not there.
    pub fn finish(mut self, references: &HashMap<Sha1Hash, u32>, boot_image: u32, xml: &[u8]) -> Result<Finished> {
        if let Some(missing) = references.keys().find(|hash| !self.has(hash)) {
            let text: String = missing.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(Error::damaged(
                "blob table",
                "SHA-1",
                0,
                format!("no blob has the content {text} that a file names"),
            ));
        }
        self.table.set_references(references);
        self.align()?;
        let boot = boot_image.checked_sub(1).and_then(|at| self.table.metadata.get(at as usize));
        self.header.boot_metadata = match boot.map(|blob| blob.place) {
            Some(Place::Own(header)) => header,
            _ => ResourceHeader::default(),
        };
        self.header.boot_image = if boot.is_some() { boot_image } else { 0 };
        self.header.images = self.table.metadata.len() as u32;
        let table = self.table.to_bytes();
        self.header.blob_table = self.write_plain(&table)?;
        let end_of_table = self.at;
        self.header.xml = self.write_plain(xml)?;
        self.header.integrity = if self.has_integrity {
            let table = integrity::table(self.output, end_of_table, &self.known)?;
            self.write_plain(&table)?
        } else {
            ResourceHeader::default()
        };
        Ok(Finished { header: self.header.to_bytes(), len: self.at })
    }

    /// A resource of its own, as the storage says.
    fn resource(&mut self, data: &[u8], earlier: Option<&Earlier<'_>>) -> Result<ResourceHeader> {
        match self.packing.packed(data, earlier) {
            Some(packed) => self.write_packed(&packed, data.len() as u64),
            None => self.write_plain(data),
        }
    }

    fn write_stored(&mut self, stored: &Stored, size: u64) -> Result<ResourceHeader> {
        match stored {
            Stored::Plain(data) => self.write_plain(data),
            Stored::Packed(packed) => self.write_packed(packed, size),
        }
    }

    fn write_plain(&mut self, data: &[u8]) -> Result<ResourceHeader> {
        let header = ResourceHeader::plain(self.at, data.len() as u64);
        self.put(data)?;
        Ok(header)
    }

    fn write_packed(&mut self, packed: &[Packed], size: u64) -> Result<ResourceHeader> {
        let start = self.at;
        let (mut offsets, mut len) = (Vec::new(), 0);
        for part in packed {
            offsets.extend(part.starts.iter().map(|start| len + *start as u64));
            len += part.bytes.len() as u64;
        }
        self.put(&offset_table(width_of(size), &offsets))?;
        for part in packed {
            self.put(&part.bytes)?;
        }
        Ok(ResourceHeader::compressed(start, self.at - start, size))
    }

    fn write_offsets(&mut self, start: u64, width: usize, offsets: &[u64]) -> Result<()> {
        if width == 0 { Ok(()) } else { self.output.write_at(start, &offset_table(width, offsets)) }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.output.write_at(self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Writes over what [`Writer::put`] has written.
    pub(crate) fn put_at(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.output.write_at(offset, bytes)
    }

    fn align(&mut self) -> Result<()> {
        let gap = self.at.next_multiple_of(8) - self.at;
        self.put(&[0; 8][..gap as usize])
    }
}

/// Offsets of all chunks but the first one.
fn offset_table(width: usize, offsets: &[u64]) -> Vec<u8> {
    offsets.iter().skip(1).flat_map(|offset| offset.to_le_bytes().into_iter().take(width)).collect()
}

impl Wim {
    /// How often the files of these images name each content; those that `changed` has are taken from there.
    pub fn references(&self, images: &[u32], changed: &HashMap<u32, &Image>) -> Result<HashMap<Sha1Hash, u32>> {
        let mut out: HashMap<Sha1Hash, u32> = HashMap::new();
        for number in images {
            let counts = match changed.get(number) {
                Some(image) => image.references(),
                None => self.image(*number)?.references(),
            };
            for (hash, count) in counts {
                let sum = out.entry(hash).or_insert(0);
                *sum = sum
                    .checked_add(count)
                    .ok_or_else(|| Error::new(Kind::Limit, "a content is named more than 4,294,967,295 times"))?;
            }
        }
        Ok(out)
    }
}
