//! The boot store, on a FAT partition and beside Windows: found, kept, its SIDs replaced, made independent of partitions; and
//! the recovery environment.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::{Hive, Recover};
use reseal_testdata::boot_store::{LOADER, RECOVERY, RESUME};
use reseal_testdata::{boot_store as made_up, esp};
use rig::boot::{DISK, PATH, SYSTEM, WINDOWS, disk, store, system, system_of};
use rig::explained::assert_plan_is_diff;
use rig::fixtures::REAGENT;
use rig::machine::Rig;
use rig::{new_sid, old_sid, reseal, seal};

const STORE: &str = r"partition 2: \EFI\Microsoft\Boot\BCD";
const MEMORY_TEST: &str = "{b2721d73-1db4-4c62-bf78-c548a880142d}";

fn nothing(_: &mut rig::machine::Machine) {}

/// The store on the system partition of an image, as mtools reads it; `fsck.fat` finds nothing wrong with the partition.
fn extracted(rig: &Rig, image: &str) -> Vec<u8> {
    let path = rig.bench.path("system.img");
    std::fs::write(&path, system_of(image)).unwrap();
    esp::fsck(&path);
    esp::read_back(&path, PATH).unwrap_or_default()
}

fn element(hive: &Hive, object: &str, element: &str) -> Vec<u8> {
    let key = hive.key(&format!(r"Objects\{object}\Elements\{element}")).unwrap().expect("the element is there");
    hive.value(key, "Element").unwrap().unwrap().data
}

#[test]
fn it_is_found_told_and_kept_byte_for_byte() {
    let rig = Rig::new();
    let gold = disk(&rig, "gold.raw", &system(&store(None)), nothing);
    let json = reseal(["inspect", &gold, "--json"]).exits(0).json();
    let told = &json["boot_stores"][0];
    assert_eq!((&told["partition"], &told["path"]), (&"partition 2".into(), &r"\EFI\Microsoft\Boot\BCD".into()));
    assert_eq!(told["default_loader"]["id"], LOADER);
    assert_eq!(told["default_loader"]["device"], format!("partition {{{WINDOWS}}}"));
    assert_eq!((told["missing"].as_array().unwrap().len(), &told["error"]), (0, &serde_json::Value::Null));
    let text = reseal(["inspect", &gold]).exits(0).text();
    assert!(text.contains(r"boot store on partition 2: \EFI\Microsoft\Boot\BCD (clean)"), "{text}");
    assert!(text.contains(&format!("starts Windows 11 {LOADER}")), "{text}");

    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &[]);
    assert!(system_of(&gold) == system_of(&out), "the system partition changed");
    assert_plan_is_diff(&gold, &out, &report);
    // A store beside Windows stays, too.
    let beside = rig.out("beside.raw");
    seal(&rig.sound, &beside, &[]);
    let cat = |image: &str| reseal(["fs", "cat", image, r"\Boot\BCD"]).exits(0).out;
    assert!(cat(&rig.sound) == cat(&beside));
}

#[test]
fn sids_in_it_are_replaced_where_it_lies() {
    let rig = Rig::new();
    let gold = disk(&rig, "gold.raw", &system(&store(Some(&old_sid()))), nothing);
    let traces = reseal(["verify", &gold, "--no-trace-of", &old_sid(), "--json"]).exits(4).json();
    let regions: Vec<&str> = traces["traces"].as_array().unwrap().iter().filter_map(|t| t["region"].as_str()).collect();
    assert!(regions.contains(&STORE), "{regions:?}");
    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &["--steps", "machine-sid"]);
    let changes = report["plan"]["changes"].as_array().unwrap();
    assert!(changes.iter().any(|c| c["target"]["hive"] == STORE), "{changes:#?}");
    assert_plan_is_diff(&gold, &out, &report);
    let bytes = extracted(&rig, &out);
    let hive = Hive::open(&bytes, &[], Recover::Replay).unwrap();
    let text = String::from_utf16_lossy(&reseal_dtyp::from_utf16le(&element(&hive, LOADER, "12000030")));
    assert_eq!(text.trim_end_matches('\0'), format!("/owner={}-1001", new_sid(&report)));
    let traces = reseal(["verify", &out, "--no-trace-of", &old_sid(), "--json"]);
    assert!(!traces.text().contains("partition 2"), "{}", traces.text());
    reseal(["generalize", &out, "-n", "--steps", "machine-sid", "--sid", &new_sid(&report)]).exits(5);

    // Nothing of the partition but the file itself differs.
    let (before, after) = (system_of(&gold), system_of(&out));
    let places: Vec<usize> =
        before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b).map(|(i, _)| i).collect();
    let (first, last) = (*places.first().unwrap(), *places.last().unwrap());
    assert!(last - first < bytes.len(), "{first:#x} to {last:#x}");

    rig.in_place_and_back(&gold, &out, &["--steps", "machine-sid"]);
}

