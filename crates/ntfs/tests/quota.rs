//! `$Quota`: usage when files go, the SIDs of owners. ntfs-3g writes none of it, so entries are put in by hand.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{DomainSid, Kind, Sid};
use reseal_ntfs::{FileReference, Security, Volume};
use reseal_sid::SidMap;
use rig::NOW;
use rig::raw::{Raw, entries, set, u16_at, u32_at, u64_at};
use std::sync::Arc;

const OLD: &str = "S-1-5-21-1004336348-1177238915-682003330";
/// The same order by any reading.
const NEW: &str = "S-1-5-21-1004336349-1177238915-682003330";
/// Behind [`OTHER`], where the old one is before it.
const BEHIND: &str = "S-1-5-21-3999999999-1177238915-682003330";
const OTHER: &str = "S-1-5-21-3003336348-3177238915-682003330";

const TRACKED: u32 = 0x10;
const OUT_OF_DATE: u32 = 0x200;
const OWNER: u32 = 0x100;

fn map(new: &str) -> SidMap {
    let [old, new]: [DomainSid; 2] = [OLD, new].map(|s| s.parse().unwrap());
    SidMap::new([(old, new)]).unwrap()
}

fn sid(text: &str) -> Vec<u8> {
    text.parse::<Sid>().unwrap().to_bytes()
}

/// An entry of a view index with its data behind the key.
fn entry(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 16];
    set(&mut out, 0, 2, 16 + key.len() as u64);
    set(&mut out, 2, 2, data.len() as u64);
    set(&mut out, 10, 2, key.len() as u64);
    out.extend_from_slice(key);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
    let len = out.len() as u64;
    set(&mut out, 8, 2, len);
    out
}

/// What `$Q` knows of an owner; without limits.
fn control(flags: u32, used: u64, exceeded: u64, who: &[u8]) -> Vec<u8> {
    let mut out = vec![0; 0x30];
    set(&mut out, 0, 4, 2);
    set(&mut out, 4, 4, u64::from(flags));
    set(&mut out, 8, 8, used);
    set(&mut out, 0x10, 8, NOW.0);
    out[0x18..0x28].fill(0xff);
    set(&mut out, 0x28, 8, exceeded);
    out.extend_from_slice(who);
    out
}

/// One owner of files, as `$Q` has it.
#[derive(Clone, Copy)]
struct Owner {
    flags: u32,
    used: u64,
    exceeded: u64,
}

const PLAIN: Owner = Owner { flags: 0, used: 100_000, exceeded: 0 };

/// A volume with the defaults' flags and one owner, and with two files that it owns: 6,000 bytes in folder `tree`, 9,000 beside
/// it, with charges of the same size.
fn with_files(defaults: u32, owner: Owner, charged_to: u32) -> Option<(Arc<MemoryDisk>, Volume, [FileReference; 3])> {
    let disk = rig::blank(16, &[])?;
    let mut volume = rig::open(&disk);
    let tree = volume.create_dir(FileReference::ROOT, "tree", Security::Inherit, NOW).unwrap();
    let small = volume.create_file(tree, "SMALL", &[1; 6000], Security::Inherit, NOW).unwrap();
    let large = volume.create_file(FileReference::ROOT, "LARGE", &[2; 9000], Security::Inherit, NOW).unwrap();
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    for (file, size) in [(small, 6000), (large, 9000)] {
        raw.edit_attributes(file.record() as usize, |all| {
            let value = u16_at(&all[0], 0x14);
            set(&mut all[0], value + 0x30, 4, u64::from(charged_to));
            set(&mut all[0], value + 0x38, 8, size);
        });
    }
    let who = sid(&format!("{OLD}-1001"));
    let owner = control(owner.flags, owner.used, owner.exceeded, &who);
    let defaults = entry(&1u32.to_le_bytes(), &control(defaults | 1, 0, 0, &[]));
    raw.fill_index("$Quota", "$Q", &[defaults, entry(&OWNER.to_le_bytes(), &owner)]);
    raw.fill_index("$Quota", "$O", &[entry(&who, &OWNER.to_le_bytes())]);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let volume = rig::open(&disk);
    settled(&volume, &disk, "with quotas");
    Some((disk, volume, [tree, small, large]))
}

fn settled(volume: &Volume, disk: &MemoryDisk, what: &str) {
    rig::assert_sound(volume, what);
    rig::witnesses(disk);
    if let Some(seen) = rig::ntfs_3g::read(rig::save(disk).path()) {
        assert_eq!(seen.faults, []);
    }
}

