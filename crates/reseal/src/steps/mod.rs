//! The steps. A step is one file; its position in [`STEPS`] is the order of execution.

mod answer_file;
mod computer_name;
mod event_logs;
mod machine_ids;
mod machine_sid;
mod mounted_devices;
mod schedule_chkdsk;
mod setup_state;

use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;
use serde::Serialize;

pub use machine_sid::SidOutcome;

/// How sure it is that the step does what Sysprep does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A public document says so, or it was measured in real hives.
    Confirmed,
    /// It follows from confirmed facts.
    Inferred,
    /// Nobody has shown it.
    Unverified,
}

impl Evidence {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Confirmed => "confirmed",
            Evidence::Inferred => "inferred",
            Evidence::Unverified => "unverified",
        }
    }
}

/// What a step states of itself: the catalogue, the documentation, the dry run and the engine read it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// Stable id.
    pub id: &'static str,
    /// One line.
    pub title: &'static str,
    /// What it does and why, in a few sentences.
    pub about: &'static str,
    /// Phase: identity, state, traces, handoff.
    pub phase: &'static str,
    /// The Sysprep providers that it mirrors.
    pub mirrors: &'static [&'static str],
    /// How sure it is.
    pub evidence: Evidence,
    /// What only a real Windows can confirm.
    pub unproven: &'static str,
    /// Where it writes.
    pub writes: &'static [Scope],
}

/// A step of generalizing.
pub(crate) trait Step: Sync {
    /// What it states of itself.
    fn spec(&self) -> &'static Spec;
    /// Stages its changes. Returns why there is nothing to do, where that is worth telling.
    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>>;
}

/// All steps in the order of execution.
pub(crate) static STEPS: &[&dyn Step] = &[
    &machine_sid::MachineSid,
    &computer_name::ComputerName,
    &machine_ids::MachineIds,
    &mounted_devices::MountedDevices,
    &event_logs::EventLogs,
    &answer_file::AnswerFile,
    &setup_state::SetupState,
    &schedule_chkdsk::ScheduleChkdsk,
];

/// The catalogue.
pub fn catalogue() -> impl Iterator<Item = &'static Spec> {
    STEPS.iter().map(|step| step.spec())
}
