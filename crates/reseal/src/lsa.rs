//! LSA policy: `SECURITY\Policy` (field notes: names are {u16 length, u16 max, u32 offset 8, UTF-16}).

use reseal_dtyp::{DomainSid, Result, Sid, View, from_utf16le, utf16_lossy, utf16le};
use reseal_hive::Hive;

/// The unnamed value of a policy key; empty when the key or the value is absent.
fn policy(hive: &Hive, name: &str) -> Result<Vec<u8>> {
    let Some(key) = hive.key(&format!(r"Policy\{name}"))? else { return Ok(Vec::new()) };
    Ok(hive.value(key, "")?.map(|v| v.data).unwrap_or_default())
}

/// The account domain's SID: `PolAcDmS`. `None` when it is absent.
pub(crate) fn account_domain_sid(hive: &Hive) -> Result<Option<DomainSid>> {
    let bytes = policy(hive, "PolAcDmS")?;
    if bytes.is_empty() { Ok(None) } else { Ok(Sid::read_exact(&bytes)?.domain()) }
}

/// A policy name such as `PolAcDmN` (computer) or `PolPrDmN` (workgroup or domain).
pub(crate) fn name(hive: &Hive, which: &str) -> Result<String> {
    let bytes = policy(hive, which)?;
    if bytes.is_empty() {
        return Ok(String::new());
    }
    let view = View::new("LSA policy name", 0, &bytes);
    let (len, offset) = (usize::from(view.u16(0, "length")?), view.u32(4, "offset")? as usize);
    Ok(utf16_lossy(&from_utf16le(view.bytes(offset, len, "text")?)))
}

/// The value that holds a name, as Windows lays it out.
pub(crate) fn name_value(text: &str) -> Vec<u8> {
    let units = utf16le(text);
    let len = units.len() as u16;
    let mut out = [len.to_le_bytes(), (len + 2).to_le_bytes()].concat();
    out.extend_from_slice(&8u32.to_le_bytes());
    out.extend_from_slice(&units);
    out.extend_from_slice(&[0, 0]);
    out
}

/// The SID of the domain that the machine joined: `PolPrDmS`; empty in a workgroup.
pub(crate) fn primary_domain_sid(hive: &Hive) -> Result<Option<Sid>> {
    let bytes = policy(hive, "PolPrDmS")?;
    if bytes.is_empty() { Ok(None) } else { Sid::read_exact(&bytes).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_value_is_what_windows_writes() {
        // Measured: `12 00 14 00 08 00 00 00 …` for WORKGROUP.
        let bytes = name_value("WORKGROUP");
        assert_eq!(bytes[..8], [0x12, 0, 0x14, 0, 8, 0, 0, 0]);
        assert_eq!(bytes.len(), 8 + 18 + 2);
    }
}
