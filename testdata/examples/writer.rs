//! One job on a volume: `writer direct JOB VOLUME` by this project's writer straight into the file, which is synchronized in
//! the end; `writer in-place JOB VOLUME` by a commit in place, with its journal; `writer mounted JOB FOLDER` through a mount.
//!
//! Jobs: `fill` makes what the others work on; `create` 1,000 files of 4 KiB in one folder; `delete` them; `tree` deletes
//! 100 folders of 100 files; `replace` gives a file of 60 MB new content.
#![allow(clippy::print_stderr, reason = "a developer's tool talks")]

use reseal_disk::{Disk, InPlace, ReadAt, WriteAt};
use reseal_dtyp::{Error, FileTime, Guid, Result};
use reseal_ntfs::{FileReference, Security, Volume};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

const FILES: usize = 1000;
const FOLDERS: usize = 100;
const PER_FOLDER: usize = 100;
const LARGE: usize = 60 << 20;

fn content(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 7) as u8 ^ seed as u8).collect()
}

fn name(i: usize) -> String {
    format!("a rather long file name number {i:05}.dat")
}

/// The two ways to work on a volume.
trait Target {
    fn make_dir(&mut self, path: &str) -> Result<()>;
    fn write(&mut self, folder: &str, name: &str, data: &[u8]) -> Result<()>;
    fn remove_all(&mut self, path: &str) -> Result<()>;
}

struct Ours {
    volume: Volume,
    now: FileTime,
}

impl Ours {
    fn at(&self, path: &str) -> Result<FileReference> {
        self.volume.resolve(path)?.ok_or_else(|| Error::not_found(path))
    }
}

impl Target for Ours {
    fn make_dir(&mut self, path: &str) -> Result<()> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.volume.create_dir(self.at(parent)?, name, Security::Inherit, self.now).map(drop)
    }

    fn write(&mut self, folder: &str, name: &str, data: &[u8]) -> Result<()> {
        let folder = self.at(folder)?;
        let units: Vec<u16> = name.encode_utf16().collect();
        match self.volume.lookup(folder, &units)? {
            Some(file) => self.volume.replace(file, &[], data, self.now),
            None => self.volume.create_file(folder, name, data, Security::Inherit, self.now).map(drop),
        }
    }

    fn remove_all(&mut self, path: &str) -> Result<()> {
        self.volume.remove_tree(self.at(path)?, self.now).map(drop)
    }
}

struct Mounted<'a>(&'a Path);

fn io(e: std::io::Error) -> Error {
    Error::io("the mounted volume", e)
}

impl Target for Mounted<'_> {
    fn make_dir(&mut self, path: &str) -> Result<()> {
        std::fs::create_dir(self.0.join(path)).map_err(io)
    }

    fn write(&mut self, folder: &str, name: &str, data: &[u8]) -> Result<()> {
        std::fs::write(self.0.join(folder).join(name), data).map_err(io)
    }

    fn remove_all(&mut self, path: &str) -> Result<()> {
        std::fs::remove_dir_all(self.0.join(path)).map_err(io)
    }
}

fn work(target: &mut dyn Target, job: &str) -> Result<()> {
    match job {
        "fill" => {
            target.make_dir("many")?;
            (0..FILES).try_for_each(|i| target.write("many", &name(i), &content(i, 4096)))?;
            target.make_dir("tree")?;
            for folder in 0..FOLDERS {
                let path = format!("tree/{}", name(folder));
                target.make_dir(&path)?;
                (0..PER_FOLDER).try_for_each(|i| target.write(&path, &name(i), &content(i, 1500)))?;
            }
            target.make_dir("hive")?;
            target.write("hive", "SOFTWARE", &content(1, LARGE))
        }
        "create" => {
            target.make_dir("new")?;
            (0..FILES).try_for_each(|i| target.write("new", &name(i), &content(i, 4096)))
        }
        "delete" => target.remove_all("many"),
        "tree" => target.remove_all("tree"),
        "replace" => target.write("hive", "SOFTWARE", &content(2, LARGE)),
        other => Err(Error::unsupported(format!("no such job: {other}"))),
    }
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [how, job, place] = args.as_slice() else {
        eprintln!("writer (direct | in-place | mounted) JOB PLACE");
        return 2.into();
    };
    let place = Path::new(place);
    let done = match how.as_str() {
        "direct" => direct(job, place),
        "in-place" => in_place(job, place),
        _ => work(&mut Mounted(place), job),
    };
    match done {
        Ok(()) => 0.into(),
        Err(e) => {
            eprintln!("{e}");
            1.into()
        }
    }
}

/// A file that is written as it comes.
#[derive(Debug)]
struct Direct(File, u64);

impl ReadAt for Direct {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_exact_at(buf, offset).map_err(|e| Error::io("the volume", e))
    }

    fn len(&self) -> u64 {
        self.1
    }
}

impl WriteAt for Direct {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.0.write_all_at(data, offset).map_err(|e| Error::io("the volume", e))
    }
}

fn ours(storage: Arc<dyn WriteAt>, job: &str) -> Result<()> {
    let volume = Volume::open(storage)?;
    work(&mut Ours { volume, now: FileTime::from_unix(1_700_000_000) }, job)
}

/// As safe as a mount: after a crash the volume is what it is.
fn direct(job: &str, place: &Path) -> Result<()> {
    let file = File::options().read(true).write(true).open(place).map_err(|e| Error::io("the volume", e))?;
    let len = file.metadata().map_err(|e| Error::io("the volume", e))?.len();
    let storage = Arc::new(Direct(file, len));
    ours(Arc::clone(&storage) as Arc<dyn WriteAt>, job)?;
    storage.0.sync_all().map_err(|e| Error::io("the volume", e))
}

/// Journal and synchronizations included.
fn in_place(job: &str, place: &Path) -> Result<()> {
    let disk = Disk::open_for_writing(place)?;
    ours(disk.bytes(), job)?;
    let how = InPlace { marks: &[3], ..InPlace::default() };
    disk.commit_in_place(how, [Guid::NIL; 2], &|_, _| {}).map(drop)
}
