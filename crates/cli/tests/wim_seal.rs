//! An image of a WIM is sealed as a disk is, by appending and by writing the file anew.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::oracle;
use rig::machine::{Rig, two_images};
use rig::{FIXED, census, old_sid, reseal, seal};
use std::path::Path;
use std::time::{Duration, Instant};

/// A SID of its own, so that a disk and a WIM get the same one.
const NEW: &str = "S-1-5-21-1404338348-2277238915-682803330";
/// Ways in which wimlib stores.
const KINDS: [&[&str]; 4] =
    [&["--compress=LZX", "--check"], &["--compress=XPRESS"], &["--compress=none"], &["--solid"]];

/// Has wimlib write an image to a new volume.
fn apply(rig: &Rig, wim: &str, image: &str, name: &str) -> Option<String> {
    let volume = rig.out(name);
    std::fs::File::create(&volume).unwrap().set_len(64 << 20).unwrap();
    oracle::agree("mkntfs", ["-F", "-q", &volume])?;
    oracle::agree("wimlib-imagex", ["apply", wim, image, &volume])?;
    Some(volume)
}

fn approved(wim: &str) -> Option<()> {
    oracle::agree("wimlib-imagex", ["verify", wim])?;
    oracle::agree("7z", ["t", wim])?;
    reseal(["wim", "verify", wim]).exits(0);
    Some(())
}

fn args<'a>(image: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["generalize", image, "--sid", NEW, "--json"], &FIXED[..], more].concat()
}

/// What two images are said to differ in, but for how the volumes are made.
fn differences(a: &str, b: &str) -> Vec<String> {
    let ignore = ["--ignore", r"\$Extend", "--ignore", r"\$Extend\**", "--ignore", r"\Windows\System32\config\*.LOG*"];
    let args = [&["diff", a, b, "--json", "--no-short-names"], &ignore[..]].concat();
    let diff = reseal(args).json();
    let entries = diff["volumes"].as_array().unwrap().iter().flat_map(|v| v["entries"].as_array().unwrap().clone());
    let of_volume = |kind: &str| ["partition", "volume", "hive-log", "hive-bytes"].contains(&kind);
    // What wimlib captures nothing of, as DISM does, and the volume's own files.
    let is_left_out = |path: &str| {
        ["$", "System Volume Information", "pagefile.sys", "swapfile.sys", "hiberfil.sys"]
            .iter()
            .any(|name| path.trim_start_matches('\\').starts_with(name))
    };
    let counts =
        |e: &serde_json::Value| !of_volume(e["kind"].as_str().unwrap()) && !is_left_out(e["path"].as_str().unwrap());
    entries.filter(counts).map(|e| e.to_string()).collect()
}

/// The one test of all: sealing the WIM and applying it gives what sealing the disk gives.
#[test]
fn a_sealed_wim_is_the_sealed_disk() {
    let rig = Rig::new();
    let sealed = rig.out("sealed.raw");
    seal(&rig.sound, &sealed, &["--sid", NEW]);
    for kind in KINDS {
        let name = format!("{}.wim", kind[0].trim_start_matches('-'));
        let Some(wim) = two_images(&rig, &rig.sound, &name, kind) else { return };
        let image = format!("{wim}:2");
        let untouched = std::fs::read(&wim).unwrap();
        reseal(args(&image, &["-n"])).exits(0);
        let (rebuilt, appended) = (rig.out(&format!("rebuilt-{name}")), rig.out(&format!("appended-{name}")));
        let report = reseal(args(&image, &["-o", &rebuilt])).exits(0).json();
        assert_eq!(std::fs::read(&wim).unwrap(), untouched, "the input is never written");
        std::fs::copy(&wim, &appended).unwrap();
        let in_place = reseal(args(&format!("{appended}:Second"), &["--in-place"])).exits(0).json();
        assert_eq!((report["method"].as_str(), in_place["method"].as_str()), (Some("rebuilt"), Some("appended")));
        assert_eq!(report["plan"]["changes"], in_place["plan"]["changes"]);
        for (wim, is_rebuilt) in [(&rebuilt, true), (&appended, false)] {
            if approved(wim).is_none() {
                return;
            }
            let Some(volume) = apply(&rig, wim, "2", "applied.ntfs") else { return };
            for tool in [&["ntfsresize", "-i", "-f"][..], &["ntfsfix", "-n"]] {
                oracle::agree(tool[0], [&tool[1..], &[&volume]].concat());
            }
            assert_eq!(differences(&sealed, &volume), Vec::<String>::new(), "{wim}");
            let Some(first) = apply(&rig, wim, "1", "first.ntfs") else { return };
            assert_eq!(differences(&rig.sound, &first), Vec::<String>::new(), "image 1 of {wim} is as it was");
            let (before, after) = (census::of_image(&first), census::of_image(&volume));
            census::assert_only_own(&before, &after, (&old_sid(), NEW), (0, 0));
            // What is asked of the sealed image is proved; the other one still has the old SID.
            let verify = |image: u32| {
                let target = format!("{wim}:{image}");
                reseal(["verify", &target, "--no-trace-of", &old_sid(), "--json"])
            };
            let found = verify(2).json();
            assert_eq!(found["traces"].as_array().map(Vec::len), Some(0), "{found}");
            assert_eq!(found["states"][0], "sealed to OOBE");
            let holes = found["findings"].to_string().contains("wim-holes");
            assert_eq!(holes, !is_rebuilt, "{found}");
            verify(2).exits(if is_rebuilt { 0 } else { 4 });
            assert!(!verify(1).exits(4).json()["traces"].as_array().unwrap().is_empty());
            reseal(["generalize", &format!("{wim}:2"), "-n"]).exits(5);
        }
        // The same plan, the same bytes.
        let again = rig.out(&format!("again-{name}"));
        reseal(args(&image, &["-o", &again])).exits(0);
        assert_eq!(rig::hash(&again), rig::hash(&rebuilt), "{name}");
    }
}

