use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::Software;
use crate::error::Result;
use crate::guards::apps::{self, STORE};
use crate::scope::Scope;
use crate::session::Session;
use reseal_dtyp::Level;
use std::collections::BTreeSet;

/// Takes away Store packages that only a user has.
pub(super) struct RemoveUserAppx;

/// Its id, which `--remove-user-appx` asks for.
pub(crate) const ID: &str = "remove-user-appx";

static SPEC: Spec = Spec {
    id: ID,
    title: "Remove Store packages that only a user has",
    about: "With --remove-user-appx, removes registrations of Store packages that a user has and that are not provisioned for \
            everybody: those for which Sysprep fails with 0x80073cf2. Frameworks and the packages without which nobody can \
            sign in stay, and so do the files of the packages and the rows in the Store's database, which is reported.",
    phase: "identity",
    mirrors: &["AppxSysprep.dll!SysprepGeneralizeValidate"],
    evidence: Evidence::Unverified,
    unproven: "that the Store bears a package of which StateRepository still tells",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::Key(Software, STORE)],
    ..Spec::BASE
};

impl Step for RemoveUserAppx {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let mut provisioned = BTreeSet::new();
        for list in apps::PROVISIONED {
            let names = session.subkey_names(Software, &format!(r"{STORE}\{list}"))?;
            provisioned.extend(names.iter().filter_map(|name| apps::family(name)));
        }
        for user in session.subkey_names(Software, STORE)?.into_iter().filter(|name| apps::is_user(name)) {
            let key = format!(r"{STORE}\{user}");
            let names = session.subkey_names(Software, &key)?;
            let alone: Vec<&String> =
                names.iter().filter(|name| !name.contains('\\') && apps::is_alone(name, &provisioned)).collect();
            for name in &alone {
                session.delete_key(Software, &format!(r"{key}\{name}"))?;
            }
            if !alone.is_empty() {
                let detail =
                    format!("{} packages are no longer registered; files and StateRepository keep them", alone.len());
                session.find(Level::Note, "store-left", &format!(r"SOFTWARE\{key}"), detail);
            }
        }
        Ok(None)
    }
}
