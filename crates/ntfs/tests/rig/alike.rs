//! A whole volume as the crate reads it, against what ntfs-3g reads.

use super::ntfs_3g::{Seen, SeenAttribute, SeenVolume};
use reseal_dtyp::{Kind, Result};
use reseal_ntfs::{FileReference, FileStat, Scanned, StreamInfo, Volume};
use std::collections::BTreeMap;

/// What the comparison of a volume gives. Lines of text name the file and the reason.
#[derive(Debug, Default)]
pub struct Alike {
    pub files: usize,
    pub entries: usize,
    pub streams: usize,
    pub bytes: u64,
    pub compressed: usize,
    pub sparse: usize,
    pub wof: usize,
    pub several_records: usize,
    pub descriptors: usize,
    pub without_descriptor: usize,
    /// Both read it, and not the same.
    pub different: Vec<String>,
    /// The crate refuses what ntfs-3g reads.
    pub refused: Vec<String>,
    /// ntfs-3g does not read what the crate reads.
    pub unread: Vec<String>,
}

/// All files that have a base record in use.
pub fn all_files(volume: &Volume) -> Vec<FileReference> {
    let found = volume.scan(Vec::new, |out: &mut Vec<FileReference>, scanned| {
        if let Scanned::Record(record) = scanned
            && record.base().is_none()
        {
            out.push(record.reference());
        }
    });
    found.unwrap().into_iter().flatten().collect()
}

