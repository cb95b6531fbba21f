//! Overwriting in place and the sweep over every byte, on a built volume.

use reseal_disk::Disk;
use reseal_dtyp::{FileTime, Level};
use reseal_ntfs::{ByteOwner, Security, SweepPlace, Volume};
use reseal_testdata::{Container, ImageBuilder};
use std::collections::BTreeSet;
use std::sync::Mutex;

#[test]
fn overwrite_keeps_length_and_sweep_sees_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.raw");
    let builder =
        ImageBuilder { container: Container::Raw, volume_len: 8 << 20, bare: true, ..ImageBuilder::default() };
    builder.build(&path, |_| Ok(())).unwrap();
    let mut volume = Volume::open(Disk::open(&path).unwrap().bytes()).unwrap();
    let (root, now) = (volume.root(), FileTime(1));
    let big = volume.create_file(root, "big.bin", &[1; 20_000], Security::SameAs(root), now).unwrap();
    let small = volume.create_file(root, "small.bin", &[1; 20], Security::SameAs(root), now).unwrap();
    let needle = b"a needle that crosses";
    assert!(volume.overwrite(big, &[], &[(4090, needle), (19_990, &[7; 10])], now).unwrap());
    let mut expected = vec![1; 20_000];
    expected[4090..4090 + needle.len()].copy_from_slice(needle);
    expected[19_990..].fill(7);
    assert!(volume.read(big, &[]).unwrap() == expected);
    // Beyond the end, or in the file record: nothing is written.
    assert!(!volume.overwrite(big, &[], &[(0, &[9; 4]), (19_999, &[9; 2])], now).unwrap());
    assert!(!volume.overwrite(small, &[], &[(0, &[9; 4])], now).unwrap());
    assert!(volume.read(big, &[]).unwrap() == expected);
    assert_eq!(volume.read(small, &[]).unwrap(), [1; 20]);

    let found: Mutex<BTreeSet<u64>> = Mutex::default();
    volume
        .sweep(needle.len(), &|place, bytes| {
            let SweepPlace::Medium { offset } = place else { return };
            let hits = bytes.windows(needle.len()).enumerate().filter(|(_, w)| w == needle);
            found.lock().unwrap().extend(hits.map(|(at, _)| offset + at as u64));
        })
        .unwrap();
    let found = found.into_inner().unwrap();
    assert_eq!(found.len(), 1);
    let owner = volume.owners().unwrap().of(*found.first().unwrap());
    assert!(matches!(owner, ByteOwner::File { file, kind: 0x80, .. } if file == big), "{owner:?}");
    assert!(volume.check().unwrap().iter().all(|f| f.level == Level::Note));
}
