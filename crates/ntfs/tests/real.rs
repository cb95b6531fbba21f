//! Volumes and `$SDS` streams that Windows wrote, and the damaged volumes of a file system checker.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_dtyp::{DomainSid, Sid};
use reseal_ntfs::{FileReference, Scanned, Security, Volume};
use reseal_sid::SidMap;
use rig::image::Image;
use rig::raw::descriptor_hash;
use rig::{NOW, Random};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Unpacks an archive or copies an image into a folder; gives the image.
fn unpack(source: &Path, folder: &Path) -> Option<PathBuf> {
    let out = folder.join("ntfs.img");
    let (source, into) = (source.to_str().unwrap(), folder.to_str().unwrap());
    if source.ends_with(".bz2") {
        let (good, text) = rig::run("sh", &["-c", "bzip2 -dkc \"$0\" > \"$1\"", source, out.to_str().unwrap()])?;
        assert!(good, "{text}");
    } else if source.contains(".tar.") {
        let (good, text) = rig::run("tar", &["--sparse", "-xf", source, "-C", into])?;
        assert!(good, "{text}");
    } else {
        return Some(PathBuf::from(source));
    }
    Some(out)
}

fn all_files(volume: &Volume) -> Vec<FileReference> {
    let found = volume.scan(Vec::new, |out: &mut Vec<FileReference>, scanned| {
        if let Scanned::Record(record) = scanned
            && record.base().is_none()
        {
            out.push(record.reference());
        }
    });
    found.unwrap().into_iter().flatten().collect()
}

/// A machine SID that descriptors of the volume name.
fn some_domain(volume: &Volume) -> Option<DomainSid> {
    let mut found = BTreeSet::new();
    for (_, sd) in volume.descriptors().unwrap() {
        for at in 0..sd.len().saturating_sub(24) {
            if let Some(domain) = Sid::read(&sd[at..]).ok().and_then(|s| s.domain()).filter(|d| d.0[0] > 1000) {
                found.insert(domain.0);
            }
        }
    }
    found.first().copied().map(DomainSid)
}

fn read_everything(volume: &Volume) -> usize {
    let mut count = 0;
    for file in all_files(volume) {
        let stat = volume.stat(file).unwrap();
        for stream in stat.streams.iter().filter(|s| s.size < 64 << 20 && !s.encrypted) {
            let data = volume.read(file, &stream.name).unwrap_or_else(|e| panic!("{file}: {e}"));
            assert_eq!(data.len() as u64, stream.size);
            count += 1;
        }
        if file.record() >= 24 && !stat.names.is_empty() {
            let path = volume.path_of(file).unwrap();
            assert_eq!(volume.resolve(&path).unwrap(), Some(file), "{path}");
            volume.descriptor(file).unwrap();
        }
    }
    count
}

/// Opens, checks, reads, rewrites and edits a sound volume, all in memory.
fn sound(source: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let Some(image) = unpack(source, folder.path()) else { return };
    let storage = Arc::new(Image::open(&image, 0).unwrap());
    let mut volume = Volume::open(storage.clone()).unwrap();
    let context = source.display().to_string();
    rig::assert_sound(&volume, &context);
    assert_eq!(storage.dirty(), 0, "opening and checking has written");
    println!("{context}: {} streams, {:?}", read_everything(&volume), volume.info().log_state);
    let ids = volume.security_ids().unwrap().len();
    assert_eq!(volume.descriptors().unwrap().len(), ids);
    if let Some(domain) = some_domain(&volume) {
        let map = SidMap::new([(domain, DomainSid([123_456, 9, 4_000_000_000]))]).unwrap();
        let before = volume.descriptors().unwrap();
        let done = volume.rewrite_sids(&map).unwrap();
        assert!(done.changed > 0, "{context}: {done:?}");
        rig::assert_sound(&volume, &format!("{context}, rewritten"));
        volume.rewrite_sids(&map.reversed()).unwrap();
        assert_eq!(volume.descriptors().unwrap(), before);
    }
    let root = volume.root();
    let made = volume.create_dir(root, "made by the test", Security::Inherit, NOW).unwrap();
    let mut random = Random::new(1);
    let files: Vec<_> = (0..100u64)
        .map(|i| {
            volume.create_file(
                made,
                &format!("file number {i}.text"),
                &random.bytes(i as usize * 37),
                Security::Inherit,
                NOW,
            )
        })
        .collect::<Result<_, _>>()
        .unwrap();
    rig::assert_sound(&volume, &format!("{context}, with new files"));
    files.into_iter().for_each(|file| volume.remove(file, NOW).unwrap());
    volume.remove(made, NOW).unwrap();
    rig::assert_sound(&volume, &format!("{context}, without them"));
}

