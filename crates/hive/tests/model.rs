//! A hive against a plain tree: whatever is done to both, they say the same, and the check stays clean.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod synthetic;

use proptest::prelude::*;
use reseal_hive::{Hive, KeyId, Recover};
use std::collections::BTreeMap;
use synthetic::{MACHINE, descriptor, serious};

/// What a key is to its readers. Names are upper case to compare, as stored to show.
#[derive(Debug, Clone, PartialEq, Default)]
struct Node {
    name: String,
    class: Vec<u16>,
    descriptor: Vec<u8>,
    values: BTreeMap<String, (String, u32, Vec<u8>)>,
    subkeys: BTreeMap<String, Node>,
}

/// One edit; keys are named by walking down: the n-th of the subkeys there are.
#[derive(Debug, Clone)]
enum Edit {
    Create { path: Vec<u8>, name: String },
    Delete { path: Vec<u8> },
    Rename { path: Vec<u8>, name: String },
    Set { path: Vec<u8>, name: String, ty: u32, data: Vec<u8> },
    Unset { path: Vec<u8>, name: String },
    RenameValue { path: Vec<u8>, old: String, new: String },
    Class { path: Vec<u8>, class: Vec<u16> },
    Descriptor { path: Vec<u8>, rid: u32 },
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-dA-D_~]{1,3}", "[a-c]{1,40}", "[жЖéÉ漢a]{1,4}"]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    let sized = |len: usize, seed: u8| (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..9),
        4 => (0usize..600, any::<u8>()).prop_map(move |(len, seed)| sized(len, seed)),
        1 => (16_300usize..16_400, any::<u8>()).prop_map(move |(len, seed)| sized(len, seed)),
        1 => (32_600usize..50_000, any::<u8>()).prop_map(move |(len, seed)| sized(len, seed)),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let path = || proptest::collection::vec(any::<u8>(), 0..4);
    prop_oneof![
        6 => (path(), name()).prop_map(|(path, name)| Edit::Create { path, name }),
        1 => path().prop_map(|path| Edit::Delete { path }),
        2 => (path(), name()).prop_map(|(path, name)| Edit::Rename { path, name }),
        5 => (path(), prop_oneof![Just(String::new()), name()], any::<u32>(), data())
            .prop_map(|(path, name, ty, data)| Edit::Set { path, name, ty, data }),
        2 => (path(), name()).prop_map(|(path, name)| Edit::Unset { path, name }),
        1 => (path(), name(), name()).prop_map(|(path, old, new)| Edit::RenameValue { path, old, new }),
        1 => (path(), proptest::collection::vec(any::<u16>(), 0..30)).prop_map(|(path, class)| Edit::Class { path, class }),
        2 => (path(), 0u32..4).prop_map(|(path, rid)| Edit::Descriptor { path, rid }),
    ]
}

fn upper(name: &str) -> String {
    name.to_uppercase()
}

/// Walks to the key that a path names: its names from the root.
fn resolve(root: &Node, path: &[u8]) -> Vec<String> {
    let (mut node, mut out) = (root, Vec::new());
    for step in path {
        let Some((key, below)) = node.subkeys.iter().nth(usize::from(*step) % node.subkeys.len().max(1)) else { break };
        out.push(key.clone());
        node = below;
    }
    out
}

fn node<'a>(root: &'a mut Node, names: &[String]) -> &'a mut Node {
    names.iter().fold(root, |node, name| node.subkeys.get_mut(name).unwrap())
}

