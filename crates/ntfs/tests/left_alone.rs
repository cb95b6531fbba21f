//! What Windows keeps to itself and an offline writer leaves as it is, and headers that are older or stranger than usual.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{DomainSid, Kind, Sid};
use reseal_ntfs::{FileReference, LogState, Namespace, NewName, Security, Volume};
use reseal_sid::SidMap;
use rig::NOW;
use rig::raw::{Raw, entries, set, u16_at, u32_at, u64_at};
use rig::spill::resident;
use std::collections::BTreeSet;
use std::sync::Arc;

const ROOT: FileReference = FileReference::ROOT;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn file(volume: &mut Volume, folder: FileReference, name: &str, data: &[u8]) -> FileReference {
    volume.create_file(folder, name, data, Security::Inherit, NOW).unwrap()
}

fn settled(volume: &Volume, disk: &MemoryDisk, what: &str) {
    rig::assert_sound(volume, what);
    rig::witnesses(disk);
}

fn changed(disk: &MemoryDisk, change: impl FnOnce(&mut Raw)) -> (Arc<MemoryDisk>, Volume) {
    let mut raw = Raw::new(disk.to_vec());
    change(&mut raw);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let volume = rig::open(&disk);
    (disk, volume)
}

/// Something of everything, in a folder of its own.
fn work(volume: &mut Volume) {
    let top = volume.create_dir(ROOT, "some work", Security::Inherit, NOW).unwrap();
    let made: Vec<_> = (0..60).map(|i| file(volume, top, &format!("a file {i}.text"), &[i; 3000])).collect();
    volume.replace(made[3], &wide("stream"), &[1; 9000], NOW).unwrap();
    volume.link(made[4], ROOT, &wide("LINK"), NOW).unwrap();
    made.iter().step_by(3).for_each(|&f| volume.remove(f, NOW).unwrap());
    let old: DomainSid = "S-1-5-21-1-2-3".parse().unwrap();
    volume.rewrite_sids(&SidMap::new([(old, "S-1-5-21-1-2-4".parse().unwrap())]).unwrap()).unwrap();
    volume.remove_tree(top, NOW).unwrap();
}

/// A restart page of `$LogFile`, before its fixups.
fn restart(signature: &[u8; 4], lsn: u64, major: u64, in_use: u64, flags: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    page[..4].copy_from_slice(signature);
    for (offset, len, value) in [
        (4, 2, 0x1e),
        (6, 2, 9),
        (0x10, 4, 4096),
        (0x14, 4, 4096),
        (0x18, 2, 0x30),
        (0x1a, 2, if major == 1 { 1 } else { 0 }),
        (0x1c, 2, major),
        (0x30, 8, lsn),
        (0x3a, 2, 0xffff),
        (0x3c, 2, in_use),
        (0x3e, 2, flags),
    ] {
        set(&mut page, offset, len, value);
    }
    page
}

/// The bytes of `$LogFile`.
fn log_of(disk: &MemoryDisk) -> Vec<u8> {
    let raw = Raw::new(disk.to_vec());
    let runs = raw.runs_of(2, 0x80, "");
    let parts = runs.iter().map(|r| &raw.bytes[r.1.unwrap() * raw.cluster..(r.1.unwrap() + r.2) * raw.cluster]);
    parts.collect::<Vec<_>>().concat()
}

