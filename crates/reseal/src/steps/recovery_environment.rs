use super::{Evidence, Spec, Step, Use};
use crate::error::{Kind, Result, Within};
use crate::image::DiskImage;
use crate::recovery_environment::{CONFIG, IMAGE_OFF, IMAGE_ON, ReAgent};
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use reseal_dtyp::Level;

/// Forgets where the recovery environment lies.
pub(super) struct RecoveryEnvironment;

static SPEC: Spec = Spec {
    id: "recovery-environment",
    title: "Forget where the recovery environment lies",
    about: "With --steps +recovery-environment, System32\\Recovery\\ReAgent.xml registers no recovery environment any more: the \
            id of its boot entry, its partition and its state are cleared. Where it named the volume of Windows itself, \
            Winre.wim goes back to System32\\Recovery, where `reagentc /enable` and Windows' own setup look for it; from \
            another partition it is not copied. A disk image that is copied whole keeps its recovery partition and needs none \
            of this; an image whose partition is missing does. The entry of the boot store stays.",
    phase: "identity",
    mirrors: &["reagent.dll!WinRE_Generalize"],
    evidence: Evidence::Unverified,
    unproven: "what WinRE_Generalize itself leaves in ReAgent.xml, and that `reagentc /enable` finds winre.wim afterwards",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::File(CONFIG), Scope::File(IMAGE_ON), Scope::File(IMAGE_OFF)],
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
            Some(bytes) => {
                bring_back(session, &file)?;
                session.write_file(CONFIG, &bytes, FileSecurity::Sibling)?;
            }
        }
        Ok(None)
    }
}

/// Winre.wim goes back to where it lies while the recovery environment is off, by a rename; else a finding says why not.
fn bring_back(session: &mut Session<'_>, file: &ReAgent) -> Result<()> {
    let disk = session.disk;
    let Some(partition) = file.partition(disk) else { return Ok(()) };
    if disk.own().is_none_or(|own| own.partition.number != partition.number) {
        let place = format!(r"{}: \{IMAGE_ON}", DiskImage::place(partition));
        let detail = "it stays there: nothing is copied between partitions; `reagentc /disable` in Windows, before sealing, \
                      brings it back";
        session.find(Level::Note, "recovery-image-left", &place, detail);
        return Ok(());
    }
    let root = session.tree.root();
    let why = match (session.tree.resolve(root, IMAGE_ON)?, session.tree.resolve(root, IMAGE_OFF)?) {
        (None, _) => "ReAgent.xml says that it lies there, and it does not".to_owned(),
        (Some(_), Some(_)) => format!(r"it stays there: \{IMAGE_OFF} is there, too"),
        (Some(node), None) => match session.move_file(IMAGE_ON, node, IMAGE_OFF) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == Kind::Unsupported => format!("it stays there: {e}"),
            Err(e) => return Err(e),
        },
    };
    session.find(Level::Note, "recovery-image-left", &format!(r"\{IMAGE_ON}"), why);
    Ok(())
}
