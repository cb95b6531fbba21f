//! Rules as data: the agents that reseal knows, and a user's own file.

use super::Action;
use super::place::FilePlace;
use crate::error::{Error, Kind, Result};
use serde::Deserialize;
use std::path::Path;

/// A file of rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// The rules, in their order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<DataRule>,
}

/// What goes together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DataRule {
    /// Stable id, in small letters with hyphens.
    pub id: String,
    /// Whose data it is.
    pub title: String,
    /// Files or folders that show that it is there; the rule applies without them, too.
    pub found: Vec<String>,
    /// What the user should know when it is there.
    pub note: String,
    delete_key: Vec<String>,
    clear_key: Vec<String>,
    clear_subkeys: Vec<String>,
    delete_value: Vec<(String, String)>,
    blank_value: Vec<(String, String)>,
    set_dword: Vec<(String, String, u32)>,
    set_text: Vec<(String, String, String)>,
    delete_file: Vec<String>,
    delete_folder: Vec<String>,
    clear_folder: Vec<String>,
}

impl RuleFile {
    /// Reads a file of rules. `Io` when it cannot be read, else as [`RuleFile::parse`].
    pub fn load(path: &Path) -> Result<RuleFile> {
        let name = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|e| Error::new(Kind::Io, format!("cannot read {name}: {e}")))?;
        RuleFile::parse(&text).map_err(|e| e.subject(name.to_string()))
    }

    /// Reads rules in TOML and checks every place. `Usage`, with line or rule, when they cannot be understood.
    pub fn parse(text: &str) -> Result<RuleFile> {
        let file: RuleFile = toml::from_str(text)
            .map_err(|e| Error::new(Kind::Usage, format!("the rules cannot be read: {}", e.to_string().trim_end())))?;
        for (i, rule) in file.rules.iter().enumerate() {
            rule.check().map_err(|e| e.subject(format!("rule {} `{}`", i + 1, rule.id)))?;
        }
        Ok(file)
    }
}

impl DataRule {
    fn check(&self) -> Result<()> {
        let plain =
            |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !plain(&self.id) {
            return Err(Error::new(Kind::Usage, "an id has small letters, digits and hyphens"));
        }
        let actions = self.actions();
        if actions.is_empty() && self.note.is_empty() {
            return Err(Error::new(Kind::Usage, "the rule does nothing and says nothing"));
        }
        self.found.iter().try_for_each(|place| FilePlace::parse(place).map(drop))?;
        actions.iter().try_for_each(Action::check)
    }

    /// What it does: keys and values first, then files.
    pub fn actions(&self) -> Vec<Action<'_>> {
        let mut out = Vec::new();
        out.extend(self.delete_value.iter().map(|(key, name)| Action::DeleteValue(key, name)));
        out.extend(self.blank_value.iter().map(|(key, name)| Action::BlankValue(key, name)));
        out.extend(self.set_dword.iter().map(|(key, name, number)| Action::SetDword(key, name, *number)));
        out.extend(self.set_text.iter().map(|(key, name, text)| Action::SetText(key, name, text)));
        out.extend(self.clear_subkeys.iter().map(|key| Action::ClearSubkeys(key)));
        out.extend(self.clear_key.iter().map(|key| Action::ClearKey(key)));
        out.extend(self.delete_key.iter().map(|key| Action::DeleteKey(key)));
        out.extend(self.delete_file.iter().map(|path| Action::DeleteFile(path)));
        out.extend(self.clear_folder.iter().map(|path| Action::ClearFolder(path)));
        out.extend(self.delete_folder.iter().map(|path| Action::DeleteFolder(path)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_file() {
        let text = "[[rule]]\nid = \"acme\"\ntitle = \"Acme agent\"\ndelete-value = [['HKLM\\SOFTWARE\\Acme', 'Id']]\n\
                    clear-folder = ['%ProgramData%\\Acme\\state']\n";
        let file = RuleFile::parse(text).unwrap();
        let expected =
            [Action::DeleteValue(r"HKLM\SOFTWARE\Acme", "Id"), Action::ClearFolder(r"%ProgramData%\Acme\state")];
        assert_eq!(file.rules[0].actions(), expected);
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        for (text, says) in [
            ("[[rule]]\nid = \"a\"\nremove-key = ['HKLM\\SOFTWARE\\a']", "remove-key"),
            ("[[rule]]\nid = \"a\"\ndelete-key = ['HKXX\\a']", "HKXX"),
            ("[[rule]]\nid = \"a\"\ndelete-file = ['C:\\a']", "C:"),
            ("[[rule]]\nid = \"A b\"\nnote = \"x\"", "small letters"),
            ("[[rule]]\nid = \"a\"", "does nothing"),
            ("[[rule]\n", "line 1"),
        ] {
            let error = RuleFile::parse(text).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(says), "{says}: {error}");
        }
    }
}
