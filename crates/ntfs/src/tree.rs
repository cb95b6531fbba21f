//! An index as a tree: reading it in order and searching it.

use crate::attribute::kind;
use crate::file::File;
use crate::index::{self, BLOCK_HEADER, Entry, ROOT_HEADER, collation};
use crate::stream::{Clusters, Stream};
use crate::upcase::UpCase;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result, View};
use std::cmp::Ordering;

/// Stated limit; a tree of this depth would hold more entries than a volume has files.
pub(crate) const MAX_DEPTH: usize = 16;

/// An index of a file, its root loaded.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Number of the file record that owns it.
    pub(crate) owner: u64,
    /// Value of `$INDEX_ROOT`.
    pub(crate) root: Vec<u8>,
    pub(crate) collation: u32,
    /// Bytes per block.
    pub(crate) block_size: u32,
    /// Bytes per unit of a child VCN.
    pub(crate) vcn_unit: u32,
    pub(crate) allocation: Option<Clusters>,
    /// Value of the bitmap with one bit per block.
    pub(crate) bitmap: Vec<u8>,
}

/// A node in memory: its bytes, fixups undone, and where its INDEX_HEADER starts.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: usize,
    /// Byte offset on the volume, 0 for a root.
    pub(crate) at: u64,
}

impl Node {
    pub(crate) fn entries(&self) -> Result<index::Entries<'_>> {
        index::entries(&self.bytes, self.header, self.at)
    }
}

