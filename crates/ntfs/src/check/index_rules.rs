//! Stage 2: the shape and order of an index.

use super::Findings;
use crate::bits::Bits;
use crate::index::{BLOCK_HEADER, Entry, HAS_CHILD, ROOT_HEADER, header};
use crate::tree::{MAX_DEPTH, Node, Tree, compare_keys};
use crate::volume::Volume;
use reseal_dtyp::Result;

/// State of one walk through a tree.
struct Walk<'a> {
    tree: &'a Tree,
    place: String,
    findings: &'a mut Findings,
    /// Blocks that the tree reaches.
    reached: Bits,
    /// The key before, in the order of the tree.
    last_key: Option<Vec<u8>>,
    leaf_depth: Option<usize>,
    each: &'a mut dyn FnMut(&Entry<'_>, &mut Findings),
}

impl Volume {
    /// Checks an index and calls `each` for every entry in order.
    pub(crate) fn check_tree(
        &self,
        tree: &Tree,
        place: String,
        findings: &mut Findings,
        each: &mut dyn FnMut(&Entry<'_>, &mut Findings),
    ) {
        let blocks = tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(tree.block_size));
        let mut walk =
            Walk { tree, place, findings, reached: Bits::new(blocks), last_key: None, leaf_depth: None, each };
        walk.root();
        if let Err(error) = self.check_node(&mut walk, &self.root_node(tree), 0) {
            walk.findings.unreadable("index-unreadable", walk.place, &error);
            return;
        }
        walk.bitmap(blocks);
    }

    fn check_node(&self, walk: &mut Walk<'_>, node: &Node, depth: usize) -> Result<()> {
        let mut children = 0;
        let mut count = 0;
        for entry in node.entries()? {
            let entry = entry?;
            count += 1;
            if let Some(vcn) = entry.child {
                children += 1;
                self.check_child(walk, vcn, depth)?;
            }
            if !entry.is_last() {
                self.check_key(walk, entry.key)?;
                (walk.each)(&entry, walk.findings);
            }
        }
        walk.node(node, depth, children, count);
        Ok(())
    }

    fn check_child(&self, walk: &mut Walk<'_>, vcn: u64, depth: usize) -> Result<()> {
        let index = vcn.saturating_mul(u64::from(walk.tree.vcn_unit)) / u64::from(walk.tree.block_size);
        let child = self.index_block(walk.tree, vcn)?;
        if !walk.reached.set(index) || depth >= MAX_DEPTH {
            let detail = format!("block {vcn} is reached twice");
            walk.findings.damage("index-cycle", walk.place.clone(), detail);
            return Ok(());
        }
        let bit = walk.tree.bitmap.get((index / 8) as usize).is_some_and(|b| b >> (index % 8) & 1 != 0);
        if !bit {
            let detail = format!("block {vcn} is in the tree and marked free in the bitmap");
            walk.findings.damage("index-bitmap", walk.place.clone(), detail);
        }
        self.check_node(walk, &child, depth + 1)
    }

    fn check_key(&self, walk: &mut Walk<'_>, key: &[u8]) -> Result<()> {
        if let Some(last) = &walk.last_key {
            // The order of SIDs in $Quota is not documented.
            let known = walk.tree.collation != crate::index::collation::SID;
            if known && compare_keys(walk.tree.collation, &self.upcase, last, key)?.is_ge() {
                let detail = format!("{} does not sort before {}", show(walk.tree, last), show(walk.tree, key));
                walk.findings.damage("index-unsorted", walk.place.clone(), detail);
            }
        }
        let last = walk.last_key.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }
}

/// A key for people.
fn show(tree: &Tree, key: &[u8]) -> String {
    match crate::file_name::NameView::read(key, 0) {
        Ok(name) if tree.collation == crate::index::collation::FILE_NAME => {
            format!("`{}`", reseal_dtyp::utf16_lossy(&name.units().collect::<Vec<_>>()))
        }
        _ => format!("{key:02x?}"),
    }
}

impl Walk<'_> {
    /// In a root, the space for entries is exactly what they use.
    fn root(&mut self) {
        let Ok(head) = header(&self.tree.root, ROOT_HEADER, 0) else { return };
        if head.limit != head.end || head.end != self.tree.root.len() {
            let detail = format!(
                "entries end at {:#x}, the space at {:#x}, the value at {:#x}",
                head.end,
                head.limit,
                self.tree.root.len()
            );
            self.findings.damage("index-root-size", self.place.clone(), detail);
        }
    }

    fn node(&mut self, node: &Node, depth: usize, children: usize, count: usize) {
        let Ok(head) = header(&node.bytes, node.header, node.at) else { return };
        let mut bad = |id, detail: String| self.findings.damage(id, self.place.clone(), detail);
        if node.header == BLOCK_HEADER && head.limit != node.bytes.len() {
            bad("index-block-size", format!("a block of {} bytes has space until {:#x}", node.bytes.len(), head.limit));
        }
        if (head.flags & u32::from(HAS_CHILD) != 0) != (children > 0) || (children > 0 && children != count) {
            bad("index-shape", format!("flags {}, {children} of {count} entries have a child", head.flags));
        }
        if children == 0 {
            if depth > 0 && count < 2 {
                bad("index-empty-leaf", "a block of the tree holds no entry".into());
            }
            if *self.leaf_depth.get_or_insert(depth) != depth {
                bad("index-shape", format!("leaves at depth {depth} and {:?}", self.leaf_depth));
            }
        }
        let mut end = head.first;
        for entry in node.entries().into_iter().flatten().map_while(Result::ok) {
            end = entry.offset + entry.bytes.len();
        }
        if end != head.end {
            self.findings.damage(
                "index-used-size",
                self.place.clone(),
                format!("entries end at {end:#x}, not {:#x}", head.end),
            );
        }
    }

    /// A block that the bitmap marks and the tree does not reach.
    fn bitmap(&mut self, blocks: u64) {
        let marked = |index: u64| self.tree.bitmap.get((index / 8) as usize).is_some_and(|b| b >> (index % 8) & 1 != 0);
        let bits = self.tree.bitmap.len() as u64 * 8;
        let lost = (0..bits).filter(|&i| marked(i) && !(i < blocks && self.reached.get(i))).count();
        if lost > 0 {
            let detail = format!("{lost} blocks are marked used and no part of the tree");
            self.findings.inconsistent("index-bitmap", self.place.clone(), detail);
        }
    }
}
