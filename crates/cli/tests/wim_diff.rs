//! `diff` of images of WIMs: against each other, and against a disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{Descriptor, FileTime};
use reseal_ntfs::{NewName, Security};
use reseal_testdata::oracle;
use reseal_wim::{FileId, Image, Storage, Times, Wim, Writer};
use rig::explained::assert_plan_is_diff_of_wim;
use rig::machine::Rig;
use rig::{FIXED, reseal};
use serde_json::Value;
use std::sync::Arc;

/// Where the volume of a made-up machine lies on its disk.
const OFFSET: usize = 1 << 20;
/// Ways in which wimlib stores.
const KINDS: [&str; 4] = ["--compress=LZX", "--compress=XPRESS", "--compress=none", "--solid"];

/// Two images of the volume of a raw disk, as wimlib captures it. `None` where wimlib is missing.
fn capture(rig: &Rig, disk: &str, name: &str, how: &str) -> Option<String> {
    let disk = std::fs::read(disk).unwrap();
    let volume = rig.bench.write("volume.ntfs", &disk[OFFSET..disk.len() - OFFSET]);
    let wim = rig.out(name);
    oracle::agree("wimlib-imagex", ["capture", &volume, &wim, "First", how])?;
    oracle::agree("wimlib-imagex", ["append", &volume, &wim, "Second"])?;
    Some(wim)
}

fn entries(document: &Value) -> Vec<Value> {
    document["volumes"][0]["entries"].as_array().unwrap().clone()
}

/// `kind what path name` of each entry.
fn lines(document: &Value) -> Vec<String> {
    let part = |e: &Value, name: &str| e[name].as_str().unwrap_or("-").to_owned();
    let line = |e: &Value| ["kind", "what", "path", "name"].map(|name| part(e, name)).join(" ");
    entries(document).iter().map(line).collect()
}

#[test]
fn what_was_planned_for_a_wim_is_what_differs() {
    let rig = Rig::new();
    for kind in KINDS {
        let name = format!("{}.wim", kind.trim_start_matches('-'));
        let Some(wim) = capture(&rig, &rig.sound, &name, kind) else { return };
        let (rebuilt, appended) = (rig.out(&format!("rebuilt-{name}")), rig.out(&format!("appended-{name}")));
        let image = format!("{wim}:2");
        let args = |image: &str, to: &[&str]| {
            let more = ["--computer-name", "WEB-01", "--remove-user", "bob"];
            let line = [&["generalize", image, "--json"], &FIXED[..], &more, to].concat();
            reseal(line).exits(0).json()
        };
        let report = args(&image, &["-o", &rebuilt]);
        std::fs::copy(&wim, &appended).unwrap();
        let in_place = args(&format!("{appended}:2"), &["--in-place"]);
        for (sealed, report) in [(&rebuilt, &report), (&appended, &in_place)] {
            let counts = assert_plan_is_diff_of_wim(&image, &format!("{sealed}:2"), report, &report["plan"]);
            println!("{sealed}: {} planned changes, {} differences", counts.planned, counts.found);
            assert!(counts.planned > 20 && counts.found > counts.planned);
            // The image that was not meant is what it was.
            reseal(["diff", &format!("{wim}:1"), &format!("{sealed}:1"), "--times", "--raw"]).exits(0);
        }
        reseal(["diff", &format!("{rebuilt}:2"), &format!("{appended}:2"), "--times", "--raw"]).exits(0);
    }
}

#[test]
fn equal_images_are_alike_however_they_are_stored() {
    let rig = Rig::new();
    let mut wims = Vec::new();
    for kind in KINDS {
        let name = format!("{}.wim", kind.trim_start_matches('-'));
        let Some(wim) = capture(&rig, &rig.sound, &name, kind) else { return };
        let run = reseal(["diff", &format!("{wim}:1"), &format!("{wim}:second"), "--times", "--raw", "--json"]);
        let document = run.exits(0).json();
        assert_eq!(lines(&document), Vec::<String>::new());
        let volume = &document["volumes"][0];
        assert!(volume["files"].as_u64().unwrap() > 50, "{volume}");
        assert_eq!(volume["descriptors"]["removed"], 0);
        wims.push(wim);
    }
    for wim in &wims[1..] {
        reseal(["diff", &format!("{}:1", wims[0]), &format!("{wim}:2"), "--times"]).exits(0);
    }
    // Which image is meant has to be said; all of them are none.
    reseal(["diff", &wims[0], &wims[1]]).exits(1).says("which of the 2 images");
    reseal(["diff", &format!("{}:all", wims[0]), &wims[1]]).exits(1).says("there is no image all");
    reseal(["diff", &format!("{}:1", wims[0]), &rig.bench.write("empty.raw", &[0; 4096])]).exits(1).says("NTFS");
}

