//! `hive` and `fs`: looking into parts of an image, and editing a hive.

use crate::error::{Error, Kind, Result, Within};
use crate::folder::FolderImage;
use crate::generalize::ShownFinding;
use crate::image::DiskImage;
use crate::ntfs_tree::NtfsTree;
use crate::scope::MachineHive;
use crate::tree::{NodeId, Tree, TreeEdit};
use crate::wim::{WimCommit, WimFile, WimImages, WimTree};
use reseal_dtyp::{Descriptor, FileTime, utf16_lossy, utf16le};
use reseal_hive::{Hive, KeyId, Recover, Value, types};
use reseal_ntfs::{Probe, Volume};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// An entry of a folder.
#[derive(Debug, Clone, Serialize)]
pub struct FsEntry {
    /// Path from the volume's root.
    pub path: String,
    /// Folder.
    pub directory: bool,
    /// Reparse point.
    pub reparse: bool,
    /// Size of the unnamed stream in bytes.
    pub size: u64,
    /// Last change of the content, UTC.
    pub modified: String,
    /// Named streams.
    pub streams: Vec<String>,
}

/// The one NTFS volume that a path can mean: the selected partition, else the one with Windows, else the only one.
pub(crate) fn volume(image: &DiskImage) -> Result<Volume> {
    let mut ntfs = Vec::new();
    for partition in image.partitions() {
        if image.probe(partition)? == Probe::Ntfs {
            ntfs.push(partition);
        }
    }
    if let [only] = ntfs[..] {
        return image.volume(only);
    }
    if ntfs.is_empty() {
        return Err(Error::new(Kind::NotFound, "the image has no NTFS volume"));
    }
    image
        .one_windows(None)
        .map(|w| w.tree.volume)
        .map_err(|e| e.hint("the image has several NTFS volumes: name one with IMAGE#pN"))
}

/// The files of an image: of the one NTFS volume that is meant, of an image of a WIM, or of a mounted folder.
pub struct Files {
    tree: Box<dyn Tree>,
    /// How the user named the image.
    subject: String,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("subject", &self.subject).finish_non_exhaustive()
    }
}

impl Files {
    /// Opens `disk.vhdx`, `disk.vhdx#p3`, `install.wim:2` or a folder.
    pub fn open(text: &str) -> Result<Files> {
        let tree: Box<dyn Tree> = match (FolderImage::open(text), WimFile::tree(text)) {
            (Some(folder), _) => Box::new(folder?.tree),
            (None, Some(tree)) => Box::new(tree?),
            (None, None) => {
                let image = DiskImage::open(text)?;
                Box::new(NtfsTree { volume: volume(&image).within(image.path().display())? })
            }
        };
        Ok(Files { tree, subject: text.to_owned() })
    }

    /// Splits `path:stream`; a drive letter is no stream.
    fn find(&self, path: &str) -> Result<(NodeId, Vec<u16>)> {
        let path = path.strip_prefix("C:").or_else(|| path.strip_prefix("c:")).unwrap_or(path);
        let (file, stream) = path.split_once(':').unwrap_or((path, ""));
        let found = self.tree.resolve(self.tree.root(), file)?;
        let found = found.ok_or_else(|| Error::new(Kind::NotFound, format!("`{file}` does not exist there")))?;
        Ok((found, stream.encode_utf16().collect()))
    }

    /// Lists a folder, or a file with its streams; `recursive` lists everything below. Reparse points are not followed.
    pub fn list(&self, path: &str, recursive: bool) -> Result<Vec<FsEntry>> {
        let run = || -> Result<Vec<FsEntry>> {
            let (start, _) = self.find(path)?;
            let base = path.trim_matches(['\\', '/']).replace('/', "\\");
            if !self.tree.stat(start)?.is_dir {
                return Ok(vec![self.entry(start, base)?]);
            }
            let mut out = Vec::new();
            let mut queue = vec![(start, base)];
            while let Some((folder, prefix)) = queue.pop() {
                for child in self.tree.entries(folder)? {
                    let name = utf16_lossy(&child.name);
                    let path = if prefix.is_empty() { name } else { format!(r"{prefix}\{name}") };
                    let entry = self.entry(child.node, path.clone())?;
                    // The root of a volume contains itself as `.`.
                    if recursive && entry.directory && !entry.reparse && child.node != folder {
                        queue.push((child.node, path));
                    }
                    out.push(entry);
                }
            }
            Ok(out)
        };
        run().within(&self.subject)
    }

