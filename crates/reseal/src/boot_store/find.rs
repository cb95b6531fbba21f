//! Where the stores of a disk lie.

use super::system::SystemVolume;
use crate::error::{Kind, Result};
use crate::hives::LOG_SUFFIXES;
use crate::image::DiskImage;
use reseal_disk::Partition;
use reseal_fat::Entry;
use reseal_hive::{Hive, Recover};
use reseal_ntfs::Probe;

/// Where a store lies on a partition of the firmware, and on the active one of an MBR disk.
pub(crate) const PATHS: [&str; 2] = [r"\EFI\Microsoft\Boot\BCD", r"\Boot\BCD"];
/// Real stores have 8 to 256 KiB.
pub(super) const MOST: u32 = 16 << 20;

/// A file of a store on FAT, as it was read.
#[derive(Debug)]
pub(crate) struct FatFile {
    pub(super) entry: Entry,
    pub(super) bytes: Vec<u8>,
}

/// What holds a store.
#[derive(Debug)]
pub(crate) enum Home {
    /// The volume of Windows: the store is one of its hives.
    Own,
    /// Another NTFS volume: among the hives of a [`SystemVolume`], or only read.
    Other,
    /// A FAT partition: length of the file, its logs.
    Fat { size: u32, logs: Vec<FatFile> },
}

/// A store.
#[derive(Debug)]
pub(crate) struct Store {
    /// How messages name the partition.
    pub(crate) place: String,
    pub(crate) partition: Partition,
    /// Path from the volume's root.
    pub(crate) path: String,
    pub(crate) hive: Hive,
    pub(crate) home: Home,
    /// A step changed it: it is written back. Always false on NTFS, where the hive of the volume is changed.
    pub(crate) edited: bool,
}

impl Store {
    /// How plans name the hive: by its path on the volume of Windows, elsewhere with the partition before it.
    pub(crate) fn name(&self) -> String {
        match self.home {
            Home::Own => self.path.clone(),
            Home::Other | Home::Fat { .. } => format!("{}: {}", self.place, self.path),
        }
    }
}

/// A partition that may hold a store and cannot be read.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) place: String,
    pub(crate) why: String,
}

/// Every store of a disk.
#[derive(Debug, Default)]
pub(crate) struct BootStores {
    pub(crate) stores: Vec<Store>,
    pub(crate) faults: Vec<Fault>,
    /// Volumes beside that of Windows which hold one of its stores.
    pub(crate) systems: Vec<SystemVolume>,
}

impl BootStores {
    /// Looks on every partition of the disk, whatever the user selected; `own` is the one with Windows. An error is the
    /// host's; whatever a partition holds is a fault.
    pub(crate) fn find(image: &DiskImage, own: Option<&Partition>) -> Result<BootStores> {
        let mut out = BootStores::default();
        for partition in &image.table.partitions {
            let found = match image.probe(partition)? {
                Probe::Fat => on_fat(image, partition),
                Probe::Ntfs => {
                    let is_own = own.is_some_and(|own| own.number == partition.number);
                    on_ntfs(image, partition, is_own).map(|store| store.into_iter().collect())
                }
                _ => continue,
            };
            match found {
                Ok(stores) => out.stores.extend(stores),
                Err(e) if e.kind() == Kind::Io => return Err(e),
                Err(e) => out.faults.push(Fault { place: DiskImage::place(partition), why: e.to_string() }),
            }
        }
        let Some(own) = own else { return Ok(out) };
        for store in out.stores.iter().filter(|store| matches!(store.home, Home::Other)) {
            match SystemVolume::of(image, store, own) {
                Ok(system) => out.systems.extend(system),
                Err(e) if e.kind() == Kind::Io => return Err(e),
                Err(e) => out.faults.push(Fault { place: store.place.clone(), why: e.to_string() }),
            }
        }
        Ok(out)
    }

    /// The system volume on a partition.
    pub(crate) fn system(&self, partition: &Partition) -> Option<&SystemVolume> {
        self.systems.iter().find(|system| system.partition.number == partition.number)
    }
}

fn store(partition: &Partition, path: &str, primary: Vec<u8>, logs: &[&[u8]], home: Home) -> Result<Store> {
    let hive = Hive::open_vec(primary, logs, Recover::AsIs)?;
    Ok(Store {
        place: DiskImage::place(partition),
        partition: partition.clone(),
        path: path.to_owned(),
        hive,
        home,
        edited: false,
    })
}

fn on_fat(image: &DiskImage, partition: &Partition) -> Result<Vec<Store>> {
    let volume = reseal_fat::Volume::open(image.bytes(partition))?;
    let mut out = Vec::new();
    for path in PATHS {
        let read = |path: &str| -> reseal_dtyp::Result<Option<FatFile>> {
            let Some(entry) = volume.resolve(path)? else { return Ok(None) };
            let bytes = volume.read(&entry, MOST).map_err(|e| e.within(path))?;
            Ok(Some(FatFile { entry, bytes }))
        };
        let Some(FatFile { entry, bytes }) = read(path)? else { continue };
        let logs: Vec<Option<FatFile>> =
            LOG_SUFFIXES.iter().map(|suffix| read(&format!("{path}{suffix}"))).collect::<reseal_dtyp::Result<_>>()?;
        let logs: Vec<FatFile> = logs.into_iter().flatten().collect();
        let log_bytes: Vec<Vec<u8>> = logs.iter().map(|log| log.bytes.clone()).collect();
        let log_bytes: Vec<&[u8]> = log_bytes.iter().map(Vec::as_slice).collect();
        let home = Home::Fat { size: entry.size, logs };
        out.push(store(partition, path, bytes, &log_bytes, home).map_err(|e| e.subject(path.to_owned()))?);
    }
    Ok(out)
}

/// The firmware does not read NTFS: only the active partition of an MBR disk has its store there.
fn on_ntfs(image: &DiskImage, partition: &Partition, is_own: bool) -> Result<Option<Store>> {
    let path = PATHS[1];
    let volume = match image.volume(partition) {
        Err(e) if e.kind() == Kind::Io => return Err(e),
        // Nothing tells that a volume which does not open holds a store; `inspect` says why it does not.
        Err(_) => return Ok(None),
        Ok(volume) => volume,
    };
    let read = |path: &str| -> reseal_dtyp::Result<Option<Vec<u8>>> {
        let Some(file) = volume.resolve(path)? else { return Ok(None) };
        let reader = volume.stream(file, &[])?;
        let size = reader.size_at_once()?;
        if size > MOST as usize {
            let detail = format!("{path} has {size} bytes, at most {MOST} are read");
            return Err(reseal_dtyp::Error::new(reseal_dtyp::Kind::Limit, detail));
        }
        Ok(Some(reader.read_all()?))
    };
    let Some(primary) = read(path)? else { return Ok(None) };
    let logs: Vec<Option<Vec<u8>>> =
        LOG_SUFFIXES.iter().map(|suffix| read(&format!("{path}{suffix}"))).collect::<reseal_dtyp::Result<_>>()?;
    let logs: Vec<&[u8]> = logs.iter().flatten().map(Vec::as_slice).collect();
    let home = if is_own { Home::Own } else { Home::Other };
    Ok(Some(store(partition, path, primary, &logs, home)?))
}
