//! Files whose attributes lie in several records.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_ntfs::{FileReference, Namespace, Security, Volume};
use rig::raw::Raw;
use rig::spill::Part;
use rig::{NOW, Random};
use std::sync::Arc;

const DATA: usize = 0x80;

struct Rig {
    disk: Arc<MemoryDisk>,
    volume: Volume,
    file: FileReference,
    content: Vec<u8>,
}

/// A volume with a file of 40 clusters, whose attribute `kind` is spilled.
fn rig(kind: usize, part: Part, list_in_cluster: bool) -> Option<Rig> {
    let disk = rig::blank(32, &[])?;
    let mut volume = rig::open(&disk);
    let root = volume.root();
    let content = Random::new(5).bytes(40 * 4096 - 100);
    let file = volume.create_file(root, "the file with a list.data", &content, Security::Inherit, NOW).unwrap();
    let spare = volume.create_file(root, "SPARE", b"", Security::Inherit, NOW).unwrap();
    volume.remove(spare, NOW).unwrap();
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let cluster = list_in_cluster.then_some(7000);
    raw.spill(file.record() as usize, kind, part, spare.record() as usize, cluster);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let volume = rig::open(&disk);
    rig::assert_sound(&volume, &format!("spilled {kind:#x} {part:?}"));
    rig::witnesses(&disk);
    Some(Rig { disk, volume, file, content })
}

fn every(run: impl Fn(Rig, &str)) {
    for (kind, part) in [(DATA, Part::Whole), (DATA, Part::From(13)), (0x30, Part::Whole)] {
        for list_in_cluster in [false, true] {
            let Some(rig) = rig(kind, part, list_in_cluster) else { return };
            run(rig, &format!("{kind:#x} {part:?}, list in a cluster: {list_in_cluster}"));
        }
    }
}

fn settle(rig: &Rig, context: &str) {
    rig::assert_sound(&rig.volume, context);
    rig::witnesses(&rig.disk);
}

#[test]
fn are_read() {
    every(|rig, context| {
        assert!(rig.volume.read(rig.file, &[]).unwrap() == rig.content, "{context}");
        let stat = rig.volume.stat(rig.file).unwrap();
        assert_eq!((stat.records, stat.names.len(), stat.streams.len()), (2, 2, 1), "{context}");
        let mut middle = [0; 3000];
        rig.volume.read_at(rig.file, &[], 13 * 4096 - 1500, &mut middle).unwrap();
        assert!(middle[..] == rig.content[13 * 4096 - 1500..13 * 4096 + 1500]);
        assert_eq!(rig.volume.path_of(rig.file).unwrap(), "/the file with a list.data");
    });
}

#[test]
fn are_overwritten_in_place() {
    every(|mut rig, context| {
        rig.content[100_000] ^= 0xff;
        rig.volume.replace(rig.file, &[], &rig.content, NOW).unwrap();
        assert!(rig.volume.read(rig.file, &[]).unwrap() == rig.content, "{context}");
        settle(&rig, context);
    });
}

#[test]
fn grow() {
    every(|mut rig, context| {
        rig.content.extend(Random::new(1).bytes(100_000));
        rig.volume.replace(rig.file, &[], &rig.content, NOW).unwrap();
        assert!(rig.volume.read(rig.file, &[]).unwrap() == rig.content, "{context}");
        settle(&rig, context);
        if let Some(read) = rig::ntfscat(rig::save(&rig.disk).path(), "/the file with a list.data") {
            assert!(read == rig.content, "{context}");
        }
    });
}

#[test]
fn shrink() {
    every(|mut rig, context| {
        rig.content.truncate(20_000);
        rig.volume.replace(rig.file, &[], &rig.content, NOW).unwrap();
        assert!(rig.volume.read(rig.file, &[]).unwrap() == rig.content, "{context}");
        settle(&rig, context);
    });
}

#[test]
fn are_renamed() {
    every(|mut rig, context| {
        for new in ["NEW.BIN", "another long name of the file.data"] {
            let names = rig.volume.names_of(rig.file).unwrap();
            let old = names.iter().find(|n| n.namespace != Namespace::Dos).unwrap();
            rig.volume.rename(rig.file, old, &new.encode_utf16().collect::<Vec<_>>(), NOW).unwrap();
            assert_eq!(rig.volume.path_of(rig.file).unwrap(), format!("/{new}"), "{context}");
            settle(&rig, context);
        }
        assert!(rig.volume.read(rig.file, &[]).unwrap() == rig.content);
    });
}

#[test]
fn are_removed() {
    every(|mut rig, context| {
        let free = rig.volume.free_clusters().unwrap();
        rig.volume.remove(rig.file, NOW).unwrap();
        assert!(rig.volume.free_clusters().unwrap() >= free + 40, "{context}");
        settle(&rig, context);
    });
}

#[test]
fn the_file_table_itself() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    let names: Vec<String> = (0..300).map(|i| format!("F{i}")).collect();
    for name in &names {
        volume.create_file(root, name, name.as_bytes(), Security::Inherit, NOW).unwrap();
    }
    let spare = volume.lookup(root, &"F0".encode_utf16().collect::<Vec<_>>()).unwrap().unwrap();
    volume.remove(spare, NOW).unwrap();
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    raw.spill(0, DATA, Part::From(30), spare.record() as usize, None);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    rig::assert_sound(&volume, "$MFT in two records");
    rig::witnesses(&disk);
    for name in &names[1..] {
        let file = volume.resolve(name).unwrap().unwrap();
        assert_eq!(volume.read(file, &[]).unwrap(), name.as_bytes());
    }
    let last = volume.resolve("F299").unwrap().unwrap();
    volume.replace(last, &[], b"changed", NOW).unwrap();
    volume.remove(volume.resolve("F250").unwrap().unwrap(), NOW).unwrap();
    volume.create_file(root, "NEW", b"", Security::Inherit, NOW).unwrap();
    rig::assert_sound(&volume, "$MFT in two records, written");
    rig::witnesses(&disk);
}

#[test]
fn a_list_that_lies_is_found() {
    let Some(rig) = rig(DATA, Part::From(13), false) else { return };
    drop(rig.volume);
    let mut raw = Raw::new(rig.disk.to_vec());
    let index = rig.file.record() as usize;
    let mut record = raw.record(index);
    let at = raw.value(&record, raw.find(&record, 0x20, "").unwrap());
    // The id of the first entry.
    record[at + 0x18] ^= 0x55;
    raw.put_record(index, record, true);
    let volume = rig::open(&Arc::new(MemoryDisk::new(raw.bytes)));
    let found = volume.preflight().unwrap();
    assert!(found.iter().any(|f| f.id == "attribute-list"), "{found:?}");
}
