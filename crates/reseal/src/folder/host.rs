//! The mounted folder through the host's system calls. Nothing here follows a link, leaves the folder or goes over to another
//! file system: every folder is opened below the root with `openat2`, and every file by one name in an open folder.

use reseal_dtyp::{Error, FileTime, Kind, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most that an extended attribute holds (`XATTR_SIZE_MAX`).
const MAX_ATTRIBUTE: usize = 64 << 10;
/// Bytes of a path that one call takes, with room for what a name adds (`PATH_MAX` is 4096).
const MAX_PATH: usize = 3800;
/// 100 ns between 1601 and 1970.
const TO_UNIX: i128 = 116_444_736_000_000_000;

/// The way from the root to a folder.
pub(super) type Way = Vec<OsString>;

/// What a name is on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostKind {
    Folder,
    File,
    /// How mounts show a reparse point.
    Link,
    /// A device, a pipe, a socket, or where another file system is mounted.
    Special,
}

/// What the host says of a file; one that was changed has another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostStat {
    pub(super) ino: u64,
    pub(super) kind: HostKind,
    pub(super) links: u64,
    pub(super) size: u64,
    pub(super) written: FileTime,
    changed: FileTime,
}

impl HostStat {
    /// Whether a file is the same one, and nobody wrote to it.
    pub(super) fn is_unchanged(&self, was: &HostStat) -> bool {
        // A folder's size is what the mount makes up.
        let size = self.kind == HostKind::Folder || self.size == was.size;
        size && HostStat { size: 0, ..*self } == HostStat { size: 0, ..*was }
    }
}

/// The root of the folder.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) path: PathBuf,
    root: OwnedFd,
    dev: u64,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    dev: u64,
}

fn failed(what: &str, name: &OsStr, errno: Errno) -> Error {
    let what = format!("cannot {what} {}", name.to_string_lossy());
    match errno {
        Errno::NOENT => Error::not_found(format!("{what}: it is not there any more")),
        Errno::LOOP => Error::new(Kind::Conflict, format!("{what}: it is a link, and was none")),
        Errno::XDEV => Error::new(Kind::Conflict, format!("{what}: it lies outside of the folder")),
        Errno::EXIST | Errno::NOTEMPTY => Error::new(Kind::Conflict, format!("{what}: {errno}")),
        Errno::ROFS => Error::new(Kind::ReadOnly, format!("{what}: the volume is mounted read-only")),
        errno => Error::io(what, errno.into()),
    }
}

fn time(seconds: i64, nanoseconds: i64) -> FileTime {
    let time = i128::from(seconds) * 10_000_000 + i128::from(nanoseconds) / 100 + TO_UNIX;
    FileTime(u64::try_from(time.max(0)).unwrap_or(u64::MAX))
}

fn timespec(time: FileTime) -> Timespec {
    let unix = i128::from(time.0) - TO_UNIX;
    let (seconds, rest) = (unix.div_euclid(10_000_000), unix.rem_euclid(10_000_000));
    Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: rest as i64 * 100 }
}

impl Host {
    /// Opens a folder; links on the way to it are followed once, here.
    pub(super) fn open(path: &Path) -> Result<Host> {
        let shown = path.as_os_str();
        let path = std::fs::canonicalize(path).map_err(|e| Error::io(format!("cannot find {}", path.display()), e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed("open", shown, e))?;
        let stat = rustix::fs::fstat(&root).map_err(|e| failed("look at", shown, e))?;
        let host = Host { path, root, dev: stat.st_dev };
        host.folder(&Vec::new())?.stat(OsStr::new("."))?;
        if rustix::fs::lstat(host.folder(&Vec::new())?.by_descriptor(OsStr::new("."))).is_err() {
            return Err(Error::unsupported("/proc is not mounted: attributes of files cannot be read without it"));
        }
        Ok(host)
    }

    /// Opens a folder below. `Conflict` where a link or another mount stands on the way.
    pub(super) fn folder(&self, way: &[OsString]) -> Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let open = |at: &OwnedFd, path: &OsStr| {
            rustix::fs::openat2(at, path, flags, Mode::empty(), resolve).map_err(|e| match e {
                Errno::NOSYS => {
                    Error::unsupported("this kernel has no openat2 (Linux 5.6): folders are not safe on it")
                }
                Errno::NOTDIR => Error::new(Kind::Conflict, format!("{} is no folder any more", path.display())),
                e => failed("open", path, e),
            })
        };
        let mut fd = open(&self.root, OsStr::new("."))?;
        let mut part = Vec::new();
        for name in way {
            if part.len() + name.len() >= MAX_PATH {
                fd = open(&fd, OsStr::from_bytes(&part))?;
                part.clear();
            }
            if !part.is_empty() {
                part.push(b'/');
            }
            part.extend_from_slice(name.as_bytes());
        }
        if !part.is_empty() {
            fd = open(&fd, OsStr::from_bytes(&part))?;
        }
        Ok(Folder { fd, dev: self.dev })
    }

    /// The device number of the file system, which is that of the mount.
    pub(super) fn device(&self) -> u64 {
        self.dev
    }

