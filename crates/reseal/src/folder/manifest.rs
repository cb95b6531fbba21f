//! The undo manifest: what stood there before, in a folder beside the mount, made durable before anything is changed.
//!
//! `contents` holds bytes one behind the other; `manifest` is a line with the SHA-256 of the rest, and JSON.

use super::host::Host;
use super::work::At;
use crate::error::{Error, Kind, Result, Within};
use reseal_dtyp::Error as FormatError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A manifest above this is none of ours.
const MAX_MANIFEST: u64 = 1 << 30;
const SCHEMA: &str = "reseal.undo-manifest/1";
/// What lies in the root of the volume while it is half written.
pub(super) const MARK: &str = "reseal-interrupted.txt";

/// A name of the host: text where it is such.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum HostName {
    Text(String),
    Bytes(Vec<u8>),
}

/// A place on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place(Vec<HostName>);

impl From<&At> for Place {
    fn from(at: &At) -> Place {
        let name = |name: &OsString| match name.to_str() {
            Some(text) => HostName::Text(text.to_owned()),
            None => HostName::Bytes(name.as_bytes().to_vec()),
        };
        Place(at.way.iter().chain([&at.name]).map(name).collect())
    }
}

impl Place {
    /// The place after renames, from the deepest: each names folders above as they were.
    pub(super) fn after(&self, renamed: &[(Place, Place, Traits)]) -> Place {
        let mut names = self.0.clone();
        for (from, to, _) in renamed {
            if names.starts_with(&from.0) {
                names.splice(..from.0.len(), to.0.iter().cloned());
            }
        }
        Place(names)
    }

    /// `Damaged` for what would lead elsewhere.
    pub(super) fn at(&self) -> Result<At> {
        let host = |name: &HostName| match name {
            HostName::Text(text) => OsString::from(text),
            HostName::Bytes(bytes) => OsString::from_vec(bytes.clone()),
        };
        let mut way: Vec<OsString> = self.0.iter().map(host).collect();
        let is_name = |name: &OsString| {
            !matches!(name.as_bytes(), b"" | b"." | b"..") && !name.as_bytes().iter().any(|b| matches!(b, b'/' | 0))
        };
        let is_root = way == [OsStr::new(".")];
        match way.pop() {
            Some(name) if is_root || way.iter().chain([&name]).all(is_name) => Ok(At { way, name }),
            _ => Err(damaged("a name that is none")),
        }
    }
}

/// Bytes in `contents`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Blob {
    offset: u64,
    bytes: u64,
    pub(super) sha256: String,
}

/// What a file has beside its content; `None` for what the mount does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traits {
    pub(super) attributes: Option<u32>,
    /// Created, written, accessed, as ntfs-3g tells them.
    pub(super) times: Option<Vec<u8>>,
    /// Written and accessed, as any host tells them.
    pub(super) host_times: (u64, u64),
    /// Number of the descriptor.
    pub(super) descriptor: Option<usize>,
    pub(super) short_name: Option<Vec<u8>>,
    /// Streams and what else stands in extended attributes.
    pub(super) others: Vec<(Vec<u8>, Blob)>,
}

/// What was there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Content {
    pub(super) place: Place,
    pub(super) traits: Traits,
    pub(super) size: u64,
    /// The bytes that are written over, by their offset.
    pub(super) pieces: Vec<(u64, Blob)>,
    /// The name beside it under which the new file is made.
    pub(super) temporary: Option<Place>,
    /// SHA-256 of the new content.
    pub(super) after: String,
}

/// A name that goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Removed {
    pub(super) place: Place,
    pub(super) traits: Traits,
    pub(super) what: Was,
}

/// What a name was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Was {
    File(Blob),
    Folder,
    /// A reparse point: its target as the host shows it.
    Link(Vec<u8>),
    /// Another name of a file.
    NameOf(Place),
}

/// Everything that a commit changes, as it was.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) schema: String,
    /// The folder, for people.
    pub(super) folder: String,
    /// The inode of the root, and when it was created: another volume has others.
    pub(super) root: (u64, Option<Vec<u8>>),
    pub(super) descriptors: Vec<Vec<u8>>,
    pub(super) contents: Vec<Content>,
    pub(super) secured: Vec<(Place, usize)>,
    pub(super) removed: Vec<Removed>,
    /// What is made, and whether it is a folder.
    pub(super) made: Vec<(Place, bool)>,
    /// From, to, and what a rename may change.
    pub(super) renamed: Vec<(Place, Place, Traits)>,
    /// Folders and their times.
    pub(super) touched: Vec<(Place, Traits)>,
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Damaged, format!("the undo manifest cannot be trusted: {what}"))
}

fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let what = format!("cannot {what} {}", path.display());
    |e| FormatError::io(what, e).into()
}

/// Where manifests of a folder lie.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    beside: PathBuf,
    name: OsString,
}

impl Shelf {
    /// Beside the folder where the volume is mounted, or in the folder that the user names. `Usage` when that lies on the volume
    /// itself.
    pub(super) fn of(host: &Host, journal: Option<&Path>) -> Result<Shelf> {
        let parent = host.path.parent().map(Path::to_owned);
        let beside = journal.map(Path::to_owned).or(parent).unwrap_or_else(|| PathBuf::from("/"));
        let metadata = std::fs::metadata(&beside).map_err(io("look at", &beside))?;
        if metadata.dev() == host.device() || !metadata.is_dir() {
            let detail = format!("the undo manifest would lie on the volume that is changed: {}", beside.display());
            return Err(Error::new(Kind::Usage, detail)
                .hint("name the folder where the volume is mounted, or give `--journal DIR` on another one"));
        }
        let name = host.path.file_name().unwrap_or(OsStr::new("volume")).to_owned();
        Ok(Shelf { beside, name })
    }

    fn path(&self, suffix: &str) -> PathBuf {
        let mut name = self.name.clone();
        name.push(suffix);
        self.beside.join(name)
    }

    /// Of a commit that was decided and has not ended.
    pub(super) fn running(&self) -> PathBuf {
        self.path(".reseal-undo")
    }

    /// Of a commit that ended, and can be taken back.
    pub(super) fn kept(&self) -> PathBuf {
        self.path(".reseal-kept")
    }

    /// Of one that is not decided.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.path(".reseal-undo.new")
    }

    pub(super) fn sync(&self) -> Result<()> {
        File::open(&self.beside).and_then(|folder| folder.sync_all()).map_err(io("write out", &self.beside))
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::rename(from, to).map_err(io("rename", from))?;
        self.sync()
    }

    /// Removes a manifest, if it is there: at no instant half of it has its name.
    pub(super) fn remove(&self, path: &Path) -> Result<()> {
        if path != self.unfinished() {
            match std::fs::rename(path, self.unfinished()) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                other => other.map_err(io("rename", path))?,
            }
            self.sync()?;
        }
        match std::fs::remove_dir_all(self.unfinished()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(io("remove", &self.unfinished())),
        }
    }
}

