//! `diff`: each kind of difference, planted alone, is found, and nothing else is.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_disk::{Disk, GptPartition, write_gpt};
use reseal_dtyp::{Descriptor, FileTime, Guid, utf16le};
use reseal_hive::{Hive, Recover, types};
use reseal_ntfs::{FileReference, NewName, Security, Volume};
use reseal_testdata::{Container, ImageBuilder};
use rig::{Bench, content, hash, made_up, reseal};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const TIME: FileTime = FileTime(133_600_000_000_000_000);
const CONFIG: &str = r"\Windows\System32\config\";

/// The made-up machine on a bare volume, with a file that has a stream, one with two names, and a folder.
fn gold(bench: &Bench) -> String {
    let builder = ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
    let image = made_up();
    let built = builder.build(&bench.path("gold.raw"), |volume| {
        image.fill(volume)?;
        let root = volume.root();
        let dir = volume.create_dir(root, "Planted", Security::Inherit, TIME)?;
        let twin = volume.create_file(dir, "two names.txt", b"one content", Security::Inherit, TIME)?;
        volume.link(twin, root, &units("second name.txt"), TIME)?;
        let streams = volume.create_file(dir, "streams.bin", &[7; 9000], Security::Inherit, TIME)?;
        volume.replace(streams, &units("side"), b"beside", TIME)?;
        volume.create_file(dir, "large.bin", &noise(700_000), Security::Inherit, TIME)?;
        Ok(())
    });
    built.expect("the image can be built");
    bench.arg("gold.raw")
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A copy of the image with an edited volume.
fn edited(gold: &str, out: &Path, edit: impl FnOnce(&mut Volume)) {
    let disk = Disk::open(Path::new(gold)).unwrap();
    let table = disk.partitions().unwrap();
    let mut volume = Volume::open(disk.partition(&table.partitions[0])).unwrap();
    edit(&mut volume);
    drop(volume);
    disk.commit_to(out, [Guid([8; 16]); 2], &|_, _| {}).unwrap();
}

fn at(volume: &Volume, path: &str) -> FileReference {
    volume.resolve(path).unwrap().unwrap_or_else(|| panic!("{path} is missing"))
}

/// Edits a hive in place.
fn in_hive(volume: &mut Volume, path: &str, edit: impl FnOnce(&mut Hive)) {
    let file = at(volume, path);
    let mut hive = Hive::open_vec(volume.read(file, &[]).unwrap(), &[], Recover::Replay).unwrap();
    edit(&mut hive);
    volume.replace(file, &[], &hive.to_bytes(), TIME).unwrap();
}

/// `kind what path key name` of an entry, what is absent as a dash.
fn shown(entry: &Value) -> String {
    let part = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
    format!("{} {} {} {} {}", part("kind"), part("what"), part("path"), part("key"), part("name"))
}

fn entries(document: &Value) -> Vec<Value> {
    let volumes = document["volumes"].as_array().expect("a list");
    volumes.iter().flat_map(|v| v["entries"].as_array().expect("a list").clone()).collect()
}

fn lines(document: &Value) -> Vec<String> {
    entries(document).iter().map(shown).collect()
}

type Edit = Box<dyn FnOnce(&mut Volume)>;

/// What is planted, the options that show it, and the entries that it gives.
struct Case {
    edit: Edit,
    options: &'static [&'static str],
    entries: &'static [&'static str],
}

fn case(
    options: &'static [&'static str],
    entries: &'static [&'static str],
    edit: impl FnOnce(&mut Volume) + 'static,
) -> Case {
    Case { edit: Box::new(edit), options, entries }
}

/// The volume as the one image of a WIM.
fn captured(disk: &str, wim: &str) -> String {
    let _ = std::fs::remove_file(wim);
    reseal(["wim", "capture", disk, wim, "--compress", "none"]).exits(0);
    wim.to_owned()
}

