//! Whose cells the hits are: one walk over everything that is reached from the root.

use crate::big_data::SEGMENT;
use crate::hive::{Hive, KeyId};
use crate::image::place;
use crate::key::nk;
use crate::scan::HitMap;
use crate::security::sk;
use crate::value::{Storage, vk};
use reseal_dtyp::{Error, Result};
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What a cell holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    KeyName,
    ClassName,
    Descriptor,
    ValueName,
    ValueData,
    /// Subkey lists, value lists, big data records and their lists: only their slack can hold text.
    List,
}

/// A hit cell that something refers to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owned {
    pub(crate) cell: u32,
    /// Bytes of the content that are in use; slack follows.
    pub(crate) live: usize,
    pub(crate) role: Role,
    /// The key it belongs to; for a descriptor the first one met.
    pub(crate) key: KeyId,
    /// The value cell, for names and data.
    pub(crate) value: u32,
}

/// A set of cells, one bit per 8 bytes.
#[derive(Debug, Default)]
pub(crate) struct CellSet(Vec<u64>);

impl CellSet {
    /// For hbins of `size` bytes.
    pub(crate) fn new(size: u32) -> CellSet {
        CellSet(vec![0; (size as usize).div_ceil(512)])
    }

    /// Adds a cell; false when it was there, or lies outside.
    pub(crate) fn insert(&mut self, at: u32) -> bool {
        let bit = 1u64 << (at / 8 % 64);
        match self.0.get_mut(at as usize / 512) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn contains(&self, at: u32) -> bool {
        self.0.get(at as usize / 512).is_some_and(|bits| bits >> (at / 8 % 64) & 1 == 1)
    }
}

struct Walk<'a> {
    hive: &'a Hive,
    hits: &'a HitMap,
    securities: CellSet,
    /// Value lists, value cells and big data records that were met.
    values: CellSet,
    /// Allocated cells with a hit whose owner was not met yet.
    missing: BTreeSet<u32>,
    out: Vec<Owned>,
}

impl Hive {
    /// Every key that is reached from the root, in no promised order, until `visit` breaks off.
    pub(crate) fn all_keys(&self, strict: bool, mut visit: impl FnMut(u32) -> Result<ControlFlow<()>>) -> Result<()> {
        let (mut seen, mut lists) = (CellSet::new(self.image.size), CellSet::new(self.image.size));
        let mut stack = vec![self.root];
        while let Some(at) = stack.pop() {
            if !seen.insert(at) {
                if strict {
                    return Err(Error::damaged("nk", "", place(at) + 4, "the key is reached a second time"));
                }
                continue;
            }
            let step = visit(at).and_then(|flow| match flow {
                ControlFlow::Break(()) => Ok(None),
                ControlFlow::Continue(()) => self.subkeys_once(at, &mut lists).map(Some),
            });
            match step {
                Ok(None) => return Ok(()),
                Ok(Some(children)) => stack.extend(children),
                Err(e) if strict => return Err(e),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Subkeys of a key whose lists no other key has: a shared list would be walked once per key.
    fn subkeys_once(&self, at: u32, lists: &mut CellSet) -> Result<Vec<u32>> {
        let key = self.image.key(at)?;
        let Some(head) = key.subkey_list() else { return Ok(Vec::new()) };
        once(lists, head, "subkey list")?;
        let list = self.image.subkey_list(&key)?;
        if list.ri.is_some() {
            list.leaves.iter().try_for_each(|leaf| once(lists, leaf.at, "subkey list"))?;
        }
        self.image.elements(&list)
    }

    /// Owners of all hit cells; the walk ends when each is found. With `strict`, damage on the way is an error; otherwise it
    /// hides what lies behind.
    pub(crate) fn owners(&self, hits: &HitMap, strict: bool) -> Result<Vec<Owned>> {
        let set = || CellSet::new(self.image.size);
        let missing = hits.cells.iter().filter(|(_, cell)| cell.allocated).map(|(at, _)| *at).collect();
        let mut walk = Walk { hive: self, hits, securities: set(), values: set(), missing, out: Vec::new() };
        self.all_keys(strict, |at| {
            walk.key(at, strict)?;
            Ok(if walk.missing.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(walk.out)
    }
}

/// Fails for a cell that was met before.
fn once(set: &mut CellSet, at: u32, what: &'static str) -> Result<()> {
    if set.insert(at) {
        Ok(())
    } else {
        Err(Error::damaged(what, "", place(at) + 4, "the cell lies outside or is used twice"))
    }
}

impl Walk<'_> {
    fn note(&mut self, cell: u32, live: usize, role: Role, key: u32, value: u32) {
        if self.hits.has(cell) {
            self.missing.remove(&cell);
            self.out.push(Owned { cell, live, role, key: KeyId(key), value });
        }
    }

    fn key(&mut self, at: u32, strict: bool) -> Result<()> {
        let image = &self.hive.image;
        let key = image.key(at)?;
        self.note(at, nk::NAME + key.name_len(), Role::KeyName, at, 0);
        if let Some((class, len)) = key.class() {
            self.note(class, len, Role::ClassName, at, 0);
        }
        if self.securities.insert(key.sk()) && self.hits.has(key.sk()) {
            let len = image.security(key.sk())?.descriptor.len();
            self.note(key.sk(), sk::DESCRIPTOR + len, Role::Descriptor, at, 0);
        }
        if key.subkeys() > 0 {
            let list = image.subkey_list(&key)?;
            for leaf in &list.leaves {
                self.note(leaf.at, 4 + leaf.count * leaf.kind.width(), Role::List, at, 0);
            }
            if let Some(ri) = list.ri {
                self.note(ri, 4 + 4 * list.leaves.len(), Role::List, at, 0);
            }
        }
        if key.values() > 0 {
            once(&mut self.values, key.value_list(), "value list")?;
            self.note(key.value_list(), 4 * key.values() as usize, Role::List, at, 0);
            for value in image.value_offsets(&key)? {
                match self.value(at, value) {
                    Err(e) if strict => return Err(e),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, key: u32, at: u32) -> Result<()> {
        let image = &self.hive.image;
        let value = image.value_cell(at)?;
        once(&mut self.values, at, "vk")?;
        self.note(at, vk::NAME + value.name_len(), Role::ValueName, key, at);
        match image.storage(&value)? {
            Storage::Inline(_) => {}
            Storage::Cell(cell, len) => self.note(cell, len, Role::ValueData, key, at),
            Storage::Big(record, len) => {
                once(&mut self.values, record, "db")?;
                let big = image.big_data(record, len)?;
                // A hit on the record itself says that a SID lies across two segments.
                self.note(record, 8, Role::ValueData, key, at);
                self.note(big.list, 4 * big.segments.len(), Role::List, key, at);
                for (segment, part) in big.segments {
                    self.note(segment, part.min(SEGMENT), Role::ValueData, key, at);
                }
            }
        }
        Ok(())
    }
}
