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
    /// How many free cells hold a [`free_cell`].
    pub(crate) free_cells: usize,
}

/// Ways to write a canary.
pub(super) fn encoded(text: &str, way: usize) -> Vec<u8> {
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
        Action::PutDword(key, name, _) | Action::SetText(key, name, _) => value(key, "", name),
        // Four bytes hold no canary, and a value of another length is left alone and reported.
        Action::SetDword(..) => None,
        Action::DeleteFile(file) => Some(Spot::File(path(file, user))),
        Action::DeleteFolder(folder) | Action::ClearFolder(folder) => {
            Some(Spot::File(format!(r"{}\canary.bin", path(folder, user))))
        }
    }
}

/// Options that each own places, all of them at once. `--activation rearm` owns none: it adds a script.
pub(crate) const OPTIONS: &[&str] = &[
    "--machine-secrets",
    "drop",
    "--devices",
    "drop",
    "--leave-domain",
    "--leave-entra",
    "--remove-user",
    "bob",
    "--remove-user-appx",
    "--drop-snapshots",
];

/// A device that `--devices drop` forgets, below the control set.
const DEVICE: &str = r"Enum\USB\VID_046D&PID_C52B\5&2c&0&1";

/// Every place that a step which runs by default owns, or those of steps that have to be asked for, with the step's id. Steps
/// that are code say theirs here.
fn spots(user: &str, set: &str, asked: bool) -> BTreeMap<Spot, String> {
    let mut out = BTreeMap::new();
    for spec in reseal::catalogue().filter(|spec| (spec.client == reseal::Use::Ask) == asked) {
        out.extend(spec.actions.iter().filter_map(|a| Some((spot(a, user, set)?, spec.id.to_owned()))));
    }
    if asked {
        let snapshots = super::snapshots::FOLDER;
        let store = &super::snapshots::names(1)[1];
        for (file, step) in [
            (r"Users\bob\Documents\canary.bin".to_owned(), "remove-users"),
            (format!(r"{snapshots}\{store}"), "shadow-copies"),
            (format!(r"{snapshots}\SPP\metadata-2"), "shadow-copies"),
        ] {
            out.insert(Spot::File(file), step.to_owned());
        }
        let hive = |name: &str| format!(r"Windows\System32\config\{name}");
        for (hive, key, name, step) in [
            (r"Users\bob\NTUSER.DAT".to_owned(), "Software".to_owned(), "Canary", "remove-users"),
            (hive("SYSTEM"), format!(r"{set}\{DEVICE}"), "HardwareID", "devices"),
        ] {
            out.insert(Spot::Value(hive, key, name.to_owned()), step.to_owned());
        }
        return out;
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
    let hive = |name: &str| format!(r"Windows\System32\config\{name}");
    out.insert(Spot::File(r"Windows\System32\winevt\Logs\Canary.evtx".to_owned()), "event-logs".to_owned());
    out.insert(Spot::Value(hive("SECURITY"), "Cache".to_owned(), "NL$1".to_owned()), "cached-logons".to_owned());
    let volume = r"\??\Volume{0b1d4a0d-1111-11e9-2222-806e6f6e6963}".to_owned();
    out.insert(Spot::Value(hive("SYSTEM"), "MountedDevices".to_owned(), volume), "mounted-devices".to_owned());
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

/// Writes text into the first free cell of a hive's bytes that has room. Cells tile an hbin behind its header of 32 bytes; the
/// size of a free one is positive.
fn in_free_cell(bytes: &mut [u8], text: &[u8]) -> bool {
    let number = |bytes: &[u8], at: usize| i32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let mut bin = 4096;
    while bin + 32 < bytes.len() && &bytes[bin..bin + 4] == b"hbin" {
        let end = bin + number(bytes, bin + 8) as usize;
        let mut at = bin + 32;
        while at < end {
            let size = number(bytes, at);
            if size > 0 && size as usize > text.len() + 16 {
                bytes[at + 8..at + 8 + text.len()].copy_from_slice(text);
                return true;
            }
            at += size.unsigned_abs() as usize;
        }
        bin = end;
    }
    false
}

/// What stands in the free cell of a hive, in one of four forms.
pub(crate) fn free_cell(n: usize) -> String {
    format!("what cell {n} held")
}

/// Plants `count` canaries, in each place of the steps that run by default, or of those that are asked for, at least one;
/// each place's content holds its canaries in different ways. In the first free cell of each hive stands a [`free_cell`].
pub(crate) fn plant(volume: &mut Volume, about: &[&str], count: usize, asked: bool) -> Planted {
    let user = user(volume);
    let system = open(volume, r"Windows\System32\config\SYSTEM").expect("it has a SYSTEM");
    let select = system.key("Select").expect("it can be walked").expect("it is there");
    let current = system.value(select, "Current").expect("it can be read").and_then(|v| v.as_u32()).expect("a number");
    let set = format!("ControlSet{current:03}");
    let mut spots: Vec<(Spot, String)> = spots(&user, &set, asked).into_iter().collect();
    // Not every set of real hives is whole.
    spots.retain(|(spot, _)| match spot {
        Spot::Value(hive, ..) => volume.resolve(hive).expect("it can be walked").is_some(),
        Spot::File(_) => true,
    });
    assert!(
        spots.len() >= if asked { 40 } else { 60 } && count >= spots.len(),
        "{} places for {count} canaries",
        spots.len()
    );
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
                // A short hibernation file says that Windows sleeps, and so does another signature.
                if path == "hiberfil.sys" {
                    content = [b"WAKE".to_vec(), vec![0; 4096], content].concat();
                }
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
    if asked {
        let system = hives.get_mut(r"Windows\System32\config\SYSTEM").expect("devices are in it");
        let key = system.key(&format!(r"{set}\{DEVICE}")).expect("it can be walked").expect("it was made");
        let mouse: Vec<u8> =
            "{4d36e96f-e325-11ce-bfc1-08002be10318}\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        system.set_value(key, "ClassGUID", types::SZ, &mouse).expect("it can be set");
    }
    let mut free_cells = 0;
    for (path, hive) in hives {
        let mut bytes = hive.to_bytes();
        free_cells += usize::from(in_free_cell(&mut bytes, &encoded(&free_cell(free_cells), free_cells % 4)));
        put_file(volume, &path, &bytes);
    }
    Planted { canaries, free_cells }
}
