//! A small XML tree that knows where everything stands in the text, so that a file is edited and not written anew.

use crate::error::{Error, Kind, Result};
use quick_xml::NsReader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use std::ops::Range;

/// Stated limits; the largest answer file seen has 300 KB, 4,000 elements and a depth of 9.
const MAX_BYTES: usize = 8 << 20;
const MAX_DEPTH: usize = 64;
const MAX_ELEMENTS: usize = 100_000;

/// An element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Name without its prefix.
    pub(crate) name: String,
    /// Namespace; empty where none is in force.
    pub(crate) namespace: String,
    /// Attributes by their names as written, prefix included, with their values.
    pub(crate) attributes: Vec<(String, String)>,
    /// The text directly inside, without white space around it.
    pub(crate) text: String,
    /// Where the start tag stands.
    pub(crate) tag: Range<usize>,
    /// What stands between the tags; empty behind the tag of `<a/>`.
    pub(crate) content: Range<usize>,
    /// Written as `<a/>`.
    pub(crate) is_empty_tag: bool,
    /// Line of the start tag, from 1.
    pub(crate) line: usize,
    /// The elements directly inside.
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// An attribute's value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The children of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of a name.
    pub(crate) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element that a path of names leads to.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// Calls `visit` with this element and everything below it. The depth is bounded by the reader.
    pub(crate) fn walk<'a>(&'a self, visit: &mut impl FnMut(&'a Element)) {
        visit(self);
        self.children.iter().for_each(|child| child.walk(visit));
    }
}

fn bad(text: &str, at: usize, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Usage, format!("line {}: {what}", line(text, at)))
}

fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// Reads a document. `Usage`, with the line, when it is not well formed or beyond the stated limits.
pub(crate) fn parse(text: &str) -> Result<Element> {
    if text.len() > MAX_BYTES {
        let detail = format!("{} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(Error::new(Kind::Usage, detail));
    }
    let mut reader = NsReader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    let (mut root, mut count) = (None::<Element>, 0_usize);
    let mut lines = Lines { at: 0, line: 1 };
    loop {
        let before = reader.buffer_position() as usize;
        let event = reader.read_resolved_event();
        let (namespace, event) = match event {
            Ok((ResolveResult::Unknown(prefix), _)) => {
                let prefix = String::from_utf8_lossy(&prefix).into_owned();
                return Err(bad(text, before, format!("the prefix `{prefix}:` is used and not declared")));
            }
            Ok((ResolveResult::Bound(namespace), event)) => {
                (String::from_utf8_lossy(namespace.as_ref()).into_owned(), event)
            }
            Ok((ResolveResult::Unbound, event)) => (String::new(), event),
            Err(e) => return Err(bad(text, reader.error_position() as usize, format!("not well formed: {e}"))),
        };
        let after = reader.buffer_position() as usize;
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                count += 1;
                if count > MAX_ELEMENTS || open.len() >= MAX_DEPTH {
                    let what = format!("more than {MAX_ELEMENTS} elements, or {MAX_DEPTH} within each other");
                    return Err(bad(text, before, what));
                }
                if open.is_empty() && root.is_some() {
                    return Err(bad(text, before, "a second root element"));
                }
                let mut element = start(&tag, &reader, text, before)?;
                element.namespace = namespace;
                element.line = lines.of(text, before);
                (element.tag, element.content) = (before..after, after..after);
                element.is_empty_tag = text[..after].ends_with("/>");
                if element.is_empty_tag { close(element, &mut open, &mut root) } else { open.push(element) }
            }
            Event::End(_) => {
                // The reader has compared the names.
                let Some(mut element) = open.pop() else { return Err(bad(text, before, "an end without a start")) };
                element.content.end = before;
                element.text.truncate(element.text.trim_end().len());
                element.text.drain(..element.text.len() - element.text.trim_start().len());
                close(element, &mut open, &mut root);
            }
            Event::Eof => {
                return match (root, open.last()) {
                    (_, Some(unclosed)) => {
                        Err(bad(text, unclosed.tag.start, format!("<{}> is not closed", unclosed.name)))
                    }
                    (None, None) => Err(bad(text, after, "there is no element")),
                    (Some(root), None) => Ok(root),
                };
            }
            other => append(&other, &mut open).map_err(|what| bad(text, before, what))?,
        }
    }
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None => *root = Some(element),
    }
}

