//! WIM files are looked into like disks, checked, and serve as a reference.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::oracle;
use rig::machine::Rig;
use rig::{reseal, seal, values};

/// Where the volume of a made-up machine lies on its disk.
const OFFSET: usize = 1 << 20;
const SYSTEM: &str = r"Windows\System32\config\SYSTEM";

/// Captures the volume of a raw disk as an image of a WIM. `false` where wimlib is missing.
fn capture(rig: &Rig, disk: &str, verb: &str, wim: &str, more: &[&str]) -> bool {
    let disk = std::fs::read(disk).unwrap();
    let volume = rig.bench.write("volume.ntfs", &disk[OFFSET..disk.len() - OFFSET]);
    let image = more[0];
    oracle::agree("wimlib-imagex", [&[verb, &volume, wim, image, "of a test"], &more[1..]].concat()).is_some()
}

#[test]
fn an_image_of_a_wim_is_looked_into_like_a_disk() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |_| {});
    for options in [&["First", "--compress=LZX"][..], &["First", "--solid"], &["First", "--compress=none"]] {
        let wim = rig.out(&format!("{}.wim", options[1]));
        if !capture(&rig, &gold, "capture", &wim, options) || !capture(&rig, &gold, "append", &wim, &["Second"]) {
            return;
        }
        let info = reseal(["wim", "info", &wim, "--json"]).exits(0).json();
        assert_eq!(info["images"][1]["name"], "Second");
        assert_eq!(info["solid"], options[1] == "--solid");
        assert!(reseal(["wim", "info", &wim]).exits(0).text().contains("image 1: First"));
        assert!(reseal(["wim", "verify", &wim]).exits(0).text().contains(", 0 findings"));
        for image in [format!("{wim}:2"), format!("{wim}:first")] {
            let same = |args: &[&str]| {
                let of = |target: &str| {
                    let mut args: Vec<&str> = args.to_vec();
                    args.insert(2, target);
                    reseal(args).exits(0).text()
                };
                assert_eq!(of(&image), of(&gold), "{args:?}");
            };
            same(&["fs", "cat", r"C:\windows\system32\CONFIG\system"]);
            same(&["fs", "acl", "Users"]);
            same(&["fs", "ls", r"Windows\System32\config"]);
            same(&["hive", "ls", "--hive", "SYSTEM", "Setup", "-r"]);
            same(&["hive", "export", "--hive", "SOFTWARE"]);
            let listed = |target: &str| reseal(["fs", "ls", target, "-r", "--json"]).exits(0).json()["entries"].clone();
            let paths = |entries: serde_json::Value| {
                let of =
                    |e: &serde_json::Value| (e["path"].clone().to_string(), e["size"].clone(), e["modified"].clone());
                let mut paths: Vec<_> = entries.as_array().unwrap().iter().map(of).map(|e| format!("{e:?}")).collect();
                // The volume's own files, and the root's name for itself, are none of the image.
                paths.retain(|path| !path.contains("\"\\\"$") && !path.contains("\"\\\".\\\"\""));
                paths.sort();
                paths
            };
            assert_eq!(paths(listed(&image)), paths(listed(&gold)));
        }
        // Which one is meant has to be said, and what is only read is not written.
        reseal(["fs", "ls", &wim]).exits(1).says("which of the 2 images");
        reseal(["fs", "ls", &format!("{wim}:3")]).exits(1).says("there is no image 3");
        // A value that is set there is read there, and the other image is as it was.
        let out = rig.out(&format!("set{}.wim", options[1]));
        let second = format!("{wim}:2");
        reseal(["hive", "set", &second, "--hive", "SYSTEM", "Setup", "x", "dword:1", "-o", &out]).exits(0);
        let get = |image: u32| reseal(["hive", "get", &format!("{out}:{image}"), "--hive", "SYSTEM", "Setup", "x"]);
        assert!(get(2).exits(0).text().contains('1'));
        get(1).exits(1);
        if oracle::agree("wimlib-imagex", ["verify", &out]).is_none() {
            return;
        }
    }
}

#[test]
fn damage_of_a_wim_is_named() {
    let rig = Rig::new();
    let wim = rig.out("x.wim");
    if !capture(&rig, &rig.sound, "capture", &wim, &["One", "--compress=LZX", "--check"]) {
        return;
    }
    let mut bytes = std::fs::read(&wim).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = rig.bench.write("damaged.wim", &bytes);
    let report = reseal(["wim", "verify", &damaged, "--json"]).exits(4).json();
    let ids: Vec<&str> = report["findings"].as_array().unwrap().iter().map(|f| f["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"wim-integrity") && ids.len() == 2, "{ids:?}");
    let cut = rig.bench.write("cut.wim", &bytes[..middle]);
    reseal(["wim", "verify", &cut]).exits(7).says("do not lie in the file");
    reseal(["wim", "info", &rig.sound]).exits(7).says("no WIM file");
}

#[test]
fn a_sealed_image_of_a_wim_is_a_reference() {
    let rig = Rig::new();
    let (gold, sealed, wim) = (rig.planted("gold.raw", |_| {}), rig.out("sealed.raw"), rig.out("install.wim"));
    seal(&rig.sound, &sealed, &[]);
    if !capture(&rig, &rig.sound, "capture", &wim, &["Unsealed"])
        || !capture(&rig, &sealed, "append", &wim, &["Sealed"])
    {
        return;
    }
    let (by_disk, by_wim) = (rig.out("by-disk.raw"), rig.out("by-wim.raw"));
    seal(&gold, &by_disk, &["--reference", &sealed]);
    seal(&gold, &by_wim, &["--reference", &format!("{wim}:Sealed")]);
    assert_eq!(values(&by_disk, "SYSTEM", "Setup"), values(&by_wim, "SYSTEM", "Setup"));
    assert_eq!(rig::hash(&by_disk), rig::hash(&by_wim));
    reseal(["generalize", &gold, "-n", "--reference", &format!("{wim}:1")]).exits(3).says("it is no sealed image");
    reseal(["fs", "ls", &format!("{wim}:2"), SYSTEM]).exits(0);
}
