//! Profiles: registry and folders agree, and what a user loses with a new machine SID.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::error::{Result, Within};
use crate::scope::MachineHive::Software;
use crate::steps::Evidence;
use crate::tree::{Tree, TreeEntry};
use reseal_dtyp::{Guid, Sid};

const GROUP: &str = "profiles";
const LIST: &str = r"Microsoft\Windows NT\CurrentVersion\ProfileList";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "profile-without-folder",
        title: "a profile is registered and its folder is missing",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: deleted profile folders, the computer restarted unexpectedly",
        evidence: Evidence::Confirmed,
        remedy: "remove the profile in Windows: `Get-CimInstance Win32_UserProfile | Where SID -eq SID | Remove-CimInstance`",
        look: Look::With(without_folder),
    },
    Check {
        id: "folder-without-profile",
        title: "a folder of a user has no profile",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none",
        evidence: Evidence::Unverified,
        remedy: r"remove the folder in Windows: `rmdir /s C:\Users\NAME`; a user of that name would get NAME.COMPUTER",
        look: Look::With(without_profile),
    },
    Check {
        id: "user-secrets",
        title: "what local users lose with a new machine SID",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none: Sysprep's change of the SID has the same effect",
        evidence: Evidence::Confirmed,
        remedy: "have the users save what they need in Windows (`cipher /x`, export of browser passwords), or seal with `--sid keep`",
        look: Look::With(secrets),
    },
];

/// The path below Windows' own volume; `None` for another volume, or a variable that cannot be followed here.
fn below<'p>(path: &'p str, subject: &Subject<'_>) -> Option<&'p str> {
    let drive = subject.facts.system_drive.as_deref().unwrap_or("C:");
    let starts = |start: &str| path.get(..start.len()).is_some_and(|p| p.eq_ignore_ascii_case(start));
    [drive, "%SystemDrive%"].into_iter().find(|s| starts(s)).and_then(|s| path.get(s.len()..))
}

fn without_folder(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for sid in subject.subkeys(Software, LIST)? {
        let key = format!(r"{LIST}\{sid}");
        let Some(path) = subject.text(Software, &key, "ProfileImagePath")? else { continue };
        if let Some(folder) = below(&path, subject)
            && subject.node(folder)?.is_none()
        {
            let detail = format!("the folder {path} is missing: setup would restart for ever");
            out.inconsistent(format!(r"SOFTWARE\{key}"), detail);
        }
    }
    Ok(())
}

/// Folders below Users that belong to nobody.
pub(crate) const NOBODY: &[&str] = &["default", "default user", "public", "all users", "defaultapppool"];

fn homes(subject: &Subject<'_>) -> Looked<Vec<TreeEntry>> {
    let mut homes = subject.entries("Users")?;
    homes.retain(|e| e.is_dir && !e.is_reparse && !NOBODY.contains(&e.name_lossy().to_ascii_lowercase().as_str()));
    Ok(homes)
}

fn without_profile(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let homes = homes(subject)?;
    subject.hive(Software)?;
    let registered: Vec<String> = subject
        .facts
        .profiles
        .iter()
        .filter_map(|p| below(&p.path, subject))
        .map(|path| path.trim_matches('\\').to_ascii_lowercase())
        .collect();
    for home in homes {
        let path = format!(r"Users\{}", home.name_lossy());
        if !registered.contains(&path.to_ascii_lowercase()) {
            out.inconsistent(format!(r"\{path}"), "no profile names this folder");
        }
    }
    Ok(())
}

/// What hangs on a user's password and SID.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// DPAPI master keys.
    pub(crate) keys: usize,
    credentials: usize,
    vaults: usize,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "what {} DPAPI master keys protect: browser passwords and cookies, EFS and certificate keys, {} saved \
             credentials, {} vaults",
            self.keys, self.credentials, self.vaults
        )
    }
}

/// What a home, by its path from the volume's root, keeps of users whom `is_meant` names. Master keys are files named after a
/// GUID, below a folder named after the user's SID.
pub(crate) fn kept(tree: &dyn Tree, home: &str, is_meant: impl Fn(&Sid) -> bool) -> Result<Kept> {
    let entries = |path: &str| tree.entries_of(tree.root(), path).within(path);
    let protect = format!(r"{home}\AppData\Roaming\Microsoft\Protect");
    let mut out = Kept::default();
    for folder in entries(&protect)? {
        let name = folder.name_lossy();
        if folder.is_dir && !folder.is_reparse && name.parse().is_ok_and(|sid| is_meant(&sid)) {
            let files = entries(&format!(r"{protect}\{name}"))?;
            out.keys += files.iter().filter(|f| !f.is_dir && Guid::parse(&f.name_lossy()).is_some()).count();
        }
    }
    let count = |below: &str| -> Result<usize> {
        let roots = ["Local", "Roaming"].map(|root| format!(r"{home}\AppData\{root}\Microsoft\{below}"));
        Ok(entries(&roots[0])?.len() + entries(&roots[1])?.len())
    };
    (out.credentials, out.vaults) = (count("Credentials")?, count("Vault")?);
    Ok(out)
}

/// Keys of domain users hang on the domain's SID and stay; users who are removed lose everything, which is told there.
fn secrets(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(machine) = subject.facts.machine_sid else {
        return Err(Stop::Absent("the image has no machine SID".to_owned()));
    };
    let stays = |sid: &Sid| sid.domain() == Some(machine) && sid.rid().is_some_and(|rid| !subject.leaving.has(rid));
    for home in homes(subject)? {
        let path = format!(r"Users\{}", home.name_lossy());
        let kept = kept(subject.tree, &path, stays)?;
        if kept.keys > 0 {
            let place = format!(r"\{path}\AppData\Roaming\Microsoft\Protect");
            out.add(place, format!("{} loses {kept}", home.name_lossy()));
        }
    }
    Ok(())
}
