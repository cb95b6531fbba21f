//! Virtual disk files and partition tables.

use super::patches;
use crate::builder::{ImageBuilder, mbr};
use reseal_disk::{CreateChild, CreateVhd, Disk, GptPartition, create_vhd, write_gpt};
use reseal_dtyp::Guid;
use std::path::Path;
use std::sync::OnceLock;

fn small_vhdx() -> &'static [u8] {
    static DISK: OnceLock<Vec<u8>> = OnceLock::new();
    DISK.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("v.vhdx");
        ImageBuilder { volume_len: 2 << 20, cluster_size: 512, ..ImageBuilder::default() }
            .build(&path, |_| Ok(()))
            .expect("mkntfs works");
        std::fs::read(path).expect("just written")
    })
}

/// A small dynamic VHD and a child of it, both with content.
fn small_vhds() -> &'static [Vec<u8>; 2] {
    static DISKS: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    DISKS.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        let [empty, base, child, leaf] = ["empty.vhd", "base.vhd", "child.vhd", "leaf.vhd"].map(path);
        let id = |n| Guid([n; 16]);
        let options = CreateVhd { disk_len: 2 << 20, block_len: 512 << 10, fixed: false, disk_id: id(1), time: 0 };
        let write = |from: &Path, to: &Path, at: u64| {
            let disk = Disk::open(from).expect("just made");
            disk.bytes().write_at(at, &[7; 3000]).expect("it fits");
            disk.commit_to(to, [id(2), id(3)], &|_, _| {}).expect("it can be written");
        };
        create_vhd(&options).and_then(|disk| disk.write_to(&empty)).expect("legal sizes");
        write(&empty, &base, 700);
        let how = CreateChild { block_len: 512 << 10, id: id(4), time: 0 };
        let made = Disk::open(&base).and_then(|disk| disk.new_child(&child, &how));
        made.and_then(|disk| disk.write_to(&child)).expect("a child can be made");
        write(&child, &leaf, 600 << 10);
        [base, leaf].map(|path| std::fs::read(path).expect("just written"))
    })
}

/// Damage to a small VHDX: open, partitions, read, write.
pub(super) fn vhdx(data: &[u8]) {
    let mut bytes = small_vhdx().to_vec();
    let len = bytes.len();
    patches(data, len).for_each(|(at, value)| bytes[at] = value);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &bytes).expect("it can be written");
    use_disk(file.path(), &bytes);
}

