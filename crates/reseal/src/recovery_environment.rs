//! `ReAgent.xml`: where the recovery environment (WinRE) is registered. Attributes are edited where they stand; the rest of the
//! file, its encoding and its line ends stay.

use crate::error::{Error, Kind, Result};
use crate::image::DiskFacts;
use crate::unattend::xml::{self, Element};
use reseal_disk::Partition;
use std::ops::Range;

/// From the volume's root.
pub(crate) const CONFIG: &str = r"Windows\System32\Recovery\ReAgent.xml";

/// Where Windows puts the recovery environment when it is turned on, and where it lies while it is off.
pub(crate) const IMAGE_ON: &str = r"Recovery\WindowsRE\Winre.wim";
pub(crate) const IMAGE_OFF: &str = r"Windows\System32\Recovery\Winre.wim";

const NIL: &str = "{00000000-0000-0000-0000-000000000000}";
/// What a file that registers nothing says: element, attribute, value.
const NOTHING: &[(&str, &str, &str)] = &[
    ("WinreBCD", "id", ""),
    ("WinreLocation", "path", ""),
    ("WinreLocation", "id", "0"),
    ("WinreLocation", "offset", "0"),
    ("WinreLocation", "guid", NIL),
    ("InstallState", "state", "0"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Utf8Marked,
    Utf16,
}

/// The file.
#[derive(Debug)]
pub(crate) struct ReAgent {
    encoding: Encoding,
    text: String,
    root: Element,
}

impl ReAgent {
    /// Reads the file. `Damaged` when it is no XML document of this kind.
    pub(crate) fn read(bytes: &[u8]) -> Result<ReAgent> {
        let bad = |detail: String| Error::new(Kind::Damaged, detail);
        let (encoding, text) = if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
            if rest.len() % 2 != 0 {
                return Err(bad(format!("{} bytes are no UTF-16", rest.len())));
            }
            (Encoding::Utf16, String::from_utf16(&reseal_dtyp::from_utf16le(rest)).ok())
        } else if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
            (Encoding::Utf8Marked, String::from_utf8(rest.to_vec()).ok())
        } else {
            (Encoding::Utf8, String::from_utf8(bytes.to_vec()).ok())
        };
        let text = text.ok_or_else(|| bad("neither UTF-8 nor UTF-16 with a byte order mark".to_owned()))?;
        let root = xml::parse(&text).map_err(|e| bad(e.to_string()))?;
        if root.name != "WindowsRE" {
            return Err(bad(format!("its root element is {}, WindowsRE was expected", root.name)));
        }
        Ok(ReAgent { encoding, text, root })
    }

    fn attribute(&self, element: &str, name: &str) -> Option<&str> {
        self.root.child(element)?.attribute(name)
    }

    /// Why the place that it names is not on the disk; `None` when it is, or when it names none.
    pub(crate) fn stray(&self, disk: &DiskFacts) -> Option<String> {
        let offset = self.attribute("WinreLocation", "offset")?;
        if self.attribute("InstallState", "state") != Some("1") || offset == "0" {
            return None;
        }
        let begins = |number: u64| disk.own().into_iter().chain(disk.others()).any(|p| p.partition.offset == number);
        match offset.parse() {
            Ok(number) if begins(number) => None,
            Ok(number) => Some(format!("it names the partition at byte {number}, where none begins")),
            Err(_) => Some(format!("`{}` is no byte offset", offset.escape_debug())),
        }
    }

    /// The partition where the recovery environment is turned on, told by its first byte; `None` when it is off, when no
    /// partition begins there, or when it lies in another folder than that of [`IMAGE_ON`].
    pub(crate) fn partition<'d>(&self, disk: &'d DiskFacts) -> Option<&'d Partition> {
        let path = self.attribute("WinreLocation", "path")?.trim_matches('\\');
        let folder = IMAGE_ON.rsplit_once('\\').map_or("", |(folder, _)| folder);
        if self.attribute("InstallState", "state") != Some("1") || !path.eq_ignore_ascii_case(folder) {
            return None;
        }
        let offset: u64 = self.attribute("WinreLocation", "offset")?.parse().ok()?;
        let all = disk.own().into_iter().chain(disk.others());
        all.map(|p| &p.partition).find(|partition| partition.offset == offset)
    }

    /// The file with nothing registered in it; `None` when nothing is. `Damaged` for an element that stands twice.
    pub(crate) fn forgotten(&self) -> Result<Option<Vec<u8>>> {
        let mut edits: Vec<(Range<usize>, &str)> = Vec::new();
        for (name, attribute, value) in NOTHING {
            let mut elements = self.root.all(name);
            let Some(element) = elements.next() else { continue };
            if elements.next().is_some() {
                let detail = format!("line {}: {name} stands twice", element.line);
                return Err(Error::new(Kind::Damaged, detail));
            }
            // An attribute that is not there says nothing.
            let Some(span) = value_span(&self.text[element.tag.clone()], attribute) else { continue };
            let span = element.tag.start + span.start..element.tag.start + span.end;
            if self.text[span.clone()] != **value {
                edits.push((span, value));
            }
        }
        if edits.is_empty() {
            return Ok(None);
        }
        edits.sort_by_key(|(span, _)| span.start);
        let mut text = self.text.clone();
        for (span, value) in edits.into_iter().rev() {
            text.replace_range(span, value);
        }
        Ok(Some(match self.encoding {
            Encoding::Utf8 => text.into_bytes(),
            Encoding::Utf8Marked => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            Encoding::Utf16 => [vec![0xff, 0xfe], reseal_dtyp::utf16le(&text)].concat(),
        }))
    }
}