/// A machine with everything that a WIM holds in another way than a disk, or not at all.
fn odd(rig: &Rig) -> String {
    rig.planted("odd.raw", |machine| {
        let volume = &mut machine.volume;
        let (time, root) = (FileTime(133_400_000_000_000_000), volume.root());
        let users = volume.resolve("Users").unwrap().unwrap();
        let units = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        let file = volume.create_file(users, "two names", &[7; 90_000], Security::SameAs(users), time).unwrap();
        volume.link(file, root, &units("second name"), time).unwrap();
        volume.replace(file, &units("a stream"), &b"beside ".repeat(900), time).unwrap();
        volume.replace(users, &units("of a folder"), b"x", time).unwrap();
        volume.create_file(users, "empty", &[], Security::SameAs(users), time).unwrap();
        let lone = [0xd800, u16::from(b'x')];
        volume.create_as(users, NewName::Exact(&lone), Some(b"no text"), Security::SameAs(users), time).unwrap();
        for name in ["pagefile.sys", "hiberfil.sys", "swapfile.sys", "$ntfs.log"] {
            volume.create_file(root, name, b"left out", Security::SameAs(users), time).unwrap();
        }
        for name in ["System Volume Information", "$Recycle.Bin", "RECYCLER", "$Windows.~BT", "$Windows.~LS"] {
            let folder = volume.lookup(root, &units(name)).unwrap();
            let folder =
                folder.unwrap_or_else(|| volume.create_dir(root, name, Security::SameAs(users), time).unwrap());
            volume.create_file(folder, "in it", b"left out, too", Security::SameAs(users), time).unwrap();
        }
        let windows = volume.resolve("Windows").unwrap().unwrap();
        volume.create_dir(windows, "CSC", Security::SameAs(users), time).unwrap();
    })
}

