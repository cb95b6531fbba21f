//! `nt-hive` reads hives after a thousand random edits.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod random;

use random::Random;
use reseal_dtyp::{Descriptor, FileTime};
use reseal_hive::{Hive, KeyId, Recover};
use reseal_testdata::real;
use std::path::Path;

/// One line per key (path, class name) and value (name, data), as our reader sees them.
fn ours(hive: &Hive) -> Vec<String> {
    let mut out = Vec::new();
    let mut queue = vec![(hive.root(), String::new())];
    while let Some((key, path)) = queue.pop() {
        let text = |units: &[u16]| String::from_utf16_lossy(units);
        let class = hive.class_name(key).unwrap().map(|class| text(&class)).unwrap_or_default();
        out.push(format!("{path} class={class:?}"));
        for value in hive.values(key).unwrap() {
            let data = unreadable(hive.minor_version(), value.data.len()).unwrap_or_else(|| digest(&value.data));
            out.push(format!("{path} {:?} {data}", text(&value.name)));
        }
        for child in hive.subkeys(key).unwrap().into_iter().rev() {
            queue.push((child, format!("{path}\\{}", text(&hive.name(child).unwrap()))));
        }
    }
    out
}

/// The same as `nt-hive` sees them. Its data types end at 11, so types are not compared here.
fn theirs(bytes: &[u8]) -> Vec<String> {
    let hive = nt_hive::Hive::new(bytes).expect("nt-hive opens it");
    let mut out = Vec::new();
    let mut queue = vec![(hive.root_key_node().expect("it has a root"), String::new())];
    while let Some((key, path)) = queue.pop() {
        let class = key.class_name().map(|class| class.unwrap().to_string_lossy()).unwrap_or_default();
        out.push(format!("{path} class={class:?}"));
        for value in key.values().into_iter().flat_map(|list| list.expect("a list of values")) {
            let value = value.expect("a value");
            let name = value.name().unwrap().to_string_lossy();
            let data = unreadable(hive.minor_version(), value.data_size() as usize).unwrap_or_else(|| {
                let read = value.data().and_then(nt_hive::KeyValueData::into_vec);
                digest(&read.unwrap_or_else(|e| panic!("{path} {name}: {e}")))
            });
            out.push(format!("{path} {name:?} {data}"));
        }
        let children: Vec<_> = key
            .subkeys()
            .into_iter()
            .flat_map(|list| list.expect("a list of subkeys"))
            .map(|k| k.expect("a key"))
            .collect();
        for child in children.into_iter().rev() {
            let name = child.name().unwrap().to_string_lossy();
            queue.push((child, format!("{path}\\{name}")));
        }
    }
    out
}

/// Length and FNV-1a: enough to tell data apart, short enough to print.
fn digest(data: &[u8]) -> String {
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
    format!("{} bytes {hash:016x}", data.len())
}

/// Before version 1.4 a value lies in one cell however long it is; `nt-hive` looks for segments in any version. Of such values
/// only the length is compared.
fn unreadable(minor: u32, len: usize) -> Option<String> {
    (minor < 4 && len > 16_344).then(|| format!("{len} bytes"))
}

#[track_caller]
fn assert_same(hive: &Hive, what: &str) -> usize {
    let (ours, theirs) = (ours(hive), theirs(&hive.to_bytes()));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
    ours.len()
}

/// All keys, from the root down.
fn keys(hive: &Hive) -> Vec<KeyId> {
    let mut out = vec![hive.root()];
    let mut next = 0;
    while next < out.len() {
        let children = hive.subkeys(out[next]).unwrap();
        out.extend(children);
        next += 1;
    }
    out
}

fn name(random: &mut Random) -> String {
    match random.below(4) {
        0 => format!("{{{:08x}-{:04x}}}", random.below(1 << 32), random.below(1 << 16)),
        1 => format!("Größe {} 漢字", random.below(1000)),
        2 => "n".repeat(random.below(120) + 1),
        _ => format!("Name{}", random.below(10_000)),
    }
}

fn data(random: &mut Random) -> Vec<u8> {
    let len = match random.below(12) {
        0 => 0,
        1..=4 => random.below(9),
        5..=9 => random.below(600),
        10 => 16_300 + random.below(100),
        _ => 20_000 + random.below(40_000),
    };
    random.bytes(len)
}

