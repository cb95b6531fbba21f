use super::{Evidence, Spec, Step};
use crate::Target;
use crate::error::{Result, Within};
use crate::scope::Scope;
use crate::session::Session;
use reseal_dtyp::Level;

/// Wipes what belongs to nothing: here that of hives, and after all steps, when the hives are written, that of the volume.
pub(super) struct Scrub;

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "scrub";

static SPEC: Spec = Spec {
    id: ID,
    title: "Wipe what was deleted before",
    about: "With --scrub, what belongs to nothing is zeroed: free clusters, the space behind the content of files, free file \
            records and the rest of those in use, the rest of index blocks; in hives free cells, the ends of cells and the \
            logs. A clean $LogFile is filled with 0xFF, as a new volume has it. What earlier Windows deleted lies there: old \
            names, old SIDs, passwords of old answer files. Without the option these bytes stay, and `verify` names them. \
            Reading all free space takes its time.",
    phase: "handoff",
    evidence: Evidence::Inferred,
    unproven: "that Windows begins a new $LogFile where all of it is 0xFF; ntfs-3g and the kernel do",
    writes: &[Scope::Unused],
    ..Spec::BASE
};

impl Step for Scrub {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        if !session.options.scrub {
            return Ok(Some("no --scrub".to_owned()));
        }
        session.allow(Scope::Unused)?;
        for at in 0..session.hives.files.len() {
            let file = &mut session.hives.files[at];
            let path = file.path.clone();
            match file.hive.zero_idle() {
                Ok(0) => {}
                Ok(bytes) => {
                    file.edited = true;
                    let target = Target::Unused { place: format!("{path}: free cells and ends of cells") };
                    session.record(target, Some(format!("{bytes} bytes of remains")), None);
                }
                Err(e) if matches!(e.kind(), reseal_dtyp::Kind::Damaged | reseal_dtyp::Kind::Unsupported) => {
                    session.find(Level::Note, "not-scrubbed", &path, e.to_string());
                    continue;
                }
                Err(e) => return Err(e).within(path),
            }
            let file = &mut session.hives.files[at];
            let logged = file.log_bytes().flatten().filter(|&&b| b != 0).count();
            // Logs of a hive that is written are emptied.
            if logged > 0 && !file.edited {
                file.edited = true;
                session.record(
                    Target::Unused { place: format!("{path}: logs") },
                    Some(format!("{logged} bytes")),
                    None,
                );
            }
        }
        Ok(None)
    }
}