fn quota_record(disk: &MemoryDisk) -> Vec<u8> {
    let raw = Raw::new(disk.to_vec());
    raw.record(raw.by_name("$Quota"))
}

/// The keys of an index, and the data of each.
fn index(disk: &MemoryDisk, name: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (raw, record) = (Raw::new(disk.to_vec()), quota_record(disk));
    let at = raw.value(&record, raw.find(&record, 0x90, name).unwrap());
    let all = entries(&record, at + 0x10).into_iter().filter(|e| e.2 & 2 == 0);
    let part = |from: usize, len: usize| record[from..from + len].to_vec();
    all.map(|(at, _, _)| {
        let data = at + u16_at(&record, at);
        (part(at + 0x10, u16_at(&record, at + 10)), part(data, u16_at(&record, at + 2)))
    })
    .collect()
}

/// Flags of the defaults, and the bytes that the owner uses.
fn numbers(disk: &MemoryDisk) -> (u32, u64) {
    let all = index(disk, "$Q");
    (u32_at(&all[0].1, 4) as u32 & !1, u64_at(&all[1].1, 8))
}

#[test]
fn what_was_charged_for_a_file_is_given_back() {
    let Some((disk, mut volume, [tree, _, large])) = with_files(TRACKED, PLAIN, OWNER) else { return };
    volume.remove(large, NOW).unwrap();
    assert_eq!(numbers(&disk), (TRACKED, 91_000));
    volume.remove_tree(tree, NOW).unwrap();
    assert_eq!(numbers(&disk), (TRACKED, 85_000));
    settled(&volume, &disk, "without the files");
}

#[test]
fn a_hard_link_that_goes_gives_nothing_back() {
    let Some((disk, mut volume, [tree, _, large])) = with_files(TRACKED, PLAIN, OWNER) else { return };
    volume.link(large, tree, &[0x4c], NOW).unwrap();
    volume.remove_tree(tree, NOW).unwrap();
    // The other file of the tree is gone.
    assert_eq!(numbers(&disk), (TRACKED, 94_000));
    let name = volume.names_of(large).unwrap().remove(0);
    volume.unlink(large, &name, NOW).unwrap();
    assert_eq!(numbers(&disk), (TRACKED, 85_000));
    settled(&volume, &disk, "without the links");
}

#[test]
fn numbers_that_cannot_be_right_are_to_be_counted_anew() {
    // An owner that $Q does not know, less used than charged, an owner at its limit or beyond its threshold.
    let cases = [
        (PLAIN, 0x1ff),
        (Owner { used: 8999, ..PLAIN }, OWNER),
        (Owner { flags: 2, ..PLAIN }, OWNER),
        (Owner { exceeded: NOW.0, ..PLAIN }, OWNER),
    ];
    for (owner, charged_to) in cases {
        let Some((disk, mut volume, [_, _, large])) = with_files(TRACKED, owner, charged_to) else { return };
        volume.remove(large, NOW).unwrap();
        assert_eq!(numbers(&disk), (TRACKED | OUT_OF_DATE, owner.used));
        settled(&volume, &disk, "out of date");
    }
}

type Edit = fn(&mut Volume, [FileReference; 3]);

const EDITS: [Edit; 5] = [
    |volume, [tree, ..]| {
        volume.create_file(tree, "NEW", b"x", Security::Inherit, NOW).unwrap();
    },
    |volume, [_, small, _]| volume.replace(small, &[], &[7; 20_000], NOW).unwrap(),
    |volume, [_, small, _]| volume.replace(small, &[0x61], b"a stream", NOW).unwrap(),
    |volume, [_, small, _]| volume.set_security_id(small, Security::SameAs(FileReference::ROOT)).unwrap(),
    |volume, [_, _, large]| volume.remove(large, NOW).unwrap(),
];

#[test]
fn changes_whose_charge_is_not_known_are_to_be_counted_anew() {
    for edit in &EDITS[..4] {
        let Some((disk, mut volume, files)) = with_files(TRACKED, PLAIN, OWNER) else { return };
        edit(&mut volume, files);
        assert_eq!(numbers(&disk), (TRACKED | OUT_OF_DATE, PLAIN.used));
        settled(&volume, &disk, "out of date");
    }
}

#[test]
fn quotas_that_are_off_or_out_of_date_are_left_alone() {
    for defaults in [0, 0x180, TRACKED | OUT_OF_DATE, TRACKED | 0x400] {
        let Some((disk, mut volume, files)) = with_files(defaults, PLAIN, OWNER) else { return };
        let before = quota_record(&disk);
        EDITS.iter().for_each(|edit| edit(&mut volume, files));
        assert!(quota_record(&disk) == before, "defaults {defaults:#x}");
    }
}