/// The same differences show between two WIMs, and between a WIM and a disk, but for what only a volume has.
#[track_caller]
fn assert_found_in_wims([gold, gold_wim]: [&str; 2], out: &str, options: &[&str], entries: &[&str]) {
    let out_wim = captured(out, &format!("{out}.wim"));
    let of_a_volume = |line: &&&str| ["volume ", "system-stream "].iter().any(|kind| line.starts_with(kind));
    let expected: Vec<&str> = entries.iter().filter(|line| !of_a_volume(line)).copied().collect();
    for pair in [[gold_wim, &out_wim], [gold_wim, out], [gold, &out_wim]] {
        let args = [&["diff", pair[0], pair[1], "--json"], options].concat();
        let run = reseal(args).exits(if expected.is_empty() { 0 } else { 4 });
        assert_eq!(lines(&run.json()), expected, "{pair:?} {options:?}");
    }
}

#[track_caller]
fn assert_found(cases: Vec<Case>) {
    let bench = Bench::new();
    let gold = gold(&bench);
    let before = hash(&gold);
    let captured = captured(&gold, &bench.arg("gold.wim"));
    for Case { edit, options, entries } in cases {
        let out = bench.path("edited.raw");
        edited(&gold, &out, edit);
        assert_found_in_wims([&gold, &captured], out.to_str().unwrap(), options, entries);
        let args = ["diff", &gold, out.to_str().unwrap(), "--json"].into_iter().chain(options.iter().copied());
        let run = reseal(args).exits(if entries.is_empty() { 0 } else { 4 });
        assert_eq!(lines(&run.json()), entries, "{options:?}");
        // The other way round, what was added is removed.
        let args = ["diff", out.to_str().unwrap(), &gold, "--json"].into_iter().chain(options.iter().copied());
        let back: BTreeSet<String> = lines(&reseal(args).json()).into_iter().collect();
        let turned = |line: &&str| match line.split(' ').nth(1) {
            Some("added") => line.replacen(" added ", " removed ", 1),
            Some("removed") => line.replacen(" removed ", " added ", 1),
            _ => (*line).to_owned(),
        };
        assert_eq!(back, entries.iter().map(turned).collect::<BTreeSet<_>>(), "{options:?}");
        std::fs::remove_file(out).unwrap();
    }
    assert_eq!(hash(&gold), before, "nothing is written");
}

