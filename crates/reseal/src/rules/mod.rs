//! Rules: changes that need no code, only a verb and a place. Steps that are tables, the agents' data, a user's own file and
//! the declarative nodes of the image's recipe all come down to them.
//!
//! A place may have `*` and `?` in any of its parts, and is looked for among what exists: a rule creates nothing, and what
//! is not there is no change. No junction or other reparse point is followed.

mod data;
mod files;
pub(crate) mod place;
pub(crate) mod recipe;
mod registry;

use crate::error::Result;
use crate::session::Session;
use reseal_dtyp::Level;
use serde::Serialize;
use std::fmt;

pub use data::{DataRule, RuleFile};

use place::{FilePlace, KeyPlace};

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action<'a> {
    /// A key goes, with all below it.
    DeleteKey(&'a str),
    /// The values and subkeys of a key go, the key stays.
    ClearKey(&'a str),
    /// The subkeys of a key go, its values stay.
    ClearSubkeys(&'a str),
    /// A value of a key goes.
    DeleteValue(&'a str, &'a str),
    /// A value that exists becomes empty: no text, no lines, or no bytes. Its type stays.
    BlankValue(&'a str, &'a str),
    /// A DWORD that exists is set.
    SetDword(&'a str, &'a str, u32),
    /// A DWORD of a key that exists is set, and made when it does not exist: what the image's recipe asks for.
    PutDword(&'a str, &'a str, u32),
    /// A text that exists is set.
    SetText(&'a str, &'a str, &'a str),
    /// A file goes.
    DeleteFile(&'a str),
    /// A folder goes, with all in it.
    DeleteFolder(&'a str),
    /// What is in a folder goes, the folder stays.
    ClearFolder(&'a str),
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::DeleteKey(key) => write!(f, "delete the key {key}"),
            Action::ClearKey(key) => write!(f, "empty the key {key}"),
            Action::ClearSubkeys(key) => write!(f, "delete the subkeys of {key}"),
            Action::DeleteValue(key, name) => write!(f, "delete the value {key} → {name}"),
            Action::BlankValue(key, name) => write!(f, "empty the value {key} → {name}"),
            Action::SetDword(key, name, number) | Action::PutDword(key, name, number) => {
                write!(f, "set the value {key} → {name} to {number}")
            }
            Action::SetText(key, name, text) => write!(f, "set the value {key} → {name} to \"{text}\""),
            Action::DeleteFile(path) => write!(f, "delete the file {path}"),
            Action::DeleteFolder(path) => write!(f, "delete the folder {path}"),
            Action::ClearFolder(path) => write!(f, "empty the folder {path}"),
        }
    }
}

impl Action<'_> {
    /// The place, as written.
    pub fn place(&self) -> &str {
        match self {
            Action::DeleteKey(place)
            | Action::ClearKey(place)
            | Action::ClearSubkeys(place)
            | Action::DeleteValue(place, _)
            | Action::BlankValue(place, _)
            | Action::SetDword(place, ..)
            | Action::PutDword(place, ..)
            | Action::SetText(place, ..)
            | Action::DeleteFile(place)
            | Action::DeleteFolder(place)
            | Action::ClearFolder(place) => place,
        }
    }

    /// Whether the place can be understood. `Usage` with the reason otherwise.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Action::DeleteFile(path) | Action::DeleteFolder(path) | Action::ClearFolder(path) => {
                FilePlace::parse(path).map(drop)
            }
            _ => KeyPlace::parse(self.place()).map(drop),
        }
    }
}

/// Stages rules for a step.
pub(crate) fn run(session: &mut Session<'_>, actions: &[Action<'_>]) -> Result<()> {
    session.in_rule = true;
    let done = actions.iter().try_for_each(|action| match *action {
        Action::DeleteFile(_) | Action::DeleteFolder(_) | Action::ClearFolder(_) => files::run(session, action),
        _ => registry::run(session, action),
    });
    session.in_rule = false;
    done
}

/// Stages rules that are data, and tells whose data was found.
pub(crate) fn run_data(session: &mut Session<'_>, file: &RuleFile) -> Result<Option<String>> {
    let mut found = Vec::new();
    for rule in &file.rules {
        let before = session.changes.len();
        let mut present = false;
        for place in &rule.found {
            present |= files::exists(session.tree, place)?;
        }
        run(session, &rule.actions())?;
        if present || session.changes.len() > before {
            found.push(rule.title.as_str());
            if !rule.note.is_empty() {
                session.find(Level::Note, "agent-note", &rule.title, rule.note.as_str());
            }
        }
    }
    Ok(match found.as_slice() {
        [] => Some(format!("none of {} was found", file.rules.len())),
        _ => Some(format!("found: {}", found.join(", "))),
    })
}
