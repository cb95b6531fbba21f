//! A made-up machine, sealed: every value, file and descriptor that a step promises.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use rig::{Bench, FIXED, census, content, hash, new_sid, old_sid, reseal, seal, sids_left, value, values};
use std::collections::BTreeMap;

const ANSWER: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<unattend xmlns="urn:schemas-microsoft-com:unattend">
  <settings pass="oobeSystem">
    <component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS">
      <OOBE><HideEULAPage>true</HideEULAPage></OOBE>
    </component>
  </settings>
</unattend>
"#;

#[test]
fn sealed_with_name_and_answer_file() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let (before, counted) = (hash(&gold), census::of_image(&gold));
    let out = bench.arg("sealed.vhdx");
    let report = seal(
        &gold,
        &out,
        &["--oobe", "--computer-name", "Web-01", "--unattend", &bench.write("answer.xml", ANSWER.as_bytes())],
    );
    let (old, new) = (old_sid(), new_sid(&report));
    assert_eq!(hash(&gold), before, "the input is never written");
    assert!(
        report["plan"]["unproven"].as_array().is_some_and(|list| !list.is_empty()),
        "what no Windows has shown is said"
    );

    setup_state(&out);
    names(&out);
    identities(&gold, &out);
    files(&gold, &out);

    let (foreign, own) = census::assert_only_own(&counted, &census::of_image(&out), (&old, &new), (0, 0));
    assert!(foreign >= 1 && own >= 40, "{foreign} foreign, {own} own");
    reseal(["verify", &out, "--no-trace-of", &old]).exits(0);
    let verified = reseal(["verify", &out, "--no-trace-of", &old, "--json"]).exits(0).json();
    assert_eq!(verified["states"][0], "sealed to OOBE");
    assert_eq!(verified["findings"].as_array().map(Vec::len), Some(0));
    let inspected = reseal(["inspect", &out, "--json"]).exits(0).json();
    assert_eq!(inspected["installations"][0]["sealed"], true);
    assert_eq!(inspected["installations"][0]["facts"]["machine_sid"], new.as_str());
    assert_eq!(inspected["installations"][0]["facts"]["computer_name"], "WEB-01");

    reseal(["generalize", &out, "-o", &bench.arg("twice.vhdx")]).exits(5);
    // With the options given again it is still what it was asked to be.
    let again =
        ["generalize", &out, "-n", "--computer-name", "Web-01", "--sid", &new, "--unattend", &bench.arg("answer.xml")];
    reseal(again).exits(5);
    assert!(!bench.path("twice.vhdx").exists());
}

fn setup_state(out: &str) {
    let shown = |key: &str, name: &str| value(out, "SYSTEM", key, name);
    assert_eq!(shown("Setup", "SystemSetupInProgress").unwrap(), "1");
    assert_eq!(shown("Setup", "SetupType").unwrap(), "2");
    assert_eq!(shown("Setup", "CmdLine").unwrap(), r"oobe\windeploy.exe");
    assert_eq!(shown("Setup", "OOBEInProgress").unwrap(), "1");
    assert_eq!(shown("Setup", "SetupPhase").unwrap(), "4");
    assert_eq!(shown("Setup", "CloneTag").unwrap(), "Thu Jan  1 00:00:00 2026");
    assert_eq!(shown(r"Setup\Status\ChildCompletion", "setup.exe").unwrap(), "0");
    assert_eq!(shown(r"Setup\Status\ChildCompletion", "oobeldr.exe").unwrap(), "0");
    assert_eq!(shown(r"Setup\Status\UnattendPasses", "oobeSystem").unwrap(), "0");
    assert_eq!(values(out, "SYSTEM", r"Setup\SetupCl\PendingRequest"), []);
    assert_eq!(shown(r"Setup\SetupCl", "ExecutionSuccessful").unwrap(), "1", "not ours to change");
    assert_eq!(shown("Setup", "UnattendFile"), None);
    // What was absent is not invented.
    assert_eq!(shown(r"Setup\Status", "AuditBoot"), None);
    reseal(["hive", "ls", out, "--hive", "SYSTEM", r"Setup\Status\SysprepStatus"]).exits(1);
    reseal(["hive", "ls", out, "--hive", "SYSTEM", r"Setup\AllowStart\SamSs"]).exits(0);
    let state = r"Microsoft\Windows\CurrentVersion\Setup\State";
    assert_eq!(value(out, "SOFTWARE", state, "ImageState").unwrap(), "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");
    let ini = reseal(["fs", "cat", out, r"Windows\Setup\State\State.ini"]).exits(0).text();
    assert_eq!(ini, "[State]\r\nImageState=\"IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE\"\r\n");
    assert_eq!(reseal(["fs", "cat", out, r"Windows\System32\Sysprep\Sysprep_succeeded.tag"]).exits(0).out, b"");
}

