//! A disk as firmware starts it: Windows on the first partition, the boot store on a FAT partition behind it.

use super::machine::{Machine, Rig};
use reseal_disk::{Disk, GptPartition, write_gpt};
use reseal_dtyp::Guid;
use reseal_ntfs::Volume;
use reseal_testdata::esp::FatVolume;
use reseal_testdata::{boot_store, system_volume};
use std::ops::Range;

pub(crate) const WINDOWS: Guid = Guid([2; 16]);
pub(crate) const SYSTEM: Guid = Guid([7; 16]);
pub(crate) const DISK: Guid = Guid([1; 16]);
/// Where the store lies, as mtools write it.
pub(crate) const PATH: &str = "EFI/Microsoft/Boot/BCD";
pub(crate) const WINDOWS_AT: Range<usize> = 1 << 20..49 << 20;

/// A store whose loader starts the first partition, from the second.
pub(crate) fn store(sid: Option<&str>) -> Vec<u8> {
    let (windows, system) = (boot_store::partition(WINDOWS, DISK), boot_store::partition(SYSTEM, DISK));
    boot_store::store(&windows, &system, sid).expect("it can be made")
}

/// A system partition with the store, an emptied log and a program.
pub(crate) fn system(store: &[u8]) -> Vec<u8> {
    let files: &[(&str, &[u8])] =
        &[("EFI/Boot/bootx64.efi", &[0x4d; 30_000]), (PATH, store), ("EFI/Microsoft/Boot/BCD.LOG", &[0; 8192])];
    FatVolume::default().build(files).expect("mkfs.fat and mtools work")
}

/// Takes the store of the Windows volume away.
pub(crate) fn without_store(m: &mut Machine) {
    let file = m.volume.resolve(r"Boot\BCD").expect("it can be walked").expect("the store is there");
    m.volume.remove(file, reseal_dtyp::FileTime(1)).expect("it can be removed");
}

/// A raw MBR disk: Windows, and an NTFS volume with the boot store; both planted with something.
pub(crate) fn mbr_disk(
    rig: &Rig,
    name: &str,
    with_sid: bool,
    plant: fn(&mut Machine),
    system: impl FnOnce(&mut Volume),
) -> String {
    let planted = rig.planted("windows.raw", plant);
    let volume = std::fs::read(&planted).expect("just written")[WINDOWS_AT].to_vec();
    let sid = with_sid.then(reseal_testdata::machine_sid);
    let store = system_volume::store(volume.len() as u64, sid).expect("it can be made");
    system_volume::write(&rig.bench.path(name), &volume, &store, sid, system).expect("it can be written");
    std::fs::remove_file(planted).expect("it is there");
    rig.bench.arg(name)
}

/// A raw disk with both partitions; `plant` changes the volume of Windows, whose own store goes.
pub(crate) fn disk(rig: &Rig, name: &str, system: &[u8], plant: fn(&mut Machine)) -> String {
    let planted = rig.planted("windows.raw", without_store);
    let draft = rig.bench.path("draft.raw");
    super::machine::planted(&planted, &draft, super::machine::Mangle::No, plant);
    let bytes = std::fs::read(&draft).expect("just written");
    let bytes = [&bytes[..WINDOWS_AT.end], system, &vec![0; 1 << 20]].concat();
    std::fs::write(&draft, bytes).expect("it can be written");
    let disk = Disk::open(&draft).expect("it opens");
    let part = |ty: &str, id: Guid, at: Range<usize>| GptPartition {
        ty: Guid::parse(ty).expect("a constant"),
        id,
        name: String::new(),
        offset: at.start as u64,
        len: at.len() as u64,
    };
    let parts = [
        part("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", WINDOWS, WINDOWS_AT),
        part("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", SYSTEM, WINDOWS_AT.end..WINDOWS_AT.end + system.len()),
    ];
    write_gpt(&*disk.bytes(), 512, DISK, &parts).expect("it fits");
    disk.commit_to(&rig.bench.path(name), [Guid([3; 16]), Guid([4; 16])], &|_, _| {}).expect("it can be written");
    for file in [planted.into(), draft] {
        std::fs::remove_file(file).expect("it is there");
    }
    rig.bench.arg(name)
}

/// The bytes of the system partition of an image.
pub(crate) fn system_of(image: &str) -> Vec<u8> {
    let bytes = std::fs::read(image).expect("it can be read");
    bytes[WINDOWS_AT.end..bytes.len() - (1 << 20)].to_vec()
}
