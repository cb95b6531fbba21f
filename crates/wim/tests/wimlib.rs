//! WIM files of wimlib, and of Windows: what we read is what wimlib reads.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use rig::{KINDS, Sources, by_us, by_wimlib, open, open_bytes};
use sha1::{Digest, Sha1};

#[test]
fn whatever_wimlib_stores_is_read_alike() {
    let Some(sources) = Sources::new() else { return };
    for kind in KINDS {
        let Some(path) = sources.capture(kind) else { return };
        let wim = open(&path).unwrap();
        assert_eq!(wim.header().images, 2, "{kind:?}");
        assert_eq!(wim.has_solid(), kind.contains(&"--solid"), "{kind:?}");
        for number in 1..=2 {
            let (theirs, their_groups) = by_wimlib(&path, number).unwrap();
            let (ours, our_groups) = by_us(&wim, &wim.image(number).unwrap());
            for (path, seen) in &theirs {
                assert_eq!(ours.get(path), Some(seen), "{kind:?}, image {number}: {path}");
            }
            assert_eq!(ours.len(), theirs.len(), "{kind:?}, image {number}");
            assert_eq!(our_groups, their_groups, "{kind:?}, image {number}");
            assert!(if number == 1 { ours.len() > 200 } else { our_groups.len() == 1 });
        }
        for blob in wim.blobs() {
            let whole = wim.read(blob, u64::MAX).unwrap();
            assert_eq!(Sha1::digest(&whole)[..], blob.hash);
            for (at, len) in [(0, 1), (whole.len() / 2, 70_000), (whole.len().saturating_sub(1), 10)] {
                let mut part = vec![0; len];
                let n = wim.read_at(blob, at as u64, &mut part).unwrap();
                assert_eq!(part[..n], whole[at..whole.len().min(at + len)], "{kind:?} at {at}");
            }
        }
        assert_eq!(wim.check_integrity().unwrap(), kind.contains(&"--check").then(Vec::new), "{kind:?}");
        assert!(wim.xml().unwrap().starts_with(&[0xff, 0xfe, b'<', 0]), "{kind:?}");
        assert!(wim.image(0).is_err() && wim.image(3).is_err());
    }
}

/// Of each WIM in the data: `None` when it is read like wimlib reads it, else what the refusal says.
const REAL: &[(&str, Option<&str>)] = &[
    ("ied206+ManagedWimLib/BootXPRESS.wim", None),
    ("ied206+ManagedWimLib/LZMS.wim", None),
    ("ied206+ManagedWimLib/LZX.wim", None),
    ("ied206+ManagedWimLib/VerifySuccess.wim", None),
    ("ied206+ManagedWimLib/XPRESS.wim", None),
    ("ied206+ManagedWimLib/Split.swm", Some("part 1 of a WIM that is split into 2")),
    ("ied206+ManagedWimLib/Split2.swm", Some("part 2 of a WIM that is split into 2")),
    ("ebiggers+wimlib/tests/wims/corrupted_file_1.wim", Some("SHA-1")),
    ("ebiggers+wimlib/tests/wims/cyclic.wim", Some("the entry is in two folders")),
    ("ebiggers+wimlib/tests/wims/dotdot.wim", Some("is no name of a file")),
    ("ebiggers+wimlib/tests/wims/duplicate_names.wim", Some("twice")),
    ("ebiggers+wimlib/tests/wims/linux_xattrs_old.wim", None),
];

#[test]
fn every_wim_of_the_data_is_read_or_refused() {
    let Some(root) = reseal_testdata::real::root() else { return };
    let mut known: Vec<_> = REAL.iter().map(|(path, _)| root.join(path)).collect();
    let mut found = rig::wims_below(&root);
    known.sort();
    found.sort();
    assert_eq!(found, known, "each WIM of the data stands in the table");
    for (path, refusal) in REAL {
        let path = root.join(path);
        let outcome = open(&path).and_then(|wim| {
            for number in 1..=wim.header().images {
                let image = wim.image(number)?;
                if refusal.is_none()
                    && let Some((theirs, their_groups)) = by_wimlib(&path, number)
                {
                    assert_eq!(by_us(&wim, &image), (theirs, their_groups), "{}, image {number}", path.display());
                }
            }
            wim.blobs().iter().try_for_each(|blob| wim.read(blob, 1 << 30).map(drop))
        });
        match (outcome, refusal) {
            (Ok(()), None) => {}
            (Err(e), Some(says)) if e.to_string().contains(says) => {}
            (outcome, _) => panic!("{}: {outcome:?}", path.display()),
        }
    }
}

/// Reads all that there is.
fn read_all(bytes: Vec<u8>) -> reseal_dtyp::Result<()> {
    let wim = open_bytes(bytes)?;
    for number in 1..=wim.header().images {
        wim.image(number)?;
    }
    wim.blobs().iter().try_for_each(|blob| wim.read(blob, 1 << 24).map(drop))?;
    wim.check_integrity()?;
    wim.xml().map(drop)
}

/// 200 damages of each kind: no panic, no hang, and nothing that is read wrongly in silence, for all has a SHA-1.
#[test]
fn damage_is_found_or_harmless() {
    let Some(sources) = Sources::new() else { return };
    let mut found = 0;
    for kind in KINDS.iter().filter(|kind| kind.len() > 1 || kind[0].contains("XPRESS")) {
        let Some(path) = sources.capture(kind) else { return };
        let sound = std::fs::read(&path).unwrap();
        read_all(sound.clone()).unwrap();
        let mut state = 5u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        // What the header, the tables and the metadata say is in a small part of the file: half of the damages go there.
        let table = u64::from_le_bytes(sound[0x38..0x40].try_into().unwrap()) as usize;
        for round in 0..200 {
            let mut bytes = sound.clone();
            let at = match round % 4 {
                0 => random(sound.len()),
                1 => random(208),
                2 => table + random(sound.len() - table),
                _ => table.saturating_sub(random(20_000.min(table))).min(sound.len() - 1),
            };
            bytes[at] ^= 1 << random(8);
            if round % 16 == 15 {
                bytes.truncate(at.max(1));
            }
            found += u32::from(read_all(bytes).is_err());
        }
    }
    println!("{found} damages were found");
    assert!(found > 500, "{found}");
}

/// A metadata resource in which every folder's entries are the rest of the list: it would be read over and over.
#[test]
fn entries_in_two_folders_are_refused() {
    let mut bytes = vec![0; 8];
    let count = 20_000u64;
    for index in 0..count {
        let mut entry = vec![0; 0x70];
        let children = 8 + 0x70 * (index + 1);
        entry[..8].copy_from_slice(&0x70u64.to_le_bytes());
        entry[8] = 0x10;
        entry[0xc..0x10].fill(0xff);
        entry[0x10..0x18].copy_from_slice(&(if index + 1 < count { children } else { 0 }).to_le_bytes());
        let name = reseal_dtyp::utf16le(&format!("{index:04x}"));
        entry[0x64] = if index == 0 { 0 } else { 8 };
        entry[0x66..0x6e].copy_from_slice(&name);
        bytes.extend(entry);
    }
    bytes.extend([0; 8]);
    let error = reseal_wim::Image::read(&bytes).unwrap_err().to_string();
    assert!(error.contains("in two folders"), "{error}");
}