#[test]
fn a_captured_disk_is_its_wim() {
    let rig = Rig::new();
    let disk = odd(&rig);
    let ours = rig.out("ours.wim");
    reseal(["wim", "capture", &disk, &ours, "--compress", "xpress"]).exits(0);
    let mut wims = vec![ours.clone()];
    wims.extend(capture(&rig, &disk, "theirs.wim", "--solid").map(|wim| format!("{wim}:2")));
    for wim in wims {
        // Setup's folders are captured by wimlib, and left out by us.
        let is_ours = wim == ours;
        for pair in [[&wim, &disk], [&disk, &wim]] {
            let run = reseal(["diff", pair[0], pair[1], "--times", "--raw", "--json"]).exits(0).json();
            assert_eq!(lines(&run), Vec::<String>::new());
            let volume = &run["volumes"][0];
            assert!(volume["descriptors"].is_null() && volume["hives"].as_u64() > Some(3), "{volume}");
            let left: Vec<&str> = volume["left_out"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
            let mut expected = vec![
                r"\$Recycle.Bin",
                r"\$Windows.~BT",
                r"\$Windows.~LS",
                r"\$ntfs.log",
                r"\RECYCLER",
                r"\System Volume Information",
                r"\hiberfil.sys",
                r"\pagefile.sys",
                r"\swapfile.sys",
                r"\Windows\CSC",
            ];
            expected.retain(|path| is_ours || !path.contains(".~"));
            assert_eq!(left, expected);
        }
    }
    let text = reseal(["diff", &ours, &disk]).exits(0).text();
    assert!(text.contains(r"left out, as capturing leaves it out: \pagefile.sys"), "{text}");
    // A path that was left out by hand is a difference; the disk's other partitions are not looked at.
    let less = rig.out("less.wim");
    reseal(["wim", "capture", &disk, &less, "--exclude", r"\Users\two names", "--compress", "none"]).exits(0);
    let run = reseal(["diff", &format!("{less}:1"), &format!("{disk}#p1"), "--json"]).exits(4).json();
    // The 8.3 name stands beside the name that was left out.
    assert_eq!(lines(&run), [r"links changed \second name -", r"short-name added \second name -"]);
}

/// What wimlib changes in an image is told, and nothing else.
#[test]
fn what_another_program_changed_is_told() {
    let rig = Rig::new();
    let disk = odd(&rig);
    for kind in KINDS {
        let Some(wim) = capture(&rig, &disk, "theirs.wim", kind) else { return };
        let content = rig.bench.write("content", &[8; 90_000]);
        let sam = r"\Windows\System32\config\SAM.LOG1";
        let log = rig.bench.write("log", &[1; 65_536]);
        for line in ["delete '\\Users\\empty'", &format!("add '{content}' '\\Users\\new'")] {
            oracle::agree("wimlib-imagex", ["update", &wim, "2", &format!("--command={line}")]).unwrap();
        }
        let run = reseal(["diff", &format!("{wim}:1"), &format!("{wim}:2"), "--json"]).exits(4).json();
        let told = lines(&run);
        // wimlib gives what comes from Linux no descriptor.
        let expected =
            [r"file removed \Users\empty -", r"descriptor removed \Users\empty -", r"file added \Users\new -"];
        assert_eq!(told, expected, "{kind}");
        // The log of a hive that is equal in both: replayed, it might say something else.
        for line in [&format!("delete '{sam}'"), &format!("add '{log}' '{sam}'")] {
            oracle::agree("wimlib-imagex", ["update", &wim, "2", &format!("--command={line}")]).unwrap();
        }
        let run = reseal(["diff", &format!("{wim}:1"), &format!("{wim}:2"), "--path", sam, "--json"]).exits(4).json();
        assert!(lines(&run).contains(&format!("hive-log changed {sam} -")), "{:?}", lines(&run));
        let hives = reseal(["diff", &format!("{wim}:1"), &format!("{wim}:2"), "--json"]).exits(4).json();
        assert_eq!(hives["volumes"][0]["hives"], 1, "it is compared as registry, with its logs");
        // A value of a hive, and the same against the disk.
        let set = rig.out("set.wim");
        let _ = std::fs::remove_file(&set);
        let first = format!("{wim}:1");
        reseal(["hive", "set", &first, "--hive", "SYSTEM", "Setup", "Told", "dword:7", "-o", &set]).exits(0);
        let changed = format!("{set}:1");
        for before in [&first, &disk] {
            let run =
                reseal(["diff", before, &changed, "--json", "--path", r"HKEY_LOCAL_MACHINE\SYSTEM"]).exits(4).json();
            assert_eq!(lines(&run), [r"value added \Windows\System32\config\SYSTEM Told"], "{before}");
        }
        std::fs::remove_file(&wim).unwrap();
    }
}

type Edit = fn(&mut Image, FileId, FileId);

/// The WIM with an edit of a file, which is given with its folder.
fn with_edit(old: &Wim, path: &str, edit: Edit) -> Vec<u8> {
    let mut image = old.image(1).unwrap();
    let (mut file, mut folder) = (image.root(), image.root());
    for name in path.trim_start_matches('\\').split('\\') {
        let name: Vec<u16> = name.encode_utf16().collect();
        folder = file;
        file = image.entries(folder).find(|entry| entry.name == name).unwrap().file;
    }
    edit(&mut image, file, folder);
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, old.header().clone(), Storage::Compressed, false);
    old.blobs().iter().for_each(|blob| writer.copy(old, blob).unwrap());
    writer.image(&image).unwrap();
    let done = writer.finish(&image.references(), 0, &old.xml().unwrap()).unwrap();
    bytes[..done.header.len()].copy_from_slice(&done.header);
    bytes
}

