//! AddReg sections below the key of a service.

use super::inf::{Inf, Line, at_line};
use super::package::number;
use crate::error::Result;
use reseal_hive::types;

/// A value that a service gets, or a key alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegEdit {
    /// Path below the service's key; empty for that itself.
    pub(crate) key: String,
    /// Name, type and data; `None` for the key alone.
    pub(crate) value: Option<(String, u32, Vec<u8>)>,
    /// FLG_ADDREG_NOCLOBBER: a value that is there stays.
    pub(crate) keeps: bool,
}

/// FLG_ADDREG_* of the INF AddReg directive.
mod flag {
    pub(super) const BINARY: u32 = 0x1;
    pub(super) const NO_CLOBBER: u32 = 0x2;
    pub(super) const DELETE: u32 = 0x4;
    pub(super) const APPEND: u32 = 0x8;
    pub(super) const KEY_ONLY: u32 = 0x10;
    pub(super) const OVERWRITE_ONLY: u32 = 0x20;
    pub(super) const KEY_ONLY_COMMON: u32 = 0x2000;
    /// Which view of the registry: one and the same below a service.
    pub(super) const VIEWS: u32 = 0x5000;
}

/// The edits of one AddReg section; `at` is the line that names it.
pub(super) fn edits(inf: &Inf, at: usize, section: &str) -> Result<Vec<RegEdit>> {
    let lines =
        inf.section(section).ok_or_else(|| at_line(at, format!("there is no section [{}]", section.escape_debug())))?;
    // Other roots are for Windows, when it installs the package: nothing outside of the service is needed to start from it.
    let own = lines.iter().filter(|line| line.field(0).eq_ignore_ascii_case("HKR"));
    own.map(|line| edit(inf, line)).collect()
}

fn edit(inf: &Inf, line: &Line) -> Result<RegEdit> {
    let bad = |what: &str| at_line(line.number, what);
    let key = line.field(1).trim_matches('\\').to_owned();
    let sound = |name: &str| !name.is_empty() && name.len() <= 255 && !name.chars().any(char::is_control);
    if !key.is_empty() && (key.split('\\').count() > 16 || !key.split('\\').all(sound)) {
        return Err(bad("the path of the key is none"));
    }
    let flags = if line.field(3).is_empty() { 0 } else { number(line.number, line.field(3))? };
    let known = 0xffff_0000 | flag::BINARY | flag::NO_CLOBBER | flag::KEY_ONLY | flag::KEY_ONLY_COMMON | flag::VIEWS;
    if flags & (flag::DELETE | flag::APPEND | flag::OVERWRITE_ONLY) != 0 || flags & !known != 0 {
        return Err(bad(&format!("flags {flags:#x}: deleting, appending and overwriting only are not carried out")));
    }
    let keeps = flags & flag::NO_CLOBBER != 0;
    if flags & (flag::KEY_ONLY | flag::KEY_ONLY_COMMON) != 0 || (line.field(2).is_empty() && line.fields.len() <= 4) {
        return Ok(RegEdit { key, value: None, keeps });
    }
    let data = line.fields.get(4..).unwrap_or_default();
    if inf.is_of_unknown_code_page && data.iter().chain(line.fields.get(2)).any(|text| !text.is_ascii()) {
        return Err(bad("letters outside ASCII, of an unknown code page: save the INF as UTF-16"));
    }
    let name = line.field(2).to_owned();
    if name.len() > 1000 || name.chars().any(char::is_control) {
        return Err(bad("the name of the value is none"));
    }
    let (ty, data) = typed(line.number, flags, data)?;
    Ok(RegEdit { key, value: Some((name, ty, data)), keeps })
}

