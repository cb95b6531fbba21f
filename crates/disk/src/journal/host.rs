//! The host's file system as [`Media`].

use super::{Media, Name};
use crate::host::{Access, HostFile, read_exact_at, write_all_at};
use reseal_dtyp::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// An image file or block device, opened and locked for writing, and the folder of its journal.
#[derive(Debug)]
pub struct HostMedia {
    image: File,
    is_device: bool,
    path: PathBuf,
    folder: PathBuf,
    /// The image's own name, before the suffixes.
    stem: std::ffi::OsString,
    temporary: Option<File>,
    /// The file that was read last.
    reading: Mutex<Option<(Name, File)>>,
}

impl HostMedia {
    /// Opens and locks an image. Its journal lies beside it, or in `journal_folder`, which a block device needs.
    ///
    /// `Conflict` when another program uses the image, `Unsupported` for a block device without a folder.
    pub fn open(path: &Path, journal_folder: Option<&Path>) -> Result<HostMedia> {
        HostMedia::of(&HostFile::open(path, Access::Write)?, journal_folder)
    }

    pub(crate) fn of(host: &HostFile, journal_folder: Option<&Path>) -> Result<HostMedia> {
        let context = |e| Error::io(format!("cannot use {}", host.path().display()), e);
        let image = host.file().try_clone().map_err(context)?;
        let path = std::fs::canonicalize(host.path()).map_err(context)?;
        let stem = path.file_name().unwrap_or_default().to_owned();
        let folder = match journal_folder {
            Some(folder) => folder.to_owned(),
            None if host.is_device() => {
                let detail = format!("{} is a block device: name a folder for its journal", path.display());
                return Err(Error::unsupported(detail));
            }
            None => path.parent().unwrap_or(Path::new("/")).to_owned(),
        };
        Ok(HostMedia {
            image,
            is_device: host.is_device(),
            path,
            folder,
            stem,
            temporary: None,
            reading: Mutex::default(),
        })
    }

    /// Where a file lies, if it is there.
    pub fn path_of(&self, name: Name) -> PathBuf {
        beside(&self.folder, &self.stem, name)
    }

    fn failed(&self, what: &str, name: Name) -> impl Fn(std::io::Error) -> Error + use<> {
        let text = format!("cannot {what} {}", self.path_of(name).display());
        move |e| error(&text, e)
    }

    fn image_failed(&self, what: &str) -> impl Fn(std::io::Error) -> Error + use<> {
        let text = format!("cannot {what} {}", self.path.display());
        move |e| error(&text, e)
    }
}

fn beside(folder: &Path, stem: &std::ffi::OsStr, name: Name) -> PathBuf {
    let mut file = stem.to_owned();
    file.push(name.suffix());
    folder.join(file)
}

fn error(text: &str, e: std::io::Error) -> Error {
    let kind = if e.kind() == std::io::ErrorKind::StorageFull { Kind::NoSpace } else { Kind::Io };
    if kind == Kind::NoSpace { Error::new(kind, format!("{text}: {e}")) } else { Error::io(text, e) }
}

/// Fails with kind `Interrupted` when an undecided image is found: one with a journal beside it.
pub(crate) fn interrupted(path: &Path) -> Result<()> {
    // A path that cannot be followed is for the opening to report.
    let Ok(path) = std::fs::canonicalize(path) else { return Ok(()) };
    let (Some(folder), Some(stem)) = (path.parent(), path.file_name()) else { return Ok(()) };
    for name in [Name::Journal, Name::Rollback] {
        let journal = beside(folder, stem, name);
        if journal.symlink_metadata().is_ok() {
            let detail = format!("an interrupted commit lies beside the image: {}", journal.display());
            return Err(Error::new(Kind::Interrupted, detail));
        }
    }
    Ok(())
}

impl Media for HostMedia {
    fn image_len(&self) -> Result<u64> {
        crate::host::len_of(&self.image, self.is_device).map_err(self.image_failed("measure"))
    }

    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read_exact_at(&self.image, offset, buf).map_err(self.image_failed("read"))
    }

    fn write_image(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        write_all_at(&self.image, offset, data).map_err(self.image_failed("write"))
    }

    fn reserve_image(&mut self, offset: u64, len: u64) -> Result<()> {
        #[cfg(target_os = "linux")]
        if !self.is_device {
            use rustix::fs::{FallocateFlags, fallocate};
            use rustix::io::Errno;
            return match fallocate(&self.image, FallocateFlags::KEEP_SIZE, offset, len) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
                Err(e) => Err(self.image_failed("make room in")(e.into())),
            };
        }
        let _ = (offset, len);
        Ok(())
    }

    fn set_image_len(&mut self, len: u64) -> Result<()> {
        self.image.set_len(len).map_err(self.image_failed("change the length of"))
    }

    fn sync_image(&mut self) -> Result<()> {
        self.image.sync_all().map_err(self.image_failed("make durable"))
    }

    fn exists(&self, name: Name) -> Result<bool> {
        match self.path_of(name).symlink_metadata() {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(self.failed("look for", name)(e)),
        }
    }

    fn create_temporary(&mut self) -> Result<()> {
        self.reading = Mutex::default();
        let path = self.path_of(Name::Temporary);
        let _ = std::fs::remove_file(&path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // It holds what the image holds: secrets.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        self.temporary = Some(options.open(&path).map_err(self.failed("make", Name::Temporary))?);
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> Result<()> {
        let failed = self.failed("write", Name::Temporary);
        let Some(file) = &mut self.temporary else { return Err(Error::not_found("no temporary file was made")) };
        file.write_all(data).map_err(failed)
    }

    fn sync_temporary(&mut self) -> Result<()> {
        let Some(file) = self.temporary.take() else { return Err(Error::not_found("no temporary file was made")) };
        file.sync_all().map_err(self.failed("make durable", Name::Temporary))
    }

    fn file_len(&self, name: Name) -> Result<u64> {
        let metadata = std::fs::metadata(self.path_of(name)).map_err(self.failed("measure", name))?;
        Ok(metadata.len())
    }

    fn read_file(&self, name: Name, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &*reading {
            Some((open, file)) if *open == name => file,
            _ => {
                let file = File::open(self.path_of(name)).map_err(self.failed("open", name))?;
                &reading.insert((name, file)).1
            }
        };
        read_exact_at(file, offset, buf).map_err(self.failed("read", name))
    }

    fn rename(&mut self, from: Name, to: Name) -> Result<()> {
        self.reading = Mutex::default();
        std::fs::rename(self.path_of(from), self.path_of(to)).map_err(self.failed("rename", from))
    }

    fn remove(&mut self, name: Name) -> Result<()> {
        self.reading = Mutex::default();
        std::fs::remove_file(self.path_of(name)).map_err(self.failed("remove", name))
    }

    fn sync_folder(&mut self) -> Result<()> {
        if cfg!(unix) {
            let context = |e| error(&format!("cannot make the names in {} durable", self.folder.display()), e);
            File::open(&self.folder).and_then(|f| f.sync_all()).map_err(context)?;
        }
        Ok(())
    }
}
