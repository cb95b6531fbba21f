//! The `vhdx` crate reads disks that we wrote.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

use reseal_disk::Disk;
use reseal_dtyp::Guid;
use reseal_testdata::{Container, ImageBuilder, WindowsImage};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

fn ours(path: &Path) -> Vec<u8> {
    let disk = Disk::open(path).unwrap().bytes();
    let mut out = vec![0; disk.len() as usize];
    disk.read_at(0, &mut out).unwrap();
    out
}

/// Reads the disk as the crate sees it. It opens the file for writing and panics behind the end, so it gets a copy and a length.
fn theirs(path: &Path, len: usize) -> Vec<u8> {
    let copy = path.with_extension("copy");
    std::fs::copy(path, &copy).unwrap();
    let mut disk = vhdx::Vhdx::load(&copy);
    let mut reader = disk.reader();
    reader.seek(SeekFrom::Start(0)).unwrap();
    let mut out = vec![0; len];
    reader.read_exact(&mut out).unwrap();
    out
}

/// Writes into every block through the overlay and commits, so that blocks are allocated behind the end of the file.
fn changed(path: &Path, out: &Path) {
    let disk = Disk::open(path).unwrap();
    let bytes = disk.bytes();
    for at in (40 << 20..bytes.len() - 4096).step_by(5 << 20) {
        bytes.write_at(at + 511, &at.to_le_bytes()).unwrap();
    }
    drop(bytes);
    disk.commit_to(out, [Guid([8; 16]), Guid([9; 16])], &|_, _| {}).unwrap();
}

#[test]
fn fixed_and_dynamic() {
    for fixed in [false, true] {
        for sector_size in [512, 4096] {
            let dir = tempfile::tempdir().unwrap();
            let (first, second) = (dir.path().join("first.vhdx"), dir.path().join("second.vhdx"));
            let builder = ImageBuilder { container: Container::Vhdx { fixed }, sector_size, ..ImageBuilder::default() };
            let image = WindowsImage { files: 50, ..WindowsImage::default() };
            builder.build(&first, |volume| image.fill(volume)).unwrap();
            changed(&first, &second);
            for path in [&first, &second] {
                let ours = ours(path);
                assert!(ours.iter().any(|b| *b != 0));
                assert!(theirs(path, ours.len()) == ours, "fixed {fixed}, sectors of {sector_size}: another content");
            }
            assert_ne!(ours(&first), ours(&second));
        }
    }
}