/// The checksums of footers and header set right, so that what they guard is looked at.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - 512;
    for (start, len, field) in [(0, 512, 64), (512, 1024, 36), (end, 512, 64)] {
        let part = &mut bytes[start..start + len];
        part[field..field + 4].fill(0);
        let sum = !part.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        part[field..field + 4].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Damage to a small VHD, or to a child with its parent whole beside it. The first byte says which, and whether checksums
/// are set right afterwards; the second, whether the patches go to the structures in front.
pub(super) fn vhd(data: &[u8]) {
    let [which, front, patched @ ..] = data else { return };
    let [base, leaf] = small_vhds();
    let mut bytes = if which & 1 == 0 { base.clone() } else { leaf.clone() };
    let len = if front & 1 == 0 { 16 << 10 } else { bytes.len() };
    patches(patched, len).for_each(|(at, value)| bytes[at] = value);
    if which & 2 == 0 {
        seal(&mut bytes);
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (path, parent) = (dir.path().join("x.vhd"), dir.path().join("base.vhd"));
    std::fs::write(&path, &bytes).expect("it can be written");
    std::fs::write(&parent, base).expect("it can be written");
    use_disk(&path, &bytes);
    if let Ok(disk) = Disk::open(&parent) {
        let _ = disk.children();
    }
}

fn use_disk(path: &Path, bytes: &[u8]) {
    let Ok(disk) = Disk::open(path) else { return };
    let _ = disk.partitions();
    let storage = disk.bytes();
    let mut buf = vec![0; 1 << 16];
    for at in [0, 1 << 20, storage.len() / 2, storage.len().saturating_sub(1 << 16)] {
        let _ = storage.is_hole(at, 1 << 16);
        if storage.read_at(at, &mut buf).is_ok() && storage.write_at(at, &[0xa5; 100]).is_ok() {
            let mut back = [0; 100];
            storage.read_at(at, &mut back).expect("just written");
            assert_eq!(back, [0xa5; 100]);
        }
    }
    assert_eq!(std::fs::read(path).expect("it is there"), bytes, "the image file changed");
}

/// Bytes as the start of a raw disk, the last half as its end: whatever table is found lies inside the disk.
pub(super) fn partition(data: &[u8]) {
    const LEN: usize = 256 << 10;
    let (head, tail) = data.split_at(data.len() - data.len().min(LEN) / 2);
    let mut bytes = vec![0; LEN];
    let n = head.len().min(LEN / 2);
    bytes[..n].copy_from_slice(&head[..n]);
    bytes[LEN - tail.len().min(LEN / 2)..].copy_from_slice(&tail[tail.len() - tail.len().min(LEN / 2)..]);
    // Headers and entries whose sums are right, where there is room for them.
    for sector in [512, 4096] {
        seal_gpt(&mut bytes, sector);
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &bytes).expect("it can be written");
    let Ok(disk) = Disk::open(file.path()) else { return };
    let Ok(table) = disk.partitions() else { return };
    for partition in &table.partitions {
        let end = partition.offset.checked_add(partition.len);
        assert!(end.is_some_and(|end| end <= disk.bytes().len()), "{partition:?}");
        let bytes = disk.partition(partition);
        let mut buf = vec![0; bytes.len().min(4096) as usize];
        bytes.read_at(bytes.len() - buf.len() as u64, &mut buf).expect("a partition lies inside the disk");
    }
}

/// Sets the checksums of a GPT right whose header stands in the second sector.
fn seal_gpt(bytes: &mut [u8], sector: usize) {
    let number = |bytes: &[u8], at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0usize, |n, byte| n << 8 | usize::from(*byte))
    };
    if &bytes[sector..sector + 8] != b"EFI PART" {
        return;
    }
    let entries = number(bytes, sector + 72, 4).saturating_mul(sector);
    let len = number(bytes, sector + 80, 4).saturating_mul(number(bytes, sector + 84, 4));
    if let Some(part) = entries.checked_add(len).and_then(|end| bytes.get(entries..end)) {
        let sum = crc32fast::hash(part);
        bytes[sector + 88..sector + 92].copy_from_slice(&sum.to_le_bytes());
    }
    let header_len = number(bytes, sector + 12, 4);
    if (92..=sector).contains(&header_len) {
        bytes[sector + 16..sector + 20].fill(0);
        let sum = crc32fast::hash(&bytes[sector..sector + header_len]);
        bytes[sector + 16..sector + 20].copy_from_slice(&sum.to_le_bytes());
    }
}

pub(super) fn vhd_seeds() -> Vec<Vec<u8>> {
    let patch = |at: u32, value: u8| vec![at as u8, (at >> 8) as u8, (at >> 16) as u8, value];
    // Size, type, header, table, blocks, and the path and id of a parent.
    let patched =
        [patch(53, 0x40), patch(63, 4), patch(534, 6), patch(541, 9), patch(1539, 4), patch(552, 9), patch(1090, 2)];
    let mut out = vec![vec![0, 0], vec![1, 0], vec![2, 1]];
    out.extend(patched.iter().flat_map(|patch| [0, 1].map(|which| [&[which, 0], patch.as_slice()].concat())));
    out
}

pub(super) fn partition_seeds() -> Vec<Vec<u8>> {
    let table = |sector| {
        let disk = reseal_disk::MemoryDisk::new(vec![0; 256 << 10]);
        let part =
            GptPartition { ty: Guid([1; 16]), id: Guid([2; 16]), name: "x".into(), offset: 64 << 10, len: 64 << 10 };
        write_gpt(&disk, sector, Guid([3; 16]), &[part]).expect("a small table");
        let bytes = disk.to_vec();
        // As the target puts it together: as much of the end as of the start.
        [&bytes[..24 << 10], &bytes[bytes.len() - (24 << 10)..]].concat()
    };
    let mut extended = mbr(7, &[(4096, 8192), (16_384, 65_536)]).to_vec();
    extended.resize(48 << 10, 0);
    extended[446 + 16 + 4] = 0x0f;
    let record = mbr(0, &[(512, 4096), (8192, 4096)]);
    extended[16_384..16_384 + 512].copy_from_slice(&record);
    extended[16_384 + 462 + 4] = 5;
    let mut ntfs = vec![0; 512];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    vec![table(512), table(4096), mbr(1, &[(1024, 1024)]).repeat(2), extended, ntfs]
}
