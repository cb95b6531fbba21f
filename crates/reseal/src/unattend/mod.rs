//! Answer files: checked, and given a computer name.
//!
//! The user's file is kept as it is but for what has to change; the edits are made at byte positions that an XML reader
//! found, so comments, order and white space stay.

use crate::error::{Error, Kind, Result};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The component that names the computer.
const SHELL_SETUP: &str = "Microsoft-Windows-Shell-Setup";

/// Places in the text.
#[derive(Debug, Default)]
struct Map {
    root_end: Option<usize>,
    /// Where `</settings>` of the specialize pass begins.
    specialize_end: Option<usize>,
    /// Where `</component>` of Shell-Setup in that pass begins.
    shell_end: Option<usize>,
    /// The text of ComputerName in that component.
    name: Option<(std::ops::Range<usize>, String)>,
    /// ` wasPassProcessed="true"` attributes of a file that was used before.
    processed: Vec<std::ops::Range<usize>>,
    root_seen: bool,
}

/// The answer file to place: the user's own, or a minimal one, with the computer name in the specialize pass.
/// `Usage` when it is no answer file, or names another computer.
pub(crate) fn compose(user: Option<&[u8]>, computer_name: Option<&str>, architecture: &str) -> Result<Vec<u8>> {
    let text = match user {
        Some(bytes) => decode(bytes)?,
        None => minimal(),
    };
    let map = read(&text)?;
    let mut edits: Vec<(std::ops::Range<usize>, String)> =
        map.processed.iter().map(|r| (r.clone(), String::new())).collect();
    if let Some(name) = computer_name {
        edits.extend(name_edit(&map, name, architecture)?);
    }
    edits.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut out = text;
    for (range, with) in edits {
        out.replace_range(range, &with);
    }
    Ok(out.into_bytes())
}

fn minimal() -> String {
    "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\r\n</unattend>\r\n".to_owned()
}

/// Text of an XML file: UTF-8 or UTF-16 with a byte order mark. The result is UTF-8, whatever its declaration said.
pub(crate) fn decode(bytes: &[u8]) -> Result<String> {
    let bad = |what: &str| Error::new(Kind::Usage, format!("the answer file is {what}"));
    if let Some(rest) = bytes.strip_prefix(&[0xff, 0xfe]) {
        let text = String::from_utf16(&reseal_dtyp::from_utf16le(rest)).map_err(|_| bad("not valid UTF-16"))?;
        return Ok(text.replacen("utf-16", "utf-8", 1).replacen("UTF-16", "utf-8", 1));
    }
    let rest = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    String::from_utf8(rest.to_vec()).map_err(|_| bad("neither UTF-8 nor UTF-16 with a byte order mark"))
}

/// How many passwords stand in an answer file: elements whose name ends in Password, with text that
/// setup has not deleted. The text itself is never returned. An error says why the file cannot be read.
pub(crate) fn passwords(file: &[u8]) -> std::result::Result<usize, String> {
    let text = decode(file).map_err(|e| e.to_string())?;
    let mut reader = Reader::from_str(&text);
    let (mut depth, mut inside, mut count): (usize, Option<usize>, usize) = (0, None, 0);
    let mut plain_text = false;
    loop {
        match reader.read_event().map_err(|e| format!("is not well formed: {e}"))? {
            Event::Start(start) => {
                depth += 1;
                let name = String::from_utf8_lossy(start.local_name().as_ref()).to_ascii_lowercase();
                // `<PlainText>true</PlainText>` says how the password beside it is written.
                plain_text = name == "plaintext";
                if name.ends_with("password") {
                    inside.get_or_insert(depth);
                }
            }
            Event::End(_) => {
                inside = inside.filter(|level| *level < depth);
                depth = depth.saturating_sub(1);
                plain_text = false;
            }
            Event::Text(text) if inside.is_some() && !plain_text => {
                let bytes = text.trim_ascii();
                count += usize::from(!bytes.is_empty() && bytes != b"*SENSITIVE*DATA*DELETED*");
            }
            Event::CData(text) if inside.is_some() => count += usize::from(!text.trim_ascii().is_empty()),
            Event::Eof => return Ok(count),
            _ => {}
        }
    }
}

