//! The ways in which Windows stores content that the crate reads and does not write.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::MemoryDisk;
use reseal_dtyp::Kind;
use reseal_ntfs::{FileReference, Security, Volume, Wof};
use rig::raw::{Raw, set, u16_at, u32_at};
use rig::spill::{reparse_entry, resident};
use rig::{NOW, Random};
use std::sync::Arc;

/// A volume with one file of this content, after `damage` of its record.
fn with(
    content: &[u8],
    streams: &[(&str, &[u8])],
    edit: impl FnOnce(&mut Raw, usize),
) -> Option<(Volume, FileReference)> {
    let disk = rig::blank(16, &[])?;
    let mut volume = rig::open(&disk);
    let file = volume.create_file(volume.root(), "FILE.BIN", content, Security::Inherit, NOW).unwrap();
    for (name, data) in streams {
        volume.replace(file, &name.encode_utf16().collect::<Vec<_>>(), data, NOW).unwrap();
    }
    drop(volume);
    let mut raw = Raw::new(disk.to_vec());
    edit(&mut raw, file.record() as usize);
    let volume = rig::open(&Arc::new(MemoryDisk::new(raw.bytes)));
    Some((volume, file))
}

/// Changes the unnamed `$DATA` attribute.
fn data(raw: &mut Raw, file: usize, change: impl FnOnce(&mut Vec<u8>)) {
    raw.edit_attributes(file, |all| {
        let attribute = all.iter_mut().find(|a| u32_at(a, 0) == 0x80 && a[9] == 0).unwrap();
        change(attribute);
    });
}

/// Makes a non-resident attribute one with a total size: sparse or compressed.
fn widen(attribute: &mut Vec<u8>, flags: u64, unit: u8, pairs: &[u8], clusters: u64, held: u64) {
    let size = attribute[0x30..0x40].to_vec();
    attribute.resize(0x28, 0);
    attribute.extend_from_slice(&(clusters * 4096).to_le_bytes());
    attribute.extend_from_slice(&size);
    attribute.extend_from_slice(&(held * 4096).to_le_bytes());
    attribute.extend_from_slice(pairs);
    attribute.resize(attribute.len().next_multiple_of(8), 0);
    let len = attribute.len() as u64;
    set(attribute, 4, 4, len);
    set(attribute, 0xc, 2, flags);
    set(attribute, 0x18, 8, clusters - 1);
    set(attribute, 0x20, 2, 0x48);
    attribute[0x22] = unit;
}

/// Replaces the content by others; the file is an ordinary one afterwards.
fn becomes_plain(volume: &mut Volume, file: FileReference) {
    for size in [30_000, 10, 0, 5_000] {
        let data = Random::new(size).bytes(size as usize);
        volume.replace(file, &[], &data, NOW).unwrap();
        assert!(volume.read(file, &[]).unwrap() == data);
        let stat = volume.stat(file).unwrap();
        assert_eq!((stat.streams.len(), stat.wof, stat.reparse_tag), (1, None, None));
        assert!(!stat.streams[0].sparse && !stat.streams[0].compressed);
        assert_eq!(stat.standard.attributes & (0x200 | 0x400 | 0x800), 0);
        let entry = volume.entries(volume.root()).unwrap().into_iter().find(|e| e.reference == file).unwrap();
        assert_eq!((entry.size, entry.attributes & 0xe00), (size, 0));
        rig::assert_sound(volume, &format!("stored plainly, {size} bytes"));
    }
}

#[test]
fn holes_read_as_zero() {
    let content = Random::new(1).bytes(8 * 4096);
    let mut lcn = 0;
    let made = with(&content, &[], |raw, file| {
        lcn = raw.runs_of(file, 0x80, "")[0].1.unwrap();
        // Clusters 2 to 5 become a hole and are freed.
        let mut pairs = vec![0x21, 2];
        pairs.extend_from_slice(&(lcn as u16).to_le_bytes());
        pairs.extend_from_slice(&[0x01, 4, 0x11, 2, 6, 0]);
        data(raw, file, |a| widen(a, 0x8000, 4, &pairs, 8, 4));
        let bitmap = raw.runs_of(6, 0x80, "");
        for cluster in lcn + 2..lcn + 6 {
            let at = raw.place(&bitmap, cluster / 8);
            raw.bytes[at] &= !(1 << (cluster % 8));
        }
    });
    let Some((mut volume, file)) = made else { return };
    let mut expected = content.clone();
    expected[2 * 4096..6 * 4096].fill(0);
    assert!(volume.read(file, &[]).unwrap() == expected);
    let stat = volume.stat(file).unwrap();
    assert!(stat.streams[0].sparse && stat.streams[0].allocated == 4 * 4096);
    rig::assert_sound(&volume, "a sparse file");
    volume.replace(file, &[], &expected, NOW).unwrap();
    assert!(volume.stat(file).unwrap().streams[0].sparse, "equal content is not written");
    becomes_plain(&mut volume, file);
    volume.remove(file, NOW).unwrap();
    rig::assert_sound(&volume, "a sparse file removed");
}