fn apply(hive: &mut Hive, root: &mut Node, edit: &Edit) {
    let (Edit::Create { path, .. }
    | Edit::Delete { path }
    | Edit::Rename { path, .. }
    | Edit::Set { path, .. }
    | Edit::Unset { path, .. }
    | Edit::RenameValue { path, .. }
    | Edit::Class { path, .. }
    | Edit::Descriptor { path, .. }) = edit;
    let names = resolve(root, path);
    let key = hive.key(&names.join("\\")).unwrap().unwrap();
    match edit {
        Edit::Create { name, .. } => {
            let parent = node(root, &names);
            let fresh = Node { name: name.clone(), descriptor: parent.descriptor.clone(), ..Node::default() };
            parent.subkeys.entry(upper(name)).or_insert(fresh);
            hive.create_key(key, name).unwrap();
        }
        Edit::Delete { .. } => match names.split_last() {
            None => assert!(hive.delete_key(key).is_err()),
            Some((last, above)) => {
                node(root, above).subkeys.remove(last);
                hive.delete_key(key).unwrap();
            }
        },
        Edit::Rename { name, .. } => rename(hive, root, key, &names, name),
        Edit::Set { name, ty, data, .. } => {
            let values = &mut node(root, &names).values;
            let stored = values.get(&upper(name)).map_or(name.clone(), |(stored, ..)| stored.clone());
            values.insert(upper(name), (stored, *ty, data.clone()));
            hive.set_value(key, name, *ty, data).unwrap();
        }
        Edit::Unset { name, .. } => {
            let had = node(root, &names).values.remove(&upper(name)).is_some();
            assert_eq!(hive.delete_value(key, name).unwrap(), had);
        }
        Edit::RenameValue { old, new, .. } => {
            let values = &mut node(root, &names).values;
            let taken = upper(old) != upper(new) && values.contains_key(&upper(new));
            let done = hive.rename_value(key, &units(old), &units(new));
            assert_eq!(done.is_ok(), values.contains_key(&upper(old)) && !taken);
            if done.is_ok() {
                let (_, ty, data) = values.remove(&upper(old)).unwrap();
                values.insert(upper(new), (new.clone(), ty, data));
            }
        }
        Edit::Class { class, .. } => {
            node(root, &names).class = class.clone();
            hive.set_class_name(key, Some(class)).unwrap();
        }
        Edit::Descriptor { rid, .. } => {
            let new = descriptor(MACHINE, *rid);
            hive.set_descriptor(key, &new).unwrap();
            node(root, &names).descriptor = new;
        }
    }
}

