//! What an installation says of itself.

use crate::error::{Result, Within};
use crate::hives::HiveSet;
use crate::lsa;
use crate::sam::{self, User};
use crate::scope::MachineHive;
use reseal_dtyp::DomainSid;
use reseal_hive::{Hive, Value};
use serde::Serialize;

/// Windows' edition and build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Product {
    /// `ProductName`; Windows 11 still says Windows 10 here.
    pub name: Option<String>,
    /// `EditionID`.
    pub edition: Option<String>,
    /// `CurrentBuild`, with `UBR` behind a dot where there is one.
    pub build: Option<String>,
    /// `DisplayVersion` or `ReleaseId`.
    pub version: Option<String>,
    /// `PROCESSOR_ARCHITECTURE`, in lower case.
    pub architecture: Option<String>,
    /// `WinNT` client, `ServerNT` server, `LanmanNT` domain controller.
    pub product_type: Option<String>,
}

/// How far setup has come, as the hives say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SetupState {
    /// `ImageState`.
    pub image_state: Option<String>,
    /// `SystemSetupInProgress`.
    pub in_progress: Option<u32>,
    /// `SetupType`.
    pub setup_type: Option<u32>,
    /// `CmdLine`.
    pub command_line: Option<String>,
    /// `SysprepStatus\GeneralizationState`.
    pub generalization_state: Option<u32>,
    /// Values under `SetupCl\PendingRequest`.
    pub pending_request: usize,
}

/// `ImageState` of an image that boots to specialize and OOBE.
pub(crate) const GENERALIZED_TO_OOBE: &str = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE";
/// `ImageState` of an image that boots to OOBE without specialize.
pub(crate) const SPECIALIZED_TO_OOBE: &str = "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE";
/// What Sysprep writes when it seals to audit mode.
const TO_AUDIT: [&str; 2] = ["IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT", "IMAGE_STATE_SPECIALIZE_RESEAL_TO_AUDIT"];

/// `GeneralizationState` when generalizing began and did not end.
pub(crate) const HALF_GENERALIZED: u32 = 3;

impl SetupState {
    /// Whether the image is sealed, generalized or not, to OOBE or audit mode.
    pub fn is_sealed(&self) -> bool {
        let state = self.image_state.as_deref().unwrap_or_default();
        (TO_AUDIT.contains(&state) || [GENERALIZED_TO_OOBE, SPECIALIZED_TO_OOBE].contains(&state))
            && self.in_progress == Some(1)
            && self.setup_type.is_some_and(|t| t != 0)
            && self.command_line.as_deref().is_some_and(|c| c.to_ascii_lowercase().contains("windeploy"))
    }

    /// Whether it is sealed and generalized: specialize comes at its next start.
    pub fn is_generalized(&self) -> bool {
        self.is_sealed()
            && self.image_state.as_deref().is_some_and(|state| state.starts_with("IMAGE_STATE_GENERALIZE_"))
    }

    /// Whether setup has begun and not ended, in an image that is not sealed.
    pub fn is_half_way(&self) -> bool {
        !self.is_sealed()
            && (self.in_progress.is_some_and(|v| v != 0)
                || self.setup_type.is_some_and(|v| v != 0)
                || self.command_line.as_deref().is_some_and(|c| !c.is_empty())
                // Where Sysprep began and did not end, that is what the image is in the middle of.
                || (self.image_state.as_deref() == Some("IMAGE_STATE_UNDEPLOYABLE")
                    && self.generalization_state != Some(HALF_GENERALIZED)))
    }
}

/// What an installation says of itself. Whatever the hives do not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Edition and build.
    pub product: Product,
    /// Computer name.
    pub computer_name: Option<String>,
    /// DNS host name; it may be longer.
    pub host_name: Option<String>,
    /// The SID in `SAM\Domains\Account\V`.
    #[serde(serialize_with = "as_text")]
    pub machine_sid: Option<DomainSid>,
    /// The SID in `PolAcDmS`.
    #[serde(serialize_with = "as_text")]
    pub policy_sid: Option<DomainSid>,
    /// When the account domain was made, UTC.
    pub sam_created: Option<String>,
    /// Domain or workgroup.
    pub domain: Option<String>,
    /// SID of the joined domain; none in a workgroup.
    pub domain_sid: Option<String>,
    /// Joined to Entra ID (Azure AD).
    pub entra_joined: bool,
    /// Local accounts.
    pub users: Vec<User>,
    /// Letter that Windows gives its own volume, with a colon: from `SystemRoot`.
    pub system_drive: Option<String>,
    /// Profile SIDs and folders.
    pub profiles: Vec<Profile>,
    /// Setup state.
    pub setup: SetupState,
    /// Names of the control sets, the current one first.
    pub control_sets: Vec<String>,
    /// Roles that do not bear generalizing.
    pub roles: Vec<String>,
    /// Servicing that waits for a boot.
    pub pending_servicing: Vec<String>,
    /// Renames that wait for a boot: a warning only.
    pub pending_renames: usize,
}

