//! The roles that are looked for. How to recognize each is from memory, hence *unverified*; so only those refuse that a wrong
//! seal would destroy, or that would harm others on their network.

use super::roles::{Signs, hyper_v, iis_encrypted, msmq, remote_access, wds};
use super::{Check, Look, Weight};
use crate::steps::Evidence;

/// What the checks of roles have in common: by weight.
const NOTED: Check = Check {
    id: "",
    title: "",
    group: "roles",
    weight: Weight::Note,
    guard: None,
    answers: "",
    evidence: Evidence::Unverified,
    remedy: "",
    look: Look::Role(&SIGNS),
};
const WARNED: Check = Check { weight: Weight::Warn, ..NOTED };
const REFUSED: Check = Check { weight: Weight::Refuse, guard: Some("role"), ..NOTED };

/// A role that nothing gives away.
const SIGNS: Signs = Signs { services: &[], features: &[], keys: &[], servers_only: false, effect: "" };

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "role-ad-cs",
        title: "Active Directory Certificate Services",
        answers: "table of server roles: AD CS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature AD-Certificate`",
        look: Look::Role(&Signs {
            services: &["CertSvc"],
            features: &["AD-Certificate", "ADCS-Cert-Authority"],
            effect: "its authority is named after this machine",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-ad-ds",
        title: "Active Directory Domain Services",
        answers: "table of server roles: AD DS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature AD-Domain-Services`",
        look: Look::Role(&Signs {
            services: &["NTDS"],
            features: &["AD-Domain-Services"],
            effect: "a directory does not survive a change of the machine",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-ad-fs",
        title: "Active Directory Federation Services",
        answers: "table of server roles: AD FS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature ADFS-Federation`",
        look: Look::Role(&Signs {
            services: &["adfssrv"],
            features: &["ADFS-Federation"],
            effect: "its farm is bound to the machine's keys",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-ad-lds",
        title: "Active Directory Lightweight Directory Services",
        answers: "table of server roles: AD LDS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature ADLDS`",
        look: Look::Role(&Signs {
            services: &["ADAM_*"],
            features: &["ADLDS"],
            effect: "an instance does not survive a change of the machine",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-ad-rms",
        title: "Active Directory Rights Management Services",
        answers: "table of server roles: AD RMS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature ADRMS`",
        look: Look::Role(&Signs {
            features: &["ADRMS"],
            keys: &[r"Microsoft\DRMS"],
            effect: "its cluster key is bound to the machine",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-dhcp",
        title: "DHCP Server",
        answers: "table of server roles: DHCP: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature DHCP`",
        look: Look::Role(&Signs {
            services: &["DHCPServer"],
            features: &["DHCP"],
            effect: "two servers with the same scopes would answer",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-nps",
        title: "Network Policy Server",
        answers: "table of server roles: NPAS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature NPAS`",
        look: Look::Role(&Signs {
            services: &["IAS"],
            features: &["NPAS"],
            servers_only: true,
            effect: "shared secrets of RADIUS clients would be copied",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-wsus",
        title: "Windows Server Update Services",
        answers: "table of server roles: WSUS: not supported",
        remedy: "remove the role before sealing and install it on each machine: `Uninstall-WindowsFeature UpdateServices`",
        look: Look::Role(&Signs {
            services: &["WsusService"],
            features: &["UpdateServices"],
            effect: "its database names this server",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-cluster",
        title: "Failover Clustering",
        answers: "table of server roles: failover cluster: not listed",
        remedy: "remove the role before sealing and install it on each machine: `Remove-ClusterNode, then Uninstall-WindowsFeature Failover-Clustering`",
        look: Look::Role(&Signs {
            services: &["ClusSvc"],
            effect: "a copied node would join its own cluster",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "role-exchange",
        title: "Exchange Server",
        answers: "table of server roles: Exchange: not listed",
        remedy: "remove the role before sealing and install it on each machine: `Setup.exe /mode:Uninstall`",
        look: Look::Role(&Signs {
            services: &["MSExchange*"],
            effect: "its configuration lies in Active Directory, under this machine's name",
            ..SIGNS
        }),
        ..REFUSED
    },
    Check {
        id: "iis-encrypted",
        title: "IIS keeps credentials that its machine keys encrypt",
        answers: "table of server roles: IIS, not with encrypted credentials; iissyspr.dll IIS_Generalize",
        evidence: Evidence::Confirmed,
        remedy: "remove the accounts of application pools and virtual folders before sealing and set them on each machine: `appcmd set apppool NAME -processModel.password:`",
        look: Look::With(iis_encrypted),
        ..REFUSED
    },
    Check {
        id: "role-fax",
        title: "Fax Server",
        answers: "table of server roles: Fax: not supported",
        remedy: "remove it before sealing, or set it up on each machine: `Uninstall-WindowsFeature Fax`",
        look: Look::Role(&Signs {
            services: &["Fax"],
            features: &["Fax"],
            servers_only: true,
            effect: "its accounts and queue would be copied",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-dns",
        title: "DNS Server",
        answers: "table of server roles: DNS: not stated",
        remedy: "remove it before sealing, or set it up on each machine: `Uninstall-WindowsFeature DNS`",
        look: Look::Role(&Signs {
            services: &["DNS"],
            features: &["DNS"],
            servers_only: true,
            effect: "its zones would be copied",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-file",
        title: "File services with replication or deduplication",
        answers: "table of server roles: File and Storage: supported",
        remedy: "remove it before sealing, or set it up on each machine: `Remove-DfsrMember, Disable-DedupVolume`",
        look: Look::Role(&Signs {
            services: &["ddpsvc", "DFSR", "Dfs"],
            features: &["FS-Data-Deduplication", "FS-DFS-Replication", "FS-DFS-Namespace"],
            servers_only: true,
            effect: "supported as a role, but members and jobs are named after this machine",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-rds",
        title: "Remote Desktop Services",
        answers: "table of server roles: RDS: supported",
        remedy: "remove it before sealing, or set it up on each machine: `Remove-RDServer, and add each machine to the deployment after its first boot`",
        look: Look::Role(&Signs {
            services: &["Tssdis", "TermServLicensing", "TSGateway"],
            features: &["RDS-Connection-Broker", "RDS-RD-Server", "RDS-Licensing"],
            servers_only: true,
            effect: "supported, but a deployment names this machine",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-volume-activation",
        title: "Volume Activation Services",
        answers: "table of server roles: Volume Activation: not stated",
        remedy: "remove it before sealing, or set it up on each machine: `Uninstall-WindowsFeature VolumeActivation`",
        look: Look::Role(&Signs {
            features: &["VolumeActivation"],
            servers_only: true,
            effect: "copies would be hosts with one key",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-sql",
        title: "SQL Server",
        answers: "table of server roles: SQL Server: not listed",
        remedy: "install with `Setup.exe /ACTION=PrepareImage` and complete it on each machine",
        look: Look::Role(&Signs {
            services: &["MSSQL*", "SQLAgent*", "SQLSERVERAGENT"],
            effect: "its logins and its service master key know this machine",
            ..SIGNS
        }),
        ..WARNED
    },
    Check {
        id: "role-wds",
        title: "Windows Deployment Services, initialized",
        answers: "table of server roles: WDS, supported if it is not initialized",
        remedy: "in Windows run `wdsutil /Uninitialize-Server`, and initialize it on each machine",
        look: Look::With(wds),
        ..WARNED
    },
    Check {
        id: "role-hyper-v",
        title: "Hyper-V with virtual switches",
        answers: "table of server roles: Hyper-V, delete virtual networks first",
        remedy: "in Windows run `Get-VMSwitch | Remove-VMSwitch`",
        look: Look::With(hyper_v),
        ..WARNED
    },
    Check {
        id: "role-remote-access",
        title: "Routing and Remote Access",
        answers: "table of server roles: RRAS, not stated",
        remedy: "in Windows run `Uninstall-RemoteAccess`",
        look: Look::With(remote_access),
        ..WARNED
    },
    Check {
        id: "role-msmq",
        title: "Message Queuing",
        answers: "MSMQ's own provider; hang at Sysprep_Generalize_Pnp_Drivers",
        remedy: "in Windows run `Disable-WindowsOptionalFeature -Online -FeatureName MSMQ-Server`, and install it on each machine",
        look: Look::With(msmq),
        ..WARNED
    },
    Check {
        id: "role-iis",
        title: "Internet Information Services",
        answers: "table of server roles: IIS: supported without encrypted credentials",
        remedy: "nothing; see iis-encrypted",
        look: Look::Role(&Signs { services: &["W3SVC"], features: &["Web-Server"], effect: "supported", ..SIGNS }),
        ..NOTED
    },
    Check {
        id: "role-print",
        title: "Print Server",
        answers: "table of server roles: Print: supported",
        remedy: "nothing",
        look: Look::Role(&Signs { features: &["Print-Server"], servers_only: true, effect: "supported", ..SIGNS }),
        ..NOTED
    },
];
