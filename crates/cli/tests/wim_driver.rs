//! `driver` on images of WIMs: what comes of it is what comes of the same on the disk.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::drivers::{NETWORK, STORAGE};
use reseal_testdata::oracle;
use rig::drivers::{AMD64, installed, package};
use rig::explained::assert_plan_is_diff_of_wim;
use rig::machine::{Rig, two_images};
use rig::{Run, hash, reseal};
use serde_json::{Value, json};

const TIME: [&str; 2] = ["--time", "2026-01-01T00:00:00Z"];
const KINDS: [&[&str]; 3] = [&["--compress=LZX", "--check"], &["--compress=XPRESS"], &["--solid"]];

fn driver(args: &[&str]) -> Run {
    reseal(["driver"].iter().chain(args).copied().chain(TIME))
}

fn packages(image: &str) -> Value {
    reseal(["driver", "ls", image, "--json"]).exits(0).json()["packages"].clone()
}

/// The report says what `diff` finds, the other image is as it was, and wimlib reads it.
#[track_caller]
fn assert_written(rig: &Rig, before: &str, after: &str, report: &Value) {
    let plan = json!({ "changes": report["changes"], "partition": report["partition"], "sid": null });
    let (old, new) = (format!("{before}:2"), format!("{after}:2"));
    let counts = assert_plan_is_diff_of_wim(&old, &new, &json!({ "plan": plan }), &plan);
    println!("{} planned changes, {} differences", counts.planned, counts.found);
    reseal(["diff", &format!("{before}:1"), &format!("{after}:1"), "--times", "--raw"]).exits(0);
    reseal(["wim", "verify", after]).exits(0);
    for hive in ["SYSTEM", "SOFTWARE"] {
        reseal(["hive", "check", &new, "--hive", hive]).exits(0);
    }
    oracle::agree("wimlib-imagex", ["verify", after]);
    let applied = rig.out("applied");
    let _ = std::fs::remove_dir_all(&applied);
    oracle::agree("wimlib-imagex", ["apply", after, "2", &applied]);
}

#[test]
fn a_driver_is_added_to_an_image_as_to_the_disk() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", installed);
    let storage = package(&rig.bench, "kvmmade", &STORAGE.replace("blkmade", "kvmmade"), AMD64);
    for kind in KINDS {
        let name = format!("{}.wim", kind[0].trim_start_matches('-'));
        let Some(wim) = two_images(&rig, &gold, &name, kind) else { return };
        let image = format!("{wim}:2");
        assert_eq!(packages(&image), packages(&gold));
        let by_disk = rig.out("by-disk.raw");
        let _ = std::fs::remove_file(&by_disk);
        let on_disk = driver(&["add", &gold, &storage, "-o", &by_disk, "--json"]).exits(0).json();
        let untouched = hash(&wim);
        let plan = driver(&["add", &image, &storage, "-n", "--json"]).exits(0).json();
        assert_eq!((&plan["changes"], &plan["packages"]), (&on_disk["changes"], &on_disk["packages"]));
        let (rebuilt, appended) = (rig.out(&format!("rebuilt-{name}")), rig.out(&format!("appended-{name}")));
        let report = driver(&["add", &image, &storage, "-o", &rebuilt, "--json"]).exits(0).json();
        assert_eq!(hash(&wim), untouched, "the input is never written");
        std::fs::copy(&wim, &appended).unwrap();
        let in_place = driver(&["add", &format!("{appended}:second"), &storage, "--in-place", "--json"]);
        let in_place = in_place.exits(0).json();
        assert_eq!((&report["method"], &in_place["method"]), (&json!("rebuilt"), &json!("appended")));
        assert_eq!((&plan["changes"], &plan["changed_bytes"]), (&report["changes"], &in_place["changed_bytes"]));
        assert!(plan["changed_bytes"].as_u64() > Some(0) && plan["partition"] == "image 2");
        for (after, report) in [(&rebuilt, &report), (&appended, &in_place)] {
            assert_written(&rig, &wim, after, report);
            // A WIM has 8.3 names of what was captured only.
            reseal(["diff", &format!("{after}:2"), &by_disk, "--no-short-names"]).exits(0);
            assert_eq!(packages(&format!("{after}:2")), packages(&by_disk));
            driver(&["add", &format!("{after}:2"), &storage, "-n"]).exits(5);
        }
        // And away again: the packages are those of before.
        let removed = rig.out(&format!("removed-{name}"));
        let report = driver(&["rm", &format!("{rebuilt}:2"), "kvmmade.inf", "-o", &removed, "--json"]).exits(0).json();
        assert_written(&rig, &rebuilt, &removed, &report);
        assert_eq!(packages(&format!("{removed}:2")), packages(&gold));
        // The same seed and time give the same bytes.
        let again = rig.out(&format!("again-{name}"));
        driver(&["add", &image, &storage, "-o", &again]).exits(0);
        assert_eq!(hash(&again), hash(&rebuilt));
    }
}

