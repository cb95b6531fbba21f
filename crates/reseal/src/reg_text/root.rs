//! Which key of `.reg` text stands for the root of a hive.

use crate::error::{Error, Kind, Result};
use reseal_hive::fold_name;

/// Where a hive hangs in a running Windows, by the name of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// Path of the key, from a predefined root key on.
    pub(crate) path: String,
    /// Whether it is a user's hive, which also hangs below `HKEY_USERS` under the user's SID.
    user: Option<&'static str>,
    /// Whether `CurrentControlSet` below it is a link that only a running Windows has.
    is_system: bool,
}

/// The predefined root keys that files hang below.
const PREDEFINED: [&str; 5] =
    ["HKEY_LOCAL_MACHINE", "HKEY_USERS", "HKEY_CURRENT_USER", "HKEY_CLASSES_ROOT", "HKEY_CURRENT_CONFIG"];

impl Root {
    /// The root of a hive whose file has this name; a name that Windows does not know hangs below `HKEY_LOCAL_MACHINE`, as
    /// `reg load` would place it.
    pub(crate) fn of_file(path: &str) -> Root {
        let name = path.rsplit(['\\', '/']).next().unwrap_or(path);
        let upper = name.to_uppercase();
        let (path, user) = match upper.as_str() {
            "SYSTEM" | "SOFTWARE" | "SAM" | "SECURITY" | "COMPONENTS" | "DRIVERS" => {
                (format!(r"HKEY_LOCAL_MACHINE\{upper}"), None)
            }
            "DEFAULT" => (r"HKEY_USERS\.DEFAULT".to_owned(), None),
            "BCD" => (r"HKEY_LOCAL_MACHINE\BCD00000000".to_owned(), None),
            "NTUSER.DAT" | "NTUSER.MAN" => ("HKEY_CURRENT_USER".to_owned(), Some("")),
            "USRCLASS.DAT" => (r"HKEY_CURRENT_USER\Software\Classes".to_owned(), Some("_CLASSES")),
            _ => (format!(r"HKEY_LOCAL_MACHINE\{name}"), None),
        };
        Root { path, user, is_system: upper == "SYSTEM" }
    }

    /// The key that the user gave; `Usage` when it does not start at a predefined root key.
    pub(crate) fn given(path: &str) -> Result<Root> {
        let path = path.trim_end_matches('\\');
        let first = path.split('\\').next().unwrap_or_default();
        if !PREDEFINED.contains(&first) || path.split('\\').any(str::is_empty) {
            return Err(Error::new(Kind::Usage, format!("`{path}` is no place for a hive's root"))
                .hint(r"write it from a predefined key on, as in HKEY_LOCAL_MACHINE\SYSTEM"));
        }
        Ok(Root { path: path.to_owned(), user: None, is_system: false })
    }

    /// The names below the hive's root of a key written in full; the reason when it belongs to another hive.
    pub(crate) fn below<'a>(&self, key: &'a [u16]) -> Result<Vec<&'a [u16]>, String> {
        // hivexregedit ends the name of a hive's root so; it leaves nothing open.
        let key = key.strip_suffix(&[u16::from(b'\\')]).unwrap_or(key);
        let parts: Vec<&[u16]> = key.split(|&unit| unit == u16::from(b'\\')).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err("a key name is empty".to_owned());
        }
        let own: Vec<Vec<u16>> = self.path.split('\\').map(folded).collect();
        let fits =
            |want: &[Vec<u16>]| parts.len() >= want.len() && want.iter().zip(&parts).all(|(w, p)| *w == fold_name(p));
        let rest = if fits(&own) {
            &parts[own.len()..]
        } else if self.is_users_key(&parts) {
            &parts[2..]
        } else {
            return Err(format!("the key belongs to another hive: this one's keys lie below {}", self.path));
        };
        if self.is_system && rest.first().is_some_and(|name| fold_name(name) == folded("CurrentControlSet")) {
            return Err("CurrentControlSet is a link that only a running Windows has: name ControlSet001 or another \
                        control set (`Select\\Current` says which)"
                .to_owned());
        }
        Ok(rest.to_vec())
    }

    /// `HKEY_USERS\SID` for a profile's first hive, `HKEY_USERS\SID_Classes` for its second.
    fn is_users_key(&self, parts: &[&[u16]]) -> bool {
        let Some(suffix) = self.user else { return false };
        let [first, second, ..] = parts else { return false };
        let name = fold_name(second);
        let is_classes = name.ends_with(&folded("_CLASSES"));
        fold_name(first) == folded("HKEY_USERS") && name.starts_with(&folded("S-1-")) && is_classes != suffix.is_empty()
    }
}

fn folded(text: &str) -> Vec<u16> {
    fold_name(&text.encode_utf16().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(file: &str, key: &str) -> Result<String, String> {
        let units: Vec<u16> = key.encode_utf16().collect();
        let parts = Root::of_file(file).below(&units)?;
        Ok(parts.iter().map(|p| String::from_utf16_lossy(p)).collect::<Vec<_>>().join("|"))
    }

    #[test]
    fn keys_and_hives() {
        assert_eq!(below(r"\Windows\System32\config\system", r"hkey_local_machine\System\Setup\x").unwrap(), "Setup|x");
        assert_eq!(below("SYSTEM", r"HKEY_LOCAL_MACHINE\SYSTEM").unwrap(), "");
        assert_eq!(below("SYSTEM", r"HKEY_LOCAL_MACHINE\SYSTEM\").unwrap(), "");
        assert!(below("SYSTEM", r"HKEY_LOCAL_MACHINE\SOFTWARE\x").unwrap_err().contains("another hive"));
        assert!(below("SYSTEM", r"HKEY_LOCAL_MACHINE\SYSTEM2").unwrap_err().contains("another hive"));
        assert!(below("SYSTEM", r"HKEY_LOCAL_MACHINE\SYSTEM\\x").unwrap_err().contains("empty"));
        assert!(
            below("SYSTEM", r"HKEY_LOCAL_MACHINE\SYSTEM\currentcontrolset\x").unwrap_err().contains("ControlSet001")
        );
        assert_eq!(below("NTUSER.DAT", r"HKEY_CURRENT_USER\Software").unwrap(), "Software");
        assert_eq!(below("ntuser.dat", r"HKEY_USERS\S-1-5-21-1-2-3-1000\Software").unwrap(), "Software");
        assert!(below("ntuser.dat", r"HKEY_USERS\S-1-5-21-1-2-3-1000_Classes\CLSID").is_err());
        assert_eq!(below("UsrClass.dat", r"HKEY_USERS\S-1-5-21-1-2-3-1000_Classes\CLSID").unwrap(), "CLSID");
        assert_eq!(below("DEFAULT", r"HKEY_USERS\.DEFAULT\Software").unwrap(), "Software");
        assert_eq!(below("ELAM", r"HKEY_LOCAL_MACHINE\ELAM\x").unwrap(), "x");
        assert!(Root::given(r"SYSTEM\x").is_err());
    }
}
