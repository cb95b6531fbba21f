//! The blob table ("lookup table"): where each content lies, by its SHA-1.

use crate::header::HEADER_LEN;
use crate::resource::{RESOURCE_HEADER_LEN, ResourceHeader};
use reseal_dtyp::{Error, Result, View};
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet};

/// SHA-1 of a content; zeros stand for the empty one.
pub type Sha1Hash = [u8; 20];

/// The SHA-1 of a content as a WIM states it.
pub fn hash_of(content: &[u8]) -> Sha1Hash {
    if content.is_empty() { [0; 20] } else { Sha1::digest(content).into() }
}

/// Length of an entry in bytes.
const ENTRY: usize = RESOURCE_HEADER_LEN + 26;
/// The size that an entry of a solid resource, rather than of a blob in one, states.
const SOLID_MAGIC: u64 = 0x1_0000_0000;

/// A content that files share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-1 of the content.
    pub hash: Sha1Hash,
    /// Bytes of the content.
    pub size: u64,
    /// How many streams of files have it, as the table says.
    pub references: u32,
    pub(crate) place: Place,
}

impl Blob {
    /// Whether it lies in a solid resource, with others.
    pub fn is_solid(&self) -> bool {
        self.solid().is_some()
    }

    /// Where it lies, for reading many in order: the solid resource, none for one of its own, and the offset there.
    pub fn position(&self) -> (Option<usize>, u64) {
        match self.place {
            Place::Own(header) => (None, header.offset),
            Place::Solid { resource, offset } => (Some(resource), offset),
        }
    }

    /// The solid resource that it lies in.
    pub(crate) fn solid(&self) -> Option<usize> {
        match self.place {
            Place::Solid { resource, .. } => Some(resource),
            Place::Own(_) => None,
        }
    }
}

/// Where the content of a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A resource of its own.
    Own(ResourceHeader),
    /// Part of a solid resource.
    Solid {
        /// Index into [`BlobTable::solids`].
        resource: usize,
        /// Offset in what it unpacks to.
        offset: u64,
    },
}

/// All blobs.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlobTable {
    /// Blobs of files.
    pub(crate) blobs: Vec<Blob>,
    /// The metadata resource of each image, in the order of the images.
    pub(crate) metadata: Vec<Blob>,
    /// Solid resources, and what each unpacks to in bytes.
    pub(crate) solids: Vec<(ResourceHeader, u64)>,
    by_hash: HashMap<Sha1Hash, usize>,
}

impl BlobTable {
    /// Reads the table; `size_of` tells what a solid resource unpacks to. `Damaged` for entries that contradict each other.
    pub(crate) fn read(bytes: &[u8], len: u64, size_of: impl Fn(&ResourceHeader) -> Result<u64>) -> Result<BlobTable> {
        if !bytes.len().is_multiple_of(ENTRY) {
            let detail = format!("{} bytes are no whole number of {ENTRY}-byte entries", bytes.len());
            return Err(Error::damaged("blob table", "length", 0, detail));
        }
        let mut entries = Vec::with_capacity(bytes.len() / ENTRY);
        for (index, entry) in bytes.chunks_exact(ENTRY).enumerate() {
            let view = View::new("blob table", (index * ENTRY) as u64, entry);
            entries.push((view, ResourceHeader::read(&view, 0)?));
        }
        let mut out = BlobTable::default();
        for run in entries.chunk_by(|(_, a), (_, b)| a.is_solid() == b.is_solid()) {
            if run[0].1.is_solid() {
                out.add_solid_run(run, len, &size_of)?;
            } else {
                run.iter().try_for_each(|(view, header)| out.add_own(view, *header, len))?;
            }
        }
        Ok(out)
    }

