//! Damage to FAT volumes: open, walk, read, overwrite.

use super::patches;
use crate::esp::FatVolume;
use reseal_disk::{MemoryDisk, WriteAt};
use reseal_fat::{Entry, Volume};
use std::sync::{Arc, OnceLock};

/// Files above this are not read: a store of this size is refused.
const MOST: u32 = 1 << 20;

/// One volume of each kind, with a store in two folders and a file in pieces.
fn volumes() -> &'static [Vec<u8>; 3] {
    static VOLUMES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    VOLUMES.get_or_init(|| {
        let store: Vec<u8> = (0..9000u32).map(|i| (i / 7) as u8).collect();
        // mtools wants 65,525 clusters in a FAT32; only the first of them are in use, so the volume is cut behind these.
        let kinds = [(12, 128 << 10, None), (16, 4 << 20, None), (32, 35 << 20, Some(1 << 20))];
        kinds.map(|(bits, len, cut)| {
            let files: &[(&str, &[u8])] =
                &[("EFI/Microsoft/Boot/BCD", &store), ("EFI/Microsoft/Boot/A long name of a file.efi", &[7; 700])];
            let mut bytes =
                FatVolume { len, bits, ..FatVolume::default() }.build(files).expect("mkfs.fat and mtools work");
            if let Some(cut) = cut {
                bytes.truncate(cut);
                bytes[32..36].copy_from_slice(&(cut as u32 / 512).to_le_bytes());
            }
            bytes
        })
    })
}

/// The first byte chooses the volume, the second how far into it the patches reach: boot sector, FATs and folders lie at its
/// start.
pub(super) fn fat(data: &[u8]) {
    let [kind, reach, rest @ ..] = data else { return };
    let mut bytes = volumes()[usize::from(*kind) % 3].clone();
    let reach = bytes.len() >> (reach % 12);
    patches(rest, reach).for_each(|(at, value)| bytes[at] = value);
    let storage = Arc::new(MemoryDisk::new(bytes.clone()));
    let Ok(volume) = Volume::open(Arc::clone(&storage) as Arc<dyn WriteAt>) else { return };
    walk(&volume);
    let Ok(Some(file)) = volume.resolve(r"efi\microsoft\boot\bcd") else { return };
    let Ok(before) = volume.read(&file, MOST) else { return };
    assert_eq!(before.len(), file.size as usize);
    let after: Vec<u8> = before.iter().map(|b| !b).collect();
    if volume.overwrite(&file, &[(0, &after)]).is_err() {
        assert!(storage.to_vec() == bytes, "a refusal wrote something");
        return;
    }
    assert!(volume.read(&file, MOST).is_ok_and(|back| back == after), "it reads back differently");
    let now = storage.to_vec();
    let extents = volume.extents(&file).expect("it was just written");
    let inside = |at: usize| extents.iter().any(|e| (e.on_volume..e.on_volume + e.len).contains(&(at as u64)));
    let stray = now.iter().zip(&bytes).enumerate().find(|(at, (a, b))| a != b && !inside(*at));
    assert!(stray.is_none(), "a stray write at {:?}", stray.map(|(at, _)| at));
}

fn walk(volume: &Volume) {
    let mut open: Vec<Option<Entry>> = vec![None];
    let mut seen = 0;
    while let (Some(folder), true) = (open.pop(), seen < 50) {
        seen += 1;
        for entry in volume.entries(folder.as_ref()).unwrap_or_default() {
            if entry.is_folder {
                open.push(Some(entry));
            } else if let Ok(bytes) = volume.read(&entry, MOST) {
                assert_eq!(bytes.len(), entry.size as usize);
            }
        }
    }
}

/// Nothing damaged; a boot sector without a cluster size; a chain that ends early.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    (0..3)
        .flat_map(|kind| [vec![kind, 0], vec![kind, 11, 13, 0, 0, 0], vec![kind, 4, 0, 2, 8, 0xff, 3, 4, 0, 1]])
        .collect()
}
