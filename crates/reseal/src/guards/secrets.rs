//! Secrets that the image would carry to every copy. They are counted and named by place, and never shown.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::{Security, Software, System};
use crate::steps::Evidence;
use crate::unattend;

const GROUP: &str = "secrets";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "answer-files",
        title: "answer files of the past are in force, or hold passwords",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "search order of answer files",
        evidence: Evidence::Confirmed,
        remedy: "remove the file in Windows (`del PATH`); `--unattend` removes those of higher precedence",
        look: Look::With(answer_files),
    },
    Check {
        id: "service-passwords",
        title: "services keep passwords of their accounts",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none: Sysprep keeps them",
        evidence: Evidence::Confirmed,
        remedy: "have the service run as a built-in account: `sc config NAME obj= LocalSystem`; kept, every copy has the password",
        look: Look::With(service_passwords),
    },
    Check {
        id: "machine-keys",
        title: "private keys and certificates of the machine",
        group: GROUP,
        weight: Weight::Note,
        guard: None,
        answers: "capisp.dll CAPISysPrep_Generalize; setuperr.log: CryptoSysPrep_Specialize 0x5",
        evidence: Evidence::Inferred,
        remedy: r"list them in Windows: `Get-ChildItem Cert:\LocalMachine\My`; request a certificate for each machine",
        look: Look::With(machine_keys),
    },
];

/// Places in the order in which setup looks, and whether setup prefers what lies there to `Panther\unattend.xml`.
const ANSWER_FILES: &[(&str, bool)] = &[
    (r"Windows\Panther\Unattend\Unattend.xml", true),
    (r"Windows\Panther\Unattend\Autounattend.xml", true),
    (r"Windows\Panther\unattend.xml", false),
    ("Autounattend.xml", false),
    ("Unattend.xml", false),
    (r"Windows\System32\Sysprep\Unattend.xml", false),
];

fn answer_files(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let mut doubt = None;
    for (path, preferred) in ANSWER_FILES {
        let secrets = match subject.small_file(path).map(|file| file.as_deref().map(unattend::passwords)) {
            Ok(None) => continue,
            Ok(Some(Ok(secrets))) => secrets,
            Ok(Some(Err(why))) => {
                doubt.get_or_insert(Stop::Unknown(format!(r"\{path} {why}")));
                0
            }
            Err(stop @ Stop::Unknown(_)) => {
                doubt.get_or_insert(stop);
                0
            }
            Err(other) => return Err(other),
        };
        if secrets > 0 {
            out.add(
                format!(r"\{path}"),
                format!("{secrets} passwords stand in it, readable for whoever has the image"),
            );
        }
        if *preferred {
            out.add(format!(r"\{path}"), r"setup prefers it to Panther\unattend.xml");
        }
    }
    if let Some(file) = subject.text(System, "Setup", "UnattendFile")?.filter(|file| !file.is_empty()) {
        out.add(r"SYSTEM\Setup UnattendFile", format!("setup would take {file} before every other answer file"));
    }
    doubt.map_or(Ok(()), Err)
}

fn service_passwords(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Policy\Secrets";
    for name in subject.subkeys(Security, key)? {
        if name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("_SC_")) {
            let service = &name[4..];
            out.add(
                format!(r"SECURITY\{key}\{name}"),
                format!("the password of the account of the service {service} is kept"),
            );
        }
    }
    Ok(())
}

fn machine_keys(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for store in [r"RSA\MachineKeys", r"DSS\MachineKeys", "Keys", "PCPKSP"] {
        let path = format!(r"ProgramData\Microsoft\Crypto\{store}");
        match subject.entries(&path)?.iter().filter(|e| !e.is_reparse).count() {
            0 => {}
            n => out.add(
                format!(r"\{path}"),
                format!("{n} private keys: their files are named after MachineGuid, which specialize assigns anew"),
            ),
        }
    }
    let key = r"Microsoft\SystemCertificates\MY\Certificates";
    match subject.subkeys(Software, key)?.len() {
        0 => {}
        n => out.add(format!(r"SOFTWARE\{key}"), format!("{n} certificates of the machine are copied")),
    }
    Ok(())
}
