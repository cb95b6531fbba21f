//! One file of both sides, or of one: everything but the keys of a hive.

use super::census::{Census, printable};
use super::content::{self, Compared, Source};
use super::descriptors::Words;
use super::filter::Filter;
use super::side::{FileFacts, Files};
use super::{DiffEntry, DiffKind, DiffOptions};
use crate::tree::NodeId;
use reseal_dtyp::{FileTime, Result};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Names of a file that are listed; a crafted file may have 65,535.
const MAX_NAMES: usize = 64;

/// Both sides and what is known of them.
pub(super) struct Sides<'a> {
    pub(super) sides: [&'a dyn Files; 2],
    pub(super) words: Words,
    pub(super) census: Census,
    pub(super) options: &'a DiffOptions,
    pub(super) filter: &'a Filter,
    /// The nodes of each file with several names, in order.
    pub(super) links: [HashMap<NodeId, Vec<u32>>; 2],
    /// Files beside logs that differ: they may be hives, and then count though their content be equal.
    pub(super) beside_logs: [HashSet<NodeId>; 2],
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

fn shown_times(times: [Option<FileTime>; 4]) -> String {
    let one = |t: FileTime| format!("{}.{:07}Z", t.to_iso().trim_end_matches('Z'), t.0 % 10_000_000);
    let named = ["created", "changed", "record", "accessed"].into_iter().zip(times);
    let kept = named.filter_map(|(name, time)| Some(format!("{name} {}", one(time?))));
    kept.collect::<Vec<_>>().join(", ")
}

/// Stream names in order.
fn stream_names(stat: &FileFacts) -> BTreeSet<&[u16]> {
    stat.streams.keys().map(Vec::as_slice).collect()
}

impl Sides<'_> {
    /// Everything that differs at a node.
    pub(super) fn compare(&self, node: u32) -> Found {
        let path = self.census.path(node);
        let files = self.census.node(node).files;
        let mut found = Found::default();
        let mut stats = [None, None];
        for side in 0..2 {
            let Some(file) = files[side] else { continue };
            match self.sides[side].facts(file) {
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
                let words = |s: &FileFacts| shared(if s.is_directory { "folder" } else { "file" });
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

    fn facts(&self, node: u32, path: &str, stats: [&FileFacts; 2], out: &mut Vec<DiffEntry>) {
        let mut push = |kind, sides: [Option<Arc<str>>; 2]| {
            if sides[0] != sides[1] {
                out.push(DiffEntry::new(kind, path, sides));
            }
        };
        push(DiffKind::Attributes, stats.map(|s| shared(format!("{:#010x}", s.attributes))));
        let links = [0, 1].map(|side| self.names(node, side, stats[side].file));
        if links[0] != links[1] {
            push(DiffKind::Links, links.map(|nodes| shared(self.shown_names(&nodes))));
        }
        if !self.options.no_short_names {
            push(DiffKind::ShortName, stats.map(short_name));
        }
        // A system file's times change with whatever the file system does.
        if self.options.times {
            push(DiffKind::Times, stats.map(|s| shared(shown_times(s.times))));
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

    fn reparse(&self, stats: [&FileFacts; 2]) -> Result<Option<[Option<Arc<str>>; 2]>, content::SideError> {
        let data = |side: usize| {
            let has = stats[side].reparse_tag.is_some();
            let read = if has { self.sides[side].reparse_data(stats[side].file) } else { Ok(None) };
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

    fn descriptors(&self, stats: [&FileFacts; 2]) -> Result<Option<[Option<Arc<str>>; 2]>, content::SideError> {
        let of = |side: usize| self.sides[side].descriptor(stats[side]).map_err(|e| (side, e));
        let [a, b] = [of(0)?, of(1)?];
        Ok(self.words.differing([a.as_deref(), b.as_deref()]))
    }

    /// The nodes of a file's names.
    fn names(&self, node: u32, side: usize, file: NodeId) -> Vec<u32> {
        self.links[side].get(&file).cloned().unwrap_or_else(|| vec![node])
    }

    fn shown_names(&self, nodes: &[u32]) -> String {
        let mut shown: Vec<String> = nodes.iter().take(MAX_NAMES).map(|n| self.census.path(*n)).collect();
        if nodes.len() > MAX_NAMES {
            shown.push(format!("and {} more", nodes.len() - MAX_NAMES));
        }
        shown.join(" | ")
    }

    fn open(&self, side: usize, stat: &FileFacts, name: &[u16]) -> Result<Source<'_>, content::SideError> {
        self.sides[side].open(stat.file, name).map_err(|e| (side, e))
    }

    fn streams(&self, node: u32, path: &str, stats: [&FileFacts; 2], found: &mut Found) {
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

    fn compare_stream(&self, stats: [&FileFacts; 2], name: &[u16]) -> Result<One, content::SideError> {
        // Contents of one SHA-1 are one content: of two WIMs most need not be unpacked.
        let known = stats.map(|stat| stat.streams.get(name).copied().flatten());
        let has_other_log = (0..2).any(|side| self.beside_logs[side].contains(&stats[side].file));
        if known[0].is_some() && known[0] == known[1] && !has_other_log {
            return Ok(One::Both(Compared::Alike));
        }
        let sources = [self.open(0, stats[0], name)?, self.open(1, stats[1], name)?];
        content::compare(sources, name.is_empty()).map(One::Both)
    }

    /// Which streams of the volume's own files differ: only when asked for, since every write changes them.
    fn system_streams(&self, path: &str, stats: [&FileFacts; 2], out: &mut Vec<DiffEntry>) {
        if !self.options.raw {
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
        stat: &FileFacts,
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
        let names = self.names(node, side, stat.file);
        if names.len() > 1 {
            out.push(DiffEntry::new(DiffKind::Links, path, sided(self.shown_names(&names))));
        }
        match self.sides[side].descriptor(stat) {
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
        let Some(hive) = log_of(self.census.name(node)) else { return false };
        (0..2).any(|side| {
            let beside = || self.sides[side].lookup(self.census.folder_of(node, side)?, hive).ok()?;
            beside().is_some_and(|file| self.sides[side].starts_with(file, b"regf").unwrap_or(false))
        })
    }
}

/// The name of the hive whose log a file of this name may be.
pub(super) fn log_of(name: &[u16]) -> Option<&[u16]> {
    let lower = String::from_utf16_lossy(name).to_ascii_lowercase();
    let suffix = crate::hives::LOG_SUFFIXES.iter().find(|s| lower.ends_with(&s.to_ascii_lowercase()))?;
    Some(&name[..name.len().saturating_sub(suffix.len())])
}

/// A stream of both sides, or of one.
enum One {
    Both(Compared),
    Sided(usize, String),
}

/// The 8.3 names.
fn short_name(stat: &FileFacts) -> Option<Arc<str>> {
    let names: Vec<String> = stat.short_names.iter().map(|name| printable(name)).collect();
    (!names.is_empty()).then(|| Arc::from(names.join(" | ")))
}
