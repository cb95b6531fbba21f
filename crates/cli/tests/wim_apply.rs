//! An image of a WIM comes onto an empty volume as it was captured, and as wimlib applies it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]
#![allow(unreachable_pub, missing_debug_implementations, missing_docs, dead_code, reason = "modules of other tests")]

#[path = "../../ntfs/tests/rig/alike.rs"]
mod alike;
#[path = "../../ntfs/tests/rig/ntfs_3g.rs"]
mod ntfs_3g;
mod rig;

use ntfs_3g::{SeenAttribute, SeenVolume};
use reseal_disk::Disk;
use reseal_ntfs::Volume;
use reseal_testdata::{ImageBuilder, oracle};
use reseal_wim::{Compression, Image, NewFile, Stream, Wim};
use rig::odd::{BARE, TIME, blank, capture, oddities, units};
use rig::wims::{ARCHIVE, FOLDER, add, by_hand, file, folder, honest, reparse_point, stream, target, write};
use rig::{Bench, FIXED, hash, made_up, reseal};
use std::collections::BTreeMap;
use std::path::Path;

/// Asked by the reader with libntfs-3g.
fn required() -> bool {
    std::env::var("RESEAL_ORACLES").is_ok_and(|v| v == "require")
}

fn open(bare: &str) -> Volume {
    Volume::open(Disk::open(Path::new(bare)).unwrap().bytes()).unwrap()
}

/// Applies, and has all that can judge a volume judge what came out.
fn apply(bench: &Bench, wim: &str, disk: &str, out: &str) -> serde_json::Value {
    let out = bench.arg(out);
    let report = reseal([&["wim", "apply", wim, disk, "-o", &out, "--json"][..], &TIME].concat()).exits(0).json();
    assert_eq!(report["schema"], "reseal.wim-apply/1");
    reseal(["fs", "check", &out, "--strict"]).exits(0);
    report
}

/// What ntfs-3g and its tools say of a bare volume.
fn approved(volume: &str) -> Option<()> {
    oracle::agree("ntfsresize", ["-i", "-f", volume])?;
    oracle::agree("ntfsfix", ["-n", volume])?;
    let text = oracle::agree("ntfssecaudit", ["-a", volume])?;
    assert!(!text.contains("ERROR"), "{text}");
    Some(())
}

/// What two images differ in, times included, but for label and serial number of the volume and for what is not captured: its own
/// files, `$Recycle.Bin` and `System Volume Information`.
fn differences(a: &str, b: &str, more: &[&str]) -> Vec<String> {
    let args = [&["diff", a, b, "--json"], more].concat();
    let diff = reseal(args).json();
    let entries = diff["volumes"].as_array().unwrap().iter().flat_map(|v| v["entries"].as_array().unwrap().clone());
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let is_own =
        |path: &str| path.is_empty() || path.starts_with(r"\$") || path.starts_with(r"\System Volume Information");
    let entries = entries.filter(|e| !is_own(e["path"].as_str().unwrap_or_default()));
    entries.map(|e| format!("{} {} {}", text(&e["what"]), text(&e["kind"]), text(&e["path"]))).collect()
}

#[test]
fn a_windows_goes_round() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let wim = bench.arg("gold.wim");
    capture(&gold, &wim, "lzx");
    let disk = blank(&bench, "blank.vhdx", ImageBuilder::default());
    let report = apply(&bench, &wim, &disk, "applied.vhdx");
    let applied = bench.arg("applied.vhdx");
    assert_eq!(differences(&gold, &applied, &["--times"]), [""; 0]);
    let info = reseal(["wim", "info", &wim, "--json"]).exits(0).json();
    assert_eq!(report["bytes"], info["images"][0]["bytes"]);
    // Round once more is the same WIM, and what was applied can be sealed.
    let again = bench.arg("again.wim");
    capture(&applied, &again, "lzx");
    let listed = |wim: &str| reseal(["fs", "ls", wim, "-r"]).exits(0).text();
    assert_eq!(listed(&again), listed(&wim));
    let sealed = bench.arg("sealed.vhdx");
    reseal([&["generalize", &applied, "-o", &sealed][..], &FIXED].concat()).exits(0);
    reseal(["fs", "check", &sealed]).exits(0);
}

