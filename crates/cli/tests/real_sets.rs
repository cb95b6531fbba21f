//! Real hives and descriptors on a volume of ours, sealed as a user would.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{ImageBuilder, WindowsImage, real};
use rig::{Bench, accounts, census, content, hash, new_sid, reseal, seal, value, values};
use serde_json::Value;
use std::path::Path;

/// Set C with a file for each of its descriptors.
fn set_c(bench: &Bench, root: &Path) -> String {
    let descriptors = real::set_c_descriptors(root).expect("the set is whole");
    assert!(descriptors.len() >= 1730, "{} descriptors", descriptors.len());
    let image = WindowsImage {
        sid: real::SET_C_SID.parse().expect("a machine SID"),
        placed: real::set_c(root).expect("the set is whole"),
        descriptors,
        ..WindowsImage::default()
    };
    bench.build("c.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, &image)
}

fn set_a(bench: &Bench, root: &Path) -> String {
    let image = WindowsImage {
        sid: real::SET_A_SID.parse().expect("a machine SID"),
        placed: real::set_a(root).expect("the set is whole"),
        ..WindowsImage::default()
    };
    bench.build("a.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, &image)
}

fn users(facts: &Value) -> Vec<(u64, String)> {
    let list = facts["users"].as_array().expect("a list");
    list.iter()
        .map(|u| (u["rid"].as_u64().expect("a number"), u["name"].as_str().expect("a name").to_owned()))
        .collect()
}

/// Id, outcome and text of every check of `inspect --check`.
fn outcomes(image: &str, exit: i32) -> Vec<(String, String, String)> {
    let json = reseal(["inspect", image, "--check", "--json"]).exits(exit).json();
    let list = json["installations"][0]["checks"].as_array().expect("a list").clone();
    let word = |v: &Value| v.as_str().expect("a text").to_owned();
    let all = list.iter().map(|c| (word(&c["id"]), word(&c["outcome"]), format!("{} {}", c["notices"], c["unknown"])));
    let all: Vec<_> = all.collect();
    for (id, outcome, text) in all.iter().filter(|(_, outcome, _)| outcome != "ok") {
        println!("{outcome:8} {id}: {text}");
    }
    all
}

fn outcome<'l>(list: &'l [(String, String, String)], id: &str) -> &'l str {
    &list.iter().find(|(own, ..)| own == id).expect("it is in the table").1
}

