//! What tells one machine from another.

use super::TABLE;
use crate::Action::{ClearFolder, ClearKey, ClearSubkeys, DeleteFile, DeleteKey, DeleteValue};
use crate::steps::{Evidence, Spec, Use};

const RDP: &str = r"HKLM\SYSTEM\CurrentControlSet\Control\Terminal Server\WinStations\RDP-Tcp";

pub(in crate::steps) static RDP_IDENTITY: Spec = Spec {
    id: "rdp-identity",
    title: "Forget the certificate and licences of Remote Desktop",
    about: "Removes the self-signed certificate of Remote Desktop with its key file, the secrets of its licensing, and the \
            licences that this machine drew from others. All are made anew. A certificate without its key would make \
            connections fail, so both go together.",
    phase: "identity",
    mirrors: &["setup\\tssysprep.dll!RCMSysPrepGeneralize", "setup\\tssysprep.dll!RdpSysPrepGeneralize"],
    unproven: "that Remote Desktop makes a new certificate and key at its first start",
    actions: &[
        DeleteValue(RDP, "SelfSignedCertificate*"),
        DeleteValue(RDP, "SSLCertificateSHA1Hash"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\Remote Desktop\Certificates"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\Remote Desktop\CRLs"),
        ClearSubkeys(r"HKLM\SOFTWARE\Microsoft\SystemCertificates\Remote Desktop\CTLs"),
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\L$HYDRAENCKEY_*"),
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\L$RTMTIMEBOMB_*"),
        DeleteFile(r"%ProgramData%\Microsoft\Crypto\RSA\MachineKeys\f686aace6942fb7f7ceb231212eef4a4_*"),
        DeleteKey(r"HKLM\SOFTWARE\Microsoft\MSLicensing\Store"),
        DeleteKey(r"HKLM\SOFTWARE\Microsoft\MSLicensing\HardwareID"),
    ],
    ..TABLE
};

pub(in crate::steps) static STORE_LICENCES: Spec = Spec {
    id: "store-licences",
    title: "Forget the device licences of the Store",
    about: "Removes the licences that the Store's client licensing service holds for this device; it asks for new ones.",
    phase: "identity",
    mirrors: &["clipc.dll!ClipCleanUpState"],
    unproven: "that the client licensing service starts without its files",
    actions: &[
        DeleteFile(r"%ProgramData%\Microsoft\Windows\ClipSVC\tokens.dat"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows\ClipSVC\Archive"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows\ClipSVC\GenuineTicket"),
    ],
    ..TABLE
};

pub(in crate::steps) static PROVISIONING: Spec = Spec {
    id: "provisioning",
    title: "Forget sessions of provisioning and of connected devices",
    about: "Removes the records of provisioning sessions and of devices on the network that were set up by themselves. \
            Provisioning packages stay.",
    phase: "identity",
    mirrors: &["ProvSysprep.dll!ProvPackageSysprepGeneralize", "NcdAutoSetup.dll!NcdAutoSetup_Generalize"],
    actions: &[
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Provisioning\Sessions"),
        ClearKey(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\NcdAutoSetup\Private"),
    ],
    ..TABLE
};

pub(in crate::steps) static WINDOWS_HELLO: Spec = Spec {
    id: "windows-hello",
    title: "Forget PINs and faces of Windows Hello",
    about: "Empties the store of Windows Hello: what it holds is bound to the old SIDs and to the TPM of one machine. Users \
            who sign in by PIN only need their password once.",
    phase: "identity",
    evidence: Evidence::Inferred,
    unproven: "sign-in of users of a machine without passwords",
    server: Use::Ask,
    actions: &[ClearFolder(r"%SystemRoot%\ServiceProfiles\LocalService\AppData\Local\Microsoft\Ngc")],
    ..TABLE
};
