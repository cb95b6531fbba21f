//! A whole index in memory as a list of slots, for edits that change keys but not the size of entries.
//!
//! The shape of the tree stays: entries are sorted anew and written into the same slots, each slot keeping its flags and its
//! child VCN.

use crate::tree::{MAX_DEPTH, Node, Tree, compare_keys};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use std::cmp::Ordering;
use std::ops::Range;

/// All nodes of a tree and the places of their entries in the order of the tree.
pub(crate) struct Slots {
    pub(crate) tree: Tree,
    /// The root first; its VCN is `None`.
    nodes: Vec<(Option<u64>, Node)>,
    slots: Vec<Slot>,
}

struct Slot {
    node: usize,
    /// Bytes of the entry without its child VCN.
    range: Range<usize>,
}

impl Volume {
    /// Loads a whole tree.
    pub(crate) fn slots(&self, tree: Tree) -> Result<Slots> {
        let mut budget = tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(tree.block_size)) + 1;
        let root = self.root_node(&tree);
        let mut out = Slots { tree, nodes: Vec::new(), slots: Vec::new() };
        self.collect_slots(&mut out, None, root, 0, &mut budget)?;
        Ok(out)
    }

    fn collect_slots(
        &self,
        out: &mut Slots,
        vcn: Option<u64>,
        node: Node,
        depth: usize,
        budget: &mut u64,
    ) -> Result<()> {
        *budget = budget.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or_else(|| {
            let detail = format!("record {}: the tree has a cycle", out.tree.owner);
            Error::damaged("index block", "child VCN", node.at, detail)
        })?;
        let index = out.nodes.len();
        out.nodes.push((vcn, node.clone()));
        for entry in node.entries()? {
            let entry = entry?;
            if let Some(vcn) = entry.child {
                let child = self.index_block(&out.tree, vcn)?;
                self.collect_slots(out, Some(vcn), child, depth + 1, budget)?;
            }
            if !entry.is_last() {
                out.slots.push(Slot { node: index, range: entry.offset..entry.offset + entry.payload().len() });
            }
        }
        Ok(())
    }

    /// Stages every node that differs from what the volume holds.
    pub(crate) fn stage_slots(&mut self, slots: &Slots, name: &[u16]) -> Result<()> {
        for (vcn, node) in &slots.nodes {
            match vcn {
                Some(vcn) if self.index_block(&slots.tree, *vcn)?.bytes != node.bytes => {
                    self.stage_index_block(&slots.tree, *vcn, &node.bytes)?;
                }
                None if node.bytes != slots.tree.root => self.stage_root(slots.tree.owner, name, &node.bytes)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes an `$INDEX_ROOT` value of the same length.
    fn stage_root(&mut self, owner: u64, name: &[u16], value: &[u8]) -> Result<()> {
        let file = self.file_by_number(owner)?;
        for mut record in file.records {
            let place = record.view()?.find(crate::attribute::kind::INDEX_ROOT, name)?.and_then(|a| match a.form {
                crate::attribute::Form::Resident { value, offset, .. } => Some((a.offset + offset, value.len())),
                crate::attribute::Form::NonResident(_) => None,
            });
            if let Some((offset, len)) = place {
                if len != value.len() {
                    return Err(Error::new(
                        Kind::Conflict,
                        format!("an index root of {len} bytes got {}", value.len()),
                    ));
                }
                record.bytes[offset..offset + len].copy_from_slice(value);
                return self.stage_record(&record);
            }
        }
        Err(Error::damaged("file record", "$INDEX_ROOT", 0, format!("record {owner} has lost its index root")))
    }
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The entry in a slot, without its child VCN.
    pub(crate) fn entry(&self, index: usize) -> &[u8] {
        let slot = &self.slots[index];
        &self.nodes[slot.node].1.bytes[slot.range.clone()]
    }

    pub(crate) fn entry_mut(&mut self, index: usize) -> &mut [u8] {
        let slot = &self.slots[index];
        &mut self.nodes[slot.node].1.bytes[slot.range.clone()]
    }

    /// The key in a slot.
    pub(crate) fn key_of(&self, index: usize) -> &[u8] {
        Self::key(self.entry(index))
    }

    fn key(entry: &[u8]) -> &[u8] {
        let len = usize::from(u16::from_le_bytes([entry[0xa], entry[0xb]]));
        // The slot came from a checked entry.
        entry.get(0x10..0x10 + len).unwrap_or_default()
    }

    /// Whether the keys ascend by the collation rule of the index.
    pub(crate) fn is_sorted(&self, volume: &Volume) -> Result<bool> {
        for i in 1..self.len() {
            let (a, b) = (Self::key(self.entry(i - 1)), Self::key(self.entry(i)));
            if compare_keys(self.tree.collation, &volume.upcase, a, b)? != Ordering::Less {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sorts the entries over the slots. `Unsupported` when entries of different size would have to trade places.
    pub(crate) fn sort(&mut self, volume: &Volume) -> Result<()> {
        let mut entries: Vec<Vec<u8>> = (0..self.len()).map(|i| self.entry(i).to_vec()).collect();
        let mut failed = None;
        entries.sort_by(|a, b| {
            compare_keys(self.tree.collation, &volume.upcase, Self::key(a), Self::key(b)).unwrap_or_else(|e| {
                failed = Some(e);
                Ordering::Equal
            })
        });
        if let Some(error) = failed {
            return Err(error);
        }
        for (index, entry) in entries.iter().enumerate() {
            let slot = self.entry_mut(index);
            if slot.len() != entry.len() {
                return Err(Error::new(Kind::Unsupported, "index entries of different size would trade places"));
            }
            // Length and flags at 8..0x10 belong to the slot: an entry with a child is eight bytes longer.
            let own: [u8; 8] = [slot[8], slot[9], entry[0xa], entry[0xb], slot[0xc], slot[0xd], entry[0xe], entry[0xf]];
            slot.copy_from_slice(entry);
            slot[8..0x10].copy_from_slice(&own);
        }
        Ok(())
    }
}
