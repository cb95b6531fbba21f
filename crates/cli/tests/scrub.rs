//! `--scrub`: what was deleted long before is gone from the image, and nothing else; `verify` names it where it is not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder};
use rig::{Bench, content, explained, hash, old_sid, remains, reseal, seal};
use serde_json::Value;

/// A machine with remains of every kind.
fn gold(bench: &Bench, container: Container) -> String {
    let builder = ImageBuilder { container, ..ImageBuilder::default() };
    let clean = bench.path("clean");
    builder
        .build(&clean, |volume| {
            rig::made_up().fill(volume)?;
            let root = volume.root();
            let now = reseal::FileTime::from_unix(1_700_000_000);
            for name in ["SPARE-A", "SPARE-B"] {
                let spare = volume.create_file(root, name, b"", reseal_ntfs::Security::Inherit, now)?;
                volume.remove(spare, now)?;
            }
            Ok(())
        })
        .unwrap();
    let gold = bench.path("gold");
    remains::plant(&clean, &gold, 9);
    gold.to_str().unwrap().to_owned()
}

fn traces(image: &str, exit: i32) -> Vec<Value> {
    let needles = remains::KINDS.map(remains::text);
    let mut args = vec!["verify", image, "--json"];
    args.extend(needles.iter().flat_map(|needle| ["--no-trace-of", needle]));
    let json = reseal(args).exits(exit).json();
    json["traces"].as_array().unwrap().clone()
}

/// Kinds of places where something is found.
fn kinds(list: &[Value]) -> std::collections::BTreeSet<&str> {
    list.iter().map(|trace| trace["kind"].as_str().unwrap()).collect()
}

#[test]
fn remains_are_named_and_wiped() {
    for container in [Container::Raw, Container::Vhdx { fixed: false }] {
        let bench = Bench::new();
        let gold = gold(&bench, container);
        content::witnesses(&bench, &gold, &["--strict"]);
        let before = traces(&gold, 4);
        assert_eq!(kinds(&before).into_iter().collect::<Vec<_>>(), ["free", "log", "rest"], "{before:#?}");
        let found: u64 = before.iter().map(|trace| trace["count"].as_u64().unwrap()).sum();
        assert_eq!(found, 9 + 5, "{before:#?}");

        // Without the option they stay where they were, and nowhere else.
        let plain = bench.arg("plain");
        seal(&gold, &plain, &[]);
        unwiped(&gold, &plain);
        let after = traces(&plain, 4);
        assert!(kinds(&after).iter().all(|kind| ["free", "rest", "log"].contains(kind)), "{after:#?}");

        let out = bench.arg("out");
        let report = seal(&gold, &out, &["--scrub"]);
        assert!(report["plan"]["unwiped"].is_null(), "{}", report["plan"]["unwiped"]);
        let planned = report["plan"]["changes"].as_array().unwrap().iter().filter(|c| c["step"] == "scrub");
        let places: Vec<&str> = planned.map(|c| c["target"]["place"].as_str().unwrap()).collect();
        // Index blocks may be written anew by the plan itself.
        for place in ["free clusters", "behind the content of files", "file records", "$LogFile"] {
            assert!(places.contains(&place), "{place} is not in the plan: {places:?}");
        }
        assert_eq!(traces(&out, 0), [] as [Value; 0]);
        reseal(["verify", &out, "--no-trace-of", &old_sid()]).exits(0);
        explained::assert_plan_is_diff(&gold, &out, &report);
        content::witnesses(&bench, &out, &["--strict"]);
        reseal(["generalize", &out, "-n", "--scrub"]).exits(5);

        // The same bytes whatever the number of threads, and in place, where what is wiped costs the journal little.
        let again = bench.arg("again");
        seal(&gold, &again, &["--scrub", "-j", "1"]);
        assert_eq!(hash(&out), hash(&again));
        let args = ["generalize", &gold, "--in-place", "--scrub", "--json"];
        let report = reseal(args.into_iter().chain(rig::FIXED)).exits(0).json();
        assert_eq!(hash(&out), hash(&gold));
        let [journal, written] = ["journal_bytes", "written_bytes"].map(|name| report[name].as_u64().unwrap());
        println!("in place: {written} bytes written, a journal of {journal}");
    }
}

