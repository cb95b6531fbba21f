//! Server roles: how an installed one is recognized.

use super::Weight;
use super::look::{Looked, Notices, Stop, Subject};
use crate::scope::MachineHive::{Software, System};
use reseal_hive::Hive;

/// Signs that a role is installed; each alone is enough.
#[derive(Debug)]
pub(crate) struct Signs {
    /// Services with a program; a last `*` stands for any ending. Keys without one serve performance counters only.
    pub(crate) services: &'static [&'static str],
    /// Features in Server Manager's cache whose `InstallState` is 1.
    pub(crate) features: &'static [&'static str],
    /// Keys of SOFTWARE.
    pub(crate) keys: &'static [&'static str],
    /// Clients carry the same service.
    pub(crate) servers_only: bool,
    /// What sealing means for it.
    pub(crate) effect: &'static str,
}

const FEATURES: &str = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache";

impl Signs {
    /// Says where the role shows itself, by its name for people.
    pub(super) fn look(&self, role: &str, subject: &Subject<'_>, out: &mut Notices) -> Looked {
        if self.servers_only && !subject.facts.is_server() {
            return Ok(());
        }
        if let Some(place) = self.place(subject)? {
            out.add(place, format!("{role} is installed: {}", self.effect));
        }
        Ok(())
    }

    /// Where the role shows itself first. A sign that cannot be read counts only when no other one is there.
    fn place(&self, subject: &Subject<'_>) -> Looked<Option<String>> {
        let mut doubt = None;
        let mut found = |look: Looked<Option<String>>| match look {
            Err(stop @ (Stop::Unknown(_) | Stop::Absent(_))) => {
                doubt.get_or_insert(stop);
                Ok(None)
            }
            other => other,
        };
        for pattern in self.services {
            if let Some(place) = found(service(subject, pattern))? {
                return Ok(Some(place));
            }
        }
        for feature in self.features {
            let key = format!(r"{FEATURES}\{feature}");
            let state = subject.number(Software, &key, "InstallState");
            if let Some(place) = found(state.map(|s| (s == Some(1)).then(|| format!(r"SOFTWARE\{key}"))))? {
                return Ok(Some(place));
            }
        }
        for key in self.keys {
            let has = subject.has_key(Software, key);
            if let Some(place) = found(has.map(|has| has.then(|| format!(r"SOFTWARE\{key}"))))? {
                return Ok(Some(place));
            }
        }
        doubt.map_or(Ok(None), Err)
    }
}

/// The key of the first service of that name that has a program.
fn service(subject: &Subject<'_>, pattern: &str) -> Looked<Option<String>> {
    let services = subject.control("Services")?;
    let names = match pattern.strip_suffix('*') {
        None => vec![pattern.to_owned()],
        Some(start) => {
            let fits = |name: &String| name.get(..start.len()).is_some_and(|p| p.eq_ignore_ascii_case(start));
            subject.subkeys(System, &services)?.into_iter().filter(fits).collect()
        }
    };
    for name in names {
        let key = format!(r"{services}\{name}");
        if subject.text(System, &key, "ImagePath")?.is_some() {
            return Ok(Some(format!(r"SYSTEM\{key}")));
        }
    }
    Ok(None)
}

/// IIS is supported unless applicationHost.config holds credentials that its own machine keys encrypt.
pub(super) fn iis_encrypted(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let path = r"Windows\System32\inetsrv\config\applicationHost.config";
    let Some(bytes) = subject.small_file(path)? else { return Ok(()) };
    // The marker is ASCII; in UTF-16 each letter is followed by a zero.
    let narrow: Vec<u8> = bytes.iter().copied().filter(|b| *b != 0).collect();
    match memchr::memmem::find_iter(&narrow, b"[enc:").count() {
        0 => {}
        n => out.add(
            format!(r"\{path}"),
            format!("{n} encrypted credentials: their keys are named after MachineGuid, and application pools would not start"),
        ),
    }
    Ok(())
}

/// Windows Deployment Services are supported as long as they are not initialized.
pub(super) fn wds(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(place) = service(subject, "WDSServer")? else { return Ok(()) };
    let key = subject.control(r"Services\WDSServer\Providers\WDSTFTP")?;
    match subject.text(System, &key, "RootFolder")?.filter(|folder| !folder.is_empty()) {
        Some(folder) => {
            out.add(format!(r"SYSTEM\{key}"), format!("WDS is initialized with the folder {folder}: not supported"))
        }
        None => out.lighter(Weight::Note, place, "WDS is installed and not initialized: supported"),
    }
    Ok(())
}

/// Hyper-V is supported once its virtual networks are deleted.
pub(super) fn hyper_v(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(place) = service(subject, "vmms")? else { return Ok(()) };
    let key = subject.control(r"Services\VMSMP\Parameters\SwitchList")?;
    match subject.subkeys(System, &key)?.len() {
        0 => out.lighter(Weight::Note, place, "Hyper-V is installed, without virtual switches: supported"),
        n => out.add(
            format!(r"SYSTEM\{key}"),
            format!("{n} virtual switches: each copy would have the same ids and addresses"),
        ),
    }
    Ok(())
}

/// Routing and Remote Access is part of every Windows; it counts when a server starts it.
pub(super) fn remote_access(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = subject.control(r"Services\RemoteAccess")?;
    let start = subject.number(System, &key, "Start")?;
    if subject.facts.is_server() && start.is_some_and(|start| start < 4) {
        out.add(
            format!(r"SYSTEM\{key}"),
            "routing and remote access is configured: its addresses and certificates stay",
        );
    }
    Ok(())
}

/// Message Queuing keeps the machine's id in its cache.
pub(super) fn msmq(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(place) = service(subject, "MSMQ")? else { return Ok(()) };
    out.add(place, "Message Queuing is installed: copies share its queue manager's id QMId");
    Ok(())
}

/// Roles that refuse, for the facts: a service that cannot be read is the guard's to judge.
pub(crate) fn installed(hive: &Hive, set: &str) -> reseal_dtyp::Result<Vec<String>> {
    let mut out = Vec::new();
    let Some(services) = hive.key(&format!(r"{set}\Services"))? else { return Ok(out) };
    let names = hive.subkeys(services)?;
    for check in super::role_table::CHECKS.iter().filter(|check| check.weight == Weight::Refuse) {
        let super::Look::Role(signs) = &check.look else { continue };
        for key in &names {
            let name = reseal_dtyp::utf16_lossy(&hive.name(*key)?);
            let fits = |pattern: &&str| match pattern.strip_suffix('*') {
                None => name.eq_ignore_ascii_case(pattern),
                Some(start) => name.get(..start.len()).is_some_and(|p| p.eq_ignore_ascii_case(start)),
            };
            if signs.services.iter().any(fits) && hive.value(*key, "ImagePath")?.is_some() {
                out.push(check.title.to_owned());
                break;
            }
        }
    }
    Ok(out)
}
