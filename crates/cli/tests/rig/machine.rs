//! A made-up machine that a test changes in one point.

use super::Bench;
use reseal_disk::Disk;
use reseal_dtyp::{FileTime, Guid};
use reseal_hive::{Hive, Recover, types};
use reseal_ntfs::{Security, Volume};
use reseal_testdata::{Container, ImageBuilder, WindowsImage};
use std::path::Path;

const TIME: FileTime = FileTime(133_500_000_000_000_000);

/// What becomes of the values that a fixture sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mangle {
    /// They are what Windows writes.
    No,
    /// Another type, the same bytes.
    Type,
    /// The same type, no bytes.
    Empty,
    /// The same type, one byte.
    Short,
    /// The same type, many bytes of ones.
    Long,
}

/// The volume of an image that is being changed.
pub(crate) struct Machine {
    pub(crate) volume: Volume,
    pub(crate) mangle: Mangle,
}

/// A sound machine as a raw disk with one partition.
pub(crate) fn sound(bench: &Bench) -> String {
    let builder = ImageBuilder { container: Container::Raw, volume_len: 48 << 20, ..ImageBuilder::default() };
    let device = vec![[vec![0; 16], vec![5], vec![0; 7], vec![72], vec![0; 63]].concat(); 2];
    let store = reseal_testdata::boot_store::store(&device[0], &device[1], None).expect("it can be made");
    let fill = |volume: &mut Volume| {
        WindowsImage::default().fill(volume)?;
        let root = volume.root();
        let folder = volume.create_dir(root, "Boot", Security::SameAs(root), TIME)?;
        volume.create_file(folder, "BCD", &store, Security::SameAs(folder), TIME)?;
        Ok(())
    };
    builder.build(&bench.path("sound.raw"), fill).expect("the image can be built");
    bench.arg("sound.raw")
}

/// A copy of the sound machine with `plant` done to its volume.
pub(crate) fn planted(sound: &str, out: &Path, mangle: Mangle, plant: fn(&mut Machine)) {
    let disk = Disk::open(sound.as_ref()).expect("it opens");
    let table = disk.partitions().expect("it has partitions");
    let volume = Volume::open(disk.partition(&table.partitions[0])).expect("it is NTFS");
    let mut machine = Machine { volume, mangle };
    plant(&mut machine);
    drop(machine);
    disk.commit_to(out, [Guid([3; 16]), Guid([4; 16])], &|_, _| {}).expect("it can be written");
}

/// A sound machine in a folder of its own, and copies of it in which something is planted.
pub(crate) struct Rig {
    pub(crate) bench: Bench,
    pub(crate) sound: String,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let bench = Bench::new();
        let sound = sound(&bench);
        Rig { bench, sound }
    }

    pub(crate) fn planted(&self, name: &str, plant: fn(&mut Machine)) -> String {
        planted(&self.sound, &self.bench.path(name), Mangle::No, plant);
        self.bench.arg(name)
    }

    /// In place the same bytes come out as in a new image, and undo gives the old ones.
    #[track_caller]
    pub(crate) fn in_place_and_back(&self, gold: &str, sealed: &str, more: &[&str]) {
        let copy = self.out("copy.raw");
        std::fs::copy(gold, &copy).expect("it can be copied");
        let args = [&["generalize", &copy, "--in-place", "--keep-undo"][..], more, &super::FIXED].concat();
        super::reseal(args).exits(0);
        assert_eq!(super::hash(&copy), super::hash(sealed));
        super::reseal(["recover", &copy, "--undo"]).exits(0);
        assert_eq!(super::hash(&copy), super::hash(gold));
    }

    /// Where an image may be written.
    pub(crate) fn out(&self, name: &str) -> String {
        self.bench.arg(name)
    }
}

impl Machine {
    /// Edits the hive at a path below `Windows\System32\config`.
    pub(crate) fn hive(&mut self, name: &str, edit: impl FnOnce(&mut Hive)) {
        let path = format!(r"Windows\System32\config\{name}");
        let file = self.volume.resolve(&path).expect("it can be walked").expect("the hive is there");
        let bytes = super::content::read(&self.volume, file).expect("it is a file");
        let mut hive = Hive::open(&bytes, &[], Recover::Replay).expect("it is sound");
        edit(&mut hive);
        self.volume.replace(file, &[], &hive.to_bytes(), TIME).expect("it can be replaced");
    }

