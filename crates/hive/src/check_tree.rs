//! The checks of what the cells hold: keys, lists, values, class names, security.

use crate::base_block::NIL;
use crate::check::Check;
use crate::descriptor;
use crate::hive::MAX_DEPTH;
use crate::image::place;
use crate::key::nk;
use crate::list::{Leaf, ListKind};
use crate::upcase::upcase;
use crate::value::{Storage, vk};
use reseal_dtyp::{Level, Result, utf16_lossy};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The keys met so far; a path is made only when a finding needs it.
struct Tree {
    /// Cell, and index of the parent here.
    keys: Vec<(u32, usize)>,
    /// Keys whose cells were not looked at yet, and their depth.
    todo: Vec<(usize, usize)>,
    /// How many keys name each security cell.
    users: BTreeMap<u32, u32>,
}

impl Tree {
    fn add(&mut self, at: u32, parent: usize, depth: usize) {
        self.todo.push((self.keys.len(), depth));
        self.keys.push((at, parent));
    }

    /// A key with its path, for findings.
    fn here(&self, check: &Check, index: usize) -> String {
        let (mut names, mut i) = (Vec::new(), index);
        while i != 0 {
            let (at, parent) = self.keys[i];
            names.push(
                check.image.key(at).map_or("?".into(), |key| utf16_lossy(&key.name().units().collect::<Vec<_>>())),
            );
            i = parent;
        }
        names.reverse();
        format!("key `{}` at {:#x}", names.join("\\"), place(self.keys[index].0))
    }
}

/// Walks the tree and the ring of security cells.
pub(crate) fn run(check: &mut Check) {
    let root = check.root;
    if !check.take(root, "root key") {
        return;
    }
    let mut tree = Tree { keys: vec![(root, 0)], todo: vec![(0, 0)], users: BTreeMap::new() };
    while let Some((index, depth)) = tree.todo.pop() {
        key(check, &mut tree, index, depth);
    }
    security(check, &tree.users);
}

/// Checks single keys, without what lies below them, and the ring of security cells without its counts.
pub(crate) fn run_touched(check: &mut Check, touched: &BTreeSet<u32>) {
    for &at in touched {
        // A key that was deleted after it was touched is no key any more.
        if !check.image.content(at, "nk").is_ok_and(|content| content.starts_with(b"nk")) {
            continue;
        }
        let root = at == check.root;
        let above = check.image.key(at).map_or(at, |key| key.parent());
        let mut tree = Tree { keys: vec![(above, 0), (at, 0)], todo: Vec::new(), users: BTreeMap::new() };
        key(check, &mut tree, 1, if root { 0 } else { 1 });
    }
    security(check, &BTreeMap::new());
}

fn key(check: &mut Check, tree: &mut Tree, index: usize, depth: usize) {
    let (at, above) = (tree.keys[index].0, tree.keys[tree.keys[index].1].0);
    let key = match check.image.key(at) {
        Ok(key) => key,
        Err(e) => return check.damage("nk", tree.here(check, index), e.to_string()),
    };
    let (flags, name_len) = (key.flags(), key.name_len());
    let (parent, class, class_fits) = (key.parent(), key.class(), check.image.class_bytes(&key).is_ok());
    let (sk, subkeys, values) = (key.sk(), key.subkeys(), key.values());
    let odd = key.name().units().any(|u| u == u16::from(b'\\')) || key.name().units().count() > 255;
    *tree.users.entry(sk).or_default() += 1;
    if depth > 0 && parent != above {
        check.damage(
            "nk-parent",
            tree.here(check, index),
            format!("says parent {parent:#x}, is listed under {above:#x}"),
        );
    }
    if (flags & nk::ROOT != 0) != (depth == 0) {
        // Microsoft's offline library makes root keys without the flag.
        let level = if depth == 0 { Level::Note } else { Level::Inconsistent };
        let detail = format!("flags {flags:#06x}: the root flag belongs to the root alone");
        check.add(level, "nk-flags", tree.here(check, index), detail);
    }
    if name_len == 0 || odd || (flags & nk::COMPRESSED == 0 && !name_len.is_multiple_of(2)) {
        check.inconsistent(
            "nk-name",
            tree.here(check, index),
            format!("{name_len} bytes of name, or a backslash in it"),
        );
    }
    if let Some((class, len)) = class
        && check.take(class, "class name")
        && (!class_fits || !len.is_multiple_of(2))
    {
        check.damage("class-name", tree.here(check, index), format!("{len} bytes do not fit the cell or are odd"));
    }
    if subkeys > 0 && depth >= MAX_DEPTH {
        check.damage("nk-depth", tree.here(check, index), format!("has subkeys deeper than {MAX_DEPTH} levels"));
    } else if subkeys > 0 {
        list(check, tree, index, depth);
    }
    if values > 0 {
        value_list(check, tree, index);
    }
}

