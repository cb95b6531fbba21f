//! What the tests share: blank volumes, a random source, independent programs as witnesses.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod alike;
pub mod finer;
pub mod image;
pub mod kernel;
pub mod ntfs_3g;
pub mod raw;
pub mod spill;
pub mod volumes;

use reseal_disk::{MemoryDisk, ReadAt, WriteAt};
use reseal_dtyp::{FileTime, Finding, Level, Result};
use reseal_ntfs::{Security, Volume};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A fixed time for all that the tests write.
pub const NOW: FileTime = FileTime(133_500_000_000_000_000);

/// Whether a missing program is a failure.
fn required() -> bool {
    std::env::var("RESEAL_ORACLES").is_ok_and(|v| v == "require")
}

/// Runs a program; `None` when it is not installed, which is printed, or a failure where oracles are required.
pub fn run(program: &str, args: &[&str]) -> Option<(bool, String)> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    match Command::new(program).args(args).env("PATH", path).env("LC_ALL", "C").output() {
        Ok(out) => {
            let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            Some((out.status.success(), text))
        }
        Err(error) => {
            assert!(!required(), "{program} is required and cannot be run: {error}");
            println!("skipped: {program} cannot be run: {error}");
            None
        }
    }
}

/// A fresh volume made by mkntfs with further options; `None` when mkntfs is not installed.
pub fn blank(mib: u64, options: &[&str]) -> Option<Arc<MemoryDisk>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(mib << 20).unwrap();
    let mut args = vec!["-F", "-Q", "-q", "-L", "rig"];
    args.extend_from_slice(options);
    args.push(file.path().to_str().unwrap());
    let (good, text) = run("mkntfs", &args)?;
    assert!(good, "mkntfs {args:?}: {text}");
    Some(Arc::new(MemoryDisk::new(std::fs::read(file.path()).unwrap())))
}

/// Writes a disk to a sparse temporary file.
pub fn save(disk: &MemoryDisk) -> tempfile::NamedTempFile {
    let bytes = disk.to_vec();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes.len() as u64).unwrap();
    for (index, part) in bytes.chunks(64 << 10).enumerate() {
        if part.iter().any(|&b| b != 0) {
            file.seek(SeekFrom::Start((index * (64 << 10)) as u64)).unwrap();
            file.write_all(part).unwrap();
        }
    }
    file
}

/// Asks the independent programs whether a volume is in order.
pub fn witnesses(disk: &MemoryDisk) {
    let file = save(disk);
    let path = file.path().to_str().unwrap();
    for (program, args) in [("ntfsresize", &["-i", "-f"][..]), ("ntfssecaudit", &["-a"][..]), ("ntfsfix", &["-n"][..])]
    {
        let args: Vec<&str> = args.iter().copied().chain([path]).collect();
        if let Some((good, text)) = run(program, &args) {
            // What keeps it from making the volume smaller is said when all has been checked, and is no fault of the volume.
            let only_resizing = ["ERROR: Volume is full.", "ERROR: Highly fragmented $Bitmap isn't supported yet."];
            if program == "ntfsresize" && only_resizing.iter().any(|t| text.contains(t)) {
                assert!(text.contains("Accounting clusters"), "{text}");
                assert!(!text.contains("ccounting failed") && !text.contains("Corrupt"), "{text}");
                continue;
            }
            assert!(good, "{program}: {text}");
            assert!(!text.contains("Corrupt") && !text.contains("ERROR"), "{program}: {text}");
        }
    }
}

/// The content of a file as ntfscat reads it.
pub fn ntfscat(image: &Path, file: &str) -> Option<Vec<u8>> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let out = Command::new("ntfscat").args(["-f", image.to_str().unwrap(), file]).env("PATH", path).output();
    match out {
        Ok(out) if out.status.success() => Some(out.stdout),
        Ok(out) => panic!("ntfscat {file}: {}", String::from_utf8_lossy(&out.stderr)),
        Err(error) => {
            assert!(!required(), "ntfscat is required: {error}");
            None
        }
    }
}

/// Leaves `holes` free places of one cluster (two of 512 bytes), none beside another, and nothing else: files of that size in folder `holes`, every
/// other one removed, and a file `filler` over all other free clusters but `spare` ones. Returns the bytes of a place.
pub fn fragment(volume: &mut Volume, holes: usize, spare: u64) -> usize {
    let cluster = volume.info().cluster_size as usize;
    // Less would lie in the file record, which has 4 KiB on disks with such sectors.
    let unit = cluster.max(1024);
    let root = volume.root();
    let folder = volume.create_dir(root, "holes", Security::Inherit, NOW).unwrap();
    let security = Security::SameAs(folder);
    let files: Vec<_> = (0..2 * holes)
        .map(|i| volume.create_file(folder, &format!("H{i}"), &vec![0x5a; unit], security, NOW).unwrap())
        .collect();
    let left = volume.free_clusters().unwrap().saturating_sub(spare + 16);
    volume.create_file(root, "filler", &vec![1; left as usize * cluster], Security::Inherit, NOW).unwrap();
    files.iter().step_by(2).for_each(|&file| volume.remove(file, NOW).unwrap());
    unit
}

/// Opens a volume in memory.
pub fn open(disk: &Arc<MemoryDisk>) -> Volume {
    let storage: Arc<dyn WriteAt> = disk.clone();
    Volume::open(storage).unwrap()
}

/// A disk that counts how often it is written to.
pub struct Watched {
    disk: Arc<MemoryDisk>,
    writes: AtomicUsize,
}

impl Watched {
    pub fn new(disk: &Arc<MemoryDisk>) -> Arc<Watched> {
        Arc::new(Watched { disk: disk.clone(), writes: AtomicUsize::new(0) })
    }

    pub fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }
}

impl ReadAt for Watched {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.disk.read_at(offset, buf)
    }
}

impl WriteAt for Watched {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.disk.write_at(offset, data)
    }
}

/// Findings that are more than notes.
pub fn faults(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|f| f.level > Level::Note).collect()
}

/// Fails unless the checker finds nothing but notes.
pub fn assert_sound(volume: &Volume, context: &str) {
    let found = faults(volume.check().unwrap());
    assert!(found.is_empty(), "{context}: {found:#?}");
}

/// RESEAL_SOAK multiplies the rounds of random tests, and makes their random sources start elsewhere.
pub fn soak() -> usize {
    std::env::var("RESEAL_SOAK").ok().and_then(|v| v.parse().ok()).unwrap_or(1)
}

/// A small repeatable random source (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

/// The folder with unpacked real data; `None` when it is absent, which is printed, or a failure where it is required.
pub fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("RESEAL_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/real"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(!std::env::var("RESEAL_REAL").is_ok_and(|v| v == "require"), "real data is required: {}", folder.display());
    println!("skipped: no real data in {}", folder.display());
    None
}
