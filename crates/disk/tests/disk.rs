//! Disks against qemu-img, real VHDX files and damage.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic and says what it skips"
)]

use proptest::prelude::*;
use reseal_disk::{CreateVhdx, Disk, Format, GptPartition, PartitionType, Scheme, create_vhdx, write_gpt};
use reseal_dtyp::{Guid, Kind};
use std::path::{Path, PathBuf};
use std::process::Command;

fn required(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|v| v == "require")
}

fn real(path: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/real");
    let path = std::env::var_os("RESEAL_DATA").map_or_else(default, PathBuf::from).join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(!required("RESEAL_REAL"), "RESEAL_REAL=require, but {} does not exist", path.display());
    println!("skipped: {} does not exist", path.display());
    None
}

fn qemu_img(args: &[&str]) -> bool {
    match Command::new("qemu-img").args(args).output() {
        Ok(out) => {
            assert!(
                out.status.success(),
                "qemu-img {args:?}: {}{}",
                String::from_utf8_lossy(&out.stdout),
                String::from_utf8_lossy(&out.stderr)
            );
            true
        }
        Err(e) => {
            assert!(!required("RESEAL_ORACLES"), "RESEAL_ORACLES=require, but qemu-img does not run: {e}");
            println!("skipped: qemu-img does not run: {e}");
            false
        }
    }
}

fn guids() -> [Guid; 2] {
    [Guid([1; 16]), Guid([2; 16])]
}

fn options(fixed: bool, sector_size: u32) -> CreateVhdx {
    let (disk_id, write_guid) = (Guid([7; 16]), Guid([8; 16]));
    CreateVhdx { disk_len: 24 << 20, block_len: 2 << 20, sector_size, fixed, disk_id, write_guid }
}

fn create(path: &Path, options: &CreateVhdx) {
    let (head, len) = create_vhdx(options).unwrap();
    std::fs::write(path, head).unwrap();
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Writes a pattern that crosses blocks, commits, reopens; qemu-img sees the same disk.
#[test]
fn vhdx_written_by_us_is_read_by_qemu() {
    let dir = tempfile::tempdir().unwrap();
    for (fixed, sector) in [(false, 512), (true, 512), (false, 4096), (true, 4096)] {
        let (empty, out, raw) = (dir.path().join("e.vhdx"), dir.path().join("o.vhdx"), dir.path().join("o.raw"));
        for path in [&empty, &out, &raw] {
            let _ = std::fs::remove_file(path);
        }
        create(&empty, &options(fixed, sector));
        let before = std::fs::read(&empty).unwrap();
        let disk = Disk::open(&empty).unwrap();
        assert_eq!(disk.format(), if fixed { Format::VHDX_FIXED } else { Format::VHDX_DYNAMIC });
        assert_eq!(disk.sector_size(), Some(sector));
        let bytes = disk.bytes();
        let pattern: Vec<u8> = (0..5 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        bytes.write_at((3 << 20) + 12_345, &pattern).unwrap();
        bytes.write_at((24 << 20) - 3, b"end").unwrap();
        let mut expected = vec![0; 24 << 20];
        expected[(3 << 20) + 12_345..][..pattern.len()].copy_from_slice(&pattern);
        expected[(24 << 20) - 3..].copy_from_slice(b"end");
        std::fs::write(&raw, &expected).unwrap();
        disk.commit_to(&out, guids(), &|_, _| {}).unwrap();
        assert_eq!(std::fs::read(&empty).unwrap(), before, "the input changed");
        let mut back = vec![0; expected.len()];
        Disk::open(&out).unwrap().bytes().read_at(0, &mut back).unwrap();
        assert!(back == expected);
        let (out, raw) = (out.to_str().unwrap(), raw.to_str().unwrap());
        // QEMU does not read VHDX with 4 KiB logical sectors.
        if sector == 512 && qemu_img(&["check", "-q", out]) {
            qemu_img(&["compare", "-q", "-f", "vhdx", "-F", "raw", out, raw]);
        }
    }
}

#[test]
fn unchanged_session_changes_nothing_and_outputs_are_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (input, out) = (dir.path().join("i.vhdx"), dir.path().join("o.vhdx"));
    create(&input, &options(false, 512));
    Disk::open(&input).unwrap().commit_to(&out, guids(), &|_, _| {}).unwrap();
    assert_eq!(std::fs::read(&input).unwrap(), std::fs::read(&out).unwrap());
    let again = Disk::open(&input).unwrap().commit_to(&out, guids(), &|_, _| {});
    assert_eq!(again.unwrap_err().kind(), Kind::Conflict);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "a temporary file was left");
}

