//! What the documentation of unattended setup says of single settings: in which passes they count, and what they may say.
//!
//! Source: Microsoft's unattended Windows setup reference. Only what is certain stands here; a setting that is not listed
//! passes.

/// What a setting may say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// Anything, or other settings.
    Any,
    /// `true` or `false`.
    Bool,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A number in this range.
    Number(u32, u32),
    /// At least one character and at most this many.
    Text(usize),
    /// A computer name, `*`, or nothing.
    ComputerName,
    /// Five groups of five letters and digits with hyphens between them, or nothing.
    ProductKey,
    /// A name of a local account.
    Account,
}

/// A setting of a component.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) component: &'static str,
    /// Elements below the component; `*` is any one element.
    pub(super) path: &'static [&'static str],
    /// The passes in which it counts; empty where nothing is said of it.
    pub(super) passes: &'static [&'static str],
    pub(super) value: Value,
}

const SHELL: &str = super::SHELL_SETUP;
const DEPLOY: &str = super::DEPLOYMENT;

const fn rule(
    component: &'static str,
    path: &'static [&'static str],
    passes: &'static [&'static str],
    value: Value,
) -> Rule {
    Rule { component, path, passes, value }
}

/// The passes that setup knows.
pub(super) const PASSES: &[&str] =
    &["windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem"];

/// Components that count in these passes only.
pub(super) const COMPONENTS: &[(&str, &[&str])] = &[
    ("Microsoft-Windows-International-Core-WinPE", &["windowsPE"]),
    ("Microsoft-Windows-PnpCustomizationsWinPE", &["windowsPE"]),
    ("Microsoft-Windows-PnpCustomizationsNonWinPE", &["offlineServicing", "auditSystem"]),
    ("Microsoft-Windows-UnattendedJoin", &["specialize"]),
    ("Microsoft-Windows-PnpSysprep", &["generalize"]),
];

pub(super) const RULES: &[Rule] = &[
    rule(SHELL, &["ComputerName"], &["specialize", "offlineServicing"], Value::ComputerName),
    rule(SHELL, &["ProductKey"], &["specialize"], Value::ProductKey),
    rule(SHELL, &["CopyProfile"], &["specialize"], Value::Bool),
    rule(SHELL, &["TimeZone"], &["specialize", "auditSystem", "oobeSystem"], Value::Text(256)),
    rule(SHELL, &["UserAccounts"], &["auditSystem", "oobeSystem"], Value::Any),
    rule(SHELL, &["UserAccounts", "LocalAccounts", "LocalAccount", "Name"], &[], Value::Account),
    rule(SHELL, &["UserAccounts", "LocalAccounts", "LocalAccount", "Group"], &[], Value::Text(256)),
    rule(SHELL, &["UserAccounts", "LocalAccounts", "LocalAccount", "DisplayName"], &[], Value::Text(256)),
    rule(SHELL, &["UserAccounts", "LocalAccounts", "LocalAccount", "Password", "PlainText"], &[], Value::Bool),
    rule(SHELL, &["UserAccounts", "AdministratorPassword", "PlainText"], &[], Value::Bool),
    rule(SHELL, &["AutoLogon"], &["specialize", "auditSystem", "oobeSystem"], Value::Any),
    rule(SHELL, &["AutoLogon", "Enabled"], &[], Value::Bool),
    rule(SHELL, &["AutoLogon", "LogonCount"], &[], Value::Number(1, 9_999_999)),
    rule(SHELL, &["AutoLogon", "Password", "PlainText"], &[], Value::Bool),
    rule(SHELL, &["OOBE"], &["oobeSystem"], Value::Any),
    rule(SHELL, &["OOBE", "HideEULAPage"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "HideLocalAccountScreen"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "HideOEMRegistrationScreen"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "HideOnlineAccountScreens"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "HideWirelessSetupInOOBE"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "SkipMachineOOBE"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "SkipUserOOBE"], &[], Value::Bool),
    rule(SHELL, &["OOBE", "ProtectYourPC"], &[], Value::Number(1, 3)),
    rule(SHELL, &["OOBE", "NetworkLocation"], &[], Value::OneOf(&["Home", "Work", "Other"])),
    rule(SHELL, &["OOBE", "VMModeOptimizations", "*"], &[], Value::Bool),
    rule(SHELL, &["FirstLogonCommands"], &["oobeSystem"], Value::Any),
    rule(SHELL, &["FirstLogonCommands", "SynchronousCommand", "Order"], &[], Value::Number(1, 500)),
    rule(SHELL, &["FirstLogonCommands", "SynchronousCommand", "CommandLine"], &[], Value::Text(1024)),
    rule(SHELL, &["FirstLogonCommands", "SynchronousCommand", "RequiresUserInput"], &[], Value::Bool),
    rule(SHELL, &["LogonCommands"], &["oobeSystem"], Value::Any),
    rule(SHELL, &["LogonCommands", "AsynchronousCommand", "Order"], &[], Value::Number(1, 500)),
    rule(SHELL, &["LogonCommands", "AsynchronousCommand", "CommandLine"], &[], Value::Text(1024)),
    rule(DEPLOY, &["Reseal"], &["auditSystem", "auditUser", "oobeSystem"], Value::Any),
    rule(DEPLOY, &["Reseal", "Mode"], &[], Value::OneOf(&["Audit", "OOBE"])),
    rule(DEPLOY, &["Reseal", "ForceShutdownNow"], &[], Value::Bool),
    rule(DEPLOY, &["Generalize"], &["auditSystem", "auditUser"], Value::Any),
    rule(DEPLOY, &["Generalize", "Mode"], &[], Value::OneOf(&["Audit", "OOBE"])),
    rule(DEPLOY, &["Generalize", "ForceShutdownNow"], &[], Value::Bool),
    rule(DEPLOY, &["ExtendOSPartition"], &["specialize"], Value::Any),
    rule(DEPLOY, &["ExtendOSPartition", "Extend"], &[], Value::Bool),
    rule(DEPLOY, &["RunSynchronous"], &["specialize", "auditUser"], Value::Any),
    rule(DEPLOY, &["RunSynchronous", "RunSynchronousCommand", "Order"], &[], Value::Number(1, 500)),
    rule(DEPLOY, &["RunSynchronous", "RunSynchronousCommand", "Path"], &[], Value::Text(259)),
    rule(DEPLOY, &["RunSynchronous", "RunSynchronousCommand", "WillReboot"], &[], WILL_REBOOT),
    rule(DEPLOY, &["RunAsynchronous"], &["specialize", "auditUser"], Value::Any),
    rule(DEPLOY, &["RunAsynchronous", "RunAsynchronousCommand", "Order"], &[], Value::Number(1, 500)),
    rule(DEPLOY, &["RunAsynchronous", "RunAsynchronousCommand", "Path"], &[], Value::Text(259)),
    rule("Microsoft-Windows-PnpSysprep", &["PersistAllDeviceInstalls"], &["generalize"], Value::Bool),
    rule("Microsoft-Windows-PnpSysprep", &["DoNotCleanUpNonPresentDevices"], &["generalize"], Value::Bool),
    rule("Microsoft-Windows-Security-SPP", &["SkipRearm"], &["generalize"], Value::Bool),
];