/// A store without room, in which eight SIDs of 29 digits become eight of 30.
fn full_store() -> Vec<u8> {
    let mut hive = Hive::open(&store(None), &[], Recover::Replay).unwrap();
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let key = hive.create_path(r"Objects\{44444444-aaaa-11ee-8000-0123456789ab}").unwrap();
    hive.set_value(key, "sids", reseal_hive::types::SZ, &wide(&format!("{} ", old_sid()).repeat(8))).unwrap();
    let full = hive.byte_len();
    for len in (0..4000).rev() {
        let mut filled = hive.clone();
        let key = filled.create_path(r"Objects\{44444444-aaaa-11ee-8000-0123456789ab}").unwrap();
        filled.set_value(key, "filler", reseal_hive::types::BINARY, &vec![7; len]).unwrap();
        if filled.byte_len() == full {
            return filled.to_bytes();
        }
    }
    panic!("no filler fits");
}

#[test]
fn a_store_that_would_grow_is_refused() {
    let rig = Rig::new();
    let gold = disk(&rig, "gold.raw", &system(&full_store()), nothing);
    let sid = "S-1-5-21-4294967295-4294967295-4294967295";
    let run = reseal(["generalize", &gold, "-n", "--steps", "machine-sid", "--sid", sid]).exits(7);
    run.says("the store would grow from").says(STORE);
    // As many digits as the old one fit where it lies.
    reseal(["generalize", &gold, "-n", "--steps", "machine-sid", "--seed", "a"]).exits(0);
}

#[test]
fn a_partition_that_cannot_be_read_is_told_and_left() {
    let rig = Rig::new();
    let mut broken = system(&store(Some(&old_sid())));
    // Two FATs of 33 sectors at sector 1: every chain ends after its first cluster.
    let fat = usize::from(u16::from_le_bytes([broken[22], broken[23]])) * 512;
    let first = 512 * usize::from(u16::from_le_bytes([broken[14], broken[15]]));
    for entry in broken[first + 4..first + fat].chunks_exact_mut(2).filter(|entry| **entry != [0, 0]) {
        entry.copy_from_slice(&[0xff, 0xff]);
    }
    let gold = disk(&rig, "gold.raw", &broken, nothing);
    let text = reseal(["inspect", &gold]).exits(0).text();
    assert!(text.contains("ends after 1 clusters"), "{text}");
    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &[]);
    assert!(report["plan"]["notes"].to_string().contains("boot-store: partition 2"), "{}", report["plan"]["notes"]);
    assert!(system_of(&gold) == system_of(&out));
    reseal(["generalize", &gold, "-n", "--boot", "generalize"]).exits(7).says("ends after 1 clusters");
}

#[test]
fn loaders_find_windows_without_its_partition_when_it_is_asked_for() {
    let rig = Rig::new();
    let gold = disk(&rig, "gold.raw", &system(&store(None)), nothing);
    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &["--boot", "generalize"]);
    let unproven = report["plan"]["unproven"].to_string();
    assert!(unproven.contains("boot-store: that a copy starts with it"), "{unproven}");
    assert_plan_is_diff(&gold, &out, &report);
    let (was, is) = (store(None), extracted(&rig, &out));
    let (was, is) = (Hive::open(&was, &[], Recover::Replay).unwrap(), Hive::open(&is, &[], Recover::Replay).unwrap());
    for object in [LOADER, RESUME] {
        for (device, path) in [("11000001", 0x1200_0002u32), ("21000001", 0x2200_0002)] {
            let data = element(&is, object, device);
            assert_eq!((data.len(), data[16], data[36..40].to_vec()), (46, 8, path.to_le_bytes().to_vec()));
        }
    }
    let memory_test = element(&is, MEMORY_TEST, "11000001");
    assert_eq!((memory_test.len(), memory_test.iter().map(|b| u32::from(*b)).sum::<u32>()), (88, 5 + 72));
    assert_eq!(element(&was, RECOVERY, "21000001"), element(&is, RECOVERY, "21000001"), "a RAM disk stays");
    let left = report["plan"]["findings"].as_array().unwrap();
    assert!(left.iter().any(|f| f["id"] == "boot-device-left"), "{left:?}");
    reseal(["generalize", &out, "-n", "--boot", "generalize"]).exits(5);
    reseal(["generalize", &gold, "-n", "--boot", "sideways"]).exits(2);
    // The store beside Windows has nothing to change: it names no partition.
    reseal(["generalize", &rig.sound, "-n", "--steps", "boot-store"]).exits(5);
}

#[test]
fn a_store_that_names_another_partition_is_refused() {
    let rig = Rig::new();
    let other = made_up::partition(reseal_dtyp::Guid([9; 16]), DISK);
    let system_device = made_up::partition(SYSTEM, DISK);
    let store = made_up::store(&other, &system_device, None).unwrap();
    let gold = disk(&rig, "gold.raw", &system(&store), nothing);
    let run = reseal(["generalize", &gold, "-n", "--boot", "generalize"]).exits(1);
    run.says(STORE).says("partition 1 was expected").says(LOADER);
    // A length that lies.
    let mut short = made_up::partition(WINDOWS, DISK);
    short.truncate(80);
    let store = made_up::store(&short, &system_device, None).unwrap();
    let gold = disk(&rig, "short.raw", &system(&store), nothing);
    let run = reseal(["generalize", &gold, "-n", "--boot", "generalize"]).exits(7);
    run.says("the device states 72 bytes, the element has 64");
}

