//! Large folders: splits, pull-downs, blocks given up and taken again.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_ntfs::{FileReference, Namespace, NewName, Security, Volume};
use rig::{NOW, Random};
use std::collections::{BTreeMap, BTreeSet};

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

/// The `index`th of 20,000 names, in all corners of the order: pairs that differ in case only, letters that are capitals only by
/// the volume's table, surrogates in pairs and alone, the longest there are, 8.3 names and names that get such a twin. Whether it
/// is given as in a case-sensitive folder.
fn corner(index: usize) -> (Vec<u16>, bool) {
    let wide = |text: String| text.encode_utf16().collect::<Vec<u16>>();
    match index % 10 {
        0 => (wide(format!("pair{}", index / 10)), true),
        1 => (wide(format!("PAIR{}", index / 10)), true),
        2 => (wide(format!("Pair{}", index / 10)), true),
        3 => (wide(format!("ǅÿß{index}ſςΣ")), false),
        4 => ([wide(format!("𐐨{index}")), vec![0xdc00 + (index % 0x400) as u16]].concat(), true),
        5 => (
            vec![0xd800 + (index % 0x400) as u16, 0xffff - (index / 0x400) as u16, index as u16 % 0x5000 + 0x3400],
            true,
        ),
        6 => (wide(format!("{index:07}{}", "ö".repeat(248))), index % 100 == 6),
        7 => (wide(format!("{}{index:x}.TXT", char::from(b'A' + (index % 26) as u8))), false),
        8 => (wide(format!("a name that gets a twin {index}.config")), false),
        _ => (wide(format!("{}", index * 7919 % 1_000_003)), false),
    }
}

/// Made and deleted in random order, in one folder.
fn twenty_thousand(seed: u64, mib: u64, options: &[&str]) {
    const COUNT: usize = 20_000;
    let Some(disk) = rig::blank(mib, options) else { return };
    let mut volume = rig::open(&disk);
    let mut random = Random::new(seed + rig::soak() as u64);
    let folder = volume.create_dir(volume.root(), "huge", Security::Inherit, NOW).unwrap();
    let mut order: Vec<usize> = (0..COUNT).collect();
    shuffle(&mut random, &mut order);
    let mut files = BTreeMap::new();
    let settled = |volume: &Volume, files: &BTreeMap<Vec<u16>, FileReference>| {
        rig::assert_sound(volume, &format!("{options:?}: {} files", files.len()));
        rig::witnesses(&disk);
        let entries = volume.entries(folder).unwrap();
        let long = entries.into_iter().filter(|e| e.namespace != Namespace::Dos).map(|e| (e.name, e.reference));
        assert!(long.collect::<BTreeMap<_, _>>() == *files);
    };
    for (done, &index) in order.iter().enumerate() {
        let (name, exact) = corner(index);
        let how = if exact { NewName::Exact(&name) } else { NewName::Windows(&name) };
        let file = volume.create_as(folder, how, Some(&[]), Security::SameAs(folder), NOW).unwrap();
        assert!(files.insert(name, file).is_none(), "the names of the test are not different");
        if done == COUNT / 2 {
            settled(&volume, &files);
        }
    }
    settled(&volume, &files);
    for (name, file) in &files {
        assert_eq!(volume.lookup(folder, name).unwrap(), Some(*file));
    }
    shuffle(&mut random, &mut order);
    for (done, &index) in order.iter().enumerate() {
        let file = files.remove(&corner(index).0).unwrap();
        volume.remove(file, NOW).unwrap();
        if (done + 1) % (COUNT / 4) == 0 || files.len() == 10 {
            settled(&volume, &files);
        }
    }
    volume.remove(folder, NOW).unwrap();
    rig::assert_sound(&volume, "an empty volume");
}

#[test]
fn twenty_thousand_names() {
    twenty_thousand(1, 128, &[]);
}

#[test]
fn twenty_thousand_names_in_clusters_of_512_bytes() {
    twenty_thousand(2, 128, &["-c", "512"]);
}

#[test]
fn twenty_thousand_names_in_large_records() {
    twenty_thousand(3, 256, &["-s", "4096"]);
}
