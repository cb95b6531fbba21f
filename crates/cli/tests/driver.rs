//! `driver ls`, `add`, `rm`, `enable`: what they write, as other readers see it, and what they refuse.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::Guid;
use reseal_testdata::drivers::{NETWORK, STORAGE, program};
use reseal_testdata::{oracle, real};
use rig::drivers::{AMD64, database, installed, package};
use rig::explained::assert_plan_is_diff;
use rig::machine::{Machine, Mangle, planted, sound};
use rig::{Bench, Run, content, hash, reseal, value};
use serde_json::{Value, json};

const TIME: [&str; 2] = ["--time", "2026-01-01T00:00:00Z"];

/// Windows 7: no DriverDatabase, a list of critical devices.
fn windows_7(m: &mut Machine) {
    m.sz("SOFTWARE", r"Microsoft\Windows NT\CurrentVersion", "CurrentBuild", "7601");
    m.sz("SYSTEM", r"ControlSet001\Control\CriticalDeviceDatabase\PCI#CC_0101", "Service", "pciide");
}

fn image(bench: &Bench, plant: fn(&mut Machine)) -> String {
    let out = bench.path("gold.raw");
    planted(&sound(bench), &out, Mangle::No, plant);
    bench.arg("gold.raw")
}

fn driver(args: &[&str]) -> Run {
    reseal(["driver"].iter().chain(args).copied().chain(TIME))
}

fn list(image: &str) -> Vec<Value> {
    let document = reseal(["driver", "ls", image, "--json"]).exits(0).json();
    assert_eq!(document["schema"], "reseal.drivers/1");
    document["packages"].as_array().unwrap().clone()
}

/// The report says what `diff` finds, the volume is sound, ntfs-3g and libhivex read it.
#[track_caller]
fn assert_written(bench: &Bench, before: &str, after: &str, report: &Value, files: &[(&str, &[u8])]) {
    assert_eq!(report["schema"], "reseal.driver/1");
    let plan = json!({ "plan": { "changes": report["changes"], "partition": report["partition"], "sid": null } });
    let counts = assert_plan_is_diff(before, after, &plan);
    println!("{} planned changes, {} differences", counts.planned, counts.found);
    reseal(["fs", "check", after]).exits(0);
    for hive in ["SYSTEM", "SOFTWARE"] {
        reseal(["hive", "check", after, "--hive", hive]).exits(0);
    }
    let volume = bench.path("volume.ntfs");
    content::extract(after, &volume);
    let volume = volume.to_str().unwrap();
    oracle::agree("ntfsresize", ["-i", "-f", volume]);
    for (path, bytes) in files {
        let read = oracle::run("ntfscat", ["-f", volume, &path.replace('\\', "/")]);
        assert!(read.is_none_or(|read| read.status.success() && read.stdout == *bytes), "{path} as ntfs-3g reads it");
    }
}

/// A key as hivexregedit exports it, without its first lines; `None` where it is not installed.
fn exported(bench: &Bench, image: &str, hive: &str, key: &str) -> Option<String> {
    let bytes = reseal(["fs", "cat", image, &format!(r"Windows\System32\config\{hive}")]).exits(0).out;
    let file = bench.write("exported.hive", &bytes);
    oracle::agree("hivexregedit", ["--export", "--prefix", "HKLM", &file, &format!(r"\{key}")])
}

#[track_caller]
fn assert_has(text: Option<&String>, lines: &[&str]) {
    let Some(text) = text else { return };
    for line in lines {
        assert!(text.lines().any(|have| have.trim_end() == *line), "`{line}` is not in\n{text}");
    }
}

/// REG_SZ as hivexregedit shows it.
fn hex(ty: u32, text: &str) -> String {
    let bytes: Vec<String> =
        text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).map(|b| format!("{b:02x}")).collect();
    format!("hex({ty}):{}", bytes.join(","))
}

