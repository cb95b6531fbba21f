use super::{Evidence, Spec, Step};
use crate::MachineHive::System;
use crate::error::Result;
use crate::options::BootTo;
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use crate::unattend::{self, AnswerFile, Gravity, LintFor, Wanted};
use reseal_dtyp::{Descriptor, Level};

/// Places the answer file.
pub(super) struct PlaceAnswerFile;

const PANTHER: &str = r"Windows\Panther";
/// Where an answer file lies that setup keeps.
const CACHED: &str = r"Windows\Panther\unattend.xml";
/// What setup prefers to it.
const PREFERRED: [&str; 2] = [r"Windows\Panther\Unattend\Unattend.xml", r"Windows\Panther\Unattend\Autounattend.xml"];
/// SYSTEM and Administrators only: an answer file may hold passwords.
const SDDL: &str = "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

static SPEC: Spec = Spec {
    id: "answer-file",
    title: "Place the answer file",
    about: "Writes the answer file of --unattend, with the name of --computer-name in its specialize pass, to \
            Windows\\Panther\\unattend.xml, readable by SYSTEM and Administrators only. What Windows would prefer to it is \
            removed: Setup\\UnattendFile and the files in Panther\\Unattend. With --audit the file asks for audit mode and \
            lies in Panther\\Unattend, which is the documented way; what else was cached is removed. The file is checked \
            first: `reseal unattend FILE` tells what is wrong with it. Without these options nothing is done.",
    phase: "handoff",
    mirrors: &["sysprep.exe /unattend"],
    evidence: Evidence::Confirmed,
    writes: &[Scope::Key(System, "Setup"), Scope::File(PANTHER)],
    ..Spec::BASE
};

impl Step for PlaceAnswerFile {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let (file, architecture) = (session.answer_file()?, session.architecture()?);
        if let Some(file) = &file {
            check(session, file, architecture)?;
        }
        let audit = session.options.boot_to == BootTo::Audit;
        // The name goes into specialize, which does not come without generalizing: then the hives alone decide.
        let name = session.computer_name()?.filter(|_| !session.options.no_generalize);
        if file.is_none() && name.is_none() && !audit {
            report_others(session)?;
            return Ok(Some("no --unattend and no --computer-name".to_owned()));
        }
        let content = unattend::compose(file.as_ref(), Wanted { computer_name: name.as_deref(), audit, architecture })?;
        let place = if audit { PREFERRED[0] } else { CACHED };
        let descriptor = Descriptor::from_sddl(SDDL)?.to_bytes()?;
        session.make_folder_of(place)?;
        session.write_file(place, &content, FileSecurity::Descriptor(descriptor))?;
        session.delete_value(System, "Setup", "UnattendFile")?;
        for other in PREFERRED.into_iter().chain([CACHED]).filter(|other| *other != place) {
            if let Some(node) = session.tree.resolve(session.tree.root(), other)? {
                session.remove_file(other, node)?;
            }
        }
        report_others(session)?;
        Ok(audit.then(|| {
            format!(r"audit mode comes at every start while \{place} is there: remove it before you seal to OOBE from audit mode")
        }))
    }
}

/// Complaints about the user's file, now that the machine is known.
fn check(session: &mut Session<'_>, file: &AnswerFile, architecture: &str) -> Result<()> {
    let machine = LintFor { architecture: Some(architecture), server: Some(session.facts.is_server()) };
    let complaints = unattend::lint(file, machine);
    unattend::refuse_errors(&complaints)?;
    for complaint in complaints.iter().filter(|complaint| complaint.gravity == Gravity::Warning) {
        let place = format!("answer file, line {}", complaint.line);
        session.find(Level::Note, "answer-file", &place, complaint.detail.clone());
    }
    Ok(())
}

/// Answer files that Windows also looks at, after ours.
fn report_others(session: &mut Session<'_>) -> Result<()> {
    for path in ["Autounattend.xml", r"Windows\System32\Sysprep\Unattend.xml"] {
        if session.tree.resolve(session.tree.root(), path)?.is_some() {
            session.find(
                Level::Note,
                "other-answer-file",
                path,
                "Windows uses it for passes that no preferred answer file has",
            );
        }
    }
    Ok(())
}
