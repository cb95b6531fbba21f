use super::{Evidence, Spec, Step};
use crate::error::{Result, Within};
use crate::scope::Scope;
use crate::session::Session;

/// Removes the event logs.
pub(super) struct EventLogs;

const FOLDER: &str = r"Windows\System32\winevt\Logs";

static SPEC: Spec = Spec {
    id: "event-logs",
    title: "Remove the event logs",
    about: "Event logs tell the story of the machine that was imaged, with its SIDs and names. Their chunks carry \
            checksums, so they are removed and not edited; the folder and its descriptor stay, and the event log \
            service makes new files.",
    phase: "traces",
    mirrors: &["wevtapi.dll (EvtClearLog by the eventlog provider)"],
    evidence: Evidence::Confirmed,
    writes: &[Scope::File(FOLDER)],
    ..Spec::BASE
};

impl Step for EventLogs {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let entries = session.tree.entries_of(session.tree.root(), FOLDER).within(FOLDER)?;
        for entry in entries.iter().filter(|e| !e.is_dir && !e.is_reparse) {
            let name = entry.name_lossy();
            if name.to_ascii_lowercase().ends_with(".evtx") {
                session.remove_file(&format!(r"{FOLDER}\{name}"), entry.node)?;
            }
        }
        Ok(None)
    }
}
