//! What a plan consists of: changes with before and after, and the outcome of each step.

use serde::Serialize;

/// What is changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Target {
    /// A registry value.
    Value {
        /// Hive file, from the volume's root.
        hive: String,
        /// Key path below the hive's root.
        key: String,
        /// Value name; empty for the default value.
        name: String,
    },
    /// A registry key.
    Key {
        /// Hive file.
        hive: String,
        /// Key path.
        key: String,
    },
    /// All SIDs of a hive.
    HiveSids {
        /// Hive file.
        hive: String,
    },
    /// All security descriptors of the volume.
    Descriptors {
        /// What holds them.
        place: String,
    },
    /// A folder with all in it.
    Folder {
        /// Path from the volume's root.
        path: String,
    },
    /// Bytes that belong to nothing and are zeroed; those of `$LogFile` become 0xFF.
    Unused {
        /// Where: of the volume, or of a hive.
        place: String,
    },
    /// The header by which Windows finds the shadow copies of the volume.
    ShadowHeader {
        /// Byte offset on the volume.
        offset: u64,
    },
    /// A file, or a folder without what is in it.
    File {
        /// Path from the volume's root.
        path: String,
    },
}

impl Target {
    /// A file by its path from the volume's root, written with a leading backslash.
    pub(crate) fn file(path: &str) -> Target {
        Target::File { path: format!(r"\{}", path.trim_start_matches('\\')) }
    }

    /// A folder, likewise.
    pub(crate) fn folder(path: &str) -> Target {
        Target::Folder { path: format!(r"\{}", path.trim_start_matches('\\')) }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Value { hive, key, name } if name.is_empty() => write!(f, "{hive}: {key} (default)"),
            Target::Value { hive, key, name } => write!(f, "{hive}: {key} → {name}"),
            Target::Key { hive, key } => write!(f, "{hive}: {key}"),
            Target::HiveSids { hive } => write!(f, "{hive}: machine SIDs"),
            Target::Descriptors { place } => write!(f, "{place}: security descriptors"),
            Target::Folder { path } => write!(f, r"{path}\…"),
            Target::Unused { place } => f.write_str(place),
            Target::ShadowHeader { offset } => write!(f, "shadow copy header at {offset:#x} of the volume"),
            Target::File { path } => f.write_str(path),
        }
    }
}

/// One change. Secrets show as length and digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Id of the step that makes it.
    pub step: &'static str,
    /// What is changed.
    pub target: Target,
    /// Before; `None` where there was nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// After; `None` where nothing is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepOutcome {
    /// Its id.
    pub id: &'static str,
    /// How many changes it planned.
    pub changes: usize,
    /// Why it planned none, where there is a reason to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// confirmed, inferred or unverified.
    pub evidence: crate::Evidence,
}
