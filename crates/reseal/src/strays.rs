//! The guard against stray writes: every sector that differs must belong to what the plan names.
//!
//! What may change is derived from the changes of the plan and from the volume as it was and as it will be, both read by the
//! reader. The writer has no say: a write that it makes to another place stops the run before the image is touched.
//!
//! `$MFTMirr`, `$Bitmap` and `$Secure` may change with every plan: what stands in them is compared with the records, the
//! runs and the hashes by the volume's check, which comes before.

use crate::boot_store::{StoreAt, SystemAt, original_ranges};
use crate::change::{Change, Target};
use crate::error::{Error, Kind, Result, Within};
use crate::hives::LOG_SUFFIXES;
use crate::image::DiskImage;
use crate::stray_hives::{self, StagedHive};
use reseal_disk::journal::SECTOR;
use reseal_disk::{Partition, WriteAt};
use reseal_ntfs::{ByteOwner, FileReference, Owners, SHADOW_HEADER, ShadowHeader, Volume};
use reseal_sid::SidMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Attribute type codes.
const DATA: u32 = 0x80;
const SECURITY_DESCRIPTOR: u32 = 0x50;
const INDEX_ALLOCATION: u32 = 0xa0;
const BITMAP: u32 = 0xb0;
/// The volume's own files.
const MFT: u64 = 0;
const MFT_MIRROR: u64 = 1;
const LOG_FILE: u64 = 2;
const CLUSTER_BITMAP: u64 = 6;
const SECURE: u64 = 9;
/// Files from here on are not the volume's own.
const FIRST_ORDINARY: u64 = 24;

/// What a plan changes, for the guard.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) changes: &'a [Change],
    /// Hives that are written back, from the volume's root.
    pub(crate) hives: &'a [String],
    /// What these hives are to be; looked at when what belongs to nothing is wiped.
    pub(crate) staged: &'a [StagedHive],
    /// Boot stores on FAT partitions that are overwritten where they lie.
    pub(crate) stores: &'a [StoreAt],
    /// System volumes that are written.
    pub(crate) systems: &'a [SystemAt],
    /// The SIDs that are replaced.
    pub(crate) sids: Option<&'a SidMap>,
    /// Whether what belongs to nothing is wiped, too.
    pub(crate) scrub: bool,
}

/// Fails with kind `Internal` when the staged image differs from the original in a place that the plan does not name.
pub(crate) fn refuse(image: &DiskImage, partition: &Partition, planned: &Planned<'_>) -> Result<()> {
    let ranges = image.disk.changed_ranges().map_err(|e| stray(e.to_string()))?;
    if ranges.is_empty() {
        return Ok(());
    }
    let original = image.disk.original()?;
    let states = |partition: &Partition| -> Result<[Volume; 2]> {
        Ok([Volume::open(original.partition(partition))?, image.volume(partition)?])
    };
    let [was, is] = states(partition)?;
    stray_hives::refuse(&was, &is, planned.staged, planned.changes)?;
    let named = Named { changes: planned.changes, hives: planned.hives, sids: planned.sids };
    let own = Look::new([&was, &is], image, partition, &named)?;
    let mut systems = Vec::new();
    for system in planned.systems {
        let [was, is] = states(&system.partition)?;
        let changes = system.changes(planned.changes);
        let named = Named { changes: &changes, hives: &system.hives, sids: planned.sids };
        systems.push(
            Look::new([&was, &is], image, &system.partition, &named).within(DiskImage::place(&system.partition))?,
        );
    }
    let in_stores = original_ranges(&original, planned.stores)?;
    let mut wiped = planned.scrub.then(|| Wiped::new(&was, &is));
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let Some(here) = own.inside(at) else {
                if let Some((look, here)) = systems.iter().find_map(|look| Some((look, look.inside(at)?))) {
                    at += look.sector(here, None).within(DiskImage::place(&look.partition))?;
                    continue;
                }
                if in_stores.iter().any(|store| store.start <= at && at + SECTOR <= store.end) {
                    at += SECTOR;
                    continue;
                }
                return Err(stray(format!("byte {at:#x} of the disk, outside the volume")));
            };
            let rest = range.end - at;
            at += match &mut wiped {
                None => own.sector(here, None)?,
                Some(wiped) => match own.free(here, rest)? {
                    0 => own.sector(here, Some(wiped))?,
                    free => free,
                },
            };
        }
    }
    Ok(())
}

