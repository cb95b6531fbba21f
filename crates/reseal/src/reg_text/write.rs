//! Writing `.reg` text: each value in the form that gives back type and data exactly.

use reseal_dtyp::{Error, Kind, Result, from_utf16le};
use reseal_hive::{Value, types};
use std::io::Write;

/// Columns of a line: regedit breaks one after the byte that reaches column 77, and puts a backslash behind it.
const FOLD: usize = 77;

/// How the text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Little-endian with a byte order mark, as regedit writes.
    Utf16,
    /// Without a mark.
    Utf8,
}

/// Writes `.reg` text piece by piece.
pub(crate) struct Writer<'w> {
    out: &'w mut dyn Write,
    encoding: Encoding,
}

/// A name or a text that stands between quotes or brackets must stay on its line.
fn one_line(units: &[u16], what: &str) -> Result<()> {
    match units.iter().find(|u| matches!(**u, 0 | 0x0a | 0x0d)) {
        None => Ok(()),
        Some(unit) => {
            let detail = format!(
                "the {what} `{}` has the character U+{unit:04X}, which .reg text cannot say",
                String::from_utf16_lossy(units).escape_debug()
            );
            Err(Error::new(Kind::Unsupported, detail))
        }
    }
}

/// Text between quotes: `\` and `"` escaped.
fn quote(units: &[u16], out: &mut Vec<u16>) {
    out.push(u16::from(b'"'));
    for &unit in units {
        if unit == u16::from(b'"') || unit == u16::from(b'\\') {
            out.push(u16::from(b'\\'));
        }
        out.push(unit);
    }
    out.push(u16::from(b'"'));
}

/// A value's name as it stands before the equals sign: `@` or quoted.
fn quoted_name(name: &[u16]) -> Vec<u16> {
    if name.is_empty() {
        return vec![u16::from(b'@')];
    }
    let mut out = Vec::with_capacity(name.len() + 2);
    quote(name, &mut out);
    out
}

/// The text of a REG_SZ that quotes can say exactly: one terminator at its end and no other, all on one line.
fn plain_text(ty: u32, data: &[u8]) -> Option<Vec<u16>> {
    if ty != types::SZ || !data.len().is_multiple_of(2) {
        return None;
    }
    let mut units = from_utf16le(data);
    let terminated = units.pop() == Some(0);
    (terminated && one_line(&units, "text").is_ok()).then_some(units)
}

/// Type and data in one line, as they stand behind the equals sign.
pub(crate) fn data_notation(ty: u32, data: &[u8]) -> Vec<u16> {
    let mut out = Vec::new();
    append_data(ty, data, None, &mut out);
    out
}

/// Appends the notation, folded when `column` says where it starts.
fn append_data(ty: u32, data: &[u8], column: Option<usize>, out: &mut Vec<u16>) {
    if let Some(text) = plain_text(ty, data) {
        return quote(&text, out);
    }
    let number = <[u8; 4]>::try_from(data).ok().filter(|_| ty == types::DWORD);
    if let Some(bytes) = number {
        return out.extend(format!("dword:{:08x}", u32::from_le_bytes(bytes)).encode_utf16());
    }
    let head = if ty == types::BINARY { "hex:".to_owned() } else { format!("hex({ty:x}):") };
    out.extend(head.encode_utf16());
    let digit = |d: u8| u16::from(b"0123456789abcdef"[usize::from(d & 15)]);
    let mut column = column.map(|c| c + head.len());
    for (i, byte) in data.iter().enumerate() {
        out.extend([digit(byte >> 4), digit(*byte)]);
        if i + 1 == data.len() {
            break;
        }
        out.push(u16::from(b','));
        if let Some(at) = &mut column {
            *at += 3;
            if *at >= FOLD {
                out.extend("\\\r\n  ".encode_utf16());
                *at = 2;
            }
        }
    }
}

