//! What steps that take accounts away share: local groups list a member twice, in `C` of the group and below `Members`.

use crate::MachineHive::Sam;
use crate::error::{Error, Kind, Result, Within};
use crate::sam_edit;
use crate::session::Session;
use reseal_dtyp::{DomainSid, Sid};

/// The two account domains of a machine.
pub(super) const DOMAINS: [&str; 2] = ["Builtin", "Account"];

fn aliases(domain: &str) -> String {
    format!(r"SAM\Domains\{domain}\Aliases")
}

/// Keys below one that are named by a RID.
pub(super) fn rid_keys(session: &Session<'_>, key: &str) -> Result<Vec<(u32, String)>> {
    let names = session.subkey_names(Sam, key)?.into_iter();
    let rid = |name: &str| (name.len() == 8).then(|| u32::from_str_radix(name, 16).ok()).flatten();
    Ok(names.filter_map(|name| Some((rid(&name)?, format!(r"{key}\{name}")))).collect())
}

/// Takes accounts of a domain out of local groups, both where the groups list them and where they list their groups. `goes` is
/// asked with the group's RID, the account's RID.
pub(super) fn leave_groups(
    session: &mut Session<'_>,
    domain: DomainSid,
    goes: impl Fn(u32, u32) -> bool,
) -> Result<()> {
    for own in DOMAINS {
        for (group, key) in rid_keys(session, &aliases(own))? {
            let Some(c) = session.value(Sam, &key, "C")? else { continue };
            let is_gone = |sid: &Sid| sid.domain() == Some(domain) && sid.rid().is_some_and(|rid| goes(group, rid));
            if let Some(new) = sam_edit::alias_without(&c.data, is_gone).within(&key)? {
                session.set(Sam, &key, "C", c.ty, &new)?;
            }
        }
        let members = format!(r"{}\Members\{domain}", aliases(own));
        for (rid, key) in rid_keys(session, &members)? {
            let list = session.value(Sam, &key, "")?;
            let list = list.ok_or_else(|| Error::new(Kind::Damaged, format!("{key} lists no groups")))?;
            match sam_edit::twin_without(list.ty, &list.data, |group| goes(group, rid)).within(&key)? {
                None => {}
                Some((0, _)) => {
                    session.delete_key(Sam, &key)?;
                    count_down(session, &members)?;
                }
                Some((count, groups)) => session.set(Sam, &key, "", count, &groups)?,
            }
        }
        // The key of a domain of which nobody is left tells of that domain only. `Members` itself counts something else
        // (measured: 1 with two and three keys) and stays as it is.
        let is_empty =
            session.hive(Sam).map(|hive| hive.key(&members)).transpose().within(&members)?.flatten().is_some()
                && session.subkey_names(Sam, &members)?.is_empty();
        if is_empty {
            session.delete_key(Sam, &members)?;
        }
    }
    Ok(())
}

/// A counter that is the type of a key's unnamed value goes down by one, never below zero: it may be lower than what it counts
/// (measured), so it is not counted anew.
pub(super) fn count_down(session: &mut Session<'_>, key: &str) -> Result<()> {
    match session.value(Sam, key, "")? {
        Some(counter) => session.set(Sam, key, "", counter.ty.saturating_sub(1), &counter.data),
        None => Ok(()),
    }
}

/// The members of local groups that `is_meant` names, with the groups' RIDs.
pub(super) fn members(session: &Session<'_>, is_meant: impl Fn(&Sid) -> bool) -> Result<Vec<(u32, Sid)>> {
    let mut out = Vec::new();
    for own in DOMAINS {
        for (group, key) in rid_keys(session, &aliases(own))? {
            let Some(c) = session.value(Sam, &key, "C")? else { continue };
            let all = sam_edit::alias_members(&c.data).within(&key)?;
            out.extend(all.into_iter().filter(&is_meant).map(|sid| (group, sid)));
        }
    }
    Ok(out)
}
