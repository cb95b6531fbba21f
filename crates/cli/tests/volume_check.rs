//! `fs check` in chkdsk's three stages, and the check that Windows is asked for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::{Bench, FIXED, made_up, old_sid, reseal, seal};
use serde_json::Value;

fn bare() -> ImageBuilder {
    ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() }
}

/// Offset of the value of a record's first attribute of a type; resident ones only.
fn value_at(record: &[u8], kind: u32) -> Option<usize> {
    let word = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    let mut at = usize::from(record[0x14]) | usize::from(record[0x15]) << 8;
    while word(at) != u32::MAX {
        if word(at) == kind {
            return Some(at + (word(at + 0x14) as usize & 0xffff));
        }
        at += word(at + 4) as usize;
    }
    None
}

/// The records of ordinary files in a bare volume, by offset.
fn files(bytes: &[u8]) -> Vec<usize> {
    let in_use = |at: &usize| {
        let record = &bytes[*at..*at + 1024];
        let number = u32::from_le_bytes(record[0x2c..0x30].try_into().unwrap());
        record.starts_with(b"FILE") && record[0x16] == 1 && number >= 64 && record[0x20..0x28] == [0; 8]
    };
    (0..bytes.len() - 1024).step_by(1024).filter(in_use).collect()
}

fn ids(stage: &Value) -> Vec<&str> {
    stage["findings"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect()
}

#[test]
fn each_stage_names_its_findings() {
    let bench = Bench::new();
    let gold = bench.build("gold.raw", bare(), &made_up());
    let sound = reseal(["fs", "check", &gold]).exits(0).text();
    for stage in [
        "stage 1 of 3, file records, runs and bitmaps: ",
        "stage 2 of 3, names and indexes: ",
        "stage 3 of 3, security descriptors: ",
    ] {
        let line =
            sound.lines().find(|l| l.trim_start().starts_with(stage)).unwrap_or_else(|| panic!("{stage}: {sound}"));
        let examined: u64 = line.trim_start()[stage.len()..].split(' ').next().unwrap().parse().unwrap();
        assert!(examined > 5, "{line}");
    }

    let mut bytes = std::fs::read(&gold).unwrap();
    let [count, name, security, ..] = files(&bytes)[..] else { panic!("there are files") };
    bytes[count + 0x12] += 5;
    let at = name + value_at(&bytes[name..name + 1024], 0x30).unwrap();
    bytes[at + 0x42] = b'~';
    let at = security + value_at(&bytes[security..security + 1024], 0x10).unwrap();
    bytes[at + 0x34..at + 0x38].copy_from_slice(&0x00ab_cdef_u32.to_le_bytes());
    let broken = bench.write("broken.raw", &bytes);

    let text = reseal(["fs", "check", &broken]).exits(4).text();
    let document = reseal(["fs", "check", &broken, "--json"]).exits(4).json();
    let stages = document["volumes"][0]["stages"].as_array().unwrap();
    assert_eq!(stages.iter().map(|s| s["stage"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(ids(&stages[0]), ["link-count"]);
    assert!(ids(&stages[1]).contains(&"name-not-indexed") && ids(&stages[1]).contains(&"entry-dangling"), "{text}");
    assert_eq!(ids(&stages[2]), ["security-id-dangling"]);
    // A finding per line: level, place, what is wrong, rule.
    let listed = stages.iter().flat_map(|s| s["findings"].as_array().unwrap());
    for finding in listed {
        let part = |name: &str| finding[name].as_str().unwrap();
        let line = format!("    {}: {}: {} [{}]", part("level"), part("place"), part("detail"), part("id"));
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_check_by_windows_can_be_scheduled() {
    let bench = Bench::new();
    let gold = bench.build("gold.raw", bare(), &made_up());
    let (plain, scheduled) = (bench.arg("plain.raw"), bench.arg("scheduled.raw"));
    seal(&gold, &plain, &[]);
    let report = seal(&gold, &scheduled, &["--schedule-chkdsk"]);
    let changes = report["plan"]["changes"].as_array().unwrap();
    assert_eq!(changes.iter().filter(|c| c["step"] == "schedule-chkdsk").count(), 1);

    // One flag in the record of $Volume and in its copy, and nothing else.
    let (a, b) = (std::fs::read(&plain).unwrap(), std::fs::read(&scheduled).unwrap());
    let sectors: Vec<usize> = (0..a.len()).step_by(512).filter(|at| a[*at..at + 512] != b[*at..at + 512]).collect();
    let records: Vec<usize> =
        sectors.iter().map(|at| at & !1023).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    assert_eq!(records.len(), 2, "{sectors:x?}");
    for at in records {
        assert_eq!(b[at + 0x2c..at + 0x30], [3, 0, 0, 0], "the record of $Volume");
        let flags = at + value_at(&b[at..at + 1024], 0x70).unwrap() + 0xa;
        assert_eq!((a[flags], b[flags]), (0, 1));
    }
    if let Some(told) = oracle::run("ntfsinfo", ["-m", "-f", &scheduled]) {
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.lines().any(|l| l.contains("Volume Flags") && l.contains("DIRTY")), "{told}");
    }

    // verify knows what it means on a sealed image; another run does not take it for granted.
    let verified = reseal(["verify", &scheduled, "--no-trace-of", &old_sid(), "--json"]).exits(0).json();
    assert_eq!(verified["findings"][0]["id"], "volume-dirty");
    assert_eq!(verified["findings"][0]["level"], "note");
    reseal(["verify", &scheduled, "--strict"]).exits(4);
    reseal(["generalize", &scheduled, "-n"]).exits(3).says("dirty-volume");
    reseal(["fs", "check", &scheduled]).exits(4);
    // It can be asked for afterwards, too, and in place.
    let line = ["generalize", &plain, "--in-place", "--schedule-chkdsk"];
    reseal(line.into_iter().chain(FIXED)).exits(0);
    assert_eq!(std::fs::read(&plain).unwrap(), b);
}
