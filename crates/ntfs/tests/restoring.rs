//! What an image is applied with: reparse points, attributes, object ids, given 8.3 names, streams longer than the memory, and the
//! root's own facts. What is refused leaves every byte as it was.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{FileTime, Kind, Result};
use reseal_ntfs::{FileReference, Namespace, NewFile, NewName, Security, Volume};
use rig::raw::{Raw, set};
use rig::spill::{object_entry, reparse_entry, resident};
use rig::{NOW, Random};
use std::sync::Arc;

const ROOT: FileReference = FileReference::ROOT;
const SYMLINK: u32 = 0xa000_000c;
const MOUNT_POINT: u32 = 0xa000_0003;
const WOF: u32 = 0x8000_0017;
const CLOUD: u32 = 0x9000_001a;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn file(volume: &mut Volume, name: &str) -> FileReference {
    volume.create_file(ROOT, name, b"content", Security::Inherit, NOW).unwrap()
}

fn folder(volume: &mut Volume, name: &str) -> FileReference {
    volume.create_dir(ROOT, name, Security::Inherit, NOW).unwrap()
}

fn settled(volume: &Volume, disk: &MemoryDisk, what: &str) {
    rig::assert_sound(volume, what);
    rig::witnesses(disk);
    rig::assert_sound(&Volume::open(Arc::new(MemoryDisk::new(disk.to_vec()))).unwrap(), what);
}

fn reparse(tag: u32, rest: &[u8]) -> Vec<u8> {
    let mut out = [&tag.to_le_bytes()[..], &(rest.len() as u16).to_le_bytes(), &[0; 2]].concat();
    out.extend_from_slice(rest);
    out
}

/// The data of a junction: offsets and lengths of the two names, then both.
fn junction(target: &str) -> Vec<u8> {
    let units = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let (there, shown) = (units(&format!(r"\??\{target}")), units(target));
    let words = [0, there.len(), there.len() + 2, shown.len()];
    let mut rest: Vec<u8> = words.iter().flat_map(|w| (*w as u16).to_le_bytes()).collect();
    for name in [there, shown] {
        rest.extend(name);
        rest.extend([0, 0]);
    }
    reparse(MOUNT_POINT, &rest)
}

/// The entries of a view index whose root lies in its record.
fn view(disk: &MemoryDisk, owner: &str, index: &str) -> Vec<Vec<u8>> {
    let raw = Raw::new(disk.to_vec());
    let record = raw.record(raw.by_name(owner));
    let at = raw.value(&record, raw.find(&record, 0x90, index).unwrap());
    let places = rig::raw::entries(&record, at + 0x10);
    let (_, places) = places.split_last().unwrap();
    places.iter().map(|&(start, len, _)| record[start..start + len].to_vec()).collect()
}

/// Refused with this kind, and not a byte is written.
#[track_caller]
fn refused<T: std::fmt::Debug>(disk: &MemoryDisk, kind: Kind, run: impl FnOnce() -> Result<T>) {
    let before = disk.to_vec();
    assert_eq!(run().unwrap_err().kind(), kind);
    assert!(disk.to_vec() == before, "a refused operation has written");
}

