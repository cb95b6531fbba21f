//! Descriptors: byte-exact round trip, SDDL, hostile bytes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test ends with a panic and says what it skips"
)]

use proptest::prelude::*;
use reseal_dtyp::{Ace, AceBody, Acl, Descriptor, Guid, Sid, ace_type};

/// Every ACE type that SDDL knows, conditions and claims included; text that Windows would print the same way.
const SDDL: &[&str] = &[
    "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)",
    "O:S-1-5-21-1-2-3-1001G:S-1-5-21-1-2-3-513D:AI(A;OICIID;0x1200a9;;;S-1-5-21-1-2-3-1001)(D;;WDWO;;;WD)",
    "O:SYG:SYD:NO_ACCESS_CONTROL",
    "D:(A;;GA;;;AC)S:(ML;OI;NW;;;LW)(AU;SAFA;FA;;;WD)",
    "D:(OA;CI;CR;ab721a53-1e2f-11d0-9819-00aa0040529b;bf967aba-0de6-11d0-a285-00aa003049e2;PS)",
    r#"D:(XA;;FX;;;WD;(@User.Project Any_of @Resource.Project && Member_of {SID(BA), SID(S-1-5-21-1-2-3-7)}))"#,
    r#"D:(XA;;FX;;;WD;(@User.Level >= 3 || !(Exists WIN://SYSAPPID) && @Device.Name == "x%0022y"))"#,
    r#"D:(XD;;FX;;;WD;((a == 1 || b == 2) && c != {1, -2, 0x1f}))"#,
    r#"S:(RA;;;;;WD;("Secrecy",TU,0x0,3))(RA;CI;;;;WD;("Dept",TS,0x10,"Sales","R%0025D"))(RA;;;;;WD;("Who",TD,0x0,SID(S-1-5-21-1-2-3-9)))"#,
    "S:(SP;;;;;S-1-17-1)(TL;;CC;;;S-1-19-512-4096)",
];

