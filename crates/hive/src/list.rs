//! Subkey lists: `lh`, `lf` and `li` leaves, and `ri`, a list of leaves.

use crate::base_block::NIL;
use crate::image::{Image, dword, place, word};
use crate::key::{Key, nk};
use crate::name::{self, Name};
use crate::upcase::upcase;
use reseal_dtyp::{Error, Kind, Result};
use std::cmp::Ordering;

/// A leaf that would grow above this is split in halves (the largest seen in Windows' hives has 968).
const MAX_LEAF: usize = 1012;
/// Where the elements start.
const HEAD: usize = 4;

/// Kinds of leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    /// Offsets only.
    Li,
    /// Offsets and the first four characters.
    Lf,
    /// Offsets and hashes.
    Lh,
}

impl ListKind {
    pub(crate) fn of(signature: &[u8]) -> Option<ListKind> {
        match signature {
            b"li" => Some(ListKind::Li),
            b"lf" => Some(ListKind::Lf),
            b"lh" => Some(ListKind::Lh),
            _ => None,
        }
    }

    fn signature(self) -> &'static [u8; 2] {
        match self {
            ListKind::Li => b"li",
            ListKind::Lf => b"lf",
            ListKind::Lh => b"lh",
        }
    }

    pub(crate) fn width(self) -> usize {
        if self == ListKind::Li { 4 } else { 8 }
    }

    /// The kind that Windows makes in hives of a minor version: hashes came with 1.5.
    pub(crate) fn native(minor: u32) -> ListKind {
        if minor >= 5 { ListKind::Lh } else { ListKind::Lf }
    }

    /// The second half of an element.
    pub(crate) fn mark(self, name: Name<'_>) -> u32 {
        match self {
            ListKind::Li => 0,
            ListKind::Lf => name.hint(),
            ListKind::Lh => name.hash(),
        }
    }
}

/// One leaf, its element count checked against its cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) at: u32,
    pub(crate) kind: ListKind,
    pub(crate) count: usize,
}

/// The leaves of a key, in order, and the `ri` above them if there is one.
#[derive(Debug, Clone)]
pub(crate) struct SubkeyList {
    pub(crate) ri: Option<u32>,
    pub(crate) leaves: Vec<Leaf>,
}

impl Image {
    fn leaf(&self, at: u32) -> Result<Leaf> {
        let content = self.content(at, "subkey list")?;
        let Some(kind) = content.get(..2).and_then(ListKind::of) else {
            let detail = format!("is {:02x?}; lf, lh or li expected", &content[..content.len().min(2)]);
            return Err(Error::damaged("subkey list", "signature", place(at) + 4, detail));
        };
        let (count, room) = (usize::from(word(content, 2)), content.len().saturating_sub(HEAD) / kind.width());
        if count > room {
            let detail = format!("claims {count} elements, the cell holds {room}");
            return Err(Error::damaged("subkey list", "count", place(at) + 4, detail));
        }
        Ok(Leaf { at, kind, count })
    }

    /// Reads the lists of a key; `Damaged` unless they hold as many elements as the key says.
    pub(crate) fn subkey_list(&self, key: &Key<'_>) -> Result<SubkeyList> {
        let Some(list) = key.subkey_list() else { return Ok(SubkeyList { ri: None, leaves: Vec::new() }) };
        let expected = key.subkeys() as usize;
        // A leaf that an `ri` repeats would let a small hive claim billions; every key has a cell of its own.
        if expected > self.size as usize / nk::NAME {
            let detail = format!("{expected} subkeys do not fit hbins of {:#x} bytes", self.size);
            return Err(Error::damaged("nk", "subkeys", place(list), detail));
        }
        let content = self.content(list, "subkey list")?;
        let mut out = SubkeyList { ri: None, leaves: Vec::new() };
        let mut total = 0usize;
        if content.starts_with(b"ri") {
            out.ri = Some(list);
            let view = self.view(list, "ri")?;
            for i in 0..usize::from(view.u16(2, "count")?) {
                let leaf = self.leaf(view.u32(HEAD + 4 * i, "leaf")?)?;
                total += leaf.count;
                if total > expected || leaf.count == 0 {
                    break;
                }
                out.leaves.push(leaf);
            }
        } else {
            out.leaves.push(self.leaf(list)?);
            total = out.leaves[0].count;
        }
        if total != expected {
            let detail = format!("the key has {expected} subkeys, its lists hold {total} or an empty leaf");
            return Err(Error::damaged("subkey list", "count", place(list) + 4, detail));
        }
        Ok(out)
    }

    /// Key offset and hint or hash of an element.
    pub(crate) fn element(&self, leaf: Leaf, i: usize) -> Result<(u32, u32)> {
        let content = self.content(leaf.at, "subkey list")?;
        let at = HEAD + i * leaf.kind.width();
        Ok((dword(content, at), if leaf.kind == ListKind::Li { 0 } else { dword(content, at + 4) }))
    }

    /// Offsets of all subkeys, in list order.
    pub(crate) fn subkeys(&self, key: &Key<'_>) -> Result<Vec<u32>> {
        self.elements(&self.subkey_list(key)?)
    }

