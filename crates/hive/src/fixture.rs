//! Small hives and descriptors for this crate's own tests.

use crate::Hive;
use reseal_dtyp::{DomainSid, FileTime};

/// The machine SID of the fixtures.
pub(crate) const MACHINE: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);

/// A self-relative descriptor: DACL with one entry for an account of the machine, owner and group.
pub(crate) fn descriptor(rid: u32) -> Vec<u8> {
    let sid = MACHINE.account(rid).to_bytes();
    let acl_len = 8 + 8 + sid.len();
    let (owner, group) = (20 + acl_len, 20 + acl_len + sid.len());
    let mut out = vec![1, 0, 0x04, 0x80];
    for offset in [owner, group, 0, 20] {
        out.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    out.extend_from_slice(&[2, 0, acl_len as u8, 0, 1, 0, 0, 0]);
    out.extend_from_slice(&[0, 2, 8 + sid.len() as u8, 0, 0x3f, 0, 0x0f, 0]);
    for _ in 0..3 {
        out.extend_from_slice(&sid);
    }
    out
}

/// An empty hive.
pub(crate) fn empty(minor: u32) -> Hive {
    Hive::new("ROOT", minor, &descriptor(500), FileTime(0x01d9_0000_0000_0000)).expect("constants are valid")
}