/// One random edit; keys that are gone by now are passed over.
fn edit(hive: &mut Hive, random: &mut Random, all: &mut Vec<KeyId>) {
    let key = all[random.below(all.len())];
    match random.below(20) {
        0..=5 => {
            let name = name(random);
            let there = hive.subkey(key, &name.encode_utf16().collect::<Vec<_>>()).unwrap().is_some();
            // Deep chains would make the paths long and show nothing more.
            if !there && hive.path(key).unwrap().matches('\\').count() < 20 {
                all.push(hive.create_key(key, &name).unwrap());
            }
        }
        6..=13 => {
            let (name, ty, data) = (
                if random.below(9) == 0 { String::new() } else { name(random) },
                random.below(12) as u32,
                data(random),
            );
            hive.set_value(key, &name, ty, &data).unwrap();
        }
        14 | 15 => {
            let values = hive.values(key).unwrap();
            if !values.is_empty() {
                let gone = &values[random.below(values.len())];
                assert!(hive.delete_value_units(key, &gone.name).unwrap());
            }
        }
        16 => {
            let class: Vec<u16> = name(random).encode_utf16().collect();
            hive.set_class_name(key, (random.below(3) > 0).then_some(&class[..])).unwrap();
        }
        17 => {
            let sddl = format!("O:BAG:SYD:(A;CI;KA;;;S-1-5-21-1-2-3-{})", random.below(20));
            hive.set_descriptor(key, &Descriptor::from_sddl(&sddl).unwrap().to_bytes().unwrap()).unwrap();
        }
        18 => {
            let new = format!("renamed {}", random.below(1 << 30));
            if key != hive.root() {
                let new = hive.rename_key(key, &new.encode_utf16().collect::<Vec<_>>()).unwrap();
                all.iter_mut().filter(|k| **k == key).for_each(|k| *k = new);
            }
        }
        _ => {
            // A leaf: nothing else that is listed goes with it.
            if key != hive.root() && hive.subkeys(key).unwrap().is_empty() {
                hive.delete_key(key).unwrap();
                all.retain(|k| *k != key);
            }
        }
    }
}

fn thousand_edits(hive: &mut Hive, seed: u64) {
    let mut random = Random(seed);
    let mut all = keys(hive);
    for _ in 0..1000 {
        edit(hive, &mut random, &mut all);
    }
    let findings: Vec<_> = hive.check().into_iter().filter(|f| f.level > reseal_dtyp::Level::Note).collect();
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn hives_from_nothing() {
    for minor in [3, 4, 5] {
        let descriptor = Descriptor::from_sddl("O:BAG:SYD:(A;CI;KA;;;BA)").unwrap().to_bytes().unwrap();
        for seed in 1..=5 {
            let mut hive = Hive::new("ROOT", minor, &descriptor, FileTime(1)).unwrap();
            thousand_edits(&mut hive, seed << 32 | u64::from(minor));
            let lines = assert_same(&hive, &format!("minor {minor}, seed {seed}"));
            assert!(lines > 400, "{lines} lines");
        }
    }
}

fn real_hive(root: &Path, path: &str) -> Hive {
    let bytes = real::read(root, path).expect("the set is whole");
    Hive::open(&bytes, &[], Recover::Replay)
        .or_else(|_| Hive::open(&bytes, &[], Recover::AsIs))
        .unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn real_hives() {
    let Some(root) = real::root() else { return };
    let c = "AndrewRathbun+DFIRArtifactMuseum@history/Windows/Registry/Win10/RathbunVM";
    let paths = [
        format!("{c}/SAM"),
        format!("{c}/ELAM"),
        format!("{c}/BCD-Template"),
        "deb_dfwinreg_20240316/SAM".to_owned(),
        "deb_dfwinreg_20240316/SECURITY".to_owned(),
        "deb_dfwinreg_20240316/NTUSER.DAT".to_owned(),
        "mkorman90+regipy/UsrClass.dat.xz".to_owned(),
        "mkorman90+regipy/SYSTEM.xz".to_owned(),
    ];
    let mut read = 0;
    for (i, path) in paths.iter().enumerate() {
        let mut hive = real_hive(&root, path);
        thousand_edits(&mut hive, 7 + i as u64);
        read += assert_same(&hive, path);
    }
    println!("{read} keys and values of {} hives read alike after 1,000 edits each", paths.len());
}