fn names(out: &str) {
    for set in ["ControlSet001", "ControlSet002"] {
        let at = |key: &str, name: &str| value(out, "SYSTEM", &format!(r"{set}\{key}"), name).unwrap();
        assert_eq!(at(r"Control\ComputerName\ComputerName", "ComputerName"), "WEB-01");
        assert_eq!(at(r"Control\ComputerName\ActiveComputerName", "ComputerName"), "WEB-01");
        assert_eq!(at(r"Services\Tcpip\Parameters", "Hostname"), "Web-01");
        assert_eq!(at(r"Services\Tcpip\Parameters", "NV Hostname"), "Web-01");
    }
    // An LSA string: length, room, offset 8, then the name and a terminator that the length does not count.
    let policy = value(out, "SECURITY", r"Policy\PolAcDmN", "").unwrap();
    let policy = policy.as_str().unwrap();
    assert!(policy.starts_with("0c000e0008000000") && policy.contains("5700450042002d0030003100"), "{policy}");

    let answer = reseal(["fs", "cat", out, r"Windows\Panther\unattend.xml"]).exits(0).text();
    assert!(answer.contains("<HideEULAPage>true</HideEULAPage>"), "the user's file is kept: {answer}");
    let specialize =
        answer.split("<settings pass=\"specialize\">").nth(1).and_then(|rest| rest.split("</settings>").next());
    assert!(specialize.is_some_and(|pass| pass.contains("<ComputerName>Web-01</ComputerName>")), "{answer}");
    let acl = reseal(["fs", "acl", out, r"Windows\Panther\unattend.xml"]).exits(0).text();
    assert_eq!(acl.trim(), "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)");
}

fn identities(gold: &str, out: &str) {
    let gone: &[(&str, &str, &str)] = &[
        ("SOFTWARE", r"Microsoft\Cryptography", "MachineGuid"),
        ("SOFTWARE", r"Microsoft\Windows\CurrentVersion\WindowsUpdate", "SusClientId"),
        ("SOFTWARE", r"Microsoft\Windows\CurrentVersion\WindowsUpdate", "SusClientIdValidation"),
        ("SOFTWARE", r"Microsoft\SQMClient", "MachineId"),
        ("SYSTEM", r"ControlSet001\Services\Tcpip6\Parameters", "Dhcpv6DUID"),
        ("SYSTEM", r"ControlSet002\Services\Tcpip6\Parameters", "Dhcpv6DUID"),
        ("SYSTEM", r"ControlSet001\Services\LanmanServer\Parameters", "Guid"),
        ("SYSTEM", r"ControlSet002\Services\LanmanServer\Parameters", "Guid"),
    ];
    for (hive, key, name) in gone {
        assert!(value(gold, hive, key, name).is_some(), "{key} {name} is in the gold image");
        assert_eq!(value(out, hive, key, name), None, "{key} {name}");
    }
    assert_eq!(values(gold, "SYSTEM", "MountedDevices").len(), 2);
    assert_eq!(values(out, "SYSTEM", "MountedDevices"), []);
    let seed = |image: &str| value(image, "SYSTEM", "RNG", "Seed").unwrap().as_str().unwrap().to_owned();
    let (a, b) = (seed(gold), seed(out));
    assert_eq!((a.len(), &a[..24]), (152, &b[..24]), "76 bytes, of which 12 are state");
    assert_ne!(a[24..], b[24..]);
    assert_eq!(b.len(), 152);
    // Services start as before; the boot key is what it was.
    assert_eq!(value(out, "SYSTEM", r"ControlSet001\Services\LanmanServer", "Start").unwrap(), "2");
}

