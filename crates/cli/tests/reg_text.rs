//! `hive export` and `hive import`: what goes out to `.reg` text comes back, and hivexregedit sees the same.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::{Descriptor, FileTime, utf16le};
use reseal_hive::{Hive, KeyId, Recover, types};
use reseal_testdata::{oracle, real};
use rig::{Bench, content, hash, reseal};
use std::path::Path;

/// An empty hive file.
fn empty(bench: &Bench, name: &str) -> String {
    let descriptor = Descriptor::from_sddl("O:BAG:SYD:(A;CI;KA;;;SY)").unwrap().to_bytes().unwrap();
    let hive = Hive::new("ROOT", 5, &descriptor, FileTime(133_600_000_000_000_000)).unwrap();
    bench.write(name, &hive.to_bytes())
}

fn open(path: &str) -> Hive {
    let beside = |suffix: &str| std::fs::read(format!("{path}{suffix}")).ok();
    let logs: Vec<Vec<u8>> = [".LOG", ".LOG1", ".LOG2"].iter().filter_map(|s| beside(s)).collect();
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    Hive::open(&std::fs::read(path).unwrap(), &logs, Recover::Replay).unwrap()
}

/// Keys and values by path, in order of name: what `.reg` text says of a hive.
fn said(hive: &Hive) -> Vec<String> {
    fn add(hive: &Hive, key: KeyId, path: &str, out: &mut Vec<String>) {
        out.push(format!("[{path}]"));
        for value in hive.values(key).unwrap() {
            out.push(format!("[{path}] {:?} {:#x} {:02x?}", value.name, value.ty, value.data));
        }
        for child in hive.subkeys(key).unwrap() {
            add(hive, child, &format!(r"{path}\{:?}", hive.name(child).unwrap()), out);
        }
    }
    let mut out = Vec::new();
    add(hive, hive.root(), "", &mut out);
    out.sort();
    out
}

#[track_caller]
fn assert_same(a: &[String], b: &[String], what: &str) {
    let differ = a.iter().zip(b).find(|(x, y)| x != y);
    assert!(differ.is_none() && a.len() == b.len(), "{what}: {} and {} lines, first {differ:?}", a.len(), b.len());
}

