//! The volume itself: whether it was left in a state that can be written.

use super::look::{Looked, Notices, Subject};
use super::{Check, Look, Weight};
use crate::error::Within;
use crate::steps::{Evidence, is_store_file};
use crate::tree::Tree;
use reseal_dtyp::Sid;
use reseal_ntfs::{Probe, SHADOW_HEADER, ShadowHeader};
use std::collections::{BTreeMap, BTreeSet};

const GROUP: &str = "volume";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "dirty-volume",
        title: "NTFS was not dismounted cleanly",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("dirty-volume"),
        answers: "table of limits: dirty NTFS",
        evidence: Evidence::Confirmed,
        remedy: "boot the image once, run `chkdsk C: /f`, then `shutdown /s /f /t 0`",
        look: Look::With(dirty),
    },
    Check {
        id: "hibernated",
        title: "Windows is hibernated, or was shut down with fast startup",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("hibernated"),
        answers: "table of limits: fast startup, hibernation",
        evidence: Evidence::Confirmed,
        remedy: "in Windows run `powercfg /h off`, then `shutdown /s /f /t 0`",
        look: Look::With(hibernated),
    },
    Check {
        id: "bitlocker",
        title: "a volume of the disk is encrypted with BitLocker",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("bitlocker"),
        answers: "BdeSysprep.dll ValidateBitLockerState",
        evidence: Evidence::Confirmed,
        remedy: "in Windows run `manage-bde -off C:` (and for each other letter), and wait until it is decrypted",
        look: Look::With(bitlocker),
    },
    Check {
        id: "refs",
        title: "a volume of the disk is ReFS",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("refs"),
        answers: "none: Sysprep leaves other volumes alone",
        evidence: Evidence::Confirmed,
        remedy: "install Windows on NTFS; a data volume keeps its descriptors, so grant its files anew with `icacls`",
        look: Look::With(refs),
    },
    Check {
        id: "snapshots",
        title: "the volume holds shadow copies",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("snapshots"),
        answers: "srclient.dll SysprepGeneralize",
        evidence: Evidence::Confirmed,
        remedy: "in Windows run `vssadmin delete shadows /all /quiet`, or seal with --drop-snapshots",
        look: Look::With(snapshots),
    },
    Check {
        id: "system-snapshots",
        title: "the system volume, which holds the boot store, holds shadow copies",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("snapshots"),
        answers: "srclient.dll SysprepGeneralize",
        evidence: Evidence::Confirmed,
        remedy: "in Windows run `vssadmin delete shadows /all /quiet`",
        look: Look::With(system_snapshots),
    },
    Check {
        id: "efs",
        title: "files are encrypted with EFS",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("efs"),
        answers: "table of limits: EFS",
        evidence: Evidence::Confirmed,
        remedy: r"in Windows run `cipher /u /n` to list them and `cipher /d` to decrypt",
        look: Look::With(efs),
    },
];

fn dirty(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let systems = subject.boot.systems.iter().map(|system| &system.state);
    for volume in [subject.volume].into_iter().chain(systems) {
        if let Some(why) = &volume.dirty {
            out.add(&volume.place, why);
        }
    }
    Ok(())
}

/// The first four bytes tell: HIBR means that a session is stored, WAKE or zeros that it is not. A file of less than a page is
/// none that Windows has resumed from.
fn hibernated(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(node) = subject.node("hiberfil.sys")? else { return Ok(()) };
    let mut head = [0; 4];
    let len = subject.tree.read_at(node, 0, &mut head)?;
    if len < 4 || subject.tree.size(node)? < 4096 || head.eq_ignore_ascii_case(b"HIBR") {
        out.add(r"\hiberfil.sys", "Windows is hibernated or was shut down with fast startup");
    }
    Ok(())
}

/// The Windows volume itself is refused before there is anything to check: see `DiskImage::one_windows`.
fn bitlocker(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for other in subject.disk.others().filter(|p| p.probe == Probe::BitLocker) {
        out.add(&other.place, "the volume is encrypted with BitLocker: its key is bound to this Windows");
    }
    Ok(())
}

