//! Whose machine it is: domain, Entra ID, device management, agents with an identity of their own.

use super::look::{Looked, Notices, Stop, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::{Security, Software, System};
use crate::steps::Evidence;

const GROUP: &str = "membership";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "domain-controller",
        title: "the machine is a domain controller",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("domain-controller"),
        answers: "table of server roles: AD DS, not supported",
        evidence: Evidence::Confirmed,
        remedy: "demote it first: `Uninstall-ADDSDomainController`",
        look: Look::With(controller),
    },
    Check {
        id: "domain-member",
        title: "the machine is a member of a domain",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("domain-member"),
        answers: "spopk.dll: Sysprep leaves the domain",
        evidence: Evidence::Confirmed,
        remedy: "give `--leave-domain`, or leave the domain in Windows: `Remove-Computer -WorkgroupName WORKGROUP -Force`",
        look: Look::With(member),
    },
    Check {
        id: "machine-account",
        title: "a machine account's password is kept outside a domain",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: domain joined",
        evidence: Evidence::Inferred,
        remedy: "give `--leave-domain`, or leave the domain in Windows, so that the account's password goes: `Remove-Computer -Force`",
        look: Look::With(machine_account),
    },
    Check {
        id: "entra-joined",
        title: "the machine is joined to Entra ID",
        group: GROUP,
        weight: Weight::Refuse,
        guard: Some("entra-joined"),
        answers: "none: Microsoft's documents forbid it",
        evidence: Evidence::Inferred,
        remedy: "give `--leave-entra`, or in Windows run `dsregcmd /leave`",
        look: Look::With(entra),
    },
    Check {
        id: "mdm-enrolled",
        title: "the machine is enrolled in device management",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none: Microsoft's documents forbid it",
        evidence: Evidence::Unverified,
        remedy: "give `--leave-entra`, or in Windows: Settings, Accounts, Access work or school, Disconnect; or retire the device in the service",
        look: Look::With(mdm),
    },
    Check {
        id: "mde-onboarded",
        title: "the machine is onboarded to Defender for Endpoint",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "component Sense; setuperr.log: senseGuid dwRet=0x5",
        evidence: Evidence::Unverified,
        remedy: "run the offboarding script of the portal in Windows, and onboard each machine after its first boot",
        look: Look::With(mde),
    },
    Check {
        id: "agents",
        title: "agents that identify the machine to a server are installed",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "none",
        evidence: Evidence::Unverified,
        remedy: "remove the agent's identity as its maker says for golden images, or install the agent on each machine",
        look: Look::With(agents),
    },
];

fn controller(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = subject.control(r"Control\ProductOptions")?;
    let product = subject.text(System, &key, "ProductType")?;
    if product.is_some_and(|t| t.eq_ignore_ascii_case("LanmanNT")) {
        out.add("SYSTEM", "the machine is a domain controller: its SID is its domain's");
    }
    Ok(())
}

/// A controller is a member, too; its own check says what to do.
fn member(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    subject.hive(Security)?;
    if let Some(sid) = subject.facts.domain_sid.as_ref().filter(|_| !subject.facts.is_domain_controller()) {
        let name = subject.facts.domain.as_deref().unwrap_or("?");
        out.add("SECURITY", format!("the machine is a member of the domain {name} ({sid})"));
    }
    Ok(())
}

fn machine_account(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Policy\Secrets\$MACHINE.ACC\CurrVal";
    let kept = subject.value(Security, key, "")?.is_some_and(|v| !v.data.is_empty());
    if kept && subject.facts.domain_sid.is_none() {
        let detail = "the password of a machine account is kept, though the machine is in no domain";
        out.add(r"SECURITY\Policy\Secrets\$MACHINE.ACC", detail);
    }
    Ok(())
}

fn entra(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = subject.control(r"Control\CloudDomainJoin\JoinInfo")?;
    if !subject.subkeys(System, &key)?.is_empty() {
        out.add("SYSTEM", "the machine is joined to Entra ID: every copy would claim one device");
    }
    Ok(())
}

fn mdm(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let list = r"Microsoft\Enrollments";
    for name in subject.subkeys(Software, list)? {
        let key = format!(r"{list}\{name}");
        let enrolled = subject.number(Software, &key, "EnrollmentState")? == Some(1);
        if let (true, Some(provider)) = (enrolled, subject.text(Software, &key, "ProviderID")?) {
            out.add(
                format!(r"SOFTWARE\{key}"),
                format!("the machine is managed by {provider}: every copy would claim one device"),
            );
        }
    }
    Ok(())
}

fn mde(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let key = r"Microsoft\Windows Advanced Threat Protection";
    let status = format!(r"{key}\Status");
    if subject.number(Software, &status, "OnboardingState")? == Some(1) {
        out.add(format!(r"SOFTWARE\{status}"), "the machine is onboarded: every copy reports as one device");
    } else if subject.text(Software, key, "senseGuid")?.is_some_and(|guid| !guid.is_empty()) {
        out.add(format!(r"SOFTWARE\{key}"), "the sensor has drawn its id: every copy reports as one device");
    }
    Ok(())
}

/// Services of agents that a server tells apart by a stored id.
const AGENTS: &[(&str, &str)] = &[
    ("CcmExec", "Configuration Manager"),
    ("HealthService", "Operations Manager or Azure Monitor"),
    ("himds", "Azure Connected Machine"),
    ("CSFalconService", "CrowdStrike Falcon"),
    ("SentinelAgent", "SentinelOne"),
    ("SplunkForwarder", "Splunk forwarder"),
    ("Tanium Client", "Tanium"),
    ("QualysAgent", "Qualys"),
    ("Tenable Nessus Agent", "Nessus agent"),
    ("salt-minion", "Salt"),
    ("puppet", "Puppet"),
];

fn agents(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let services = subject.control("Services")?;
    let mut doubt = None;
    for (service, maker) in AGENTS {
        match subject.text(System, &format!(r"{services}\{service}"), "ImagePath") {
            Ok(Some(_)) => out.add(
                format!(r"SYSTEM\{services}\{service}"),
                format!("{maker} is installed: copies may report as one machine"),
            ),
            Ok(None) => {}
            Err(stop @ Stop::Unknown(_)) => doubt = Some(stop),
            Err(other) => return Err(other),
        }
    }
    doubt.map_or(Ok(()), Err)
}
