//! What `generalize` planned is what `diff` finds, and nothing else: the two know nothing of each other.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{ImageBuilder, WindowsImage, real};
use rig::explained::assert_plan_is_diff;
use rig::{Bench, reseal, seal};

const ANSWER: &[u8] = br#"<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="oobeSystem">
<component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"><OOBE><HideEULAPage>true</HideEULAPage></OOBE></component>
</settings></unattend>"#;

#[test]
fn made_up_machine() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let answer = bench.write("unattend.xml", ANSWER);
    let choices: &[&[&str]] = &[
        &[],
        &["--computer-name", "WEB-01", "--unattend", &answer],
        &["--sid", "keep"],
        &["--sid", "S-1-5-21-1-2-3"],
        &["--sid", "S-1-5-21-4294967295-4294967295-4294967295"],
        &["--steps", "machine-sid"],
        &["--steps", "default,-machine-sid,-event-logs"],
        &["--schedule-chkdsk", "--drop-snapshots"],
        &["--remove-user", "bob", "--leave-domain", "--workgroup", "LAB"],
        &["--keep-user", "bob", "--leave-entra", "--remove-user-appx"],
    ];
    for (i, more) in choices.iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report = seal(&gold, &out, more);
        let counts = assert_plan_is_diff(&gold, &out, &report);
        println!("{more:?}: {} planned changes, {} differences", counts.planned, counts.found);
        std::fs::remove_file(&out).unwrap();
    }
}

/// A Windows 10 machine, with SOFTWARE of Windows 7 and a file for each of 1,730 real descriptors.
#[test]
fn real_set_c() {
    let Some(root) = real::root() else { return };
    let image = real::machine_c(&root).unwrap();
    sealed_real(&image, &["--computer-name", "WEB-01"], "set C");
}

/// A Windows 8.1 domain member whose SYSTEM and SOFTWARE have lost their logs.
#[test]
fn real_set_a() {
    let Some(root) = real::root() else { return };
    let image = real::machine_a(&root).unwrap();
    sealed_real(
        &image,
        &[
            "--allow",
            "dirty-hive",
            "--leave-domain",
            "--remove-user-appx",
            "--blank-administrator",
            "--computer-name",
            "LAB-1",
        ],
        "set A",
    );
}

/// Windows 7, another family of hives.
#[test]
fn real_set_f() {
    let Some(root) = real::root() else { return };
    let image = real::machine_f(&root).unwrap();
    sealed_real(&image, &["--computer-name", "A-NAME-OF-WS-15"], "set F");
}

fn sealed_real(image: &WindowsImage, more: &[&str], name: &str) {
    let bench = Bench::new();
    let gold = bench.build("gold.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, image);
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, more);
    let counts = assert_plan_is_diff(&gold, &out, &report);
    println!("{name}: {} planned changes, {} differences", counts.planned, counts.found);
    assert!(counts.planned > 20 && counts.found > counts.planned, "{} and {}", counts.planned, counts.found);
    reseal([&["generalize", &out, "-n"], more].concat()).exits(5);
}