/// Adds an event's text to the innermost open element.
fn append(event: &Event<'_>, open: &mut [Element]) -> std::result::Result<(), String> {
    let piece = match event {
        Event::Text(text) => text.xml_content().map_err(|e| e.to_string())?.into_owned(),
        Event::CData(text) => text.xml_content().map_err(|e| e.to_string())?.into_owned(),
        Event::GeneralRef(reference) => match reference.resolve_char_ref().map_err(|e| e.to_string())? {
            Some(character) => character.to_string(),
            None => {
                let name = reference.xml_content().map_err(|e| e.to_string())?;
                resolve_predefined_entity(&name).ok_or_else(|| format!("the entity &{name}; is not known"))?.to_owned()
            }
        },
        Event::DocType(_) => return Err("a document type declaration, which setup does not take".to_owned()),
        _ => return Ok(()),
    };
    match open.last_mut() {
        Some(element) => element.text.push_str(&piece),
        None if piece.trim().is_empty() => {}
        None => return Err("text outside the root element".to_owned()),
    }
    Ok(())
}

fn start(tag: &BytesStart<'_>, reader: &NsReader<&[u8]>, text: &str, at: usize) -> Result<Element> {
    let name = String::from_utf8_lossy(tag.local_name().as_ref()).into_owned();
    let mut element = Element { name, ..Element::default() };
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| bad(text, at, format!("in <{}>: {e}", element.name)))?;
        if let (ResolveResult::Unknown(prefix), _) = reader.resolve_attribute(attribute.key) {
            let prefix = String::from_utf8_lossy(&prefix).into_owned();
            return Err(bad(text, at, format!("the prefix `{prefix}:` is used and not declared")));
        }
        let value = attribute.unescape_value().map_err(|e| bad(text, at, format!("in <{}>: {e}", element.name)))?;
        let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        element.attributes.push((key, value.into_owned()));
    }
    Ok(element)
}

/// Line numbers of rising positions, without counting from the start each time.
struct Lines {
    at: usize,
    line: usize,
}

impl Lines {
    fn of(&mut self, text: &str, at: usize) -> usize {
        self.line += line(&text[self.at..], at - self.at) - 1;
        self.at = at;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_know_their_places() {
        let text = "<a xmlns=\"n\" k='1 &lt; 2'>\n <b> x &amp; y&#33; </b><c/>\n</a>";
        let root = parse(text).unwrap();
        assert_eq!((root.name.as_str(), root.namespace.as_str(), root.attribute("k")), ("a", "n", Some("1 < 2")));
        let (b, c) = (root.child("b").unwrap(), root.at(&["c"]).unwrap());
        assert_eq!((b.text.as_str(), &text[b.content.clone()], b.line), ("x & y!", " x &amp; y&#33; ", 2));
        assert_eq!((c.is_empty_tag, c.namespace.as_str(), &text[c.tag.clone()]), (true, "n", "<c/>"));
        let mut names = Vec::new();
        root.walk(&mut |element| names.push(element.name.clone()));
        assert_eq!(names, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_not_well_formed_is_named_by_line() {
        for (text, what) in [
            ("", "line 1: there is no element"),
            ("<a>\n<b></a>", "line 2: not well formed"),
            ("<a>\n\n<b>", "<b> is not closed"),
            ("<a/>\n<b/>", "line 2: a second root element"),
            ("<a>\n<x:b/></a>", "line 2: the prefix `x:`"),
            ("<a>\n<b x:k=\"1\"/></a>", "line 2: the prefix `x:`"),
            ("<a>&nope;</a>", "the entity &nope; is not known"),
            ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "document type"),
            ("<a/>text", "text outside"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(what), "{text}: {error}");
        }
        assert!(parse(&("<a>".repeat(100) + &"</a>".repeat(100))).is_err());
    }
}