#[test]
fn the_log_is_judged_and_never_written() {
    let Some(blank) = rig::blank(16, &[]) else { return };
    let page = restart;
    let cases = [
        // The newer page decides; no client in use, or the clean mark.
        ([page(b"RSTR", 7, 1, 0xffff, 0), page(b"RSTR", 6, 1, 0, 0)], LogState::Clean, true),
        ([page(b"RSTR", 7, 1, 0, 2), page(b"RSTR", 6, 1, 0, 0)], LogState::Clean, true),
        ([page(b"RSTR", 7, 1, 0xffff, 0), page(b"RSTR", 8, 1, 0, 0)], LogState::Dirty, false),
        ([page(b"RSTR", 7, 2, 0xffff, 2), page(b"RSTR", 7, 2, 0xffff, 2)], LogState::Version2 { clean: true }, false),
        ([page(b"RSTR", 7, 2, 0, 0), page(b"RSTR", 6, 1, 0xffff, 2)], LogState::Version2 { clean: false }, false),
        ([page(b"CHKD", 7, 1, 0, 0), page(b"CHKD", 7, 1, 0, 0)], LogState::ChkdskRan, true),
        ([vec![0xff; 4096], vec![0xff; 4096]], LogState::Empty, true),
        ([vec![0; 4096], vec![0; 4096]], LogState::Damaged, false),
    ];
    for (pages, state, is_settled) in cases {
        let (disk, mut volume) = changed(&blank, |raw| {
            let at = raw.place(&raw.runs_of(2, 0x80, ""), 0);
            for (index, page) in pages.into_iter().enumerate() {
                let has_fixups = page.starts_with(b"RSTR") || page.starts_with(b"CHKD");
                let page = if has_fixups { raw.fix(page) } else { page };
                raw.bytes[at + index * 4096..at + (index + 1) * 4096].copy_from_slice(&page);
            }
        });
        assert_eq!((volume.info().log_state, state.is_settled()), (state, is_settled));
        let before = log_of(&disk);
        work(&mut volume);
        assert!(log_of(&disk) == before, "{state} was written");
        assert_eq!(rig::open(&disk).info().log_state, state);
        // The check says what is left of it.
        let found: Vec<_> = rig::faults(volume.check().unwrap()).into_iter().map(|f| f.id).collect();
        assert_eq!(found, vec!["log-not-clean"; usize::from(!is_settled)], "{state}");
    }
}

#[test]
fn flags_of_the_volume_tell_what_is_pending() {
    let Some(blank) = rig::blank(16, &[]) else { return };
    let before = rig::open(&blank).info().flags;
    assert!(!before.is_dirty() && !before.has_pending_work());
    for (flag, dirty, pending) in [
        (1, true, false),
        (2, false, true),
        (4, false, true),
        (0x10, false, true),
        (0x20, false, false),
        (0x80, false, false),
        (0x4000, false, true),
        (0x8000, false, false),
    ] {
        let (disk, mut volume) = changed(&blank, |raw| {
            let mut record = raw.record(3);
            let at = raw.value(&record, raw.find(&record, 0x70, "").unwrap());
            set(&mut record, at + 0xa, 2, flag);
            raw.put_record(3, record, true);
        });
        let flags = volume.info().flags;
        assert_eq!((flags.is_dirty(), flags.has_pending_work()), (dirty, pending), "{flag:#x}");
        let record = |disk: &MemoryDisk| Raw::new(disk.to_vec()).record(3);
        let before = record(&disk);
        work(&mut volume);
        assert!(record(&disk) == before, "what the volume says of itself was written");
    }
}

#[test]
fn boot_sectors_are_never_written() {
    for options in [&[][..], &["-c", "512"], &["-c", "65536"], &["-s", "4096"]] {
        let Some(disk) = rig::blank(64, options) else { return };
        let ends = |disk: &MemoryDisk| {
            let bytes = disk.to_vec();
            let sector = rig::open(&Arc::new(MemoryDisk::new(bytes.clone()))).info().sector_size as usize;
            (bytes[..8192].to_vec(), bytes[bytes.len() - sector..].to_vec())
        };
        let before = ends(&disk);
        let mut volume = rig::open(&disk);
        work(&mut volume);
        // To the last cluster.
        let mut index = 0;
        while volume.create_file(ROOT, &format!("F{index}"), &[0xee; 2 << 20], Security::Inherit, NOW).is_ok() {
            index += 1;
        }
        assert!(index > 10 && ends(&disk) == before, "{options:?}");
        settled(&volume, &disk, "a full volume");
    }
}

