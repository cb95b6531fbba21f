//! An answer file completed. The user's text stays as it is but for what has to change; the edits are made at positions that
//! the reader found, so comments, order and white space stay.

use super::{AnswerFile, DEPLOYMENT, SHELL_SETUP};
use crate::error::{Error, Kind, Result};
use crate::unattend::xml::Element;
use std::ops::Range;

/// What the command line wants of the answer file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The computer name, for the specialize pass.
    pub(crate) computer_name: Option<&'a str>,
    /// Start audit mode instead of OOBE: `Reseal\Mode` of the oobeSystem pass.
    pub(crate) audit: bool,
    /// `processorArchitecture` of components that are made.
    pub(crate) architecture: &'a str,
}

/// A piece of the text and what takes its place.
struct Edit {
    at: Range<usize>,
    with: String,
}

/// The answer file to place: the user's own, or a minimal one, with what is wanted in it. `Usage` when it says otherwise.
pub(crate) fn compose(user: Option<&AnswerFile>, wanted: Wanted<'_>) -> Result<Vec<u8>> {
    let empty;
    let mut file = match user {
        Some(user) => user,
        None => {
            empty = AnswerFile::empty()?;
            &empty
        }
    };
    let mut settings = Vec::new();
    if let Some(name) = wanted.computer_name {
        settings.push(Setting {
            pass: "specialize",
            component: SHELL_SETUP,
            path: &["ComputerName"],
            value: name,
            placeholders: &["", "*"],
            option: "--computer-name",
        });
    }
    if wanted.audit {
        settings.push(Setting {
            pass: "oobeSystem",
            component: DEPLOYMENT,
            path: &["Reseal", "Mode"],
            value: "Audit",
            placeholders: &[""],
            option: "--audit",
        });
    }
    let mut text = apply(&file.text, processed(file));
    // One by one, each on what the one before has made: two may need the same new element.
    let mut latest;
    for setting in settings {
        latest = AnswerFile::read(text.as_bytes())?;
        file = &latest;
        text = match setting.put(file, wanted.architecture)? {
            Some(edit) => apply(&file.text, vec![edit]),
            None => text,
        };
    }
    Ok(text.into_bytes())
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.at.start));
    let mut out = text.to_owned();
    for edit in edits {
        out.replace_range(edit.at, &edit.with);
    }
    out
}

/// The attributes that setup adds to a pass which it has run; such a pass would be skipped.
fn processed(file: &AnswerFile) -> Vec<Edit> {
    const NAME: &str = "wasPassProcessed";
    let mut edits = Vec::new();
    for settings in file.root.all("settings").filter(|settings| settings.attribute(NAME).is_some()) {
        let tag = &file.text[settings.tag.clone()];
        let range = tag.find(NAME).and_then(|name| {
            let from = tag[..name].trim_end().len();
            let quote = name + tag[name..].find(['"', '\''])?;
            let end = quote + 1 + tag[quote + 1..].find(char::from(tag.as_bytes()[quote]))? + 1;
            Some(settings.tag.start + from..settings.tag.start + end)
        });
        edits.extend(range.map(|at| Edit { at, with: String::new() }));
    }
    edits
}

/// A setting with its one value.
struct Setting<'a> {
    pass: &'static str,
    component: &'static str,
    path: &'static [&'static str],
    value: &'a str,
    /// Texts that stand for nothing and are replaced.
    placeholders: &'static [&'static str],
    /// Who wants it.
    option: &'static str,
}

