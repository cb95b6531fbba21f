//! Every NTFS volume of the real data: where it lies and what is known of it.

use super::image::Image;
use super::raw::{u16_at, u64_at};
use memchr::memmem;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// What is known of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// In order: read as ntfs-3g reads it, and survives every operation.
    Sound,
    /// Damaged on purpose or by accident; the rules of the checker that find it, all of them and no others.
    Damaged(&'static [&'static str]),
    /// Not opened; part of the reason.
    Refused(&'static str),
    /// A boot sector, with or without a few records: no volume. What there is.
    Fragment(&'static str),
}

/// A volume of the real data.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// The file in the real data.
    pub path: &'static str,
    /// Serial number of the boot sector.
    pub serial: u64,
    /// Byte offset of the volume in the disk that the file holds.
    pub at: u64,
    pub what: What,
}

const fn known(path: &'static str, serial: u64, at: u64, what: What) -> Known {
    Known { path, serial, at, what }
}

pub mod table;

/// A real volume in a temporary file of its own.
pub struct Unpacked {
    pub folder: tempfile::TempDir,
    pub image: PathBuf,
}

impl Unpacked {
    /// The volume as storage; what is written stays in memory.
    pub fn storage(&self) -> Image {
        Image::open(&self.image, 0).unwrap()
    }
}

/// The compressions and containers that are told by their first bytes, with the program that unpacks each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shell {
    Gzip,
    Bzip2,
    Xz,
    Zip,
    SevenZip,
    Tar,
    Qcow,
    /// A dynamic VHD, or a VHDX: blocks of the disk as they are, in another order.
    Disk,
}

impl Shell {
    fn of(path: &Path) -> Option<Shell> {
        let mut head = Vec::new();
        File::open(path).unwrap().take(512).read_to_end(&mut head).unwrap();
        let starts = |magic: &[u8]| head.starts_with(magic);
        Some(match () {
            () if starts(&[0x1f, 0x8b]) => Shell::Gzip,
            () if starts(b"BZh") => Shell::Bzip2,
            () if starts(b"\xfd7zXZ\0") => Shell::Xz,
            () if starts(b"PK\x03\x04") => Shell::Zip,
            () if starts(b"7z\xbc\xaf\x27\x1c") => Shell::SevenZip,
            () if head.get(257..262) == Some(b"ustar") => Shell::Tar,
            () if starts(b"QFI\xfb") => Shell::Qcow,
            () if starts(b"conectix") || starts(b"vhdxfile") => Shell::Disk,
            () => return None,
        })
    }
}

/// Runs a program with its output into a file.
fn into_file(program: &str, args: &[&str], out: &Path) -> Option<()> {
    let (good, text) =
        super::run("sh", &[&["-c", "out=$0; \"$@\" > \"$out\"", out.to_str().unwrap(), program], args].concat())?;
    assert!(good, "{program} {args:?}: {text}");
    Some(())
}

/// The only archive that no common program unpacks. It was looked into by hand: a change journal of 39,547,456 bytes, and no boot
/// sector in it.
const CHANGE_JOURNAL: &str = "APTSimulatorVMJ.7z";

/// Unpacks a file of one layer into a folder; gives what was in it.
fn peel(source: &Path, shell: Shell, folder: &Path) -> Option<Vec<PathBuf>> {
    let (from, into) = (source.to_str().unwrap(), folder.to_str().unwrap());
    let out = folder.join("unpacked");
    match shell {
        Shell::Gzip => into_file("gzip", &["-dc", from], &out)?,
        Shell::Bzip2 => into_file("bzip2", &["-dc", from], &out)?,
        Shell::Xz => into_file("xz", &["-dc", from], &out)?,
        Shell::Tar => require("tar", &["--sparse", "-xf", from, "-C", into])?,
        Shell::Zip => require("python3", &["-m", "zipfile", "-e", from, into])?,
        Shell::Qcow | Shell::Disk => require("qemu-img", &["convert", "-O", "raw", from, out.to_str().unwrap()])?,
        Shell::SevenZip => {
            assert!(from.ends_with(CHANGE_JOURNAL), "{from}: nothing here unpacks it");
            return Some(Vec::new());
        }
    }
    let mut files = Vec::new();
    files_below(folder, &mut files);
    Some(files)
}

