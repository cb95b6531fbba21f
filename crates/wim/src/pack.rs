//! Compressing chunks.

use crate::earlier::Earlier;
use crate::header::Compression;
use crate::writer::Storage;
use rayon::prelude::*;
use reseal_codec::{lzx, xpress};
use std::sync::{Mutex, PoisonError};

/// Chunks of a long content that a thread compresses at a time.
const GROUP: usize = 16;

/// How contents are stored, and the compressors that wait for the next chunk: what they have of memory serves one after the other.
pub(crate) struct Packing {
    compression: Compression,
    storage: Storage,
    /// Bytes of content in each chunk but the last one.
    chunk: usize,
    waiting: Mutex<Vec<Packer>>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// Chunks as they are stored, one behind the other.
#[derive(Default)]
pub(crate) struct Packed {
    pub(crate) bytes: Vec<u8>,
    /// Where each of them begins.
    pub(crate) starts: Vec<usize>,
}

/// A content as it is to be written.
pub(crate) enum Stored {
    Plain(Vec<u8>),
    Packed(Vec<Packed>),
}

impl Packing {
    pub(crate) fn new(compression: Compression, chunk: usize, storage: Storage) -> Packing {
        Packing { compression, storage, chunk: chunk.max(1), waiting: Mutex::default(), buffers: Mutex::default() }
    }

    /// Whether contents are stored in chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        self.compression != Compression::None && self.storage != Storage::Plain
    }

    /// How a content is to be stored.
    pub(crate) fn stored(&self, data: &[u8]) -> Stored {
        match self.packed(data, None) {
            Some(packed) => Stored::Packed(packed),
            None => Stored::Plain(data.to_vec()),
        }
    }

    /// Lends an empty buffer that others had before: fresh memory costs as much as the reading does.
    pub(crate) fn with_buffer<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let buffers = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = buffers().pop();
        let mut buffer = known.unwrap_or_default();
        let out = act(&mut buffer);
        buffer.clear();
        buffers().push(buffer);
        out
    }

    /// Data in its chunks, those of its earlier form where they are the same; `None` when it is to be stored as it is, since
    /// compression makes it no shorter.
    pub(crate) fn packed(&self, data: &[u8], earlier: Option<&Earlier<'_>>) -> Option<Vec<Packed>> {
        if !self.is_chunked() {
            return None;
        }
        let compresses = self.storage == Storage::Compressed;
        let earlier = earlier.filter(|earlier| compresses && earlier.fits(self.compression, self.chunk));
        let packed = self.groups(data, earlier);
        let chunks = packed.iter().map(|part| part.starts.len()).sum::<usize>();
        let stored = packed.iter().map(|part| part.bytes.len()).sum::<usize>();
        let stored = stored + width_of(data.len() as u64) * chunks.saturating_sub(1);
        (stored < data.len() || !compresses).then_some(packed)
    }

    /// The chunks of a content, in the order they stand in. A long one is compressed by several threads.
    pub(crate) fn chunks(&self, data: &[u8]) -> Vec<Packed> {
        self.groups(data, None)
    }

    fn groups(&self, data: &[u8], earlier: Option<&Earlier<'_>>) -> Vec<Packed> {
        let parts = data.par_chunks(self.chunk * GROUP).enumerate();
        parts.map(|(number, part)| self.group(part, number * GROUP, earlier)).collect()
    }

    /// A chunk as it is stored.
    pub(crate) fn one(&self, data: &[u8]) -> Vec<u8> {
        self.group(data, 0, None).bytes
    }

    /// Chunks one after the other; the first of them is chunk `first` of the content.
    fn group(&self, data: &[u8], first: usize, earlier: Option<&Earlier<'_>>) -> Packed {
        let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let known = waiting().pop();
        let mut packer = known.unwrap_or_else(|| self.packer());
        let mut out = Packed::default();
        for (index, chunk) in (first..).zip(data.chunks(self.chunk)) {
            out.starts.push(out.bytes.len());
            if let Some(stored) = earlier.and_then(|earlier| earlier.stored(index, chunk)) {
                out.bytes.extend(stored);
            } else if !packer.pack(chunk, &mut out.bytes) {
                out.bytes.extend(chunk);
            }
        }
        waiting().push(packer);
        out.bytes.shrink_to_fit();
        out
    }

    fn packer(&self) -> Packer {
        if self.storage != Storage::Compressed {
            return Packer::AsItIs;
        }
        match self.compression {
            Compression::None | Compression::Lzms => Packer::AsItIs,
            Compression::Xpress => Packer::Xpress(Box::default()),
            Compression::Lzx => {
                lzx::Compressor::new(self.chunk).map_or(Packer::AsItIs, |packer| Packer::Lzx(Box::new(packer)))
            }
        }
    }
}

/// Bytes of an offset in the table of chunks of so long a content.
pub(crate) fn width_of(size: u64) -> usize {
    if size > u64::from(u32::MAX) { 8 } else { 4 }
}

/// Compresses chunk after chunk.
enum Packer {
    /// Not at all. There is no compressor for LZMS, whose chunks may be stored as any others.
    AsItIs,
    Xpress(Box<xpress::Compressor>),
    Lzx(Box<lzx::Compressor>),
}

impl Packer {
    /// Appends the compressed form; `false`, and nothing, where that is not shorter.
    fn pack(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        match self {
            Packer::AsItIs => false,
            Packer::Xpress(packer) => packer.compress(data, out),
            Packer::Lzx(packer) => packer.compress(data, out),
        }
    }
}