impl Setting<'_> {
    /// The edit that puts it there; `None` where it stands. `Usage` where something else stands.
    fn put(&self, file: &AnswerFile, architecture: &str) -> Result<Option<Edit>> {
        let Some(component) = file.component(self.pass, self.component, architecture) else {
            let inner = self.component_text(file, architecture);
            return Ok(Some(match file.pass(self.pass).next() {
                Some(settings) => insert(file, settings, &inner, "  "),
                None => insert(
                    file,
                    &file.root,
                    &format!(
                        "  {}\r\n{inner}  {}\r\n",
                        file.tag(&format!("settings pass=\"{}\"", self.pass)),
                        file.end("settings")
                    ),
                    "",
                ),
            }));
        };
        let mut have = component;
        for (i, name) in self.path.iter().enumerate() {
            match have.child(name) {
                Some(child) => have = child,
                None => {
                    let inner = format!("  {}\r\n    ", nested(file, &self.path[i..], self.value));
                    return Ok(Some(insert(file, have, &inner, "")));
                }
            }
        }
        if have.text.eq_ignore_ascii_case(self.value) {
            return Ok(None);
        }
        if !self.placeholders.contains(&have.text.as_str()) {
            let detail = format!(
                "the answer file says {} `{}` in line {}, {} says `{}`",
                self.path.join("\\"),
                have.text,
                have.line,
                self.option,
                self.value
            );
            return Err(Error::new(Kind::Usage, detail).hint("say it in one place only"));
        }
        Ok(Some(match have.is_empty_tag {
            true => insert(file, have, self.value, ""),
            false => Edit { at: have.content.clone(), with: self.value.to_owned() },
        }))
    }

    fn component_text(&self, file: &AnswerFile, architecture: &str) -> String {
        let tag = file.tag(&format!(
            "component name=\"{}\" processorArchitecture=\"{architecture}\" publicKeyToken=\"31bf3856ad364e35\" \
             language=\"neutral\" versionScope=\"nonSxS\"",
            self.component
        ));
        let inner = nested(file, self.path, self.value);
        format!("    {tag}\r\n      {inner}\r\n    {}\r\n", file.end("component"))
    }
}

/// `<Reseal><Mode>Audit</Mode></Reseal>`
fn nested(file: &AnswerFile, path: &[&str], value: &str) -> String {
    path.iter().rev().fold(value.to_owned(), |inner, name| format!("{}{inner}{}", file.tag(name), file.end(name)))
}

/// Puts text before the end of an element, which `<a/>` is given.
fn insert(file: &AnswerFile, into: &Element, inner: &str, before_end: &str) -> Edit {
    if into.is_empty_tag {
        let at = into.tag.end - "/>".len()..into.tag.end;
        return Edit { at, with: format!(">\r\n{inner}{before_end}{}", file.end(&into.name)) };
    }
    Edit { at: into.content.end..into.content.end, with: format!("{inner}{before_end}") }
}

impl AnswerFile {
    /// The prefix of the file's elements, with its colon.
    fn prefix(&self) -> &str {
        let name = &self.text[self.root.tag.start + 1..self.root.tag.end];
        name.split_once(':')
            .filter(|(_, rest)| rest.starts_with("unattend"))
            .map_or("", |(prefix, _)| &name[..=prefix.len()])
    }

    fn tag(&self, name: &str) -> String {
        format!("<{}{name}>", self.prefix())
    }

