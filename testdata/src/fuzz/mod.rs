//! What the fuzz targets do with an input, and the seeds they start from. The ordinary tests run the seeds and everything
//! that fuzzing has kept.
//!
//! Each function panics on a defect: a panic below, bytes that do not round-trip, a sound input that an edit made unsound.

#![allow(clippy::panic, reason = "a fuzz target ends with a panic")]

mod disk;
mod fat;
mod journal;
mod wim;

/// The targets of `fuzz/`.
pub const TARGETS: [&str; 14] = [
    "descriptor",
    "sddl",
    "hive",
    "ntfs",
    "vhdx",
    "vhd",
    "partition",
    "journal",
    "fat",
    "wim",
    "lznt1",
    "xpress",
    "lzx",
    "lzms",
];

use crate::builder::{Container, ImageBuilder};
use crate::windows::{WindowsImage, machine_sid};
use anyhow::{Result, bail};
use reseal_codec::lzx;
use reseal_disk::{MemoryDisk, WriteAt};
use reseal_dtyp::{Descriptor, DomainSid, FileTime, Level};
use reseal_hive::{Hive, Recover};
use reseal_ntfs::{Namespace, Security, Volume};
use reseal_sid::SidMap;
use std::sync::{Arc, OnceLock};

fn map() -> SidMap {
    SidMap::new([(machine_sid(), DomainSid([7, 8, 9]))]).expect("two different SIDs")
}

/// Bytes as a security descriptor: what parses keeps its bytes; a rewrite there and back gives them again.
pub fn descriptor(data: &[u8]) {
    let Ok(sd) = Descriptor::read(data) else { return };
    assert_eq!(sd.to_bytes().expect("what was read can be written"), data);
    let _ = sd.to_sddl();
    let mut bytes = data.to_vec();
    let Ok(done) = map().rewrite_descriptor(&mut bytes) else {
        assert_eq!(bytes, data, "a refusal changed something");
        return;
    };
    assert_eq!(bytes == data, done.total() == 0);
    if !map().reversed().is_in(data) {
        map().reversed().rewrite_descriptor(&mut bytes).expect("it parses still");
        assert_eq!(bytes, data);
    }
}

/// Text as SDDL: what parses prints, and what it prints means the same.
pub fn sddl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(sd) = Descriptor::from_sddl(text) else { return };
    let Ok(bytes) = sd.to_bytes() else { return };
    let back = Descriptor::read(&bytes).expect("what SDDL made can be read");
    if let Ok(printed) = back.to_sddl() {
        let again = Descriptor::from_sddl(&printed).unwrap_or_else(|e| panic!("{printed}: {e}"));
        assert_eq!(again.to_bytes().expect("it fits"), bytes, "{printed}");
    }
}

/// Bytes as a hive: whatever opens can be walked, checked and edited; a sound hive stays sound.
pub fn hive(data: &[u8]) {
    let _ = Hive::check_bytes(data);
    let Ok(mut hive) = Hive::open(data, &[], Recover::AsIs) else { return };
    let sound = hive.check().iter().all(|f| f.level == Level::Note);
    let _ = hive.dump();
    let rewritten = hive.rewrite_sids(&map());
    let edited = hive.create_path(r"Fuzz\Key").and_then(|key| {
        hive.set_value(key, "v", 1, &[1; 5000])?;
        hive.set_value(key, "v", 3, &[2; 3])?;
        hive.delete_key(key)
    });
    if let (true, Ok(edits), Ok(())) = (sound, rewritten, edited) {
        let bytes = hive.to_bytes();
        let back = Hive::open(&bytes, &[], Recover::Replay).expect("a written hive opens without logs");
        let broken: Vec<_> = back.check().into_iter().filter(|f| f.level > Level::Note).collect();
        assert!(broken.is_empty(), "{broken:?}");
        // What could not be replaced is counted: text of another length in data of unknown structure, names that are taken.
        assert!(edits.left > 0 || back.residue(&map()).is_empty(), "an old SID was left");
    }
}

/// Patches as a fuzzer makes them: three bytes of offset, one byte of value.
fn patches(data: &[u8], len: usize) -> impl Iterator<Item = (usize, u8)> + '_ {
    data.chunks_exact(4)
        .map(move |c| ((usize::from(c[0]) | usize::from(c[1]) << 8 | usize::from(c[2]) << 16) % len, c[3]))
}

