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
use reseal_dtyp::{Level, utf16_lossy};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Facts about a key that outlive the look at its cell.
struct KeyFacts {
    at: u32,
    parent: u32,
    depth: usize,
    path: String,
}

/// Walks the tree and the ring of security cells.
pub(crate) fn run(check: &mut Check) {
    let mut users: BTreeMap<u32, u32> = BTreeMap::new();
    let root = check.root;
    if !check.take(root, "root key") {
        return;
    }
    let mut stack = vec![KeyFacts { at: root, parent: NIL, depth: 0, path: String::new() }];
    while let Some(facts) = stack.pop() {
        key(check, &facts, &mut stack, &mut users);
    }
    security(check, &users);
}

fn key(check: &mut Check, facts: &KeyFacts, stack: &mut Vec<KeyFacts>, users: &mut BTreeMap<u32, u32>) {
    let here = format!("key `{}` at {:#x}", facts.path, place(facts.at));
    let key = match check.image.key(facts.at) {
        Ok(key) => key,
        Err(e) => return check.damage("nk", here, e.to_string()),
    };
    let (flags, name_len, name_units) = (key.flags(), key.name_len(), key.name().units().count());
    let (parent, class, class_bytes) = (key.parent(), key.class(), check.image.class_bytes(&key).map(|_| ()));
    let (sk, subkeys, values) = (key.sk(), key.subkeys(), key.values());
    let odd = key.name().units().any(|u| u == u16::from(b'\\'));
    *users.entry(sk).or_default() += 1;
    if facts.depth > 0 && parent != facts.parent {
        let detail = format!("says parent {parent:#x}, is listed under {:#x}", facts.parent);
        check.damage("nk-parent", here.clone(), detail);
    }
    if (flags & nk::ROOT != 0) != (facts.depth == 0) {
        // Microsoft's offline library makes root keys without the flag.
        let level = if facts.depth == 0 { Level::Note } else { Level::Inconsistent };
        check.add(
            level,
            "nk-flags",
            here.clone(),
            format!("flags {flags:#06x}: the root flag belongs to the root alone"),
        );
    }
    if name_len == 0 || odd || name_units > 255 || (flags & nk::COMPRESSED == 0 && name_len % 2 != 0) {
        check.inconsistent("nk-name", here.clone(), format!("{name_len} bytes of name, or a backslash in it"));
    }
    if facts.depth > MAX_DEPTH {
        check.inconsistent("nk-depth", here.clone(), format!("deeper than {MAX_DEPTH} levels"));
    }
    if let Some((at, len)) = class
        && check.take(at, "class name")
        && (class_bytes.is_err() || len % 2 != 0)
    {
        check.damage("class-name", here.clone(), format!("{len} bytes do not fit the cell or are odd"));
    }
    if subkeys > 0 {
        list(check, facts, &here, stack);
    }
    if values > 0 {
        value_list(check, facts, &here);
    }
}

fn list(check: &mut Check, facts: &KeyFacts, here: &str, stack: &mut Vec<KeyFacts>) {
    let found = check.image.key(facts.at).and_then(|key| Ok((check.image.subkey_list(&key)?, key.max_subkey_name())));
    let (list, largest) = match found {
        Ok(found) => found,
        Err(e) => return check.damage("subkey-list", here, e.to_string()),
    };
    let cells = list.ri.iter().copied().chain(list.leaves.iter().map(|leaf| leaf.at));
    // A leaf that is used twice would list its keys twice.
    let mut own = true;
    for at in cells {
        own &= check.take(at, "subkey list");
    }
    if !own {
        return;
    }
    let native = ListKind::native(check.image.minor);
    if let Some(leaf) = list.leaves.iter().find(|leaf| leaf.kind != native) {
        let detail = format!("{:?} list in a hive of version 1.{}", leaf.kind, check.image.minor);
        check.add(Level::Note, "subkey-list-kind", here, detail);
    }
    let (mut before, mut longest) = (None::<Vec<u16>>, 0);
    for leaf in list.leaves {
        for i in 0..leaf.count {
            let Some((at, name, utf16_len)) = element(check, leaf, i, here) else { continue };
            let upper: Vec<u16> = name.iter().map(|&u| upcase(u)).collect();
            if before.as_ref().is_some_and(|before| *before >= upper) {
                let detail = format!("`{}` is not after its neighbour in the list", utf16_lossy(&name));
                check.damage("subkeys-unsorted", here, detail);
            }
            longest = longest.max(utf16_len);
            let own = utf16_lossy(&name);
            let path = if facts.path.is_empty() { own } else { format!("{}\\{own}", facts.path) };
            stack.push(KeyFacts { at, parent: facts.at, depth: facts.depth + 1, path });
            before = Some(upper);
        }
    }
    if longest > usize::from(largest) {
        let detail = format!("the largest subkey name is said to have {largest} bytes, one has {longest}");
        check.inconsistent("nk-largest", here, detail);
    }
}

