//! Reading `.reg` text: every line is understood, or named with its number.

use crate::error::{Error, Kind, Result};
use reseal_hive::types;

/// What the text asks for, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Make sure of a key, written in full.
    Key(Vec<u16>),
    /// Delete a key with all below.
    DeleteKey(Vec<u16>),
    /// Set a value of the key before.
    Value { name: Vec<u16>, ty: u32, data: Vec<u8> },
    /// Delete a value of the key before.
    DeleteValue(Vec<u16>),
}

/// Which of the two forms the first line names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Version5,
    /// Windows 95 and NT 4: texts are in the code page of their time, of which only ASCII is the same everywhere.
    RegEdit4,
}

/// Parses the text; each edit with its line from 1. UTF-16LE (with or without a byte order mark), UTF-8 and ASCII are told
/// apart by their first bytes. `Usage` names the line that is not understood.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<(usize, Edit)>> {
    let text = decode(bytes)?;
    let mut lines = text.split(|&u| u == 0x0a).map(|line| line.strip_suffix(&[0x0d]).unwrap_or(line)).enumerate();
    let first = lines.next().map(|(_, line)| trim(line)).unwrap_or_default();
    let form = match String::from_utf16_lossy(first).as_str() {
        "Windows Registry Editor Version 5.00" => Form::Version5,
        "REGEDIT4" => Form::RegEdit4,
        other => {
            let shown: String = other.chars().take(60).collect();
            let detail = format!("`{}` begins no .reg text", shown.escape_debug());
            return Err(
                at_line(0, detail).hint("its first line is `Windows Registry Editor Version 5.00` or `REGEDIT4`")
            );
        }
    };
    let mut out = Vec::new();
    let mut in_key = false;
    while let Some((index, line)) = lines.next() {
        let line = trim(line);
        let edit = match line.first().copied().and_then(ascii) {
            None if line.is_empty() => continue,
            Some(b';') => continue,
            Some(b'[') => {
                let edit = key_line(line).map_err(|e| at_line(index, e))?;
                in_key = matches!(edit, Edit::Key(_));
                edit
            }
            Some(b'"' | b'@') if !in_key => return Err(at_line(index, "a value stands below no key")),
            Some(b'"' | b'@') => {
                let mut joined = line.to_vec();
                while joined.last() == Some(&u16::from(b'\\')) {
                    joined.pop();
                    let Some((_, next)) = lines.next() else {
                        return Err(at_line(index, "the text ends in a line that is continued"));
                    };
                    joined.extend(trim(next));
                }
                value_line(&joined, form).map_err(|e| at_line(index, e))?
            }
            _ => return Err(at_line(index, "neither a key, a value nor a comment")),
        };
        out.push((index + 1, edit));
    }
    Ok(out)
}

/// An error that names a line, counted from 0 here and from 1 for people.
fn at_line(index: usize, detail: impl Into<String>) -> Error {
    Error::new(Kind::Usage, detail).subject(format!("line {}", index + 1))
}

fn decode(bytes: &[u8]) -> Result<Vec<u16>> {
    let utf16 = |bytes: &[u8]| {
        if !bytes.len().is_multiple_of(2) {
            return Err(Error::new(Kind::Usage, format!("UTF-16 text of {} bytes, an odd number", bytes.len())));
        }
        Ok(reseal_dtyp::from_utf16le(bytes))
    };
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest),
        [0xfe, 0xff, ..] => Err(Error::new(Kind::Usage, "the text is big-endian UTF-16")
            .hint("save it as UTF-16LE (\"Unicode\" in Notepad) or UTF-8")),
        [_, 0, ..] => utf16(bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest),
        _ => utf8(bytes),
    }
}

fn utf8(bytes: &[u8]) -> Result<Vec<u16>> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].iter().filter(|b| **b == b'\n').count();
        at_line(line, format!("the byte {:#04x} is no UTF-8", bytes.get(e.valid_up_to()).copied().unwrap_or(0)))
            .hint("save the text as UTF-16LE or UTF-8: another code page is not guessed")
    })?;
    Ok(text.encode_utf16().collect())
}

fn ascii(unit: u16) -> Option<u8> {
    u8::try_from(unit).ok()
}

fn is_blank(unit: &u16) -> bool {
    matches!(*unit, 0x20 | 0x09)
}

fn trim(line: &[u16]) -> &[u16] {
    let start = line.iter().position(|u| !is_blank(u)).unwrap_or(line.len());
    let end = line.iter().rposition(|u| !is_blank(u)).map_or(start, |at| at + 1);
    &line[start..end]
}

