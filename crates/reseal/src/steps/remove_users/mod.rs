//! Local users go: from the account database, the policy, the lists of profiles, and with their folders and tasks.

mod account;
mod profile;
mod traces;

use super::{Evidence, Spec, Step, Use, tasks};
use crate::MachineHive::{Sam, Security, Software};
use crate::error::{Error, Kind, Result};
use crate::leaving;
use crate::sam::User;
use crate::scope::Scope;
use crate::session::Session;
use reseal_dtyp::{Level, Sid};

/// Removes local users.
pub(super) struct RemoveUsers;

/// Its id, which `--remove-user` and `--keep-user` ask for.
pub(crate) const ID: &str = "remove-users";

static SPEC: Spec = Spec {
    id: ID,
    title: "Remove local users",
    about: "With --remove-user or --keep-user, removes local users: the account with its memberships in groups, its rights, its \
            profile with the folder, its recycle bin, its registrations of installers and Store packages, what group policy \
            has kept for it, and its tasks. Built-in accounts stay, and without these options so does everybody. Rows of the \
            user in the Store's database stay, and are reported.",
    phase: "identity",
    evidence: Evidence::Inferred,
    unproven: "that nothing in Windows misses a user who was removed while it did not run",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[
        Scope::Key(Sam, r"SAM\Domains"),
        Scope::Key(Security, r"Policy\Accounts"),
        Scope::Key(Software, profile::GUIDS),
        Scope::Key(Software, tasks::CACHE),
        Scope::File(tasks::FOLDER),
        Scope::File("Users"),
        Scope::Rules,
    ],
    ..Spec::BASE
};

/// A user who goes.
struct Leaver<'a> {
    user: &'a User,
    sid: Sid,
    /// The SID as text.
    text: String,
}

impl Step for RemoveUsers {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let leaving = leaving::users(session.options, session.facts)?;
        let (users, absent) = (leaving.users, leaving.absent);
        if users.is_empty() {
            return Ok(Some(match absent.as_slice() {
                [] => "nobody is to be removed".to_owned(),
                names => format!("removed before: {}", names.join(", ")),
            }));
        }
        let machine = session
            .facts
            .machine_sid
            .ok_or_else(|| Error::new(Kind::NotFound, "the installation has no SAM hive: its users are not known"))?;
        for user in &users {
            let sid = machine.account(user.rid);
            let leaver = Leaver { user, text: sid.to_string(), sid };
            account::remove(session, machine, &leaver)?;
            traces::remove_tasks(session, &leaver)?;
            profile::remove(session, &leaver)?;
            traces::remove(session, &leaver)?;
            traces::report(session, &leaver)?;
        }
        last_administrator(session, &users);
        Ok(None)
    }
}

/// Said in any case, since what comes at the first start may make one: an answer file, OOBE, the owner of a server.
fn last_administrator(session: &mut Session<'_>, gone: &[User]) {
    let is_one = |user: &&User| user.enabled && user.administrator && user.rid != 500;
    let stays = session.facts.users.iter().filter(is_one).any(|user| !gone.iter().any(|g| g.rid == user.rid));
    let names: Vec<&str> = gone.iter().filter(is_one).map(|user| user.name.as_str()).collect();
    if !names.is_empty() && !stays {
        let detail = format!("no enabled local administrator is left but the built-in one: {}", names.join(", "));
        session.find(Level::Inconsistent, "last-administrator", r"SAM\Domains\Account\Users", detail);
    }
}