    fn entry(&self, node: NodeId, path: String) -> Result<FsEntry> {
        let stat = self.tree.stat(node).within(&path)?;
        let (unnamed, named): (Vec<_>, Vec<_>) = stat.streams.into_iter().partition(|(name, _)| name.is_empty());
        Ok(FsEntry {
            path,
            directory: stat.is_dir,
            reparse: stat.is_reparse,
            size: unnamed.first().map_or(0, |(_, size)| *size),
            modified: stat.written.to_iso(),
            streams: named.iter().map(|(name, _)| utf16_lossy(name)).collect(),
        })
    }

    /// Writes a stream's content to `out`, piece by piece.
    pub fn read(&self, path: &str, out: &mut dyn Write) -> Result<()> {
        let mut run = || -> Result<()> {
            let (node, stream) = self.find(path)?;
            let mut reader = self.tree.reader(node, &stream)?;
            let mut buf = vec![0; 1 << 20];
            let mut offset = 0;
            loop {
                let n = reader.read_at(offset, &mut buf)?;
                if n == 0 {
                    return Ok(());
                }
                match out.write_all(&buf[..n]) {
                    Ok(()) => offset += n as u64,
                    // Whoever reads has seen enough.
                    Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                    Err(e) => return Err(reseal_dtyp::Error::io("cannot write the content", e).into()),
                }
            }
        };
        run().within(path).map_err(|e| e.subject(self.subject.clone()))
    }

    /// A file's security descriptor as SDDL.
    pub fn acl(&self, path: &str) -> Result<String> {
        let run = || -> Result<String> {
            let (node, _) = self.find(path)?;
            Ok(Descriptor::read(&self.tree.descriptor(node)?)?.to_sddl()?)
        };
        run().within(path).map_err(|e| e.subject(self.subject.clone()))
    }
}

/// A key with its values and the names of its subkeys.
#[derive(Debug, Clone, Serialize)]
pub struct KeyListing {
    /// Path from the hive's root.
    pub key: String,
    /// Last change, UTC.
    pub modified: String,
    /// Values.
    pub values: Vec<ShownValue>,
    /// Names of subkeys.
    pub subkeys: Vec<String>,
}

/// A registry value for people and JSON.
#[derive(Debug, Clone, Serialize)]
pub struct ShownValue {
    /// Name; empty for the default value.
    pub name: String,
    /// Type number; any 32-bit number is legal.
    pub ty: u32,
    /// `REG_SZ` and so on.
    pub type_name: String,
    /// The data as text: strings as they are, numbers decimal, bytes hexadecimal.
    pub shown: String,
}

impl From<&Value> for ShownValue {
    fn from(v: &Value) -> ShownValue {
        let names = [
            "REG_NONE",
            "REG_SZ",
            "REG_EXPAND_SZ",
            "REG_BINARY",
            "REG_DWORD",
            "REG_DWORD_BIG_ENDIAN",
            "REG_LINK",
            "REG_MULTI_SZ",
        ];
        let type_name = match v.ty {
            types::QWORD => "REG_QWORD".to_owned(),
            ty => names.get(ty as usize).map_or_else(|| format!("type {ty:#x}"), |name| (*name).to_owned()),
        };
        let hex = || v.data.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let shown = match v.ty {
            types::DWORD => v.as_u32().map_or_else(hex, |n| n.to_string()),
            types::QWORD => v.as_u64().map_or_else(hex, |n| n.to_string()),
            types::MULTI_SZ => v.as_multi_text().map_or_else(hex, |lines| lines.join("|")),
            _ => v.as_text().unwrap_or_else(hex),
        };
        ShownValue { name: v.name_lossy(), ty: v.ty, type_name, shown }
    }
}