fn rename(hive: &mut Hive, root: &mut Node, key: KeyId, names: &[String], name: &str) {
    let Some((last, above)) = names.split_last() else {
        hive.rename_key(key, &units(name)).unwrap();
        root.name = name.into();
        return;
    };
    let siblings = &mut node(root, above).subkeys;
    let taken = *last != upper(name) && siblings.contains_key(&upper(name));
    assert_eq!(hive.rename_key(key, &units(name)).is_err(), taken);
    if !taken {
        let mut moved = siblings.remove(last).unwrap();
        moved.name = name.into();
        siblings.insert(upper(name), moved);
    }
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// Reads a hive back as a plain tree, and checks that subkeys come in order.
fn read(hive: &Hive, key: KeyId) -> Node {
    let text = |units: Vec<u16>| String::from_utf16(&units).unwrap();
    let mut out = Node {
        name: text(hive.name(key).unwrap()),
        class: hive.class_name(key).unwrap().unwrap_or_default(),
        descriptor: hive.descriptor(key).unwrap().to_vec(),
        ..Node::default()
    };
    for value in hive.values(key).unwrap() {
        let name = text(value.name);
        assert!(out.values.insert(upper(&name), (name, value.ty, value.data)).is_none());
    }
    for below in hive.subkeys(key).unwrap() {
        assert_eq!(hive.parent(below).unwrap(), Some(key));
        let node = read(hive, below);
        if let Some((last, _)) = out.subkeys.last_key_value() {
            assert!(units(last) < units(&upper(&node.name)), "{last} before {}", node.name);
        }
        assert!(out.subkeys.insert(upper(&node.name), node).is_none());
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn hive_and_tree_agree(minor in 3u32..=5, edits in proptest::collection::vec(edit(), 1..160)) {
        let mut hive = synthetic::empty(minor);
        let mut root = read(&hive, hive.root());
        for edit in &edits {
            apply(&mut hive, &mut root, edit);
        }
        prop_assert_eq!(&read(&hive, hive.root()), &root);
        prop_assert_eq!(serious(hive.check()), Vec::<String>::new());
        let reopened = Hive::open(&hive.to_bytes(), &[], Recover::Replay).unwrap();
        prop_assert_eq!(read(&reopened, reopened.root()), root);
        prop_assert!(!reopened.is_changed());
        prop_assert_eq!(reopened.to_bytes(), hive.to_bytes());
    }

    /// What was deleted is gone: no byte of it stays, and its cells are used again.
    #[test]
    fn deleted_data_leaves_nothing(len in 1usize..40_000, again in 1usize..40_000) {
        let mut hive = synthetic::small(5);
        let before = hive.to_bytes().len();
        let marker = b"\xf1\xe2\xd3\xc4\xb5\xa6\x97\x88";
        let data: Vec<u8> = marker.iter().copied().cycle().take(len.max(8)).collect();
        let key = hive.create_path("Secret\\Key").unwrap();
        hive.set_value(key, "password", 3, &data).unwrap();
        hive.set_value(key, "password", 3, &data[..8]).unwrap();
        hive.set_value(key, "password", 3, &data[..again.min(data.len()).max(8)]).unwrap();
        let grown = hive.to_bytes().len();
        hive.delete_value(key, "password").unwrap();
        let top = hive.key("Secret").unwrap().unwrap();
        hive.delete_key(top).unwrap();
        prop_assert!(!hive.to_bytes().windows(8).any(|w| w == marker));
        prop_assert!(!hive.to_bytes().windows(8).any(|w| w == b"password"));
        let key = hive.create_path("Secret\\Key").unwrap();
        hive.set_value(key, "password", 3, &data).unwrap();
        prop_assert!(hive.to_bytes().len() <= grown.max(before));
        prop_assert_eq!(serious(hive.check()), Vec::<String>::new());
    }
}

#[test]
fn thousands_of_subkeys_split_and_shrink() {
    for minor in [3, 5] {
        let mut hive = synthetic::empty(minor);
        let many = hive.create_path("Many").unwrap();
        let mut random = synthetic::Random(minor.into());
        let mut names: Vec<String> = (0..5000).map(|i| format!("k{:x}_{i}", random.next() & 0xffff)).collect();
        for name in &names {
            hive.create_key(many, name).unwrap();
        }
        assert_eq!(serious(hive.check()), Vec::<String>::new());
        // An independent bound: hivex' writer needs 42 MB for 3,000.
        assert!(hive.to_bytes().len() < 1_000_000, "{}", hive.to_bytes().len());
        let stored = hive.subkeys(many).unwrap();
        names.sort_by_key(|n| n.to_uppercase());
        let back: Vec<String> = stored.iter().map(|&k| String::from_utf16(&hive.name(k).unwrap()).unwrap()).collect();
        assert_eq!(back, names);
        for (i, name) in names.iter().enumerate() {
            let key = hive.key(&format!("many\\{}", name.to_uppercase())).unwrap().unwrap();
            if i % 7 != 0 {
                hive.delete_key(key).unwrap();
            }
        }
        assert_eq!(serious(hive.check()), Vec::<String>::new());
        for key in hive.subkeys(many).unwrap() {
            hive.delete_key(key).unwrap();
        }
        assert_eq!(serious(hive.check()), Vec::<String>::new());
        assert_eq!(hive.subkeys(many).unwrap(), []);
    }
}

#[test]
fn an_edit_that_says_what_is_there_is_no_edit() {
    let bytes = synthetic::small(5).to_bytes();
    let mut hive = Hive::open(&bytes, &[], Recover::Replay).unwrap();
    let beta = hive.key("Beta").unwrap().unwrap();
    for value in hive.values(beta).unwrap() {
        hive.set_value(beta, &value.name_lossy(), value.ty, &value.data).unwrap();
    }
    let descriptor = hive.descriptor(beta).unwrap().to_vec();
    hive.set_descriptor(beta, &descriptor).unwrap();
    let class = hive.class_name(beta).unwrap();
    hive.set_class_name(beta, class.as_deref()).unwrap();
    let name = hive.name(beta).unwrap();
    assert_eq!(hive.rename_key(beta, &name).unwrap(), beta);
    assert_eq!(hive.create_path("beta").unwrap(), beta);
    assert!(!hive.delete_value(beta, "no such value").unwrap());
    assert!(!hive.is_changed());
    assert_eq!(hive.to_bytes(), bytes);
}

#[test]
fn the_clock_decides_about_times() {
    let mut hive = synthetic::small(5);
    let time = reseal_dtyp::FileTime(0x01da_0000_0000_0000);
    let beta = hive.key("Beta").unwrap().unwrap();
    let before = hive.timestamp(beta).unwrap();
    hive.set_clock(None);
    hive.set_value(beta, "Number", 4, &[9; 4]).unwrap();
    assert_eq!(hive.timestamp(beta).unwrap(), before);
    hive.set_clock(Some(time));
    hive.set_value(beta, "Number", 4, &[8; 4]).unwrap();
    assert_eq!(hive.timestamp(beta).unwrap(), time);
    let alpha = hive.key("Alpha").unwrap().unwrap();
    assert_ne!(hive.timestamp(alpha).unwrap(), time);
    let new = hive.create_key(alpha, "New").unwrap();
    assert_eq!((hive.timestamp(new).unwrap(), hive.timestamp(alpha).unwrap()), (time, time));
}

#[test]
fn refused_edits_change_nothing() {
    let bytes = synthetic::small(5).to_bytes();
    let mut hive = Hive::open(&bytes, &[], Recover::Replay).unwrap();
    let (root, alpha) = (hive.root(), hive.key("Alpha").unwrap().unwrap());
    assert!(hive.delete_key(root).is_err());
    assert!(hive.create_key(root, "").is_err());
    assert!(hive.create_key(root, "a\\b").is_err());
    assert!(hive.create_key(root, &"x".repeat(256)).is_err());
    assert!(hive.rename_key(alpha, &units("beta")).is_err());
    assert!(hive.rename_key(alpha, &[]).is_err());
    assert!(hive.set_descriptor(alpha, b"no descriptor").is_err());
    assert!(hive.rename_value(alpha, &units("none"), &units("other")).is_err());
    assert!(hive.set_value(alpha, &"n".repeat(16_384), 1, &[]).is_err());
    assert!(!hive.is_changed());
    assert_eq!(hive.to_bytes(), bytes);
}

#[test]
fn names_may_hold_lone_surrogates() {
    let mut hive = synthetic::empty(5);
    let (high, low) = ([0xd801, 0x61], [0xdc00]);
    let key = hive.create_key_units(hive.root(), &high).unwrap();
    assert_eq!(hive.create_key_units(hive.root(), &[0xd801, 0x41]).unwrap(), key);
    hive.set_value_units(key, &low, 3, b"x").unwrap();
    let hive = &mut Hive::open(&hive.to_bytes(), &[], Recover::Replay).unwrap();
    assert_eq!(serious(hive.check()), Vec::<String>::new());
    assert_eq!(hive.name(key).unwrap(), high);
    assert_eq!(hive.value_units(key, &low).unwrap().unwrap().name, low);
    assert_eq!(hive.value(key, "\u{fffd}").unwrap(), None);
    assert!(hive.dump().unwrap()[1].contains("\\u{d801}a"));
    assert!(hive.delete_value_units(key, &low).unwrap());
}
