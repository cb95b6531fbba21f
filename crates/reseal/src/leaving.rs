//! Which local users go: those that `--remove-user` names, and with `--keep-user` all but those that it names.

use crate::Facts;
use crate::error::{Error, Kind, Result};
use crate::options::Options;
use crate::sam::User;

/// Accounts from here on are those that people have made; below are Administrator, Guest, DefaultAccount and their like.
const FIRST_ORDINARY: u32 = 1000;

/// Users that go, and names of whom nobody is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub(crate) users: Vec<User>,
    pub(crate) absent: Vec<String>,
}

impl Leaving {
    pub(crate) fn has(&self, rid: u32) -> bool {
        self.users.iter().any(|user| user.rid == rid)
    }
}

fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

fn usage(detail: String, hint: String) -> Error {
    Error::new(Kind::Usage, detail).hint(hint)
}

/// Who leaves. `Usage` for a name that nobody has, for one that is built in, and for one that is to be kept and removed. In an
/// image that is sealed already, a user who is to be removed and is not there was removed then.
pub(crate) fn users(options: &Options, facts: &Facts) -> Result<Leaving> {
    let Options { remove_users, keep_users, .. } = options;
    let mut out = Leaving::default();
    let find = |name: &String| facts.users.iter().find(|user| same(&user.name, name));
    let names: Vec<&str> = facts.users.iter().map(|user| user.name.as_str()).collect();
    let unknown = |name: &String| {
        usage(format!("there is no local user `{name}`"), format!("the local users are: {}", names.join(", ")))
    };
    if let Some(both) = remove_users.iter().find(|name| keep_users.iter().any(|keep| same(keep, name))) {
        return Err(usage(format!("`{both}` is to be kept and to be removed"), "name it once".to_owned()));
    }
    if let Some(name) = keep_users.iter().find(|name| find(name).is_none()) {
        return Err(unknown(name));
    }
    for name in remove_users {
        match find(name) {
            Some(user) if user.rid < FIRST_ORDINARY => {
                let detail = format!("`{}` is a built-in account, which cannot be removed", user.name);
                return Err(usage(detail, "Windows disables what is not used; leave it".to_owned()));
            }
            Some(user) if !out.has(user.rid) => out.users.push(user.clone()),
            Some(_) => {}
            None if facts.setup.is_sealed() => out.absent.push(name.clone()),
            None => return Err(unknown(name)),
        }
    }
    if !keep_users.is_empty() {
        let is_kept = |user: &User| keep_users.iter().any(|name| same(name, &user.name));
        let ordinary = facts.users.iter().filter(|user| user.rid >= FIRST_ORDINARY && user.enabled && !is_kept(user));
        let more: Vec<User> = ordinary.filter(|user| !out.has(user.rid)).cloned().collect();
        out.users.extend(more);
    }
    out.users.sort_by_key(|user| user.rid);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(sealed: bool) -> Facts {
        let user = |rid, name: &str, enabled| User {
            rid,
            name: name.to_owned(),
            enabled,
            has_password: true,
            administrator: false,
        };
        let mut facts = Facts {
            users: vec![
                user(500, "Administrator", true),
                user(504, "WDAGUtilityAccount", true),
                user(1001, "Ann", true),
                user(1002, "bob", true),
                user(1003, "off", false),
            ],
            ..Facts::default()
        };
        if sealed {
            facts.setup.image_state = Some(crate::facts::GENERALIZED_TO_OOBE.to_owned());
            facts.setup.in_progress = Some(1);
            facts.setup.setup_type = Some(2);
            facts.setup.command_line = Some(r"oobe\windeploy.exe".to_owned());
        }
        facts
    }

    fn of(remove: &[&str], keep: &[&str], sealed: bool) -> Result<Vec<u32>> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let options = Options { remove_users: list(remove), keep_users: list(keep), ..Options::default() };
        users(&options, &facts(sealed)).map(|leaving| leaving.users.iter().map(|user| user.rid).collect())
    }

    #[test]
    fn who_leaves() {
        assert!(of(&[], &[], false).unwrap().is_empty());
        assert_eq!(of(&["BOB", "ann", "bob"], &[], false).unwrap(), [1001, 1002]);
        // A user who is disabled goes only by name, and who is built in never.
        assert_eq!(of(&[], &["ann"], false).unwrap(), [1002]);
        assert_eq!(of(&["off"], &["ann"], false).unwrap(), [1002, 1003]);
        assert_eq!(of(&[], &["Administrator"], false).unwrap(), [1001, 1002]);
        assert!(of(&["gone"], &[], true).unwrap().is_empty());
        for (remove, keep, sealed) in [
            (&["gone"][..], &[][..], false),
            (&[], &["gone"], true),
            (&["administrator"], &[], false),
            (&["WDAGUtilityAccount"], &[], true),
            (&["ann"], &["ANN"], false),
        ] {
            assert_eq!(of(remove, keep, sealed).unwrap_err().kind(), Kind::Usage, "{remove:?} {keep:?}");
        }
    }
}
