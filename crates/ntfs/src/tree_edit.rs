//! Changing an index: a B-tree whose nodes are loaded as they are needed and written when all is done.

use crate::attribute::kind;
use crate::file::File;
use crate::file_edit::FileEdit;
use crate::index::{BLOCK_HEADER, ENTRY_HEADER, HAS_CHILD, HEADER_LEN, LAST, ROOT_HEADER};
use crate::tree::{MAX_DEPTH, Node, Tree, compare_keys};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// An entry while its node is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// The entry without its child VCN; length and flags are set when the node is written.
    pub(crate) payload: Vec<u8>,
    pub(crate) child: Option<u64>,
    /// Whether it is the END entry.
    pub(crate) last: bool,
}

impl Item {
    pub(crate) fn end(child: Option<u64>) -> Item {
        Item { payload: vec![0; ENTRY_HEADER], child, last: true }
    }

    pub(crate) fn key(&self) -> &[u8] {
        let len = self.payload.get(0xa..0xc).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        self.payload.get(ENTRY_HEADER..ENTRY_HEADER + len).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.payload.len() + if self.child.is_some() { 8 } else { 0 }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.payload);
        if let Some(child) = self.child {
            out.extend_from_slice(&child.to_le_bytes());
        }
        let len = (out.len() - start) as u16;
        let flags = if self.child.is_some() { HAS_CHILD } else { 0 } | if self.last { LAST } else { 0 };
        out[start + 8..start + 0xa].copy_from_slice(&len.to_le_bytes());
        out[start + 0xc..start + 0xe].copy_from_slice(&flags.to_le_bytes());
    }
}

