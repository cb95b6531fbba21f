//! What nobody who gets the image shall read.

use super::TABLE;
use crate::Action::{DeleteKey, DeleteValue, SetText};
use crate::steps::{Evidence, Spec};

const WINLOGON: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon";

pub(in crate::steps) static AUTOLOGON: Spec = Spec {
    id: "autologon",
    title: "End automatic sign-in, and forget its password",
    about: "Sets AutoAdminLogon to 0 and removes the account and the password that were to be used, in Winlogon and among \
            the secrets of the LSA. An answer file sets up automatic sign-in of its own at the first start.",
    mirrors: &["shsetup.dll!Sysprep_Generalize_Shell"],
    evidence: Evidence::Inferred,
    actions: &[
        SetText(WINLOGON, "AutoAdminLogon", "0"),
        DeleteValue(WINLOGON, "DefaultPassword"),
        DeleteValue(WINLOGON, "AutoLogonCount"),
        DeleteValue(WINLOGON, "AutoLogonSID"),
        DeleteValue(WINLOGON, "DefaultDomainName"),
        DeleteValue(WINLOGON, "DefaultUserName"),
        DeleteValue(WINLOGON, "LastUsedUsername"),
        DeleteKey(r"HKLM\SECURITY\Policy\Secrets\DefaultPassword"),
    ],
    ..TABLE
};

pub(in crate::steps) static MOBILE_HOTSPOT: Spec = Spec {
    id: "mobile-hotspot",
    title: "Forget the mobile hotspot's name and password",
    about: "Removes the settings that Windows draws when a hotspot is first shared: a network name after the computer, and a \
            password, readable and encrypted. Every copy would offer the same network. Windows draws new ones.",
    unproven: "that new settings are drawn where they are absent: seen as values of real hives only",
    actions: &[
        DeleteValue(r"HKLM\SYSTEM\CurrentControlSet\Services\icssvc\Settings", "PrivateConnectionSettings"),
        DeleteValue(r"HKLM\SYSTEM\CurrentControlSet\Services\icssvc\Roaming\Profile", "SSID"),
        DeleteValue(r"HKLM\SYSTEM\CurrentControlSet\Services\icssvc\Roaming\Profile", "Key"),
    ],
    ..TABLE
};
