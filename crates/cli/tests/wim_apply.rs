//! An image of a WIM comes onto an empty volume as it was captured, and as wimlib applies it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::{Descriptor, FileTime};
use reseal_ntfs::{FileReference, NewName, Security, Volume};
use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::{Bench, FIXED, hash, reseal};

const THEN: FileTime = FileTime(133_500_000_000_000_000);
/// The same as [`THEN`], in seconds since 1970: when the record of a file changed is no part of a WIM, so that is when it was applied.
const TIME: [&str; 2] = ["--time", "1705526400"];

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// A disk with an empty volume.
fn blank(bench: &Bench, name: &str, builder: ImageBuilder) -> String {
    builder.build(&bench.path(name), |_| Ok(())).unwrap();
    bench.arg(name)
}

const BARE: ImageBuilder =
    ImageBuilder { container: Container::Raw, volume_len: 64 << 20, sector_size: 512, cluster_size: 4096, bare: true };

fn capture(disk: &str, wim: &str, format: &str) {
    reseal([&["wim", "capture", disk, wim, "--compress", format][..], &TIME].concat()).exits(0);
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

fn reparse(tag: u32, rest: &[u8]) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &(rest.len() as u16).to_le_bytes(), &[0; 2], rest].concat()
}

/// The data of a junction or, with flags behind the lengths, of a symbolic link.
fn link_to(tag: u32, target: &str, flags: Option<u32>) -> Vec<u8> {
    let bytes = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (there, shown) = (bytes(&format!(r"\??\{target}")), bytes(target));
    let words = [0, there.len(), there.len() + 2, shown.len()];
    let mut rest: Vec<u8> = words.iter().flat_map(|w| (*w as u16).to_le_bytes()).collect();
    rest.extend(flags.into_iter().flat_map(u32::to_le_bytes));
    for name in [there, shown] {
        rest.extend(name);
        rest.extend([0, 0]);
    }
    reparse(tag, &rest)
}

/// A volume full of what files may be.
fn oddities(volume: &mut Volume) -> anyhow::Result<()> {
    let root = volume.root();
    let same = Security::SameAs(root);
    let set = |volume: &mut Volume, file: FileReference, number: u64, attributes| {
        volume.set_attributes(file, attributes, THEN).unwrap();
        volume
            .set_times(
                file,
                [FileTime(THEN.0 - 9_999 - number), FileTime(THEN.0 + number), THEN, FileTime(THEN.0 + 7 * number)],
            )
            .unwrap();
    };
    let dir = volume.create_dir(root, "A folder with a long name", same, THEN)?;
    let long = volume.create_file(dir, "a file with a long name.text", &b"content ".repeat(999), same, THEN)?;
    for (folder, name) in [(root, "second name.text"), (dir, "THIRD.TXT"), (root, "fourth")] {
        volume.link(long, folder, &units(name), THEN)?;
    }
    let equal = volume.create_file(dir, "equal content.text", &b"content ".repeat(999), same, THEN)?;
    volume.replace(equal, &units("named"), &b"a stream ".repeat(500), THEN)?;
    volume.replace(equal, &units("empty"), b"", THEN)?;
    volume.replace(dir, &units("of a folder"), b"short", THEN)?;
    let empty = volume.create_file(root, "EMPTY", b"", same, THEN)?;
    let large: Vec<u8> = (0..5_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    let large = volume.create_file(root, "large", &large, same, THEN)?;
    let lone = [0xd800, u16::from(b'x')];
    let lone = volume.create_as(dir, NewName::Exact(&lone), Some(b"no text"), same, THEN)?;
    let cases = volume.create_dir(root, "cases", same, THEN)?;
    for (name, content) in [("Readme", b"one"), ("README", b"two")] {
        volume.create_as(cases, NewName::Exact(&units(name)), Some(content), same, THEN)?;
    }
    let short = NewName::Given(&units("An unusual short name"), Some(&units("OTHER~77.X")));
    let new = reseal_ntfs::NewFile { data: Some(b"x"), security: same, times: [THEN; 4], attributes: 0x21 };
    volume.create_with(root, short, &new)?;
    volume.create_with(root, NewName::Given(&units("no short name at all"), None), &new)?;
    let junction = volume.create_dir(root, "Documents and Settings", same, THEN)?;
    volume.set_reparse(junction, &link_to(0xa000_0003, r"C:\Users", None), THEN)?;
    let symlink = volume.create_file(root, "a link", b"", same, THEN)?;
    volume.set_reparse(symlink, &link_to(0xa000_000c, r"C:\large", Some(0)), THEN)?;
    let mut own = reparse(0x4711, &[7; 16]);
    own[4] = 0;
    let own_tag = volume.create_file(root, "somebody's tag", b"with content", same, THEN)?;
    volume.set_reparse(own_tag, &own, THEN)?;
    for (number, sddl) in
        ["O:BAG:SYD:P(A;;FA;;;SY)", "O:SYG:BAD:AI(A;OICI;FA;;;BA)(D;;FR;;;WD)", "O:BAG:BAD:NO_ACCESS_CONTROL"]
            .iter()
            .enumerate()
    {
        let descriptor = Descriptor::from_sddl(sddl).unwrap().to_bytes().unwrap();
        for copy in 0..2 {
            let name = format!("DESC{number}{copy}");
            volume.create_file(root, &name, b"", Security::Descriptor(&descriptor), THEN)?;
        }
    }
    for (number, (file, attributes)) in [
        (long, 0x1),
        (equal, 0x7),
        (empty, 0x2),
        (lone, 0x2020),
        (large, 0x1100),
        (own_tag, 0),
        (dir, 0x2002),
        (symlink, 0x20),
    ]
    .into_iter()
    .enumerate()
    {
        set(volume, file, number as u64, attributes);
    }
    set(volume, root, 99, 0x6);
    Ok(())
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
    let dirty = |volume: &mut Volume| Ok(volume.schedule_check().map(drop)?);
    ImageBuilder { ..BARE }.build(&bench.path("dirty.ntfs"), dirty).unwrap();
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
