//! What the compressors write, our decoders read; wimlib does in the tests of `reseal-oracles`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends with a panic")]

mod samples;

use proptest::prelude::*;
use reseal_codec::{lzx, xpress};
use samples::samples;

/// A format with a chunk size.
#[derive(Clone, Copy, Debug)]
enum Format {
    Xpress,
    Lzx(usize),
}

/// Compressors that are used again and again.
struct Codec {
    format: Format,
    xpress: xpress::Compressor,
    lzx: Option<lzx::Compressor>,
}

impl Codec {
    fn new(format: Format) -> Codec {
        let lzx = if let Format::Lzx(window) = format { lzx::Compressor::new(window) } else { None };
        Codec { format, xpress: xpress::Compressor::new(), lzx }
    }

    fn compress(&mut self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let is_shorter = match self.format {
            Format::Xpress => self.xpress.compress(data, &mut out),
            Format::Lzx(_) => self.lzx.as_mut().unwrap().compress(data, &mut out),
        };
        assert_eq!(out[..6], *b"before");
        assert_eq!(out.len() > 6, is_shorter, "a refusal leaves the output as it was");
        assert!(!is_shorter || out.len() - 6 < data.len());
        is_shorter.then(|| out.split_off(6))
    }

    /// Compresses, decodes and compares; returns the compressed length, or the data's where it is stored.
    #[track_caller]
    fn check(&mut self, data: &[u8], what: &str) -> usize {
        let Some(packed) = self.compress(data) else { return data.len() };
        let mut back = vec![0x55; data.len()];
        let done = match self.format {
            Format::Xpress => xpress::decompress(&packed, &mut back),
            Format::Lzx(window) => lzx::decompress(&packed, &mut back, window),
        };
        assert_eq!(done, Ok(()), "{:?} {what} {}", self.format, data.len());
        assert!(back == data, "{:?} {what} {}: other bytes", self.format, data.len());
        packed.len()
    }
}

const FORMATS: [Format; 3] = [Format::Xpress, Format::Lzx(1 << 15), Format::Lzx(1 << 21)];

/// Most of the samples are far from random.
fn fits(name: &str, format: Format) -> bool {
    match (name, format) {
        ("noise", _) => false,
        // What is far back is a match only where the window reaches.
        ("far", Format::Xpress) => false,
        _ => true,
    }
}

#[test]
fn samples_of_every_chunk_size_come_back_and_shrink() {
    let mut formats: Vec<(Format, usize)> = (12..=16).map(|order| (Format::Xpress, 1 << order)).collect();
    formats.extend((15..=21).map(|order| (Format::Lzx(1 << order), 1 << order)));
    for (format, chunk) in formats {
        let mut codec = Codec::new(format);
        for (name, data) in samples(chunk) {
            // Large windows differ in how far matches reach and how large blocks get.
            if chunk > 1 << 18 && !["code", "far", "skewed"].contains(&name) {
                continue;
            }
            let len = codec.check(&data, name);
            assert!(!fits(name, format) || len < chunk * 9 / 10, "{format:?} {name} {chunk}: {len}");
            codec.check(&data[..chunk - 1], name);
            codec.check(&data[chunk / 3..chunk / 2 + 1], name);
        }
    }
}

#[test]
fn every_short_length_comes_back() {
    for format in FORMATS {
        let mut codec = Codec::new(format);
        for (name, data) in samples(700) {
            for len in 0..data.len() {
                codec.check(&data[..len], name);
            }
        }
    }
}

#[test]
fn equal_data_gives_equal_bytes_whatever_came_before() {
    for format in FORMATS {
        let mut used = Codec::new(format);
        for (name, data) in samples(30_000) {
            assert_eq!(used.compress(&data), Codec::new(format).compress(&data), "{format:?} {name}");
        }
    }
}

#[test]
fn what_is_too_long_is_refused() {
    assert!(Codec::new(Format::Xpress).compress(&vec![0; 65_537]).is_none());
    assert!(Codec::new(Format::Lzx(1 << 15)).compress(&vec![0; 32_769]).is_none());
    for window in [0, 1, 1 << 14, (1 << 15) + 1, 1 << 22] {
        assert!(lzx::Compressor::new(window).is_none(), "{window}");
    }
}

/// Pieces that repeat, overlap and end anywhere.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (any::<u8>(), 0usize..700).prop_map(|(byte, n)| vec![byte; n]),
        (prop::collection::vec(0u8..4, 1..9), 0usize..60).prop_map(|(unit, n)| unit.repeat(n)),
        (-90i32..90).prop_map(|n| [&[0xe8][..], &n.to_le_bytes()].concat()),
    ];
    prop::collection::vec((piece, 0usize..400, 0usize..400), 0..60).prop_map(|list| {
        let mut out: Vec<u8> = Vec::new();
        for (piece, back, n) in list {
            out.extend(piece);
            // A copy of what stands some way back, with itself where it is longer than that.
            for _ in 0..if back > 0 && back <= out.len() { n } else { 0 } {
                out.push(out[out.len() - back]);
            }
        }
        out.truncate(32_768);
        out
    })
}

proptest! {
    #[test]
    fn anything_comes_back(data in pieces()) {
        for format in FORMATS {
            Codec::new(format).check(&data, "pieces");
        }
    }
}