/// The tree but for what the steps changed, with names in which the SID stands mapped.
fn files(gold: &str, out: &str) {
    let (before, after) = (content::volume(gold), content::volume(out));
    let text = |image: &str| {
        reseal(["inspect", image, "--json"]).exits(0).json()["installations"][0]["facts"]["machine_sid"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (old, new) = (text(gold), text(out));
    let (a, b) = (content::tree(&before), content::tree(&after));
    let mut expected: BTreeMap<String, _> = a.iter().map(|(path, file)| (path.replace(&old, &new), *file)).collect();
    assert!(expected.keys().any(|path| path.contains(&new)), "some names hold the SID");
    // The log of the Store's database is in the database afterwards.
    let gone =
        |path: &str| [".evtx", ".srd-wal", ".srd-shm"].iter().any(|end| path.to_ascii_lowercase().ends_with(end));
    expected.retain(|path, _| !gone(path));
    let made: Vec<&String> = b.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert_eq!(
        made,
        [r"\Windows\Panther", r"\Windows\Panther\unattend.xml", r"\Windows\System32\Sysprep\Sysprep_succeeded.tag"]
    );
    let mut changed = Vec::new();
    for (path, file) in &expected {
        let twin = b.get(path).unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(twin, file, "{path} keeps its record");
        if content::read(&before, *file) != content::read(&after, *twin) {
            changed.push(path.as_str());
        }
    }
    let config = r"\Windows\System32\config\";
    let hives = ["SAM", "SECURITY", "SOFTWARE", "SYSTEM"].map(|name| format!("{config}{name}"));
    let users = ["Administrator", "ann", "bob"].map(|name| format!(r"\Users\{name}\NTUSER.DAT"));
    let apps = [
        r"\ProgramData\Microsoft\Windows\AppRepository\StateRepository-Machine.srd",
        r"\ProgramData\Packages\App_1\S-1-5-21-0\SystemAppData\Helium\settings.dat",
        r"\Users\ann\AppData\Local\Packages\App_1\Settings\settings.dat",
        r"\Users\ann\ntuser.pol",
        r"\Windows\Setup\State\State.ini",
        r"\Windows\System32\GroupPolicy\Machine\Microsoft\Windows NT\SecEdit\GptTmpl.inf",
        r"\Windows\System32\Tasks\Backup\Nightly",
        // The computer's name only.
        r"\Windows\System32\Tasks\Backup\Weekly",
    ];
    let of_user = [
        format!(r"\Windows\System32\GroupPolicyUsers\{new}-1001\User\Registry.pol"),
        format!(r"\Windows\System32\Tasks\Optimize Start Menu Cache Files-{new}-1001"),
    ];
    let mut expected: Vec<String> =
        apps.map(str::to_owned).into_iter().chain(of_user).chain(users).chain(hives).collect();
    expected.sort();
    assert_eq!(changed, expected, "nothing else changes its content");
    assert_eq!(
        reseal(["fs", "ls", out, r"Windows\System32\winevt\Logs"]).exits(0).text(),
        "",
        "the folder is there and empty"
    );
    assert_eq!(
        reseal(["fs", "acl", gold, r"Windows\System32\winevt\Logs"]).text(),
        reseal(["fs", "acl", out, r"Windows\System32\winevt\Logs"]).text()
    );
}

#[test]
fn accounts_are_the_same_but_for_the_sid() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &[]);
    assert_eq!(rig::accounts::assert_equal_but_for_the_sid(&gold, &out, &old_sid(), &new_sid(&report)), 5 + 1);
    let users = |image: &str| {
        reseal(["inspect", image, "--json"]).exits(0).json()["installations"][0]["facts"]["users"].clone()
    };
    assert_eq!(users(&gold), users(&out));
    assert_eq!(users(&gold).as_array().map(Vec::len), Some(5));
}

