//! House rules as code: edges between crates, sizes, licences, generated documents.

use crate::shell::{cargo, command, root, text};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arrows between crates, all of them (docs/architecture.md). Development dependencies are free.
const EDGES: &[(&str, &[&str])] = &[
    ("reseal-dtyp", &[]),
    ("reseal-codec", &[]),
    ("reseal-sid", &["reseal-dtyp"]),
    ("reseal-disk", &["reseal-dtyp"]),
    ("reseal-hive", &["reseal-dtyp", "reseal-sid"]),
    ("reseal-ntfs", &["reseal-dtyp", "reseal-sid", "reseal-disk", "reseal-codec"]),
    ("reseal-fat", &["reseal-dtyp", "reseal-disk"]),
    ("reseal-wim", &["reseal-dtyp", "reseal-sid", "reseal-disk", "reseal-codec"]),
    (
        "reseal",
        &[
            "reseal-dtyp",
            "reseal-codec",
            "reseal-sid",
            "reseal-disk",
            "reseal-fat",
            "reseal-hive",
            "reseal-ntfs",
            "reseal-wim",
        ],
    ),
    ("reseal-cli", &["reseal"]),
];

/// A source file above this asks for a split.
const MAX_FILE_LINES: usize = 600;
/// Fixtures are built, not stored.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Unfinished by its own words. Written in two parts, so that this list is not found itself.
const BANNED: &[&str] = &[
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("FIX", "ME"),
    concat!("#[ign", "ore"),
    concat!("XX", "X"),
];
/// Names that say nothing.
const BANNED_MODULES: &[&str] = &["base", "util", "utils", "helpers", "common"];

pub(crate) fn tidy() -> Result<()> {
    let metadata: Value = serde_json::from_str(&text(&mut command(cargo(), &["metadata", "--format-version", "1"]))?)?;
    let mut complaints = Vec::new();
    edges(&metadata, &mut complaints)?;
    licences(&metadata, &mut complaints)?;
    sources(&mut complaints)?;
    ntfs_uses_only_io(&mut complaints)?;
    named_tests(&mut complaints)?;
    crate::docs::check(&mut complaints)?;
    if complaints.is_empty() {
        return Ok(());
    }
    complaints.iter().for_each(|c| eprintln!("tidy: {c}"));
    bail!("{} complaints", complaints.len())
}

/// Every test exists that the table of traps names, or the coverage table as the fixture of an answer.
fn named_tests(out: &mut Vec<String>) -> Result<()> {
    let document = "docs/formats/ntfs.md";
    let text = std::fs::read_to_string(root().join(document))?;
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let traps: Vec<(&str, &str)> =
        rows.flat_map(|row| row.split('`').skip(1).step_by(2)).filter_map(|word| word.split_once("::")).collect();
    for (place, test) in &traps {
        let file = match place.split_once('/') {
            None => format!("crates/ntfs/tests/{place}.rs"),
            Some(("src", file)) => format!("crates/ntfs/src/{file}.rs"),
            Some((other, file)) => format!("crates/{other}/tests/{file}.rs"),
        };
        is_test(document, &file, test, out);
    }
    let rules = "crates/reseal/rules/coverage.toml";
    let text = std::fs::read_to_string(root().join(rules))?;
    let head = text.lines().take_while(|line| !line.starts_with("[[table]]"));
    let values = head.filter_map(|line| line.split_once(" = \"")?.1.strip_suffix('"'));
    let fixtures: Vec<(&str, &str)> = values.filter_map(|value| value.split_once("::")).collect();
    for (place, test) in &fixtures {
        is_test(rules, &format!("crates/cli/tests/{place}.rs"), test, out);
    }
    if traps.is_empty() || fixtures.is_empty() {
        out.push(format!("{document} and {rules} name {} and {} tests", traps.len(), fixtures.len()));
    }
    Ok(())
}

fn is_test(named_by: &str, file: &str, test: &str, out: &mut Vec<String>) {
    let source = std::fs::read_to_string(root().join(file)).unwrap_or_default();
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let start = format!("fn {test}()");
    if !lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&start)) {
        out.push(format!("{named_by} names a test that does not exist: {file}, {test}"));
    }
}

