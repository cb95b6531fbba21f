//! `verify`: structure, state, and the proof that something is gone.

use crate::error::{Result, Within};
use crate::generalize::ShownFinding;
use crate::hives::HiveSet;
use crate::image::{DiskImage, Image, Medium};
use crate::ntfs_tree::NtfsTree;
use crate::tree::Tree;
use crate::{Facts, invariants, sealed_state};
use rayon::prelude::*;
use reseal_dtyp::{Finding, Level};
use reseal_ntfs::Probe;
use search::Search;
use serde::Serialize;

mod finder;
mod folder;
mod found;
mod outside;
mod search;
mod traces;
mod wim;

pub use search::TRACE_FORMS;

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

/// Something that should be gone, in one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Trace {
    /// What was looked for.
    pub of: String,
    /// One of [`TRACE_FORMS`].
    pub form: &'static str,
    /// content, attribute, rest (behind what is in use), free, log, journal or disk (outside of NTFS volumes).
    pub kind: &'static str,
    /// File with its stream, file record, free space.
    pub region: String,
    /// Where in the region, as far as it can be told: key and value of a hive, attribute of a record, decoded content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// Byte offset of the first one: in the stream when decoded, else on the volume or disk.
    pub offset: u64,
    /// How often.
    pub count: u64,
    /// Why it is left there, for places that sealing leaves on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_purpose: Option<&'static str>,
}

/// Verifies every NTFS volume of the image, and that no needle (a SID or a text) stands anywhere in it: in files, hives,
/// descriptors, names and free space, decoded and raw, and in the rest of the disk as it lies there. [`TRACE_FORMS`] lists the
/// forms. `Usage` for a needle of fewer than four bytes.
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
    match &image.0 {
        Medium::Disk(disk) => of_disk(disk, &search, &mut out),
        Medium::Wim(wim) => wim::verify(wim, &search, &mut out),
        Medium::Folder(folder) => folder::verify(folder, &search, &mut out),
    }
    .within(image.path().display())?;
    out.findings.sort();
    out.findings.dedup();
    Ok(out)
}

fn of_disk(image: &DiskImage, search: &Search, out: &mut Verification) -> Result<()> {
    for partition in image.partitions() {
        let place = DiskImage::place(partition);
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
        if !search.names.is_empty() {
            traces::of_volume(&tree, search, out).within(&place)?;
        }
    }
    if !search.names.is_empty() {
        outside::of_disk(image, search, out)?;
    }
    Ok(())
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
fn installation(tree: &dyn Tree, states: &mut Vec<String>) -> Result<Vec<Finding>> {
    let root = tree.root();
    if tree.resolve(root, r"Windows\System32\config\SYSTEM")?.is_none() {
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
