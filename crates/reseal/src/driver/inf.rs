//! INF text: sections, lines, fields, strings. What they mean stands in `package.rs`.
//!
//! By Microsoft's "General syntax rules for INF files": sections of one name are merged; names and keys have no case; `;` begins
//! a comment, `\` at the end of a line goes on with the next one, `""` in quotes is a quote; `%name%` stands for a text of
//! `[Strings]`, `%%` for a percent sign. A number between percent signs is a folder's id and stays.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// More than any INF of Windows needs; each bounds what a crafted text can make us allocate.
const MAX_BYTES: usize = 4 << 20;
const MAX_LINES: usize = 200_000;
const MAX_FIELDS: usize = 1_000_000;
/// Text after `%name%` was replaced, of the whole file.
const MAX_EXPANDED: usize = 32 << 20;
/// Of a section's name, as documented.
const MAX_SECTION_NAME: usize = 255;
/// The language of the texts that are taken: US English; `[Strings]` for what it lacks.
const LANGUAGE: &str = "strings.0409";

/// A line of a section: `key = field, field` or `field, field`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Number in the file, from 1.
    pub(crate) number: usize,
    /// Left of the equals sign.
    pub(crate) key: Option<String>,
    /// The fields; an empty one is an empty text.
    pub(crate) fields: Vec<String>,
}

impl Line {
    /// A field; empty where there is none.
    pub(crate) fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }
}

/// The text of an INF.
#[derive(Debug, Default)]
pub(crate) struct Inf {
    /// By name in small letters.
    sections: BTreeMap<String, Vec<Line>>,
    /// Letters outside ASCII whose code page is not known: fit to be shown, not to be written.
    pub(crate) is_of_unknown_code_page: bool,
}

/// An error at a line.
pub(crate) fn at_line(number: usize, detail: impl std::fmt::Display) -> Error {
    Error::new(Kind::Damaged, format!("line {number}: {detail}"))
}