    /// Offsets of all keys of a list.
    pub(crate) fn elements(&self, list: &SubkeyList) -> Result<Vec<u32>> {
        let mut out = Vec::with_capacity(list.leaves.iter().map(|l| l.count).sum());
        for leaf in &list.leaves {
            let content = self.content(leaf.at, "subkey list")?;
            out.extend((0..leaf.count).map(|i| dword(content, HEAD + i * leaf.kind.width())));
        }
        Ok(out)
    }

    fn compare_element(&self, leaf: Leaf, i: usize, units: &[u16]) -> Result<Ordering> {
        let (at, _) = self.element(leaf, i)?;
        Ok(name::compare(self.key(at)?.name().units(), units.iter().copied()))
    }

    /// Leaf and element before which a name belongs.
    fn lower_bound(&self, list: &SubkeyList, units: &[u16]) -> Result<(usize, usize)> {
        let (mut low, mut high) = (0, list.leaves.len());
        while low < high {
            let mid = (low + high) / 2;
            let leaf = list.leaves[mid];
            let last_below = self.compare_element(leaf, leaf.count - 1, units)? == Ordering::Less;
            if last_below { low = mid + 1 } else { high = mid }
        }
        let Some(&leaf) = list.leaves.get(low) else {
            let last = list.leaves.len().saturating_sub(1);
            return Ok((last, list.leaves.last().map_or(0, |l| l.count)));
        };
        let index = low;
        let (mut low, mut high) = (0, leaf.count);
        while low < high {
            let mid = (low + high) / 2;
            if self.compare_element(leaf, mid, units)? == Ordering::Less { low = mid + 1 } else { high = mid }
        }
        Ok((index, low))
    }

    /// The subkey of a name, case-insensitive.
    pub(crate) fn find_subkey(&self, key: &Key<'_>, units: &[u16]) -> Result<Option<u32>> {
        let list = self.subkey_list(key)?;
        let (l, i) = self.lower_bound(&list, units)?;
        if let Some(&leaf) = list.leaves.get(l)
            && i < leaf.count
            && self.compare_element(leaf, i, units)? == Ordering::Equal
        {
            return Ok(Some(self.element(leaf, i)?.0));
        }
        self.find_unsorted(&list, units)
    }

    /// A list that is out of order still has its hints and hashes.
    fn find_unsorted(&self, list: &SubkeyList, units: &[u16]) -> Result<Option<u32>> {
        let (hash, hint) = (name::hash(units.iter().copied()), name::hint(units.iter().copied()));
        let fold = |hint: u32| hint.to_le_bytes().map(|b| upcase(u16::from(b)));
        for &leaf in &list.leaves {
            let content = self.content(leaf.at, "subkey list")?;
            for i in 0..leaf.count {
                let at = HEAD + i * leaf.kind.width();
                let maybe = match leaf.kind {
                    ListKind::Li => true,
                    ListKind::Lf => fold(dword(content, at + 4)) == fold(hint) || dword(content, at + 4) == 0,
                    ListKind::Lh => dword(content, at + 4) == hash,
                };
                if maybe && self.compare_element(leaf, i, units)? == Ordering::Equal {
                    return Ok(Some(dword(content, at)));
                }
            }
        }
        Ok(None)
    }

    /// Enters a key into its parent's lists and counts it.
    pub(crate) fn insert_subkey(&mut self, parent: u32, child: u32) -> Result<()> {
        let key = self.key(parent)?;
        let (count, max, list) = (key.subkeys(), key.max_subkey_name(), self.subkey_list(&key)?);
        let child_name = self.key(child)?.name();
        let units: Vec<u16> = child_name.units().collect();
        let len = u16::try_from(child_name.utf16_len()).unwrap_or(u16::MAX);
        if list.leaves.is_empty() {
            let kind = ListKind::native(self.minor);
            let leaf = self.new_leaf(kind, &[(child, kind.mark(child_name))])?;
            self.put_u32(parent, nk::SUBKEY_LIST, leaf, "nk")?;
        } else {
            let (l, i) = self.lower_bound(&list, &units)?;
            let leaf = list.leaves[l];
            let mark = leaf.kind.mark(child_name);
            let mut elements = (0..leaf.count).map(|i| self.element(leaf, i)).collect::<Result<Vec<_>>>()?;
            elements.insert(i, (child, mark));
            self.write_leaf(parent, &list, l, &elements)?;
        }
        self.put_u32(parent, nk::SUBKEYS, count + 1, "nk")?;
        if len > max {
            self.put_u16(parent, nk::MAX_SUBKEY_NAME, len, "nk")?;
        }
        Ok(())
    }

    fn leaf_bytes(kind: ListKind, elements: &[(u32, u32)]) -> Vec<u8> {
        let mut out = kind.signature().to_vec();
        out.extend_from_slice(&(elements.len() as u16).to_le_bytes());
        for (at, mark) in elements {
            out.extend_from_slice(&at.to_le_bytes());
            if kind != ListKind::Li {
                out.extend_from_slice(&mark.to_le_bytes());
            }
        }
        out
    }