/// FNV-1a with 64 bits of a stream, read in pieces.
fn checksum(volume: &Volume, file: FileReference, stream: &StreamInfo) -> Result<u64> {
    let reader = volume.stream(file, &stream.name)?;
    let mut buffer = vec![0; 4 << 20];
    let (mut sum, mut at) = (0xcbf2_9ce4_8422_2325u64, 0);
    loop {
        let n = reader.read_at(at, &mut buffer)?;
        if n == 0 {
            return Ok(sum);
        }
        sum = buffer[..n].iter().fold(sum, |s, &b| (s ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        at += n as u64;
    }
}

impl Alike {
    /// Compares everything that both know: records, times, attributes, ids, names, folders with a search for each of their
    /// names, streams with their contents, reparse points, descriptors.
    pub fn compare(volume: &Volume, seen: &SeenVolume) -> Alike {
        let mut alike = Alike::default();
        let own: BTreeMap<u64, FileReference> = all_files(volume).into_iter().map(|f| (f.record(), f)).collect();
        for number in own.keys().filter(|n| !seen.files.contains_key(n)) {
            alike.unread.push(format!("file {number}: {}", alike_fault(seen, *number)));
        }
        for (number, theirs) in &seen.files {
            match own.get(number) {
                Some(&file) => alike.file(volume, seen, file, theirs),
                None => alike.refused.push(format!("file {number}: not in use, or unreadable")),
            }
        }
        alike
    }

    fn file(&mut self, volume: &Volume, seen: &SeenVolume, file: FileReference, theirs: &Seen) {
        self.files += 1;
        self.same(file, "reference", &file.0, &theirs.reference);
        match volume.stat(file) {
            Ok(stat) => self.stat(volume, &stat, theirs, seen),
            Err(error) => self.refused.push(format!("file {file}: {error}")),
        }
        self.descriptor(volume, seen, file, theirs);
        if theirs.is_folder() {
            self.folder(volume, file, theirs);
        }
    }

    fn descriptor(&mut self, volume: &Volume, seen: &SeenVolume, file: FileReference, theirs: &Seen) {
        // ntfs-3g makes one up for a file that has none.
        let has_none = theirs.security == 0 && theirs.content.iter().all(|a| a.kind != 0x50);
        match volume.descriptor(file) {
            Ok(_) if has_none => {
                self.different.push(format!("file {file}: a descriptor that ntfs-3g does not know of"))
            }
            Ok(_) if theirs.descriptor.is_empty() => {
                self.unread.push(format!("file {file}: descriptor, {}", alike_fault(seen, file.record())));
            }
            Ok(own) => {
                self.descriptors += 1;
                // What ntfs-3g gives ends with the last part of the descriptor; stored ones may be longer.
                if !own.starts_with(&theirs.descriptor) {
                    let other = &theirs.descriptor;
                    self.different.push(format!("file {file}: descriptor {own:02x?}, ntfs-3g {other:02x?}"));
                }
            }
            Err(error) if has_none && error.kind() == Kind::NotFound => self.without_descriptor += 1,
            Err(error) => self.refused.push(format!("file {file}: descriptor, {error}")),
        }
    }

    fn stat(&mut self, volume: &Volume, stat: &FileStat, theirs: &Seen, seen: &SeenVolume) {
        let file = stat.reference;
        self.several_records += usize::from(stat.records > 1);
        self.wof += usize::from(stat.wof.is_some());
        self.same(file, "folder", &stat.is_directory, &theirs.is_folder());
        self.same(file, "links", &stat.link_count, &theirs.links);
        self.same(file, "times", &stat.standard.times.map(|t| t.0), &theirs.times);
        self.same(file, "attributes", &stat.standard.attributes, &theirs.attributes);
        self.same(file, "security id", &stat.standard.security_id.unwrap_or(0), &theirs.security);
        self.same(file, "owner", &stat.standard.owner_id, &theirs.owner);
        // Attributes of one type in several records: we show them by record, ntfs-3g as the list names them.
        let own = stat.names.iter().map(|n| (n.parent.0, n.namespace as u8, n.name.clone()));
        let other = theirs.names.iter().map(|n| (n.parent, n.namespace, n.name.clone()));
        self.same(file, "names", &sorted(own), &sorted(other));
        match volume.reparse_data(file) {
            Ok(own) => self.same(file, "reparse point", &own, &theirs.reparse),
            Err(error) => self.refused.push(format!("file {file}: reparse point, {error}")),
        }
        let own: BTreeMap<_, _> = stat.streams.iter().map(|s| (&s.name, s)).collect();
        let other: BTreeMap<_, _> = theirs.streams().map(|s| (&s.name, s)).collect();
        self.same(file, "streams", &sorted(own.keys()), &sorted(other.keys()));
        self.same(file, "streams of one name", &stat.streams.len(), &own.len());
        for (name, stream) in own {
            if let Some(other) = other.get(name) {
                self.stream(volume, seen, stat, stream, other);
            }
        }
    }

    fn stream(
        &mut self,
        volume: &Volume,
        seen: &SeenVolume,
        stat: &FileStat,
        stream: &StreamInfo,
        other: &SeenAttribute,
    ) {
        let file = stat.reference;
        let name = String::from_utf16_lossy(&stream.name);
        let what = |part: &str| format!("stream `{name}`, {part}");
        self.same(file, &what("size"), &stream.size, &other.size);
        self.same(file, &what("initialized"), &stream.initialized, &other.initialized);
        self.same(file, &what("resident"), &stream.resident, &other.is_resident);
        if !stream.resident {
            self.same(file, &what("allocated"), &stream.allocated, &other.allocated);
        }
        let flags = (stream.compressed, stream.encrypted, stream.sparse);
        let others = (other.flags & 0xff != 0, other.flags & 0x4000 != 0, other.flags & 0x8000 != 0);
        self.same(file, &what("flags"), &flags, &others);
        self.compressed += usize::from(stream.compressed);
        self.sparse += usize::from(stream.sparse);
        // As long as the volume, and of no content.
        if file.record() == 8 && name == "$Bad" {
            return;
        }
        // ntfs-3g gives of these what is stored.
        if stat.wof.is_some() && name.is_empty() || stream.encrypted {
            return;
        }
        match (checksum(volume, file, stream), other.checksum) {
            (Ok(own), Some(theirs)) => {
                self.streams += 1;
                self.bytes += stream.size;
                self.same(file, &what("content"), &own, &theirs);
            }
            (Ok(_), None) => {
                self.unread.push(format!("file {file}: stream `{name}`, {}", alike_fault(seen, file.record())))
            }
            (Err(error), Some(_)) => self.refused.push(format!("file {file}: stream `{name}`, {error}")),
            (Err(_), None) => {}
        }
    }

    fn folder(&mut self, volume: &Volume, file: FileReference, theirs: &Seen) {
        let own = match volume.entries(file) {
            Ok(own) => own,
            Err(error) => return self.refused.push(format!("file {file}: folder, {error}")),
        };
        let own: Vec<_> = own.into_iter().filter(|e| e.name != [0x2e]).collect();
        self.entries += own.len();
        let mut found = Vec::new();
        for entry in &own {
            let looked_up = volume.lookup(file, &entry.name).map(|f| f.map_or(0, |f| f.0)).unwrap_or(0);
            found.push((entry.reference.0, entry.namespace as u8, entry.name.clone(), looked_up));
        }
        // ntfs-3g lists the root of the index and then its blocks as they lie.
        let other = theirs.entries.iter().map(|e| (e.reference, e.namespace, e.name.clone(), e.found));
        self.same(file, "folder", &sorted(found), &sorted(other));
    }

    fn same<T: PartialEq + std::fmt::Debug>(&mut self, file: FileReference, what: &str, own: &T, theirs: &T) {
        if own != theirs {
            self.different.push(format!("file {file}: {what} {own:?}, ntfs-3g {theirs:?}"));
        }
    }
}

/// What ntfs-3g complains of in a file.
fn alike_fault(seen: &SeenVolume, number: u64) -> String {
    let texts: Vec<&str> = seen.faults.iter().filter(|f| f.0 == number).map(|f| f.1.as_str()).collect();
    format!("ntfs-3g: {}", texts.join("; "))
}

fn sorted<T: Ord>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = all.into_iter().collect();
    all.sort();
    all
}

impl Alike {
    /// Fails unless both read everything, and the same.
    pub fn assert(&self, context: &str) {
        let Alike { different, refused, unread, .. } = self;
        let all_is_read = different.is_empty() && refused.is_empty() && unread.is_empty();
        assert!(
            all_is_read,
            "{context}: different {different:#?}, refused {refused:#?}, unread by ntfs-3g {unread:#?}"
        );
        assert!(self.files > 0 && self.streams > 0, "{context}: {self:?}");
    }

    /// Adds the numbers of another volume.
    pub fn add(&mut self, other: &Alike) {
        self.files += other.files;
        self.entries += other.entries;
        self.streams += other.streams;
        self.bytes += other.bytes;
        self.compressed += other.compressed;
        self.sparse += other.sparse;
        self.wof += other.wof;
        self.several_records += other.several_records;
        self.descriptors += other.descriptors;
        self.without_descriptor += other.without_descriptor;
    }
}
