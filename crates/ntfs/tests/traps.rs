//! What other writers of NTFS got wrong, and the traps of the format, one test each.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::{FileTime, Kind};
use reseal_ntfs::{FileName, FileReference, Namespace, NewName, RemovedTree, Security, Volume};
use rig::raw::{Raw, set, u16_at, u32_at, u64_at};
use rig::spill::{Part, object_entry, reparse_entry, resident};
use rig::{NOW, Random};
use std::sync::Arc;

const MOUNT_POINT: u64 = 0xa000_0003;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

fn file(volume: &mut Volume, folder: FileReference, name: &str, data: &[u8]) -> FileReference {
    volume.create_file(folder, name, data, Security::Inherit, NOW).unwrap()
}

fn folder(volume: &mut Volume, parent: FileReference, name: &str) -> FileReference {
    volume.create_dir(parent, name, Security::Inherit, NOW).unwrap()
}

/// A name that is no 8.3 twin.
fn name_of(volume: &Volume, file: FileReference) -> FileName {
    volume.names_of(file).unwrap().into_iter().find(|n| n.namespace != Namespace::Dos).unwrap()
}

fn settled(volume: &Volume, disk: &MemoryDisk, what: &str) {
    rig::assert_sound(volume, what);
    rig::witnesses(disk);
}

#[test]
fn a_deleted_file_is_gone_by_its_short_name_too() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = folder(&mut volume, FileReference::ROOT, "top");
    for name in ["a long name of a file.text", "SHORT.TXT", "lower.txt", "Ünïcode.txt"] {
        let made = file(&mut volume, top, name, b"content");
        let names: Vec<_> = volume.names_of(made).unwrap().into_iter().map(|n| n.name).collect();
        volume.remove(made, NOW).unwrap();
        for name in names {
            assert_eq!(volume.lookup(top, &name).unwrap(), None);
        }
        assert!(volume.entries(top).unwrap().is_empty());
        assert_eq!(volume.stat(made).unwrap_err().kind(), Kind::NotFound);
        settled(&volume, &disk, name);
    }
}

#[test]
fn a_deleted_folder_leaves_no_short_name() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = folder(&mut volume, FileReference::ROOT, "top");
    let how: [fn(&mut Volume, FileReference); 3] = [
        |volume, folder| volume.remove(folder, NOW).unwrap(),
        |volume, folder| assert_eq!(volume.remove_tree(folder, NOW).unwrap().folders, 1),
        |volume, folder| {
            let name = name_of(volume, folder);
            volume.unlink(folder, &name, NOW).unwrap();
        },
    ];
    for remove in how {
        let made = folder(&mut volume, top, "Program Files (x86)");
        let twin = volume.names_of(made).unwrap().into_iter().find(|n| n.namespace == Namespace::Dos).unwrap();
        assert_eq!(volume.lookup(top, &twin.name).unwrap(), Some(made));
        remove(&mut volume, made);
        assert_eq!(volume.lookup(top, &twin.name).unwrap(), None);
        assert!(volume.entries(top).unwrap().is_empty());
        settled(&volume, &disk, "without the folder");
    }
}

#[test]
fn a_file_over_several_records_shrinks() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let cluster = rig::fragment(&mut volume, 1200, 0);
    let content = Random::new(1).bytes(1000 * cluster);
    let made = file(&mut volume, FileReference::ROOT, "SCATTER", &content);
    assert!(volume.stat(made).unwrap().records > 2);
    // To the last cluster of an extent, to one cluster, to a value in the record's reach, to nothing.
    for len in [999 * cluster + 1, 500 * cluster, 150 * cluster + 17, cluster, 100, 0] {
        let free = volume.free_clusters().unwrap();
        let held = volume.stat(made).unwrap().streams[0].allocated;
        volume.replace(made, &[], &content[..len], NOW).unwrap();
        let stat = volume.stat(made).unwrap();
        let given_up = (held - stat.streams[0].allocated) / cluster as u64;
        assert!(stat.streams[0].allocated >= len as u64 && volume.free_clusters().unwrap() >= free + given_up);
        assert!(volume.read(made, &[]).unwrap() == content[..len]);
        settled(&volume, &disk, &format!("{len} bytes"));
        if let Some(read) = rig::ntfscat(rig::save(&disk).path(), "/SCATTER") {
            assert!(read == content[..len]);
        }
    }
    assert_eq!(volume.stat(made).unwrap().records, 1);
}