#[test]
fn all_images_are_sealed_at_once_or_none() {
    let rig = Rig::new();
    let Some(wim) = two_images(&rig, &rig.sound, "both.wim", KINDS[0]) else { return };
    let out = rig.out("out.wim");
    reseal(args(&wim, &["-n"])).exits(1).says("which of the 2 images");
    let plans = reseal(args(&format!("{wim}:all"), &["-n"])).exits(0).json();
    assert_eq!((plans["schema"].as_str(), plans["plans"].as_array().map(Vec::len)), (Some("reseal.plans/1"), Some(2)));
    let report = reseal(args(&format!("{wim}:all"), &["-o", &out])).exits(0).json();
    assert_eq!(report["more"].as_array().map(Vec::len), Some(1));
    let verified = reseal(["verify", &out, "--no-trace-of", &old_sid(), "--json"]).exits(0).json();
    assert_eq!(verified["states"].as_array().unwrap().len(), 2);
    reseal(["generalize", &format!("{out}:all"), "-n"]).exits(5);
    let text = reseal(["inspect", &out]).exits(0).text();
    assert!(text.contains("image 1") && text.contains("image 2"), "{text}");
    assert!(
        text.starts_with(&format!("{out}: wim, ")) && text.lines().next().unwrap().ends_with(", 2 images"),
        "{text}"
    );
    assert!(!text.contains("disk of"), "{text}");
    reseal(["inspect", &wim, "--check"]).exits(0);
    // Without a SID of the user's, each image draws its own, though they be copies of one machine.
    let all = format!("{wim}:all");
    let drawn = reseal([&["generalize", &all, "-n", "--json"], &FIXED[..]].concat()).exits(0).json();
    let sid = |at: usize| drawn["plans"][at]["sid"]["new"].as_str().unwrap().to_owned();
    assert_ne!(sid(0), sid(1));
    // What has no meaning there is said.
    for option in ["--scrub", "--schedule-chkdsk", "--drop-snapshots"] {
        reseal(["generalize", &format!("{wim}:1"), "-n", option]).exits(2).says("is for volumes");
    }
    reseal(["generalize", &format!("{wim}:1"), "--in-place", "--keep-undo"]).exits(2).says("there is no journal");
    reseal(["fs", "check", &format!("{wim}:1")]).exits(7).says("a WIM is no disk");
}

/// Starts the command and kills it after a while. Whether it had ended.
fn killed(args: &[&str], after: Duration) -> bool {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_reseal"));
    command.args(args).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    ended
}

#[test]
fn killed_at_any_instant_it_is_the_old_wim_or_the_new_one() {
    let rounds: u32 = std::env::var("RESEAL_KILLS").map_or(60, |n| n.parse().expect("a number"));
    let rig = Rig::new();
    let Some(wim) = two_images(&rig, &rig.sound, "gold.wim", KINDS[1]) else { return };
    let old = std::fs::read(&wim).unwrap();
    let (out, image) = (rig.out("out.wim"), rig.out("in-place.wim"));
    let (to_new, in_place) = (args(&wim, &["-o", &out]), format!("{image}:2"));
    let gold = format!("{wim}:2");
    let to_new: Vec<&str> = to_new.into_iter().map(|arg| if arg == wim { gold.as_str() } else { arg }).collect();
    let in_place = args(&in_place, &["--in-place"]);
    let start = Instant::now();
    reseal(&to_new).exits(0);
    let whole = start.elapsed();
    let rebuilt = std::fs::read(&out).unwrap();
    std::fs::write(&image, &old).unwrap();
    reseal(&in_place).exits(0);
    let appended = std::fs::read(&image).unwrap();
    let (mut new, mut kept) = (0, 0);
    for round in 0..rounds {
        let part = f64::from(round.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        let after = whole.mul_f64(1.2 * part);
        if round.is_multiple_of(2) {
            let _ = std::fs::remove_file(&out);
            let ended = killed(&to_new, after);
            let is_whole = !Path::new(&out).exists() || std::fs::read(&out).unwrap() == rebuilt;
            assert!(is_whole, "round {round}: a file of that name, and not the new WIM");
            assert!(!ended || Path::new(&out).exists());
            new += u32::from(Path::new(&out).exists());
        } else {
            std::fs::write(&image, &old).unwrap();
            killed(&in_place, after);
            let found = std::fs::read(&image).unwrap();
            let is_old = found.starts_with(&old);
            assert!(is_old || found.starts_with(&appended), "round {round}: neither the old WIM nor the new one");
            kept += u32::from(is_old);
            // What was left behind the end is in nobody's way.
            reseal(&in_place).exits(if is_old { 0 } else { 5 });
            assert_eq!(std::fs::read(&image).unwrap(), appended, "round {round}");
        }
    }
    println!("{rounds} kills: {new} new files, {kept} old WIMs, {:?}", start.elapsed());
    assert!(kept > 0, "no kill came early enough to leave the old WIM");
}
