//! Volumes made by dosfstools and mtools: read, overwritten, damaged.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

use reseal_disk::{MemoryDisk, WriteAt};
use reseal_dtyp::Kind;
use reseal_fat::{FatType, Volume};
use reseal_testdata::esp::{self, FatVolume};
use reseal_testdata::fuzz;
use std::sync::Arc;

const PATH: &str = r"\efi\MICROSOFT\boot\bcd";

fn store() -> Vec<u8> {
    (0..28_672u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

const KINDS: [(FatVolume, FatType); 6] = [
    (FatVolume { len: 1 << 20, bits: 12, sector: 512, per_cluster: 1 }, FatType::Fat12),
    (FatVolume { len: 8 << 20, bits: 12, sector: 512, per_cluster: 8 }, FatType::Fat12),
    (FatVolume { len: 16 << 20, bits: 16, sector: 512, per_cluster: 4 }, FatType::Fat16),
    (FatVolume { len: 35 << 20, bits: 32, sector: 512, per_cluster: 1 }, FatType::Fat32),
    (FatVolume { len: 64 << 20, bits: 32, sector: 512, per_cluster: 1 }, FatType::Fat32),
    (FatVolume { len: 300 << 20, bits: 32, sector: 4096, per_cluster: 1 }, FatType::Fat32),
];

fn build(kind: &FatVolume) -> Vec<u8> {
    let efi: &[u8] = &[0x4d; 70_000];
    let files: &[(&str, &[u8])] = &[
        ("EFI/Boot/bootx64.efi", efi),
        ("EFI/Microsoft/Boot/BCD", &store()),
        ("EFI/Microsoft/Boot/BCD.LOG", &[]),
        ("EFI/Microsoft/Boot/Resources/A name that is longer than thirteen units.dll", b"hello"),
    ];
    kind.build(files).unwrap()
}

fn open(bytes: Vec<u8>) -> (Arc<MemoryDisk>, Volume) {
    let disk = Arc::new(MemoryDisk::new(bytes));
    let volume = Volume::open(Arc::clone(&disk) as Arc<dyn WriteAt>).unwrap();
    (disk, volume)
}

#[test]
fn every_kind_reads_and_is_overwritten_where_it_lies() {
    for (kind, ty) in KINDS {
        let bytes = build(&kind);
        let (disk, volume) = open(bytes.clone());
        assert_eq!(volume.fat_type(), ty);
        assert_eq!(volume.cluster_len(), u64::from(kind.sector * kind.per_cluster));
        let file = volume.resolve(PATH).unwrap().expect("it was placed");
        assert_eq!(volume.read(&file, 1 << 20).unwrap(), store());
        let long =
            volume.resolve("EFI/Microsoft/Boot/Resources/a NAME that is longer than thirteen units.dll").unwrap();
        assert_eq!(volume.read(&long.unwrap(), 100).unwrap(), b"hello");
        let empty = volume.resolve(r"EFI\Microsoft\Boot\BCD.LOG").unwrap().unwrap();
        assert!(volume.read(&empty, 100).unwrap().is_empty() && volume.extents(&empty).unwrap().is_empty());
        assert!(volume.resolve(r"EFI\Microsoft\Boot\BCD.LOG1").unwrap().is_none());
        assert!(volume.resolve(r"EFI\Microsoft\Boot\BCD\x").unwrap().is_none());
        assert_eq!(volume.read(&file, 28_671).unwrap_err().kind(), Kind::Limit);

        let middle = [0xa5; 5000];
        volume.overwrite(&file, &[(1, b"x"), (4000, &middle)]).unwrap();
        let mut wanted = store();
        wanted[1] = b'x';
        wanted[4000..9000].fill(0xa5);
        assert_eq!(volume.read(&file, 1 << 20).unwrap(), wanted);
        assert_eq!(volume.overwrite(&file, &[(28_671, b"ab")]).unwrap_err().kind(), Kind::NoSpace);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v.img");
        std::fs::write(&path, disk.to_vec()).unwrap();
        let Some(back) = esp::read_back(&path, "EFI/Microsoft/Boot/BCD") else { return };
        assert_eq!(back, wanted, "mtools reads it differently");
        esp::fsck(&path);
        let differing = disk.to_vec().iter().zip(&bytes).filter(|(a, b)| a != b).count();
        assert!((1..=5001).contains(&differing), "{differing} bytes differ");
    }
}

/// Where the FAT of the small FAT12 volume holds the entry of a cluster.
const FAT12_AT: usize = 512;

/// Sets an entry of the first FAT of a FAT12 volume.
fn set12(bytes: &mut [u8], cluster: usize, value: u16) {
    let at = FAT12_AT + cluster + cluster / 2;
    let old = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let new = if cluster % 2 == 1 { old & 0xf | value << 4 } else { old & 0xf000 | value };
    bytes[at..at + 2].copy_from_slice(&new.to_le_bytes());
}

#[test]
fn a_chain_that_is_wrong_is_refused_with_its_place() {
    let sound = build(&KINDS[0].0);
    let (_, volume) = open(sound.clone());
    let file = volume.resolve(PATH).unwrap().unwrap();
    let extents = volume.extents(&file).unwrap();
    assert_eq!(extents.len(), 1, "mtools lays it in one piece");
    // The chain's first cluster, from where it lies: the folder of FAT12 and the clusters follow each other.
    let first = (2..3000).find(|c| file_cluster(&volume, &sound, *c) == extents[0].on_volume).unwrap();
    let cases: [(usize, u16, &str); 4] = [
        (first + 3, 0xfff, "ends after 4 clusters, the size asks for 56"),
        (first + 3, first as u16, "twice"),
        (first + 3, 0, "which is no cluster of a file"),
        (first + 3, 0xf00, "cluster 0xf00, there are 2 to"),
    ];
    for (cluster, value, why) in cases {
        let mut bytes = sound.clone();
        set12(&mut bytes, cluster, value);
        let (disk, volume) = open(bytes.clone());
        let file = volume.resolve(PATH).unwrap().unwrap();
        let error = volume.read(&file, 1 << 20).unwrap_err();
        assert!(error.kind() == Kind::Damaged && error.to_string().contains(why), "{error}");
        assert!(volume.overwrite(&file, &[(0, b"x")]).is_err());
        assert!(disk.to_vec() == bytes);
    }
    // Another chain leads into the file: it reads, and is not written.
    let mut bytes = sound;
    set12(&mut bytes, 1900, (first + 2) as u16);
    let (disk, volume) = open(bytes.clone());
    let file = volume.resolve(PATH).unwrap().unwrap();
    assert_eq!(volume.read(&file, 1 << 20).unwrap(), store());
    let error = volume.overwrite(&file, &[(0, b"x")]).unwrap_err();
    assert!(error.to_string().contains("cluster 0x76c leads into this file"), "{error}");
    assert!(disk.to_vec() == bytes);
}

/// Where a cluster lies, found by the entry of the root folder's first child and the order of clusters.
fn file_cluster(volume: &Volume, bytes: &[u8], cluster: usize) -> u64 {
    let field = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let data = field(14) + usize::from(bytes[16]) * field(22) + field(17) * 32 / 512;
    (data * 512) as u64 + (cluster as u64 - 2) * volume.cluster_len()
}

#[test]
fn a_boot_sector_is_held_against_the_partition() {
    let sound = build(&KINDS[3].0);
    let cases: &[(usize, &[u8], &str)] = &[
        (11, &[0, 1], "BPB_BytsPerSec"),
        (13, &[3], "BPB_SecPerClus"),
        (13, &[0], "BPB_SecPerClus"),
        (14, &[0, 0], "BPB_RsvdSecCnt"),
        (16, &[0], "BPB_NumFATs"),
        (17, &[1, 0], "BPB_RootEntCnt"),
        (32, &[1, 0x18, 1, 0], "BPB_TotSec32"),
        (32, &[0xff, 0xff, 0xff, 0xff], "BPB_TotSec32"),
        (32, &[9, 0, 0, 0], "BPB_TotSec32"),
        (36, &[1, 0, 0, 0], "BPB_FATSz"),
        (36, &[0xff, 0xff, 0xff, 0xff], "BPB_TotSec32"),
        (36, &[0, 0, 0, 0], "BPB_FATSz32"),
        (40, &[0x82, 0], "BPB_ExtFlags"),
        (42, &[1, 0], "BPB_FSVer"),
        (44, &[0, 0, 0, 0], "BPB_RootClus"),
        (44, &[0, 0, 0, 1], "BPB_RootClus"),
        (510, &[0, 0], "Signature_word"),
        (3, b"EXFAT   ", "BS_OEMName"),
    ];
    for (at, patch, field) in cases {
        let mut bytes = sound.clone();
        bytes[*at..at + patch.len()].copy_from_slice(patch);
        let error = Volume::open(Arc::new(MemoryDisk::new(bytes))).unwrap_err();
        assert_eq!(error.place().unwrap().field, *field, "{error}");
    }
    assert!(Volume::open(Arc::new(MemoryDisk::new(sound[..sound.len() - 512].to_vec()))).is_err());
    assert!(Volume::open(Arc::new(MemoryDisk::new(vec![0; 100]))).is_err());
}

#[test]
fn thousands_of_damages_neither_panic_nor_stray() {
    // splitmix64: the same damages each time.
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    };
    for round in 0..3000u64 {
        let mut input = vec![(round % 3) as u8, (next() % 12) as u8];
        for _ in 0..1 + next() % 12 {
            input.extend(&next().to_le_bytes()[..4]);
        }
        fuzz::fat(&input);
    }
}

/// A volume formatted by Windows, inside a VHDX by Windows.
#[test]
fn a_volume_of_windows_is_read() {
    let Some(root) = reseal_testdata::real::root() else { return };
    let disk = reseal_disk::Disk::open(&root.join("deb_dfvfs_20240505/fat-parent.vhdx")).unwrap();
    let table = disk.partitions().unwrap();
    let fat = table.partitions.iter().find_map(|p| Volume::open(disk.partition(p)).ok()).expect("a FAT volume");
    let folder = fat.resolve("System Volume Information").unwrap().expect("Windows makes it");
    let inside = fat.entries(Some(&folder)).unwrap();
    assert!(inside.iter().any(|entry| entry.is_named("WPSettings.dat")), "{inside:?}");
    for entry in inside.iter().filter(|entry| !entry.is_folder) {
        let bytes = fat.read(entry, 1 << 20).unwrap();
        println!("{} on {}: {} bytes", entry.short_name, fat.fat_type().name(), bytes.len());
        assert_eq!(bytes.len(), entry.size as usize);
    }
}
