use super::{Evidence, Spec, Step};
use crate::Target;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;

/// Has Windows check its volume at the next start.
pub(super) struct ScheduleChkdsk;

/// The file that holds the flags of the volume.
const VOLUME: &str = "$Volume";

static SPEC: Spec = Spec {
    id: "schedule-chkdsk",
    title: "Schedule a check of the volume",
    about: "With --schedule-chkdsk the volume is marked dirty, as `fsutil dirty set` does, and Windows runs autochk at its \
            first start. It is for those who want Windows' own word on the written volume; the first start takes longer. \
            Without the option nothing is done: reseal checks what it wrote before it writes it. A volume so marked is \
            refused by the next run (--allow dirty-volume).",
    phase: "handoff",
    evidence: Evidence::Confirmed,
    writes: &[Scope::File(VOLUME)],
    ..Spec::BASE
};

impl Step for ScheduleChkdsk {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        if !session.options.schedule_chkdsk {
            return Ok(Some("no --schedule-chkdsk".to_owned()));
        }
        session.allow(Scope::File(VOLUME))?;
        if session.tree.schedule_check()? {
            let say = |text: &str| Some(text.to_owned());
            session.record(Target::file(VOLUME), say("not marked dirty"), say("marked dirty: Windows will check it"));
        }
        Ok(None)
    }
}
