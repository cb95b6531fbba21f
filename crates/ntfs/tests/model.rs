//! A volume against a tree in memory, through some hundred random operations.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_ntfs::{FileReference, Namespace, Security, Volume};
use rig::{NOW, Random};
use std::collections::BTreeMap;

/// What should be on the volume: paths and content; `None` for a folder.
type Model = BTreeMap<String, Option<Vec<u8>>>;

fn reference(volume: &Volume, path: &str) -> FileReference {
    volume.resolve(path).unwrap().unwrap_or_else(|| panic!("{path} is missing"))
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn pick<'a>(random: &mut Random, model: &'a Model, folders: bool) -> Option<&'a str> {
    let all: Vec<&String> = model.iter().filter(|(_, c)| c.is_none() == folders).map(|(p, _)| p).collect();
    let index = random.below(all.len() as u64) as usize;
    all.get(index).map(|s| s.as_str())
}

fn fresh_name(random: &mut Random) -> String {
    let number = random.below(100_000);
    match random.below(4) {
        0 => format!("F{number}.DAT"),
        1 => format!("a longer name with number {number}.text"),
        2 => format!("{number} {}", "long ".repeat(random.below(30) as usize + 1).trim_end()),
        _ => format!("Größe{number}"),
    }
}

fn content(random: &mut Random) -> Vec<u8> {
    let len = match random.below(4) {
        0 => random.below(100),
        1 => random.below(900),
        2 => random.below(9000),
        _ => random.below(300_000),
    };
    random.bytes(len as usize)
}

fn step(random: &mut Random, volume: &mut Volume, model: &mut Model) {
    let folder = match random.below(3) {
        0 => String::new(),
        _ => pick(random, model, true).unwrap_or("").to_string(),
    };
    match random.below(10) {
        0..=3 => {
            let (name, data) = (fresh_name(random), content(random));
            let path = format!("{folder}/{name}");
            if model.contains_key(&path) {
                return;
            }
            volume.create_file(reference(volume, &folder), &name, &data, Security::Inherit, NOW).unwrap();
            model.insert(path, Some(data));
        }
        4 => {
            let name = fresh_name(random);
            let path = format!("{folder}/{name}");
            if model.contains_key(&path) || path.matches('/').count() > 5 {
                return;
            }
            volume.create_dir(reference(volume, &folder), &name, Security::SameAs(FileReference::ROOT), NOW).unwrap();
            model.insert(path, None);
        }
        5 | 6 => {
            let Some(path) = pick(random, model, false).map(str::to_string) else { return };
            let data = content(random);
            volume.replace(reference(volume, &path), &[], &data, NOW).unwrap();
            model.insert(path, Some(data));
        }
        7 => {
            let Some(path) = pick(random, model, false).map(str::to_string) else { return };
            volume.remove(reference(volume, &path), NOW).unwrap();
            model.remove(&path);
        }
        8 => {
            let Some(path) = pick(random, model, true).map(str::to_string) else { return };
            let inside = model.keys().any(|p| p.starts_with(&format!("{path}/")));
            let removed = volume.remove(reference(volume, &path), NOW);
            assert_eq!(removed.is_ok(), !inside, "{path}: {removed:?}");
            if !inside {
                model.remove(&path);
            }
        }
        _ => rename(random, volume, model),
    }
}

fn rename(random: &mut Random, volume: &mut Volume, model: &mut Model) {
    let folders = random.below(2) == 0;
    let Some(path) = pick(random, model, folders).map(str::to_string) else { return };
    let name = fresh_name(random);
    let new = format!("{}/{name}", parent_of(&path));
    if model.contains_key(&new) {
        return;
    }
    let file = reference(volume, &path);
    let names = volume.names_of(file).unwrap();
    let old = names.iter().find(|n| n.namespace != Namespace::Dos).unwrap();
    volume.rename(file, old, &name.encode_utf16().collect::<Vec<_>>(), NOW).unwrap();
    let moved: Vec<String> =
        model.keys().filter(|p| **p == path || p.starts_with(&format!("{path}/"))).cloned().collect();
    for old in moved {
        let content = model.remove(&old).unwrap();
        model.insert(format!("{new}{}", &old[path.len()..]), content);
    }
}

fn compare(volume: &Volume, model: &Model) {
    let mut seen = 0;
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in volume.entries(reference(volume, &folder)).unwrap() {
            let name = String::from_utf16(&entry.name).unwrap();
            if entry.namespace == Namespace::Dos || (folder.is_empty() && (name.starts_with('$') || name == ".")) {
                continue;
            }
            let path = format!("{folder}/{name}");
            let expected = model.get(&path).unwrap_or_else(|| panic!("{path} should not exist"));
            seen += 1;
            match expected {
                Some(data) => {
                    assert!(volume.read(entry.reference, &[]).unwrap() == *data, "content of {path}");
                    assert_eq!(entry.size, data.len() as u64, "{path}");
                }
                None => folders.push(path.clone()),
            }
            assert_eq!(volume.path_of(entry.reference).unwrap(), path);
        }
    }
    assert_eq!(seen, model.len());
}

fn play(seed: u64, steps: usize, mib: u64, options: &[&str]) {
    (1..=rig::soak() as u64).for_each(|round| play_once(seed + 100 * round, steps, mib, options));
}

fn play_once(seed: u64, steps: usize, mib: u64, options: &[&str]) {
    let Some(disk) = rig::blank(mib, options) else { return };
    let mut volume = rig::open(&disk);
    let (mut random, mut model) = (Random::new(seed), Model::new());
    for index in 0..steps {
        step(&mut random, &mut volume, &mut model);
        if index % 50 == 49 {
            rig::assert_sound(&volume, &format!("seed {seed}, step {index}"));
        }
    }
    compare(&volume, &model);
    rig::assert_sound(&volume, &format!("seed {seed}, end"));
    drop(volume);
    // What another volume object reads from the medium is the same.
    let volume = rig::open(&disk);
    compare(&volume, &model);
    rig::witnesses(&disk);
    let file = rig::save(&disk);
    for (path, data) in model.iter().filter_map(|(p, c)| c.as_ref().map(|c| (p, c))).take(20) {
        if let Some(read) = rig::ntfscat(file.path(), path) {
            assert!(read == *data, "ntfscat reads something else from {path}");
        }
    }
}

#[test]
fn clusters_of_4_kib() {
    play(1, 400, 64, &[]);
    play(2, 400, 64, &[]);
}

#[test]
fn clusters_of_512_bytes() {
    play(3, 300, 64, &["-c", "512"]);
}

#[test]
fn clusters_of_2_kib() {
    play(4, 300, 64, &["-c", "2048"]);
}

#[test]
fn clusters_of_64_kib() {
    play(5, 300, 256, &["-c", "65536"]);
}

#[test]
fn sectors_of_4_kib() {
    play(6, 300, 64, &["-s", "4096"]);
}
