//! Stray writes that are planted while a scrub runs: it touches much, and still nothing else may change.

use crate::generalize::{DiskPlanned, plan_disk};
use crate::image::DiskImage;
use crate::{Inputs, Options, Silent};
use reseal_disk::{Disk, GptPartition, write_gpt};
use reseal_dtyp::{FileTime, Guid};
use reseal_hive::{Hive, types};
use reseal_ntfs::{ByteOwner, FileReference, Security, Volume};
use reseal_testdata::esp::FatVolume;
use reseal_testdata::{Container, ImageBuilder, WindowsImage, boot_store, machine_sid, system_volume};
use std::path::Path;

const NOW: FileTime = FileTime(133_500_000_000_000_000);
/// A hive of which nothing but free cells is to go: no step knows it.
const IDLE_HIVE: &str = r"Users\Default\NTUSER.DAT";
const TEXT: &[u8] = b"the content of a stream with a name";

/// A file with a named stream, a file whose content ends within a cluster, a hive with a free cell.
fn fill(volume: &mut Volume) {
    WindowsImage { files: 120, ..WindowsImage::default() }.fill(volume).unwrap();
    let root = volume.root();
    let own = volume.create_file(root, "own.bin", &[7; 6000], Security::Inherit, NOW).unwrap();
    volume.replace(own, &"named".encode_utf16().collect::<Vec<_>>(), &TEXT.repeat(200), NOW).unwrap();
    let mut hive = Hive::new(
        "ROOT",
        3,
        &reseal_dtyp::Descriptor::from_sddl("O:BAG:SYD:(A;;KA;;;SY)").unwrap().to_bytes().unwrap(),
        NOW,
    )
    .unwrap();
    let key = hive.create_path(r"Software\Kept").unwrap();
    hive.set_value(key, "Kept", types::BINARY, &[0x6b; 300]).unwrap();
    let gone = hive.create_path(r"Software\Gone").unwrap();
    hive.set_value(gone, "Gone", types::BINARY, &[0x67; 900]).unwrap();
    hive.delete_key(gone).unwrap();
    let mut bytes = hive.to_bytes();
    // A deleted key leaves zeros in our hand, and what it was in that of Windows.
    let free = bytes.len() - 64;
    bytes[free..].fill(0x55);
    let users = volume.resolve("Users").unwrap().unwrap();
    let folder = volume.create_dir(users, "Default", Security::SameAs(users), NOW).unwrap();
    volume.create_file(folder, "NTUSER.DAT", &bytes, Security::SameAs(folder), NOW).unwrap();
}

fn planned(image: &Path) -> DiskPlanned {
    let image = DiskImage::open(image.to_str().unwrap()).unwrap();
    let options = Options { scrub: true, ..Options::default() };
    plan_disk(image, &options, &Inputs::seeded("strays", FileTime::from_unix(1_700_000_000)), &Silent).unwrap()
}

/// Where a byte of a stream lies on the volume.
fn place(volume: &Volume, file: FileReference, name: &str, at: u64) -> u64 {
    let stream = volume.stream(file, &name.encode_utf16().collect::<Vec<_>>()).unwrap();
    stream.place(at).unwrap().expect("no hole").0
}

/// Byte offset in a hive's file of the data that stands in it.
fn inside(volume: &Volume, path: &str, data: &[u8]) -> (FileReference, u64) {
    let file = volume.resolve(path).unwrap().unwrap();
    let bytes = volume.read(file, &[]).unwrap();
    let at = bytes.windows(data.len()).position(|window| window == data);
    (file, at.unwrap_or_else(|| panic!("{path} does not hold it")) as u64)
}

