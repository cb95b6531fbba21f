//! What writing leaves behind, and what a refusal leaves untouched.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::Kind;
use reseal_ntfs::{Security, Touch, Volume};
use rig::{NOW, Random};
use std::sync::Arc;

fn volume(mib: u64, options: &[&str]) -> Option<(Arc<MemoryDisk>, Volume)> {
    let disk = rig::blank(mib, options)?;
    let volume = rig::open(&disk);
    Some((disk, volume))
}

fn count(haystack: &[u8], needle: &[u8]) -> usize {
    haystack.windows(needle.len()).filter(|w| *w == needle).count()
}

#[test]
fn what_is_removed_is_gone() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let root = volume.root();
    let (small, large) = (b"a secret that lies in the record", b"a secret in clusters ".repeat(2000));
    let first = volume.create_file(root, "SMALL.TXT", small, Security::Inherit, NOW).unwrap();
    let second = volume.create_file(root, "LARGE.TXT", &large, Security::Inherit, NOW).unwrap();
    let third = volume.create_file(root, "SHRINKS.TXT", &large, Security::Inherit, NOW).unwrap();
    volume.remove(first, NOW).unwrap();
    volume.remove(second, NOW).unwrap();
    volume.replace(third, &[], b"harmless", NOW).unwrap();
    assert_eq!(count(&disk.to_vec(), b"a secret"), 0);
    for name in ["SMALL.TXT", "LARGE.TXT"] {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(count(&disk.to_vec(), &name), 0, "the name of a removed file is still there");
    }
    assert_eq!(volume.read(third, &[]).unwrap(), b"harmless");
    rig::assert_sound(&volume, "after removal");
    rig::witnesses(&disk);
}

#[test]
fn only_pages_that_differ_are_written() {
    let Some((disk, mut volume)) = volume(32, &[]) else { return };
    let mut data = Random::new(1).bytes(8 << 20);
    let file = volume.create_file(volume.root(), "HIVE", &data, Security::Inherit, NOW).unwrap();
    let before = disk.to_vec();
    volume.replace(file, &[], &data, NOW).unwrap();
    assert!(disk.to_vec() == before, "equal content was written");
    data[3 << 20] ^= 1;
    data[5 << 20] ^= 1;
    volume.replace(file, &[], &data, NOW).unwrap();
    let after = disk.to_vec();
    let changed = before.chunks(4096).zip(after.chunks(4096)).filter(|(a, b)| a != b).count();
    // Two pages of content, the record, the folder.
    assert!(changed <= 4, "{changed} pages changed");
    assert!(volume.read(file, &[]).unwrap() == data);
    let records = volume.touched().iter().any(|t| t.what == Touch::FileRecord(file.record()));
    assert!(records, "the record is among what was touched");
}

#[test]
fn touched_covers_every_change() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let before = disk.to_vec();
    let folder = volume.create_dir(volume.root(), "folder with a name", Security::Inherit, NOW).unwrap();
    let mut random = Random::new(4);
    for index in 0..80 {
        let data = random.bytes(index * 100);
        volume.create_file(folder, &format!("file number {index}.text"), &data, Security::Inherit, NOW).unwrap();
    }
    for entry in volume.entries(folder).unwrap().iter().step_by(6) {
        let _ = volume.remove(entry.reference, NOW);
    }
    let after = disk.to_vec();
    let touched = volume.touched();
    for (at, _) in before.iter().zip(&after).enumerate().filter(|(_, (a, b))| a != b) {
        let at = at as u64;
        assert!(touched.iter().any(|t| t.offset <= at && at < t.offset + t.len), "byte {at:#x} is not accounted for");
    }
}

