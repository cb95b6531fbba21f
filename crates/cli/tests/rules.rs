//! Every rule of every step, of the agents' data and of a user's file: planted, sealed, gone; and what lies beside it stays.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal::{Action, RuleFile};
use reseal_disk::Disk;
use reseal_dtyp::FileTime;
use reseal_hive::{Hive, Recover};
use reseal_ntfs::{Security, Volume};
use reseal_testdata::{Container, ImageBuilder, real};
use rig::{Bench, made_up, reseal, seal};
use std::collections::BTreeMap;

const NOW: FileTime = FileTime(133_500_000_000_000_000);
const SZ: u32 = 1;
const DWORD: u32 = 4;
const MULTI_SZ: u32 = 7;

/// What stands beside everything that goes.
const STAYS: &str = "Stays";

/// A place without wildcards, where a rule will find something.
fn concrete(pattern: &str) -> String {
    pattern.replace('*', "Planted").replace('?', "1")
}

/// The hive file of a key place, and the key in it.
fn hive_of(place: &str) -> (&'static str, String) {
    for (start, file, below) in [
        (r"HKLM\SYSTEM\CurrentControlSet\", r"Windows\System32\config\SYSTEM", r"ControlSet001\"),
        (r"HKLM\SYSTEM\", r"Windows\System32\config\SYSTEM", ""),
        (r"HKLM\SOFTWARE\", r"Windows\System32\config\SOFTWARE", ""),
        (r"HKLM\SECURITY\", r"Windows\System32\config\SECURITY", ""),
        (r"HKCU\", r"Users\ann\NTUSER.DAT", ""),
        (r"HKU\.DEFAULT\", r"Windows\System32\config\DEFAULT", ""),
    ] {
        if let Some(rest) = place.strip_prefix(start) {
            return (file, format!("{below}{}", concrete(rest)));
        }
    }
    panic!("{place} has no hive in the made-up machine");
}

fn file_of(place: &str) -> String {
    let path = [
        ("%SystemRoot%", "Windows"),
        ("%System32%", r"Windows\System32"),
        ("%ProgramData%", "ProgramData"),
        ("%ProgramFiles(x86)%", "Program Files (x86)"),
        ("%ProgramFiles%", "Program Files"),
        ("%AppData%", r"Users\ann\AppData\Roaming"),
        ("%LocalAppData%", r"Users\ann\AppData\Local"),
        ("%SystemDrive%", ""),
    ]
    .iter()
    .find_map(|(start, folder)| place.strip_prefix(start).map(|rest| format!("{folder}{rest}")))
    .unwrap_or_else(|| place.to_owned());
    concrete(path.trim_start_matches('\\'))
}

fn is_file_action(action: &Action<'_>) -> bool {
    matches!(action, Action::DeleteFile(_) | Action::DeleteFolder(_) | Action::ClearFolder(_))
}

fn make_file(volume: &mut Volume, path: &str) {
    let mut at = volume.root();
    let (folders, name) = path.rsplit_once('\\').unwrap_or(("", path));
    for name in folders.split('\\').filter(|n| !n.is_empty()) {
        let units: Vec<u16> = name.encode_utf16().collect();
        at = match volume.lookup(at, &units).unwrap() {
            Some(found) => found,
            None => volume.create_dir(at, name, Security::SameAs(at), NOW).unwrap(),
        };
    }
    let units: Vec<u16> = name.encode_utf16().collect();
    if volume.lookup(at, &units).unwrap().is_none() {
        volume.create_file(at, name, &[7; 5000], Security::SameAs(at), NOW).unwrap();
    }
}

/// Plants what the rules will find, and neighbours that stay.
fn plant(volume: &mut Volume, actions: &[Action<'_>]) {
    let mut hives: BTreeMap<&str, Hive> = BTreeMap::new();
    for action in actions {
        match action {
            Action::DeleteFile(place) => {
                make_file(volume, &file_of(place));
                make_file(volume, &format!("{}{STAYS}", folder_of(&file_of(place))));
            }
            Action::DeleteFolder(place) | Action::ClearFolder(place) => {
                make_file(volume, &format!(r"{}\file.bin", file_of(place)));
                make_file(volume, &format!(r"{}\folder\deep\file.bin", file_of(place)));
                make_file(volume, &format!("{}{STAYS}", folder_of(&file_of(place))));
            }
            _ => {
                let (file, key) = hive_of(action.place());
                let hive = hives.entry(file).or_insert_with(|| read_hive(volume, file));
                plant_in(hive, &key, action);
            }
        }
    }
    for (file, hive) in hives {
        let node = volume.resolve(file).unwrap().unwrap();
        volume.replace(node, &[], &hive.to_bytes(), NOW).unwrap();
    }
}

fn folder_of(path: &str) -> String {
    path.rsplit_once('\\').map_or(String::new(), |(folder, _)| format!(r"{folder}\"))
}

fn plant_in(hive: &mut Hive, key: &str, action: &Action<'_>) {
    let id = hive.create_path(key).unwrap();
    hive.set_value(id, STAYS, SZ, b"x\0\0\0").unwrap();
    match *action {
        Action::DeleteValue(_, name) => hive.set_value(id, &concrete(name), SZ, b"7\0\0\0").unwrap(),
        Action::BlankValue(_, name) => hive.set_value(id, name, MULTI_SZ, b"1\x000\0\0\0\0\0").unwrap(),
        Action::SetDword(_, name, number) | Action::PutDword(_, name, number) => {
            hive.set_value(id, name, DWORD, &(number ^ 5).to_le_bytes()).unwrap()
        }
        Action::SetText(_, name, _) => hive.set_value(id, name, SZ, b"?\0\0\0").unwrap(),
        _ => {
            let below = hive.create_path(&format!(r"{key}\Below\Deep")).unwrap();
            hive.set_value(below, "v", SZ, b"7\0\0\0").unwrap();
        }
    }
}

fn read_hive(volume: &Volume, file: &str) -> Hive {
    let node = volume.resolve(file).unwrap().unwrap_or_else(|| panic!("{file} is missing"));
    Hive::open(&volume.read(node, &[]).unwrap(), &[], Recover::Replay).unwrap()
}

/// Whether the action has been done, and no more than it.
fn done(volume: &Volume, action: &Action<'_>) -> bool {
    if is_file_action(action) {
        let path = file_of(action.place());
        assert!(
            volume.resolve(&format!("{}{STAYS}", folder_of(&path))).unwrap().is_some(),
            "{action}: too much is gone"
        );
        let found = volume.resolve(&path).unwrap();
        return match action {
            Action::ClearFolder(_) => volume.entries(found.expect("the folder stays")).unwrap().is_empty(),
            _ => found.is_none(),
        };
    }
    let (file, key) = hive_of(action.place());
    let hive = read_hive(volume, file);
    let Some(id) = hive.key(&key).unwrap() else { return matches!(action, Action::DeleteKey(_)) };
    let value = |name: &str| hive.value(id, name).unwrap();
    let stays = value(STAYS).is_some();
    match *action {
        Action::DeleteKey(_) => false,
        Action::ClearKey(_) => hive.subkeys(id).unwrap().is_empty() && hive.values(id).unwrap().is_empty(),
        Action::ClearSubkeys(_) => stays && hive.subkeys(id).unwrap().is_empty(),
        Action::DeleteValue(_, name) => stays && value(&concrete(name)).is_none(),
        Action::BlankValue(_, name) => stays && value(name).is_some_and(|v| v.ty == MULTI_SZ && v.data == [0, 0]),
        Action::SetDword(_, name, number) | Action::PutDword(_, name, number) => {
            stays && value(name).is_some_and(|v| v.as_u32() == Some(number))
        }
        Action::SetText(_, name, text) => stays && value(name).is_some_and(|v| v.as_text().as_deref() == Some(text)),
        _ => false,
    }
}

const OWN: &str = r"
[[rule]]
id = 'acme'
title = 'Acme inventory'
note = 'enrol it anew'
delete-key = ['HKLM\SOFTWARE\Acme\Session*']
clear-key = ['HKLM\SOFTWARE\Acme\State']
clear-subkeys = ['HKCU\Software\Acme']
delete-value = [['HKLM\SYSTEM\CurrentControlSet\Services\Acme', 'Id?']]
blank-value = [['HKLM\SOFTWARE\Acme', 'Server']]
set-dword = [['HKLM\SOFTWARE\Acme', 'Enrolled', 0]]
set-text = [['HKLM\SOFTWARE\Acme', 'Name', 'nobody']]
delete-file = ['%ProgramData%\Acme\*.key']
delete-folder = ['%ProgramData%\Acme\cache']
clear-folder = ['%LocalAppData%\Acme']
";

#[test]
fn every_rule_does_what_it_says_and_no_more() {
    let agents = RuleFile::parse(include_str!("../../reseal/rules/agents.toml")).unwrap();
    let own = RuleFile::parse(OWN).unwrap();
    assert!(agents.rules.len() >= 15);
    let mut actions: Vec<Action<'_>> = reseal::catalogue().flat_map(|spec| spec.actions).copied().collect();
    let unit = reseal::catalogue().find(|spec| spec.id == "machine-secrets").unwrap().actions;
    actions.extend(agents.rules.iter().chain(&own.rules).flat_map(|rule| rule.actions()));
    println!("{} rules", actions.len());

    let bench = Bench::new();
    let builder =
        ImageBuilder { container: Container::Raw, bare: true, volume_len: 64 << 20, ..ImageBuilder::default() };
    let path = bench.path("gold.raw");
    let build = |volume: &mut Volume| {
        made_up().fill(volume)?;
        plant(volume, &actions);
        Ok(())
    };
    builder.build(&path, build).unwrap();
    let (gold, sealed) = (bench.arg("gold.raw"), bench.arg("sealed.raw"));
    reseal(["fs", "check", &gold]).exits(0);
    let open = |path: &str| Volume::open(Disk::open(std::path::Path::new(path)).unwrap().bytes()).unwrap();
    let before = open(&gold);
    let undone: Vec<&Action<'_>> = actions.iter().filter(|action| done(&before, action)).collect();
    assert!(undone.is_empty(), "nothing is planted for {undone:?}");

    let rules = bench.write("own.toml", OWN.as_bytes());
    // Everything, also what has to be asked for; what empties the folders of others comes after them. What is planted
    // is a join, too, which only its own option ends.
    let but = "all,-machine-secrets";
    let report = seal(&gold, &sealed, &["--steps", but, "--leave-entra", "--rules", &rules]);
    let (secrets, others): (Vec<&Action<'_>>, Vec<&Action<'_>>) = actions.iter().partition(|a| unit.contains(a));
    let after = open(&sealed);
    let left: Vec<String> = others.iter().filter(|a| !done(&after, a)).map(ToString::to_string).collect();
    assert!(left.is_empty(), "{left:#?}");
    reseal(["fs", "check", &sealed]).exits(0);
    reseal(["generalize", &sealed, "-n", "--steps", but, "--rules", &rules]).exits(5);
    let emptied = bench.arg("emptied.raw");
    seal(&sealed, &emptied, &["--machine-secrets", "drop"]);
    let after = open(&emptied);
    let left: Vec<String> = secrets.iter().filter(|a| !done(&after, a)).map(ToString::to_string).collect();
    assert!(left.is_empty() && secrets.len() > 20, "{left:#?}");

    let steps = report["plan"]["steps"].as_array().unwrap();
    let note = |id: &str| steps.iter().find(|s| s["id"] == id).unwrap()["note"].as_str().unwrap().to_owned();
    assert!(agents.rules.iter().all(|rule| rule.actions().is_empty() || note("agent-ids").contains(&rule.title)));
    assert!(note("own-rules").contains("Acme inventory"));
    let findings = report["plan"]["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["id"] == "agent-note" && f["detail"] == "enrol it anew"));
}

#[test]
fn rules_that_cannot_be_understood_are_usage_errors() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let bad = bench.write("bad.toml", b"[[rule]]\nid = 'a'\ndelete-file = ['C:\\x']\n");
    reseal(["generalize", &gold, "-n", "--rules", &bad]).exits(2).says("C:");
    reseal(["generalize", &gold, "-n", "--rules", &bench.arg("none.toml")]).exits(1).says("none.toml");
    // What has to be asked for does not run by itself.
    let plan = reseal(["generalize", &gold, "-n", "--json", "--steps", "default"]).exits(0).json();
    let ran: Vec<&str> = plan["steps"].as_array().unwrap().iter().map(|s| s["id"].as_str().unwrap()).collect();
    let asked = reseal::catalogue().filter(|spec| spec.client == reseal::Use::Ask);
    assert!(asked.into_iter().all(|spec| !ran.contains(&spec.id)));
}

/// The attribute of an element's text.
fn attribute<'t>(element: &'t str, name: &str) -> &'t str {
    let start = element.find(&format!("{name}=\"")).unwrap_or_else(|| panic!("{name} in {element}")) + name.len() + 2;
    &element[start..start + element[start..].find('"').unwrap()]
}

/// What a recipe says in so many words, found without an XML reader.
fn declared(text: &str) -> Vec<(&str, String, &str, u32)> {
    let mut out = Vec::new();
    for verb in ["deleteKey", "deleteValue", "setValue", "deleteFile", "deleteDirectory"] {
        for (at, _) in text.match_indices(&format!("<{verb} ")) {
            let element = &text[at..at + text[at..].find('>').unwrap()];
            let place = attribute(element, "path")
                .replace("HKEY_LOCAL_MACHINE", "HKLM")
                .replace("HKEY_CURRENT_USER", "HKCU")
                .replace("HKEY_USERS", "HKU")
                .replace(r"HKLM\System\", r"HKLM\SYSTEM\")
                .replace(r"HKLM\Software\", r"HKLM\SOFTWARE\")
                .replace("$(runtime.windows)", "%SystemRoot%");
            let name = if verb.ends_with("Value") { attribute(element, "name") } else { "" };
            let value = if verb == "setValue" { attribute(element, "value") } else { "0" };
            let value =
                value.strip_prefix("0x").map_or_else(|| value.parse(), |hex| u32::from_str_radix(hex, 16)).unwrap();
            out.push((verb, place, name, value));
        }
    }
    out
}

#[test]
fn the_recipes_of_real_images_are_carried_out() {
    let Some(data) = real::root() else { return };
    for (file, expected) in [("Generalize.xml", 22), ("Generalize_old.xml", 22)] {
        let text = std::fs::read_to_string(data.join("operepo+sysprep_scripts").join(file)).unwrap();
        let declared = declared(&text);
        let actions: Vec<Action<'_>> = declared
            .iter()
            .map(|(verb, place, name, value)| match *verb {
                "deleteKey" => Action::DeleteKey(place),
                "deleteValue" => Action::DeleteValue(place, name),
                "setValue" => Action::PutDword(place, name, *value),
                "deleteFile" => Action::DeleteFile(place),
                _ => Action::DeleteFolder(place),
            })
            .collect();
        println!("{file}: {} declared", actions.len());
        assert!(actions.len() >= expected);
        let bench = Bench::new();
        let build = |volume: &mut Volume| {
            made_up().fill(volume)?;
            plant(volume, &actions);
            let folder = r"Windows\System32\Sysprep\ActionFiles";
            make_file(volume, &format!(r"{folder}\Generalize.xml"));
            let recipe = volume.resolve(&format!(r"{folder}\Generalize.xml")).unwrap().unwrap();
            volume.replace(recipe, &[], text.as_bytes(), NOW)?;
            Ok(())
        };
        let builder = ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
        builder.build(&bench.path("gold.raw"), build).unwrap();
        let (gold, sealed) = (bench.arg("gold.raw"), bench.arg("sealed.raw"));
        // Alone, so that no other step does its work.
        let report = seal(&gold, &sealed, &["--steps", "recipe"]);
        let after = Volume::open(Disk::open(std::path::Path::new(&sealed)).unwrap().bytes()).unwrap();
        let left: Vec<String> = actions.iter().filter(|a| !done(&after, a)).map(ToString::to_string).collect();
        assert!(left.is_empty(), "{left:#?}");
        reseal(["generalize", &sealed, "-n", "--steps", "recipe"]).exits(5);

        let recipe = report["plan"]["recipe"].as_array().unwrap();
        let with = |outcome: &str| recipe.iter().filter(|e| e["outcome"] == outcome).count();
        println!(
            "{file}: {} entries: {} done, {} by steps, {} by guards, {} left",
            recipe.len(),
            with("done"),
            with("step"),
            with("guard"),
            with("left")
        );
        let unknown: Vec<_> = recipe.iter().filter(|e| e["outcome"] == "unknown").collect();
        assert!(unknown.is_empty(), "{unknown:#?}");
        assert!(recipe.iter().all(|e| !e["by"].as_str().unwrap().is_empty()));
    }
}

#[test]
fn a_recipe_that_nobody_knows_is_a_finding() {
    let bench = Bench::new();
    let node = |work: &str| {
        format!(
            "<sysprepInformation><imaging exclude=\"\"><assemblyIdentity name=\"New\" processorArchitecture=\"amd64\"/>\
             <sysprepOrder order=\"0x3E00\"/>{work}</imaging></sysprepInformation>"
        )
    };
    let cases = [
        (node(r#"<sysprepModule methodName="Go" moduleName="new.dll"/>"#), "recipe-unknown"),
        (node(r#"<fileActions><deleteFile path="C:\\x"/></fileActions>"#), "recipe-unknown"),
        (node(r#"<registryActions><copyKey path="HKEY_LOCAL_MACHINE\SYSTEM\a"/></registryActions>"#), "recipe-unknown"),
        ("<sysprepInformation></imaging>".to_owned(), "recipe-unreadable"),
        ("\u{0}".repeat(5000), "recipe-unreadable"),
    ];
    for (i, (text, id)) in cases.into_iter().enumerate() {
        let name = format!("gold{i}.raw");
        let build = |volume: &mut Volume| {
            made_up().fill(volume)?;
            make_file(volume, r"Windows\System32\Sysprep\ActionFiles\Generalize.xml");
            let recipe = volume.resolve(r"Windows\System32\Sysprep\ActionFiles\Generalize.xml").unwrap().unwrap();
            volume.replace(recipe, &[], text.as_bytes(), NOW)?;
            Ok(())
        };
        let builder = ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
        builder.build(&bench.path(&name), build).unwrap();
        let plan = reseal(["generalize", &bench.arg(&name), "-n", "--json"]).exits(0).json();
        assert!(plan["findings"].as_array().unwrap().iter().any(|f| f["id"] == id), "{text}: {}", plan["findings"]);
        reseal(["generalize", &bench.arg(&name), "-n", "--strict", "--steps", "recipe"]).exits(3);
    }
}

#[test]
fn cached_logons_are_emptied_and_their_slots_stay() {
    let bench = Bench::new();
    let security = r"Windows\System32\config\SECURITY";
    let mut empty = vec![0; 168];
    empty[40..44].copy_from_slice(&[4, 0, 1, 0]);
    let build = |volume: &mut Volume| {
        made_up().fill(volume)?;
        let mut hive = read_hive(volume, security);
        let cache = hive.create_path("Cache").unwrap();
        hive.set_value(cache, "NL$Control", 3, &[4, 0, 1, 0, 10, 0, 0, 0]).unwrap();
        hive.set_value(cache, "NL$1", 3, &[0x5a; 500]).unwrap();
        hive.set_value(cache, "NL$2", 3, &empty).unwrap();
        hive.set_value(cache, "NL$10", 3, &[0x5a; 200]).unwrap();
        let node = volume.resolve(security).unwrap().unwrap();
        volume.replace(node, &[], &hive.to_bytes(), NOW)?;
        Ok(())
    };
    let builder = ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
    builder.build(&bench.path("gold.raw"), build).unwrap();
    let (gold, sealed) = (bench.arg("gold.raw"), bench.arg("sealed.raw"));
    let report = seal(&gold, &sealed, &[]);
    let volume = Volume::open(Disk::open(std::path::Path::new(&sealed)).unwrap().bytes()).unwrap();
    let hive = read_hive(&volume, security);
    let value = |name: &str| hive.value(hive.key("Cache").unwrap().unwrap(), name).unwrap().unwrap().data;
    assert!(["NL$1", "NL$2", "NL$10"].iter().all(|slot| value(slot) == empty));
    assert_eq!(value("NL$Control"), [4, 0, 1, 0, 10, 0, 0, 0]);
    // Only slots that held something are a change, and what they held is nobody's business.
    let changes = report["plan"]["changes"].as_array().unwrap();
    let own: Vec<_> = changes.iter().filter(|c| c["step"] == "cached-logons").collect();
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|c| c["before"].as_str().unwrap().contains("sha256")));
}
