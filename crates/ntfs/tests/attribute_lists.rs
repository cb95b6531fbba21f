//! Files whose attributes lie in several records.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::Kind;
use reseal_ntfs::{FileReference, Namespace, Security, Volume};
use rig::raw::{Raw, set, u32_at};
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

/// What the list does not name is not there for Windows, and what it names must be there: such a file is read by nobody.
#[test]
fn lists_that_disagree_with_the_records_are_refused() {
    let Some(rig) = rig(DATA, Part::From(13), false) else { return };
    // Of the last entry: the id, or the first cluster.
    for damage in [0x18, 8] {
        let mut raw = Raw::new(rig.disk.to_vec());
        raw.edit_attributes(rig.file.record() as usize, |all| {
            let list = all.iter_mut().find(|a| u32_at(a, 0) == 0x20).unwrap();
            let last = 0x18 + u32_at(list, 0x10) - 0x20;
            list[last + damage] += 1;
        });
        let mut volume = rig::open(&Arc::new(MemoryDisk::new(raw.bytes)));
        for error in [
            volume.read(rig.file, &[]).unwrap_err(),
            volume.stat(rig.file).unwrap_err(),
            volume.replace(rig.file, &[], b"x", NOW).unwrap_err(),
            volume.remove(rig.file, NOW).unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Damaged, "{damage}: {error}");
        }
        let found = rig::faults(volume.check().unwrap());
        assert!(found.iter().any(|f| f.id == "attribute-list"), "{damage}: {found:#?}");
    }
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

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn list_of(disk: &MemoryDisk, file: FileReference) -> bool {
    let raw = Raw::new(disk.to_vec());
    raw.find(&raw.record(file.record() as usize), 0x20, "").is_some()
}

#[test]
fn are_made_for_names_and_go_with_them() {
    for options in [&[][..], &["-c", "512"], &["-s", "4096"], &["-c", "65536"]] {
        let Some(disk) = rig::blank(64, options) else { return };
        let mut volume = rig::open(&disk);
        let root = volume.root();
        let folder = volume.create_dir(root, "links", Security::Inherit, NOW).unwrap();
        let file = volume.create_file(root, "the file.data", b"short", Security::Inherit, NOW).unwrap();
        let free = volume.free_clusters().unwrap();
        let names: Vec<String> = (0..120).map(|i| format!("{i} {}", "name".repeat(i % 60))).collect();
        for name in &names {
            volume.link(file, folder, &wide(name.trim_end()), NOW).unwrap();
        }
        let stat = volume.stat(file).unwrap();
        assert_eq!((stat.link_count, stat.names.len()), (122, 122));
        assert!(stat.records > 5 && list_of(&disk, file), "{} records", stat.records);
        assert_eq!(volume.read(file, &[]).unwrap(), b"short");
        rig::assert_sound(&volume, "many names");
        rig::witnesses(&disk);
        // Sizes and times follow in each of them.
        volume.replace(file, &[], &[7; 5000], NOW).unwrap();
        assert!(volume.entries(folder).unwrap().iter().all(|e| e.size == 5000));
        for (index, name) in volume.names_of(file).unwrap().into_iter().enumerate() {
            if name.parent == folder {
                volume.unlink(file, &name, NOW).unwrap();
            }
            if index % 20 == 0 {
                rig::assert_sound(&volume, &format!("{index} names less"));
            }
        }
        assert_eq!(volume.stat(file).unwrap().records, 1);
        assert!(!list_of(&disk, file), "the list is still there");
        assert_eq!(volume.read(file, &[]).unwrap(), [7; 5000]);
        volume.remove(file, NOW).unwrap();
        volume.remove(folder, NOW).unwrap();
        // What growth of the file table took stays.
        assert!(volume.free_clusters().unwrap() + 128 >= free);
        rig::assert_sound(&volume, "nothing left");
        rig::witnesses(&disk);
    }
}

#[test]
fn are_made_for_streams_and_go_with_them() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    let mut random = Random::new(3);
    let file = volume.create_file(root, "STREAMS", b"main", Security::Inherit, NOW).unwrap();
    let streams: Vec<(Vec<u16>, Vec<u8>)> =
        (0..80).map(|i| (wide(&format!("stream number {i}")), random.bytes(i * i * 3))).collect();
    for (name, data) in &streams {
        volume.replace(file, name, data, NOW).unwrap();
    }
    let stat = volume.stat(file).unwrap();
    assert!(stat.records > 4 && stat.streams.len() == 81, "{} records", stat.records);
    rig::assert_sound(&volume, "many streams");
    rig::witnesses(&disk);
    drop(volume);
    let mut volume = rig::open(&disk);
    for (name, data) in &streams {
        assert!(volume.read(file, name).unwrap() == *data);
    }
    for (index, (name, _)) in streams.iter().enumerate() {
        volume.remove_stream(file, name, NOW).unwrap();
        if index % 10 == 0 {
            rig::assert_sound(&volume, &format!("{index} streams less"));
        }
    }
    assert!(volume.remove_stream(file, &[], NOW).is_err());
    assert!(volume.stat(file).unwrap().records == 1 && !list_of(&disk, file));
    assert_eq!(volume.read(file, &[]).unwrap(), b"main");
    rig::witnesses(&disk);
}

