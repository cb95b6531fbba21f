use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::Sam;
use crate::error::{Error, Kind, Result, Within};
use crate::sam_edit;
use crate::scope::Scope;
use crate::session::Session;

/// Takes the password of the built-in Administrator away.
pub(super) struct BlankAdministrator;

/// Its id, which `--blank-administrator` asks for.
pub(crate) const ID: &str = "blank-administrator";

/// The account with RID 500.
const KEY: &str = r"SAM\Domains\Account\Users\000001F4";

static SPEC: Spec = Spec {
    id: ID,
    title: "Take the password of the built-in Administrator away",
    about: "With --blank-administrator, the hash of the built-in Administrator's password and those of earlier ones go: the \
            account has no password, as Sysprep leaves it on a server, where OOBE asks for a new one. Otherwise the old hash is \
            in every copy until then. Whether the account may sign in is left to specialize, which disables it on a client.",
    phase: "identity",
    evidence: Evidence::Inferred,
    unproven: "that OOBE of a server asks for a password when there is none",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::Key(Sam, KEY)],
    ..Spec::BASE
};

impl Step for BlankAdministrator {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let Some(value) = session.value(Sam, KEY, "V")? else {
            return Err(Error::new(
                Kind::NotFound,
                format!("{KEY} is missing: the image has no built-in Administrator"),
            ));
        };
        match sam_edit::without_password(&value.data).within(KEY)? {
            Some(new) => session.set(Sam, KEY, "V", value.ty, &new).map(|()| None),
            None => Ok(Some("it has no password".to_owned())),
        }
    }
}
