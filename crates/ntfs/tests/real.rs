//! `$SDS` streams that Windows wrote.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]
#![allow(missing_docs, unreachable_pub, missing_debug_implementations, reason = "tests")]

mod rig;

use reseal_dtyp::DomainSid;
use reseal_ntfs::Security;
use reseal_sid::SidMap;
use rig::NOW;
use rig::raw::descriptor_hash;

/// The descriptors of a `$SDS` stream: entries of the even blocks.
fn descriptors_of(sds: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for block in sds.chunks(0x40000).step_by(2) {
        let mut at = 0;
        while at + 20 < block.len() {
            let word = |o: usize| u32::from_le_bytes(block[at + o..at + o + 4].try_into().unwrap());
            let len = word(16) as usize;
            if len < 40 || at + len > block.len() {
                break;
            }
            let sd = &block[at + 20..at + len];
            if descriptor_hash(sd) != word(0) {
                break;
            }
            out.push(sd.to_vec());
            at = (at + len).next_multiple_of(16);
        }
    }
    out
}

#[test]
fn real_descriptors() {
    let Some(data) = rig::real_data() else { return };
    let folder = data.join("AndrewRathbun+DFIRArtifactMuseum/NTFSArtifacts/Secure_$SDS");
    let machine: DomainSid = "S-1-5-21-2290304894-658537038-505560459".parse().unwrap();
    let sds = std::fs::read(folder.join("Win10/RathbunVM/$Secure_$SDS")).unwrap();
    let real = descriptors_of(&sds);
    assert!(real.len() > 1000, "{} descriptors", real.len());
    let Some(disk) = rig::blank(96, &[]) else { return };
    let mut volume = rig::open(&disk);
    let root = volume.root();
    for (index, sd) in real.iter().enumerate() {
        volume.create_file(root, &format!("D{index}"), b"", Security::Descriptor(sd), NOW).unwrap();
    }
    rig::assert_sound(&volume, "real descriptors");
    rig::witnesses(&disk);
    let map = SidMap::new([(machine, DomainSid([7, 8, 9]))]).unwrap();
    let done = volume.rewrite_sids(&map).unwrap();
    println!("{done:?}");
    assert!(done.changed > 0);
    rig::assert_sound(&volume, "real descriptors rewritten");
    rig::witnesses(&disk);
    assert_eq!(map.count(&disk.to_vec()).total(), 0);
    for (index, sd) in real.iter().enumerate() {
        let file = volume.resolve(&format!("D{index}")).unwrap().unwrap();
        let mut expected = sd.clone();
        map.rewrite_binary(&mut expected);
        assert_eq!(volume.descriptor(file).unwrap(), expected);
    }
}
