//! The host file that holds an image: opened and locked.

use reseal_dtyp::{Error, Kind, Result};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// An image file or block device on the host. It is written by a commit in place only, whatever it was opened for.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    path: PathBuf,
    len: u64,
    is_device: bool,
}

/// What an image is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Others may read, nobody may write.
    Read,
    /// Nobody else may use it.
    Write,
    /// Others may do what they like: only what stands in its head is looked at.
    Look,
}

impl HostFile {
    /// Opens and locks `path`. `Conflict` when another program has the image open in a way that contradicts `access`, QEMU
    /// included, or has the block device mounted.
    pub(crate) fn open(path: &Path, access: Access) -> Result<HostFile> {
        let context = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::ResourceBusy => in_use(path),
            _ => Error::io(format!("cannot open {}", path.display()), e),
        };
        let is_device = is_device(&std::fs::metadata(path).map_err(context)?);
        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        #[cfg(target_os = "linux")]
        if is_device && access == Access::Write {
            // On a block device without O_CREAT: fails while a file system on it is mounted (open(2)).
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::libc::O_EXCL);
        }
        let file = options.open(path).map_err(context)?;
        if !is_device && !file.metadata().map_err(context)?.is_file() {
            return Err(Error::unsupported(format!("{} is neither a regular file nor a block device", path.display())));
        }
        if access != Access::Look {
            lock(&file, path, access)?;
        }
        let len = len_of(&file, is_device).map_err(context)?;
        Ok(HostFile { file, path: path.to_owned(), len, is_device })
    }

    /// The same file once more, under the same lock.
    pub(crate) fn again(&self) -> Result<HostFile> {
        let context = |e| Error::io(format!("cannot open {} once more", self.path.display()), e);
        let file = self.file.try_clone().map_err(context)?;
        Ok(HostFile { file, path: self.path.clone(), len: self.len, is_device: self.is_device })
    }

    pub(crate) fn is_device(&self) -> bool {
        self.is_device
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

    /// The next range that is not a hole, from `from` on.
    pub(crate) fn next_data(&self, from: u64) -> std::io::Result<Option<(u64, u64)>> {
        match data_at_or_after(&self.file, from, self.len)? {
            Some(start) => Ok(Some((start, hole_after(&self.file, start, self.len)?))),
            None => Ok(None),
        }
    }

    /// Whether the file has a hole there, or ends before; `false` says nothing.
    pub(crate) fn is_hole(&self, offset: u64, len: u64) -> bool {
        match data_at_or_after(&self.file, offset, self.len) {
            Ok(start) => start.is_none_or(|start| start - offset >= len),
            Err(_) => false,
        }
    }
}

/// Where the first byte at or after `from` stands that is in no hole (lseek(2), `SEEK_DATA`).
#[cfg(target_os = "linux")]
fn data_at_or_after(file: &File, from: u64, len: u64) -> std::io::Result<Option<u64>> {
    use rustix::fs::{SeekFrom, seek};
    if from >= len {
        return Ok(None);
    }
    match seek(file, SeekFrom::Data(from)) {
        Ok(start) => Ok((start < len).then_some(start)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        // A file system without holes.
        Err(rustix::io::Errno::INVAL) => Ok(Some(from)),
        Err(e) => Err(e.into()),
    }
}

/// Where the next hole starts; `len` when there is none.
#[cfg(target_os = "linux")]
fn hole_after(file: &File, from: u64, len: u64) -> std::io::Result<u64> {
    use rustix::fs::{SeekFrom, seek};
    match seek(file, SeekFrom::Hole(from)) {
        Ok(hole) => Ok(hole.min(len)),
        Err(rustix::io::Errno::INVAL) => Ok(len),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn data_at_or_after(_file: &File, from: u64, len: u64) -> std::io::Result<Option<u64>> {
    Ok((from < len).then_some(from))
}

#[cfg(not(target_os = "linux"))]
fn hole_after(_file: &File, _from: u64, len: u64) -> std::io::Result<u64> {
    Ok(len)
}

fn in_use(path: &Path) -> Error {
    Error::new(Kind::Conflict, format!("{} is in use by another program (a running VM? a mount?)", path.display()))
}

fn is_device(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::FileTypeExt::is_block_device(&metadata.file_type());
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

/// Length in bytes; of a block device, what the kernel says.
pub(crate) fn len_of(file: &File, is_device: bool) -> std::io::Result<u64> {
    if is_device { (&*file).seek(SeekFrom::End(0)) } else { Ok(file.metadata()?.len()) }
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

/// Takes the locks that QEMU's `file` driver takes for a reader that wants the image to stay as it is, or for a writer that
/// wants to be alone (docs of `block/file-posix.c`: byte 100 + p is held while permission p is used, byte 200 + p while it is
/// not shared).
#[cfg(target_os = "linux")]
fn lock(file: &File, path: &Path, access: Access) -> Result<()> {
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
    let (used, unshared): (&[i64], &[i64]) = match access {
        Access::Read | Access::Look => (&[READ], &[WRITE, RESIZE]),
        Access::Write => (&[READ, WRITE, RESIZE], &[READ, WRITE, RESIZE]),
    };
    for wanted in used.iter().map(|p| 100 + p).chain(unshared.iter().map(|p| 200 + p)) {
        // A file system without locks (some network mounts) cannot be in use by QEMU under locks either.
        if fcntl(file, FcntlArg::F_OFD_SETLK(&byte(libc::F_RDLCK, wanted))).is_err() {
            return Ok(());
        }
    }
    // Nobody may use what is not shared, nor refuse to share what is used.
    for held in unshared.iter().map(|p| 100 + p).chain(used.iter().map(|p| 200 + p)) {
        let mut probe = byte(libc::F_WRLCK, held);
        let free =
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe)).is_ok() && probe.l_type == libc::F_UNLCK as libc::c_short;
        if !free {
            return Err(in_use(path));
        }
    }
    Ok(())
}

/// Elsewhere the whole file is locked, which Windows enforces by itself.
#[cfg(not(target_os = "linux"))]
fn lock(file: &File, path: &Path, access: Access) -> Result<()> {
    let locked = if access == Access::Write { file.try_lock() } else { file.try_lock_shared() };
    locked.map_err(|_| in_use(path))
}
