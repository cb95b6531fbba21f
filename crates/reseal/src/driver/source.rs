//! A package on the host: the INF and the files that it names.

use super::inf::Inf;
use super::package::{Package, Target};
use crate::error::{Error, Kind, Result, Within};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A single file of a package; drivers of graphics cards come close.
const MAX_FILE: u64 = 512 << 20;
/// A whole package.
const MAX_PACKAGE: u64 = 2 << 30;

/// A package with its content in memory.
pub(super) struct Source {
    /// File name of the INF.
    pub(super) inf: String,
    pub(super) package: Package,
    /// The catalog that the INF names, when it is there.
    pub(super) catalog: Option<String>,
    /// Every file, the INF first: path below the package's folder with backslashes, content.
    pub(super) files: Vec<(String, Vec<u8>)>,
}

/// The INFs that a path means: itself, or those in the folder, in order of name.
pub(super) fn infs(path: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| reseal_dtyp::Error::io(format!("cannot read {}", path.display()), e);
    if !std::fs::metadata(path).map_err(io)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(io)?.collect::<std::io::Result<Vec<_>>>().map_err(io)?;
    let is_inf = |p: &PathBuf| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("inf"));
    let mut infs: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(is_inf).collect();
    infs.sort();
    if infs.is_empty() {
        let detail = format!("{} holds no INF", path.display());
        return Err(Error::new(Kind::NotFound, detail).hint(
            "name the folder of one Windows version and architecture, such as viostor/w11/amd64, or the INF itself",
        ));
    }
    Ok(infs)
}

/// Reads a package, for one Windows.
pub(super) fn read(path: &Path, target: &Target) -> Result<Source> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.get(..name.len().saturating_sub(4)).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.to_ascii_lowercase().ends_with(".inf") || stem.is_empty() || stem.len() > 60 || !stem.chars().all(plain) {
        let detail = format!("`{name}` is no plain name of an INF: letters, digits, `.`, `_`, `-`, then .inf");
        return Err(Error::new(Kind::Usage, detail));
    }
    let bytes = read_file(path)?;
    let package = Inf::parse(&bytes).and_then(|inf| Package::read(&inf, target))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![(name.to_owned(), bytes)];
    let mut total = 0;
    for file in &package.files {
        let missing =
            || Error::new(Kind::NotFound, format!("line {}: there is no {} beside the INF", file.line, file.path));
        let found = find(folder, &file.path)?.ok_or_else(missing)?;
        let content = read_file(&found)?;
        total += content.len() as u64;
        if total > MAX_PACKAGE {
            return Err(Error::new(Kind::Unsupported, format!("the package has more than {MAX_PACKAGE} bytes")));
        }
        files.push((file.path.clone(), content));
    }
    let mut catalog = None;
    let named = package.header.catalog.clone().filter(|name| !name.contains(['\\', '/', ':']));
    if let Some(name) = named
        && let Some(found) = find(folder, &name)?
    {
        if !files.iter().any(|(have, _)| have.eq_ignore_ascii_case(&name)) {
            files.push((name.clone(), read_file(&found)?));
        }
        catalog = Some(name);
    }
    Ok(Source { inf: name.to_owned(), package, catalog, files })
}

/// A file below a folder; names have no case.
fn find(folder: &Path, path: &str) -> Result<Option<PathBuf>> {
    let mut at = folder.to_owned();
    for part in path.split('\\') {
        let list = if at.as_os_str().is_empty() { Path::new(".") } else { &at };
        let entries = match std::fs::read_dir(list) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(e) => return Err(reseal_dtyp::Error::io(format!("cannot read {}", list.display()), e).into()),
        };
        let mut names: Vec<_> = entries.filter_map(|entry| entry.ok().map(|e| e.file_name())).collect();
        names.sort();
        let exact = names.iter().find(|name| name.to_str() == Some(part));
        let found =
            exact.or_else(|| names.iter().find(|name| name.to_str().is_some_and(|n| n.eq_ignore_ascii_case(part))));
        match found {
            Some(name) => at.push(name),
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |e| reseal_dtyp::Error::io(format!("cannot read {}", path.display()), e);
    let file = std::fs::File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::new(Kind::Unsupported, format!("more than {MAX_FILE} bytes"))).within(path.display());
    }
    Ok(bytes)
}

/// IMAGE_FILE_HEADER.Machine of a PE file ("PE Format", Microsoft); `None` when it is none.
pub(super) fn machine(bytes: &[u8]) -> Option<u16> {
    let word = |at: usize| Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?));
    let header = usize::from(word(0x3c)?) | usize::from(word(0x3e)?) << 16;
    let is_pe = bytes.starts_with(b"MZ") && bytes.get(header..header.checked_add(4)?)? == b"PE\0\0";
    if is_pe { word(header.checked_add(4)?) } else { None }
}