/// Type and data, as FLG_ADDREG_TYPE_* of the flags says.
fn typed(line: usize, flags: u32, fields: &[String]) -> Result<(u32, Vec<u8>)> {
    let one = || match fields {
        [] => Ok(""),
        [one] => Ok(one.as_str()),
        more => Err(at_line(line, format!("{} data, one was expected", more.len()))),
    };
    let sz = |text: &str| crate::session::sz(text);
    let bytes = || -> Result<Vec<u8>> {
        let byte = |text: &String| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            u8::from_str_radix(digits, 16).map_err(|_| at_line(line, format!("`{}` is no byte", text.escape_debug())))
        };
        fields.iter().filter(|text| !text.is_empty()).map(byte).collect()
    };
    Ok(match (flags >> 16, flags & flag::BINARY != 0) {
        (0, false) => (types::SZ, sz(one()?)),
        (1, false) => {
            let lines: Vec<u8> = fields.iter().filter(|text| !text.is_empty()).flat_map(|text| sz(text)).collect();
            (types::MULTI_SZ, [lines, vec![0, 0]].concat())
        }
        (2, false) => (types::EXPAND_SZ, sz(one()?)),
        (0, true) => (types::BINARY, bytes()?),
        // A number, or its four bytes.
        (1, true) if fields.len() == 4 => (types::DWORD, bytes()?),
        (1, true) => {
            let text = one()?;
            (types::DWORD, if text.is_empty() { 0 } else { number(line, text)? }.to_le_bytes().to_vec())
        }
        (2, true) => (types::NONE, bytes()?),
        (ty, true) => (ty, bytes()?),
        (_, false) => return Err(at_line(line, format!("flags {flags:#x} name no type"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<RegEdit> {
        let inf = Inf::parse(format!("[a]\n{line}").as_bytes()).unwrap();
        edits(&inf, 1, "a").map(|mut list| list.remove(0))
    }

    fn value(line: &str) -> (String, u32, Vec<u8>) {
        one(line).unwrap().value.unwrap()
    }

    #[test]
    fn every_type() {
        let sz = |text: &str| crate::session::sz(text);
        assert_eq!(value("HKR,,n,,text"), ("n".into(), 1, sz("text")));
        assert_eq!(value("HKR,k,n,0x00020000,%12%"), ("n".into(), 2, sz("%12%")));
        assert_eq!(value("HKR,k,n,0x10000,a,b"), ("n".into(), 7, [sz("a"), sz("b"), vec![0, 0]].concat()));
        assert_eq!(value("HKR,k,n,0x10001,17"), ("n".into(), 4, vec![17, 0, 0, 0]));
        assert_eq!(value("HKR,k,n,0x10001,0xff"), ("n".into(), 4, vec![255, 0, 0, 0]));
        assert_eq!(value("HKR,k,n,0x10001,-1"), ("n".into(), 4, vec![255; 4]));
        assert_eq!(value("HKR,k,n,0x10001,01,02,03,04"), ("n".into(), 4, vec![1, 2, 3, 4]));
        assert_eq!(value("HKR,k,n,1,0a,ff"), ("n".into(), 3, vec![10, 255]));
        assert_eq!(value("HKR,k,n,0xb0001,1,0,0,0,0,0,0,0"), ("n".into(), 11, vec![1, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(value("HKR,k,n,0x20001"), ("n".into(), 0, vec![]));
        assert!(one("HKR,k,n,0x10003,1").unwrap().keeps);
        assert_eq!(one(r"HKR,Parameters\PnpInterface,,0x10").unwrap().value, None);
        assert_eq!(one(r#"HKR,"Parameters",,,"#).unwrap().value, Some((String::new(), 1, sz(""))));
        assert_eq!(one("HKR,Parameters").unwrap().key, "Parameters");
    }

    #[test]
    fn what_is_not_carried_out_is_refused() {
        for (line, word) in [
            ("HKR,,n,4", "not carried out"),
            ("HKR,,n,0x10008,a", "not carried out"),
            ("HKR,,n,0x10001,x", "no number"),
            ("HKR,,n,1,100", "no byte"),
            ("HKR,,n,0,a,b", "one was expected"),
            ("HKR,,n,0x50000,1", "no type"),
            (r"HKR,a\\b,n,0,1", "key"),
            ("HKR,,n,q,1", "no number"),
        ] {
            let error = one(line).unwrap_err().to_string();
            assert!(error.starts_with("line 2: ") && error.contains(word), "{line}: {error}");
        }
        let other = Inf::parse(b"[a]\nHKLM,x,y,4").unwrap();
        assert_eq!(edits(&other, 1, "a").unwrap(), []);
        assert!(edits(&other, 7, "b").unwrap_err().to_string().starts_with("line 7"));
        let ansi = Inf::parse(b"[a]\nHKR,x,y,0,\xe4").unwrap();
        assert!(edits(&ansi, 1, "a").unwrap_err().to_string().contains("code page"));
    }
}
