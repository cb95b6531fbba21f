//! The account database: `SAM\Domains\Account` (field notes: formats of V, F and C).

use reseal_dtyp::{DomainSid, Error, FileTime, Kind, Result, Sid, View, from_utf16le, utf16_lossy};
use reseal_hive::Hive;
use serde::Serialize;

/// A local account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct User {
    /// Relative id: 500 is the built-in administrator.
    pub rid: u32,
    /// Account name.
    pub name: String,
    /// Whether it may sign in.
    pub enabled: bool,
    /// Whether a password hash is stored.
    pub has_password: bool,
    /// Whether it is in the local group Administrators.
    pub administrator: bool,
}

/// `V` of the account domain: four entries of 12 bytes {offset, length, count}, data from 48.
const DOMAIN_V_DATA: usize = 48;
/// `V` of a user: 17 entries of 12 bytes, data from 204.
const USER_V_DATA: usize = 204;
const USER_V_NAME: usize = 1;
const USER_V_NT_HASH: usize = 14;

fn account_key(hive: &Hive, below: &str) -> Result<reseal_hive::KeyId> {
    let path = format!(r"SAM\Domains\Account{below}");
    hive.key(&path)?.ok_or_else(|| Error::not_found(format!("the key {path} is missing")))
}

fn value(hive: &Hive, key: reseal_hive::KeyId, name: &str) -> Result<Vec<u8>> {
    let found = hive.value(key, name)?;
    found.map(|v| v.data).ok_or_else(|| {
        Error::not_found(format!("the value {name} of {} is missing", hive.path(key).unwrap_or_default()))
    })
}

/// One variable-length field of a `V` value.
fn v_entry(bytes: &[u8], index: usize, data: usize) -> Result<&[u8]> {
    let view = View::new("SAM V value", 0, bytes);
    let (offset, len) = (view.u32(12 * index, "offset")? as usize, view.u32(12 * index + 4, "length")? as usize);
    view.bytes(data.saturating_add(offset), len, "data")
}

/// The machine SID: entry 1 of `SAM\Domains\Account\V`. `Damaged` when it is no machine SID.
pub(crate) fn machine_sid(hive: &Hive) -> Result<DomainSid> {
    let key = account_key(hive, "")?;
    let bytes = value(hive, key, "V")?;
    let sid = Sid::read_exact(v_entry(&bytes, 1, DOMAIN_V_DATA)?)?;
    match sid.domain() {
        Some(domain) if sid.subs().len() == 4 => Ok(domain),
        _ => Err(Error::new(Kind::Damaged, format!(r"SAM\Domains\Account\V holds {sid}, which is no machine SID"))),
    }
}

/// When the account domain was made: the best date of the installation's first boot or image.
pub(crate) fn created(hive: &Hive) -> Result<FileTime> {
    let key = account_key(hive, "")?;
    View::new("SAM F value", 0, &value(hive, key, "F")?).u64(8, "creation time").map(FileTime)
}

/// The SID prefixes that the users' own descriptors name: every one must be the machine SID.
pub(crate) fn user_sids(hive: &Hive) -> Result<Vec<Sid>> {
    let mut out = Vec::new();
    for key in user_keys(hive)? {
        let bytes = value(hive, key.1, "V")?;
        let descriptor = v_entry(&bytes, 0, USER_V_DATA)?;
        for offset in reseal_dtyp::Descriptor::sid_offsets(descriptor)? {
            let sid = Sid::read(&descriptor[offset..])?;
            if sid.rid() == Some(key.0) {
                out.push(sid);
            }
        }
    }
    Ok(out)
}

/// RID and key of each user.
pub(crate) fn user_keys(hive: &Hive) -> Result<Vec<(u32, reseal_hive::KeyId)>> {
    let users = account_key(hive, r"\Users")?;
    let mut out = Vec::new();
    for key in hive.subkeys(users)? {
        let name = utf16_lossy(&hive.name(key)?);
        if let (8, Ok(rid)) = (name.len(), u32::from_str_radix(&name, 16)) {
            out.push((rid, key));
        }
    }
    Ok(out)
}

/// The local accounts by RID.
pub(crate) fn users(hive: &Hive) -> Result<Vec<User>> {
    let machine = machine_sid(hive)?;
    let administrators = alias_members(hive, "Builtin", 544).unwrap_or_default();
    let mut out = Vec::new();
    for (rid, key) in user_keys(hive)? {
        let (v, f) = (value(hive, key, "V")?, value(hive, key, "F")?);
        let name = utf16_lossy(&from_utf16le(v_entry(&v, USER_V_NAME, USER_V_DATA)?));
        let control = View::new("SAM F value", 0, &f).u16(56, "account control")?;
        // 4 or 24 bytes are the blank forms; 20 and 56 hold a hash.
        let has_password = matches!(v_entry(&v, USER_V_NT_HASH, USER_V_DATA)?.len(), 20 | 56..);
        let administrator = administrators.contains(&machine.account(rid));
        out.push(User { rid, name, enabled: control & 1 == 0, has_password, administrator });
    }
    out.sort_by_key(|user| user.rid);
    Ok(out)
}

/// Members of a local group.
fn alias_members(hive: &Hive, domain: &str, rid: u32) -> Result<Vec<Sid>> {
    let path = format!(r"SAM\Domains\{domain}\Aliases\{rid:08X}");
    let key = hive.key(&path)?.ok_or_else(|| Error::not_found(format!("the key {path} is missing")))?;
    let bytes = value(hive, key, "C")?;
    crate::sam_edit::alias_members(&bytes)
}

/// Whether the database is in the middle of a change: `RXACT` holds more than its idle value.
pub(crate) fn has_open_transaction(hive: &Hive, path: &str) -> Result<bool> {
    let Some(key) = hive.key(path)? else { return Ok(false) };
    let values = hive.values(key)?;
    let idle = values.len() <= 1 && values.iter().all(|v| v.name.is_empty() && v.data.len() <= 12);
    Ok(!idle || !hive.subkeys(key)?.is_empty())
}
