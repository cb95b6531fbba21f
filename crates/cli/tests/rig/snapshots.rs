//! Shadow copies that no Windows made, in the layout that the libvshadow documentation describes: header, catalog, stores.

use reseal_dtyp::Guid;
use reseal_ntfs::{Security, Volume};
use std::path::Path;

const IDENTIFIER: &str = "3808876b-c176-4e48-b7ae-04046e6cc752";
/// Bytes of a block.
const BLOCK: usize = 0x4000;
/// Where the header lies.
pub(crate) const HEADER: u64 = 0x1e00;
/// Where the folder is.
pub(crate) const FOLDER: &str = "System Volume Information";

fn guid(text: &str) -> [u8; 16] {
    Guid::parse(text).expect("a constant").0
}

fn store_id(n: u32) -> String {
    format!("de81cc{n:02x}-aa8b-11eb-9339-8cdcd4557abc")
}

/// A block with its head: version, record type, offset in the file, offset on the volume, next block.
fn block(record: u32, relative: u64, at: u64, next: u64) -> Vec<u8> {
    let mut out = guid(IDENTIFIER).to_vec();
    out.extend([1, record].map(u32::to_le_bytes).concat());
    out.extend([relative, at, next].map(u64::to_le_bytes).concat());
    out.resize(BLOCK, 0);
    out
}

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}

/// Names of the files that hold `count` copies: the catalog first.
pub(crate) fn names(count: u32) -> Vec<String> {
    let stores = (1..=count).map(|n| format!("{{{}}}{{{IDENTIFIER}}}", store_id(n)));
    std::iter::once(format!("{{{IDENTIFIER}}}")).chain(stores).collect()
}

/// Makes the files of `count` copies and what Windows keeps beside them; `text` stands in each store. [`connect`] fills them.
pub(crate) fn plant(volume: &mut Volume, count: u32, text: &[u8]) {
    let now = reseal::FileTime::from_unix(1_700_000_000);
    let root = volume.root();
    let folder = volume.create_dir(root, FOLDER, Security::SameAs(root), now).expect("a folder");
    for (n, name) in names(count).iter().enumerate() {
        // The catalog has four blocks; a store its header, a list of blocks, two of ranges and bitmaps, and data.
        let mut content = vec![0; if n == 0 { 4 * BLOCK } else { 8 * BLOCK }];
        put(&mut content, BLOCK * 3 + 0x100, if n == 0 { &[] } else { text });
        // A sector that is not zero at its start keeps the clusters in place, whatever the content.
        volume.create_file(folder, name, &content, Security::SameAs(folder), now).expect("a file");
    }
    let points = volume.create_dir(folder, "SPP", Security::SameAs(folder), now).expect("a folder");
    volume.create_file(points, "metadata-2", text, Security::SameAs(points), now).expect("a file");
    volume.create_file(folder, "tracking.log", &[7; 100], Security::SameAs(folder), now).expect("a file");
}

/// Which entries the catalog has for a copy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halves {
    /// What was copied, and where it is stored.
    Both,
    /// Only what was copied: it is stored on another volume.
    Copied,
    /// Only where it is stored: it is a copy of another volume.
    Stored,
}

/// Writes header, catalog and the heads of stores into the raw image of a volume that lies at byte `base` of it.
pub(crate) fn connect(image: &Path, base: u64, volume: &Volume, count: u32, halves: Halves) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(image).expect("it is there");
    let place = |name: &str| {
        let node = volume.resolve(&format!(r"{FOLDER}\{name}")).expect("a path").expect("it was planted");
        let stream = volume.stream(node, &[]).expect("content");
        let (at, len) = stream.place(0).expect("a run").expect("no hole");
        assert!(len >= stream.size(), "{name} lies in one piece");
        (node, at)
    };
    let write = |at: u64, bytes: &[u8]| file.write_all_at(bytes, base + at).expect("it can be written");
    let names = names(count);
    let (_, catalog) = place(&names[0]);
    let step = BLOCK as u64;
    let mut first = block(2, 0, catalog, catalog + step);
    let mut entry = 0x80;
    let info = volume.info();
    let size = info.clusters * u64::from(info.cluster_size);
    for n in 1..=count {
        let (node, at) = place(&names[n as usize]);
        let id = guid(&store_id(n));
        if halves != Halves::Stored {
            put(&mut first, entry, &[2u64.to_le_bytes(), size.to_le_bytes()].concat());
            put(&mut first, entry + 0x10, &id);
            put(
                &mut first,
                entry + 0x20,
                &[u64::from(n), 0x40, 0x01d7_3eb1_0441_23a0 + u64::from(n)].map(u64::to_le_bytes).concat(),
            );
            entry += 0x80;
        }
        if halves != Halves::Copied {
            put(&mut first, entry, &[3u64.to_le_bytes(), (at + step).to_le_bytes()].concat());
            put(&mut first, entry + 0x10, &id);
            put(&mut first, entry + 0x20, &[at, at + 2 * step, at + 4 * step, node.0].map(u64::to_le_bytes).concat());
            put(&mut first, entry + 0x40, &(8 * step).to_le_bytes());
            entry += 0x80;
        }
        store(&write, at, n);
    }
    write(catalog, &first);
    for n in 1..4 {
        write(
            catalog + n * step,
            &block(2, n * step, catalog + n * step, if n < 3 { catalog + (n + 1) * step } else { 0 }),
        );
    }
    let mut header = block(1, HEADER, HEADER, 0);
    header.truncate(512);
    put(&mut header, 0x30, &[catalog, 64 << 20].map(u64::to_le_bytes).concat());
    let own = guid("de81cbfd-aa8b-11eb-9339-8cdcd4557abc");
    put(&mut header, 0x40, &[own, own].concat());
    write(HEADER, &header);
}

/// The head of a store with what it says of the copy, and an empty list of blocks, of ranges and two bitmaps.
fn store(write: &dyn Fn(u64, &[u8]), at: u64, n: u32) {
    let step = BLOCK as u64;
    let mut head = block(4, 0, at, 0);
    let mut told = Vec::new();
    for id in [n + 0x20, n + 0x40, n + 0x60] {
        told.extend(guid(&store_id(id)));
    }
    told.extend([9u32, 0, 0x0042_0009].map(u32::to_le_bytes).concat());
    let text: Vec<u8> = "GOLD-07".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for _ in 0..2 {
        told.extend((text.len() as u16).to_le_bytes());
        told.extend(&text);
    }
    put(&mut head, 0x30, &(told.len() as u64).to_le_bytes());
    put(&mut head, 0x80, &told);
    write(at, &head);
    for (record, index) in [(3, 1), (5, 2), (6, 4)] {
        write(at + index * step, &block(record, index * step, at + index * step, 0));
    }
}
