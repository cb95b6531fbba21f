//! Rules for keys and values.

use super::Action;
use super::place::{KeyPlace, Root, fits, is_pattern};
use crate::error::{Result, Within};
use crate::hives::{HiveAt, HiveSet};
use crate::session::Session;
use reseal_hive::{Hive, KeyId, Value};

const REG_DWORD: u32 = 4;

pub(super) fn run(session: &mut Session<'_>, action: &Action<'_>) -> Result<()> {
    let place = KeyPlace::parse(action.place())?;
    for at in hives(session, place.root) {
        let file = session.hives.at(at);
        let found = keys(&file.hive, session, &place).within(&file.path)?;
        for key in found {
            apply(session, at, &key, action)?;
        }
    }
    Ok(())
}

/// The hives that a place means, those that exist.
fn hives(session: &Session<'_>, root: Root) -> Vec<HiveAt> {
    let set: &HiveSet = session.hives;
    match root {
        Root::Machine(which) => set.position(which).into_iter().collect(),
        Root::ControlSets => set.position(crate::MachineHive::System).into_iter().collect(),
        Root::Users => set.where_path(|path| is_user(path) && path.ends_with(r"\ntuser.dat")),
        Root::UserClasses => set.where_path(|path| is_user(path) && path.ends_with(r"\usrclass.dat")),
        Root::SystemAccount => set.where_path(|path| {
            path == r"\windows\system32\config\default" || path == r"\windows\system32\config\systemprofile\ntuser.dat"
        }),
        Root::Service(name) => {
            let home = format!(r"\windows\serviceprofiles\{}\ntuser.dat", name.to_ascii_lowercase());
            set.where_path(|path| path == home)
        }
    }
}

/// Whether a hive, by its path in small letters, belongs to a user of this Windows or to the default profile.
fn is_user(path: &str) -> bool {
    path.starts_with(r"\users\")
}

/// Paths of the keys that exist and that a place means.
fn keys(hive: &Hive, session: &Session<'_>, place: &KeyPlace) -> reseal_dtyp::Result<Vec<String>> {
    let mut found: Vec<(String, KeyId)> = Vec::new();
    if place.root == Root::ControlSets {
        for set in &session.facts.control_sets {
            found.extend(hive.key(set)?.map(|id| (set.clone(), id)));
        }
    } else {
        found.push((String::new(), hive.root()));
    }
    for pattern in &place.names {
        let mut next = Vec::new();
        for (path, key) in &found {
            for (name, id) in subkeys(hive, *key, pattern)? {
                next.push((if path.is_empty() { name } else { format!(r"{path}\{name}") }, id));
            }
        }
        found = next;
    }
    Ok(found.into_iter().map(|(path, _)| path).collect())
}

/// The subkeys whose names fit.
fn subkeys(hive: &Hive, key: KeyId, pattern: &str) -> reseal_dtyp::Result<Vec<(String, KeyId)>> {
    if !is_pattern(pattern) {
        let units: Vec<u16> = pattern.encode_utf16().collect();
        return Ok(hive.subkey(key, &units)?.map(|id| (pattern.to_owned(), id)).into_iter().collect());
    }
    let mut out = Vec::new();
    for id in hive.subkeys(key)? {
        let name = hive.name(id)?;
        // A name that is no text cannot be written as a path; no rule is meant for it.
        if let Ok(name) = String::from_utf16(&name)
            && !name.contains('\\')
            && fits(pattern, &name)
        {
            out.push((name, id));
        }
    }
    Ok(out)
}

fn apply(session: &mut Session<'_>, at: HiveAt, key: &str, action: &Action<'_>) -> Result<()> {
    match *action {
        Action::DeleteKey(_) => session.delete_key(at, key).map(drop),
        Action::ClearKey(_) => {
            session.clear_values(at, key)?;
            clear_subkeys(session, at, key)
        }
        Action::ClearSubkeys(_) => clear_subkeys(session, at, key),
        Action::DeleteValue(_, pattern) => {
            for value in values(session, at, key, pattern)? {
                session.delete_value(at, key, &value.name_lossy())?;
            }
            Ok(())
        }
        Action::BlankValue(_, pattern) => {
            for value in values(session, at, key, pattern)? {
                session.set(at, key, &value.name_lossy(), value.ty, blank(value.ty))?;
            }
            Ok(())
        }
        Action::SetDword(_, name, number) => session.set_existing_u32(at, key, name, number).map(drop),
        Action::PutDword(_, name, number) => session.set(at, key, name, REG_DWORD, &number.to_le_bytes()),
        Action::SetText(_, name, text) => session.set_existing_text(at, key, name, text).map(drop),
        Action::DeleteFile(_) | Action::DeleteFolder(_) | Action::ClearFolder(_) => Ok(()),
    }
}

/// Data of an empty value of a type: REG_SZ and REG_EXPAND_SZ hold their end, REG_MULTI_SZ the end of the list.
fn blank(ty: u32) -> &'static [u8] {
    if matches!(ty, 1 | 2 | 7) { &[0, 0] } else { &[] }
}

fn clear_subkeys(session: &mut Session<'_>, at: HiveAt, key: &str) -> Result<()> {
    let file = session.hives.at(at);
    let read = || -> reseal_dtyp::Result<Vec<String>> {
        let Some(id) = file.hive.key(key)? else { return Ok(Vec::new()) };
        Ok(subkeys(&file.hive, id, "*")?.into_iter().map(|(name, _)| name).collect())
    };
    let names = read().within(&file.path)?;
    names.into_iter().try_for_each(|name| session.delete_key(at, &format!(r"{key}\{name}")).map(drop))
}

fn values(session: &Session<'_>, at: HiveAt, key: &str, pattern: &str) -> Result<Vec<Value>> {
    let file = session.hives.at(at);
    let read = || -> reseal_dtyp::Result<Vec<Value>> {
        let Some(id) = file.hive.key(key)? else { return Ok(Vec::new()) };
        let all = file.hive.values(id)?;
        Ok(all.into_iter().filter(|v| fits(pattern, &v.name_lossy())).collect())
    };
    read().within(&file.path)
}
