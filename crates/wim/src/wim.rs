//! A WIM file, opened for reading.

use crate::blobs::{Blob, BlobTable, Place, Sha1Hash};
use crate::chunks::Chunks;
use crate::header::{HEADER_LEN, Header};
use crate::image::Image;
use crate::integrity;
use crate::parts::Part;
use crate::resource::ResourceHeader;
use rayon::prelude::*;
use reseal_disk::ReadAt;
use reseal_dtyp::{Error, Kind, Result};
use sha1::{Digest, Sha1};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Tables above this are no tables of a WIM: ten million blobs.
pub(crate) const MAX_TABLE: u64 = 500 << 20;
/// Metadata above this is none of an image: Windows needs some 50 MB.
const MAX_METADATA: u64 = 2 << 30;
/// Bytes of a part of a long content.
const PART: usize = 8 << 20;
/// XML data above this is none.
const MAX_XML: u64 = 16 << 20;

/// An unpacked chunk of a solid resource.
#[derive(Clone)]
struct Unpacked {
    resource: usize,
    index: usize,
    bytes: Arc<Vec<u8>>,
}

/// A WIM file.
pub struct Wim {
    store: Arc<dyn ReadAt>,
    header: Header,
    blobs: BlobTable,
    /// The chunks of each solid resource, once they are known.
    solids: Vec<OnceLock<Chunks>>,
    /// The chunk of a solid resource that was unpacked last: small files lie in one side by side.
    last: Mutex<Option<Unpacked>>,
    /// The parts of a split WIM; none of one that is whole.
    parts: Vec<Part>,
}

impl std::fmt::Debug for Wim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wim").field("header", &self.header).field("blobs", &self.blobs.blobs.len()).finish()
    }
}

impl Wim {
    /// Whether bytes at the start of a file are those of a WIM, of any kind.
    pub fn is_one(start: &[u8]) -> bool {
        start.starts_with(b"MSWIM\0\0\0") || start.starts_with(b"WLPWM\0\0\0")
    }

    /// Reads header and blob table. `Unsupported` for parts of a split WIM ([`Wim::open_parts`]), pipable ones, and ones being written.
    pub fn open(store: Arc<dyn ReadAt>) -> Result<Wim> {
        let mut head = vec![0; HEADER_LEN.min(usize::try_from(store.len()).unwrap_or(HEADER_LEN))];
        store.read_at(0, &mut head)?;
        let header = Header::read(&head)?;
        let table = read_whole(&*store, &header, &header.blob_table, "blob table", MAX_TABLE)?;
        let blobs = BlobTable::read(&table, store.len(), |solid| Chunks::size_of_solid(&*store, solid))?;
        Wim::new(store, header, blobs, Vec::new())
    }

    pub(crate) fn new(store: Arc<dyn ReadAt>, header: Header, blobs: BlobTable, parts: Vec<Part>) -> Result<Wim> {
        if blobs.metadata.len() != header.images as usize {
            let detail = format!("{} images, and metadata of {}", header.images, blobs.metadata.len());
            return Err(Error::damaged("WIM header", "images", 0x2c, detail));
        }
        let solids = blobs.solids.iter().map(|_| OnceLock::new()).collect();
        Ok(Wim { store, header, blobs, solids, last: Mutex::default(), parts })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All blobs of files.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs.blobs
    }

    /// Whether any blob lies in a solid resource.
    pub fn has_solid(&self) -> bool {
        !self.blobs.solids.is_empty()
    }

    /// How many files it is, 1 unless it is split.
    pub fn parts(&self) -> usize {
        self.parts.len().max(1)
    }

    /// Whether it has an integrity table.
    pub fn has_integrity(&self) -> bool {
        !self.header.integrity.is_absent()
    }

    pub(crate) fn table(&self) -> &BlobTable {
        &self.blobs
    }

