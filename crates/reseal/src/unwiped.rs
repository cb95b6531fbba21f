//! What a run without `--scrub` says of the space that belongs to nothing.

use crate::Options;
use crate::error::Result;
use reseal_ntfs::{FreeClusters, Volume};
use serde::Serialize;

/// Where remains of what was deleted before this run may lie: nobody has looked there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unwiped {
    /// Bytes of clusters that were free before and stay free.
    pub free_bytes: u64,
    /// Other places, which are not measured.
    pub also: &'static [&'static str],
    /// What wipes all of them.
    pub remedy: &'static str,
}

/// Places beside the free clusters.
const ALSO: &[&str] = &[
    "the space behind the content of files",
    "free file records and the rest of those in use",
    "the rest of index blocks",
    "free cells of hives that are not written",
    "$LogFile",
    "$Extend\\$UsnJrnl",
];

/// `None` with `--scrub`.
pub(crate) fn of(options: &Options, volume: &Volume, before: &FreeClusters) -> Result<Option<Unwiped>> {
    if options.scrub {
        return Ok(None);
    }
    Ok(Some(Unwiped { free_bytes: volume.still_free(before)?, also: ALSO, remedy: "--scrub" }))
}

impl std::fmt::Display for Unwiped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} bytes of clusters that were free already, nor {}: what was deleted earlier may lie there; {} wipes it",
            self.free_bytes,
            self.also.join(", "),
            self.remedy
        )
    }
}