#[test]
fn files() {
    let streams = r"Planted\streams.bin";
    assert_found(vec![
        case(&[], &[r"stream changed \Planted\large.bin - -"], |v| {
            let file = at(v, r"Planted\large.bin");
            let mut data = noise(700_000);
            data[600_000] ^= 1;
            v.replace(file, &[], &data, TIME).unwrap();
        }),
        case(&[], &[r"stream changed \Planted\streams.bin - side"], move |v| {
            v.replace(at(v, streams), &units("side"), b"BESIDE", TIME).unwrap();
        }),
        case(&[], &[r"stream added \Planted\streams.bin - more"], move |v| {
            v.replace(at(v, streams), &units("more"), &noise(5000), TIME).unwrap();
        }),
        case(&[], &[r"stream removed \Planted\streams.bin - side"], move |v| {
            v.remove_stream(at(v, streams), &units("side"), TIME).unwrap();
        }),
        case(&[], &[r"file added \Planted\new.txt - -", r"descriptor added \Planted\new.txt - -"], |v| {
            v.create_file(at(v, "Planted"), "new.txt", b"x", Security::Inherit, TIME).unwrap();
        }),
        case(&[], &[r"file added \Planted\New folder - -", r"descriptor added \Planted\New folder - -"], |v| {
            v.create_dir(at(v, "Planted"), "New folder", Security::Inherit, TIME).unwrap();
        }),
        case(
            &[],
            &[
                r"file added \Planted\LARGE.BIN2 - -",
                r"descriptor added \Planted\LARGE.BIN2 - -",
                r"file removed \Planted\large.bin - -",
                r"descriptor removed \Planted\large.bin - -",
            ],
            |v| {
                let file = at(v, r"Planted\large.bin");
                let name = v.names_of(file).unwrap().remove(0);
                v.rename(file, &name, &units("LARGE.BIN2"), TIME).unwrap();
            },
        ),
        case(&[], &[r"links changed \Planted\two names.txt - -"], |v| {
            let file = at(v, r"Planted\two names.txt");
            v.link(file, v.root(), &units("third name.txt"), TIME).unwrap();
        }),
        // A name that comes first in order is the file's path only where both sides have it.
        case(&[], &[r"links changed \Planted\two names.txt - -"], |v| {
            let file = at(v, r"Planted\two names.txt");
            v.link(file, v.root(), &units("AAA.txt"), TIME).unwrap();
        }),
        case(&[], &[r"descriptor changed \Planted\large.bin - -"], |v| {
            let sddl = Descriptor::from_sddl("O:BAG:SYD:P(A;;FA;;;SY)").unwrap().to_bytes().unwrap();
            v.set_security_id(at(v, r"Planted\large.bin"), Security::Descriptor(&sddl)).unwrap();
        }),
        case(&[], &[], |v| v.set_times(at(v, r"Planted\large.bin"), [FileTime(5); 4]).unwrap()),
        case(&["--times"], &[r"times changed \Planted\large.bin - -"], |v| {
            v.set_times(at(v, r"Planted\large.bin"), [FileTime(5); 4]).unwrap();
        }),
        case(&[], &[r"volume changed  - flags"], |v| assert!(v.schedule_check().unwrap())),
        case(
            &["--raw"],
            &[r"volume changed  - flags", r"system-stream changed \$MFT - -", r"system-stream changed \$MFTMirr - -"],
            |v| assert!(v.schedule_check().unwrap()),
        ),
        // Half of a surrogate pair is a name, too, and is told from the other half.
        case(&[], &[r"file added \a\u{d800} - -", r"descriptor added \a\u{d800} - -"], |v| {
            let name = [0x61, 0xd800];
            v.create_as(v.root(), NewName::Exact(&name), Some(b""), Security::Inherit, TIME).unwrap();
        }),
    ]);
}

#[test]
fn filters() {
    fn two(v: &mut Volume) {
        let dir = at(v, "Planted");
        v.create_file(dir, "a.log", b"x", Security::SameAs(dir), TIME).unwrap();
        in_hive(v, r"Windows\System32\config\SYSTEM", |hive| {
            for key in ["Setup", "Select"] {
                let key = hive.key(key).unwrap().unwrap();
                hive.set_value(key, "New", types::DWORD, &[1, 0, 0, 0]).unwrap();
            }
        });
    }
    const SETUP: &str = r"value added \Windows\System32\config\SYSTEM HKEY_LOCAL_MACHINE\SYSTEM\Setup New";
    const SELECT: &str = r"value added \Windows\System32\config\SYSTEM HKEY_LOCAL_MACHINE\SYSTEM\Select New";
    const LOG: &str = r"file added \Planted\a.log - -";
    const ACL: &str = r"descriptor added \Planted\a.log - -";
    assert_found(vec![
        case(&[], &[LOG, ACL, SELECT, SETUP], two),
        case(&["--path", "planted"], &[LOG, ACL], two),
        case(&["--path", "Plant"], &[], two),
        case(&["--path", r"HKEY_LOCAL_MACHINE\SYSTEM\setup"], &[SETUP], two),
        case(&["--path", r"C:\Windows", "--ignore", r"HKEY_LOCAL_MACHINE\SYSTEM\Sel*"], &[SETUP], two),
        case(&["--ignore", "**.log", "--ignore", r"**\config\SYSTEM"], &[], two),
    ]);
}

const SOFTWARE: &str = r"Windows\System32\config\SOFTWARE";
fn set(v: &mut Volume, edit: impl FnOnce(&mut Hive)) {
    in_hive(v, SOFTWARE, edit);
}
fn key(hive: &Hive, path: &str) -> reseal_hive::KeyId {
    hive.key(path).unwrap().unwrap()
}

