//! `--drop-snapshots`: shadow copies go as a whole or the image is refused; another reader of them sees it the same way.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::types;
use reseal_testdata::{Container, ImageBuilder, oracle, real};
use rig::snapshots::{FOLDER, HEADER, Halves, connect, names, plant};
use rig::{Bench, content, explained, hash, reseal, seal, value};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the volume lies in the images of the builder.
const BASE: u64 = 1 << 20;
const SETTINGS: &str = r"Microsoft\Windows NT\CurrentVersion\SystemRestore";

/// A raw image with a machine and two shadow copies.
fn gold(bench: &Bench, halves: Halves) -> String {
    let path = bench.path("gold.raw");
    ImageBuilder { container: Container::Raw, ..ImageBuilder::default() }
        .build(&path, |volume| {
            rig::made_up().fill(volume)?;
            restore_values(volume);
            plant(volume, 2, b"what stood in a file a week ago");
            Ok(())
        })
        .unwrap();
    let text = path.to_str().unwrap().to_owned();
    connect(&path, BASE, &content::volume(&text), 2, halves);
    text
}

/// What Windows 8.1 keeps of System Restore.
fn restore_values(volume: &mut reseal_ntfs::Volume) {
    let file = volume.resolve(r"Windows\System32\config\SOFTWARE").unwrap().unwrap();
    let mut hive = reseal_hive::Hive::open(&volume.read(file, &[]).unwrap(), &[], reseal_hive::Recover::AsIs).unwrap();
    let key = hive.create_path(SETTINGS).unwrap();
    for (name, number) in [("FirstRun", 0u32), ("LastIndex", 11), ("SRInitDone", 1), ("RPSessionInterval", 1)] {
        hive.set_value(key, name, types::DWORD, &number.to_le_bytes()).unwrap();
    }
    volume.replace(file, &[], &hive.to_bytes(), reseal::FileTime::from_unix(1_700_000_000)).unwrap();
}

/// How many copies libvshadow sees; `None` where it is not installed.
fn seen(image: &str, base: u64) -> Option<usize> {
    let output = oracle::run("vshadowinfo", ["-o", &base.to_string(), image])?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // Then it ends with a failure.
    if text.contains("No Volume Shadow Snapshots found") {
        return Some(0);
    }
    assert!(output.status.success(), "{text}");
    let count = text.lines().find_map(|line| line.trim().strip_prefix("Number of stores:"));
    Some(count.unwrap_or_else(|| panic!("{text}")).trim().parse().unwrap())
}

fn sector(image: &str, at: u64) -> Vec<u8> {
    let mut out = vec![0; 512];
    std::fs::File::open(image).unwrap().read_exact_at(&mut out, at).unwrap();
    out
}

fn is_there(image: &str, path: &str) -> bool {
    reseal(["fs", "ls", image, path]).code == 0
}

#[test]
fn copies_go_as_a_whole() {
    let bench = Bench::new();
    let gold = gold(&bench, Halves::Both);
    if let Some(count) = seen(&gold, BASE) {
        assert_eq!(count, 2, "another reader takes what was planted for shadow copies");
    }
    content::witnesses(&bench, &gold, &[]);
    reseal(["generalize", &gold, "-n"]).exits(3).says("--drop-snapshots");

    let out = bench.arg("out.raw");
    let report = seal(&gold, &out, &["--drop-snapshots"]);
    explained::assert_plan_is_diff(&gold, &out, &report);
    let changes = report["plan"]["changes"].as_array().unwrap();
    let own: Vec<_> = changes.iter().filter(|c| c["step"] == "shadow-copies").collect();
    let header = own.iter().find(|c| c["target"]["kind"] == "shadow-header").unwrap();
    assert_eq!(header["before"], "header of 2 shadow copies");
    assert_eq!(own.len(), 3 + 1 + 1 + 3, "{own:#?}");
    if let Some(count) = seen(&out, BASE) {
        assert_eq!(count, 0);
    }
    assert!(sector(&out, BASE + HEADER).iter().all(|b| *b == 0));
    assert_eq!(sector(&out, BASE + HEADER - 512), sector(&gold, BASE + HEADER - 512));
    for name in names(2).iter().map(String::as_str).chain(["SPP"]) {
        assert!(is_there(&gold, &format!(r"{FOLDER}\{name}")) && !is_there(&out, &format!(r"{FOLDER}\{name}")));
    }
    assert!(is_there(&out, &format!(r"{FOLDER}\tracking.log")), "what is no shadow copy stays");
    assert_eq!(value(&out, "SOFTWARE", SETTINGS, "FirstRun").unwrap(), "1");
    assert_eq!(value(&out, "SOFTWARE", SETTINGS, "LastIndex"), None);
    assert_eq!(value(&out, "SOFTWARE", SETTINGS, "RPSessionInterval").unwrap(), "1");
    // What they held is gone, too: clusters that are given up are zeroed.
    reseal(["verify", &out, "--no-trace-of", "what stood in a file a week ago"]).exits(0);
    content::witnesses(&bench, &out, &[]);
    reseal(["generalize", &out, "-n", "--drop-snapshots"]).exits(5);
    // In place, the same bytes.
    let args = ["generalize", &gold, "--in-place", "--drop-snapshots"];
    reseal(args.into_iter().chain(rig::FIXED)).exits(0);
    assert_eq!(hash(&gold), hash(&out));
}