#[test]
fn installed_packages_go_and_drivers_of_windows_start() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", installed);
    for kind in KINDS {
        let name = format!("{}.wim", kind[0].trim_start_matches('-'));
        let Some(wim) = two_images(&rig, &gold, &name, kind) else { return };
        let (image, copy) = (format!("{wim}:2"), rig.out("copy.wim"));
        for line in [&["rm", "oem3.inf"][..], &["rm", "oem12.inf", "--force"], &["enable", "stornvme"]] {
            let (disk, out) = (rig.out("disk.raw"), rig.out("out.wim"));
            let run = |image: &str, to: &[&str]| {
                driver(&[&[line[0], image], &line[1..], to, &["--json"]].concat()).exits(0).json()
            };
            let by_disk = run(&gold, &["-o", &disk]);
            let report = run(&image, &["-o", &out]);
            assert_eq!(report["changes"], by_disk["changes"], "{line:?}");
            assert_written(&rig, &wim, &out, &report);
            reseal(["diff", &disk, &format!("{out}:2"), "--no-short-names"]).exits(0);
            std::fs::copy(&wim, &copy).unwrap();
            let report = run(&format!("{copy}:2"), &["--in-place"]);
            assert_written(&rig, &wim, &copy, &report);
            reseal(["diff", &format!("{copy}:2"), &format!("{out}:2"), "--times", "--raw"]).exits(0);
            std::fs::remove_file(&disk).unwrap();
            std::fs::remove_file(&out).unwrap();
        }
    }
}

#[test]
fn what_is_refused_leaves_the_wim_as_it_was() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", installed);
    let Some(wim) = two_images(&rig, &gold, "x.wim", KINDS[1]) else { return };
    let untouched = hash(&wim);
    let (network, other) = (
        package(&rig.bench, "netnew", &NETWORK.replace("netmade", "netnew"), AMD64),
        package(&rig.bench, "netarm", &NETWORK.replace("netmade", "netarm"), 0xaa64),
    );
    driver(&["add", &wim, &network, "--in-place"]).exits(1).says("which of the 2 images");
    driver(&["add", &format!("{wim}:all"), &network, "--in-place"]).exits(2).says("one is changed at a time");
    driver(&["add", &format!("{wim}:3"), &network, "--in-place"]).exits(1).says("there is no image 3");
    driver(&["add", &format!("{wim}:1"), &network, "--in-place", "--keep-undo"]).exits(2).says("there is no journal");
    driver(&["add", &format!("{wim}:1"), &other, "--in-place"]).exits(7);
    driver(&["rm", &format!("{wim}:1"), "oem99.inf", "--in-place"]).exits(1);
    assert_eq!(hash(&wim), untouched);
    // An image that holds no Windows.
    let folder = rig.bench.path("folder");
    std::fs::create_dir_all(folder.join("files")).unwrap();
    let bare = rig.out("bare.wim");
    oracle::agree("wimlib-imagex", ["capture", folder.to_str().unwrap(), &bare]).unwrap();
    driver(&["add", &bare, &network, "--in-place"]).exits(1).says("no Windows installation");
    reseal(["driver", "ls", &bare]).exits(1).says("no Windows installation");
    // One that is marked as not to be changed can be written anew.
    oracle::agree("wimlib-imagex", ["optimize", "--check", &wim]).unwrap();
    let out = rig.out("out.wim");
    driver(&["add", &format!("{wim}:1"), &network, "-o", &out]).exits(0);
    oracle::agree("wimlib-imagex", ["verify", &out]).unwrap();
}