/// The payload of an entry: eight bytes that belong to the owner of the index, the key, what follows it.
pub(crate) fn payload(first_eight: [u8; 8], key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![0; ENTRY_HEADER];
    out[..8].copy_from_slice(&first_eight);
    out[0xa..0xc].copy_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

/// Which node: the root, or the block with this VCN.
pub(crate) const ROOT: u64 = u64::MAX;

/// An index being changed.
#[derive(Debug)]
pub(crate) struct TreeEdit {
    pub(crate) tree: Tree,
    pub(crate) name: Vec<u16>,
    pub(crate) edit: FileEdit,
    pub(crate) nodes: BTreeMap<u64, Vec<Item>>,
    pub(crate) dirty: BTreeSet<u64>,
    pub(crate) bitmap_changed: bool,
}

/// The way from the root to an entry: nodes and the index of the item in each.
type Path = Vec<(u64, usize)>;

impl Volume {
    /// Starts to change an index of a file. `NotFound` without that index.
    pub(crate) fn edit_tree(&self, file: File, name: &[u16]) -> Result<TreeEdit> {
        let tree = self.tree(&file, name)?.ok_or_else(|| {
            Error::not_found(format!("file {} has no index {}", file.reference, String::from_utf16_lossy(name)))
        })?;
        let root = items(&self.root_node(&tree))?;
        Ok(TreeEdit {
            tree,
            name: name.to_vec(),
            edit: FileEdit::new(file),
            nodes: BTreeMap::from([(ROOT, root)]),
            dirty: BTreeSet::new(),
            bitmap_changed: false,
        })
    }
}

fn items(node: &Node) -> Result<Vec<Item>> {
    let mut out = Vec::new();
    for entry in node.entries()? {
        let entry = entry?;
        out.push(Item { payload: entry.payload().to_vec(), child: entry.child, last: entry.is_last() });
    }
    if out.iter().any(|i| i.child.is_some() != out[0].child.is_some()) {
        return Err(Error::damaged(
            "index block",
            "",
            node.at,
            "some entries of the node have a child and some have none",
        ));
    }
    match out.last() {
        Some(item) if item.last => Ok(out),
        _ => Err(Error::damaged("index block", "", node.at, "the node has no END entry")),
    }
}

impl TreeEdit {
    pub(crate) fn load(&mut self, volume: &Volume, id: u64) -> Result<&mut Vec<Item>> {
        if !self.nodes.contains_key(&id) {
            let node = volume.index_block(&self.tree, id)?;
            self.nodes.insert(id, items(&node)?);
        }
        self.nodes.get_mut(&id).ok_or_else(|| Error::new(Kind::Conflict, "an index node got lost"))
    }

    fn compare(&self, volume: &Volume, a: &[u8], b: &[u8]) -> Result<Ordering> {
        compare_keys(self.tree.collation, &volume.upcase, a, b)
    }

    /// The way to the entry with this key, or to the place in a leaf where it belongs; whether it is there.
    fn find(&mut self, volume: &Volume, key: &[u8]) -> Result<(Path, bool)> {
        let mut path = Path::new();
        let mut id = ROOT;
        for _ in 0..MAX_DEPTH {
            let items = self.load(volume, id)?.clone();
            let mut at = items.len() - 1;
            for (i, item) in items.iter().enumerate() {
                let order = if item.last { Ordering::Less } else { self.compare(volume, key, item.key())? };
                if order != Ordering::Greater {
                    at = i;
                    if order == Ordering::Equal {
                        path.push((id, i));
                        return Ok((path, true));
                    }
                    break;
                }
            }
            path.push((id, at));
            match items[at].child {
                Some(child) => id = child,
                None => return Ok((path, false)),
            }
        }
        Err(self.too_deep())
    }

    fn too_deep(&self) -> Error {
        Error::new(Kind::Limit, format!("record {}: the index is deeper than {MAX_DEPTH} levels", self.tree.owner))
    }

    /// The payload of the entry with this key.
    pub(crate) fn get(&mut self, volume: &Volume, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (path, found) = self.find(volume, key)?;
        let Some(&(id, at)) = path.last().filter(|_| found) else { return Ok(None) };
        Ok(Some(self.load(volume, id)?[at].payload.clone()))
    }

    /// Changes an entry in place; key and length stay. Whether it was there.
    pub(crate) fn update(&mut self, volume: &Volume, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let (path, found) = self.find(volume, key)?;
        let Some(&(id, at)) = path.last().filter(|_| found) else { return Ok(false) };
        let payload = &mut self.load(volume, id)?[at].payload;
        let before = payload.clone();
        change(payload);
        if *payload != before {
            self.dirty.insert(id);
        }
        Ok(true)
    }

    /// Puts an entry in. `Conflict` when its key is already there.
    pub(crate) fn insert(&mut self, volume: &mut Volume, payload: Vec<u8>) -> Result<()> {
        let item = Item { payload, child: None, last: false };
        let (path, found) = self.find(volume, item.key())?;
        let Some(&(id, at)) = path.last().filter(|_| !found) else {
            return Err(Error::new(
                Kind::Conflict,
                format!("record {}: the index has this key already", self.tree.owner),
            ));
        };
        self.load(volume, id)?.insert(at, item);
        self.dirty.insert(id);
        self.relieve(volume, path)
    }

    /// Splits the nodes on a path, from its end upward, until each fits into its block.
    fn relieve(&mut self, volume: &mut Volume, mut path: Path) -> Result<()> {
        while let Some((id, _)) = path.pop() {
            if self.size(id) <= self.capacity(id)? {
                return Ok(());
            }
            if id == ROOT {
                return self.push_down_root(volume);
            }
            let Some(&(parent, at)) = path.last() else { return Err(self.too_deep()) };
            self.split(volume, id, parent, at)?;
        }
        Ok(())
    }

    /// The median goes up; what is behind it goes to a new block.
    fn split(&mut self, volume: &mut Volume, id: u64, parent: u64, at: usize) -> Result<()> {
        let items = self.load(volume, id)?.clone();
        let capacity = self.capacity(id)?;
        let total: usize = items.iter().map(Item::len).sum();
        let mut sum = 0;
        let mut median = 0;
        for (i, item) in items.iter().enumerate().take(items.len() - 1) {
            median = i;
            if sum + item.len() >= total / 2 && i > 0 {
                break;
            }
            sum += item.len();
        }
        // Both halves need an entry beside END.
        let median = median.min(items.len().saturating_sub(3));
        if median == 0 || items.len() < 4 {
            let detail =
                format!("record {}: {} entries do not fit into {capacity} bytes", self.tree.owner, items.len());
            return Err(Error::new(Kind::NoSpace, detail));
        }
        let right = items[median + 1..].to_vec();
        let mut left = items[..median].to_vec();
        left.push(Item::end(items[median].child));
        let new = self.new_block(volume)?;
        self.nodes.insert(id, left);
        self.nodes.insert(new, right);
        self.dirty.extend([id, new, parent]);
        let up = Item { payload: items[median].payload.clone(), child: Some(id), last: false };
        let parent_items = self.load(volume, parent)?;
        parent_items[at].child = Some(new);
        parent_items.insert(at, up);
        Ok(())
    }

    /// Whether the root holds nothing but END.
    pub(crate) fn is_root_bare(&self) -> bool {
        self.nodes.get(&ROOT).is_none_or(|items| items.len() < 2)
    }

    /// All entries of the root go to a new block; the root keeps END.
    pub(crate) fn push_down_root(&mut self, volume: &mut Volume) -> Result<()> {
        let items = self.load(volume, ROOT)?.clone();
        let new = self.new_block(volume)?;
        self.nodes.insert(new, items);
        self.nodes.insert(ROOT, vec![Item::end(Some(new))]);
        self.dirty.extend([ROOT, new]);
        if self.size(new) > self.capacity(new)? {
            self.split(volume, new, ROOT, 0)?;
        }
        Ok(())
    }

    /// Takes the entry with this key out and returns its payload; `None` when it is not there.
    pub(crate) fn remove(&mut self, volume: &mut Volume, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (mut path, found) = self.find(volume, key)?;
        let Some(&(id, at)) = path.last().filter(|_| found) else { return Ok(None) };
        let item = self.load(volume, id)?[at].clone();
        if item.child.is_none() {
            self.load(volume, id)?.remove(at);
            self.dirty.insert(id);
            self.after_removal(volume, path)?;
            return Ok(Some(item.payload));
        }
        // The next entry in order, from a leaf, takes its place.
        let top = path.len();
        if let Some(last) = path.last_mut() {
            last.1 = at + 1;
        }
        let mut child = self.load(volume, id)?[at + 1].child;
        while let Some(next) = child {
            path.push((next, 0));
            child = self.load(volume, next)?[0].child;
            if path.len() > MAX_DEPTH {
                return Err(self.too_deep());
            }
        }
        let Some(&(leaf, _)) = path.last() else { return Err(self.too_deep()) };
        let successor = self.load(volume, leaf)?[0].clone();
        if successor.last {
            let detail = format!("record {}: leaf {leaf} of the index is empty", self.tree.owner);
            return Err(Error::damaged("index block", "", 0, detail));
        }
        self.load(volume, leaf)?.remove(0);
        self.load(volume, id)?[at].payload = successor.payload;
        self.dirty.extend([id, leaf]);
        if self.size(id) > self.capacity(id)? {
            // A longer name took the place; the leaf's own state is looked after on a fresh walk.
            self.relieve(volume, path[..top].to_vec())?;
            let key = self.load(volume, leaf)?.first().map(|i| i.key().to_vec()).unwrap_or_default();
            if key.is_empty() {
                self.rebuild(volume)?;
            }
            return Ok(Some(item.payload));
        }
        self.after_removal(volume, path)?;
        Ok(Some(item.payload))
    }

    /// The last node of the path has lost an entry: an empty leaf is no legal part of a tree.
    fn after_removal(&mut self, volume: &mut Volume, path: Path) -> Result<()> {
        let Some((&(leaf, _), above)) = path.split_last() else { return Ok(()) };
        if leaf == ROOT || self.load(volume, leaf)?.len() > 1 {
            return Ok(());
        }
        let Some(&(parent, at)) = above.last() else { return Ok(()) };
        let parent_items = self.load(volume, parent)?.clone();
        let keys = parent_items.len() - 1;
        // A parent without a key of its own would be left over: lay the tree out anew.
        if keys == 0 || (keys == 1 && parent != ROOT) {
            return self.rebuild(volume);
        }
        let mut items = parent_items;
        let moved = if items[at].last {
            let before = items.remove(at - 1);
            items[at - 1].child = before.child;
            before
        } else {
            items.remove(at)
        };
        self.nodes.insert(parent, items);
        self.dirty.insert(parent);
        self.free_block(leaf)?;
        self.insert(volume, moved.payload)
    }

    pub(crate) fn size(&self, id: u64) -> usize {
        self.nodes.get(&id).map_or(0, |items| items.iter().map(Item::len).sum())
    }

    /// Bytes that the entries of a node may have.
    pub(crate) fn capacity(&self, id: u64) -> Result<usize> {
        if id != ROOT {
            return Ok(self.tree.block_size as usize - self.first_entry());
        }
        let spot = self.edit.spot(kind::INDEX_ROOT, &self.name)?;
        let spot = spot.ok_or_else(|| Error::damaged("file record", "$INDEX_ROOT", 0, "the index root got lost"))?;
        let head = (0x18 + 2 * self.name.len()).next_multiple_of(8) + ROOT_HEADER + HEADER_LEN;
        // The run list and the bitmap beside it may have to grow by some bytes.
        let reserve = if self.tree.allocation.is_some() { 0x20 } else { 0 };
        Ok(self.edit.room_at(spot)?.saturating_sub(head + reserve))
    }

    /// Offset of the first entry in a block.
    pub(crate) fn first_entry(&self) -> usize {
        let array = BLOCK_HEADER + HEADER_LEN + 2 * (self.tree.block_size as usize / 512 + 1);
        array.next_multiple_of(8)
    }

    /// Bytes of a node's entries.
    pub(crate) fn serialize(&self, id: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(items) = self.nodes.get(&id) {
            items.iter().for_each(|item| item.write(&mut out));
        }
        out
    }
}
