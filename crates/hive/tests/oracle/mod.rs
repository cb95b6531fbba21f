//! hivexml (libhivex) as an independent reader: its XML and our reading, brought to the same lines.

use reseal_hive::{Hive, KeyId, Value, types};
use std::path::Path;
use std::process::Command;

/// hivexml's XML of a hive; `None` (with a printed reason) where the tool is missing, a failure where
/// `RESEAL_ORACLES=require` is set. `Err` holds what it said about a hive that it refuses.
pub(crate) fn hivexml(path: &Path) -> Option<Result<String, String>> {
    match Command::new("hivexml").arg(path).output() {
        Ok(out) if out.status.success() => Some(Ok(String::from_utf8_lossy(&out.stdout).into_owned())),
        Ok(out) => Some(Err(String::from_utf8_lossy(&out.stderr).into_owned())),
        Err(e) => {
            let required = std::env::var("RESEAL_ORACLES").is_ok_and(|v| v == "require");
            assert!(!required, "RESEAL_ORACLES=require, but hivexml does not start: {e}");
            println!("skipped: hivexml is not installed ({e})");
            None
        }
    }
}

/// The lines of hivexml's XML: path and time of each key; path, name, type and data of each value.
pub(crate) fn lines_of_xml(xml: &str) -> Vec<String> {
    let (mut out, mut path, mut rest) = (Vec::new(), Vec::<String>::new(), xml);
    let mut strings: Option<(String, Vec<String>)> = None;
    while let Some(open) = rest.find('<') {
        let close = open + rest[open..].find('>').unwrap();
        let (tag, after) = (&rest[open + 1..close], &rest[close + 1..]);
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or("");
        match (tag.starts_with('/'), name) {
            (false, "node") => path.push(attribute(tag, "name").unwrap_or_default()),
            (true, "node") => drop(path.pop()),
            (false, "mtime") if !path.is_empty() => {
                out.push(format!("{} time {}", path.join("\\"), &after[..after.find('<').unwrap()]));
            }
            (false, "value") => {
                let head = format!("{} \"{}\"", path.join("\\"), attribute(tag, "key").unwrap_or_default());
                let (ty, value) = (attribute(tag, "type").unwrap(), attribute(tag, "value").unwrap_or_default());
                if ty == "string-list" {
                    strings = (!tag.ends_with('/')).then_some((head, Vec::new()));
                } else if attribute(tag, "encoding").is_some() {
                    out.push(format!("{head} {ty} {:?}", base64(&value)));
                } else {
                    out.push(format!("{head} {ty} {value}"));
                }
            }
            (true, "value") => {
                if let Some((head, list)) = strings.take() {
                    out.push(format!("{head} string-list {list:?}"));
                }
            }
            (false, "string") if !tag.ends_with('/') => {
                if let Some((_, list)) = &mut strings {
                    let text = entities(&after[..after.find('<').unwrap()]);
                    list.extend((!text.is_empty()).then_some(text));
                }
            }
            _ => {}
        }
        rest = after;
    }
    out
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    Some(entities(&tag[start..start + tag[start..].find('"')?]))
}

fn entities(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let end = at + rest[at..].find(';').unwrap();
        out.push_str(&rest[..at]);
        match &rest[at + 1..end] {
            "lt" => out.push('<'),
            "gt" => out.push('>'),
            "amp" => out.push('&'),
            "quot" => out.push('"'),
            "apos" => out.push('\''),
            number => {
                let code = number.trim_start_matches('#');
                let code = code.strip_prefix('x').map_or_else(|| code.parse(), |hex| u32::from_str_radix(hex, 16));
                out.push(char::from_u32(code.unwrap()).unwrap());
            }
        }
        rest = &rest[end + 1..];
    }
    out + rest
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let mut out = Vec::new();
    for quad in digits.chunks(4) {
        let bits = quad.iter().fold(0u32, |acc, d| acc << 6 | u32::from(*d)) << (6 * (4 - quad.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..quad.len()]);
    }
    out
}

/// Our own reading as the same lines.
pub(crate) fn lines_of_hive(hive: &Hive) -> Vec<String> {
    let mut out = Vec::new();
    lines_of_key(hive, hive.root(), "", &mut out);
    out
}

fn lines_of_key(hive: &Hive, key: KeyId, above: &str, out: &mut Vec<String>) {
    // hivexml ends names at a NUL.
    let name = String::from_utf16_lossy(&hive.name(key).unwrap()).split('\0').next().unwrap().to_string();
    let path = if above.is_empty() { name } else { format!("{above}\\{name}") };
    out.push(format!("{path} time {}", hive.timestamp(key).unwrap().to_iso()));
    for value in hive.values(key).unwrap() {
        let name = value.name_lossy();
        out.push(format!("{path} \"{}\" {}", name.split('\0').next().unwrap(), data_line(&value)));
    }
    for child in hive.subkeys(key).unwrap() {
        lines_of_key(hive, child, &path, out);
    }
}

fn data_line(value: &Value) -> String {
    let name = match value.ty {
        types::NONE => "none",
        types::SZ => return format!("string {}", value.as_text().unwrap()),
        types::EXPAND_SZ => return format!("expand {}", value.as_text().unwrap()),
        types::LINK => return format!("link {}", value.as_text().unwrap()),
        types::MULTI_SZ => {
            let texts = value.as_multi_text().unwrap().into_iter().filter(|text| !text.is_empty());
            return format!("string-list {:?}", texts.collect::<Vec<_>>());
        }
        types::DWORD | types::DWORD_BIG_ENDIAN => match value.as_u32() {
            Some(number) => return format!("int32 {}", number as i32),
            None => return format!("int32 {}", odd_number(&value.data[..], 4)),
        },
        types::QWORD => match value.as_u64() {
            Some(number) => return format!("int64 {}", number as i64),
            None => return format!("int64 {}", odd_number(&value.data[..], 8)),
        },
        types::BINARY => "binary",
        8 => "resource-list",
        9 => "resource-description",
        10 => "resource-requirements",
        _ => "unknown",
    };
    format!("{name} {:?}", value.data)
}

/// What hivexml makes of a number of the wrong length: -1, or what its first bytes say.
fn odd_number(data: &[u8], len: usize) -> i64 {
    let Some(bytes) = data.get(..len) else { return -1 };
    bytes.iter().rev().fold(0, |n, b| n << 8 | i64::from(*b))
}

/// Fails at the first line that the two readers see differently.
pub(crate) fn assert_same(hive: &Hive, xml: &str, what: &str) {
    let (theirs, ours) = (lines_of_xml(xml), lines_of_hive(hive));
    for (i, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(theirs, ours, "{what}: line {i}");
    }
    assert_eq!(theirs.len(), ours.len(), "{what}");
}