/// qemu-io holds the image open for writing, as a running VM would.
#[test]
fn an_image_that_qemu_writes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busy.raw");
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let child =
        Command::new("qemu-io").args(["-f", "raw", path.to_str().unwrap()]).stdin(std::process::Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        assert!(!required("RESEAL_ORACLES"), "RESEAL_ORACLES=require, but qemu-io does not run");
        println!("skipped: qemu-io does not run");
        return;
    };
    let refused = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Disk::open(&path).is_err_and(|e| e.kind() == Kind::Conflict)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(refused);
    Disk::open(&path).unwrap();
}

#[test]
fn gpt_mbr_and_bare_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.raw");
    for sector in [512u32, 4096] {
        std::fs::write(&path, vec![0; 8 << 20]).unwrap();
        let disk = Disk::open(&path).unwrap();
        let ty = Guid::parse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").unwrap();
        let part = GptPartition { ty, id: Guid([3; 16]), name: "Windows".into(), offset: 1 << 20, len: 6 << 20 };
        write_gpt(&*disk.bytes(), sector, Guid([9; 16]), &[part]).unwrap();
        let table = disk.partitions().unwrap();
        assert_eq!((table.scheme, table.disk_id, table.from_backup), (Scheme::Gpt, Guid([9; 16]), false));
        let p = &table.partitions[0];
        assert_eq!(
            (p.number, p.ty, p.name.as_str(), p.offset, p.len),
            (1, PartitionType::Gpt(ty), "Windows", 1 << 20, 6 << 20)
        );
        disk.bytes().write_at(u64::from(sector) + 20, &[0xff]).unwrap();
        let table = disk.partitions().unwrap();
        assert!(table.from_backup && table.partitions.len() == 1);
    }
    let mut mbr = vec![0; 8 << 20];
    let entry = |disk: &mut Vec<u8>, at: usize, ty: u8, first: u32, count: u32| {
        disk[at + 4] = ty;
        disk[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        disk[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    };
    entry(&mut mbr, 446, 7, 64, 100);
    entry(&mut mbr, 462, 0x0f, 1000, 4000);
    entry(&mut mbr, 1000 * 512 + 446, 7, 8, 50);
    entry(&mut mbr, 1000 * 512 + 462, 5, 2000, 500);
    entry(&mut mbr, 3000 * 512 + 446, 7, 8, 60);
    for sector in [0, 1000, 3000] {
        mbr[sector * 512 + 510..sector * 512 + 512].copy_from_slice(&[0x55, 0xaa]);
    }
    std::fs::write(&path, &mbr).unwrap();
    let table = Disk::open(&path).unwrap().partitions().unwrap();
    let found: Vec<_> = table.partitions.iter().map(|p| (p.number, p.offset / 512, p.len / 512)).collect();
    assert_eq!(found, [(1, 64, 100), (5, 1008, 50), (6, 3008, 60)]);
    // The chain points at itself.
    entry(&mut mbr, 3000 * 512 + 462, 5, 2000, 500);
    std::fs::write(&path, &mbr).unwrap();
    assert_eq!(Disk::open(&path).unwrap().partitions().unwrap_err().kind(), Kind::Damaged);
    let mut ntfs = vec![0; 4096];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    std::fs::write(&path, ntfs).unwrap();
    assert_eq!(Disk::open(&path).unwrap().partitions().unwrap().scheme, Scheme::Bare);
}

/// Files that Windows wrote read as qemu-img reads them.
#[test]
fn vhdx_written_by_windows() {
    let dir = tempfile::tempdir().unwrap();
    for (name, partitions) in [("ntfs-dynamic", 1), ("ntfs-fixed", 1), ("ntfs-parent", 1), ("fat-parent", 1)] {
        let Some(path) = real(&format!("deb_dfvfs_20240505/{name}.vhdx")) else { return };
        let disk = Disk::open(&path).unwrap();
        assert_eq!(disk.partitions().unwrap().partitions.len(), partitions, "{name}");
        let mut content = vec![0; disk.bytes().len() as usize];
        disk.bytes().read_at(0, &mut content).unwrap();
        let raw = dir.path().join("x.raw");
        std::fs::write(&raw, &content).unwrap();
        qemu_img(&["compare", "-q", "-f", "vhdx", "-F", "raw", path.to_str().unwrap(), raw.to_str().unwrap()]);
    }
}

/// QEMU's own test images: a dynamic one of Hyper-V, one of disk2vhd, and one with a dirty log.
#[test]
fn dirty_log_is_replayed_into_the_overlay() {
    let dir = tempfile::tempdir().unwrap();
    for (name, replays) in [("iotest-dynamic-1G", false), ("test-disk2vhd", false), ("iotest-dirtylog-10G-4M", true)] {
        let Some(packed) = real(&format!("deb_qemu_10.0.13/{name}.vhdx.bz2")) else { return };
        let path = dir.path().join(format!("{name}.vhdx"));
        let unpacked = Command::new("bzip2").args(["-dc", packed.to_str().unwrap()]).output().unwrap();
        assert!(unpacked.status.success());
        std::fs::write(&path, &unpacked.stdout).unwrap();
        let disk = Disk::open(&path).unwrap();
        assert_eq!(disk.replayed_log_entries() > 0, replays, "{name}");
        assert!(std::fs::read(&path).unwrap() == unpacked.stdout, "opening wrote to {name}");
        // QEMU repairs its own copy; then both read the same first 64 MiB, where the tests wrote.
        let copy = dir.path().join(format!("{name}-qemu.vhdx"));
        std::fs::copy(&path, &copy).unwrap();
        if !qemu_img(&["check", "-q", "-r", "all", copy.to_str().unwrap()]) {
            continue;
        }
        let repaired = Disk::open(&copy).unwrap();
        let (mut ours, mut theirs) = (vec![0; 64 << 20], vec![0; 64 << 20]);
        disk.bytes().read_at(0, &mut ours).unwrap();
        repaired.bytes().read_at(0, &mut theirs).unwrap();
        assert!(ours == theirs, "{name}");
    }
}

fn sample() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (empty, out) = (dir.path().join("e.vhdx"), dir.path().join("o.vhdx"));
    create(&empty, &CreateVhdx { disk_len: 3 << 20, block_len: 1 << 20, ..options(false, 512) });
    let disk = Disk::open(&empty).unwrap();
    disk.bytes().write_at((1 << 20) - 100, &[5; 200]).unwrap();
    disk.commit_to(&out, guids(), &|_, _| {}).unwrap();
    std::fs::read(out).unwrap()
}

