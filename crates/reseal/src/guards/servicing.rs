//! Updates that wait for a boot, and what upgrades leave behind.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::{Software, System};
use crate::steps::Evidence;

const GROUP: &str = "servicing";
const BOOT: &str = "boot the image until Windows Update has finished, then shut it down";
const CBS: &str = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "pending-servicing",
        title: "servicing waits for a boot",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("pending-servicing"),
        answers: "spopk.dll Sysprep_Clean_Validate_Opk",
        evidence: Evidence::Confirmed,
        remedy: BOOT,
        look: Look::With(pending),
    },
    Check {
        id: "pending-components",
        title: "the component store is in the middle of a change",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("pending-servicing"),
        answers: "spopk.dll Sysprep_Clean_Validate_Opk",
        evidence: Evidence::Unverified,
        remedy: BOOT,
        look: Look::With(components),
    },
    Check {
        id: "pending-renames",
        title: "files wait for a boot to be renamed or removed",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: PendingFileRenameOperations",
        evidence: Evidence::Confirmed,
        remedy: "restart Windows once before sealing: `shutdown /r /t 0`",
        look: Look::With(renames),
    },
    Check {
        id: "reserved-storage",
        title: "reserved storage is in use",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "spopk.dll Sysprep_Clean_Validate_Opk; DISM /Set-ReservedStorageState",
        evidence: Evidence::Unverified,
        remedy: "finish Windows Update, or in Windows run `DISM /Online /Set-ReservedStorageState /State:Disabled`",
        look: Look::With(reserved_storage),
    },
    Check {
        id: "upgraded-image",
        title: "Windows was upgraded from another version",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("upgraded-image"),
        answers: "table of limits: upgraded image, supported since build 14393",
        evidence: Evidence::Confirmed,
        remedy: "make the image from a clean installation; on build 14393 or later Microsoft supports an upgraded one",
        look: Look::With(upgraded),
    },
];

fn pending(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    if subject.node(r"Windows\WinSxS\pending.xml")?.is_some() {
        out.add(r"\Windows\WinSxS\pending.xml", "servicing waits for a boot");
    }
    for name in ["RebootPending", "PackagesPending"] {
        let key = format!(r"{CBS}\{name}");
        if subject.has_key(Software, &key)? {
            out.add(format!(r"SOFTWARE\{key}"), "servicing waits for a boot");
        }
    }
    let manager = subject.control(r"Control\Session Manager")?;
    for name in ["SETUPEXECUTE", "SetupExecutePending"] {
        let lines = subject.lines(System, &manager, name)?;
        if lines.iter().any(|line| line.to_ascii_lowercase().contains("poqexec")) {
            out.add(format!(r"SYSTEM\{manager} {name}"), "servicing waits for a boot: it starts poqexec");
        }
    }
    Ok(())
}

fn components(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let named = |path: &str| path.to_ascii_lowercase().ends_with(r"windows\system32\config\components");
    if let Some(file) = subject.hives.files.iter().find(|f| named(&f.path))
        && file.hive.value(file.hive.root(), "PendingXmlIdentifier")?.is_some()
    {
        out.add(&file.path, "PendingXmlIdentifier is set: the component store waits for a boot");
    }
    let key = format!(r"{CBS}\ExecutePending");
    if subject.has_key(Software, &key)? || subject.value(Software, CBS, "ExecutePending")?.is_some() {
        out.add(format!(r"SOFTWARE\{key}"), "servicing has an operation to execute at the next boot");
    }
    Ok(())
}

fn renames(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let manager = subject.control(r"Control\Session Manager")?;
    let name = "PendingFileRenameOperations";
    let lines = subject.lines(System, &manager, name)?;
    match lines.iter().filter(|line| !line.is_empty()).count() {
        0 => {}
        n => out.add(format!(r"SYSTEM\{manager} {name}"), format!("{n} file names wait for a boot")),
    }
    Ok(())
}

fn reserved_storage(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Microsoft\Windows\CurrentVersion\ReserveManager";
    if let Some(scenario) = subject.number(Software, key, "ActiveScenario")?.filter(|n| *n != 0) {
        let detail =
            format!("ActiveScenario is {scenario}: an update holds the reserved storage, and Sysprep would refuse");
        out.add(format!(r"SOFTWARE\{key}"), detail);
    }
    Ok(())
}

/// Setup keeps a copy of its key per upgrade, `Source OS (Updated on …)`, and a key `Upgrade`.
fn upgraded(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let keys = subject.subkeys(System, "Setup")?;
    let lower = |name: &String| name.to_ascii_lowercase();
    let sign = |name: &&String| lower(name) == "upgrade" || lower(name).starts_with("source os (");
    let Some(key) = keys.iter().find(sign) else { return Ok(()) };
    let place = format!(r"SYSTEM\Setup\{key}");
    match subject.build() {
        Ok(build) if build < 14393 => {
            out.add(place, format!("Windows was upgraded, and build {build} cannot be generalized after an upgrade"));
        }
        Ok(build) => out.lighter(
            Weight::Warn,
            place,
            format!("Windows was upgraded to build {build}: supported since 14393, and a clean installation is better"),
        ),
        Err(Stop::Absent(why)) => {
            return Err(Stop::Unknown(format!("{place} says that Windows was upgraded, and {why}")));
        }
        Err(other) => return Err(other),
    }
    Ok(())
}