#[test]
fn values() {
    assert_found(vec![
        case(
            &[],
            &[
                r"value changed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\SQMClient MachineId",
            ],
            |v| {
                set(v, |h| {
                    h.set_value(key(h, r"Microsoft\SQMClient"), "machineid", types::EXPAND_SZ, b"x\0\0\0").unwrap()
                });
            },
        ),
        case(
            &[],
            &[r"value added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\SQMClient "],
            |v| {
                set(v, |h| h.set_value(key(h, r"Microsoft\SQMClient"), "", types::BINARY, &[]).unwrap());
            },
        ),
        case(
            &[],
            &[
                r"value removed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test\Big Across segments",
            ],
            |v| {
                set(v, |h| assert!(h.delete_value(key(h, r"Microsoft\Test\Big"), "Across segments").unwrap()));
            },
        ),
    ]);
}

#[test]
fn keys() {
    assert_found(vec![
        case(
            &[],
            &[
                r"key added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\New -",
                r"key-descriptor added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\New -",
                r"key added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\New\Below -",
                r"key-descriptor added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\New\Below -",
            ],
            |v| set(v, |h| assert!(h.create_path(r"New\Below").is_ok())),
        ),
        case(
            &[],
            &[
                r"key removed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test\Foreign -",
                r"key-descriptor removed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test\Foreign -",
                r"value removed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test\Foreign Build machine",
            ],
            |v| set(v, |h| h.delete_key(key(h, r"Microsoft\Test\Foreign")).unwrap()),
        ),
        // Names are the same without case; that they are spelled otherwise is told.
        case(
            &[],
            &[r"key changed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test -"],
            |v| {
                set(v, |h| assert!(h.rename_key(key(h, r"Microsoft\Test"), &units("TEST")).is_ok()));
            },
        )
        .spelled(),
        case(
            &[],
            &[r"class added \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test -"],
            |v| {
                set(v, |h| h.set_class_name(key(h, r"Microsoft\Test"), Some(&units("A class"))).unwrap());
            },
        ),
        case(
            &[],
            &[r"key-descriptor changed \Windows\System32\config\SOFTWARE HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Test -"],
            |v| {
                let sddl = Descriptor::from_sddl("O:BAG:SYD:P(A;;KA;;;SY)").unwrap().to_bytes().unwrap();
                set(v, |h| h.set_descriptor(key(h, r"Microsoft\Test"), &sddl).unwrap());
            },
        ),
    ]);
}

impl Case {
    /// The path is spelled as the first image spells it, so the way back has other letters: it is looked at here alone.
    fn spelled(self) -> Case {
        let bench = Bench::new();
        let gold = gold(&bench);
        let out = bench.path("spelled.raw");
        edited(&gold, &out, self.edit);
        let run = reseal(["diff", &gold, out.to_str().unwrap(), "--json"]).exits(4).json();
        assert_eq!(lines(&run), self.entries);
        assert_eq!((&entries(&run)[0]["before"], &entries(&run)[0]["after"]), (&"Test".into(), &"TEST".into()));
        case(&[], &[], |_| {})
    }
}

#[test]
fn times_of_keys_and_logs_of_hives() {
    fn same_again(v: &mut Volume) {
        in_hive(v, r"Windows\System32\config\SAM", |hive| {
            hive.set_clock(Some(TIME));
            let key = hive.key("SAM").unwrap().unwrap();
            hive.set_value(key, "x", types::DWORD, &[0; 4]).unwrap();
            hive.delete_value(key, "x").unwrap();
        });
    }
    assert_found(vec![
        case(&[], &[], same_again),
        case(
            &["--times"],
            &[
                r"times changed \Windows\System32\config\SAM - -",
                r"key-time changed \Windows\System32\config\SAM HKEY_LOCAL_MACHINE\SAM\SAM -",
            ],
            same_again,
        ),
        case(&["--raw", "--ignore", r"$*"], &[r"hive-bytes changed \Windows\System32\config\SAM - -"], same_again),
        // A log of a hive that needs none says nothing of the registry.
        case(&[], &[r"hive-log changed \Windows\System32\config\SAM.LOG1 - -"], |v| {
            let log = at(v, r"Windows\System32\config\SAM.LOG1");
            v.replace(log, &[], &[1; 65_536], TIME).unwrap();
        }),
    ]);
}

