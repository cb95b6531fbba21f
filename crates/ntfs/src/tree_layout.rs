//! Changing an index, continued: blocks, the bitmap, laying a tree out anew, writing it.

use crate::attribute::kind;
use crate::index::{BLOCK_HEADER, HAS_CHILD, ROOT_HEADER};
use crate::record_edit::{self, Sizes};
use crate::store::Touch;
use crate::stream::{Clusters, Stream};
use crate::tree_edit::{Item, ROOT, TreeEdit};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

impl TreeEdit {
    fn blocks(&self) -> u64 {
        self.tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(self.tree.block_size))
    }

    fn vcn_of(&self, block: u64) -> u64 {
        block * u64::from(self.tree.block_size) / u64::from(self.tree.vcn_unit)
    }

    /// A free block, or a new one at the end; returns its VCN.
    pub(crate) fn new_block(&mut self, volume: &mut Volume) -> Result<u64> {
        let bits = &self.tree.bitmap;
        let is_free = |&i: &u64| bits.get((i / 8) as usize).is_none_or(|b| b >> (i % 8) & 1 == 0);
        let block = match (0..self.blocks()).find(is_free) {
            Some(block) => block,
            None => self.add_block(volume)?,
        };
        let byte = (block / 8) as usize;
        if byte >= self.tree.bitmap.len() {
            self.tree.bitmap.resize((byte + 1).next_multiple_of(8), 0);
        }
        self.tree.bitmap[byte] |= 1 << (block % 8);
        self.bitmap_changed = true;
        Ok(self.vcn_of(block))
    }

    fn add_block(&mut self, volume: &mut Volume) -> Result<u64> {
        let block = self.blocks();
        let block_size = u64::from(self.tree.block_size);
        let size = (block + 1) * block_size;
        let needed = volume.geometry.clusters_for(size);
        let old = self.tree.allocation.clone().unwrap_or_default();
        if !old.is_plain() {
            return Err(Error::unsupported(format!("record {}: the index allocation is not plain", self.tree.owner)));
        }
        let grown = match self.edit.spot(kind::INDEX_ALLOCATION, &self.name)? {
            Some(spot) if needed > old.end_vcn() => {
                volume.grow_attribute(&mut self.edit, spot, &old, needed, old.initialized, (size, size))?
            }
            Some(spot) => {
                crate::file_edit::set_sizes(self.edit.bytes_mut(spot), size.max(old.size), size);
                Clusters { size: size.max(old.size), initialized: size, ..old }
            }
            // The attribute itself is made when the root has shrunk to make room for it.
            None => {
                let after = old.runs.last().and_then(|r| r.lcn.map(|l| l + r.len));
                let more = volume.allocate(needed.saturating_sub(old.end_vcn()), old.end_vcn(), after)?;
                let runs = crate::runs::merged(&[&old.runs[..], &more[..]].concat());
                let allocated = needed * u64::from(volume.geometry.cluster_size);
                Clusters { runs, allocated, size, initialized: size, extents: 1, ..Clusters::default() }
            }
        };
        self.tree.allocation = Some(grown);
        Ok(block)
    }

    /// Gives a block up; it stays in the allocation, empty.
    pub(crate) fn free_block(&mut self, vcn: u64) -> Result<()> {
        let block = vcn * u64::from(self.tree.vcn_unit) / u64::from(self.tree.block_size);
        if let Some(byte) = self.tree.bitmap.get_mut((block / 8) as usize) {
            *byte &= !(1 << (block % 8));
        }
        self.bitmap_changed = true;
        self.nodes.insert(vcn, vec![Item::end(None)]);
        self.dirty.insert(vcn);
        Ok(())
    }

    /// All entries in order.
    fn all_items(
        &mut self,
        volume: &Volume,
        id: u64,
        depth: usize,
        out: &mut Vec<Item>,
        blocks: &mut Vec<u64>,
    ) -> Result<()> {
        if depth > crate::tree::MAX_DEPTH || blocks.len() as u64 > self.blocks() {
            return Err(Error::damaged(
                "index block",
                "",
                0,
                format!("record {}: the tree has a cycle", self.tree.owner),
            ));
        }
        for item in self.load(volume, id)?.clone() {
            if let Some(child) = item.child {
                blocks.push(child);
                self.all_items(volume, child, depth + 1, out, blocks)?;
            }
            if !item.last {
                out.push(Item { child: None, ..item });
            }
        }
        Ok(())
    }

    /// Lays the whole tree out anew: full leaves, separators above them, as few levels as there can be.
    pub(crate) fn rebuild(&mut self, volume: &mut Volume) -> Result<()> {
        let (mut items, mut blocks) = (Vec::new(), Vec::new());
        self.all_items(volume, ROOT, 0, &mut items, &mut blocks)?;
        for block in blocks {
            self.free_block(block)?;
        }
        self.dirty.insert(ROOT);
        let mut last_child = None;
        loop {
            let size = items.iter().map(Item::len).sum::<usize>() + Item::end(last_child).len();
            // A bare root always has a place: other attributes leave the record for it.
            if size <= self.capacity(ROOT)? || items.is_empty() {
                items.push(Item::end(last_child));
                self.nodes.insert(ROOT, items);
                return Ok(());
            }
            (items, last_child) = self.lay_level(volume, items, last_child)?;
        }
    }

    /// Packs a level into blocks; returns the separators, each with the block before it, and the last block.
    fn lay_level(
        &mut self,
        volume: &mut Volume,
        items: Vec<Item>,
        last: Option<u64>,
    ) -> Result<(Vec<Item>, Option<u64>)> {
        let capacity = self.capacity(0)?;
        let end = Item::end(last).len();
        let mut separators = Vec::new();
        let mut node: Vec<Item> = Vec::new();
        let mut size = end;
        let count = items.len();
        for (index, item) in items.into_iter().enumerate() {
            // The last block needs an entry of its own, so the entry before the last one cannot go up.
            if size + item.len() > capacity && !node.is_empty() && index + 1 < count {
                let block = self.new_block(volume)?;
                node.push(Item::end(item.child));
                self.nodes.insert(block, std::mem::take(&mut node));
                self.dirty.insert(block);
                separators.push(Item { child: Some(block), ..item });
                size = end;
                continue;
            }
            if size + item.len() > capacity {
                return self.lay_last(volume, node, item, last, separators);
            }
            size += item.len();
            node.push(item);
        }
        node.push(Item::end(last));
        let block = self.new_block(volume)?;
        self.nodes.insert(block, node);
        self.dirty.insert(block);
        Ok((separators, Some(block)))
    }

    /// The last entry does not fit behind the others: the one before it goes up instead.
    fn lay_last(
        &mut self,
        volume: &mut Volume,
        mut node: Vec<Item>,
        item: Item,
        last: Option<u64>,
        mut separators: Vec<Item>,
    ) -> Result<(Vec<Item>, Option<u64>)> {
        let up = node.pop().filter(|_| !node.is_empty()).ok_or_else(|| {
            Error::new(Kind::NoSpace, format!("record {}: two entries do not fit into a block", self.tree.owner))
        })?;
        node.push(Item::end(up.child));
        let (left, right) = (self.new_block(volume)?, self.new_block(volume)?);
        self.nodes.insert(left, node);
        self.nodes.insert(right, vec![item, Item::end(last)]);
        self.dirty.extend([left, right]);
        separators.push(Item { child: Some(left), ..up });
        Ok((separators, Some(right)))
    }

    /// Stages everything that changed: blocks, root, allocation, bitmap, records.
    pub(crate) fn finish(mut self, volume: &mut Volume) -> Result<()> {
        let root_has_children = self.nodes.get(&ROOT).is_some_and(|items| items.iter().any(|i| i.child.is_some()));
        if !root_has_children && self.tree.allocation.is_some() && self.dirty.contains(&ROOT) {
            self.drop_allocation(volume)?;
        } else {
            for id in self.dirty.clone() {
                if id != ROOT {
                    self.stage_block(volume, id)?;
                }
            }
        }
        let root = self.root_value();
        let grows = root.len() > self.tree.root.len();
        if self.dirty.contains(&ROOT) && !grows {
            self.put_root(&root)?;
        }
        self.put_allocation(volume)?;
        if self.dirty.contains(&ROOT) && grows {
            self.put_root(&root)?;
        }
        self.edit.finish(volume)
    }

    fn root_value(&self) -> Vec<u8> {
        let entries = self.serialize(ROOT);
        let mut value = self.tree.root[..ROOT_HEADER].to_vec();
        let has_children = self.nodes.get(&ROOT).is_some_and(|items| items.iter().any(|i| i.child.is_some()));
        value.extend_from_slice(&index_header(0x10, entries.len(), entries.len(), has_children));
        value.extend_from_slice(&entries);
        value
    }

    fn put_root(&mut self, value: &[u8]) -> Result<()> {
        let spot = self.edit.spot(kind::INDEX_ROOT, &self.name)?;
        let spot = spot.ok_or_else(|| Error::damaged("file record", "$INDEX_ROOT", 0, "the index root got lost"))?;
        let attribute = record_edit::resident(kind::INDEX_ROOT, &self.name, value, false);
        self.edit.replace(spot, attribute)
    }

    fn stage_block(&mut self, volume: &mut Volume, vcn: u64) -> Result<()> {
        let entries = self.serialize(vcn);
        let first = self.first_entry();
        let size = self.tree.block_size as usize;
        let mut block = vec![0; size];
        block[..4].copy_from_slice(b"INDX");
        block[4..6].copy_from_slice(&0x28u16.to_le_bytes());
        block[6..8].copy_from_slice(&((size / 512 + 1) as u16).to_le_bytes());
        block[0x10..0x18].copy_from_slice(&vcn.to_le_bytes());
        // A block that was there keeps its log sequence number and goes on with its update sequence number.
        if let Ok(old) = volume.index_block(&self.tree, vcn) {
            block[8..0x10].copy_from_slice(&old.bytes[8..0x10]);
            let usn = usize::from(u16::from_le_bytes([old.bytes[4], old.bytes[5]]));
            if let Some(usn) = old.bytes.get(usn..usn + 2) {
                block[0x28..0x2a].copy_from_slice(usn);
            }
        }
        let has_children = self.nodes.get(&vcn).is_some_and(|items| items.iter().any(|i| i.child.is_some()));
        let header = index_header(
            first - BLOCK_HEADER,
            entries.len(),
            size - BLOCK_HEADER - (first - BLOCK_HEADER),
            has_children,
        );
        block[BLOCK_HEADER..BLOCK_HEADER + 0x10].copy_from_slice(&header);
        block[first..first + entries.len()].copy_from_slice(&entries);
        volume.stage_index_block(&self.tree, vcn, &block)
    }

    /// The root holds everything again: the blocks go.
    fn drop_allocation(&mut self, volume: &mut Volume) -> Result<()> {
        for kind in [kind::INDEX_ALLOCATION, kind::BITMAP] {
            if let Some(Stream::Clusters(clusters)) = self.edit.file.stream(kind, &self.name, &volume.geometry)? {
                volume.release(&clusters.runs)?;
            }
            loop {
                let name = self.name.clone();
                match self.edit.spots(|a| a.is(kind, &name))?.last() {
                    Some(&spot) => self.edit.remove(spot)?,
                    None => break,
                }
            }
        }
        self.tree.allocation = None;
        self.tree.bitmap.clear();
        self.bitmap_changed = false;
        Ok(())
    }

    /// Makes `$INDEX_ALLOCATION` and the bitmap if they are new, and brings the bitmap up to date.
    fn put_allocation(&mut self, volume: &mut Volume) -> Result<()> {
        let Some(allocation) = self.tree.allocation.clone() else { return Ok(()) };
        if self.edit.spot(kind::INDEX_ALLOCATION, &self.name)?.is_none() {
            let sizes =
                Sizes { allocated: allocation.allocated, size: allocation.size, initialized: allocation.initialized };
            let attribute = record_edit::non_resident(kind::INDEX_ALLOCATION, &self.name, &allocation.runs, sizes);
            self.edit.insert(volume, attribute)?;
        }
        if !self.bitmap_changed {
            return Ok(());
        }
        let resident = record_edit::resident(kind::BITMAP, &self.name, &self.tree.bitmap, false);
        let Some(spot) = self.edit.spot(kind::BITMAP, &self.name)? else { return self.edit.insert(volume, resident) };
        let len = self.tree.bitmap.len() as u64;
        match self.edit.file.stream(kind::BITMAP, &self.name, &volume.geometry)? {
            Some(Stream::Clusters(mut clusters)) => {
                if len > clusters.allocated {
                    let needed = volume.geometry.clusters_for(len);
                    clusters = volume.grow_attribute(
                        &mut self.edit,
                        spot,
                        &clusters,
                        needed,
                        clusters.initialized,
                        (len, len),
                    )?;
                } else if len > clusters.initialized {
                    crate::file_edit::set_sizes(self.edit.bytes_mut(spot), len, len);
                    (clusters.size, clusters.initialized) = (len, len);
                }
                volume.stage_clusters(&clusters, 0, &self.tree.bitmap, Touch::IndexBlock(self.tree.owner))
            }
            _ => self.edit.replace(spot, resident),
        }
    }
}

/// An INDEX_HEADER; `first` counts from itself, `room` is the space for entries.
fn index_header(first: usize, used: usize, room: usize, has_children: bool) -> [u8; 16] {
    let mut out = [0; 16];
    out[..4].copy_from_slice(&(first as u32).to_le_bytes());
    out[4..8].copy_from_slice(&((first + used) as u32).to_le_bytes());
    out[8..12].copy_from_slice(&((first + room) as u32).to_le_bytes());
    out[12] = u8::from(has_children) * HAS_CHILD as u8;
    out
}

/// The value of `$INDEX_ROOT` of an empty folder.
pub(crate) fn empty_root(collation: u32, indexed: u32, index_size: u32, cluster_size: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(0x30);
    out.extend_from_slice(&indexed.to_le_bytes());
    out.extend_from_slice(&collation.to_le_bytes());
    out.extend_from_slice(&index_size.to_le_bytes());
    // Clusters per block, or 512-byte units when a block is smaller than a cluster.
    let unit = if cluster_size <= index_size { cluster_size } else { 512 };
    out.extend_from_slice(&(index_size / unit).to_le_bytes());
    out.extend_from_slice(&index_header(0x10, 0x10, 0x10, false));
    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0]);
    out
}
