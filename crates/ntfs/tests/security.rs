//! `$Secure`: adding descriptors and rewriting SIDs.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{Ace, AceBody, Acl, Descriptor, Kind, Sid};
use reseal_ntfs::{Security, Volume};
use reseal_sid::SidMap;
use rig::raw::{Raw, descriptor_hash, set, u16_at};
use rig::spill::resident;
use rig::{NOW, Random};
use std::sync::Arc;

const OLD: &str = "S-1-5-21-1004336348-1177238915-682003330";
const NEW: &str = "S-1-5-21-77-3000000000-5";

fn map() -> SidMap {
    SidMap::new([(OLD.parse().unwrap(), NEW.parse().unwrap())]).unwrap()
}

fn sid(text: &str) -> Sid {
    text.parse().unwrap()
}

fn ace(mask: u32, who: Sid) -> Ace {
    Ace { ty: 0, flags: 0, mask, body: AceBody::Plain { sid: who }, data: Vec::new() }
}

/// A descriptor with `entries` entries; every third account is one of the machine.
fn descriptor(random: &mut Random, entries: usize) -> Vec<u8> {
    let account = |random: &mut Random| match random.below(3) {
        0 => sid(&format!("{OLD}-{}", 1000 + random.below(500))),
        1 => sid(&format!("S-1-5-21-1-2-{}-{}", random.below(9), random.below(5000))),
        _ => sid(&format!("S-1-5-80-{}-{}", random.below(1 << 32), random.below(1 << 32))),
    };
    let aces = (0..entries).map(|_| ace(random.next() as u32, account(random))).collect();
    let descriptor = Descriptor::new(Some(account(random)), Some(sid("S-1-5-18")), None, Some(Acl::new(aces)), 0);
    descriptor.to_bytes().unwrap()
}

/// A volume whose `$Secure` needs several blocks of `$SDS` and trees of several levels.
fn volume(count: usize) -> Option<(Arc<MemoryDisk>, Volume, Vec<Vec<u8>>)> {
    let disk = rig::blank(64, &[])?;
    let mut volume = rig::open(&disk);
    let mut random = Random::new(6);
    let root = volume.root();
    let mut all = Vec::new();
    for index in 0..count {
        let entries = 1 + random.below(60) as usize;
        let sd = descriptor(&mut random, entries);
        let file = volume.create_file(root, &format!("F{index}"), b"", Security::Descriptor(&sd), NOW).unwrap();
        assert_eq!(volume.descriptor(file).unwrap(), sd);
        all.push(sd);
    }
    rig::assert_sound(&volume, "many descriptors");
    rig::witnesses(&disk);
    Some((disk, volume, all))
}

#[test]
fn rewrite_and_back() {
    let Some((disk, mut volume, all)) = volume(700) else { return };
    let before = volume.descriptors().unwrap();
    let first = volume.rewrite_sids(&map()).unwrap();
    assert_eq!(first.descriptors, before.len());
    let holds = all.iter().filter(|sd| map().is_in(sd)).count();
    assert_eq!(first.changed, holds);
    assert_eq!(first.sids, all.iter().map(|sd| map().count(sd).binary).sum::<usize>());
    rig::assert_sound(&volume, "rewritten");
    rig::witnesses(&disk);
    for ((id, old), (now_id, now)) in before.iter().zip(volume.descriptors().unwrap()) {
        let mut expected = old.clone();
        map().rewrite_binary(&mut expected);
        assert_eq!((*id, expected), (now_id, now));
    }
    assert_eq!(map().count(&disk.to_vec()).total(), 0, "the old SID is still on the medium");
    assert_eq!(volume.rewrite_sids(&map()).unwrap().changed, 0);
    let back = volume.rewrite_sids(&map().reversed()).unwrap();
    assert_eq!((back.changed, back.sids), (first.changed, first.sids));
    assert_eq!(volume.descriptors().unwrap(), before);
    rig::assert_sound(&volume, "rewritten back");
}

#[test]
fn equal_descriptors_are_stored_once() {
    let Some((disk, mut volume, all)) = volume(40) else { return };
    let ids = volume.security_ids().unwrap();
    let root = volume.root();
    for (index, sd) in all.iter().enumerate() {
        volume.create_file(root, &format!("AGAIN{index}"), b"", Security::Descriptor(sd), NOW).unwrap();
    }
    let same = volume.resolve("F3").unwrap().unwrap();
    let file = volume.create_file(root, "SAME", b"", Security::SameAs(same), NOW).unwrap();
    assert_eq!(volume.stat(file).unwrap().standard.security_id, volume.stat(same).unwrap().standard.security_id);
    let by_id = volume.stat(same).unwrap().standard.security_id.unwrap();
    let other = volume.resolve("F5").unwrap().unwrap();
    volume.set_security_id(other, Security::Id(by_id)).unwrap();
    assert_eq!(volume.descriptor(other).unwrap(), all[3]);
    assert_eq!(volume.security_ids().unwrap(), ids);
    assert_eq!(volume.set_security_id(other, Security::Id(0x7777)).unwrap_err().kind(), Kind::NotFound);
    assert!(volume.create_file(root, "BAD", b"", Security::Descriptor(b"nonsense"), NOW).is_err());
    rig::assert_sound(&volume, "shared descriptors");
    rig::witnesses(&disk);
}

