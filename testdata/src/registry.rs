//! SYSTEM, SOFTWARE and user hives of a made-up machine.

use crate::accounts::{ACCOUNTS, key_descriptor};
use crate::texts;
use anyhow::Result;
use reseal_dtyp::{Descriptor, DomainSid, FileTime, Sid, utf16le};
use reseal_hive::{Hive, types};

/// The unique id of the partition that [`crate::ImageBuilder`] makes, as `MountedDevices` names it.
const PARTITION_ID: [u8; 16] = [2; 16];

fn sz(text: &str) -> Vec<u8> {
    [utf16le(text), vec![0, 0]].concat()
}

fn multi(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|l| sz(l)).chain([0, 0]).collect()
}

/// One line of a hive: key, value, type, data.
type Line<'a> = (&'a str, &'a str, u32, Vec<u8>);

fn fill(hive: &mut Hive, lines: &[Line<'_>]) -> Result<()> {
    for (key, name, ty, data) in lines {
        let key = hive.create_path(key)?;
        hive.set_value(key, name, *ty, data)?;
    }
    Ok(())
}

fn dword(number: u32) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

/// Two control sets, as Windows 7 keeps them and upgrades leave them.
pub(crate) fn system(sid: DomainSid, computer: &str, time: FileTime) -> Result<Vec<u8>> {
    let mut hive = Hive::new("SYSTEM", 5, &key_descriptor()?, time)?;
    for set in ["ControlSet001", "ControlSet002"] {
        let key = |path: &str| format!(r"{set}\{path}");
        let lines: Vec<(String, &str, u32, Vec<u8>)> = vec![
            (key(r"Control\ComputerName\ComputerName"), "ComputerName", types::SZ, sz(computer)),
            (key(r"Control\ComputerName\ActiveComputerName"), "ComputerName", types::SZ, sz(computer)),
            (key(r"Control\ProductOptions"), "ProductType", types::SZ, sz("WinNT")),
            (key(r"Control\Session Manager\Environment"), "PROCESSOR_ARCHITECTURE", types::SZ, sz("AMD64")),
            (key(r"Control\Session Manager"), "SETUPEXECUTE", types::MULTI_SZ, multi(&[])),
            (
                key(r"Control\Session Manager\Memory Management"),
                "PagingFiles",
                types::MULTI_SZ,
                multi(&[r"C:\pagefile.sys 0 0"]),
            ),
            (key(r"Services\Tcpip\Parameters"), "Hostname", types::SZ, sz(computer)),
            (key(r"Services\Tcpip\Parameters"), "NV Hostname", types::SZ, sz(computer)),
            (
                key(r"Services\Tcpip6\Parameters"),
                "Dhcpv6DUID",
                types::BINARY,
                vec![0, 1, 0, 1, 0x2a, 0x11, 0x22, 0x33, 0, 0x15, 0x5d, 1, 2, 3],
            ),
            (key(r"Services\LanmanServer\Parameters"), "Guid", types::BINARY, vec![0x77; 16]),
            (key(r"Services\LanmanServer"), "Start", types::DWORD, dword(2)),
            (key(r"Control\Notifications\041C5000"), "S", types::BINARY, sid.account(1001).to_bytes()),
        ];
        for (key, name, ty, data) in &lines {
            fill(&mut hive, &[(key, name, *ty, data.clone())])?;
        }
        for (name, class) in [("JD", "1a2b3c4d"), ("Skew1", "5e6f7081"), ("GBG", "92a3b4c5"), ("Data", "d6e7f809")] {
            let key = hive.create_path(&format!(r"{set}\Control\Lsa\{name}"))?;
            let class: Vec<u16> = class.encode_utf16().collect();
            hive.set_class_name(key, Some(&class))?;
        }
    }
    let mut seed = b"Running!\x01\0\0\0".to_vec();
    seed.extend((0..64u32).map(|i| (i * 37) as u8));
    fill(
        &mut hive,
        &[
            ("Select", "Current", types::DWORD, dword(1)),
            ("Select", "Default", types::DWORD, dword(1)),
            ("Select", "LastKnownGood", types::DWORD, dword(2)),
            ("RNG", "Seed", types::BINARY, seed),
            ("MountedDevices", r"\DosDevices\C:", types::BINARY, [b"DMIO:ID:".as_slice(), &PARTITION_ID].concat()),
            (
                "MountedDevices",
                r"\??\Volume{11111111-2222-3333-4444-555555555555}",
                types::BINARY,
                [b"DMIO:ID:".as_slice(), &PARTITION_ID].concat(),
            ),
            ("Setup", "SystemSetupInProgress", types::DWORD, dword(0)),
            ("Setup", "SetupType", types::DWORD, dword(0)),
            ("Setup", "SetupPhase", types::DWORD, dword(0)),
            ("Setup", "OOBEInProgress", types::DWORD, dword(0)),
            ("Setup", "CmdLine", types::SZ, sz("")),
            ("Setup", "CloneTag", types::MULTI_SZ, multi(&["Fri Sep 29 06:49:45 2017"])),
            (r"Setup\Status\ChildCompletion", "setup.exe", types::DWORD, dword(3)),
            (r"Setup\Status\ChildCompletion", "oobeldr.exe", types::DWORD, dword(3)),
            (r"Setup\Status\UnattendPasses", "oobeSystem", types::DWORD, dword(2)),
            (r"Setup\Status\SysprepStatus", "GeneralizationState", types::DWORD, dword(7)),
            (r"Setup\SetupCl", "ExecutionSuccessful", types::DWORD, dword(1)),
            (r"Setup\AllowStart\SamSs", "", types::SZ, sz("")),
        ],
    )?;
    hive.create_path(r"Setup\SetupCl\PendingRequest")?;
    Ok(hive.to_bytes())
}

pub(crate) fn software(sid: DomainSid, foreign: DomainSid, computer: &str, time: FileTime) -> Result<Vec<u8>> {
    let mut hive = Hive::new("SOFTWARE", 5, &key_descriptor()?, time)?;
    let nt = r"Microsoft\Windows NT\CurrentVersion";
    fill(
        &mut hive,
        &[
            (nt, "ProductName", types::SZ, sz("Windows 10 Pro")),
            (nt, "EditionID", types::SZ, sz("Professional")),
            (nt, "CurrentBuild", types::SZ, sz("22631")),
            (nt, "UBR", types::DWORD, dword(4037)),
            (nt, "DisplayVersion", types::SZ, sz("23H2")),
            (nt, "SystemRoot", types::SZ, sz(r"C:\Windows")),
            (r"Microsoft\Cryptography", "MachineGuid", types::SZ, sz("b1d4a0de-1111-2222-3333-444455556666")),
            (r"Microsoft\SQMClient", "MachineId", types::SZ, sz("{0B0B0B0B-1111-2222-3333-444455556666}")),
            (
                r"Microsoft\Windows\CurrentVersion\WindowsUpdate",
                "SusClientId",
                types::SZ,
                sz("0c0c0c0c-1111-2222-3333-444455556666"),
            ),
            (r"Microsoft\Windows\CurrentVersion\WindowsUpdate", "SusClientIdValidation", types::BINARY, vec![6; 40]),
            (r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState", types::SZ, sz("IMAGE_STATE_COMPLETE")),
            (r"Microsoft\Test\Binary", "Text of a SID", types::BINARY, utf16le(&format!("x{};", sid.account(1001)))),
            (r"Microsoft\Test\Foreign", "Build machine", types::SZ, sz(&foreign.account(1000).to_string())),
        ],
    )?;
    for user in ACCOUNTS.iter().filter(|u| u.enabled || u.rid == 500) {
        let account = sid.account(user.rid);
        let path = format!(r"{nt}\ProfileList\{account}");
        fill(
            &mut hive,
            &[
                (&path, "Sid", types::BINARY, account.to_bytes()),
                (&path, "ProfileImagePath", types::EXPAND_SZ, sz(&format!(r"C:\Users\{}", user.name))),
                (&format!(r"Microsoft\Windows\CurrentVersion\Appx\AppxAllUserStore\{account}"), "", types::SZ, sz("")),
            ],
        )?;
        let key = hive.create_path(&path)?;
        let sddl = format!("O:BAG:SYD:(A;CI;KA;;;SY)(A;CI;KR;;;{account})");
        hive.set_descriptor(key, &Descriptor::from_sddl(&sddl)?.to_bytes()?)?;
    }
    for (sid, path) in [
        ("S-1-5-18", r"%systemroot%\system32\config\systemprofile"),
        ("S-1-5-19", r"%systemroot%\ServiceProfiles\LocalService"),
    ] {
        fill(&mut hive, &[(&format!(r"{nt}\ProfileList\{sid}"), "ProfileImagePath", types::EXPAND_SZ, sz(path))])?;
    }
    texts::task_cache(&mut hive, sid, computer)?;
    // A value of several segments, with the SID across the first seam.
    let mut big = vec![0x5a; 40_000];
    let text = sid.account(1002).to_bytes();
    big[16_344 - 10..16_344 - 10 + text.len()].copy_from_slice(&text);
    fill(&mut hive, &[(r"Microsoft\Test\Big", "Across segments", types::BINARY, big)])?;
    Ok(hive.to_bytes())
}

/// A user's hive: descriptors name the user.
pub(crate) fn user(account: &Sid, time: FileTime) -> Result<Vec<u8>> {
    let sddl = format!("O:BAG:SYD:(A;CIOI;KA;;;SY)(A;CIOI;KA;;;BA)(A;CIOI;KA;;;{account})");
    let mut hive = Hive::new("ROOT", 5, &Descriptor::from_sddl(&sddl)?.to_bytes()?, time)?;
    fill(
        &mut hive,
        &[(r"Software\Microsoft\Windows\CurrentVersion\Explorer", "Owner", types::SZ, sz(&account.to_string()))],
    )?;
    Ok(hive.to_bytes())
}
