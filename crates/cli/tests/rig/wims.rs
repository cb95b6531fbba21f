//! WIMs made by hand: images that no program would capture.

use super::Bench;
use reseal_dtyp::Guid;
use reseal_wim::{
    Compression, FileId, Finished, Header, Image, NewFile, Sha1Hash, Storage, Stream, StreamKind, Writer, hash_of,
};

pub(crate) const FOLDER: u32 = 0x10;
pub(crate) const ARCHIVE: u32 = 0x20;
pub(crate) const REPARSE_POINT: u32 = 0x400;

pub(crate) fn stream(name: &[u16], content: &[u8]) -> Stream {
    let hash = if content.is_empty() { [0; 20] } else { hash_of(content) };
    Stream { kind: StreamKind::Data, name: name.to_vec(), hash }
}

pub(crate) fn folder() -> NewFile {
    NewFile { attributes: FOLDER, ..NewFile::default() }
}

/// A file with this content, which the WIM is to hold.
pub(crate) fn file(content: &[u8]) -> NewFile {
    NewFile { attributes: ARCHIVE, streams: vec![stream(&[], content)], ..NewFile::default() }
}

/// What a reparse point points at.
pub(crate) fn target(rest: &[u8]) -> Stream {
    Stream { kind: StreamKind::Reparse, ..stream(&[], rest) }
}

/// A file that is a reparse point.
pub(crate) fn reparse_point(tag: u32, streams: Vec<Stream>) -> NewFile {
    NewFile { attributes: ARCHIVE | REPARSE_POINT, reparse_tag: tag, streams, ..NewFile::default() }
}

/// A file in the root, under a name of ASCII.
pub(crate) fn add(image: &mut Image, name: &str, new: NewFile) -> FileId {
    let name: Vec<u16> = name.encode_utf16().collect();
    image.create(image.root(), &name, &[], new)
}

/// Contents, each under its own SHA-1.
pub(crate) fn honest<'a>(contents: &[&'a [u8]]) -> Vec<(Sha1Hash, &'a [u8])> {
    contents.iter().map(|content| (hash_of(content), *content)).collect()
}

/// Writes a WIM with one image and these contents, each under the SHA-1 that stands beside it.
pub(crate) fn write(
    bench: &Bench,
    name: &str,
    compression: Compression,
    contents: &[(Sha1Hash, &[u8])],
    fill: impl FnOnce(&mut Image),
) -> String {
    let mut bytes = vec![0; 208];
    let chunk = if compression == Compression::None { 0 } else { 32 << 10 };
    let mut writer =
        Writer::new(&mut bytes, Header::new(compression, chunk, Guid([7; 16])), Storage::Compressed, false);
    let mut image = Image::new(folder());
    fill(&mut image);
    for (hash, content) in contents {
        writer.hashed_blob(*hash, content, None).expect("written to memory");
    }
    writer.image(&image).expect("an image that an entry can state");
    let xml = "\u{feff}<WIM><IMAGE INDEX=\"1\"><NAME>made by hand</NAME></IMAGE></WIM>";
    let xml: Vec<u8> = xml.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut references = image.references();
    // A WIM that lacks what its image names is not written otherwise.
    references.retain(|hash, _| writer.has(hash));
    let Finished { header, len } = writer.finish(&references, 0, &xml).expect("written to memory");
    bytes.truncate(len as usize);
    bytes[..208].copy_from_slice(&header);
    bench.write(name, &bytes)
}

/// [`write`] without compression, with honest contents.
pub(crate) fn by_hand(bench: &Bench, name: &str, contents: &[&[u8]], fill: impl FnOnce(&mut Image)) -> String {
    write(bench, name, Compression::None, &honest(contents), fill)
}