const WILL_REBOOT: Value = Value::OneOf(&["Always", "OnRequest", "Never"]);

/// Lists of commands: the element that holds one command, and the one that says what runs.
pub(super) const COMMANDS: &[(&str, &str)] = &[
    ("RunSynchronousCommand", "Path"),
    ("RunAsynchronousCommand", "Path"),
    ("SynchronousCommand", "CommandLine"),
    ("AsynchronousCommand", "CommandLine"),
];

impl Value {
    /// Why a text is not of this kind.
    pub(super) fn fault(self, text: &str) -> Option<String> {
        let length = text.chars().count();
        match self {
            Value::Any => None,
            Value::Bool => (!matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "0" | "1"))
                .then(|| "`true` or `false` is needed".to_owned()),
            Value::OneOf(words) => (!words.iter().any(|word| word.eq_ignore_ascii_case(text)))
                .then(|| format!("one of {} is needed", words.join(", "))),
            Value::Number(from, to) => (!text.parse().is_ok_and(|number: u32| (from..=to).contains(&number)))
                .then(|| format!("a number from {from} to {to} is needed")),
            Value::Text(_) if text.is_empty() => Some("it is empty".to_owned()),
            Value::Text(most) => {
                (length > most).then(|| format!("it has {length} characters, and at most {most} are allowed"))
            }
            Value::ComputerName if matches!(text, "" | "*") => None,
            Value::ComputerName => crate::options::computer_name_fault(text).map(str::to_owned),
            Value::ProductKey if text.is_empty() => None,
            Value::ProductKey => {
                let is_group = |group: &str| group.len() == 5 && group.bytes().all(|b| b.is_ascii_alphanumeric());
                (text.split('-').count() != 5 || !text.split('-').all(is_group))
                    .then(|| "five groups of five letters and digits with hyphens between them are needed".to_owned())
            }
            Value::Account => account_fault(text),
        }
    }

    /// Whether the text may be repeated in messages.
    pub(super) fn may_be_shown(self) -> bool {
        !matches!(self, Value::ProductKey)
    }
}

/// Rules for names of local accounts, from the documentation of `LocalAccount\Name` and [MS-SAMR].
fn account_fault(name: &str) -> Option<String> {
    const ILLEGAL: &str = "/\\[]:;|=,+*?<>\"%@";
    let length = name.encode_utf16().count();
    if name.is_empty() || length > 20 {
        return Some(format!("it has {length} characters, and 1 to 20 are allowed"));
    }
    if let Some(character) = name.chars().find(|c| ILLEGAL.contains(*c) || c.is_control()) {
        return Some(format!("`{}` is not allowed in it", character.escape_debug()));
    }
    name.chars().all(|c| c == '.' || c == ' ').then(|| "it must not consist of dots and spaces only".to_owned())
}
