//! Two hives, key by key: names pair as Windows compares them, without case.

use super::census::printable;
use super::content::{SideError, digest_of};
use super::descriptors::Words;
use super::filter::Filter;
use super::{DiffEntry, DiffKind, DiffOptions};
use crate::hive_walk::{Subkey, Walk};
use crate::reg_text::data_notation;
use reseal_dtyp::Result;
use reseal_hive::{Hive, KeyId, Value, fold_name, types};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of data that are shown; longer data as length and digest.
const MAX_SHOWN: usize = 256;
/// KEY_COMP_NAME: how the name is stored, not what the key is.
const COMPRESSED_NAME: u16 = 0x20;

/// How the differences of a hive are shown.
pub(super) struct Shown<'a> {
    pub(super) path: &'a str,
    /// The key that stands for the hive's root.
    pub(super) root: &'a str,
    pub(super) options: &'a DiffOptions,
    pub(super) filter: &'a Filter,
    pub(super) words: &'a Words,
    /// The whole hive is asked for, not only some keys.
    pub(super) whole: bool,
    /// Values show as length and digest.
    pub(super) secret: bool,
}

/// A key on one side or on both.
struct Pair {
    sides: [Option<KeyId>; 2],
    key: Arc<str>,
    depth: usize,
}

/// What a side has under a name: several only in a damaged hive.
type ByName<T> = BTreeMap<(Vec<u16>, usize), [Option<T>; 2]>;

fn by_name<T>(lists: [Vec<T>; 2], name: impl Fn(&T) -> &[u16]) -> ByName<T> {
    let mut out: ByName<T> = BTreeMap::new();
    for (side, list) in lists.into_iter().enumerate() {
        let mut count: BTreeMap<Vec<u16>, usize> = BTreeMap::new();
        for item in list {
            let folded = fold_name(name(&item));
            let nth = count.entry(folded.clone()).or_default();
            out.entry((folded, *nth)).or_insert_with(|| [None, None])[side] = Some(item);
            *nth += 1;
        }
    }
    out
}

/// Adds everything that differs, in order of key and name.
pub(super) fn compare(hives: [&Hive; 2], shown: &Shown<'_>, out: &mut Vec<DiffEntry>) -> Result<(), SideError> {
    let mut walks = hives.map(Walk::new);
    let root = Pair { sides: hives.map(|h| Some(h.root())), key: Arc::from(shown.root), depth: 0 };
    let mut stack = vec![root];
    while let Some(pair) = stack.pop() {
        if shown.filter.ignores_key(&pair.key) {
            continue;
        }
        let mut values = [Vec::new(), Vec::new()];
        let mut subkeys = [Vec::new(), Vec::new()];
        for side in 0..2 {
            if let Some(key) = pair.sides[side] {
                let within = |e: reseal_dtyp::Error| (side, e.within(pair.key.to_string()));
                (values[side], subkeys[side]) = walks[side].enter(key, pair.depth).map_err(within)?;
            }
        }
        if shown.whole || shown.filter.wants_key(&pair.key) {
            shown.key(hives, &pair, out)?;
            for sides in by_name(values, |v: &Value| &v.name).into_values() {
                shown.value(&pair.key, &sides, out);
            }
        }
        let children = by_name(subkeys, |(name, _): &Subkey| name);
        for sides in children.into_values().rev() {
            let name = sides.iter().flatten().next().map(|(name, _)| printable(name)).unwrap_or_default();
            let key = Arc::from(format!(r"{}\{name}", pair.key));
            stack.push(Pair { sides: sides.map(|side| side.map(|(_, id)| id)), key, depth: pair.depth + 1 });
        }
    }
    Ok(())
}

