//! Places that keep what they hold although it tells of the old machine, and why. `verify` names them as such.

/// Path from the volume's root in small letters, and the reason.
const PLACES: &[(&str, &str)] = &[
    (
        r"\windows\security\database",
        "security templates: a database with checksums; specialize has a provider of its own",
    ),
    (r"\windows\system32\catroot2", "catalogue database of signatures: with checksums, checked by Windows itself"),
    (r"\windows\system32\wbem\repository", "WMI repository: making it anew would lose classes of other programs"),
    (
        r"\programdata\microsoft\windows\apprepository\packagerepository.edb",
        "registrations of Store packages: a database with checksums",
    ),
    (r"\windows\system32\spp\store", "licensing store: changing it counts as tampering"),
    (r"\$extend\$usnjrnl", "change journal of the volume: in Windows `fsutil usn deletejournal /d C:` empties it"),
];

/// Why a file keeps what it holds; `path` from the volume's root, in any case, with a stream's name behind it or not.
pub(crate) fn reason(path: &str) -> Option<&'static str> {
    let path = path.to_lowercase();
    let is_in = |place: &str| {
        path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['\\', ':', ' ', ',']))
    };
    PLACES.iter().find(|(place, _)| is_in(place)).map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_and_streams() {
        assert!(reason(r"\Windows\Security\Database\secedit.sdb").is_some());
        assert!(reason(r"\$Extend\$UsnJrnl:$J").is_some());
        assert!(reason(r"\Windows\System32\catroot22\x").is_none());
        assert!(reason(r"\Windows\System32\config\SAM").is_none());
    }
}
