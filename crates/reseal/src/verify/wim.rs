//! Images of a WIM: what their files hold, decoded, and what lies in the file and belongs to nothing.

use super::Verification;
use super::found::{Found, add, traces};
use super::search::Search;
use crate::error::{Result, Within};
use crate::generalize::ShownFinding;
use crate::hives::HiveSet;
use crate::tree::{NodeId, Tree};
use crate::wim::{WimImages, WimTree};
use rayon::prelude::*;
use reseal_dtyp::{Finding, Level, utf16_lossy};
use reseal_wim::{Blob, StreamKind, Wim};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a content that are searched at once.
const STEP: u64 = 32 << 20;

pub(super) fn verify(images: &WimImages, search: &Search, out: &mut Verification) -> Result<()> {
    let wim = images.wim();
    let mut found = Found::new();
    for index in images.looked_at()? {
        let place = WimImages::place(index);
        let tree = WimTree::open(Arc::clone(wim), index).within(&place)?;
        let mut findings = tree.check().within(&place)?;
        findings.extend(super::installation(&tree, &mut out.states).within(&place)?);
        out.findings.extend(findings.into_iter().map(ShownFinding::from));
        if !search.names.is_empty() {
            out.searched_bytes += of_image(&tree, wim, search, index, &mut found).within(&place)?;
            let hives = HiveSet::load(&tree, &[(tree.root(), String::new())])?;
            super::traces::in_values(&hives, search, &mut |of, form, region, _, offset| {
                let region = format!(r"{place}\{}", region.trim_start_matches('\\'));
                let entry = found.entry((of, form, region, Some("in a value, put together"))).or_insert((offset, 0));
                entry.1 += 1;
            })?;
        }
    }
    if !search.names.is_empty() {
        let xml = wim.xml()?;
        out.searched_bytes += xml.len() as u64;
        add(search, &xml, 0, ("XML data", None), &mut found);
    }
    out.findings.extend(holes(wim, images.path().display().to_string(), search));
    out.traces.extend(traces(found, search));
    Ok(())
}

/// What was changed by appending stays in the file, compressed, so that no search finds it.
fn holes(wim: &Wim, place: String, search: &Search) -> Option<ShownFinding> {
    let holes = wim.holes();
    let bytes: u64 = holes.iter().map(|hole| hole.end - hole.start).sum();
    // Who asks whether something is gone has to hear that this cannot be told.
    let level = if search.names.is_empty() { Level::Note } else { Level::Inconsistent };
    let detail = format!(
        "{bytes} bytes in {} places belong to nothing: what was changed or removed may still stand there; \
         `reseal wim optimize --rebuild FILE` writes the WIM without them",
        holes.len()
    );
    (bytes > 0).then(|| Finding::new(level, "wim-holes", place, detail).into())
}

/// Searches every content that files of the image name once, and the metadata: names, descriptors.
fn of_image(tree: &WimTree, wim: &Wim, search: &Search, index: u32, found: &mut Found) -> Result<u64> {
    let place = &WimImages::place(index);
    let metadata = wim.metadata(index)?;
    add(search, &metadata, 0, (place, Some("names of files, and security descriptors")), found);
    let mut searched = metadata.len() as u64;
    let mut seen = HashSet::new();
    let mut contents: Vec<(NodeId, Vec<u16>, StreamKind, &Blob)> = Vec::new();
    for (node, stream) in tree.streams() {
        if seen.insert(stream.hash)
            && let Some(blob) = wim.blob(&stream.hash)?
        {
            contents.push((node, stream.name.clone(), stream.kind, blob));
        }
    }
    let all: Mutex<Found> = Mutex::default();
    let one = |(node, name, kind, blob): &(NodeId, Vec<u16>, StreamKind, &Blob)| -> Result<u64> {
        let mut own = Found::new();
        let done = of_content(wim, blob, search, &mut own)?;
        if !own.is_empty() {
            let stream = if name.is_empty() { String::new() } else { format!(":{}", utf16_lossy(name)) };
            let region = format!("{place}{}{stream}", tree.path(*node)?);
            let within = (*kind == StreamKind::Reparse).then_some("what the reparse point points at");
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            for ((of, form, _, _), (offset, count)) in own {
                all.insert((of, form, region.clone(), within), (offset, count));
            }
        }
        Ok(done)
    };
    // Large contents one after the other: each is unpacked by all threads.
    let (large, small): (Vec<_>, Vec<_>) = contents.iter().partition(|(_, _, _, blob)| blob.size > STEP);
    searched += large.into_iter().map(one).sum::<Result<u64>>()?;
    searched += small.into_par_iter().map(one).sum::<Result<u64>>()?;
    found.extend(all.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok(searched)
}

/// Searches one content in pieces that overlap by the longest pattern. Bytes searched.
fn of_content(wim: &Wim, blob: &Blob, search: &Search, found: &mut Found) -> Result<u64> {
    let (mut at, mut buf) = (0, Vec::new());
    while at < blob.size {
        buf.resize(blob.size.min(at + STEP + search.reach() as u64).saturating_sub(at) as usize, 0);
        wim.read_at(blob, at, &mut buf)?;
        search.find(&buf, |offset, pattern| {
            // What begins behind the step is found in the next one.
            if (offset as u64) < STEP {
                let key = (pattern.of, pattern.form, String::new(), None);
                found.entry(key).or_insert((at + offset as u64, 0)).1 += 1;
            }
        });
        at += STEP;
    }
    Ok(blob.size)
}