/// An entry of `ProfileList`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Key name.
    pub sid: String,
    /// `ProfileImagePath`.
    pub path: String,
}

fn as_text<S: serde::Serializer>(sid: &Option<DomainSid>, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_some(&sid.map(|sid| sid.to_string()))
}

impl Facts {
    /// Reads the facts from the hives; an absent hive or key leaves its facts absent, a damaged one is an error.
    pub(crate) fn read(hives: &HiveSet) -> Result<Facts> {
        let mut facts = Facts::default();
        for file in &hives.files {
            let hive = &file.hive;
            match file.machine {
                Some(MachineHive::System) => facts.read_system(hive).within(&file.path)?,
                Some(MachineHive::Software) => facts.read_software(hive).within(&file.path)?,
                Some(MachineHive::Sam) => facts.read_sam(hive).within(&file.path)?,
                Some(MachineHive::Security) => facts.read_security(hive).within(&file.path)?,
                None => {}
            }
        }
        Ok(facts)
    }

    fn read_sam(&mut self, hive: &Hive) -> reseal_dtyp::Result<()> {
        self.machine_sid = Some(sam::machine_sid(hive)?);
        self.sam_created = Some(sam::created(hive)?.to_iso());
        self.users = sam::users(hive)?;
        Ok(())
    }

    fn read_security(&mut self, hive: &Hive) -> reseal_dtyp::Result<()> {
        self.policy_sid = lsa::account_domain_sid(hive)?;
        self.domain = Some(lsa::name(hive, "PolPrDmN")?).filter(|name| !name.is_empty());
        self.domain_sid = lsa::primary_domain_sid(hive)?.map(|sid| sid.to_string());
        Ok(())
    }

