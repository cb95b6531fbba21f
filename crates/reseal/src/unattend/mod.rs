//! Answer files: read, checked, and completed with what the command line says.

mod compose;
mod lint;
mod rules;
pub(crate) mod xml;

pub(crate) use compose::{Wanted, compose};
pub use lint::{Complaint, Gravity, LintFor, lint_answer_file};
pub(crate) use lint::{lint, refuse_errors};

use crate::error::{Error, Kind, Result};
use xml::Element;

/// The namespace that setup looks for.
const NAMESPACE: &str = "urn:schemas-microsoft-com:unattend";
/// The component that names the computer and makes accounts.
const SHELL_SETUP: &str = "Microsoft-Windows-Shell-Setup";
/// The component that seals and runs commands.
const DEPLOYMENT: &str = "Microsoft-Windows-Deployment";
/// What setup writes in the place of a password that it has used.
const DELETED: &str = "*SENSITIVE*DATA*DELETED*";

/// An answer file that is well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerFile {
    text: String,
    root: Element,
}

impl AnswerFile {
    /// Reads a file. `Usage`, with the line, when it is no answer file.
    pub(crate) fn read(bytes: &[u8]) -> Result<AnswerFile> {
        let explained = |e: Error| {
            let detail = format!("the answer file cannot be read: {e}");
            Error::new(Kind::Usage, detail).hint("Windows would ignore it; correct it and run `reseal unattend FILE`")
        };
        let text = decode(bytes).map_err(explained)?;
        let root = xml::parse(&text).map_err(explained)?;
        let not = |what: String| Err(explained(Error::new(Kind::Usage, format!("line {}: {what}", root.line))));
        if root.name != "unattend" {
            return not(format!("<{}> is not the root of an answer file (<unattend>)", root.name));
        }
        if root.namespace != NAMESPACE {
            return not(format!("<unattend> is not in the namespace {NAMESPACE}"));
        }
        Ok(AnswerFile { text, root })
    }

    /// An answer file that says nothing.
    fn empty() -> Result<AnswerFile> {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<unattend xmlns=\"{NAMESPACE}\">\r\n</unattend>\r\n"
        );
        AnswerFile::read(text.as_bytes())
    }

    /// The `settings` of a pass.
    fn pass<'a>(&'a self, pass: &'a str) -> impl Iterator<Item = &'a Element> {
        self.root.all("settings").filter(move |settings| settings.attribute("pass") == Some(pass))
    }

    /// A component of a pass, for an architecture.
    fn component<'a>(&'a self, pass: &'a str, name: &str, architecture: &str) -> Option<&'a Element> {
        self.pass(pass).flat_map(|settings| settings.children.iter()).find(|component| {
            component.attribute("name").is_some_and(|have| have.eq_ignore_ascii_case(name))
                && component.attribute("processorArchitecture").is_some_and(|a| a.eq_ignore_ascii_case(architecture))
        })
    }

    /// The text of a setting; `None` when it is not there or empty.
    fn setting<'a>(&'a self, pass: &'a str, component: &str, path: &[&str], architecture: &str) -> Option<&'a str> {
        let element = self.component(pass, component, architecture)?.at(path)?;
        Some(element.text.as_str()).filter(|text| !text.is_empty())
    }

    /// The computer name that the offlineServicing pass gives: DISM would apply it to an image that is not running.
    pub(crate) fn offline_name(&self, architecture: &str) -> Option<&str> {
        self.setting("offlineServicing", SHELL_SETUP, &["ComputerName"], architecture).filter(|name| *name != "*")
    }

    /// A switch of the generalize pass.
    pub(crate) fn generalize_switch(&self, component: &str, name: &str, architecture: &str) -> Option<bool> {
        match self.setting("generalize", component, &[name], architecture)?.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        }
    }

    /// Whether it makes an account, or gives the administrator a password.
    pub(crate) fn makes_an_account(&self) -> bool {
        let mut makes = false;
        self.root.walk(&mut |element| {
            makes |= matches!(element.name.as_str(), "LocalAccount" | "DomainAccount" | "AdministratorPassword");
        });
        makes
    }
}

/// How many passwords stand in a file: elements whose name ends in Password, with text that setup has not deleted. The text
/// itself is never returned. A file that setup would not take counts, too; an error says why it cannot be read at all.
pub(crate) fn passwords(file: &[u8]) -> std::result::Result<usize, String> {
    let root = decode(file).and_then(|text| xml::parse(&text)).map_err(|e| format!("cannot be read: {e}"))?;
    let mut count = 0;
    root.walk(&mut |element| {
        if element.name.to_ascii_lowercase().ends_with("password") {
            let values = element.children.iter().filter(|c| c.name != "PlainText").map(|c| &c.text);
            let values = values.chain([&element.text]);
            count += values.filter(|text| !text.is_empty() && *text != DELETED).count();
        }
    });
    Ok(count)
}

/// Whether an answer file makes an account ([`AnswerFile::makes_an_account`]).
pub(crate) fn makes_an_account(file: Option<&[u8]>) -> bool {
    file.and_then(|bytes| AnswerFile::read(bytes).ok()).is_some_and(|file| file.makes_an_account())
}

/// Text of an XML file: UTF-8 or UTF-16 with a byte order mark. The result is UTF-8, whatever its declaration said.
pub(crate) fn decode(bytes: &[u8]) -> Result<String> {
    let bad = |what: &str| Error::new(Kind::Usage, format!("it is {what}"));
    if let Some(rest) = bytes.strip_prefix(&[0xff, 0xfe]) {
        let text = String::from_utf16(&reseal_dtyp::from_utf16le(rest)).map_err(|_| bad("not valid UTF-16"))?;
        return Ok(text.replacen("utf-16", "utf-8", 1).replacen("UTF-16", "utf-8", 1));
    }
    let rest = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    String::from_utf8(rest.to_vec()).map_err(|_| bad("neither UTF-8 nor UTF-16 with a byte order mark"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_counted_and_accounts_seen() {
        let file = |inner: &str| format!("<unattend xmlns=\"{NAMESPACE}\">{inner}</unattend>").into_bytes();
        let with = file(
            "<AdministratorPassword><Value>abc</Value><PlainText>true</PlainText></AdministratorPassword>
             <Password>x</Password><Password><Value>*SENSITIVE*DATA*DELETED*</Value></Password>",
        );
        assert_eq!((passwords(&with), makes_an_account(Some(&with))), (Ok(2), true));
        let without = file("<settings pass=\"specialize\"/>");
        assert_eq!((passwords(&without), makes_an_account(Some(&without))), (Ok(0), false));
        assert_eq!(passwords(b"<other><Password>x</Password></other>"), Ok(1));
        assert!(passwords(b"<unattend>").is_err());
    }

    #[test]
    fn what_is_no_answer_file_says_why() {
        for (bytes, why) in [
            (&b"\xff\xfe\x00\xd8"[..], "not valid UTF-16"),
            (b"\xe4", "neither UTF-8"),
            (b"<other/>", "<other> is not the root"),
            (b"<unattend/>", "not in the namespace"),
        ] {
            let error = AnswerFile::read(bytes).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
