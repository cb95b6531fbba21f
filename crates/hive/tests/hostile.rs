//! Damaged input: never a panic, never a hang, whatever is asked of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod synthetic;

use reseal_hive::{Hive, KeyId, Recover};
use reseal_sid::SidMap;
use synthetic::{FOREIGN, MACHINE, Random};

fn map() -> SidMap {
    SidMap::new([(MACHINE, reseal_dtyp::DomainSid([77, 88, 99]))]).unwrap()
}

/// Reads and edits everything that can be reached; errors are fine.
fn exercise(bytes: &[u8]) {
    drop(Hive::check_bytes(bytes));
    let Ok(hive) = Hive::open(bytes, &[], Recover::AsIs) else { return };
    drop(hive.dump());
    drop(hive.residue(&map()));
    let mut keys = vec![hive.root()];
    let mut next = 0;
    while let Some(&key) = keys.get(next) {
        read(&hive, key);
        // Rings of keys would go on for ever: what a sound hive of this size holds is enough.
        if keys.len() < 200 {
            keys.extend(hive.subkeys(key).unwrap_or_default());
        }
        next += 1;
    }
    edit(hive.clone(), &keys);
    let mut hive = hive;
    drop(hive.rewrite_sids(&map()));
    drop(Hive::check_bytes(&hive.to_bytes()));
}

fn read(hive: &Hive, key: KeyId) {
    drop(hive.path(key));
    drop(hive.parent(key));
    drop(hive.class_name(key));
    drop(hive.descriptor(key));
    drop(hive.timestamp(key));
    drop(hive.values(key));
    drop(hive.value(key, "Blob"));
    drop(hive.subkey(key, &"users".encode_utf16().collect::<Vec<_>>()));
}

fn edit(mut hive: Hive, keys: &[KeyId]) {
    for (i, &key) in keys.iter().enumerate().take(12) {
        drop(hive.set_value(key, "Blob", 3, &vec![1; 100 * i]));
        drop(hive.set_value(key, "Big", 3, &vec![2; 17_000]));
        drop(hive.delete_value(key, "Number"));
        drop(hive.create_key(key, "fresh"));
        drop(hive.rename_key(key, &format!("renamed to something longer {i}").encode_utf16().collect::<Vec<_>>()));
        drop(hive.set_class_name(key, Some(&[0x41; 40])));
        drop(hive.set_descriptor(key, &synthetic::descriptor(FOREIGN, i as u32)));
    }
    for &key in keys.iter().rev() {
        drop(hive.delete_key(key));
    }
    drop(Hive::check_bytes(&hive.to_bytes()));
}

#[test]
fn every_truncation() {
    let bytes = synthetic::small(5).to_bytes();
    for len in (0..bytes.len()).step_by(512).chain([1, 3, 4095, 4097, 4127, 4128]) {
        exercise(&bytes[..len]);
    }
}

#[test]
fn single_bytes() {
    for minor in [3, 5] {
        let original = synthetic::small(minor).to_bytes();
        let mut random = Random(u64::from(minor) * 0x1234_5678_9abc_def1);
        for _ in 0..3000 {
            let mut bytes = original.clone();
            // Most of a hive is data: half of the damage goes to where cells begin.
            let at = random.below(bytes.len());
            let at = if random.below(2) == 0 { at } else { (at & !7) + random.below(24) };
            let at = at.min(bytes.len() - 1);
            bytes[at] = [random.next() as u8, bytes[at] ^ 1 << random.below(8), 0, 0xff][random.below(4)];
            exercise(&bytes);
        }
    }
}

#[test]
fn several_fields() {
    let original = synthetic::small(5).to_bytes();
    let mut random = Random(42);
    for _ in 0..2000 {
        let mut bytes = original.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len() / 4) * 4;
            // Offsets of other cells are the most dangerous values.
            let value = [random.next() as u32, random.below(bytes.len()) as u32 & !7, 0x20, u32::MAX, 0x7fff_ffff]
                [random.below(5)];
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        exercise(&bytes);
    }
}

/// Logs of any content beside a dirty hive.
#[test]
fn logs_of_noise() {
    let mut dirty = synthetic::small(5).to_bytes();
    dirty[4] ^= 1;
    let mut random = Random(7);
    for round in 0..300 {
        let mut log: Vec<u8> = (0..512 * (1 + random.below(20))).map(|_| random.next() as u8).collect();
        if round % 2 == 0 {
            log[..512].copy_from_slice(&dirty[..512]);
            log[28] = [1, 2, 6][random.below(3)];
            log[4] ^= (round & 2) as u8;
            let word = |log: &[u8], i: usize| u32::from_le_bytes(log[4 * i..4 * i + 4].try_into().unwrap());
            let sum = (0..127).fold(0, |sum, i| sum ^ word(&log, i));
            log[508..512].copy_from_slice(&sum.to_le_bytes());
            if log.len() > 1024 {
                log[512..516].copy_from_slice([b"DIRT", b"HvLE"][random.below(2)]);
            }
        }
        if let Ok(hive) = Hive::open(&dirty, &[&log], Recover::Replay) {
            exercise(&hive.to_bytes());
        }
    }
}
