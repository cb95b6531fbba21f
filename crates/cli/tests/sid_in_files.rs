//! The machine SID in files: tasks and their cache, group policy, the Store's databases, hives of apps.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::{DomainSid, utf16le};
use reseal_ntfs::{Security, Volume};
use reseal_testdata::{ImageBuilder, machine_sid, oracle};
use rig::{Bench, content, made_up, new_sid, old_sid, reseal, seal};
use serde_json::Value;
use sha2::{Digest, Sha256};

const TASKS: &str = r"\Windows\System32\Tasks";
const CACHE: &str = r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache";
const APPS: &str = r"\ProgramData\Microsoft\Windows\AppRepository";
const STORE: &str = "StateRepository-Machine.srd";
const SIDS: [&[&str]; 3] = [&[], &["--sid", "S-1-5-21-1-2-3"], &["--sid", "S-1-5-21-4294967295-4294967295-4294967295"]];

/// The made-up machine after a change to its volume.
fn image_with(bench: &Bench, change: impl FnOnce(&mut Volume)) -> String {
    let build = |volume: &mut Volume| {
        made_up().fill(volume)?;
        change(volume);
        Ok(())
    };
    ImageBuilder::default().build(&bench.path("gold.vhdx"), build).unwrap();
    bench.arg("gold.vhdx")
}

fn replace(volume: &mut Volume, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = content::file(volume, path);
    change(&mut bytes);
    let file = volume.resolve(path).unwrap().unwrap();
    volume.replace(file, &[], &bytes, reseal_dtyp::FileTime(133_500_000_000_000_000)).unwrap();
}

fn findings(report: &Value, id: &str) -> Vec<(String, String)> {
    let list = report["plan"]["findings"].as_array().unwrap().iter().filter(|f| f["id"] == id);
    list.map(|f| (f["place"].as_str().unwrap().to_owned(), f["detail"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn tasks_and_their_checksums() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    for (i, more) in SIDS.iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report = seal(&gold, &out, more);
        let (old, new) = (old_sid(), new_sid(&report));
        let (before, after) = (content::volume(&gold), content::volume(&out));
        let hives = content::hives(&after);
        let software = &hives[r"\Windows\System32\config\SOFTWARE"];
        let tasks = software.key(&format!(r"{CACHE}\Tasks")).unwrap().unwrap();
        let mut changed = 0;
        for task in software.subkeys(tasks).unwrap() {
            let value = |name: &str| software.value(task, name).unwrap().unwrap();
            let path = value("Path").as_text().unwrap();
            assert_eq!(value("URI").as_text().unwrap(), path);
            assert!(!path.contains(&old), "{path}");
            assert!(software.key(&format!(r"{CACHE}\Tree{path}")).unwrap().is_some(), "{path}");
            let was = content::file(&before, &format!("{TASKS}{}", path.replace(&new, &old)));
            let is = content::file(&after, &format!("{TASKS}{path}"));
            let text = |bytes: &[u8]| String::from_utf16(&reseal_dtyp::from_utf16le(bytes)).unwrap();
            assert_eq!(text(&is), text(&was).replace(&old, &new), "{path}");
            assert_eq!(value("Hash").data, Sha256::digest(&is).to_vec(), "{path}");
            let triggers = value("Triggers").data;
            assert_eq!(triggers[0x30..0x34], crc32fast::hash(&is).to_le_bytes(), "{path}");
            let binary = new.parse::<DomainSid>().unwrap().account(1001).to_bytes();
            assert!(triggers.windows(28).any(|w| w == binary), "{path}");
            changed += usize::from(was != is);
        }
        assert_eq!(changed, 2);
        assert_eq!(findings(&report, "task-hash-left"), []);
        assert_eq!(findings(&report, "task-checksum-left"), []);
        assert_eq!(
            report["plan"]["sid"]["in_files"][1],
            2 + 3 + 1,
            "tasks, policies, store: {}",
            report["plan"]["sid"]
        );
        std::fs::remove_file(out).unwrap();
    }
}

/// Sums that no form of the file explains stay what they were.
#[test]
fn a_checksum_that_nothing_explains_is_left() {
    let bench = Bench::new();
    // The file was edited behind the scheduler's back.
    let gold = image_with(&bench, |volume| {
        replace(volume, &format!(r"{TASKS}\Backup\Nightly"), |bytes| bytes.extend(utf16le("\r\n")));
    });
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &[]);
    let place = format!(r"{TASKS}\Backup\Nightly");
    for id in ["task-hash-left", "task-checksum-left"] {
        let found = findings(&report, id);
        assert!(matches!(found.as_slice(), [(at, why)] if *at == place && why.starts_with("1 tasks")), "{found:?}");
    }
    let sums = |image: &str| {
        let hives = content::hives(&content::volume(image));
        let software = &hives[r"\Windows\System32\config\SOFTWARE"];
        let key = format!(r"{CACHE}\Tasks\{{0B0B0B0B-1111-2222-3333-444455556666}}");
        let key = software.key(&key).unwrap().unwrap();
        let value = |name: &str| software.value(key, name).unwrap().unwrap().data;
        (value("Hash"), value("Triggers")[0x30..0x38].to_vec())
    };
    assert_eq!(sums(&gold), sums(&out));
    let task = content::file(&content::volume(&out), &place);
    assert!(String::from_utf16(&reseal_dtyp::from_utf16le(&task)).unwrap().contains(&new_sid(&report)));
    reseal(["verify", &out, "--no-trace-of", &old_sid()]).exits(0);
}

#[test]
fn policies_and_the_stores_database() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    for (i, more) in SIDS.iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report = seal(&gold, &out, more);
        let new = new_sid(&report);
        let after = content::volume(&out);
        let numbers: DomainSid = new.parse().unwrap();
        let user = numbers.account(1001);
        for path in
            [format!(r"\Windows\System32\GroupPolicyUsers\{user}\User\Registry.pol"), r"\Users\ann\ntuser.pol".into()]
        {
            let policy = content::file(&after, &path);
            let has = |part: &[u8]| policy.windows(part.len()).filter(|w| *w == part).count();
            assert_eq!((has(&utf16le(&user.to_string())), has(&user.to_bytes())), (2, 1), "{path}");
        }
        let template = r"\Windows\System32\GroupPolicy\Machine\Microsoft\Windows NT\SecEdit\GptTmpl.inf";
        let template = String::from_utf16(&reseal_dtyp::from_utf16le(&content::file(&after, template))).unwrap();
        assert!(template.contains(&format!("SeBackupPrivilege = *{new}-1002\r\n")), "{template}");

        assert!(after.resolve(&format!(r"{APPS}\{STORE}-wal")).unwrap().is_none());
        let database = bench.write("after.srd", &content::file(&after, &format!(r"{APPS}\{STORE}")));
        let script = "PRAGMA integrity_check; PRAGMA journal_mode; SELECT hex(UserSid) FROM User ORDER BY _UserID;
            SELECT Key FROM Cache ORDER BY rowid; SELECT count(*) FROM sqlite_schema WHERE type = 'trigger';";
        let Some(text) = oracle::agree("sqlite3", [database.as_str(), script]) else { continue };
        let hex = |sid: reseal_dtyp::Sid| sid.to_bytes().iter().map(|b| format!("{b:02X}")).collect::<String>();
        let foreign = DomainSid([397_955_417, 626_881_126, 188_441_444]);
        let expected = format!(
            "ok\nwal\n{}\n{}\n{}\n{}\n{}\n{}\n2\n",
            hex(user.clone()),
            hex(foreign.account(1001)),
            hex(numbers.account(1002)),
            user,
            foreign.account(1001),
            numbers.account(1002)
        );
        assert_eq!(text, expected);
        std::fs::remove_file(out).unwrap();
    }
}

