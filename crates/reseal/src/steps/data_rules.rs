use super::{Evidence, Spec, Step};
use crate::error::{Error, Kind, Result};
use crate::rules::{self, RuleFile};
use crate::scope::Scope;
use crate::session::Session;

/// Forgets the ids of agents.
pub(super) struct AgentIds;

/// The agents that are known.
const AGENTS: &str = include_str!("../../rules/agents.toml");

static AGENT_IDS: Spec = Spec {
    id: "agent-ids",
    title: "Forget the ids of management and security agents",
    about: "Removes the ids, keys and certificates under which agents are known to their servers: Configuration Manager, \
            Defender for Endpoint, Wazuh, RustDesk, MeshCentral, Zabbix, Puppet, Salt, Chef, TeamViewer, AnyDesk, \
            CrowdStrike, SentinelOne, Qualys, Splunk, Tanium, Nessus, Trellix. They enrol anew. What cannot be taken away \
            from outside is reported. --rules FILE adds rules of the same form.",
    phase: "identity",
    evidence: Evidence::Unverified,
    unproven: "that each agent enrols anew without what was removed",
    writes: &[Scope::Rules],
    ..Spec::BASE
};

impl Step for AgentIds {
    fn spec(&self) -> &'static Spec {
        &AGENT_IDS
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let agents = RuleFile::parse(AGENTS).map_err(|e| Error::new(Kind::Internal, e.to_string()))?;
        rules::run_data(session, &agents)
    }
}

/// Runs the user's own rules.
pub(super) struct OwnRules;

static OWN_RULES: Spec = Spec {
    id: "own-rules",
    title: "Run your own rules",
    about: "Runs the rules of each --rules FILE: values, keys, files and folders to remove or to empty, for software that \
            reseal does not know. docs/rules.md has the form of the file. Without the option nothing is done.",
    phase: "identity",
    evidence: Evidence::Unverified,
    writes: &[Scope::Rules],
    ..Spec::BASE
};

impl Step for OwnRules {
    fn spec(&self) -> &'static Spec {
        &OWN_RULES
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        if session.options.rules.is_empty() {
            return Ok(Some("no --rules".to_owned()));
        }
        let mut notes = Vec::new();
        for file in &session.options.rules {
            notes.extend(rules::run_data(session, file)?);
        }
        Ok(Some(notes.join("; ")))
    }
}
