//! What edits report of themselves: the changed pages make the new hive out of the old one, and the check of the edits
//! sees what the whole check sees.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends with a panic")]

use proptest::prelude::*;
use reseal_dtyp::{Descriptor, DomainSid, FileTime};
use reseal_hive::{Hive, Recover};
use reseal_sid::SidMap;

const OLD: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);

fn descriptor(text: &str) -> Vec<u8> {
    Descriptor::from_sddl(text).unwrap().to_bytes().unwrap()
}

fn sample() -> Vec<u8> {
    let mut hive = Hive::new("ROOT", 5, &descriptor("O:BAG:SYD:(A;CI;KA;;;SY)"), FileTime(1)).unwrap();
    for i in 0..300u32 {
        let key = hive.create_path(&format!(r"Software\Vendor {}\Key {i}", i % 7)).unwrap();
        hive.set_value(key, "v", 3, &vec![i as u8; (i * 13 % 700) as usize]).unwrap();
    }
    for rid in [500, 1001] {
        let account = OLD.account(rid);
        let key = hive.create_path(&format!(r"ProfileList\{account}")).unwrap();
        hive.set_value(key, "Sid", 3, &account.to_bytes()).unwrap();
        hive.set_descriptor(key, &descriptor(&format!("O:BAG:SYD:(A;CI;KA;;;{account})"))).unwrap();
    }
    let key = hive.create_path("Big").unwrap();
    hive.set_value(key, "across", 3, &vec![7; 50_000]).unwrap();
    // A tail, as Windows leaves it, so that the hive can grow without another file length.
    let mut bytes = hive.to_bytes();
    bytes.resize(bytes.len() + 64 * 4096, 0);
    bytes
}

#[derive(Debug, Clone)]
enum Edit {
    Set(u8, u16),
    Delete(u8),
    Create(u8),
    Remove(u8),
    Rename(u8, u8),
    Sids(u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<u8>(), 0u16..20_000).prop_map(|(k, n)| Edit::Set(k, n)),
        any::<u8>().prop_map(Edit::Delete),
        any::<u8>().prop_map(Edit::Create),
        any::<u8>().prop_map(Edit::Remove),
        (any::<u8>(), 0u8..60).prop_map(|(k, n)| Edit::Rename(k, n)),
        any::<u32>().prop_map(Edit::Sids),
    ]
}

fn apply(hive: &mut Hive, edit: &Edit) {
    let path = |k: u8| format!(r"Software\Vendor {}\Key {k}", k % 7);
    let key = |hive: &Hive, k: u8| hive.key(&path(k)).unwrap();
    match edit {
        Edit::Set(k, n) => {
            if let Some(id) = key(hive, *k) {
                hive.set_value(id, "v", 3, &vec![*k; usize::from(*n)]).unwrap();
            }
        }
        Edit::Delete(k) => {
            if let Some(id) = key(hive, *k) {
                hive.delete_value(id, "v").unwrap();
            }
        }
        Edit::Create(k) => {
            hive.create_path(&format!(r"Software\New {k}\Below")).unwrap();
        }
        Edit::Remove(k) => {
            if let Some(id) = key(hive, *k) {
                hive.delete_key(id).unwrap();
            }
        }
        Edit::Rename(k, n) => {
            let name: Vec<u16> = format!("renamed {}", "x".repeat(usize::from(*n))).encode_utf16().collect();
            if let Some(id) = key(hive, *k) {
                // A sibling may have the name already.
                let _ = hive.rename_key(id, &name);
            }
        }
        Edit::Sids(n) => {
            hive.rewrite_sids(&SidMap::new([(OLD, DomainSid([*n, 2, 3]))]).unwrap()).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn pages_make_the_new_hive(edits in proptest::collection::vec(edit(), 0..25)) {
        let before = sample();
        let mut hive = Hive::open(&before, &[], Recover::Replay).unwrap();
        edits.iter().for_each(|e| apply(&mut hive, e));
        let after = hive.to_bytes();
        prop_assert!(hive.check().is_empty());
        prop_assert!(hive.check_edits().is_empty(), "{:?}", hive.check_edits());
        if let Some(pages) = hive.changed_pages() {
            let mut made = before.clone();
            for (offset, page) in pages {
                made[offset as usize..offset as usize + page.len()].copy_from_slice(&page);
            }
            prop_assert!(made == after);
        } else {
            prop_assert!(after.len() != before.len());
        }
    }
}

#[test]
fn an_edit_next_to_damage_is_seen() {
    let bytes = sample();
    let find = |needle: &[u8]| bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    // The parent of a key that is then edited.
    let mut damaged = bytes.clone();
    let name = find(b"Key 33");
    damaged[name - 76 + 16] ^= 0x40;
    let mut hive = Hive::open(&damaged, &[], Recover::Replay).unwrap();
    let vendor = hive.key(r"Software\Vendor 5").unwrap().unwrap();
    hive.set_value(vendor, "w", 1, b"x\0\0\0").unwrap();
    assert!(hive.check().iter().any(|f| f.id == "nk-parent"));
    // The hash of that key in its parent's list.
    let mut damaged = bytes.clone();
    let list = Hive::open(&bytes, &[], Recover::Replay).unwrap();
    let children = list.subkeys(list.key(r"Software\Vendor 5").unwrap().unwrap()).unwrap();
    let name: Vec<u8> = list.name(children[0]).unwrap().iter().map(|u| *u as u8).collect();
    let hash =
        name.iter().fold(0u32, |h, b| h.wrapping_mul(37).wrapping_add(u32::from(b.to_ascii_uppercase()))).to_le_bytes();
    let at = find(&hash);
    damaged[at] ^= 1;
    let mut hive = Hive::open(&damaged, &[], Recover::Replay).unwrap();
    hive.set_value(vendor, "w", 1, b"x\0\0\0").unwrap();
    assert!(hive.check_edits().iter().any(|f| f.id == "subkey-mark"), "{:?}", hive.check_edits());
}
