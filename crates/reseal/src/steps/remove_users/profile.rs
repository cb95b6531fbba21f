//! The profile: its keys, and its folder, when it is certain that it is the user's own.

use super::Leaver;
use crate::Action::{DeleteFolder, DeleteKey};
use crate::MachineHive::Software;
use crate::error::{Result, Within};
use crate::facts::Profile;
use crate::guards::profiles::{NOBODY, kept};
use crate::rules;
use crate::session::Session;
use crate::tree::{NodeId, TreeEntry};
use reseal_dtyp::Level;

/// One key for each profile that a server or a domain knows.
pub(super) const GUIDS: &str = r"Microsoft\Windows NT\CurrentVersion\ProfileGuid";
const LIST: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";

pub(super) fn remove(session: &mut Session<'_>, leaver: &Leaver<'_>) -> Result<()> {
    let sid = &leaver.text;
    for profile in profiles(session, sid) {
        match folder(session, &profile)? {
            Ok(None) => {}
            Ok(Some((path, node))) => {
                let lost = kept(session.tree, &path, |own| *own == leaver.sid)?;
                let detail = format!("{} is removed with the folder, and with {lost}", leaver.user.name);
                session.find(Level::Note, "user-removed", &path, detail);
                session.remove_folder(&path, node)?;
            }
            Err(why) => {
                let detail = format!("{why}: left; its owner {} is removed", leaver.user.name);
                session.find(Level::Inconsistent, "profile-folder-left", &profile.path, detail);
            }
        }
    }
    for guid in session.subkey_names(Software, GUIDS)?.into_iter().filter(|name| !name.contains('\\')) {
        let key = format!(r"{GUIDS}\{guid}");
        let owner = session.value(Software, &key, "SidString")?.and_then(|value| value.as_text());
        if owner.is_some_and(|owner| owner.eq_ignore_ascii_case(sid)) {
            session.delete_key(Software, &key)?;
        }
    }
    let keys = [format!(r"{LIST}\{sid}"), format!(r"{LIST}\{sid}.bak")];
    let bin = format!(r"\$Recycle.Bin\{sid}");
    rules::run(session, &[DeleteKey(&keys[0]), DeleteKey(&keys[1]), DeleteFolder(&bin)])
}

/// Whether a profile is of a user; Windows sets a broken one aside as `.bak`.
fn is_of(profile: &Profile, sid: &str) -> bool {
    let name = profile.sid.to_ascii_lowercase();
    name.strip_suffix(".bak").unwrap_or(&name) == sid.to_ascii_lowercase()
}

fn profiles(session: &Session<'_>, sid: &str) -> Vec<Profile> {
    let mut own: Vec<Profile> = session.facts.profiles.iter().filter(|p| is_of(p, sid)).cloned().collect();
    own.dedup_by(|a, b| a.path.eq_ignore_ascii_case(&b.path));
    own
}

/// The folder of a profile, when it is a real folder directly below `Users` that belongs to nobody else; or why it is not.
type Found = std::result::Result<Option<(String, NodeId)>, &'static str>;

fn folder(session: &Session<'_>, profile: &Profile) -> Result<Found> {
    let drive = session.facts.system_drive.as_deref().unwrap_or("C:");
    let path = &profile.path;
    let starts = |start: &&str| path.get(..start.len()).is_some_and(|p| p.eq_ignore_ascii_case(start));
    let below = [drive, "%SystemDrive%"].into_iter().find(starts).and_then(|start| path.get(start.len()..));
    let name = match below.map(|below| below.split('\\').collect::<Vec<_>>()).as_deref() {
        Some(["", users, name]) if users.eq_ignore_ascii_case("Users") && !name.is_empty() => (*name).to_owned(),
        _ => return Ok(Err("it does not lie directly below Users of this volume")),
    };
    let owner = profile.sid.get(..profile.sid.len().saturating_sub(4)).filter(|_| profile.sid.ends_with(".bak"));
    let owner = owner.unwrap_or(&profile.sid);
    let shares = |other: &Profile| {
        !is_of(other, owner) && other.path.to_lowercase().ends_with(&format!(r"\{name}").to_lowercase())
    };
    if session.facts.profiles.iter().any(shares) {
        return Ok(Err("another profile names the folder, too"));
    }
    let root = session.tree.root();
    let is_real = |entry: &&TreeEntry| entry.is_dir && !entry.is_reparse;
    let tops = session.tree.entries(root).within("root")?;
    let Some(users) = tops.iter().filter(is_real).find(|e| e.name_lossy().eq_ignore_ascii_case("Users")) else {
        return Ok(Ok(None));
    };
    let units: Vec<u16> = name.encode_utf16().collect();
    let Some(node) = session.tree.lookup(users.node, &units).within(path)? else { return Ok(Ok(None)) };
    let homes = session.tree.entries(users.node).within("Users")?;
    // By its long name: an 8.3 name may lead to a folder that is called otherwise.
    match homes.iter().filter(is_real).find(|entry| entry.node == node) {
        Some(home) if home.name_lossy().to_lowercase() != name.to_lowercase() => {
            Ok(Err("it is a folder of another name"))
        }
        Some(_) if NOBODY.contains(&name.to_lowercase().as_str()) => Ok(Err("it is a folder of Windows")),
        Some(home) => Ok(Ok(Some((format!(r"\Users\{}", home.name_lossy()), node)))),
        None => Ok(Err("it is no real folder")),
    }
}