/// What a plan names on one volume.
struct Named<'a> {
    changes: &'a [Change],
    /// Hives that are written back, from the volume's root.
    hives: &'a [String],
    sids: Option<&'a SidMap>,
}

/// The two states of a volume.
struct Look {
    was: Owners,
    is: Owners,
    bytes: Arc<dyn WriteAt>,
    allowed: Allowed,
    partition: Partition,
}

impl Look {
    fn new([was, is]: [&Volume; 2], image: &DiskImage, partition: &Partition, named: &Named<'_>) -> Result<Look> {
        let allowed = Allowed::of(was, is, named)?;
        let (owners_was, owners_is) = rayon::join(|| was.owners(), || is.owners());
        let (bytes, partition) = (image.bytes(partition), partition.clone());
        Ok(Look { was: owners_was?, is: owners_is?, bytes, allowed, partition })
    }

    /// A byte of the disk as one of the volume.
    fn inside(&self, at: u64) -> Option<u64> {
        at.checked_sub(self.partition.offset).filter(|at| *at < self.partition.len)
    }

    /// Fails when the sector at `at` must not differ; returns its length.
    fn sector(&self, at: u64, wiped: Option<&mut Wiped<'_>>) -> Result<u64> {
        let (before, after) = (self.was.of(at), self.is.of(at));
        let fine = match (&before, &after) {
            // What was given up is zeroed, and nothing else is written to free space.
            (ByteOwner::Free, ByteOwner::Free) => false,
            (held, ByteOwner::Free) => self.allowed.has(held) && self.is_zero(at, SECTOR)?,
            (ByteOwner::Free, taken) => self.allowed.has(taken),
            (held, taken) => self.allowed.has(held) && self.allowed.has(taken),
        };
        let fine = fine
            || (self.allowed.shadow_header && at == SHADOW_HEADER.start && self.is_zero(at, SECTOR)?)
            || match wiped {
                Some(wiped) if before == after => wiped.allows(self, at, &after)?,
                _ => false,
            };
        if fine {
            Ok(SECTOR)
        } else {
            Err(stray(format!("byte {at:#x} of the volume: was {}, is {}", show(&before), show(&after))))
        }
    }

    /// How many bytes from `at` on, of `rest`, were free, are free and are zero now: whole sectors, 0 for none.
    fn free(&self, at: u64, rest: u64) -> Result<u64> {
        let free = self.was.free_stretch(at).min(self.is.free_stretch(at)).min(rest).min(1 << 20) / SECTOR * SECTOR;
        Ok(if free > 0 && self.is_zero(at, free)? { free } else { 0 })
    }

    fn read(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len.min(self.partition.len - at) as usize];
        self.bytes.read_at(at, &mut bytes)?;
        Ok(bytes)
    }

    fn is_zero(&self, at: u64, len: u64) -> Result<bool> {
        Ok(self.read(at, len)?.iter().all(|b| *b == 0))
    }
}

/// What a scrub may change in places that belong to something: what stands behind what is in use there.
struct Wiped<'v> {
    was: &'v Volume,
    is: &'v Volume,
    /// The sector before lay in the same record or block: what was said of that.
    last: Option<((u64, u64), bool)>,
}