#[test]
fn a_storage_driver_is_added_and_removed_without_a_trace() {
    let bench = Bench::new();
    let gold = image(&bench, database);
    let (dir, out) = (package(&bench, "blkmade", STORAGE, AMD64), bench.arg("kvm.raw"));
    let plan = driver(&["add", &gold, &dir, "-n", "--json"]).exits(0).json();
    let report = driver(&["add", &gold, &dir, "-o", &out, "--json"]).exits(0).json();
    assert_eq!(plan["changes"], report["changes"]);
    let (added, binary) = (&report["packages"][0], program(AMD64, "blkmade"));
    assert_eq!((&added["boot_services"], &added["registered_in"]), (&json!(["blkmade"]), &json!("DriverDatabase")));
    assert_eq!(added["catalog"], "blkmade.cat");
    assert!(report["unproven"][0].as_str().unwrap().contains("DriverDatabase"));
    assert_eq!(report["findings"], json!([]));
    let folder = r"Windows\Drivers\Reseal\blkmade_amd64";
    let files: [(&str, &[u8]); 4] = [
        (r"Windows\System32\drivers\blkmade.sys", &binary),
        (r"Windows\Drivers\Reseal\blkmade_amd64\blkmade.inf", STORAGE.as_bytes()),
        (r"Windows\Drivers\Reseal\blkmade_amd64\blkmade.sys", &binary),
        (r"Windows\Drivers\Reseal\blkmade_amd64\blkmade.cat", b"catalog"),
    ];
    assert_written(&bench, &gold, &out, &report, &files);
    let path = format!(r"%SystemRoot%\inf;%SystemRoot%\{}", folder.strip_prefix(r"Windows\").unwrap());
    assert_eq!(value(&out, "SOFTWARE", r"Microsoft\Windows\CurrentVersion", "DevicePath"), Some(json!(path)));

    for set in ["ControlSet001", "ControlSet002"] {
        let service = exported(&bench, &out, "SYSTEM", &format!(r"{set}\Services\blkmade"));
        let image_path = format!("\"ImagePath\"={}", hex(2, r"System32\drivers\blkmade.sys"));
        let group = format!("\"Group\"={}", hex(1, "SCSI miniport"));
        let numbers = ["\"Start\"=dword:00000000", "\"Type\"=dword:00000001", "\"ErrorControl\"=dword:00000001"];
        let parameters = [format!(r"[HKLM\{set}\Services\blkmade\Parameters\PnpInterface]")];
        let interface = ["\"5\"=dword:00000001", "\"BusType\"=dword:00000001"];
        assert_has(service.as_ref(), &[&image_path, &group, &parameters[0]]);
        assert_has(service.as_ref(), &[numbers, [interface[0], interface[1], numbers[0]]].concat());
    }
    let known = exported(&bench, &out, "SYSTEM", "DriverDatabase");
    assert_has(
        known.as_ref(),
        &[
            r"[HKLM\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1042]",
            "\"reseal-blkmade.inf\"=hex(3):01,ff,00,00",
            r"[HKLM\DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1001]",
            "\"reseal-blkmade.inf\"=hex(3):02,ff,00,00",
            r"[HKLM\DriverDatabase\DriverPackages\reseal-blkmade.inf_tmp\Descriptors\PCI\VEN_1AF4&DEV_1042]",
            &format!("\"Configuration\"={}", hex(1, "Blk_Inst.NT")),
            &format!("\"Active\"={}", hex(1, "reseal-blkmade.inf_tmp")),
            &format!("\"Service\"={}", hex(1, "blkmade")),
            "\"ConfigFlags\"=dword:00000000",
            &format!(
                "\"Version\"=hex(3):00,ff,09,00,00,00,00,00,7b,e9,36,4d,25,e3,ce,11,bf,c1,08,00,2b,e1,03,18{}",
                ",00".repeat(24)
            ),
        ],
    );

    let listed = list(&out);
    assert_eq!((listed.len(), &listed[0]["added"], &listed[0]["inf"]), (1, &json!(true), &json!("blkmade.inf")));
    assert_eq!(listed[0]["services"][0]["boot_start"], true);
    assert!(reseal(["driver", "ls", &out]).exits(0).text().contains("starts with Windows, storage"));
    // A second time there is nothing to do; other content under the name is another matter.
    driver(&["add", &out, &dir, "-o", &bench.arg("twice.raw")]).exits(5);
    std::fs::write(bench.path("blkmade/BLKMADE.SYS"), program(AMD64, "newer")).unwrap();
    driver(&["add", &out, &dir, "-o", &bench.arg("twice.raw")]).exits(1).says("another version");

    let back = bench.arg("back.raw");
    let report = driver(&["rm", &out, "blkmade.inf", "-o", &back, "--json"]).exits(0).json();
    assert_written(&bench, &out, &back, &report, &[]);
    reseal(["diff", &gold, &back]).exits(0);
    assert_eq!(list(&back), Vec::<Value>::new());
    driver(&["rm", &back, "blkmade.inf", "-o", &bench.arg("none.raw")]).exits(1).says("driver ls");
}

#[test]
fn a_network_driver_only_waits() {
    let bench = Bench::new();
    let gold = image(&bench, database);
    let (dir, out) = (package(&bench, "netmade", NETWORK, AMD64), bench.arg("net.raw"));
    let report = driver(&["add", &gold, &dir, "-o", &out, "--json"]).exits(0).json();
    let added = &report["packages"][0];
    assert_eq!((&added["boot_services"], &added["registered_in"]), (&json!([]), &Value::Null));
    let dll = program(AMD64, "dll");
    let files: [(&str, &[u8]); 1] = [(r"Windows\Drivers\Reseal\netmade_amd64\tools\netmade.dll", &dll)];
    assert_written(&bench, &gold, &out, &report, &files);
    assert_eq!(value(&out, "SYSTEM", r"ControlSet001\Services\netmade", "Start"), None);
}

#[test]
fn windows_7_has_a_list_of_critical_devices() {
    let bench = Bench::new();
    let gold = image(&bench, windows_7);
    let inf =
        STORAGE.replace("NTamd64, NTamd64.10.0, NTx86", "NTamd64.10.0, NTamd64").replace("= Old_Inst", "= Blk_Inst");
    let (dir, out, back) = (package(&bench, "blkmade", &inf, AMD64), bench.arg("7.raw"), bench.arg("back.raw"));
    let report = driver(&["add", &gold, &dir, "-o", &out, "--json"]).exits(0).json();
    assert_eq!(report["packages"][0]["registered_in"], "CriticalDeviceDatabase");
    assert_written(&bench, &gold, &out, &report, &[]);
    for set in ["ControlSet001", "ControlSet002"] {
        let key = format!(r"{set}\Control\CriticalDeviceDatabase\PCI#VEN_1AF4&DEV_1001");
        assert_eq!(value(&out, "SYSTEM", &key, "Service"), Some(json!("blkmade")));
        assert_eq!(value(&out, "SYSTEM", &key, "ClassGUID"), Some(json!("{4D36E97B-E325-11CE-BFC1-08002BE10318}")));
    }
    driver(&["add", &out, &dir, "-n"]).exits(5);
    let report = driver(&["rm", &out, "blkmade", "-o", &back, "--json"]).exits(0).json();
    assert_written(&bench, &out, &back, &report, &[]);
    assert_eq!(
        value(&back, "SYSTEM", r"ControlSet001\Control\CriticalDeviceDatabase\PCI#CC_0101", "Service"),
        Some(json!("pciide"))
    );
    assert_eq!(value(&back, "SYSTEM", r"ControlSet001\Services\blkmade", "Start"), None);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    let bench = Bench::new();
    let gold = image(&bench, database);
    let before = hash(&gold);
    let out = bench.arg("out.raw");
    let cases: [(&str, &str, u16, i32, &str); 6] = [
        ("NTamd64.10.0, NTx86", "NTarm64, NTx86", AMD64, 7, "makes no service"),
        ("NTamd64, NTamd64.10.0, NTx86", "NTx86, NTarm64", AMD64, 7, "no driver for Windows 10.0.22631 on amd64"),
        ("", "", 0xaa64, 7, "for machine 0xaa64"),
        ("blkmade.sys = 1", "other.sys = 1", AMD64, 1, "other.sys"),
        ("ServiceType    = 1", "ServiceType    = 16", AMD64, 7, "cannot start from it"),
        (
            "AddService = blkmade, 0x00000002",
            "AddService = stornvme, 0x00000002",
            AMD64,
            1,
            "a driver stornvme is there",
        ),
    ];
    for (from, to, machine, code, says) in cases {
        let inf = if from.is_empty() { STORAGE.to_owned() } else { STORAGE.replace(from, to) };
        let dir = package(&bench, "blkmade", &inf, machine);
        driver(&["add", &gold, &dir, "-o", &out]).exits(code).says(says);
        assert!(!bench.path("out.raw").exists(), "{says}");
    }
    // Without a catalog: told, and refused when that is asked for.
    let dir = package(&bench, "blkmade", STORAGE, AMD64);
    std::fs::remove_file(bench.path("blkmade/blkmade.cat")).unwrap();
    let report = driver(&["add", &gold, &dir, "-n", "--json"]).exits(0).json();
    assert_eq!(report["findings"][0]["id"], "driver-unsigned");
    driver(&["add", &gold, &dir, "-o", &out, "--strict"]).exits(3).says("blkmade.cat");
    // A Windows whose database is not where it should be.
    let bare = bench.arg("sound.raw");
    driver(&["add", &bare, &dir, "-o", &out]).exits(7).says("DriverDatabase");
    std::fs::create_dir(bench.path("empty")).unwrap();
    driver(&["add", &gold, &bench.arg("empty"), "-o", &out]).exits(1).says("holds no INF");
    driver(&["add", &gold, &dir]).exits(2);
    assert_eq!(hash(&gold), before);
    assert!(!bench.path("out.raw").exists());
}

#[test]
fn installed_packages_are_listed_and_removed() {
    let bench = Bench::new();
    let gold = image(&bench, installed);
    let listed = list(&gold);
    let words =
        |p: &Value| ["inf", "original", "provider", "database", "version"].map(|w| p[w].as_str().unwrap().to_owned());
    assert_eq!(words(&listed[0]), ["oem3.inf", "netmade.inf", "Made-up Devices, Ltd.", "DRIVERS", "1.2.3.4"]);
    assert_eq!(words(&listed[1]), ["oem12.inf", "blkmade.inf", "Made-up Devices, Ltd.", "SYSTEM", "100.2.3.4"]);
    assert_eq!(listed[0]["catalog"], "netmade.cat");
    assert_eq!(
        listed[1]["services"],
        json!([{
            "name": "blkmade", "start": 0, "boot_start": true, "storage": true,
            "binary": r"\Windows\System32\drivers\blkmade.sys",
        }])
    );
    assert_eq!(listed[1]["folder"], r"\Windows\System32\DriverStore\FileRepository\blkmade.inf_amd64_0123456789abcdef");
    assert_eq!((&listed[0]["notes"], listed.len()), (&json!([]), 2));

    let out = bench.arg("out.raw");
    let report = driver(&["rm", &gold, "oem3.inf", "-o", &out, "--json"]).exits(0).json();
    assert_written(&bench, &gold, &out, &report, &[]);
    let gone = |text: &str| report["changes"].to_string().contains(text);
    for part in ["oem3.PNF", "oem3.cat", "netmade.inf_amd64", "netmade.sys", "VEN_1AF4&DEV_1041", r"Services\\netmade"]
    {
        assert!(gone(part), "{part}");
    }
    let drivers = exported(&bench, &out, "DRIVERS", "DriverDatabase");
    assert_has(drivers.as_ref(), &["\"other.inf\"=hex(0):"]);
    assert!(drivers.is_none_or(|text| !text.contains("oem3") && !text.contains("VEN_1AF4")));
    assert_eq!(list(&out).len(), 1);

    // Windows may start from it.
    let forced = bench.arg("forced.raw");
    driver(&["rm", &gold, "blkmade", "-o", &forced]).exits(3).says("--force");
    let report = driver(&["rm", &gold, "blkmade", "-o", &forced, "--force", "--json"]).exits(0).json();
    assert_written(&bench, &gold, &forced, &report, &[]);
    // What belongs to Windows is never removed.
    for inbox in ["stornvme", "stornvme.inf", "oem99.inf"] {
        driver(&["rm", &gold, inbox, "-o", &bench.arg("inbox.raw"), "--force"]).exits(1).says("never removed");
    }
}

#[test]
fn a_driver_of_windows_is_enabled() {
    let bench = Bench::new();
    let gold = image(&bench, database);
    let out = bench.arg("nvme.raw");
    let report = driver(&["enable", &gold, "stornvme", "-o", &out, "--json"]).exits(0).json();
    assert_written(&bench, &gold, &out, &report, &[]);
    for set in ["ControlSet001", "ControlSet002"] {
        let key = format!(r"{set}\Services\stornvme");
        assert_eq!(value(&out, "SYSTEM", &key, "Start"), Some(json!("0")));
        assert_eq!(value(&out, "SYSTEM", &format!(r"{key}\StartOverride"), "0"), None);
    }
    driver(&["enable", &out, "stornvme", "-n"]).exits(5);
    driver(&["enable", &gold, "nothing", "-n"]).exits(1).says("no control set");
    driver(&["enable", &gold, "LanmanServer", "-n"]).exits(1);
}

#[test]
fn in_place_with_the_way_back() {
    let bench = Bench::new();
    let gold = image(&bench, database);
    let (before, dir) = (hash(&gold), package(&bench, "blkmade", STORAGE, AMD64));
    let report = driver(&["add", &gold, &dir, "--in-place", "--keep-undo", "--json"]).exits(0).json();
    assert_eq!(report["method"], "in-place");
    assert_ne!(hash(&gold), before);
    assert_eq!(list(&gold).len(), 1);
    reseal(["recover", &gold, "--undo"]).exits(0);
    assert_eq!(hash(&gold), before);
    // The same input, the same bytes.
    for out in ["a.raw", "b.raw"] {
        driver(&["add", &gold, &dir, "-o", &bench.arg(out)]).exits(0);
    }
    assert_eq!(hash(bench.path("a.raw")), hash(bench.path("b.raw")));
}

/// SYSTEM of a Windows 10 machine with third parties' drivers, and its logs.
fn real_system(m: &mut Machine) {
    database(m);
    let placed = real::set_c(&real::root().unwrap()).unwrap();
    for file in placed.iter().filter(|file| file.path.contains(r"config\SYSTEM")) {
        m.file(&file.path, &file.bytes);
    }
}

/// What Windows itself has written in its DriverDatabase is read, and stays.
#[test]
fn a_real_database() {
    if real::root().is_none() {
        return;
    }
    let bench = Bench::new();
    let gold = image(&bench, real_system);
    let listed = list(&gold);
    println!("{}", reseal(["driver", "ls", &gold]).exits(0).text());
    let known = listed.iter().filter(|p| p["database"] == "SYSTEM" && p["provider"].is_string());
    assert!(known.clone().count() >= 5, "{listed:#?}");
    assert!(known.clone().all(|p| Guid::parse(p["class_guid"].as_str().unwrap()).is_some()));
    assert!(known.clone().any(|p| !p["services"].as_array().unwrap().is_empty()));
    let (dir, out, back) = (package(&bench, "blkmade", STORAGE, AMD64), bench.arg("kvm.raw"), bench.arg("back.raw"));
    let report = driver(&["add", &gold, &dir, "-o", &out, "--json"]).exits(0).json();
    assert_written(&bench, &gold, &out, &report, &[]);
    driver(&["add", &out, &dir, "-n"]).exits(5);
    driver(&["rm", &out, "blkmade.inf", "-o", &back]).exits(0);
    let left = reseal(["diff", &gold, &back, "--json"]).json();
    let entries: Vec<&Value> =
        left["volumes"].as_array().unwrap().iter().flat_map(|v| v["entries"].as_array().unwrap()).collect();
    // The logs of SYSTEM were applied to it, and emptied.
    let kinds: Vec<&str> = entries.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["hive-log", "hive-log"], "{entries:#?}");
    let inf = known.clone().next().unwrap()["inf"].as_str().unwrap().to_owned();
    let removed = bench.arg("removed.raw");
    let report = driver(&["rm", &gold, &inf, "-o", &removed, "--force", "--json"]).exits(0).json();
    assert_written(&bench, &gold, &removed, &report, &[]);
    assert_eq!(list(&removed).len(), listed.len() - 1);
}