#[test]
fn a_full_volume_refuses_and_stays_as_it_is() {
    let Some((disk, mut volume)) = volume(8, &[]) else { return };
    let root = volume.root();
    let mut random = Random::new(2);
    let mut files = Vec::new();
    loop {
        let data = random.bytes(90_000);
        let before = disk.to_vec();
        match volume.create_file(root, &format!("F{}", files.len()), &data, Security::Inherit, NOW) {
            Ok(file) => files.push((file, data)),
            Err(error) => {
                assert_eq!(error.kind(), Kind::NoSpace, "{error}");
                let listed = volume.entries(root).unwrap().len();
                rig::assert_sound(&volume, "a full volume");
                assert_eq!(rig::open(&disk).entries(root).unwrap().len(), listed);
                // Fresh clusters may hold what was to be written; no structure has changed.
                let changed = before.iter().zip(disk.to_vec().iter()).any(|(a, b)| a != b);
                assert!(!changed, "a refused file has left traces");
                break;
            }
        }
    }
    assert!(files.len() > 10);
    for (file, data) in &files {
        assert!(volume.read(*file, &[]).unwrap() == *data);
    }
    let big = vec![1; 1_000_000];
    assert_eq!(volume.replace(files[0].0, &[], &big, NOW).unwrap_err().kind(), Kind::NoSpace);
    assert!(volume.read(files[0].0, &[]).unwrap() == files[0].1);
    rig::assert_sound(&volume, "after a refused replacement");
}

#[test]
fn a_spread_out_file_is_put_together() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let root = volume.root();
    let mut random = Random::new(3);
    let mut files = Vec::new();
    while let Ok(file) =
        volume.create_file(root, &format!("F{}", files.len()), &random.bytes(20_000), Security::Inherit, NOW)
    {
        files.push(file);
    }
    // Every other file goes: the free space is nothing but gaps of five clusters.
    for file in files.iter().step_by(2) {
        volume.remove(*file, NOW).unwrap();
    }
    let mut data = random.bytes(600_000);
    let file = volume.create_file(root, "SPREAD", &data, Security::Inherit, NOW).unwrap();
    assert!(volume.read(file, &[]).unwrap() == data);
    data.extend(random.bytes(300_000));
    volume.replace(file, &[], &data, NOW).unwrap();
    assert!(volume.read(file, &[]).unwrap() == data);
    rig::assert_sound(&volume, "a fragmented file");
    rig::witnesses(&disk);
    if let Some(read) = rig::ntfscat(rig::save(&disk).path(), "/SPREAD") {
        assert!(read == data);
    }
    data.truncate(70_000);
    volume.replace(file, &[], &data, NOW).unwrap();
    assert!(volume.read(file, &[]).unwrap() == data);
    rig::assert_sound(&volume, "a cut file");
}

#[test]
fn sizes_around_every_border() {
    for options in [&[][..], &["-c", "512"], &["-c", "65536"]] {
        let Some((disk, mut volume)) = volume(32, options) else { return };
        let file = volume.create_file(volume.root(), "GROWS.BIN", b"", Security::Inherit, NOW).unwrap();
        let mut random = Random::new(9);
        for size in
            [0, 1, 7, 8, 500, 700, 800, 1000, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 200_000, 4096, 0, 9]
        {
            let data = random.bytes(size);
            volume.replace(file, &[], &data, NOW).unwrap();
            assert!(volume.read(file, &[]).unwrap() == data, "{size} bytes");
            rig::assert_sound(&volume, &format!("{size} bytes, {options:?}"));
            let entry = volume.entries(volume.root()).unwrap().into_iter().find(|e| e.reference == file).unwrap();
            assert_eq!(entry.size, size as u64);
        }
        rig::witnesses(&disk);
    }
}

#[test]
fn named_streams() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let name: Vec<u16> = "Zone.Identifier".encode_utf16().collect();
    let other: Vec<u16> = "other".encode_utf16().collect();
    let file = volume.create_file(volume.root(), "DOWN.EXE", b"MZ", Security::Inherit, NOW).unwrap();
    volume.replace(file, &name, b"[ZoneTransfer]", NOW).unwrap();
    let long = Random::new(1).bytes(70_000);
    volume.replace(file, &other, &long, NOW).unwrap();
    assert_eq!(volume.read(file, &name).unwrap(), b"[ZoneTransfer]");
    assert!(volume.read(file, &other).unwrap() == long);
    assert_eq!(volume.read(file, &[]).unwrap(), b"MZ");
    assert_eq!(volume.stat(file).unwrap().streams.len(), 3);
    rig::assert_sound(&volume, "streams");
    volume.remove(file, NOW).unwrap();
    rig::assert_sound(&volume, "streams removed");
    rig::witnesses(&disk);
}

