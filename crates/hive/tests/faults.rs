//! Sixteen seeded faults, each of which some independent tool misses: the check finds every one, and nothing in the original.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod real_data;
mod synthetic;

use reseal_hive::Hive;
use synthetic::serious;

/// A hive's bytes with the few readings that the faults need, independent of the crate under test.
struct Bytes(Vec<u8>);

impl Bytes {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn put(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Content of the cell that the field at `field` refers to.
    fn follow(&self, field: usize) -> usize {
        4096 + self.u32(field) as usize + 4
    }

    fn root(&self) -> usize {
        self.follow(36)
    }

    /// Every cell: file offset of its size field, and the size.
    fn cells(&self) -> Vec<(usize, i32)> {
        let (mut out, mut bin) = (Vec::new(), 0);
        while bin < self.u32(40) as usize {
            let end = bin + self.u32(4096 + bin + 8) as usize;
            let mut at = bin + 32;
            while at < end {
                let size = self.u32(4096 + at) as i32;
                out.push((4096 + at, size));
                at += size.unsigned_abs() as usize;
            }
            bin = end;
        }
        out
    }

    fn allocated(&self, signature: &[u8]) -> Vec<usize> {
        let cells = self.cells().into_iter().filter(|(at, size)| *size < 0 && self.0[at + 4..].starts_with(signature));
        cells.map(|(at, _)| at + 4).collect()
    }

    /// A key with at least three subkeys.
    fn parent(&self) -> usize {
        *self.allocated(b"nk").iter().find(|&&nk| self.u32(nk + 20) >= 3).unwrap()
    }

    fn list(&self) -> usize {
        self.follow(self.parent() + 28)
    }

    fn fix_checksum(&mut self) {
        let sum = (0..127).fold(0, |sum, i| sum ^ self.u32(4 * i));
        self.put(
            508,
            match sum {
                0 => 1,
                u32::MAX => u32::MAX - 1,
                other => other,
            },
        );
    }
}

type Fault = (&'static str, fn(&mut Bytes));

/// What is damaged, and the finding that must say so.
const FAULTS: [Fault; 16] = [
    ("base-block-checksum", |b| b.0[508] ^= 1),
    ("base-block-sequence", |b| {
        b.put(4, b.u32(4) + 1);
        b.fix_checksum();
    }),
    ("subkeys-unsorted", |b| {
        let l = b.list();
        let (first, second) = (b.0[l + 4..l + 12].to_vec(), b.0[l + 12..l + 20].to_vec());
        b.0[l + 4..l + 12].copy_from_slice(&second);
        b.0[l + 12..l + 20].copy_from_slice(&first);
    }),
    ("subkey-mark", |b| {
        let l = b.list();
        b.0[l + 8] ^= 0x20;
    }),
    ("subkey-list", |b| {
        let p = b.parent();
        b.put(p + 20, b.u32(p + 20) + 1);
    }),
    ("sk-references", |b| {
        let s = b.follow(b.root() + 44);
        b.put(s + 12, 77);
    }),
    ("sk-ring", |b| {
        let s = b.follow(b.root() + 44);
        b.put(s + 8, b.u32(36));
    }),
    ("sk-descriptor", |b| {
        let s = b.follow(b.root() + 44);
        b.0[s + 20] = 9;
    }),
    ("nk-parent", |b| {
        let child = b.follow(b.list() + 4);
        let wrong = if b.u32(child + 16) == b.u32(36) { b.u32(36) + 8 } else { b.u32(36) };
        b.put(child + 16, wrong);
    }),
    ("cell-size", |b| {
        // Eight bytes less allocated: all that follows in the hbin is shifted.
        let (at, size) = *b.cells().iter().rfind(|(_, size)| *size < -64).unwrap();
        b.put(at, (size + 8) as u32);
    }),
    ("hbin", |b| b.put(4096 + 4096 + 4, 0x3000)),
    ("base-block-size", |b| {
        b.put(40, b.0.len() as u32);
        b.fix_checksum();
    }),
    ("cell-reference", |b| {
        // The data of a value becomes a free cell.
        let is_cell = |vk: &&usize| b.u32(**vk + 4) & 0x8000_0000 == 0 && b.u32(**vk + 4) > 8;
        let vk = *b.allocated(b"vk").iter().find(is_cell).unwrap();
        let data = b.follow(vk + 8) - 4;
        b.put(data, b.u32(data).wrapping_neg());
    }),
    ("value-list", |b| {
        let nk = *b.allocated(b"nk").iter().find(|&&nk| (2..100).contains(&b.u32(nk + 36))).unwrap();
        b.put(nk + 36, b.u32(nk + 36) + 40);
    }),
    ("cell-leaked", |b| {
        let (at, size) = *b.cells().iter().find(|(_, size)| *size > 64).unwrap();
        b.put(at, (-size) as u32);
    }),
    ("nk-largest", |b| {
        let root = b.root();
        b.0[root + 52..root + 54].fill(0);
    }),
];

fn all_found(name: &str, original: &[u8]) {
    assert_eq!(serious(Hive::check_bytes(original)), Vec::<String>::new(), "{name} as it is");
    for (id, damage) in FAULTS {
        let mut bytes = Bytes(original.to_vec());
        damage(&mut bytes);
        assert_ne!(bytes.0, original, "{name}: {id} changed nothing");
        let findings = Hive::check_bytes(&bytes.0);
        assert!(findings.iter().any(|f| f.id == id), "{name}: {id} not found in {findings:#?}");
    }
}

#[test]
fn every_fault_of_a_synthetic_hive_is_found() {
    for minor in [3, 5] {
        all_found(&format!("synthetic 1.{minor}"), &synthetic::small(minor).to_bytes());
    }
}

#[test]
fn every_fault_of_a_real_hive_is_found() {
    let Some(folder) = real_data::folder() else { return };
    for path in ["deb_plaso_20241006/SAM", "EricZimmerman+Registry/SAM", "deb_dfwinreg_20240316/SAM"] {
        all_found(path, &real_data::read(&folder.join(path)));
    }
}
