use super::{Evidence, Spec, Step};
use crate::MachineHive::Security;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;

/// Forgets the logons of domain users that Windows keeps for when no controller can be reached.
pub(super) struct CachedLogons;

const CACHE: &str = "Cache";
/// An empty slot, as Windows writes it: 168 bytes, all zero but a revision at byte 40.
const EMPTY_LEN: usize = 168;
const REVISION: (usize, [u8; 4]) = (40, [4, 0, 1, 0]);

static SPEC: Spec = Spec {
    id: "cached-logons",
    title: "Forget cached logons",
    about: "Empties the slots in which Windows keeps hashes of domain users' passwords, for signing in without a \
            controller. The slots stay, in the form that Windows itself gives to empty ones; NL$Control and the key that \
            encrypts them stay.",
    phase: "traces",
    mirrors: &["spopk.dll!Sysprep_Generalize_Opk"],
    evidence: Evidence::Confirmed,
    writes: &[Scope::Key(Security, CACHE)],
    ..Spec::BASE
};

/// Whether a value is a slot: `NL$` and a number.
fn is_slot(name: &str) -> bool {
    let number = name.get(..3).filter(|start| start.eq_ignore_ascii_case("NL$")).and_then(|_| name.get(3..));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

impl Step for CachedLogons {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let mut empty = vec![0; EMPTY_LEN];
        empty[REVISION.0..][..4].copy_from_slice(&REVISION.1);
        for name in session.value_names(Security, CACHE)?.into_iter().filter(|name| is_slot(name)) {
            session.set_existing(Security, CACHE, &name, &empty)?;
        }
        Ok(None)
    }
}
