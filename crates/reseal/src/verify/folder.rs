//! A mounted folder: what its files hold, their names, their descriptors. What the mount does not show is not searched.

use super::Verification;
use super::found::{Found, add, traces};
use super::search::Search;
use crate::error::{Result, Within};
use crate::folder::{FolderImage, FolderTree};
use crate::generalize::ShownFinding;
use crate::hives::HiveSet;
use crate::tree::{NodeId, Tree};
use rayon::prelude::*;
use reseal_dtyp::{Finding, Kind, Level, utf16_lossy};
use std::sync::{Mutex, PoisonError};

/// Bytes of a content that are searched at once.
const STEP: usize = 4 << 20;

pub(super) fn verify(folder: &FolderImage, search: &Search, out: &mut Verification) -> Result<()> {
    let tree = &folder.tree;
    let mut findings = tree.check()?;
    findings.extend(super::installation(tree, &mut out.states).within(FolderImage::place())?);
    out.findings.extend(findings.into_iter().map(ShownFinding::from));
    if search.names.is_empty() {
        return Ok(());
    }
    let all: Mutex<Found> = Mutex::default();
    let searched =
        tree.all()?.into_par_iter().map(|node| of_file(tree, node, search, &all)).collect::<Result<Vec<_>>>()?;
    let mut found = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (bytes, finding) in searched {
        out.searched_bytes += bytes;
        out.findings.extend(finding.map(ShownFinding::from));
    }
    for descriptor in tree.descriptors()? {
        out.searched_bytes += descriptor.len() as u64;
        add(search, &descriptor, 0, (r"\", Some("security descriptors")), &mut found);
    }
    let hives = HiveSet::load(tree, &[(tree.root(), String::new())])?;
    super::traces::in_values(&hives, search, &mut |of, form, region, _, offset| {
        let region = format!(r"\{}", region.trim_start_matches('\\'));
        found.entry((of, form, region, Some("in a value, put together"))).or_insert((offset, 0)).1 += 1;
    })?;
    // Who asks whether something is gone has to hear what was not looked at.
    let unseen = "free space, the ends of clusters, $LogFile, $UsnJrnl and the store of descriptors cannot be seen through a \
                  mount: give the disk to search them";
    out.findings.push(Finding::new(Level::Note, "folder-unseen", FolderImage::place(), unseen).into());
    out.traces.extend(traces(found, search));
    Ok(())
}

/// Searches name, reparse data and every stream of a file. Bytes searched, and why a part could not be.
fn of_file(tree: &FolderTree, node: NodeId, search: &Search, all: &Mutex<Found>) -> Result<(u64, Option<Finding>)> {
    let path = tree.path(node)?;
    let (mut found, mut searched, mut unread) = (Found::new(), 0, None);
    let name: Vec<u8> =
        path.rsplit('\\').next().unwrap_or_default().encode_utf16().flat_map(u16::to_le_bytes).collect();
    add(search, &name, 0, (&path, Some("its name")), &mut found);
    if let Some(data) = tree.reparse_data(node)? {
        searched += data.len() as u64;
        add(search, &data, 0, (&path, Some("what the reparse point points at")), &mut found);
    }
    for (stream, _) in tree.stat(node)?.streams {
        let region = if stream.is_empty() { path.clone() } else { format!("{path}:{}", utf16_lossy(&stream)) };
        match of_stream(tree, (node, &stream), search, &region, &mut found) {
            Ok(bytes) => searched += bytes,
            // A reparse point has a stream only in name.
            Err(e) if e.kind() == Kind::Unsupported => {}
            Err(e) => {
                unread = Some(Finding::new(Level::Inconsistent, "folder-unread", region, format!("not searched: {e}")));
            }
        }
    }
    all.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
    Ok((searched, unread))
}

/// Searches one stream in pieces that overlap by the longest pattern. Bytes searched.
fn of_stream(
    tree: &FolderTree,
    (node, stream): (NodeId, &[u16]),
    search: &Search,
    region: &str,
    found: &mut Found,
) -> reseal_dtyp::Result<u64> {
    let mut reader = tree.reader(node, stream)?;
    let (mut at, mut buf) = (0, vec![0; STEP + search.reach()]);
    loop {
        let n = reader.read_at(at, &mut buf)?;
        search.find(&buf[..n], |offset, pattern| {
            // What begins behind the step is found in the next one.
            if offset < STEP {
                let entry = found.entry((pattern.of, pattern.form, region.to_owned(), None));
                entry.or_insert((at + offset as u64, 0)).1 += 1;
            }
        });
        if n <= STEP {
            return Ok(at + n as u64);
        }
        at += STEP as u64;
    }
}