/// A file in single clusters: made, grown, shrunk, removed.
#[test]
fn are_made_for_long_run_lists_and_go_with_them() {
    for (holes, mib, options) in [(1500, 32, &[][..]), (600, 8, &["-c", "512"][..]), (1500, 32, &["-s", "4096"][..])] {
        let Some(disk) = rig::blank(mib, options) else { return };
        let mut volume = rig::open(&disk);
        let cluster = rig::fragment(&mut volume, holes, 0);
        let root = volume.root();
        let mut content = Random::new(9).bytes((holes - 200) * cluster);
        let file = volume.create_file(root, "SCATTER", &content, Security::Inherit, NOW).unwrap();
        assert!(volume.stat(file).unwrap().records > 1, "{options:?}");
        let same = |volume: &Volume, content: &[u8], what: &str| {
            assert!(volume.read(file, &[]).unwrap() == content, "{what}");
            rig::assert_sound(volume, what);
            rig::witnesses(&disk);
            if let Some(read) = rig::ntfscat(rig::save(&disk).path(), "/SCATTER") {
                assert!(read == content, "ntfscat: {what}");
            }
        };
        same(&volume, &content, "made");
        content.extend(Random::new(10).bytes(100 * cluster + 7));
        volume.replace(file, &[], &content, NOW).unwrap();
        same(&volume, &content, "grown");
        let free = volume.free_clusters().unwrap();
        content.truncate(400 * cluster);
        volume.replace(file, &[], &content, NOW).unwrap();
        // All that the file gave up is free, in extension records too.
        assert!(volume.free_clusters().unwrap() >= free + (holes as u64 - 510), "{options:?}");
        same(&volume, &content, "shrunk");
        content.truncate(9 * cluster);
        volume.replace(file, &[], &content, NOW).unwrap();
        assert!(volume.stat(file).unwrap().records == 1 && !list_of(&disk, file));
        same(&volume, &content, "small");
        volume.remove(file, NOW).unwrap();
        rig::assert_sound(&volume, "removed");
    }
}

#[test]
fn a_folder_and_the_file_table_in_single_clusters() {
    for (mib, holes, options) in [(16, 900, ["-c", "4096"]), (16, 900, ["-c", "512"]), (64, 3000, ["-s", "4096"])] {
        let Some(disk) = rig::blank(mib, &options) else { return };
        let mut volume = rig::open(&disk);
        rig::fragment(&mut volume, holes, 0);
        let root = volume.root();
        let folder = volume.create_dir(root, "folder", Security::Inherit, NOW).unwrap();
        let mut names = Vec::new();
        let full = loop {
            let name = format!("a long name, so that the folder grows quickly, {}", names.len());
            match volume.create_file(folder, &name, b"x", Security::SameAs(folder), NOW) {
                Ok(_) => names.push(name),
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), reseal_dtyp::Kind::NoSpace, "{full}");
        println!("{options:?}: {} files, {full}", names.len());
        // A record of 4 KiB holds the runs of such a folder.
        assert!(volume.stat(folder).unwrap().records > 1 || options[0] == "-s", "{options:?}");
        // $MFT itself goes on in the records that are set aside for it.
        let table = volume.stat(FileReference::new(0, 1)).unwrap();
        println!("$MFT lies in {} records", table.records);
        assert!(table.records > 1 || options[0] == "-s", "{options:?}");
        rig::assert_sound(&volume, "full");
        rig::witnesses(&disk);
        drop(volume);
        let mut volume = rig::open(&disk);
        assert_eq!(volume.entries(folder).unwrap().len(), 2 * names.len());
        for (index, name) in names.iter().enumerate() {
            let file = volume.lookup(folder, &wide(name)).unwrap().unwrap();
            assert_eq!(volume.read(file, &[]).unwrap(), b"x");
            volume.remove(file, NOW).unwrap();
            if index % 500 == 0 {
                rig::assert_sound(&volume, &format!("{index} files less"));
            }
        }
        assert_eq!(volume.stat(folder).unwrap().records, 1);
        rig::assert_sound(&volume, "empty");
        rig::witnesses(&disk);
    }
}

/// A compressed stream in two records is joined without losing what makes it compressed.
#[test]
fn a_packed_stream_comes_together_again() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    let content = Random::new(8).bytes(48 * 4096);
    let file = volume.create_file(root, "PACKED", &content, Security::Inherit, NOW).unwrap();
    let spare = volume.create_file(root, "SPARE", b"", Security::Inherit, NOW).unwrap();
    volume.remove(spare, NOW).unwrap();
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let number = file.record() as usize;
    // LZNT1 in units of 16 clusters, each of them stored plainly.
    raw.edit_attributes(number, |all| {
        let data = all.iter_mut().find(|a| u32_at(a, 0) == DATA).unwrap();
        let held = data[0x28..0x30].to_vec();
        data.splice(0x40..0x40, held);
        let len = data.len() as u64;
        set(data, 4, 4, len);
        set(data, 0xc, 2, 1);
        set(data, 0x20, 2, 0x48);
        data[0x22] = 4;
    });
    raw.spill(number, DATA, Part::From(32), spare.record() as usize, None);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    assert_eq!(volume.stat(file).unwrap().records, 2);
    let before = volume.stat(file).unwrap().streams;
    assert!(before[0].compressed && volume.read(file, &[]).unwrap() == content);
    rig::assert_sound(&volume, "packed, in two records");
    volume.link(file, root, &wide("again"), NOW).unwrap();
    let stat = volume.stat(file).unwrap();
    assert_eq!((stat.records, stat.streams), (1, before));
    assert!(!list_of(&disk, file) && volume.read(file, &[]).unwrap() == content);
    rig::assert_sound(&volume, "in one record");
    rig::witnesses(&disk);
    if let Some(read) = rig::ntfscat(rig::save(&disk).path(), "/PACKED") {
        assert!(read == content);
    }
}
