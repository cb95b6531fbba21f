//! One file of both sides, or of one: everything but the keys of a hive.

use super::census::{Census, printable};
use super::content::{self, Budget, Compared, Source};
use super::descriptors::{Store, Words};
use super::filter::Filter;
use super::{DiffEntry, DiffKind, DiffOptions};
use reseal_dtyp::{FileTime, Result};
use reseal_ntfs::{FileReference, FileStat, Namespace, Volume};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names of a file that are listed; a crafted file may have 65,535.
const MAX_NAMES: usize = 64;
/// The list of bad clusters is as long as the volume, and none of it is stored.
const BAD_CLUSTERS_RECORD: u64 = 8;

/// Both volumes and what is known of them.
pub(super) struct Volumes<'a> {
    pub(super) volumes: [&'a Volume; 2],
    pub(super) stores: [Store; 2],
    pub(super) budgets: [Budget; 2],
    pub(super) words: Words,
    pub(super) census: Census,
    pub(super) options: &'a DiffOptions,
    pub(super) filter: &'a Filter,
    /// The nodes of each file with several names, in order.
    pub(super) links: [HashMap<FileReference, Vec<u32>>; 2],
}

/// What was found of a file.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<DiffEntry>,
    /// It is a hive on both sides, and to be compared key by key.
    pub(super) is_hive: bool,
}

fn shared(text: impl AsRef<str>) -> Option<Arc<str>> {
    Some(Arc::from(text.as_ref()))
}

fn shown_times(times: [FileTime; 4]) -> String {
    let one = |t: FileTime| format!("{}.{:07}Z", t.to_iso().trim_end_matches('Z'), t.0 % 10_000_000);
    let [created, changed, record, accessed] = times.map(one);
    format!("created {created}, changed {changed}, record {record}, accessed {accessed}")
}

/// Stream names in order; the packed form of a WOF file is not a stream of its own.
fn stream_names(stat: &FileStat) -> BTreeSet<&[u16]> {
    let packed: Vec<u16> = "WofCompressedData".encode_utf16().collect();
    let counts = |name: &&[u16]| stat.wof.is_none() || *name != packed.as_slice();
    stat.streams.iter().map(|s| s.name.as_slice()).filter(counts).collect()
}

