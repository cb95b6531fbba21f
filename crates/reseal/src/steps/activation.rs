use super::{Evidence, Spec, Step, Use};
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use reseal_dtyp::Level;

/// Has Windows rearm its licensing at the first start.
pub(super) struct Activation;

const SCRIPT: &str = r"Windows\Setup\Scripts\SetupComplete.cmd";
const COMMAND: &str = r#"cscript.exe //B //NoLogo "%SystemRoot%\System32\slmgr.vbs" /rearm"#;
const SPP: &str = "Microsoft-Windows-Security-SPP";

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "activation";

static SPEC: Spec = Spec {
    id: ID,
    title: "Rearm licensing at the first start",
    about: "With --activation rearm, a Windows\\Setup\\Scripts\\SetupComplete.cmd rearms licensing in every copy when setup has \
            ended; it counts after the next restart. Licensing itself is kept in a store that detects changes and is never \
            edited. A script that is there is not overwritten: the line to add is told. Windows skips the script with an OEM \
            key, but on Enterprise and Server. A rearm uses up one of few.",
    phase: "handoff",
    mirrors: &["slc.dll!SLReArmWindows"],
    evidence: Evidence::Confirmed,
    unproven: "that each copy then counts as a client of its own",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::File(r"Windows\Setup")],
    ..Spec::BASE
};

impl Step for Activation {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let (file, architecture) = (session.answer_file()?, session.architecture()?);
        if file.is_some_and(|file| file.generalize_switch(SPP, "SkipRearm", architecture) == Some(true)) {
            let detail = "the answer file says SkipRearm, --activation rearm asks for the opposite";
            return Err(Error::new(Kind::Usage, detail).hint("say one of them"));
        }
        if let Some(node) = session.tree.resolve(session.tree.root(), SCRIPT)? {
            let text = session.tree.read(node)?;
            let has = text.windows(COMMAND.len()).any(|window| window.eq_ignore_ascii_case(COMMAND.as_bytes()));
            if !has {
                let detail = format!("a script is there and is not overwritten; for a rearm, add to it: {COMMAND}");
                session.find(Level::Note, "setup-complete-kept", &format!(r"\{SCRIPT}"), detail);
            }
            return Ok(has.then(|| "the script rearms already".to_owned()));
        }
        session.make_folder_of(SCRIPT)?;
        let text = format!("@echo off\r\nrem Made by reseal generalize --activation rearm.\r\n{COMMAND}\r\n");
        session.write_file(SCRIPT, text.as_bytes(), FileSecurity::Sibling)?;
        Ok(None)
    }
}