/// What a WIM says of a file, changed by an edit of its metadata.
#[test]
fn what_a_wim_says_of_a_file_is_told() {
    let rig = Rig::new();
    let wim = rig.out("gold.wim");
    reseal(["wim", "capture", &odd(&rig), &wim, "--compress", "lzx"]).exits(0);
    let (long, two) = (r"\Users\ann\Documents\A long file name of ann.txt", r"\Users\two names");
    let cases: [(&str, &[&str], Edit, &[String]); 6] = [
        (
            long,
            &[],
            |image, file, folder| {
                let name = image.names(file).next().unwrap().1.name.clone();
                image.move_to(file, folder, &name);
            },
            &[format!("short-name removed {long} -")],
        ),
        (
            long,
            &["--no-short-names"],
            |image, file, folder| {
                let name = image.names(file).next().unwrap().1.name.clone();
                image.move_to(file, folder, &name);
            },
            &[],
        ),
        (
            two,
            &["--times"],
            |image, file, _| {
                image.set_times(file, Times { written: FileTime(1), ..image.times(file) });
            },
            &[format!("times changed {two} -")],
        ),
        (
            two,
            &[],
            |image, file, _| {
                let own = Descriptor::from_sddl("O:BAG:SYD:P(A;;FA;;;SY)").unwrap().to_bytes().unwrap();
                let security = image.add_descriptor(&own);
                image.set_security(file, Some(security));
            },
            &[format!("descriptor changed {two} -")],
        ),
        (two, &[], |image, file, _| image.set_security(file, None), &[format!("descriptor removed {two} -")]),
        // A content that another file has, so that it is there.
        (
            two,
            &[],
            |image, file, _| {
                let name: Vec<u16> = "a stream".encode_utf16().collect();
                let hash = image.content(file).unwrap().hash;
                image.set_stream(file, &name, hash);
            },
            &[format!("stream changed {two} a stream")],
        ),
    ];
    let old = Wim::open(reseal_disk::open_file(wim.as_ref()).unwrap()).unwrap();
    for (path, options, edit, expected) in cases {
        let edited = rig.bench.write("edited.wim", &with_edit(&old, path, edit));
        let args = [&["diff", &wim, &edited, "--json"], options].concat();
        let run = reseal(args).exits(if expected.is_empty() { 0 } else { 4 });
        assert_eq!(lines(&run.json()), expected, "{options:?}");
    }
}

/// A content that is damaged is told where it is read, and not where its SHA-1 says enough.
#[test]
fn what_cannot_be_read_is_told() {
    let rig = Rig::new();
    let Some(wim) = capture(&rig, &rig.sound, "whole.wim", "--compress=LZX") else { return };
    let whole = std::fs::read(&wim).unwrap();
    // Places that belong to contents, and to none of the tables.
    let is_content = |bytes: &[u8]| {
        let wim = Wim::open(Arc::new(MemoryDisk::new(bytes.to_vec()))).ok();
        wim.is_some_and(|wim| {
            wim.image(1).is_ok() && wim.blobs().iter().any(|blob| wim.read_at(blob, 0, &mut [0; 8]).is_err())
        })
    };
    let damaged = (256..whole.len() - 32).step_by(512).map(|at| {
        let mut bytes = whole.clone();
        bytes[at..at + 32].fill(0xff);
        bytes
    });
    let bytes = damaged.into_iter().find(|bytes| is_content(bytes)).unwrap();
    let damaged = rig.bench.write("damaged.wim", &bytes);
    reseal(["wim", "verify", &damaged]).exits(4);
    reseal(["diff", &format!("{wim}:1"), &format!("{damaged}:1")]).exits(0);
    // Every file of the other side has another content.
    let edited = rig.planted("edited.raw", |machine| {
        let volume = &mut machine.volume;
        let mut folders = vec![volume.root()];
        while let Some(folder) = folders.pop() {
            for entry in volume.entries(folder).unwrap() {
                match entry.is_directory() {
                    _ if entry.reference.record() < 24 => {}
                    true => folders.push(entry.reference),
                    false => {
                        let data = [volume.read(entry.reference, &[]).unwrap(), vec![1]].concat();
                        volume.replace(entry.reference, &[], &data, FileTime(1)).unwrap();
                    }
                }
            }
        }
    });
    for (before, side) in [(&wim, None), (&damaged, Some("before"))] {
        let run = reseal(["diff", &format!("{before}:1"), &edited, "--json"]).exits(4).json();
        let unreadable: Vec<Value> = entries(&run).into_iter().filter(|e| e["kind"] == "unreadable").collect();
        let of_wim = |e: &&Value| side.is_some_and(|side| e[side].is_string());
        assert!(unreadable.iter().filter(of_wim).count() == unreadable.len(), "{unreadable:#?}");
        assert_eq!(unreadable.is_empty(), side.is_none());
    }
}