    fn end(&self, name: &str) -> String {
        format!("</{}{name}>", self.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(user: Option<&str>, name: Option<&str>, audit: bool) -> Result<String> {
        let user = user.map(|text| AnswerFile::read(text.as_bytes())).transpose()?;
        let wanted = Wanted { computer_name: name, audit, architecture: "amd64" };
        let out = String::from_utf8(compose(user.as_ref(), wanted)?).unwrap();
        // What is written is an answer file, and says what was wanted.
        let file = AnswerFile::read(out.as_bytes()).unwrap();
        let says = |pass, component, path: &[&str]| file.setting(pass, component, path, "amd64").map(str::to_owned);
        if let Some(name) = name {
            assert!(says("specialize", SHELL_SETUP, &["ComputerName"]).unwrap().eq_ignore_ascii_case(name), "{out}");
        }
        assert!(!audit || says("oobeSystem", DEPLOYMENT, &["Reseal", "Mode"]).unwrap() == "Audit", "{out}");
        Ok(out)
    }

    const HEAD: &str = "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n";
    const SHELL: &str = "<component name=\"Microsoft-Windows-Shell-Setup\" processorArchitecture=\"amd64\"";

    #[test]
    fn what_is_wanted_without_a_file_makes_one() {
        let out = composed(None, Some("WEB-01"), true).unwrap();
        assert!(out.contains("<settings pass=\"specialize\">") && out.contains("<Reseal><Mode>Audit</Mode></Reseal>"));
        assert_eq!(composed(Some(&out), Some("WEB-01"), true).unwrap(), out, "a second time changes nothing");
    }

    #[test]
    fn a_name_goes_into_what_is_there() {
        let pass = format!(
            "{HEAD}<settings pass=\"specialize\">\n<component name=\"X\"/></settings><settings pass=\"oobeSystem\"></settings></unattend>"
        );
        let out = composed(Some(&pass), Some("A"), false).unwrap();
        assert!(out.contains("<component name=\"X\"/>    <component name=\"Microsoft-Windows-Shell-Setup\""), "{out}");
        let component = format!("{HEAD}<settings pass=\"specialize\">{SHELL}><A/></component></settings></unattend>");
        let out = composed(Some(&component), Some("B1"), false).unwrap();
        assert!(out.contains("<A/>  <ComputerName>B1</ComputerName>"), "{out}");
        for placeholder in ["<ComputerName>*</ComputerName>", "<ComputerName></ComputerName>", "<ComputerName/>"] {
            composed(Some(&component.replace("<A/>", placeholder)), Some("B1"), false).unwrap();
        }
        let other = component.replace("<A/>", "<ComputerName>OTHER</ComputerName>");
        assert_eq!(composed(Some(&other), Some("B1"), false).unwrap_err().kind(), Kind::Usage);
        assert_eq!(composed(Some(&other), Some("other"), false).unwrap(), other);
        assert_eq!(composed(Some(&other), None, false).unwrap(), other);
        // Settings of another architecture are not those of this image.
        let foreign = other.replace("amd64", "x86");
        assert!(composed(Some(&foreign), Some("B1"), false).unwrap().contains("<ComputerName>B1</ComputerName>"));
    }

    #[test]
    fn elements_without_content_are_opened() {
        for text in [
            "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"/>".to_owned(),
            format!("{HEAD}<settings pass=\"specialize\"/></unattend>"),
            format!("{HEAD}<settings pass=\"specialize\">{SHELL}/></settings></unattend>"),
            "<u:unattend xmlns:u=\"urn:schemas-microsoft-com:unattend\"></u:unattend>".to_owned(),
            "<u:unattend xmlns:u=\"urn:schemas-microsoft-com:unattend\"><u:settings pass=\"oobeSystem\"/></u:unattend>"
                .to_owned(),
        ] {
            composed(Some(&text), Some("WEB-01"), true).unwrap();
        }
    }

    #[test]
    fn a_used_file_is_made_new() {
        let used = format!("{HEAD}<settings pass=\"specialize\" wasPassProcessed=\"true\"></settings></unattend>");
        assert_eq!(composed(Some(&used), None, false).unwrap(), used.replace(" wasPassProcessed=\"true\"", ""));
        let wide = [
            vec![0xff, 0xfe],
            reseal_dtyp::utf16le(&format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{HEAD}</unattend>")),
        ]
        .concat();
        let file = AnswerFile::read(&wide).unwrap();
        let wanted = Wanted { computer_name: None, audit: false, architecture: "amd64" };
        let want = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{HEAD}</unattend>");
        assert_eq!(compose(Some(&file), wanted).unwrap(), want.into_bytes());
    }

    #[test]
    fn audit_and_a_file_that_says_otherwise() {
        let file = |mode: &str| {
            format!(
                "{HEAD}<settings pass=\"oobeSystem\"><component name=\"Microsoft-Windows-Deployment\" processorArchitecture=\"amd64\">\
                 <Reseal>{mode}</Reseal></component></settings></unattend>"
            )
        };
        composed(Some(&file("<ForceShutdownNow>false</ForceShutdownNow>")), None, true).unwrap();
        let error = composed(Some(&file("<Mode>OOBE</Mode>")), None, true).unwrap_err();
        assert!(error.to_string().contains("--audit says `Audit`"), "{error}");
    }
}