#[test]
fn a_half_is_refused() {
    for (halves, why) in [(Halves::Copied, "stored on another one"), (Halves::Stored, "one of another volume")] {
        let bench = Bench::new();
        let gold = gold(&bench, halves);
        let before = hash(&gold);
        let run = reseal(["generalize", &gold, "--in-place", "--drop-snapshots"]).exits(3);
        run.says(why).says("vssadmin delete shadows");
        assert_eq!(hash(&gold), before);
    }
}

/// Bytes where the header or the catalog belong, and what comes of it.
#[test]
fn what_is_no_header_is_refused_with_the_numbers() {
    let bench = Bench::new();
    let gold = gold(&bench, Halves::Both);
    let sound = std::fs::read(&gold).unwrap();
    let at = (BASE + HEADER) as usize;
    let catalog = BASE as usize + u64::from_le_bytes(sound[at + 0x30..at + 0x38].try_into().unwrap()) as usize;
    let next = u64::from_le_bytes(sound[catalog + 0x28..catalog + 0x30].try_into().unwrap());
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut [u8]), i32, &'a str);
    let number = |bytes: &mut [u8], at: usize, n: u64| bytes[at..at + 8].copy_from_slice(&n.to_le_bytes());
    let edits: &[Edit<'_>] = &[
        ("another identity", &|b| b[at] ^= 1, 3, "no header of them"),
        ("another version", &|b| b[at + 0x10] = 2, 3, "no header of them"),
        ("another offset", &|b| b[at + 0x18] = 1, 3, "no header of them"),
        ("a catalog outside", &|b| number(b, at + 0x30, u64::MAX - 5), 7, "0xfffffffffffffffa"),
        ("a catalog that is none", &|b| number(b, at + 0x30, 0x10000), 7, "block header"),
        ("a circle of blocks", &|b| number(b, catalog + 0x28 + 0x4000, next), 7, "lead to one another"),
        ("an entry of another kind", &|b| b[catalog + 0x80] = 9, 7, "9 in the entry at 0x80"),
    ];
    let bad = bench.path("bad.raw");
    for (what, edit, exit, says) in edits {
        let mut bytes = sound.clone();
        edit(&mut bytes);
        std::fs::write(&bad, &bytes).unwrap();
        let run = reseal(["generalize", bad.to_str().unwrap(), "-n", "--drop-snapshots"]);
        assert_eq!(run.code, *exit, "{what}: {run:?}");
        run.says(says);
    }
}

/// A header without its files leads Windows to what other files hold now: that refuses, and the option mends it.
#[test]
fn a_header_alone_is_noticed() {
    let bench = Bench::new();
    let gold = gold(&bench, Halves::Both);
    edit(Path::new(&gold), |volume| {
        for name in names(2) {
            let file = volume.resolve(&format!(r"{FOLDER}\{name}")).unwrap().unwrap();
            volume.remove(file, reseal::FileTime::from_unix(1_700_000_000)).unwrap();
        }
    });
    reseal(["generalize", &gold, "-n"]).exits(3).says("no file holds them");
    let mended = bench.arg("mended.raw");
    seal(&gold, &mended, &["--drop-snapshots"]);
    assert!(sector(&mended, BASE + HEADER).iter().all(|b| *b == 0));
    // With a catalog of nothing, as Windows leaves it behind the last copy, there is nothing to refuse.
    let file = std::fs::OpenOptions::new().write(true).open(&gold).unwrap();
    file.write_all_at(&[0; 8], BASE + HEADER + 0x30).unwrap();
    reseal(["generalize", &gold, "-n"]).exits(0);
    let out = bench.arg("out.raw");
    seal(&gold, &out, &["--drop-snapshots"]);
    assert!(sector(&out, BASE + HEADER).iter().all(|b| *b == 0));
}

/// A volume on which Windows made two shadow copies, with a made-up machine put beside them.
#[test]
fn real_shadow_copies() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let gold = bench.arg("gold.raw");
    let source = root.join("deb_plaso_20241006/vsstest.qcow2");
    if oracle::agree("qemu-img", ["convert", "-O", "raw", source.to_str().unwrap(), &gold]).is_none() {
        return;
    }
    edit(Path::new(&gold), |volume| rig::made_up().fill(volume).unwrap());
    if let Some(count) = seen(&gold, 0) {
        assert_eq!(count, 2);
    }
    reseal(["generalize", &gold, "-n"]).exits(3).says("(3 files)");
    let out = bench.arg("out.raw");
    let report = seal(&gold, &out, &["--drop-snapshots"]);
    let header = report["plan"]["changes"].as_array().unwrap().iter().find(|c| c["target"]["kind"] == "shadow-header");
    assert_eq!(header.unwrap()["before"], "header of 2 shadow copies");
    if let Some(count) = seen(&out, 0) {
        assert_eq!(count, 0);
    }
    explained::assert_plan_is_diff(&gold, &out, &report);
    reseal(["fs", "check", &out]).exits(0);
    oracle::agree("ntfsresize", ["-i", "-f", &out]);
    reseal(["generalize", &out, "-n", "--drop-snapshots"]).exits(5);
}

/// Changes the volume of a raw image.
fn edit(image: &Path, change: impl FnOnce(&mut reseal_ntfs::Volume)) {
    let disk = reseal_disk::Disk::open(image).unwrap();
    let table = disk.partitions().unwrap();
    let mut volume = reseal_ntfs::Volume::open(disk.partition(&table.partitions[0])).unwrap();
    change(&mut volume);
    drop(volume);
    let changed = image.with_extension("changed");
    let guid = reseal_dtyp::Guid([3; 16]);
    disk.commit_to(&changed, [guid, guid], &|_, _| {}).unwrap();
    std::fs::rename(changed, image).unwrap();
}
