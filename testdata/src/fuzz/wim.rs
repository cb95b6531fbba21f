//! WIM files: the container as a whole, and metadata resources, which a SHA-1 would keep from being reached.

use reseal_disk::MemoryDisk;
use reseal_wim::{Image, Wim};
use sha1::Digest;
use std::sync::Arc;

/// Contents above this are not unpacked: a chunk of zeros would take all the time.
const MAX_READ: u64 = 1 << 20;

/// The first byte says whether the others are a file or a metadata resource.
pub(super) fn wim(data: &[u8]) {
    match data {
        [0, file @ ..] => container(file),
        [_, metadata @ ..] => image(metadata),
        [] => {}
    }
}

fn container(file: &[u8]) {
    let Ok(wim) = Wim::open(Arc::new(MemoryDisk::new(file.to_vec()))) else { return };
    for number in 1..=wim.header().images.min(4) {
        let _ = wim.image(number);
    }
    for blob in wim.blobs().iter().take(16) {
        let _ = wim.read(blob, MAX_READ);
        let mut part = [0; 100];
        let _ = wim.read_at(blob, blob.size / 2, &mut part);
    }
    let _ = wim.check_integrity();
    let _ = wim.xml();
}

fn image(metadata: &[u8]) {
    let Ok(image) = Image::read(metadata) else { return };
    for file in image.files() {
        let entries: usize =
            image.names(file).map(|(folder, entry)| usize::from(image.is_dir(folder)) + entry.name.len()).sum();
        assert!(file == image.root() || entries > 0, "a file without a name");
        image.descriptor(file);
        image.streams(file);
    }
    // What is written is read back as the same image, and the same bytes are written once more.
    let Ok(written) = image.to_metadata() else { return };
    let again = Image::read(&written).unwrap_or_else(|e| panic!("what was written is refused: {e}"));
    assert_eq!(again.files().count(), image.files().count());
    assert_eq!(again.references(), image.references());
    assert_eq!(again.to_metadata().ok(), Some(written));
}

/// A directory entry: name, attributes, where its children are; its length is in the first eight bytes.
fn dentry(name: &str, attributes: u32, children: u64) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut out = vec![0; 0x66];
    out[8..12].copy_from_slice(&attributes.to_le_bytes());
    out[16..24].copy_from_slice(&children.to_le_bytes());
    out[0x64..0x66].copy_from_slice(&(name.len() as u16).to_le_bytes());
    out.extend(&name);
    out.resize((out.len() + 2).next_multiple_of(8), 0);
    let len = out.len() as u64;
    out[..8].copy_from_slice(&len.to_le_bytes());
    out
}

/// A folder with a folder with a file, one descriptor.
fn metadata() -> Vec<u8> {
    let mut out = [&36u32.to_le_bytes()[..], &1u32.to_le_bytes(), &20u64.to_le_bytes(), &[1; 20], &[0; 4]].concat();
    for (name, attributes, is_last) in [("", 0x10, false), ("folder", 0x10, false), ("file", 0x20, true)] {
        let len = dentry(name, attributes, 0).len();
        // What lies in it follows behind the end of its own folder.
        let own_end = if name.is_empty() { 0 } else { 8 };
        let children = if is_last { 0 } else { (out.len() + len + own_end) as u64 };
        out.extend(dentry(name, attributes, children));
        out.extend(vec![0; own_end]);
    }
    out
}

/// A WIM that holds it, not compressed.
fn file() -> Vec<u8> {
    let metadata = metadata();
    let resource = |flags: u64, offset: u64, len: u64| [len | flags << 56, offset, len].map(u64::to_le_bytes).concat();
    let mut out = vec![0; 208];
    out[..8].copy_from_slice(b"MSWIM\0\0\0");
    out[8..16].copy_from_slice(&[208u32.to_le_bytes(), 0x10d00u32.to_le_bytes()].concat());
    out[0x28..0x30].copy_from_slice(&[1, 0, 1, 0, 1, 0, 0, 0]);
    out.extend(&metadata);
    let table = out.len() as u64;
    out[0x30..0x48].copy_from_slice(&resource(0, table, 50));
    out.extend(resource(2, 208, metadata.len() as u64));
    out.extend([1, 0, 1, 0, 0, 0]);
    out.extend(sha1::Sha1::digest(&metadata));
    out
}

/// Inputs to start from.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![[vec![0], file()].concat(), [vec![1], metadata()].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_sound() {
        let wim = Wim::open(Arc::new(MemoryDisk::new(file()))).unwrap();
        assert_eq!(wim.image(1).unwrap().files().count(), 3);
    }
}
