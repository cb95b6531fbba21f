//! Counts every S-1-5-21 domain of an image, by plain search: it shares nothing with the code that replaces SIDs.

use super::content;
use reseal_hive::Hive;
use reseal_ntfs::Volume;
use std::collections::BTreeMap;
use std::path::Path;

/// How often each domain stands in hives, descriptors and names.
pub(crate) type Census = BTreeMap<String, usize>;

/// The count over every live value, name and descriptor of every hive, every unique descriptor and every name of the volume.
/// The one key that sealing deletes as a whole is left out: its descriptor names whoever built the image.
pub(crate) fn of_image(image: impl AsRef<Path>) -> Census {
    let volume = content::volume(image);
    let mut out = Census::new();
    for hive in content::hives(&volume).values() {
        in_hive(hive, &mut out);
    }
    for (_, descriptor) in volume.descriptors().expect("they can be read") {
        count(&descriptor, &mut out);
    }
    names(&volume, &mut out);
    out
}

fn names(volume: &Volume, out: &mut Census) {
    for path in content::tree(volume).keys() {
        count(path.rsplit('\\').next().unwrap_or_default().as_bytes(), out);
    }
}

fn in_hive(hive: &Hive, out: &mut Census) {
    let mut queue = vec![hive.root()];
    while let Some(key) = queue.pop() {
        if hive.path(key).expect("the key has a path").eq_ignore_ascii_case(r"Setup\Status\SysprepStatus") {
            continue;
        }
        queue.extend(hive.subkeys(key).expect("the key has a list"));
        count(&wide(&hive.name(key).expect("the key has a name")), out);
        count(hive.descriptor(key).expect("the key has a descriptor"), out);
        for value in hive.values(key).expect("the key has values") {
            count(&wide(&value.name), out);
            count(&value.data, out);
        }
    }
}

fn wide(units: &[u16]) -> Vec<u8> {
    units.iter().flat_map(|u| u.to_le_bytes()).collect()
}

/// Identifier authority 5, first sub-authority 21, little endian: what every binary form has in common.
const BINARY: [u8; 10] = [0, 0, 0, 0, 0, 5, 21, 0, 0, 0];

fn count(bytes: &[u8], out: &mut Census) {
    for at in 0..bytes.len() {
        if let Some(rest) = bytes[at..].strip_prefix(&BINARY).filter(|rest| rest.len() >= 12) {
            let number = |i: usize| u32::from_le_bytes([rest[i], rest[i + 1], rest[i + 2], rest[i + 3]]);
            *out.entry(format!("S-1-5-21-{}-{}-{}", number(0), number(4), number(8))).or_default() += 1;
        }
        for step in [1, 2] {
            if let Some(domain) = text_at(&bytes[at..], step) {
                *out.entry(domain).or_default() += 1;
            }
        }
    }
}

/// `S-1-5-21-a-b-c` in characters of `step` bytes.
fn text_at(bytes: &[u8], step: usize) -> Option<String> {
    if !bytes.first()?.eq_ignore_ascii_case(&b'S') {
        return None;
    }
    let mut chars = bytes.chunks_exact(step).take_while(|c| c[1..].iter().all(|b| *b == 0)).map(|c| c[0]);
    let head: Vec<u8> = chars.by_ref().take(9).collect();
    if !head.eq_ignore_ascii_case(b"S-1-5-21-") {
        return None;
    }
    let rest: String = chars.take(36).map(char::from).take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    let mut numbers = rest.split('-').map(|n| n.parse::<u32>().ok());
    match [numbers.next()?, numbers.next()?, numbers.next()?] {
        [Some(a), Some(b), Some(c)] => Some(format!("S-1-5-21-{a}-{b}-{c}")),
        _ => None,
    }
}

/// Asserts that only the machine's own SID changed: foreign ones stand as often as before, and the new one wherever the old one
/// did, but for `left` places that the report names and `gone` ones that were removed with what they stood in. Returns
/// (foreign SIDs, machine SIDs).
#[track_caller]
pub(crate) fn assert_only_own(
    before: &Census,
    after: &Census,
    (old, new): (&str, &str),
    (left, gone): (usize, usize),
) -> (usize, usize) {
    let foreign = |census: &Census| -> Census {
        census.iter().filter(|(d, _)| *d != old && *d != new).map(|(d, n)| (d.clone(), *n)).collect()
    };
    assert_eq!(foreign(before), foreign(after), "foreign SIDs must stay");
    assert_eq!(
        after.get(old).copied().unwrap_or_default(),
        left,
        "the old machine SID is left where the report does not say so"
    );
    assert_eq!(before.get(new), None, "the new machine SID was there");
    assert_eq!(before[old], after[new] + left + gone, "every place of the machine SID keeps one");
    (foreign(before).values().sum(), before[old])
}
