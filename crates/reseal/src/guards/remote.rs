//! How the machine is reached from afar, and whether that still works on a copy.

use super::look::{Looked, Notices, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::{Software, System};
use crate::steps::Evidence;

const GROUP: &str = "remote";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "winrm-https",
        title: "WinRM listens with a certificate of this machine",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none",
        evidence: Evidence::Unverified,
        remedy: "in Windows run `winrm delete winrm/config/Listener?Address=*+Transport=HTTPS`, and make it anew on each machine",
        look: Look::With(winrm),
    },
    Check {
        id: "rdp",
        title: "Remote Desktop is on, or has a certificate",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "tssysprep.dll RCMSysPrepGeneralize, RdpSysPrepRestore",
        evidence: Evidence::Inferred,
        remedy: "remove the certificate in Windows: `wmic /namespace:\\\\root\\cimv2\\TerminalServices PATH \
                 Win32_TSGeneralSetting SET SSLCertificateSHA1Hash=\"\"`; check Remote Desktop on a copy",
        look: Look::With(rdp),
    },
];

fn winrm(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Microsoft\Windows\CurrentVersion\WSMAN\Listener";
    for listener in subject.subkeys(Software, key)? {
        if listener.to_ascii_uppercase().ends_with("+HTTPS") {
            let detail = "its certificate names this machine: clients that verify names are locked out of the copies";
            out.add(format!(r"SOFTWARE\{key}\{listener}"), detail);
        }
    }
    Ok(())
}

fn rdp(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let server = subject.control(r"Control\Terminal Server")?;
    if subject.number(System, &server, "fDenyTSConnections")? == Some(0) {
        let detail =
            "Remote Desktop is on (fDenyTSConnections 0): it stays as it is; whether specialize keeps it is not known";
        out.lighter(Weight::Note, format!(r"SYSTEM\{server}"), detail);
    }
    let listener = format!(r"{server}\WinStations\RDP-Tcp");
    let hash = subject.value(System, &listener, "SSLCertificateSHA1Hash")?;
    if let Some(hash) = hash.filter(|v| v.data.iter().any(|b| *b != 0)) {
        let detail =
            format!("the listener is bound to a certificate ({} bytes of hash): copies share it", hash.data.len());
        out.add(format!(r"SYSTEM\{listener}"), detail);
    }
    Ok(())
}
