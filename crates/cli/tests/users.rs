//! Local users who go and who stay: accounts, profiles, tasks, hashes; and what is said of what they lose.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::{Hive, types};
use reseal_testdata::{ImageBuilder, WindowsImage, machine_sid, real};
use rig::explained::assert_plan_is_diff;
use rig::machine::{Machine, Rig};
use rig::{Bench, content, old_sid, reseal, seal, secrets};
use serde_json::Value;

const ALIASES: &str = r"SAM\Domains\Builtin\Aliases";
const USERS: &str = r"SAM\Domains\Account\Users";
const NONE: &str = r"SAM\Domains\Account\Groups\00000201";
const CURRENT: &str = r"Microsoft\Windows\CurrentVersion";
const NT: &str = r"Microsoft\Windows NT\CurrentVersion";
const STORE: &str = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore";

fn sid(rid: u32) -> String {
    machine_sid().account(rid).to_string()
}

/// `C` of the group `None` as Windows 7 to 10 write it: room for 25 members.
fn group(members: &[u32]) -> Vec<u8> {
    let mut c = vec![0; 68];
    for (at, number) in [(0, 0x0001_0003), (4, 513), (8, 7), (56, 0), (60, 100), (64, members.len() as u32)] {
        c[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
    }
    let mut room: Vec<u8> = members.iter().flat_map(|rid| rid.to_le_bytes()).collect();
    room.resize(100, 0);
    [c, room].concat()
}

/// What Windows keeps of ann (1001) and bob (1002).
fn furnish(m: &mut Machine) {
    m.hive("SAM", |hive| {
        let key = hive.create_path(NONE).unwrap();
        hive.set_value(key, "C", types::BINARY, &group(&[500, 501, 503, 1001, 1002])).unwrap();
    });
    for rid in [1001, 1002] {
        let sid = sid(rid);
        m.key("SOFTWARE", &format!(r"{CURRENT}\Installer\UserData\{sid}\Products"));
        m.key("SOFTWARE", &format!(r"{CURRENT}\Group Policy\{sid}\GroupMembership"));
        m.key("SOFTWARE", &format!(r"{CURRENT}\Group Policy\State\{sid}\GPO-List"));
        m.key("SOFTWARE", &format!(r"Microsoft\IdentityStore\Cache\{sid}"));
        m.sz("SOFTWARE", &format!(r"{NT}\ProfileGuid\{{{rid:08}-1111-2222-3333-444455556666}}"), "SidString", &sid);
        m.set(
            "SECURITY",
            &format!(r"Policy\Accounts\{sid}\Sid"),
            "",
            types::NONE,
            &machine_sid().account(rid).to_bytes(),
        );
        m.file(&format!(r"Windows\System32\GroupPolicyUsers\{sid}\gpt.ini"), b"x");
        let name = if rid == 1001 { "ann" } else { "bob" };
        let home = format!(r"Users\{name}\AppData");
        m.file(&format!(r"{home}\Roaming\Microsoft\Protect\{sid}\0b1d4a0d-1111-2222-3333-444455556666"), &[2; 468]);
        m.file(&format!(r"{home}\Local\Microsoft\Credentials\ABCDEF"), &[2; 400]);
    }
    m.sz("SYSTEM", r"ControlSet001\Services\Backup", "ObjectName", r".\Ann");
}

fn findings(report: &Value, id: &str) -> Vec<String> {
    let list = report["plan"]["findings"].as_array().unwrap();
    let own = list.iter().filter(|f| f["id"] == id);
    own.map(|f| format!("{} {}", f["place"].as_str().unwrap(), f["detail"].as_str().unwrap())).collect()
}

fn raw(hive: &Hive, key: &str, name: &str) -> (u32, Vec<u8>) {
    let id = hive.key(key).unwrap().unwrap_or_else(|| panic!("{key} is missing"));
    hive.value(id, name).unwrap().map(|v| (v.ty, v.data)).unwrap()
}

fn names(facts: &Value) -> Vec<&str> {
    facts["users"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect()
}

fn facts(image: &str) -> Value {
    reseal(["inspect", image, "--json"]).exits(0).json()["installations"][0]["facts"].clone()
}

#[test]
fn a_user_goes_with_everything() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", furnish);
    let out = rig.bench.arg("sealed.raw");
    // The SID stays, so that what is left of the user would still be found by it.
    let report = seal(&gold, &out, &["--remove-user", "BOB", "--sid", "keep"]);
    let counts = assert_plan_is_diff(&gold, &out, &report);
    println!("{} planned changes, {} differences", counts.planned, counts.found);
    assert_eq!(names(&facts(&out)), ["Administrator", "Guest", "DefaultAccount", "ann"]);

    let hives = content::hives(&content::volume(&out));
    let hive = |name: &str| &hives[&format!(r"\Windows\System32\config\{name}")];
    let sam = hive("SAM");
    assert_eq!(sam.key(&format!(r"{USERS}\Names\bob")).unwrap(), None);
    assert_eq!(raw(sam, USERS, "").0, 4, "a counter that is one less");
    assert_eq!(raw(sam, NONE, "C").1, group(&[500, 501, 503, 1001]));
    let software = hive("SOFTWARE");
    for (rid, there) in [(1001, true), (1002, false)] {
        let sid = sid(rid);
        for key in [
            format!(r"{NT}\ProfileList\{sid}"),
            format!(r"{NT}\ProfileGuid\{{{rid:08}-1111-2222-3333-444455556666}}"),
            format!(r"{STORE}\{sid}"),
            format!(r"{CURRENT}\Installer\UserData\{sid}"),
            format!(r"{CURRENT}\Group Policy\{sid}"),
            format!(r"{CURRENT}\Group Policy\State\{sid}"),
            format!(r"Microsoft\IdentityStore\Cache\{sid}"),
        ] {
            assert_eq!(software.key(&key).unwrap().is_some(), there, "{key}");
        }
        let account = format!(r"Policy\Accounts\{sid}");
        assert_eq!(hive("SECURITY").key(&account).unwrap().is_some(), there);
        let name = if rid == 1001 { "ann" } else { "bob" };
        for folder in [
            format!(r"Users\{name}"),
            format!(r"$Recycle.Bin\{sid}"),
            format!(r"Windows\System32\GroupPolicyUsers\{sid}"),
        ] {
            assert_eq!(reseal(["fs", "ls", &out, &folder]).code == 0, there, "{folder}");
        }
    }
    // What goes with the user is said of the user, and of who stays what a new SID would cost: nothing, it is kept.
    let removed = findings(&report, "user-removed");
    assert!(removed.len() == 1 && removed[0].contains("bob") && removed[0].contains("1 DPAPI"), "{removed:?}");
    assert!(removed[0].contains("1 saved credentials"), "{removed:?}");
    assert!(findings(&report, "user-secrets").is_empty() && findings(&report, "last-administrator").is_empty());
    assert!(findings(&report, "service-account").is_empty());
    reseal(["fs", "check", &out]).exits(0);
    // A second time there is nothing to do, and another name is wrong as it was before.
    reseal(["generalize", &out, "-n", "--remove-user", "BOB", "--sid", "keep"]).exits(5);
    reseal(["generalize", &out, "-n", "--keep-user", "ann", "--sid", "keep"]).exits(5);
    reseal(["generalize", &gold, "-n", "--remove-user", "carl"]).exits(2).says("carl").says("ann");
    reseal(["generalize", &out, "-n", "--keep-user", "carl"]).exits(2).says("carl");
}

#[test]
fn the_last_administrator_and_the_tasks() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", furnish);
    let out = rig.bench.arg("sealed.raw");
    let report = seal(&gold, &out, &["--keep-user", "bob"]);
    assert_plan_is_diff(&gold, &out, &report);
    assert_eq!(names(&facts(&out)), ["Administrator", "Guest", "DefaultAccount", "bob"]);
    // She was the only one, and the check looks at who is left.
    assert!(findings(&report, "last-administrator")[0].contains("ann"));
    assert_eq!(findings(&report, "no-way-in").len(), 1);
    assert!(findings(&report, "service-account")[0].contains(r"Services\Backup"));
    assert!(findings(&report, "store-left")[0].contains("StateRepository-Machine.srd"));

    let new = rig::new_sid(&report).parse::<reseal_dtyp::DomainSid>().unwrap();
    let hives = content::hives(&content::volume(&out));
    let sam = &hives[r"\Windows\System32\config\SAM"];
    let members = format!(r"{ALIASES}\Members\{new}");
    assert_eq!(raw(sam, &members, "").0, 1);
    assert_eq!(sam.key(&format!(r"{members}\{:08X}", 1001)).unwrap(), None);
    let c = raw(sam, &format!(r"{ALIASES}\00000220"), "C").1;
    assert_eq!((c[44], c[48]), (28, 1));
    assert!(c.ends_with(&new.account(500).to_bytes()));

    // Her two tasks are gone from files and cache, the one of the system stays.
    let cache = format!(r"{NT}\Schedule\TaskCache");
    let software = &hives[r"\Windows\System32\config\SOFTWARE"];
    let keys = |key: &str| {
        let key = software.key(&format!(r"{cache}\{key}")).unwrap().unwrap();
        software.subkeys(key).unwrap().len()
    };
    assert_eq!((keys("Tasks"), keys(r"Tree\Backup"), keys("Tree")), (1, 1, 1));
    let tasks = reseal(["fs", "ls", &out, r"Windows\System32\Tasks\Backup"]).exits(0).text();
    assert!(tasks.contains("Weekly") && !tasks.contains("Nightly"), "{tasks}");
    assert!(!reseal(["fs", "ls", &out, r"Windows\System32\Tasks"]).exits(0).text().contains("Optimize"));

    // Who stays loses what a new SID costs; who goes is not among them.
    assert_eq!(report["plan"]["sid"]["users_losing_keys"], serde_json::json!(["Administrator", "bob"]));
    let lost = findings(&report, "user-secrets");
    assert!(lost.len() == 1 && lost[0].contains("bob"), "{lost:?}");
    let lost = findings(&report, "dpapi-keys-lost");
    assert!(lost.len() == 2 && lost.iter().all(|f| !f.contains("ann")), "{lost:?}");
    reseal(["verify", &out, "--no-trace-of", &old_sid()]).exits(0);
    reseal(["generalize", &out, "-n", "--keep-user", "bob"]).exits(5);
}

