//! Driver packages for tests, made up in the shape of those of paravirtual devices.

/// A storage driver with two devices, a renamed file, strings, an AddReg and a path that goes on.
pub const STORAGE: &str = r#"; made up
[Version]
Signature = "$Windows NT$"
Class     = SCSIAdapter
ClassGuid = {4D36E97B-E325-11CE-BFC1-08002BE10318}
Provider  = %Maker%
DriverVer = 03/14/2024, 100.2.3.4
CatalogFile = blkmade.cat

[DestinationDirs]
DefaultDestDir = 12

[SourceDisksNames]
1 = %Disk%,,,

[SourceDisksFiles]
blkmade.sys = 1

[Manufacturer]
%Maker% = Made, NTamd64, NTamd64.10.0, NTx86

[Made.NTamd64]
%Device% = Old_Inst, PCI\VEN_1AF4&DEV_1001

[Made.NTamd64.10.0]
%Device% = Blk_Inst, PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00, \
    PCI\VEN_1AF4&DEV_1001
%Device% = Blk_Inst, "PCI\VEN_1AF4&DEV_1042"

[Old_Inst]
CopyFiles = Files

[Blk_Inst.NT]
CopyFiles = @blkmade.sys, Files

[Files]
blkmade.sys,,,2

[Blk_Inst.NT.Services]
AddService = blkmade, 0x00000002, Blk_Service, Blk_Log

[Blk_Service]
DisplayName    = %Service%
ServiceType    = 1
StartType      = 0
ErrorControl   = 1
LoadOrderGroup = SCSI miniport
ServiceBinary  = %12%\blkmade.sys
AddReg         = Blk_Reg

[Blk_Reg]
HKR, "Parameters\PnpInterface", "5", 0x00010001, 0x00000001
HKR, "Parameters", "BusType", 0x00010001, 0x00000001

[Blk_Log]
AddReg = Log_Reg

[Log_Reg]
HKR,,EventMessageFile,0x00020000,"%%SystemRoot%%\System32\IoLogMsg.dll"

[Strings]
Maker   = "Made-up Devices, Ltd."
Disk    = "Disk of drivers"
Device  = "Made-up block device"
Service = "Made-up block service"
"#;

/// A network driver: nothing starts from it.
pub const NETWORK: &str = r#"[Version]
Signature = "$Windows NT$"
Class     = Net
ClassGuid = {4D36E972-E325-11CE-BFC1-08002BE10318}
Provider  = %Maker%
DriverVer = 05/01/2023,1.2.3.4
CatalogFile.NTamd64 = netmade.cat

[SourceDisksNames]
1 = "Disk"

[SourceDisksFiles]
netmade.sys = 1
netmade.dll = 1,tools

[Manufacturer]
%Maker% = Made, NTamd64.6.1

[Made.NTamd64.6.1]
"Made-up network" = Net_Inst, PCI\VEN_1AF4&DEV_1041

[Net_Inst.ntamd64]
CopyFiles = Net_Files

[Net_Files]
netmade.sys

[Net_Inst.ntamd64.Services]
AddService = netmade, 2, Net_Service

[Net_Service]
ServiceType   = 1
StartType     = 3
ErrorControl  = 1
ServiceBinary = %13%\netmade.sys

[Strings]
Maker = "Made-up Devices, Ltd."
"#;

/// The least that is a program for a processor: IMAGE_FILE_MACHINE_*, then some content.
pub fn program(machine: u16, content: &str) -> Vec<u8> {
    let mut out = b"MZ".to_vec();
    out.resize(0x3c, 0);
    out.extend(0x80u32.to_le_bytes());
    out.resize(0x80, 0);
    out.extend(b"PE\0\0");
    out.extend(machine.to_le_bytes());
    out.extend(content.as_bytes());
    out
}