#[test]
fn the_change_journal_and_the_files_beside_it_are_left_alone() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let extend = volume.resolve("/$Extend").unwrap().unwrap();
    let journal = NewName::Exact(&wide("$UsnJrnl"));
    let journal = volume.create_as(extend, journal, Some(&[7; 9000]), Security::Inherit, NOW).unwrap();
    let logs = volume.create_dir(extend, "$RmMeta", Security::Inherit, NOW).unwrap();
    let log = file(&mut volume, logs, "$TxfLog", b"a log");
    let noted = file(&mut volume, ROOT, "NOTED", &[1; 3000]);
    drop(volume);
    // The last entry of the journal that is about the file.
    let usn = |raw: &Raw| {
        let record = raw.record(noted.record() as usize);
        u64_at(&record, raw.value(&record, raw.find(&record, 0x10, "").unwrap()) + 0x40)
    };
    let (disk, mut volume) = changed(&disk, |raw| {
        raw.edit_attributes(noted.record() as usize, |all| {
            let value = u16_at(&all[0], 0x14);
            set(&mut all[0], value + 0x40, 8, 0x1234_5678);
        });
    });
    let records = |disk: &MemoryDisk| {
        let raw = Raw::new(disk.to_vec());
        [journal, logs, log].map(|f| raw.record(f.record() as usize))
    };
    let before = records(&disk);
    for own in [journal, log, volume.resolve("/$Extend/$ObjId").unwrap().unwrap()] {
        let name = volume.names_of(own).unwrap().remove(0);
        for refused in [
            volume.remove(own, NOW),
            volume.replace(own, &[], b"x", NOW),
            volume.overwrite(own, &[], &[(0, b"x")], NOW).map(drop),
            volume.link(own, ROOT, &wide("LINK"), NOW),
            volume.unlink(own, &name, NOW),
            volume.rename_to(own, &name, ROOT, &wide("MOVED"), NOW),
            volume.set_times(own, [NOW; 4]),
        ] {
            assert_eq!(refused.unwrap_err().kind(), Kind::Unsupported);
        }
    }
    for folder in [extend, logs] {
        assert_eq!(volume.remove_tree(folder, NOW).unwrap_err().kind(), Kind::Unsupported);
    }
    work(&mut volume);
    volume.replace(noted, &[], &[2; 20_000], NOW).unwrap();
    assert!(records(&disk) == before);
    assert_eq!(usn(&Raw::new(disk.to_vec())), 0x1234_5678);
    assert!(volume.read(journal, &[]).unwrap() == [7; 9000]);
    settled(&volume, &disk, "beside the journal");
}

#[test]
fn transaction_data_stays_in_the_record_of_the_root() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let other = file(&mut volume, ROOT, "OTHER", b"x");
    drop(volume);
    let named = |value: &[u8]| {
        let mut out = resident(0x100, &[], 30);
        out[9] = 9;
        set(&mut out, 0xa, 2, 0x18);
        out.extend("$TXF_DATA".encode_utf16().flat_map(u16::to_le_bytes));
        out.resize(out.len().next_multiple_of(8), 0);
        let start = out.len() as u64;
        set(&mut out, 0x14, 2, start);
        set(&mut out, 0x10, 4, value.len() as u64);
        out.extend_from_slice(value);
        let len = out.len() as u64;
        set(&mut out, 4, 4, len);
        out
    };
    let (disk, mut volume) = changed(&disk, |raw| {
        raw.add_attribute(5, named(&[0x5a; 56]));
        raw.add_attribute(other.record() as usize, named(&[0x5b; 56]));
    });
    settled(&volume, &disk, "with $TXF_DATA");
    // The index of the root in single clusters: its run list fills the record.
    rig::fragment(&mut volume, 900, 0);
    for index in 0..6000 {
        let name = format!("{index:04}{}", "x".repeat(200));
        if volume.create_as(ROOT, NewName::Exact(&wide(&name)), Some(b""), Security::SameAs(ROOT), NOW).is_err() {
            break;
        }
    }
    assert!(volume.stat(ROOT).unwrap().records > 1);
    let raw = Raw::new(disk.to_vec());
    let record = raw.record(5);
    let at = raw.find(&record, 0x100, "$TXF_DATA").expect("$TXF_DATA has left the record of the root");
    assert_eq!((record[at + 8], u32_at(&record, at + 0x10)), (0, 56));
    let value = raw.value(&record, at);
    assert_eq!(record[value..value + 56], [0x5a; 56]);
    // With the file it goes.
    volume.remove(other, NOW).unwrap();
    settled(&volume, &disk, "a root in several records");
}

