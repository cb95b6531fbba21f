//! What a step may write. The engine refuses anything else.

use serde::Serialize;

/// The four hives that belong to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MachineHive {
    /// Control sets, Setup, mounted devices.
    System,
    /// Software settings.
    Software,
    /// Accounts.
    Sam,
    /// LSA policy and secrets.
    Security,
}

impl MachineHive {
    /// All four.
    pub const ALL: [MachineHive; 4] =
        [MachineHive::System, MachineHive::Software, MachineHive::Sam, MachineHive::Security];

    /// File name below `Windows\System32\config`.
    pub fn file_name(self) -> &'static str {
        match self {
            MachineHive::System => "SYSTEM",
            MachineHive::Software => "SOFTWARE",
            MachineHive::Sam => "SAM",
            MachineHive::Security => "SECURITY",
        }
    }
}

/// A part of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A key and what is below it. `{CCS}` stands for every control set.
    Key(MachineHive, &'static str),
    /// SIDs in every hive: values, names, keys, descriptors.
    SidsInHives,
    /// SIDs in every security descriptor and file name.
    SidsInVolume,
    /// The boot store, wherever on the disk it lies.
    BootStore,
    /// The computer's name in texts of every hive.
    OldName,
    /// SIDs in files that Windows reads as text, and in databases.
    SidsInFiles,
    /// A file, or a folder and what is below it, from the Windows volume's root.
    File(&'static str),
    /// What the rules of the step name, and nothing else.
    Rules,
    /// The header of the volume's shadow copies.
    ShadowHeader,
    /// Bytes that belong to nothing: free clusters, ends of clusters, records and cells, logs of what is written.
    Unused,
}

impl Scope {
    /// Whether a key path lies in this scope.
    pub(crate) fn covers_key(&self, hive: MachineHive, path: &str) -> bool {
        let Scope::Key(own, pattern) = self else { return false };
        let mut have = path.split('\\');
        *own == hive
            && pattern.split('\\').all(|want| {
                have.next().is_some_and(|name| match want {
                    "{CCS}" => name.len() == 13 && name[..10].eq_ignore_ascii_case("ControlSet"),
                    _ => name.eq_ignore_ascii_case(want),
                })
            })
    }

    /// Whether a file path lies in this scope.
    pub(crate) fn covers_file(&self, path: &str) -> bool {
        let Scope::File(pattern) = self else { return false };
        let mut have = path.split('\\').filter(|name| !name.is_empty());
        pattern.split('\\').all(|want| have.next().is_some_and(|name| name.eq_ignore_ascii_case(want)))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Scope::Key(hive, path) => write!(f, "{}\\{path}", hive.file_name()),
            Scope::SidsInHives => f.write_str("machine SIDs in every hive"),
            Scope::SidsInVolume => f.write_str("machine SIDs in every security descriptor and file name"),
            Scope::SidsInFiles => f.write_str("machine SIDs in tasks, policy files and Store databases"),
            Scope::OldName => f.write_str("the old computer name in texts of every hive"),
            Scope::BootStore => f.write_str("devices in the boot store"),
            Scope::File(path) => write!(f, "\\{path}"),
            Scope::ShadowHeader => f.write_str("shadow copy header of the volume"),
            Scope::Unused => f.write_str("bytes that belong to nothing"),
            Scope::Rules => f.write_str("what its rules name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_files() {
        let scope = Scope::Key(MachineHive::System, r"{CCS}\Services\Tcpip6\Parameters");
        assert!(scope.covers_key(MachineHive::System, r"ControlSet001\services\tcpip6\PARAMETERS"));
        assert!(scope.covers_key(MachineHive::System, r"ControlSet002\Services\Tcpip6\Parameters\Interfaces"));
        assert!(!scope.covers_key(MachineHive::Software, r"ControlSet001\Services\Tcpip6\Parameters"));
        assert!(!scope.covers_key(MachineHive::System, r"ControlSet001\Services\Tcpip6"));
        assert!(!scope.covers_key(MachineHive::System, r"Setup\Services\Tcpip6\Parameters"));
        assert!(Scope::File(r"Windows\Panther").covers_file(r"\windows\Panther\unattend.xml"));
        assert!(!Scope::File(r"Windows\Panther").covers_file(r"\Windows\Panther2"));
    }
}
