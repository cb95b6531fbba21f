use super::{Evidence, Spec, Step};
use crate::MachineHive::{Software, System};
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;
use reseal_dtyp::Level;

/// Forgets the ids that Windows makes anew.
pub(super) struct MachineIds;

const RNG: &str = "RNG";
/// `RNG\Seed`: 12 bytes of state, 64 random bytes (measured in six hives).
const SEED_LEN: usize = 76;
const SEED_STATE_LEN: usize = 12;

/// Values below SOFTWARE that Windows recreates when they are absent.
const SOFTWARE_VALUES: &[(&str, &[&str])] = &[
    (r"Microsoft\Cryptography", &["MachineGuid"]),
    (r"Wow6432Node\Microsoft\Cryptography", &["MachineGuid"]),
    (
        r"Microsoft\Windows\CurrentVersion\WindowsUpdate",
        &["SusClientId", "SusClientIdValidation", "PingID", "AccountDomainSid"],
    ),
    (r"Microsoft\SQMClient", &["MachineId"]),
    (r"Wow6432Node\Microsoft\SQMClient", &["MachineId"]),
];

static SPEC: Spec = Spec {
    id: "machine-ids",
    title: "Forget machine ids and the random seed",
    about: "Removes MachineGuid, the ids of Windows Update and SQM, the DHCPv6 unique id and the id of the SMB server: \
            two machines that share one are taken for one machine by servers. Specialize assigns a new MachineGuid. The \
            random generator's stored seed keeps its state bytes and gets 64 new random bytes.",
    phase: "identity",
    mirrors: &[
        "capisp.dll!CAPISysPrep_Generalize",
        "wuaueng.dll!GeneralizeForImaging",
        "sqmapi.dll!SqmSysprepGeneralize",
        "dhcpcsvc.dll!DhcpClient_Generalize",
    ],
    evidence: Evidence::Inferred,
    unproven: "that specialize makes MachineGuid only if it is absent; the meaning of the seed's first 12 bytes",
    writes: &[
        Scope::Key(Software, r"Microsoft\Cryptography"),
        Scope::Key(Software, r"Wow6432Node\Microsoft\Cryptography"),
        Scope::Key(Software, r"Microsoft\Windows\CurrentVersion\WindowsUpdate"),
        Scope::Key(Software, r"Microsoft\SQMClient"),
        Scope::Key(Software, r"Wow6432Node\Microsoft\SQMClient"),
        Scope::Key(System, r"{CCS}\Services\Tcpip6\Parameters"),
        Scope::Key(System, r"{CCS}\Services\LanmanServer\Parameters"),
        Scope::Key(System, RNG),
    ],
    ..Spec::BASE
};

impl Step for MachineIds {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        // MachineGuid comes back only in specialize; without it the machine would have none.
        let specialize_comes = session.specialize_comes();
        for (key, names) in SOFTWARE_VALUES {
            for name in names.iter().filter(|name| specialize_comes || **name != "MachineGuid") {
                session.delete_value(Software, key, name)?;
            }
        }
        for set in session.facts.control_sets.clone() {
            session.delete_value(System, &format!(r"{set}\Services\Tcpip6\Parameters"), "Dhcpv6DUID")?;
            session.delete_value(System, &format!(r"{set}\Services\LanmanServer\Parameters"), "Guid")?;
        }
        // The seed is drawn once: a second run on a sealed image has nothing to add.
        if session.facts.setup.is_generalized() {
            return Ok(None);
        }
        if let Some(value) = session.value(System, RNG, "Seed")? {
            if value.data.len() == SEED_LEN {
                let sid = session.facts.machine_sid.map(|sid| sid.to_string()).unwrap_or_default();
                let mut data = value.data;
                data[SEED_STATE_LEN..]
                    .copy_from_slice(&session.inputs.stream(&[b"rng-seed", sid.as_bytes()]).bytes::<64>());
                session.set(System, RNG, "Seed", value.ty, &data)?;
            } else {
                let detail = format!("{} bytes, {SEED_LEN} were expected: left as it is", value.data.len());
                session.find(Level::Note, "value-unexpected", r"SYSTEM\RNG Seed", detail);
            }
        }
        Ok(None)
    }
}