fn packages(metadata: &Value) -> Result<&Vec<Value>> {
    metadata["packages"].as_array().context("cargo metadata has no packages")
}

fn edges(metadata: &Value, out: &mut Vec<String>) -> Result<()> {
    for package in packages(metadata)?.iter().filter(|p| p["source"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        if name == "xtask" || name == "reseal-testdata" || name == "reseal-oracles" {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(crate_name, _)| *crate_name == name) else {
            out.push(format!("crate {name} has no place in the house: add it to EDGES and docs/architecture.md"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            let ours = target == "reseal" || target.starts_with("reseal-");
            if ours && dependency["kind"].is_null() && !allowed.contains(&target) {
                out.push(format!("{name} may not know {target}"));
            }
        }
    }
    Ok(())
}

/// `ntfs` uses nothing of `disk` but positional I/O.
fn ntfs_uses_only_io(out: &mut Vec<String>) -> Result<()> {
    let allowed = ["ReadAt", "WriteAt", "MemoryDisk", "checked_range"];
    for file in rust_files(&root().join("crates/ntfs/src"))? {
        let source = std::fs::read_to_string(&file)?;
        for part in source.split("reseal_disk::").skip(1) {
            // `use reseal_disk::{A, B};` or one path.
            let list = match part.strip_prefix('{') {
                Some(rest) => rest.split('}').next().unwrap_or_default(),
                None => part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default(),
            };
            for name in list.split(',').map(str::trim).filter(|n| !n.is_empty() && !allowed.contains(n)) {
                out.push(format!("{}: ntfs may use {allowed:?} of disk, not {name}", file.display()));
            }
        }
    }
    Ok(())
}

/// What ships carries licences that `deny.toml` lists.
fn licences(metadata: &Value, out: &mut Vec<String>) -> Result<()> {
    let deny = std::fs::read_to_string(root().join("deny.toml"))?;
    let list = deny
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .context("deny.toml has no list of licences")?;
    let allowed: BTreeSet<&str> = list.split('"').skip(1).step_by(2).collect();
    let shipped = text(&mut command(
        cargo(),
        &["tree", "--package", "reseal-cli", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"],
    ))?;
    let shipped: BTreeSet<&str> = shipped.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for package in packages(metadata)? {
        let name = package["name"].as_str().unwrap_or_default();
        if !shipped.contains(name) {
            continue;
        }
        let licence = package["license"].as_str().unwrap_or_default();
        let one_fits = licence.split(" OR ").any(|choice| {
            choice
                .trim_matches(['(', ')'])
                .split(" AND ")
                .all(|part| part.trim_matches(['(', ')', ' ']).split('/').any(|word| allowed.contains(word.trim())))
        });
        if !one_fits {
            out.push(format!("{name} ships under `{licence}`, which deny.toml does not allow"));
        }
    }
    Ok(())
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                queue.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}

fn sources(out: &mut Vec<String>) -> Result<()> {
    let tracked = text(&mut command("git", &["ls-files"]))?;
    for name in tracked.lines() {
        let path = root().join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        if metadata.len() > MAX_FILE_BYTES {
            out.push(format!("{name} has {} bytes: fixtures are built, not stored", metadata.len()));
        }
        if !name.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(&path)?;
        let lines = source.lines().count();
        if name.contains("/src/") && lines > MAX_FILE_LINES {
            out.push(format!("{name} has {lines} lines: which concept could have a file of its own?"));
        }
        for banned in BANNED {
            if source.contains(banned) {
                out.push(format!("{name} says `{banned}`"));
            }
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if BANNED_MODULES.contains(&stem) {
            out.push(format!("{name}: a module is called after what it is about"));
        }
    }
    for (name, _) in EDGES {
        let folder = name.strip_prefix("reseal-").unwrap_or(name);
        let main = ["lib.rs", "main.rs"].map(|f| root().join(format!("crates/{folder}/src/{f}")));
        if let Some(main) = main.iter().find(|m| m.exists())
            && !std::fs::read_to_string(main)?.contains("#![forbid(unsafe_code)]")
        {
            out.push(format!("crates/{folder} does not forbid unsafe code"));
        }
    }
    Ok(())
}
