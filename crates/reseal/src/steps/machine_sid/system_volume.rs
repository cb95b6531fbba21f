//! The volume that holds the boot store, where it is not that of Windows.

use super::{HiveEdits, names, record_descriptors, record_hives, rewrite_hives};
use crate::Target;
use crate::boot_store::SystemVolume;
use crate::error::{Result, Within};
use crate::session::Session;
use reseal_sid::SidMap;

/// What was replaced on these volumes.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// SIDs in hives: binary, ASCII, UTF-16.
    pub(super) in_hives: [usize; 3],
    /// Unique descriptors, and how many of them changed.
    pub(super) descriptors: [usize; 2],
    /// Names of files and folders that changed.
    pub(super) names: usize,
}

/// Replaces SIDs in hives, descriptors and names of every system volume, each checked before.
pub(super) fn rewrite(session: &mut Session<'_>, map: &SidMap) -> Result<Rewritten> {
    let mut out = Rewritten::default();
    let mut systems = std::mem::take(&mut session.boot.systems);
    let done = systems.iter_mut().try_for_each(|system| one(session, system, map, &mut out));
    session.boot.systems = systems;
    done.map(|()| out)
}

fn one(session: &mut Session<'_>, system: &mut SystemVolume, map: &SidMap, out: &mut Rewritten) -> Result<()> {
    let (place, now) = (system.state.place.clone(), session.inputs.now());
    let (survey, findings) = system.ready()?;
    let after_sids = survey.named_after_sids.clone();
    session.findings.extend(findings);
    let edits: Vec<HiveEdits> = rewrite_hives(&mut system.hives, map, now).within(&place)?;
    system.refuse_dirty()?;
    let edits = edits.into_iter().map(|(path, edits, logs_only)| (system.named(&path), edits, logs_only)).collect();
    let in_hives = record_hives(session, edits);
    let counts = crate::tree::TreeEdit::map_descriptors(&mut system.tree, map).within(&place)?;
    let descriptors = record_descriptors(session, &place, counts);
    for (before, after, count) in names(&mut system.tree, &after_sids, map, now).within(&place)? {
        let (before, after) = (system.named(&before), system.named(&after));
        session.record(Target::File { path: before.clone() }, Some(before), Some(after));
        out.names += count;
    }
    out.in_hives.iter_mut().zip(in_hives).for_each(|(all, n)| *all += n);
    out.descriptors.iter_mut().zip(descriptors).for_each(|(all, n)| *all += n);
    Ok(())
}