#[test]
fn a_scrub_hides_no_stray_write() {
    let dir = tempfile::tempdir().unwrap();
    let gold = dir.path().join("gold.raw");
    let builder = ImageBuilder { container: Container::Raw, volume_len: 16 << 20, ..ImageBuilder::default() };
    builder
        .build(&gold, |volume| {
            fill(volume);
            Ok(())
        })
        .unwrap();
    let first = planned(&gold);
    let wiped: Vec<String> = first.plan().changes.iter().map(|c| c.target.to_string()).collect();
    assert!(wiped.iter().any(|place| place.contains(r"Users\Default\NTUSER.DAT")), "{wiped:?}");
    let (volume, offset) = (first.image.volume(&first.partition).unwrap(), first.partition.offset);
    let owners = volume.owners().unwrap();
    let free = (4 << 20..16 << 20).step_by(4096).find(|at| owners.of(*at) == ByteOwner::Free).unwrap();
    let own = volume.resolve("own.bin").unwrap().unwrap();
    let (idle, kept) = inside(&volume, IDLE_HIVE, &[0x6b; 300]);
    let software: Vec<u8> = "ProductName".bytes().collect();
    let (edited, name) = inside(&volume, r"Windows\System32\config\SOFTWARE", &software);
    let log = (0..16 << 20)
        .step_by(4096)
        .find(|at| matches!(owners.of(*at), ByteOwner::File { file, kind: 0x80, .. } if file.record() == 2));
    let record = |number: u64| {
        let is_it = |at: &u64| owners.of(*at) == ByteOwner::Record(number);
        (0..16 << 20).step_by(512).find(is_it).unwrap()
    };
    let index = |at: &u64| {
        let ByteOwner::File { file, kind: 0xa0, .. } = owners.of(*at) else { return false };
        volume.path_of(file).is_ok_and(|path| path.starts_with("/Program Files/"))
    };
    let index = (0..16 << 20).step_by(4096).find(index).unwrap();
    let places = [
        ("a used cluster", place(&volume, own, "", 100)),
        ("the last byte of a file's content", place(&volume, own, "", 5999)),
        ("behind the content, where zeros belong", place(&volume, own, "", 6000 - 1) + 1),
        ("a named stream", place(&volume, own, "named", 5000)),
        ("a used cell of a hive that is only wiped", place(&volume, idle, "", kept + 10)),
        ("a used cell of a hive that a step edits", place(&volume, edited, "", name)),
        ("a free cluster", free),
        ("$LogFile", log.unwrap()),
        ("an attribute of a file record", record(own.record()) + 0x60),
        ("a used index block", index + 0x48),
    ];
    drop((volume, first));
    let out = dir.path().join("out");
    for (what, at) in places {
        let planned = planned(&gold);
        let bytes = planned.image.disk.bytes();
        let mut byte = [0];
        bytes.read_at(offset + at, &mut byte).unwrap();
        bytes.write_at(offset + at, &[byte[0] ^ 0x5a]).unwrap();
        let Err(error) = planned.commit_to(&out, &Silent) else { panic!("{what} at {at:#x} was not noticed") };
        assert!(error.to_string().contains("stray write"), "{what}: {error}");
        assert!(!out.exists(), "{what}");
    }
    planned(&gold).commit_to(&out, &Silent).unwrap();
}