#[test]
fn oddities_go_round() {
    let bench = Bench::new();
    BARE.build(&bench.path("odd.ntfs"), oddities).unwrap();
    let (gold, wim) = (bench.arg("odd.ntfs"), bench.arg("odd.wim"));
    let disk = blank(&bench, "blank.ntfs", BARE);
    for format in ["lzx", "none"] {
        let wim = bench.arg(&format!("{format}.wim"));
        capture(&gold, &wim, format);
        let report = apply(&bench, &wim, &disk, &format!("{format}.ntfs"));
        let applied = bench.arg(&format!("{format}.ntfs"));
        assert_eq!(differences(&gold, &applied, &["--times"]), [""; 0]);
        assert_eq!((&report["hard_links"], &report["reparse_points"]), (&3.into(), &3.into()), "{report:#}");
        if approved(&applied).is_none() {
            return;
        }
    }
    // What wimlib applies of the same image is the same.
    let theirs = blank(&bench, "theirs.ntfs", BARE);
    capture(&gold, &wim, "xpress");
    if oracle::agree("wimlib-imagex", ["apply", &wim, "1", &theirs]).is_some() {
        assert_eq!(differences(&bench.arg("lzx.ntfs"), &theirs, &[]), [""; 0]);
    }
}

#[test]
fn what_wimlib_stores_is_applied() {
    let bench = Bench::new();
    BARE.build(&bench.path("odd.ntfs"), oddities).unwrap();
    let gold = bench.arg("odd.ntfs");
    let disk = blank(&bench, "blank.ntfs", BARE);
    for (name, options) in [
        ("lzx", &["--compress=LZX"][..]),
        ("xpress", &["--compress=XPRESS"]),
        ("lzms", &["--compress=LZMS"]),
        ("solid", &["--solid"]),
    ] {
        let wim = bench.arg(&format!("{name}.wim"));
        if oracle::agree("wimlib-imagex", [&["capture", &gold, &wim, "Odd"], options].concat()).is_none() {
            return;
        }
        let report = apply(&bench, &wim, &disk, &format!("{name}.ntfs"));
        assert_eq!(differences(&gold, &bench.arg(&format!("{name}.ntfs")), &["--times"]), [""; 0], "{name}");
        assert!(report["contents"].as_u64() > Some(5), "{report:#}");
    }
}

#[test]
fn the_same_bytes_whatever_the_threads_and_in_place() {
    let bench = Bench::new();
    ImageBuilder::default().build(&bench.path("odd.vhdx"), oddities).unwrap();
    let wim = bench.arg("odd.wim");
    capture(&bench.arg("odd.vhdx"), &wim, "xpress");
    let disk = blank(&bench, "blank.vhdx", ImageBuilder::default());
    let before = hash(&disk);
    for threads in ["1", "2", "5"] {
        let out = bench.arg(&format!("{threads}.vhdx"));
        reseal([&["--threads", threads, "wim", "apply", &wim, &disk, "-o", &out][..], &TIME].concat()).exits(0);
        assert_eq!(hash(&out), hash(bench.path("1.vhdx")), "{threads} threads");
    }
    reseal([&["wim", "apply", &wim, &disk, "-n"][..], &TIME].concat()).exits(0);
    assert_eq!(hash(&disk), before);
    reseal([&["wim", "apply", &wim, &disk, "--in-place", "--keep-undo"][..], &TIME].concat()).exits(0);
    assert_eq!(hash(&disk), hash(bench.path("1.vhdx")));
    reseal(["recover", &disk, "--undo"]).exits(0);
    assert_eq!(hash(&disk), before);
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let bench = Bench::new();
    BARE.build(&bench.path("odd.ntfs"), oddities).unwrap();
    let (gold, wim, out) = (bench.arg("odd.ntfs"), bench.arg("odd.wim"), bench.arg("out.ntfs"));
    capture(&gold, &wim, "none");
    let disk = blank(&bench, "blank.ntfs", BARE);
    let small = blank(&bench, "small.ntfs", ImageBuilder { volume_len: 16 << 20, ..BARE });
    reseal(["wim", "apply", &wim, &gold, "-o", &out]).exits(3).says("not empty");
    reseal(["wim", "apply", &wim, &small, "-o", &out]).exits(1).says("bytes on the volume");
    reseal(["wim", "apply", &format!("{wim}:2"), &disk, "-o", &out]).exits(1).says("there is no image 2");
    reseal(["wim", "apply", &disk, &disk, "-o", &out]).exits(7).says("is no WIM");
    reseal(["wim", "apply", &wim, &wim, "-o", &out]).exits(7).says("a WIM is no disk");
    reseal(["wim", "apply", &wim, &disk, "-n", "--installation", "1"]).exits(2).says("--installation");
    // One byte of a content is another.
    let mut bytes = std::fs::read(&wim).unwrap();
    let at = bytes.windows(24).position(|w| w == b"content content content ").unwrap();
    bytes[at] ^= 1;
    let broken = bench.write("broken.wim", &bytes);
    reseal(["wim", "apply", &broken, &disk, "-o", &out]).exits(7).says("SHA-1");
    assert!(!bench.path("out.ntfs").exists());
    // A volume that Windows did not dismount.
    let schedule = |volume: &mut Volume| {
        assert!(volume.schedule_check()?);
        Ok(())
    };
    BARE.build(&bench.path("dirty.ntfs"), schedule).unwrap();
    let dirty = bench.arg("dirty.ntfs");
    reseal(["wim", "apply", &wim, &dirty, "-o", &out]).exits(3).says("dirty-volume");
    reseal(["wim", "apply", &wim, &dirty, "-o", &out, "--allow", "dirty-volume"]).exits(0);
}

