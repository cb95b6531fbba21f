//! The fuzz targets' seeds, and everything that fuzzing has kept in `corpus/<target>/`, through the ordinary test run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

use reseal_testdata::fuzz::{self, TARGETS};
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let Ok(list) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut out: Vec<PathBuf> = list.map(|entry| entry.expect("it can be listed").path()).collect();
    out.sort();
    out
}

/// Runs a target over its seeds, over each seed with every byte damaged once or a few thousand times, and over its corpus.
fn replay(target: &str, damages: usize) {
    let seeds = fuzz::seeds(target).expect("the target has seeds");
    assert!(!seeds.is_empty(), "{target} has no seeds");
    for seed in &seeds {
        fuzz::run(target, seed).expect("the target exists");
        let step = (seed.len() / damages.max(1)).max(1);
        for at in (0..seed.len()).step_by(step) {
            let mut damaged = seed.clone();
            damaged[at] ^= 1 << (at % 8);
            fuzz::run(target, &damaged).expect("the target exists");
            fuzz::run(target, &seed[..at]).expect("the target exists");
        }
    }
    let kept = corpus(target);
    for path in &kept {
        let bytes = std::fs::read(path).expect("it can be read");
        let run = std::panic::catch_unwind(|| fuzz::run(target, &bytes));
        assert!(run.is_ok_and(|result| result.is_ok()), "{} fails", path.display());
    }
    println!("{target}: {} seeds, {} inputs of the corpus", seeds.len(), kept.len());
}

#[test]
fn descriptors_and_sddl() {
    replay("descriptor", 2000);
    replay("sddl", 2000);
}

#[test]
fn hives() {
    replay("hive", 1500);
}

#[test]
fn volumes_and_disks() {
    replay("ntfs", 100);
    replay("vhdx", 100);
    replay("vhd", 50);
    replay("partition", 300);
    replay("journal", 100);
    replay("fat", 100);
    replay("wim", 2000);
}

#[test]
fn codecs() {
    for target in ["lznt1", "xpress", "lzx", "lzms"] {
        replay(target, 2000);
    }
}

#[test]
fn every_folder_of_the_corpus_has_a_target() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let name = entry.expect("it can be listed").file_name();
        assert!(TARGETS.iter().any(|t| name == *t), "{} belongs to no target", name.display());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut stems: Vec<String> = std::fs::read_dir(folder)
        .expect("the fuzz targets are there")
        .map(|e| e.expect("listed").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    stems.sort();
    let mut targets = TARGETS.map(str::to_owned);
    targets.sort();
    assert_eq!(stems, targets, "every fuzz target is replayed here");
    assert!(fuzz::run("nonsense", b"").is_err());
}
