//! Directory entries of a metadata resource: names, times, streams.

use crate::blobs::Sha1Hash;
use crate::image::File;
use reseal_dtyp::{Error, FileTime, Kind, Result, View, from_utf16le};

/// Length without names.
const FIXED: usize = 0x66;
/// Length of an entry for a further stream, without its name.
const STREAM_FIXED: usize = 38;
/// `FILE_ATTRIBUTE_REPARSE_POINT`.
pub(crate) const REPARSE_POINT: u32 = 0x400;
/// `FILE_ATTRIBUTE_DIRECTORY`.
pub(crate) const DIRECTORY: u32 = 0x10;
/// `FILE_ATTRIBUTE_ENCRYPTED`.
pub(crate) const ENCRYPTED: u32 = 0x4000;

/// Times of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// When it was made.
    pub created: FileTime,
    /// When its content was read last.
    pub accessed: FileTime,
    /// When its content was written last.
    pub written: FileTime,
}

/// What a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StreamKind {
    /// Content.
    Data,
    /// What a reparse point points at; without the tag.
    Reparse,
    /// An encrypted file as `ReadEncryptedFileRaw` gives it.
    EncryptedRaw,
}

/// A stream of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stream {
    /// What it is.
    pub kind: StreamKind,
    /// Its name; empty for the unnamed one.
    pub name: Vec<u16>,
    /// SHA-1 of its content; zeros for an empty one.
    pub hash: Sha1Hash,
}

/// What else an entry holds; it is kept as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Extra {
    /// Two numbers at 0x18 that nobody uses.
    reserved: [u8; 16],
    /// The number at 0x54.
    before_tag: [u8; 4],
    /// Of a reparse point: whether its target was fixed.
    behind_tag: [u8; 4],
    /// Tagged items behind the names, such as an object id.
    items: Vec<u8>,
}

/// Tag of an object id among the tagged items: FILE_OBJECTID_BUFFER.
const OBJECT_ID: u32 = 1;

impl Extra {
    /// The object id among the tagged items: each is a tag and a length, both of four bytes, then its bytes, padded to eight.
    pub(crate) fn object_id(&self) -> Option<&[u8]> {
        let mut rest = self.items.as_slice();
        while let Some((head, body)) = rest.split_first_chunk::<8>() {
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let len = word(4) as usize;
            let item = body.get(..len)?;
            match word(0) {
                0 => return None,
                OBJECT_ID => return item.get(..64).or_else(|| item.get(..16)),
                _ => rest = body.get(len.next_multiple_of(8)..)?,
            }
        }
        None
    }
}

/// One directory entry as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Dentry {
    pub(crate) attributes: u32,
    /// Index into the security data; -1 for none.
    pub(crate) security: i32,
    /// Where the entries of a folder begin; 0 for none.
    pub(crate) children: u64,
    pub(crate) times: Times,
    /// Files with the same one, other than 0, are one file with several names.
    pub(crate) link_group: u64,
    pub(crate) reparse_tag: u32,
    pub(crate) name: Vec<u16>,
    pub(crate) short_name: Vec<u16>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) extra: Extra,
    /// Bytes to the next entry.
    pub(crate) len: usize,
}