#[test]
fn names_of_other_systems() {
    let bench = Bench::new();
    let disk = blank(&bench, "blank.ntfs", BARE);
    let folder = bench.path("tree");
    std::fs::create_dir_all(folder.join("inside")).unwrap();
    for name in ["README", "ReadMe", "inside/file"] {
        std::fs::write(folder.join(name), name).unwrap();
    }
    let tree = bench.arg("tree");
    let wim = bench.arg("good.wim");
    if oracle::agree("wimlib-imagex", ["capture", &tree, &wim, "Tree"]).is_none() {
        return;
    }
    let report = apply(&bench, &wim, &disk, "good.ntfs");
    assert_eq!((&report["files"], &report["folders"]), (&3.into(), &1.into()));
    for name in ["README", "ReadMe"] {
        assert_eq!(reseal(["fs", "cat", &bench.arg("good.ntfs"), name]).exits(0).text(), name);
    }
    for name in ["ends with a dot.", "a:b", "que?"] {
        std::fs::write(folder.join("inside").join(name), name).unwrap();
        let wim = bench.arg(&format!("{}.wim", name.len()));
        oracle::agree("wimlib-imagex", ["capture", &tree, &wim, "Tree"]);
        let run = reseal(["wim", "apply", &wim, &disk, "-o", &bench.arg("bad.ntfs")]).exits(7);
        run.says("no file can have this name").says(name);
        std::fs::remove_file(folder.join("inside").join(name)).unwrap();
    }
    assert!(!bench.path("bad.ntfs").exists());
}

/// What ntfs-3g says of a file: flags of the record, links, times but that of the record, attributes, streams, reparse data,
/// descriptor.
type Facts = (u16, u16, [u64; 3], u32, Vec<SeenAttribute>, Option<Vec<u8>>, Vec<u8>);

/// What is not captured from the root.
const LEFT_OUT: [&str; 2] = ["/$Recycle.Bin", "/System Volume Information"];

/// The namespace of 8.3 names that stand beside a long one; which of the others a name is in is no part of a WIM.
const DOS: u8 = 2;

