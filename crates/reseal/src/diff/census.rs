//! The names of two volumes, merged into one tree.

use super::filter::Filter;
use super::side::{Child, Files};
use crate::tree::NodeId;
use rayon::prelude::*;
use reseal_dtyp::Result;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt::Write;
use std::ops::Range;

/// Code units of a path (Windows' limit).
const MAX_PATH: usize = 32_767;
/// The part of a file reference that is its record.
const RECORD: u64 = (1 << 48) - 1;

/// Paths from the root that do not count where only this side has them: what a WIM leaves out.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeaveOut {
    pub(super) side: usize,
    pub(super) paths: &'static [&'static str],
}

/// A name in a folder of one volume or of both.
#[derive(Debug)]
pub(super) struct Node {
    parent: u32,
    name: Box<[u16]>,
    /// Units of the path.
    path_len: usize,
    /// The file on each side.
    pub(super) files: [Option<NodeId>; 2],
    is_folder: [bool; 2],
    /// One of the volume's own files, or below one.
    pub(super) is_system: bool,
    children: Range<u32>,
    /// Bytes of the unnamed streams, as the folders tell.
    pub(super) bytes: u64,
}

/// All names, and the folders that could not be listed.
#[derive(Debug)]
pub(super) struct Census {
    nodes: Vec<Node>,
    /// Folder, side, why.
    pub(super) faults: Vec<(u32, usize, String)>,
    /// What only one side has and is left out for it, in order.
    pub(super) left_out: Vec<String>,
}

/// Text of a name that tells different names apart: half a surrogate pair is escaped.
pub(super) fn printable(units: &[u16]) -> String {
    let mut out = String::with_capacity(units.len());
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) => out.push(c),
            // Writing to a string cannot fail.
            Err(lone) => drop(write!(out, "\\u{{{:x}}}", lone.unpaired_surrogate())),
        }
    }
    out
}

impl Census {
    /// Lists both volumes level by level. A folder is listed once on each side, whatever the indexes of a crafted volume say.
    pub(super) fn list(volumes: [&dyn Files; 2], filter: &Filter, leave_out: Option<LeaveOut>) -> Census {
        let root = Node {
            parent: 0,
            name: Box::default(),
            path_len: 0,
            files: volumes.map(|v| Some(v.root())),
            is_folder: [true; 2],
            is_system: false,
            children: 0..0,
            bytes: 0,
        };
        let mut census = Census { nodes: vec![root], faults: Vec::new(), left_out: Vec::new() };
        let mut seen = [HashSet::new(), HashSet::new()];
        let mut level = 0..1u32;
        while !level.is_empty() {
            let folders: Vec<[Option<NodeId>; 2]> = level.clone().map(|node| census.folders(node, &mut seen)).collect();
            let list = |side: usize, folder: Option<NodeId>| folder.map(|f| volumes[side].children(f));
            let listed: Vec<_> = folders.into_par_iter().map(|[a, b]| [list(0, a), list(1, b)]).collect();
            let start = census.len();
            for (node, sides) in level.zip(listed) {
                census.adopt(node, sides, filter, leave_out);
            }
            level = start..census.len();
        }
        census
    }

    fn len(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    /// The folders that a node means on each side and that are to be listed now.
    fn folders(&mut self, node: u32, seen: &mut [HashSet<NodeId>; 2]) -> [Option<NodeId>; 2] {
        let mut out = [None, None];
        for side in 0..2 {
            let of = &self.nodes[node as usize];
            let Some(folder) = of.files[side].filter(|_| of.is_folder[side]) else { continue };
            if of.path_len > MAX_PATH {
                self.faults.push((node, side, format!("the path has more than {MAX_PATH} characters")));
            } else if !seen[side].insert(folder) {
                self.faults.push((node, side, format!("folder {} is reached a second time", folder.0 & RECORD)));
            } else {
                out[side] = Some(folder);
            }
        }
        out
    }

    /// Merges the lists of both sides into children of the node.
    fn adopt(
        &mut self,
        node: u32,
        sides: [Option<Result<Vec<Child>>>; 2],
        filter: &Filter,
        leave_out: Option<LeaveOut>,
    ) {
        let mut lists = [Vec::new().into_iter(), Vec::new().into_iter()];
        for (side, list) in sides.into_iter().enumerate() {
            match list {
                None => {}
                Some(Ok(list)) => lists[side] = list.into_iter(),
                Some(Err(e)) => self.faults.push((node, side, e.to_string())),
            }
        }
        let first = self.len();
        let [mut a, mut b] = lists.map(Iterator::peekable);
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(x), Some(y)) => x.name.cmp(&y.name),
            };
            let left = if order == Ordering::Greater { None } else { a.next() };
            let right = if order == Ordering::Less { None } else { b.next() };
            self.push(node, [left, right], filter, leave_out);
        }
        self.nodes[node as usize].children = first..self.len();
    }

    fn push(&mut self, parent: u32, mut sides: [Option<Child>; 2], filter: &Filter, leave_out: Option<LeaveOut>) {
        let above = &self.nodes[parent as usize];
        let name = sides.iter_mut().flatten().next().map(|child| std::mem::take(&mut child.name)).unwrap_or_default();
        let node = Node {
            parent,
            path_len: above.path_len + 1 + name.len(),
            name,
            is_system: above.is_system || sides.iter().flatten().any(|child| child.is_system),
            files: [0, 1].map(|i| sides[i].as_ref().map(|child| child.file)),
            is_folder: [0, 1].map(|i| sides[i].as_ref().is_some_and(|child| child.is_folder)),
            children: 0..0,
            bytes: sides.iter().flatten().map(|child| child.size).fold(0, u64::saturating_add),
        };
        self.nodes.push(node);
        let at = self.len() - 1;
        if !filter.is_empty() && !filter.may_matter(&self.path(at)) {
            self.nodes.pop();
        } else if let Some(leave_out) = leave_out.filter(|out| self.node(at).files[1 - out.side].is_none()) {
            let path = self.path(at);
            if leave_out.paths.iter().any(|out| out.eq_ignore_ascii_case(&path)) {
                self.nodes.pop();
                self.left_out.push(path);
            }
        }
    }

    /// All nodes in order of path, a folder before what is in it.
    pub(super) fn in_order(&self) -> Vec<u32> {
        let mut out = Vec::with_capacity(self.nodes.len());
        let mut stack = vec![0u32];
        while let Some(node) = stack.pop() {
            out.push(node);
            stack.extend(self.node(node).children.clone().rev());
        }
        out
    }

    /// Path from the volume's root, with a leading backslash.
    pub(super) fn path(&self, node: u32) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while at != 0 {
            names.push(printable(&self.node(at).name));
            at = self.node(at).parent;
        }
        names.reverse();
        format!(r"\{}", names.join(r"\"))
    }

    pub(super) fn name(&self, node: u32) -> &[u16] {
        &self.node(node).name
    }

    /// The folder that holds a name, on one side.
    pub(super) fn folder_of(&self, node: u32, side: usize) -> Option<NodeId> {
        self.node(self.node(node).parent).files[side]
    }
}