    fn read_software(&mut self, hive: &Hive) -> reseal_dtyp::Result<()> {
        let current = r"Microsoft\Windows NT\CurrentVersion";
        let build = text(hive, current, "CurrentBuild")?.or(text(hive, current, "CurrentBuildNumber")?);
        let revision = number(hive, current, "UBR")?.map(|ubr| format!(".{ubr}")).unwrap_or_default();
        let root = text(hive, current, "SystemRoot")?;
        self.system_drive = root.and_then(|root| root.get(..2).filter(|d| d.ends_with(':')).map(str::to_owned));
        self.product.name = text(hive, current, "ProductName")?;
        self.product.edition = text(hive, current, "EditionID")?;
        self.product.build = build.map(|b| b + &revision);
        self.product.version = text(hive, current, "DisplayVersion")?.or(text(hive, current, "ReleaseId")?);
        self.setup.image_state = text(hive, r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState")?;
        if let Some(list) = hive.key(&format!(r"{current}\ProfileList"))? {
            for key in hive.subkeys(list)? {
                let path = hive.value(key, "ProfileImagePath")?.and_then(|v| v.as_text()).unwrap_or_default();
                self.profiles.push(Profile { sid: reseal_dtyp::utf16_lossy(&hive.name(key)?), path });
            }
        }
        let servicing = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";
        for pending in ["RebootPending", "PackagesPending"] {
            if hive.key(&format!(r"{servicing}\{pending}"))?.is_some() {
                self.pending_servicing.push(format!(r"SOFTWARE\{servicing}\{pending}"));
            }
        }
        Ok(())
    }

    fn read_system(&mut self, hive: &Hive) -> reseal_dtyp::Result<()> {
        self.control_sets = control_sets(hive)?;
        self.setup.in_progress = number(hive, "Setup", "SystemSetupInProgress")?;
        self.setup.setup_type = number(hive, "Setup", "SetupType")?;
        self.setup.command_line = text(hive, "Setup", "CmdLine")?;
        self.setup.generalization_state = number(hive, r"Setup\Status\SysprepStatus", "GeneralizationState")?;
        if let Some(key) = hive.key(r"Setup\SetupCl\PendingRequest")? {
            self.setup.pending_request = hive.values(key)?.len();
        }
        let Some(set) = self.control_sets.first().cloned() else { return Ok(()) };
        let control = format!(r"{set}\Control");
        self.computer_name = text(hive, &format!(r"{control}\ComputerName\ComputerName"), "ComputerName")?;
        self.host_name = text(hive, &format!(r"{set}\Services\Tcpip\Parameters"), "Hostname")?;
        self.product.product_type = text(hive, &format!(r"{control}\ProductOptions"), "ProductType")?;
        let manager = format!(r"{control}\Session Manager");
        let architecture = text(hive, &format!(r"{manager}\Environment"), "PROCESSOR_ARCHITECTURE")?;
        self.product.architecture = architecture.map(|a| a.to_ascii_lowercase());
        if let Some(join) = hive.key(&format!(r"{control}\CloudDomainJoin\JoinInfo"))? {
            self.entra_joined = !hive.subkeys(join)?.is_empty();
        }
        self.roles = crate::guards::installed_roles(hive, &set)?;
        self.read_session_manager(hive, &manager)
    }

    fn read_session_manager(&mut self, hive: &Hive, manager: &str) -> reseal_dtyp::Result<()> {
        let Some(key) = hive.key(manager)? else { return Ok(()) };
        let lines = |name: &str| -> reseal_dtyp::Result<Vec<String>> {
            Ok(hive.value(key, name)?.and_then(|v| v.as_multi_text()).unwrap_or_default())
        };
        for name in ["SETUPEXECUTE", "SetupExecutePending"] {
            if lines(name)?.iter().any(|line| line.to_ascii_lowercase().contains("poqexec")) {
                self.pending_servicing.push(format!(r"SYSTEM\{manager} {name}"));
            }
        }
        self.pending_renames = lines("PendingFileRenameOperations")?.iter().filter(|line| !line.is_empty()).count();
        Ok(())
    }

    /// Whether a domain account can sign in: the machine is a member or a controller of a domain.
    pub fn is_domain_member(&self) -> bool {
        self.domain_sid.is_some()
    }

    /// Whether it is a server of any kind.
    pub fn is_server(&self) -> bool {
        self.product.product_type.as_deref().is_some_and(|t| !t.eq_ignore_ascii_case("WinNT"))
    }

    /// Whether it is a domain controller.
    pub fn is_domain_controller(&self) -> bool {
        self.product.product_type.as_deref().is_some_and(|t| t.eq_ignore_ascii_case("LanmanNT"))
    }
}

/// Control sets, the current one first, then by number.
pub(crate) fn control_sets(hive: &Hive) -> reseal_dtyp::Result<Vec<String>> {
    let current = number(hive, "Select", "Current")?.map(|n| format!("ControlSet{n:03}"));
    let mut names: Vec<String> = Vec::new();
    for key in hive.subkeys(hive.root())? {
        let name = reseal_dtyp::utf16_lossy(&hive.name(key)?);
        let digits = name.get(10..).unwrap_or_default();
        if name.get(..10).is_some_and(|p| p.eq_ignore_ascii_case("ControlSet"))
            && digits.len() == 3
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            names.push(name);
        }
    }
    names.sort_by_key(|name| (current.as_ref().is_none_or(|c| !c.eq_ignore_ascii_case(name)), name.clone()));
    Ok(names)
}

fn value(hive: &Hive, path: &str, name: &str) -> reseal_dtyp::Result<Option<Value>> {
    hive.key(path)?.map_or(Ok(None), |key| hive.value(key, name))
}

/// A string value, when it is there and is text.
pub(crate) fn text(hive: &Hive, path: &str, name: &str) -> reseal_dtyp::Result<Option<String>> {
    Ok(value(hive, path, name)?.and_then(|v| v.as_text()))
}

/// A DWORD value, when it is there.
pub(crate) fn number(hive: &Hive, path: &str, name: &str) -> reseal_dtyp::Result<Option<u32>> {
    Ok(value(hive, path, name)?.and_then(|v| v.as_u32()))
}
