//! Damaged volumes: nothing may panic, hang or ask for wild amounts of memory, whatever byte is wrong.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_disk::{MemoryDisk, ReadAt, WriteAt};
use reseal_dtyp::Result;
use reseal_ntfs::{FileReference, Scanned, Security, Volume};
use reseal_sid::SidMap;
use rig::{NOW, Random, soak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A small volume with a folder of several index blocks, long names, streams, a fragmented file, one in several records.
fn sample(options: &[&str]) -> Option<Vec<u8>> {
    let disk = rig::blank(4, options)?;
    let mut volume = rig::open(&disk);
    let mut random = Random::new(99);
    let folder = volume.create_dir(volume.root(), "Folder with a long name", Security::Inherit, NOW).unwrap();
    for index in 0..120 {
        let name = format!("file number {index} with a name.txt");
        let len = random.below(1500) as usize;
        let data = random.bytes(len);
        volume.create_file(folder, &name, &data, Security::Inherit, NOW).unwrap();
    }
    let file = volume.create_file(volume.root(), "STREAMS.DAT", b"unnamed", Security::Inherit, NOW).unwrap();
    volume.replace(file, &[0x61, 0x62], &random.bytes(3000), NOW).unwrap();
    let entries = volume.entries(folder).unwrap();
    for entry in entries.iter().step_by(7).filter(|e| e.namespace == reseal_ntfs::Namespace::Win32) {
        volume.remove(entry.reference, NOW).unwrap();
    }
    volume.create_file(volume.root(), "SPREAD.DAT", &random.bytes(200_000), Security::Inherit, NOW).unwrap();
    // In the root, so that the writers below meet it first.
    let crowded = volume.create_file(volume.root(), "!CROWDED", b"many streams", Security::Inherit, NOW).unwrap();
    for index in 0..30u16 {
        volume.replace(crowded, &[0x61, 0x30 + index], &random.bytes(10 * usize::from(index)), NOW).unwrap();
        volume.link(crowded, folder, &[0x6c, 0x4e00 + index], NOW).unwrap();
    }
    assert!(volume.stat(crowded).unwrap().records > 2);
    let sd = descriptor();
    volume.create_file(volume.root(), "OWNED.DAT", b"x", Security::Descriptor(&sd), NOW).unwrap();
    rig::assert_sound(&volume, "the sample");
    Some(disk.to_vec())
}

/// Owner and group S-1-5-21-1-2-3-1001, one entry that allows it everything.
fn descriptor() -> Vec<u8> {
    let sid = "S-1-5-21-1-2-3-1001".parse::<reseal_dtyp::Sid>().unwrap().to_bytes();
    let mut sd = vec![1, 0, 4, 0x80];
    let acl_len = 8 + 8 + sid.len();
    for offset in [20 + acl_len, 20 + acl_len + sid.len(), 0, 20] {
        sd.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    sd.extend_from_slice(&[2, 0, acl_len as u8, 0, 1, 0, 0, 0, 0, 0, (8 + sid.len()) as u8, 0, 0xff, 1, 0x1f, 0]);
    [&sd[..], &sid, &sid, &sid].concat()
}

/// A volume in memory that counts what is asked of it.
struct Counted {
    disk: MemoryDisk,
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Counted {
    fn count(&self, len: usize) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Calls and bytes so far.
    fn work(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.disk.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.count(buf.len());
        self.disk.read_at(offset, buf)
    }
}

impl WriteAt for Counted {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.count(data.len());
        self.disk.write_at(offset, data)
    }
}

/// Opens a volume and does with it everything that a caller might do. Errors are fine. Returns what it asked of the storage.
fn exercise(bytes: Vec<u8>) -> (u64, u64) {
    let disk = MemoryDisk::new(bytes);
    let counted = Arc::new(Counted { disk, calls: AtomicU64::new(0), bytes: AtomicU64::new(0) });
    if let Ok(volume) = Volume::open(counted.clone()) {
        use_everything(volume);
    }
    counted.work()
}

fn use_everything(mut volume: Volume) {
    let mut folders = vec![volume.root()];
    let mut files: Vec<FileReference> = Vec::new();
    let mut budget = 600;
    while let Some(folder) = folders.pop() {
        for entry in volume.entries(folder).unwrap_or_default() {
            budget -= 1;
            if budget < 0 {
                break;
            }
            if let Ok(stat) = volume.stat(entry.reference) {
                for stream in stat.streams.iter().filter(|s| s.size < 1 << 20) {
                    let _ = volume.read(entry.reference, &stream.name);
                }
                if stat.is_directory && entry.reference != folder {
                    folders.push(entry.reference);
                } else {
                    files.push(entry.reference);
                }
            }
            let _ = volume.lookup(folder, &entry.name);
            let _ = volume.path_of(entry.reference);
            let _ = volume.descriptor(entry.reference);
            let _ = volume.reparse_data(entry.reference);
        }
    }
    let _ = volume.scan(
        || 0u64,
        |n, s| {
            if let Scanned::Record(r) = s {
                *n += r.names().count() as u64
            }
        },
    );
    let _ = volume.descriptors();
    let _ = volume.free_clusters();
    let sound = volume.check().is_ok_and(|found| rig::faults(found).is_empty());
    let _ = volume.preflight();
    let map = SidMap::new([("S-1-5-21-1-2-3".parse().unwrap(), "S-1-5-21-7-8-9".parse().unwrap())]).unwrap();
    let _ = volume.rewrite_sids(&map);
    write(&mut volume, &files);
    // What the check passes is sound enough for every writer, whether it succeeds or refuses.
    if sound {
        let found = rig::faults(volume.check().unwrap());
        assert!(found.is_empty(), "sound before, and now: {found:#?}");
    }
}

fn write(volume: &mut Volume, files: &[FileReference]) {
    let root = volume.root();
    let made = volume.create_file(root, "a new file.text", &[7; 5000], Security::Inherit, NOW);
    let _ = volume.create_dir(root, "NEWDIR", Security::SameAs(root), NOW);
    // The file in several records is among the first; its name is found in each volume that can be read.
    let crowded = volume.resolve("/!CROWDED").ok().flatten();
    for (index, file) in crowded.into_iter().cycle().take(6).chain(files.iter().copied().take(16)).enumerate() {
        one_write(volume, index, file);
    }
    if let Ok(Some(folder)) = volume.resolve("/Folder with a long name") {
        let _ = volume.remove_tree(folder, NOW);
    }
    if let Ok(file) = made {
        let _ = volume.set_security_id(file, Security::Inherit);
        let _ = volume.remove(file, NOW);
    }
    let _ = volume.touched();
}

fn one_write(volume: &mut Volume, index: usize, file: FileReference) {
    let root = volume.root();
    let name = volume.names_of(file).ok().and_then(|n| n.into_iter().next());
    let new: Vec<u16> = format!("quite another name {index} than before.txt").encode_utf16().collect();
    match (index % 8, name) {
        (0, _) => drop(volume.replace(file, &[], &[1; 20_000], NOW)),
        (1, _) => drop(volume.link(file, root, &new, NOW)),
        (2, _) => drop(volume.set_times(file, [NOW; 4])),
        (3, Some(name)) => drop(volume.rename(file, &name, &new, NOW)),
        (4, Some(name)) => drop(volume.rename_to(file, &name, root, &new, NOW)),
        (5, Some(name)) => {
            drop(volume.remove_stream(file, &[0x61, 0x35], NOW));
            drop(volume.unlink(file, &name, NOW));
        }
        (6, _) => drop(volume.remove(file, NOW)),
        _ => drop(volume.replace(file, &[], &[], NOW)),
    }
}

/// Damaged volumes beside the sound one.
struct Trial {
    /// Reads and writes that the sound volume takes, and their bytes.
    sound: (u64, u64),
    volumes: u64,
    /// Most reads and writes of a damaged one.
    most: u64,
}

impl Trial {
    fn new(sound: &[u8]) -> Trial {
        Trial { sound: exercise(sound.to_vec()), volumes: 0, most: 0 }
    }

    /// A damaged volume must not ask for more than twice of what the sound one takes; the worst that was seen is 2 % more.
    fn attempt(&mut self, bytes: Vec<u8>, what: &str) {
        let Ok((calls, count)) = std::panic::catch_unwind(|| exercise(bytes)) else { panic!("panic with {what}") };
        let sound = self.sound;
        assert!(calls <= 2 * sound.0 && count <= 2 * sound.1, "{what}: {calls} calls, {count} bytes, sound {sound:?}");
        self.volumes += 1;
        self.most = self.most.max(calls);
    }

    fn report(&self, what: &str) {
        let Trial { sound, volumes, most } = self;
        println!("{what}: {volumes} damaged volumes, at most {most} reads and writes, {} of the sound one", sound.0);
    }
}

/// Offsets of bytes that are not zero: metadata, mostly.
fn interesting(bytes: &[u8]) -> Vec<usize> {
    // Content and the log are left out as far as a run of identical or random bytes shows; what is left is still plenty.
    bytes
        .chunks(1024)
        .enumerate()
        .filter(|(_, c)| {
            c.starts_with(b"FILE") || c.starts_with(b"INDX") || c.starts_with(b"RSTR") || c[3..7] == *b"NTFS"
        })
        .flat_map(|(i, c)| c.iter().enumerate().filter(|(_, b)| **b != 0).map(move |(o, _)| i * 1024 + o))
        .collect()
}

fn storm(options: &[&str], seed: u64, rounds: usize) {
    let Some(good) = sample(options) else { return };
    let mut trial = Trial::new(&good);
    let places = interesting(&good);
    let mut random = Random::new(seed + soak() as u64 * 1000);
    for round in 0..rounds * soak() {
        let mut bytes = good.clone();
        let mut what = String::new();
        for _ in 0..1 + random.below(2) {
            let place = match random.below(8) {
                0 => random.below(bytes.len() as u64) as usize,
                _ => places[random.below(places.len() as u64) as usize],
            };
            let value = match random.below(4) {
                0 => 0xff,
                1 => 0,
                2 => bytes[place] ^ 1 << random.below(8),
                _ => random.next() as u8,
            };
            what += &format!("byte {place:#x} {:#04x} -> {value:#04x}; ", bytes[place]);
            bytes[place] = value;
        }
        trial.attempt(bytes, &format!("options {options:?}, round {round}: {what}"));
    }
    trial.report(&format!("single bytes, {options:?}"));
}

#[test]
fn single_bytes() {
    storm(&[], 1, 1200);
}

#[test]
fn single_bytes_with_small_clusters() {
    storm(&["-c", "512"], 2, 600);
}

#[test]
fn words_in_the_header_fields() {
    // Lengths, offsets and counts get the values that break arithmetic.
    let Some(good) = sample(&[]) else { return };
    let mut trial = Trial::new(&good);
    let mut random = Random::new(5 + soak() as u64 * 1000);
    let records: Vec<usize> =
        (0..good.len()).step_by(1024).filter(|&o| good[o..].starts_with(b"FILE") && good[o + 0x16] & 1 != 0).collect();
    for round in 0..900 * soak() {
        let mut bytes = good.clone();
        let record = records[random.below(records.len() as u64) as usize];
        let place = record + random.below(250) as usize * 2;
        let value: u64 =
            [0, 1, 7, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 62, 0x8000][random.below(10) as usize];
        let len = [2, 4, 8][random.below(3) as usize];
        // The two bytes at the end of each stride are the update sequence number.
        if place % 512 + len > 510 {
            continue;
        }
        bytes[place..place + len].copy_from_slice(&value.to_le_bytes()[..len]);
        trial.attempt(bytes, &format!("round {round}: {len} bytes {value:#x} at {place:#x}"));
    }
    trial.report("words in header fields");
}

#[test]
fn sizes_of_attributes() {
    // First and last VCN, allocated, real, initialized and total size of every kind of attribute.
    let Some(good) = sample(&[]) else { return };
    let mut trial = Trial::new(&good);
    let mut random = Random::new(6);
    let mut places = Vec::new();
    let mut lists = Vec::new();
    for record in (0..good.len()).step_by(1024).filter(|&o| good[o..].starts_with(b"FILE") && good[o + 0x16] & 1 != 0) {
        let mut at = record + usize::from(good[record + 0x14]);
        while good[at..at + 4] != [0xff; 4] {
            let len = u16::from_le_bytes([good[at + 4], good[at + 5]]);
            if good[at + 8] == 1 && good[at] == 0x20 {
                lists.push(at + 0x28);
            }
            if good[at + 8] == 1 {
                places.extend([0x10, 0x18, 0x28, 0x30, 0x38, 0x40].map(|o| at + o));
            } else {
                places.extend([0x10, 0x18, 0x20, 0x28].map(|o| at + o));
            }
            at += usize::from(len);
        }
    }
    // System files have every kind; of the many ordinary ones, some will do.
    let early = places.len().min(160);
    let rest: Vec<usize> = (0..400).map(|_| places[random.below(places.len() as u64) as usize]).collect();
    let values: [u64; 10] = [0, 1, 0xffff_ffff, u64::MAX, i64::MAX as u64, 1 << 63, 1 << 62, 1 << 50, 1 << 40, 1 << 33];
    let mut attempt = |place: usize, value: u64| {
        let mut bytes = good.clone();
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
        trial.attempt(bytes, &format!("{value:#x} at {place:#x}"));
    };
    for place in places[..early].iter().copied().chain(rest).filter(|p| p % 512 + 8 <= 510) {
        attempt(place, values[random.below(values.len() as u64) as usize]);
    }
    // The allocated size of an attribute list is what the writer fills.
    assert!(!lists.is_empty(), "the sample has an attribute list in clusters");
    for place in lists.into_iter().filter(|p| p % 512 + 8 <= 510) {
        values.iter().for_each(|value| attempt(place, *value));
    }
    trial.report("sizes of attributes");
}

#[test]
fn truncations() {
    let Some(good) = sample(&[]) else { return };
    let mut trial = Trial::new(&good);
    let mut random = Random::new(3);
    for _ in 0..120 {
        let len = random.below(good.len() as u64) as usize;
        trial.attempt(good[..len].to_vec(), &format!("cut to {len} bytes"));
        // The boot sector fits the length, but what lies behind the cut is zero.
        let mut zeroed = good.clone();
        zeroed[len..].fill(0);
        trial.attempt(zeroed, &format!("zero from {len}"));
    }
    trial.report("truncations");
}

#[test]
fn storage_shorter_than_a_sector() {
    for len in [0, 1, 511] {
        let disk = MemoryDisk::new(vec![0; len]);
        assert_eq!(disk.len(), len as u64);
        assert!(Volume::open(Arc::new(disk)).is_err());
    }
}
