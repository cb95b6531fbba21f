//! What refuses before anything is staged, with the command that a Windows user runs.

use crate::error::Result;
use crate::hives::HiveSet;
use crate::tree::{Survey, Tree};
use crate::volume_state::VolumeState;
use crate::{Facts, sam};
use serde::Serialize;

/// One guard that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable id, as `--allow` takes it.
    pub id: &'static str,
    /// Whether `--allow` can overrule it.
    pub allowable: bool,
    /// What is wrong.
    pub reason: String,
    /// Where.
    pub place: String,
    /// What to run, in Windows as a rule.
    pub hint: String,
    /// Whether the user allowed it.
    pub allowed: bool,
}

impl Refusal {
    pub(crate) fn new(id: &'static str, place: impl Into<String>, reason: impl Into<String>, hint: &str) -> Refusal {
        let allowable = crate::options::ALLOWABLE_GUARDS.contains(&id);
        Refusal { id, allowable, reason: reason.into(), place: place.into(), hint: hint.into(), allowed: false }
    }
}

/// What guards look at.
pub(crate) struct Subject<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) hives: &'a HiveSet,
    pub(crate) tree: &'a dyn Tree,
    pub(crate) volume: &'a VolumeState,
    pub(crate) survey: &'a Survey,
}

const SHUTDOWN: &str = "in Windows run `powercfg /h off`, then `shutdown /s /f /t 0`";

/// Every guard that refuses, allowed ones included.
pub(crate) fn refusals(subject: &Subject<'_>, allow: &[String]) -> Result<Vec<Refusal>> {
    let mut out = Vec::new();
    volume(subject, &mut out)?;
    hives(subject, &mut out)?;
    membership(subject.facts, &mut out);
    servicing(subject, &mut out)?;
    for refusal in &mut out {
        refusal.allowed = refusal.allowable && allow.iter().any(|id| id == refusal.id);
    }
    Ok(out)
}

fn volume(subject: &Subject<'_>, out: &mut Vec<Refusal>) -> Result<()> {
    let place = &subject.volume.place;
    if let Some(why) = &subject.volume.dirty {
        let hint = "boot the image once, run `chkdsk C: /f`, then `shutdown /s /f /t 0`";
        out.push(Refusal::new("dirty-volume", place, why, hint));
    }
    let root = subject.tree.root();
    if let Some(node) = subject.tree.resolve(root, "hiberfil.sys")? {
        let mut head = [0; 4];
        let len = subject.tree.read_at(node, 0, &mut head)?;
        // The first four bytes tell: HIBR means that a session is stored, WAKE or zeros that it is not. A file of less than a
        // page is none that Windows has resumed from.
        let whole = subject.tree.size(node)?;
        if len < 4 || whole < 4096 || head.eq_ignore_ascii_case(b"HIBR") {
            out.push(Refusal::new(
                "hibernated",
                r"\hiberfil.sys",
                "Windows is hibernated or was shut down with fast startup",
                SHUTDOWN,
            ));
        }
    }
    for entry in subject.tree.entries_of(root, "System Volume Information")? {
        // Volume shadow copies are files named {snapshot GUID}{3808876b-c176-4e48-b7ae-04046e6cc752}.
        if entry.name_lossy().to_ascii_lowercase().ends_with("{3808876b-c176-4e48-b7ae-04046e6cc752}") {
            let reason = "the volume holds shadow copies: they keep the old SID and old files";
            let hint = "in Windows run `vssadmin delete shadows /all /quiet`";
            out.push(Refusal::new("snapshots", r"\System Volume Information", reason, hint));
            break;
        }
    }
    if subject.survey.encrypted > 0 {
        let reason = format!(
            "{} files are encrypted with EFS: a new machine SID makes them unreadable for local users",
            subject.survey.encrypted
        );
        out.push(Refusal::new(
            "efs",
            place,
            reason,
            r"in Windows run `cipher /u /n` to list them and `cipher /d` to decrypt",
        ));
    }
    Ok(())
}

fn hives(subject: &Subject<'_>, out: &mut Vec<Refusal>) -> Result<()> {
    for dirty in &subject.hives.dirty {
        let reason = format!("the hive was not shut down cleanly: {}", dirty.why);
        let hint = "boot the image once and shut it down fully, or supply the hive's .LOG1 and .LOG2; \
                    `--allow dirty-hive` takes the hive as it stands and loses what its logs held";
        out.push(Refusal::new("dirty-hive", &dirty.path, reason, hint));
    }
    let open = [(crate::MachineHive::Sam, r"SAM\RXACT"), (crate::MachineHive::Security, "RXACT")];
    for (which, key) in open {
        if let Some(file) = subject.hives.machine(which)
            && sam::has_open_transaction(&file.hive, key)?
        {
            out.push(Refusal::new(
                "open-transaction",
                &file.path,
                format!("{key} holds an unfinished transaction"),
                SHUTDOWN,
            ));
        }
    }
    Ok(())
}

fn membership(facts: &Facts, out: &mut Vec<Refusal>) {
    if facts.is_domain_controller() {
        let hint = "demote it first: `Uninstall-ADDSDomainController`";
        out.push(Refusal::new(
            "domain-controller",
            "SYSTEM",
            "the machine is a domain controller: its SID is its domain's",
            hint,
        ));
    } else if let Some(sid) = &facts.domain_sid {
        let name = facts.domain.as_deref().unwrap_or("?");
        let reason = format!("the machine is a member of the domain {name} ({sid})");
        let hint = "leave the domain in Windows: `Remove-Computer -WorkgroupName WORKGROUP -Force`";
        out.push(Refusal::new("domain-member", "SECURITY", reason, hint));
    }
    if facts.entra_joined {
        let hint = "in Windows run `dsregcmd /leave`";
        out.push(Refusal::new(
            "entra-joined",
            "SYSTEM",
            "the machine is joined to Entra ID: every copy would claim one device",
            hint,
        ));
    }
    if !facts.roles.is_empty() {
        let reason = format!("the server has roles that do not bear generalizing: {}", facts.roles.join(", "));
        out.push(Refusal::new(
            "role",
            "SYSTEM",
            reason,
            "remove the role before sealing and install it on each machine",
        ));
    }
}

fn servicing(subject: &Subject<'_>, out: &mut Vec<Refusal>) -> Result<()> {
    let mut pending = subject.facts.pending_servicing.clone();
    if subject.tree.resolve(subject.tree.root(), r"Windows\WinSxS\pending.xml")?.is_some() {
        pending.push(r"\Windows\WinSxS\pending.xml".to_owned());
    }
    if !pending.is_empty() {
        let reason = format!("servicing waits for a boot: {}", pending.join(", "));
        out.push(Refusal::new(
            "pending-servicing",
            "Windows",
            reason,
            "boot the image until Windows Update has finished, then shut it down",
        ));
    }
    if subject.facts.setup.is_half_way() {
        let setup = &subject.facts.setup;
        let reason = format!(
            "the image is in the middle of setup: ImageState {}, SystemSetupInProgress {:?}, SetupType {:?}, CmdLine {:?}",
            setup.image_state.as_deref().unwrap_or("absent"),
            setup.in_progress,
            setup.setup_type,
            setup.command_line
        );
        out.push(Refusal::new(
            "pending-servicing",
            "SYSTEM",
            reason,
            "boot the image until setup has finished, then shut it down",
        ));
    }
    Ok(())
}
