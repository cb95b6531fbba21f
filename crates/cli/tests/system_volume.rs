//! The boot store on an NTFS volume of its own, as MBR disks have it: that volume is changed with the one of Windows.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::{Hive, Recover};
use reseal_ntfs::Volume;
use reseal_testdata::boot_store::{LOADER, RESUME};
use reseal_testdata::{machine_sid, oracle, system_volume};
use rig::boot::{mbr_disk, without_store};
use rig::explained::assert_plan_is_diff;
use rig::machine::Rig;
use rig::{content, new_sid, old_sid, reseal, seal};

const STORE: &str = r"partition 2: \Boot\BCD";

/// The system volume of a raw disk as a file, and what reads it.
fn system(rig: &Rig, image: &str) -> (String, Volume) {
    let disk = reseal_disk::Disk::open(image.as_ref()).unwrap();
    let table = disk.partitions().unwrap();
    let part = disk.partition(&table.partitions[1]);
    let mut bytes = vec![0; part.len() as usize];
    part.read_at(0, &mut bytes).unwrap();
    (rig.bench.write("system.ntfs", &bytes), Volume::open(part).unwrap())
}

/// Programs that share no code with ours find the system volume sound; its store, as libhivex reads it.
fn witnesses(rig: &Rig, image: &str) {
    reseal(["fs", "check", &format!("{image}#p2")]).exits(0);
    let (path, volume) = system(rig, image);
    oracle::agree("ntfsresize", ["-i", "-f", &path]);
    oracle::agree("ntfsfix", ["-n", &path]);
    if let Some(audit) = oracle::agree("ntfssecaudit", ["-a", &path]) {
        for line in ["0 errors in $SDS-1", "0 errors in $SII", "0 errors in $SDH", "All keys are present in all lists"]
        {
            assert!(audit.contains(line), "ntfssecaudit does not say `{line}`: {audit}");
        }
    }
    let cat = oracle::run("ntfscat", ["-f", &path, "/Boot/BCD"]);
    let store = content::file(&volume, r"Boot\BCD");
    if let Some(cat) = cat {
        assert!(cat.status.success() && cat.stdout == store, "ntfs-3g reads another store");
    }
    let path = rig.bench.write("BCD", &store);
    if let Some(text) = oracle::agree("hivexregedit", ["--export", &path, r"\Objects"]) {
        assert!(text.contains(LOADER), "{text}");
    }
}

fn element(volume: &Volume, object: &str, element: &str) -> Vec<u8> {
    let hive = Hive::open(&content::file(volume, r"Boot\BCD"), &[], Recover::Replay).unwrap();
    let key = hive.key(&format!(r"Objects\{object}\Elements\{element}")).unwrap().expect("the element is there");
    hive.value(key, "Element").unwrap().unwrap().data
}

