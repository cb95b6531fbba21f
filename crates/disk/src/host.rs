//! The host file that holds an image: opened for reading, locked against writers, never changed.

use reseal_dtyp::{Error, Kind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// An image file on the host, opened read-only.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl HostFile {
    /// Opens and locks `path`. `Conflict` when another program has the image open for writing, QEMU included.
    pub(crate) fn open(path: &Path) -> Result<HostFile> {
        let context = |e| Error::io(format!("cannot open {}", path.display()), e);
        let file = File::open(path).map_err(context)?;
        let metadata = file.metadata().map_err(context)?;
        if !metadata.is_file() {
            return Err(Error::unsupported(format!("{} is not a regular file", path.display())));
        }
        lock(&file, path)?;
        Ok(HostFile { file, path: path.to_owned(), len: metadata.len() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Length when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` from `offset`; what lies behind the end of the file reads as zero.
    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let inside = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        read_exact_at(&self.file, offset, &mut buf[..inside]).map_err(|e| {
            Error::io(format!("cannot read {inside} bytes at {offset:#x} of {}", self.path.display()), e)
        })?;
        buf[inside..].fill(0);
        Ok(())
    }
}

#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buf, offset)
}

#[cfg(unix)]
pub(crate) fn write_all_at(file: &File, offset: u64, data: &[u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, data, offset)
}

#[cfg(windows)]
pub(crate) fn read_exact_at(file: &File, mut offset: u64, mut buf: &mut [u8]) -> std::io::Result<()> {
    while !buf.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, buf, offset)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        offset += n as u64;
        buf = &mut buf[n..];
    }
    Ok(())
}

#[cfg(windows)]
pub(crate) fn write_all_at(file: &File, mut offset: u64, mut data: &[u8]) -> std::io::Result<()> {
    while !data.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_write(file, data, offset)?;
        offset += n as u64;
        data = &data[n..];
    }
    Ok(())
}

/// Takes the locks that QEMU's `file` driver takes for a reader that wants the image to stay as it is
/// (docs of `block/file-posix.c`: byte 100 + p is held while permission p is used, byte 200 + p while it is not shared).
#[cfg(target_os = "linux")]
fn lock(file: &File, path: &Path) -> Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    const READ: i64 = 0;
    const WRITE: i64 = 1;
    const RESIZE: i64 = 3;
    let byte = |kind, start| libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: 1,
        l_pid: 0,
    };
    for wanted in [100 + READ, 200 + WRITE, 200 + RESIZE] {
        // A file system without locks (some network mounts) cannot be in use by QEMU under locks either.
        if fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_RDLCK, wanted))).is_err() {
            return Ok(());
        }
    }
    for held in [100 + WRITE, 100 + RESIZE] {
        let mut probe = byte(libc::F_WRLCK, held);
        let free =
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe)).is_ok() && probe.l_type == libc::F_UNLCK as libc::c_short;
        if !free {
            let detail = format!("{} is open for writing in another program (a running VM?)", path.display());
            return Err(Error::new(Kind::Conflict, detail));
        }
    }
    Ok(())
}

/// Elsewhere the whole file is locked for shared use, which Windows enforces against writers by itself.
#[cfg(not(target_os = "linux"))]
fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock_shared()
        .map_err(|_| Error::new(Kind::Conflict, format!("{} is locked by another program", path.display())))
}
