//! `verify`: structure, state, and the proof that something is gone.

use crate::error::{Error, Kind, Result, Within};
use crate::generalize::ShownFinding;
use crate::hives::HiveSet;
use crate::image::Image;
use crate::ntfs_tree::NtfsTree;
use crate::tree::Tree;
use crate::{Facts, invariants, sealed_state};
use aho_corasick::AhoCorasick;
use rayon::prelude::*;
use reseal_dtyp::{Finding, Level, Sid, utf16le};
use reseal_hive::BIG_DATA_SEGMENT;
use reseal_ntfs::{ByteOwner, Probe, SweepPlace, Volume};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

/// What was verified.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// Version of this document.
    pub schema: &'static str,
    /// The image.
    pub image: String,
    /// Setup state of each installation.
    pub states: Vec<String>,
    /// Structural findings and broken invariants.
    pub findings: Vec<ShownFinding>,
    /// Places where something stands that should be gone.
    pub traces: Vec<Trace>,
    /// Bytes that were searched, decoded and raw.
    pub searched_bytes: u64,
}

/// Something that should be gone, in one region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Trace {
    /// What was looked for.
    pub of: String,
    /// binary, ascii or utf16.
    pub form: &'static str,
    /// File, record, free space.
    pub region: String,
    /// How often.
    pub count: u64,
}

/// One pattern of one thing that is looked for.
struct Pattern {
    of: usize,
    form: &'static str,
    len: usize,
    /// Text that ends in a digit must not go on with one: a longer number is another SID.
    digits: bool,
}

/// Everything that is looked for, in every form.
struct Search {
    names: Vec<String>,
    /// Binary forms, exact.
    binary: (AhoCorasick, Vec<Pattern>),
    /// Text forms; ASCII letters match in either case.
    text: (AhoCorasick, Vec<Pattern>),
}

impl Search {
    fn new(needles: &[String]) -> Result<Search> {
        let (mut binary, mut text): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        for (of, needle) in needles.iter().enumerate() {
            if needle.is_empty() {
                return Err(Error::new(Kind::Usage, "--no-trace-of needs a text or a SID"));
            }
            let sid: Option<Sid> = needle.parse().ok();
            if let Some(sid) = &sid {
                // From the authority on: the sub-authority count differs between a machine and its accounts.
                let bytes = sid.to_bytes()[2..].to_vec();
                binary.push((bytes.clone(), Pattern { of, form: "binary", len: bytes.len(), digits: false }));
            }
            for (form, bytes) in [("ascii", needle.as_bytes().to_vec()), ("utf16", utf16le(needle))] {
                let len = bytes.len();
                text.push((bytes, Pattern { of, form, len, digits: sid.is_some() }));
            }
        }
        let build = |list: Vec<(Vec<u8>, Pattern)>, fold: bool| {
            let (bytes, patterns): (Vec<_>, Vec<_>) = list.into_iter().unzip();
            let finder = AhoCorasick::builder().ascii_case_insensitive(fold).build(bytes);
            finder.map(|f| (f, patterns)).map_err(|e| Error::new(Kind::Usage, format!("too much to look for: {e}")))
        };
        Ok(Search { names: needles.to_vec(), binary: build(binary, false)?, text: build(text, true)? })
    }

    /// The longest pattern in bytes, plus the character that may follow it.
    fn reach(&self) -> usize {
        self.binary.1.iter().chain(&self.text.1).map(|p| p.len).max().unwrap_or(0) + 2
    }

    /// Calls `hit` with offset and pattern of everything found.
    fn find(&self, bytes: &[u8], mut hit: impl FnMut(usize, &Pattern)) {
        for (finder, patterns) in [&self.binary, &self.text] {
            if patterns.is_empty() {
                continue;
            }
            for found in finder.find_overlapping_iter(bytes) {
                let pattern = &patterns[found.pattern().as_usize()];
                let next = if pattern.form == "utf16" && bytes.get(found.end() + 1) != Some(&0) {
                    None
                } else {
                    bytes.get(found.end())
                };
                if !(pattern.digits && next.is_some_and(u8::is_ascii_digit)) {
                    hit(found.start(), pattern);
                }
            }
        }
    }
}

