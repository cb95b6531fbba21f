//! SAM before and after.

use super::content;
use reseal_hive::Hive;
use std::collections::BTreeMap;
use std::path::Path;

/// Every `V` and `F` below `SAM\Domains\Account`, by key.
fn account_values(image: &Path) -> BTreeMap<(String, String), Vec<u8>> {
    let volume = content::volume(image);
    let hives = content::hives(&volume);
    let sam: &Hive = hives
        .iter()
        .find(|(path, _)| path.eq_ignore_ascii_case(r"\Windows\System32\config\SAM"))
        .expect("it has a SAM")
        .1;
    let mut out = BTreeMap::new();
    let account = sam.key(r"SAM\Domains\Account").expect("it can be walked").expect("it is there");
    let mut keys = vec![account];
    let users = sam.key(r"SAM\Domains\Account\Users").expect("it can be walked").expect("it is there");
    keys.extend(sam.subkeys(users).expect("it has a list"));
    for key in keys {
        for name in ["V", "F"] {
            if let Some(value) = sam.value(key, name).expect("it can be read") {
                out.insert((sam.path(key).expect("it has a path"), name.to_owned()), value.data);
            }
        }
    }
    out
}

fn twelve(sid: &str) -> Vec<u8> {
    let numbers = sid.strip_prefix("S-1-5-21-").expect("a machine SID").split('-');
    numbers.flat_map(|n| n.parse::<u32>().expect("a number").to_le_bytes()).collect()
}

/// Asserts that `V` and `F` of the domain and of every user are byte-equal, but that the twelve bytes of the new SID stand
/// where those of the old one stood. Returns how many keys were compared.
#[track_caller]
pub(crate) fn assert_equal_but_for_the_sid(
    before: impl AsRef<Path>,
    after: impl AsRef<Path>,
    old: &str,
    new: &str,
) -> usize {
    let (before, after) = (account_values(before.as_ref()), account_values(after.as_ref()));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let (old, new) = (twelve(old), twelve(new));
    let mut replaced = 0;
    for ((key, name), bytes) in &before {
        let mut expected = bytes.clone();
        for at in 0..bytes.len().saturating_sub(11) {
            if bytes[at..at + 12] == old {
                expected[at..at + 12].copy_from_slice(&new);
                replaced += 1;
            }
        }
        assert!(expected == after[&(key.clone(), name.clone())], "{key} {name} differs in more than the SID");
    }
    assert!(replaced > 0, "the domain itself has one");
    before.keys().map(|(key, _)| key).collect::<std::collections::BTreeSet<_>>().len()
}
