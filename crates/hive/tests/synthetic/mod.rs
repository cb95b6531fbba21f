//! Hives made by this crate's own writer, for tests that need no data.
#![allow(dead_code)] // each test file uses its part

use reseal_dtyp::{DomainSid, FileTime, utf16le};
use reseal_hive::{Hive, types};

/// The machine SID that stands in every synthetic hive.
pub(crate) const MACHINE: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);
/// A domain's SID, which must stay.
pub(crate) const FOREIGN: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_331]);

/// A self-relative descriptor: DACL of one entry, owner and group are one account.
pub(crate) fn descriptor(domain: DomainSid, rid: u32) -> Vec<u8> {
    let sid = domain.account(rid).to_bytes();
    let acl_len = 16 + sid.len();
    let mut out = vec![1, 0, 0x04, 0x80];
    for offset in [20 + acl_len, 20 + acl_len + sid.len(), 0, 20] {
        out.extend_from_slice(&(offset as u32).to_le_bytes());
    }
    out.extend_from_slice(&[2, 0, acl_len as u8, 0, 1, 0, 0, 0, 0, 2, 8 + sid.len() as u8, 0, 0x3f, 0, 0x0f, 0]);
    [0; 3].iter().for_each(|_| out.extend_from_slice(&sid));
    out
}

pub(crate) fn empty(minor: u32) -> Hive {
    Hive::new("ROOT", minor, &descriptor(FOREIGN, 500), FileTime(0x01d9_0000_0000_0000)).unwrap()
}

/// A few dozen keys with every shape: classes, several descriptors, inline, cell and big data, odd names and types.
pub(crate) fn small(minor: u32) -> Hive {
    let mut hive = empty(minor);
    hive.set_clock(Some(FileTime(0x01d9_1111_2222_3333)));
    for (i, path) in ["Alpha\\One", "Alpha\\Two", "Beta", "Ключ\\é", "SAM\\Domains\\Account\\Users"].iter().enumerate()
    {
        let key = hive.create_path(path).unwrap();
        hive.set_value(key, "", types::SZ, &utf16le("default\0")).unwrap();
        hive.set_value(key, "Number", types::DWORD, &(i as u32).to_le_bytes()).unwrap();
        hive.set_value(key, "Blob", types::BINARY, &vec![i as u8; 40 * i]).unwrap();
        hive.set_value(key, "значение", 0xffff_1234, b"odd").unwrap();
        if i % 2 == 0 {
            hive.set_class_name(key, Some(&"klasse".encode_utf16().collect::<Vec<_>>())).unwrap();
            hive.set_descriptor(key, &descriptor(MACHINE, 1000 + i as u32)).unwrap();
        }
    }
    let users = hive.key("SAM\\Domains\\Account\\Users").unwrap().unwrap();
    for rid in 0..20 {
        let user = hive.create_key(users, &format!("{:08X}", 1000 + rid)).unwrap();
        hive.set_value(user, "V", types::BINARY, &MACHINE.account(rid).to_bytes()).unwrap();
    }
    let big: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
    let beta = hive.key("Beta").unwrap().unwrap();
    hive.set_value(beta, "Big", types::BINARY, &big).unwrap();
    // Free cells of several sizes in between.
    let gone = hive.create_path("Gone\\Below").unwrap();
    hive.set_value(gone, "x", types::BINARY, &[7; 300]).unwrap();
    let gone = hive.key("Gone").unwrap().unwrap();
    hive.delete_key(gone).unwrap();
    hive
}

/// A deterministic stream of numbers (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }
}

/// Findings that matter: notes are dropped.
pub(crate) fn serious(findings: Vec<reseal_dtyp::Finding>) -> Vec<String> {
    findings.iter().filter(|f| f.level > reseal_dtyp::Level::Note).map(ToString::to_string).collect()
}
