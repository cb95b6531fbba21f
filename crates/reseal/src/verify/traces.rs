//! The search through one volume, and the names of the places where something is found.

use super::search::Search;
use super::{Trace, Verification};
use crate::error::{Result, Within};
use crate::hives::{HiveFile, HiveSet};
use crate::left_on_purpose;
use crate::ntfs_tree::NtfsTree;
use crate::tree::Tree;
use reseal_hive::{BIG_DATA_SEGMENT, Region};
use reseal_ntfs::{ByteOwner, FileReference, Owners, Part, SweepPlace, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// The volume's log.
const LOG_FILE: u64 = 2;
/// Attribute type code of content.
const DATA: u32 = 0x80;

/// Offset on the volume, which needle, which form, length of the pattern.
type MediumHit = (u64, usize, &'static str, usize);

/// File, stream name, offset in the stream, which needle, which form.
type StreamHit = (FileReference, Vec<u16>, u64, usize, &'static str);

/// Where something is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: &'static str,
    region: String,
    within: Option<String>,
}

/// Needle, form, place: offset of the first one, and how often.
#[derive(Default)]
struct Found(BTreeMap<(usize, &'static str, Place), (u64, u64)>);

impl Found {
    fn add(&mut self, of: usize, form: &'static str, place: Place, offset: u64) {
        let entry = self.0.entry((of, form, place)).or_insert((offset, 0));
        *entry = (entry.0.min(offset), entry.1 + 1);
    }
}

pub(super) fn of_volume(tree: &NtfsTree, search: &Search, out: &mut Verification) -> Result<()> {
    let on_medium: Mutex<BTreeSet<MediumHit>> = Mutex::default();
    let in_streams: Mutex<BTreeSet<StreamHit>> = Mutex::default();
    let visit = |place: &SweepPlace, bytes: &[u8]| {
        search.find(bytes, |at, pattern| match place {
            SweepPlace::Medium { offset } => {
                let hit = (offset + at as u64, pattern.of, pattern.form, pattern.len);
                on_medium.lock().unwrap_or_else(PoisonError::into_inner).insert(hit);
            }
            SweepPlace::Stream { file, name, offset } => {
                let key = (*file, name.clone(), offset + at as u64, pattern.of, pattern.form);
                in_streams.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
            }
        });
    };
    out.searched_bytes += tree.volume.sweep(search.reach(), &visit)?;
    let on_medium = on_medium.into_inner().unwrap_or_else(PoisonError::into_inner);
    let in_streams = in_streams.into_inner().unwrap_or_else(PoisonError::into_inner);
    let hives = HiveSet::load(tree, &[(tree.root(), String::new())])?;
    let mut found = Found::default();
    if !on_medium.is_empty() {
        let owners = tree.volume.owners()?;
        let in_hives = in_hives(&owners, &hives, &on_medium);
        let names = Names { volume: &tree.volume, owners, in_hives };
        for (offset, of, form, _) in on_medium {
            found.add(of, form, names.place(offset), offset);
        }
    }
    let seen: BTreeSet<(usize, &str, String)> =
        found.0.keys().map(|(of, form, place)| (*of, *form, place.region.clone())).collect();
    for (file, name, offset, of, form) in in_streams {
        let region = stream_name(&tree.volume, file, &name);
        // The first pass saw the parts of a scattered stream where they lie; a hit there counts only once.
        if !seen.contains(&(of, form, region.clone())) {
            let place = Place { kind: "content", region, within: Some("in its content, put together".to_owned()) };
            found.add(of, form, place, offset);
        }
    }
    in_values(&hives, search, &mut |of, form, region, within, offset| {
        found.add(of, form, Place { kind: "content", region, within: Some(within) }, offset);
    })?;
    out.traces.extend(found.0.into_iter().map(|((of, form, place), (offset, count))| Trace {
        of: search.names[of].clone(),
        form,
        kind: place.kind,
        on_purpose: left_on_purpose::reason(&place.region),
        region: place.region,
        within: place.within,
        offset,
        count,
    }));
    Ok(())
}

/// Values of a hive that are stored in segments: a pattern may lie across two of them. `found` is told needle, form, hive, key
/// and value, and the offset in the data.
pub(super) fn in_values(
    hives: &HiveSet,
    search: &Search,
    found: &mut dyn FnMut(usize, &'static str, String, String, u64),
) -> Result<()> {
    for file in &hives.files {
        let mut keys = vec![file.hive.root()];
        while let Some(key) = keys.pop() {
            keys.extend(file.hive.subkeys(key).within(&file.path)?);
            let values = file.hive.values(key).within(&file.path)?;
            for value in values.iter().filter(|v| v.data.len() > BIG_DATA_SEGMENT) {
                search.find(&value.data, |at, pattern| {
                    let seam = at.next_multiple_of(BIG_DATA_SEGMENT);
                    if at % BIG_DATA_SEGMENT != 0 && seam < at + pattern.len {
                        let path = file.hive.path(key).unwrap_or_default();
                        let within = format!("{path} → {}", value.name_lossy());
                        found(pattern.of, pattern.form, rooted(&file.path), within, at as u64);
                    }
                });
            }
        }
    }
    Ok(())
}

/// A path with the backslash that stands for the root.
fn rooted(path: &str) -> String {
    format!(r"\{}", path.trim_start_matches('\\'))
}

fn stream_name(volume: &Volume, file: FileReference, name: &[u16]) -> String {
    let path = volume.path_of(file).map_or_else(|_| format!("file {file}"), |path| path.replace('/', "\\"));
    if name.is_empty() { path } else { format!("{path}:{}", reseal_dtyp::utf16_lossy(name)) }
}

/// What names the owner of a byte.
struct Names<'v> {
    volume: &'v Volume,
    owners: Owners,
    in_hives: BTreeMap<u64, String>,
}

impl Names<'_> {
    /// The place of the byte at `offset` of the volume.
    fn place(&self, offset: u64) -> Place {
        let part = self.volume.part_of(&self.owners, offset);
        match self.owners.of(offset) {
            ByteOwner::Free => Place { kind: "free", region: "free space".to_owned(), within: None },
            ByteOwner::Record(number) => self.in_record(number, part),
            ByteOwner::File { file, kind, name } => {
                let stream = stream_name(self.volume, file, &name);
                let region = if kind == DATA { stream } else { format!("{stream} (attribute {kind:#x})") };
                let lower = region.to_lowercase();
                let (kind, within) = match part {
                    _ if file.record() == LOG_FILE => ("log", None),
                    _ if lower.starts_with(r"\$extend\$usnjrnl") => ("journal", None),
                    Part::Rest if kind == DATA => ("rest", Some("behind its content".to_owned())),
                    Part::Rest => ("rest", Some("behind what is in use".to_owned())),
                    _ if kind == DATA && name.is_empty() => ("content", self.in_hives.get(&offset).cloned()),
                    _ => ("content", None),
                };
                Place { kind, region, within }
            }
        }
    }

    fn in_record(&self, number: u64, part: Part) -> Place {
        let path = self.volume.reference_of(number).and_then(|file| self.volume.path_of(file));
        let path = path.map_or_else(|_| "not in use".to_owned(), |path| path.replace('/', "\\"));
        let (kind, within) = match part {
            Part::Rest => ("rest", Some("behind its attributes".to_owned())),
            Part::Attribute(kind) => ("attribute", Some(attribute_name(kind))),
            Part::Content => ("attribute", None),
        };
        Place { kind, region: format!("file record {number} ({path})"), within }
    }
}

/// For each hit in a hive, by its offset on the volume: key and value, or what else the bytes belong to there. Each hive is
/// walked once, whatever the number of hits.
fn in_hives(owners: &Owners, hives: &HiveSet, hits: &BTreeSet<MediumHit>) -> BTreeMap<u64, String> {
    let nodes: BTreeMap<u64, &HiveFile> = hives.files.iter().map(|file| (file.node.0, file)).collect();
    let mut ranges: BTreeMap<u64, BTreeMap<usize, (usize, Vec<u64>)>> = BTreeMap::new();
    for (offset, _, _, len) in hits {
        let ByteOwner::File { file, kind: DATA, name } = owners.of(*offset) else { continue };
        let at = owners.offset_in_stream(*offset).and_then(|at| usize::try_from(at).ok());
        if let (Some(at), true) = (at, name.is_empty() && nodes.contains_key(&file.0)) {
            let entry = ranges.entry(file.0).or_default().entry(at).or_default();
            entry.0 = entry.0.max(*len);
            entry.1.push(*offset);
        }
    }
    let mut out = BTreeMap::new();
    for (node, ranges) in ranges {
        let Some(file) = nodes.get(&node) else { continue };
        let list: Vec<Range<usize>> = ranges.iter().map(|(at, (len, _))| *at..at.saturating_add(*len)).collect();
        for (at, place) in file.hive.places(&list) {
            let offsets = ranges.get(&at).into_iter().flat_map(|(_, offsets)| offsets);
            out.extend(offsets.map(|offset| (*offset, place_in_hive(place.clone()))));
        }
    }
    out
}

fn place_in_hive(place: reseal_hive::Place) -> String {
    let what = match place.region {
        Region::Descriptor => "descriptor",
        Region::KeyName => "name of the key",
        Region::ClassName => "class name",
        Region::ValueName => "name of the value",
        Region::ValueData => "data",
        Region::FreeCell => return "free cell".to_owned(),
        Region::Unreferenced => return "cell that nothing refers to".to_owned(),
        Region::Tail => return "behind the last hbin".to_owned(),
        Region::Slack => "end of a cell",
        _ => return "header".to_owned(),
    };
    match (place.key, place.value) {
        (Some(key), Some(value)) => format!("{key} → {value} ({what})"),
        (Some(key), None) => format!("{key} ({what})"),
        _ => what.to_owned(),
    }
}

/// Names of attribute types, as the specification of NTFS gives them.
fn attribute_name(kind: u32) -> String {
    let name = match kind {
        0x10 => "$STANDARD_INFORMATION",
        0x20 => "$ATTRIBUTE_LIST",
        0x30 => "name",
        0x40 => "object id",
        0x50 => "descriptor",
        0x60 => "volume name",
        0x80 => "resident content",
        0x90 => "index root",
        0xc0 => "reparse data",
        0xd0 | 0xe0 => "extended attributes",
        0x100 => "logged utility stream",
        _ => return format!("attribute {kind:#x}"),
    };
    name.to_owned()
}