fn list(check: &mut Check, tree: &mut Tree, index: usize, depth: usize) {
    // A list that is used twice would list its keys twice: it is taken before it is read.
    let head = check.image.key(tree.keys[index].0).ok().and_then(|key| key.subkey_list());
    if !head.is_some_and(|head| check.take(head, "subkey list")) {
        return;
    }
    let found = check.image.key(tree.keys[index].0);
    let found = found.and_then(|key| Ok((check.image.subkey_list(&key)?, key.max_subkey_name())));
    let (list, largest) = match found {
        Ok(found) => found,
        Err(e) => return check.damage("subkey-list", tree.here(check, index), e.to_string()),
    };
    if list.ri.is_some() {
        let mut own = true;
        for leaf in &list.leaves {
            own &= check.take(leaf.at, "subkey list");
        }
        if !own {
            return;
        }
    }
    let native = ListKind::native(check.image.minor);
    if let Some(leaf) = list.leaves.iter().find(|leaf| leaf.kind != native) {
        let detail = format!("{:?} list in a hive of version 1.{}", leaf.kind, check.image.minor);
        check.add(Level::Note, "subkey-list-kind", tree.here(check, index), detail);
    }
    let (mut before, mut longest) = (None::<Vec<u16>>, 0);
    for leaf in list.leaves {
        for i in 0..leaf.count {
            let Some((at, name, utf16_len)) = element(check, tree, index, leaf, i) else { continue };
            let upper: Vec<u16> = name.iter().map(|&u| upcase(u)).collect();
            if before.as_ref().is_some_and(|before| *before >= upper) {
                let detail = format!("`{}` is not after its neighbour in the list", utf16_lossy(&name));
                check.damage("subkeys-unsorted", tree.here(check, index), detail);
            }
            longest = longest.max(utf16_len);
            tree.add(at, index, depth + 1);
            before = Some(upper);
        }
    }
    if longest > usize::from(largest) {
        let detail = format!("the largest subkey name is said to have {largest} bytes, one has {longest}");
        check.inconsistent("nk-largest", tree.here(check, index), detail);
    }
}

/// One element: its key, that key's name and its UTF-16 length. Checks hint or hash.
fn element(check: &mut Check, tree: &Tree, index: usize, leaf: Leaf, i: usize) -> Option<(u32, Vec<u16>, usize)> {
    let (at, mark) = check.image.element(leaf, i).ok()?;
    if !check.take(at, "subkey") {
        return None;
    }
    let key = match check.image.key(at) {
        Ok(key) => key,
        Err(e) => {
            check.damage("nk", tree.here(check, index), e.to_string());
            return None;
        }
    };
    let (expected, units, len) =
        (leaf.kind.mark(key.name()), key.name().units().collect::<Vec<_>>(), key.name().utf16_len());
    if mark != expected {
        let detail = format!(
            "`{}` has {mark:#010x} in its {:?} list, its name gives {expected:#010x}",
            utf16_lossy(&units),
            leaf.kind
        );
        check.damage("subkey-mark", tree.here(check, index), detail);
    }
    Some((at, units, len))
}

fn value_list(check: &mut Check, tree: &Tree, index: usize) {
    let Ok(key) = check.image.key(tree.keys[index].0) else { return };
    let list = key.value_list();
    let (largest_name, largest_data) = (key.field(nk::MAX_VALUE_NAME), key.field(nk::MAX_VALUE_DATA));
    if !check.take(list, "value list") {
        return;
    }
    let offsets = check.image.key(tree.keys[index].0).and_then(|key| check.image.value_offsets(&key));
    let offsets = match offsets {
        Ok(offsets) => offsets,
        Err(e) => return check.damage("value-list", tree.here(check, index), e.to_string()),
    };
    let (mut names, mut longest_name, mut longest_data) = (HashSet::new(), 0, 0);
    for at in offsets {
        if !check.take(at, "value") {
            continue;
        }
        let Some((upper, name_len, data_len)) = value(check, tree, index, at) else { continue };
        longest_name = longest_name.max(name_len);
        longest_data = longest_data.max(data_len);
        if names.contains(&upper) {
            let detail = format!("two values are called `{}`", utf16_lossy(&upper));
            check.inconsistent("value-name-twice", tree.here(check, index), detail);
        }
        names.insert(upper);
    }
    if longest_name > largest_name as usize || longest_data > largest_data as usize {
        let detail = format!(
            "largest value name and data are said to have {largest_name} and {largest_data} bytes, there are {longest_name} and {longest_data}"
        );
        check.inconsistent("nk-largest", tree.here(check, index), detail);
    }
}

