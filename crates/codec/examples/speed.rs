//! Our side of `cargo xtask bench codec`: packs and unpacks files of chunks as `oracles/wimlib.py` does, with the same arguments.
//!
//!     speed pack|unpack KIND CHUNK SOURCE TARGET [RUNS]
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a developer's tool: it ends with a panic")]

use reseal_codec::{lzms, lzx, xpress};

/// Stored size, content size, stored bytes.
fn records(mut packed: &[u8]) -> Vec<(&[u8], usize)> {
    let mut out = Vec::new();
    while let [a, b, c, d, e, f, g, h, rest @ ..] = packed {
        let stored = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        out.push((&rest[..stored], u32::from_le_bytes([*e, *f, *g, *h]) as usize));
        packed = &rest[stored..];
    }
    out
}

fn unpack(kind: &str, chunk: usize, packed: &[u8], out: &mut Vec<u8>) {
    let records = records(packed);
    out.resize(records.iter().map(|r| r.1).sum(), 0);
    let mut rest = &mut out[..];
    for (stored, size) in records {
        let (target, behind) = rest.split_at_mut(size);
        rest = behind;
        if stored.len() == size {
            target.copy_from_slice(stored);
            continue;
        }
        match kind {
            "XPRESS" => xpress::decompress(stored, target).unwrap(),
            "LZX" => lzx::decompress(stored, target, chunk).unwrap(),
            _ => lzms::decompress(stored, target).unwrap(),
        }
    }
}

fn pack(kind: &str, chunk: usize, content: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut xpress = xpress::Compressor::new();
    let mut lzx = lzx::Compressor::new(chunk);
    for data in content.chunks(chunk) {
        let start = out.len();
        out.extend([0; 8]);
        let is_shorter = match (kind, &mut lzx) {
            ("XPRESS", _) => xpress.compress(data, out),
            ("LZX", Some(lzx)) => lzx.compress(data, out),
            _ => panic!("{kind} with chunks of {chunk}"),
        };
        if !is_shorter {
            out.extend(data);
        }
        let stored = (out.len() - start - 8) as u32;
        out[start..start + 4].copy_from_slice(&stored.to_le_bytes());
        out[start + 4..start + 8].copy_from_slice(&(data.len() as u32).to_le_bytes());
    }
}

/// Seconds that this thread has had a processor: what other programs do meanwhile does not count.
fn cpu() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [verb, kind, chunk, source, target, rest @ ..] = &args[..] else { panic!("see the source") };
    let (chunk, runs) = (chunk.parse().unwrap(), rest.first().map_or(1u32, |r| r.parse().unwrap()));
    let data = std::fs::read(source).unwrap();
    let work = if verb == "pack" { pack } else { unpack };
    // Once before, so that the memory is there.
    let mut out = Vec::new();
    work(kind, chunk, &data, &mut out);
    let start = cpu();
    for _ in 0..runs {
        work(kind, chunk, &data, &mut out);
    }
    let seconds = (cpu() - start) / f64::from(runs);
    std::fs::write(target, &out).unwrap();
    let (content, stored) = if verb == "pack" { (data.len(), out.len()) } else { (out.len(), data.len()) };
    println!("{content} {stored} {seconds:.6}");
}
