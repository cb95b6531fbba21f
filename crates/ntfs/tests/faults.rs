//! Seeded faults: each must be found by the check that is meant for it, and the volume without it must be clean.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{Level, Sid};
use reseal_ntfs::{Security, Volume};
use rig::NOW;
use rig::raw::{Raw, descriptor_hash, entries, set, swap_neighbours, u16_at, u32_at, u64_at};
use std::sync::Arc;

type Fault = (&'static str, fn(&mut Raw), &'static str);

/// A descriptor that only one account has.
fn descriptor(rid: u32) -> Vec<u8> {
    let sid = format!("S-1-5-21-11-22-33-{rid}").parse::<Sid>().unwrap().to_bytes();
    let mut sd = vec![1, 0, 4, 0x80];
    let acl_len = 8 + 8 + sid.len();
    for offset in [20 + acl_len, 20 + acl_len + sid.len(), 0, 20] {
        sd.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    sd.extend_from_slice(&[2, 0, acl_len as u8, 0, 1, 0, 0, 0, 0, 0, (8 + sid.len()) as u8, 0, 0xff, 1, 0x1f, 0]);
    [&sd[..], &sid, &sid, &sid].concat()
}

/// A volume with the files that the faults need.
fn base() -> Option<Vec<u8>> {
    let disk = rig::blank(64, &[])?;
    let mut volume = rig::open(&disk);
    let mut random = rig::Random::new(7);
    let root = volume.root();
    let windows = volume.create_dir(root, "Windows", Security::Inherit, NOW).unwrap();
    let system32 = volume.create_dir(windows, "System32", Security::Inherit, NOW).unwrap();
    let config = volume.create_dir(system32, "config", Security::Inherit, NOW).unwrap();
    volume.create_file(config, "SYSTEM", &random.bytes(1 << 20), Security::Inherit, NOW).unwrap();
    volume.create_file(root, "a.dll", &random.bytes(8192), Security::Inherit, NOW).unwrap();
    let big = volume.create_dir(root, "big", Security::Inherit, NOW).unwrap();
    for index in 0..200 {
        let name = format!("a rather long file name number {index}.txt");
        volume.create_file(big, &name, format!("{index}").as_bytes(), Security::Inherit, NOW).unwrap();
    }
    for rid in 0..150 {
        let sd = descriptor(1000 + rid);
        volume.create_file(root, &format!("U{rid}"), b"x", Security::Descriptor(&sd), NOW).unwrap();
    }
    rig::assert_sound(&volume, "the base of the faults");
    rig::witnesses(&disk);
    Some(disk.to_vec())
}

const SECURE: usize = 9;

fn bit_of(raw: &mut Raw, lcn: usize, value: bool) {
    let runs = raw.runs_of(6, 0x80, "");
    let at = raw.place(&runs, lcn / 8);
    let mask = 1u8 << (lcn % 8);
    if value {
        raw.bytes[at] |= mask;
    } else {
        raw.bytes[at] &= !mask;
    }
}

fn edit(raw: &mut Raw, name: &str, change: impl FnOnce(&Raw, &mut Vec<u8>)) {
    let index = raw.by_name(name);
    let mut record = raw.record(index);
    change(raw, &mut record);
    raw.put_record(index, record, true);
}

fn edit_data(raw: &mut Raw, name: &str, change: impl FnOnce(&mut Vec<u8>, usize, usize)) {
    edit(raw, name, |raw, record| {
        let at = raw.find(record, 0x80, "").unwrap();
        change(record, at, raw.cluster);
    });
}

fn edit_big(raw: &mut Raw, block: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let runs = raw.runs_of(raw.by_name("big"), 0xa0, "$I30");
    raw.edit_block(&runs, block * 4096, 4096, change);
}

/// A block of an index that holds leaves.
fn leaf_of(raw: &Raw, record: usize, name: &str) -> usize {
    let runs = raw.runs_of(record, 0xa0, name);
    let is_leaf = |&block: &usize| {
        let at = raw.place(&runs, block * 4096);
        let block = raw.unfix(raw.bytes[at..at + 4096].to_vec());
        block[24 + 12] & 1 == 0 && entries(&block, 24).len() > 6
    };
    (0..40).find(is_leaf).unwrap()
}

fn edit_big_leaf(raw: &mut Raw, change: impl FnOnce(&mut Vec<u8>)) {
    let leaf = leaf_of(raw, raw.by_name("big"), "$I30");
    edit_big(raw, leaf, change);
}

fn sds(raw: &Raw, offset: usize) -> usize {
    raw.place(&raw.runs_of(SECURE, 0x80, "$SDS"), offset)
}

fn edit_view(raw: &mut Raw, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let (leaf, runs) = (leaf_of(raw, SECURE, name), raw.runs_of(SECURE, 0xa0, name));
    raw.edit_block(&runs, leaf * 4096, 4096, change);
}

fn flip_in_first_descriptor(raw: &mut Raw, copies: &[usize]) {
    for copy in copies {
        let at = sds(raw, copy + 60);
        raw.bytes[at] ^= 1;
    }
}

const FAULTS: &[Fault] = &[
    (
        "used cluster marked free",
        |raw| {
            let lcn = raw.runs_of(raw.by_name("SYSTEM"), 0x80, "")[0].1.unwrap();
            bit_of(raw, lcn, false);
        },
        "cluster-unmarked",
    ),
    ("free cluster marked used", |raw| bit_of(raw, 16_000, true), "cluster-leaked"),
    (
        "stale $MFTMirr",
        |raw| {
            let mut record = raw.record(3);
            let at = raw.value(&record, raw.find(&record, 0x70, "").unwrap());
            record[at + 10] |= 0x80;
            raw.put_record(3, record, false);
        },
        "mft-mirror",
    ),
    (
        "used record marked free",
        |raw| {
            let index = raw.by_name("SYSTEM");
            let at = raw.place(&raw.runs_of(0, 0xb0, ""), index / 8);
            raw.bytes[at] &= !(1 << (index % 8));
        },
        "record-unmarked",
    ),
    ("wrong link count", |raw| edit(raw, "a.dll", |_, r| set(r, 0x12, 2, 5)), "link-count"),
    (
        "sequence number moved on",
        |raw| {
            edit(raw, "SYSTEM", |_, r| {
                let sequence = u16_at(r, 0x10) as u64;
                set(r, 0x10, 2, sequence + 7);
            })
        },
        "entry-dangling",
    ),
    (
        "wrong size in use",
        |raw| {
            edit(raw, "SYSTEM", |_, r| {
                let used = u32_at(r, 0x18) as u64;
                set(r, 0x18, 4, used - 4);
            })
        },
        "record-used-size",
    ),
    (
        "attributes out of order",
        |raw| {
            edit(raw, "SYSTEM", |raw, r| {
                let all = raw.attributes(r);
                let [.., a, b] = all[..] else { panic!("two attributes") };
                let (first, second) = (r[a.0..a.0 + a.2].to_vec(), r[b.0..b.0 + b.2].to_vec());
                r[a.0..a.0 + a.2 + b.2].copy_from_slice(&[second, first].concat());
            })
        },
        "attribute-order",
    ),
    (
        "wrong allocated size",
        |raw| {
            edit_data(raw, "SYSTEM", |r, at, cluster| {
                let allocated = u64_at(r, at + 0x28);
                set(r, at + 0x28, 8, allocated + cluster as u64);
            })
        },
        "stream-sizes",
    ),
    (
        "initialized size above size",
        |raw| {
            edit_data(raw, "SYSTEM", |r, at, _| {
                let size = u64_at(r, at + 0x30);
                set(r, at + 0x38, 8, size + 512);
            })
        },
        "stream-sizes",
    ),
    (
        "wrong highest VCN",
        |raw| {
            edit_data(raw, "SYSTEM", |r, at, _| {
                let last = u64_at(r, at + 0x18);
                set(r, at + 0x18, 8, last + 3);
            })
        },
        "runs-and-header",
    ),
    (
        "two files share clusters",
        |raw| {
            let lcn = raw.runs_of(raw.by_name("SYSTEM"), 0x80, "")[0].1.unwrap();
            edit_data(raw, "a.dll", |r, at, _| {
                let pairs = at + u16_at(r, at + 0x20);
                let (len, delta) = (usize::from(r[pairs] & 15), usize::from(r[pairs] >> 4));
                set(r, pairs + 1 + len, delta, lcn as u64);
            });
        },
        "cluster-shared",
    ),
    (
        "stale size in $FILE_NAME",
        |raw| {
            edit(raw, "SYSTEM", |raw, r| {
                let at = raw.value(r, raw.find(r, 0x30, "").unwrap());
                set(r, at + 0x30, 8, 12345);
            })
        },
        "name-size-stale",
    ),
    (
        "torn record",
        |raw| {
            let at = raw.record_place(raw.by_name("SYSTEM"));
            raw.bytes[at + 510..at + 512].copy_from_slice(&[0xaa, 0x55]);
        },
        "record-unreadable",
    ),
    ("entries of a folder out of order", |raw| edit_big_leaf(raw, |b| swap_neighbours(b, 24)), "index-unsorted"),
    (
        "entry of a folder gone",
        |raw| {
            edit_big_leaf(raw, |b| {
                let (at, len, _) = entries(b, 24)[2];
                let end = 24 + u32_at(b, 28);
                b.copy_within(at + len..end, at);
                set(b, 28, 4, (end - 24 - len) as u64);
            })
        },
        "name-not-indexed",
    ),
    (
        "stale size in a folder",
        |raw| {
            edit_big_leaf(raw, |b| {
                let (at, _, _) = entries(b, 24)[2];
                set(b, at + 16 + 0x30, 8, 999_999);
            })
        },
        "entry-size-stale",
    ),
    (
        "index bitmap bit cleared",
        |raw| {
            edit(raw, "big", |raw, r| {
                let at = raw.value(r, raw.find(r, 0xb0, "$I30").unwrap());
                r[at] &= !2;
            })
        },
        "index-bitmap",
    ),
    ("index block with a wrong VCN", |raw| edit_big(raw, 1, |b| set(b, 16, 8, 77)), "index-unreadable"),
    (
        "root with too little space",
        |raw| {
            edit(raw, "Windows", |raw, r| {
                let at = raw.value(r, raw.find(r, 0x90, "$I30").unwrap());
                let used = u32_at(r, at + 20) as u64;
                set(r, at + 24, 4, used - 16);
            })
        },
        "index-root-size",
    ),
    ("copy of a descriptor not updated", |raw| flip_in_first_descriptor(raw, &[0]), "secure-descriptor"),
    ("hash of a descriptor not updated", |raw| flip_in_first_descriptor(raw, &[0, 0x40000]), "secure-descriptor"),
    (
        "indexes of a descriptor not updated",
        |raw| {
            flip_in_first_descriptor(raw, &[0, 0x40000]);
            let at = sds(raw, 0);
            let hash = descriptor_hash(&raw.bytes[at + 20..at + u32_at(&raw.bytes, at + 16)]);
            for copy in [0, 0x40000] {
                let at = sds(raw, copy);
                set(&mut raw.bytes, at, 4, u64::from(hash));
            }
        },
        "secure-descriptor",
    ),
    ("$SDH out of order", |raw| edit_view(raw, "$SDH", |b| swap_neighbours(b, 24)), "index-unsorted"),
    (
        "dangling security id",
        |raw| {
            edit(raw, "SYSTEM", |raw, r| {
                let at = raw.value(r, raw.find(r, 0x10, "").unwrap());
                set(r, at + 0x34, 4, 0x7777);
            })
        },
        "security-id-dangling",
    ),
    (
        "backup boot sector gone",
        |raw| {
            let at = (u64_at(&raw.bytes, 0x28) as usize) * u16_at(&raw.bytes, 0xb);
            raw.bytes[at..at + 512].fill(0);
        },
        "backup-boot-sector",
    ),
    (
        "wrong parent",
        |raw| {
            edit(raw, "SYSTEM", |raw, r| {
                let at = raw.value(r, raw.find(r, 0x30, "").unwrap());
                set(r, at, 8, 5 | 5 << 48);
            })
        },
        "name-not-indexed",
    ),
    (
        "dirty volume",
        |raw| {
            let mut record = raw.record(3);
            let at = raw.value(&record, raw.find(&record, 0x70, "").unwrap());
            record[at + 10] |= 1;
            raw.put_record(3, record, true);
        },
        "volume-dirty",
    ),
    // Damage to $Secure as careless tools do it, and what goes with it.
    (
        "body of another descriptor",
        |raw| {
            let second = (u32_at(&raw.bytes, sds(raw, 16)) + 15) & !15;
            let at = sds(raw, second + 50);
            raw.bytes[at] ^= 1;
        },
        "secure-descriptor",
    ),
    (
        "mirror of another descriptor",
        |raw| {
            let second = (u32_at(&raw.bytes, sds(raw, 16)) + 15) & !15;
            let at = sds(raw, 0x40000 + second + 50);
            raw.bytes[at] ^= 1;
        },
        "secure-descriptor",
    ),
    (
        "wrong hash in a key of $SDH",
        |raw| {
            edit_view(raw, "$SDH", |b| {
                let (at, _, _) = entries(b, 24)[1];
                b[at + 16] ^= 0x40;
            })
        },
        "secure-index",
    ),
    (
        "wrong offset in $SII",
        |raw| {
            edit_view(raw, "$SII", |b| {
                let (at, _, _) = entries(b, 24)[1];
                let data = at + u16_at(b, at);
                let offset = u64_at(b, data + 8);
                set(b, data + 8, 8, offset + 16);
            })
        },
        "secure-descriptor",
    ),
    (
        "SIDs replaced by search alone",
        |raw| {
            let old: Vec<u8> = [21u32, 11, 22, 33].iter().flat_map(|w| w.to_le_bytes()).collect();
            let new: Vec<u8> = [21u32, 44, 55, 66].iter().flat_map(|w| w.to_le_bytes()).collect();
            let runs = raw.runs_of(SECURE, 0x80, "$SDS");
            for (_, lcn, len) in runs {
                let start = lcn.unwrap() * raw.cluster;
                for at in start..start + len * raw.cluster - 16 {
                    if raw.bytes[at..at + 16] == old[..] {
                        raw.bytes[at..at + 16].copy_from_slice(&new);
                    }
                }
            }
        },
        "secure-descriptor",
    ),
    (
        "security id of another file",
        |raw| {
            edit(raw, "U7", |raw, r| {
                let at = raw.value(r, raw.find(r, 0x10, "").unwrap());
                set(r, at + 0x34, 4, 0x7777);
            })
        },
        "security-id-dangling",
    ),
    (
        "torn record in its second half",
        |raw| {
            let at = raw.record_place(raw.by_name("U7"));
            raw.bytes[at + 1022..at + 1024].copy_from_slice(&[0xde, 0xad]);
        },
        "record-unreadable",
    ),
    ("64 clusters marked free", |raw| (64..128).for_each(|lcn| bit_of(raw, lcn, false)), "cluster-unmarked"),
    ("link count too large", |raw| edit(raw, "U9", |_, r| set(r, 0x12, 2, 4)), "link-count"),
    (
        "entries of another folder out of order",
        |raw| {
            let runs = raw.runs_of(5, 0xa0, "$I30");
            let leaf = leaf_of(raw, 5, "$I30");
            raw.edit_block(&runs, leaf * 4096, 4096, |b| swap_neighbours(b, 24));
        },
        "index-unsorted",
    ),
    // Further ones that no other tool has a name for.
    (
        "a key twice",
        |raw| {
            edit_big_leaf(raw, |b| {
                let all = entries(b, 24);
                let pair = all.windows(2).find(|w| w[0].1 == w[1].1).unwrap();
                b.copy_within(pair[0].0..pair[0].0 + pair[0].1, pair[1].0);
            })
        },
        "index-unsorted",
    ),
    (
        "a name that is not marked as indexed",
        |raw| {
            edit(raw, "U3", |raw, r| {
                let at = raw.find(r, 0x30, "").unwrap();
                r[at + 0x16] = 0;
            })
        },
        "name-not-marked",
    ),
    ("a record with another's number", |raw| edit(raw, "U4", |_, r| set(r, 0x2c, 4, 3)), "record-number"),
    (
        "a folder in itself",
        |raw| {
            edit(raw, "System32", |raw, r| {
                let own = (raw.by_name("System32") | u16_at(r, 0x10) << 48) as u64;
                let at = raw.value(r, raw.find(r, 0x30, "").unwrap());
                set(r, at, 8, own);
            })
        },
        "folder-unreachable",
    ),
];

fn ids(bytes: Vec<u8>) -> Vec<(Level, &'static str)> {
    match Volume::open(Arc::new(MemoryDisk::new(bytes))) {
        Ok(volume) => volume.check().unwrap().into_iter().map(|f| (f.level, f.id)).collect(),
        Err(error) => panic!("the volume does not open: {error}"),
    }
}

#[test]
fn every_fault_is_found() {
    let Some(base) = base() else { return };
    assert!(ids(base.clone()).is_empty(), "the base has findings of its own");
    let mut missed = Vec::new();
    for (name, fault, expected) in FAULTS {
        let mut raw = Raw::new(base.clone());
        fault(&mut raw);
        assert!(raw.bytes != base, "{name}: the fault changes nothing");
        let found = ids(raw.bytes);
        let stale = expected.ends_with("stale");
        let hit = found.iter().any(|(level, id)| id == expected && (*level == Level::Note) == stale);
        if !hit {
            missed.push(format!("{name}: expected {expected}, found {found:?}"));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_stale_mirror_keeps_writers_out() {
    let Some(base) = base() else { return };
    let mut raw = Raw::new(base);
    FAULTS.iter().find(|f| f.0 == "stale $MFTMirr").unwrap().1(&mut raw);
    let before = raw.bytes.clone();
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    let root = volume.root();
    assert!(volume.create_file(root, "X", b"", Security::Inherit, NOW).is_err());
    assert!(disk.to_vec() == before);
}

#[test]
fn broken_descriptors_are_not_written_over() {
    let Some(base) = base() else { return };
    let map =
        reseal_sid::SidMap::new([("S-1-5-21-11-22-33".parse().unwrap(), "S-1-5-21-4-5-6".parse().unwrap())]).unwrap();
    for name in [
        "copy of a descriptor not updated",
        "hash of a descriptor not updated",
        "wrong offset in $SII",
        "wrong hash in a key of $SDH",
        "$SDH out of order",
        "indexes of a descriptor not updated",
    ] {
        let mut raw = Raw::new(base.clone());
        FAULTS.iter().find(|f| f.0 == name).unwrap().1(&mut raw);
        let before = raw.bytes.clone();
        let disk = Arc::new(MemoryDisk::new(raw.bytes));
        let result = rig::open(&disk).rewrite_sids(&map);
        assert!(result.is_err(), "{name}: {result:?}");
        assert!(disk.to_vec() == before, "{name}: a refused rewrite has written");
    }
}
