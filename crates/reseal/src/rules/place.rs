//! Places as Windows' tools write them: `HKLM\SYSTEM\CurrentControlSet\…`, `%ProgramData%\…`.

use crate::error::{Error, Kind, Result};
use crate::scope::MachineHive;

/// The hives that a key place begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// A hive of the machine.
    Machine(MachineHive),
    /// Every control set of SYSTEM.
    ControlSets,
    /// NTUSER.DAT of every user, and of the default profile.
    Users,
    /// UsrClass.dat of every user.
    UserClasses,
    /// The hive of the system's own account.
    SystemAccount,
    /// NTUSER.DAT of a service account: LocalService or NetworkService.
    Service(&'static str),
}

/// Where keys lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPlace {
    pub(crate) root: Root,
    /// Key names, with wildcards.
    pub(crate) names: Vec<String>,
}

/// Roots, longest first where one begins another. Without regard to case.
const ROOTS: &[(&str, Root)] = &[
    (r"HKLM\SYSTEM\CurrentControlSet", Root::ControlSets),
    (r"HKLM\SYSTEM", Root::Machine(MachineHive::System)),
    (r"HKLM\SOFTWARE", Root::Machine(MachineHive::Software)),
    (r"HKLM\SAM", Root::Machine(MachineHive::Sam)),
    (r"HKLM\SECURITY", Root::Machine(MachineHive::Security)),
    (r"HKCU\Software\Classes", Root::UserClasses),
    ("HKCU", Root::Users),
    (r"HKU\.DEFAULT", Root::SystemAccount),
    (r"HKU\S-1-5-18", Root::SystemAccount),
    (r"HKU\S-1-5-19", Root::Service("LocalService")),
    (r"HKU\S-1-5-20", Root::Service("NetworkService")),
];

/// Long names of the first part.
const LONG: &[(&str, &str)] = &[
    ("HKEY_LOCAL_MACHINE", "HKLM"),
    ("HKEY_CURRENT_USER", "HKCU"),
    ("HKEY_USERS", "HKU"),
    ("HKEY_CLASSES_ROOT", r"HKLM\SOFTWARE\Classes"),
    ("HKCR", r"HKLM\SOFTWARE\Classes"),
];

fn unknown(text: &str, known: &str) -> Error {
    Error::new(Kind::Usage, format!("the place `{text}` cannot be understood")).hint(known.to_owned())
}

/// What follows a beginning, when it ends at a part of the path.
fn after<'t>(text: &'t str, start: &str) -> Option<&'t str> {
    let head = text.get(..start.len())?;
    let rest = &text[start.len()..];
    (head.eq_ignore_ascii_case(start) && (rest.is_empty() || rest.starts_with('\\'))).then_some(rest)
}

fn parts(text: &str) -> Vec<String> {
    text.split('\\').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

impl KeyPlace {
    pub(crate) fn parse(text: &str) -> Result<KeyPlace> {
        let long = LONG.iter().find_map(|(long, short)| after(text, long).map(|rest| format!("{short}{rest}")));
        let text = long.as_deref().unwrap_or(text);
        ROOTS
            .iter()
            .find_map(|(start, root)| after(text, start).map(|rest| KeyPlace { root: *root, names: parts(rest) }))
            .ok_or_else(|| {
                let known = r"a key begins with HKLM\SYSTEM, HKLM\SOFTWARE, HKLM\SAM, HKLM\SECURITY, HKCU, HKU\.DEFAULT or HKCR";
                unknown(text, known)
            })
    }
}

/// Where files lie: parts of a path from the volume's root, with wildcards. One `*` stands for the folder of each user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePlace {
    pub(crate) names: Vec<String>,
}