#[test]
fn a_refused_operation_does_not_forget_to_tell() {
    let Some((disk, mut volume, files)) = with_files(TRACKED, PLAIN, OWNER) else { return };
    let before = disk.to_vec();
    let refused = volume.create_file(files[0], "SMALL", b"", Security::Inherit, NOW).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    assert_eq!(volume.remove(files[0], NOW).unwrap_err().kind(), Kind::Conflict);
    assert!(disk.to_vec() == before);
    EDITS[0](&mut volume, files);
    assert_eq!(numbers(&disk), (TRACKED | OUT_OF_DATE, PLAIN.used));
}

#[test]
fn an_entry_that_is_too_short_is_not_read() {
    let Some((disk, volume, [_, _, large])) = with_files(TRACKED, PLAIN, OWNER) else { return };
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    raw.fill_index("$Quota", "$Q", &[entry(&1u32.to_le_bytes(), &[2, 0, 0, 0, 0x10, 0, 0, 0])]);
    let mut volume = rig::open(&Arc::new(MemoryDisk::new(raw.bytes)));
    let refused = volume.remove(large, NOW).unwrap_err();
    assert_eq!(refused.kind(), Kind::Damaged, "{refused}");
    assert!(volume.read(large, &[]).unwrap() == [2; 9000]);
}

/// Four owners: a well-known one, two of the old domain, one of another.
fn with_owners(defaults: u32) -> Option<(Arc<MemoryDisk>, Volume)> {
    // Both indexes do not lie in a record of 1 KiB.
    let disk = rig::blank(16, &["-s", "4096"])?;
    let owners = ["S-1-5-32-544", &format!("{OLD}-1001"), &format!("{OLD}-1002"), &format!("{OTHER}-1001")].map(sid);
    let mut raw = Raw::new(disk.to_vec());
    let numbered = || (OWNER..).zip(&owners);
    let by_sid: Vec<_> = numbered().map(|(id, who)| entry(who, &id.to_le_bytes())).collect();
    let owners = numbered().map(|(id, who)| entry(&id.to_le_bytes(), &control(0, u64::from(id), 0, who)));
    let by_id: Vec<_> = [entry(&1u32.to_le_bytes(), &control(defaults, 0, 0, &[]))].into_iter().chain(owners).collect();
    raw.fill_index("$Quota", "$O", &by_sid);
    raw.fill_index("$Quota", "$Q", &by_id);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let volume = rig::open(&disk);
    settled(&volume, &disk, "with owners");
    Some((disk, volume))
}

/// Each SID leads to the number that leads back to it.
fn agree(disk: &MemoryDisk) {
    let by_id = index(disk, "$Q");
    for (who, id) in index(disk, "$O") {
        let found = by_id.iter().find(|(key, _)| *key == id).unwrap();
        assert_eq!(found.1[0x30..], who);
    }
}

#[test]
fn sids_of_owners_follow() {
    let Some((disk, mut volume)) = with_owners(TRACKED) else { return };
    agree(&disk);
    let done = volume.rewrite_sids(&map(NEW)).unwrap();
    assert_eq!((done.quota_entries, done.quota_reordered), (4, false));
    assert_eq!(map(NEW).count(&disk.to_vec()).total(), 0);
    assert_eq!(map(NEW).reversed().count(&disk.to_vec()).binary, 4);
    agree(&disk);
    settled(&volume, &disk, "with new owners");
    assert_eq!(volume.rewrite_sids(&map(NEW)).unwrap().quota_entries, 0);
}

#[test]
fn an_order_that_is_not_documented_is_not_guessed() {
    let Some((disk, mut volume)) = with_owners(TRACKED) else { return };
    let before = disk.to_vec();
    let refused = volume.rewrite_sids(&map(BEHIND)).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported, "{refused}");
    assert!(disk.to_vec() == before);
    // Quotas are off: nobody searches the index, and it is said.
    let Some((disk, mut volume)) = with_owners(0) else { return };
    let done = volume.rewrite_sids(&map(BEHIND)).unwrap();
    assert_eq!((done.quota_entries, done.quota_reordered), (4, true));
    assert_eq!(map(BEHIND).count(&disk.to_vec()).total(), 0);
    agree(&disk);
    let keys: Vec<_> = index(&disk, "$O").into_iter().map(|e| e.0).collect();
    assert!(keys.is_sorted_by_key(|k| (k.len(), k.clone())) && keys.len() == 4);
    settled(&volume, &disk, "sorted anew");
}