/// A hive of an image, or a hive file.
#[derive(Debug)]
pub struct HiveAccess {
    pub(crate) hive: Hive,
    source: Source,
    /// The hive's path.
    pub(crate) subject: String,
}

#[derive(Debug)]
enum Source {
    File,
    Wim { images: Box<WimImages>, index: u32, tree: Box<WimTree>, node: NodeId, logs: Vec<NodeId> },
    Folder(std::path::PathBuf),
    Disk { image: Box<DiskImage>, tree: Box<NtfsTree>, node: NodeId, logs: Vec<NodeId> },
}

impl HiveAccess {
    /// Opens a hive file, or with `hive` (SYSTEM, SOFTWARE, SAM, SECURITY or a path) a hive in an image. Its logs are
    /// replayed in memory.
    pub fn open(target: &str, hive: Option<&str>) -> Result<HiveAccess> {
        match hive {
            None => HiveAccess::open_file(Path::new(target)).within(target),
            Some(hive) => HiveAccess::open_in_image(target, hive).within(hive).map_err(|e: Error| e.subject(target)),
        }
    }

    fn open_file(path: &Path) -> Result<HiveAccess> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|e| reseal_dtyp::Error::io(format!("cannot read {}", path.display()), e))
        };
        let primary = read(path)?;
        if !primary.starts_with(b"regf") {
            return Err(Error::new(Kind::Usage, "the file is no registry hive")
                .hint("for a hive in an image add `--hive SYSTEM`"));
        }
        let beside = |suffix: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(suffix);
            path.with_file_name(name)
        };
        let logs: Vec<Vec<u8>> = [".LOG", ".LOG1", ".LOG2"]
            .iter()
            .map(|s| beside(s))
            .filter(|p| p.exists())
            .map(|p| read(&p))
            .collect::<Result<_, _>>()?;
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let hive = open_strict(primary, &logs)?;
        Ok(HiveAccess { hive, source: Source::File, subject: path.display().to_string() })
    }

    fn open_in_image(target: &str, hive: &str) -> Result<HiveAccess> {
        if let Some(folder) = FolderImage::open(target) {
            let folder = folder?;
            let (hive, subject, _, _) = HiveAccess::find(&folder.tree, hive)?;
            return Ok(HiveAccess { hive, source: Source::Folder(folder.path().to_owned()), subject });
        }
        if let Some(images) = WimImages::open(target) {
            let images = Box::new(images?);
            let index = images.one()?;
            let tree = Box::new(WimTree::open(Arc::clone(images.wim()), index)?);
            let (hive, subject, node, logs) = HiveAccess::find(&*tree, hive)?;
            return Ok(HiveAccess { hive, source: Source::Wim { images, index, tree, node, logs }, subject });
        }
        let image = Box::new(DiskImage::open(target)?);
        let tree = Box::new(NtfsTree { volume: volume(&image)? });
        let (hive, subject, node, logs) = HiveAccess::find(&*tree, hive)?;
        Ok(HiveAccess { hive, source: Source::Disk { image, tree, node, logs }, subject })
    }

    /// A hive in a tree, its path, its file and those of its logs.
    fn find(tree: &dyn Tree, hive: &str) -> Result<(Hive, String, NodeId, Vec<NodeId>)> {
        let machine = MachineHive::ALL.into_iter().find(|m| m.file_name().eq_ignore_ascii_case(hive));
        let path = machine.map_or_else(|| hive.to_owned(), |m| format!(r"Windows\System32\config\{}", m.file_name()));
        let root = tree.root();
        let node = tree
            .resolve(root, &path)?
            .ok_or_else(|| Error::new(Kind::NotFound, format!("`{path}` does not exist there")))?;
        let primary = tree.read(node)?;
        let mut logs = Vec::new();
        for suffix in [".LOG", ".LOG1", ".LOG2"] {
            logs.extend(tree.resolve(root, &format!("{path}{suffix}"))?);
        }
        let bytes: Vec<Vec<u8>> = logs.iter().map(|log| tree.read(*log)).collect::<Result<_, _>>()?;
        let bytes: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        Ok((open_strict(primary, &bytes)?, path, node, logs))
    }

    pub(crate) fn key(&self, path: &str) -> Result<KeyId> {
        let found = self.hive.key(path).within(&self.subject)?;
        found.ok_or_else(|| {
            Error::new(Kind::NotFound, format!("the key `{path}` does not exist")).subject(self.subject.clone())
        })
    }

    /// A key, or with `recursive` the key and all below it.
    pub fn list(&self, path: &str, recursive: bool) -> Result<Vec<KeyListing>> {
        let run = || -> Result<Vec<KeyListing>> {
            let mut out = Vec::new();
            let mut queue = vec![self.key(path)?];
            while let Some(key) = queue.pop() {
                let children = self.hive.subkeys(key)?;
                let names = children.iter().map(|c| Ok(utf16_lossy(&self.hive.name(*c)?))).collect::<Result<_>>()?;
                let values = self.hive.values(key)?.iter().map(ShownValue::from).collect();
                out.push(KeyListing {
                    key: self.hive.path(key)?,
                    modified: self.hive.timestamp(key)?.to_iso(),
                    values,
                    subkeys: names,
                });
                if recursive {
                    queue.extend(children.into_iter().rev());
                }
            }
            Ok(out)
        };
        run().within(&self.subject)
    }

    /// One value.
    pub fn get(&self, path: &str, name: &str) -> Result<ShownValue> {
        let value = self.hive.value(self.key(path)?, name).within(&self.subject)?;
        let missing = || {
            Error::new(Kind::NotFound, format!("the key `{path}` has no value `{name}`")).subject(self.subject.clone())
        };
        value.as_ref().map(ShownValue::from).ok_or_else(missing)
    }

    /// Sets a value from `sz:text`, `expand:text`, `multi:a|b`, `dword:1`, `qword:1`, `hex:0a`, `hex(7):00`. The key is
    /// made when it does not exist.
    pub fn set(&mut self, path: &str, name: &str, data: &str) -> Result<()> {
        let (ty, bytes) = parse_data(data)?;
        let key = self.hive.create_path(path).within(&self.subject)?;
        self.hive.set_value(key, name, ty, &bytes).within(&self.subject)
    }

    /// Removes a value, or without a name the key with all below it.
    pub fn remove(&mut self, path: &str, name: Option<&str>) -> Result<()> {
        let key = self.key(path)?;
        match name {
            None => self.hive.delete_key(key).within(&self.subject),
            Some(name) if self.hive.delete_value(key, name).within(&self.subject)? => Ok(()),
            Some(name) => Err(Error::new(Kind::NotFound, format!("the key `{path}` has no value `{name}`"))),
        }
    }

    /// Every check of the hive.
    pub fn check(&self) -> Vec<ShownFinding> {
        self.hive.check().into_iter().map(ShownFinding::from).collect()
    }

    /// Writes the hive file, or the image with the hive in it, to a new file.
    pub fn save(self, out: &Path) -> Result<()> {
        let damage = self.hive.check().into_iter().find(|f| f.level > reseal_dtyp::Level::Note);
        if let Some(first) = damage {
            return Err(
                Error::new(Kind::Damaged, format!("the hive does not pass its check: {first}")).subject(self.subject)
            );
        }
        let bytes = self.hive.to_bytes();
        match self.source {
            Source::File => {
                let context = |e| reseal_dtyp::Error::io(format!("cannot write {}", out.display()), e);
                let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(out).map_err(context)?;
                file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(context)?;
                Ok(())
            }
            Source::Folder(path) => Err(crate::image::no_volume(&path)),
            Source::Wim { images, index, mut tree, node, logs } => {
                let now = tree.stat(node)?.written;
                put_back(&mut *tree, node, &logs, &bytes, now).within(&self.subject)?;
                let commit = WimCommit {
                    guid: images.wim().header().guid,
                    now,
                    storage: crate::WimStorage::default(),
                    kept: images.file.numbers(),
                    changed: vec![(index, *tree)],
                    images: *images,
                };
                commit.write_to(out, &crate::Silent).map(drop)
            }
            Source::Disk { image, mut tree, node, logs } => {
                let state = crate::volume_state::VolumeState::of(&tree.volume, "volume".to_owned());
                if let Some(why) = state.dirty {
                    let hint = "boot the image once and shut it down fully";
                    return Err(Error::refused(vec![crate::Refusal::new("dirty-volume", state.place, why, hint)]));
                }
                // No clock is asked here: a hive edit keeps the file's times.
                let now = FileTime(0);
                put_back(&mut *tree, node, &logs, &bytes, now).within(&self.subject)?;
                let guids = crate::Inputs::seeded(&crate::inputs::digest(&bytes), now).stream(&[b"hive-edit"]).guid();
                image.disk.commit_to(out, [guids, guids], &|_, _| {})?;
                Ok(())
            }
        }
    }
}