#[test]
fn reparse_points_are_made_and_taken_away() {
    for options in [&[][..], &["-c", "65536"], &["-s", "4096"]] {
        let Some(disk) = rig::blank(64, options) else { return };
        let mut volume = rig::open(&disk);
        let (here, there) = (folder(&mut volume, "Documents and Settings"), file(&mut volume, "a link to a file"));
        let data = junction(r"C:\Users");
        volume.set_reparse(here, &data, NOW).unwrap();
        let link = reparse(SYMLINK, &[7; 200]);
        volume.set_reparse(there, &link, NOW).unwrap();
        let mut entries = [(MOUNT_POINT, here), (SYMLINK, there)].map(|(t, f)| reparse_entry(u64::from(t), f.0));
        // In the order of the keys: the tag first.
        entries.sort_by_key(|e| e[16]);
        assert_eq!(view(&disk, "$Reparse", "$R"), entries, "the bytes of $R");
        for (file, tag, data, directory) in [(here, MOUNT_POINT, &data, 0x1000_0000), (there, SYMLINK, &link, 0x20)] {
            let stat = volume.stat(file).unwrap();
            assert_eq!((stat.reparse_tag, stat.standard.attributes & 0x400), (Some(tag), 0x400));
            assert_eq!(volume.reparse_data(file).unwrap().as_ref(), Some(data));
            let entries = volume.entries(ROOT).unwrap();
            let mine = entries.iter().filter(|e| e.reference == file).map(|e| e.attributes).collect::<Vec<_>>();
            assert_eq!(mine, [directory | 0x400; 2], "both names say so");
        }
        settled(&volume, &disk, "two reparse points");
        // Longer than a record, and back.
        volume.set_reparse(there, &reparse(SYMLINK, &[9; 16384 - 8]), NOW).unwrap();
        settled(&volume, &disk, "in clusters");
        assert_eq!(volume.reparse_data(there).unwrap().unwrap().len(), 16384);
        volume.set_reparse(there, &link, NOW).unwrap();
        volume.remove_reparse(there, NOW).unwrap();
        volume.remove_reparse(here, NOW).unwrap();
        assert_eq!(volume.reparse_points().unwrap(), []);
        assert_eq!(volume.read(there, &[]).unwrap(), b"content");
        let attributes = volume.entries(ROOT).unwrap().iter().map(|e| e.attributes & 0x400).fold(0, |a, b| a | b);
        assert_eq!((attributes, volume.stat(there).unwrap().standard.attributes), (0, 0x20));
        settled(&volume, &disk, "none");
    }
}

#[test]
fn what_cannot_be_a_reparse_point_is_refused() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let (full, plain) = (folder(&mut volume, "FULL"), file(&mut volume, "PLAIN"));
    volume.create_file(full, "INSIDE", b"", Security::Inherit, NOW).unwrap();
    let mut lies = junction(r"C:\Users");
    lies[4] += 1;
    for wrong in [&[][..], &[1, 2, 3], &lies, &reparse(0, &[0; 16]), &reparse(2, &[0; 16]), &reparse(0x4711, &[])] {
        refused(&disk, Kind::Conflict, || volume.set_reparse(plain, wrong, NOW));
    }
    refused(&disk, Kind::Conflict, || volume.set_reparse(plain, &reparse(SYMLINK, &[0; 16384 - 7]), NOW));
    refused(&disk, Kind::Unsupported, || volume.set_reparse(plain, &reparse(WOF, &[0; 16]), NOW));
    refused(&disk, Kind::Conflict, || volume.set_reparse(full, &junction(r"C:\Users"), NOW));
    refused(&disk, Kind::Unsupported, || volume.set_reparse(ROOT, &reparse(CLOUD, &[1; 8]), NOW));
    refused(&disk, Kind::NotFound, || volume.remove_reparse(plain, NOW));
    volume.set_reparse(full, &reparse(CLOUD, &[1; 8]), NOW).unwrap();
    refused(&disk, Kind::Conflict, || volume.set_reparse(full, &reparse(CLOUD + 0x1000, &[1; 8]), NOW));
    settled(&volume, &disk, "a cloud folder with an entry");
    let mut raw = Raw::new(disk.to_vec());
    raw.add_attribute(plain.record() as usize, resident(0xd0, &[8, 0, 0, 0, 12, 0, 0, 0], 9));
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    refused(&disk, Kind::Unsupported, || volume.set_reparse(plain, &reparse(SYMLINK, &[0; 40]), NOW));
}

#[test]
fn without_the_index_nothing_becomes_a_reparse_point() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let plain = file(&mut volume, "PLAIN");
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    for (owner, index) in [("$Reparse", "$R"), ("$ObjId", "$O")] {
        let number = raw.by_name(owner);
        let mut record = raw.record(number);
        let at = raw.find(&record, 0x90, index).unwrap();
        set(&mut record, at + 0x18 + 2, 2, u64::from(b'X'));
        raw.put_record(number, record, false);
    }
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    refused(&disk, Kind::Unsupported, || volume.set_reparse(plain, &reparse(SYMLINK, &[0; 40]), NOW));
    refused(&disk, Kind::Unsupported, || volume.set_object_id(plain, &[1; 16], NOW));
}