#[test]
fn the_recovery_environment_is_forgotten_when_it_is_asked_for() {
    let rig = Rig::new();
    const FILE: &str = r"Windows\System32\Recovery\ReAgent.xml";
    let gold = rig.planted("gold.raw", |m| m.file(FILE, REAGENT.as_bytes()));
    let (kept, out) = (rig.out("kept.raw"), rig.out("out.raw"));
    let report = seal(&gold, &kept, &[]);
    assert_eq!(reseal(["fs", "cat", &kept, FILE]).exits(0).text(), REAGENT);
    assert!(report["plan"]["findings"].to_string().contains("recovery-partition"));
    let report = seal(&gold, &out, &["--steps", "+recovery-environment"]);
    assert!(!report["plan"]["findings"].to_string().contains("recovery-partition"));
    assert_plan_is_diff(&gold, &out, &report);
    let text = reseal(["fs", "cat", &out, FILE]).exits(0).text();
    assert!(text.contains(r#"<WinreBCD id=""/>"#) && text.contains(r#"offset="0""#), "{text}");
    assert!(text.contains(r#"<InstallState state="0"/>"#), "{text}");
    reseal(["generalize", &out, "-n", "--steps", "+recovery-environment"]).exits(5);
    the_image_goes_back(&rig);
    let crafted = rig.planted("crafted.raw", |m| m.file(FILE, b"<WindowsRE><InstallState state='1'"));
    reseal(["generalize", &crafted, "-n", "--steps", "+recovery-environment"]).exits(7).says("ReAgent.xml");
}

/// From the volume of Windows, at 1 MiB; not over another one, and not from another partition.
fn the_image_goes_back(rig: &Rig) {
    const ON: &str = r"Recovery\WindowsRE\Winre.wim";
    const OFF: &str = r"Windows\System32\Recovery\Winre.wim";
    fn plant(m: &mut rig::machine::Machine) {
        let file = REAGENT.replace("offset=\"4096\"", "offset=\"1048576\"");
        m.file(r"Windows\System32\Recovery\ReAgent.xml", file.as_bytes());
        m.file(ON, &[0x57; 300_000]);
    }
    let asked = ["--steps", "+recovery-environment"];
    let gold = rig.planted("own.raw", plant);
    let (out, kept) = (rig.out("own-out.raw"), rig.out("own-kept.raw"));
    let report = seal(&gold, &out, &asked);
    assert_plan_is_diff(&gold, &out, &report);
    rig::content::witnesses(&rig.bench, &out, &[]);
    assert_eq!(reseal(["fs", "cat", &out, OFF]).exits(0).out, [0x57; 300_000]);
    reseal(["fs", "cat", &out, ON]).exits(1);
    reseal(["generalize", &out, "-n"].iter().chain(&asked)).exits(5);
    assert!(!report.to_string().contains("recovery-image-left"));
    seal(&gold, &kept, &[]);
    reseal(["fs", "cat", &kept, ON]).exits(0);

    let left = |gold: &str, out: &str, place: &str, why: &str| {
        let report = seal(gold, &rig.out(out), &asked);
        let findings = report["plan"]["findings"].as_array().unwrap().clone();
        let found = findings.iter().find(|f| f["id"] == "recovery-image-left").expect("a finding");
        assert_eq!(found["place"], place);
        assert!(found["detail"].as_str().unwrap().contains(why), "{found}");
    };
    let both = rig.planted("both.raw", |m| {
        plant(m);
        m.file(OFF, b"another one");
    });
    left(&both, "both-out.raw", &format!(r"\{ON}"), "is there, too");
    assert_eq!(reseal(["fs", "cat", &rig.out("both-out.raw"), OFF]).exits(0).text(), "another one");
    let linked = rig.planted("linked.raw", |m| {
        plant(m);
        let (root, file) = (m.volume.root(), m.volume.resolve(ON).unwrap().unwrap());
        let name: Vec<u16> = "second.wim".encode_utf16().collect();
        m.volume.link(file, root, &name, reseal_dtyp::FileTime(1)).unwrap();
    });
    left(&linked, "linked-out.raw", &format!(r"\{ON}"), "2 names");
    let beside = disk(rig, "beside.raw", &system(&store(None)), |m| {
        let file = REAGENT.replace("offset=\"4096\"", "offset=\"51380224\"");
        m.file(r"Windows\System32\Recovery\ReAgent.xml", file.as_bytes());
    });
    left(&beside, "beside-out.raw", &format!(r"partition 2: \{ON}"), "reagentc /disable");
}