#[test]
fn who_is_built_in_or_named_twice() {
    let rig = Rig::new();
    for built_in in ["Administrator", "guest", "DefaultAccount"] {
        reseal(["generalize", &rig.sound, "-n", "--remove-user", built_in]).exits(2).says("built-in");
    }
    reseal(["generalize", &rig.sound, "-n", "--remove-user", "ann", "--keep-user", "Ann"]).exits(2).says("ann");
    let plan = reseal(["generalize", &rig.sound, "-n", "--json", "--steps", "all"]).exits(0).json();
    assert!(plan["changes"].as_array().unwrap().iter().all(|c| c["step"] != "remove-users"), "nobody was named");
}

/// Profiles that lie where no profile of that user lies: the folder stays, and is named.
#[test]
fn a_folder_that_is_not_certainly_the_users_own_stays() {
    let rig = Rig::new();
    type Fault = (&'static str, fn(&mut Machine));
    fn at(m: &mut Machine, path: &str) {
        m.sz("SOFTWARE", &format!(r"{NT}\ProfileList\{}", sid(1002)), "ProfileImagePath", path);
    }
    let faults: [Fault; 8] = [
        (r"Windows", |m| at(m, r"C:\Windows")),
        (r"Users", |m| at(m, r"C:\Users")),
        (r"Users", |m| at(m, r"C:\Users\")),
        (r"Users\ann", |m| at(m, r"C:\Users\ANN")),
        (r"Users\bob\Documents", |m| at(m, r"C:\Users\bob\Documents")),
        (r"Users\Public", |m| {
            m.file(r"Users\Public\x", b"x");
            at(m, r"%SystemDrive%\users\PUBLIC");
        }),
        (r"Users\bob", |m| at(m, r"D:\Users\bob")),
        (r"Users\bob", |m| at(m, r"C:\Users\..\Users\bob")),
    ];
    for (folder, plant) in faults {
        let gold = rig.planted("gold.raw", plant);
        let out = rig.bench.arg("sealed.raw");
        let run = reseal(["generalize", &gold, "-o", &out, "--remove-user", "bob", "--json"]).exits(0);
        let left = findings(&run.json(), "profile-folder-left");
        assert_eq!(left.len(), 1, "{folder}: {left:?}");
        reseal(["fs", "ls", &out, folder]).exits(0);
        reseal(["fs", "ls", &out, r"Users\ann\Documents"]).exits(0);
        for name in ["gold.raw", "sealed.raw"] {
            std::fs::remove_file(rig.bench.path(name)).unwrap();
        }
    }
}

/// Accounts that Windows would not write: an error that names the place, and nothing is written.
#[test]
fn crafted_accounts_are_refused() {
    let rig = Rig::new();
    type Fault = (&'static str, fn(&mut Machine));
    let faults: [Fault; 7] = [
        ("Names", |m| m.set("SAM", &format!(r"{USERS}\Names\bob"), "", 1001, &[])),
        ("Names", |m| m.set("SAM", &format!(r"{USERS}\Names\robert"), "", 1002, &[])),
        ("Names", |m| m.set("SAM", &format!(r"{USERS}\Names\bob"), "", 7, &[])),
        ("00000201", |m| m.set("SAM", NONE, "C", types::BINARY, &group(&[500])[..100])),
        ("00000201", |m| {
            let mut c = group(&[500, 1002]);
            c[64] = 26;
            m.set("SAM", NONE, "C", types::BINARY, &c);
        }),
        ("00000220", |m| m.patch("SAM", &format!(r"{ALIASES}\00000220"), "C", |c| c[48] = 3)),
        ("000003E9", |m| {
            m.set("SAM", &format!(r"{ALIASES}\Members\{}\000003E9", machine_sid()), "", 2, &[32, 2, 0, 0])
        }),
    ];
    for (i, (place, plant)) in faults.into_iter().enumerate() {
        let gold = rig.planted("crafted.raw", plant);
        let run = reseal(["generalize", &gold, "-o", &rig.bench.arg("out.raw"), "--remove-user", "bob"]);
        assert!(run.code == 7 && run.err.contains(place), "{i}: {run:?}");
        assert!(!rig.bench.path("out.raw").exists());
        std::fs::remove_file(gold).unwrap();
    }
}

/// A real Windows 10 loses its only user; the counters stay what they are of who is left.
#[test]
fn the_only_user_of_a_real_machine() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let image = WindowsImage {
        sid: real::SET_C_SID.parse().unwrap(),
        placed: real::set_c(&root).unwrap(),
        ..WindowsImage::default()
    };
    let gold = bench.build("c.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, &image);
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &["--remove-user", "andrewrathbun", "--sid", "keep"]);
    assert_plan_is_diff(&gold, &out, &report);
    assert_eq!(findings(&report, "last-administrator").len(), 1);
    assert_eq!(facts(&out)["users"].as_array().unwrap().len(), 4);
    let hives = content::hives(&content::volume(&out));
    let sam = &hives[r"\Windows\System32\config\SAM"];
    let members = format!(r"{ALIASES}\Members\{}", real::SET_C_SID);
    assert_eq!((raw(sam, USERS, "").0, raw(sam, &members, "").0), (3, 3));
    let c = raw(sam, NONE, "C").1;
    assert_eq!((c.len(), c[64]), (380, 4));
    let rids = [500u32, 501, 503, 504, 0].map(u32::to_le_bytes).concat();
    assert_eq!(c[0x118..0x118 + 20], rids);
    reseal(["generalize", &out, "-n", "--remove-user", "andrewrathbun", "--sid", "keep"]).exits(5);
}

/// SAM in which `V` of the users that were copied from one says their own names.
fn named(sam: &[u8]) -> Vec<u8> {
    let mut hive = Hive::open(sam, &[], reseal_hive::Recover::Replay).unwrap();
    for (rid, name) in [(1001, "alice"), (1002, "bob")] {
        let key = hive.key(&format!(r"{USERS}\{rid:08X}")).unwrap().unwrap();
        let mut v = hive.value(key, "V").unwrap().unwrap().data;
        let text = reseal_dtyp::utf16le(name);
        let at = (v.len() as u32 - 204).to_le_bytes();
        v[12..16].copy_from_slice(&at);
        v[16..20].copy_from_slice(&(text.len() as u32).to_le_bytes());
        v.extend(text);
        hive.set_value(key, "V", types::BINARY, &v).unwrap();
    }
    hive.to_bytes()
}

/// impacket decrypts what is left: kept users keep their hashes, removed users and secrets are gone.
#[test]
fn impacket_sees_who_is_left() {
    let bench = Bench::new();
    let Some(mut placed) = secrets::matched_hives(&bench) else { return };
    let sam = placed.iter_mut().find(|file| file.path.ends_with("SAM")).unwrap();
    sam.bytes = named(&sam.bytes);
    let image = WindowsImage { placed, ..WindowsImage::default() };
    let gold = bench.build("gold.vhdx", ImageBuilder { volume_len: 128 << 20, ..ImageBuilder::default() }, &image);
    let Some(before) = secrets::dump(&bench, &gold, "before") else { return };
    // NT hashes of alice, bob and Administrator.
    let [alice, bob, administrator] =
        ["fc525c9683e8fe067095ba2ddc971889", "6608e4bc7b2b7a5f77ce3573570775af", "26cb569f507516db724c966871d735da"];
    assert!([alice, bob, administrator].iter().all(|hash| before.contains(hash)), "{before}");
    let line = |text: &str, needle: &str| text.lines().find(|l| l.contains(needle)).unwrap().to_owned();
    for (more, gone) in [(["--remove-user", "bob"], vec![bob]), (["--keep-user", "bob"], vec![alice])] {
        let name = more.concat();
        let out = bench.arg(&format!("{name}.vhdx"));
        seal(&gold, &out, &[&more[..], &["--allow", "dirty-hive", "--leave-domain"]].concat());
        let after = secrets::dump(&bench, &out, &name).unwrap();
        assert!(gone.iter().all(|hash| !after.contains(hash)), "{after}");
        for hash in [alice, bob, administrator].into_iter().filter(|hash| !gone.contains(hash)) {
            assert_eq!(line(&after, hash), line(&before, hash));
        }
        assert!(!after.contains("lsa DefaultPassword") && !after.contains("$MACHINE.ACC"), "{after}");
        assert_eq!(line(&after, "lsa NL$KM"), line(&before, "lsa NL$KM"));
    }
}

/// `V` with what its 17 entries name behind one another, as Windows writes it.
fn packed(v: &[u8]) -> Vec<u8> {
    let number = |at: usize| u32::from_le_bytes(v[at..at + 4].try_into().unwrap()) as usize;
    let (mut out, mut data) = (v[..204].to_vec(), Vec::new());
    for entry in 0..17 {
        let (offset, len) = (number(12 * entry), number(12 * entry + 4));
        out[12 * entry..12 * entry + 4].copy_from_slice(&(data.len() as u32).to_le_bytes());
        data.extend(&v[204 + offset..204 + offset + len]);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    out.extend(data);
    out
}

/// The Administrator has no password afterwards, and the others keep theirs.
#[test]
fn impacket_sees_no_password_of_the_administrator() {
    const ADMINISTRATOR: &str = r"SAM\Domains\Account\Users\000001F4";
    let bench = Bench::new();
    let Some(mut placed) = secrets::matched_hives(&bench) else { return };
    let sam = placed.iter_mut().find(|file| file.path.ends_with("SAM")).unwrap();
    let mut hive = Hive::open(&named(&sam.bytes), &[], reseal_hive::Recover::Replay).unwrap();
    let key = hive.key(ADMINISTRATOR).unwrap().unwrap();
    let v = packed(&hive.value(key, "V").unwrap().unwrap().data);
    hive.set_value(key, "V", types::BINARY, &v).unwrap();
    sam.bytes = hive.to_bytes();
    let image = WindowsImage { placed, ..WindowsImage::default() };
    let gold = bench.build("gold.vhdx", ImageBuilder { volume_len: 128 << 20, ..ImageBuilder::default() }, &image);
    let Some(before) = secrets::dump(&bench, &gold, "before") else { return };
    let (out, how) = (bench.arg("blank.vhdx"), ["--blank-administrator", "--allow", "dirty-hive,domain-member"]);
    let report = seal(&gold, &out, &how);
    assert_plan_is_diff(&gold, &out, &report);
    let after = secrets::dump(&bench, &out, "after").unwrap();
    let users = |text: &str| text.lines().filter(|l| l.starts_with("sam ")).map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (users(&before), users(&after));
    assert!(before.len() == after.len() && before.len() > 2, "{before:?}");
    for (was, is) in before.iter().zip(&after) {
        // The hash of no password.
        let none = |line: &str| line.contains(":31d6cfe0d16ae931b73c59d7e0c089c0:");
        if was.starts_with("sam Administrator:500:") {
            assert!(!none(was) && none(is), "{was} became {is}");
        } else {
            assert_eq!(was, is);
        }
    }
    let again =
        ["--blank-administrator", "--steps", "blank-administrator", "--allow", "domain-member,pending-servicing"];
    reseal(["generalize", &out, "-n"].iter().chain(&again)).exits(5);
}

/// Packages that only a user has go; what is provisioned, what others need and what Windows is made of stay.
#[test]
fn store_packages_of_users() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        let own = format!(r"{STORE}\{}", sid(1001));
        for name in [
            "Microsoft.VCLibs.140.00_14.0.1.0_x64__8wekyb3d8bbwe",
            "Contoso.Mail_1.1.0.0_x64__abcdefgh",
            "Contoso.Game_1.0.0.0_x64__abcdefgh",
            "MicrosoftWindows.Client.CBS_1000.1.1.0_x64__cw5n1h2txyewy",
            "Microsoft.UI.Xaml.CBS_8.2.1.0_x64__8wekyb3d8bbwe",
            "MicrosoftWindows.Client.Core_1000.1.1.0_x64__cw5n1h2txyewy",
        ] {
            m.key("SOFTWARE", &format!(r"{own}\{name}"));
        }
        m.key("SOFTWARE", &format!(r"{STORE}\Applications\Contoso.Mail_1.0.0.0_x64__abcdefgh"));
        m.key("SOFTWARE", &format!(r"{STORE}\S-1-5-18\Contoso.Staged_1.0.0.0_x64__abcdefgh"));
        m.sz("SOFTWARE", &format!(r"{STORE}\{}\Contoso.Tool_1.0.0.0_x64__abcdefgh", sid(1002)), "Path", "x");
    });
    let out = rig.bench.arg("sealed.raw");
    assert_eq!(findings(&seal(&gold, &out, &["--sid", "keep"]), "store-apps").len(), 2);
    std::fs::remove_file(&out).unwrap();
    let report = seal(&gold, &out, &["--remove-user-appx", "--sid", "keep"]);
    assert_plan_is_diff(&gold, &out, &report);
    assert!(findings(&report, "store-apps").is_empty(), "they are solved");
    assert_eq!(findings(&report, "store-left").len(), 2, "the database keeps its rows");
    let hives = content::hives(&content::volume(&out));
    let software = &hives[r"\Windows\System32\config\SOFTWARE"];
    let keys = |key: String| -> Vec<String> {
        let key = software.key(&format!(r"{STORE}\{key}")).unwrap().expect("the user's key stays");
        let names = software.subkeys(key).unwrap().into_iter().map(|k| software.name(k).unwrap());
        names.map(|name| String::from_utf16(&name).unwrap()).collect()
    };
    let left = keys(sid(1001));
    assert!(left.len() == 5 && !left.iter().any(|name| name.contains("Game")), "{left:?}");
    assert!(keys(sid(1002)).is_empty());
    assert_eq!(keys("S-1-5-18".to_owned()).len(), 1);
    reseal(["generalize", &out, "-n", "--remove-user-appx", "--sid", "keep"]).exits(5);
    assert!(!reseal(["inspect", &out, "--check"]).text().contains("warn     store-apps"));
}
