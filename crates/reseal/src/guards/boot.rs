//! How the copies will start: the boot store, and where the recovery environment lies.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::boot_store::Objects;
use crate::recovery_environment::{CONFIG, ReAgent};
use crate::steps::Evidence;

const GROUP: &str = "boot";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "boot-store",
        title: "no boot store was found, or one cannot be read",
        group: GROUP,
        weight: Weight::Note,
        guard: None,
        answers: "spbcd.dll; setuperr.log: BCD not on the system drive",
        evidence: Evidence::Inferred,
        remedy: "in Windows run `bcdboot C:\\Windows` on a copy that does not start",
        look: Look::With(found),
    },
    Check {
        id: "bcd-incomplete",
        title: "the boot store lacks objects that specialize asks for",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "setuperr.log: Sysprep_Specialize_Bcd 0xC0000098",
        evidence: Evidence::Confirmed,
        remedy: "in Windows run `bcdboot C:\\Windows` before sealing, and look at it with `bcdedit /enum all`",
        look: Look::With(complete),
    },
    Check {
        id: "recovery-partition",
        title: "the recovery environment is registered on a partition that the disk lacks",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "reagent.dll WinRE_Generalize",
        evidence: Evidence::Inferred,
        remedy: "let the step recovery-environment forget it (--steps +recovery-environment), then `reagentc /enable` on a copy",
        look: Look::With(recovery),
    },
];

fn found(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for fault in &subject.boot.faults {
        out.add(&fault.place, format!("it may hold a boot store, and cannot be read: {}", fault.why));
    }
    if subject.boot.stores.is_empty() && subject.boot.faults.is_empty() {
        let detail = r"no partition of the disk has \EFI\Microsoft\Boot\BCD or \Boot\BCD";
        out.add(&subject.volume.place, detail);
    }
    Ok(())
}

fn complete(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for store in &subject.boot.stores {
        let missing = Objects::read(&store.hive)?.missing();
        if !missing.is_empty() {
            let detail = format!("it lacks {}: specialize may end with 0xC0000098", missing.join(", "));
            out.add(format!("{}: {}", store.place, store.path), detail);
        }
    }
    Ok(())
}

fn recovery(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let Some(bytes) = subject.small_file(CONFIG)? else { return Ok(()) };
    let file = ReAgent::read(&bytes).map_err(|e| Stop::Unknown(format!(r"\{CONFIG}: {e}")))?;
    if let Some(why) = file.stray(subject.disk) {
        out.inconsistent(format!(r"\{CONFIG}"), why);
    }
    Ok(())
}