impl Volumes<'_> {
    /// Everything that differs at a node.
    pub(super) fn compare(&self, node: u32) -> Found {
        let path = self.census.path(node);
        let files = self.census.node(node).files;
        let mut found = Found::default();
        let mut stats = [None, None];
        for side in 0..2 {
            let Some(file) = files[side] else { continue };
            match self.volumes[side].stat(file) {
                Ok(stat) => stats[side] = Some(stat),
                Err(e) => found.entries.push(DiffEntry::unreadable(&path, side, e)),
            }
        }
        if !found.entries.is_empty() {
            return found;
        }
        let is_system = self.census.node(node).is_system;
        match &stats {
            [Some(a), Some(b)] if a.is_directory != b.is_directory => {
                let words = |s: &FileStat| shared(if s.is_directory { "folder" } else { "file" });
                found.entries.push(DiffEntry::new(DiffKind::File, &path, [words(a), words(b)]));
            }
            [Some(a), Some(b)] => {
                self.facts(node, &path, [a, b], &mut found.entries);
                if is_system {
                    self.system_streams(&path, [a, b], &mut found.entries)
                } else {
                    self.streams(node, &path, [a, b], &mut found)
                }
            }
            [Some(a), None] => self.one_sided(node, &path, 0, a, is_system, &mut found.entries),
            [None, Some(b)] => self.one_sided(node, &path, 1, b, is_system, &mut found.entries),
            [None, None] => {}
        }
        found
    }

    fn facts(&self, node: u32, path: &str, stats: [&FileStat; 2], out: &mut Vec<DiffEntry>) {
        let mut push = |kind, sides: [Option<Arc<str>>; 2]| {
            if sides[0] != sides[1] {
                out.push(DiffEntry::new(kind, path, sides));
            }
        };
        push(DiffKind::Attributes, stats.map(|s| shared(format!("{:#010x}", s.standard.attributes))));
        let links = [0, 1].map(|side| self.names(node, side, stats[side].reference));
        if links[0] != links[1] {
            push(DiffKind::Links, links.map(|nodes| shared(self.shown_names(&nodes))));
        }
        if !self.options.no_short_names {
            push(DiffKind::ShortName, stats.map(short_name));
        }
        // A system file's times change with whatever the file system does.
        if self.options.times {
            push(DiffKind::Times, stats.map(|s| shared(shown_times(s.standard.times))));
        }
        for (kind, result) in
            [(DiffKind::Reparse, self.reparse(stats)), (DiffKind::Descriptor, self.descriptors(stats))]
        {
            match result {
                Ok(None) => {}
                Ok(Some(sides)) => out.push(DiffEntry::new(kind, path, sides)),
                Err((side, e)) => out.push(DiffEntry::unreadable(path, side, e)),
            }
        }
    }

    fn reparse(&self, stats: [&FileStat; 2]) -> Result<Option<[Option<Arc<str>>; 2]>, content::SideError> {
        let data = |side: usize| {
            let has = stats[side].reparse_tag.is_some();
            let read = if has { self.volumes[side].reparse_data(stats[side].reference) } else { Ok(None) };
            read.map_err(|e| (side, e))
        };
        let data = [data(0)?, data(1)?];
        let shown = |side: usize| {
            data[side].as_ref().and_then(|bytes| {
                shared(format!("tag {:#010x}, {}", stats[side].reparse_tag.unwrap_or(0), content::digest_of(bytes)))
            })
        };
        Ok((data[0] != data[1]).then(|| [shown(0), shown(1)]))
    }

    fn descriptors(&self, stats: [&FileStat; 2]) -> Result<Option<[Option<Arc<str>>; 2]>, content::SideError> {
        let of = |side: usize| self.stores[side].descriptor(self.volumes[side], stats[side]).map_err(|e| (side, e));
        let [a, b] = [of(0)?, of(1)?];
        Ok(self.words.differing([a.as_deref(), b.as_deref()]))
    }

    /// The nodes of a file's names.
    fn names(&self, node: u32, side: usize, file: FileReference) -> Vec<u32> {
        self.links[side].get(&file).cloned().unwrap_or_else(|| vec![node])
    }

    fn shown_names(&self, nodes: &[u32]) -> String {
        let mut shown: Vec<String> = nodes.iter().take(MAX_NAMES).map(|n| self.census.path(*n)).collect();
        if nodes.len() > MAX_NAMES {
            shown.push(format!("and {} more", nodes.len() - MAX_NAMES));
        }
        shown.join(" | ")
    }

    fn open(&self, side: usize, stat: &FileStat, name: &[u16]) -> Result<Source<'_>, content::SideError> {
        Source::open(self.volumes[side], stat.reference, name, &self.budgets[side]).map_err(|e| (side, e))
    }

    fn streams(&self, node: u32, path: &str, stats: [&FileStat; 2], found: &mut Found) {
        let names = stats.map(stream_names);
        let is_log = self.is_hive_log(node);
        for name in names[0].union(&names[1]) {
            let stream = |entry: DiffEntry| if name.is_empty() { entry } else { entry.named(printable(name)) };
            let has = [0, 1].map(|side| names[side].contains(name));
            let kind = if is_log && name.is_empty() { DiffKind::HiveLog } else { DiffKind::Stream };
            let result = match has {
                [true, true] => self.compare_stream(stats, name),
                [left, _] => {
                    let side = usize::from(!left);
                    self.open(side, stats[side], name)
                        .and_then(|source| content::digest(source).map_err(|e| (side, e)))
                        .map(|shown| One::Sided(side, shown))
                }
            };
            match result {
                Ok(One::Both(Compared::Alike)) => {}
                Ok(One::Both(Compared::Hives)) => found.is_hive = true,
                Ok(One::Both(Compared::Differ(shown))) => {
                    found.entries.push(stream(DiffEntry::new(kind, path, shown.map(shared))));
                }
                Ok(One::Sided(side, shown)) => {
                    let mut sides = [None, None];
                    sides[side] = shared(shown);
                    found.entries.push(stream(DiffEntry::new(kind, path, sides)));
                }
                Err((side, e)) => found.entries.push(stream(DiffEntry::unreadable(path, side, e))),
            }
        }
    }

    fn compare_stream(&self, stats: [&FileStat; 2], name: &[u16]) -> Result<One, content::SideError> {
        let sources = [self.open(0, stats[0], name)?, self.open(1, stats[1], name)?];
        content::compare(sources, name.is_empty()).map(One::Both)
    }

    /// Which streams of the volume's own files differ: only when asked for, since every write changes them.
    fn system_streams(&self, path: &str, stats: [&FileStat; 2], out: &mut Vec<DiffEntry>) {
        if !self.options.raw || stats[0].reference.record() == BAD_CLUSTERS_RECORD {
            return;
        }
        let mut found = Found::default();
        let names = stats.map(stream_names);
        for name in names[0].intersection(&names[1]) {
            let stream = |entry: DiffEntry| if name.is_empty() { entry } else { entry.named(printable(name)) };
            match self.compare_stream(stats, name) {
                Ok(One::Both(Compared::Differ(shown))) => {
                    found.entries.push(stream(DiffEntry::new(DiffKind::SystemStream, path, shown.map(shared))));
                }
                Ok(_) => {}
                Err((side, e)) => found.entries.push(stream(DiffEntry::unreadable(path, side, e))),
            }
        }
        out.append(&mut found.entries);
    }

    /// A file that only one side has: what it is, its further streams and names, its descriptor.
    fn one_sided(
        &self,
        node: u32,
        path: &str,
        side: usize,
        stat: &FileStat,
        is_system: bool,
        out: &mut Vec<DiffEntry>,
    ) {
        let sided = |text: String| {
            let mut sides = [None, None];
            sides[side] = shared(text);
            sides
        };
        if stat.is_directory || is_system {
            let words = if stat.is_directory { "folder" } else { "system file" };
            out.push(DiffEntry::new(DiffKind::File, path, sided(words.to_owned())));
        }
        let is_log = self.is_hive_log(node);
        for name in stream_names(stat).into_iter().filter(|_| !is_system) {
            let kind = match (name.is_empty(), is_log) {
                (true, true) => DiffKind::HiveLog,
                (true, false) => DiffKind::File,
                (false, _) => DiffKind::Stream,
            };
            let stream = |entry: DiffEntry| if name.is_empty() { entry } else { entry.named(printable(name)) };
            let shown = self.open(side, stat, name).and_then(|source| content::digest(source).map_err(|e| (side, e)));
            out.push(match shown {
                Ok(shown) => stream(DiffEntry::new(kind, path, sided(shown))),
                Err((side, e)) => stream(DiffEntry::unreadable(path, side, e)),
            });
        }
        let names = self.names(node, side, stat.reference);
        if names.len() > 1 {
            out.push(DiffEntry::new(DiffKind::Links, path, sided(self.shown_names(&names))));
        }
        match self.stores[side].descriptor(self.volumes[side], stat) {
            Ok(None) => {}
            Ok(Some(bytes)) => {
                let mut sides = [None, None];
                sides[side] = Some(self.words.of(&bytes));
                out.push(DiffEntry::new(DiffKind::Descriptor, path, sides));
            }
            Err(e) => out.push(DiffEntry::unreadable(path, side, e)),
        }
    }

    /// Whether a file is the log of a hive beside it, on either side.
    fn is_hive_log(&self, node: u32) -> bool {
        let name = self.census.name(node);
        let lower = String::from_utf16_lossy(name).to_ascii_lowercase();
        let Some(suffix) = crate::hives::LOG_SUFFIXES.iter().find(|s| lower.ends_with(&s.to_ascii_lowercase())) else {
            return false;
        };
        let hive = &name[..name.len().saturating_sub(suffix.len())];
        (0..2).any(|side| {
            let volume = self.volumes[side];
            let beside = || volume.lookup(self.census.folder_of(node, side)?, hive).ok()?;
            let mut magic = [0; 4];
            beside()
                .is_some_and(|file| volume.read_at(file, &[], 0, &mut magic).is_ok_and(|n| n == 4) && &magic == b"regf")
        })
    }
}

/// A stream of both sides, or of one.
enum One {
    Both(Compared),
    Sided(usize, String),
}

/// The 8.3 name; a name that is both long and short is none beside it.
fn short_name(stat: &FileStat) -> Option<Arc<str>> {
    let names: Vec<String> =
        stat.names.iter().filter(|n| n.namespace == Namespace::Dos).map(|n| printable(&n.name)).collect();
    (!names.is_empty()).then(|| Arc::from(names.join(" | ")))
}