impl<'v> Wiped<'v> {
    fn new(was: &'v Volume, is: &'v Volume) -> Wiped<'v> {
        Wiped { was, is, last: None }
    }

    /// Whether only what belongs to nothing differs in a sector of the place, and as a scrub leaves it.
    fn allows(&mut self, look: &Look, at: u64, owner: &ByteOwner) -> Result<bool> {
        match owner {
            ByteOwner::Free => Ok(false),
            ByteOwner::Record(number) => {
                self.once((MFT, *number), |was, is| is.record_differs_in_rest_only(was, *number))
            }
            ByteOwner::File { file, kind: DATA, .. } if file.record() == LOG_FILE => {
                Ok(look.read(at, SECTOR)?.iter().all(|b| *b == 0xff))
            }
            ByteOwner::File { file, kind, name } => {
                let number = file.record();
                let (Some(offset), Some(offset_was)) = (look.is.offset_in_stream(at), look.was.offset_in_stream(at))
                else {
                    return Ok(false);
                };
                if offset != offset_was {
                    return Ok(false);
                }
                if *kind == INDEX_ALLOCATION {
                    // No block is smaller than a sector, none larger than 64 KiB: at most 128 are asked about twice.
                    return Ok(self.is.index_block_differs_in_rest_only(self.was, number, name, offset)?);
                }
                let used = |volume: &Volume| volume.initialized(number, *kind, name);
                let (Some(used_was), Some(used)) = (used(self.was)?, used(self.is)?) else { return Ok(false) };
                let end = used_was.max(used).saturating_sub(offset).min(SECTOR) as usize;
                let now = look.read(at, SECTOR)?;
                let mut then = vec![0; now.len()];
                self.was.read_medium(at, &mut then)?;
                Ok(number >= FIRST_ORDINARY && now[..end] == then[..end] && now[end..].iter().all(|b| *b == 0))
            }
        }
    }

    fn once(
        &mut self,
        what: (u64, u64),
        ask: impl FnOnce(&Volume, &Volume) -> reseal_dtyp::Result<bool>,
    ) -> Result<bool> {
        if let Some((_, said)) = self.last.filter(|(last, _)| *last == what) {
            return Ok(said);
        }
        let said = ask(self.was, self.is)?;
        self.last = Some((what, said));
        Ok(said)
    }
}

fn stray(place: String) -> Error {
    Error::new(Kind::Internal, format!("a stray write was stopped: {place}"))
        .hint("this is a defect of reseal; nothing was written")
}

fn show(owner: &ByteOwner) -> String {
    match owner {
        ByteOwner::Record(number) => format!("file record {number}"),
        ByteOwner::File { file, kind, .. } => format!("attribute {kind:#x} of file {file}"),
        ByteOwner::Free => "free".to_owned(),
    }
}

/// What may differ.
#[derive(Debug, Default)]
struct Allowed {
    /// Records of the files that are named, and of the folders that hold their names.
    records: BTreeSet<u64>,
    /// Files that are named.
    files: BTreeSet<u64>,
    /// Folders that hold a name of one of them: their index may change.
    folders: BTreeSet<u64>,
    /// Files of the volume of which indexes and descriptors may change: `$ObjId`, `$Reparse`, `$Quota`, and files that hold
    /// their descriptor, with a SID that is replaced, themselves.
    indexes: BTreeMap<u64, FileReference>,
    /// Records from here on came into being with the growth of `$MFT`.
    new_records: u64,
    /// Whether the header of shadow copies, which was one, may become zeros.
    shadow_header: bool,
}

impl Allowed {
    fn of(was: &Volume, is: &Volume, planned: &Named<'_>) -> Result<Allowed> {
        let mut out = Allowed::default();
        let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
        for volume in [was, is] {
            for path in paths(planned) {
                named(volume, &path, &mut files, &mut folders).within(&path)?;
            }
            for path in planned.changes.iter().filter_map(removed_folder) {
                below(volume, path, &mut files, &mut folders).within(path)?;
            }
            for name in ["$ObjId", "$Reparse", "$Quota"] {
                out.indexes.extend(volume.resolve(&format!(r"$Extend\{name}"))?.map(|f| (f.record(), f)));
            }
        }
        if let Some(map) = planned.sids {
            out.indexes.extend(was.files_with_own_sids(map)?.into_iter().map(|f| (f.record(), f)));
        }
        let own = [MFT, CLUSTER_BITMAP, SECURE].map(|number| was.reference_of(number)).into_iter();
        let own: Vec<FileReference> = own.collect::<reseal_dtyp::Result<_>>()?;
        for file in files.iter().chain(&folders).chain(out.indexes.values()).chain(&own) {
            for volume in [was, is] {
                match volume.records_of(*file) {
                    Ok(records) => out.records.extend(records),
                    // It was not there yet, or is not there any more.
                    Err(e) if e.kind() == reseal_dtyp::Kind::NotFound => {}
                    Err(e) => return Err(e.into()),
                }
            }
        }
        out.files = files.iter().map(|f| f.record()).collect();
        out.folders = folders.iter().map(|f| f.record()).collect();
        out.new_records = was.record_count();
        let is_named = planned.changes.iter().any(|c| matches!(c.target, Target::ShadowHeader { .. }));
        out.shadow_header = is_named && matches!(was.shadow_header()?, ShadowHeader::Present { .. });
        Ok(out)
    }

