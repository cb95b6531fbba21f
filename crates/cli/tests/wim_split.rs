//! `wim split`: parts that wimlib joins, and split WIMs that are read as they are.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::FileTime;
use reseal_ntfs::Security;
use reseal_testdata::oracle;
use rig::machine::Rig;
use rig::{hash, reseal};
use serde_json::Value;

/// Where the volume of a made-up machine lies on its disk.
const OFFSET: usize = 1 << 20;
const KINDS: [&[&str]; 3] = [&["--compress=LZX", "--check"], &["--compress=XPRESS"], &["--compress=none"]];

/// Two images of a volume with files that do not get shorter, as wimlib captures it. `None` where wimlib is missing.
fn capture(rig: &Rig, name: &str, options: &[&str]) -> Option<String> {
    let gold = rig.planted(&format!("{name}.raw"), |machine| {
        let volume = &mut machine.volume;
        let users = volume.resolve("Users").unwrap().unwrap();
        for number in 1..12u32 {
            let byte = |at: u32| ((at ^ number << 20).wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
            let noise: Vec<u8> = (0..30_000 * number).map(|at| byte(at.wrapping_mul(at | 1))).collect();
            volume
                .create_file(users, &format!("noise {number}"), &noise, Security::SameAs(users), FileTime(1 << 56))
                .unwrap();
        }
    });
    let disk = std::fs::read(&gold).unwrap();
    let volume = rig.bench.write("volume.ntfs", &disk[OFFSET..disk.len() - OFFSET]);
    let wim = rig.out(name);
    oracle::agree("wimlib-imagex", [&["capture", &volume, &wim, "First"], options].concat())?;
    oracle::agree("wimlib-imagex", ["append", &volume, &wim, "Second", "--boot"])?;
    Some(wim)
}

fn split(wim: &str, out: &str, size: &str, more: &[&str]) -> Vec<Value> {
    let run = reseal([&["wim", "split", wim, out, "--size", size, "--json"], more].concat()).exits(0).json();
    assert_eq!(run["schema"], "reseal.wim-split/1");
    run["parts"].as_array().unwrap().clone()
}

/// The split WIM is the whole one, as we read it and as wimlib does.
#[track_caller]
fn assert_same(rig: &Rig, wim: &str, first: &str, parts: usize, boot: Option<u32>) {
    let info = reseal(["wim", "info", first, "--json"]).exits(0).json();
    assert_eq!((&info["parts"], &info["boot_image"]), (&parts.into(), &Value::from(boot)));
    reseal(["wim", "verify", first]).exits(0);
    for image in ["1", "2"] {
        let pair = [format!("{wim}:{image}"), format!("{first}:{image}")];
        reseal(["diff", &pair[0], &pair[1], "--times", "--raw"]).exits(0);
    }
    let joined = rig.out("joined.wim");
    let _ = std::fs::remove_file(&joined);
    reseal(["wim", "export", &format!("{first}:all"), &joined]).exits(0);
    oracle::agree("wimlib-imagex", ["verify", &joined]).unwrap();
    reseal(["diff", &format!("{joined}:1"), &format!("{wim}:1"), "--times", "--raw"]).exits(0);
    assert_eq!(reseal(["wim", "info", &joined, "--json"]).exits(0).json()["boot_image"], Value::from(boot));
    // A content that is read from any part.
    let hive = |image: &str| reseal(["fs", "cat", image, r"Windows\System32\config\SOFTWARE"]).exits(0).out;
    assert!(hive(&format!("{first}:1")) == hive(&format!("{wim}:1")));
}

#[test]
fn parts_are_joined_by_wimlib_and_read_as_one() {
    let rig = Rig::new();
    for kind in KINDS {
        let name = kind[0].trim_start_matches("--compress=");
        let Some(wim) = capture(&rig, &format!("{name}.wim"), kind) else { return };
        let bytes = std::fs::metadata(&wim).unwrap().len();
        let size = bytes / 4;
        let first = rig.out(&format!("{name}.swm"));
        let parts = split(&wim, &first, &format!("{}K", size / 1024), &[]);
        assert!(parts.len() > 3, "{parts:?}");
        for (index, part) in parts.iter().enumerate() {
            let expected = if index == 0 { first.clone() } else { rig.out(&format!("{name}{}.swm", index + 1)) };
            assert_eq!(part["output"], expected);
            let len = std::fs::metadata(&expected).unwrap().len();
            assert_eq!(part["bytes"], len);
            assert_eq!(part["larger"], len > size / 1024 * 1024, "{part}");
            assert!(part["larger"] == false || part["contents"] == 1, "{part}");
            assert!(index > 0 || part["larger"] == false, "{part}");
        }
        assert_same(&rig, &wim, &first, parts.len(), Some(2));
        let all = format!("--ref={}", rig.out(&format!("{name}*.swm")));
        oracle::agree("wimlib-imagex", ["verify", &first, &all]).unwrap();
        let applied = rig.out(&format!("applied-{name}"));
        oracle::agree("wimlib-imagex", ["apply", &first, "1", &applied, &all]).unwrap();
        let by_wimlib = rig.out(&format!("by-wimlib-{name}.wim"));
        let files: Vec<&str> = parts.iter().map(|part| part["output"].as_str().unwrap()).collect();
        oracle::agree("wimlib-imagex", [&["join", &by_wimlib], &files[..]].concat()).unwrap();
        oracle::agree("wimlib-imagex", ["verify", &by_wimlib]).unwrap();
        reseal(["diff", &format!("{by_wimlib}:2"), &format!("{wim}:2"), "--times", "--raw"]).exits(0);
        // And what wimlib has split.
        let theirs = rig.out(&format!("theirs-{name}.swm"));
        let mebibytes = format!("{:.3}", size as f64 / f64::from(1 << 20));
        oracle::agree("wimlib-imagex", ["split", &wim, &theirs, &mebibytes]).unwrap();
        let count = rig.bench.files().iter().filter(|file| file.starts_with(&format!("theirs-{name}"))).count();
        // wimlib forgets the boot image when it splits.
        assert_same(&rig, &wim, &theirs, count, None);
        // The same again is the same.
        let again = rig.out(&format!("again-{name}.swm"));
        let twice = split(&wim, &again, &format!("{}K", size / 1024), &[]);
        for (a, b) in parts.iter().zip(&twice) {
            assert_eq!(hash(a["output"].as_str().unwrap()), hash(b["output"].as_str().unwrap()));
        }
    }
}

#[test]
fn a_content_is_whole_in_one_part_and_one_part_is_a_whole_wim() {
    let rig = Rig::new();
    let Some(wim) = capture(&rig, "x.wim", KINDS[1]) else { return };
    let small = split(&wim, &rig.out("small.swm"), "1K", &["--check"]);
    assert!(small[0]["larger"] == true && small[0]["contents"] == 0, "the metadata alone is larger: {}", small[0]);
    let contents: u64 = small.iter().map(|part| part["contents"].as_u64().unwrap()).sum();
    assert_eq!(contents, reseal(["wim", "info", &wim, "--json"]).json()["blobs"]);
    assert_same(&rig, &wim, &rig.out("small.swm"), small.len(), Some(2));
    let text = reseal(["wim", "split", &wim, &rig.out("told.swm"), "--size", "1K"]).exits(0);
    assert!(text.text().lines().count() >= small.len());
    assert!(text.err.contains("larger than asked for"), "{}", text.err);
    // A table of its own for each part, where it is asked for.
    let last = std::fs::read(small.last().unwrap()["output"].as_str().unwrap()).unwrap();
    assert_ne!(last[0x7c..0x94], [0; 24], "an integrity table");
    let whole = split(&wim, &rig.out("whole.swm"), "2G", &[]);
    assert_eq!(whole.len(), 1);
    let whole = rig.out("whole.swm");
    oracle::agree("wimlib-imagex", ["verify", &whole]).unwrap();
    oracle::agree("7z", ["t", &whole]);
    reseal([
        "hive",
        "set",
        &format!("{whole}:1"),
        "--hive",
        "SYSTEM",
        "Setup",
        "x",
        "dword:1",
        "-o",
        &rig.out("set.wim"),
    ])
    .exits(0);
}

#[test]
fn what_cannot_be_split_or_joined_is_refused() {
    let rig = Rig::new();
    let Some(wim) = capture(&rig, "x.wim", KINDS[0]) else { return };
    let size = format!("{}K", std::fs::metadata(&wim).unwrap().len() / 4096);
    let first = rig.out("x.swm");
    // A file that is there stays, and nothing comes beside it.
    for (name, says) in [("x.swm", "exists"), ("x3.swm", "exists")] {
        let there = rig.bench.write(name, b"mine");
        let before = rig.bench.files();
        reseal(["wim", "split", &wim, &first, "--size", &size]).exits(1).says(says);
        assert_eq!((rig.bench.files(), std::fs::read(&there).unwrap()), (before, b"mine".to_vec()));
        std::fs::remove_file(there).unwrap();
    }
    let parts = split(&wim, &first, &size, &[]);
    let further = rig.out(&format!("y{}.swm", parts.len() + 1));
    std::fs::write(&further, b"of an older set").unwrap();
    reseal(["wim", "split", &wim, &rig.out("y.swm"), "--size", &size]).exits(1).says("would pass for part");
    for bad in ["0", "12", "3800X", "-1M", "99999999999G", "0K"] {
        reseal(["wim", "split", &wim, &rig.out("z.swm"), &format!("--size={bad}")]).exits(2);
    }
    let solid = capture(&rig, "solid.wim", &["--solid"]).unwrap();
    reseal(["wim", "split", &solid, &rig.out("z.swm"), "--size", "1M"]).exits(7).says("solid");
    // Parts are read only, from the first on, and all of one WIM.
    let second = parts[1]["output"].as_str().unwrap().to_owned();
    reseal(["wim", "info", &second]).exits(7).says("name the first part");
    reseal(["wim", "optimize", &first, "--rebuild"]).exits(7).says("split");
    reseal(["driver", "rm", &format!("{first}:1"), "oem1.inf", "--in-place"]).exits(7).says("split");
    let sound = std::fs::read(&second).unwrap();
    let mut damaged = sound.clone();
    damaged[300] ^= 1;
    std::fs::write(&second, &damaged).unwrap();
    let found = reseal(["wim", "verify", &first, "--json"]).exits(4).json();
    assert!(found["findings"].to_string().contains("wim-integrity"), "{found}");
    let mut other = sound.clone();
    other[0x18] ^= 1;
    std::fs::write(&second, &other).unwrap();
    reseal(["wim", "info", &first]).exits(7).says("where part 2 of");
    std::fs::write(&second, &sound[..sound.len() / 2]).unwrap();
    reseal(["wim", "info", &first]).exits(7);
    std::fs::remove_file(&second).unwrap();
    reseal(["wim", "info", &first]).exits(1).says("x2.swm");
}
