//! Chunks that wimlib compressed: every blob of a WIM decodes to the bytes whose SHA-1 the WIM states.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic and says what it skips"
)]

use sha1::{Digest, Sha1};
use std::process::Command;

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

/// A resource header: stored size (56 bits), flags, offset, size.
fn resource(b: &[u8], at: usize) -> (usize, u8, usize, usize) {
    ((u64_at(b, at) & 0xff_ffff_ffff_ffff) as usize, b[at + 7], u64_at(b, at + 8) as usize, u64_at(b, at + 16) as usize)
}

/// Decodes a resource of chunks: a table of 32-bit offsets behind the first chunk, then the chunks.
fn decode(wim: &[u8], (stored, flags, offset, size): (usize, u8, usize, usize), chunk: usize, kind: &str) -> Vec<u8> {
    let data = &wim[offset..offset + stored];
    if flags & 4 == 0 {
        return data.to_vec();
    }
    let count = size.div_ceil(chunk);
    let table = 4 * (count - 1);
    let start = |i: usize| {
        table + if i == 0 { 0 } else { u32::from_le_bytes(data[4 * i - 4..4 * i].try_into().unwrap()) as usize }
    };
    let mut out = vec![0; size];
    for i in 0..count {
        let end = if i + 1 < count { start(i + 1) } else { stored };
        let (input, target) = (&data[start(i)..end], &mut out[i * chunk..size.min((i + 1) * chunk)]);
        if input.len() == target.len() {
            target.copy_from_slice(input);
        } else {
            match kind {
                "LZMS" => reseal_codec::lzms::decompress(input, target).unwrap(),
                "LZX" => reseal_codec::lzx::decompress(input, target, chunk).unwrap(),
                _ => reseal_codec::xpress::decompress(input, target).unwrap(),
            }
        }
    }
    out
}

/// Files that use every part of the formats: text, code with calls, runs, noise, long matches, columns of numbers.
fn sample(dir: &std::path::Path) {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..200_000).map(|_| random()).collect();
    let words: Vec<u8> = (0..60_000)
        .flat_map(|_| {
            [b"alpha ".to_vec(), b"beta ".to_vec(), b"gamma-delta ".to_vec()][usize::from(random() % 3)].clone()
        })
        .collect();
    let mut code = vec![0u8; 300_000];
    code.iter_mut().enumerate().for_each(|(i, b)| *b = if i % 7 == 0 { 0xe8 } else { (i / 97) as u8 ^ (random() % 4) });
    let runs: Vec<u8> = (0..40u8).flat_map(|i| vec![i; 9_000]).collect();
    for (name, data) in [("noise", noise), ("words", words), ("code", code), ("runs", runs), ("small", b"x".repeat(50))]
    {
        std::fs::write(dir.join(name), data).unwrap();
    }
    let squares: Vec<u8> = (0..50_000u32).flat_map(|i| i.wrapping_mul(i).to_le_bytes()).collect();
    std::fs::write(dir.join("squares"), squares).unwrap();
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.truncate(5 << 20);
    std::fs::write(dir.join("program"), program).unwrap();
}

#[test]
fn blobs_of_wimlib_decode_to_their_hash() {
    let work = tempfile::tempdir().unwrap();
    let dir = work.path().join("files");
    std::fs::create_dir(&dir).unwrap();
    sample(&dir);
    let kinds = [
        ("XPRESS", 4 << 10),
        ("XPRESS", 8 << 10),
        ("XPRESS", 16 << 10),
        ("XPRESS", 32 << 10),
        ("XPRESS", 64 << 10),
        ("LZX", 32 << 10),
        ("LZX", 64 << 10),
        ("LZX", 256 << 10),
        ("LZX", 2 << 20),
        ("LZMS", 32 << 10),
        ("LZMS", 128 << 10),
        ("LZMS", 16 << 20),
    ];
    for (kind, chunk) in kinds {
        let out = work.path().join("t.wim");
        let _ = std::fs::remove_file(&out);
        let run = Command::new("wimlib-imagex")
            .arg("capture")
            .args([&dir, &out])
            .arg(format!("--compress={kind}"))
            .arg(format!("--chunk-size={chunk}"))
            .output();
        let Ok(run) = run else {
            assert!(
                std::env::var_os("RESEAL_ORACLES").is_none_or(|v| v != "require"),
                "RESEAL_ORACLES=require, but wimlib-imagex does not run"
            );
            println!("skipped: wimlib-imagex does not run");
            return;
        };
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let wim = std::fs::read(&out).unwrap();
        let table = decode(&wim, resource(&wim, 0x30), chunk, kind);
        let mut blobs = 0;
        for entry in table.chunks_exact(50) {
            let content = decode(&wim, resource(entry, 0), chunk, kind);
            assert_eq!(Sha1::digest(&content)[..], entry[30..50], "{kind} {chunk}");
            blobs += 1;
        }
        assert!(blobs >= 7, "{kind} {chunk}: {blobs}");
    }
}

#[test]
fn damage_never_panics() {
    let mut state = 7u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as u8
    };
    for len in 0..600 {
        let input: Vec<u8> = (0..len).map(|_| random()).collect();
        let mut out = vec![0; 5000];
        let _ = reseal_codec::lznt1::decompress(&input, &mut out);
        let _ = reseal_codec::xpress::decompress(&input, &mut out);
        let _ = reseal_codec::lzx::decompress(&input, &mut out, 0x8000);
        let _ = reseal_codec::lzms::decompress(&input, &mut out);
    }
}