/// Beginnings and what they stand for on the Windows volume.
const FOLDERS: &[(&str, &str)] = &[
    ("%SystemRoot%", "Windows"),
    ("%WinDir%", "Windows"),
    ("%System32%", r"Windows\System32"),
    ("%ProgramData%", "ProgramData"),
    ("%AllUsersProfile%", "ProgramData"),
    ("%ProgramFiles(x86)%", "Program Files (x86)"),
    ("%ProgramFiles%", "Program Files"),
    ("%UserProfile%", r"Users\*"),
    ("%AppData%", r"Users\*\AppData\Roaming"),
    ("%LocalAppData%", r"Users\*\AppData\Local"),
    ("%SystemDrive%", ""),
    ("$(runtime.windows)", "Windows"),
    ("$(runtime.system32)", r"Windows\System32"),
    ("$(runtime.programData)", "ProgramData"),
    ("$(runtime.programFiles)", "Program Files"),
    ("$(runtime.systemDrive)", ""),
];

impl FilePlace {
    pub(crate) fn parse(text: &str) -> Result<FilePlace> {
        let path = FOLDERS
            .iter()
            .find_map(|(start, folder)| after(text, start).map(|rest| format!("{folder}{rest}")))
            .or_else(|| text.starts_with('\\').then(|| text.to_owned()));
        let known = r"a file begins with \, %SystemDrive%, %SystemRoot%, %ProgramData%, %ProgramFiles%, %UserProfile%, %AppData% or %LocalAppData%";
        let names = parts(&path.ok_or_else(|| unknown(text, known))?);
        if names.is_empty() || names.iter().any(|name| name == "." || name == ".." || name.contains([':', '/', '%'])) {
            return Err(unknown(text, known));
        }
        Ok(FilePlace { names })
    }
}

/// Whether a name fits a pattern with `*` and `?`, without regard to the case of ASCII letters.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (p, n): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the last `*` was, and how much it stood for: greedy matching needs to go back to no other.
    let (mut at, mut i, mut star) = (0, 0, None);
    while i < n.len() {
        match p.get(at) {
            Some('*') => {
                star = Some((at, i));
                at += 1;
            }
            Some(c) if *c == '?' || c.eq_ignore_ascii_case(&n[i]) => (at, i) = (at + 1, i + 1),
            _ => match star {
                None => return false,
                Some((back, from)) => {
                    star = Some((back, from + 1));
                    (at, i) = (back + 1, from + 1);
                }
            },
        }
    }
    p[at..].iter().all(|c| *c == '*')
}

/// Whether a pattern has wildcards.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let place = |text| KeyPlace::parse(text).unwrap();
        assert_eq!(place(r"HKLM\SYSTEM\CurrentControlSet\Services\TPM").root, Root::ControlSets);
        assert_eq!(place(r"HKEY_LOCAL_MACHINE\System\Setup").root, Root::Machine(MachineHive::System));
        assert_eq!(place(r"HKCU\Software\Classes\x").root, Root::UserClasses);
        assert_eq!(place(r"HKCU\Software\Classes2").root, Root::Users);
        assert_eq!(place(r"HKCR\CID\*").names, ["Classes", "CID", "*"]);
        assert_eq!(place(r"hku\.default\Software").root, Root::SystemAccount);
        for bad in ["", "SYSTEM", r"HKLM\BCD00000000", r"HKLM\SYSTEMX\a", r"HKU\S-1-5-21-1"] {
            assert_eq!(KeyPlace::parse(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn files() {
        let place = |text| FilePlace::parse(text).unwrap().names;
        assert_eq!(place(r"%windir%\Temp"), ["Windows", "Temp"]);
        assert_eq!(place(r"%LocalAppData%\Temp\*"), ["Users", "*", "AppData", "Local", "Temp", "*"]);
        assert_eq!(place(r"%ProgramFiles(x86)%\A"), ["Program Files (x86)", "A"]);
        assert_eq!(place(r"\pagefile.sys"), ["pagefile.sys"]);
        for bad in ["", r"\", "%SystemDrive%", r"C:\Windows", r"%TEMP%\x", r"%WINDIR%\..\x", r"\a\b:stream", "x"] {
            assert_eq!(FilePlace::parse(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, name) in
            [("*", ""), ("a*c", "abbbC"), ("*.log", "x.log.LOG"), ("f??", "Fab"), ("a*b*c", "a1b2b3c")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("a", "ab"), ("?", ""), ("a*c", "ab"), ("*.log", "log"), ("a*b*c", "acb")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }
}