type Fault = Box<dyn Fn(&mut Vec<u8>)>;

/// The faults that `qemu-img check` sees, and the two that it does not.
#[test]
fn seeded_faults_are_refused() {
    let good = sample();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.vhdx");
    let try_open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Disk::open(&path).and_then(|d| d.bytes().read_at(0, &mut vec![0; 3 << 20]))
    };
    try_open(&good).unwrap();
    let bat = 3 << 20;
    let faults: [(&str, Fault); 8] = [
        ("both headers", Box::new(|d| (d[0x10010] ^= 1, d[0x20010] ^= 1).0)),
        ("both region tables", Box::new(|d| (d[0x30010] ^= 1, d[0x40010] ^= 1).0)),
        ("blocks overlap", Box::new(move |d| d.copy_within(bat..bat + 8, bat + 8))),
        ("beyond the end", Box::new(move |d| d[bat..bat + 8].copy_from_slice(&((9999u64 << 20) | 6).to_le_bytes()))),
        ("over the log", Box::new(move |d| d[bat..bat + 8].copy_from_slice(&((1u64 << 20) | 6).to_le_bytes()))),
        ("partial without parent", Box::new(move |d| d[bat] = d[bat] & !7 | 7)),
        ("unknown state", Box::new(move |d| d[bat] = d[bat] & !7 | 5)),
        (
            "log in use, but empty",
            Box::new(|d| {
                for at in [0x10000, 0x20000] {
                    d[at + 48..at + 64].fill(0x11);
                    d[at + 4..at + 8].fill(0);
                    let sum = crc32c(&d[at..at + 4096]);
                    d[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
                }
            }),
        ),
    ];
    for (name, fault) in faults {
        let mut bytes = good.clone();
        fault(&mut bytes);
        assert_eq!(try_open(&bytes).expect_err(name).kind(), Kind::Damaged, "{name}");
    }
    for one in [0x10010, 0x20010, 0x30010] {
        let mut bytes = good.clone();
        bytes[one] ^= 1;
        try_open(&bytes).unwrap_or_else(|e| panic!("the twin at {one:#x} is whole: {e}"));
    }
}

