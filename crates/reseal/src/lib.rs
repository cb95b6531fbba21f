//! Generalizes a Windows image that is not running: what Sysprep does from the inside, done from the outside.
//!
//! ```text
//!  Image ──▶ Windows volume (Tree) ──▶ hives, facts ──▶ guards ──▶ steps ──▶ Plan ──▶ commit ──▶ Report
//!                                                                     │
//!                                         edits: hives in memory, files in the overlay
//! ```
//!
//! 1. [`Image::open`] opens a disk image; nothing is written.
//! 2. [`plan`] runs guards and steps and checks the result; the whole change lies in memory.
//! 3. [`Planned::commit_to`] writes a new image, [`Planned::commit_in_place`] the same one, with a journal; dropping the plan
//!    instead is the dry run. [`recover()`] finishes what was interrupted.
//!
//! The library prints nothing, asks nothing, ends no process and keeps no global state.
#![forbid(unsafe_code)]

mod boot_store;
mod browse;
mod certificate;
mod change;
mod coverage;
mod diff;
mod driver;
mod error;
mod facts;
#[cfg(target_os = "linux")]
mod folder;
#[cfg(not(target_os = "linux"))]
#[path = "folder_elsewhere.rs"]
mod folder;
mod fs_check;
mod generalize;
mod guards;
mod hive_text;
mod hive_walk;
mod hives;
mod image;
mod inputs;
mod inspect;
mod invariants;
mod leaving;
mod left_on_purpose;
mod lsa;
mod ntfs_tree;
mod options;
mod planned;
mod policy_file;
mod recover;
mod recovery_environment;
mod reference;
mod reg_text;
mod rules;
mod sam;
mod sam_edit;
mod scope;
mod scrub;
mod sealed_state;
mod session;
mod sqlite_store;
mod staging;
mod steps;
mod stray_hives;
#[cfg(test)]
mod stray_tests;
mod strays;
mod task_triggers;
mod tree;
mod unattend;
mod unwiped;
mod verify;
mod volume_state;
mod wim;

pub use boot_store::{BootLoaderInfo, BootStoreInfo};
pub use browse::{Files, FsEntry, HiveAccess, KeyListing, ShownValue};
pub use change::{Change, StepOutcome, Target};
pub use coverage::{Answer, CoverageRow, CoverageTable, coverage};
pub use diff::{DescriptorSummary, DiffEntry, DiffKind, DiffOptions, Difference, Side, VolumeDifference, What, diff};
pub use driver::{
    AddedPackage, DriverList, DriverOptions, DriverPackage, DriverPlanned, DriverReport, DriverService, driver_add,
    driver_enable, driver_list, driver_remove,
};
pub use error::{Error, Kind, Result};
pub use facts::{Facts, Product, Profile, SetupState};
pub use fs_check::{CheckObserver, CheckStage, VolumeCheck, fs_check};
pub use generalize::{InPlace, Observer, Plan, Report, ShownFinding, Silent};
pub use guards::{Check, Checked, Notice, Outcome, Refusal, Weight, checks};
pub use hive_text::{Imported, RegText};
pub use image::Image;
pub use inputs::Inputs;
pub use inspect::{
    CheckedInstallation, Checklist, HiveInfo, Inspection, InstallationInfo, LinkedDisk, PartitionInfo, VolumeSummary,
    check, inspect,
};
pub use options::{ALLOWABLE_GUARDS, BootTo, Options, SidChoice, StepSelection};
pub use planned::{Planned, plan};
pub use recover::{Recovery, RecoveryReport, recover};
pub use reference::Reference;
pub use rules::recipe::RecipeEntry;
pub use rules::{Action, DataRule, RuleFile};
pub use sam::User;
pub use scope::{MachineHive, Scope};
pub use steps::{Evidence, SidOutcome, Spec, Use, catalogue};
pub use tree::{DescriptorCounts, NewSecurity, NodeId, Stat, StreamRead, Survey, Tree, TreeEdit, TreeEntry};
pub use unattend::{Complaint, Gravity, LintFor, lint_answer_file};
pub use unwiped::Unwiped;
pub use verify::{TRACE_FORMS, Trace, Verification, verify};
pub use wim::{Applied, ApplyOptions, ApplyPlanned, ApplyReport, wim_apply};
pub use wim::{CaptureOptions, WimFile, WimImageInfo, WimInfo, WimPart, WimResult, WimSplit};
pub use wim::{wim_capture, wim_export, wim_optimize, wim_split};

pub use reseal_dtyp::{DomainSid, FileTime};
pub use reseal_wim::{Compression as WimCompression, Storage as WimStorage};

/// Runs `work` on this many threads; without it the library uses as many as there are cores. Results do not depend on it.
pub fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| error::Error::new(Kind::Io, format!("cannot start {threads} threads: {e}")))?;
    Ok(pool.install(work))
}
