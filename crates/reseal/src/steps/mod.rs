//! The steps. A step is one file; its position in [`STEPS`] is the order of execution.

mod accounts;
mod activation;
mod answer_file;
mod blank_administrator;
mod boot_store;
mod cached_logons;
mod computer_name;
mod data_rules;
mod device_settings;
mod devices;
mod event_logs;
mod leave_domain;
mod leave_entra;
mod machine_ids;
mod machine_secrets;
mod machine_sid;
mod mounted_devices;
mod old_name;
mod recipe;
mod recovery_environment;
mod remove_user_appx;
mod remove_users;
mod schedule_chkdsk;
mod scrub;
pub(crate) mod setup_state;
mod shadow_copies;
mod tables;
mod task_cache;
mod tasks;
mod transaction_ids;

use crate::Action;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;
use serde::Serialize;

pub(crate) use activation::ID as ACTIVATION;
pub(crate) use blank_administrator::ID as BLANK_ADMINISTRATOR;
pub(crate) use boot_store::ID as BOOT_STORE;
pub(crate) use devices::ID as DEVICES;
pub(crate) use leave_domain::ID as LEAVE_DOMAIN;
pub(crate) use leave_entra::ID as LEAVE_ENTRA;
pub(crate) use machine_secrets::ID as MACHINE_SECRETS;
pub use machine_sid::SidOutcome;
pub(crate) use remove_user_appx::ID as REMOVE_USER_APPX;
pub(crate) use remove_users::ID as REMOVE_USERS;
pub(crate) use scrub::ID as SCRUB;
pub(crate) use shadow_copies::{ID as SHADOW_COPIES, is_store_file};

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
    /// Whether it runs on a client when nothing is said.
    pub client: Use,
    /// Whether it runs on a server when nothing is said.
    pub server: Use,
    /// Where it writes.
    pub writes: &'static [Scope],
    /// What it does, where rules are enough.
    pub actions: &'static [Action<'static>],
}

impl Spec {
    /// What most steps have in common; each says what is different.
    const BASE: Spec = Spec {
        id: "",
        title: "",
        about: "",
        phase: "traces",
        mirrors: &[],
        evidence: Evidence::Unverified,
        unproven: "",
        client: Use::On,
        server: Use::On,
        writes: &[],
        actions: &[],
    };
}

/// When a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Always, unless it is taken away.
    On,
    /// Only when it is asked for.
    Ask,
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
    // Before the machine SID: what goes is named by the old one.
    &remove_users::RemoveUsers,
    &leave_domain::LeaveDomain,
    &leave_entra::LeaveEntra,
    &remove_user_appx::RemoveUserAppx,
    &blank_administrator::BlankAdministrator,
    &machine_sid::MachineSid,
    &computer_name::ComputerName,
    &machine_ids::MachineIds,
    &transaction_ids::TransactionIds,
    &devices::Devices,
    &Table(&tables::identity::RDP_IDENTITY),
    &Table(&tables::identity::STORE_LICENCES),
    &Table(&tables::identity::PROVISIONING),
    &Table(&tables::identity::WINDOWS_HELLO),
    &data_rules::AgentIds,
    &data_rules::OwnRules,
    &mounted_devices::MountedDevices,
    &boot_store::BootStore,
    &recovery_environment::RecoveryEnvironment,
    &Table(&tables::network::STATIC_ADDRESSES),
    &Table(&tables::network::DHCP_LEASES),
    &Table(&tables::network::NETWORK_LIST),
    &Table(&tables::network::TUNNELS),
    &Table(&tables::network::REGISTERED_NAMES),
    &Table(&tables::network::WLAN_PROFILES),
    &Table(&tables::secrets::AUTOLOGON),
    &Table(&tables::secrets::MOBILE_HOTSPOT),
    &cached_logons::CachedLogons,
    &machine_secrets::MachineSecrets,
    &event_logs::EventLogs,
    &Table(&tables::traces::ERROR_REPORTS),
    &Table(&tables::traces::TELEMETRY),
    &Table(&tables::traces::DEFENDER),
    &Table(&tables::traces::MEDIA_PLAYER),
    &Table(&tables::traces::ASSESSMENTS),
    &Table(&tables::traces::UPDATE_CACHE),
    &Table(&tables::traces::TRANSFERS),
    &Table(&tables::traces::SEARCH_INDEX),
    &Table(&tables::traces::WEB_CACHES),
    &Table(&tables::traces::USAGE_RECORDS),
    &Table(&tables::traces::TEMPORARY_FILES),
    &Table(&tables::traces::CRASH_DUMPS),
    &Table(&tables::traces::PAGING_FILES),
    &Table(&tables::traces::SETUP_LOGS),
    &shadow_copies::ShadowCopies,
    &recipe::Recipe,
    // Behind the steps that delete: what goes needs no new name.
    &old_name::OldName,
    &answer_file::PlaceAnswerFile,
    &device_settings::DeviceSettings,
    &activation::Activation,
    &setup_state::SetupState,
    &schedule_chkdsk::ScheduleChkdsk,
    &scrub::Scrub,
];

/// A step that is a table of rules.
struct Table(&'static Spec);

impl Step for Table {
    fn spec(&self) -> &'static Spec {
        self.0
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        crate::rules::run(session, self.0.actions).map(|()| None)
    }
}

/// The catalogue.
pub fn catalogue() -> impl Iterator<Item = &'static Spec> {
    STEPS.iter().map(|step| step.spec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_can_be_understood_and_every_id_is_one() {
        let mut ids: Vec<&str> = Vec::new();
        for spec in catalogue() {
            spec.actions.iter().for_each(|action| action.check().unwrap());
            assert!(![spec.id, spec.about, spec.title, spec.phase].contains(&""), "{}", spec.id);
            assert!(!spec.writes.is_empty(), "{}", spec.id);
            ids.push(spec.id);
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "an id is there twice");
    }
}