fn small_volume() -> &'static [u8] {
    static VOLUME: OnceLock<Vec<u8>> = OnceLock::new();
    VOLUME.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("v.raw");
        let builder = ImageBuilder {
            container: Container::Raw,
            volume_len: 4 << 20,
            bare: true,
            cluster_size: 1024,
            ..ImageBuilder::default()
        };
        let image = WindowsImage { files: 12, ..WindowsImage::default() };
        builder.build(&path, |volume| image.fill(volume)).expect("mkntfs and the writers work");
        std::fs::read(path).expect("just written")
    })
}

/// Damage to a small volume: open, walk, check, rewrite, create and remove. What a check passes stays sound.
pub fn ntfs(data: &[u8]) {
    let mut bytes = small_volume().to_vec();
    let len = bytes.len();
    patches(data, len).for_each(|(at, value)| bytes[at] = value);
    let storage: Arc<dyn WriteAt> = Arc::new(MemoryDisk::new(bytes));
    let Ok(mut volume) = Volume::open(Arc::clone(&storage)) else { return };
    let sound = |volume: &Volume| volume.check().is_ok_and(|list| list.iter().all(|f| f.level == Level::Note));
    let before = sound(&volume);
    walk(&volume);
    let now = FileTime(1);
    let root = volume.root();
    let done = volume.rewrite_sids(&map()).is_ok();
    let made = volume.create_file(root, "fuzz.txt", &[1; 9000], Security::SameAs(root), now);
    let done = done
        && made
            .is_ok_and(|file| volume.replace(file, &[], &[2; 20_000], now).is_ok() && volume.remove(file, now).is_ok());
    if before && done {
        let again = Volume::open(storage).expect("a written volume opens");
        let broken: Vec<_> =
            again.check().expect("it can be checked").into_iter().filter(|f| f.level > Level::Note).collect();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

fn walk(volume: &Volume) {
    let mut queue = vec![volume.root()];
    let mut seen = 0;
    while let (Some(folder), true) = (queue.pop(), seen < 2000) {
        for entry in volume.entries(folder).unwrap_or_default() {
            seen += 1;
            let _ = volume.stat(entry.reference);
            let _ = volume.descriptor(entry.reference);
            let mut buf = vec![0; 4096];
            let _ = volume.read_at(entry.reference, &[], 0, &mut buf);
            if entry.is_directory() && entry.namespace != Namespace::Dos && entry.reference != folder {
                queue.push(entry.reference);
            }
        }
    }
}

/// Damage to a small VHDX: see the module.
pub fn vhdx(data: &[u8]) {
    disk::vhdx(data);
}

/// Damage to a small VHD, or to a child of one: see the module.
pub fn vhd(data: &[u8]) {
    disk::vhd(data);
}

/// Bytes as the head of a disk with partitions: see the module.
pub fn partition(data: &[u8]) {
    disk::partition(data);
}

/// Damage to a journal and its image: see the module.
pub fn journal(data: &[u8]) {
    journal::journal(data);
}

/// Damage to small FAT volumes: see the module.
pub fn fat(data: &[u8]) {
    fat::fat(data);
}

/// Bytes as LZNT1.
pub fn lznt1(data: &[u8]) {
    let mut out = vec![0; 1 << 16];
    if let Ok(n) = reseal_codec::lznt1::decompress(data, &mut out) {
        assert!(n <= out.len());
    }
}

/// Bytes as an XPRESS chunk, of which the first two say how long the output is; and as content, which comes back.
pub fn xpress(data: &[u8]) {
    if let [a, b, rest @ ..] = data {
        let mut out = vec![0; usize::from(u16::from_le_bytes([*a, *b])) + 1];
        let _ = reseal_codec::xpress::decompress(rest, &mut out);
        let mut packed = Vec::new();
        if reseal_codec::xpress::Compressor::new().compress(rest, &mut packed) {
            out.resize(rest.len(), 0);
            reseal_codec::xpress::decompress(&packed, &mut out).expect("what was compressed can be decoded");
            assert_eq!(out, rest);
        }
    }
}

/// Bytes as an LZX chunk, of which the first two say how long the output is; and as content, which comes back.
pub fn lzx(data: &[u8]) {
    if let [a, b, rest @ ..] = data {
        let mut out = vec![0; usize::from(u16::from_le_bytes([*a, *b])) % 0x8000 + 1];
        let _ = lzx::decompress(rest, &mut out, 0x8000);
        let mut packed = Vec::new();
        if lzx::Compressor::new(0x8000).expect("a window that LZX has").compress(rest, &mut packed) {
            out.resize(rest.len(), 0);
            lzx::decompress(&packed, &mut out, 0x8000).expect("what was compressed can be decoded");
            assert_eq!(out, rest);
        }
    }
}

/// Bytes as an LZMS chunk; the first two say how long the output is.
pub fn lzms(data: &[u8]) {
    if let [a, b, rest @ ..] = data {
        let mut out = vec![0; usize::from(u16::from_le_bytes([*a, *b])) + 1];
        let _ = reseal_codec::lzms::decompress(rest, &mut out);
    }
}

/// Bytes as a WIM file, or as a metadata resource of one.
pub fn wim(data: &[u8]) {
    wim::wim(data);
}

/// Runs a target by name.
pub fn run(target: &str, data: &[u8]) -> Result<()> {
    match target {
        "descriptor" => descriptor(data),
        "sddl" => sddl(data),
        "hive" => hive(data),
        "ntfs" => ntfs(data),
        "vhdx" => vhdx(data),
        "vhd" => vhd(data),
        "partition" => partition(data),
        "journal" => journal(data),
        "fat" => fat(data),
        "lznt1" => lznt1(data),
        "xpress" => xpress(data),
        "lzx" => lzx(data),
        "lzms" => lzms(data),
        "wim" => wim(data),
        _ => bail!("there is no fuzz target {target}"),
    }
    Ok(())
}

/// SDDL texts that use every ACE type it knows.
const SDDL: &[&str] = &[
    "O:BAG:SYD:PAI(A;;FA;;;SY)(A;OICI;0x1200a9;;;S-1-5-21-1004336348-1177238915-682003330-1001)",
    "O:S-1-5-21-1004336348-1177238915-682003330-500G:SYD:NO_ACCESS_CONTROL",
    "D:(OA;CI;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;bf967aba-0de6-11d0-a285-00aa003049e2;PS)",
    "D:(XA;;FX;;;WD;(@User.P Any_of @Resource.P && Member_of {SID(BA), SID(S-1-5-21-1004336348-1177238915-682003330-7)}))",
    "S:(RA;;;;;WD;(\"Who\",TD,0x0,SID(S-1-5-21-1004336348-1177238915-682003330-9)))(ML;;NW;;;LW)(TL;;CC;;;S-1-19-512-4096)",
];

/// A hundred times `a` as wimlib packs it.
const LZMS: &[u8] = &[0xff, 0x6b, 0xd0, 0xff, 0x00, 0x00, 0x8e, 0x87, 0x61, 0x61];

/// Inputs to start from.
pub fn seeds(target: &str) -> Result<Vec<Vec<u8>>> {
    Ok(match target {
        "descriptor" => SDDL.iter().map(|text| Ok(Descriptor::from_sddl(text)?.to_bytes()?)).collect::<Result<_>>()?,
        "sddl" => SDDL.iter().map(|text| text.as_bytes().to_vec()).collect(),
        "hive" => vec![
            crate::accounts::sam(machine_sid(), FileTime(1))?,
            crate::registry::user(&machine_sid().account(1001), FileTime(1))?,
        ],
        "partition" => disk::partition_seeds(),
        "vhd" => disk::vhd_seeds(),
        "ntfs" | "vhdx" => vec![vec![], vec![0, 0, 4, 1], vec![0x30, 0, 0x10, 9, 0x41, 0x20, 3, 0xff]],
        "journal" => journal::seeds(),
        "fat" => fat::seeds(),
        "lznt1" => vec![b"\x05\xb0\x00abc".to_vec(), vec![0x02, 0xb0, 0x02, b'a', 0xfc, 0x0f]],
        "wim" => wim::seeds(),
        "lzms" => vec![[&[99, 0], LZMS].concat(), [vec![0, 1], vec![0x55; 300]].concat()],
        "xpress" | "lzx" => vec![
            vec![0xff, 0x0f, 0, 0, 0, 0],
            [vec![0, 1], vec![0x55; 300]].concat(),
            // Matches near and far, a long one, calls, and every byte once.
            [
                b"\x00\x01".to_vec(),
                (0..=255).collect(),
                b"\xe8\x10\0\0\0abcabcabc".repeat(20),
                vec![7; 400],
                (0..=255).collect(),
            ]
            .concat(),
        ],
        _ => bail!("there is no fuzz target {target}"),
    })
}
