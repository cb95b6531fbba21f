//! Where old SIDs still stand, live or not.

use crate::base_block::LEN;
use crate::hive::Hive;
use crate::owners::{Owned, Role};
use crate::scan::HitMap;
use crate::sids::{Region, padded};
use reseal_dtyp::utf16_lossy;
use reseal_sid::{Form, SidMap};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// One old SID that stands in a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residue {
    /// What it stands in.
    pub region: Region,
    /// Byte offset in the hive file: of the SID, or of the value cell when it lies in big data.
    pub offset: usize,
    /// How it is written.
    pub form: Form,
    /// Path of the key, if one is known.
    pub key: Option<String>,
    /// The value's name, if it is about a value.
    pub value: Option<String>,
}

impl Hive {
    /// Every old SID of the map that stands anywhere in the file. Damage hides what lies behind it: such cells count as
    /// unreferenced.
    pub fn residue(&self, map: &SidMap) -> Vec<Residue> {
        let Ok(hits) = self.image.hit_map(map, false) else { return Vec::new() };
        if hits.is_empty() {
            return Vec::new();
        }
        let owned = self.owners(&hits, false).unwrap_or_default();
        let mut out = Vec::new();
        self.residue_of_cells(map, &hits, &owned, &mut out);
        let mut page_ranges = BTreeSet::new();
        for (hits, region) in [(&hits.outside, Region::Header), (&hits.tail, Region::Tail)] {
            for hit in hits {
                // Enough on both sides for the whole SID; neighbours are found once.
                let range = hit.start.saturating_sub(24)..(hit.end + 4).min(self.image.bytes.len());
                for (offset, form) in find_at(map, &self.image.bytes, range) {
                    if page_ranges.insert(offset) {
                        out.push(Residue { region, offset, form, key: None, value: None });
                    }
                }
            }
        }
        out.sort_by_key(|r| r.offset);
        out
    }

    fn residue_of_cells(&self, map: &SidMap, hits: &HitMap, owned: &[Owned], out: &mut Vec<Residue>) {
        let mut by_cell: BTreeMap<u32, &Owned> = BTreeMap::new();
        for o in owned {
            by_cell.entry(o.cell).or_insert(o);
        }
        let mut seen_values = BTreeSet::new();
        for (&at, cell) in &hits.cells {
            let Ok(extent) = self.image.extent(at, "cell") else { continue };
            let (start, end) = (extent.start, extent.start + extent.len);
            let Some(o) = by_cell.get(&at) else {
                let region = if cell.allocated { Region::Unreferenced } else { Region::FreeCell };
                for (offset, form) in find_at(map, &self.image.bytes, start..end) {
                    out.push(Residue { region, offset, form, key: None, value: None });
                }
                continue;
            };
            let live = o.live.min(extent.len);
            for (offset, form) in self.residue_live(map, o, start, live, &mut seen_values) {
                out.push(self.owned_residue(o, live_region(o.role), offset, form));
            }
            // What reaches into the slack is no live SID: the whole cell is searched, and what ends in time is dropped.
            let cell_bytes = &self.image.bytes[start..end];
            for hit in map.find(cell_bytes) {
                let end = hit.offset + form_len(map.pairs()[hit.pair].0, hit.form);
                // The zero half of a last character may come from the slack: that is live text, and was found as such.
                let borrowed = hit.offset < live && cell_bytes.get(live..end) == Some(&[0]);
                if end > live && !borrowed {
                    out.push(self.owned_residue(o, Region::Slack, start + hit.offset, hit.form));
                }
            }
        }
    }

    /// SIDs in the bytes in use of a cell. Big data is read as a whole, once.
    fn residue_live(
        &self,
        map: &SidMap,
        o: &Owned,
        start: usize,
        live: usize,
        seen: &mut BTreeSet<u32>,
    ) -> Vec<(usize, Form)> {
        if o.role == Role::ValueData {
            let Ok(value) = self.image.value_cell(o.value) else { return Vec::new() };
            if self.image.is_big((value.raw_data().0 & i32::MAX as u32) as usize) {
                let data = if seen.insert(o.value) {
                    self.image.data(&value).unwrap_or_default()
                } else {
                    Cow::Borrowed(&[][..])
                };
                return map.find(&padded(&data)).map(|hit| (LEN + o.value as usize, hit.form)).collect();
            }
            let data = padded(&self.image.bytes[start..start + live]);
            return map.find(&data).map(|hit| (start + hit.offset, hit.form)).collect();
        }
        let skip = match o.role {
            Role::KeyName => crate::key::nk::NAME,
            Role::ValueName => crate::value::vk::NAME,
            Role::Descriptor => crate::security::sk::DESCRIPTOR,
            _ => 0,
        };
        find_at(map, &self.image.bytes, start + skip.min(live)..start + live).collect()
    }

    fn owned_residue(&self, o: &Owned, region: Region, offset: usize, form: Form) -> Residue {
        let about_value = matches!(o.role, Role::ValueName | Role::ValueData);
        let name = || self.image.value_cell(o.value).map(|v| utf16_lossy(&v.name().units().collect::<Vec<_>>()));
        let value = about_value.then(|| name().unwrap_or_default());
        Residue { region, offset, form, key: self.path(o.key).ok(), value }
    }
}

pub(crate) fn live_region(role: Role) -> Region {
    match role {
        Role::KeyName => Region::KeyName,
        Role::ClassName => Region::ClassName,
        Role::Descriptor => Region::Descriptor,
        Role::ValueName => Region::ValueName,
        Role::ValueData => Region::ValueData,
        Role::List => Region::Slack,
    }
}

/// Bytes that a SID without RID takes in a form.
fn form_len(sid: reseal_dtyp::DomainSid, form: Form) -> usize {
    match form {
        Form::Binary => 24,
        Form::Ascii => sid.to_string().len(),
        Form::Utf16 => sid.to_string().len() * 2,
    }
}

/// Old SIDs within a range of the file: file offset and form.
fn find_at<'a>(map: &'a SidMap, bytes: &'a [u8], range: Range<usize>) -> impl Iterator<Item = (usize, Form)> + 'a {
    let start = range.start;
    let part = bytes.get(range).unwrap_or(&[]);
    map.find(part).map(move |hit| (start + hit.offset, hit.form))
}
