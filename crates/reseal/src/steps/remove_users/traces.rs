//! What else is the user's: tasks, registrations, what group policy has kept; and what is reported of it.

use super::super::tasks;
use super::Leaver;
use crate::Action::{DeleteFolder, DeleteKey};
use crate::MachineHive::System;
use crate::error::{Result, Within};
use crate::session::Session;
use crate::{rules, sqlite_store, unattend};
use memchr::memmem::Finder;
use reseal_dtyp::{Level, utf16le};

const CURRENT: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion";
const STORE: &str = r"ProgramData\Microsoft\Windows\AppRepository";

pub(super) fn remove(session: &mut Session<'_>, leaver: &Leaver<'_>) -> Result<()> {
    let sid = &leaver.text;
    let keys = [
        format!(r"{CURRENT}\Appx\AppxAllUserStore\{sid}"),
        format!(r"{CURRENT}\Installer\UserData\{sid}"),
        format!(r"{CURRENT}\Group Policy\{sid}"),
        format!(r"{CURRENT}\Group Policy\*\{sid}"),
        format!(r"HKLM\SOFTWARE\Microsoft\IdentityStore\*\{sid}"),
        format!(r"HKLM\SOFTWARE\Microsoft\IdentityStore\LogonCache\*\*\{sid}"),
    ];
    let folders =
        [format!(r"%System32%\GroupPolicyUsers\{sid}"), format!(r"%ProgramData%\Microsoft\GroupPolicy\Users\{sid}")];
    let actions = keys.iter().map(|key| DeleteKey(key)).chain(folders.iter().map(|folder| DeleteFolder(folder)));
    rules::run(session, &actions.collect::<Vec<_>>())
}

/// Tasks that are named after the user, or run as the user.
pub(super) fn remove_tasks(session: &mut Session<'_>, leaver: &Leaver<'_>) -> Result<()> {
    for task in tasks::below(session, "")? {
        let named = task.path.to_ascii_lowercase().contains(&leaver.text.to_ascii_lowercase());
        if named || runs_as(session, leaver, &task)? {
            tasks::remove(session, &task)?;
        }
    }
    Ok(())
}

fn runs_as(session: &mut Session<'_>, leaver: &Leaver<'_>, task: &tasks::Task) -> Result<bool> {
    let Some(file) = tasks::content(session, task)? else { return Ok(false) };
    let root = unattend::decode(&file).and_then(|text| unattend::xml::parse(&text));
    let Ok(root) = root else {
        if holds(&file, leaver) {
            let path = format!(r"\{}{}", tasks::FOLDER, task.path);
            let detail = format!("it names {}, and cannot be read as a task: left", leaver.user.name);
            session.find(Level::Inconsistent, "task-left", &path, detail);
        }
        return Ok(false);
    };
    let account = format!(r"{}\{}", session.facts.computer_name.as_deref().unwrap_or_default(), leaver.user.name);
    let is_user = |id: &str| id.eq_ignore_ascii_case(&leaver.text) || id.to_lowercase() == account.to_lowercase();
    let principals = root.children.iter().filter(|e| e.name == "Principals").flat_map(|e| &e.children);
    let mut ids = principals.flat_map(|e| &e.children).filter(|e| e.name == "UserId");
    Ok(ids.any(|id| is_user(&id.text)))
}

/// Whether bytes hold the user's SID in any form.
fn holds(bytes: &[u8], leaver: &Leaver<'_>) -> bool {
    // A longer RID that begins alike is another user.
    let text = |needle: &[u8], step: usize| {
        let digit =
            |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit) && (step == 1 || bytes.get(at + 1) == Some(&0));
        Finder::new(needle).find_iter(bytes).any(|at| !digit(at + needle.len()))
    };
    Finder::new(&leaver.sid.to_bytes()).find(bytes).is_some()
        || text(leaver.text.as_bytes(), 1)
        || text(&utf16le(&leaver.text), 2)
}

/// What stays of the user, and what goes for good.
pub(super) fn report(session: &mut Session<'_>, leaver: &Leaver<'_>) -> Result<()> {
    let root = session.tree.root();
    let mut left = Vec::new();
    for entry in session.tree.entries_of(root, STORE).within(STORE)? {
        let name = entry.name_lossy();
        let lower = name.to_ascii_lowercase();
        let is_store =
            lower.starts_with("staterepository-") && [".srd", ".srd-wal"].iter().any(|end| lower.ends_with(end));
        if entry.is_dir || entry.is_reparse || !is_store {
            continue;
        }
        let path = format!(r"\{STORE}\{name}");
        if session.tree.size(entry.node).within(&path)? > sqlite_store::MAX_LEN as u64 {
            left.push((path, "is too long to be read"));
        } else if holds(&session.tree.read(entry.node).within(&path)?, leaver) {
            left.push((path, "holds rows of the user, which stay"));
        }
    }
    for (path, what) in left {
        let detail = format!("{} is removed, and the Store's database {what}", leaver.user.name);
        session.find(Level::Note, "store-left", &path, detail);
    }
    services(session, leaver)
}

/// Services that sign in as the user fail from now on.
fn services(session: &mut Session<'_>, leaver: &Leaver<'_>) -> Result<()> {
    let Some(set) = session.facts.control_sets.first() else { return Ok(()) };
    let list = format!(r"{set}\Services");
    let name = leaver.user.name.to_lowercase();
    let computer = session.facts.computer_name.as_deref().unwrap_or_default().to_lowercase();
    for service in session.subkey_names(System, &list)?.into_iter().filter(|name| !name.contains('\\')) {
        let key = format!(r"{list}\{service}");
        let account = session.value(System, &key, "ObjectName")?.and_then(|v| v.as_text()).unwrap_or_default();
        let account = account.to_lowercase();
        if account.split_once('\\').is_some_and(|(domain, user)| user == name && (domain == "." || domain == computer))
        {
            let detail = format!("the service signs in as {}, who is removed: it fails", leaver.user.name);
            session.find(Level::Inconsistent, "service-account", &format!(r"SYSTEM\{key}"), detail);
        }
    }
    Ok(())
}