/// Whether an answer file makes an account, or gives the administrator a password.
pub(crate) fn makes_an_account(file: Option<&[u8]>) -> bool {
    let Some(text) = file.and_then(|bytes| decode(bytes).ok()) else { return false };
    ["<LocalAccount", "<DomainAccount", "<AdministratorPassword"].iter().any(|element| text.contains(element))
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.attributes().flatten().find(|a| a.key.local_name().as_ref() == name.as_bytes())?;
    Some(String::from_utf8_lossy(&attribute.value).into_owned())
}

fn read(text: &str) -> Result<Map> {
    let bad = |at: u64, what: String| {
        let line = text.as_bytes()[..(at as usize).min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
        Error::new(Kind::Usage, format!("the answer file is not well formed in line {line}: {what}"))
    };
    let mut reader = Reader::from_str(text);
    let mut map = Map::default();
    let mut path: Vec<String> = Vec::new();
    loop {
        let before = reader.buffer_position() as usize;
        let event = reader.read_event().map_err(|e| bad(reader.error_position(), e.to_string()))?;
        let after = reader.buffer_position() as usize;
        match event {
            Event::Eof if path.is_empty() && map.root_seen => return Ok(map),
            Event::Eof => return Err(bad(after as u64, "it ends too early".to_owned())),
            Event::Start(element) => {
                map.processed.extend(processed(text, before, after));
                let local = String::from_utf8_lossy(element.local_name().as_ref()).into_owned();
                if path.is_empty() && (map.root_seen || local != "unattend") {
                    return Err(bad(
                        before as u64,
                        format!("<{local}> is not the root of an answer file (<unattend>)"),
                    ));
                }
                map.root_seen = true;
                path.push(match local.as_str() {
                    "settings" => format!("settings:{}", attribute(&element, "pass").unwrap_or_default()),
                    "component" => format!("component:{}", attribute(&element, "name").unwrap_or_default()),
                    _ => local,
                });
                if in_name(&path) && map.name.is_none() {
                    map.name = Some((after..after, String::new()));
                }
            }
            Event::Text(content) if in_name(&path) => {
                let value = String::from_utf8_lossy(&content).trim().to_owned();
                map.name = Some((before..after, value));
            }
            Event::End(_) => {
                let specialize = path.get(1).is_some_and(|s| s == "settings:specialize");
                match path.len() {
                    1 => map.root_end = Some(before),
                    2 if specialize => map.specialize_end = Some(before),
                    3 if specialize && path[2] == format!("component:{SHELL_SETUP}") => map.shell_end = Some(before),
                    _ => {}
                }
                path.pop();
            }
            _ => {}
        }
    }
}

fn in_name(path: &[String]) -> bool {
    matches!(path, [_, settings, component, name]
        if settings == "settings:specialize" && *component == format!("component:{SHELL_SETUP}") && name == "ComputerName")
}

/// The attribute that setup adds to a pass which it has run; such a pass would be skipped.
fn processed(text: &str, start: usize, end: usize) -> Option<std::ops::Range<usize>> {
    const NAME: &str = " wasPassProcessed=";
    let at = start + text.get(start..end)?.find(NAME)?;
    let value = at + NAME.len();
    let quote = text.as_bytes().get(value).copied()?;
    let close = text.get(value + 1..end)?.find(char::from(quote))?;
    Some(at..value + 1 + close + 1)
}

fn name_edit(map: &Map, name: &str, architecture: &str) -> Result<Option<(std::ops::Range<usize>, String)>> {
    let element = format!("<ComputerName>{name}</ComputerName>");
    let component = format!(
        "    <component name=\"{SHELL_SETUP}\" processorArchitecture=\"{architecture}\" \
         publicKeyToken=\"31bf3856ad364e35\" language=\"neutral\" versionScope=\"nonSxS\">\r\n      {element}\r\n    </component>\r\n"
    );
    Ok(match (&map.name, map.shell_end, map.specialize_end, map.root_end) {
        (Some((range, old)), ..) if old.is_empty() || old == "*" => Some((range.clone(), name.to_owned())),
        (Some((_, old)), ..) if old.eq_ignore_ascii_case(name) => None,
        (Some((_, old)), ..) => {
            let detail = format!("the answer file names the computer `{old}`, --computer-name says `{name}`");
            return Err(Error::new(Kind::Usage, detail).hint("name it in one place only"));
        }
        (None, Some(at), ..) => Some((at..at, format!("  {element}\r\n    "))),
        (None, None, Some(at), _) => Some((at..at, format!("{component}  "))),
        (None, None, None, Some(at)) => {
            Some((at..at, format!("  <settings pass=\"specialize\">\r\n{component}  </settings>\r\n")))
        }
        (None, None, None, None) => {
            return Err(Error::new(Kind::Usage, "the answer file's root is an empty element")
                .hint("write <unattend …></unattend>"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(user: Option<&str>, name: Option<&str>) -> Result<String> {
        compose(user.map(str::as_bytes), name, "amd64").map(|b| String::from_utf8(b).unwrap())
    }

    const HEAD: &str = "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n";

    #[test]
    fn a_name_without_a_file_makes_one() {
        let out = text(None, Some("WEB-01")).unwrap();
        assert!(
            out.contains("<settings pass=\"specialize\">") && out.contains("<ComputerName>WEB-01</ComputerName>"),
            "{out}"
        );
        assert_eq!(text(Some(&out), Some("WEB-01")).unwrap(), out, "a second time changes nothing");
    }

    #[test]
    fn a_name_goes_into_what_is_there() {
        let pass = format!(
            "{HEAD}<settings pass=\"specialize\">\n<component name=\"X\"/></settings><settings pass=\"oobeSystem\"></settings></unattend>"
        );
        assert!(
            text(Some(&pass), Some("A"))
                .unwrap()
                .contains("<component name=\"X\"/>    <component name=\"Microsoft-Windows-Shell-Setup\"")
        );
        let component = format!(
            "{HEAD}<settings pass=\"specialize\"><component name=\"{SHELL_SETUP}\"><A/></component></settings></unattend>"
        );
        assert!(text(Some(&component), Some("B1")).unwrap().contains("<A/>  <ComputerName>B1</ComputerName>"));
        for placeholder in ["*", ""] {
            let star = component.replace("<A/>", &format!("<ComputerName>{placeholder}</ComputerName>"));
            assert!(text(Some(&star), Some("B1")).unwrap().contains("<ComputerName>B1</ComputerName>"));
        }
        let other = component.replace("<A/>", "<ComputerName>OTHER</ComputerName>");
        assert_eq!(text(Some(&other), Some("B1")).unwrap_err().kind(), Kind::Usage);
        assert_eq!(text(Some(&other), Some("other")).unwrap(), other);
        assert_eq!(text(Some(&other), None).unwrap(), other);
    }

    #[test]
    fn a_used_file_is_made_new_and_bad_ones_are_refused() {
        let used = format!("{HEAD}<settings pass=\"specialize\" wasPassProcessed=\"true\"></settings></unattend>");
        assert_eq!(text(Some(&used), None).unwrap(), used.replace(" wasPassProcessed=\"true\"", ""));
        let wide = [
            vec![0xff, 0xfe],
            reseal_dtyp::utf16le(&format!("<?xml version=\"1.0\" encoding=\"utf-16\"?>{HEAD}</unattend>")),
        ]
        .concat();
        assert_eq!(
            compose(Some(&wide), None, "amd64").unwrap(),
            format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{HEAD}</unattend>").into_bytes()
        );
        for bad in ["", "<unattend>", "<other></other>", "<unattend></other>", "no xml", "<unattend><a></unattend>"] {
            assert_eq!(text(Some(bad), None).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
