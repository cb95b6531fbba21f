//! What an image may say of a file and no volume can hold. It is looked for before anything is made, so that an error names the place.

use crate::error::{Error, Kind, Result};
use reseal_dtyp::utf16_lossy;
use reseal_wim::{Entry, FileId, Image, Stream, StreamKind, names};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// `FILE_ATTRIBUTE_ENCRYPTED`.
const ENCRYPTED: u32 = 0x4000;
/// The bit of a tag whose folders may have entries ([MS-FSCC] 2.1.2.1).
const MAY_HAVE_ENTRIES: u32 = 0x1000_0000;
/// UTF-16 units of a path: no program of Windows opens a longer one.
const MAX_PATH: usize = 32_767;
/// UTF-16 units of a stream's name, and what it must not have ([MS-FSCC] 2.1.5.3).
const MAX_STREAM_NAME: usize = 255;
const ILLEGAL_IN_STREAM: [u8; 4] = *b"\0/:\\";

/// A file or a name of an image by its path, which costs nothing until it is shown.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    image: &'a Image,
    file: FileId,
    /// A name in `file`, when it is a folder.
    entry: Option<&'a Entry>,
}

impl<'a> Place<'a> {
    /// A file, by its first name.
    pub(super) fn of(image: &'a Image, file: FileId) -> Place<'a> {
        Place { image, file, entry: None }
    }

    /// A name in a folder.
    pub(super) fn of_entry(image: &'a Image, folder: FileId, entry: &'a Entry) -> Place<'a> {
        Place { image, file: folder, entry: Some(entry) }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<&Entry> = self.entry.into_iter().collect();
        let mut at = self.file;
        // A folder has one name, and none lies in itself.
        while let Some((folder, entry)) = self.image.names(at).next() {
            parts.push(entry);
            at = folder;
        }
        if parts.is_empty() {
            return f.write_str("\\");
        }
        parts.iter().rev().try_for_each(|entry| write!(f, r"\{}", utf16_lossy(&entry.name)))
    }
}

/// The names of a folder from which another one of it differs in case only. `Damaged` when an 8.3 name is that of another
/// file, too: which of them it would mean, the image does not tell.
pub(super) fn of_names(image: &Image, folder: FileId) -> Result<BTreeSet<&Vec<u16>>> {
    let mut long: HashMap<Vec<u16>, u32> = HashMap::new();
    for entry in image.entries(folder) {
        *long.entry(names::upper(&entry.name)).or_default() += 1;
    }
    let mut exact = BTreeSet::new();
    let mut short: HashMap<Vec<u16>, FileId> = HashMap::new();
    for entry in image.entries(folder) {
        let name = names::upper(&entry.name);
        if long.get(&name).is_some_and(|times| *times > 1) {
            // It is made without its 8.3 name.
            exact.insert(&entry.name);
            continue;
        }
        if entry.short_name.is_empty() {
            continue;
        }
        let twin = names::upper(&entry.short_name);
        let is_long = twin != name && long.contains_key(&twin);
        if is_long || *short.entry(twin).or_insert(entry.file) != entry.file {
            let twin = utf16_lossy(&entry.short_name);
            let detail = format!("its 8.3 name `{twin}` collides with a name of another file in the folder");
            return Err(Error::new(Kind::Damaged, detail).subject(Place::of_entry(image, folder, entry).to_string()));
        }
    }
    Ok(exact)
}

/// The length of a path in units, from that of its folder. `Unsupported` for one that Windows could not open.
pub(super) fn of_length(folder: usize, entry: &Entry) -> Result<usize> {
    let len = folder + 1 + entry.name.len();
    if len > MAX_PATH {
        // All of it would fill the screen.
        let place = format!(r"…\{}", utf16_lossy(&entry.name));
        let detail = format!("a path of {len} characters, of which Windows opens {MAX_PATH} at most");
        return Err(Error::new(Kind::Unsupported, detail).subject(place));
    }
    Ok(len)
}

/// `Unsupported` for a file that NTFS could hold and this program does not make, `Damaged` for one that cannot be.
pub(super) fn of_file(image: &Image, file: FileId) -> Result<()> {
    let streams = image.streams(file);
    let is_raw = |stream: &Stream| stream.kind == StreamKind::EncryptedRaw;
    if image.attributes(file) & ENCRYPTED != 0 || streams.iter().any(is_raw) {
        return Err(Error::new(Kind::Unsupported, "the file is encrypted (EFS)")
            .hint("decrypt it in Windows and capture the image anew"));
    }
    if image.is_reparse(file) && file == image.root() {
        return Err(Error::new(Kind::Unsupported, "the root is a reparse point, and that of a volume is none"));
    }
    let tag = image.reparse_tag(file);
    if image.is_reparse(file) && tag & MAY_HAVE_ENTRIES == 0 && image.entries(file).next().is_some() {
        let detail = format!("a reparse point with the tag {tag:#010x} has entries, which Windows would not find");
        return Err(Error::new(Kind::Damaged, detail));
    }
    of_streams(streams.iter().filter(|stream| stream.kind == StreamKind::Data), image.is_dir(file))
}

fn of_streams<'a>(streams: impl Iterator<Item = &'a Stream>, is_dir: bool) -> Result<()> {
    let mut known = BTreeSet::new();
    for stream in streams {
        if is_dir && stream.name.is_empty() {
            return Err(Error::new(Kind::Damaged, "a folder has content"));
        }
        let name = utf16_lossy(&stream.name);
        let is_illegal = |unit: &u16| u8::try_from(*unit).is_ok_and(|byte| ILLEGAL_IN_STREAM.contains(&byte));
        if stream.name.len() > MAX_STREAM_NAME || stream.name.iter().any(is_illegal) {
            let units = stream.name.len();
            let detail = format!("no stream can have this name: `{name}`, {units} characters of {MAX_STREAM_NAME}");
            return Err(Error::new(Kind::Unsupported, detail));
        }
        if !known.insert(names::upper(&stream.name)) {
            return Err(Error::new(Kind::Damaged, format!("the file has the stream `{name}` twice")));
        }
    }
    Ok(())
}
