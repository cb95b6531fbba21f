//! Store packages: those that make Sysprep fail, and those without which nobody can sign in.

use super::look::{Looked, Notices, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::Software;
use crate::steps::Evidence;
use std::collections::BTreeSet;

const GROUP: &str = "apps";
pub(crate) const STORE: &str = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "store-apps",
        title: "Store packages are registered for a user and not provisioned",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "AppxSysprep.dll SysprepGeneralizeValidate: error 0x80073cf2",
        evidence: Evidence::Unverified,
        remedy: "sealing does not fail for them; to be rid of them give `--remove-user-appx`, or run in Windows \
                 `Get-AppxPackage -AllUsers NAME | Remove-AppxPackage -AllUsers`",
        look: Look::With(user_packages),
    },
    Check {
        id: "system-packages",
        title: "system packages of 24H2 and later are missing",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: run as SYSTEM, black screen at the first sign-in",
        evidence: Evidence::Confirmed,
        remedy: "in Windows repair them: `DISM /Online /Cleanup-Image /RestoreHealth`, or build the image anew",
        look: Look::With(system_packages),
    },
];

/// Name and publisher of a full name `Name_Version_Architecture_Resource_Publisher`, in small letters.
pub(crate) fn family(full: &str) -> Option<String> {
    let mut parts = full.split('_');
    let (name, publisher) = (parts.next()?, parts.next_back()?);
    // A family itself has two parts only; bundles have five, with `~` as their resource.
    (!name.is_empty() && !publisher.is_empty()).then(|| format!("{name}_{publisher}").to_ascii_lowercase())
}

/// Packages that others bring along; they stay whatever becomes of those.
const FRAMEWORKS: &[&str] = &[
    "microsoft.vclibs.",
    "microsoft.net.native.",
    "microsoft.ui.xaml.",
    "microsoft.windowsappruntime.",
    "microsoft.winappruntime.",
    "microsoft.services.store.engagement",
    "microsoft.directxruntime",
];

/// Packages of Windows itself, without which a new user meets a black screen on 24H2 and later.
const SYSTEM: [&str; 3] = ["MicrosoftWindows.Client.CBS", "Microsoft.UI.Xaml.CBS", "MicrosoftWindows.Client.Core"];

/// Keys of the store that list what everybody gets.
pub(crate) const PROVISIONED: [&str; 2] = ["Applications", "InboxApplications"];

/// Whether a key of the store is a user's. S-1-5-18 holds what is staged for everybody.
pub(crate) fn is_user(name: &str) -> bool {
    name.to_ascii_uppercase().starts_with("S-1-") && !name.eq_ignore_ascii_case("S-1-5-18")
}

/// Whether a package, by its full name, is one user's only, and none that others or Windows need.
pub(crate) fn is_alone(full: &str, provisioned: &BTreeSet<String>) -> bool {
    let is_system =
        |family: &str| SYSTEM.iter().any(|name| family.starts_with(&format!("{}_", name.to_ascii_lowercase())));
    let is_needed = |family: &str| FRAMEWORKS.iter().any(|start| family.starts_with(start)) || is_system(family);
    family(full).is_some_and(|family| !provisioned.contains(&family) && !is_needed(&family))
}

/// Families below these keys of the store.
fn families(subject: &Subject<'_>, lists: &[&str]) -> Looked<BTreeSet<String>> {
    let mut out = BTreeSet::new();
    for list in lists {
        let names = subject.subkeys(Software, &format!(r"{STORE}\{list}"))?;
        out.extend(names.iter().filter_map(|name| family(name)));
    }
    Ok(out)
}

fn user_packages(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let provisioned = families(subject, &PROVISIONED)?;
    for user in subject.subkeys(Software, STORE)? {
        let leaves = |sid: &reseal_dtyp::Sid| {
            sid.domain() == subject.facts.machine_sid && sid.rid().is_some_and(|rid| subject.leaving.has(rid))
        };
        if !is_user(&user) || user.parse().is_ok_and(|sid| leaves(&sid)) {
            continue;
        }
        let key = format!(r"{STORE}\{user}");
        let own = subject.subkeys(Software, &key)?;
        let own = own.iter().filter(|name| is_alone(name, &provisioned)).filter_map(|name| family(name));
        let own: BTreeSet<String> = own.collect();
        let alone: Vec<&str> = own.iter().map(String::as_str).collect();
        if !alone.is_empty() {
            let list = shortened(&alone);
            out.add(format!(r"SOFTWARE\{key}"), format!("{} packages are this user's only: {list}", alone.len()));
        }
    }
    Ok(())
}

/// A list for people: what is beyond twelve is counted.
fn shortened(list: &[&str]) -> String {
    let more = list.len().saturating_sub(12);
    let shown = list[..list.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown}, and {more} more") }
}

fn system_packages(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    if subject.build()? < 26100 || subject.facts.is_server() {
        return Ok(());
    }
    let present = families(subject, &["Applications", "InboxApplications", "Staged", "S-1-5-18"])?;
    for name in SYSTEM {
        let start = format!("{}_", name.to_ascii_lowercase());
        if !present.iter().any(|family| family.starts_with(&start)) {
            let detail = format!("{name} is neither staged nor provisioned: a new user meets a black screen");
            out.add(format!(r"SOFTWARE\{STORE}"), detail);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_of_full_names() {
        let name = family("Microsoft.WindowsCalculator_11.2405.2.0_x64__8wekyb3d8bbwe");
        assert_eq!(name.as_deref(), Some("microsoft.windowscalculator_8wekyb3d8bbwe"));
        assert_eq!(family("A.B_1.0_neutral_~_pub").as_deref(), Some("a.b_pub"));
        assert_eq!(family("alone"), None);
        assert_eq!(family("_"), None);
        assert_eq!(shortened(&["a"; 14]).matches('a').count(), 12 + 1);
    }
}
