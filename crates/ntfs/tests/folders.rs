//! Large folders: splits, pull-downs, blocks given up and taken again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_ntfs::{FileReference, Namespace, Security, Volume};
use rig::{NOW, Random};
use std::collections::BTreeSet;

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u64 + 1) as usize);
    }
}

fn name(random: &mut Random, index: usize) -> String {
    // Short, middle and very long names beside each other make separators of all lengths.
    match index % 5 {
        0 => format!("N{index}"),
        1 => format!("a file with number {index}"),
        2 => format!("{}{index}", "wide".repeat(random.below(50) as usize + 1)),
        3 => format!("{index}.{}", "x".repeat(random.below(200) as usize + 1)),
        _ => format!("Middle-{index}-name.extension"),
    }
}

fn listed(volume: &Volume, folder: FileReference) -> BTreeSet<String> {
    let entries = volume.entries(folder).unwrap();
    entries.iter().filter(|e| e.namespace != Namespace::Dos).map(|e| String::from_utf16(&e.name).unwrap()).collect()
}

/// Fills a folder with `count` files in random order, then empties it in the order that `order` makes.
fn fill_and_empty(seed: u64, count: usize, mib: u64, options: &[&str], order: fn(&mut Random, &mut Vec<String>)) {
    let Some(disk) = rig::blank(mib, options) else { return };
    let mut volume = rig::open(&disk);
    let mut random = Random::new(seed);
    let folder = volume.create_dir(volume.root(), "big", Security::Inherit, NOW).unwrap();
    let mut names: Vec<String> = (0..count).map(|i| name(&mut random, i)).collect();
    shuffle(&mut random, &mut names);
    let security = Security::SameAs(folder);
    for (index, name) in names.iter().enumerate() {
        volume.create_file(folder, name, b"", security, NOW).unwrap();
        if index % 400 == 399 {
            rig::assert_sound(&volume, &format!("after {index} files"));
        }
    }
    assert_eq!(listed(&volume, folder), names.iter().cloned().collect());
    for name in &names {
        let upper: Vec<u16> = name.to_uppercase().encode_utf16().collect();
        assert!(volume.lookup(folder, &upper).unwrap().is_some(), "{name} is not found");
    }
    rig::witnesses(&disk);
    names.sort();
    order(&mut random, &mut names);
    let mut left: BTreeSet<String> = names.iter().cloned().collect();
    for (index, name) in names.iter().enumerate() {
        let file = volume.lookup(folder, &name.encode_utf16().collect::<Vec<_>>()).unwrap().unwrap();
        volume.remove(file, NOW).unwrap();
        left.remove(name);
        if index % 200 == 199 || left.len() < 3 {
            assert_eq!(listed(&volume, folder), left);
            rig::assert_sound(&volume, &format!("{} files left", left.len()));
        }
        if index == count / 2 {
            rig::witnesses(&disk);
        }
    }
    volume.remove(folder, NOW).unwrap();
    rig::assert_sound(&volume, "an empty volume");
    rig::witnesses(&disk);
}

#[test]
fn emptied_from_the_front() {
    fill_and_empty(1, 1500, 64, &[], |_, _| {});
}

#[test]
fn emptied_from_the_back() {
    fill_and_empty(2, 1500, 64, &["-c", "1024"], |_, names| names.reverse());
}

#[test]
fn emptied_at_random() {
    fill_and_empty(3, 2000, 64, &[], |random, names| shuffle(random, names));
    fill_and_empty(4, 900, 128, &["-c", "65536"], |random, names| shuffle(random, names));
}

#[test]
fn emptied_at_random_with_large_records() {
    fill_and_empty(5, 900, 64, &["-s", "4096"], |random, names| shuffle(random, names));
}

#[test]
fn names_that_differ_only_in_case_collide() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    volume.create_file(root, "Größe.txt", b"", Security::Inherit, NOW).unwrap();
    assert!(volume.create_file(root, "GRÖßE.TXT", b"", Security::Inherit, NOW).is_err());
    // The 8.3 twin counts as a name.
    volume.create_file(root, "long name here", b"", Security::Inherit, NOW).unwrap();
    assert!(volume.create_file(root, "longna~1", b"", Security::Inherit, NOW).is_err());
    assert_eq!(volume.resolve("\\LONGNA~1").unwrap(), volume.resolve("/Long Name Here").unwrap());
    assert!(volume.resolve("/nothing/below").unwrap().is_none());
    rig::assert_sound(&volume, "two files");
}

#[test]
fn a_name_changes_case() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    let file = volume.create_file(root, "readme.text", b"x", Security::Inherit, NOW).unwrap();
    let old = volume.names_of(file).unwrap().remove(0);
    volume.rename(file, &old, &"README.text".encode_utf16().collect::<Vec<_>>(), NOW).unwrap();
    assert_eq!(volume.path_of(file).unwrap(), "/README.text");
    // The twin still fits and stays.
    assert!(volume.names_of(file).unwrap().iter().any(|n| n.name == "README~1.TEX".encode_utf16().collect::<Vec<_>>()));
    rig::assert_sound(&volume, "a renamed file");
}

#[test]
fn folders_named_after_a_sid() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let recycle = volume.create_dir(volume.root(), "$Recycle.Bin", Security::Inherit, NOW).unwrap();
    for rid in 1000..1030 {
        let folder = format!("S-1-5-21-111-222-333-{rid}");
        let folder = volume.create_dir(recycle, &folder, Security::Inherit, NOW).unwrap();
        volume.create_file(folder, "desktop.ini", b"x", Security::Inherit, NOW).unwrap();
    }
    // One digit more, one less, the same.
    for (rid, new) in
        [(1000, "S-1-5-21-9-8-7-1000"), (1001, "S-1-5-21-4000000000-222-333-1001"), (1002, "S-1-5-21-112-222-333-1002")]
    {
        let old: Vec<u16> = format!("S-1-5-21-111-222-333-{rid}").encode_utf16().collect();
        let folder = volume.lookup(recycle, &old).unwrap().unwrap();
        let names = volume.names_of(folder).unwrap();
        let name = names.iter().find(|n| n.name == old).unwrap();
        volume.rename(folder, name, &new.encode_utf16().collect::<Vec<_>>(), NOW).unwrap();
        assert_eq!(volume.path_of(folder).unwrap(), format!("/$Recycle.Bin/{new}"));
        assert!(volume.resolve(&format!("/$recycle.bin/{new}/DESKTOP.INI")).unwrap().is_some());
        assert!(volume.lookup(recycle, &old).unwrap().is_none());
    }
    rig::assert_sound(&volume, "renamed folders");
    rig::witnesses(&disk);
}