/// Where the value of an attribute stands in a start tag, between its quotes. The tag is well formed: it was parsed.
fn value_span(tag: &str, wanted: &str) -> Option<Range<usize>> {
    let bytes = tag.as_bytes();
    let skip = |mut at: usize, stop: &dyn Fn(u8) -> bool| {
        while at < bytes.len() && !stop(bytes[at]) {
            at += 1;
        }
        at
    };
    let mut at = skip(0, &|b| b.is_ascii_whitespace());
    loop {
        let start = skip(at, &|b| !b.is_ascii_whitespace());
        let end = skip(start, &|b| b == b'=' || b.is_ascii_whitespace());
        let open = skip(end, &|b| matches!(b, b'"' | b'\''));
        let quote = *bytes.get(open)?;
        let close = skip(open + 1, &|b| b == quote);
        if tag.get(start..end)? == wanted {
            return (close < bytes.len()).then_some(open + 1..close);
        }
        at = close + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "<?xml version='1.0' encoding='utf-8'?>\r\n\r\n<WindowsRE version=\"2.0\">\r\n  <WinreBCD id=\"{1}\"/>\r\n  \
                        <WinreLocation path=\"\\Recovery\\WindowsRE\" id='0' offset = \"1048576\" guid=\"{2}\"></WinreLocation>\r\n  \
                        <InstallState state=\"1\"/>\r\n  <OperationParam path=\"id=&quot;\"/>\r\n</WindowsRE>\r\n";

    #[test]
    fn nothing_is_registered_afterwards_and_the_rest_stays() {
        let want = FILE
            .replace("{1}", "")
            .replace(r"\Recovery\WindowsRE", "")
            .replace("1048576", "0")
            .replace("{2}", NIL)
            .replace("state=\"1\"", "state=\"0\"");
        let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
        let wide = |text: &str| [vec![0xff, 0xfe], reseal_dtyp::utf16le(text)].concat();
        let plain = |text: &str| text.as_bytes().to_vec();
        let forms: [fn(&str) -> Vec<u8>; 3] = [plain, marked, wide];
        for form in forms {
            let done = ReAgent::read(&form(FILE)).unwrap().forgotten().unwrap().expect("it changes");
            assert_eq!(done, form(&want));
            assert_eq!(ReAgent::read(&done).unwrap().forgotten().unwrap(), None, "a second time");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in ["", "<unattend/>", "<WindowsRE>", "<WindowsRE a=1/>"] {
            assert_eq!(ReAgent::read(bad.as_bytes()).unwrap_err().kind(), Kind::Damaged, "{bad}");
        }
        assert!(ReAgent::read(&[0xff, 0xfe, 0x41]).is_err());
        let twice = "<WindowsRE><WinreBCD id='{1}'/><WinreBCD id='{2}'/></WindowsRE>";
        let error = ReAgent::read(twice.as_bytes()).unwrap().forgotten().unwrap_err();
        assert!(error.to_string().contains("WinreBCD stands twice"), "{error}");
        let bare = "<WindowsRE><WinreBCD/><InstallState other='1'/></WindowsRE>";
        assert_eq!(ReAgent::read(bare.as_bytes()).unwrap().forgotten().unwrap(), None);
    }
}
