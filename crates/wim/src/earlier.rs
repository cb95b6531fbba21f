//! What a content was before a change: most of its chunks are the same still, and need not be compressed anew.

use crate::blobs::{Place, Sha1Hash};
use crate::chunks::Chunks;
use crate::header::Compression;
use crate::resource::ResourceHeader;
use crate::wim::Wim;

/// An earlier form of a content, in chunks of a WIM.
#[derive(Debug)]
pub struct Earlier<'w> {
    wim: &'w Wim,
    chunks: Chunks,
}

impl Wim {
    /// The form that a content has in this WIM; `None` when it is not there, or not in chunks of its own.
    pub fn earlier(&self, hash: &Sha1Hash) -> Option<Earlier<'_>> {
        match self.blob(hash).ok()??.place {
            Place::Own(header) => self.earlier_resource(&header),
            Place::Solid { .. } => None,
        }
    }

    /// The same for the metadata of an image, from 1.
    pub fn earlier_metadata(&self, number: u32) -> Option<Earlier<'_>> {
        self.earlier_resource(&self.metadata_of(number).ok()?.1)
    }

    fn earlier_resource(&self, header: &ResourceHeader) -> Option<Earlier<'_>> {
        // What cannot be read is no help, and no error: the new content stands by itself.
        let chunks = header.is_compressed().then(|| self.chunks_of(header).ok()).flatten()?;
        Some(Earlier { wim: self, chunks })
    }
}

impl Earlier<'_> {
    /// Whether a WIM that compresses so could hold the chunks as they are.
    pub(crate) fn fits(&self, compression: Compression, chunk: usize) -> bool {
        let header = self.wim.header();
        header.compression == compression && header.chunk as usize == chunk
    }

    /// A chunk as it is stored, when it unpacks to `content`.
    pub(crate) fn stored(&self, index: usize, content: &[u8]) -> Option<Vec<u8>> {
        if index >= self.chunks.count() || self.chunks.len_of(index) != content.len() as u64 {
            return None;
        }
        let stored = self.chunks.stored(index);
        let mut bytes = vec![0; (stored.end - stored.start) as usize];
        self.wim.read_stored(stored.start, &mut bytes).ok()?;
        let mut unpacked = vec![0; content.len()];
        self.chunks.unpack_stored(index, &bytes, &mut unpacked).ok()?;
        (unpacked == content).then_some(bytes)
    }
}
