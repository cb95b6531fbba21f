//! What the machine that was imaged has left behind.

use super::TABLE;
use crate::Action::{ClearFolder, ClearKey, DeleteFile, DeleteValue};
use crate::steps::{Evidence, Spec};

pub(in crate::steps) static ERROR_REPORTS: Spec = Spec {
    id: "error-reports",
    title: "Remove error reports",
    about: "Removes reports of Windows Error Reporting that were sent or wait, and the id under which they are sent.",
    mirrors: &["wer.dll!WerSysprepGeneralize"],
    actions: &[
        DeleteValue(r"HKLM\SOFTWARE\Microsoft\Windows\Windows Error Reporting", "MachineID"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows\WER\ReportArchive"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows\WER\ReportQueue"),
        ClearFolder(r"%LocalAppData%\Microsoft\Windows\WER\ReportArchive"),
        ClearFolder(r"%LocalAppData%\Microsoft\Windows\WER\ReportQueue"),
    ],
    ..TABLE
};

pub(in crate::steps) static TELEMETRY: Spec = Spec {
    id: "telemetry",
    title: "Forget the ids and records of telemetry",
    about: "Removes what the diagnostics service has recorded, its ids, and the ids of the customer experience program of \
            each user.",
    mirrors: &["diagtrack.dll!UtcSysprepGeneralize"],
    actions: &[
        DeleteValue(r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Diagnostics\DiagTrack", "*Id"),
        ClearFolder(r"%ProgramData%\Microsoft\Diagnosis"),
        DeleteValue(r"HKCU\Software\Microsoft\SQMClient", "UserId"),
        DeleteValue(r"HKU\.DEFAULT\Software\Microsoft\SQMClient", "UserId"),
    ],
    ..TABLE
};

pub(in crate::steps) static DEFENDER: Spec = Spec {
    id: "defender-history",
    title: "Remove the history of Defender, and the id of the removal tool",
    about: "Removes records of scans, support logs and quarantine of Defender, and the id of the Malicious Software Removal \
            Tool. Definitions and settings stay.",
    mirrors: &["winshfhc.dll!MRTComponent_Generalize"],
    actions: &[
        DeleteValue(r"HKLM\SOFTWARE\Microsoft\RemovalTools\MRT", "GUID"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows Defender\Scans\History"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows Defender\Quarantine"),
        ClearFolder(r"%ProgramData%\Microsoft\Windows Defender\Support"),
    ],
    ..TABLE
};

pub(in crate::steps) static MEDIA_PLAYER: Spec = Spec {
    id: "media-player",
    title: "Forget the id of Windows Media Player",
    about: "Removes the id under which each user's Windows Media Player is known.",
    mirrors: &["spwmp.dll!Sysprep_Generalize_WMP"],
    actions: &[DeleteValue(r"HKCU\Software\Microsoft\MediaPlayer\Player\Settings", "Client ID")],
    ..TABLE
};

pub(in crate::steps) static ASSESSMENTS: Spec = Spec {
    id: "assessments",
    title: "Remove performance assessments",
    about: "Removes what WinSAT measured on the old hardware.",
    mirrors: &["spwinsat.dll!Sysprep_Clean_WinSAT"],
    actions: &[DeleteFile(r"%SystemRoot%\Performance\WinSAT\DataStore\*.xml")],
    ..TABLE
};

pub(in crate::steps) static UPDATE_CACHE: Spec = Spec {
    id: "update-cache",
    title: "Remove downloads and records of Windows Update",
    about: "Empties the download folder and the data store of Windows Update; both are made anew. machine-ids removes its ids.",
    mirrors: &["wuaueng.dll!GeneralizeForImaging"],
    actions: &[
        ClearFolder(r"%SystemRoot%\SoftwareDistribution\Download"),
        ClearFolder(r"%SystemRoot%\SoftwareDistribution\DataStore"),
    ],
    ..TABLE
};

pub(in crate::steps) static TRANSFERS: Spec = Spec {
    id: "transfers",
    title: "Remove background transfers",
    about: "Removes the queue of the background transfer service and the cache of delivery optimization.",
    actions: &[
        DeleteFile(r"%ProgramData%\Microsoft\Network\Downloader\qmgr*"),
        ClearFolder(
            r"%SystemRoot%\ServiceProfiles\NetworkService\AppData\Local\Microsoft\Windows\DeliveryOptimization\Cache",
        ),
        ClearFolder(
            r"%SystemRoot%\ServiceProfiles\NetworkService\AppData\Local\Microsoft\Windows\DeliveryOptimization\State",
        ),
        ClearFolder(
            r"%SystemRoot%\ServiceProfiles\NetworkService\AppData\Local\Microsoft\Windows\DeliveryOptimization\Logs",
        ),
    ],
    ..TABLE
};

pub(in crate::steps) static SEARCH_INDEX: Spec = Spec {
    id: "search-index",
    title: "Remove the search index",
    about: "Removes the index of Windows Search, which holds names and contents of users' files, and SIDs; it is built anew.",
    evidence: Evidence::Inferred,
    actions: &[ClearFolder(r"%ProgramData%\Microsoft\Search\Data")],
    ..TABLE
};

pub(in crate::steps) static WEB_CACHES: Spec = Spec {
    id: "web-caches",
    title: "Empty the caches of Internet Explorer and Edge Legacy",
    about: "Empties what users' pages have left in INetCache and WebCache: pages, cookies and, in a database with checksums, \
            names and SIDs. Both are made anew. Favourites and passwords are elsewhere and stay.",
    mirrors: &["iesysprep.dll!Sysprep_Generalize_IE"],
    evidence: Evidence::Inferred,
    actions: &[
        ClearFolder(r"%LocalAppData%\Microsoft\Windows\INetCache"),
        ClearFolder(r"%LocalAppData%\Microsoft\Windows\WebCache"),
    ],
    ..TABLE
};

pub(in crate::steps) static USAGE_RECORDS: Spec = Spec {
    id: "usage-records",
    title: "Remove records of what was used",
    about: "Removes the resource usage database, prefetch files and sleep studies: databases with checksums, which name the \
            old SIDs and are deleted, not edited. And the list of names of users and the machine by which Windows makes \
            reports anonymous.",
    evidence: Evidence::Inferred,
    actions: &[
        ClearKey(r"HKLM\SOFTWARE\Microsoft\DFP\Environment"),
        ClearFolder(r"%SystemRoot%\System32\sru"),
        ClearFolder(r"%SystemRoot%\Prefetch"),
        ClearFolder(r"%SystemRoot%\System32\SleepStudy"),
    ],
    ..TABLE
};

pub(in crate::steps) static TEMPORARY_FILES: Spec = Spec {
    id: "temporary-files",
    title: "Remove temporary files",
    about: "Empties the folders for temporary files of Windows and of each user.",
    evidence: Evidence::Confirmed,
    actions: &[ClearFolder(r"%SystemRoot%\Temp"), ClearFolder(r"%LocalAppData%\Temp")],
    ..TABLE
};

pub(in crate::steps) static CRASH_DUMPS: Spec = Spec {
    id: "crash-dumps",
    title: "Remove crash dumps",
    about: "Removes images of memory that crashes left: they hold keys and passwords.",
    evidence: Evidence::Confirmed,
    actions: &[
        DeleteFile(r"%SystemRoot%\MEMORY.DMP"),
        ClearFolder(r"%SystemRoot%\Minidump"),
        ClearFolder(r"%SystemRoot%\LiveKernelReports"),
        ClearFolder(r"%LocalAppData%\CrashDumps"),
    ],
    ..TABLE
};

pub(in crate::steps) static PAGING_FILES: Spec = Spec {
    id: "paging-files",
    title: "Remove page, swap and hibernation files",
    about: "Removes what was in memory: Windows makes these files anew. A hibernated Windows is refused before that.",
    evidence: Evidence::Confirmed,
    actions: &[DeleteFile(r"\pagefile.sys"), DeleteFile(r"\swapfile.sys"), DeleteFile(r"\hiberfil.sys")],
    ..TABLE
};

pub(in crate::steps) static SETUP_LOGS: Spec = Spec {
    id: "setup-logs",
    title: "Remove the logs of setup",
    about: "Removes what setup, Sysprep, device installation and joining a domain have logged: names, addresses, accounts. \
            Answer files stay: a cached one is used again, and is reported.",
    evidence: Evidence::Confirmed,
    actions: &[
        DeleteFile(r"%SystemRoot%\Panther\*.log"),
        DeleteFile(r"%SystemRoot%\Panther\*.etl"),
        ClearFolder(r"%SystemRoot%\Panther\UnattendGC"),
        ClearFolder(r"%System32%\Sysprep\Panther"),
        DeleteFile(r"%SystemRoot%\inf\setupapi*.log"),
        DeleteFile(r"%SystemRoot%\debug\*.log"),
    ],
    ..TABLE
};
