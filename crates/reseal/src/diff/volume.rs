//! One pair of volumes: NTFS and images of WIMs are compared file by file, anything else byte by byte.

use super::census::{Census, LeaveOut};
use super::content;
use super::descriptors::{Words, summary};
use super::file::{Sides, log_of};
use super::filter::Filter;
use super::ntfs::NtfsSide;
use super::pairs::Pair;
use super::side::Files;
use super::{DiffEntry, DiffKind, DiffOptions, Side, VolumeDifference};
use crate::Observer;
use crate::error::{Result, Within};
use crate::image::DiskImage;
use crate::reg_text::Root;
use crate::tree::NodeId;
use rayon::prelude::*;
use reseal_disk::Partition;
use reseal_ntfs::{Probe, Volume};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn compare(
    pair: &Pair<'_>,
    images: [&DiskImage; 2],
    options: &DiffOptions,
    filter: &Filter,
    observer: &dyn Observer,
) -> Result<VolumeDifference> {
    let side = match pair.sides {
        [Some(_), None] => Side::Before,
        [None, Some(_)] => Side::After,
        _ => Side::Both,
    };
    let mut out = VolumeDifference::new(pair.place(), side);
    let [Some(a), Some(b)] = pair.sides else {
        let shown = |side: Option<&Partition>| side.map(|p| Arc::from(format!("{} bytes", p.len)));
        out.entries.push(DiffEntry::new(DiffKind::Partition, "", pair.sides.map(shown)));
        return Ok(out);
    };
    out.entries = pair.table_entries();
    let within = |i: usize| images[i].path().display().to_string();
    let probes = [images[0].probe(a).within(within(0))?, images[1].probe(b).within(within(1))?];
    if probes == [Probe::Ntfs; 2] {
        let volumes = [images[0].volume(a).within(within(0))?, images[1].volume(b).within(within(1))?];
        if filter.is_empty() {
            facts([&volumes[0], &volumes[1]], &mut out.entries);
        }
        let [a, b] = [NtfsSide::new(&volumes[0], false), NtfsSide::new(&volumes[1], false)];
        compare_files([&a, &b], None, (options, filter), observer, &mut out)?;
    } else if probes == [Probe::Fat; 2] {
        observer.phase("comparing");
        let compared = super::fat::compare([images[0].bytes(a), images[1].bytes(b)], options, filter, &mut out);
        compared.map_err(|(i, e)| crate::Error::from(e).subject(within(i)))?;
    } else if filter.is_empty() {
        observer.phase("comparing");
        let bytes = [images[0].bytes(a), images[1].bytes(b)];
        let differing = content::compare_bytes([&*bytes[0], &*bytes[1]]);
        let differing = differing.map_err(|(i, e)| crate::Error::from(e).subject(within(i)))?;
        let entry = |sides: [String; 2]| DiffEntry::new(DiffKind::Partition, "", sides.map(|s| Some(Arc::from(s))));
        out.entries.extend(differing.map(|sides| entry(sides).named("content")));
    }
    Ok(out)
}

/// What the volumes say of themselves.
fn facts(volumes: [&Volume; 2], out: &mut Vec<DiffEntry>) {
    let [a, b] = volumes.map(Volume::info);
    let facts = [
        ("label", [a.label, b.label]),
        ("version", [a.version, b.version].map(|(major, minor)| format!("{major}.{minor}"))),
        ("flags", [a.flags, b.flags].map(|flags| format!("{:#06x}", flags.0))),
        ("serial", [a.serial, b.serial].map(|serial| format!("{serial:016x}"))),
        ("cluster-size", [a.cluster_size, b.cluster_size].map(|size| size.to_string())),
    ];
    for (name, sides) in facts.into_iter().filter(|(_, [a, b])| a != b) {
        out.push(DiffEntry::new(DiffKind::Volume, "", sides.map(|s| Some(Arc::from(s)))).named(name));
    }
}