#[test]
fn secrets_and_long_data() {
    let bench = Bench::new();
    let gold = gold(&bench);
    let out = bench.path("edited.raw");
    edited(&gold, &out, |v| {
        in_hive(v, r"Windows\System32\config\SAM", |h| {
            h.set_value(h.root(), "Secret", types::SZ, &utf16le("hunter2\0")).unwrap();
        });
        in_hive(v, r"Windows\System32\config\SYSTEM", |h| {
            h.set_value(h.root(), "Long", types::BINARY, &[0xab; 300]).unwrap();
            h.set_value(h.root(), "Text", types::SZ, &utf16le("a\u{1b}\"b\0")).unwrap();
            let jd = h.key(r"ControlSet001\Control\Lsa\JD").unwrap().unwrap();
            h.set_class_name(jd, Some(&units("cafebabe"))).unwrap();
        });
    });
    let run = |more: &[&str]| {
        reseal(["diff", &gold, out.to_str().unwrap()].into_iter().chain(more.iter().copied())).exits(4).text()
    };
    let text = run(&[]);
    assert!(text.contains("+\"Secret\"=hex(1): 16 bytes, sha256 ") && !text.contains("hunter2"), "{text}");
    assert!(text.contains("+\"Long\"=hex: 300 bytes, sha256 ") && !text.contains("cafebabe"), "{text}");
    assert!(text.contains("+; class: 16 bytes, sha256 "), "{text}");
    // No control character of an image reaches a terminal.
    assert!(text.contains(r#"+"Text"="a\u{1b}\"b""#) && !text.contains('\u{1b}'), "{text}");
    let text = run(&["--secrets", "--full"]);
    assert!(text.contains("+\"Secret\"=\"hunter2\"") && text.contains("+; class: cafebabe"), "{text}");
    assert!(text.contains(&format!("+\"Long\"=hex:ab{}", ",ab".repeat(299))), "{text}");
    assert!(text.contains("; hive \\Windows\\System32\\config\\SAM\n"), "{text}");
    assert!(text.ends_with(" differences\n"), "{text}");
}

#[test]
fn fields_of_a_record() {
    let bench = Bench::new();
    let gold = gold(&bench);
    let volume = content::volume(&gold);
    let number = |path: &str| volume.resolve(path).unwrap().unwrap().record();
    let (large, long) = (number(r"Planted\large.bin"), number(r"Users\ann\Documents\A long file name of ann.txt"));
    let bytes = std::fs::read(&gold).unwrap();
    let record = |number: u64| {
        let head = |at: &usize| {
            bytes[*at..].starts_with(b"FILE") && bytes[at + 0x2c..at + 0x30] == (number as u32).to_le_bytes()
        };
        (0..bytes.len() - 1024).step_by(1024).find(head).unwrap()
    };
    // Where the value of an attribute lies; of several names, that of a namespace.
    let value = |record: usize, kind: u32, namespace: Option<u8>| {
        let mut at = record + usize::from(bytes[record + 0x14]);
        loop {
            let word = |o: usize| u32::from_le_bytes(bytes[at + o..at + o + 4].try_into().unwrap());
            assert_ne!(word(0), u32::MAX, "there is no attribute {kind:#x}");
            let value = at + (word(0x14) & 0xffff) as usize;
            if word(0) == kind && namespace.is_none_or(|n| bytes[value + 0x41] == n) {
                return value;
            }
            at += word(4) as usize;
        }
    };
    let gold_wim = captured(&gold, &bench.arg("gold.wim"));
    let planted = |at: usize, byte: u8, expected: &[&str], more: &[&str]| {
        let mut changed = bytes.clone();
        changed[at] = byte;
        let out = bench.write("edited.raw", &changed);
        // What cannot be read cannot be captured, and 8.3 names are captured from the folder.
        if expected.iter().all(|line| line.starts_with("attributes")) {
            assert_found_in_wims([&gold, &gold_wim], &out, more, expected);
        }
        let run = reseal(["diff", &gold, &out, "--json"].into_iter().chain(more.iter().copied()));
        let run = run.exits(if expected.is_empty() { 0 } else { 4 });
        assert_eq!(lines(&run.json()), expected);
    };
    // Hidden, in the attributes of $STANDARD_INFORMATION.
    let (large, long) = (record(large), record(long));
    let attributes = value(large, 0x10, None) + 0x20;
    planted(attributes, bytes[attributes] | 2, &[r"attributes changed \Planted\large.bin - -"], &[]);
    // The first letter of the name beside the long one.
    let short = value(long, 0x30, Some(2)) + 0x42;
    let path = r"short-name changed \Users\ann\Documents\A long file name of ann.txt - -";
    planted(short, b'Z', &[path], &[]);
    planted(short, b'Z', &[], &["--no-short-names"]);
    // A record that says it is free is told, on the side where it is.
    planted(large + 0x16, 0, &[r"unreadable changed \Planted\large.bin - -"], &[]);
    let out = bench.write("broken.raw", &{
        let mut changed = bytes.clone();
        changed[attributes - 0x20 - 0x18] = 0x11;
        changed
    });
    let document = reseal(["diff", &gold, &out, "--json"]).exits(4).json();
    let entry = entries(&document).into_iter().find(|e| e["kind"] == "unreadable").expect("it is told");
    assert!(entry["before"].is_null() && entry["after"].as_str().unwrap().contains("at 0x"), "{entry}");
}

#[test]
fn equal_images_are_alike_in_any_container() {
    let bench = Bench::new();
    let image = made_up();
    let raw = ImageBuilder { container: Container::Raw, ..ImageBuilder::default() };
    let a = bench.build("a.vhdx", ImageBuilder::default(), &image);
    edited(&a, &bench.path("b.vhdx"), |_| {});
    let b = bench.arg("b.vhdx");
    for line in [["diff", &a, &a], ["diff", &a, &b]] {
        let text = reseal(line).exits(0).text();
        assert!(text.ends_with("\n0 differences\n") && text.contains("unique descriptors: "), "{text}");
        reseal(line.into_iter().chain(["--times", "--raw"])).exits(0);
    }
    // One partition against the whole disk's only one, and against a volume without a table.
    reseal(["diff", &format!("{a}#p1"), &a]).exits(0);
    content::extract(&a, &bench.path("volume.raw"));
    let entries = lines(&reseal(["diff", &a, &bench.arg("volume.raw"), "--json"]).exits(4).json());
    assert_eq!(entries, ["partition changed  - type", "partition changed  - name"]);
    let c = bench.build("c.raw", raw, &image);
    // mkntfs draws a serial number; nothing else may differ.
    let document = reseal(["diff", &a, &c, "--json"]).json();
    assert!(lines(&document).iter().all(|line| line == "volume changed  - serial"), "{document:#}");
}

/// A disk with these partitions of 1 MiB, each filled with a byte.
fn partitioned(bench: &Bench, name: &str, fills: &[u8]) -> String {
    let blank = bench.write("blank.raw", &vec![0; 8 << 20]);
    let disk = Disk::open(Path::new(&blank)).unwrap();
    let ty = Guid::parse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").unwrap();
    let partition = |n: usize| GptPartition {
        ty,
        id: Guid([n as u8 + 1; 16]),
        name: format!("part {n}"),
        offset: (n as u64 + 1) << 20,
        len: 1 << 20,
    };
    let list: Vec<GptPartition> = (0..fills.len()).map(partition).collect();
    write_gpt(&*disk.bytes(), 512, Guid([9; 16]), &list).unwrap();
    for (part, fill) in list.iter().zip(fills) {
        disk.bytes().write_at(part.offset, &vec![*fill; 1 << 20]).unwrap();
    }
    disk.commit_to(&bench.path(name), [Guid([8; 16]); 2], &|_, _| {}).unwrap();
    std::fs::remove_file(blank).unwrap();
    bench.arg(name)
}

#[test]
fn volumes_pair_by_number() {
    let bench = Bench::new();
    let a = partitioned(&bench, "a.raw", &[1, 2, 3]);
    let b = partitioned(&bench, "b.raw", &[1, 7]);
    let document = reseal(["diff", &a, &b, "--json"]).exits(4).json();
    let told: Vec<(&str, &str, usize)> = document["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| (v["volume"].as_str().unwrap(), v["side"].as_str().unwrap(), v["entries"].as_array().unwrap().len()))
        .collect();
    assert_eq!(told, [("partition 1", "both", 0), ("partition 2", "both", 1), ("partition 3", "before", 1)]);
    assert_eq!(lines(&document), ["partition changed  - content", "partition removed  - -"]);
    let back = reseal(["diff", &b, &a, "--json"]).exits(4).json();
    assert_eq!(lines(&back), ["partition changed  - content", "partition added  - -"]);
    // One partition of each: the order decides, and what the tables call them differs.
    let entries = lines(&reseal(["diff", &format!("{a}#p1"), &format!("{b}#p2"), "--json"]).exits(4).json());
    assert_eq!(entries, ["partition changed  - name", "partition changed  - content"]);
    reseal(["diff", &format!("{a}#p1"), &format!("{b}#p1")]).exits(0);
    reseal(["diff", &a, &format!("{b}#p3")]).exits(1).says("no partition 3");
    // Nothing that is known is not alike to anything.
    let empty = bench.write("empty.raw", &[0; 4096]);
    reseal(["diff", &empty, &empty]).exits(7).says("empty.raw");
}

#[test]
fn damage_is_told_and_located() {
    let bench = Bench::new();
    let gold = gold(&bench);
    // A hive that is none any more, and one that is damaged inside.
    let out = bench.path("hive.raw");
    edited(&gold, &out, |v| {
        for (path, offset) in [("SAM", 0x24), ("SOFTWARE", 0x1020)] {
            let file = at(v, &format!("{CONFIG}{path}"));
            let mut bytes = v.read(file, &[]).unwrap();
            bytes[offset..offset + 8].fill(0x41);
            v.replace(file, &[], &bytes, TIME).unwrap();
        }
    });
    let document = reseal(["diff", &gold, out.to_str().unwrap(), "--json"]).exits(4).json();
    let found = entries(&document);
    for name in ["SAM", "SOFTWARE"] {
        let of: Vec<&Value> = found.iter().filter(|e| e["path"] == format!("{CONFIG}{name}")).collect();
        let told = of.iter().find(|e| e["kind"] == "unreadable").unwrap_or_else(|| panic!("{name}: {found:#?}"));
        assert!(told["before"].is_null() && told["after"].as_str().unwrap().contains("0x"), "{told}");
        assert!(of.iter().any(|e| e["kind"] == "stream"), "the bytes differ, too: {of:#?}");
    }
    // A volume that cannot be opened is an error that names image and volume.
    let mut bytes = std::fs::read(&gold).unwrap();
    bytes[0x30..0x38].fill(0xff);
    let broken = bench.write("broken.raw", &bytes);
    for line in [["diff", &gold, &broken], ["diff", &broken, &gold]] {
        reseal(line).exits(7).says("broken.raw").says("volume");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_text() {
    let bench = Bench::new();
    let gold = gold(&bench);
    let sealed = bench.arg("sealed.raw");
    rig::seal(&gold, &sealed, &[]);
    let texts: Vec<Vec<u8>> = ["1", "2", "7"]
        .iter()
        .map(|n| reseal(["diff", &gold, &sealed, "--raw", "--times", "-j", n]).exits(4).out)
        .collect();
    assert!(texts[0] == texts[1] && texts[1] == texts[2]);
    assert!(texts[0].len() > 2000);
}