#[test]
fn log_sequence_numbers_stay() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = volume.create_dir(ROOT, "top", Security::Inherit, NOW).unwrap();
    let made: Vec<_> = (0..40).map(|i| file(&mut volume, top, &format!("a file {i}.text"), &[i; 100])).collect();
    drop(volume);
    let block = |raw: &Raw| raw.place(&raw.runs_of(top.record() as usize, 0xa0, "$I30"), 0);
    let (disk, mut volume) = changed(&disk, |raw| {
        for (index, target) in [top, made[20]].into_iter().enumerate() {
            let mut record = raw.record(target.record() as usize);
            set(&mut record, 8, 8, 0x1000 + index as u64);
            raw.put_record(target.record() as usize, record, true);
        }
        let at = block(raw);
        set(&mut raw.bytes, at + 8, 8, 0x2000);
    });
    volume.replace(made[20], &[], &[9; 5000], NOW).unwrap();
    volume.remove(made[0], NOW).unwrap();
    let raw = Raw::new(disk.to_vec());
    let lsn = |f: FileReference| u64_at(&raw.record(f.record() as usize), 8);
    assert_eq!((lsn(top), lsn(made[20])), (0x1000, 0x1001));
    assert_eq!(u64_at(&raw.bytes, block(&raw) + 8), 0x2000);
    settled(&volume, &disk, "edited");
}

#[test]
fn the_shorter_header_of_older_versions() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let made = file(&mut volume, ROOT, "OLD.TXT", &[3; 300]);
    drop(volume);
    let (disk, mut volume) = changed(&disk, |raw| {
        let mut record = raw.record(made.record() as usize);
        set(&mut record, 4, 2, 0x2a);
        raw.put_record(made.record() as usize, record, true);
    });
    settled(&volume, &disk, "an old header");
    volume.replace(made, &[], &[4; 5000], NOW).unwrap();
    volume.replace(made, &wide("stream"), &[5; 90], NOW).unwrap();
    let name = volume.names_of(made).unwrap().remove(0);
    volume.rename_to(made, &name, ROOT, &wide("a longer name.text"), NOW).unwrap();
    assert!(volume.read(made, &[]).unwrap() == [4; 5000]);
    let record = Raw::new(disk.to_vec()).record(made.record() as usize);
    assert_eq!((u16_at(&record, 4), u16_at(&record, 6)), (0x2a, 3));
    settled(&volume, &disk, "edited");
    volume.remove(made, NOW).unwrap();
    settled(&volume, &disk, "removed");
}

#[test]
fn a_record_that_windows_gave_up_is_not_written() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let bad = file(&mut volume, ROOT, "BAD", &[3; 300]);
    drop(volume);
    let (disk, mut volume) = changed(&disk, |raw| {
        let at = raw.record_place(bad.record() as usize);
        raw.bytes[at..at + 4].copy_from_slice(b"BAAD");
    });
    let stored = |disk: &MemoryDisk| {
        let raw = Raw::new(disk.to_vec());
        let at = raw.record_place(bad.record() as usize);
        raw.bytes[at..at + raw.record_size].to_vec()
    };
    let before = stored(&disk);
    assert_eq!(volume.remove(bad, NOW).unwrap_err().kind(), Kind::Damaged);
    assert_eq!(volume.replace(bad, &[], b"x", NOW).unwrap_err().kind(), Kind::Damaged);
    work(&mut volume);
    volume.scrub(&|_: &[u8]| true).unwrap();
    assert!(stored(&disk) == before);
    assert!(!rig::faults(volume.check().unwrap()).is_empty());
}

#[test]
fn ids_of_attributes_run_out() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let made = file(&mut volume, ROOT, "FILE", b"x");
    drop(volume);
    for next in [0x7fff, 0xffff] {
        let (disk, mut volume) = changed(&disk, |raw| {
            let mut record = raw.record(made.record() as usize);
            set(&mut record, 0x28, 2, next);
            raw.put_record(made.record() as usize, record, true);
        });
        for index in 0..6 {
            volume.replace(made, &wide(&format!("s{index}")), b"content", NOW).unwrap();
        }
        let raw = Raw::new(disk.to_vec());
        let record = raw.record(made.record() as usize);
        let ids: Vec<_> = raw.attributes(&record).iter().map(|a| u16_at(&record, a.0 + 0xe)).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.iter().all(|&id| id < 0x7fff));
        settled(&volume, &disk, "six streams");
    }
}

