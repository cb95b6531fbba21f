//! Compressing chunks.

use crate::header::Compression;
use rayon::prelude::*;
use reseal_codec::{lzx, xpress};

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
        pieces.map_init(|| Packer::new(self), |packer, piece| packer.pack(piece)).collect()
    }

    /// A chunk as it is stored.
    pub(crate) fn one(self, data: &[u8]) -> Vec<u8> {
        Packer::new(self).pack(data)
    }
}

/// Compresses chunk after chunk.
enum Packer {
    /// Not at all. There is no compressor for LZMS, whose chunks may be stored as any others.
    AsItIs,
    Xpress(Box<xpress::Compressor>),
    Lzx(Box<lzx::Compressor>),
}

impl Packer {
    fn new(packing: Packing) -> Packer {
        match packing.compression {
            Compression::None | Compression::Lzms => Packer::AsItIs,
            Compression::Xpress => Packer::Xpress(Box::default()),
            Compression::Lzx => {
                lzx::Compressor::new(packing.chunk).map_or(Packer::AsItIs, |packer| Packer::Lzx(Box::new(packer)))
            }
        }
    }

    fn pack(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let is_shorter = match self {
            Packer::AsItIs => false,
            Packer::Xpress(packer) => packer.compress(data, &mut out),
            Packer::Lzx(packer) => packer.compress(data, &mut out),
        };
        if is_shorter { out } else { data.to_vec() }
    }
}
