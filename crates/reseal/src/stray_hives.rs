//! The guard against stray writes inside hives, for a run that wipes what belongs to nothing.
//!
//! A hive that is written may differ anywhere in its clusters, so its content is held against what was meant: the bytes that
//! were staged, and, for a hive of which only free cells and the ends of cells were to go, every key and value of the original.

use crate::change::{Change, Target};
use crate::error::{Error, Kind, Result, Within};
use crate::hives::{HiveSet, LOG_SUFFIXES};
use rayon::prelude::*;
use reseal_hive::{Hive, Recover};
use reseal_ntfs::Volume;
use sha2::{Digest, Sha256};

/// A hive as it was staged: its path and the SHA-256 of its bytes.
#[derive(Debug, Clone)]
pub(crate) struct StagedHive {
    path: String,
    digest: [u8; 32],
}

/// The hives that are written.
pub(crate) fn staged(hives: &HiveSet) -> Vec<StagedHive> {
    let edited: Vec<_> = hives.files.iter().filter(|file| file.edited).collect();
    let staged = edited
        .par_iter()
        .map(|file| StagedHive { path: file.path.clone(), digest: Sha256::digest(file.hive.to_bytes()).into() });
    staged.collect()
}

/// Fails with kind `Internal` when a hive is not what was staged, or when one that only was to lose what belongs to nothing
/// has another content than before.
pub(crate) fn refuse(was: &Volume, is: &Volume, staged: &[StagedHive], changes: &[Change]) -> Result<()> {
    let look = |hive: &StagedHive| -> Result<()> {
        let stray = |what: &str| {
            Err(Error::new(Kind::Internal, format!("a stray write was stopped: {what}"))
                .hint("this is a defect of reseal; nothing was written"))
        };
        let Some(now) = read(is, &hive.path)? else { return stray("the hive is missing") };
        let digest: [u8; 32] = Sha256::digest(&now).into();
        if digest != hive.digest {
            return stray("the hive is not what was staged");
        }
        if changes.iter().any(|change| edits(change, &hive.path)) {
            return Ok(());
        }
        let Some(before) = read(was, &hive.path)? else { return stray("the hive was not there") };
        let logs: Vec<Vec<u8>> = LOG_SUFFIXES
            .iter()
            .filter_map(|suffix| read(was, &format!("{}{suffix}", hive.path)).transpose())
            .collect::<Result<_>>()?;
        let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
        let before = Hive::open(&before, &logs, Recover::AsIs)?.dump()?;
        if Hive::open(&now, &[], Recover::AsIs)?.dump()? == before { Ok(()) } else { stray("a key or value changed") }
    };
    staged.par_iter().try_for_each(|hive| look(hive).within(&hive.path))
}

fn read(volume: &Volume, path: &str) -> Result<Option<Vec<u8>>> {
    Ok(volume.resolve(path)?.map(|file| volume.read(file, &[])).transpose()?)
}

/// Whether a change is one of what the hive says.
fn edits(change: &Change, path: &str) -> bool {
    match &change.target {
        Target::Value { hive, .. } | Target::Key { hive, .. } | Target::HiveSids { hive } => hive == path,
        _ => false,
    }
}