    pub(crate) fn set(&mut self, hive: &str, key: &str, name: &str, ty: u32, data: &[u8]) {
        let (ty, data) = match self.mangle {
            Mangle::No => (ty, data.to_vec()),
            Mangle::Type => (if ty == types::BINARY { types::SZ } else { types::BINARY }, data.to_vec()),
            Mangle::Empty => (ty, Vec::new()),
            Mangle::Short => (ty, vec![0xd8]),
            Mangle::Long => (ty, vec![0xff; 16_000]),
        };
        self.hive(hive, |hive| {
            let key = hive.create_path(key).expect("the key can be made");
            hive.set_value(key, name, ty, &data).expect("the value can be set");
        });
    }

    /// Edits the boot store.
    pub(crate) fn boot_store(&mut self, edit: impl FnOnce(&mut Hive)) {
        let file = self.volume.resolve(r"Boot\BCD").expect("it can be walked").expect("the store is there");
        let bytes = super::content::read(&self.volume, file).expect("it is a file");
        let mut hive = Hive::open(&bytes, &[], Recover::Replay).expect("it is sound");
        edit(&mut hive);
        self.volume.replace(file, &[], &hive.to_bytes(), TIME).expect("it can be replaced");
    }

    pub(crate) fn sz(&mut self, hive: &str, key: &str, name: &str, text: &str) {
        let data: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.set(hive, key, name, types::SZ, &data);
    }

    pub(crate) fn lines(&mut self, hive: &str, key: &str, name: &str, lines: &[&str]) {
        let text: String = lines.iter().map(|line| format!("{line}\0")).collect();
        let data: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.set(hive, key, name, types::MULTI_SZ, &data);
    }

    pub(crate) fn dword(&mut self, hive: &str, key: &str, name: &str, number: u32) {
        self.set(hive, key, name, types::DWORD, &number.to_le_bytes());
    }

    pub(crate) fn key(&mut self, hive: &str, key: &str) {
        self.hive(hive, |hive| {
            hive.create_path(key).expect("the key can be made");
        });
    }

    /// A service with a program.
    pub(crate) fn service(&mut self, name: &str) {
        let key = format!(r"ControlSet001\Services\{name}");
        self.sz("SYSTEM", &key, "ImagePath", r"%SystemRoot%\System32\svchost.exe");
    }

    /// A server: the made-up machine is a client otherwise.
    pub(crate) fn server(&mut self) {
        let mangle = std::mem::replace(&mut self.mangle, Mangle::No);
        self.sz("SYSTEM", r"ControlSet001\Control\ProductOptions", "ProductType", "ServerNT");
        self.mangle = mangle;
    }

    /// A file, in folders that are made on the way; one that is there gets this content.
    pub(crate) fn file(&mut self, path: &str, data: &[u8]) {
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let mut at = self.volume.root();
        for part in folder.split('\\').filter(|part| !part.is_empty()) {
            let units: Vec<u16> = part.encode_utf16().collect();
            at = match self.volume.lookup(at, &units).expect("it can be walked") {
                Some(found) => found,
                None => self.volume.create_dir(at, part, Security::SameAs(at), TIME).expect("it can be made"),
            };
        }
        let units: Vec<u16> = name.encode_utf16().collect();
        match self.volume.lookup(at, &units).expect("it can be walked") {
            Some(file) => self.volume.replace(file, &[], data, TIME).expect("it can be replaced"),
            None => {
                self.volume.create_file(at, name, data, Security::SameAs(at), TIME).expect("it can be made");
            }
        }
    }

    /// Changes bytes of a value that is there.
    pub(crate) fn patch(&mut self, hive: &str, key: &str, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut found = None;
        self.hive(hive, |hive| {
            let id = hive.key(key).expect("it can be walked").expect("the key is there");
            found = hive.value(id, name).expect("it can be read");
        });
        let mut value = found.expect("the value is there");
        edit(&mut value.data);
        self.set(hive, key, name, value.ty, &value.data);
    }
}

/// Where the volume of a made-up machine lies on its disk.
const OFFSET: usize = 1 << 20;

/// Two images of the volume of a raw disk, as wimlib captures it. `None` where wimlib is missing.
pub(crate) fn two_images(rig: &Rig, disk: &str, name: &str, options: &[&str]) -> Option<String> {
    let disk = std::fs::read(disk).unwrap();
    let volume = rig.bench.write("volume.ntfs", &disk[OFFSET..disk.len() - OFFSET]);
    let wim = rig.out(name);
    reseal_testdata::oracle::agree("wimlib-imagex", [&["capture", &volume, &wim, "First"], options].concat())?;
    reseal_testdata::oracle::agree("wimlib-imagex", ["append", &volume, &wim, "Second"])?;
    Some(wim)
}