/// Reads the entry at `at` of a metadata resource; `None` at the end of a folder.
pub(crate) fn read(metadata: &View<'_>, at: usize) -> Result<Option<Dentry>> {
    let own = metadata.u64(at, "dentry length")?;
    if own <= 8 {
        return Ok(None);
    }
    let len = usize::try_from(own).ok().filter(|len| *len >= FIXED);
    let len =
        len.ok_or_else(|| metadata.damaged(at, "dentry length", format!("{own} bytes, at least {FIXED} are needed")))?;
    let view = metadata.part("dentry", at, len)?;
    let attributes = view.u32(0x8, "attributes")?;
    let is_reparse = attributes & REPARSE_POINT != 0;
    let (name_len, short_len) = (view.u16(0x64, "name length")?, view.u16(0x62, "short name length")?);
    let name = from_utf16le(view.bytes(FIXED, usize::from(name_len), "name")?);
    // A name is followed by a zero that its length does not count.
    let short_at = FIXED + if name_len > 0 { usize::from(name_len) + 2 } else { 0 };
    let short_name = from_utf16le(view.bytes(short_at, usize::from(short_len), "short name")?);
    let time = |at| view.u64(at, "time").map(FileTime);
    let times = Times { created: time(0x28)?, accessed: time(0x30)?, written: time(0x38)? };
    let (streams, end) = streams(metadata, &view, at, attributes)?;
    let names_end = short_at + if short_len > 0 { usize::from(short_len) + 2 } else { 0 };
    let items = names_end.next_multiple_of(8).min(len);
    let extra = Extra {
        reserved: array(&view, 0x18, "reserved")?,
        before_tag: array(&view, 0x54, "reserved")?,
        behind_tag: if is_reparse { array(&view, 0x5c, "reparse flags")? } else { [0; 4] },
        items: view.bytes(items, len - items, "tagged items")?.to_vec(),
    };
    Ok(Some(Dentry {
        attributes,
        security: view.i32(0xc, "security id")?,
        children: view.u64(0x10, "subdirectory offset")?,
        times,
        link_group: if is_reparse { 0 } else { view.u64(0x58, "hard-link group")? },
        reparse_tag: if is_reparse { view.u32(0x58, "reparse tag")? } else { 0 },
        name,
        short_name,
        streams,
        extra,
        len: end - at,
    }))
}

fn array<const N: usize>(view: &View<'_>, at: usize, what: &'static str) -> Result<[u8; N]> {
    let mut out = [0; N];
    out.copy_from_slice(view.bytes(at, N, what)?);
    Ok(out)
}

fn hash(view: &View<'_>, at: usize) -> Result<Sha1Hash> {
    array(view, at, "SHA-1")
}

/// The streams, and where the next entry begins. What an unnamed stream is follows from the attributes and from the order.
fn streams(metadata: &View<'_>, view: &View<'_>, at: usize, attributes: u32) -> Result<(Vec<Stream>, usize)> {
    let mut all = vec![(Vec::new(), hash(view, 0x40)?)];
    let mut end = at + view.len().next_multiple_of(8);
    for _ in 0..view.u16(0x60, "further streams")? {
        let own = metadata.u64(end, "stream entry length")?;
        let len = usize::try_from(own).ok().filter(|len| *len >= STREAM_FIXED);
        let len = len.ok_or_else(|| {
            metadata.damaged(end, "stream entry length", format!("{own} bytes, at least {STREAM_FIXED} are needed"))
        })?;
        let entry = metadata.part("stream entry", end, len)?;
        let name_len = entry.u16(0x24, "name length")?;
        all.push((from_utf16le(entry.bytes(STREAM_FIXED, usize::from(name_len), "name")?), hash(&entry, 0x10)?));
        end += len.next_multiple_of(8);
    }
    let (mut out, mut has_reparse, mut has_data): (Vec<Stream>, _, _) = (Vec::new(), false, false);
    for (index, (name, hash)) in all.into_iter().enumerate() {
        let is_named = !name.is_empty();
        let kind = if attributes & ENCRYPTED != 0 && !is_named {
            StreamKind::EncryptedRaw
        } else if !is_named && attributes & REPARSE_POINT != 0 && !has_reparse && (index > 0 || hash != [0; 20]) {
            StreamKind::Reparse
        } else {
            StreamKind::Data
        };
        // The first entry is empty where the unnamed stream stands among the others.
        let is_filler = !is_named && hash == [0; 20];
        has_reparse |= kind == StreamKind::Reparse;
        if is_filler || (!is_named && kind == StreamKind::Data && has_data) {
            continue;
        }
        has_data |= !is_named && kind == StreamKind::Data;
        out.push(Stream { kind, name, hash });
    }
    if !has_data && attributes & (DIRECTORY | REPARSE_POINT | ENCRYPTED) == 0 {
        out.insert(0, Stream { kind: StreamKind::Data, name: Vec::new(), hash: [0; 20] });
    }
    Ok((out, end))
}

