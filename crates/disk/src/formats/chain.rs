//! Differencing disks: how a child finds its parent, and how a path is said to Windows.

use super::Opening;
use crate::disk::Disk;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::path::{Component, Path, PathBuf};

/// More disks than a chain of checkpoints has: Hyper-V makes 50 at most.
const MAX_CHAIN: usize = 64;

/// What lies below a child.
#[derive(Debug)]
pub(crate) struct Parent {
    /// By any of these the child knows its parent.
    pub(crate) ids: Vec<Guid>,
    /// The parent, open for reading; `None` when the child was only looked at.
    disk: Option<Disk>,
}

/// What a child says of its parent.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The parent bears one of these.
    pub(crate) ids: Vec<Guid>,
    /// Paths as Windows writes them, the ones to try first in front.
    pub(crate) names: Vec<String>,
    /// Logical sector size in bytes that the parent must have.
    pub(crate) sector_size: u32,
}

impl Parent {
    /// Finds and opens the parent of the image file `child`. It is known by its id alone; of several files that are named,
    /// the first with that id is taken. `NotFound` when there is no such file, `Damaged` when none has the id or the chain
    /// leads back to itself, `Limit` when it is too long.
    pub(super) fn find(child: &Path, wanted: Wanted, opening: &Opening) -> Result<Parent> {
        if !opening.follow {
            return Ok(Parent { ids: wanted.ids, disk: None });
        }
        let context = |e| Error::io(format!("cannot follow {}", child.display()), e);
        let child = std::fs::canonicalize(child).map_err(context)?;
        if opening.chain.contains(&child) {
            let detail = format!("{} is its own parent: the chain of disks leads back to it", child.display());
            return Err(Error::new(Kind::Damaged, detail));
        }
        if opening.chain.len() >= MAX_CHAIN {
            return Err(Error::new(Kind::Limit, format!("a chain of more than {MAX_CHAIN} differencing disks")));
        }
        let opening =
            Opening { chain: opening.chain.iter().cloned().chain([child.clone()]).collect(), follow: opening.follow };
        let folder = child.parent().unwrap_or(Path::new("/"));
        let mut others = Vec::new();
        for path in candidates(folder, &wanted.names) {
            // Nothing else is opened: a pipe would hang.
            if !std::fs::metadata(&path).is_ok_and(|m| m.is_file()) {
                continue;
            }
            let disk = Disk::open_in_chain(&path, &opening)
                .map_err(|e| e.within(format!("parent {} of {}", path.display(), child.display())))?;
            match disk.link_id() {
                Some(id) if wanted.ids.contains(&id) => {
                    fits(&disk, &wanted)?;
                    return Ok(Parent { ids: wanted.ids, disk: Some(disk) });
                }
                Some(id) => others.push(format!("{} has the id {id}", path.display())),
                None => others.push(format!("{} is {}", path.display(), disk.format().name())),
            }
        }
        Err(missing(&child, &wanted, &others))
    }

    /// The parent. `Unsupported` when the child was opened without it.
    pub(crate) fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().ok_or_else(|| Error::unsupported("the parent was not opened"))
    }

    /// Reads what the parent has; behind its end it is zero.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let bytes = self.disk()?.bytes();
        let inside = bytes.len().saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[inside..].fill(0);
        bytes.read_at(offset, &mut buf[..inside])
    }

    pub(super) fn is_hole(&self, offset: u64, len: u64) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.bytes().is_hole(offset, len))
    }
}

fn fits(parent: &Disk, wanted: &Wanted) -> Result<()> {
    match parent.sector_size() {
        Some(size) if size != wanted.sector_size => {
            let detail = format!(
                "the parent {} has sectors of {size} bytes, the child of {}",
                parent.path().display(),
                wanted.sector_size
            );
            Err(Error::new(Kind::Damaged, detail))
        }
        _ => Ok(()),
    }
}

fn missing(child: &Path, wanted: &Wanted, others: &[String]) -> Error {
    let ids: Vec<String> = wanted.ids.iter().map(Guid::to_string).collect();
    let names = wanted.names.join("`, `");
    let head = format!("{} is a differencing disk; its parent has the id {}", child.display(), ids.join(" or "));
    if others.is_empty() {
        let detail = format!("{head} and is not there: looked for `{names}`, and for that name beside it");
        return Error::not_found(detail);
    }
    let detail = format!("{head}; {} (was it written to since the child was made?)", others.join("; "));
    Error::new(Kind::Damaged, detail)
}

/// Where a parent may lie that is named so: relative to the child's folder; on Windows as it stands; then a file of that
/// name beside the child.
fn candidates(folder: &Path, names: &[String]) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = Vec::new();
    let is_absolute = |name: &str| name.starts_with('\\') || name.as_bytes().get(1) == Some(&b':');
    let parts = |name: &str| -> PathBuf { name.split(['\\', '/']).filter(|part| !matches!(*part, "" | ".")).collect() };
    for name in names {
        if !is_absolute(name) {
            out.push(folder.join(parts(name)));
        } else if cfg!(windows) {
            out.push(PathBuf::from(name));
        }
    }
    for name in names {
        if let Some(last) = name.rsplit(['\\', '/']).next().filter(|last| !matches!(*last, "" | "." | "..")) {
            out.push(folder.join(last));
        }
    }
    let mut seen = Vec::new();
    out.retain(|path| {
        !seen.contains(path) && {
            seen.push(path.clone());
            true
        }
    });
    out
}

/// The path from the folder of `child` to the existing file `parent`, as Windows writes it. `Unsupported` for names that
/// Windows cannot have, or that lie on another drive.
pub(crate) fn windows_path(child: &Path, parent: &Path) -> Result<String> {
    let canonical = |path: &Path| {
        std::fs::canonicalize(path).map_err(|e| Error::io(format!("cannot follow {}", path.display()), e))
    };
    let folder = child.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (folder, parent) = (canonical(folder)?, canonical(parent)?);
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) =
        (folder.components().collect(), parent.components().collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut words = vec![".."; from.len() - shared];
    if words.is_empty() {
        words.push(".");
    }
    for part in &to[shared..] {
        match part {
            Component::Normal(name) => match name.to_str() {
                Some(name) if !name.contains('\\') => words.push(name),
                _ => {
                    let detail = format!("{} has a name that Windows cannot have", parent.display());
                    return Err(Error::unsupported(detail));
                }
            },
            _ => {
                let detail = format!("no path leads from {} to {}", folder.display(), parent.display());
                return Err(Error::unsupported(detail));
            }
        }
    }
    Ok(words.join("\\"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_parent_is_looked_for() {
        let names = [r".\gold.vhdx", r"..\other\gold.vhdx", r"C:\Images\base.vhdx", r"\\?\Volume{1}\base.vhdx"];
        let found = candidates(Path::new("/d"), &names.map(str::to_owned));
        let wanted = ["/d/gold.vhdx", "/d/../other/gold.vhdx", "/d/base.vhdx"];
        assert_eq!(found, wanted.map(PathBuf::from));
    }

    #[test]
    fn a_path_for_windows() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let parent = dir.path().join("a/p.vhd");
        std::fs::write(&parent, b"").unwrap();
        let path = |child: &str| windows_path(&dir.path().join(child), &parent);
        assert_eq!(path("a/c.vhd").unwrap(), r".\p.vhd");
        assert_eq!(path("a/b/c.vhd").unwrap(), r"..\p.vhd");
        assert_eq!(path("c.vhd").unwrap(), r".\a\p.vhd");
    }
}