#[test]
fn windows_10_workgroup_machine() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let gold = set_c(&bench, &root);
    let (before, counted) = (hash(&gold), census::of_image(&gold));
    let facts = reseal(["inspect", &gold, "--json"]).exits(0).json()["installations"][0]["facts"].clone();
    assert_eq!(facts["machine_sid"], real::SET_C_SID);
    assert_eq!(facts["policy_sid"], real::SET_C_SID);
    // SYSTEM is another machine's, and SOFTWARE a third one's: each says what is in it.
    assert_eq!(facts["computer_name"], "DESKTOP-PM6C56D");
    assert_eq!(facts["product"]["build"], "7601");
    let names = users(&facts);
    assert_eq!(names.iter().map(|(rid, _)| *rid).collect::<Vec<_>>(), [500, 501, 503, 504, 1001]);
    assert!(names.contains(&(1001, "AndrewRathbun".to_owned())), "{names:?}");

    let list = outcomes(&gold, 0);
    assert!(list.iter().all(|(_, outcome, _)| outcome != "refuse"), "{list:#?}");
    // The profiles in SOFTWARE are another machine's, and the volume of the test is no partition that Windows knew.
    for (id, wanted) in [
        ("domain-member", "ok"),
        ("machine-account", "ok"),
        ("open-transaction", "ok"),
        ("password-policy", "ok"),
        ("half-way-setup", "ok"),
        ("folder-without-profile", "warn"),
        ("drive-letters", "warn"),
        ("iis-encrypted", "ok"),
    ] {
        assert_eq!(outcome(&list, id), wanted, "{id}: {list:#?}");
    }

    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &["--computer-name", "WEB-01"]);
    let new = new_sid(&report);
    assert_eq!(hash(&gold), before);
    assert_eq!(rig::sids_left(&report), 0);
    let [unique, changed] = [0, 1].map(|i| report["plan"]["sid"]["descriptors"][i].as_u64().unwrap());
    assert!(unique >= 1730 && changed >= 300, "{changed} of {unique} descriptors");

    reseal(["verify", &out, "--no-trace-of", real::SET_C_SID]).exits(0);
    let (foreign, own) = census::assert_only_own(
        &counted,
        &census::of_image(&out),
        (real::SET_C_SID, &new),
        (0, rig::sids_gone(&report)),
    );
    println!("set C: {own} places of the machine SID replaced, {foreign} foreign SIDs kept");
    assert!(foreign >= 331, "{foreign} foreign SIDs");
    let compared = accounts::assert_equal_but_for_the_sid(&gold, &out, real::SET_C_SID, &new);
    assert_eq!(compared, 1 + names.len(), "the domain and every user");

    assert_eq!(value(&out, "SYSTEM", "Setup", "SystemSetupInProgress").unwrap(), "1");
    assert_eq!(value(&out, "SYSTEM", "Setup", "CmdLine").unwrap(), r"oobe\windeploy.exe");
    assert_eq!(values(&out, "SYSTEM", "MountedDevices"), []);
    assert_eq!(value(&out, "SOFTWARE", r"Microsoft\Cryptography", "MachineGuid"), None);
    assert_eq!(
        value(&out, "SOFTWARE", r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState").unwrap(),
        "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    );
    reseal(["fs", "check", &out, "--strict"]).exits(0);
    let after = reseal(["inspect", &out, "--json"]).exits(0).json()["installations"][0].clone();
    assert_eq!(after["facts"]["machine_sid"], new.as_str());
    assert_eq!(users(&after["facts"]), names);
    logs_are_spent(&out, &after);
    reseal(["generalize", &out, "-o", &bench.arg("twice.vhdx")]).exits(5);
    assert!(!bench.path("twice.vhdx").exists());
}

/// Every hive that was written loads without its logs, and its logs are empty.
fn logs_are_spent(out: &str, installation: &Value) {
    let volume = content::volume(out);
    let mut emptied = 0;
    for hive in installation["hives"].as_array().expect("a list") {
        let path = hive["path"].as_str().expect("a path");
        for suffix in [".LOG1", ".LOG2"] {
            let Some(log) = volume.resolve(&format!("{path}{suffix}")).expect("it can be walked") else { continue };
            let content = content::read(&volume, log).expect("it is a file");
            if hive["state"] == "clean" {
                let bytes = content::file(&volume, path);
                let alone = reseal_hive::Hive::open(&bytes, &[], reseal_hive::Recover::Replay);
                assert!(alone.is_ok(), "{path} does not load alone");
                emptied += usize::from(content.iter().all(|b| *b == 0));
            }
        }
    }
    assert!(emptied >= 12, "{emptied} logs are empty");
}

#[test]
fn any_digit_count_and_any_number_of_threads_on_real_hives() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let gold = set_c(&bench, &root);
    let counted = census::of_image(&gold);
    for (i, sid) in ["S-1-5-21-1-2-3", "S-1-5-21-4294967295-1-4000000000"].into_iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report = seal(&gold, &out, &["--sid", sid]);
        let left = rig::sids_left(&report);
        census::assert_only_own(
            &counted,
            &census::of_image(&out),
            (real::SET_C_SID, sid),
            (left, rig::sids_gone(&report)),
        );
        accounts::assert_equal_but_for_the_sid(&gold, &out, real::SET_C_SID, sid);
        reseal(["verify", &out, "--no-trace-of", real::SET_C_SID]).exits(if left == 0 { 0 } else { 4 });
        reseal(["fs", "check", &out, "--strict"]).exits(0);
        reseal(["generalize", &out, "-n"]).exits(5);
        std::fs::remove_file(&out).unwrap();
    }
    let mut hashes = Vec::new();
    for threads in ["1", "8"] {
        let out = bench.arg(&format!("threads{threads}.vhdx"));
        seal(&gold, &out, &["-j", threads]);
        hashes.push(hash(&out));
        std::fs::remove_file(&out).unwrap();
    }
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn windows_8_domain_member_is_refused_and_can_be_allowed() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let gold = set_a(&bench, &root);
    let before = hash(&gold);
    let facts = reseal(["inspect", &gold, "--json"]).exits(0).json()["installations"][0].clone();
    assert_eq!(facts["facts"]["machine_sid"], real::SET_A_SID);
    let ids: Vec<&str> = facts["refusals"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["dirty-hive", "dirty-hive", "domain-member"]);
    assert_eq!(facts["facts"]["product"]["build"].as_str().and_then(|b| b.split('.').next()), Some("9600"));

    let list = outcomes(&gold, 3);
    for (id, wanted) in [("dirty-hive", "refuse"), ("domain-member", "refuse"), ("password-policy", "warn")] {
        assert_eq!(outcome(&list, id), wanted, "{id}: {list:#?}");
    }
    let policy = &list.iter().find(|(id, ..)| id == "password-policy").expect("it is there").2;
    assert!(policy.contains("complex, of 7 characters") && policy.contains("last 24"), "{policy}");

    let out = bench.arg("sealed.vhdx");
    let run = reseal(["generalize", &gold, "-o", &out])
        .exits(3)
        .says("dirty-hive")
        .says("domain-member")
        .says(r"config\SYSTEM")
        .says(r"config\SOFTWARE")
        .says("nothing was written");
    assert!(run.err.contains("Remove-Computer") && run.err.contains(".LOG1"), "each says what to do: {}", run.err);
    // One reason allowed is not both.
    for one in ["dirty-hive", "domain-member"] {
        reseal(["generalize", &gold, "-o", &out, "--allow", one]).exits(3);
    }
    assert_eq!(bench.files(), ["a.vhdx"]);

    let counted = census::of_image(&gold);
    let report = seal(&gold, &out, &["--allow", "dirty-hive,domain-member"]);
    assert_eq!(hash(&gold), before);
    let allowed = report["plan"]["allowed"].as_array().unwrap();
    assert_eq!(allowed.len(), 3, "the report says what was allowed: {allowed:#?}");
    let new = new_sid(&report);
    let (foreign, own) = census::assert_only_own(
        &counted,
        &census::of_image(&out),
        (real::SET_A_SID, &new),
        (rig::sids_left(&report), rig::sids_gone(&report)),
    );
    println!("set A: {own} places of the machine SID replaced, {foreign} foreign SIDs kept");
    assert!(foreign > 0);
    accounts::assert_equal_but_for_the_sid(&gold, &out, real::SET_A_SID, &new);
    reseal(["verify", &out, "--no-trace-of", real::SET_A_SID]).exits(0);
    reseal(["fs", "check", &out]).exits(0);
    // What was allowed once is no longer dirty; the machine is still a member.
    reseal(["generalize", &out, "-n"]).exits(3).says("domain-member");
    reseal(["generalize", &out, "-n", "--allow", "domain-member"]).exits(5);
}
