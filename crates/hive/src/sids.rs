//! Replaces machine SIDs in a hive: descriptors, value data and names, key and class names; erases them elsewhere.

use crate::base_block::LEN;
use crate::hive::Hive;
use crate::image::BIN_HEADER;
use crate::owners::{Owned, Role};
use crate::scan::HitMap;
use crate::security::sk;
use crate::value::types;
use reseal_dtyp::{Kind, Result, utf16_lossy};
use reseal_sid::{Hits, SidMap, TextEdit};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// At most this many places are listed; all are counted.
const MAX_PLACES: usize = 1000;

/// Where in a hive a SID stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Region {
    /// A security cell's descriptor.
    Descriptor,
    /// A key's name.
    KeyName,
    /// A key's class name.
    ClassName,
    /// A value's name.
    ValueName,
    /// A value's data.
    ValueData,
    /// A free cell.
    FreeCell,
    /// The unused end of an allocated cell.
    Slack,
    /// An allocated cell that nothing refers to.
    Unreferenced,
    /// The file behind the last hbin.
    Tail,
    /// The base block, an hbin's header, or an hbin whose cells do not tile.
    Header,
}

/// One place that was changed, or that could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What stood there.
    pub region: Region,
    /// Path of the key as it was before, if one is known.
    pub key: Option<String>,
    /// The value's name as it was before, if it is about a value.
    pub value: Option<String>,
}

/// What [`Hive::rewrite_sids`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SidEdits {
    /// SIDs replaced in live data, by form.
    pub replaced: Hits,
    /// Security cells changed.
    pub descriptors: usize,
    /// Security cells that became equal to another one and were merged into it.
    pub merged: usize,
    /// Values whose data changed.
    pub values: usize,
    /// Values renamed.
    pub value_names: usize,
    /// Keys renamed.
    pub key_names: usize,
    /// Class names changed.
    pub class_names: usize,
    /// Free cells, cell slacks, unreferenced cells, headers and tail pages that were cleaned.
    pub erased: usize,
    /// SIDs found but not replaced: text of another length in data of unknown structure, or a name that is taken.
    pub left: usize,
    /// Where something was replaced: the first thousand.
    pub places: Vec<Place>,
    /// Where something was left: the first thousand.
    pub left_places: Vec<Place>,
}

impl SidEdits {
    /// Whether the hive was changed.
    pub fn any(&self) -> bool {
        self.replaced.total() > 0 || self.erased > 0
    }

    /// Whether a list has room: places are not made for nothing.
    fn room(&self) -> bool {
        self.places.len().min(self.left_places.len()) < MAX_PLACES
    }

    fn done(&mut self, place: Option<Place>) {
        if self.places.len() < MAX_PLACES {
            self.places.extend(place);
        }
    }

    fn leave(&mut self, count: usize, place: Option<Place>) {
        self.left += count;
        if self.left_places.len() < MAX_PLACES {
            self.left_places.extend(place);
        }
    }
}

fn is_text(ty: u32) -> bool {
    matches!(ty, types::SZ | types::EXPAND_SZ | types::LINK | types::MULTI_SZ)
}

/// Data of odd length with one zero byte more: text that lost the upper half of its last character is still text.
pub(crate) fn padded(data: &[u8]) -> Vec<u8> {
    let mut out = data.to_vec();
    out.resize(data.len().next_multiple_of(2), 0);
    out
}

/// New data of a value, what was replaced and what had to stay; `None` when there is no SID in it.
fn rewrite_data(map: &SidMap, ty: u32, data: &[u8]) -> Option<(Vec<u8>, Hits, usize)> {
    let (mut new, done, left) = rewrite_padded(map, ty, padded(data))?;
    // No form of a SID ends in anything but this zero byte where it was added.
    new.truncate(new.len() - data.len() % 2);
    Some((new, done, left))
}