#[test]
fn sids_are_replaced_everywhere_on_it() {
    let rig = Rig::new();
    let gold = mbr_disk(&rig, "gold.raw", true, without_store, |_| {});
    let traces = reseal(["verify", &gold, "--no-trace-of", &old_sid(), "--json"]).exits(4).json();
    assert!(traces.to_string().contains(r"\\Boot\\BCD"), "the store holds it");
    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &["--steps", "machine-sid"]);
    let changes = report["plan"]["changes"].as_array().unwrap();
    let has = |wanted: &dyn Fn(&serde_json::Value) -> bool| changes.iter().any(wanted);
    assert!(has(&|c| c["target"]["hive"] == STORE), "{changes:#?}");
    assert!(has(&|c| c["target"]["place"] == "partition 2"), "{changes:#?}");
    assert!(has(&|c| c["target"]["path"].as_str().is_some_and(|p| p.starts_with(r"partition 2: \$RECYCLE.BIN\"))));
    assert!(!report["plan"]["findings"].to_string().contains("data-volumes"));
    assert_plan_is_diff(&gold, &out, &report);
    witnesses(&rig, &out);

    let (_, volume) = system(&rig, &out);
    let text = String::from_utf16_lossy(&reseal_dtyp::from_utf16le(&element(&volume, LOADER, "12000030")));
    assert_eq!(text.trim_end_matches('\0'), format!("/owner={}-1001", new_sid(&report)));
    let owned = volume.resolve("BOOTSECT.BAK").unwrap().unwrap();
    let sddl = reseal_dtyp::Descriptor::read(&volume.descriptor(owned).unwrap()).unwrap().to_sddl().unwrap();
    assert!(sddl.contains(&format!("O:{}-1001", new_sid(&report))), "{sddl}");
    assert!(content::file(&volume, r"Boot\BCD.LOG").iter().all(|b| *b == 0), "the log held it");
    assert!(volume.resolve(&format!(r"$RECYCLE.BIN\{}-1001\desktop.ini", new_sid(&report))).unwrap().is_some());
    assert_eq!(content::file(&volume, "bootmgr"), vec![0x4d; 30_000]);
    drop(volume);
    let found = reseal(["verify", &out, "--no-trace-of", &old_sid(), "--json"]).json();
    let regions: Vec<&str> = found["traces"].as_array().unwrap().iter().filter_map(|t| t["region"].as_str()).collect();
    assert!(!regions.iter().any(|region| region.contains("BCD")), "{regions:?}");
    reseal(["verify", &format!("{out}#p2"), "--no-trace-of", &old_sid()]).exits(0);
    reseal(["generalize", &out, "-n", "--steps", "machine-sid", "--sid", &new_sid(&report)]).exits(5);
    // Another digit count: the store grows on its volume.
    reseal(["generalize", &gold, "-n", "--steps", "machine-sid", "--sid", "S-1-5-21-1-2-3"]).exits(0);

    rig.in_place_and_back(&gold, &out, &["--steps", "machine-sid"]);
}

#[test]
fn loaders_find_windows_without_its_partition_when_it_is_asked_for() {
    let rig = Rig::new();
    let gold = mbr_disk(&rig, "gold.raw", false, without_store, |_| {});
    let kept = rig.out("kept.raw");
    let report = seal(&gold, &kept, &[]);
    let part = |image: &str| std::fs::read(system(&rig, image).0).unwrap();
    assert!(part(&gold) == part(&kept), "nothing of it names the machine, and it changed");
    assert_plan_is_diff(&gold, &kept, &report);
    let out = rig.out("out.raw");
    let report = seal(&gold, &out, &["--boot", "generalize"]);
    assert_plan_is_diff(&gold, &out, &report);
    witnesses(&rig, &out);
    let (_, volume) = system(&rig, &out);
    for object in [LOADER, RESUME] {
        for (device, path) in [("11000001", 0x1200_0002u32), ("21000001", 0x2200_0002)] {
            let data = element(&volume, object, device);
            assert_eq!((data.len(), data[16], data[36..40].to_vec()), (46, 8, path.to_le_bytes().to_vec()));
        }
    }
    let memory_test = element(&volume, "{b2721d73-1db4-4c62-bf78-c548a880142d}", "11000001");
    assert_eq!((memory_test.len(), memory_test.iter().map(|b| u32::from(*b)).sum::<u32>()), (88, 5 + 72));
    drop(volume);
    reseal(["generalize", &out, "-n", "--boot", "generalize"]).exits(5);
}

#[test]
fn what_is_wrong_with_it_refuses() {
    let rig = Rig::new();
    let dirty = mbr_disk(&rig, "dirty.raw", true, without_store, |volume| assert!(volume.schedule_check().unwrap()));
    reseal(["generalize", &dirty, "-n"]).exits(3).says("dirty-volume").says("partition 2");
    reseal(["generalize", &dirty, "-n", "--allow", "dirty-volume"]).exits(0);
    let gold = mbr_disk(&rig, "gold.raw", true, without_store, |_| {});
    // A SID that stands on it already.
    let foreign = mbr_disk(&rig, "foreign.raw", false, without_store, |volume| {
        let sddl = "O:S-1-5-21-77-78-79-1001G:SYD:(A;;FA;;;SY)";
        let bytes = reseal_dtyp::Descriptor::from_sddl(sddl).unwrap().to_bytes().unwrap();
        let root = volume.root();
        let security = reseal_ntfs::Security::Descriptor(&bytes);
        volume.create_file(root, "foreign", b"x", security, reseal_dtyp::FileTime(1)).unwrap();
    });
    let run = reseal(["generalize", &foreign, "-n", "--sid", "S-1-5-21-77-78-79"]).exits(1);
    run.says("partition 2: a security descriptor");
    reseal(["generalize", &gold, "-n", "--sid", "S-1-5-21-77-78-79"]).exits(0);
    // A file's record that is damaged.
    let mut bytes = std::fs::read(&gold).unwrap();
    let disk = reseal_disk::Disk::open(gold.as_ref()).unwrap();
    let start = disk.partitions().unwrap().partitions[1].offset as usize;
    let name = reseal_dtyp::utf16le("BOOTSECT.BAK");
    let named = |record: &[u8]| record.starts_with(b"FILE") && record.windows(name.len()).any(|window| window == name);
    let record = bytes[start..].chunks(1024).position(named).unwrap();
    bytes[start + record * 1024 + 510] ^= 0xff;
    drop(disk);
    let broken = rig.bench.write("broken.raw", &bytes);
    reseal(["generalize", &broken, "-n"]).exits(7).says("partition 2").says("does not pass its check");
}

/// Its store starts what lies on no partition of this disk.
#[test]
fn a_volume_of_another_windows_is_only_read() {
    let rig = Rig::new();
    let volume = std::fs::read(&rig.sound).unwrap()[rig::boot::WINDOWS_AT].to_vec();
    let other = reseal_testdata::boot_store::mbr_partition(4096, 7);
    let elsewhere = reseal_testdata::boot_store::store(&other, &other, Some(&old_sid())).unwrap();
    let path = rig.bench.path("other.raw");
    system_volume::write(&path, &volume, &elsewhere, Some(machine_sid()), |_| {}).unwrap();
    let (gold, out) = (path.to_str().unwrap(), rig.out("out.raw"));
    let report = seal(gold, &out, &["--steps", "machine-sid"]);
    let left = report["plan"]["findings"].as_array().unwrap();
    assert!(left.iter().any(|f| f["id"] == "boot-store-left" && f["place"] == STORE), "{left:?}");
    let (a, b) = (std::fs::read(system(&rig, gold).0).unwrap(), std::fs::read(system(&rig, &out).0).unwrap());
    assert!(a == b, "it is only read");
}