/// A hit by place, so that one that two passes see counts once.
type Hits = BTreeSet<(String, usize, &'static str, u64)>;

/// File, stream name, offset in the stream, which needle, which form.
type StreamHit = (reseal_ntfs::FileReference, Vec<u16>, u64, usize, &'static str);

/// Verifies every NTFS volume of the image, and that no needle (a SID or a text) stands anywhere in it: in files, hives,
/// descriptors, names and free space, decoded and raw.
pub fn verify(image: &Image, needles: &[String]) -> Result<Verification> {
    let search = Search::new(needles)?;
    let mut out = Verification {
        schema: "reseal.verify/1",
        image: image.path().display().to_string(),
        states: Vec::new(),
        findings: Vec::new(),
        traces: Vec::new(),
        searched_bytes: 0,
    };
    let mut run = || -> Result<()> {
        for partition in image.partitions() {
            let place = Image::place(partition);
            if image.probe(partition)? != Probe::Ntfs {
                continue;
            }
            let tree = NtfsTree { volume: image.volume(partition)? };
            let mut findings = tree.check().within(&place)?;
            findings.extend(installation(&tree, &mut out.states).within(&place)?);
            if out.states.last().is_some_and(|state| state.starts_with("sealed ")) {
                findings.iter_mut().filter(|f| f.id == "volume-dirty").for_each(|f| scheduled_check(&tree, f));
            }
            out.findings.extend(findings.into_iter().map(ShownFinding::from));
            if !needles.is_empty() {
                traces(&tree, &search, &mut out).within(&place)?;
            }
        }
        Ok(())
    };
    run().within(image.path().display())?;
    out.findings.sort();
    out.findings.dedup();
    Ok(out)
}

/// A sealed volume that is marked dirty and has no other work to do shall be checked by Windows: `--schedule-chkdsk`.
fn scheduled_check(tree: &NtfsTree, finding: &mut Finding) {
    let info = tree.volume.info();
    if info.log_state.is_settled() && !info.flags.has_pending_work() {
        finding.level = Level::Note;
        finding.detail = "marked dirty: Windows will check the volume at its first start".to_owned();
    }
}

/// Hives and invariants of the installation on a volume, when there is one.
fn installation(tree: &NtfsTree, states: &mut Vec<String>) -> Result<Vec<Finding>> {
    let root = tree.root();
    let dyn_tree: &dyn Tree = tree;
    if dyn_tree.resolve(root, r"Windows\System32\config\SYSTEM")?.is_none() {
        return Ok(Vec::new());
    }
    let mut hives = HiveSet::load(tree, &[(root, String::new())])?;
    let mut findings = std::mem::take(&mut hives.findings);
    let checked: Vec<Vec<Finding>> = hives
        .files
        .par_iter()
        .map(|file| {
            let at = |f: Finding| Finding { place: format!("{}: {}", file.path, f.place), ..f };
            file.hive.check().into_iter().map(at).collect()
        })
        .collect();
    findings.extend(checked.into_iter().flatten());
    findings.extend(hives.dirty.iter().map(|d| Finding::new(Level::Inconsistent, "hive-dirty", &d.path, &d.why)));
    // Before sealing, and in an image of mixed origin, a profile may lack its folder: known, and not made by sealing.
    let broken = invariants::broken(&hives, tree)?;
    findings.extend(
        broken
            .into_iter()
            .map(|f| Finding { level: if f.id.starts_with("profile-") { Level::Note } else { f.level }, ..f }),
    );
    let facts = Facts::read(&hives)?;
    findings.extend(sealed_state::contradictions(&facts, tree)?);
    states.push(sealed_state::describe(&facts.setup));
    Ok(findings)
}

fn traces(tree: &NtfsTree, search: &Search, out: &mut Verification) -> Result<()> {
    // (stream region or volume offset) of each hit, gathered from all threads.
    let on_medium: Mutex<BTreeSet<(u64, usize, &'static str)>> = Mutex::default();
    let in_streams: Mutex<BTreeSet<StreamHit>> = Mutex::default();
    let visit = |place: &SweepPlace, bytes: &[u8]| {
        search.find(bytes, |at, pattern| match place {
            SweepPlace::Medium { offset } => {
                on_medium.lock().unwrap_or_else(|e| e.into_inner()).insert((
                    offset + at as u64,
                    pattern.of,
                    pattern.form,
                ));
            }
            SweepPlace::Stream { file, name, offset } => {
                let key = (*file, name.clone(), offset + at as u64, pattern.of, pattern.form);
                in_streams.lock().unwrap_or_else(|e| e.into_inner()).insert(key);
            }
        });
    };
    out.searched_bytes += tree.volume.sweep(search.reach(), &visit)?;
    let on_medium = on_medium.into_inner().unwrap_or_else(|e| e.into_inner());
    let in_streams = in_streams.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut hits: Hits = BTreeSet::new();
    if !on_medium.is_empty() {
        let owners = tree.volume.owners()?;
        for (offset, of, form) in on_medium {
            hits.insert((owner_name(&tree.volume, &owners.of(offset)), of, form, offset));
        }
    }
    for (file, name, offset, of, form) in in_streams {
        let region = stream_name(&tree.volume, file, &name);
        // The first pass saw the parts of a scattered stream where they lie; count a hit there only once.
        if !hits.iter().any(|(r, o, f, _)| *r == region && *o == of && *f == form) {
            hits.insert((region, of, form, offset | 1 << 63));
        }
    }
    hits.extend(hive_hits(tree, search)?);
    let mut counts: BTreeMap<(usize, &'static str, String), u64> = BTreeMap::new();
    for (region, of, form, _) in hits {
        *counts.entry((of, form, region)).or_default() += 1;
    }
    let trace = |((of, form, region), count): ((usize, &'static str, String), u64)| Trace {
        of: search.names[of].clone(),
        form,
        region,
        count,
    };
    out.traces.extend(counts.into_iter().map(trace));
    Ok(())
}

/// Values of a hive that are stored in segments: a pattern may lie across two of them.
fn hive_hits(tree: &NtfsTree, search: &Search) -> Result<Hits> {
    let root = tree.root();
    let hives = HiveSet::load(tree, &[(root, String::new())])?;
    let mut hits = Hits::new();
    for file in &hives.files {
        let mut keys = vec![file.hive.root()];
        while let Some(key) = keys.pop() {
            keys.extend(file.hive.subkeys(key).within(&file.path)?);
            let values = file.hive.values(key).within(&file.path)?;
            for value in values.iter().filter(|v| v.data.len() > BIG_DATA_SEGMENT) {
                search.find(&value.data, |at, pattern| {
                    let seam = at.next_multiple_of(BIG_DATA_SEGMENT);
                    if at % BIG_DATA_SEGMENT != 0 && seam < at + pattern.len {
                        let region = format!(
                            "{}: {} {}",
                            file.path,
                            file.hive.path(key).unwrap_or_default(),
                            value.name_lossy()
                        );
                        hits.insert((region, pattern.of, pattern.form, at as u64));
                    }
                });
            }
        }
    }
    Ok(hits)
}

fn stream_name(volume: &Volume, file: reseal_ntfs::FileReference, name: &[u16]) -> String {
    let path = volume.path_of(file).map_or_else(|_| format!("file {file}"), |path| path.replace('/', "\\"));
    if name.is_empty() { path } else { format!("{path}:{}", reseal_dtyp::utf16_lossy(name)) }
}

fn owner_name(volume: &Volume, owner: &ByteOwner) -> String {
    match owner {
        ByteOwner::Free => "free space".to_owned(),
        ByteOwner::Record(number) => {
            let path = volume.reference_of(*number).and_then(|file| volume.path_of(file));
            format!(
                "file record {number} ({})",
                path.map_or_else(|_| "not in use".to_owned(), |path| path.replace('/', "\\"))
            )
        }
        ByteOwner::File { file, kind, name } => {
            let stream = stream_name(volume, *file, name);
            if *kind == 0x80 { stream } else { format!("{stream} (attribute {kind:#x})") }
        }
    }
}
