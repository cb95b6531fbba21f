//! What is captured of a volume is what wimlib captures of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail and tell")]

mod rig;

use reseal_ntfs::{NewName, Security};
use reseal_testdata::oracle;
use rig::machine::Rig;
use rig::reseal;
use std::collections::{BTreeMap, BTreeSet};

/// Where the volume of a made-up machine lies on its disk.
const OFFSET: usize = 1 << 20;

/// What wimlib says of an image: by path, all lines but those that number something.
fn listed(wim: &str) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let text = oracle::agree("wimlib-imagex", ["dir", wim, "1", "--detailed"])?;
    let mut out = BTreeMap::new();
    for block in text.split(&"-".repeat(76)).filter(|block| block.contains("Full Path")) {
        let path = block.lines().find(|line| line.starts_with("Full Path")).unwrap().to_owned();
        let numbered =
            ["Link Group ID", "Compressed size", "Offset in WIM", "Raw compressed", "Reference Count", "Flags"];
        let counts = |line: &&str| !numbered.iter().any(|skip| line.trim_start().starts_with(skip));
        out.insert(path, block.lines().filter(counts).map(|line| line.trim().to_owned()).collect());
    }
    Some(out)
}

fn gold(rig: &Rig) -> String {
    rig.planted("gold.raw", |machine| {
        let volume = &mut machine.volume;
        let time = reseal_dtyp::FileTime(133_400_000_000_000_000);
        let users = volume.resolve("Users").unwrap().unwrap();
        let large: Vec<u8> = (0..5_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let file = volume.create_file(users, "a large file.bin", &large, Security::SameAs(users), time).unwrap();
        let root = volume.root();
        volume.link(file, root, &"second name".encode_utf16().collect::<Vec<u16>>(), time).unwrap();
        let lone = [0xd800, u16::from(b'x')];
        volume
            .create_as(users, NewName::Exact(&lone), Some(b"a name that is no text"), Security::SameAs(users), time)
            .unwrap();
        volume.create_file(users, "empty", &[], Security::SameAs(users), time).unwrap();
        volume.create_file(root, "pagefile.sys", b"left out", Security::SameAs(users), time).unwrap();
    })
}

#[test]
fn captured_as_wimlib_does() {
    let rig = Rig::new();
    let gold = gold(&rig);
    let disk = std::fs::read(&gold).unwrap();
    let volume = rig.bench.write("volume.ntfs", &disk[OFFSET..disk.len() - OFFSET]);
    // A named stream, of a file and of a folder.
    let stream = rig.bench.write("stream", &b"a stream ".repeat(3000));
    for (file, name) in [("Windows/System32/config/SAM", "first"), ("Users", "second")] {
        if oracle::agree("ntfscp", ["-f", "-N", name, &volume, &stream, file]).is_none() {
            return;
        }
    }
    for format in ["lzx", "xpress", "none"] {
        let (ours, theirs) = (rig.out(&format!("ours-{format}.wim")), rig.out(&format!("theirs-{format}.wim")));
        let time = ["--time", "2026-01-01T00:00:00Z"];
        let args = ["wim", "capture", &volume, &ours, "--name", "A & B", "--compress", format, "--check", "--json"];
        reseal([&args[..], &time].concat()).exits(0);
        let compress = format!("--compress={format}");
        if oracle::agree("wimlib-imagex", ["capture", &volume, &theirs, "A & B", &compress, "--check"]).is_none() {
            return;
        }
        oracle::agree("wimlib-imagex", ["verify", &ours]);
        oracle::agree("7z", ["t", &ours]);
        let (listed_ours, listed_theirs) = (listed(&ours).unwrap(), listed(&theirs).unwrap());
        let paths = |listed: &BTreeMap<String, BTreeSet<String>>| listed.keys().cloned().collect::<Vec<_>>();
        assert_eq!(paths(&listed_ours), paths(&listed_theirs));
        for (path, theirs) in &listed_theirs {
            let ours = &listed_ours[path];
            let differing: Vec<&String> = ours.symmetric_difference(theirs).collect();
            assert!(differing.is_empty(), "{path}: {differing:#?}");
        }
        let info = reseal(["wim", "info", &ours, "--json"]).exits(0).json();
        let known = reseal(["wim", "info", &theirs, "--json"]).exits(0).json();
        for field in ["files", "folders", "bytes", "name"] {
            assert_eq!(info["images"][0][field], known["images"][0][field], "{field}");
        }
        assert_eq!(info["images"][0]["architecture"], "amd64");
        reseal(["wim", "verify", &ours]).exits(0);
        // What is captured can be sealed, and the same volume at the same time is the same file.
        reseal(["generalize", &ours, "-n"]).exits(0);
        let again = rig.out(&format!("again-{format}.wim"));
        let args = ["wim", "capture", &volume, &again, "--name", "A & B", "--compress", format, "--check"];
        reseal([&args[..], &time].concat()).exits(0);
        assert_eq!(rig::hash(&again), rig::hash(&ours));
        reseal([&args[..], &time].concat()).exits(1).says("exists");
    }
}

#[test]
fn what_is_left_out_is_not_there() {
    let rig = Rig::new();
    let (gold, wim) = (gold(&rig), rig.out("some.wim"));
    let left = ["--exclude", r"\Users", "--exclude", "windows/system32/config/SAM"];
    reseal([&["wim", "capture", &gold, &wim, "--compress", "none"][..], &left].concat()).exits(0);
    let text = reseal(["fs", "ls", &wim, "-r"]).exits(0).text();
    assert!(!text.contains(" Users\\") && !text.contains("config\\SAM\n") && !text.contains("pagefile.sys"), "{text}");
    assert!(text.contains(r"config\SYSTEM") && text.contains("second name"), "{text}");
    reseal(["wim", "capture", &wim, &rig.out("x.wim")]).exits(7);
}