    fn has(&self, owner: &ByteOwner) -> bool {
        match owner {
            ByteOwner::Free => false,
            ByteOwner::Record(number) => *number >= self.new_records || self.records.contains(number),
            ByteOwner::File { file, kind, .. } => {
                let number = file.record();
                match number {
                    MFT => *kind == BITMAP,
                    // The first records, which it repeats, are those of the volume itself.
                    MFT_MIRROR | CLUSTER_BITMAP | SECURE => true,
                    _ if self.files.contains(&number) => true,
                    _ if self.folders.contains(&number) => matches!(*kind, INDEX_ALLOCATION | BITMAP),
                    _ => {
                        self.indexes.contains_key(&number)
                            && matches!(*kind, INDEX_ALLOCATION | BITMAP | SECURITY_DESCRIPTOR)
                    }
                }
            }
        }
    }
}

/// A file by its path, if it is there, and the folders that hold its names.
fn named(
    volume: &Volume,
    path: &str,
    files: &mut BTreeSet<FileReference>,
    folders: &mut BTreeSet<FileReference>,
) -> reseal_dtyp::Result<()> {
    // Where a file was made or removed, its folder changes.
    let parent = path.trim_matches('\\').rsplit_once('\\').map_or("", |(parent, _)| parent);
    folders.extend(volume.resolve(parent)?);
    let Some(file) = volume.resolve(path)? else { return Ok(()) };
    files.insert(file);
    // Each name repeats sizes and times.
    folders.extend(volume.names_of(file)?.iter().map(|name| name.parent));
    Ok(())
}

/// A folder that goes with all in it.
fn removed_folder(change: &Change) -> Option<&str> {
    match &change.target {
        Target::Folder { path } => Some(path),
        _ => None,
    }
}

/// Everything in a folder, if it is there, and the folders that hold its names. No reparse point is followed.
fn below(
    volume: &Volume,
    path: &str,
    files: &mut BTreeSet<FileReference>,
    folders: &mut BTreeSet<FileReference>,
) -> reseal_dtyp::Result<()> {
    const REPARSE_POINT: u32 = 0x400;
    let mut open: Vec<FileReference> = volume.resolve(path)?.into_iter().collect();
    let mut seen: BTreeSet<FileReference> = open.iter().copied().collect();
    while let Some(folder) = open.pop() {
        for entry in volume.entries(folder)? {
            if !seen.insert(entry.reference) {
                continue;
            }
            files.insert(entry.reference);
            folders.extend(volume.names_of(entry.reference)?.iter().map(|name| name.parent));
            if entry.is_directory() && entry.attributes & REPARSE_POINT == 0 {
                open.push(entry.reference);
            }
        }
    }
    Ok(())
}

/// Every path that the plan names, as it was and as it will be.
fn paths(planned: &Named<'_>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let mut hive = |path: &str| {
        out.insert(path.to_owned());
        out.extend(LOG_SUFFIXES.iter().map(|log| format!("{path}{log}")));
    };
    for path in planned.hives {
        hive(path);
    }
    let mut files = BTreeSet::new();
    for change in planned.changes {
        match &change.target {
            Target::Value { hive: path, .. } | Target::Key { hive: path, .. } | Target::HiveSids { hive: path } => {
                hive(path);
            }
            Target::File { path } | Target::Folder { path } => {
                files.insert(path.clone());
                // A rename says where from and where to.
                files.extend(
                    [&change.before, &change.after].into_iter().flatten().filter(|p| p.starts_with('\\')).cloned(),
                );
            }
            Target::Descriptors { .. } | Target::Unused { .. } | Target::ShadowHeader { .. } => {}
        }
    }
    out.extend(files);
    out
}

