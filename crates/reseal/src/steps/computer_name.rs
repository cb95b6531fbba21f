use super::{Evidence, Spec, Step};
use crate::MachineHive::{Security, System};
use crate::error::Result;
use crate::lsa;
use crate::scope::Scope;
use crate::session::Session;

/// Sets the computer name in the hives.
pub(super) struct ComputerName;

static SPEC: Spec = Spec {
    id: "computer-name",
    title: "Set the computer name",
    about: "With --computer-name, or a name in the answer file's pass offlineServicing, sets the name in every control set and in the LSA policy. Specialize picks a random name \
            unless the answer file gives one, so the step answer-file also puts the name into the specialize pass; the hive \
            edits alone would be lost. Without --computer-name nothing is done: specialize names the machine.",
    phase: "identity",
    mirrors: &["Microsoft-Windows-Shell-Setup ComputerName"],
    evidence: Evidence::Confirmed,
    writes: &[
        Scope::Key(System, r"{CCS}\Control\ComputerName"),
        Scope::Key(System, r"{CCS}\Services\Tcpip\Parameters"),
        Scope::Key(Security, r"Policy\PolAcDmN"),
    ],
    ..Spec::BASE
};

impl Step for ComputerName {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let Some(name) = session.computer_name()? else {
            return Ok(Some("no --computer-name: specialize names the machine".to_owned()));
        };
        // NetBIOS names are upper case; the DNS host name keeps the user's case.
        let netbios = name.to_ascii_uppercase();
        for set in session.facts.control_sets.clone() {
            for key in ["ComputerName", "ActiveComputerName"] {
                session.set_existing_text(
                    System,
                    &format!(r"{set}\Control\ComputerName\{key}"),
                    "ComputerName",
                    &netbios,
                )?;
            }
            let parameters = format!(r"{set}\Services\Tcpip\Parameters");
            for value in ["Hostname", "NV Hostname"] {
                session.set_existing_text(System, &parameters, value, &name)?;
            }
        }
        session.set_existing(Security, r"Policy\PolAcDmN", "", &lsa::name_value(&netbios))?;
        Ok(None)
    }
}