#[test]
fn verify_names_where_the_old_sid_stands() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let run = reseal(["verify", &gold, "--no-trace-of", &old_sid(), "--json"]).exits(4);
    let traces = run.json()["traces"].as_array().unwrap().clone();
    let regions: Vec<String> =
        traces.iter().map(|t| format!("{} {}", t["region"].as_str().unwrap(), t["within"])).collect();
    for part in [
        r"config\SAM",
        r"config\SECURITY",
        r"config\SYSTEM",
        r"config\SOFTWARE",
        r"Users\ann\NTUSER.DAT",
        "$SDS",
        r"Logs\System.evtx",
        r"$Recycle.Bin",
        "Across segments",
    ] {
        assert!(regions.iter().any(|r| r.contains(part)), "{part} is not named: {regions:#?}");
    }
    let forms: std::collections::BTreeSet<&str> = traces.iter().map(|t| t["form"].as_str().unwrap()).collect();
    assert_eq!(forms.into_iter().collect::<Vec<_>>(), ["ascii", "binary", "utf16"]);
    // A text works as well as a SID.
    reseal(["verify", &gold, "--no-trace-of", "GOLD-07"]).exits(4);
    reseal(["verify", &gold, "--no-trace-of", "S-1-5-21-1-2-3", "--no-trace-of", "NO-SUCH-NAME"]).exits(0);
}

#[test]
fn steps_can_be_chosen() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let old = old_sid();
    // Without the SID the machine keeps it; everything else is sealed.
    for (i, more) in [["--sid", "keep"], ["--steps", "default,-machine-sid"]].into_iter().enumerate() {
        let out = bench.arg(&format!("keep{i}.vhdx"));
        let report = seal(&gold, &out, &more);
        assert!(report["plan"]["sid"].is_null());
        setup_state(&out);
        assert_eq!(census::of_image(&gold), census::of_image(&out));
        assert_eq!(
            reseal(["inspect", &out, "--json"]).json()["installations"][0]["facts"]["machine_sid"],
            old.as_str()
        );
        reseal(["generalize", &out, "-n"]).exits(5);
    }
    // Only the SID.
    let out = bench.arg("only.vhdx");
    seal(&gold, &out, &["--steps", "machine-sid"]);
    assert_eq!(value(&out, "SYSTEM", "Setup", "SetupType").unwrap(), "0");
    assert_eq!(values(&out, "SYSTEM", "MountedDevices").len(), 2);
    // The event logs stay, and with them the old SID in them and nowhere else.
    let run = reseal(["verify", &out, "--no-trace-of", &old, "--json"]).exits(4).json();
    let traces = run["traces"].as_array().unwrap();
    assert!(traces.iter().all(|t| t["region"].as_str().unwrap().ends_with(".evtx")), "{traces:#?}");
    assert_eq!(traces.len(), 3);
}