    /// Hashes of the pieces of the integrity table that lie below `unchanged`.
    pub(crate) fn known_pieces(&self, unchanged: u64) -> Result<Vec<Sha1Hash>> {
        integrity::known(&*self.store, &self.header, unchanged)
    }

    /// Fills `buf` with what the file has at an offset.
    pub(crate) fn read_stored(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.store.read_at(offset, buf)
    }

    /// The chunks of a solid resource.
    pub(crate) fn solid_chunks(&self, resource: usize) -> Result<&Chunks> {
        if let Some(chunks) = self.solids[resource].get() {
            return Ok(chunks);
        }
        let chunks = Chunks::of_solid(&*self.store, &self.blobs.solids[resource].0)?;
        Ok(self.solids[resource].get_or_init(|| chunks))
    }

    /// The chunks of a compressed resource of its own.
    pub(crate) fn chunks_of(&self, header: &ResourceHeader) -> Result<Chunks> {
        Chunks::of_resource(&*self.store, header, self.header.compression, self.header.chunk)
    }

    /// Unpacks one chunk of a resource.
    pub(crate) fn unpack_solid(&self, chunks: &Chunks, index: usize) -> Result<Vec<u8>> {
        chunks.unpack(&*self.store, index)
    }

    /// What each solid resource unpacks to, gaps between contents included. `Limit` above `max` bytes.
    pub fn solid_contents(&self, max: u64) -> Result<Vec<Vec<u8>>> {
        let content = |(resource, (_, size)): (usize, &(ResourceHeader, u64))| {
            if *size > max {
                return Err(Error::new(Kind::Limit, format!("{size} bytes, at most {max} are read at once")));
            }
            let mut out = vec![0; *size as usize];
            self.solid_chunks(resource)?.unpack_all(&*self.store, &mut out)?;
            Ok(out)
        };
        self.blobs.solids.iter().enumerate().map(content).collect()
    }

    /// The metadata of an image, from 1: what it is, and where it lies.
    pub(crate) fn metadata_of(&self, number: u32) -> Result<(&Blob, ResourceHeader)> {
        let blob = (number as usize).checked_sub(1).and_then(|at| self.blobs.metadata.get(at));
        let blob = blob.ok_or_else(|| {
            Error::not_found(format!("there is no image {number}: the WIM has {}", self.header.images))
        })?;
        match blob.place {
            Place::Own(header) => Ok((blob, header)),
            Place::Solid { .. } => Err(Error::damaged("blob table", "metadata", 0, "it lies in a solid resource")),
        }
    }

    /// What the header and the blob table refer to, ascending and without overlaps: byte ranges of the file.
    fn used(&self) -> Vec<Range<u64>> {
        let own = |blob: &Blob| match blob.place {
            Place::Own(header) => Some(header),
            Place::Solid { .. } => None,
        };
        let header = &self.header;
        let tables = [header.blob_table, header.xml, header.integrity];
        let blobs = self.blobs.blobs.iter().chain(&self.blobs.metadata).filter_map(own);
        let all = tables.into_iter().chain(blobs).chain(self.blobs.solids.iter().map(|(solid, _)| *solid));
        let mut ranges: Vec<_> = all.map(|resource| resource.offset..resource.end()).collect();
        ranges.push(0..HEADER_LEN as u64);
        ranges.extend(self.parts.iter().flat_map(Part::tables));
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        ranges
    }

    /// Where the last of it ends that anything refers to.
    pub fn end(&self) -> u64 {
        self.used().iter().map(|range| range.end).max().unwrap_or(0).min(self.store.len())
    }

    /// Byte ranges of the file that nothing refers to, of at least eight bytes: what was changed and appended anew leaves them.
    pub fn holes(&self) -> Vec<Range<u64>> {
        let mut at = 0;
        let mut out = Vec::new();
        for range in self.used() {
            if range.start >= at + 8 {
                out.push(at..range.start);
            }
            at = at.max(range.end);
        }
        if self.store.len() >= at + 8 {
            out.push(at..self.store.len());
        }
        out
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.store.len()
    }