#[test]
fn sddl_out_and_in() {
    for text in SDDL {
        let sd = Descriptor::from_sddl(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(sd.to_sddl().unwrap(), *text);
        let bytes = sd.to_bytes().unwrap();
        let back = Descriptor::read(&bytes).unwrap();
        assert_eq!(back.to_bytes().unwrap(), bytes, "{text}");
        assert_eq!(back.to_sddl().unwrap(), *text);
    }
}

#[test]
fn sddl_refuses() {
    for text in [
        "X:",
        "O:",
        "O:LA",
        "D:(A;;FA;;;SY",
        "D:(Q;;FA;;;SY)",
        "D:(A;;ZZ;;;SY)",
        "D:(XA;;FA;;;WD;(a ==))",
        "D:(XA;;FA;;;WD;({1))",
    ] {
        assert!(Descriptor::from_sddl(text).is_err(), "{text}");
    }
    let deep = format!("D:(XA;;FA;;;WD;({}1{}))", "(".repeat(5000), ")".repeat(5000));
    assert!(Descriptor::from_sddl(&deep).is_err());
}

#[test]
fn sids_in_conditions_and_claims_are_listed() {
    let machine: Sid = "S-1-5-21-1-2-3-7".parse().unwrap();
    for (text, count) in [(SDDL[5], 3), (SDDL[8], 4), (SDDL[1], 4)] {
        let bytes = Descriptor::from_sddl(text).unwrap().to_bytes().unwrap();
        let offsets = Descriptor::sid_offsets(&bytes).unwrap();
        assert_eq!(offsets.len(), count, "{text}");
        offsets.iter().for_each(|at| drop(Sid::read(&bytes[*at..]).unwrap()));
    }
    let bytes = Descriptor::from_sddl(SDDL[5]).unwrap().to_bytes().unwrap();
    assert!(Descriptor::sid_offsets(&bytes).unwrap().iter().any(|at| Sid::read(&bytes[*at..]).unwrap() == machine));
}

#[test]
fn odd_layouts_keep_their_bytes() {
    // Owner and group share one SID, garbage lies between and behind the parts, the ACL has free space.
    let sid = "S-1-5-18".parse::<Sid>().unwrap().to_bytes();
    let mut acl = Acl::new(vec![]);
    acl.slack = vec![0xaa; 12];
    let acl = acl.to_bytes().unwrap();
    let mut bytes = vec![1, 7, 4, 0x80];
    for offset in [24u32, 24, 0x7fff_ffff, 40] {
        bytes.extend_from_slice(&offset.to_le_bytes());
    }
    bytes.extend_from_slice(&[0xee; 4]);
    bytes.extend_from_slice(&sid);
    bytes.extend_from_slice(&[0xdd; 4]);
    bytes.extend_from_slice(&acl);
    bytes.extend_from_slice(&[0xcc; 3]);
    let sd = Descriptor::read(&bytes).unwrap();
    assert_eq!((sd.owner.clone(), sd.sacl.clone()), (sd.group.clone(), None));
    assert_eq!(sd.to_bytes().unwrap(), bytes);
    for cut in 0..bytes.len() {
        let _ = Descriptor::read(&bytes[..cut]);
    }
}

fn sid() -> impl Strategy<Value = Sid> {
    (0u64..1 << 48, proptest::collection::vec(any::<u32>(), 0..=15))
        .prop_map(|(authority, subs)| Sid::new(authority, &subs).unwrap())
}

fn ace() -> impl Strategy<Value = Ace> {
    let guid = || proptest::option::of(any::<[u8; 16]>().prop_map(Guid));
    let data = proptest::collection::vec(any::<u8>(), 0..40);
    (0u8..=0x18, any::<u8>(), any::<u32>(), (guid(), guid()), (sid(), sid()), data).prop_map(
        |(ty, flags, mask, guids, sids, data)| {
            let body = match ty {
                ace_type::ACCESS_ALLOWED_COMPOUND => {
                    AceBody::Compound { words: [1, 0], server: sids.0, client: sids.1 }
                }
                5..=8 | 0xb | 0xc | 0xf | 0x10 => {
                    let flags = u32::from(guids.0.is_some()) | u32::from(guids.1.is_some()) << 1;
                    AceBody::Object { flags, object: guids.0, inherited: guids.1, sid: sids.0 }
                }
                0..=0x15 => AceBody::Plain { sid: sids.0 },
                _ => return Ace { ty, flags, mask: 0, body: AceBody::Opaque, data },
            };
            Ace { ty, flags, mask, body, data }
        },
    )
}

proptest! {
    #[test]
    fn every_ace_type_round_trips(aces in proptest::collection::vec(ace(), 0..12), owner in proptest::option::of(sid())) {
        let sd = Descriptor::new(owner, None, Some(Acl::new(aces.clone())), Some(Acl::new(aces)), 0);
        let bytes = sd.to_bytes().unwrap();
        let back = Descriptor::read(&bytes).unwrap();
        prop_assert_eq!(&back.dacl, &sd.dacl);
        prop_assert_eq!(back.to_bytes().unwrap(), bytes);
    }

    #[test]
    fn damage_never_panics(at in 0usize..200, value: u8, which in 0..SDDL.len()) {
        let mut bytes = Descriptor::from_sddl(SDDL[which]).unwrap().to_bytes().unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(sd) = Descriptor::read(&bytes) {
            prop_assert_eq!(sd.to_bytes().unwrap(), bytes.clone());
            let _ = sd.to_sddl();
            let _ = Descriptor::sid_offsets(&bytes);
        }
    }
}

#[test]
fn expressions_as_deep_as_they_can_be_read_are_printed() {
    let negated = |n: usize| format!("D:(XA;;FX;;;WD;({}a == 1{}))", "!(".repeat(n), ")".repeat(n));
    let bare = |n: usize| format!("D:(XA;;FX;;;WD;({}Exists a))", "!".repeat(n));
    let chain = |n: usize| format!("D:(XA;;FX;;;WD;({}))", vec!["a == 1"; n].join(" && "));
    for text in [negated(0), negated(15), chain(200)] {
        assert_eq!(Descriptor::from_sddl(&text).unwrap().to_sddl().unwrap(), text);
    }
    assert!(Descriptor::from_sddl(&negated(16)).is_err());
    // Negations without parentheses are printed with them: what would then be too deep to read is not printed.
    for n in 0..40 {
        let Ok(sd) = Descriptor::from_sddl(&bare(n)) else { continue };
        if let Ok(printed) = sd.to_sddl() {
            assert_eq!(Descriptor::from_sddl(&printed).unwrap().to_bytes().unwrap(), sd.to_bytes().unwrap(), "{n}");
        }
    }
}
