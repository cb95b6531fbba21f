//! Accounts: who can sign in, and what they lose.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::sam;
use crate::scope::MachineHive::{Sam, Security, Software};
use crate::steps::Evidence;
use crate::unattend;

const GROUP: &str = "users";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "no-way-in",
        title: "nobody could sign in as an administrator",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "capisp.dll: specialize disables the built-in administrator of a client",
        evidence: Evidence::Inferred,
        remedy: "give `--unattend` with a LocalAccount in the group Administrators, or let OOBE ask",
        look: Look::With(no_way_in),
    },
    Check {
        id: "password-policy",
        title: "the password policy is stricter than Windows' own",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: password policy",
        evidence: Evidence::Confirmed,
        remedy: "give passwords in the answer file that satisfy it, or in Windows run `net accounts /minpwlen:0`",
        look: Look::With(password_policy),
    },
    Check {
        id: "autologon",
        title: "somebody is signed in automatically",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "shsetup.dll Sysprep_Generalize_Shell",
        evidence: Evidence::Confirmed,
        remedy: r#"in Windows run `reg add "HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon" /v AutoAdminLogon /d 0 /f` and `reg delete` its DefaultPassword"#,
        look: Look::With(autologon),
    },
    Check {
        id: "linked-users",
        title: "users are linked to a Microsoft account or to Entra ID",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "WLIDSvc",
        evidence: Evidence::Unverified,
        remedy: "in Windows: Settings, Accounts, Your info, Sign in with a local account instead",
        look: Look::With(linked),
    },
    Check {
        id: "windows-hello",
        title: "Windows Hello credentials are bound to this machine",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none",
        evidence: Evidence::Unverified,
        remedy: "in each user's session run `certutil -deletehellocontainer`, and sign in with the password",
        look: Look::With(hello),
    },
];

/// On a client specialize disables the built-in administrator; on a server OOBE asks for its password.
fn no_way_in(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    subject.hive(Sam)?;
    if subject.facts.is_server() || unattend::makes_an_account(subject.answer) {
        return Ok(());
    }
    let in_place = subject.small_file(r"Windows\Panther\unattend.xml")?;
    if subject.answer.is_none() && unattend::makes_an_account(in_place.as_deref()) {
        return Ok(());
    }
    let mut stay = subject.facts.users.iter().filter(|u| !subject.leaving.has(u.rid));
    if !stay.any(|u| u.enabled && u.administrator && u.rid != 500) {
        let detail = "no enabled local administrator but the built-in one, which specialize disables: only OOBE's questions \
                      or an answer file make one";
        out.add(r"SAM\Domains\Account\Users", detail);
    }
    Ok(())
}

/// `F` of the account domain: the word at 76 is the password properties (1: complexity, as in [MS-SAMR] 2.2.3.5), the half words
/// at 80 and 82 are the least length and the length of the history. Measured: 1, 7, 24 on a member of a domain with Microsoft's
/// default policy, and 0, 0, 0 on a machine in a workgroup.
fn password_policy(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"SAM\Domains\Account";
    let Some(value) = subject.value(Sam, key, "F")? else { return Ok(()) };
    let word = |at: usize| value.data.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let (Some(properties), Some(least), Some(history)) = (word(76), word(80), word(82)) else {
        return Err(Stop::Unknown(format!(r"SAM\{key} F has {} bytes, at least 84 were expected", value.data.len())));
    };
    let complex = properties & 1 != 0;
    if least > 0 || complex {
        let complex = if complex { "complex, " } else { "" };
        let detail = format!(
            "the policy survives sealing: passwords must be {complex}of {least} characters or more, and not one of the \
             last {history}"
        );
        out.add(format!(r"SAM\{key} F"), detail);
    }
    Ok(())
}

fn autologon(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Microsoft\Windows NT\CurrentVersion\Winlogon";
    if let Some(value) = subject.value(Software, key, "AutoAdminLogon")? {
        let number = value.as_u32().map(|n| n.to_string()).or(value.as_text());
        match number {
            Some(text) if text.trim() == "0" || text.is_empty() => {}
            Some(_) => out.add(format!(r"SOFTWARE\{key}"), "AutoAdminLogon is on"),
            None => {
                let detail = format!(r"SOFTWARE\{key} AutoAdminLogon is of type {}, a text was expected", value.ty);
                return Err(Stop::Unknown(detail));
            }
        }
    }
    if subject.value(Software, key, "DefaultPassword")?.is_some_and(|v| !v.data.is_empty()) {
        out.add(format!(r"SOFTWARE\{key}"), "DefaultPassword holds a password in plain text");
    }
    let secret = r"Policy\Secrets\DefaultPassword";
    for part in ["CurrVal", "OldVal"] {
        let value = subject.value(Security, &format!(r"{secret}\{part}"), "")?;
        if value.is_some_and(|v| !v.data.is_empty()) {
            out.add(format!(r"SECURITY\{secret}"), format!("{part} holds the secret of an automatic sign-in, of this machine or of the medium it was set up from"));
        }
    }
    Ok(())
}

fn linked(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let hive = subject.hive(Sam)?;
    for (rid, key) in sam::user_keys(hive)?.into_iter().filter(|(rid, _)| !subject.leaving.has(*rid)) {
        if hive.value(key, "InternetUserName")?.is_some() || hive.value(key, "InternetSID")?.is_some() {
            let name = subject.facts.users.iter().find(|u| u.rid == rid).map_or("?", |u| u.name.as_str());
            let detail = format!("{name} signs in with a Microsoft account: offline sign-in may need the network once");
            out.add(format!(r"SAM\Domains\Account\Users\{rid:08X}"), detail);
        }
    }
    // [MS-DTYP] has no name for this authority; Entra ID uses S-1-12-1.
    for profile in subject.facts.profiles.iter().filter(|p| p.sid.to_ascii_uppercase().starts_with("S-1-12-1-")) {
        out.add(
            "SOFTWARE",
            format!("the profile {} belongs to an account of Entra ID ({})", profile.path, profile.sid),
        );
    }
    Ok(())
}

fn hello(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let folder = r"Windows\ServiceProfiles\LocalService\AppData\Local\Microsoft\Ngc";
    match subject.entries(folder)?.len() {
        0 => {}
        n => out.add(
            format!(r"\{folder}"),
            format!(
                "{n} containers of Windows Hello: bound to this machine's TPM and SIDs, so PINs do not work on a copy"
            ),
        ),
    }
    Ok(())
}
