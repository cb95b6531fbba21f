//! The `ntfs` crate lists and reads volumes that our writers made.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod random;

use ntfs::structured_values::NtfsFileNamespace;
use ntfs::{Ntfs, NtfsReadSeek};
use random::Random;
use reseal_disk::{MemoryDisk, WriteAt};
use reseal_dtyp::{DomainSid, FileTime};
use reseal_ntfs::{FileReference, Namespace, Security, Volume};
use reseal_testdata::{Container, ImageBuilder, WindowsImage};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

/// Path to content; `None` for a folder.
type Files = BTreeMap<String, Option<Vec<u8>>>;

fn theirs(bytes: &[u8]) -> Files {
    let mut fs = Cursor::new(bytes);
    let mut ntfs = Ntfs::new(&mut fs).expect("it opens");
    ntfs.read_upcase_table(&mut fs).expect("it has an upper case table");
    let mut out = Files::new();
    let mut queue = vec![(5, String::new())];
    while let Some((record, prefix)) = queue.pop() {
        let folder = ntfs.file(&mut fs, record).expect("a file record");
        let index = folder.directory_index(&mut fs).expect("a folder has an index");
        let mut entries = index.entries();
        while let Some(entry) = entries.next(&mut fs) {
            let entry = entry.expect("an entry");
            let name = entry.key().expect("an entry has a key").expect("a name");
            let number = entry.file_reference().file_record_number();
            if name.namespace() == NtfsFileNamespace::Dos || number < 24 {
                continue;
            }
            let path = format!("{prefix}\\{}", name.name().to_string_lossy());
            if name.is_directory() {
                queue.push((number, path.clone()));
                out.insert(path, None);
                continue;
            }
            let file = ntfs.file(&mut fs, number).expect("a file record");
            let item = file.data(&mut fs, "").expect("a file has content").expect("it can be read");
            let mut value = item.to_attribute().expect("an attribute").value(&mut fs).expect("a value");
            let mut content = vec![0; value.len() as usize];
            value.read_exact(&mut fs, &mut content).unwrap_or_else(|e| panic!("{path}: {e}"));
            out.insert(path, Some(content));
        }
    }
    out
}

fn ours(volume: &Volume) -> Files {
    let mut out = Files::new();
    let mut queue = vec![(volume.root(), String::new())];
    while let Some((folder, prefix)) = queue.pop() {
        for entry in volume.entries(folder).unwrap() {
            if entry.namespace == Namespace::Dos || entry.reference.record() < 24 {
                continue;
            }
            let path = format!("{prefix}\\{}", reseal_dtyp::utf16_lossy(&entry.name));
            if entry.is_directory() {
                queue.push((entry.reference, path.clone()));
                out.insert(path, None);
            } else {
                out.insert(path, Some(content(volume, entry.reference)));
            }
        }
    }
    out
}

fn content(volume: &Volume, file: FileReference) -> Vec<u8> {
    let size = volume.stat(file).unwrap().streams.iter().find(|s| s.name.is_empty()).map_or(0, |s| s.size);
    let mut bytes = vec![0; size as usize];
    assert_eq!(volume.read_at(file, &[], 0, &mut bytes).unwrap() as u64, size);
    bytes
}

#[track_caller]
fn assert_same(volume: &Volume, disk: &MemoryDisk, what: &str) -> usize {
    let (ours, theirs) = (ours(volume), theirs(&disk.to_vec()));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{what}");
    for (path, content) in &ours {
        assert!(*content == theirs[path], "{what}: {path} has other content");
    }
    ours.len()
}

/// The made-up machine on a bare volume in memory.
fn machine(cluster_size: u32) -> (Volume, Arc<MemoryDisk>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("volume");
    let builder = ImageBuilder {
        container: Container::Raw,
        bare: true,
        cluster_size,
        volume_len: 48 << 20,
        ..ImageBuilder::default()
    };
    let image = WindowsImage { files: 300, ..WindowsImage::default() };
    builder.build(&path, |volume| image.fill(volume)).unwrap();
    let disk = Arc::new(MemoryDisk::new(std::fs::read(path).unwrap()));
    (Volume::open(Arc::clone(&disk) as Arc<dyn WriteAt>).unwrap(), disk)
}

/// Files come, grow, shrink, move and go.
fn work(volume: &mut Volume, random: &mut Random, rounds: usize) {
    let now = FileTime(133_600_000_000_000_000);
    let folder = volume.create_dir(volume.root(), "Work", Security::SameAs(FileReference::ROOT), now).unwrap();
    let mut files = Vec::new();
    for i in 0..rounds {
        let len = [random.below(60), random.below(700), random.below(9000), random.below(200_000)][random.below(4)];
        let data = random.bytes(len);
        match random.below(4) {
            0 | 1 => {
                let name = format!("{} number {i} with a longer name.data", ["a", "B", "ü", "z"][random.below(4)]);
                files.push(volume.create_file(folder, &name, &data, Security::Inherit, now).unwrap());
            }
            2 if !files.is_empty() => {
                let file = files[random.below(files.len())];
                volume.replace(file, &[], &data, now).unwrap();
            }
            _ if !files.is_empty() => {
                let gone = files.swap_remove(random.below(files.len()));
                volume.remove(gone, now).unwrap();
            }
            _ => {}
        }
    }
}

#[test]
fn names_and_contents_through_every_writer() {
    // With clusters above the index block the crate looks for blocks at the wrong place.
    for cluster_size in [512, 1024, 4096] {
        let (mut volume, disk) = machine(cluster_size);
        let before = assert_same(&volume, &disk, "as built");
        work(&mut volume, &mut Random(u64::from(cluster_size)), 400);
        let after = assert_same(&volume, &disk, "after the writers");
        assert!(after > before + 50, "{before} files, then {after}");
        let map = reseal_sid_map();
        let done = volume.rewrite_sids(&map).unwrap();
        assert!(done.changed > 0, "{done:?}");
        assert_eq!(assert_same(&volume, &disk, "after the SIDs"), after);
        // What was written is what a fresh look finds.
        let again = Volume::open(Arc::clone(&disk) as Arc<dyn WriteAt>).unwrap();
        assert_eq!(ours(&again).len(), after);
        println!("clusters of {cluster_size}: {after} files and folders read alike");
    }
}

fn reseal_sid_map() -> reseal_sid::SidMap {
    reseal_sid::SidMap::new([(reseal_testdata::machine_sid(), DomainSid([7, 8, 9]))]).unwrap()
}
