//! A file that gets its name when it is whole: before that there is at most a `*.reseal-tmp` file beside it.

use crate::host::{read_exact_at, write_all_at};
use reseal_dtyp::{Error, Kind, Result};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// A file being written. Dropped without [`NewFile::publish`], it is gone.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    temporary: Temporary,
    out: PathBuf,
}

/// Removes the temporary file unless the rename has taken it away.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to do about a failure here; the name says what the file is.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl NewFile {
    /// Begins a file that is to be called `out`. `Conflict` when there is one of that name.
    pub fn create(out: &Path) -> Result<NewFile> {
        if out.symlink_metadata().is_ok() {
            let detail = format!("{} exists; name another output or remove it first", out.display());
            return Err(Error::new(Kind::Conflict, detail));
        }
        NewFile::beside(out)
    }

    /// Begins a file that is to take the place of `out`, with [`NewFile::replace`].
    pub fn beside(out: &Path) -> Result<NewFile> {
        let mut name =
            out.file_name().ok_or_else(|| Error::unsupported(format!("{} names no file", out.display())))?.to_owned();
        name.push(".reseal-tmp");
        let temporary = Temporary(out.with_file_name(name));
        // A temporary file that a killed run left is worth nothing.
        let _ = std::fs::remove_file(&temporary.0);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary.0);
        let file = file.map_err(|e| failed("write", &temporary.0, e))?;
        Ok(NewFile { file, temporary, out: out.to_owned() })
    }

    /// Where it lies until it is whole.
    pub fn path(&self) -> &Path {
        &self.temporary.0
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn failed(&self, what: &str, e: std::io::Error) -> Error {
        failed(what, &self.temporary.0, e)
    }

    /// Writes all of `bytes` at `offset`, behind the end too.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        write_all_at(&self.file, offset, bytes).map_err(|e| self.failed("write", e))
    }

    /// Fills `buf` with what was written.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, buf).map_err(|e| self.failed("read back", e))
    }

    /// Cuts it, or makes it longer, with zeros.
    pub fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).map_err(|e| self.failed("change the length of", e))
    }

    /// Makes it durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.failed("make durable", e))
    }

    /// Gives it its name, durably, without replacing a file that came there meanwhile. It must have been synchronized.
    pub fn publish(self) -> Result<()> {
        rename_to_nothing(&self.temporary.0, &self.out)?;
        sync_folder(&self.out)
    }

    /// Gives it its name in place of the file that has it, durably. It must have been synchronized.
    pub fn replace(self) -> Result<()> {
        let context = |e| failed("rename", &self.temporary.0, e);
        let mode = std::fs::metadata(&self.out).map_err(context)?.permissions();
        std::fs::set_permissions(&self.temporary.0, mode).map_err(context)?;
        std::fs::rename(&self.temporary.0, &self.out).map_err(context)?;
        sync_folder(&self.out)
    }
}

fn failed(what: &str, path: &Path, e: std::io::Error) -> Error {
    let text = format!("cannot {what} {}", path.display());
    match e.kind() {
        std::io::ErrorKind::StorageFull => Error::new(Kind::NoSpace, format!("{text}: {e}")),
        _ => Error::io(text, e),
    }
}

fn rename_to_nothing(from: &Path, to: &Path) -> Result<()> {
    let context = |e| Error::io(format!("cannot rename {} to {}", from.display(), to.display()), e);
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // The file system does not know the flag: a plain rename follows.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(e) => return Err(context(e.into())),
        }
    }
    std::fs::rename(from, to).map_err(context)
}

fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let context = |e| Error::io(format!("cannot make the new name in {} durable", folder.display()), e);
        File::open(folder).and_then(|f| f.sync_all()).map_err(context)?;
    }
    Ok(())
}
