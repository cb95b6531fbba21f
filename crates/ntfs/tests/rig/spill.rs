//! Moves attributes of a file into extension records, as Windows does when a record is full: for volumes with attribute
//! lists that are not of the crate's own making.

use super::raw::{Raw, set, u16_at, u32_at, u64_at};

/// Which part of an attribute moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The whole attribute.
    Whole,
    /// The clusters from this one on, as a second extent.
    From(usize),
}

/// Mapping pairs with four bytes for each number.
fn pairs(runs: &[(usize, Option<usize>, usize)]) -> Vec<u8> {
    let (mut out, mut last) = (Vec::new(), 0i64);
    for (_, lcn, len) in runs {
        let lcn = lcn.unwrap() as i64;
        out.push(0x44);
        out.extend_from_slice(&(*len as u32).to_le_bytes());
        out.extend_from_slice(&((lcn - last) as i32).to_le_bytes());
        last = lcn;
    }
    out.push(0);
    out
}

/// An extent with the runs given; sizes are copied from `old` and cleared for a later extent.
fn extent(old: &[u8], runs: &[(usize, Option<usize>, usize)], id: u16) -> Vec<u8> {
    let head = u16_at(old, 0x20);
    let mut out = old[..head].to_vec();
    out.extend(pairs(runs));
    out.resize(out.len().next_multiple_of(8), 0);
    let len = out.len() as u64;
    set(&mut out, 4, 4, len);
    set(&mut out, 0xe, 2, u64::from(id));
    let (first, last) = (runs[0].0, runs.last().unwrap().0 + runs.last().unwrap().2 - 1);
    set(&mut out, 0x10, 8, first as u64);
    set(&mut out, 0x18, 8, last as u64);
    if first > 0 {
        out[0x28..0x40].fill(0);
    }
    out
}

fn split(runs: &[(usize, Option<usize>, usize)], at: usize) -> [Vec<(usize, Option<usize>, usize)>; 2] {
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for &(vcn, lcn, len) in runs {
        let keep = at.saturating_sub(vcn).min(len);
        if keep > 0 {
            low.push((vcn, lcn, keep));
        }
        if keep < len {
            high.push((vcn + keep, lcn.map(|l| l + keep), len - keep));
        }
    }
    [low, high]
}

/// Writes a record whose attributes are `attributes`, header from `old`.
fn lay_out(old: &[u8], attributes: &[Vec<u8>]) -> Vec<u8> {
    let start = u16_at(old, 0x14);
    let mut out = old[..start].to_vec();
    attributes.iter().for_each(|a| out.extend_from_slice(a));
    out.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let used = out.len() as u64;
    assert!(used as usize <= old.len(), "the record overflows");
    out.resize(old.len(), 0);
    set(&mut out, 0x18, 4, used);
    out
}

fn list_entry(attribute: &[u8], owner: u64) -> Vec<u8> {
    let name_len = usize::from(attribute[9]);
    let name_at = u16_at(attribute, 0xa);
    let mut out = attribute[..4].to_vec();
    out.extend_from_slice(&((0x1a + 2 * name_len).next_multiple_of(8) as u16).to_le_bytes());
    out.extend_from_slice(&[name_len as u8, 0x1a]);
    let first = if attribute[8] == 1 { u64_at(attribute, 0x10) } else { 0 };
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&owner.to_le_bytes());
    out.extend_from_slice(&attribute[0xe..0x10]);
    out.extend_from_slice(&attribute[name_at..name_at + 2 * name_len]);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

impl Raw {
    /// Replaces the attributes of a record.
    pub fn edit_attributes(&mut self, file: usize, edit: impl FnOnce(&mut Vec<Vec<u8>>)) {
        let record = self.record(file);
        let mut all: Vec<Vec<u8>> =
            self.attributes(&record).iter().map(|&(o, _, len)| record[o..o + len].to_vec()).collect();
        edit(&mut all);
        let mut changed = lay_out(&record, &all);
        let next = all.iter().map(|a| u16_at(a, 0xe)).max().unwrap() + 1;
        set(&mut changed, 0x28, 2, next as u64);
        self.put_record(file, changed, true);
    }