    /// Entries of solid resources side by side: the offsets of blobs count through what all of them unpack to.
    fn add_solid_run(
        &mut self,
        run: &[(View<'_>, ResourceHeader)],
        len: u64,
        size_of: impl Fn(&ResourceHeader) -> Result<u64>,
    ) -> Result<()> {
        let (resources, blobs): (Vec<&(View<'_>, ResourceHeader)>, Vec<_>) =
            run.iter().partition(|(_, header)| header.size == SOLID_MAGIC);
        let mut sizes = Vec::with_capacity(resources.len());
        for (_, header) in resources {
            header.check_place("solid resource", len)?;
            let size = size_of(header)?;
            sizes.push((self.solids.len(), size));
            self.solids.push((*header, size));
        }
        // Where each begins in all that they unpack to.
        let mut starts = Vec::with_capacity(sizes.len());
        let mut total = 0u64;
        for &(resource, size) in &sizes {
            starts.push((total, resource, size));
            total = total.saturating_add(size);
        }
        blobs.into_iter().try_for_each(|(view, header)| self.add_in_solid(view, header, &starts))
    }

    fn add_own(&mut self, view: &View<'_>, header: ResourceHeader, len: u64) -> Result<()> {
        if header.is_spanned() || view.u16(RESOURCE_HEADER_LEN, "part")? != 1 {
            return Err(view.damaged(RESOURCE_HEADER_LEN, "part", "it lies in another part of a WIM that has one"));
        }
        let stored_as_it_is = header.is_compressed() || header.stored == header.size;
        if !stored_as_it_is {
            let detail = format!("{:#x} bytes stored for {:#x} that are not compressed", header.stored, header.size);
            return Err(view.damaged(0, "size", detail));
        }
        header.check_place("resource", len)?;
        let blob = Blob {
            hash: hash(view)?,
            size: header.size,
            references: view.u32(RESOURCE_HEADER_LEN + 2, "references")?,
            place: Place::Own(header),
        };
        if !header.is_metadata() {
            self.add(blob);
        } else if blob.references > 1 {
            let detail = format!("metadata that {} images share", blob.references);
            return Err(view.damaged(RESOURCE_HEADER_LEN + 2, "references", detail));
        } else if blob.references == 1 {
            // One that nothing refers to belongs to an image that was removed.
            self.metadata.push(blob);
        }
        Ok(())
    }

    /// `starts`: where each resource of the run begins in all that they unpack to, which it is, and what it unpacks to.
    fn add_in_solid(&mut self, view: &View<'_>, header: &ResourceHeader, starts: &[(u64, usize, u64)]) -> Result<()> {
        if header.is_metadata() {
            return Err(view.damaged(7, "flags", "metadata in a solid resource"));
        }
        let before = starts.partition_point(|(start, _, _)| *start <= header.offset);
        let holds = |(start, _, size): &&(u64, usize, u64)| {
            let offset = header.offset - start;
            offset <= *size && header.stored <= size - offset
        };
        let Some((start, resource, _)) = starts[..before].last().filter(holds) else {
            let detail = format!(
                "{:#x} bytes at {:#x} lie in none of {} solid resources",
                header.stored,
                header.offset,
                starts.len()
            );
            return Err(view.damaged(0, "place", detail));
        };
        let place = Place::Solid { resource: *resource, offset: header.offset - start };
        let references = view.u32(RESOURCE_HEADER_LEN + 2, "references")?;
        self.add(Blob { hash: hash(view)?, size: header.stored, references, place });
        Ok(())
    }

    /// The blobs of files alone.
    pub(crate) fn without_metadata(&self) -> BlobTable {
        BlobTable { metadata: Vec::new(), ..self.clone() }
    }

    /// Leaves out what is not named; of two entries with one content, the second.
    pub(crate) fn set_references(&mut self, references: &HashMap<Sha1Hash, u32>) {
        for blob in &mut self.blobs {
            blob.references = references.get(&blob.hash).copied().unwrap_or(0);
        }
        let mut seen = HashSet::new();
        self.blobs.retain(|blob| blob.references > 0 && seen.insert(blob.hash));
        let used: HashSet<usize> = self.blobs.iter().filter_map(Blob::solid).collect();
        let numbers: Vec<usize> = (0..self.solids.len()).filter(|index| used.contains(index)).collect();
        let new: HashMap<usize, usize> = numbers.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        self.solids = numbers.iter().map(|old| self.solids[*old]).collect();
        for blob in &mut self.blobs {
            if let Place::Solid { resource, .. } = &mut blob.place {
                *resource = new[resource];
            }
        }
        self.by_hash = self.blobs.iter().enumerate().map(|(at, blob)| (blob.hash, at)).collect();
    }

    /// As it is stored: blobs with resources of their own, one run of solid resources with what lies in them, metadata.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ENTRY * (self.blobs.len() + self.solids.len() + self.metadata.len()));
        let mut put = |header: ResourceHeader, references: u32, hash: &Sha1Hash| {
            out.extend(header.to_bytes());
            out.extend(1u16.to_le_bytes());
            out.extend(references.to_le_bytes());
            out.extend(hash);
        };
        for blob in &self.blobs {
            if let Place::Own(header) = blob.place {
                put(header, blob.references, &blob.hash);
            }
        }
        let mut starts = Vec::with_capacity(self.solids.len());
        let mut total = 0u64;
        for (header, size) in &self.solids {
            put(ResourceHeader { size: SOLID_MAGIC, ..header.of_solid() }, 1, &[0; 20]);
            starts.push(total);
            total = total.saturating_add(*size);
        }
        for blob in &self.blobs {
            if let Place::Solid { resource, offset } = blob.place {
                put(ResourceHeader::in_solid(starts[resource] + offset, blob.size), blob.references, &blob.hash);
            }
        }
        for blob in &self.metadata {
            if let Place::Own(header) = blob.place {
                put(header, blob.references, &blob.hash);
            }
        }
        out
    }

    /// Of two entries with one hash the first one counts.
    pub(crate) fn add(&mut self, blob: Blob) {
        self.by_hash.entry(blob.hash).or_insert(self.blobs.len());
        self.blobs.push(blob);
    }

    /// The blob with this content.
    pub(crate) fn find(&self, hash: &Sha1Hash) -> Option<&Blob> {
        self.by_hash.get(hash).map(|at| &self.blobs[*at])
    }

    /// Whether there is a blob with this content; the empty one, of which the hash is zeros, needs none.
    pub(crate) fn has(&self, hash: &Sha1Hash) -> bool {
        *hash == [0; 20] || self.by_hash.contains_key(hash)
    }
}

fn hash(view: &View<'_>) -> Result<Sha1Hash> {
    let mut out = [0; 20];
    out.copy_from_slice(view.bytes(RESOURCE_HEADER_LEN + 6, 20, "SHA-1")?);
    Ok(out)
}

const _: () = assert!(ENTRY == 50 && HEADER_LEN == 208);
