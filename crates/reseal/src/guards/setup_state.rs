//! How far setup has come, and what it would run or read at the next boot.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::facts::HALF_GENERALIZED;
use crate::scope::MachineHive::{Software, System};
use crate::steps::Evidence;
use crate::steps::setup_state::{CORRUPT, SYSPREP};

const GROUP: &str = "setup-state";
/// The check that `--repair` answers.
pub(crate) const HALF_GENERALIZED_CHECK: &str = "half-generalized";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "half-way-setup",
        title: "the image is in the middle of setup",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("pending-servicing"),
        answers: "setuperr.log: RunExternalDlls: Not running DLLs, 0x1f",
        evidence: Evidence::Inferred,
        remedy: "boot the image until setup has finished, then shut it down",
        look: Look::With(half_way),
    },
    Check {
        id: HALF_GENERALIZED_CHECK,
        title: "Sysprep began to generalize and did not end",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("pending-servicing"),
        answers: "table of limits: previous half-run, GeneralizationState 3",
        evidence: Evidence::Confirmed,
        remedy: "seal it with `--repair`, which does all of it again, or go back to the state before Sysprep",
        look: Look::With(half_generalized),
    },
    Check {
        id: "pending-sid-request",
        title: "a request for a new SID waits, though the image is not sealed",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "setupcl.exe",
        evidence: Evidence::Inferred,
        remedy: "boot the image until setup has finished; sealing with a new SID removes the request",
        look: Look::With(sid_request),
    },
    Check {
        id: "third-party-providers",
        title: "programs have their own Sysprep providers, which cannot run offline",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: r"Setup\SysPrepExternal",
        evidence: Evidence::Confirmed,
        remedy: "do in Windows what the program's provider does, as its maker says, or install the program on each machine",
        look: Look::With(providers),
    },
    Check {
        id: "setup-complete",
        title: "a script runs when setup has finished",
        group: GROUP,
        weight: Weight::Note,
        guard: None,
        answers: r"Windows\Setup\Scripts\SetupComplete.cmd",
        evidence: Evidence::Confirmed,
        remedy: r"read `Windows\Setup\Scripts\SetupComplete.cmd`: it runs on every copy as SYSTEM",
        look: Look::With(setup_complete),
    },
    Check {
        id: "activation",
        title: "licensing is not rearmed",
        group: GROUP,
        weight: Weight::Note,
        guard: None,
        answers: "slc.dll SLReArmWindows; setuperr.log 0xC004D307",
        evidence: Evidence::Confirmed,
        remedy: "in each copy run `slmgr /rearm` where clients of a KMS must be counted one by one",
        look: Look::With(activation),
    },
];

fn half_way(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let setup = &subject.facts.setup;
    if setup.is_half_way() {
        let detail = format!(
            "the image is in the middle of setup: ImageState {}, SystemSetupInProgress {:?}, SetupType {:?}, CmdLine {:?}",
            setup.image_state.as_deref().unwrap_or("absent"),
            setup.in_progress,
            setup.setup_type,
            setup.command_line
        );
        out.add("SYSTEM", detail);
    }
    for name in ["SystemSetupInProgress", "SetupType"] {
        subject.number(System, "Setup", name)?;
    }
    subject.text(System, "Setup", "CmdLine")?;
    subject.text(Software, r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState")?;
    Ok(())
}

fn half_generalized(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Setup\Status\SysprepStatus";
    if subject.number(System, key, "GeneralizationState")? == Some(HALF_GENERALIZED) {
        let detail =
            "GeneralizationState is 3: Sysprep began to generalize and did not end, and specialize would not run";
        out.add(format!(r"SYSTEM\{key}"), detail);
    }
    if subject.number(Software, SYSPREP, CORRUPT)?.is_some_and(|mark| mark != 0) {
        out.add(format!(r"SOFTWARE\{SYSPREP}"), format!("{CORRUPT} is set: Sysprep has given this image up"));
    }
    Ok(())
}

fn sid_request(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let setup = &subject.facts.setup;
    if setup.pending_request > 0 && !setup.is_sealed() {
        let detail = format!("{} values wait for setupcl.exe, though the image is not sealed", setup.pending_request);
        out.inconsistent(r"SYSTEM\Setup\SetupCl\PendingRequest", detail);
    }
    Ok(())
}

fn providers(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let base = r"Microsoft\Windows\CurrentVersion\Setup\SysPrepExternal";
    for phase in ["Cleanup", "Generalize", "Specialize"] {
        let key = format!(r"{base}\{phase}");
        for name in subject.value_names(Software, &key)? {
            let entry = subject.text(Software, &key, &name)?.unwrap_or_default();
            out.add(format!(r"SOFTWARE\{key}"), format!("{name} would run {entry}, which cannot run offline"));
        }
    }
    Ok(())
}

fn setup_complete(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for name in ["SetupComplete.cmd", "ErrorHandler.cmd"] {
        let path = format!(r"Windows\Setup\Scripts\{name}");
        if let Some(node) = subject.node(&path)? {
            let size = subject.tree.size(node)?;
            out.add(format!(r"\{path}"), format!("a script of {size} bytes runs at the end of setup on every copy"));
        }
    }
    Ok(())
}

/// The counters lie in an encrypted store that is left alone.
fn activation(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let base = r"Microsoft\Windows NT\CurrentVersion\SoftwareProtectionPlatform";
    out.add("SOFTWARE", "licensing stays as it is: no rearm is used up, and copies keep the client id of this machine");
    match subject.text(Software, base, "KeyManagementServiceName") {
        Ok(Some(host)) if !host.is_empty() => {
            out.add(
                format!(r"SOFTWARE\{base}"),
                format!("clients of the KMS {host} that were not rearmed count as one"),
            );
            Ok(())
        }
        Ok(_) | Err(Stop::Absent(_)) => Ok(()),
        Err(other) => Err(other),
    }
}