fn rewrite_padded(map: &SidMap, ty: u32, mut new: Vec<u8>) -> Option<(Vec<u8>, Hits, usize)> {
    if !is_text(ty) {
        let result = map.rewrite_in_place(&mut new);
        return (result.done.total() + result.left.total() > 0).then_some((new, result.done, result.left.total()));
    }
    let mut hits = Hits { binary: map.rewrite_binary(&mut new), ..Hits::default() };
    match map.rewrite_text(&new) {
        // Text is two bytes per character: an odd change would shift all that follows.
        Some(TextEdit { bytes, hits: text }) if bytes.len() % 2 == new.len() % 2 => {
            hits += text;
            Some((bytes, hits, 0))
        }
        Some(_) => {
            let result = map.rewrite_in_place(&mut new);
            hits += result.done;
            Some((new, hits, result.left.total()))
        }
        None => (hits.total() > 0).then_some((new, hits, 0)),
    }
}

impl Hive {
    /// Replaces the old SIDs of a map wherever they stand in live data, and erases them everywhere else.
    ///
    /// Binary SIDs and text of unchanged length are replaced in place; text values, names and class names may change
    /// their length, keys move to their sorted place. Types, times and everything else stay. What is in free cells, cell
    /// slack and the file's tail is zeroed. Without a hit nothing is touched or even walked.
    ///
    /// `Damaged` when the hive contradicts itself on the way: drop the hive then, it may be half done.
    pub fn rewrite_sids(&mut self, map: &SidMap) -> Result<SidEdits> {
        let mut edits = SidEdits::default();
        let hits = self.image.hit_map(map, true)?;
        if hits.is_empty() {
            return Ok(edits);
        }
        let owned = self.owners(&hits, true)?;
        self.image.editable()?;
        let clock = self.clock.take();
        self.touched.extend(owned.iter().map(|o| o.key.0));
        let result = self.rewrite_owned(map, &hits, &owned, &mut edits);
        self.clock = clock;
        result.map(|()| edits)
    }

    fn rewrite_owned(&mut self, map: &SidMap, hits: &HitMap, owned: &[Owned], edits: &mut SidEdits) -> Result<()> {
        // Cleaning comes first, while the extents of the walk still hold; what later edits free is zeroed by them.
        self.erase(map, hits, owned, edits)?;
        let of = |role| owned.iter().filter(move |o: &&Owned| o.role == role);
        // Paths are reported as they were, so names come last, and keys after values.
        let mut changed = Vec::new();
        for o in of(Role::Descriptor) {
            self.rewrite_security(map, o, edits, &mut changed)?;
        }
        let mut values: Vec<&Owned> = of(Role::ValueData).collect();
        values.sort_by_key(|o| (o.key, o.value));
        values.dedup_by_key(|o| o.value);
        for o in values {
            self.rewrite_value(map, o, edits)?;
        }
        for o in of(Role::ClassName) {
            self.rewrite_class(map, o, edits)?;
        }
        for o in of(Role::ValueName) {
            self.rewrite_value_name(map, o, edits)?;
        }
        // The lists of a parent are sorted by what its subkeys are called now: any order of renaming is right.
        for o in of(Role::KeyName) {
            self.rewrite_key_name(map, o, edits)?;
        }
        edits.merged = self.merge_securities(&changed)?;
        Ok(())
    }

    fn place_of(&self, region: Region, o: &Owned) -> Place {
        let about_value = matches!(o.role, Role::ValueName | Role::ValueData);
        let name = || self.image.value_cell(o.value).map(|v| utf16_lossy(&v.name().units().collect::<Vec<_>>()));
        let value = about_value.then(|| name().unwrap_or_default());
        Place { region, key: self.path(o.key).ok(), value }
    }