/// Every name of a volume but the volume's own ones and [`LEFT_OUT`], whether it is an 8.3 twin, and what it names, by ntfs-3g.
fn by_path(seen: &SeenVolume) -> BTreeMap<(String, bool), Facts> {
    assert_eq!(seen.faults, [], "ntfs-3g does not read all of it");
    let mut out = BTreeMap::new();
    let mut queue = vec![(5, String::new(), false)];
    while let Some((number, path, is_twin)) = queue.pop() {
        let file = &seen.files[&number];
        for entry in file.entries.iter().filter(|e| e.reference << 16 >> 16 >= 24) {
            assert_eq!(entry.found, entry.reference, "{path}: its index does not find what it lists");
            let name = entry.name.iter().map(|unit| char::from_u32((*unit).into()).unwrap_or('\u{fffd}'));
            let here: String = path.chars().chain(['/']).chain(name).collect();
            if !LEFT_OUT.contains(&here.as_str()) {
                queue.push((entry.reference << 16 >> 16, here, entry.namespace == DOS));
            }
        }
        let mut streams: Vec<SeenAttribute> = file.streams().cloned().collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        let [created, written, _, accessed] = file.times;
        let times = [created, written, accessed];
        let (reparse, descriptor) = (file.reparse.clone(), file.descriptor.clone());
        out.insert((path, is_twin), (file.flags, file.links, times, file.attributes, streams, reparse, descriptor));
    }
    out
}

#[test]
fn ntfs_3g_reads_what_was_captured() {
    let bench = Bench::new();
    bench.build("windows.ntfs", BARE, &made_up());
    BARE.build(&bench.path("odd.ntfs"), oddities).unwrap();
    let disk = blank(&bench, "blank.ntfs", BARE);
    for (name, least) in [("windows", 200), ("odd", 25)] {
        let (gold, wim) = (bench.arg(&format!("{name}.ntfs")), bench.arg("one.wim"));
        capture(&gold, &wim, "xpress");
        apply(&bench, &wim, &disk, "applied.ntfs");
        let applied = bench.arg("applied.ntfs");
        let Some(seen) = ntfs_3g::read(Path::new(&applied)) else { return };
        // Our reader and theirs see the same in all of the volume.
        let alike = alike::Alike::compare(&open(&applied), &seen);
        alike.assert(name);
        let (is, was) = (by_path(&seen), by_path(&ntfs_3g::read(Path::new(&gold)).unwrap()));
        for (path, facts) in &was {
            assert_eq!(is.get(path), Some(facts), "{name}: {path:?}");
        }
        assert!(is.len() == was.len() && is.len() > least, "{name}: {} names of {}", is.len(), was.len());
        approved(&applied).unwrap();
        println!("{name}: {} names, {} streams of {} bytes alike", is.len(), alike.streams, alike.bytes);
        std::fs::remove_file(wim).unwrap();
        std::fs::remove_file(applied).unwrap();
    }
}

/// Content that compresses, and holes.
fn with_holes() -> Vec<u8> {
    (0..600_000u32).map(|n| if (n / 100_000) % 2 == 0 { (n / 999) as u8 } else { 0 }).collect()
}

fn has(report: &serde_json::Value, id: &str) -> bool {
    report["findings"].as_array().unwrap().iter().any(|f| f["id"] == id)
}

#[test]
fn compressed_and_sparse_files_are_applied_plainly() {
    let bench = Bench::new();
    let disk = blank(&bench, "blank.ntfs", BARE);
    let content = with_holes();
    let made = by_hand(&bench, "made.wim", &[&content, b"short"], |image| {
        let dir = add(image, "packed", NewFile { attributes: FOLDER | 0x800, ..NewFile::default() });
        image.create(dir, &units("inside"), &[], NewFile { attributes: ARCHIVE | 0x800, ..file(&content) });
        add(image, "packed file", NewFile { attributes: ARCHIVE | 0x800, ..file(&content) });
        add(image, "packed and short", NewFile { attributes: ARCHIVE | 0x800, ..file(b"short") });
        add(image, "sparse file", NewFile { attributes: ARCHIVE | 0x200, ..file(&content) });
    });
    // ntfs-3g stores them so, by the hand of wimlib.
    let gold = blank(&bench, "gold.ntfs", BARE);
    if oracle::agree("wimlib-imagex", ["apply", &made, "1", &gold]).is_none() {
        return;
    }
    let volume = open(&gold);
    let stored = |path: &str| volume.stat(volume.resolve(path).unwrap().unwrap()).unwrap().streams[0].clone();
    assert!(stored(r"\packed\inside").compressed && stored(r"\sparse file").sparse);
    let (ours, theirs) = (bench.arg("ours.wim"), bench.arg("theirs.wim"));
    capture(&gold, &ours, "lzx");
    oracle::agree("wimlib-imagex", ["capture", &gold, &theirs, "Odd"]);
    for wim in [&made, &ours, &theirs] {
        let report = apply(&bench, wim, &disk, "applied.ntfs");
        assert!(has(&report, "apply-compressed") && has(&report, "apply-sparse"), "{wim}: {report:#}");
        let applied = open(&bench.arg("applied.ntfs"));
        for (path, content) in [
            (r"\packed\inside", &content[..]),
            (r"\packed file", &content),
            (r"\sparse file", &content),
            (r"\packed and short", b"short"),
        ] {
            let file = applied.resolve(path).unwrap().unwrap();
            assert!(applied.read(file, &[]).unwrap() == content, "{wim}: {path}");
            let stat = applied.stat(file).unwrap();
            assert!(stat.streams.iter().all(|s| !s.sparse && !s.compressed), "{wim}: {path}");
            assert_eq!(stat.standard.attributes & 0xa00, 0, "{wim}: {path}");
        }
        approved(&bench.arg("applied.ntfs")).unwrap();
        std::fs::remove_file(bench.path("applied.ntfs")).unwrap();
    }
}