/// Writes an entry; returns where the offset of its folder's entries stands, to be filled in. `Limit` for names and streams
/// that an entry cannot state.
pub(crate) fn write(
    out: &mut Vec<u8>,
    file: &File,
    (name, short_name): (&[u16], &[u16]),
    link_group: u64,
) -> Result<usize> {
    let start = out.len();
    let streams = stored_streams(file);
    let [main, further @ ..] = streams.as_slice() else { return Ok(start) };
    let is_reparse = file.attributes & REPARSE_POINT != 0;
    out.extend([0; 8]);
    out.extend(file.attributes.to_le_bytes());
    out.extend(file.security.map_or(-1, |id| id as i32).to_le_bytes());
    out.extend([0; 8]);
    out.extend(file.extra.reserved);
    for time in [file.times.created, file.times.accessed, file.times.written] {
        out.extend(time.0.to_le_bytes());
    }
    out.extend(main.1);
    out.extend(file.extra.before_tag);
    if is_reparse {
        out.extend(file.reparse_tag.to_le_bytes());
        out.extend(file.extra.behind_tag);
    } else {
        out.extend(link_group.to_le_bytes());
    }
    out.extend(length(further.len(), "streams")?);
    out.extend(length(2 * short_name.len(), "bytes of an 8.3 name")?);
    out.extend(length(2 * name.len(), "bytes of a name")?);
    for name in [name, short_name].into_iter().filter(|name| !name.is_empty()) {
        out.extend(name.iter().chain(&[0]).flat_map(|unit| unit.to_le_bytes()));
    }
    pad(out, start);
    out.extend(&file.extra.items);
    let len = (out.len() - start) as u64;
    out[start..start + 8].copy_from_slice(&len.to_le_bytes());
    pad(out, start);
    for (name, hash) in further {
        let stream = out.len();
        let name_len = 2 * name.len();
        // The name is followed by a zero, as that of the entry.
        let len = STREAM_FIXED + if name_len > 0 { name_len + 2 } else { 0 };
        out.extend((len.next_multiple_of(8) as u64).to_le_bytes());
        out.extend([0; 8]);
        out.extend(hash);
        out.extend(length(name_len, "bytes of a stream's name")?);
        out.extend(name.iter().flat_map(|unit| unit.to_le_bytes()));
        out.resize(stream + len, 0);
        pad(out, stream);
    }
    Ok(start + 0x10)
}

/// Streams as an entry has them, the first one in the entry itself: the only one, when it has no name, else nothing.
fn stored_streams(file: &File) -> Vec<(&[u16], Sha1Hash)> {
    match file.streams.as_slice() {
        [] => vec![(&[], [0; 20])],
        [only] if only.name.is_empty() => vec![(&[], only.hash)],
        all => {
            let mut all: Vec<&Stream> = all.iter().collect();
            // What a reparse point points at is the first one without a name.
            all.sort_by_key(|stream| (!stream.name.is_empty(), stream.kind == StreamKind::Data));
            let further = all.into_iter().map(|stream| (stream.name.as_slice(), stream.hash));
            std::iter::once((&[][..], [0; 20])).chain(further).collect()
        }
    }
}

fn length(len: usize, what: &str) -> Result<[u8; 2]> {
    let fits = u16::try_from(len).map(u16::to_le_bytes);
    fits.map_err(|_| Error::new(Kind::Limit, format!("{len} {what}, a directory entry states at most {}", u16::MAX)))
}

fn pad(out: &mut Vec<u8>, start: usize) {
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
}
