//! Files in which the old SID may stand and that are never edited: databases whose pages carry checksums, or that Windows makes
//! anew from other places. A trace in them is one, with its reason.

/// Paths from the volume's root in small letters, and why what is there stays. A path that ends in `\` stands for all below.
const LEFT: &[(&str, &str)] = &[
    (
        r"windows\security\database\secedit.sdb",
        "ESENT database of the security policy: its pages carry checksums, and specialize applies the policy anew",
    ),
    (r"windows\security\logs\", "logs of the security policy: nothing reads them"),
    (
        r"windows\system32\catroot2\",
        "ESENT database of catalogs: its pages carry checksums; Windows needs it to trust drivers",
    ),
    (r"windows\system32\wbem\repository\", "WMI repository: an own format with checksums, which Windows needs"),
    (
        r"programdata\microsoft\windows\apprepository\packagerepository.edb",
        "ESENT database of Store packages: its pages carry checksums",
    ),
];

/// Why a trace in this file stays; `None` when nothing says that it should. With or without a leading backslash.
pub fn reason(path: &str) -> Option<&'static str> {
    let path = path.trim_start_matches('\\').to_lowercase();
    let fits = |place: &str| if place.ends_with('\\') { path.starts_with(place) } else { path == place };
    LEFT.iter().find(|(place, _)| fits(place)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders() {
        assert!(reason(r"\Windows\security\database\SecEdit.sdb").is_some());
        assert!(reason(r"Windows\System32\wbem\Repository\OBJECTS.DATA").is_some());
        assert_eq!(reason(r"Windows\System32\wbem\Repository2\OBJECTS.DATA"), None);
        assert_eq!(reason(r"Windows\security\database\secedit.sdb.bak"), None);
        assert!(LEFT.iter().all(|(place, why)| *place == place.to_lowercase() && !why.is_empty()));
    }
}