/// Where a plan clears the header of shadow copies, that sector may become zeros, and no other byte of the boot area differ.
#[test]
fn the_shadow_copy_header_alone_may_go() {
    use std::os::unix::fs::FileExt;
    const AT: u64 = (1 << 20) + 0x1e00;
    let dir = tempfile::tempdir().unwrap();
    let gold = dir.path().join("gold.raw");
    let builder = ImageBuilder { container: Container::Raw, volume_len: 16 << 20, ..ImageBuilder::default() };
    builder.build(&gold, |volume| WindowsImage::default().fill(volume)).unwrap();
    let identifier = reseal_dtyp::Guid::parse("3808876b-c176-4e48-b7ae-04046e6cc752").unwrap();
    let header = [&identifier.0[..], &[1, 0, 0, 0, 1, 0, 0, 0], &0x1e00u64.to_le_bytes()].concat();
    std::fs::OpenOptions::new().write(true).open(&gold).unwrap().write_all_at(&header, AT).unwrap();
    let planned = || {
        let image = DiskImage::open(gold.to_str().unwrap()).unwrap();
        let options = Options { drop_snapshots: true, ..Options::default() };
        plan_disk(image, &options, &Inputs::seeded("strays", FileTime::from_unix(1_700_000_000)), &Silent).unwrap()
    };
    let out = dir.path().join("out");
    for (what, at) in [("before", AT - 1), ("in", AT + 100), ("at the end of", AT + 511)] {
        let planned = planned();
        let bytes = planned.image.disk.bytes();
        let mut byte = [0];
        bytes.read_at(at, &mut byte).unwrap();
        bytes.write_at(at, &[byte[0] ^ 0x5a]).unwrap();
        let Err(error) = planned.commit_to(&out, &Silent) else { panic!("{what} the header") };
        assert!(error.to_string().contains("stray write"), "{what}: {error}");
    }
    planned().commit_to(&out, &Silent).unwrap();
    let mut sector = [1; 512];
    std::fs::File::open(&out).unwrap().read_exact_at(&mut sector, AT).unwrap();
    assert_eq!(sector, [0; 512]);
}

/// A disk whose second partition is a FAT volume with a boot store that holds the machine SID. Where that partition begins.
fn with_store(image: &Path) -> u64 {
    const WINDOWS: std::ops::Range<u64> = 1 << 20..17 << 20;
    let builder = ImageBuilder { container: Container::Raw, volume_len: 16 << 20, ..ImageBuilder::default() };
    builder.build(image, |volume| WindowsImage::default().fill(volume)).unwrap();
    let (ids, sid) = ([1, 2, 7].map(|n| Guid([n; 16])), machine_sid().to_string());
    let (windows, own) = (boot_store::partition(ids[1], ids[0]), boot_store::partition(ids[2], ids[0]));
    let store = boot_store::store(&windows, &own, Some(&sid)).unwrap();
    let files: &[(&str, &[u8])] = &[("EFI/Boot/bootx64.efi", &[0x4d; 30_000]), ("EFI/Microsoft/Boot/BCD", &store)];
    let system = FatVolume::default().build(files).unwrap();
    let bytes = std::fs::read(image).unwrap();
    std::fs::write(image, [&bytes[..WINDOWS.end as usize], &system, &vec![0; 1 << 20]].concat()).unwrap();
    let part = |ty: &str, id, offset: u64, len: u64| GptPartition {
        ty: Guid::parse(ty).unwrap(),
        id,
        name: String::new(),
        offset,
        len,
    };
    let parts = [
        part("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", ids[1], WINDOWS.start, WINDOWS.end - WINDOWS.start),
        part("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", ids[2], WINDOWS.end, system.len() as u64),
    ];
    let disk = Disk::open(image).unwrap();
    write_gpt(&*disk.bytes(), 512, ids[0], &parts).unwrap();
    let done = image.with_extension("gpt");
    disk.commit_to(&done, [ids[0], ids[0]], &|_, _| {}).unwrap();
    std::fs::rename(done, image).unwrap();
    WINDOWS.end
}