/// Replaces a hive file and empties its logs.
fn put_back(
    tree: &mut dyn TreeEdit,
    node: NodeId,
    logs: &[NodeId],
    bytes: &[u8],
    now: FileTime,
) -> reseal_dtyp::Result<()> {
    tree.replace(node, bytes, now)?;
    for log in logs {
        let len = tree.size(*log)? as usize;
        tree.replace(*log, &vec![0; len], now)?;
    }
    Ok(())
}

/// A dirty hive whose logs do not cover it is damaged input here: what it says may be stale.
fn open_strict(primary: Vec<u8>, logs: &[&[u8]]) -> Result<Hive> {
    Hive::open_vec(primary, logs, Recover::Replay).map_err(|e| match e.kind() {
        reseal_dtyp::Kind::Conflict => Error::new(Kind::Damaged, e.to_string())
            .hint("boot the image once and shut it down fully, or supply the hive's logs"),
        _ => e.into(),
    })
}

fn parse_data(text: &str) -> Result<(u32, Vec<u8>)> {
    let bad = || {
        Error::new(Kind::Usage, format!("`{text}` is no typed data"))
            .hint("write sz:text, expand:text, multi:a|b, dword:1, qword:1, hex:0a0b or hex(7):0a0b")
    };
    let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
    let sz = |text: &str| [utf16le(text), vec![0, 0]].concat();
    let hex = || -> Result<Vec<u8>> {
        let digits: Vec<u8> = rest.bytes().filter(|b| *b != b',' && *b != b' ').collect();
        let pair = |p: &[u8]| {
            std::str::from_utf8(p).ok().filter(|p| p.len() == 2).and_then(|p| u8::from_str_radix(p, 16).ok())
        };
        digits.chunks(2).map(|p| pair(p).ok_or_else(bad)).collect()
    };
    let number = || {
        rest.strip_prefix("0x").map_or_else(|| rest.parse().ok(), |h| u64::from_str_radix(h, 16).ok()).ok_or_else(bad)
    };
    Ok(match kind {
        "sz" => (types::SZ, sz(rest)),
        "expand" => (types::EXPAND_SZ, sz(rest)),
        "multi" => (types::MULTI_SZ, rest.split('|').flat_map(&sz).chain([0, 0]).collect()),
        "dword" => (types::DWORD, u32::try_from(number()?).map_err(|_| bad())?.to_le_bytes().to_vec()),
        "qword" => (types::QWORD, number()?.to_le_bytes().to_vec()),
        "hex" => (types::BINARY, hex()?),
        _ => {
            let ty = kind.strip_prefix("hex(").and_then(|k| k.strip_suffix(')')).ok_or_else(bad)?;
            (u32::from_str_radix(ty, 16).map_err(|_| bad())?, hex()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::from_utf16le;

    #[test]
    fn typed_data() {
        assert_eq!(parse_data("dword:0x10").unwrap(), (4, vec![16, 0, 0, 0]));
        assert_eq!(parse_data("sz:a").unwrap(), (1, vec![b'a', 0, 0, 0]));
        assert_eq!(parse_data("hex(7):0a 0b").unwrap(), (7, vec![10, 11]));
        assert_eq!(from_utf16le(&parse_data("multi:a|b").unwrap().1), [97, 0, 98, 0, 0]);
        for bad in ["x", "dword:x", "dword:4294967296", "hex:0", "hex(zz):00", "hex:é"] {
            assert_eq!(parse_data(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
