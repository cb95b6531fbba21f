//! Every real store, read and held against an independent reader.

use super::objects::{ElementValue, Objects, WELL_KNOWN};
use super::{APPLICATION_DEVICE, Device, LOADER, OS_DEVICE};
use reseal_hive::{Hive, Recover};
use reseal_testdata::{oracle, real};
use std::collections::{BTreeMap, BTreeSet};

/// File, whether it is complete, how many objects.
const STORES: &[(&str, bool, usize)] = &[
    ("mkorman90+regipy/BCD.xz", true, 17),
    ("mhkarimi1383+windeploy-linux/BCD", true, 11),
    ("mhkarimi1383+windeploy-linux/BCD-efi", false, 3),
    ("EricZimmerman+Registry/BCD", false, 9),
    ("jpz4085+BCD-SYS/Templates/BCD-NEW", false, 0),
    ("AndrewRathbun+DFIRArtifactMuseum@history/Windows/Registry/Win10/RathbunVM/BCD-Template", false, 16),
];

/// Object and element, as hivexml tells them: path of names.
fn by_hivexml(bytes: &[u8]) -> Option<BTreeSet<(String, String)>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("BCD");
    std::fs::write(&path, bytes).unwrap();
    let xml = String::from_utf8_lossy(&oracle::run("hivexml", [&path])?.stdout).into_owned();
    let root = crate::unattend::xml::parse(&xml).unwrap();
    let top = root.child("node").unwrap();
    let named = |parent: &crate::unattend::xml::Element, name: &str| {
        parent.all("node").find(|node| node.attribute("name") == Some(name)).cloned()
    };
    let mut out = BTreeSet::new();
    for object in named(top, "Objects").iter().flat_map(|objects| objects.all("node")) {
        let id = object.attribute("name").unwrap().to_owned();
        for element in named(object, "Elements").iter().flat_map(|elements| elements.all("node")) {
            assert!(element.all("value").any(|value| value.attribute("key") == Some("Element")), "{id}");
            out.insert((id.clone(), element.attribute("name").unwrap().to_owned()));
        }
    }
    Some(out)
}

#[test]
fn every_real_store_is_read_as_hivexml_reads_it() {
    let Some(root) = real::root() else { return };
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, complete, count) in STORES {
        let bytes = real::read(&root, path).unwrap();
        let objects = Objects::read(&Hive::open(&bytes, &[], Recover::AsIs).unwrap()).unwrap();
        let missing = objects.missing();
        println!("{path}: {} objects, missing {missing:?}", objects.list.len());
        for object in &objects.list {
            if let Some(name) = object.known() {
                *known.entry(name).or_default() += 1;
            }
            for element in &object.elements {
                assert!(!matches!(element.value, ElementValue::Strange(_)), "{path}: {element:?}");
            }
        }
        assert_eq!((missing.is_empty(), objects.list.len()), (*complete, *count), "{path}: {missing:?}");
        let ours: BTreeSet<(String, String)> = objects
            .list
            .iter()
            .flat_map(|object| object.elements.iter())
            .map(|element| {
                let parts: Vec<&str> = element.key.split('\\').collect();
                (parts[1].to_owned(), parts[3].to_owned())
            })
            .collect();
        let Some(theirs) = by_hivexml(&bytes) else { continue };
        assert_eq!(ours, theirs, "{path}");
    }
    assert_eq!(known.len(), WELL_KNOWN.len(), "each well-known object stands in a real store: {known:?}");
}

/// The two forms that name no partition are those of real stores, byte for byte.
#[test]
fn the_forms_that_are_written_are_those_of_real_stores() {
    let Some(root) = real::root() else { return };
    let element = |path: &str, ty: u32| -> Vec<u8> {
        let hive = Hive::open(&real::read(&root, path).unwrap(), &[], Recover::AsIs).unwrap();
        let objects = Objects::read(&hive).unwrap();
        let loader = objects.list.iter().find(|object| object.ty == LOADER).expect("a loader");
        let key = hive.key(&loader.element(ty).unwrap().key).unwrap().unwrap();
        hive.value(key, "Element").unwrap().unwrap().data
    };
    for ty in [APPLICATION_DEVICE, OS_DEVICE] {
        assert_eq!(element("mhkarimi1383+windeploy-linux/BCD", ty), Device::boot());
    }
    let located = "mhkarimi1383+windeploy-linux/BCD-efi";
    assert_eq!(element(located, APPLICATION_DEVICE), Device::locate(super::APPLICATION_PATH));
    assert_eq!(element(located, OS_DEVICE), Device::locate(super::OS_PATH));
}