#[test]
fn the_volumes_own_files_are_refused() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let before = disk.to_vec();
    let boot = volume.resolve("/$Boot").unwrap().unwrap();
    assert_eq!(volume.replace(boot, &[], b"x", NOW).unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(volume.remove(boot, NOW).unwrap_err().kind(), Kind::Unsupported);
    assert_eq!(volume.remove(volume.root(), NOW).unwrap_err().kind(), Kind::Unsupported);
    assert!(volume.create_file(volume.root(), "a:b", b"", Security::Inherit, NOW).is_err());
    assert!(volume.create_file(boot, "x", b"", Security::Inherit, NOW).is_err());
    assert!(disk.to_vec() == before);
}

#[test]
fn stale_references_are_not_followed() {
    let Some((_, mut volume)) = volume(16, &[]) else { return };
    let root = volume.root();
    let old = volume.create_file(root, "OLD", b"old", Security::Inherit, NOW).unwrap();
    volume.remove(old, NOW).unwrap();
    let new = volume.create_file(root, "NEW", b"new", Security::Inherit, NOW).unwrap();
    assert_eq!(new.record(), old.record(), "the record is used again");
    assert_ne!(new.sequence(), old.sequence());
    assert_eq!(volume.read(old, &[]).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(volume.remove(old, NOW).unwrap_err().kind(), Kind::NotFound);
    assert_eq!(volume.read(new, &[]).unwrap(), b"new");
}

#[test]
fn remains_of_others_are_scrubbed() {
    let Some((disk, mut volume)) = volume(16, &[]) else { return };
    let root = volume.root();
    let folder = volume.create_dir(root, "FOLDER", Security::Inherit, NOW).unwrap();
    let file = volume.create_file(root, "TAIL.BIN", &[7; 5000], Security::Inherit, NOW).unwrap();
    for index in 0..60 {
        let name = format!("a name that fills index blocks {index}");
        volume.create_file(folder, &name, b"kept content of a remnant", Security::Inherit, NOW).unwrap();
    }
    let spare = volume.create_file(root, "SPARE", b"", Security::Inherit, NOW).unwrap();
    volume.remove(spare, NOW).unwrap();
    drop(volume);
    // Something else left its traces everywhere that is not in use.
    let needle = b"needle in a haystack";
    let mut raw = rig::raw::Raw::new(disk.to_vec());
    let put = |raw: &mut rig::raw::Raw, at: usize| raw.bytes[at..at + needle.len()].copy_from_slice(needle);
    let data = raw.runs_of(file.record() as usize, 0x80, "");
    let tail = raw.place(&data, 5500);
    put(&mut raw, tail);
    for lcn in [3000, 3257, 3600] {
        put(&mut raw, lcn * 4096 - 10);
    }
    for record in [spare.record() as usize, file.record() as usize] {
        let mut bytes = raw.record(record);
        bytes[600..600 + needle.len()].copy_from_slice(needle);
        raw.put_record(record, bytes, true);
    }
    let blocks = raw.runs_of(folder.record() as usize, 0xa0, "$I30");
    raw.edit_block(&blocks, 0, 4096, |block| block[4000..4000 + needle.len()].copy_from_slice(needle));
    let planted = count(&raw.bytes, needle);
    assert_eq!(planted, 7);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    rig::assert_sound(&volume, "traces are no fault");
    let before = disk.to_vec();
    let nothing = volume.scrub(&|_| false).unwrap();
    assert_eq!(nothing, Default::default());
    assert!(disk.to_vec() == before);
    let done = volume.scrub(&|bytes| count(bytes, needle) > 0).unwrap();
    assert!(done.free > 0 && done.tails > 0 && done.records == 2 && done.index_blocks == 1, "{done:?}");
    let left = disk.to_vec().windows(needle.len()).position(|w| w == needle);
    assert_eq!(left, None, "a trace is left");
    assert_eq!(volume.read(file, &[]).unwrap(), [7; 5000]);
    rig::assert_sound(&volume, "scrubbed");
    volume.scrub(&|_| true).unwrap();
    assert_eq!(volume.entries(folder).unwrap().len(), 120);
    assert_eq!(count(&disk.to_vec(), b"kept content of a remnant"), 60);
    assert_eq!(volume.scrub(&|_| true).unwrap(), Default::default());
    rig::assert_sound(&volume, "scrubbed of everything");
    rig::witnesses(&disk);
}