    /// The XML data as it is stored: UTF-16 with a byte order mark. At most 16 MiB.
    pub fn xml(&self) -> Result<Vec<u8>> {
        if self.header.xml.is_absent() {
            return Ok(Vec::new());
        }
        read_whole(&*self.store, &self.header, &self.header.xml, "XML data", MAX_XML)
    }

    /// Reads an image, from 1. `NotFound` where there is none; `Damaged` when its metadata is not what its SHA-1 says.
    pub fn image(&self, number: u32) -> Result<Image> {
        Image::read(&self.metadata(number)?).map_err(|e| e.within(format!("image {number}")))
    }

    /// The metadata resource of an image, from 1, as it unpacks: what no entry refers to is in it, too. At most 2 GiB; errors as of
    /// [`Wim::image`].
    pub fn metadata(&self, number: u32) -> Result<Vec<u8>> {
        let (blob, header) = self.metadata_of(number)?;
        let metadata = read_whole(&*self.store, &self.header, &header, "metadata resource", MAX_METADATA)?;
        check_hash("metadata resource", header.offset, &metadata, &blob.hash)?;
        Ok(metadata)
    }

    /// The blob with this content; `Damaged` where the table has none. Zeros stand for the empty content: `None`.
    pub fn blob(&self, hash: &Sha1Hash) -> Result<Option<&Blob>> {
        if *hash == [0; 20] {
            return Ok(None);
        }
        let missing = || {
            let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            Error::damaged("blob table", "SHA-1", 0, format!("no blob has the content {text} that a file names"))
        };
        self.blobs.find(hash).map(Some).ok_or_else(missing)
    }

    /// The whole content of a blob, checked against its SHA-1. `Limit` above `max` bytes.
    pub fn read(&self, blob: &Blob, max: u64) -> Result<Vec<u8>> {
        if blob.size > max {
            return Err(Error::new(Kind::Limit, format!("{} bytes, at most {max} are read at once", blob.size)));
        }
        let bytes = match &blob.place {
            Place::Own(header) => read_whole(&*self.store, &self.header, header, "blob", max)?,
            Place::Solid { resource, offset } => {
                let mut bytes = vec![0; blob.size as usize];
                self.read_solid(*resource, *offset, &mut bytes)?;
                bytes
            }
        };
        check_hash("blob", 0, &bytes, &blob.hash)?;
        Ok(bytes)
    }

    /// The whole content of a blob in parts from its start, for one that is too long for the memory; its SHA-1 is checked when all
    /// parts were given away.
    pub fn read_in_parts(&self, blob: &Blob, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut hash = Sha1::new();
        let mut give = |bytes: &[u8]| {
            hash.update(bytes);
            each(bytes)
        };
        match &blob.place {
            Place::Own(header) if header.is_compressed() => {
                let chunks = Chunks::of_resource(&*self.store, header, self.header.compression, self.header.chunk)?;
                let at_once = (PART / self.header.chunk.max(1) as usize).max(1);
                let mut start = 0;
                while start < chunks.count() {
                    let end = (start + at_once).min(chunks.count());
                    let unpack = |index| chunks.unpack(&*self.store, index);
                    let parts: Vec<Vec<u8>> = (start..end).into_par_iter().map(unpack).collect::<Result<_>>()?;
                    parts.iter().try_for_each(|part| give(part))?;
                    start = end;
                }
            }
            _ => {
                let mut buf = vec![0; PART.min(usize::try_from(blob.size).unwrap_or(PART))];
                let mut at = 0;
                while at < blob.size {
                    let n = self.read_at(blob, at, &mut buf)?;
                    give(&buf[..n])?;
                    at += n as u64;
                }
            }
        }
        if hash.finalize()[..] == blob.hash {
            return Ok(());
        }
        let detail = format!("{} bytes do not have the SHA-1 that is stated", blob.size);
        Err(Error::damaged("blob", "SHA-1", 0, detail))
    }

