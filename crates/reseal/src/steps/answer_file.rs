use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::System;
use crate::error::{Error, Kind, Result, Within};
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use crate::tree::NewSecurity;
use crate::unattend;
use reseal_dtyp::{Descriptor, Level};

/// Places the answer file.
pub(super) struct AnswerFile;

const PANTHER: &str = r"Windows\Panther";
/// SYSTEM and Administrators only: an answer file may hold passwords.
const SDDL: &str = "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

static SPEC: Spec = Spec {
    id: "answer-file",
    title: "Place the answer file",
    about: "Writes the answer file of --unattend, with the name of --computer-name in its specialize pass, to \
            Windows\\Panther\\unattend.xml, readable by SYSTEM and Administrators only. What Windows would prefer to it is \
            removed: Setup\\UnattendFile and the files in Panther\\Unattend. Without either option nothing is done.",
    phase: "handoff",
    mirrors: &["sysprep.exe /unattend"],
    evidence: Evidence::Confirmed,
    unproven: "",
    client: Use::On,
    server: Use::On,
    writes: &[Scope::Key(System, "Setup"), Scope::File(PANTHER)],
    actions: &[],
};

impl Step for AnswerFile {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let name = session.options.computer_name.as_deref().filter(|_| session.options.steps.contains("computer-name"));
        if session.options.unattend.is_none() && name.is_none() {
            report_others(session)?;
            return Ok(Some("no --unattend and no --computer-name".to_owned()));
        }
        let architecture = architecture(session.facts.product.architecture.as_deref())?;
        let content = unattend::compose(session.options.unattend.as_deref(), name, architecture)?;
        let descriptor = Descriptor::from_sddl(SDDL)?.to_bytes()?;
        make_folder(session)?;
        session.write_file(&format!(r"{PANTHER}\unattend.xml"), &content, FileSecurity::Descriptor(descriptor))?;
        session.delete_value(System, "Setup", "UnattendFile")?;
        for preferred in ["Unattend.xml", "Autounattend.xml"] {
            let path = format!(r"{PANTHER}\Unattend\{preferred}");
            if let Some(node) = session.tree.resolve(session.tree.root(), &path)? {
                session.remove_file(&path, node)?;
            }
        }
        report_others(session)?;
        Ok(None)
    }
}

/// The word for the answer file's `processorArchitecture`. What the hive says goes into XML: only known words pass.
fn architecture(stated: Option<&str>) -> Result<&'static str> {
    let stated = stated.unwrap_or("amd64");
    let known = ["amd64", "x86", "arm64", "arm"].into_iter().find(|word| *word == stated);
    known.ok_or_else(|| {
        Error::new(
            Kind::Damaged,
            format!("PROCESSOR_ARCHITECTURE is `{}`, which is no architecture of Windows", stated.escape_debug()),
        )
    })
}

fn make_folder(session: &mut Session<'_>) -> Result<()> {
    let root = session.tree.root();
    if session.tree.resolve(root, PANTHER)?.is_some() {
        return Ok(());
    }
    let windows = session.tree.resolve(root, "Windows")?;
    let windows = windows.ok_or_else(|| Error::new(Kind::NotFound, "the folder Windows is missing"))?;
    let now = session.inputs.now();
    session.tree.create_dir(windows, "Panther", NewSecurity::SameAs(windows), now).within(PANTHER)?;
    session.record(crate::Target::file(PANTHER), None, Some("folder".to_owned()));
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