#[test]
fn object_ids_are_unique() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let (first, second, third) =
        (file(&mut volume, "FIRST"), folder(&mut volume, "SECOND"), file(&mut volume, "THIRD"));
    let born: Vec<u8> = (0..64).collect();
    volume.set_object_id(first, &[0xee; 16], NOW).unwrap();
    volume.set_object_id(second, &born, NOW).unwrap();
    let mut entry = object_entry(born[..16].try_into().unwrap(), second.0);
    entry[0x28..].copy_from_slice(&born[16..]);
    assert_eq!(view(&disk, "$ObjId", "$O"), [entry, object_entry(&[0xee; 16], first.0)], "the bytes of $O");
    refused(&disk, Kind::Conflict, || volume.set_object_id(first, &[3; 16], NOW));
    refused(&disk, Kind::Conflict, || volume.set_object_id(third, &[0xee; 16], NOW));
    refused(&disk, Kind::Conflict, || volume.set_object_id(third, &[3; 17], NOW));
    settled(&volume, &disk, "two ids");
    volume.remove(first, NOW).unwrap();
    volume.set_object_id(third, &[0xee; 16], NOW).unwrap();
    settled(&volume, &disk, "one went to another file");
}

#[test]
fn attributes_are_set_but_those_of_storage() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let (file, dir) = (file(&mut volume, "a file with two names"), folder(&mut volume, "DIR"));
    volume.link(file, dir, &wide("again"), NOW).unwrap();
    volume.set_attributes(file, u32::MAX, NOW).unwrap();
    volume.set_attributes(dir, u32::MAX, NOW).unwrap();
    volume.set_attributes(ROOT, 0x6, NOW).unwrap();
    assert_eq!(volume.stat(ROOT).unwrap().standard.attributes & 0x27, 0x6);
    let of = |volume: &Volume, file| volume.stat(file).unwrap().standard.attributes;
    assert_eq!((of(&volume, file), of(&volume, dir)), (0x0018_3127, 0x0018_3027));
    let listed = |volume: &Volume, place, file| {
        let entries = volume.entries(place).unwrap();
        entries.iter().filter(|e| e.reference == file).map(|e| e.attributes).collect::<Vec<_>>()
    };
    assert_eq!(listed(&volume, ROOT, file), [0x0018_3127; 2]);
    assert_eq!(listed(&volume, dir, file), [0x0018_3127]);
    assert_eq!(listed(&volume, ROOT, dir), [0x1018_3027]);
    volume.set_attributes(file, 0, NOW).unwrap();
    assert_eq!(listed(&volume, dir, file), [0]);
    settled(&volume, &disk, "attributes");
}

#[test]
fn given_names_are_taken_as_they_are() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let new = |attributes| NewFile { data: Some(b"x"), security: Security::Inherit, times: [NOW; 4], attributes };
    let make = |volume: &mut Volume, name: &str, short: Option<&str>| {
        let short = short.map(wide);
        volume.create_with(ROOT, NewName::Given(&wide(name), short.as_deref()), &new(1))
    };
    let named = |volume: &Volume, file| {
        let names = volume.names_of(file).unwrap();
        names.into_iter().map(|n| (String::from_utf16(&n.name).unwrap(), n.namespace)).collect::<Vec<_>>()
    };
    let pair = make(&mut volume, "Program Files (x86)", Some("PROGRA~7")).unwrap();
    let names = [("Program Files (x86)", Namespace::Win32), ("PROGRA~7", Namespace::Dos)];
    assert_eq!(named(&volume, pair), names.map(|(name, space)| (name.to_string(), space)));
    for (name, short, space) in [
        ("a longer name alone", None, Namespace::Win32),
        ("Windows", None, Namespace::Win32AndDos),
        ("Users", Some("USERS"), Namespace::Win32AndDos),
        ("Größe", Some("GRÖSSE"), Namespace::Win32),
    ] {
        let made = make(&mut volume, name, short).unwrap();
        assert_eq!(named(&volume, made)[0], (name.to_string(), space));
    }
    for (name, short) in [
        ("program files (X86)", None),
        ("another", Some("progra~7")),
        ("progra~7", None),
        ("again", Some("a long name")),
        ("again", Some("NINECHARS")),
        ("again", Some("")),
        ("again", Some("A.B.C")),
        ("a/b", None),
        ("a long name.", None),
        ("", None),
    ] {
        refused(&disk, Kind::Conflict, || make(&mut volume, name, short));
    }
    let (good, bad) = (wide("GOOD"), wide("a long name"));
    assert!(NewName::Given(&bad, Some(&good)).fault().is_none() && NewName::Exact(&bad).fault().is_none());
    assert!(NewName::Given(&good, Some(&bad)).fault().is_some() && NewName::Windows(&wide("a/b")).fault().is_some());
    settled(&volume, &disk, "given names");
}