    /// Moves an attribute of record `file` into the free record `spare` and makes an attribute list. `cluster` is a free
    /// cluster for the list; without one it stays in the record.
    pub fn spill(&mut self, file: usize, kind: usize, part: Part, spare: usize, cluster: Option<usize>) {
        let record = self.record(file);
        let at = self.find(&record, kind, "").unwrap();
        let own = (file | u16_at(&record, 0x10) << 48) as u64;
        let all: Vec<(usize, Vec<u8>)> =
            self.attributes(&record).iter().map(|&(o, _, len)| (o, record[o..o + len].to_vec())).collect();
        let moved = &all.iter().find(|a| a.0 == at).unwrap().1;
        let mut kept: Vec<Vec<u8>> = all.iter().filter(|a| a.0 != at).map(|a| a.1.clone()).collect();
        let mut gone = moved.clone();
        set(&mut gone, 0xe, 2, 0);
        if let Part::From(vcn) = part {
            let [low, high] = split(&self.runs(&record, at), vcn);
            gone = extent(moved, &high, 0);
            let place = kept.iter().position(|a| u32_at(a, 0) > kind).unwrap_or(kept.len());
            kept.insert(place, extent(moved, &low, u16_at(moved, 0xe) as u16));
        }
        let mut spare_record = self.record(spare);
        let sequence = u16_at(&spare_record, 0x10);
        set(&mut spare_record, 0x12, 2, 0);
        set(&mut spare_record, 0x16, 2, 1);
        set(&mut spare_record, 0x20, 8, own);
        set(&mut spare_record, 0x28, 2, 1);
        let there = (spare | sequence << 48) as u64;
        let mut list: Vec<Vec<u8>> = kept.iter().map(|a| list_entry(a, own)).collect();
        list.push(list_entry(&gone, there));
        list.sort_by_key(|e| (u32_at(e, 0), u64_at(e, 8)));
        let list = list.concat();
        let next = u16_at(&record, 0x28);
        let attribute = match cluster {
            None => resident_list(&list, next),
            Some(lcn) => {
                let start = lcn * self.cluster;
                self.bytes[start..start + list.len()].copy_from_slice(&list);
                self.mark(6, 0x80, lcn);
                clusters_list(list.len(), lcn, self.cluster, next)
            }
        };
        kept.insert(1, attribute);
        let mut base = lay_out(&record, &kept);
        set(&mut base, 0x28, 2, next as u64 + 1);
        self.put_record(file, base, true);
        let spare_record = lay_out(&spare_record, &[gone]);
        self.put_record(spare, spare_record, true);
        self.mark(0, 0xb0, spare);
    }

    /// Sets a bit in a bitmap that lies in clusters.
    fn mark(&mut self, record: usize, kind: usize, bit: usize) {
        let at = self.place(&self.runs_of(record, kind, ""), bit / 8);
        assert_eq!(self.bytes[at] >> (bit % 8) & 1, 0, "bit {bit} is taken");
        self.bytes[at] |= 1 << (bit % 8);
    }
}

/// A resident attribute without a name.
pub fn resident(kind: u64, value: &[u8], id: usize) -> Vec<u8> {
    let mut out = resident_list(value, id);
    set(&mut out, 0, 4, kind);
    out
}

fn resident_list(list: &[u8], id: usize) -> Vec<u8> {
    let mut out = vec![0; 0x18];
    out.extend_from_slice(list);
    out.resize(out.len().next_multiple_of(8), 0);
    let len = out.len() as u64;
    set(&mut out, 0, 4, 0x20);
    set(&mut out, 4, 4, len);
    set(&mut out, 0xe, 2, id as u64);
    set(&mut out, 0x10, 4, list.len() as u64);
    set(&mut out, 0x14, 2, 0x18);
    out
}

