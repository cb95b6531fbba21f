use super::{Evidence, Spec, Step, Use, tasks};
use crate::Action::{ClearKey, ClearSubkeys, DeleteKey};
use crate::MachineHive::Software;
use crate::error::{Result, Within};
use crate::scope::Scope;
use crate::session::Session;
use crate::{certificate, rules};

/// Forgets the join to Entra ID and the enrolment in device management.
pub(super) struct LeaveEntra;

/// Its id, which `--leave-entra` asks for.
pub(crate) const ID: &str = "leave-entra";

/// The tasks of device management, one folder for each enrolment.
const TASKS: &str = r"\Microsoft\Windows\EnterpriseMgmt";
/// The machine's own certificates.
const CERTIFICATES: &str = r"Microsoft\SystemCertificates\MY\Certificates";
/// Who issues certificates to a joined or managed machine. Some carry a year in brackets behind the name.
const ISSUERS: [&str; 3] = ["MS-Organization-Access", "MS-Organization-P2P-Access", "Microsoft Intune MDM Device CA"];

static SPEC: Spec = Spec {
    id: ID,
    title: "Leave Entra ID and device management",
    about: "With --leave-entra, removes the join to Entra ID, enrolments in device management with what they have set and their \
            tasks, and the machine's certificates that Entra ID and Intune have issued. Their private keys and the users' own \
            registrations stay. The tenant is not told: the device stays there until somebody deletes it.",
    phase: "identity",
    evidence: Evidence::Unverified,
    unproven: "that the machine can be joined and enrolled anew without more",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[
        Scope::Key(Software, CERTIFICATES),
        Scope::Key(Software, tasks::CACHE),
        Scope::File(r"Windows\System32\Tasks\Microsoft\Windows\EnterpriseMgmt"),
        Scope::Rules,
    ],
    actions: &[
        ClearSubkeys(r"HKLM\SYSTEM\CurrentControlSet\Control\CloudDomainJoin\JoinInfo"),
        ClearSubkeys(r"HKLM\SYSTEM\CurrentControlSet\Control\CloudDomainJoin\TenantInfo"),
        // Every Windows has keys of other names there.
        DeleteKey(r"HKLM\SOFTWARE\Microsoft\Enrollments\*????????-????-????-????-????????????*"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Enrollments\Context"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Enrollments\Ownership"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\Enrollments\Status"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\EnterpriseResourceManager"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\PolicyManager\Providers"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\PolicyManager\current"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Provisioning\OMADM"),
    ],
    ..Spec::BASE
};

impl Step for LeaveEntra {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        if session.facts.entra_joined && !session.options.leave_entra {
            return Ok(Some("a machine that is joined leaves with --leave-entra only".to_owned()));
        }
        certificates(session)?;
        rules::run(session, SPEC.actions)?;
        for task in tasks::below(session, TASKS)? {
            tasks::remove(session, &task)?;
        }
        emptied_folders(session)?;
        Ok(None)
    }
}

/// Certificates that name the machine to the tenant. One that cannot be read could be one of them: an error.
fn certificates(session: &mut Session<'_>) -> Result<()> {
    for name in session.subkey_names(Software, CERTIFICATES)?.into_iter().filter(|name| !name.contains('\\')) {
        let key = format!(r"{CERTIFICATES}\{name}");
        let Some(blob) = session.value(Software, &key, "Blob")? else { continue };
        let issuers = certificate::issuers(&blob.data).within(&key).map_err(|e| e.subject("SOFTWARE"))?;
        if issuers.iter().any(|issuer| is_of_tenant(issuer)) {
            session.delete_key(Software, &key)?;
        }
    }
    Ok(())
}

fn is_of_tenant(issuer: &str) -> bool {
    let rest = |name: &&str| issuer.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" ["));
    ISSUERS.iter().any(rest)
}

/// Folders of enrolments, when no task is left in them.
fn emptied_folders(session: &mut Session<'_>) -> Result<()> {
    let list = format!(r"{}\Tree{TASKS}", tasks::CACHE);
    for name in session.subkey_names(Software, &list)?.into_iter().filter(|name| !name.contains('\\')) {
        let key = format!(r"{list}\{name}");
        if session.subkey_names(Software, &key)?.is_empty() && session.value(Software, &key, "Id")?.is_none() {
            session.delete_key(Software, &key)?;
        }
    }
    let path = format!(r"\{}{TASKS}", tasks::FOLDER);
    let root = session.tree.root();
    let mut empty = Vec::new();
    for entry in session.tree.entries_of(root, &path).within(&path)? {
        if entry.is_dir && !entry.is_reparse && session.tree.entries(entry.node).within(&path)?.is_empty() {
            empty.push((format!(r"{path}\{}", entry.name_lossy()), entry.node));
        }
    }
    empty.into_iter().try_for_each(|(path, node)| session.remove_folder(&path, node))
}

#[cfg(test)]
mod tests {
    use super::is_of_tenant;

    #[test]
    fn issuers_by_their_whole_name() {
        for name in ["MS-Organization-Access", "MS-Organization-P2P-Access [2024]", "Microsoft Intune MDM Device CA"] {
            assert!(is_of_tenant(name), "{name}");
        }
        for name in ["", "MS-Organization-Accessories", "ms-organization-access", "Contoso MS-Organization-Access"] {
            assert!(!is_of_tenant(name), "{name}");
        }
    }
}
