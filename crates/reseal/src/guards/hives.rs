//! Hives that were not closed, and databases in the middle of a change.

use super::look::{Looked, Notices, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive;
use crate::steps::Evidence;

const GROUP: &str = "hives";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "dirty-hive",
        title: "a hive was not shut down cleanly, and its logs do not cover it",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("dirty-hive"),
        answers: "none: Sysprep runs in a Windows that has its hives open",
        evidence: Evidence::Confirmed,
        remedy: "boot the image once and shut it down fully, or supply the hive's .LOG1 and .LOG2; \
                 `--allow dirty-hive` takes the hive as it stands and loses what its logs held",
        look: Look::With(dirty),
    },
    Check {
        id: "open-transaction",
        title: "SAM or SECURITY is in the middle of a change",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("open-transaction"),
        answers: "none",
        evidence: Evidence::Inferred,
        remedy: "boot the image once, then in Windows run `powercfg /h off` and `shutdown /s /f /t 0`",
        look: Look::With(open_transaction),
    },
];

fn dirty(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for dirty in &subject.hives.dirty {
        out.add(&dirty.path, format!("the hive was not shut down cleanly: {}", dirty.why));
    }
    Ok(())
}

fn open_transaction(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for (which, key) in [(MachineHive::Sam, r"SAM\RXACT"), (MachineHive::Security, "RXACT")] {
        if let Some(file) = subject.hives.machine(which)
            && crate::sam::has_open_transaction(&file.hive, key)?
        {
            out.add(&file.path, format!("{key} holds an unfinished transaction"));
        }
    }
    Ok(())
}