    /// Part of a blob's content; returns how many bytes there were. The SHA-1 is of the whole, so it is not checked.
    pub fn read_at(&self, blob: &Blob, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = blob.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..len];
        match &blob.place {
            Place::Own(header) if !header.is_compressed() => self.store.read_at(header.offset + offset, buf)?,
            Place::Own(header) => {
                self.chunks_of(header)?.unpack_range(&*self.store, offset, buf)?;
            }
            Place::Solid { resource, offset: start } => self.read_solid(*resource, start + offset, buf)?,
        }
        Ok(len)
    }

    /// Part of what a solid resource unpacks to.
    fn read_solid(&self, resource: usize, offset: u64, buf: &mut [u8]) -> Result<()> {
        let range = offset..offset + buf.len() as u64;
        let chunks = self.solid_chunks(resource)?;
        for index in chunks.covering(&range) {
            let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let known = known.filter(|known| (known.resource, known.index) == (resource, index));
            let unpacked = match known {
                Some(known) => known,
                None => Unpacked { resource, index, bytes: Arc::new(chunks.unpack(&*self.store, index)?) },
            };
            copy_part(&unpacked.bytes, chunks.start_of(index), &range, buf);
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(unpacked);
        }
        Ok(())
    }

    /// Ranges of the file that contradict the integrity table; `None` when there is no table. Of a split WIM, offsets count through
    /// its parts.
    pub fn check_integrity(&self) -> Result<Option<Vec<Range<u64>>>> {
        if self.parts.is_empty() {
            return integrity::check(&*self.store, &self.header);
        }
        let mut out = None;
        for part in &self.parts {
            if let Some(wrong) = integrity::check(&*part.store, &part.header)? {
                let shifted = wrong.into_iter().map(|range| part.start + range.start..part.start + range.end);
                out.get_or_insert_with(Vec::new).extend(shifted);
            }
        }
        Ok(out)
    }
}

/// Copies what a chunk, whose content begins at `start`, has of a range.
pub(crate) fn copy_part(chunk: &[u8], start: u64, range: &Range<u64>, buf: &mut [u8]) {
    let (from, to) = (range.start.max(start), range.end.min(start + chunk.len() as u64));
    if from < to {
        let part = &chunk[(from - start) as usize..(to - start) as usize];
        buf[(from - range.start) as usize..(to - range.start) as usize].copy_from_slice(part);
    }
}

fn check_hash(what: &'static str, offset: u64, bytes: &[u8], hash: &Sha1Hash) -> Result<()> {
    if Sha1::digest(bytes)[..] == *hash {
        return Ok(());
    }
    Err(Error::damaged(what, "SHA-1", offset, format!("{} bytes do not have the SHA-1 that is stated", bytes.len())))
}

/// A resource of its own, whole. `Limit` above `max` bytes.
pub(crate) fn read_whole(
    store: &dyn ReadAt,
    header: &Header,
    resource: &ResourceHeader,
    what: &'static str,
    max: u64,
) -> Result<Vec<u8>> {
    resource.check_place(what, store.len())?;
    if resource.size > max {
        return Err(Error::new(Kind::Limit, format!("{} bytes, at most {max} are read", resource.size)).at(
            what,
            "size",
            resource.offset,
        ));
    }
    if !resource.is_compressed() {
        if resource.size != resource.stored {
            let detail = format!("{:#x} bytes stored for {:#x}", resource.stored, resource.size);
            return Err(Error::damaged(what, "size", resource.offset, detail));
        }
        let mut out = vec![0; resource.size as usize];
        store.read_at(resource.offset, &mut out)?;
        return Ok(out);
    }
    let chunks = Chunks::of_resource(store, resource, header.compression, header.chunk)?;
    // Each chunk has a table entry and is no longer than its content, so the size is what the file can hold.
    let mut out = vec![0; resource.size as usize];
    chunks.unpack_all(store, &mut out)?;
    Ok(out)
}