/// `[KEY]` or `[-KEY]`; the name goes to the last bracket.
fn key_line(line: &[u16]) -> Result<Edit, String> {
    let end = line.iter().rposition(|&u| u == u16::from(b']')).ok_or("the key has no closing bracket")?;
    let rest = trim(&line[end + 1..]);
    if !rest.is_empty() && rest[0] != u16::from(b';') {
        return Err("text follows the key's closing bracket".to_owned());
    }
    let inner = &line[1..end];
    Ok(match inner.strip_prefix(&[u16::from(b'-')]) {
        Some(key) => Edit::DeleteKey(key.to_vec()),
        None => Edit::Key(inner.to_vec()),
    })
}

/// Reads text in quotes from its first quote on; gives it and what follows.
fn quoted(text: &[u16]) -> Result<(Vec<u16>, &[u16]), String> {
    let mut out = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at).copied() {
            None => return Err("the closing quote is missing".to_owned()),
            Some(u) if u == u16::from(b'"') => return Ok((out, &text[at + 1..])),
            Some(u) if u == u16::from(b'\\') => match text.get(at + 1).copied() {
                Some(next) if next == u16::from(b'\\') || next == u16::from(b'"') => {
                    out.push(next);
                    at += 2;
                }
                _ => return Err(r#"a backslash between quotes is written \\, a quote \""#.to_owned()),
            },
            Some(unit) => {
                out.push(unit);
                at += 1;
            }
        }
    }
}

/// `"name"=data`, `@=data`, `"name"=-`.
fn value_line(line: &[u16], form: Form) -> Result<Edit, String> {
    let (name, rest) = if line[0] == u16::from(b'@') { (Vec::new(), &line[1..]) } else { quoted(line)? };
    if form == Form::RegEdit4 && name.iter().any(|u| *u > 0x7f) {
        return Err("the name has letters outside ASCII: which code page REGEDIT4 means is not known".to_owned());
    }
    let rest = trim(rest);
    let data = trim(rest.strip_prefix(&[u16::from(b'=')]).ok_or("no equals sign follows the name")?);
    if data.first() == Some(&u16::from(b'"')) {
        let (text, rest) = quoted(data)?;
        nothing_follows(rest)?;
        if form == Form::RegEdit4 && text.iter().any(|u| *u > 0x7f) {
            return Err("the text has letters outside ASCII: which code page REGEDIT4 means is not known".to_owned());
        }
        let data = text.into_iter().chain([0]).flat_map(u16::to_le_bytes).collect();
        return Ok(Edit::Value { name, ty: types::SZ, data });
    }
    let text = String::from_utf16(data).map_err(|_| "the data is no text")?;
    let text = text.split(';').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    if text == "-" {
        return Ok(Edit::DeleteValue(name));
    }
    let (kind, rest) = text.split_once(':').ok_or_else(|| format!("`{}` is no data", text.escape_debug()))?;
    if kind == "dword" {
        let good = (1..=8).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u32::from_str_radix(rest, 16).ok().filter(|_| good);
        let number = number.ok_or("dword: needs 1 to 8 hexadecimal digits")?;
        return Ok(Edit::Value { name, ty: types::DWORD, data: number.to_le_bytes().to_vec() });
    }
    let ty = match kind {
        "hex" => types::BINARY,
        _ => type_number(kind).ok_or_else(|| format!("`{}` is no type of data", kind.escape_debug()))?,
    };
    let data = hex(rest)?;
    let data = if form == Form::RegEdit4 { widen(ty, data)? } else { data };
    Ok(Edit::Value { name, ty, data })
}

fn type_number(kind: &str) -> Option<u32> {
    let digits = kind.strip_prefix("hex(")?.strip_suffix(')')?;
    let good = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(digits, 16).ok().filter(|_| good)
}

fn nothing_follows(rest: &[u16]) -> Result<(), String> {
    let rest = trim(rest);
    if rest.is_empty() || rest[0] == u16::from(b';') {
        Ok(())
    } else {
        Err("text follows the closing quote".to_owned())
    }
}

/// Bytes of two digits with commas between; one comma too many at the end is regedit's own habit when it folds.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let text = text.strip_suffix(',').unwrap_or(text);
    let byte = |part: &str| {
        let part = part.trim();
        let good = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_hexdigit());
        u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| good)
            .ok_or_else(|| format!("`{}` is no byte of two hexadecimal digits", part.escape_debug()))
    };
    text.split(',').map(byte).collect()
}