    fn rewrite_security(
        &mut self,
        map: &SidMap,
        o: &Owned,
        edits: &mut SidEdits,
        changed: &mut Vec<u32>,
    ) -> Result<()> {
        let mut descriptor = self.image.security(o.cell)?.descriptor.to_vec();
        let count = map.rewrite_descriptor(&mut descriptor)?.total();
        if count > 0 {
            self.image.put(o.cell, sk::DESCRIPTOR, &descriptor, "sk")?;
            edits.replaced.binary += count;
            edits.descriptors += 1;
            let place = edits.room().then(|| self.place_of(Region::Descriptor, o));
            edits.done(place);
            changed.push(o.cell);
        }
        Ok(())
    }

    fn rewrite_value(&mut self, map: &SidMap, o: &Owned, edits: &mut SidEdits) -> Result<()> {
        let cell = self.image.value_cell(o.value)?;
        let data = self.image.data(&cell)?;
        let Some((new, done, left)) = rewrite_data(map, cell.ty(), &data) else { return Ok(()) };
        let place = edits.room().then(|| self.place_of(Region::ValueData, o));
        if done.total() > 0 {
            let len = u32::try_from(new.len()).unwrap_or(u32::MAX);
            self.image.write_data(o.value, &new)?;
            self.raise(o.key.0, crate::key::nk::MAX_VALUE_DATA, len)?;
            edits.replaced += done;
            edits.values += 1;
            edits.done(place.clone());
        }
        if left > 0 {
            edits.leave(left, place);
        }
        Ok(())
    }

    fn rewrite_class(&mut self, map: &SidMap, o: &Owned, edits: &mut SidEdits) -> Result<()> {
        let class = self.class_name(o.key)?.unwrap_or_default();
        if let Some(new) = map.rewrite_units(&class) {
            let place = edits.room().then(|| self.place_of(Region::ClassName, o));
            self.set_class_name(o.key, Some(&new))?;
            edits.replaced.utf16 += 1;
            edits.class_names += 1;
            edits.done(place);
        }
        Ok(())
    }

    fn rewrite_value_name(&mut self, map: &SidMap, o: &Owned, edits: &mut SidEdits) -> Result<()> {
        let name: Vec<u16> = self.image.value_cell(o.value)?.name().units().collect();
        let Some(new) = map.rewrite_units(&name) else { return Ok(()) };
        let place = edits.room().then(|| self.place_of(Region::ValueName, o));
        let done = self.rename_value(o.key, &name, &new);
        edits.renamed(done, place)?.then(|| edits.value_names += 1);
        Ok(())
    }

    fn rewrite_key_name(&mut self, map: &SidMap, o: &Owned, edits: &mut SidEdits) -> Result<()> {
        let Some(new) = map.rewrite_units(&self.name(o.key)?) else { return Ok(()) };
        let place = edits.room().then(|| self.place_of(Region::KeyName, o));
        let done = self.rename_key(o.key, &new).map(drop);
        edits.renamed(done, place)?.then(|| edits.key_names += 1);
        Ok(())
    }

