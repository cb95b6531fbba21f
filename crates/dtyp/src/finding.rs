//! What a check reports. Findings are not errors: one damaged cell does not hide nine others.

use std::fmt;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Normal on a live Windows, worth knowing; counts only under `--strict`.
    Note,
    /// Two structures disagree; nothing is lost.
    Inconsistent,
    /// Data is lost or unreachable, or Windows would refuse the structure.
    Damage,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Note => "note",
            Level::Inconsistent => "inconsistent",
            Level::Damage => "damage",
        })
    }
}

/// One fact that a check found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Its weight.
    pub level: Level,
    /// A stable kebab-case id of the rule that was broken, such as `index-unsorted`.
    pub id: &'static str,
    /// Where: structure and offset, record number or path, in the field's words.
    pub place: String,
    /// What is wrong, with the numbers.
    pub detail: String,
}

impl Finding {
    /// A finding of the given weight.
    pub fn new(level: Level, id: &'static str, place: impl Into<String>, detail: impl Into<String>) -> Self {
        Finding { level, id, place: place.into(), detail: detail.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {} [{}]", self.level, self.place, self.detail, self.id)
    }
}