/// Plan and report say how much free space nobody has looked at, and what wipes it.
fn unwiped(gold: &str, sealed: &str) {
    use std::collections::BTreeSet;
    let free = |image: &str| -> BTreeSet<u64> {
        let volume = content::volume(image);
        let info = volume.info();
        let (size, owners) = (u64::from(info.cluster_size), volume.owners().unwrap());
        (0..info.clusters).filter(|lcn| owners.free_stretch(lcn * size) > 0).collect()
    };
    let both = free(gold).intersection(&free(sealed)).count() as u64 * 4096;
    let plan = reseal(["generalize", gold, "-n", "--json"].into_iter().chain(rig::FIXED)).exits(0).json();
    assert_eq!(plan["unwiped"]["free_bytes"], both);
    assert_eq!(plan["unwiped"]["remedy"], "--scrub");
    let text = reseal(["generalize", gold, "-n"].into_iter().chain(rig::FIXED)).exits(0).text();
    let line = text.lines().find(|line| line.starts_with("not wiped: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains(&format!("{both} bytes of clusters")) && line.contains("--scrub"), "{line}");
    let text = reseal(["generalize", gold, "-n", "--scrub"].into_iter().chain(rig::FIXED)).exits(0).text();
    assert!(!text.contains("not wiped: "), "{text}");
}

#[test]
fn a_sparse_file_does_not_grow() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new();
    let gold = gold(&bench, Container::Raw);
    let blocks = |path: &str| std::fs::metadata(path).unwrap().blocks();
    let (plain, out) = (bench.arg("plain"), bench.arg("out"));
    seal(&gold, &plain, &[]);
    seal(&gold, &out, &["--scrub"]);
    assert!(blocks(&out) <= blocks(&plain), "{} and {} blocks", blocks(&out), blocks(&plain));
}

/// A log that holds what a replay would bring into the volume is not emptied, whatever else is allowed.
#[test]
fn a_dirty_log_is_refused() {
    let bench = Bench::new();
    let gold = gold(&bench, Container::Raw);
    let volume = content::volume(&gold);
    let owners = volume.owners().unwrap();
    let is_log = |at: &u64| matches!(owners.of(*at), reseal_ntfs::ByteOwner::File { file, kind: 0x80, .. } if file.record() == 2);
    let log = (0..1 << 14).map(|n| n * 4096).find(is_log).unwrap();
    let mut bytes = std::fs::read(&gold).unwrap();
    let start = (log + (1 << 20)) as usize;
    assert_eq!(&bytes[start..start + 4], b"RSTR");
    for page in [start, start + 4096] {
        bytes[page + 0x3c..page + 0x40].fill(0);
    }
    let dirty = bench.write("dirty", &bytes);
    let out = bench.arg("out");
    reseal(["generalize", &dirty, "-o", &out, "--allow", "dirty-volume", "--scrub"]).exits(3).says("--scrub");
    assert!(!bench.path("out").exists());
    seal(&dirty, &out, &["--allow", "dirty-volume"]);
}

/// The change journal stays under `--scrub`: the report says so, and `verify` names what it holds, with the reason.
#[test]
fn the_change_journal_is_named() {
    let bench = Bench::new();
    let gold = bench.path("gold.raw");
    let text = "secret plan of the old machine.docx";
    ImageBuilder { container: Container::Raw, ..ImageBuilder::default() }
        .build(&gold, |volume| {
            rig::made_up().fill(volume)?;
            let now = reseal::FileTime::from_unix(1_700_000_000);
            let extend = volume.resolve("$Extend")?.unwrap();
            let root = volume.root();
            let name: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            // USN_RECORD_V2: length, version, references, USN, time, reason, source, security id, attributes, name.
            let mut record = vec![0; 60];
            record[..4].copy_from_slice(&(60 + name.len() as u32).next_multiple_of(8).to_le_bytes());
            record[4] = 2;
            record[56] = name.len() as u8;
            record[58] = 60;
            record.extend(name);
            record.resize(4096, 0);
            // Its stream is called $J; files of the volume itself are never written, so the one that is made holds it.
            volume.create_file(extend, "$UsnJrnl", &record, reseal_ntfs::Security::SameAs(root), now)?;
            Ok(())
        })
        .unwrap();
    let out = bench.arg("out.raw");
    let report = seal(gold.to_str().unwrap(), &out, &["--scrub"]);
    let findings = report["plan"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["id"] == "not-scrubbed" && f["place"] == r"$Extend\$UsnJrnl"), "{findings:#?}");
    let traces = reseal(["verify", &out, "--json", "--no-trace-of", text]).exits(4).json()["traces"].clone();
    let traces = traces.as_array().unwrap();
    assert!(traces.len() == 1 && traces[0]["form"] == "utf16", "{traces:#?}");
    assert!(traces[0]["on_purpose"].as_str().is_some_and(|why| why.contains("deletejournal")), "{traces:#?}");
}