#[test]
fn trees_go_and_hard_links_outside_stay() {
    let Some(disk) = rig::blank(64, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = FileReference::ROOT;
    let (store, system) = (folder(&mut volume, root, "WinSxS"), folder(&mut volume, root, "System32"));
    let inner = folder(&mut volume, store, "amd64_a component with a long name");
    let mut kept = Vec::new();
    for index in 0..40 {
        let made = file(&mut volume, inner, &format!("a component {index}.dll"), &[index; 3000]);
        volume.link(made, store, &wide(&format!("LINK{index}.DLL")), NOW).unwrap();
        if index % 2 == 0 {
            volume.link(made, system, &wide(&format!("component{index}.dll")), NOW).unwrap();
            kept.push((made, index));
        }
    }
    let gone = volume.remove_tree(store, NOW).unwrap();
    assert_eq!(gone, RemovedTree { files: 20, folders: 2, kept: 20 });
    assert!(volume.resolve("/WinSxS").unwrap().is_none());
    for (made, index) in kept {
        let stat = volume.stat(made).unwrap();
        assert_eq!((stat.link_count, stat.names.len(), stat.names[0].parent), (1, 1, system));
        assert_eq!(volume.read(made, &[]).unwrap(), [index; 3000]);
    }
    settled(&volume, &disk, "without the tree");
    assert_eq!(volume.remove_tree(root, NOW).unwrap_err().kind(), Kind::Unsupported);
}

/// A folder that is a mount point, with its key in `$Reparse`, and a file with an object id, with its key in `$ObjId`.
fn with_keys(options: &[&str]) -> Option<(Arc<MemoryDisk>, Volume, [FileReference; 4])> {
    let disk = rig::blank(64, options)?;
    let mut volume = rig::open(&disk);
    let root = FileReference::ROOT;
    let target = folder(&mut volume, root, "target");
    let inside = file(&mut volume, target, "INSIDE", b"stays");
    let tree = folder(&mut volume, root, "tree");
    let junction = folder(&mut volume, tree, "junction to a folder");
    let marked = file(&mut volume, tree, "MARKED", b"with an id");
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let id = *b"0123456789abcdef";
    let mut data = vec![0; 0x40];
    set(&mut data, 0, 4, MOUNT_POINT);
    set(&mut data, 4, 2, 0x38);
    raw.add_attribute(junction.record() as usize, resident(0xc0, &data, 9));
    raw.add_attribute(marked.record() as usize, resident(0x40, &id, 9));
    raw.fill_view("$Reparse", &[reparse_entry(MOUNT_POINT, junction.0)]);
    raw.fill_view("$ObjId", &[object_entry(&id, marked.0)]);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let volume = rig::open(&disk);
    rig::assert_sound(&volume, "with keys");
    assert_eq!(volume.reparse_points().unwrap().len(), 1);
    Some((disk, volume, [target, inside, tree, marked]))
}

fn objects(disk: &MemoryDisk) -> usize {
    let raw = Raw::new(disk.to_vec());
    let record = raw.record(raw.by_name("$ObjId"));
    let at = raw.value(&record, raw.find(&record, 0x90, "$O").unwrap());
    rig::raw::entries(&record, at + 0x10).len() - 1
}

#[test]
fn junctions_are_not_followed_and_keys_go() {
    // In clusters of 64 KiB, $MFTMirr repeats 64 records, those of $Reparse and $ObjId too.
    for options in [&[][..], &["-c", "65536"], &["-s", "4096"]] {
        let Some((disk, mut volume, [target, inside, tree, _])) = with_keys(options) else { return };
        assert_eq!(objects(&disk), 1);
        assert_eq!(volume.remove_tree(tree, NOW).unwrap(), RemovedTree { files: 1, folders: 2, kept: 0 });
        assert_eq!(volume.reparse_points().unwrap(), []);
        assert_eq!(objects(&disk), 0);
        assert_eq!(volume.read(inside, &[]).unwrap(), b"stays");
        assert_eq!(volume.entries(target).unwrap().len(), 1);
        settled(&volume, &disk, "without the junction");
        settled(&rig::open(&disk), &disk, "opened again");
    }
}

#[test]
fn the_key_of_an_object_id_goes_with_its_file_only() {
    let Some((disk, mut volume, [_, _, tree, marked])) = with_keys(&[]) else { return };
    let name = name_of(&volume, marked);
    volume.rename_to(marked, &name, FileReference::ROOT, &wide("moved"), NOW).unwrap();
    volume.link(marked, tree, &wide("again"), NOW).unwrap();
    assert_eq!(objects(&disk), 1);
    let name = name_of(&volume, marked);
    volume.unlink(marked, &name, NOW).unwrap();
    assert_eq!(objects(&disk), 1);
    let name = name_of(&volume, marked);
    volume.unlink(marked, &name, NOW).unwrap();
    assert_eq!(objects(&disk), 0);
    settled(&volume, &disk, "without the file");
}

#[test]
fn files_and_folders_move() {
    let Some(disk) = rig::blank(32, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = FileReference::ROOT;
    let (from, to) = (folder(&mut volume, root, "from here"), folder(&mut volume, root, "to there"));
    let sid = folder(&mut volume, from, "S-1-5-21-111-222-333-1001");
    let inside = file(&mut volume, sid, "a file with a long name", b"x");
    let other = folder(&mut volume, to, "S-1-5-21-a folder with the same twin");
    for (parent, new) in
        [(to, "S-1-5-21-4000000001-4000000002-4000000003-1001"), (from, "S-1-5-21-1-2-3-1001"), (root, "PLAIN")]
    {
        let old = name_of(&volume, sid);
        volume.rename_to(sid, &old, parent, &wide(new), NOW).unwrap();
        assert_eq!(volume.lookup(old.parent, &old.name).unwrap(), None);
        assert_eq!(volume.lookup(parent, &wide(new)).unwrap(), Some(sid));
        assert!(volume.path_of(inside).unwrap().ends_with(&format!("{new}/a file with a long name")));
        settled(&volume, &disk, new);
    }
    assert!(volume.entries(from).unwrap().is_empty() && volume.entries(to).unwrap().len() == 2, "{other}");
    let name = name_of(&volume, from);
    let below = folder(&mut volume, from, "below");
    for parent in [from, below] {
        let refused = volume.rename_to(from, &name, parent, &wide("new"), NOW).unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    }
    let refused = volume.rename_to(from, &name, inside, &wide("new"), NOW).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused}");
    assert!(volume.rename_to(from, &name, FileReference::new(11, 11), &wide("new"), NOW).is_err());
    settled(&volume, &disk, "after refusals");
}

#[test]
fn times_and_sizes_stand_in_every_entry() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = FileReference::ROOT;
    let other = folder(&mut volume, root, "other");
    let made = file(&mut volume, root, "a name with a twin", b"x");
    volume.link(made, other, &wide("LINK"), NOW).unwrap();
    volume.link(made, root, &wide("link in the same folder"), NOW).unwrap();
    let times = [1, 2, 3, 4].map(|i| FileTime(NOW.0 + i));
    volume.set_times(made, times).unwrap();
    volume.replace(made, &[], &[7; 9000], FileTime(NOW.0 + 50)).unwrap();
    let expected = [times[0], FileTime(NOW.0 + 50), FileTime(NOW.0 + 50), times[3]];
    assert_eq!(volume.stat(made).unwrap().standard.times, expected);
    let mut seen = 0;
    for folder in [root, other] {
        for entry in volume.entries(folder).unwrap().into_iter().filter(|e| e.reference == made) {
            assert_eq!((entry.times, entry.size, entry.allocated), (expected, 9000, 12288));
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
    settled(&volume, &disk, "four entries");
}

#[test]
fn a_cluster_bitmap_in_many_runs() {
    for spilled in [false, true] {
        let Some(disk) = rig::blank(64, &["-c", "512"]) else { return };
        let mut volume = rig::open(&disk);
        let spare = file(&mut volume, FileReference::ROOT, "SPARE", b"");
        volume.remove(spare, NOW).unwrap();
        drop(volume);
        let mut raw = Raw::new(disk.to_vec());
        raw.scatter(6, 0x80, 90_001);
        if spilled {
            raw.spill(6, 0x80, Part::From(11), spare.record() as usize, None);
        }
        let disk = Arc::new(MemoryDisk::new(raw.bytes));
        let mut volume = rig::open(&disk);
        settled(&volume, &disk, "$Bitmap in 32 runs");
        let mut random = Random::new(7);
        let files: Vec<_> =
            (0..60).map(|i| file(&mut volume, FileReference::ROOT, &format!("F{i}"), &random.bytes(700_000))).collect();
        settled(&volume, &disk, "files over the whole volume");
        files.iter().step_by(2).for_each(|&f| volume.remove(f, NOW).unwrap());
        settled(&volume, &disk, "every other one");
        settled(&rig::open(&disk), &disk, "opened again");
    }
}

#[test]
fn bits_behind_the_last_cluster_stay_set() {
    // A size that leaves clusters short of a byte of the bitmap.
    let Some(disk) = rig::blank(9, &["-c", "2048"]) else { return };
    let clusters = rig::open(&disk).info().clusters as usize;
    let tail = |disk: &MemoryDisk| {
        let raw = Raw::new(disk.to_vec());
        let runs = raw.runs_of(6, 0x80, "");
        let size = u64_at(&raw.record(6), raw.find(&raw.record(6), 0x80, "").unwrap() + 0x30) as usize;
        (clusters..8 * size).map(|bit| raw.bytes[raw.place(&runs, bit / 8)] >> (bit % 8) & 1).collect::<Vec<_>>()
    };
    let before = tail(&disk);
    assert!(!before.is_empty() && before.iter().all(|&b| b == 1), "{clusters} clusters");
    let mut volume = rig::open(&disk);
    let mut made = Vec::new();
    while let Ok(file) =
        volume.create_file(FileReference::ROOT, &format!("F{}", made.len()), &[1; 2048], Security::Inherit, NOW)
    {
        made.push(file);
    }
    assert_eq!(tail(&disk), before);
    // No run reaches behind the volume: the checker would say so.
    settled(&volume, &disk, "a full volume");
    made.iter().for_each(|&f| volume.remove(f, NOW).unwrap());
    assert_eq!(tail(&disk), before);
    settled(&volume, &disk, "an empty volume");
}

#[test]
fn a_cluster_that_is_wrongly_free_is_not_given_out() {
    let Some(disk) = rig::blank(8, &[]) else { return };
    let mut volume = rig::open(&disk);
    let content = Random::new(4).bytes(10 * 4096);
    let old = file(&mut volume, FileReference::ROOT, "OLD", &content);
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let runs = raw.runs_of(old.record() as usize, 0x80, "");
    let bits = raw.runs_of(6, 0x80, "");
    for lcn in runs.iter().flat_map(|r| r.1.unwrap()..r.1.unwrap() + r.2) {
        let at = raw.place(&bits, lcn / 8);
        raw.bytes[at] &= !(1 << (lcn % 8));
    }
    let mut volume = rig::open(&Arc::new(MemoryDisk::new(raw.bytes)));
    let mut count = 0;
    while volume.create_file(FileReference::ROOT, &format!("F{count}"), &[0xee; 4096], Security::Inherit, NOW).is_ok() {
        count += 1;
    }
    assert!(count > 100);
    assert!(volume.read(old, &[]).unwrap() == content, "somebody else has written into its clusters");
}

#[test]
fn what_a_new_record_must_have() {
    for options in [&[][..], &["-s", "4096"]] {
        let Some(disk) = rig::blank(16, options) else { return };
        let mut volume = rig::open(&disk);
        let made = file(&mut volume, FileReference::ROOT, "a name with a twin", b"x");
        let raw = Raw::new(disk.to_vec());
        let record = raw.record(made.record() as usize);
        let all = raw.attributes(&record);
        // Behind the update sequence array, which is longer in larger records.
        assert_eq!(u16_at(&record, 0x14), (0x30 + 2 * u16_at(&record, 6)).next_multiple_of(8));
        assert_eq!(u16_at(&record, 6), raw.record_size / 512 + 1);
        let end = all.last().unwrap().0 + all.last().unwrap().2;
        assert_eq!((u32_at(&record, end), u32_at(&record, end + 4)), (0xffff_ffff, 0));
        assert_eq!((u32_at(&record, 0x18), u32_at(&record, 0x1c)), (end + 8, raw.record_size));
        assert_eq!(u16_at(&record, 0x12), 2, "names, the 8.3 one included");
        assert!(all.iter().all(|a| a.2 % 8 == 0) && all.is_sorted_by_key(|a| a.1));
        for name in all.iter().filter(|a| a.1 == 0x30) {
            assert_eq!(record[name.0 + 0x16], 1, "$FILE_NAME is marked as indexed");
        }
        let ids: Vec<_> = all.iter().map(|a| u16_at(&record, a.0 + 0xe)).collect();
        assert!(ids.iter().all(|id| *id < u16_at(&record, 0x28)));
        // A record that is used again has another sequence number, never 0.
        let mut last = made;
        for _ in 0..5 {
            volume.remove(last, NOW).unwrap();
            let next = file(&mut volume, FileReference::ROOT, "NEXT", b"");
            assert!(next.record() != last.record() || next.sequence() != last.sequence());
            assert_ne!(next.sequence(), 0);
            last = next;
        }
    }
}

#[test]
fn a_sequence_number_wraps_past_zero() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let made = file(&mut volume, FileReference::ROOT, "FILE", b"");
    volume.remove(made, NOW).unwrap();
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    let mut record = raw.record(made.record() as usize);
    set(&mut record, 0x10, 2, 0xffff);
    raw.put_record(made.record() as usize, record, true);
    let disk = Arc::new(MemoryDisk::new(raw.bytes));
    let mut volume = rig::open(&disk);
    let last = file(&mut volume, FileReference::ROOT, "LAST", b"");
    assert_eq!((last.record(), last.sequence()), (made.record(), 0xffff));
    volume.remove(last, NOW).unwrap();
    let first = file(&mut volume, FileReference::ROOT, "FIRST", b"");
    assert_eq!((first.record(), first.sequence()), (made.record(), 1));
    settled(&volume, &disk, "wrapped");
}

#[test]
fn case_pairs_are_found_exactly() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = folder(&mut volume, FileReference::ROOT, "sensitive");
    let mut made = Vec::new();
    for name in ["makefile", "Makefile", "MAKEFILE"] {
        let name = wide(name);
        let file = volume.create_as(top, NewName::Exact(&name), Some(b"x"), Security::Inherit, NOW).unwrap();
        made.push((name, file));
    }
    let twice = volume.create_as(top, NewName::Exact(&made[1].0), Some(b""), Security::Inherit, NOW);
    assert_eq!(twice.unwrap_err().kind(), Kind::Conflict);
    for (name, file) in &made {
        assert_eq!(volume.lookup(top, name).unwrap(), Some(*file));
    }
    settled(&volume, &disk, "three names");
    volume.remove(made[1].1, NOW).unwrap();
    assert_eq!(volume.lookup(top, &made[0].0).unwrap(), Some(made[0].1));
    assert_eq!(volume.lookup(top, &made[2].0).unwrap(), Some(made[2].1));
    settled(&volume, &disk, "two names");
}

#[test]
fn a_root_of_an_index_says_the_same_twice() {
    let Some(disk) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&disk);
    let top = folder(&mut volume, FileReference::ROOT, "top");
    let mut files = Vec::new();
    for index in 0..60 {
        if index < 40 {
            files.push(file(&mut volume, top, &format!("F{index}"), b""));
        } else {
            volume.remove(files.pop().unwrap(), NOW).unwrap();
        }
        let raw = Raw::new(disk.to_vec());
        let record = raw.record(top.record() as usize);
        let at = raw.value(&record, raw.find(&record, 0x90, "$I30").unwrap()) + 0x10;
        // Used and allocated; the value ends there.
        assert_eq!(u32_at(&record, at + 4), u32_at(&record, at + 8));
        let len = u32_at(&record, raw.find(&record, 0x90, "$I30").unwrap() + 0x10);
        assert_eq!(u32_at(&record, at + 4) + 0x10, len);
        let has_blocks = raw.find(&record, 0xa0, "$I30").is_some();
        assert_eq!(record[at + 0xc] & 1 == 1, has_blocks);
    }
}
