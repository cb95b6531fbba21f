//! Two images compared as readers see them: files, streams, names, times, descriptors; hives as lines.

use super::content;
use reseal_hive::{Hive, Recover};
use reseal_ntfs::{FileReference, Namespace, Volume};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What a file is to its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    reference: FileReference,
    /// Times, attributes, ids and names, link count, reparse tag.
    facts: String,
    descriptor: Vec<u8>,
    /// Digest of each stream's content, by name.
    streams: BTreeMap<String, [u8; 32]>,
}

/// Everything on the first volume of an image, by path.
#[derive(Debug, Clone)]
pub(crate) struct Logical {
    files: BTreeMap<String, Seen>,
    hives: BTreeMap<String, Vec<String>>,
}

/// The volume's own bookkeeping: it says where things lie, not what they are. Descriptors are compared as those of the files.
const BOOKKEEPING: [u64; 6] = [0, 1, 2, 3, 6, 9];

impl Logical {
    /// Reads all of it; an error says which part cannot be read.
    pub(crate) fn of(image: &Path) -> Result<Logical, String> {
        let volume = Volume::open(content::partition(image)).map_err(|e| e.to_string())?;
        let mut out = Logical { files: BTreeMap::new(), hives: BTreeMap::new() };
        let mut queue = vec![(volume.root(), String::new())];
        while let Some((folder, prefix)) = queue.pop() {
            for entry in volume.entries(folder).map_err(|e| format!("{prefix}: {e}"))? {
                if entry.namespace == Namespace::Dos || entry.reference == folder {
                    continue;
                }
                let path = format!(r"{prefix}\{}", reseal_dtyp::utf16_lossy(&entry.name));
                if entry.is_directory() {
                    queue.push((entry.reference, path.clone()));
                }
                out.add(&volume, entry.reference, path).map_err(|e| e.to_string())?;
            }
        }
        Ok(out)
    }

    fn add(&mut self, volume: &Volume, file: FileReference, path: String) -> reseal_dtyp::Result<()> {
        let stat = volume.stat(file)?;
        // What folder a name is in, its path says.
        let names: Vec<_> = stat.names.iter().map(|n| (n.namespace, n.name.clone())).collect();
        let own = (&stat.standard.times, stat.standard.attributes, stat.standard.owner_id);
        let facts = format!("{own:?} {names:?} {} {:?}", stat.link_count, stat.reparse_tag);
        let mut streams = BTreeMap::new();
        for stream in stat.streams.iter().filter(|_| !BOOKKEEPING.contains(&file.record())) {
            let mut bytes = vec![0; stream.size as usize];
            volume.read_at(file, &stream.name, 0, &mut bytes)?;
            streams.insert(reseal_dtyp::utf16_lossy(&stream.name), Sha256::digest(&bytes).into());
            if stream.name.is_empty() && bytes.starts_with(b"regf") {
                let hive = Hive::open(&bytes, &[], Recover::Replay)?;
                self.hives.insert(path.clone(), hive.dump()?);
            }
        }
        let descriptor = volume.descriptor(file)?;
        self.files.insert(path, Seen { reference: file, facts, descriptor, streams });
        Ok(())
    }

    /// Paths whose file differs, or that only one side has, with their records.
    pub(crate) fn differing(&self, other: &Logical) -> BTreeSet<(String, u64)> {
        let paths: BTreeSet<&String> = self.files.keys().chain(other.files.keys()).collect();
        let differs = paths.into_iter().filter(|path| self.files.get(*path) != other.files.get(*path));
        let record = |path: &String| {
            self.files.get(path).or_else(|| other.files.get(path)).map_or(0, |seen| seen.reference.record())
        };
        differs.map(|path| (path.clone(), record(path))).collect()
    }

    /// Whether a file is on both sides, the same but for the record that holds it.
    pub(crate) fn differs_in_its_record_only(&self, other: &Logical, path: &str) -> bool {
        let (Some(ours), Some(theirs)) = (self.files.get(path), other.files.get(path)) else { return false };
        *ours == Seen { reference: ours.reference, ..theirs.clone() }
    }

    /// Whether a hive, given by its file's record, differs in another image in no more than one key (and what is below it, when
    /// its name differs). A file that is no hive, here or there, may differ as it likes.
    pub(crate) fn hive_differs_in_one_key(&self, other: &Path, record: u64) -> Result<(), String> {
        let Some((path, ours)) = self.hives.iter().find(|(path, _)| self.files[*path].reference.record() == record)
        else {
            return Ok(());
        };
        let theirs = || {
            let volume = Volume::open(content::partition(other)).ok()?;
            let bytes = content::read(&volume, self.files[path].reference)?;
            Hive::open(&bytes, &[], Recover::Replay).ok()?.dump().ok()
        };
        let Some(theirs) = theirs() else { return Ok(()) };
        // A descriptor is shared by many keys: its hash is not what a key says of itself.
        let set = |list: &[String]| -> BTreeSet<String> {
            list.iter().map(|line| line.split(" sd=").next().unwrap_or_default().to_owned()).collect()
        };
        let (ours, theirs) = (set(ours), set(&theirs));
        let tops = [ours.difference(&theirs), theirs.difference(&ours)].map(|lines| top_key(lines.map(String::as_str)));
        match tops {
            [Ok(a), Ok(b)] if a.zip(b).is_none_or(|(a, b)| siblings(a, b)) => Ok(()),
            _ => Err(format!("the hive {path} differs in more than one key: {tops:?}")),
        }
    }
}

/// Whether two keys lie below one parent. A name may hold an escaped character, with a backslash of its own.
fn siblings(a: &str, b: &str) -> bool {
    let parent = |key: &str| key.rfind('\\').map_or(0, |at| at + 1);
    let common = parent(a).min(parent(b));
    a.as_bytes()[..common] == b.as_bytes()[..common]
}

/// The key above all lines; `Err` with two keys when none is.
fn top_key<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> Result<Option<&'a str>, (&'a str, &'a str)> {
    let key = |line: &'a str| line[1..].split(']').next().unwrap_or_default();
    let Some(top) = lines.clone().map(key).min_by_key(|key| key.len()) else { return Ok(None) };
    let below = |key: &str| {
        top.is_empty() || key.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
    };
    lines.map(key).find(|key| !below(key)).map_or(Ok(Some(top)), |other| Err((top, other)))
}