fn clusters_list(len: usize, lcn: usize, cluster: usize, id: usize) -> Vec<u8> {
    let mut head = vec![0; 0x40];
    set(&mut head, 0, 4, 0x20);
    head[8] = 1;
    set(&mut head, 0x20, 2, 0x40);
    set(&mut head, 0x28, 8, cluster as u64);
    set(&mut head, 0x30, 8, len as u64);
    set(&mut head, 0x38, 8, len as u64);
    extent(&head, &[(0, Some(lcn), 1)], id as u16)
}

/// An entry of `$Reparse:$R`: tag and file, no data.
pub fn reparse_entry(tag: u64, file: u64) -> Vec<u8> {
    let mut out = vec![0; 0x20];
    set(&mut out, 0, 2, 0x1c);
    set(&mut out, 8, 2, 0x20);
    set(&mut out, 10, 2, 12);
    set(&mut out, 16, 4, tag);
    set(&mut out, 20, 8, file);
    out
}

/// An entry of `$ObjId:$O`: the id, and behind it the file and three ids of its birth.
pub fn object_entry(id: &[u8; 16], file: u64) -> Vec<u8> {
    let mut out = vec![0; 0x58];
    set(&mut out, 0, 2, 0x20);
    set(&mut out, 2, 2, 0x38);
    set(&mut out, 8, 2, 0x58);
    set(&mut out, 10, 2, 16);
    out[0x10..0x20].copy_from_slice(id);
    set(&mut out, 0x20, 8, file);
    out
}

impl Raw {
    /// Puts an attribute at its place by type.
    pub fn add_attribute(&mut self, file: usize, attribute: Vec<u8>) {
        self.edit_attributes(file, |all| {
            all.push(attribute);
            all.sort_by_key(|a| u32_at(a, 0));
        });
    }

    /// Gives the first view index of a file, which lies in its record, these entries, which must be in order.
    pub fn fill_view(&mut self, name: &str, entries: &[Vec<u8>]) {
        self.fill_index(name, "$", entries);
    }

    /// The same for the index whose name starts so.
    pub fn fill_index(&mut self, name: &str, index_name: &str, entries: &[Vec<u8>]) {
        let index = self.by_name(name);
        let wanted: Vec<u8> = index_name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        self.edit_attributes(index, |all| {
            let is_it = |a: &&mut Vec<u8>| u32_at(a, 0) == 0x90 && a[u16_at(a, 0xa)..].starts_with(&wanted);
            let root = all.iter_mut().find(is_it).unwrap();
            let value = u16_at(root, 0x14);
            root.truncate(value + 0x20);
            entries.iter().for_each(|e| root.extend_from_slice(e));
            root.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0]);
            let used = (root.len() - value - 0x10) as u64;
            set(root, value + 0x14, 4, used);
            set(root, value + 0x18, 4, used);
            set(root, 0x10, 4, used + 0x10);
            let len = root.len() as u64;
            set(root, 4, 4, len);
        });
    }

    /// Moves each cluster of an attribute to a free one by itself: from cluster `first` on, every other one.
    pub fn scatter(&mut self, file: usize, kind: usize, first: usize) {
        let old: Vec<usize> =
            self.runs_of(file, kind, "").iter().flat_map(|r| (0..r.2).map(|i| r.1.unwrap() + i)).collect();
        let new: Vec<usize> = (0..old.len()).map(|i| first + 2 * i).collect();
        new.iter().for_each(|&lcn| self.mark(6, 0x80, lcn));
        let bits = self.runs_of(6, 0x80, "");
        for lcn in &old {
            let at = self.place(&bits, lcn / 8);
            self.bytes[at] &= !(1 << (lcn % 8));
        }
        let size = self.cluster;
        for (from, to) in old.iter().zip(&new) {
            self.bytes.copy_within(from * size..(from + 1) * size, to * size);
        }
        let runs: Vec<_> = new.iter().enumerate().map(|(i, &lcn)| (i, Some(lcn), 1)).collect();
        self.edit_attributes(file, |all| {
            let at = all.iter_mut().find(|a| u32_at(a, 0) == kind && a[9] == 0).unwrap();
            *at = extent(at, &runs, u16_at(at, 0xe) as u16);
        });
    }
}
