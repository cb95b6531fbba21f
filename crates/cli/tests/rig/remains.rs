//! Remains of what was deleted: texts in bytes of an image that belong to nothing.

use super::canaries::encoded;
use reseal_disk::{Disk, WriteAt};
use reseal_dtyp::Guid;
use reseal_ntfs::{ByteOwner, Part, Volume};
use std::path::Path;
use std::sync::Arc;

/// Kinds of such bytes.
pub(crate) const KINDS: [&str; 6] = ["free", "tail", "record", "free record", "index", "log"];

/// The text that is planted in a kind of place.
pub(crate) fn text(kind: &str) -> String {
    format!("what was deleted from {kind} of old")
}

fn kind_of(volume: &Volume, owner: &ByteOwner, part: Part) -> Option<&'static str> {
    const LOG_FILE: u64 = 2;
    match (owner, part) {
        (ByteOwner::File { file, kind: 0x80, .. }, _) if file.record() == LOG_FILE => Some("log"),
        (_, Part::Content | Part::Attribute(_)) => None,
        (ByteOwner::Free, _) => None,
        (ByteOwner::Record(number), _) => {
            let used = volume.reference_of(*number).and_then(|file| volume.path_of(file)).is_ok();
            // Those below are the volume's own, and spare ones.
            (*number >= 64).then_some(if used { "record" } else { "free record" })
        }
        (ByteOwner::File { kind: 0xa0, .. }, _) => Some("index"),
        (ByteOwner::File { file, kind: 0x80, .. }, _) if file.record() >= 64 => {
            // A file that no step removes or writes.
            volume.path_of(*file).is_ok_and(|path| path.contains("Program Files")).then_some("tail")
        }
        _ => None,
    }
}

/// Plants a text in each kind of place, and `free` times in free clusters; makes `$LogFile` a used, clean one. The result
/// is a new image.
pub(crate) fn plant(image: &Path, out: &Path, mut free: usize) {
    let disk = Disk::open(image).expect("it opens");
    let table = disk.partitions().expect("it has partitions");
    let bytes: Arc<dyn WriteAt> = disk.partition(table.partitions.first().expect("at least one"));
    let volume = Volume::open(bytes.clone()).expect("the volume opens");
    let owners = volume.owners().expect("they can be listed");
    let mut left: Vec<&str> = KINDS[1..].to_vec();
    let mut places: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut last_free = 0;
    // The text lies in the second half of a sector, with nothing in use around it.
    for sector in (0..bytes.len() / 512).map(|n| n * 512) {
        let (from, to) = (sector + 300, sector + 480);
        let stretch = owners.free_stretch(sector);
        if stretch >= 4096 && sector >= last_free && free > 0 {
            free -= 1;
            places.push((from, encoded(&text("free"), free % 4)));
            last_free = sector + (1 << 20) + 4096;
        }
        let owner = owners.of(from);
        if left.is_empty() || owner == ByteOwner::Free || owners.of(to) != owner {
            continue;
        }
        let part = volume.part_of(&owners, from);
        let Some(kind) = kind_of(&volume, &owner, part).filter(|kind| left.contains(kind)) else { continue };
        // Of a free record the header stays: its first sector ends in what is no header.
        if volume.part_of(&owners, to) == part && (kind != "log" || owners.offset_in_stream(sector) == Some(1 << 20)) {
            left.retain(|own| *own != kind);
            places.push((from, encoded(&text(kind), left.len() % 4)));
        }
    }
    assert!(left.is_empty(), "no place for {left:?}");
    let log = (0..bytes.len() / 4096)
        .map(|n| n * 4096)
        .find(|at| matches!(owners.of(*at), ByteOwner::File { file, kind: 0x80, .. } if file.record() == 2))
        .expect("it has a log");
    bytes.write_at(log, &restart_page(1)).expect("it can be written");
    bytes.write_at(log + 4096, &restart_page(2)).expect("it can be written");
    for (at, text) in places {
        bytes.write_at(at, &text).expect("it can be written");
    }
    drop(volume);
    disk.commit_to(out, [Guid([7; 16]), Guid([8; 16])], &|_, _| {}).expect("it can be written");
}

/// A restart page of version 1.1 that no client uses, with its update sequence array.
fn restart_page(lsn: u64) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"RSTR\x1e\0\x09\0");
    put(0x10, &4096u32.to_le_bytes());
    put(0x14, &4096u32.to_le_bytes());
    put(0x18, &0x30u16.to_le_bytes());
    put(0x1a, &1u16.to_le_bytes());
    put(0x1c, &1u16.to_le_bytes());
    put(0x30, &lsn.to_le_bytes());
    put(0x3c, &0xffffu16.to_le_bytes());
    put(0x3e, &2u16.to_le_bytes());
    // The number of writes stands at the end of every sector; what stood there, all zero, in the array.
    put(0x1e, &1u16.to_le_bytes());
    for sector in 1..=8 {
        put(sector * 512 - 2, &1u16.to_le_bytes());
    }
    page
}