/// `Interrupted` when a commit to the folder began and did not end.
pub(super) fn refuse_interrupted(host: &Host) -> Result<()> {
    let hint =
        "run `reseal recover FOLDER`, with `--journal DIR` when the commit was given one: it puts the old state back";
    let beside = Shelf::of(host, None).is_ok_and(|shelf| shelf.running().exists());
    if beside || host.folder(&[])?.exists(OsStr::new(MARK))? {
        let detail = "a commit was interrupted, and the volume is half written";
        return Err(Error::new(Kind::Interrupted, detail).hint(hint));
    }
    Ok(())
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 as it stands in manifests.
pub(super) fn digest_of(mut bytes: impl FnMut(u64, &mut [u8]) -> reseal_dtyp::Result<usize>) -> Result<String> {
    let (mut digest, mut buf, mut at) = (Sha256::new(), vec![0; 1 << 20], 0);
    loop {
        match bytes(at, &mut buf)? {
            0 => return Ok(hex(&digest.finalize())),
            n => {
                digest.update(&buf[..n]);
                at += n as u64;
            }
        }
    }
}

/// A manifest that is being written.
pub(super) struct Writer {
    folder: PathBuf,
    contents: BufWriter<File>,
    len: u64,
}

impl Writer {
    pub(super) fn new(shelf: &Shelf) -> Result<Writer> {
        let folder = shelf.unfinished();
        shelf.remove(&folder)?;
        std::fs::create_dir(&folder).map_err(io("make", &folder))?;
        let path = folder.join("contents");
        let file = File::options().write(true).create_new(true).open(&path).map_err(io("make", &path))?;
        Ok(Writer { folder, contents: BufWriter::with_capacity(1 << 20, file), len: 0 })
    }

    /// Takes bytes over.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<Blob> {
        let mut rest = bytes;
        self.copy(|_, buf| {
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            Ok(n)
        })
    }

    /// Takes over what a reader gives by offset.
    pub(super) fn copy(&mut self, mut bytes: impl FnMut(u64, &mut [u8]) -> reseal_dtyp::Result<usize>) -> Result<Blob> {
        let (start, mut digest, mut buf) = (self.len, Sha256::new(), vec![0; 64 << 10]);
        loop {
            let n = bytes(self.len - start, &mut buf)?;
            if n == 0 {
                return Ok(Blob { offset: start, bytes: self.len - start, sha256: hex(&digest.finalize()) });
            }
            digest.update(&buf[..n]);
            self.contents.write_all(&buf[..n]).map_err(io("write", &self.folder))?;
            self.len += n as u64;
        }
    }

    /// Makes all of it durable, and gives it its name: from then on the commit is decided. The bytes that it takes.
    pub(super) fn finish(self, shelf: &Shelf, mut manifest: Manifest) -> Result<u64> {
        SCHEMA.clone_into(&mut manifest.schema);
        let Writer { folder, contents, len } = self;
        let contents = contents.into_inner().map_err(|e| io("write", &folder)(e.into_error()))?;
        contents.sync_all().map_err(io("write", &folder))?;
        let json = serde_json::to_vec(&manifest).map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
        let text = [hex(&Sha256::digest(&json)).as_bytes(), b"\n", &json].concat();
        let path = folder.join("manifest");
        let write = || -> std::io::Result<()> {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(&text)?;
            file.sync_all()?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(io("write", &path))?;
        shelf.rename(&folder, &shelf.running())?;
        Ok(len + text.len() as u64)
    }
}

/// A manifest that is read.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) manifest: Manifest,
    contents: File,
    len: u64,
}

impl Reader {
    /// `Damaged` for one that is not as it was written.
    pub(super) fn open(folder: &Path) -> Result<Reader> {
        let read = || -> Result<Reader> {
            let path = folder.join("manifest");
            let file = File::open(&path).map_err(io("open", &path))?;
            if file.metadata().map_err(io("look at", &path))?.len() > MAX_MANIFEST {
                return Err(damaged("it is too large"));
            }
            let mut text = Vec::new();
            file.take(MAX_MANIFEST).read_to_end(&mut text).map_err(io("read", &path))?;
            let end = text.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("it has no checksum"))?;
            let (digest, json) = (&text[..end], &text[end + 1..]);
            if digest != hex(&Sha256::digest(json)).as_bytes() {
                return Err(damaged("its checksum does not fit"));
            }
            let manifest: Manifest = serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))?;
            if manifest.schema != SCHEMA {
                return Err(damaged(&format!("its form is `{}`", manifest.schema)));
            }
            let path = folder.join("contents");
            let contents = File::open(&path).map_err(io("open", &path))?;
            let len = contents.metadata().map_err(io("look at", &path))?.len();
            Ok(Reader { manifest, contents, len })
        };
        read().within(folder.display())
    }

    /// Gives bytes that were kept to `sink`, piece by piece with their offset; `Damaged`, before anything was given, when they are
    /// not as they were written.
    pub(super) fn give(&self, blob: &Blob, mut sink: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
        let end = blob.offset.checked_add(blob.bytes).filter(|end| *end <= self.len);
        end.ok_or_else(|| damaged("it names bytes behind its end"))?;
        let read = |at: u64, buf: &mut [u8]| {
            let n = usize::try_from(blob.bytes - at).unwrap_or(usize::MAX).min(buf.len());
            let read = self.contents.read_exact_at(&mut buf[..n], blob.offset + at);
            read.map_err(|e| FormatError::io("cannot read the undo manifest", e)).map(|()| n)
        };
        if digest_of(read)? != blob.sha256 {
            return Err(damaged("its contents are not what it kept"));
        }
        let (mut buf, mut at) = (vec![0; 64 << 10], 0);
        while at < blob.bytes {
            let n = read(at, &mut buf)?;
            sink(at, &buf[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    /// The same, whole: for what is small.
    pub(super) fn bytes(&self, blob: &Blob) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        self.give(blob, |_, bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(out)
    }
}
