//! The request for a new SID that setupcl.exe carries out at the first start: `SYSTEM\Setup\SetupCl\PendingRequest`.

use crate::MachineHive::System;
use crate::error::{Error, Kind, Result};
use crate::scope::Scope;
use crate::session::Session;
use reseal_dtyp::Level;
use reseal_hive::types::DWORD;

const KEY: &str = r"Setup\SetupCl\PendingRequest";
/// Where this part writes.
pub(super) const SCOPE: Scope = Scope::Key(System, KEY);

/// Empties the request: besides a SID that was written or kept it would be a second writer of one SID. The key stays, as it
/// does where setupcl has run.
pub(super) fn withdraw(session: &mut Session<'_>) -> Result<()> {
    let count = session.value_names(System, KEY)?.len();
    if count > 0 && !session.facts.setup.is_generalized() {
        let detail = format!("{count} values waited for setupcl in an image that was not sealed: removed");
        session.find(Level::Note, "pending-request", &format!(r"SYSTEM\{KEY}"), detail);
    }
    session.clear_values(System, KEY)
}

/// Asks for a SID of Windows' own choice, so that every copy gets one. The form of the request was seen in one public tool
/// and not in a sealed image.
pub(super) fn ask(session: &mut Session<'_>) -> Result<()> {
    const REPLACE: u32 = 4;
    let place = format!(r"SYSTEM\{KEY}");
    if session.facts.setup.is_generalized() && !session.value_names(System, KEY)?.is_empty() {
        return Ok(());
    }
    if session.hive(System).map_or(Ok(None), |hive| hive.key(KEY))?.is_none() {
        let detail = format!("there is no key {place}: whether this Windows would see a request is not known");
        return Err(Error::new(Kind::Unsupported, detail)
            .hint("use `--sid random` and give each copy a SID of its own with `--sid S-1-5-21-…`"));
    }
    session.set(System, KEY, "OperationFlags", DWORD, &REPLACE.to_le_bytes())?;
    session.delete_value(System, KEY, "SidAccountDomainNew")?;
    let detail = "experimental: whether setupcl.exe acts on a request that Sysprep did not write is not known; compare \
                  `whoami /user` of two copies before you rely on it";
    session.find(Level::Note, "sid-deferred", &place, detail);
    Ok(())
}
