//! What must hold in a sealed image, or it does not boot, nobody can sign in, or it is half sealed. Checked before and after
//! staging: what was broken before is a finding, what staging broke stops the run.

use crate::error::Result;
use crate::hives::HiveSet;
use crate::scope::MachineHive;
use crate::tree::Tree;
use crate::{facts, lsa, sam};
use reseal_dtyp::{DomainSid, Finding, Level, Sid};
use reseal_hive::Hive;
use std::collections::BTreeSet;

/// Every invariant that does not hold.
pub(crate) fn broken(hives: &HiveSet, tree: &dyn Tree) -> Result<Vec<Finding>> {
    let mut out = Vec::new();
    let hive = |which| hives.machine(which).map(|file| &file.hive);
    let machine = match hive(MachineHive::Sam) {
        Some(sam) => Some(accounts(sam, hive(MachineHive::Security), &mut out)?),
        None => None,
    };
    if let (Some(software), Some(machine)) = (hive(MachineHive::Software), machine) {
        profiles(software, tree, machine, &mut out)?;
    }
    if let Some(system) = hive(MachineHive::System) {
        setup(system, &mut out)?;
        control_sets(system, &mut out)?;
    }
    Ok(out)
}

fn add(out: &mut Vec<Finding>, id: &'static str, place: impl Into<String>, detail: impl Into<String>) {
    out.push(Finding::new(Level::Damage, id, place, detail));
}

/// The policy's SID, the account domain's and every user's own are one.
fn accounts(sam: &Hive, security: Option<&Hive>, out: &mut Vec<Finding>) -> Result<DomainSid> {
    let machine = sam::machine_sid(sam)?;
    let policy = security.map_or(Ok(None), lsa::account_domain_sid)?;
    if policy.is_some_and(|policy| policy != machine) {
        add(out, "sid-disagrees", r"SECURITY\Policy\PolAcDmS", "it is not the SID of the account domain in SAM");
    }
    for sid in sam::user_sids(sam)? {
        if sid.domain() != Some(machine) {
            let rid = sid.rid().unwrap_or_default();
            add(
                out,
                "sid-disagrees",
                format!(r"SAM\Domains\Account\Users\{rid:08X}"),
                "the user's own SID is of another machine",
            );
        }
    }
    alias_members(sam, machine, out)?;
    Ok(machine)
}

/// Every group member that is a machine account has its twin under `Aliases\Members`.
fn alias_members(sam: &Hive, machine: DomainSid, out: &mut Vec<Finding>) -> Result<()> {
    let mut listed: BTreeSet<u32> = BTreeSet::new();
    for domain in ["Builtin", "Account"] {
        let Some(aliases) = sam.key(&format!(r"SAM\Domains\{domain}\Aliases"))? else { continue };
        for alias in sam.subkeys(aliases)? {
            let Some(c) = sam.value(alias, "C")? else { continue };
            for at in memchr::memmem::find_iter(&c.data, &machine.pattern()) {
                if let Some(rid) = at.checked_sub(2).and_then(|start| Sid::read(&c.data[start..]).ok()?.rid()) {
                    listed.insert(rid);
                }
            }
        }
    }
    let mut twins = BTreeSet::new();
    for domain in ["Builtin", "Account"] {
        if let Some(members) = sam.key(&format!(r"SAM\Domains\{domain}\Aliases\Members\{machine}"))? {
            for key in sam.subkeys(members)? {
                twins.extend(u32::from_str_radix(&reseal_dtyp::utf16_lossy(&sam.name(key)?), 16));
            }
        }
    }
    for rid in listed.symmetric_difference(&twins) {
        add(
            out,
            "alias-twin-missing",
            r"SAM\Domains\*\Aliases",
            format!("account {rid}: a group lists it and Members does not, or the reverse"),
        );
    }
    Ok(())
}

/// A profile's key name, its `Sid` value and its folder agree, for accounts of this machine.
fn profiles(software: &Hive, tree: &dyn Tree, machine: DomainSid, out: &mut Vec<Finding>) -> Result<()> {
    let path = r"Microsoft\Windows NT\CurrentVersion\ProfileList";
    let Some(list) = software.key(path)? else { return Ok(()) };
    for key in software.subkeys(list)? {
        let name = reseal_dtyp::utf16_lossy(&software.name(key)?);
        let sid: Option<Sid> = name.parse().ok();
        if sid.as_ref().and_then(Sid::domain) != Some(machine) {
            continue;
        }
        let account = sid.and_then(|sid| sid.rid()).unwrap_or_default();
        let place = format!(r"SOFTWARE\{path} account {account}");
        let stored = software.value(key, "Sid")?.and_then(|v| Sid::read_exact(&v.data).ok());
        if stored.is_some_and(|stored| stored.to_string() != name) {
            add(out, "profile-sid-disagrees", &place, "the key's name is not its value Sid");
        }
        let folder = software.value(key, "ProfileImagePath")?.and_then(|v| v.as_text()).unwrap_or_default();
        // Only a path on Windows' own volume can be looked up here.
        if let Some(below) = folder.strip_prefix("C:").or_else(|| folder.strip_prefix("%SystemDrive%"))
            && tree.resolve(tree.root(), below)?.is_none()
        {
            add(
                out,
                "profile-folder-missing",
                &place,
                format!("the folder {folder} does not exist: setup would restart for ever"),
            );
        }
    }
    Ok(())
}