#[test]
fn compressed_units_that_are_plain_or_empty() {
    let content = Random::new(2).bytes(48 * 4096 - 77);
    let made = with(&content, &[], |raw, file| {
        let lcn = raw.runs_of(file, 0x80, "")[0].1.unwrap();
        // Unit 0 stored plainly, unit 1 a hole, unit 2 stored plainly.
        let mut pairs = vec![0x21, 16];
        pairs.extend_from_slice(&(lcn as u16).to_le_bytes());
        pairs.extend_from_slice(&[0x01, 16, 0x11, 16, 32, 0]);
        data(raw, file, |a| widen(a, 1, 4, &pairs, 48, 32));
        let bitmap = raw.runs_of(6, 0x80, "");
        for cluster in lcn + 16..lcn + 32 {
            let at = raw.place(&bitmap, cluster / 8);
            raw.bytes[at] &= !(1 << (cluster % 8));
        }
    });
    let Some((mut volume, file)) = made else { return };
    let mut expected = content.clone();
    expected[16 * 4096..32 * 4096].fill(0);
    assert!(volume.read(file, &[]).unwrap() == expected);
    let mut part = vec![0; 100_000];
    let n = volume.read_at(file, &[], 50_000, &mut part).unwrap();
    assert!(n == 100_000 && part[..] == expected[50_000..150_000]);
    rig::assert_sound(&volume, "a compressed file");
    becomes_plain(&mut volume, file);
}

#[test]
fn compressed_units_that_are_packed() {
    // One chunk: a literal, then a copy of it 4095 times; sixteen of them are a unit of 64 KiB in one cluster.
    let chunk = |byte: u8| [0x03, 0xb0, 0x02, byte, 0xfc, 0x0f];
    let packed: Vec<u8> = (0..16).flat_map(|i| chunk(b'a' + i)).collect();
    let mut content = packed.clone();
    content.resize(4096, 0);
    let size = 65_000u64;
    let made = with(&content, &[], |raw, file| {
        let lcn = raw.runs_of(file, 0x80, "")[0].1.unwrap();
        let mut pairs = vec![0x21, 1];
        pairs.extend_from_slice(&(lcn as u16).to_le_bytes());
        pairs.extend_from_slice(&[0x01, 15, 0]);
        data(raw, file, |a| {
            set(a, 0x30, 8, size);
            set(a, 0x38, 8, size);
            widen(a, 1, 4, &pairs, 16, 1);
        });
    });
    let Some((mut volume, file)) = made else { return };
    let expected: Vec<u8> = (0..size).map(|i| b'a' + (i / 4096) as u8).collect();
    assert!(volume.read(file, &[]).unwrap() == expected);
    let mut part = [0; 10_000];
    assert_eq!(volume.read_at(file, &[], 60_000, &mut part).unwrap(), 5_000);
    assert!(part[..5_000] == expected[60_000..]);
    rig::assert_sound(&volume, "a packed file");
    volume.remove(file, NOW).unwrap();
    rig::assert_sound(&volume, "a packed file removed");
}

#[test]
fn what_lies_behind_the_initialized_size_is_zero() {
    let content = Random::new(3).bytes(20_000);
    let made = with(&content, &[], |raw, file| data(raw, file, |a| set(a, 0x38, 8, 9_000)));
    let Some((mut volume, file)) = made else { return };
    let mut expected = content.clone();
    expected[9_000..].fill(0);
    assert!(volume.read(file, &[]).unwrap() == expected);
    rig::assert_sound(&volume, "a file that is not initialized to its end");
    volume.replace(file, &[], &content, NOW).unwrap();
    assert!(volume.read(file, &[]).unwrap() == content);
    rig::assert_sound(&volume, "the same, written");
}

#[test]
fn encrypted_files_are_refused_by_name() {
    let made = with(&[7; 10_000], &[], |raw, file| data(raw, file, |a| set(a, 0xc, 2, 0x4000)));
    let Some((mut volume, file)) = made else { return };
    for error in [volume.read(file, &[]).unwrap_err(), volume.replace(file, &[], b"x", NOW).unwrap_err()] {
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains("EFS"), "{error}");
    }
    assert!(volume.stat(file).unwrap().streams[0].encrypted);
}