#[test]
fn a_sid_of_any_digit_count() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let (old, counted) = (old_sid(), census::of_image(&gold));
    // A text of another length inside REG_BINARY cannot be replaced, nobody knows what the bytes behind it mean: it is named.
    let cases = [
        ("S-1-5-21-1-2-3", 1),
        ("S-1-5-21-4294967295-1-4000000000", 1),
        ("S-1-5-21-1999999999-1999999999-199999999", 0),
    ];
    for (i, (sid, left)) in cases.into_iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report = seal(&gold, &out, &["--sid", sid]);
        assert_eq!(new_sid(&report), sid);
        assert_eq!(sids_left(&report), left, "{}", report["plan"]["findings"]);
        census::assert_only_own(&counted, &census::of_image(&out), (&old, sid), (left, 0));
        rig::accounts::assert_equal_but_for_the_sid(&gold, &out, &old, sid);
        let traces = reseal(["verify", &out, "--no-trace-of", &old, "--json"])
            .exits(if left == 0 { 0 } else { 4 })
            .json()["traces"]
            .clone();
        let traces = traces.as_array().unwrap();
        assert_eq!(traces.len(), left);
        assert!(
            traces.iter().all(|t| t["region"].as_str().unwrap().ends_with("SOFTWARE") && t["count"] == 1),
            "{traces:#?}"
        );
        reseal(["verify", &out, "--no-trace-of", sid]).exits(4);
        for hive in ["SAM", "SECURITY", "SYSTEM", "SOFTWARE", "DEFAULT", r"Users\ann\NTUSER.DAT"] {
            let path = if hive == "DEFAULT" { r"Windows\System32\config\DEFAULT" } else { hive };
            reseal(["hive", "check", &out, "--hive", path]).exits(0);
        }
        reseal(["fs", "check", &out, "--strict"]).exits(0);
        let profile = format!(r"Microsoft\Windows NT\CurrentVersion\ProfileList\{sid}-1001");
        assert_eq!(value(&out, "SOFTWARE", &profile, "ProfileImagePath").unwrap(), r"C:\Users\ann");
        reseal(["fs", "cat", &out, &format!(r"Users\ann\AppData\Roaming\Microsoft\Protect\{sid}-1001\Preferred")])
            .exits(0);
        reseal(["generalize", &out, "-n"]).exits(5);
        reseal(["generalize", &out, "-n", "--sid", sid]).exits(5);
        // And back: what the first run did, a second one undoes; where a text is left, the old SID is not free to be given again.
        let back =
            ["generalize", &out, "-o", &bench.arg(&format!("back{i}.vhdx")), "--sid", &old, "--steps", "machine-sid"];
        if left > 0 {
            reseal(back).exits(1).says("stands already");
            continue;
        }
        reseal(back).exits(0);
        assert_eq!(census::of_image(back[3]), counted);
        rig::accounts::assert_equal_but_for_the_sid(&gold, back[3], &old, &old);
    }
    // The SID that is there already, and one that someone else has.
    let run = reseal(["generalize", &gold, "-n", "--steps", "machine-sid", "--sid", &old]).exits(5);
    assert!(run.text().contains("already"), "{}", run.text());
    let foreign = counted.keys().find(|sid| **sid != old).expect("there is a foreign SID");
    reseal(["generalize", &gold, "-n", "--sid", foreign]).exits(1).says(foreign);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let mut hashes = Vec::new();
    for (i, threads) in ["1", "8", "2"].into_iter().enumerate() {
        let out = bench.arg(&format!("out{i}.vhdx"));
        let args = ["generalize", &gold, "-o", &out, "-j", threads, "--computer-name", "WEB-01"];
        reseal(args.into_iter().chain(FIXED)).exits(0);
        hashes.push(hash(&out));
    }
    assert!(hashes.iter().all(|h| *h == hashes[0]), "{hashes:?}");
    let other = bench.arg("other.vhdx");
    reseal(["generalize", &gold, "-o", &other, "--seed", "another", "--time", "2026-01-01T00:00:00Z"]).exits(0);
    assert_ne!(
        reseal(["inspect", &other, "--json"]).json()["installations"][0]["facts"]["machine_sid"],
        reseal(["inspect", &bench.arg("out0.vhdx"), "--json"]).json()["installations"][0]["facts"]["machine_sid"]
    );
    // Without a seed every run draws its own.
    let drawn = || {
        let report = reseal(["generalize", &gold, "-n", "--json"]).exits(0).json();
        report["sid"]["new"].as_str().unwrap().to_owned()
    };
    assert_ne!(drawn(), drawn());
}

/// What stands in the image is no markup in the answer file.
#[test]
fn a_crafted_architecture_is_no_markup() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let key = r"ControlSet001\Control\Session Manager\Environment";
    for (i, text) in [r#"sz:x"><settings pass="evil"/><x y=""#, "sz:", "sz:amd\u{b864}64"].into_iter().enumerate() {
        let crafted = bench.arg(&format!("crafted{i}.vhdx"));
        reseal(["hive", "set", &gold, "--hive", "SYSTEM", key, "PROCESSOR_ARCHITECTURE", text, "-o", &crafted])
            .exits(0);
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let run = reseal(["generalize", &crafted, "-o", &out, "--computer-name", "WEB-01"]);
        if run.code == 0 {
            let answer = reseal(["fs", "cat", &out, r"Windows\Panther\unattend.xml"]).exits(0).text();
            assert!(answer.contains("processorArchitecture=\"amd64\"") && !answer.contains("evil"), "{answer}");
        }
    }
}
