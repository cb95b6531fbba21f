//! One condition each: what is planted in a sound machine, and which check must see it, how, and where.

use super::machine::Machine;
use super::old_sid;
use reseal::Outcome::{self, Note, Refuse, Warn};
use reseal_dtyp::{Descriptor, FileTime, Sid};
use reseal_hive::{Hive, types};
use reseal_ntfs::{Security, Volume};

/// A condition.
pub(crate) struct Fixture {
    /// The check that sees it.
    pub(crate) id: &'static str,
    pub(crate) outcome: Outcome,
    /// Part of the place of one of its notices; empty for none.
    pub(crate) place: &'static str,
    pub(crate) plant: Plant,
}

/// How a condition is planted.
#[derive(Clone, Copy)]
pub(crate) enum Plant {
    /// In the volume.
    Volume(fn(&mut Machine)),
    /// In the bytes of the disk.
    Disk(fn(&mut [u8])),
    /// A second partition whose first sector has these bytes at this offset.
    Partition(usize, &'static [u8]),
    /// The same volume once more.
    Twice,
    /// In the system volume of an MBR disk.
    System(fn(&mut Volume)),
}

const fn on(id: &'static str, outcome: Outcome, place: &'static str, plant: fn(&mut Machine)) -> Fixture {
    Fixture { id, outcome, place, plant: Plant::Volume(plant) }
}

const fn beside(id: &'static str, outcome: Outcome, at: usize, signature: &'static [u8]) -> Fixture {
    Fixture { id, outcome, place: "partition 2", plant: Plant::Partition(at, signature) }
}

const CBS: &str = r"Microsoft\Windows\CurrentVersion\Component Based Servicing";
const NT: &str = r"Microsoft\Windows NT\CurrentVersion";
const STORE: &str = r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore";
const MANAGER: &str = r"ControlSet001\Control\Session Manager";
const FEATURES: &str = r"Microsoft\ServerManager\ServicingStorage\ServerComponentCache";
/// A recovery environment on a partition at byte 4096, where none begins.
pub(crate) const REAGENT: &str = r#"<?xml version='1.0' encoding='utf-8'?>
<WindowsRE version="2.0">
  <WinreBCD id="{33333333-aaaa-11ee-8000-0123456789ab}"/>
  <WinreLocation path="\Recovery\WindowsRE" id="0" offset="4096" guid="{44444444-aaaa-11ee-8000-0123456789ab}"/>
  <InstallState state="1"/>
</WindowsRE>
"#;
pub(crate) const SECRET: &str = "Tr0ub4dor.3";

fn feature(m: &mut Machine, name: &str) {
    m.server();
    m.dword("SOFTWARE", &format!(r"{FEATURES}\{name}"), "InstallState", 1);
}

fn account(rid: u32) -> String {
    format!("{}-{rid}", old_sid())
}

/// Bumps the first sequence number of a hive's base block and makes its checksum right again.
fn leave_open(bytes: &mut [u8]) {
    bytes[4] ^= 1;
    let words = bytes[..508].chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    let sum = words.fold(0, |sum, word| sum ^ word);
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// Marks the file that says `hello` as encrypted: FILE_ATTRIBUTE_ENCRYPTED in its standard information, which is the first
/// attribute of its record of 1 KiB.
fn encrypt(disk: &mut [u8]) {
    let hello = |at: &usize| disk[*at..].starts_with(b"hello\0") && disk[at - 24..at - 20] == [0x80, 0, 0, 0];
    let at = (24..disk.len() - 8).find(hello).expect("the file is there");
    let record = at & !1023;
    let half_word = |at: usize| usize::from(u16::from_le_bytes([disk[at], disk[at + 1]]));
    let attribute = record + half_word(record + 20);
    let content = attribute + half_word(attribute + 20);
    assert_eq!((&disk[record..record + 4], disk[attribute]), (b"FILE".as_slice(), 0x10));
    disk[content + 32 + 1] |= 0x40;
}

pub(crate) static FIXTURES: &[Fixture] = &[
    on("dirty-volume", Refuse, "partition 1", |m| assert!(m.volume.schedule_check().expect("it can be marked"))),
    on("hibernated", Refuse, r"\hiberfil.sys", |m| m.file("hiberfil.sys", &[b"HIBR".to_vec(), vec![0; 8188]].concat())),
    beside("bitlocker", Refuse, 3, b"-FVE-FS-"),
    beside("refs", Warn, 3, b"ReFS\0\0\0\0"),
    on("snapshots", Refuse, r"\System Volume Information", |m| {
        m.file(
            r"System Volume Information\{11111111-2222-3333-4444-555555555555}{3808876b-c176-4e48-b7ae-04046e6cc752}",
            b"",
        );
    }),
    Fixture {
        id: "dirty-volume",
        outcome: Refuse,
        place: "partition 2",
        plant: Plant::System(|volume| assert!(volume.schedule_check().expect("it can be marked"))),
    },
    Fixture {
        id: "system-snapshots",
        outcome: Refuse,
        place: r"partition 2: \System Volume Information",
        plant: Plant::System(|volume| {
            let (root, now) = (volume.root(), FileTime(133_500_000_000_000_000));
            let folder = "System Volume Information";
            let folder = volume.create_dir(root, folder, Security::SameAs(root), now).expect("it can be made");
            let name = "{11111111-2222-3333-4444-555555555555}{3808876b-c176-4e48-b7ae-04046e6cc752}";
            volume.create_file(folder, name, b"", Security::SameAs(folder), now).expect("it can be made");
        }),
    },
    Fixture { id: "efs", outcome: Refuse, place: "partition 1", plant: Plant::Disk(encrypt) },
    on("dirty-hive", Refuse, r"config\SOFTWARE", |m| {
        let path = r"Windows\System32\config\SOFTWARE";
        let file = m.volume.resolve(path).expect("walked").expect("there");
        let mut bytes = super::content::read(&m.volume, file).expect("a file");
        leave_open(&mut bytes);
        m.volume.replace(file, &[], &bytes, FileTime(133_500_000_000_000_000)).expect("replaced");
    }),
    on("open-transaction", Refuse, r"config\SAM", |m| m.set("SAM", r"SAM\RXACT", "Log", types::BINARY, &[1; 40])),
    on("open-transaction", Refuse, r"config\SECURITY", |m| m.set("SECURITY", "RXACT", "Log", types::BINARY, &[1; 40])),
    on("pending-servicing", Refuse, "RebootPending", |m| m.key("SOFTWARE", &format!(r"{CBS}\RebootPending"))),
    on("pending-servicing", Refuse, "PackagesPending", |m| m.key("SOFTWARE", &format!(r"{CBS}\PackagesPending"))),
    on("pending-servicing", Refuse, "pending.xml", |m| m.file(r"Windows\WinSxS\pending.xml", b"<PendingTransaction/>")),
    on("pending-servicing", Refuse, "SETUPEXECUTE", |m| {
        m.lines("SYSTEM", MANAGER, "SETUPEXECUTE", &["poqexec.exe /x"])
    }),
    on("pending-components", Refuse, "ExecutePending", |m| m.dword("SOFTWARE", CBS, "ExecutePending", 1)),
    on("pending-components", Refuse, r"config\COMPONENTS", |m| {
        let descriptor =
            Descriptor::from_sddl("O:BAG:SYD:PAI(A;CI;KA;;;SY)").expect("valid").to_bytes().expect("short");
        let mut hive = Hive::new("COMPONENTS", 5, &descriptor, FileTime(133_500_000_000_000_000)).expect("new");
        let root = hive.root();
        hive.set_value(root, "PendingXmlIdentifier", types::BINARY, &[1; 8]).expect("set");
        m.file(r"Windows\System32\config\COMPONENTS", &hive.to_bytes());
    }),
    on("pending-renames", Warn, "PendingFileRenameOperations", |m| {
        m.lines("SYSTEM", MANAGER, "PendingFileRenameOperations", &[r"\??\C:\old.dll"]);
    }),
    on("reserved-storage", Warn, "ReserveManager", |m| {
        m.dword("SOFTWARE", r"Microsoft\Windows\CurrentVersion\ReserveManager", "ActiveScenario", 2);
    }),
    on("upgraded-image", Warn, "Source OS", |m| m.key("SYSTEM", r"Setup\Source OS (Updated on 1/2/2024 03:04:05)")),
    on("upgraded-image", Refuse, r"Setup\Upgrade", |m| {
        m.sz("SOFTWARE", NT, "CurrentBuild", "10586");
        m.key("SYSTEM", r"Setup\Upgrade");
    }),
    on("half-way-setup", Refuse, "SYSTEM", |m| m.dword("SYSTEM", "Setup", "SetupType", 1)),
    on("half-generalized", Refuse, "SysprepStatus", |m| {
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 3);
    }),
    on("pending-sid-request", Warn, "PendingRequest", |m| {
        m.dword("SYSTEM", r"Setup\SetupCl\PendingRequest", "OperationFlags", 4);
    }),
    on("third-party-providers", Warn, "SysPrepExternal", |m| {
        let key = r"Microsoft\Windows\CurrentVersion\Setup\SysPrepExternal\Generalize";
        m.sz("SOFTWARE", key, "Contoso", r"C:\Contoso\prep.dll,Generalize");
    }),
    on("setup-complete", Note, "SetupComplete.cmd", |m| {
        m.file(r"Windows\Setup\Scripts\SetupComplete.cmd", b"@echo off\r\n")
    }),
    on("activation", Note, "SoftwareProtectionPlatform", |m| {
        m.sz("SOFTWARE", &format!(r"{NT}\SoftwareProtectionPlatform"), "KeyManagementServiceName", "kms.example");
    }),
    on("domain-controller", Refuse, "SYSTEM", |m| {
        m.sz("SYSTEM", r"ControlSet001\Control\ProductOptions", "ProductType", "LanmanNT");
    }),
    on("domain-member", Refuse, "SECURITY", |m| {
        let sid: Sid = "S-1-5-21-11-22-33".parse().expect("a SID");
        m.set("SECURITY", r"Policy\PolPrDmS", "", types::NONE, &sid.to_bytes());
    }),
    on("machine-account", Warn, "$MACHINE.ACC", |m| {
        m.set("SECURITY", r"Policy\Secrets\$MACHINE.ACC\CurrVal", "", types::NONE, SECRET.as_bytes());
    }),
    on("entra-joined", Refuse, "SYSTEM", |m| m.key("SYSTEM", r"ControlSet001\Control\CloudDomainJoin\JoinInfo\AB12")),
    on("mdm-enrolled", Warn, "Enrollments", |m| {
        let key = r"Microsoft\Enrollments\{11111111-2222-3333-4444-555555555555}";
        m.dword("SOFTWARE", key, "EnrollmentState", 1);
        m.sz("SOFTWARE", key, "ProviderID", "MS DM Server");
    }),
    on("mde-onboarded", Warn, "Status", |m| {
        m.dword("SOFTWARE", r"Microsoft\Windows Advanced Threat Protection\Status", "OnboardingState", 1);
    }),
    on("mde-onboarded", Warn, "Threat Protection", |m| {
        m.sz("SOFTWARE", r"Microsoft\Windows Advanced Threat Protection", "senseGuid", "b1d4a0de");
    }),
    on("agents", Warn, "CcmExec", |m| m.service("CcmExec")),
    on("role-ad-cs", Refuse, "CertSvc", |m| m.service("CertSvc")),
    on("role-ad-ds", Refuse, "NTDS", |m| m.service("NTDS")),
    on("role-ad-fs", Refuse, "adfssrv", |m| m.service("adfssrv")),
    on("role-ad-lds", Refuse, "ADAM_One", |m| m.service("ADAM_One")),
    on("role-ad-rms", Refuse, "DRMS", |m| m.key("SOFTWARE", r"Microsoft\DRMS")),
    on("role-dhcp", Refuse, "DHCPServer", |m| m.service("DHCPServer")),
    on("role-nps", Refuse, "NPAS", |m| feature(m, "NPAS")),
    on("role-wsus", Refuse, "WsusService", |m| m.service("WsusService")),
    on("role-cluster", Refuse, "ClusSvc", |m| m.service("ClusSvc")),
    on("role-exchange", Refuse, "MSExchangeTransport", |m| m.service("MSExchangeTransport")),
    on("iis-encrypted", Refuse, "applicationHost.config", |m| {
        let text = br#"<processModel userName="x" password="[enc:AesProvider:AAAA:enc]" />"#;
        m.file(r"Windows\System32\inetsrv\config\applicationHost.config", text);
    }),
    on("role-fax", Warn, "Fax", |m| feature(m, "Fax")),
    on("role-dns", Warn, "DNS", |m| feature(m, "DNS")),
    on("role-file", Warn, "FS-Data-Deduplication", |m| feature(m, "FS-Data-Deduplication")),
    on("role-rds", Warn, "RDS-RD-Server", |m| feature(m, "RDS-RD-Server")),
    on("role-volume-activation", Warn, "VolumeActivation", |m| feature(m, "VolumeActivation")),
    on("role-sql", Warn, "MSSQL$PAY", |m| m.service("MSSQL$PAY")),
    on("role-wds", Warn, "WDSTFTP", |m| {
        m.service("WDSServer");
        m.sz("SYSTEM", r"ControlSet001\Services\WDSServer\Providers\WDSTFTP", "RootFolder", r"D:\RemoteInstall");
    }),
    on("role-wds", Note, "WDSServer", |m| m.service("WDSServer")),
    on("role-hyper-v", Warn, "SwitchList", |m| {
        m.service("vmms");
        m.key("SYSTEM", r"ControlSet001\Services\VMSMP\Parameters\SwitchList\one");
    }),
    on("role-hyper-v", Note, "vmms", |m| m.service("vmms")),
    on("role-remote-access", Warn, "RemoteAccess", |m| {
        m.server();
        m.dword("SYSTEM", r"ControlSet001\Services\RemoteAccess", "Start", 2);
    }),
    on("role-msmq", Warn, "MSMQ", |m| m.service("MSMQ")),
    on("role-iis", Note, "W3SVC", |m| m.service("W3SVC")),
    on("role-print", Note, "Print-Server", |m| feature(m, "Print-Server")),
    on("store-apps", Warn, "AppxAllUserStore", |m| {
        // A framework, a provisioned package, and one that is this user's only.
        let user = format!(r"{STORE}\{}", account(1001));
        m.key("SOFTWARE", &format!(r"{user}\Microsoft.VCLibs.140.00_14.0.1.0_x64__8wekyb3d8bbwe"));
        m.key("SOFTWARE", &format!(r"{STORE}\Applications\Contoso.Mail_1.0.0.0_x64__abcdefgh"));
        m.key("SOFTWARE", &format!(r"{user}\Contoso.Mail_1.1.0.0_x64__abcdefgh"));
        m.key("SOFTWARE", &format!(r"{user}\Contoso.Game_1.0.0.0_x64__abcdefgh"));
    }),
    on("system-packages", Warn, "AppxAllUserStore", |m| {
        m.sz("SOFTWARE", NT, "CurrentBuild", "26100");
        for name in ["MicrosoftWindows.Client.CBS", "Microsoft.UI.Xaml.CBS"] {
            m.key("SOFTWARE", &format!(r"{STORE}\InboxApplications\{name}_1.0.0.0_x64__cw5n1h2txyewy"));
        }
    }),
    on("no-way-in", Warn, "Users", |m| {
        m.patch("SAM", r"SAM\Domains\Account\Users\000003E9", "F", |data| data[56] |= 1);
    }),
    on("password-policy", Warn, r"Account F", |m| {
        m.patch("SAM", r"SAM\Domains\Account", "F", |data| {
            data[76] = 1;
            data[80] = 7;
            data[82] = 24;
        });
    }),
    on("autologon", Warn, "Winlogon", |m| m.sz("SOFTWARE", &format!(r"{NT}\Winlogon"), "AutoAdminLogon", "1")),
    on("autologon", Warn, "Winlogon", |m| m.sz("SOFTWARE", &format!(r"{NT}\Winlogon"), "DefaultPassword", SECRET)),
    on("autologon", Warn, "DefaultPassword", |m| {
        m.set("SECURITY", r"Policy\Secrets\DefaultPassword\OldVal", "", types::NONE, SECRET.as_bytes());
    }),
    on("linked-users", Warn, "000003EA", |m| {
        m.set("SAM", r"SAM\Domains\Account\Users\000003EA", "InternetUserName", types::BINARY, b"b\0@\0");
    }),
    on("windows-hello", Warn, "Ngc", |m| {
        m.file(r"Windows\ServiceProfiles\LocalService\AppData\Local\Microsoft\Ngc\{1}\1.dat", b"x");
    }),
    on("profile-without-folder", Warn, "ProfileList", |m| {
        let key = format!(r"{NT}\ProfileList\{}", account(1003));
        m.sz("SOFTWARE", &key, "ProfileImagePath", r"C:\Users\gone");
    }),
    on("folder-without-profile", Warn, r"\Users\stray", |m| m.file(r"Users\stray\notes.txt", b"x")),
    on("user-secrets", Warn, r"\Users\ann", |m| {
        let folder = format!(r"Users\ann\AppData\Roaming\Microsoft\Protect\{}", account(1001));
        m.file(&format!(r"{folder}\0b1d4a0d-1111-2222-3333-444455556666"), &[2; 468]);
    }),
    on("answer-files", Warn, r"Panther\unattend.xml", |m| {
        let text = format!(
            "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"><AutoLogon><Password><Value>{SECRET}</Value><PlainText>true</PlainText></Password></AutoLogon></unattend>"
        );
        m.file(r"Windows\Panther\unattend.xml", text.as_bytes());
    }),
    on("answer-files", Warn, r"Panther\Unattend\Unattend.xml", |m| {
        let text = "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"><Password><Value>*SENSITIVE*DATA*DELETED*</Value></Password></unattend>";
        m.file(r"Windows\Panther\Unattend\Unattend.xml", text.as_bytes());
    }),
    on("answer-files", Warn, "UnattendFile", |m| m.sz("SYSTEM", "Setup", "UnattendFile", r"C:\build\a.xml")),
    on("service-passwords", Warn, "_SC_Backup", |m| {
        m.set("SECURITY", r"Policy\Secrets\_SC_Backup\CurrVal", "", types::NONE, SECRET.as_bytes());
    }),
    on("machine-keys", Note, "MachineKeys", |m| {
        m.file(r"ProgramData\Microsoft\Crypto\RSA\MachineKeys\f686aace_b1d4a0de", &[1; 900]);
    }),
    on("winrm-https", Warn, "HTTPS", |m| {
        m.key("SOFTWARE", r"Microsoft\Windows\CurrentVersion\WSMAN\Listener\*+HTTPS");
    }),
    on("rdp", Note, "Terminal Server", |m| {
        m.dword("SYSTEM", r"ControlSet001\Control\Terminal Server", "fDenyTSConnections", 0);
    }),
    on("rdp", Warn, "RDP-Tcp", |m| {
        let key = r"ControlSet001\Control\Terminal Server\WinStations\RDP-Tcp";
        m.set("SYSTEM", key, "SSLCertificateSHA1Hash", types::BINARY, &[7; 20]);
    }),
    on("drive-letters", Warn, r"\DosDevices\C:", |m| {
        m.patch("SYSTEM", "MountedDevices", r"\DosDevices\C:", |data| data[8] ^= 0xff);
    }),
    on("other-letters", Warn, "Memory Management", |m| {
        m.lines("SYSTEM", &format!(r"{MANAGER}\Memory Management"), "PagingFiles", &[r"D:\pagefile.sys 0 0"]);
    }),
    beside("data-volumes", Warn, 3, b"NTFS    "),
    on("data-volumes", Warn, "MountedDevices", |m| {
        m.set("SYSTEM", "MountedDevices", r"\DosDevices\E:", types::BINARY, &[1, 2, 3, 4, 0, 0, 16, 0, 0, 0, 0, 0]);
    }),
    Fixture { id: "several-windows", outcome: Warn, place: "partition 2", plant: Plant::Twice },
    beside("boot-store", Note, 82, b"FAT32   "),
    on("bcd-incomplete", Warn, r"\Boot\BCD", |m| {
        m.boot_store(|hive| {
            let key = hive.key("Description").unwrap().unwrap();
            hive.delete_value(key, "System").unwrap();
        });
    }),
    on("bcd-incomplete", Warn, r"\Boot\BCD", |m| {
        m.boot_store(|hive| {
            let key = hive.key(r"Objects\{1afa9c49-16ab-4a5c-901b-212802da9460}").unwrap().unwrap();
            hive.delete_key(key).unwrap();
        });
    }),
    on("recovery-partition", Warn, "ReAgent.xml", |m| {
        m.file(r"Windows\System32\Recovery\ReAgent.xml", REAGENT.as_bytes());
    }),
    on("boot-store", Note, "partition 1", |m| {
        let file = m.volume.resolve(r"Boot\BCD").unwrap().unwrap();
        m.volume.remove(file, FileTime(1)).unwrap();
    }),
];