    /// Whether nothing can be written.
    pub(super) fn is_read_only(&self) -> Result<bool> {
        let facts = rustix::fs::fstatvfs(&self.root).map_err(|e| failed("look at", self.path.as_os_str(), e))?;
        Ok(facts.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
    }

    /// Nobody else who asks may write meanwhile. `Conflict` when somebody does.
    pub(super) fn lock(&self) -> Result<()> {
        rustix::fs::flock(&self.root, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|e| match e {
            Errno::WOULDBLOCK => Error::new(Kind::Conflict, "the folder is in use by another run"),
            e => failed("lock", self.path.as_os_str(), e),
        })
    }

    /// Everything that was written is on the medium.
    pub(super) fn sync(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root).map_err(|e| failed("write out", self.path.as_os_str(), e))
    }
}

impl Folder {
    /// A path to one name that the kernel takes where it takes no descriptor; the last name is not followed.
    fn by_descriptor(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.fd.as_raw_fd().to_string()).join(name)
    }

    /// Its names, sorted; at most `most` of them.
    pub(super) fn names(&self, most: usize) -> Result<Vec<OsString>> {
        let here = OsStr::new("the folder");
        let entries = rustix::fs::Dir::read_from(&self.fd).map_err(|e| failed("list", here, e))?;
        let mut out = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| failed("list", here, e))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                out.push(OsString::from_vec(name.to_vec()));
            }
            if out.len() > most {
                return Err(Error::new(Kind::Limit, format!("a folder with more than {most} names")));
            }
        }
        out.sort();
        Ok(out)
    }

    pub(super) fn stat(&self, name: &OsStr) -> Result<HostStat> {
        let stat =
            rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("look at", name, e))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            _ if stat.st_dev != self.dev => HostKind::Special,
            FileType::Directory => HostKind::Folder,
            FileType::RegularFile => HostKind::File,
            FileType::Symlink => HostKind::Link,
            _ => HostKind::Special,
        };
        Ok(HostStat {
            ino: stat.st_ino,
            kind,
            links: stat.st_nlink,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            written: time(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: time(stat.st_ctime, stat.st_ctime_nsec as i64),
        })
    }

    pub(super) fn exists(&self, name: &OsStr) -> Result<bool> {
        match self.stat(name) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == Kind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An extended attribute; `None` where there is none, or the file system has none of the kind.
    pub(super) fn attribute(&self, name: &OsStr, attribute: &str) -> Result<Option<Vec<u8>>> {
        self.attribute_os(name, OsStr::new(attribute))
    }

    pub(super) fn attribute_os(&self, name: &OsStr, attribute: &OsStr) -> Result<Option<Vec<u8>>> {
        Ok(self.asked(name, attribute)?.ok())
    }

    /// Whether the mount has attributes of the kind, be there one or not.
    pub(super) fn has_kind(&self, name: &OsStr, attribute: &str) -> Result<bool> {
        Ok(!matches!(self.asked(name, OsStr::new(attribute))?, Err(Errno::OPNOTSUPP)))
    }

    fn asked(&self, name: &OsStr, attribute: &OsStr) -> Result<Result<Vec<u8>, Errno>> {
        // The size is not asked for: whoever answers it may answer the next call differently.
        let mut value = vec![0; 4096];
        loop {
            match rustix::fs::lgetxattr(self.by_descriptor(name), attribute, &mut value[..]) {
                Ok(len) => {
                    value.truncate(len);
                    return Ok(Ok(value));
                }
                // ntfs-3g answers with more than fits, which the kernel calls an I/O error.
                Err(Errno::RANGE | Errno::IO) if value.len() < MAX_ATTRIBUTE => value.resize(MAX_ATTRIBUTE, 0),
                // ntfs-3g tells no 8.3 name of a file with several names.
                Err(e @ (Errno::NODATA | Errno::OPNOTSUPP | Errno::PERM | Errno::MLINK)) => return Ok(Err(e)),
                Err(e) => return Err(failed(&format!("read {} of", attribute.to_string_lossy()), name, e)),
            }
        }
    }

    pub(super) fn set_attribute(&self, name: &OsStr, attribute: &str, value: &[u8]) -> Result<()> {
        self.set_attribute_os(name, OsStr::new(attribute), value)
    }

    pub(super) fn set_attribute_os(&self, name: &OsStr, attribute: &OsStr, value: &[u8]) -> Result<()> {
        let done = rustix::fs::lsetxattr(self.by_descriptor(name), attribute, value, XattrFlags::empty());
        done.map_err(|e| failed(&format!("set {} of", attribute.display()), name, e))
    }

    /// Names of the extended attributes that the file system lists.
    pub(super) fn attributes(&self, name: &OsStr) -> Result<Vec<OsString>> {
        let mut list = vec![0; MAX_ATTRIBUTE];
        match rustix::fs::llistxattr(self.by_descriptor(name), &mut list[..]) {
            Ok(len) => list.truncate(len),
            Err(Errno::OPNOTSUPP | Errno::NODATA | Errno::PERM) => return Ok(Vec::new()),
            Err(e) => return Err(failed("list the attributes of", name, e)),
        }
        let names = list.split(|b| *b == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
    }

    fn open(&self, name: &OsStr, flags: OFlags) -> Result<File> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from(0o666)).map_err(|e| failed("open", name, e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| failed("look at", name, e))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_dev != self.dev {
            return Err(Error::new(Kind::Conflict, format!("{} is no file", name.to_string_lossy())));
        }
        Ok(File::from(fd))
    }

    pub(super) fn read(&self, name: &OsStr) -> Result<File> {
        self.open(name, OFlags::RDONLY)
    }

    pub(super) fn write(&self, name: &OsStr) -> Result<File> {
        self.open(name, OFlags::RDWR)
    }

    /// A new file. `Conflict` when there is one.
    pub(super) fn create(&self, name: &OsStr) -> Result<File> {
        self.open(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
    }

    pub(super) fn make_folder(&self, name: &OsStr) -> Result<()> {
        rustix::fs::mkdirat(&self.fd, name, Mode::from(0o777)).map_err(|e| failed("make the folder", name, e))
    }

    pub(super) fn remove(&self, name: &OsStr, is_folder: bool) -> Result<()> {
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&self.fd, name, flags).map_err(|e| failed("remove", name, e))
    }

    /// Gives a file another name in a folder. With `replaces`, what has that name goes; else `Conflict` when there is one.
    pub(super) fn rename(&self, name: &OsStr, to: &Folder, new: &OsStr, replaces: bool) -> Result<()> {
        if !replaces && to.exists(new)? {
            return Err(Error::new(Kind::Conflict, format!("{} is there already", new.to_string_lossy())));
        }
        // FUSE has no RENAME_NOREPLACE in every version: the look before is the guard against our own mistakes.
        let done = rustix::fs::renameat_with(&self.fd, name, &to.fd, new, RenameFlags::empty());
        done.map_err(|e| failed("rename", name, e))
    }

    /// Gives a file one more name.
    pub(super) fn link(&self, name: &OsStr, to: &Folder, new: &OsStr) -> Result<()> {
        rustix::fs::linkat(&self.fd, name, &to.fd, new, AtFlags::empty()).map_err(|e| failed("link", new, e))
    }

    /// What a link says.
    pub(super) fn target(&self, name: &OsStr) -> Result<Vec<u8>> {
        let target =
            rustix::fs::readlinkat(&self.fd, name, Vec::new()).map_err(|e| failed("read the link", name, e))?;
        Ok(target.into_bytes())
    }

    pub(super) fn make_link(&self, name: &OsStr, target: &[u8]) -> Result<()> {
        rustix::fs::symlinkat(OsStr::from_bytes(target), &self.fd, name).map_err(|e| failed("make the link", name, e))
    }

    /// Sets the times of the last change and the last access.
    pub(super) fn set_times(&self, name: &OsStr, written: FileTime, accessed: FileTime) -> Result<()> {
        let times = Timestamps { last_access: timespec(accessed), last_modification: timespec(written) };
        let done = rustix::fs::utimensat(&self.fd, name, &times, AtFlags::SYMLINK_NOFOLLOW);
        done.map_err(|e| failed("set the times of", name, e))
    }

    /// The time of the last access.
    pub(super) fn accessed(&self, name: &OsStr) -> Result<FileTime> {
        let stat =
            rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed("look at", name, e))?;
        Ok(time(stat.st_atime, stat.st_atime_nsec as i64))
    }

    /// Makes names that came or went durable.
    pub(super) fn sync(&self) -> Result<()> {
        match rustix::fs::fsync(&self.fd) {
            // FUSE file systems may not know how.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(()),
            Err(e) => Err(failed("write out", OsStr::new("the folder"), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        for ticks in [0, 1, 116_444_735_999_999_999, 133_500_000_000_000_001] {
            let spec = timespec(FileTime(ticks));
            assert_eq!(time(spec.tv_sec, spec.tv_nsec), FileTime(ticks));
        }
    }

    #[test]
    fn nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir_all(inside.join("real")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::os::unix::fs::symlink(dir.path(), inside.join("way-out")).unwrap();
        std::os::unix::fs::symlink("../secret", inside.join("file")).unwrap();
        std::os::unix::fs::symlink("real", inside.join("alias")).unwrap();
        let host = Host::open(&inside).unwrap();
        assert!(host.folder(&["real".into()]).is_ok());
        for way in ["way-out", "alias", "..", "/etc"] {
            let refused = host.folder(&[OsString::from(way)]).unwrap_err().kind();
            assert_eq!(refused, Kind::Conflict, "{way}");
        }
        let root = host.folder(&[]).unwrap();
        assert_eq!(root.read(OsStr::new("file")).unwrap_err().kind(), Kind::Conflict);
        assert_eq!(root.stat(OsStr::new("file")).unwrap().kind, HostKind::Link);
        assert_eq!(root.read(OsStr::new("real")).unwrap_err().kind(), Kind::Conflict);
    }
}