impl Volume {
    /// Loads the index with this name; `None` when the file has none.
    pub(crate) fn tree(&self, file: &File, name: &[u16]) -> Result<Option<Tree>> {
        let Some(root) = file.resident(kind::INDEX_ROOT, name)? else { return Ok(None) };
        let at = file.base()?.at;
        let view = View::new("$INDEX_ROOT", at, root);
        let block_size = view.u32(8, "BytesPerIndexBuffer")?;
        if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
            return Err(view.damaged(8, "BytesPerIndexBuffer", format!("{block_size} bytes")));
        }
        index::header(root, ROOT_HEADER, at)?;
        let allocation = match file.stream(kind::INDEX_ALLOCATION, name, &self.geometry)? {
            None => None,
            Some(Stream::Clusters(clusters)) => Some(clusters),
            Some(Stream::Resident(_)) => {
                return Err(view.damaged(0, "", format!("record {}: $INDEX_ALLOCATION is resident", file.number())));
            }
        };
        let bitmap = match file.stream(kind::BITMAP, name, &self.geometry)? {
            Some(stream) => self.read_metadata(&stream, 1 << 20, "index bitmap")?,
            None => Vec::new(),
        };
        let vcn_unit = self.geometry.index_vcn_unit(block_size);
        let collation = view.u32(4, "CollationRule")?;
        Ok(Some(Tree {
            owner: file.number(),
            root: root.to_vec(),
            collation,
            block_size,
            vcn_unit,
            allocation,
            bitmap,
        }))
    }

    /// Loads the block that a child VCN names, and checks that it is that block.
    pub(crate) fn index_block(&self, tree: &Tree, vcn: u64) -> Result<Node> {
        let allocation = tree.allocation.as_ref();
        let offset = vcn.checked_mul(u64::from(tree.vcn_unit)).filter(|o| o % u64::from(tree.block_size) == 0);
        let reach = allocation.map_or(0, |a| a.initialized);
        let fits = offset.and_then(|o| o.checked_add(u64::from(tree.block_size))).is_some_and(|end| end <= reach);
        let (Some(allocation), Some(offset), true) = (allocation, offset, fits) else {
            let detail =
                format!("record {}: child VCN {vcn} lies outside of $INDEX_ALLOCATION ({reach:#x} bytes)", tree.owner);
            return Err(Error::damaged("index entry", "child VCN", 0, detail));
        };
        let mut bytes = vec![0; tree.block_size as usize];
        let pieces = allocation.pieces(offset, u64::from(tree.block_size), self.geometry.cluster_size)?;
        let at = pieces.first().and_then(|p| p.0).unwrap_or(0);
        self.read_clusters(allocation, offset, &mut bytes)?;
        if bytes.get(..4) != Some(b"INDX") {
            let detail = format!("record {}: block {vcn} has no INDX signature", tree.owner);
            return Err(Error::damaged("index block", "Signature", at, detail));
        }
        let place = format!("record {}, index block {vcn}", tree.owner);
        crate::fixup::unprotect(&mut bytes, "index block", at).map_err(|e| e.within(&place))?;
        let own = View::new("index block", at, &bytes).u64(0x10, "ThisBlock")?;
        if own != vcn {
            return Err(Error::damaged("index block", "ThisBlock", at + 0x10, format!("{place} calls itself {own}")));
        }
        Ok(Node { bytes, header: BLOCK_HEADER, at })
    }

    pub(crate) fn root_node(&self, tree: &Tree) -> Node {
        Node { bytes: tree.root.clone(), header: ROOT_HEADER, at: 0 }
    }

    /// Calls `each` for every entry with a key, in the order of the tree.
    pub(crate) fn walk_tree(&self, tree: &Tree, each: &mut dyn FnMut(&Entry<'_>) -> Result<()>) -> Result<()> {
        // No tree has more blocks than fit into its allocation; a cycle would.
        let mut budget = tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(tree.block_size)) + 1;
        self.walk_node(tree, &self.root_node(tree), 0, &mut budget, each)
    }

    fn walk_node(
        &self,
        tree: &Tree,
        node: &Node,
        depth: usize,
        budget: &mut u64,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        spend(tree, node, depth, budget)?;
        for entry in node.entries()? {
            let entry = entry?;
            if let Some(vcn) = entry.child {
                self.walk_node(tree, &self.index_block(tree, vcn)?, depth + 1, budget, each)?;
            }
            if !entry.is_last() {
                each(&entry)?;
            }
        }
        Ok(())
    }

    /// Calls `each` for every entry for which `compare` (what is sought, to the entry's key) says `Equal`, in the order of the
    /// tree; only the blocks that can hold one are read.
    pub(crate) fn walk_equal(
        &self,
        tree: &Tree,
        compare: &dyn Fn(&[u8]) -> Result<Ordering>,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut budget = tree.allocation.as_ref().map_or(0, |a| a.initialized / u64::from(tree.block_size)) + 1;
        self.walk_equal_below(tree, &self.root_node(tree), (0, &mut budget), compare, each)
    }

    fn walk_equal_below(
        &self,
        tree: &Tree,
        node: &Node,
        (depth, budget): (usize, &mut u64),
        compare: &dyn Fn(&[u8]) -> Result<Ordering>,
        each: &mut dyn FnMut(&Entry<'_>) -> Result<()>,
    ) -> Result<()> {
        spend(tree, node, depth, budget)?;
        for entry in node.entries()? {
            let entry = entry?;
            let order = if entry.is_last() { Ordering::Less } else { compare(entry.key)? };
            if order == Ordering::Greater {
                continue;
            }
            if let Some(vcn) = entry.child {
                let child = self.index_block(tree, vcn)?;
                self.walk_equal_below(tree, &child, (depth + 1, budget), compare, each)?;
            }
            if order == Ordering::Less {
                break;
            }
            each(&entry)?;
        }
        Ok(())
    }

    /// Descends to the first entry for which `compare` (what is sought, to the entry's key) does not say `Greater`, and hands
    /// it to `found` when it says `Equal`. With equal keys below one another the leftmost one is found.
    pub(crate) fn search<T>(
        &self,
        tree: &Tree,
        compare: &dyn Fn(&[u8]) -> Result<Ordering>,
        found: &dyn Fn(&Entry<'_>) -> T,
    ) -> Result<Option<T>> {
        let mut node = self.root_node(tree);
        let mut best = None;
        for _ in 0..MAX_DEPTH {
            let mut child = None;
            for entry in node.entries()? {
                let entry = entry?;
                let order = if entry.is_last() { Ordering::Less } else { compare(entry.key)? };
                if order == Ordering::Greater {
                    continue;
                }
                if order == Ordering::Equal {
                    best = Some(found(&entry));
                }
                child = entry.child;
                break;
            }
            match child {
                None => return Ok(best),
                Some(vcn) => node = self.index_block(tree, vcn)?,
            }
        }
        Err(Error::new(Kind::Limit, format!("record {}: the index is deeper than {MAX_DEPTH} levels", tree.owner)))
    }
}

/// Takes one node from what a walk may visit.
fn spend(tree: &Tree, node: &Node, depth: usize, budget: &mut u64) -> Result<()> {
    *budget = budget.checked_sub(1).filter(|_| depth < MAX_DEPTH).ok_or_else(|| {
        Error::damaged("index block", "child VCN", node.at, format!("record {}: the tree has a cycle", tree.owner))
    })?;
    Ok(())
}

/// Compares two keys by a collation rule; `Unsupported` for rules that have no use in NTFS.
pub(crate) fn compare_keys(rule: u32, upcase: &UpCase, a: &[u8], b: &[u8]) -> Result<Ordering> {
    match rule {
        collation::FILE_NAME => {
            let name = |key| crate::file_name::NameView::read(key, 0);
            Ok(upcase.compare(name(a)?.units(), name(b)?.units()))
        }
        collation::ULONG | collation::ULONGS | collation::SECURITY_HASH => Ok(compare_words(a, b)),
        collation::SID => Ok(a.len().cmp(&b.len()).then_with(|| a.cmp(b))),
        other => Err(Error::unsupported(format!("collation rule {other:#x}"))),
    }
}

/// Compares as little-endian 32-bit words, unsigned; the shorter one first.
pub(crate) fn compare_words(a: &[u8], b: &[u8]) -> Ordering {
    fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
        bytes.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
    }
    words(a).cmp(words(b)).then_with(|| a.len().cmp(&b.len()))
}