    fn new_leaf(&mut self, kind: ListKind, elements: &[(u32, u32)]) -> Result<u32> {
        let bytes = Image::leaf_bytes(kind, elements);
        let at = self.allocate(bytes.len())?;
        self.put(at, 0, &bytes, "subkey list")?;
        Ok(at)
    }

    /// Rewrites leaf `l` with one element more or less; splits it when it is full.
    fn write_leaf(&mut self, parent: u32, list: &SubkeyList, l: usize, elements: &[(u32, u32)]) -> Result<()> {
        let leaf = list.leaves[l];
        if elements.len() > MAX_LEAF {
            return self.split_leaf(parent, list, l, elements);
        }
        let at = self.store_leaf(leaf, elements)?;
        match list.ri {
            Some(ri) => self.put_u32(ri, HEAD + 4 * l, at, "ri"),
            None => self.put_u32(parent, nk::SUBKEY_LIST, at, "nk"),
        }
    }

    /// Writes elements into a leaf's cell, which grows with room to spare; returns where it is now.
    fn store_leaf(&mut self, leaf: Leaf, elements: &[(u32, u32)]) -> Result<u32> {
        let bytes = Image::leaf_bytes(leaf.kind, elements);
        let room = self.content(leaf.at, "subkey list")?.len();
        // A quarter to spare keeps a run of insertions from moving the cell every time.
        let at = if bytes.len() > room {
            self.resize(leaf.at, 0, bytes.len() + bytes.len() / 4, "subkey list")?
        } else if bytes.len() < room / 2 {
            self.resize(leaf.at, 0, bytes.len(), "subkey list")?
        } else {
            leaf.at
        };
        let content = self.content_mut(at, "subkey list")?;
        content.fill(0);
        content[..bytes.len()].copy_from_slice(&bytes);
        Ok(at)
    }

    fn split_leaf(&mut self, parent: u32, list: &SubkeyList, l: usize, elements: &[(u32, u32)]) -> Result<()> {
        let leaf = list.leaves[l];
        let mut offsets: Vec<u32> = list.leaves.iter().map(|leaf| leaf.at).collect();
        if offsets.len() >= usize::from(u16::MAX) {
            return Err(Error::new(Kind::Limit, format!("a key has {} lists of subkeys, no more fit", offsets.len())));
        }
        let (first, second) = elements.split_at(elements.len() / 2);
        offsets.insert(l + 1, self.new_leaf(leaf.kind, second)?);
        offsets[l] = self.store_leaf(leaf, first)?;
        self.write_ri(parent, list.ri, &offsets)
    }

    /// Writes the list of leaves; makes it when there was one leaf, drops it when none is left.
    fn write_ri(&mut self, parent: u32, ri: Option<u32>, leaves: &[u32]) -> Result<()> {
        let mut bytes = b"ri".to_vec();
        bytes.extend_from_slice(&(leaves.len() as u16).to_le_bytes());
        leaves.iter().for_each(|at| bytes.extend_from_slice(&at.to_le_bytes()));
        let at = match ri {
            Some(at) => self.resize(at, 0, bytes.len(), "ri")?,
            None => self.allocate(bytes.len())?,
        };
        self.put(at, 0, &bytes, "ri")?;
        self.put_u32(parent, nk::SUBKEY_LIST, at, "nk")
    }

    /// Finds the element that refers to `child`.
    fn locate(&self, list: &SubkeyList, child: u32) -> Result<(usize, usize)> {
        for (l, &leaf) in list.leaves.iter().enumerate() {
            let content = self.content(leaf.at, "subkey list")?;
            if let Some(i) = (0..leaf.count).find(|i| dword(content, HEAD + i * leaf.kind.width()) == child) {
                return Ok((l, i));
            }
        }
        let detail = "the key is not in the list of the parent that it names";
        Err(Error::damaged("nk", "parent", place(child) + 4, detail))
    }

    /// Takes a key out of its parent's lists.
    pub(crate) fn remove_subkey(&mut self, parent: u32, child: u32) -> Result<()> {
        let key = self.key(parent)?;
        let (count, list) = (key.subkeys(), self.subkey_list(&key)?);
        let (l, i) = self.locate(&list, child)?;
        let leaf = list.leaves[l];
        if leaf.count > 1 {
            let mut elements = (0..leaf.count).map(|i| self.element(leaf, i)).collect::<Result<Vec<_>>>()?;
            elements.remove(i);
            self.write_leaf(parent, &list, l, &elements)?;
        } else {
            self.free(leaf.at, "subkey list")?;
            let mut offsets: Vec<u32> = list.leaves.iter().map(|leaf| leaf.at).collect();
            offsets.remove(l);
            match (list.ri, offsets.is_empty()) {
                (Some(ri), false) => self.write_ri(parent, Some(ri), &offsets)?,
                (ri, _) => {
                    if let Some(ri) = ri {
                        self.free(ri, "ri")?;
                    }
                    self.put_u32(parent, nk::SUBKEY_LIST, NIL, "nk")?;
                }
            }
        }
        self.put_u32(parent, nk::SUBKEYS, count - 1, "nk")
    }
}
