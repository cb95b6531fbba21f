//! The account itself: SAM and the LSA policy.

use super::super::accounts;
use super::Leaver;
use crate::MachineHive::{Sam, Security};
use crate::error::{Error, Kind, Result, Within};
use crate::sam_edit;
use crate::session::Session;
use reseal_dtyp::DomainSid;

const USERS: &str = r"SAM\Domains\Account\Users";

pub(super) fn remove(session: &mut Session<'_>, machine: DomainSid, leaver: &Leaver<'_>) -> Result<()> {
    let rid = leaver.user.rid;
    let name = name_key(session, leaver)?;
    accounts::leave_groups(session, machine, |_, account| account == rid)?;
    // `None`, which every local user is in.
    for (_, key) in accounts::rid_keys(session, r"SAM\Domains\Account\Groups")? {
        let Some(c) = session.value(Sam, &key, "C")? else { continue };
        if let Some(new) = sam_edit::group_without(&c.data, rid).within(&key)? {
            session.set(Sam, &key, "C", c.ty, &new)?;
        }
    }
    session.delete_key(Sam, &name)?;
    session.delete_key(Sam, &format!(r"{USERS}\{rid:08X}"))?;
    accounts::count_down(session, USERS)?;
    session.delete_key(Security, &format!(r"Policy\Accounts\{}", leaver.text)).map(drop)
}

/// The key of the name: its unnamed value has the RID as its type.
fn name_key(session: &Session<'_>, leaver: &Leaver<'_>) -> Result<String> {
    let mut found = Vec::new();
    for name in session.subkey_names(Sam, &format!(r"{USERS}\Names"))? {
        let key = format!(r"{USERS}\Names\{name}");
        if session.value(Sam, &key, "")?.is_some_and(|value| value.ty == leaver.user.rid) {
            found.push((name, key));
        }
    }
    match found.as_slice() {
        [(name, key)] if name.to_lowercase() == leaver.user.name.to_lowercase() => Ok(key.clone()),
        _ => {
            let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
            let user = &leaver.user;
            let detail = format!("the names of account {}, {}, are {names:?}", user.rid, user.name);
            Err(Error::new(Kind::Damaged, detail).subject(format!(r"{USERS}\Names")))
        }
    }
}
