//! An image's content as readers see it: files by path, hives as text lines.

use reseal_disk::{Disk, WriteAt};
use reseal_hive::{Hive, Recover};
use reseal_ntfs::{FileReference, Namespace, Volume};
use reseal_testdata::oracle;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The bytes of the first partition.
pub(crate) fn partition(image: impl AsRef<Path>) -> Arc<dyn WriteAt> {
    let disk = Disk::open(image.as_ref()).expect("the image opens");
    let table = disk.partitions().expect("it has partitions");
    disk.partition(table.partitions.first().expect("at least one"))
}

/// The volume of the first partition.
pub(crate) fn volume(image: impl AsRef<Path>) -> Volume {
    Volume::open(partition(image)).expect("the volume opens")
}

/// Writes the first partition to a file of its own, with holes, for tools that read volumes.
pub(crate) fn extract(image: impl AsRef<Path>, out: &Path) {
    use std::os::unix::fs::FileExt;
    let bytes = partition(image);
    let file = std::fs::File::create(out).expect("it can be made");
    file.set_len(bytes.len()).expect("it can grow");
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes.len() {
        let n = (bytes.len() - at).min(buf.len() as u64) as usize;
        bytes.read_at(at, &mut buf[..n]).expect("it can be read");
        for (i, page) in buf[..n].chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|b| *b != 0)) {
            file.write_all_at(page, at + 4096 * i as u64).expect("it can be written");
        }
        at += n as u64;
    }
}

/// Every file and folder but the root and the system files, by path with backslashes.
pub(crate) fn tree(volume: &Volume) -> BTreeMap<String, FileReference> {
    let mut out = BTreeMap::new();
    let mut queue = vec![(volume.root(), String::new())];
    while let Some((folder, prefix)) = queue.pop() {
        for entry in volume.entries(folder).expect("the folder can be listed") {
            let system = prefix.is_empty() && entry.reference.record() < 24;
            if entry.namespace == Namespace::Dos || system {
                continue;
            }
            let path = format!(r"{prefix}\{}", reseal_dtyp::utf16_lossy(&entry.name));
            if entry.is_directory() {
                queue.push((entry.reference, path.clone()));
            }
            out.insert(path, entry.reference);
        }
    }
    out
}

/// The unnamed stream; `None` for a folder.
pub(crate) fn read(volume: &Volume, file: FileReference) -> Option<Vec<u8>> {
    let stat = volume.stat(file).expect("it has a record");
    let size = stat.streams.iter().find(|s| s.name.is_empty())?.size;
    let mut bytes = vec![0; size as usize];
    let n = volume.read_at(file, &[], 0, &mut bytes).expect("it can be read");
    assert_eq!(n as u64, size);
    Some(bytes)
}

/// Content of a file by path.
#[track_caller]
pub(crate) fn file(volume: &Volume, path: &str) -> Vec<u8> {
    let reference =
        volume.resolve(path).expect("the path can be walked").unwrap_or_else(|| panic!("{path} is missing"));
    read(volume, reference).expect("it is a file")
}

/// Every hive of the volume by path, with its logs applied; a dirty one without logs as it stands.
pub(crate) fn hives(volume: &Volume) -> BTreeMap<String, Hive> {
    let files = tree(volume);
    let mut out = BTreeMap::new();
    for (path, reference) in &files {
        let mut magic = [0; 4];
        if volume.stat(*reference).expect("it has a record").is_directory
            || volume.read_at(*reference, &[], 0, &mut magic).unwrap_or(0) < 4
        {
            continue;
        }
        let name = path.rsplit('\\').next().unwrap_or_default().to_ascii_lowercase();
        if magic != *b"regf" || [".log", ".log1", ".log2"].iter().any(|s| name.ends_with(s)) {
            continue;
        }
        let primary = read(volume, *reference).expect("it is a file");
        let log = |suffix: &str| {
            let wanted = format!("{path}{suffix}");
            files.iter().find(|(p, _)| p.eq_ignore_ascii_case(&wanted)).and_then(|(_, log)| read(volume, *log))
        };
        let logs: Vec<Vec<u8>> = [".LOG", ".LOG1", ".LOG2"].iter().filter_map(|s| log(s)).collect();
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let hive = Hive::open(&primary, &logs, Recover::Replay).or_else(|_| Hive::open(&primary, &logs, Recover::AsIs));
        out.insert(path.clone(), hive.unwrap_or_else(|e| panic!("{path}: {e}")));
    }
    out
}

/// Our own check and ntfs-3g's tools find the first volume of an image sound; `more` goes to `reseal fs check`.
pub(crate) fn witnesses(bench: &super::Bench, image: &str, more: &[&str]) {
    super::reseal(["fs", "check", image].iter().chain(more)).exits(0);
    let volume = bench.path("volume.ntfs");
    extract(image, &volume);
    let path = volume.to_str().expect("a temporary path is text");
    oracle::agree("ntfsresize", ["-i", "-f", path]);
    oracle::agree("ntfsfix", ["-n", path]);
    oracle::agree("ntfsls", ["-R", "-f", path]);
    std::fs::remove_file(&volume).expect("just written");
}
