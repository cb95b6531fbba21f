use super::{Evidence, Spec, Step};
use crate::MachineHive::Software;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::{Session, sz};
use reseal_hive::types::{BINARY, DWORD, SZ};
use std::collections::BTreeMap;

/// Gives the coordinator of transactions and message queuing ids of their own.
pub(super) struct TransactionIds;

/// Where the contact ids of MSDTC stand: as names of keys and values and as texts (measured in two hives of Windows 7, whose
/// ids differ, and where each id stands in all of these places).
const PLACES: &[&str] = &[
    r"Classes\CID",
    r"Classes\CID.Local",
    r"Classes\SVCID",
    r"Classes\SVCID.Local",
    r"Microsoft\MSDTC\Security\XAKeyCNGKeyDataBlob",
];
/// The two whose subkeys are the ids.
const LISTS: &[&str] = &[r"Classes\CID", r"Classes\CID.Local"];
/// Stated limit for the walk; the real ones are three deep.
const MAX_DEPTH: usize = 8;
const MSMQ: &str = r"Microsoft\MSMQ\Parameters";
const MSMQ_ID: &str = r"Microsoft\MSMQ\Parameters\MachineCache";

static SPEC: Spec = Spec {
    id: "transaction-ids",
    title: "New ids for MSDTC and MSMQ",
    about: "Replaces the contact ids of the transaction coordinator wherever they stand in SOFTWARE: two machines with one id \
            cannot take part in one transaction. Where message queuing is installed, it gets a new queue manager id, and the \
            switch SysPrep, with which the service makes its own at its next start.",
    phase: "identity",
    mirrors: &["msdtcprx.dll!SysPrepDtcGeneralize"],
    evidence: Evidence::Unverified,
    unproven: "that MSDTC and MSMQ start with the new ids",
    writes: &[
        Scope::Key(Software, r"Classes\CID"),
        Scope::Key(Software, r"Classes\CID.Local"),
        Scope::Key(Software, r"Classes\SVCID"),
        Scope::Key(Software, r"Classes\SVCID.Local"),
        Scope::Key(Software, r"Microsoft\MSDTC\Security"),
        Scope::Key(Software, MSMQ),
    ],
    ..Spec::BASE
};

/// Ids in small letters and what takes their place.
type Ids = BTreeMap<String, String>;

impl Step for TransactionIds {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        // Ids are drawn once: a second run on a sealed image has nothing to add.
        if session.facts.setup.is_generalized() {
            return Ok(None);
        }
        let mut ids = Ids::new();
        for list in LISTS {
            for name in session.subkey_names(Software, list)? {
                if is_guid(&name) {
                    let old = name.to_ascii_lowercase();
                    let new = session.inputs.stream(&[b"contact-id", old.as_bytes()]).guid().to_string();
                    ids.insert(old, new.to_ascii_lowercase());
                }
            }
        }
        if !ids.is_empty() {
            for place in PLACES {
                replace(session, place, &ids, 0)?;
            }
        }
        message_queuing(session)?;
        Ok(None)
    }
}

fn is_guid(name: &str) -> bool {
    let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    name.len() == 36
        && name.bytes().enumerate().all(|(at, b)| if hyphen(at) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// Replaces ids in a key's values and, from below, in the names of its subkeys.
fn replace(session: &mut Session<'_>, key: &str, ids: &Ids, depth: usize) -> Result<()> {
    if depth > MAX_DEPTH {
        return Ok(());
    }
    for name in session.value_names(Software, key)? {
        let Some(value) = session.value(Software, key, &name)? else { continue };
        let text = value.as_text().filter(|_| value.ty == SZ);
        let data = match text.and_then(|text| ids.get(&text.to_ascii_lowercase())) {
            Some(new) => sz(new),
            None => value.data.clone(),
        };
        match ids.get(&name.to_ascii_lowercase()) {
            Some(new_name) => {
                session.delete_value(Software, key, &name)?;
                session.set(Software, key, new_name, value.ty, &data)?;
            }
            None => session.set(Software, key, &name, value.ty, &data)?,
        }
    }
    for name in session.subkey_names(Software, key)? {
        let below = format!(r"{key}\{name}");
        replace(session, &below, ids, depth + 1)?;
        if let Some(new) = ids.get(&name.to_ascii_lowercase()) {
            session.rename_key(Software, &below, new)?;
        }
    }
    Ok(())
}

fn message_queuing(session: &mut Session<'_>) -> Result<()> {
    let Some(id) = session.value(Software, MSMQ_ID, "QMId")?.filter(|v| v.ty == BINARY && v.data.len() == 16) else {
        return Ok(());
    };
    let new = session.inputs.stream(&[b"queue-manager-id", &id.data]).guid();
    session.set(Software, MSMQ_ID, "QMId", id.ty, &new.0)?;
    session.set(Software, MSMQ, "SysPrep", DWORD, &1u32.to_le_bytes())
}