#[test]
fn long_streams_come_in_parts() {
    let Some(disk) = rig::blank(64, &["-c", "512"]) else { return };
    let mut volume = rig::open(&disk);
    rig::fragment(&mut volume, 1500, 9000);
    let data = Random::new(5).bytes(1_300_000);
    let (file, dir) = (file(&mut volume, "FILE"), folder(&mut volume, "DIR"));
    let then = FileTime(NOW.0 + 1);
    refused(&disk, Kind::Conflict, || volume.reserve(file, &[], data.len() as u64, NOW));
    volume.replace(file, &[], b"", NOW).unwrap();
    refused(&disk, Kind::NoSpace, || volume.reserve(file, &[], 1 << 40, NOW));
    refused(&disk, Kind::Conflict, || volume.append(file, &[], b"1"));
    refused(&disk, Kind::NotFound, || volume.reserve(dir, &[], 1, NOW));
    for (file, stream) in [(file, Vec::new()), (file, wide("named")), (dir, wide("of a folder"))] {
        volume.reserve(file, &stream, data.len() as u64, then).unwrap();
        let (mut at, mut step) = (0, 1);
        while at < data.len() {
            let end = data.len().min(at + step);
            volume.append(file, &stream, &data[at..end]).unwrap();
            let read = volume.read(file, &stream).unwrap();
            assert!(read[..end] == data[..end] && read[end..].iter().all(|&b| b == 0), "{end} bytes");
            (at, step) = (end, step * 7);
        }
        refused(&disk, Kind::Conflict, || volume.append(file, &stream, b"1"));
        settled(&volume, &disk, "in parts");
    }
    assert_eq!(volume.stat(file).unwrap().standard.times[1], then);
}

#[test]
fn the_root_is_described_like_any_folder() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let inside = folder(&mut volume, "INSIDE");
    let descriptor = {
        // Everything to SYSTEM; Administrators are owner and group. (Where the last descriptor of $SDS ends with the SID of SYSTEM,
        // ntfssecaudit takes what it has left of it for the length of one more, and dies.)
        let (system, owner) =
            ([1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0]);
        let head = [1, 0, 4, 0x80, 48, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0];
        let acl = [2, 0, 28, 0, 1, 0, 0, 0, 0, 3, 20, 0, 0xff, 1, 0x1f, 0];
        [&head[..], &acl, &system, &owner, &owner].concat()
    };
    volume.set_security_id(ROOT, Security::Descriptor(&descriptor)).unwrap();
    let stat = volume.stat(ROOT).unwrap();
    assert!(!stat.own_descriptor && stat.standard.security_id.is_some_and(|id| id >= 0x100));
    assert_eq!(volume.descriptor(ROOT).unwrap(), descriptor);
    let times = [1, 2, 3, 4].map(|n| FileTime(NOW.0 - n));
    volume.set_times(ROOT, times).unwrap();
    volume.set_attributes(ROOT, 0x16, times[2]).unwrap();
    volume.replace(ROOT, &wide("named"), b"a stream of the root", times[2]).unwrap();
    assert_eq!(volume.read(ROOT, &wide("named")).unwrap(), b"a stream of the root");
    let standard = volume.stat(ROOT).unwrap().standard;
    assert_eq!((standard.times[0], standard.attributes & 0x27), (times[0], 6));
    assert_eq!(volume.stat(inside).unwrap().names[0].parent, ROOT);
    std::fs::write("/tmp/rootvol.img", disk.to_vec()).unwrap();
    settled(&volume, &disk, "a described root");
    let Some(seen) = rig::ntfs_3g::read(rig::save(&disk).path()) else { return };
    assert_eq!((seen.faults.len(), &seen.files[&5].descriptor), (0, &descriptor));
    let Some(mounted) = rig::kernel::mount(rig::save(&disk).path()) else { return };
    assert_eq!((mounted.errors, mounted.without_descriptor, mounted.complaints.len()), (0, 0, 0), "{mounted:?}");
}