#[test]
fn a_store_on_fat_hides_no_stray_write() {
    let dir = tempfile::tempdir().unwrap();
    let gold = dir.path().join("gold.raw");
    let system = with_store(&gold);
    let bytes = std::fs::read(&gold).unwrap();
    let own = &bytes[system as usize..];
    let find = |what: &[u8]| own.windows(what.len()).position(|window| window == what).unwrap() as u64;
    let reserved = u64::from(u16::from_le_bytes([own[14], own[15]])) * 512;
    let (out, options) = (dir.path().join("out"), Options::default());
    let planned = || {
        let image = DiskImage::open(gold.to_str().unwrap()).unwrap();
        plan_disk(image, &options, &Inputs::seeded("strays", FileTime::from_unix(1_700_000_000)), &Silent).unwrap()
    };
    let changes = planned().plan().changes.clone();
    assert!(changes.iter().any(|c| c.target.to_string().contains(r"EFI\Microsoft\Boot\BCD")), "the store is written");
    let places = [
        ("the boot sector", 100),
        ("the FAT", reserved + 8),
        ("a program beside the store", find(&[0x4d; 30_000]) + 20_000),
        ("the sector before the store", find(b"regf") - 512),
        ("a free cluster at the end", own.len() as u64 - (2 << 20)),
    ];
    for (what, at) in places {
        let planned = planned();
        let disk = planned.image.disk.bytes();
        disk.write_at(system + at, &[own[at as usize] ^ 0x5a]).unwrap();
        let Err(error) = planned.commit_to(&out, &Silent) else { panic!("{what} at {at:#x} was not noticed") };
        assert!(error.to_string().contains("stray write"), "{what}: {error}");
        assert!(!out.exists(), "{what}");
    }
    planned().commit_to(&out, &Silent).unwrap();
}

#[test]
fn a_system_volume_hides_no_stray_write() {
    let dir = tempfile::tempdir().unwrap();
    let (single, gold, out) = (dir.path().join("single.raw"), dir.path().join("gold.raw"), dir.path().join("out"));
    let builder = ImageBuilder { container: Container::Raw, volume_len: 16 << 20, ..ImageBuilder::default() };
    builder.build(&single, |volume| WindowsImage::default().fill(volume)).unwrap();
    let bytes = std::fs::read(&single).unwrap();
    let (windows, sid) = (&bytes[1 << 20..17 << 20], Some(machine_sid()));
    let store = system_volume::store(windows.len() as u64, sid).unwrap();
    let system = system_volume::write(&gold, windows, &store, sid, |_| {}).unwrap();
    let options = Options::default();
    let planned = || {
        let image = DiskImage::open(gold.to_str().unwrap()).unwrap();
        plan_disk(image, &options, &Inputs::seeded("strays", FileTime::from_unix(1_700_000_000)), &Silent).unwrap()
    };
    let first = planned();
    let changes: Vec<String> = first.plan().changes.iter().map(|c| c.target.to_string()).collect();
    assert!(changes.iter().any(|c| c.contains(r"partition 2: \Boot\BCD")), "the store is written: {changes:?}");
    assert!(changes.iter().any(|c| c == "partition 2: security descriptors"), "{changes:?}");
    let partition = &first.image.table.partitions[1];
    let volume = first.image.volume(partition).unwrap();
    let owners = volume.owners().unwrap();
    let sector = |wanted: &dyn Fn(&ByteOwner) -> bool| {
        (0..partition.len).step_by(512).find(|at| wanted(&owners.of(*at))).expect("there is such a sector")
    };
    let program = volume.resolve("bootmgr").unwrap().unwrap();
    let places = [
        ("the boot sector", 0x60),
        ("data of another file", place(&volume, program, "", 20_000)),
        ("its record", sector(&|o| *o == ByteOwner::Record(program.record())) + 0x60),
        ("$UpCase", sector(&|o| matches!(o, ByteOwner::File { file, .. } if file.record() == 10)) + 1000),
        ("$Volume", sector(&|o| *o == ByteOwner::Record(3)) + 0x100),
        ("a free cluster", sector(&|o| *o == ByteOwner::Free)),
        ("behind the volume", partition.len + 512),
    ];
    drop((volume, first));
    for (what, at) in places {
        let planned = planned();
        let disk = planned.image.disk.bytes();
        let mut byte = [0];
        disk.read_at(system.start + at, &mut byte).unwrap();
        disk.write_at(system.start + at, &[byte[0] ^ 0x5a]).unwrap();
        let Err(error) = planned.commit_to(&out, &Silent) else { panic!("{what} at {at:#x} was not noticed") };
        assert!(error.to_string().contains("stray write"), "{what}: {error}");
        assert!(!out.exists(), "{what}");
    }
    planned().commit_to(&out, &Silent).unwrap();
}