/// What is damaged or not understood stays byte for byte, is found, and stops nothing.
#[test]
fn what_cannot_be_edited_is_left_and_found() {
    let bench = Bench::new();
    let store = format!(r"{APPS}\{STORE}");
    let policy = r"\Users\ann\ntuser.pol";
    let mixed = format!(r"{TASKS}\Mixed");
    let gold = image_with(&bench, |volume| {
        replace(volume, &store, |bytes| bytes[100] ^= 0xff);
        replace(volume, policy, |bytes| bytes.truncate(bytes.len() - 1));
        let folder = volume.resolve(TASKS).unwrap().unwrap();
        let text = [vec![0xff, 0xfe], machine_sid().to_string().into_bytes()].concat();
        volume.create_file(folder, "Mixed", &text, Security::SameAs(folder), Default::default()).unwrap();
    });
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &[]);
    assert_eq!(findings(&report, "store-left").iter().map(|f| &f.0).collect::<Vec<_>>(), [&store]);
    let left: Vec<String> = findings(&report, "file-left").into_iter().map(|f| f.0).collect();
    assert_eq!(left, [policy.to_owned(), mixed.clone()]);
    let (before, after) = (content::volume(&gold), content::volume(&out));
    for path in [store.clone(), format!("{store}-wal"), policy.to_owned(), mixed.clone()] {
        assert_eq!(content::file(&before, &path), content::file(&after, &path), "{path}");
    }
    let run = reseal(["verify", &out, "--no-trace-of", &old_sid(), "--json"]).exits(4).json();
    let traces: Vec<String> =
        run["traces"].as_array().unwrap().iter().map(|t| t["region"].as_str().unwrap().replace('/', r"\")).collect();
    for path in [&store, &policy.to_owned(), &mixed] {
        assert!(traces.iter().any(|region| region.contains(path.as_str())), "{path}: {traces:#?}");
    }
    reseal(["generalize", &gold, "-n", "--strict"]).exits(3);
}

/// A dirty hive of an app refuses only when something in it has to change.
#[test]
fn dirty_hives_of_apps() {
    let settings = r"\Users\ann\AppData\Local\Packages\App_1\Settings\settings.dat";
    // The two sequence numbers of the base block differ, and there is no log; its sum is made to fit.
    let dirty = |bytes: &mut Vec<u8>| {
        bytes[4] = bytes[4].wrapping_add(1);
        let sum = bytes[..508].chunks_exact(4).fold(0, |s, w| s ^ u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
        bytes[508..512].copy_from_slice(&sum.to_le_bytes());
    };
    let bench = Bench::new();
    let gold = image_with(&bench, |volume| replace(volume, settings, dirty));
    reseal(["generalize", &gold, "-n"]).exits(3).says("dirty-hive");

    let bench = Bench::new();
    let gold = image_with(&bench, |volume| {
        replace(volume, settings, |bytes| {
            let clean = r"Users\ann\AppData\Local\Packages\App_1\Settings";
            let mut hive = reseal_hive::Hive::new("ROOT", 5, &descriptor(), Default::default()).unwrap();
            hive.create_path(clean).unwrap();
            *bytes = hive.to_bytes();
            dirty(bytes);
        });
    });
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &[]);
    assert_eq!(findings(&report, "hive-left").iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), [settings]);
    let read = |image: &str| content::file(&content::volume(image), settings);
    assert_eq!(read(&gold), read(&out));
}

fn descriptor() -> Vec<u8> {
    reseal_dtyp::Descriptor::from_sddl("O:BAG:SYD:(A;CI;KA;;;SY)").unwrap().to_bytes().unwrap()
}
