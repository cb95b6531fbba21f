//! Bytes of a hive that belong to nothing: free cells, the unused ends of cells, what lies behind the last hbin. Windows
//! leaves in them what it deleted.

use crate::base_block::LEN;
use crate::hive::Hive;
use crate::image::Image;
use crate::owners::Role;
use crate::residue::live_region;
use crate::scan::HitMap;
use crate::sids::{Place, Region};
use reseal_dtyp::{Result, utf16_lossy};
use std::collections::BTreeMap;
use std::ops::Range;

impl Hive {
    /// Zeroes free cells, the ends of names, data and descriptors behind what is in use, and the file behind the hbins.
    /// Returns how many bytes held something; 0 leaves the hive unchanged. Cells that nothing refers to, and those whose owner
    /// is hidden by damage, stay as they are. `Damaged` when the cells of an hbin do not tile it, `Unsupported` for a layered
    /// hive.
    pub fn zero_idle(&mut self) -> Result<usize> {
        let cells = self.image.cells()?;
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut all = HitMap::default();
        for &(at, len, allocated) in &cells {
            if allocated {
                all.cell(at, true);
            } else {
                ranges.push(LEN + at as usize + 4..LEN + (at + len) as usize);
            }
        }
        let mut live: BTreeMap<u32, usize> = BTreeMap::new();
        // Lists hold no text, and their unused ends count as room for more.
        for o in self.owners(&all, false)?.into_iter() {
            let most = live.entry(o.cell).or_default();
            *most = if o.role == Role::List { usize::MAX } else { o.live.max(*most) };
        }
        for (at, len, _) in cells {
            let end = LEN + (at + len) as usize;
            let start = live.get(&at).map_or(end, |live| (LEN + at as usize + 4).saturating_add(*live));
            if start < end {
                ranges.push(start..end);
            }
        }
        ranges.push(self.bins_end()..self.image.bytes.len());
        let mut zeroed = 0;
        for range in ranges {
            let held = self.image.bytes.get(range.clone()).unwrap_or(&[]).iter().filter(|&&b| b != 0).count();
            if held > 0 {
                self.image.zero(range);
                zeroed += held;
            }
        }
        Ok(zeroed)
    }

    /// What stands at ranges of the file, ascending by offset: for whoever searched the bytes. Damage hides what lies behind
    /// it: such cells count as unreferenced.
    pub fn places(&self, ranges: &[Range<usize>]) -> Vec<(usize, Place)> {
        let nowhere = |region| Place { region, key: None, value: None };
        let mut hits = HitMap::default();
        let mut out = Vec::new();
        let mut ranges: Vec<Range<usize>> = ranges.to_vec();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut cursor = 0;
        for range in ranges {
            if range.start < LEN {
                out.push((range.start, nowhere(Region::Header)));
            } else if range.start >= self.bins_end() {
                out.push((range.start, nowhere(Region::Tail)));
            } else if self.image.assign(range.clone(), &mut cursor, &mut hits, false).is_err() {
                out.push((range.start, nowhere(Region::Header)));
            }
        }
        out.extend(hits.outside.iter().map(|range| (range.start, nowhere(Region::Header))));
        let owned = self.owners(&hits, false).unwrap_or_default();
        let by_cell: BTreeMap<u32, _> = owned.iter().map(|o| (o.cell, o)).collect();
        for (&at, cell) in &hits.cells {
            for hit in &cell.hits {
                let place = match by_cell.get(&at) {
                    None if cell.allocated => nowhere(Region::Unreferenced),
                    None => nowhere(Region::FreeCell),
                    Some(o) => {
                        let region = if hit.end > o.live { Region::Slack } else { live_region(o.role) };
                        let about_value = matches!(o.role, Role::ValueName | Role::ValueData);
                        let name =
                            |cell: &crate::value::ValueCell<'_>| utf16_lossy(&cell.name().units().collect::<Vec<_>>());
                        let value =
                            about_value.then(|| self.image.value_cell(o.value).ok().map(|v| name(&v))).flatten();
                        Place { region, key: self.path(o.key).ok(), value }
                    }
                };
                out.push((LEN + at as usize + 4 + hit.start, place));
            }
        }
        out.sort_by_key(|(offset, _)| *offset);
        out
    }
}

impl Image {
    /// Every cell: place, length with its size field, whether it is allocated. `Damaged` when they do not tile an hbin.
    fn cells(&self) -> Result<Vec<(u32, u32, bool)>> {
        self.editable()?;
        let mut out = Vec::new();
        for &bin in &self.bins {
            let (mut at, end) = (bin + crate::image::BIN_HEADER as u32, self.bin_end(bin));
            while at < end {
                let extent = self.extent(at, "cell")?;
                let len = extent.len as u32 + 4;
                out.push((at, len, extent.allocated));
                at += len;
            }
        }
        Ok(out)
    }
}