impl<'w> Writer<'w> {
    /// Starts the text with its first line.
    pub(crate) fn start(out: &'w mut dyn Write, encoding: Encoding) -> Result<Writer<'w>> {
        let mut writer = Writer { out, encoding };
        if encoding == Encoding::Utf16 {
            writer.put(&[0xfeff])?;
        }
        writer.put(&units("Windows Registry Editor Version 5.00\r\n"))?;
        Ok(writer)
    }

    /// A key, written in full. `Unsupported` when a name holds a line end or a NUL.
    pub(crate) fn key(&mut self, path: &[u16]) -> Result<()> {
        one_line(path, "key")?;
        let mut line = units("\r\n[");
        line.extend(path);
        line.extend(units("]\r\n"));
        self.put(&line)
    }

    /// A value of the key before.
    pub(crate) fn value(&mut self, value: &Value) -> Result<()> {
        one_line(&value.name, "value name")?;
        let mut line = quoted_name(&value.name);
        line.push(u16::from(b'='));
        let column = line.len();
        append_data(value.ty, &value.data, Some(column), &mut line);
        line.extend(units("\r\n"));
        self.put(&line)
    }

    /// Ends the text with an empty line, as regedit does.
    pub(crate) fn end(mut self) -> Result<()> {
        self.put(&units("\r\n"))
    }

    fn put(&mut self, line: &[u16]) -> Result<()> {
        let bytes = match self.encoding {
            Encoding::Utf16 => line.iter().flat_map(|u| u.to_le_bytes()).collect(),
            Encoding::Utf8 => String::from_utf16(line).map(String::into_bytes).map_err(|_| {
                let shown = String::from_utf16_lossy(line);
                let detail = format!("`{}` holds half of a surrogate pair, which UTF-8 cannot say", shown.trim());
                Error::new(Kind::Unsupported, detail)
            })?,
        };
        self.out.write_all(&bytes).map_err(|e| Error::io("cannot write the .reg text", e))
    }
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::utf16le;

    fn shown(ty: u32, data: &[u8]) -> String {
        String::from_utf16(&data_notation(ty, data)).unwrap()
    }

    #[test]
    fn each_type_has_a_notation() {
        assert_eq!(shown(1, &utf16le("a\"\\b\0")), r#""a\"\\b""#);
        assert_eq!(shown(1, &utf16le("\0")), r#""""#);
        assert_eq!(shown(1, &[]), "hex(1):");
        assert_eq!(shown(1, &utf16le("a")), "hex(1):61,00");
        assert_eq!(shown(1, &utf16le("a\0b\0")), "hex(1):61,00,00,00,62,00,00,00");
        assert_eq!(shown(1, &utf16le("a\nb\0")), "hex(1):61,00,0a,00,62,00,00,00");
        assert_eq!(shown(1, &[0x61, 0, 0]), "hex(1):61,00,00");
        assert_eq!(shown(4, &[0x10, 0, 0, 0x80]), "dword:80000010");
        assert_eq!(shown(4, &[1, 2]), "hex(4):01,02");
        assert_eq!(shown(3, &[]), "hex:");
        assert_eq!(shown(0, &[9]), "hex(0):09");
        assert_eq!(shown(11, &[1, 0, 0, 0, 0, 0, 0, 0]), "hex(b):01,00,00,00,00,00,00,00");
        assert_eq!(shown(0xffff_0012, &[1]), "hex(ffff0012):01");
    }

    #[test]
    fn lines_fold_as_regedit_folds_them() {
        let mut out = Vec::new();
        let mut writer = Writer::start(&mut out, Encoding::Utf8).unwrap();
        let value = Value { name: units("Long"), ty: 3, data: vec![0xab; 60] };
        writer.value(&value).unwrap();
        writer.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert_eq!(lines[0], "Windows Registry Editor Version 5.00");
        // The first line holds what fits, a full one below it two blanks and 25 bytes.
        assert_eq!(lines[1], format!("\"Long\"=hex:{}\\", "ab,".repeat(22)));
        assert_eq!(lines[2], format!("  {}\\", "ab,".repeat(25)));
        assert_eq!(lines[3], format!("  {}ab", "ab,".repeat(12)));
        assert!(lines.iter().all(|line| line.len() <= 80));
    }
}