/// `SYSTEM\Setup` has what the kernel demands (bug check 0x9A without it).
fn setup(system: &Hive, out: &mut Vec<Finding>) -> Result<()> {
    for name in ["SetupType", "SystemSetupInProgress"] {
        if facts::number(system, "Setup", name)?.is_none() {
            add(out, "setup-value-missing", r"SYSTEM\Setup", format!("{name} is missing: Windows stops with 0x9A"));
        }
    }
    Ok(())
}

/// The current control set exists, and the boot key's four class names are in it.
fn control_sets(system: &Hive, out: &mut Vec<Finding>) -> Result<()> {
    let sets = facts::control_sets(system)?;
    let current = facts::number(system, "Select", "Current")?.map(|n| format!("ControlSet{n:03}"));
    match (&current, sets.first()) {
        (Some(current), Some(first)) if current.eq_ignore_ascii_case(first) => {}
        _ => add(
            out,
            "control-set-missing",
            r"SYSTEM\Select",
            format!("the current control set {current:?} does not exist"),
        ),
    }
    Ok(())
}

/// A place with its bytes.
type Kept = (String, Vec<u8>);
/// Places with their bytes.
pub(crate) type Untouchable = Vec<Kept>;

/// Whether all is as it was. A machine that leaves its domain starts Netlogon on demand (3) and no longer by itself (2), as one
/// in a workgroup does; nothing else may differ.
pub(crate) fn is_untouched(before: &Untouchable, after: &Untouchable, leaves_domain: bool) -> bool {
    let is_netlogon =
        |path: &str| path.rsplit_once('\\').is_some_and(|(_, name)| name.eq_ignore_ascii_case("Netlogon"));
    let same = |(was, is): (&Kept, &Kept)| {
        was == is || leaves_domain && was.0 == is.0 && is_netlogon(&was.0) && was.1 == AUTOMATIC && is.1 == ON_DEMAND
    };
    before.len() == after.len() && before.iter().zip(after).all(same)
}

/// `Start` of a service that starts by itself, and of one that starts when it is asked for.
pub(crate) const AUTOMATIC: [u8; 4] = 2u32.to_le_bytes();
pub(crate) const ON_DEMAND: [u8; 4] = 3u32.to_le_bytes();

/// What must be the same before and after: the boot key (four class names per control set) and the start of services that
/// run during setup. One byte of the boot key, and neither SAM nor LSA can be read.
pub(crate) fn untouchable(hives: &HiveSet) -> Result<Untouchable> {
    let mut out = Vec::new();
    let Some(system) = hives.machine(MachineHive::System).map(|file| &file.hive) else { return Ok(out) };
    for set in facts::control_sets(system)? {
        for part in ["JD", "Skew1", "GBG", "Data"] {
            let path = format!(r"{set}\Control\Lsa\{part}");
            if let Some(key) = system.key(&path)? {
                let class = system.class_name(key)?.unwrap_or_default();
                out.push((path, class.iter().flat_map(|u| u.to_le_bytes()).collect()));
            }
        }
        let Some(services) = system.key(&format!(r"{set}\Services"))? else { continue };
        for service in system.subkeys(services)? {
            if let Some(start) = system.value(service, "Start")? {
                out.push((format!(r"{set}\Services\{}", reseal_dtyp::utf16_lossy(&system.name(service)?)), start.data));
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_netlogon_and_only_from_two_to_three() {
        let at = |name: &str, start: u32| -> Untouchable {
            vec![(format!(r"ControlSet001\Services\{name}"), start.to_le_bytes().to_vec())]
        };
        assert!(is_untouched(&at("Netlogon", 2), &at("Netlogon", 3), true));
        assert!(is_untouched(&at("Tcpip", 0), &at("Tcpip", 0), true));
        for (before, after, leaves) in [
            (at("Netlogon", 2), at("Netlogon", 3), false),
            (at("Netlogon", 2), at("Netlogon", 4), true),
            (at("Netlogon", 4), at("Netlogon", 3), true),
            (at("Tcpip", 2), at("Tcpip", 3), true),
            (at("Netlogon", 2), at("Netlogon2", 3), true),
            (at("Netlogon", 2), Vec::new(), true),
        ] {
            assert!(!is_untouched(&before, &after, leaves), "{before:?} {after:?}");
        }
    }
}