/// Every type and every kind of name that `.reg` text can say.
fn rich(bench: &Bench) -> String {
    let path = empty(bench, "SOFTWARE");
    let mut hive = open(&path);
    let key = hive.create_path(r"Key with ] and [brackets]\Größe\日本\;no comment").unwrap();
    let values: Vec<(&str, u32, Vec<u8>)> = vec![
        ("", types::SZ, utf16le("default\0")),
        ("a \"quoted\\\" name", types::SZ, utf16le("C:\\path \"x\" ; no comment\0")),
        ("=equals=", types::SZ, utf16le("\0")),
        ("@", types::SZ, utf16le("not the default\0")),
        ("no terminator", types::SZ, utf16le("abc")),
        ("two terminators", types::SZ, utf16le("abc\0\0")),
        ("lines", types::SZ, utf16le("a\r\nb\0")),
        ("odd", types::SZ, vec![0x61, 0, 0]),
        ("nothing", types::SZ, vec![]),
        ("lone surrogate", types::EXPAND_SZ, vec![0x00, 0xd8, 0, 0]),
        ("expand", types::EXPAND_SZ, utf16le("%SystemRoot%\\é\0")),
        ("multi", types::MULTI_SZ, utf16le("a\0b\0\0")),
        ("dword", types::DWORD, vec![1, 2, 3, 0x84]),
        ("short dword", types::DWORD, vec![1]),
        ("big-endian", types::DWORD_BIG_ENDIAN, vec![0, 0, 0, 1]),
        ("qword", types::QWORD, vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ("none", types::NONE, vec![]),
        ("link", types::LINK, utf16le("\\Registry\\Machine")),
        ("a type of its own", 0xffff_0012, vec![9; 30]),
        ("long", types::BINARY, (0..40_000u32).map(|i| i as u8).collect()),
        ("-", types::BINARY, vec![]),
    ];
    for (name, ty, data) in values {
        hive.set_value(key, name, ty, &data).unwrap();
    }
    bench.write("SOFTWARE", &hive.to_bytes())
}

fn empty_of(bench: &Bench, path: &str) -> String {
    let name = Path::new(path).file_name().unwrap().to_str().unwrap();
    std::fs::create_dir_all(bench.path("empty")).unwrap();
    empty(bench, &format!("empty/{name}"))
}

/// Out to text in an encoding, and into an empty hive.
#[track_caller]
fn assert_round_trip(bench: &Bench, path: &str, root: &[&str], encoding: &[&str]) {
    let (text, back) = (bench.arg("text.reg"), bench.arg("back.hive"));
    let more = |line: Vec<&'static str>| line.into_iter().map(str::to_owned);
    let args = ["hive", "export", path, "-o", &text].map(str::to_owned);
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    reseal(args.into_iter().chain(own(root)).chain(own(encoding)).chain(more(vec![]))).exits(0);
    let args = ["hive", "import", &empty_of(bench, path), &text, "-o", &back].map(str::to_owned);
    reseal(args.into_iter().chain(own(root))).exits(0);
    assert_same(&said(&open(path)), &said(&open(&back)), path);
    reseal(["hive", "check", &back]).exits(0);
    for file in [text, back] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn every_type_and_name_comes_back() {
    let bench = Bench::new();
    let path = rich(&bench);
    assert_round_trip(&bench, &path, &[], &[]);
    assert_round_trip(&bench, &path, &[], &["--utf8"]);
    assert_round_trip(&bench, &path, &["--root", r"HKEY_USERS\Loaded here"], &[]);
    // The bytes are regedit's: mark, first line, line ends.
    let bytes = reseal(["hive", "export", &path]).exits(0).out;
    assert!(
        bytes.starts_with(&[&[0xff, 0xfe][..], &utf16le("Windows Registry Editor Version 5.00\r\n\r\n[")].concat())
    );
    let text = reseal(["hive", "export", &path, "--utf8"]).exits(0).text();
    assert!(text.contains("[HKEY_LOCAL_MACHINE\\SOFTWARE\\Key with ] and [brackets]\\Größe]\r\n"), "{text:.300}");
    assert!(
        text.contains("\"a type of its own\"=hex(ffff0012):09,09,09,09,09,09,09,09,09,09,09,09,09,09,09,\\\r\n  09,")
    );
    assert!(text.contains("@=\"default\"\r\n") && text.contains("\"dword\"=dword:84030201\r\n"));
    assert!(text.split("\r\n").all(|line| line.chars().count() <= 81 || !line.starts_with("  ")));
    // A part of a hive keeps its full name.
    let part = reseal(["hive", "export", &path, r"key WITH ] and [brackets]\größe\日本", "--utf8"]).exits(0).text();
    assert!(
        part.contains("[HKEY_LOCAL_MACHINE\\SOFTWARE\\Key with ] and [brackets]\\Größe\\日本]\r\n\r\n["),
        "{part:.300}"
    );
    reseal(["hive", "export", &path, "No such key"]).exits(1).says("No such key");
}

#[test]
fn what_text_cannot_say_is_refused() {
    let bench = Bench::new();
    let path = empty(&bench, "SOFTWARE");
    let mut hive = open(&path);
    let key = hive.create_path(r"A\B").unwrap();
    hive.set_value(key, "two\r\nlines", types::DWORD, &[0; 4]).unwrap();
    let bad = bench.write("SOFTWARE", &hive.to_bytes());
    let out = bench.arg("out.reg");
    reseal(["hive", "export", &bad, "-o", &out]).exits(7).says("two").says("U+000D").says(r"SOFTWARE\A\B");
    assert!(!bench.path("out.reg").exists(), "half a text is no export");
    let key = hive.key("A").unwrap().unwrap();
    hive.delete_key(hive.key(r"A\B").unwrap().unwrap()).unwrap();
    hive.set_value_units(key, &[0xd800], types::DWORD, &[0; 4]).unwrap();
    let lone = bench.write("SOFTWARE", &hive.to_bytes());
    reseal(["hive", "export", &lone, "--utf8"]).exits(7).says("UTF-8");
    assert_round_trip(&bench, &lone, &[], &[]);
}

#[test]
fn import_sets_deletes_and_names_the_line() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let before = hash(&gold);
    let text = "Windows Registry Editor Version 5.00\r\n\r\n; a comment\r\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\setup]\r\n\"SetupType\"=dword:2\r\n\"CmdLine\"=-\r\n\"absent\"=-\r\n\r\n\
        [HKEY_LOCAL_MACHINE\\SYSTEM\\New\\Below]\r\n@=\"x\"\r\n\r\n[-HKEY_LOCAL_MACHINE\\SYSTEM\\ControlSet002]\r\n\
        [-HKEY_LOCAL_MACHINE\\SYSTEM\\Absent]\r\n";
    let file = bench.write("edit.reg", text.as_bytes());
    let out = bench.arg("out.vhdx");
    let run = reseal(["hive", "import", &gold, "--hive", "SYSTEM", &file, "-o", &out]).exits(0);
    assert_eq!(run.text(), "2 keys, 2 values set, 2 deleted\n");
    let document = reseal(["diff", &gold, &out, "--json", "--ignore", r"HKEY_LOCAL_MACHINE\SYSTEM\ControlSet002"]);
    let told: Vec<String> = document.exits(4).json()["volumes"][0]["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["kind"] != "key-descriptor")
        .map(|e| {
            format!("{} {} {}", e["kind"].as_str().unwrap(), e["key"].as_str().unwrap(), e["what"].as_str().unwrap())
        })
        .collect();
    let root = r"HKEY_LOCAL_MACHINE\SYSTEM";
    assert_eq!(
        told,
        [
            format!(r"key {root}\New added"),
            format!(r"key {root}\New\Below added"),
            format!(r"value {root}\New\Below added"),
            format!(r"value {root}\Setup removed"),
            format!(r"value {root}\Setup changed"),
        ]
    );
    reseal(["hive", "ls", &out, "--hive", "SYSTEM", "ControlSet002"]).exits(1);
    reseal(["fs", "check", &out]).exits(0);

    let head = "REGEDIT4\n\n";
    for (body, says) in [
        ("[HKEY_LOCAL_MACHINE\\SOFTWARE\\x]", "line 3"),
        ("[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\x]", "ControlSet001"),
        ("[HKEY_LOCAL_MACHINE\\SYSTEM\\x]\n\"a\"=word:1", "line 4"),
        ("[-HKEY_LOCAL_MACHINE\\SYSTEM]", "line 3"),
    ] {
        let bad = bench.write("bad.reg", format!("{head}{body}\n").as_bytes());
        let run = reseal(["hive", "import", &gold, "--hive", "SYSTEM", &bad, "-o", &bench.arg("no.vhdx")]);
        assert!(run.code == 2 || run.code == 1, "{run:?}");
        run.says(says);
    }
    assert!(!bench.path("no.vhdx").exists());
    assert_eq!(hash(&gold), before);
}

/// A copy of a hive for hivexregedit to write: it puts data above 16,344 bytes into one cell, where the format wants segments.
fn without_big_data(bench: &Bench, path: &str) -> String {
    let mut hive = open(path);
    let mut keys = vec![hive.root()];
    while let Some(key) = keys.pop() {
        keys.extend(hive.subkeys(key).unwrap());
        for value in hive.values(key).unwrap().iter().filter(|v| v.data.len() > 16_344) {
            assert!(hive.delete_value_units(key, &value.name).unwrap());
        }
    }
    bench.write("small.hive", &hive.to_bytes())
}

/// What hivexregedit makes of a hive, read by us, and what it makes of our text.
fn agree_with_hivex(bench: &Bench, path: &str, prefix: &str) -> bool {
    let Some(output) = oracle::run("hivexregedit", ["--export", "--prefix", prefix, path, "\\"]) else { return false };
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    let theirs = bench.write("theirs.reg", &output.stdout);
    let back = bench.arg("theirs.hive");
    reseal(["hive", "import", &empty_of(bench, path), &theirs, "-o", &back, "--root", prefix]).exits(0);
    assert_same(&said(&open(path)), &said(&open(&back)), &format!("{path}: hivexregedit's text"));
    std::fs::remove_file(&back).unwrap();

    let (path, ours) = (&without_big_data(bench, path), bench.arg("ours.reg"));
    reseal(["hive", "export", path, "--utf8", "--root", prefix, "-o", &ours]).exits(0);
    let target = empty_of(bench, path);
    // A Perl program: without this it takes each byte of UTF-8 for a letter.
    oracle::agree(
        "env",
        ["PERL_UNICODE=SD", "hivexregedit", "--merge", "--prefix", prefix, "--encoding", "UTF-16LE", &target, &ours],
    );
    assert_same(&said(&open(path)), &said(&open(&target)), &format!("{path}: our text by hivexregedit"));
    std::fs::remove_file(ours).unwrap();
    true
}

#[test]
fn hivexregedit_agrees_on_made_up_hives() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    for (path, hive) in content::hives(&content::volume(&gold)) {
        let name = path.rsplit('\\').next().unwrap();
        let file = bench.write(name, &hive.to_bytes());
        assert_round_trip(&bench, &file, &["--root", r"HKEY_LOCAL_MACHINE\X"], &[]);
        if !agree_with_hivex(&bench, &file, r"HKEY_LOCAL_MACHINE\X") {
            return;
        }
    }
}

#[test]
fn real_hives_come_back() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let mut count = 0;
    for placed in real::set_c(&root).unwrap() {
        let name = placed.path.rsplit('\\').next().unwrap();
        if !placed.bytes.starts_with(b"regf") || name.to_ascii_uppercase().contains(".LOG") || name == "SOFTWARE" {
            continue;
        }
        // A dirty one as it stands: its logs are another matter.
        let Ok(hive) = Hive::open_vec(placed.bytes, &[], Recover::AsIs) else { continue };
        let mut clean = hive.clone();
        let root = clean.root();
        clean.set_value(root, "reseal test", types::DWORD, &[0; 4]).unwrap();
        clean.delete_value(root, "reseal test").unwrap();
        let file = bench.write("REAL.hive", &clean.to_bytes());
        assert_round_trip(&bench, &file, &[], &[]);
        if clean.byte_len() < 1 << 20 {
            agree_with_hivex(&bench, &file, r"HKEY_LOCAL_MACHINE\X");
        }
        count += 1;
    }
    println!("{count} real hives come back from .reg text");
    assert!(count >= 10, "{count}");
}