#[test]
fn volumes_that_windows_formatted() {
    let Some(data) = rig::real_data() else { return };
    for source in [
        "namjaejeon+ntfsprogs-plus/formatted_on_windows/ntfs.img.tar.gz",
        "Velocidex+go-ntfs/ads_with_same_ids/charlie.dd.bz2",
        "deb_dfvfs_20240505/vss.raw",
        "deb_dfvfs_20240505/ntfs.raw",
        "ColinFinck+ntfs/testfs1",
    ] {
        sound(&data.join(source));
    }
}

#[test]
fn damaged_volumes_have_findings() {
    let Some(data) = rig::real_data() else { return };
    // Two of the collection are in order by our rules: preallocated clusters, and a system volume as Windows left it.
    let harmless =
        ["formatted_on_windows", "data_size_init_size_smaller", "orphan_mft_entries", "data_size_mismatch_system"];
    let mut archives = Vec::new();
    for set in ["namjaejeon+ntfsprogs-plus", "namjaejeon+ntfsprogs-plus@history"] {
        collect(&data.join(set), &mut archives);
    }
    assert!(archives.len() > 20, "the collection is not complete: {archives:?}");
    for archive in archives {
        let folder = tempfile::tempdir().unwrap();
        let Some(image) = unpack(&archive, folder.path()) else { return };
        let storage = Arc::new(Image::open(&image, 0).unwrap());
        let name = archive.display().to_string();
        let faults = match Volume::open(storage.clone()) {
            Err(error) => {
                println!("{name}: {error}");
                continue;
            }
            Ok(mut volume) => {
                for file in all_files(&volume).into_iter().take(2000) {
                    if let Ok(stat) = volume.stat(file) {
                        for stream in stat.streams.iter().filter(|s| s.size < 1 << 20) {
                            let _ = volume.read(file, &stream.name);
                        }
                        let _ = volume.path_of(file);
                    }
                }
                let faults = rig::faults(volume.check().unwrap()).len();
                let map = SidMap::new([(DomainSid([1, 2, 3]), DomainSid([4, 5, 6]))]).unwrap();
                let _ = volume.rewrite_sids(&map);
                let root = volume.root();
                let _ = volume.create_file(root, "NEW.TXT", &[1; 9000], Security::Inherit, NOW);
                faults
            }
        };
        let expected = !harmless.iter().any(|h| name.contains(h));
        assert_eq!(faults > 0, expected, "{name}: {faults} findings");
    }
}

fn collect(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, out);
        } else if path.to_string_lossy().contains("ntfs.img.tar") {
            out.push(path);
        }
    }
}

/// The descriptors of a `$SDS` stream: entries of the even blocks.
fn descriptors_of(sds: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for block in sds.chunks(0x40000).step_by(2) {
        let mut at = 0;
        while at + 20 < block.len() {
            let word = |o: usize| u32::from_le_bytes(block[at + o..at + o + 4].try_into().unwrap());
            let len = word(16) as usize;
            if len < 40 || at + len > block.len() {
                break;
            }
            let sd = &block[at + 20..at + len];
            if descriptor_hash(sd) != word(0) {
                break;
            }
            out.push(sd.to_vec());
            at = (at + len).next_multiple_of(16);
        }
    }
    out
}

#[test]
fn real_descriptors() {
    let Some(data) = rig::real_data() else { return };
    let folder = data.join("AndrewRathbun+DFIRArtifactMuseum/NTFSArtifacts/Secure_$SDS");
    let machine: DomainSid = "S-1-5-21-2290304894-658537038-505560459".parse().unwrap();
    let sds = std::fs::read(folder.join("Win10/RathbunVM/$Secure_$SDS")).unwrap();
    let real = descriptors_of(&sds);
    assert!(real.len() > 1000, "{} descriptors", real.len());
    let Some(disk) = rig::blank(96, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    for (index, sd) in real.iter().enumerate() {
        volume.create_file(root, &format!("D{index}"), b"", Security::Descriptor(sd), NOW).unwrap();
    }
    rig::assert_sound(&volume, "real descriptors");
    rig::witnesses(&disk);
    let map = SidMap::new([(machine, DomainSid([7, 8, 9]))]).unwrap();
    let done = volume.rewrite_sids(&map).unwrap();
    println!("{done:?}");
    assert!(done.changed > 0);
    rig::assert_sound(&volume, "real descriptors rewritten");
    rig::witnesses(&disk);
    assert_eq!(map.count(&disk.to_vec()).total(), 0);
    for (index, sd) in real.iter().enumerate() {
        let file = volume.resolve(&format!("D{index}")).unwrap().unwrap();
        let mut expected = sd.clone();
        map.rewrite_binary(&mut expected);
        assert_eq!(volume.descriptor(file).unwrap(), expected);
    }
}