/// In REGEDIT4 the texts of REG_EXPAND_SZ and REG_MULTI_SZ have one byte per letter.
fn widen(ty: u32, data: Vec<u8>) -> Result<Vec<u8>, String> {
    match ty {
        types::EXPAND_SZ | types::MULTI_SZ if data.is_ascii() => Ok(data.into_iter().flat_map(|b| [b, 0]).collect()),
        types::EXPAND_SZ | types::MULTI_SZ => {
            Err("the text has letters outside ASCII: which code page REGEDIT4 means is not known".to_owned())
        }
        types::SZ | types::LINK => {
            Err("how REGEDIT4 stores such a text as bytes is not documented: write it in quotes".to_owned())
        }
        _ => Ok(data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::utf16le;

    const HEAD: &str = "Windows Registry Editor Version 5.00\r\n\r\n[K]\r\n";

    fn one(line: &str) -> Edit {
        parse(format!("{HEAD}{line}\r\n").as_bytes()).unwrap().pop().unwrap().1
    }

    fn value(line: &str) -> (String, u32, Vec<u8>) {
        match one(line) {
            Edit::Value { name, ty, data } => (String::from_utf16(&name).unwrap(), ty, data),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_of_every_form() {
        assert_eq!(value(r#""a\\\"b"="t\\e\"xt""#), (r#"a\"b"#.into(), 1, utf16le("t\\e\"xt\0")));
        assert_eq!(value("@=dword:1F"), (String::new(), 4, vec![0x1f, 0, 0, 0]));
        assert_eq!(value(r#""x" = hex : 1"#.replace(" : ", ":").as_str()), ("x".into(), 3, vec![1]));
        assert_eq!(value("\"x\"=hex(ffff0012):01,02,\\\r\n  03 ; so"), ("x".into(), 0xffff_0012, vec![1, 2, 3]));
        assert_eq!(value("\"x\"=hex(7):"), ("x".into(), 7, vec![]));
        assert_eq!(one("\"x\"=-"), Edit::DeleteValue(vec![0x78]));
        assert_eq!(one("[-A\\[b]]"), Edit::DeleteKey("A\\[b]".encode_utf16().collect()));
        assert_eq!(value("\"x\"=\"a ; b\" ; c"), ("x".into(), 1, utf16le("a ; b\0")));
    }

    #[test]
    fn what_is_not_understood_is_named_by_its_line() {
        for bad in [
            "x",
            "\"x",
            "\"x\"",
            "\"x\"=",
            "\"x\"=dword:",
            "\"x\"=dword:123456789",
            "\"x\"=dword:+1",
            "\"x\"=hex:1g",
            "\"x\"=hex:01,,02",
            "\"x\"=hex:001",
            "\"x\"=hex(100000000):00",
            "\"x\"=hex():00",
            "\"x\"=\"a\"b",
            "\"x\"=\"a\\n\"",
            "[a",
            "[a] b",
            "\"x\"=hex:01,\\",
            "\"x\"=qword:1",
            "hex:00",
        ] {
            let error = parse(format!("{HEAD}{bad}").as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.subjects()), (Kind::Usage, &["line 4".to_owned()][..]), "{bad}: {error}");
        }
        let no_key = parse(b"REGEDIT4\n@=\"x\"").unwrap_err();
        assert_eq!(no_key.subjects(), ["line 2"]);
        let deleted = parse(b"REGEDIT4\n[-K]\n@=\"x\"").unwrap_err();
        assert_eq!(deleted.subjects(), ["line 3"]);
        for bad in [&b""[..], b"Windows Registry Editor Version 6", b"\xff\xfeR", b"\xfe\xff\0R", b"REGEDIT4\n[\xe9]"] {
            assert_eq!(parse(bad).unwrap_err().kind(), Kind::Usage);
        }
    }

    #[test]
    fn encodings_and_the_old_form() {
        let text = "REGEDIT4\r\n[K]\r\n\"a\"=hex(2):61,00\r\n\"b\"=hex:ff\r\n";
        let expected = parse(text.as_bytes()).unwrap();
        assert_eq!(expected[1].1, Edit::Value { name: vec![0x61], ty: 2, data: utf16le("a\0") });
        assert_eq!(expected[2].1, Edit::Value { name: vec![0x62], ty: 3, data: vec![0xff] });
        assert_eq!(parse(&utf16le(text)).unwrap(), expected);
        assert_eq!(parse(&[vec![0xff, 0xfe], utf16le(text)].concat()).unwrap(), expected);
        assert_eq!(parse(&[b"\xef\xbb\xbf", text.as_bytes()].concat()).unwrap(), expected);
        for bad in ["\"a\"=hex(7):e9,00", "\"a\"=hex(1):61,00", "\"a\"=\"é\"", "\"é\"=dword:1"] {
            assert!(parse(format!("REGEDIT4\r\n[K]\r\n{bad}").as_bytes()).is_err(), "{bad}");
        }
    }
}