/// Bit by bit, so that the test does not share the product's library.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut crc, byte| {
        crc ^= u32::from(*byte);
        (0..8).for_each(|_| crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 });
        crc
    })
}

/// Every truncation at 512-byte steps: an error or the right bytes, never a panic.
#[test]
fn truncations() {
    let good = sample();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.vhdx");
    std::fs::write(&path, &good).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for len in (0..good.len() as u64).step_by(512).collect::<Vec<_>>().into_iter().rev() {
        file.set_len(len).unwrap();
        if let Ok(disk) = Disk::open(&path) {
            let bytes = disk.bytes();
            let mut content = vec![0; bytes.len().min(3 << 20) as usize];
            let _ = bytes.read_at(0, &mut content);
            let _ = disk.partitions();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Single damaged bytes in the structures: never a panic.
    #[test]
    fn damage_never_panics(region in 0usize..5, at in 0usize..2000, value: u8) {
        let mut bytes = sample();
        let base = [0x10000, 0x20000, 0x30000, 2 << 20, 3 << 20][region];
        bytes[base + at] = value;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.vhdx");
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(disk) = Disk::open(&path) {
            let bytes = disk.bytes();
            let mut content = vec![0; bytes.len().min(3 << 20) as usize];
            let _ = bytes.read_at(0, &mut content);
            let _ = bytes.write_at(10, b"x");
        }
    }

    /// The overlay behaves as a plain byte array.
    #[test]
    fn overlay_is_a_byte_array(writes in proptest::collection::vec((0u64..40_000, proptest::collection::vec(any::<u8>(), 0..9000)), 1..20)) {
        let dir = tempfile::tempdir().unwrap();
        let (path, out) = (dir.path().join("a.raw"), dir.path().join("b.raw"));
        let mut model: Vec<u8> = (0..50_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &model).unwrap();
        let disk = Disk::open(&path).unwrap();
        for (offset, data) in writes {
            disk.bytes().write_at(offset, &data).unwrap();
            model[offset as usize..][..data.len()].copy_from_slice(&data);
        }
        disk.commit_to(&out, guids(), &|_, _| {}).unwrap();
        prop_assert!(std::fs::read(out).unwrap() == model);
    }
}

#[test]
fn holes_read_as_zero_and_are_known() {
    let dir = tempfile::tempdir().unwrap();
    for fixed in [None, Some(true), Some(false)] {
        let path = dir.path().join(format!("{fixed:?}"));
        match fixed {
            None => std::fs::File::create(&path).unwrap().set_len(24 << 20).unwrap(),
            Some(fixed) => create(&path, &options(fixed, 512)),
        }
        let bytes = Disk::open(&path).unwrap().bytes();
        // The file system of the test may have no holes; then none is known.
        let knows = bytes.is_hole(4 << 20, 1 << 20);
        assert!(knows || fixed != Some(false), "an absent block is a hole on any file system");
        bytes.write_at((5 << 20) + 4096, b"x").unwrap();
        assert!(!bytes.is_hole(5 << 20, 1 << 20));
        assert_eq!(bytes.is_hole(6 << 20, 1 << 20), knows, "{fixed:?}");
        assert!(!bytes.is_hole((24 << 20) - 4096, 8192), "what lies behind the end is none");
        let mut all = vec![1; 24 << 20];
        bytes.read_at(0, &mut all).unwrap();
        for (mib, piece) in all.chunks(1 << 20).enumerate() {
            assert!(!bytes.is_hole((mib as u64) << 20, 1 << 20) || piece.iter().all(|b| *b == 0), "{fixed:?} {mib}");
        }
    }
}