/// `None` when the program is not here; fails when it fails.
fn require(program: &str, args: &[&str]) -> Option<()> {
    let (good, text) = super::run(program, args)?;
    assert!(good, "{program} {args:?}: {text}");
    Some(())
}

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let kind = std::fs::symlink_metadata(&path).unwrap();
        if kind.is_dir() {
            files_below(&path, out);
        } else if kind.is_file() {
            out.push(path);
        }
    }
}

impl Known {
    /// A short name, and different from those of all others.
    pub fn name(&self) -> String {
        let text = self.path.replace("ntfs.img", "");
        text.trim_end_matches(".tar.gz").trim_end_matches(".tar.xz").trim_end_matches('/').to_owned()
    }

    /// Puts the volume alone into a temporary file; `None` when a program for that is missing.
    pub fn unpack(&self, data: &Path) -> Option<Unpacked> {
        let folder = tempfile::tempdir().unwrap();
        let mut image = data.join(self.path);
        for layer in 0.. {
            let Some(shell) = Shell::of(&image) else { break };
            let into = folder.path().join(format!("layer {layer}"));
            std::fs::create_dir(&into).unwrap();
            let mut found = peel(&image, shell, &into)?;
            assert_eq!(found.len(), 1, "{}: {found:?}", self.path);
            image = found.remove(0);
        }
        let own = folder.path().join("volume");
        copy_volume(&image, self.at, &own)?;
        Some(Unpacked { folder, image: own })
    }
}

/// Copies a volume from its boot sector to the backup behind its last sector, or to the end of the file; holes stay holes.
fn copy_volume(disk: &Path, at: u64, out: &Path) -> Option<()> {
    let mut sector = [0; 512];
    File::open(disk).unwrap().read_exact_at(&mut sector, at).unwrap();
    let size = (u64_at(&sector, 0x28) + 1) * u16_at(&sector, 0x0b) as u64;
    let (from, to) = (disk.to_str().unwrap(), out.to_str().unwrap());
    if at == 0 {
        // It knows where holes are; some volumes have 500 GB of them.
        require("cp", &["--sparse=always", from, to])?;
    } else {
        let words = [format!("skip={at}"), format!("count={size}"), format!("if={from}"), format!("of={to}")];
        let args = ["bs=1M", "conv=sparse", "iflag=skip_bytes,count_bytes", "status=none"];
        require("dd", &[&args[..], &words.each_ref().map(String::as_str)].concat())?;
    }
    let copy = File::options().write(true).open(out).unwrap();
    copy.set_len(size.min(std::fs::metadata(disk).unwrap().len() - at)).unwrap();
    Some(())
}

/// Adds the serial numbers of all NTFS boot sectors that a file holds, whatever it is packed in. `None` when a program is
/// missing.
pub fn boot_sectors(path: &Path, found: &mut BTreeSet<u64>) -> Option<()> {
    search(path, found);
    let Some(shell) = Shell::of(path) else { return Some(()) };
    // What a tar archive and a disk image hold lies in them as it is, and without the holes; qcow2 may compress it.
    if matches!(shell, Shell::Tar | Shell::Disk) {
        return Some(());
    }
    let folder = tempfile::tempdir().unwrap();
    for inner in peel(path, shell, folder.path())? {
        boot_sectors(&inner, found)?;
    }
    Some(())
}

/// Looks for boot sectors at every byte of a file.
fn search(path: &Path, found: &mut BTreeSet<u64>) {
    const PIECE: usize = 8 << 20;
    let mut file = File::open(path).unwrap();
    let mut window = Vec::new();
    loop {
        let got = (&mut file).take(PIECE as u64).read_to_end(&mut window).unwrap();
        for hit in memmem::find_iter(&window, b"NTFS    ") {
            let sector = hit.checked_sub(3).and_then(|start| window.get(start..start + 512));
            if let Some(sector) = sector.filter(|s| s[510..] == [0x55, 0xaa]) {
                found.insert(u64_at(sector, 0x48));
            }
        }
        if got == 0 {
            return;
        }
        // A sector that is cut off here is whole in the next window.
        let keep = window.len().min(511);
        window.drain(..window.len() - keep);
    }
}
