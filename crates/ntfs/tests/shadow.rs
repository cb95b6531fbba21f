//! Shadow copies on volumes of Windows: what the header and the catalog say, and a volume without them afterwards.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::{ReadAt, WriteAt};
use reseal_dtyp::Kind;
use reseal_ntfs::{SHADOW_HEADER, ShadowCopy, ShadowHeader, Volume};
use rig::volumes::Known;
use rig::volumes::table::VOLUMES;
use rig::{NOW, ntfs_3g};
use std::path::Path;
use std::sync::Arc;

const FOLDER: &str = "System Volume Information";
const SUFFIX: &str = "{3808876b-c176-4e48-b7ae-04046e6cc752}";

fn known(path: &str) -> &'static Known {
    VOLUMES.iter().find(|known| known.path == path).unwrap()
}

/// How many copies libvshadow sees; `None` where it is not installed.
fn seen(image: &Path) -> Option<String> {
    let (good, text) = rig::run("vshadowinfo", &[image.to_str().unwrap()])?;
    // Without copies it ends with a failure, and says so.
    assert!(good || text.contains("No Volume Shadow Snapshots found"), "{text}");
    let count = text.lines().find_map(|line| line.trim().strip_prefix("Number of stores:"));
    Some(count.map_or_else(|| text.clone(), |count| count.trim().to_owned()))
}

fn catalog(volume: &Volume) -> Vec<ShadowCopy> {
    match volume.shadow_header().unwrap() {
        ShadowHeader::Present { catalog } => volume.shadow_catalog(catalog).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn copies_of_windows_go_with_their_header() {
    let Some(data) = rig::real_data() else { return };
    for path in ["deb_dfvfs_20240505/vss.raw", "deb_plaso_20241006/vsstest.qcow2"] {
        let Some(unpacked) = known(path).unpack(&data) else { return };
        let storage = Arc::new(unpacked.storage());
        let mut volume = Volume::open(storage.clone()).unwrap();
        let copies = catalog(&volume);
        assert!(copies.len() == 2 && copies.iter().all(|c| c.of_volume && c.stored_here), "{path}: {copies:?}");
        let before = seen(&unpacked.image);
        let folder = volume.resolve(FOLDER).unwrap().unwrap();
        let mut removed = 0;
        for entry in volume.entries(folder).unwrap() {
            let name = reseal_dtyp::utf16_lossy(&entry.name);
            if name.ends_with(SUFFIX) {
                let own = copies.iter().find(|c| name.starts_with(&format!("{{{}}}{{", c.id)));
                assert!(own.is_some() || name == SUFFIX, "{path}: {name} is not in the catalog");
                volume.remove(entry.reference, NOW).unwrap();
                removed += 1;
            }
        }
        assert_eq!(removed, 3, "{path}");
        assert!(volume.clear_shadow_header().unwrap());
        assert!(!volume.clear_shadow_header().unwrap(), "it is one without already");
        assert_eq!(Volume::open(storage.clone()).unwrap().shadow_header().unwrap(), ShadowHeader::Absent);
        rig::assert_sound(&Volume::open(storage.clone()).unwrap(), path);
        storage.save(&unpacked.image).unwrap();
        if let (Some(before), Some(after)) = (before, seen(&unpacked.image)) {
            assert_eq!(before, "2", "{path}");
            assert!(after.contains("No Volume Shadow Snapshots found"), "{path}: {after}");
        }
        if let Some((good, text)) = rig::run("ntfsresize", &["-i", "-f", "-P", unpacked.image.to_str().unwrap()]) {
            assert!(good, "{path}: {text}");
        }
        if let Some(read) = ntfs_3g::read(&unpacked.image) {
            assert!(read.faults.is_empty(), "{path}: {:?}", read.faults);
        }
    }
}

/// The catalog of a volume whose copies lie on another one lists no store.
#[test]
fn a_copy_that_is_stored_elsewhere() {
    let Some(data) = rig::real_data() else { return };
    let Some(unpacked) = known("msuhanov+dfir_ntfs/vss_1_vol.tar.gz").unpack(&data) else { return };
    let volume = Volume::open(Arc::new(unpacked.storage())).unwrap();
    let copies = catalog(&volume);
    assert!(copies.len() == 2 && copies.iter().all(|c| c.of_volume && !c.stored_here), "{copies:?}");
}

/// What Windows leaves in the sector: zeros where there never was a copy, a header without a catalog behind the last one.
#[test]
fn volumes_of_windows_without_copies() {
    let Some(data) = rig::real_data() else { return };
    let mut counts = (0, 0);
    for known in VOLUMES {
        let Some(unpacked) = known.unpack(&data) else { return };
        let Ok(volume) = Volume::open(Arc::new(unpacked.storage())) else { continue };
        match volume.shadow_header() {
            Ok(ShadowHeader::Absent) => counts.0 += 1,
            Ok(ShadowHeader::Present { catalog }) => {
                assert!(catalog != 0 && known.path.contains("vss"), "{}", known.path);
                counts.1 += 1;
            }
            Ok(other) => panic!("{}: {other:?}", known.path),
            Err(e) => println!("{}: {e}", known.path),
        }
    }
    println!("{} volumes with zeros, {} with a header", counts.0, counts.1);
    assert!(counts.0 >= 10 && counts.1 == 3, "{counts:?}");
    for (name, has_copies) in [
        ("volume_start.bin", true),
        ("volume_start_2.bin", true),
        ("volume_start_3.bin", true),
        ("volume_start_nosc_10.bin", false),
        ("volume_start_nosc_2003.bin", false),
    ] {
        let bytes = std::fs::read(data.join("msuhanov+dfir_ntfs").join(name)).unwrap();
        // The first sixteen sectors are all that is known of these: they are put over those of a blank volume.
        let Some(blank) = rig::blank(16, &[]) else { return };
        blank.write_at(SHADOW_HEADER.start, &bytes[SHADOW_HEADER.start as usize..]).unwrap();
        let mut volume = rig::open(&blank);
        let ShadowHeader::Present { catalog } = volume.shadow_header().unwrap() else { panic!("{name}") };
        assert_eq!(catalog != 0, has_copies, "{name}: {catalog:#x}");
        assert!(volume.clear_shadow_header().unwrap());
        assert_eq!(volume.shadow_header().unwrap(), ShadowHeader::Absent, "{name}");
    }
}

#[test]
fn hostile_headers() {
    let Some(blank) = rig::blank(16, &[]) else { return };
    let mut volume = rig::open(&blank);
    assert!(!volume.clear_shadow_header().unwrap());
    for place in [1, 0x10000, blank.len() - 0x3fff, u64::MAX, u64::MAX - 0x3fff] {
        assert_eq!(volume.shadow_catalog(place).unwrap_err().kind(), Kind::Damaged, "{place:#x}");
    }
    blank.write_at(SHADOW_HEADER.end - 1, &[0x55]).unwrap();
    let mut volume = rig::open(&blank);
    assert!(matches!(volume.shadow_header().unwrap(), ShadowHeader::Foreign { held: 1, .. }));
    let error = volume.clear_shadow_header().unwrap_err();
    assert!(error.kind() == Kind::Unsupported && error.to_string().contains("0x1e00"), "{error}");
}