impl Shown<'_> {
    /// What a key says of itself.
    fn key(&self, hives: [&Hive; 2], pair: &Pair, out: &mut Vec<DiffEntry>) -> Result<(), SideError> {
        let mut push = |kind, sides: [Option<Arc<str>>; 2]| {
            if sides[0] != sides[1] {
                out.push(DiffEntry::new(kind, self.path, sides).of_key(&pair.key));
            }
        };
        // The names are a change of their own when only capitals differ; the root's name has no meaning.
        push(
            DiffKind::Key,
            self.each(pair, hives, |hive, key| {
                Ok(Some(if pair.depth == 0 { "key".to_owned() } else { printable(&hive.name(key)?) }))
            })?,
        );
        push(
            DiffKind::Class,
            self.each(pair, hives, |hive, key| Ok(hive.class_name(key)?.map(|class| self.class(&pair.key, &class))))?,
        );
        let flags = |hive: &Hive, key| Ok(Some(format!("{:#06x}", hive.flags(key)? & !COMPRESSED_NAME)));
        let times = |hive: &Hive, key| {
            let time = hive.timestamp(key)?;
            Ok(Some(format!("{}.{:07}Z", time.to_iso().trim_end_matches('Z'), time.0 % 10_000_000)))
        };
        let is_pair = pair.sides.iter().all(Option::is_some);
        if is_pair {
            push(DiffKind::KeyFlags, self.each(pair, hives, flags)?);
        }
        if is_pair && self.options.times {
            push(DiffKind::KeyTime, self.each(pair, hives, times)?);
        }
        let mut descriptors: [Option<&[u8]>; 2] = [None, None];
        for side in 0..2 {
            if let Some(key) = pair.sides[side] {
                descriptors[side] = Some(hives[side].descriptor(key).map_err(|e| (side, e))?);
            }
        }
        if let Some(sides) = self.words.differing(descriptors) {
            push(DiffKind::KeyDescriptor, sides);
        }
        Ok(())
    }

    /// One fact of a key on each side that has it.
    fn each(
        &self,
        pair: &Pair,
        hives: [&Hive; 2],
        fact: impl Fn(&Hive, KeyId) -> Result<Option<String>>,
    ) -> Result<[Option<Arc<str>>; 2], SideError> {
        let mut out = [None, None];
        for side in 0..2 {
            if let Some(key) = pair.sides[side] {
                out[side] = fact(hives[side], key).map_err(|e| (side, e))?.map(Arc::from);
            }
        }
        Ok(out)
    }

    /// The boot key lies in the class names of four keys below `Lsa`.
    fn class(&self, key: &str, class: &[u16]) -> String {
        let mut names = key.rsplit('\\');
        let (own, parent) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let is_boot_key = parent.eq_ignore_ascii_case("Lsa")
            && ["JD", "Skew1", "GBG", "Data"].iter().any(|n| own.eq_ignore_ascii_case(n));
        if (self.secret || is_boot_key) && !self.options.secrets {
            let bytes: Vec<u8> = class.iter().flat_map(|u| u.to_le_bytes()).collect();
            return digest_of(&bytes);
        }
        printable(class)
    }

    fn value(&self, key: &Arc<str>, sides: &[Option<Value>; 2], out: &mut Vec<DiffEntry>) {
        let [a, b] = sides;
        if a == b {
            return;
        }
        let shown = [a, b].map(|side| side.as_ref().map(|v| Arc::from(self.data(key, v))));
        let names = [a, b].map(|side| side.as_ref().map(|v| printable(&v.name)));
        let name = names.iter().flatten().next().cloned().unwrap_or_default();
        let same_data = matches!((a, b), (Some(a), Some(b)) if a.ty == b.ty && a.data == b.data);
        // Only capitals of the name differ.
        let shown = if same_data { names.map(|n| n.map(Arc::from)) } else { shown };
        out.push(DiffEntry::new(DiffKind::Value, self.path, shown).of_key(key).named(name));
    }

    /// Type and data as in `.reg` text; secrets and what is long as length and digest.
    fn data(&self, key: &str, value: &Value) -> String {
        let is_seed = key.to_ascii_uppercase().ends_with(r"\RNG") && value.name_lossy().eq_ignore_ascii_case("Seed");
        let secret = self.secret || is_seed && !self.options.secrets;
        let head = if value.ty == types::BINARY { "hex:".to_owned() } else { format!("hex({:x}):", value.ty) };
        if secret || value.data.len() > MAX_SHOWN && !self.options.full {
            return format!("{head} {}", digest_of(&value.data));
        }
        String::from_utf16(&data_notation(value.ty, &value.data)).unwrap_or_else(|_| {
            // Half of a surrogate pair: bytes say it exactly.
            let bytes: Vec<String> = value.data.iter().map(|b| format!("{b:02x}")).collect();
            format!("{head}{}", bytes.join(","))
        })
    }
}
