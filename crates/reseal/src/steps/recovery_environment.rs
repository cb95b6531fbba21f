use super::{Evidence, Spec, Step, Use};
use crate::error::{Result, Within};
use crate::recovery_environment::{CONFIG, ReAgent};
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use reseal_dtyp::Level;

/// Forgets where the recovery environment lies.
pub(super) struct RecoveryEnvironment;

static SPEC: Spec = Spec {
    id: "recovery-environment",
    title: "Forget where the recovery environment lies",
    about: "With --steps +recovery-environment, System32\\Recovery\\ReAgent.xml registers no recovery environment any more: the \
            id of its boot entry, its partition and its state are cleared. A disk image that is copied whole keeps its \
            recovery partition and needs none of this; an image whose partition is missing does. winre.wim is not moved. \
            `reagentc /enable` on a copy registers it anew.",
    phase: "identity",
    mirrors: &["reagent.dll!WinRE_Generalize"],
    evidence: Evidence::Unverified,
    unproven: "what WinRE_Generalize itself leaves in ReAgent.xml, and that `reagentc /enable` finds winre.wim afterwards",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::File(CONFIG)],
    ..Spec::BASE
};

impl Step for RecoveryEnvironment {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        const MOST: u64 = 1 << 20;
        let tree = &*session.tree;
        let Some(node) = tree.resolve(tree.root(), CONFIG).within(CONFIG)? else {
            return Ok(Some("the image has no ReAgent.xml".to_owned()));
        };
        let size = tree.size(node).within(CONFIG)?;
        if size > MOST {
            let detail = format!("it has {size} bytes, at most {MOST} are read: left");
            session.find(Level::Note, "recovery-environment-left", &format!(r"\{CONFIG}"), detail);
            return Ok(None);
        }
        let file = ReAgent::read(&tree.read(node).within(CONFIG)?).map_err(|e| e.subject(CONFIG.to_owned()))?;
        match file.forgotten().map_err(|e| e.subject(CONFIG.to_owned()))? {
            None => return Ok(Some("nothing is registered".to_owned())),
            Some(bytes) => session.write_file(CONFIG, &bytes, FileSecurity::Sibling)?,
        }
        Ok(None)
    }
}