/// One value: its upper-case name, and the lengths of name and data.
fn value(check: &mut Check, tree: &Tree, index: usize, at: u32) -> Option<(Vec<u16>, usize, usize)> {
    let value = match check.image.value_cell(at) {
        Ok(value) => value,
        Err(e) => {
            check.damage("vk", tree.here(check, index), e.to_string());
            return None;
        }
    };
    let upper: Vec<u16> = value.name().units().map(upcase).collect();
    let (name_len, flags, stored) = (value.name().utf16_len(), value.flags(), value.name_len());
    let (storage, (raw_len, raw_at)) = (check.image.storage(&value), value.raw_data());
    let what = |check: &Check| format!("{}, value `{}`", tree.here(check, index), utf16_lossy(&upper));
    if flags & vk::COMPRESSED == 0 && !stored.is_multiple_of(2) {
        check.inconsistent("vk-name", what(check), format!("{stored} bytes of UTF-16 name"));
    }
    if flags & !vk::COMPRESSED != 0 {
        check.add(Level::Note, "vk-flags", what(check), format!("flags {flags:#06x}"));
    }
    let len = match storage {
        Err(e) => {
            check.damage("vk-data", what(check), e.to_string());
            0
        }
        Ok(Storage::Inline(len)) => {
            // Without data there is no cell; anything else Windows takes for damage.
            if raw_len == 0 && raw_at != NIL && raw_at != 0 {
                check.damage("vk-data", what(check), format!("no data, yet a data cell {raw_at:#x}"));
            }
            len
        }
        Ok(Storage::Cell(cell, len)) => {
            let room = check.image.content(cell, "value data").map_or(0, <[u8]>::len);
            if check.take(cell, "value data") && room < len {
                check.damage("vk-data", what(check), format!("{len} bytes of data, the cell holds {room}"));
            }
            len
        }
        Ok(Storage::Big(record, len)) => {
            if check.take(record, "db")
                && let Err(e) = big_data(check, record, len)
            {
                check.damage("big-data", what(check), e.to_string());
            }
            len
        }
    };
    Some((upper, name_len, len))
}

fn big_data(check: &mut Check, record: u32, len: usize) -> Result<()> {
    let big = check.image.big_data(record, len)?;
    check.take(big.list, "db list");
    for (segment, _) in big.segments {
        check.take(segment, "db segment");
    }
    Ok(())
}

/// The ring: links, descriptors, counts, and that every cell that keys name is in it.
fn security(check: &mut Check, users: &BTreeMap<u32, u32>) {
    let Ok(start) = check.image.key(check.root).map(|key| key.sk()) else { return };
    let mut descriptors: HashMap<Vec<u8>, u32> = HashMap::new();
    let (mut at, mut ring) = (start, HashSet::new());
    loop {
        let here = format!("sk at {:#x}", place(at));
        if !check.take(at, "sk") {
            break;
        }
        ring.insert(at);
        let cell = match check.image.security(at) {
            Ok(cell) => cell,
            Err(e) => {
                check.damage("sk", here, e.to_string());
                break;
            }
        };
        let (flink, refs, bytes) = (cell.flink, cell.refs, cell.descriptor.to_vec());
        if let Err(why) = descriptor::validate(&bytes) {
            check.damage("sk-descriptor", here.clone(), why);
        }
        let count = users.get(&at).copied().unwrap_or(0);
        if refs != count && !check.partial {
            check.inconsistent("sk-references", here.clone(), format!("counts {refs} keys, {count} refer to it"));
        }
        if let Some(other) = descriptors.insert(bytes, at) {
            let detail = format!("the same descriptor as the cell at {:#x}", place(other));
            check.inconsistent("sk-duplicate", here.clone(), detail);
        }
        match check.image.security(flink).map(|next| next.blink) {
            Err(e) => {
                check.damage("sk-ring", here, e.to_string());
                break;
            }
            Ok(blink) if blink != at => {
                check.damage("sk-ring", here, format!("flink leads to {flink:#x}, whose blink is {blink:#x}"));
            }
            Ok(_) => {}
        }
        if flink == start || ring.contains(&flink) {
            if flink != start {
                check.damage("sk-ring", format!("sk at {:#x}", place(flink)), "the ring closes in the middle");
            }
            break;
        }
        at = flink;
    }
    for (&at, &count) in users {
        if !ring.contains(&at) {
            check.damage(
                "sk-ring",
                format!("sk at {:#x}", place(at)),
                format!("{count} keys name it, it is not in the ring"),
            );
        }
    }
}

/// The name order that lists are checked against is the one that lookups use.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;
    use std::cmp::Ordering;

    #[test]
    fn same_order_as_lookup() {
        for (a, b) in [("a", "B"), ("a_", "aB"), ("é", "É"), ("x", "xy")] {
            let upper = |s: &str| s.encode_utf16().map(upcase).collect::<Vec<_>>();
            assert_eq!(upper(a).cmp(&upper(b)), name::compare(a.encode_utf16(), b.encode_utf16()), "{a} {b}");
        }
        assert_eq!(name::compare("a".encode_utf16(), "A".encode_utf16()), Ordering::Equal);
    }
}
