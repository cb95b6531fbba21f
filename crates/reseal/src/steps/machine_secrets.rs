use super::{Evidence, Spec, Step, Use};
use crate::Action::{ClearFolder, ClearSubkeys, DeleteKey};
use crate::error::{Error, Kind, Result};
use crate::rules;
use crate::scope::Scope;
use crate::session::Session;
use crate::tree::Tree;

/// Removes what the machine itself has encrypted, as a whole.
pub(super) struct MachineSecrets;

const MACHINE_KEYS: &str = r"ProgramData\Microsoft\Crypto\RSA\MachineKeys";
/// How the files of IIS' own keys begin: iisConfigurationKey, iisWasKey and the keys of older versions.
const IIS_KEYS: [&str; 3] = ["6de9cb26", "76944fb3", "c2319c42"];

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "machine-secrets";

static SPEC: Spec = Spec {
    id: ID,
    title: "Remove the machine's private keys and what protects them",
    about: "With --machine-secrets drop: the certificates of the machine and their private keys, the keys, credentials and \
            vaults of the system and the service accounts, their DPAPI master keys, and last the secret that protects those \
            (DPAPI_SYSTEM): as one unit, since a half of it leaves keys that nobody can read, and with them services that do \
            not start. Windows makes the secret and master keys anew; certificates have to be asked for again. Refused where \
            IIS keeps keys of its own, unless `--allow role` gives these up too.",
    phase: "secrets",
    mirrors: &["capisp.dll!CAPISysPrep_Generalize"],
    evidence: Evidence::Inferred,
    unproven: "that Windows makes DPAPI_SYSTEM anew at its first start; what programs do that lose their keys",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::Rules],
    actions: &[
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\MY\Certificates"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\MY\Keys"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\WebHosting\Certificates"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\RSA\MachineKeys"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\RSA\S-1-5-18"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\DSS\MachineKeys"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\Keys"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\SystemKeys"),
        ClearFolder(r"%ProgramData%\Microsoft\Crypto\PCPKSP"),
        ClearFolder(r"%ProgramData%\Microsoft\Vault"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Roaming\Microsoft\Crypto"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Roaming\Microsoft\Credentials"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Roaming\Microsoft\Vault"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Local\Microsoft\Credentials"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Local\Microsoft\Vault"),
        ClearFolder(r"%SystemRoot%\ServiceProfiles\*\AppData\Roaming\Microsoft\Protect"),
        ClearFolder(r"%System32%\config\systemprofile\AppData\Roaming\Microsoft\Crypto"),
        ClearFolder(r"%System32%\config\systemprofile\AppData\Roaming\Microsoft\Credentials"),
        ClearFolder(r"%System32%\config\systemprofile\AppData\Roaming\Microsoft\Vault"),
        ClearFolder(r"%System32%\config\systemprofile\AppData\Local\Microsoft\Credentials"),
        ClearFolder(r"%System32%\config\systemprofile\AppData\Local\Microsoft\Vault"),
        ClearFolder(r"%System32%\Microsoft\Protect\S-1-5-18"),
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\DPAPI_SYSTEM"),
    ],
};

impl Step for MachineSecrets {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let keys = iis_keys(session.tree)?;
        if !keys.is_empty() && !session.options.allow.iter().any(|id| id == "role") {
            let detail = format!(
                r"IIS keeps {} keys of its own in \{MACHINE_KEYS} ({}), which would be lost with the machine's secrets",
                keys.len(),
                keys.join(", ")
            );
            return Err(Error::new(Kind::Refused, detail)
                .hint("keep the secrets, or give the keys up with `--allow role` and set IIS up anew in each copy"));
        }
        rules::run(session, SPEC.actions).map(|()| None)
    }
}

/// Files of keys that IIS cannot start without.
fn iis_keys(tree: &dyn Tree) -> Result<Vec<String>> {
    let Some(folder) = tree.resolve(tree.root(), MACHINE_KEYS)? else { return Ok(Vec::new()) };
    let names = tree.entries(folder)?.into_iter().map(|entry| entry.name_lossy().to_ascii_lowercase());
    Ok(names.filter(|name| IIS_KEYS.iter().any(|start| name.starts_with(start))).collect())
}