/// One element: its key, that key's name and its UTF-16 length. Checks hint or hash.
fn element(check: &mut Check, leaf: Leaf, i: usize, here: &str) -> Option<(u32, Vec<u16>, usize)> {
    let (at, mark) = check.image.element(leaf, i).ok()?;
    if !check.take(at, "subkey") {
        return None;
    }
    let key = match check.image.key(at) {
        Ok(key) => key,
        Err(e) => {
            check.damage("nk", here, e.to_string());
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
        check.damage("subkey-mark", here, detail);
    }
    Some((at, units, len))
}

fn value_list(check: &mut Check, facts: &KeyFacts, here: &str) {
    let Ok(key) = check.image.key(facts.at) else { return };
    let (list, largest_name, largest_data) =
        (key.value_list(), key.field(nk::MAX_VALUE_NAME), key.field(nk::MAX_VALUE_DATA));
    let offsets = check.image.value_offsets(&key);
    if !check.take(list, "value list") {
        return;
    }
    let offsets = match offsets {
        Ok(offsets) => offsets,
        Err(e) => return check.damage("value-list", here, e.to_string()),
    };
    let (mut names, mut longest_name, mut longest_data) = (HashSet::new(), 0, 0);
    for at in offsets {
        if !check.take(at, "value") {
            continue;
        }
        let Some((upper, name_len, data_len)) = value(check, at, here) else { continue };
        longest_name = longest_name.max(name_len);
        longest_data = longest_data.max(data_len);
        if !names.insert(upper.clone()) {
            check.inconsistent("value-name-twice", here, format!("two values are called `{}`", utf16_lossy(&upper)));
        }
    }
    if longest_name > largest_name as usize || longest_data > largest_data as usize {
        let detail = format!(
            "largest value name and data are said to have {largest_name} and {largest_data} bytes, there are {longest_name} and {longest_data}"
        );
        check.inconsistent("nk-largest", here, detail);
    }
}

/// One value: its upper-case name, and the lengths of name and data.
fn value(check: &mut Check, at: u32, here: &str) -> Option<(Vec<u16>, usize, usize)> {
    let value = match check.image.value_cell(at) {
        Ok(value) => value,
        Err(e) => {
            check.damage("vk", here, e.to_string());
            return None;
        }
    };
    let upper: Vec<u16> = value.name().units().map(upcase).collect();
    let (name_len, flags, stored) = (value.name().utf16_len(), value.flags(), value.name_len());
    let (storage, (raw_len, raw_at)) = (check.image.storage(&value), value.raw_data());
    let what = format!("{here}, value `{}`", utf16_lossy(&upper));
    if flags & vk::COMPRESSED == 0 && !stored.is_multiple_of(2) {
        check.inconsistent("vk-name", what.clone(), format!("{stored} bytes of UTF-16 name"));
    }
    if flags & !vk::COMPRESSED != 0 {
        check.add(Level::Note, "vk-flags", what.clone(), format!("flags {flags:#06x}"));
    }
    match storage {
        Err(e) => check.damage("vk-data", what, e.to_string()),
        Ok(Storage::Inline(len)) => {
            // Without data there is no cell; anything else Windows takes for damage.
            if raw_len == 0 && raw_at != NIL && raw_at != 0 {
                check.damage("vk-data", what, format!("no data, yet a data cell {raw_at:#x}"));
            }
            return Some((upper, name_len, len));
        }
        Ok(Storage::Cell(cell, len)) => {
            if check.take(cell, "value data") {
                let room = check.image.content(cell, "value data").map_or(0, <[u8]>::len);
                if room < len {
                    check.damage("vk-data", what, format!("{len} bytes of data, the cell holds {room}"));
                }
            }
            return Some((upper, name_len, len));
        }
        Ok(Storage::Big(record, len)) => {
            big_data(check, record, len, &what);
            return Some((upper, name_len, len));
        }
    }
    Some((upper, name_len, 0))
}

fn big_data(check: &mut Check, record: u32, len: usize, what: &str) {
    let big = check.image.big_data(record, len);
    if !check.take(record, "db") {
        return;
    }
    match big {
        Err(e) => check.damage("big-data", what, e.to_string()),
        Ok(big) => {
            check.take(big.list, "db list");
            for (segment, _) in big.segments {
                check.take(segment, "db segment");
            }
        }
    }
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
        if refs != count {
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