fn refs(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for other in subject.disk.others().filter(|p| p.probe == Probe::ReFs) {
        let detail = "a data volume with ReFS is not handled: its descriptors keep the old SID";
        out.lighter(Weight::Warn, &other.place, detail);
    }
    Ok(())
}

/// Volume shadow copies are files named {snapshot GUID}{3808876b-c176-4e48-b7ae-04046e6cc752}, which Windows finds by a header
/// in the boot area.
fn snapshots(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let folder = "System Volume Information";
    let copies = subject.entries(folder)?;
    let count = copies.iter().filter(|entry| is_store_file(&entry.name_lossy())).count();
    if count > 0 {
        let detail = format!("the volume holds shadow copies ({count} files): they keep the old SID and old files");
        out.add(format!(r"\{folder}"), detail);
    }
    match subject.tree.shadow_header() {
        Ok(ShadowHeader::Present { catalog }) if catalog != 0 && count == 0 => {
            let at = SHADOW_HEADER.start;
            let detail = format!(
                "a header at {at:#x} of the volume names a catalog of shadow copies at {catalog:#x}, and no file holds them: \
                 Windows would take for it what lies there now"
            );
            out.add(&subject.volume.place, detail);
            Ok(())
        }
        Ok(_) => Ok(()),
        // Without files, what the boot area holds is not the matter of this check.
        Err(e) if e.kind() == reseal_dtyp::Kind::Unsupported => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// `--drop-snapshots` takes those of the Windows volume only.
fn system_snapshots(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    const FOLDER: &str = "System Volume Information";
    for system in &subject.boot.systems {
        let entries = system.tree.entries_of(system.tree.root(), FOLDER).within(FOLDER)?;
        let count = entries.iter().filter(|entry| is_store_file(&entry.name_lossy())).count();
        if count > 0 {
            let detail =
                format!("{count} files of shadow copies: they keep the old SID, and changes below would spoil them");
            out.add(system.named(&format!(r"\{FOLDER}")), detail);
        }
    }
    Ok(())
}

/// Files of which it is told who can read them; the others are counted.
const MAX_TOLD: usize = 10_000;

fn efs(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let encrypted = &subject.survey.encrypted;
    if encrypted.is_empty() {
        return Ok(());
    }
    let mut by_user: BTreeMap<String, usize> = BTreeMap::new();
    for node in encrypted.iter().take(MAX_TOLD) {
        let mut users = BTreeSet::new();
        match subject.tree.efs_metadata(*node) {
            Ok(metadata) => users.extend(sids(&metadata.unwrap_or_default()).map(|sid| name_of(subject, &sid))),
            Err(e) if e.kind() == reseal_dtyp::Kind::Io => return Err(e.into()),
            Err(_) => {}
        }
        if users.is_empty() {
            users.insert("somebody who is not told".to_owned());
        }
        users.into_iter().for_each(|user| *by_user.entry(user).or_default() += 1);
    }
    let users: Vec<String> = by_user.iter().map(|(user, files)| format!("{user} ({files})")).collect();
    let detail = format!(
        "{} files are encrypted with EFS: a new machine SID makes them unreadable for local users; they are of {}",
        encrypted.len(),
        users.join(", ")
    );
    out.add(&subject.volume.place, detail);
    Ok(())
}

/// SIDs of accounts anywhere in what an encrypted file says: of users, and of recovery agents ([MS-EFSR] 2.2.2.1.3, owner hint).
fn sids(metadata: &[u8]) -> impl Iterator<Item = Sid> {
    // Revision 1, five sub-authorities, authority 5, the first one 21.
    const ACCOUNT: [u8; 12] = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0];
    let at = metadata.windows(ACCOUNT.len()).enumerate().filter(|(_, window)| *window == ACCOUNT).map(|(at, _)| at);
    at.filter_map(|at| Sid::read(&metadata[at..]).ok())
}

/// A local user by name, others by SID.
fn name_of(subject: &Subject<'_>, sid: &Sid) -> String {
    let is_local = sid.domain().is_some() && sid.domain() == subject.facts.machine_sid;
    let known = subject.facts.users.iter().find(|user| is_local && Some(user.rid) == sid.rid());
    known.map_or_else(|| sid.to_string(), |user| user.name.clone())
}