#[test]
fn new_files_inherit() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let (system, everyone) = (sid("S-1-5-18"), sid("S-1-1-0"));
    let entry = |flags: u8, who: &Sid| Ace { flags, ..ace(0x1f01ff, who.clone()) };
    let acl = Acl::new(vec![entry(3, &system), entry(2, &everyone), entry(0, &everyone)]);
    let sd = Descriptor::new(Some(system.clone()), Some(system.clone()), None, Some(acl), 0).to_bytes().unwrap();
    let folder = volume.create_dir(volume.root(), "FOLDER", Security::Descriptor(&sd), NOW).unwrap();
    let file = volume.create_file(folder, "FILE", b"", Security::Inherit, NOW).unwrap();
    let child = volume.create_dir(folder, "CHILD", Security::Inherit, NOW).unwrap();
    let aces = |bytes: &[u8]| Descriptor::read(bytes).unwrap().dacl.unwrap().aces;
    assert_eq!(aces(&volume.descriptor(file).unwrap()), [entry(0x10, &system)]);
    assert_eq!(aces(&volume.descriptor(child).unwrap()), [entry(0x13, &system), entry(0x12, &everyone)]);
    rig::assert_sound(&volume, "inherited descriptors");
    // ntfssecaudit 1.5 reads behind the end of $SDS when the last entry fills its 16 bytes exactly: end with another one.
    let acl = Acl::new(vec![ace(1, sid(&format!("{OLD}-500")))]);
    let last = Descriptor::new(Some(sid(&format!("{OLD}-500"))), Some(system), None, Some(acl), 0).to_bytes().unwrap();
    assert_ne!((last.len() + 20) % 16, 0);
    volume.create_file(folder, "LAST", b"", Security::Descriptor(&last), NOW).unwrap();
    rig::witnesses(&disk);
}

#[test]
fn orphaned_descriptors_lose_the_sid_as_well() {
    let Some((disk, volume, _)) = volume(30) else { return };
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let runs = raw.runs_of(9, 0x80, "$SDS");
    let mut random = Random::new(1);
    // One orphan with header and hash, one heap of bytes; both in a part of the stream that no entry covers.
    let sd = Descriptor::new(Some(sid(&format!("{OLD}-500"))), None, None, None, 0).to_bytes().unwrap();
    let mut entry = Vec::new();
    entry.extend_from_slice(&descriptor_hash(&sd).to_le_bytes());
    entry.extend_from_slice(&9999u32.to_le_bytes());
    entry.extend_from_slice(&0x3f000u64.to_le_bytes());
    entry.extend_from_slice(&(20 + sd.len() as u32).to_le_bytes());
    entry.extend_from_slice(&sd);
    for (offset, bytes) in [(0x3f000, entry.clone()), (0x3f800, [random.bytes(7), sid(OLD).to_bytes()].concat())] {
        let at = raw.place(&runs, offset);
        raw.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    rig::assert_sound(&volume, "orphans are no fault");
    assert_eq!(volume.rewrite_sids(&map()).unwrap().orphaned, 2);
    let bytes = disk.to_vec();
    assert_eq!(map().count(&bytes).total(), 0);
    let at = Raw::new(bytes.clone()).place(&runs, 0x3f000);
    let (hash, len) = (u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()), entry.len());
    assert_eq!(hash, descriptor_hash(&bytes[at + 20..at + len]));
    rig::assert_sound(&volume, "orphans rewritten");
}

#[test]
fn descriptors_in_file_records() {
    let Some((disk, mut volume, _)) = volume(3) else { return };
    let file = volume.create_file(volume.root(), "OWN", b"", Security::Inherit, NOW).unwrap();
    drop(volume);
    let mut random = Random::new(8);
    let sd = loop {
        let sd = descriptor(&mut random, 6);
        if map().is_in(&sd) {
            break sd;
        }
    };
    let mut raw = Raw::new(disk.to_vec());
    raw.edit_attributes(file.record() as usize, |all| {
        let id = all.iter().map(|a| u16_at(a, 0xe)).max().unwrap() + 1;
        let place = all.iter().position(|a| rig::raw::u32_at(a, 0) > 0x50).unwrap();
        all.insert(place, resident(0x50, &sd, id));
        // Without a security id, the attribute holds.
        set(&mut all[0], 0x18 + 0x34, 4, 0);
    });
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    assert_eq!(volume.descriptor(file).unwrap(), sd);
    assert_eq!(volume.rewrite_sids(&map()).unwrap().own_descriptors, 1);
    let mut expected = sd.clone();
    map().rewrite_binary(&mut expected);
    assert_eq!(volume.descriptor(file).unwrap(), expected);
    assert_eq!(map().count(&disk.to_vec()).total(), 0);
    rig::assert_sound(&volume, "own descriptors");
}
