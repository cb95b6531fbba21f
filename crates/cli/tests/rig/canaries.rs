//! Canaries: unique texts in every place that a default step owns. The places come from the tables themselves.

use reseal::{Action, RuleFile};
use reseal_dtyp::FileTime;
use reseal_hive::{Hive, Recover, types};
use reseal_ntfs::{Security, Volume};
use std::collections::BTreeMap;

const NOW: FileTime = FileTime(133_500_000_000_000_000);

/// A place that a step cleans, and the step's id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Spot {
    /// Hive file, key, value name.
    Value(String, String, String),
    /// Path of a file.
    File(String),
}

/// What is in an image that has canaries.
pub(crate) struct Planted {
    /// Unique text and where it stands.
    pub(crate) canaries: Vec<(String, String)>,
}

/// Ways to write a canary.
fn encoded(text: &str, way: usize) -> Vec<u8> {
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex = |bytes: &[u8]| bytes.iter().flat_map(|b| format!("{b:02X}").into_bytes()).collect::<Vec<u8>>();
    match way % 6 {
        0 => text.as_bytes().to_vec(),
        1 => utf16,
        2 => base64(text.as_bytes()),
        3 => hex(text.as_bytes()),
        4 => base64(&utf16),
        _ => hex(&utf16),
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::new();
    for group in bytes.chunks(3) {
        let number = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for i in 0..4 {
            out.push(if i <= group.len() { ALPHABET[(number >> (18 - 6 * i)) as usize % 64] } else { b'=' });
        }
    }
    out
}

/// A hive and the key in it that a rule's place means; `*` becomes a name.
fn key(place: &str, user: &str, set: &str) -> (String, String) {
    let config = |name: &str| format!(r"Windows\System32\config\{name}");
    let roots = [
        (r"HKLM\SYSTEM\CurrentControlSet", config("SYSTEM"), format!("{set}\\")),
        (r"HKLM\SYSTEM", config("SYSTEM"), String::new()),
        (r"HKLM\SOFTWARE", config("SOFTWARE"), String::new()),
        (r"HKLM\SECURITY", config("SECURITY"), String::new()),
        (r"HKU\.DEFAULT", config("DEFAULT"), String::new()),
        ("HKCU", format!(r"Users\{user}\NTUSER.DAT"), String::new()),
    ];
    for (root, hive, prefix) in roots {
        if let Some(rest) = place.strip_prefix(root) {
            return (hive, format!("{prefix}{}", rest.trim_start_matches('\\')).replace('*', "of a canary"));
        }
    }
    panic!("where is {place}?")
}

fn path(place: &str, user: &str) -> String {
    let folders = [
        ("%SystemRoot%", "Windows".to_owned()),
        ("%System32%", r"Windows\System32".to_owned()),
        ("%ProgramData%", "ProgramData".to_owned()),
        ("%ProgramFiles(x86)%", "Program Files (x86)".to_owned()),
        ("%ProgramFiles%", "Program Files".to_owned()),
        ("%UserProfile%", format!(r"Users\{user}")),
        ("%AppData%", format!(r"Users\{user}\AppData\Roaming")),
        ("%LocalAppData%", format!(r"Users\{user}\AppData\Local")),
    ];
    let place = place.strip_prefix("%SystemDrive%").unwrap_or(place);
    for (start, folder) in folders {
        if let Some(rest) = place.strip_prefix(start) {
            return format!("{folder}{rest}").replace('*', "canary");
        }
    }
    assert!(place.starts_with('\\'), "where is {place}?");
    place[1..].replace('*', "canary")
}

fn spot(action: &Action<'_>, user: &str, set: &str) -> Option<Spot> {
    let value = |place: &str, below: &str, name: &str| {
        let (hive, key) = key(place, user, set);
        Some(Spot::Value(hive, format!("{key}{below}"), name.replace('*', "Canary")))
    };
    match *action {
        Action::DeleteKey(key) => value(key, "", "Canary"),
        Action::ClearKey(key) | Action::ClearSubkeys(key) => value(key, r"\Canary", "Canary"),
        Action::DeleteValue(key, name) | Action::BlankValue(key, name) => value(key, "", name),
        // What is set holds what is set.
        Action::SetDword(..) | Action::PutDword(..) | Action::SetText(..) => None,
        // A short one says that Windows sleeps.
        Action::DeleteFile(file) if file.contains("hiberfil") => None,
        Action::DeleteFile(file) => Some(Spot::File(path(file, user))),
        Action::DeleteFolder(folder) | Action::ClearFolder(folder) => {
            Some(Spot::File(format!(r"{}\canary.bin", path(folder, user))))
        }
    }
}

/// Every place that a step which runs by default owns, with the step's id. Steps that are code say theirs here.
fn spots(user: &str, set: &str) -> BTreeMap<Spot, String> {
    let mut out = BTreeMap::new();
    for spec in reseal::catalogue().filter(|spec| spec.client == reseal::Use::On) {
        out.extend(spec.actions.iter().filter_map(|a| Some((spot(a, user, set)?, spec.id.to_owned()))));
    }
    let agents = concat!(env!("CARGO_MANIFEST_DIR"), "/../reseal/rules/agents.toml");
    for rule in &RuleFile::load(agents.as_ref()).expect("the rules can be read").rules {
        out.extend(
            rule.actions().iter().filter_map(|a| Some((spot(a, user, set)?, format!("agent-ids, {}", rule.id)))),
        );
    }
    let software = r"HKLM\SOFTWARE\Microsoft";
    for (place, name) in [
        (format!(r"{software}\Cryptography"), "MachineGuid"),
        (r"HKLM\SOFTWARE\Wow6432Node\Microsoft\Cryptography".to_owned(), "MachineGuid"),
        (format!(r"{software}\Windows\CurrentVersion\WindowsUpdate"), "SusClientId"),
        (format!(r"{software}\Windows\CurrentVersion\WindowsUpdate"), "SusClientIdValidation"),
        (format!(r"{software}\Windows\CurrentVersion\WindowsUpdate"), "PingID"),
        (format!(r"{software}\Windows\CurrentVersion\WindowsUpdate"), "AccountDomainSid"),
        (format!(r"{software}\SQMClient"), "MachineId"),
        (r"HKLM\SOFTWARE\Wow6432Node\Microsoft\SQMClient".to_owned(), "MachineId"),
        (r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters".to_owned(), "Dhcpv6DUID"),
        (r"HKLM\SYSTEM\CurrentControlSet\Services\LanmanServer\Parameters".to_owned(), "Guid"),
    ] {
        let (hive, key) = key(&place, user, set);
        out.insert(Spot::Value(hive, key, name.to_owned()), "machine-ids".to_owned());
    }
    out.insert(Spot::File(r"Windows\System32\winevt\Logs\Canary.evtx".to_owned()), "event-logs".to_owned());
    out
}

/// The folder of a user who has a hive.
fn user(volume: &Volume) -> String {
    let users = volume.resolve("Users").expect("it can be walked").expect("it is there");
    let mut names: Vec<String> =
        volume.entries(users).expect("it can be listed").iter().map(|e| reseal_dtyp::utf16_lossy(&e.name)).collect();
    names.sort();
    let has_hive = |name: &String| {
        name != "Default" && volume.resolve(&format!(r"Users\{name}\NTUSER.DAT")).expect("it can be walked").is_some()
    };
    names.into_iter().find(has_hive).expect("a user with a hive")
}

fn open(volume: &Volume, path: &str) -> Option<Hive> {
    let read = |path: &str| Some(volume.read(volume.resolve(path).ok()??, &[]).expect("it can be read"));
    let logs: Vec<Vec<u8>> =
        [".LOG", ".LOG1", ".LOG2"].iter().filter_map(|log| read(&format!("{path}{log}"))).collect();
    let (primary, logs) = (read(path)?, logs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let hive = Hive::open(&primary, &logs, Recover::Replay).or_else(|_| Hive::open(&primary, &logs, Recover::AsIs));
    Some(hive.expect("it opens"))
}

fn put_file(volume: &mut Volume, path: &str, bytes: &[u8]) {
    let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
    let mut at = volume.root();
    for part in folder.split('\\').filter(|part| !part.is_empty()) {
        let units: Vec<u16> = part.encode_utf16().collect();
        at = match volume.lookup(at, &units).expect("it can be looked up") {
            Some(found) => found,
            None => volume.create_dir(at, part, Security::SameAs(at), NOW).expect("a folder"),
        };
    }
    let units: Vec<u16> = name.encode_utf16().collect();
    match volume.lookup(at, &units).expect("it can be looked up") {
        Some(file) => volume.replace(file, &[], bytes, NOW).expect("it can be replaced"),
        None => {
            volume.create_file(at, name, bytes, Security::SameAs(at), NOW).expect("a file");
        }
    }
}

/// Plants `count` canaries, in each place at least one; each place's content holds its canaries in different ways.
pub(crate) fn plant(volume: &mut Volume, about: &[&str], count: usize) -> Planted {
    let user = user(volume);
    let system = open(volume, r"Windows\System32\config\SYSTEM").expect("it has a SYSTEM");
    let select = system.key("Select").expect("it can be walked").expect("it is there");
    let current = system.value(select, "Current").expect("it can be read").and_then(|v| v.as_u32()).expect("a number");
    let mut spots: Vec<(Spot, String)> = spots(&user, &format!("ControlSet{current:03}")).into_iter().collect();
    // Not every set of real hives is whole.
    spots.retain(|(spot, _)| match spot {
        Spot::Value(hive, ..) => volume.resolve(hive).expect("it can be walked").is_some(),
        Spot::File(_) => true,
    });
    assert!(spots.len() >= 60 && count >= spots.len(), "{} places for {count} canaries", spots.len());
    let mut contents: BTreeMap<Spot, Vec<u8>> = BTreeMap::new();
    let mut canaries = Vec::new();
    for n in 0..count {
        let (spot, step) = &spots[n % spots.len()];
        let id = format!("canary-{n:04}-{:08x}", (n as u32 + 1).wrapping_mul(0x9e37_79b1));
        let content = contents.entry(spot.clone()).or_default();
        content.extend(encoded(&format!("of {} {id} end", about[n % about.len()]), n + n / spots.len()));
        content.extend_from_slice(b"\n\n");
        canaries.push((id, format!("{step}: {spot:?}")));
    }
    let mut hives: BTreeMap<String, Hive> = BTreeMap::new();
    for (n, (spot, mut content)) in contents.into_iter().enumerate() {
        match spot {
            Spot::File(path) => {
                // Every second one does not fit into its record.
                content.resize(content.len() + if n % 2 == 0 { 3000 } else { 0 }, b'.');
                put_file(volume, &path, &content);
            }
            Spot::Value(path, key, name) => {
                let hive = hives.entry(path.clone()).or_insert_with(|| open(volume, &path).expect("it is there"));
                let key = hive.create_path(&key).unwrap_or_else(|e| panic!("{path}: {key}: {e}"));
                hive.set_value(key, &name, types::BINARY, &content).expect("it can be set");
            }
        }
    }
    for (path, hive) in hives {
        put_file(volume, &path, &hive.to_bytes());
    }
    Planted { canaries }
}