impl Inf {
    /// Reads a whole INF: UTF-16LE, UTF-8, or one byte a letter.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Inf> {
        if bytes.len() > MAX_BYTES {
            let detail = format!("an INF of {} bytes; {MAX_BYTES} are read at most", bytes.len());
            return Err(Error::new(Kind::Unsupported, detail));
        }
        let (text, is_of_unknown_code_page) = decode(bytes)?;
        if let Some(at) = text.find('\0') {
            return Err(at_line(text[..at].matches('\n').count() + 1, "a NUL: this is no text"));
        }
        let mut inf = Inf { sections: read(&text)?, is_of_unknown_code_page };
        inf.expand()?;
        Ok(inf)
    }

    /// The lines of a section; `None` when there is no such section.
    pub(crate) fn section(&self, name: &str) -> Option<&[Line]> {
        self.sections.get(&name.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// The lines of a section with a key, in order.
    pub(crate) fn entries<'a>(&'a self, section: &str, key: &'a str) -> impl Iterator<Item = &'a Line> {
        let lines = self.section(section).unwrap_or_default();
        lines.iter().filter(move |line| line.key.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(key)))
    }

    /// The first field of the first line with a key.
    pub(crate) fn value(&self, section: &str, key: &str) -> Option<&str> {
        let lines = self.section(section).unwrap_or_default();
        let line = lines.iter().find(|line| line.key.as_deref().is_some_and(|k| k.eq_ignore_ascii_case(key)));
        line.map(|line| line.field(0))
    }

    /// Puts texts in the place of `%name%`, everywhere but in the texts themselves.
    fn expand(&mut self) -> Result<()> {
        let mut strings: BTreeMap<String, String> = BTreeMap::new();
        for section in ["strings", LANGUAGE] {
            for line in self.sections.get(section).into_iter().flatten() {
                if let Some(key) = &line.key {
                    strings.insert(key.to_ascii_lowercase(), line.fields.join(","));
                }
            }
        }
        let mut room = MAX_EXPANDED;
        let is_text = |name: &str| name == "strings" || name.starts_with("strings.");
        for (_, lines) in self.sections.iter_mut().filter(|(name, _)| !is_text(name)) {
            for line in lines {
                for text in line.key.iter_mut().chain(&mut line.fields).filter(|text| text.contains('%')) {
                    *text = expanded(text, &strings);
                    room = room.checked_sub(text.len()).ok_or_else(|| {
                        let detail = format!("its texts come to more than {MAX_EXPANDED} bytes");
                        Error::new(Kind::Unsupported, format!("line {}: {detail}", line.number))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// A text with `%name%` replaced; what is not defined stays as it is, and so do folder ids.
fn expanded(text: &str, strings: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        out += &rest[..start];
        let behind = &rest[start + 1..];
        let Some(len) = behind.find('%') else {
            return out + &rest[start..];
        };
        let name = &behind[..len];
        match strings.get(&name.to_ascii_lowercase()) {
            _ if name.is_empty() => out.push('%'),
            Some(text) => out += text,
            None => out += &rest[start..start + len + 2],
        }
        rest = &behind[len + 1..];
    }
    out + rest
}

/// The text, and whether its letters outside ASCII are guessed.
fn decode(bytes: &[u8]) -> Result<(String, bool)> {
    let utf16 = match bytes {
        [0xff, 0xfe, rest @ ..] => Some(rest),
        [first, 0, ..] if *first != 0 => Some(bytes),
        _ => None,
    };
    if let Some(bytes) = utf16 {
        if bytes.len() % 2 != 0 {
            return Err(Error::new(Kind::Damaged, format!("UTF-16 text of {} bytes, an odd number", bytes.len())));
        }
        let text = String::from_utf16(&reseal_dtyp::from_utf16le(bytes));
        return text.map(|text| (text, false)).map_err(|_| Error::new(Kind::Damaged, "the text is no UTF-16"));
    }
    if let [0xef, 0xbb, 0xbf, rest @ ..] = bytes {
        let text = std::str::from_utf8(rest).map_err(|e| Error::new(Kind::Damaged, format!("the text: {e}")))?;
        return Ok((text.to_owned(), false));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok((text.to_owned(), false)),
        Err(_) => Ok((bytes.iter().map(|byte| char::from(*byte)).collect(), true)),
    }
}

/// The sections, with texts not yet in place.
fn read(text: &str) -> Result<BTreeMap<String, Vec<Line>>> {
    let mut out: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let mut section: Option<String> = None;
    let mut fields = 0;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        if number > MAX_LINES {
            return Err(at_line(number, format!("more than {MAX_LINES} lines")));
        }
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix('[') {
            let name = rest.split(']').next().filter(|name| name.len() < rest.len()).map(str::trim);
            let name = name.filter(|name| !name.is_empty() && name.len() <= MAX_SECTION_NAME);
            let name = name.ok_or_else(|| at_line(number, "a section needs a name of 1 to 255 letters and a `]`"))?;
            let name = name.trim_matches('"').to_ascii_lowercase();
            out.entry(name.clone()).or_default();
            section = Some(name);
            continue;
        }
        let mut parts = Fields::default();
        let mut goes_on = parts.add(line).map_err(|e| at_line(number, e))?;
        // A backslash before a new section ends a path.
        while goes_on && lines.peek().is_some_and(|(_, next)| !next.trim_start().starts_with('[')) {
            let Some((index, next)) = lines.next() else { break };
            parts.drop_last();
            goes_on = parts.add(next).map_err(|e| at_line(index + 1, e))?;
        }
        let Some((key, list)) = parts.end() else { continue };
        fields += list.len();
        if fields > MAX_FIELDS {
            return Err(at_line(number, format!("more than {MAX_FIELDS} fields")));
        }
        let section = section.as_ref().ok_or_else(|| at_line(number, "text before the first section"))?;
        out.entry(section.clone()).or_default().push(Line { number, key, fields: list });
    }
    Ok(out)
}

/// A line being taken apart.
#[derive(Default)]
struct Fields {
    key: Option<String>,
    done: Vec<String>,
    now: String,
    /// So much of `now` stood in quotes or before them: blanks there stay.
    kept: usize,
    any: bool,
}

impl Fields {
    /// Takes in a line of text; tells whether it goes on with the next one.
    fn add(&mut self, line: &str) -> Result<bool, &'static str> {
        let mut chars = line.chars().peekable();
        let mut in_quotes = false;
        while let Some(c) = chars.next() {
            match c {
                '"' if in_quotes && chars.peek() == Some(&'"') => {
                    chars.next();
                    self.now.push('"');
                }
                '"' => {
                    in_quotes = !in_quotes;
                    (self.kept, self.any) = (self.now.len(), true);
                }
                _ if in_quotes => self.now.push(c),
                ';' => break,
                ',' => {
                    self.any = true;
                    self.end_field();
                }
                '=' if self.key.is_none() && self.done.is_empty() => {
                    self.any = true;
                    let key = self.take();
                    self.key = Some(key);
                }
                c if c.is_whitespace() && self.now.is_empty() => {}
                _ => {
                    self.any = true;
                    self.now.push(c);
                }
            }
        }
        if in_quotes {
            return Err("a quote is not closed");
        }
        let end = self.now.trim_end().len().max(self.kept);
        Ok(end > self.kept && self.now[..end].ends_with('\\'))
    }

    /// Takes back the backslash that said that the line goes on.
    fn drop_last(&mut self) {
        let end = self.now.trim_end().len();
        self.now.truncate(end.saturating_sub(1));
    }

    fn take(&mut self) -> String {
        let end = self.now.trim_end().len().max(self.kept);
        self.now.truncate(end);
        self.kept = 0;
        std::mem::take(&mut self.now)
    }

    fn end_field(&mut self) {
        let field = self.take();
        self.done.push(field);
    }

    /// Key and fields; `None` for a line that says nothing.
    fn end(mut self) -> Option<(Option<String>, Vec<String>)> {
        if !self.any {
            return None;
        }
        self.end_field();
        Some((self.key, self.done))
    }
}

#[cfg(test)]
#[path = "inf_tests.rs"]
mod tests;
