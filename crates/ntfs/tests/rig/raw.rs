//! A blunt editor of volume bytes, independent of the crate: for putting faults into volumes.

/// A volume as bytes. Offsets and lengths are taken on trust: the volumes are our own.
pub struct Raw {
    pub bytes: Vec<u8>,
    pub cluster: usize,
    pub record_size: usize,
    mirror: usize,
    mft: Vec<(usize, Option<usize>, usize)>,
}

/// First virtual cluster, first logical cluster, length.
type Runs = Vec<(usize, Option<usize>, usize)>;

fn number(bytes: &[u8], offset: usize, len: usize) -> u64 {
    bytes[offset..offset + len].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b))
}

pub fn u16_at(bytes: &[u8], offset: usize) -> usize {
    number(bytes, offset, 2) as usize
}

pub fn u32_at(bytes: &[u8], offset: usize) -> usize {
    number(bytes, offset, 4) as usize
}

pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    number(bytes, offset, 8)
}

pub fn set(bytes: &mut [u8], offset: usize, len: usize, value: u64) {
    bytes[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

impl Raw {
    pub fn new(bytes: Vec<u8>) -> Raw {
        let cluster = u16_at(&bytes, 0xb) * usize::from(bytes[0xd]);
        let size = bytes[0x40] as i8;
        let record_size = if size > 0 { size as usize * cluster } else { 1 << -i32::from(size) };
        let (mft, mirror) = (u64_at(&bytes, 0x30) as usize, u64_at(&bytes, 0x38) as usize);
        let mut raw = Raw { bytes, cluster, record_size, mirror, mft: vec![(0, Some(mft), 64)] };
        let record = raw.record(0);
        raw.mft = raw.runs(&record, raw.find(&record, 0x80, "").unwrap());
        raw
    }

    /// Where a byte of a stream lies.
    pub fn place(&self, runs: &Runs, offset: usize) -> usize {
        let vcn = offset / self.cluster;
        let run = runs.iter().find(|r| r.0 <= vcn && vcn < r.0 + r.2).unwrap();
        (run.1.unwrap() + vcn - run.0) * self.cluster + offset % self.cluster
    }

    pub fn record_place(&self, index: usize) -> usize {
        self.place(&self.mft, index * self.record_size)
    }

    pub fn unfix(&self, mut block: Vec<u8>) -> Vec<u8> {
        let (at, count) = (u16_at(&block, 4), u16_at(&block, 6));
        for i in 1..count {
            block.copy_within(at + 2 * i..at + 2 * i + 2, i * 512 - 2);
        }
        block
    }

    pub fn fix(&self, mut block: Vec<u8>) -> Vec<u8> {
        let (at, count) = (u16_at(&block, 4), u16_at(&block, 6));
        let usn = match u16_at(&block, at) {
            n if n < 0xfffe => n + 1,
            _ => 1,
        };
        set(&mut block, at, 2, usn as u64);
        for i in 1..count {
            block.copy_within(i * 512 - 2..i * 512, at + 2 * i);
            set(&mut block, i * 512 - 2, 2, usn as u64);
        }
        block
    }

    pub fn record(&self, index: usize) -> Vec<u8> {
        let at = self.record_place(index);
        self.unfix(self.bytes[at..at + self.record_size].to_vec())
    }

    pub fn put_record(&mut self, index: usize, record: Vec<u8>, mirror: bool) {
        let (at, fixed) = (self.record_place(index), self.fix(record));
        self.bytes[at..at + fixed.len()].copy_from_slice(&fixed);
        if index < (self.cluster / self.record_size).max(4) && mirror {
            let at = self.mirror * self.cluster + index * self.record_size;
            self.bytes[at..at + fixed.len()].copy_from_slice(&fixed);
        }
    }

    /// Offset, type, length of each attribute.
    pub fn attributes(&self, record: &[u8]) -> Vec<(usize, usize, usize)> {
        let mut out = Vec::new();
        let mut at = u16_at(record, 0x14);
        while u32_at(record, at) != 0xffff_ffff {
            out.push((at, u32_at(record, at), u32_at(record, at + 4)));
            at += u32_at(record, at + 4);
        }
        out
    }

    pub fn find(&self, record: &[u8], kind: usize, name: &str) -> Option<usize> {
        let name = wide(name);
        let named = |&&(at, k, _): &&(usize, usize, usize)| {
            let start = at + u16_at(record, at + 0xa);
            k == kind && usize::from(record[at + 9]) * 2 == name.len() && record[start..start + name.len()] == name[..]
        };
        self.attributes(record).iter().find(named).map(|a| a.0)
    }

    /// Offset of a resident value.
    pub fn value(&self, record: &[u8], attribute: usize) -> usize {
        attribute + u16_at(record, attribute + 0x14)
    }

    pub fn runs(&self, record: &[u8], attribute: usize) -> Runs {
        let mut at = attribute + u16_at(record, attribute + 0x20);
        let (mut vcn, mut lcn, mut out) = (u64_at(record, attribute + 0x10) as usize, 0i64, Runs::new());
        while record[at] != 0 {
            let (len, delta) = (usize::from(record[at] & 15), usize::from(record[at] >> 4));
            let count = number(record, at + 1, len) as usize;
            let mut place = None;
            if delta > 0 {
                let raw = number(record, at + 1 + len, delta) as i64;
                let shift = 64 - 8 * delta as u32;
                lcn += raw << shift >> shift;
                place = Some(lcn as usize);
            }
            out.push((vcn, place, count));
            vcn += count;
            at += 1 + len + delta;
        }
        out
    }

    /// The runs of a non-resident attribute of a record.
    pub fn runs_of(&self, index: usize, kind: usize, name: &str) -> Runs {
        let record = self.record(index);
        self.runs(&record, self.find(&record, kind, name).unwrap())
    }

    /// The record of the file with this name.
    pub fn by_name(&self, name: &str) -> usize {
        let name = wide(name);
        let total: usize = self.mft.iter().map(|r| r.2).sum::<usize>() * self.cluster / self.record_size;
        let has = |&index: &usize| {
            let at = self.record_place(index);
            if self.bytes[at..at + 4] != *b"FILE" || self.bytes[at + 0x16] & 1 == 0 {
                return false;
            }
            let record = self.record(index);
            self.attributes(&record).iter().filter(|a| a.1 == 0x30).any(|a| {
                let value = self.value(&record, a.0);
                let len = usize::from(record[value + 0x40]) * 2;
                record[value + 0x42..value + 0x42 + len] == name[..]
            })
        };
        (24..total).find(has).unwrap()
    }

    /// Changes an index block at an offset of a stream.
    pub fn edit_block(&mut self, runs: &Runs, offset: usize, size: usize, edit: impl FnOnce(&mut Vec<u8>)) {
        let at = self.place(runs, offset);
        let mut block = self.unfix(self.bytes[at..at + size].to_vec());
        edit(&mut block);
        let fixed = self.fix(block);
        self.bytes[at..at + size].copy_from_slice(&fixed);
    }
}

/// Offset, length and flags of each entry of an index block or root whose INDEX_HEADER is at `header`.
pub fn entries(node: &[u8], header: usize) -> Vec<(usize, usize, usize)> {
    let mut out = Vec::new();
    let mut at = header + u32_at(node, header);
    loop {
        let (len, flags) = (u16_at(node, at + 8), u16_at(node, at + 0xc));
        out.push((at, len, flags));
        if flags & 2 != 0 {
            return out;
        }
        at += len;
    }
}

/// Swaps two neighbouring entries of equal length without children.
pub fn swap_neighbours(node: &mut [u8], header: usize) {
    let all = entries(node, header);
    let pair = all.windows(2).find(|w| w[0].1 == w[1].1 && w[0].2 == 0 && w[1].2 == 0).unwrap();
    let ((a, len, _), (b, _, _)) = (pair[0], pair[1]);
    let first = node[a..a + len].to_vec();
    node.copy_within(b..b + len, a);
    node[b..b + len].copy_from_slice(&first);
}

/// The hash of a security descriptor.
pub fn descriptor_hash(descriptor: &[u8]) -> u32 {
    let words = descriptor.chunks_exact(4).map(|w| u32::from_le_bytes(w.try_into().unwrap()));
    words.fold(0u32, |h, w| w.wrapping_add(h.rotate_left(3)))
}
