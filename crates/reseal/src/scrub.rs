//! The last act of `--scrub`: what belongs to nothing on the volume, after all steps and the hives are written.

use crate::error::{Error, Kind, Result};
use crate::ntfs_tree::NtfsTree;
use crate::steps::SCRUB;
use crate::tree::Tree;
use crate::{Change, Observer, Options, StepOutcome, Target};
use reseal_dtyp::{Finding, Level};

/// Zeroes what belongs to nothing and empties `$LogFile`; the changes join those of the step. `Refused` when `$LogFile` holds
/// what a replay would bring into the volume.
pub(crate) fn volume(
    options: &Options,
    observer: &dyn Observer,
    tree: &mut NtfsTree,
    (changes, steps): (&mut Vec<Change>, &mut [StepOutcome]),
    findings: &mut Vec<Finding>,
) -> Result<()> {
    if !options.scrub {
        return Ok(());
    }
    observer.phase("scrubbing");
    let log = tree.volume.info().log_state;
    if !log.is_settled() {
        return Err(Error::new(
            Kind::Refused,
            format!("--scrub: $LogFile is {log}; emptying it would lose what it holds"),
        )
        .hint("boot the image once and shut it down fully, or seal without --scrub; nothing was written"));
    }
    let done = tree.volume.scrub(&|_| true)?;
    let log = tree.volume.empty_log()?;
    let places = [
        ("free clusters", done.free, "bytes in pieces that held something"),
        ("behind the content of files", done.tails, "bytes in pieces that held something"),
        ("file records", done.records, "held something behind what is in use"),
        ("index blocks", done.index_blocks, "held something behind what is in use"),
        ("$LogFile", log.unwrap_or(0), "bytes of a used log"),
    ];
    let mut count = 0;
    for (place, number, what) in places.into_iter().filter(|(_, number, _)| *number > 0) {
        let target = Target::Unused { place: place.to_owned() };
        changes.push(Change { step: SCRUB, target, before: Some(format!("{number} {what}")), after: None });
        count += 1;
    }
    if let Some(step) = steps.iter_mut().find(|step| step.id == SCRUB) {
        step.changes += count;
    }
    let mut left = |place: &str, why: &str| findings.push(Finding::new(Level::Note, "not-scrubbed", place, why));
    if log.is_none() {
        left("$LogFile", "chkdsk left its mark in it: it stays as it is, Windows begins a new one");
    }
    let root = tree.root();
    let dyn_tree: &dyn Tree = tree;
    if dyn_tree.resolve(root, r"$Extend\$UsnJrnl")?.is_some() {
        left(
            r"$Extend\$UsnJrnl",
            "the change journal stays: it names files, deleted ones too; in Windows: fsutil usn deletejournal /d C:",
        );
    }
    Ok(())
}
