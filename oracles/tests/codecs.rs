//! wimlib's C library decodes what our compressors wrote, and ours is not much longer than its own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

#[path = "../../crates/codec/tests/samples/mod.rs"]
mod samples;

use reseal_codec::{lzx, xpress};
use reseal_testdata::{oracle, real};
use std::path::Path;

/// Chunk after chunk as `wimlib.py` has them: stored size, size, stored bytes. Returns the stored bytes, too.
fn pack(kind: &str, chunk: usize, content: &[u8]) -> (Vec<u8>, usize) {
    let (mut out, mut total) = (Vec::new(), 0);
    let mut xpress = xpress::Compressor::new();
    let mut lzx = lzx::Compressor::new(chunk);
    for data in content.chunks(chunk) {
        let mut packed = Vec::new();
        let is_shorter = match (kind, &mut lzx) {
            ("XPRESS", _) => xpress.compress(data, &mut packed),
            ("LZX", Some(lzx)) => lzx.compress(data, &mut packed),
            _ => panic!("{kind} with chunks of {chunk}"),
        };
        if !is_shorter {
            packed = data.to_vec();
        }
        total += packed.len();
        out.extend((packed.len() as u32).to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(packed);
    }
    (out, total)
}

/// Runs the script. `None` when the library is missing and not required.
fn wimlib(verb: &str, kind: &str, chunk: usize, input: &[u8], dir: &Path) -> Option<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("wimlib.py");
    let (source, target) = (dir.join("source"), dir.join("target"));
    std::fs::write(&source, input).unwrap();
    let size = chunk.to_string();
    let args = [script.as_os_str(), verb.as_ref(), kind.as_ref(), size.as_ref(), source.as_ref(), target.as_ref()];
    let output = oracle::run("python3", args)?;
    if output.status.code() == Some(3) {
        oracle::missing(&format!("libwim.so.15 is not here: {}", String::from_utf8_lossy(&output.stderr)));
        return None;
    }
    assert!(output.status.success(), "{kind} {chunk}: {}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(target).unwrap())
}

/// Stored bytes in records.
fn stored(mut packed: &[u8]) -> usize {
    let mut total = 0;
    while let Some(field) = packed.first_chunk() {
        let len = u32::from_le_bytes(*field) as usize;
        total += len;
        packed = &packed[8 + len..];
    }
    total
}

/// Hives, logs and text of Windows, and a program: some of each.
fn contents() -> Vec<(&'static str, Vec<u8>)> {
    let mut out = Vec::new();
    if let Some(root) = real::root() {
        let museum = "AndrewRathbun+DFIRArtifactMuseum";
        for (name, path) in [
            ("SYSTEM", "deb_plaso_20241006/SYSTEM"),
            ("SOFTWARE", "deb_plaso_20241006/SOFTWARE"),
            ("setupapi", &format!("{museum}/setupapi.dev.log/Win10/RathbunVM/setupapi.dev.log")),
            ("$SDS", &format!("{museum}/NTFSArtifacts/Secure_$SDS/Win10/RathbunVM/$Secure_$SDS")),
        ] {
            let data = real::read(&root, path).unwrap();
            out.push((name, data[data.len() / 3..][..600_000.min(data.len() / 2)].to_vec()));
        }
    }
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.truncate(800_000);
    out.push(("program", program));
    out
}

/// Every chunk size of a format: samples of a few chunks, and real files, which may be so many times as long as wimlib's.
fn agree(kind: &str, orders: std::ops::RangeInclusive<u32>, most: f64) {
    let dir = tempfile::tempdir().unwrap();
    let contents = contents();
    for order in orders {
        let chunk = 1usize << order;
        let sampled =
            samples::samples(chunk.min(150_000) + 777).into_iter().map(|(_, data)| data).collect::<Vec<_>>().concat();
        let (packed, _) = pack(kind, chunk, &sampled);
        let Some(back) = wimlib("unpack", kind, chunk, &packed, dir.path()) else { return };
        assert!(back == sampled, "{kind} {chunk}: samples differ");
        for (name, data) in &contents {
            let (packed, ours) = pack(kind, chunk, data);
            let Some(back) = wimlib("unpack", kind, chunk, &packed, dir.path()) else { return };
            assert!(back == *data, "{kind} {chunk}: {name} differs");
            let Some(theirs) = wimlib("pack", kind, chunk, data, dir.path()) else { return };
            let ratio = ours as f64 / stored(&theirs) as f64;
            println!("{kind} {chunk} {name}: {} -> {ours}, {ratio:.3} of wimlib's", data.len());
            assert!(ratio < most, "{kind} {chunk} {name}: {ours} bytes are {ratio:.3} of wimlib's");
        }
    }
}

/// Chunks that begin with an instruction that the x86 translation knows, and hold calls of few targets behind it: whether the first
/// byte counts decides about all that follow.
fn chunks_that_begin_with_code(chunk: usize) -> Vec<u8> {
    let instructions = [&[0xe8][..], &[0xe9], &[0xe9, 0xe8], &[0x48, 0x8b, 0x05], &[0x4c, 0x8d, 0x05], &[0xff, 0x15]];
    let mut random = samples::random(5);
    let mut out = Vec::new();
    for first in instructions {
        let start = out.len();
        out.extend(first);
        while out.len() < start + chunk {
            let target = [4_000i32, 9_000, 20_000][usize::from(random() % 3)];
            out.extend((target - (out.len() - start) as i32).to_le_bytes());
            out.extend(&[0x90, 0x48, 0x89][..usize::from(random() % 4)]);
            out.extend(instructions[usize::from(random() % 6)]);
        }
        out.truncate(start + chunk);
    }
    out
}

/// There is no compressor of ours: what wimlib's wrote, our decoder reads.
#[test]
fn lzms_of_wimlib() {
    let dir = tempfile::tempdir().unwrap();
    for chunk in [1 << 15, 1 << 17] {
        let mut contents = contents();
        contents.push(("code", chunks_that_begin_with_code(chunk)));
        for (name, data) in contents {
            let Some(packed) = wimlib("pack", "LZMS", chunk, &data, dir.path()) else { return };
            let (mut rest, mut compressed) = (&packed[..], 0);
            for content in data.chunks(chunk) {
                let len = u32::from_le_bytes(*rest.first_chunk().unwrap()) as usize;
                let (stored, behind) = rest[8..].split_at(len);
                rest = behind;
                if len < content.len() {
                    let mut back = vec![0; content.len()];
                    reseal_codec::lzms::decompress(stored, &mut back).unwrap();
                    assert!(back == content, "{name} {chunk}: other bytes");
                    compressed += 1;
                }
            }
            assert!(rest.is_empty() && compressed > 0, "{name} {chunk}: nothing was compressed");
        }
    }
}

#[test]
fn xpress() {
    agree("XPRESS", 12..=16, 1.04);
}

#[test]
fn lzx() {
    agree("LZX", 15..=21, 1.06);
}