#[test]
fn a_sid_across_the_end_of_a_sector() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let made = file(&mut volume, ROOT, "FILE", b"x");
    drop(volume);
    let [old, new]: [DomainSid; 2] = ["S-1-5-21-11-22-33", "S-1-5-21-44-55-66"].map(|s| s.parse().unwrap());
    let owner = old.account(1001).to_bytes();
    let system = "S-1-5-18".parse::<Sid>().unwrap().to_bytes();
    // A list of entries for SYSTEM goes first, so long that the last one, for the owner, crosses byte 510.
    let entry = |sid: &[u8]| [&[0, 0, (8 + sid.len()) as u8, 0, 0xff, 1, 0x1f, 0][..], sid].concat();
    let raw = Raw::new(disk.to_vec());
    let record = raw.record(made.record() as usize);
    let start = raw.attributes(&record).iter().find(|a| a.1 > 0x50).unwrap().0 + 0x18;
    let fits = |n: &usize| {
        let sid = start + 28 + n * entry(&system).len() + 8;
        sid + 8 < 510 && sid + owner.len() > 512
    };
    let before = (0..20).find(fits).unwrap();
    let entries = [entry(&system).repeat(before), entry(&owner)].concat();
    let end = (28 + entries.len()) as u64;
    let mut sd = vec![0; 28];
    for (offset, len, value) in [
        (0, 2, 1),
        (2, 2, 0x8004),
        (4, 4, end),
        (8, 4, end),
        (0x10, 4, 20),
        (20, 2, 2),
        (22, 2, 8 + entries.len() as u64),
        (24, 2, before as u64 + 1),
    ] {
        set(&mut sd, offset, len, value);
    }
    sd.extend(entries);
    sd.extend(&system);
    let (disk, mut volume) = changed(&disk, |raw| {
        raw.add_attribute(made.record() as usize, resident(0x50, &sd, 9));
    });
    rig::assert_sound(&volume, "with a descriptor");
    let map = SidMap::new([(old, new)]).unwrap();
    // On the medium the SID is torn apart by the update sequence number: a search for it finds nothing.
    assert_eq!(map.count(&disk.to_vec()).total(), 0);
    assert_eq!(volume.rewrite_sids(&map).unwrap().own_descriptors, 1);
    let record = Raw::new(disk.to_vec()).record(made.record() as usize);
    assert_eq!((map.count(&record).total(), map.reversed().count(&record).binary), (0, 1));
    settled(&volume, &disk, "rewritten");
}

#[test]
fn what_names_of_files_and_folders_say() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = volume.create_dir(ROOT, "TOP", Security::Inherit, NOW).unwrap();
    let (both, long, dos) = (Namespace::Win32AndDos, Namespace::Win32, Namespace::Dos);
    let cases = [
        ("FILE.TXT", vec![both]),
        ("A", vec![both]),
        ("lower.txt", vec![both]),
        ("NINECHARS", vec![long, dos]),
        ("TWO.DOT.S", vec![long, dos]),
        ("FOUR.TEXT", vec![long, dos]),
        ("A B.TXT", vec![long, dos]),
        ("PLUS+.TXT", vec![long, dos]),
        ("ÄÖ.TXT", vec![long, dos]),
    ];
    for (name, namespaces) in cases {
        let made = volume.create_dir(top, name, Security::Inherit, NOW).unwrap();
        let names = volume.names_of(made).unwrap();
        assert_eq!(names.iter().map(|n| n.namespace).collect::<Vec<_>>(), namespaces, "{name}");
    }
    let raw = Raw::new(disk.to_vec());
    let record = raw.record(top.record() as usize);
    for (at, _, _) in raw.attributes(&record).into_iter().filter(|a| a.1 == 0x30) {
        // A folder, which has its own flag in names, and no size.
        let value = raw.value(&record, at);
        assert_eq!(u32_at(&record, value + 0x38), 0x1000_0000);
        assert_eq!((u64_at(&record, value + 0x28), u64_at(&record, value + 0x30)), (0, 0));
    }
    let view = raw.record(ROOT.record() as usize);
    let mut folders = 0;
    if let Some(runs) = raw.find(&view, 0xa0, "$I30").map(|at| raw.runs(&view, at)) {
        let place = raw.place(&runs, 0);
        let block = raw.unfix(raw.bytes[place..place + 4096].to_vec());
        for (at, _, _) in entries(&block, 0x18).iter().filter(|e| u64_at(&block, e.0) == top.0) {
            assert_eq!(u32_at(&block, at + 0x10 + 0x38), 0x1000_0000);
            folders += 1;
        }
    }
    assert_eq!(folders, 1);
    settled(&volume, &disk, "names");
}