    /// Merges security cells that became equal to others; returns how many are gone.
    fn merge_securities(&mut self, changed: &[u32]) -> Result<usize> {
        if changed.is_empty() {
            return Ok(0);
        }
        let mut equal: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for at in self.image.ring(self.root)? {
            equal.entry(self.image.security(at)?.descriptor).or_default().push(at);
        }
        let mut into = BTreeMap::new();
        for group in equal.values().filter(|g| g.len() > 1 && g.iter().any(|at| changed.contains(at))) {
            into.extend(group[1..].iter().map(|&at| (at, group[0])));
        }
        if into.is_empty() {
            return Ok(0);
        }
        let mut users: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        self.all_keys(true, |key| {
            let security = self.image.key(key)?.sk();
            if into.contains_key(&security) {
                users.entry(security).or_default().push(key);
            }
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        for (&old, &new) in &into {
            // The last key that leaves a cell gives it back.
            for &key in users.get(&old).map_or(&[][..], Vec::as_slice) {
                self.image.assign_security(key, new)?;
            }
        }
        Ok(into.len())
    }

    /// Erases hits outside live data.
    fn erase(&mut self, map: &SidMap, hits: &HitMap, owned: &[Owned], edits: &mut SidEdits) -> Result<()> {
        let mut live: BTreeMap<u32, usize> = BTreeMap::new();
        for o in owned {
            let most = live.entry(o.cell).or_default();
            *most = o.live.max(*most);
        }
        for (&at, cell) in &hits.cells {
            let extent = self.image.extent(at, "cell")?;
            let from = match (live.get(&at), cell.allocated) {
                (Some(&live), _) => cell.hits.iter().any(|hit| hit.end > live).then_some(live),
                (None, false) => Some(0),
                (None, true) => {
                    let within = extent.start..extent.start + extent.len;
                    for hit in &cell.hits {
                        let hit = extent.start + hit.start..extent.start + hit.end;
                        edits.erased += usize::from(self.scrub(map, &hit, within.clone()));
                    }
                    None
                }
            };
            let used = |from| self.image.bytes[extent.start + from..extent.start + extent.len].iter().any(|&b| b != 0);
            if let Some(from) = from.filter(|&from| used(from)) {
                self.image.zero(extent.start + from..extent.start + extent.len);
                edits.erased += 1;
            }
        }
        for hit in &hits.outside {
            edits.erased += usize::from(self.scrub(map, hit, self.idle_range(hit.start)));
        }
        edits.erased += self.erase_tail(&hits.tail);
        Ok(())
    }

    /// Zeroes the pages of the tail that have a hit; returns how many.
    fn erase_tail(&mut self, hits: &[Range<usize>]) -> usize {
        let pages: BTreeSet<usize> = hits.iter().flat_map(|hit| hit.start / LEN..=(hit.end - 1) / LEN).collect();
        for page in &pages {
            let start = (page * LEN).max(self.bins_end());
            self.image.zero(start..((page + 1) * LEN).min(self.image.bytes.len()));
        }
        pages.len()
    }

    /// Replaces a hit in bytes of unknown meaning where the length stays, and zeroes it otherwise; `within` bounds both.
    fn scrub(&mut self, map: &SidMap, hit: &Range<usize>, within: Range<usize>) -> bool {
        // The form before the three numbers takes at most 18 bytes, a character after them two.
        let from = hit.start.saturating_sub(18).max(within.start);
        let to = (hit.end + 2).min(within.end);
        let Some(bytes) = self.image.bytes.get_mut(from..to) else { return false };
        let before = bytes.to_vec();
        map.rewrite_in_place(bytes);
        if bytes == before
            && hit.start >= within.start
            && let Some(own) = bytes.get_mut(hit.start - from..hit.end.min(within.end).max(hit.start) - from)
        {
            own.fill(0);
        }
        let any = bytes != before;
        self.image.changed |= any;
        any
    }

    /// The part around a file offset outside of cells where nothing structural stands; empty if there is none.
    fn idle_range(&self, at: usize) -> Range<usize> {
        // Base block: the file name; what is reserved before the checksum and before the boot fields (regf 2.1).
        let parts = [48..112, 180..508, 512..4088];
        if at < LEN {
            return parts.into_iter().find(|part| part.contains(&at)).unwrap_or(0..0);
        }
        let bin = self.image.bin_start((at - LEN) as u32) as usize + LEN;
        if at - bin < BIN_HEADER { bin + 12..bin + BIN_HEADER } else { 0..0 }
    }
}

impl SidEdits {
    /// Counts a rename; a name that is taken or impossible is left.
    fn renamed(&mut self, done: Result<()>, place: Option<Place>) -> Result<bool> {
        match done {
            Ok(()) => {
                self.replaced.utf16 += 1;
                self.done(place);
                Ok(true)
            }
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::Limit) => {
                self.leave(1, place);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}
