//! Real hives with their logs, found below the folder that `RESEAL_DATA` names.
#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) struct RealHive {
    /// Path below the data folder.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) logs: Vec<Vec<u8>>,
}

/// The data folder; `None` (with a printed reason) when it is absent, which fails where `RESEAL_REAL=require` is set.
pub(crate) fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/real");
    let path = std::env::var_os("RESEAL_DATA").map_or(default, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    let required = std::env::var("RESEAL_REAL").is_ok_and(|v| v == "require");
    assert!(!required, "RESEAL_REAL=require, but {} is no folder", path.display());
    println!("skipped: no real data at {} (set RESEAL_DATA)", path.display());
    None
}

/// A file's bytes; `.xz` files are unpacked.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let raw = fs::read(path).unwrap();
    if path.extension().is_none_or(|e| e != "xz") {
        return raw;
    }
    let mut out = Vec::new();
    lzma_rs::xz_decompress(&mut &raw[..], &mut out).unwrap();
    out
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, out);
        } else if path.is_file() {
            out.push(path);
        }
    }
}

fn starts_with(path: &Path, magic: &[u8]) -> bool {
    use std::io::Read;
    let mut head = vec![0; magic.len()];
    fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok() && head == magic
}

fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().to_lowercase();
    name.strip_suffix(".xz").unwrap_or(&name).to_string()
}

/// Every hive below the data folder, with the logs that lie beside it.
pub(crate) fn hives() -> Vec<RealHive> {
    let Some(root) = folder() else { return Vec::new() };
    let mut paths = Vec::new();
    files(&root, &mut paths);
    // Unpacked SQLite, WIM and disk images are never hives, so four bytes decide.
    let is_hive = |path: &PathBuf| {
        starts_with(path, b"regf") || (path.extension().is_some_and(|e| e == "xz") && starts_with(path, b"\xfd7zXZ"))
    };
    let paths: Vec<PathBuf> = paths.into_iter().filter(is_hive).collect();
    let mut out = Vec::new();
    for path in &paths {
        let bytes = read(path);
        let kind = bytes.get(28..32).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if !bytes.starts_with(b"regf") || kind != Some(0) {
            continue;
        }
        let own = stem(path);
        let beside = |p: &&PathBuf| {
            p.parent() == path.parent()
                && stem(p).strip_prefix(own.as_str()).is_some_and(|rest| matches!(rest, ".log" | ".log1" | ".log2"))
        };
        let logs = paths.iter().filter(beside).map(|p| read(p)).collect();
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        out.push(RealHive { name, bytes, logs });
    }
    assert!(out.len() > 50, "only {} hives below {}", out.len(), root.display());
    out
}