/// A file as WOF stores it, in chunks of 4 KiB of which none is compressed.
fn wof(content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let starts = (4096..content.len()).step_by(4096).flat_map(|at| (at as u32).to_le_bytes());
    let stored = starts.chain(content.iter().copied()).collect();
    // WOF_EXTERNAL_INFO: version 1, provider 2 (files); FILE_PROVIDER_EXTERNAL_INFO: version 1, XPRESS4K.
    (stored, [1u32, 2, 1, 0].iter().flat_map(|n| n.to_le_bytes()).collect())
}

#[test]
fn files_of_wof_are_applied_as_what_they_hold() {
    let bench = Bench::new();
    let disk = blank(&bench, "blank.ntfs", BARE);
    let content: Vec<u8> = (0..10_000u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    let (stored, info) = wof(&content);
    let zeros = vec![0; content.len()];
    let made = by_hand(&bench, "made.wim", &[&stored, &info, &zeros], |image| {
        let streams = vec![target(&info), stream(&[], &zeros), stream(&units("WofCompressedData"), &stored)];
        add(image, "system file", reparse_point(0x8000_0017, streams));
        add(image, "plain", file(&info));
    });
    // What is stored is no content: nobody but WOF may make such a file.
    reseal(["wim", "apply", &made, &disk, "-n"]).exits(7).says("WOF").says(r"\system file");
    let gold = blank(&bench, "gold.ntfs", BARE);
    if oracle::agree("wimlib-imagex", ["apply", &made, "1", &gold]).is_none() {
        return;
    }
    let volume = open(&gold);
    assert!(volume.stat(volume.resolve(r"\system file").unwrap().unwrap()).unwrap().wof.is_some());
    let wim = bench.arg("ours.wim");
    capture(&gold, &wim, "lzx");
    let report = apply(&bench, &wim, &disk, "applied.ntfs");
    assert_eq!(
        (&report["files"], &report["reparse_points"], &report["named_streams"]),
        (&2.into(), &0.into(), &0.into())
    );
    let applied = open(&bench.arg("applied.ntfs"));
    let file = applied.resolve(r"\system file").unwrap().unwrap();
    assert!(applied.read(file, &[]).unwrap() == content);
    assert_eq!((applied.stat(file).unwrap().wof, applied.stat(file).unwrap().standard.attributes), (None, ARCHIVE));
    approved(&bench.arg("applied.ntfs")).unwrap();
}

#[test]
fn a_long_content_goes_to_all_that_name_it() {
    let bench = Bench::new();
    let disk = blank(&bench, "blank.ntfs", ImageBuilder { volume_len: 160 << 20, ..BARE });
    let long: Vec<u8> = (0..4_500_000u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
    assert!(long.len() > 16 << 20);
    for compression in [Compression::None, Compression::Xpress, Compression::Lzx] {
        let wim = write(&bench, "long.wim", compression, &honest(&[&long, b"short"]), |image| {
            let first = add(image, "first", file(&long));
            let dir = add(image, "dir", folder());
            image.link(dir, &units("its second name"), &[], first);
            image.create(dir, &units("another"), &[], file(&long));
            let streams: Vec<Stream> = vec![stream(&[], b"short"), stream(&units("s"), &long)];
            add(image, "in a stream", NewFile { attributes: ARCHIVE, streams, ..NewFile::default() });
        });
        let report = apply(&bench, &wim, &disk, "long.ntfs");
        assert_eq!((&report["contents"], &report["hard_links"]), (&2.into(), &1.into()), "{report:#}");
        assert_eq!(report["bytes"], 3 * long.len() + 5);
        let out = open(&bench.arg("long.ntfs"));
        for (path, name) in
            [(r"\first", ""), (r"\dir\its second name", ""), (r"\dir\another", ""), (r"\in a stream", "s")]
        {
            let file = out.resolve(path).unwrap().unwrap();
            assert!(out.read(file, &units(name)).unwrap() == long, "{compression:?}: {path}");
        }
        if approved(&bench.arg("long.ntfs")).is_none() {
            return;
        }
        std::fs::remove_file(bench.path("long.ntfs")).unwrap();
    }
}

#[test]
fn object_ids_go_through_a_wim() {
    let bench = Bench::new();
    let disk = blank(&bench, "blank.ntfs", BARE);
    let born: Vec<u8> = (0..64).collect();
    let ids: [(&str, &[u8]); 3] = [("first", &[0xee; 16]), ("second", b"a second one's  "), ("born", &born)];
    let gold = bench.arg("gold.ntfs");
    let fill = |volume: &mut Volume| {
        for (name, id) in ids {
            let inherit = reseal_ntfs::Security::Inherit;
            let file = volume.create_file(volume.root(), name, name.as_bytes(), inherit, rig::odd::THEN)?;
            volume.set_object_id(file, id, rig::odd::THEN)?;
        }
        Ok(())
    };
    BARE.build(Path::new(&gold), fill).unwrap();
    let wim = bench.arg("ids.wim");
    if oracle::agree("wimlib-imagex", ["capture", &gold, &wim, "Ids"]).is_none() {
        return;
    }
    let report = apply(&bench, &wim, &disk, "applied.ntfs");
    assert!(!has(&report, "apply-object-id"), "{report:#}");
    let Some(seen) = ntfs_3g::read(&bench.path("applied.ntfs")) else { return };
    for (name, id) in ids {
        let file = seen.files.values().find(|file| file.names.iter().any(|n| n.name == units(name))).unwrap();
        let attribute = file.content.iter().find(|attribute| attribute.kind == 0x40).unwrap();
        assert_eq!(attribute.checksum, Some(ntfs_3g::checksum(&id[..16])), "{name}: {attribute:?}");
    }
    approved(&bench.arg("applied.ntfs")).unwrap();

    // Of two files with one id, nobody can tell which it is.
    let read = Wim::open(reseal_disk::open_file(Path::new(&wim)).unwrap()).unwrap();
    let mut metadata = read.image(1).unwrap().to_metadata().unwrap();
    let at = metadata.windows(16).position(|bytes| bytes == ids[1].1).unwrap();
    metadata[at..at + 16].fill(0xee);
    let twice =
        by_hand(&bench, "twice.wim", &[b"first", b"second", b"born"], |image| *image = Image::read(&metadata).unwrap());
    reseal(["wim", "apply", &twice, &disk, "-n"]).exits(7).says("another file has this object id");
    // The root's is the volume's own affair.
    let mut metadata = Image::new(folder()).to_metadata().unwrap();
    assert_eq!(metadata.len(), 8 + 0x68 + 8, "no descriptors, the root's entry, the end");
    metadata[8] += 24;
    let item = [&1u32.to_le_bytes()[..], &16u32.to_le_bytes(), &[0xee; 16]].concat();
    metadata.splice(8 + 0x68..8 + 0x68, item);
    let root = by_hand(&bench, "root.wim", &[], |image| *image = Image::read(&metadata).unwrap());
    let report = apply(&bench, &root, &disk, "root.ntfs");
    assert!(has(&report, "apply-object-id"), "{report:#}");
}
