use super::{Evidence, Spec, Step, Use, accounts};
use crate::Action::{BlankValue, ClearFolder, ClearKey, DeleteKey, DeleteValue};
use crate::MachineHive::{Sam, Security, System};
use crate::error::{Error, Kind, Result};
use crate::invariants::{AUTOMATIC, ON_DEMAND};
use crate::scope::Scope;
use crate::session::Session;
use crate::{lsa, rules};
use reseal_dtyp::{DomainSid, Level, Sid};

/// Makes a member of a domain a machine in a workgroup.
pub(super) struct LeaveDomain;

/// Its id, which `--leave-domain` asks for.
pub(crate) const ID: &str = "leave-domain";

const TCPIP: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";

static SPEC: Spec = Spec {
    id: ID,
    title: "Leave the domain",
    about: "With --leave-domain, puts the machine into a workgroup: the LSA policy has the form that Windows gives to one in a \
            workgroup, the password of the machine account and those of managed service accounts go, accounts of the domain leave \
            the local groups, the DNS suffix and what group policy has kept of the domain go, and Netlogon starts on demand. \
            The step machine-sid puts a SID that nobody has in place of the domain's, wherever it stands: who joins the domain \
            again gives rights anew. What policy has written stays, and so do profiles of domain users, which are listed, and \
            the key of cached logons. The domain is not told: its computer account stays there.",
    phase: "identity",
    mirrors: &["spopk.dll!Sysprep_Generalize_Opk"],
    evidence: Evidence::Inferred,
    unproven: "that a machine which has left its domain offline joins one again without more",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[
        Scope::Key(Security, "Policy"),
        Scope::Key(Sam, r"SAM\Domains"),
        Scope::Key(System, r"{CCS}\Services\Netlogon"),
        Scope::Rules,
    ],
    actions: &[
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\$MACHINE.ACC"),
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\_SC_GMSA_*"),
        BlankValue(TCPIP, "Domain"),
        BlankValue(TCPIP, "NV Domain"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Group Policy\DataStore"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Group Policy\History"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Group Policy\State"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Group Policy\Status"),
        ClearFolder(r"%System32%\GroupPolicy\DataStore"),
        ClearFolder(r"%ProgramData%\Microsoft\Group Policy\History"),
        DeleteValue(r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon", "DefaultDomainName"),
    ],
};

impl Step for LeaveDomain {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let domain = match &session.facts.domain_sid {
            None => None,
            Some(_) if !session.options.leave_domain => {
                return Ok(Some("a member of a domain leaves it with --leave-domain only".to_owned()));
            }
            Some(_) if session.facts.is_domain_controller() => {
                return Err(Error::new(Kind::Refused, "a domain controller cannot leave its domain")
                    .hint("demote it first: `Uninstall-ADDSDomainController`; nothing was written"));
            }
            Some(sid) => Some(sid.parse::<Sid>()?),
        };
        let workgroup = session.options.workgroup.clone().or(domain.as_ref().map(|_| "WORKGROUP".to_owned()));
        if let Some(name) = workgroup {
            // Names of NetBIOS are upper case.
            session.set_existing(Security, r"Policy\PolPrDmN", "", &lsa::name_value(&name.to_uppercase()))?;
        }
        rules::run(session, SPEC.actions)?;
        let Some(domain) = domain else {
            return Ok(Some("the machine is in no domain".to_owned()));
        };
        let domain = domain.domain().filter(|_| domain.subs().len() == 4).ok_or_else(|| {
            Error::new(Kind::Damaged, format!(r"SECURITY\Policy\PolPrDmS holds {domain}, which is no SID of a domain"))
        })?;
        policy(session)?;
        for (group, sid) in accounts::members(session, |sid| sid.domain() == Some(domain))? {
            let place = format!("local group {group}");
            session.find(Level::Note, "domain-account", &place, format!("{sid} of the domain is a member no longer"));
        }
        accounts::leave_groups(session, domain, |_, _| true)?;
        for set in session.facts.control_sets.clone() {
            let key = format!(r"{set}\Services\Netlogon");
            if session.value(System, &key, "Start")?.is_some_and(|v| v.data == AUTOMATIC) {
                session.set_existing(System, &key, "Start", &ON_DEMAND)?;
            }
        }
        what_stays(session, domain);
        Ok(None)
    }
}

/// The policy of a machine in a workgroup, byte for byte as measured: keys and values stay, with nothing in them, and the
/// domain's GUID is zero.
fn policy(session: &mut Session<'_>) -> Result<()> {
    for name in ["PolPrDmS", "PolDnDDN", "PolDnTrN", "PolMachineAccountR", "PolMachineAccountS"] {
        session.set_existing(Security, &format!(r"Policy\{name}"), "", &[])?;
    }
    let guid = r"Policy\PolDnDmG";
    match session.value(Security, guid, "")?.map(|v| v.data.len()) {
        None => Ok(()),
        Some(16) => session.set_existing(Security, guid, "", &[0; 16]).map(drop),
        Some(len) => Err(Error::new(Kind::Damaged, format!("a GUID was expected, {len} bytes are there"))
            .subject(format!(r"SECURITY\{guid}"))),
    }
}

/// Who loses a profile.
fn what_stays(session: &mut Session<'_>, domain: DomainSid) {
    for profile in &session.facts.profiles {
        if profile.sid.parse().is_ok_and(|sid: Sid| sid.domain() == Some(domain)) {
            let detail = format!("the profile {} of a domain user stays; nobody can sign in to it", profile.path);
            session.findings.push(reseal_dtyp::Finding::new(Level::Note, "domain-profile", &profile.sid, detail));
        }
    }
}
