//! Small hives that claim much: cells shared or repeated so that a careless walk takes hours or gigabytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod synthetic;

use reseal_hive::{Hive, Recover};
use reseal_sid::SidMap;
use std::time::{Duration, Instant};
use synthetic::MACHINE;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// File offsets of the contents of allocated cells with a signature.
fn contents(bytes: &[u8], signature: &[u8]) -> Vec<usize> {
    let (mut out, mut bin) = (Vec::new(), 4096);
    while bin < 4096 + word(bytes, 40) as usize {
        let end = bin + word(bytes, bin + 8) as usize;
        let mut at = bin + 32;
        while at < end {
            let size = word(bytes, at) as i32;
            if size < 0 && bytes[at + 4..].starts_with(signature) {
                out.push(at + 4);
            }
            at += size.unsigned_abs() as usize;
        }
        bin = end;
    }
    out
}

/// A hive with a wide key, a key with many values, big data, and the machine SID here and there.
fn wide() -> Vec<u8> {
    let mut hive = synthetic::empty(5);
    let root = hive.root();
    for i in 0..3000 {
        hive.create_key(root, &format!("key{i:05}")).unwrap();
    }
    let values = hive.create_path("key00000").unwrap();
    for i in 0..3000 {
        hive.set_value(values, &format!("v{i}"), 3, &MACHINE.account(i).to_bytes()).unwrap();
    }
    let big = hive.create_path("key00001").unwrap();
    hive.set_value(big, "big", 3, &vec![1; 16_344 * 60]).unwrap();
    hive.to_bytes()
}

/// Everything that walks, within seconds.
fn survives(bytes: &[u8], what: &str) {
    let start = Instant::now();
    let findings = Hive::check_bytes(bytes);
    assert!(!findings.is_empty(), "{what} was not found");
    if let Ok(mut hive) = Hive::open(bytes, &[], Recover::AsIs) {
        drop(hive.dump());
        let map = SidMap::new([(MACHINE, reseal_dtyp::DomainSid([1, 2, 3]))]).unwrap();
        drop(hive.residue(&map));
        for key in hive.subkeys(hive.root()).unwrap_or_default() {
            drop(hive.values(key));
        }
        drop(hive.rewrite_sids(&map));
    }
    assert!(start.elapsed() < Duration::from_secs(20), "{what} took {:?}", start.elapsed());
}

#[test]
fn shared_and_repeated_cells() {
    let original = wide();
    assert!(Hive::check_bytes(&original).is_empty());
    let keys = contents(&original, b"nk");
    let at_of = |content: usize| (content - 4 - 4096) as u32;
    let rich = *keys.iter().find(|&&nk| word(&original, nk + 36) == 3000).unwrap();
    let big = contents(&original, b"db")[0];

    let mut bytes = original.clone();
    for &nk in &keys {
        put(&mut bytes, nk + 36, 3000);
        put(&mut bytes, nk + 40, word(&original, rich + 40));
    }
    survives(&bytes, "one value list for all keys");

    let mut bytes = original.clone();
    for &nk in &keys {
        put(&mut bytes, nk + 20, 3000);
        put(&mut bytes, nk + 28, word(&original, keys[0] + 28));
    }
    survives(&bytes, "one subkey list for all keys");

    let mut bytes = original.clone();
    for vk in contents(&original, b"vk") {
        put(&mut bytes, vk + 4, 16_344 * 60);
        put(&mut bytes, vk + 8, at_of(big));
    }
    survives(&bytes, "one big data record for all values");

    let mut bytes = original.clone();
    let list = 4096 + word(&original, rich + 40) as usize + 4;
    let vk = contents(&original, b"vk").into_iter().find(|&vk| word(&original, vk + 4) == 16_344 * 60).unwrap();
    for i in 0..3000 {
        put(&mut bytes, list + 4 * i, at_of(vk));
    }
    survives(&bytes, "one value three thousand times");

    let mut bytes = original.clone();
    let leaf = contents(&original, b"ri")[0];
    let leaves = u32::from(u16::from_le_bytes([bytes[leaf + 2], bytes[leaf + 3]]));
    for i in 1..leaves as usize {
        let first = word(&bytes, leaf + 4);
        put(&mut bytes, leaf + 4 + 4 * i, first);
    }
    put(&mut bytes, keys[0] + 20, u32::MAX);
    survives(&bytes, "one leaf again and again");
}