/// The reparse point of a file that WOF compresses.
fn wof_reparse(provider: u32, algorithm: u32) -> Vec<u8> {
    let words = [0x8000_0017u32, 16, 1, provider, 1, algorithm];
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn wof_file(content: &[u8], chunk: usize, provider: u32, algorithm: u32) -> Option<(Volume, FileReference)> {
    // Chunks that did not shrink are stored as they are.
    let chunks: Vec<&[u8]> = content.chunks(chunk).collect();
    let mut stream = Vec::new();
    let mut offset = 0u32;
    for part in &chunks[..chunks.len() - 1] {
        offset += part.len() as u32;
        stream.extend_from_slice(&offset.to_le_bytes());
    }
    chunks.iter().for_each(|c| stream.extend_from_slice(c));
    with(&vec![0; content.len()], &[("WofCompressedData", &stream)], |raw, file| {
        raw.edit_attributes(file, |all| {
            let id = all.iter().map(|a| u16_at(a, 0xe)).max().unwrap() + 1;
            all.push(resident(0xc0, &wof_reparse(provider, algorithm), id));
        });
    })
}

#[test]
fn wof_files() {
    let content = Random::new(4).bytes(100_000);
    for (algorithm, chunk, how) in [
        (0, 4 << 10, Wof::Xpress4K),
        (1, 32 << 10, Wof::Lzx),
        (2, 8 << 10, Wof::Xpress8K),
        (3, 16 << 10, Wof::Xpress16K),
    ] {
        let Some((mut volume, file)) = wof_file(&content, chunk, 2, algorithm) else { return };
        assert_eq!(volume.stat(file).unwrap().wof, Some(how));
        assert!(volume.read(file, &[]).unwrap() == content, "{how:?}");
        let mut part = vec![0; 40_000];
        assert_eq!(volume.read_at(file, &[], 70_000, &mut part).unwrap(), 30_000);
        assert!(part[..30_000] == content[70_000..]);
        volume.replace(file, &[], &content, NOW).unwrap();
        assert_eq!(volume.stat(file).unwrap().wof, Some(how), "equal content is not written");
        becomes_plain(&mut volume, file);
    }
}

#[test]
fn keys_of_reparse_points_go_with_them() {
    for replace in [false, true] {
        let (mut own, mut other) = (0, 0);
        let made = with(&[0; 5000], &[("WofCompressedData", &[1; 5004])], |raw, file| {
            raw.edit_attributes(file, |all| all.push(resident(0xc0, &wof_reparse(2, 0), 9)));
            own = (file | u16_at(&raw.record(file), 0x10) << 48) as u64;
            // Another entry, for a file that exists and sorts before.
            other = 5 | 5 << 48;
            raw.fill_view("$Reparse", &[reparse_entry(0x8000_0017, other), reparse_entry(0x8000_0017, own)]);
        });
        let Some((mut volume, file)) = made else { return };
        rig::assert_sound(&volume, "with keys");
        if replace {
            volume.replace(file, &[], b"plain", NOW).unwrap();
        } else {
            volume.remove(file, NOW).unwrap();
            // A key left behind would name a free record.
            rig::assert_sound(&volume, "without the file");
        }
        assert_eq!(keys(&volume), [other]);
    }
}

/// The files that `$Reparse:$R` names.
fn keys(volume: &Volume) -> Vec<u64> {
    volume.reparse_points().unwrap().into_iter().map(|(_, file)| file.0).collect()
}

#[test]
fn wof_files_that_cannot_be_read() {
    for (provider, algorithm, how) in [(1, 0, Wof::Wim), (2, 9, Wof::Unknown), (5, 0, Wof::Unknown)] {
        let Some((volume, file)) = wof_file(&[1; 50_000], 4096, provider, algorithm) else { return };
        assert_eq!(volume.stat(file).unwrap().wof, Some(how));
        assert_eq!(volume.read(file, &[]).unwrap_err().kind(), Kind::Unsupported);
        let mut volume = volume;
        assert_eq!(volume.replace(file, &[], b"x", NOW).unwrap_err().kind(), Kind::Unsupported);
    }
    // A table that says more than there is.
    let made = with(&[0; 50_000], &[("WofCompressedData", &[0xff; 30])], |raw, file| {
        raw.edit_attributes(file, |all| all.push(resident(0xc0, &wof_reparse(2, 0), 9)));
    });
    let Some((volume, file)) = made else { return };
    assert_eq!(volume.read(file, &[]).unwrap_err().kind(), Kind::Damaged);
}