#[cfg(test)]
mod tests {
    use crate::generalize::plan_disk;
    use crate::image::DiskImage;
    use crate::{Inputs, Options, Silent};
    use reseal_dtyp::FileTime;
    use reseal_ntfs::{ByteOwner, Owners};
    use reseal_testdata::{Container, ImageBuilder, WindowsImage};

    /// The first sector of a volume whose owner is wanted, from a byte on.
    fn find(owners: &Owners, from: u64, wanted: impl Fn(&ByteOwner) -> bool) -> u64 {
        (from..16 << 20).step_by(512).find(|at| wanted(&owners.of(*at))).expect("there is such a sector")
    }

    #[test]
    fn a_write_to_another_place_stops_the_commit() {
        let dir = tempfile::tempdir().unwrap();
        for (container, name) in [(Container::Raw, "gold.raw"), (ImageBuilder::default().container, "gold.vhdx")] {
            let path = dir.path().join(name);
            let windows = WindowsImage { files: 120, ..WindowsImage::default() };
            let builder = ImageBuilder { container, volume_len: 16 << 20, ..ImageBuilder::default() };
            builder.build(&path, |volume| windows.fill(volume)).unwrap();
            let planned = || {
                let image = DiskImage::open(path.to_str().unwrap()).unwrap();
                let inputs = Inputs::seeded("strays", FileTime::from_unix(1_700_000_000));
                plan_disk(image, &Options::default(), &inputs, &Silent).unwrap()
            };
            let first = planned();
            let (volume, partition) = (first.image.volume(&first.partition).unwrap(), first.partition.clone());
            let owners = volume.owners().unwrap();
            let foreign = |file: &reseal_ntfs::FileReference| {
                file.record() >= 24 && volume.path_of(*file).is_ok_and(|path| path.starts_with("/Program Files"))
            };
            let data = |o: &ByteOwner| matches!(o, ByteOwner::File { file, kind: 0x80, .. } if foreign(file));
            let record = |o: &ByteOwner| matches!(o, ByteOwner::Record(n) if volume.reference_of(*n).is_ok_and(|file| foreign(&file)));
            let of = |number| move |o: &ByteOwner| matches!(o, ByteOwner::File { file, .. } if file.record() == number);
            let middle = partition.len / 2;
            let places = [
                ("the partition table", 3 * 512),
                ("the boot sector", partition.offset + 0x60),
                ("free space", partition.offset + find(&owners, middle, |o| *o == ByteOwner::Free)),
                ("data of another file", partition.offset + find(&owners, 0, data)),
                ("record of another file", partition.offset + find(&owners, 0, record)),
                ("$LogFile", partition.offset + find(&owners, 0, of(2)) + 40_000),
                ("$UpCase", partition.offset + find(&owners, 0, of(10)) + 1000),
                ("$Volume", partition.offset + find(&owners, 0, |o| *o == ByteOwner::Record(3)) + 0x100),
            ];
            drop((volume, first));
            let out = dir.path().join("out");
            for (place, at) in places {
                let planned = planned();
                let bytes = planned.image.disk.bytes();
                let mut byte = [0];
                bytes.read_at(at, &mut byte).unwrap();
                bytes.write_at(at, &[byte[0] ^ 0x5a]).unwrap();
                let Err(error) = planned.commit_to(&out, &Silent) else { panic!("{place} at {at:#x} was not noticed") };
                assert!(error.to_string().contains("stray write"), "{place}: {error}");
                assert!(!out.exists(), "{place}");
            }
            planned().commit_to(&out, &Silent).unwrap();
            std::fs::remove_file(out).unwrap();
        }
    }
}
