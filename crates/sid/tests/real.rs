//! Every descriptor of three real `$SDS` streams: byte-exact round trip, and a rewrite there and back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic and says what it skips"
)]

use reseal_dtyp::{Descriptor, DomainSid, Sid};
use reseal_sid::SidMap;
use std::path::PathBuf;

/// The unpacked data sets; `None` (with the reason printed) where they are absent, unless `RESEAL_REAL=require`.
fn data() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/real");
    let root = std::env::var_os("RESEAL_DATA").map_or_else(default, PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    let required = std::env::var_os("RESEAL_REAL").is_some_and(|v| v == "require");
    assert!(!required, "RESEAL_REAL=require, but {} does not exist", root.display());
    println!("skipped: {} does not exist", root.display());
    None
}

/// The descriptors of a `$SDS` stream: entries of 20 bytes and a descriptor, in 256 KiB blocks of which each second is a copy.
fn sds(bytes: &[u8]) -> Vec<&[u8]> {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let (mut out, mut at) = (Vec::new(), 0);
    while at + 20 <= bytes.len() {
        if (at >> 18) & 1 == 1 {
            at = (at | 0x3ffff) + 1;
            continue;
        }
        let (offset, len) = (u32_at(at + 8), u32_at(at + 16));
        if offset != at || len < 20 || at + len > bytes.len() {
            at = (at | 0x3ffff) + 1;
            continue;
        }
        out.push(&bytes[at + 20..at + len]);
        at = (at + len).next_multiple_of(16);
    }
    out
}

#[test]
fn real_descriptors_round_trip_and_rewrite_there_and_back() {
    let Some(root) = data() else { return };
    let base = root.join("AndrewRathbun+DFIRArtifactMuseum/NTFSArtifacts/Secure_$SDS");
    let sets = [
        ("Win10/APTSimulatorVM/$Secure_$SDS", "S-1-5-21-2212929841-2730996645-2649195864"),
        ("Win10/RathbunVM/$Secure_$SDS", "S-1-5-21-2290304894-658537038-505560459"),
        ("Win2012R2/StolenSzechuan/$Secure_$SDS", "S-1-5-21-2232410529-1445159330-2725690660"),
    ];
    let (mut total, mut rewritten, mut foreign) = (0, 0, 0);
    for (path, machine) in sets {
        let stream = std::fs::read(base.join(path)).unwrap();
        let old: DomainSid = machine.parse().unwrap();
        let map = SidMap::new([(old, DomainSid([1, 2, 3]))]).unwrap();
        for sd in sds(&stream) {
            total += 1;
            let parsed = Descriptor::read(sd).unwrap();
            assert_eq!(parsed.to_bytes().unwrap(), sd);
            let text = parsed.to_sddl().unwrap();
            let back = Descriptor::from_sddl(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(back.to_sddl().unwrap(), text);

            let sids = |bytes: &[u8]| -> Vec<Sid> {
                Descriptor::sid_offsets(bytes).unwrap().iter().map(|at| Sid::read(&bytes[*at..]).unwrap()).collect()
            };
            let before = sids(sd);
            let named = before.iter().filter(|sid| sid.domain() == Some(old)).count();
            foreign += before.iter().filter(|sid| sid.domain().is_some_and(|d| d != old)).count();
            let mut bytes = sd.to_vec();
            let done = map.rewrite_descriptor(&mut bytes).unwrap();
            assert_eq!((done.structural, done.by_pattern), (named, 0), "structure and pattern disagree");
            assert!(!map.is_in(&bytes));
            for (a, b) in before.iter().zip(sids(&bytes)) {
                assert_eq!(a.domain() == Some(old), *a != b, "{a} → {b}");
            }
            map.reversed().rewrite_descriptor(&mut bytes).unwrap();
            assert_eq!(bytes, sd);
            rewritten += usize::from(named > 0);
        }
    }
    println!("{total} descriptors, {rewritten} with the machine SID, {foreign} foreign SIDs kept");
    assert_eq!(total, 4551);
    assert!(rewritten > 100 && foreign > 300, "{rewritten} {foreign}");
}