/// Adds what differs in the files of two sides; what `leave_out` names is left out where only its side has it.
pub(super) fn compare_files(
    sides: [&dyn Files; 2],
    leave_out: Option<LeaveOut>,
    (options, filter): (&DiffOptions, &Filter),
    observer: &dyn Observer,
    out: &mut VolumeDifference,
) -> Result<()> {
    observer.phase("listing");
    let census = Census::list(sides, filter, leave_out);
    let order = census.in_order();
    let links = [0, 1].map(|side| several_names(&census, &order, side));
    // A disk's store keeps descriptors that no file has any more; a WIM that was captured of it does not.
    if filter.is_empty() && leave_out.is_none() {
        out.descriptors = Some(summary(sides));
    }
    out.left_out = census.left_out.clone();
    let beside_logs = beside_logs(sides, &census, &order);
    let both = Sides { sides, words: Words::default(), census, options, filter, links, beside_logs };
    observer.phase("comparing");
    let nodes = both.chosen(&order);
    let total = nodes.iter().map(|node| both.census.node(*node).bytes).fold(0, u64::saturating_add);
    let done = AtomicU64::new(0);
    let found: Vec<_> = nodes
        .par_iter()
        .map(|node| {
            let found = both.compare(*node);
            let bytes = both.census.node(*node).bytes;
            observer.bytes(done.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes).min(total), total);
            found
        })
        .collect();
    for side in sides {
        side.check().within("the volume")?;
    }
    observer.phase("hives");
    let mut faults: BTreeMap<u32, Vec<DiffEntry>> = BTreeMap::new();
    for (node, side, why) in &both.census.faults {
        let entry = DiffEntry::unreadable(&both.census.path(*node), *side, why);
        faults.entry(*node).or_default().push(entry);
    }
    for (node, found) in nodes.iter().zip(found) {
        let path = both.census.path(*node);
        out.files += 1;
        out.entries.extend(faults.remove(node).unwrap_or_default());
        if filter.wants_file(&path) {
            out.entries.extend(found.entries);
        }
        // One by one: two hives with their logs are in memory at a time.
        if found.is_hive && (filter.wants_file(&path) || filter.wants_hive(&Root::of_file(&path).path)) {
            out.hives += 1;
            out.entries.extend(both.compare_hives(*node));
        }
    }
    // A folder on the way to what is asked for, or another name of a file.
    out.entries.extend(faults.into_values().flatten());
    Ok(())
}

/// Files beside logs of theirs that are known to differ, where the sides know contents without reading them.
fn beside_logs(sides: [&dyn Files; 2], census: &Census, order: &[u32]) -> [HashSet<NodeId>; 2] {
    let mut out = [HashSet::new(), HashSet::new()];
    for node in order {
        let Some(hive) = log_of(census.name(*node)) else { continue };
        let hash = |side: usize| {
            let facts = census.node(*node).files[side].and_then(|file| sides[side].facts(file).ok());
            facts.and_then(|facts| facts.streams.get(&[][..]).copied().flatten())
        };
        if hash(0) == hash(1) {
            continue;
        }
        for side in 0..2 {
            let folder = census.folder_of(*node, side);
            let beside = folder.and_then(|folder| sides[side].lookup(folder, hive).ok().flatten());
            out[side].extend(beside);
        }
    }
    out
}

/// The names of each file that has several, in order.
fn several_names(census: &Census, order: &[u32], side: usize) -> HashMap<NodeId, Vec<u32>> {
    let mut all: Vec<(NodeId, usize)> =
        order.iter().enumerate().filter_map(|(at, node)| Some((census.node(*node).files[side]?, at))).collect();
    all.sort_unstable();
    let mut out = HashMap::new();
    for group in all.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1) {
        out.insert(group[0].0, group.iter().map(|(_, at)| order[*at]).collect());
    }
    out
}

impl Sides<'_> {
    /// Each pair of files once, at its first common name; a file without a counterpart once, at its first name.
    fn chosen(&self, order: &[u32]) -> Vec<u32> {
        let has_several = |side: usize, file: Option<NodeId>| file.is_some_and(|f| self.links[side].contains_key(&f));
        let mut paired: [HashSet<NodeId>; 2] = [HashSet::new(), HashSet::new()];
        for node in order {
            if let [Some(a), Some(b)] = self.census.node(*node).files {
                paired[0].extend(has_several(0, Some(a)).then_some(a));
                paired[1].extend(has_several(1, Some(b)).then_some(b));
            }
        }
        let mut seen = HashSet::new();
        let mut is_chosen = |node: &u32| {
            let path = (!self.filter.is_empty()).then(|| self.census.path(*node));
            // A hive may be asked for by a key of its.
            if path.is_some_and(|path| {
                !self.filter.wants_file(&path) && !self.filter.wants_hive(&Root::of_file(&path).path)
            }) {
                return false;
            }
            let files = self.census.node(*node).files;
            let several = [has_several(0, files[0]), has_several(1, files[1])];
            let elsewhere = |side: usize| files[side].is_some_and(|f| paired[side].contains(&f));
            match files {
                [Some(_), None] if elsewhere(0) => false,
                [None, Some(_)] if elsewhere(1) => false,
                _ => !(several[0] || several[1]) || seen.insert(files),
            }
        };
        order.iter().filter(|node| is_chosen(node)).copied().collect()
    }
}
