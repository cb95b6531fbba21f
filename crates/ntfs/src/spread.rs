//! A file over several records: what its base record cannot hold moves to extension records, long run lists are split, the
//! attribute list is made and kept; when everything fits into the base record again, all of that goes.
//!
//! ```text
//!  base record                          extension record        extension record
//!  $10 $20 list ─┬──────────────────▶  $30 $30         ┌─────▶  $80 from VCN 4711
//!                └──────────────────▶  $80 from VCN 0  │
//!                └─────────────────────────────────────┘
//! ```

use crate::attribute::{Attribute, Form, flag, kind};
use crate::attribute_list;
use crate::file_edit::{FileEdit, Spot};
use crate::record::flag as record_flag;
use crate::record_edit::{self, Sizes};
use crate::reference::system;
use crate::runs::{self, Run};
use crate::store::Touch;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use std::collections::BTreeMap;

/// A resident list takes at most this part of a record; a longer one lies in clusters.
const LIST_SHARE: usize = 4;
/// What attributes that move may cost; each step moves or splits one.
const MAX_STEPS: usize = 1 << 16;

impl FileEdit {
    /// Brings every record down to its size, and the attribute list up to date.
    pub(crate) fn settle(&mut self, volume: &mut Volume) -> Result<()> {
        if self.first_full()?.is_none() && !(self.file.has_list && self.reshaped) {
            return Ok(());
        }
        if self.file.has_list {
            if self.unite(volume)? {
                return Ok(());
            }
        } else {
            self.insert_into(volume, 0, record_edit::resident(kind::ATTRIBUTE_LIST, &[], &[], false))?;
            self.file.has_list = true;
        }
        let mut steps = 0;
        self.fit_list(volume)?;
        while let Some(index) = self.first_full()? {
            steps += 1;
            if steps > MAX_STEPS {
                let detail = format!("file {} does not settle in {MAX_STEPS} steps", self.file.reference);
                return Err(Error::new(Kind::Limit, detail));
            }
            self.shed(volume, index)?;
            self.fit_list(volume)?;
        }
        self.check_mft_order(volume)?;
        self.write_list(volume)
    }

    /// The first record that holds more than it can.
    fn first_full(&self) -> Result<Option<usize>> {
        for (index, record) in self.file.records.iter().enumerate() {
            if record.excess()? > 0 {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Takes one attribute out of a record that is too full, or splits a run list.
    fn shed(&mut self, volume: &mut Volume, index: usize) -> Result<()> {
        let excess = self.file.records[index].excess()?;
        let own = self.file.number();
        let mut best: Option<((bool, bool, bool, usize), Spot)> = None;
        let mut start_of_mft = None;
        for attribute in self.file.records[index].view()?.attributes() {
            let a = attribute?;
            let spot = Spot { record: index, offset: a.offset, len: a.len, id: a.id };
            if index == 0 && matches!(a.kind, kind::STANDARD_INFORMATION | kind::ATTRIBUTE_LIST) {
                continue;
            }
            // Windows needs $TXF_DATA of the root in the root's own record.
            if index == 0 && own == system::ROOT && a.kind == kind::LOGGED_UTILITY_STREAM {
                continue;
            }
            // The volume is opened with what record 0 says about its own content.
            let starts = a.extent().is_some_and(|e| e.first_vcn == 0);
            if index == 0 && own == system::MFT && a.is(kind::DATA, &[]) && starts {
                start_of_mft = Some(spot);
                continue;
            }
            // What was split leaves first, so that no record holds two extents of one attribute. Then the smallest one that
            // is enough, else the longest; the root of a folder only when nothing else is left.
            let enough = a.len >= excess;
            let len = if enough { a.len } else { usize::MAX - a.len };
            let later = a.extent().is_some_and(|e| e.first_vcn > 0);
            let rank = (!later, a.kind == kind::INDEX_ROOT, !enough, len);
            if best.is_none_or(|(other, _)| rank < other) {
                best = Some((rank, spot));
            }
        }
        let capacity = extension_capacity(volume);
        match (best, start_of_mft) {
            (Some((_, spot)), _) if spot.len > capacity => self.split(volume, spot, capacity),
            (Some((_, spot)), _) => self.move_out(volume, spot),
            (None, Some(spot)) => self.split(volume, spot, spot.len.saturating_sub(excess)),
            (None, None) => Err(self.too_full(index, excess)),
        }
    }

    fn too_full(&self, index: usize, excess: usize) -> Error {
        let number = self.file.records[index].number;
        let detail = format!("file {}: record {number} has {excess} bytes too many", self.file.reference);
        Error::new(Kind::NoSpace, detail)
    }

    /// Moves an attribute to an extension record that has room, or to a new one.
    fn move_out(&mut self, volume: &mut Volume, spot: Spot) -> Result<()> {
        let mut target = None;
        for (index, record) in self.file.records.iter().enumerate().skip(1) {
            if index != spot.record && record.room()? >= spot.len {
                target = Some(index);
                break;
            }
        }
        let target = match target {
            Some(index) => index,
            None => self.add_record(volume)?,
        };
        let attribute = self.bytes_mut(spot).to_vec();
        if attribute.starts_with(&kind::SECURITY_DESCRIPTOR.to_le_bytes()) {
            // Which records have a descriptor of their own is to be looked up again.
            volume.own_descriptors = std::sync::OnceLock::new();
        }
        self.remove(spot)?;
        self.insert_into(volume, target, attribute)
    }

    fn add_record(&mut self, volume: &mut Volume) -> Result<usize> {
        let number = match self.file.number() {
            system::MFT => {
                let number = volume.claim_record_for_mft()?;
                self.claimed.push(number);
                number
            }
            _ => volume.allocate_record()?,
        };
        let mut record = volume.fresh_record(number, record_flag::IN_USE)?;
        record.set_base(self.file.reference);
        self.file.records.push(record);
        let index = self.file.records.len() - 1;
        self.dirty.insert(index);
        Ok(index)
    }

    /// Cuts a run list so that what stays has at most `max` bytes; the rest becomes an extent of its own in the same record.
    fn split(&mut self, volume: &Volume, spot: Spot, max: usize) -> Result<()> {
        let record = &self.file.records[spot.record];
        let attribute = Attribute::read(&record.bytes[spot.offset..], spot.offset, record.at)?;
        let Form::NonResident(extent) = attribute.form else {
            return Err(self.too_full(spot.record, spot.len.saturating_sub(max)));
        };
        // Only what is grown here gets that long, and that is plain; packed streams are cut between their units only.
        if attribute.flags & (flag::COMPRESSION_MASK | flag::SPARSE) != 0 {
            return Err(Error::unsupported(format!("file {}: a packed stream would be split", self.file.reference)));
        }
        let whole: Vec<Run> = extent.runs(volume.geometry.clusters, spot.offset as u64).collect::<Result<_>>()?;
        let template = record.bytes[spot.offset..spot.offset + spot.len].to_vec();
        let fits =
            |count: usize| record_edit::extent_like(&template, &whole[..count], extent.pairs_offset).len() <= max;
        // More runs never take fewer bytes, so the most that fit are found by halves.
        let counts: Vec<usize> = (1..=whole.len()).collect();
        let count = counts.partition_point(|&count| fits(count));
        if count == 0 || count >= whole.len() {
            return Err(self.too_full(spot.record, spot.len.saturating_sub(max)));
        }
        let low = record_edit::extent_like(&template, &whole[..count], extent.pairs_offset);
        let high = record_edit::extent_like(&template, &whole[count..], extent.pairs_offset);
        self.replace(spot, low)?;
        self.insert_into(volume, spot.record, high)
    }

    /// Gives the attribute list in the base record the form and the length that it needs now.
    fn fit_list(&mut self, volume: &mut Volume) -> Result<()> {
        let needed = self.list_len()?;
        if needed as u64 > attribute_list::MAX_BYTES {
            let detail = format!("the attribute list of file {} would have {needed} bytes", self.file.reference);
            return Err(Error::new(Kind::NoSpace, detail));
        }
        let spot = self.list_spot()?;
        let old = match self.file.stream(kind::ATTRIBUTE_LIST, &[], &volume.geometry)? {
            Some(Stream::Clusters(clusters)) => {
                let reach = clusters.end_vcn().saturating_mul(u64::from(volume.geometry.cluster_size));
                if clusters.allocated != reach {
                    let file = self.file.reference;
                    let detail = format!("{} bytes in file {file}, its runs cover {reach}", clusters.allocated);
                    return Err(Error::damaged("attribute list", "allocated size", spot.offset as u64 + 0x28, detail));
                }
                clusters
            }
            _ if 0x18 + needed <= volume.geometry.record_size as usize / LIST_SHARE => {
                if spot.len != 0x18 + needed {
                    self.replace(spot, record_edit::resident(kind::ATTRIBUTE_LIST, &[], &vec![0; needed], false))?;
                }
                return Ok(());
            }
            _ => Clusters::default(),
        };
        // A list that was given more than any list may have is not filled to its end, it is made anew.
        let most = attribute_list::MAX_BYTES.next_multiple_of(u64::from(volume.geometry.cluster_size));
        if (needed as u64..=most).contains(&old.allocated) && !old.runs.is_empty() {
            return Ok(());
        }
        let runs = volume.allocate(volume.geometry.clusters_for(needed as u64), 0, None)?;
        volume.release(&old.runs)?;
        let clusters = runs.last().map_or(0, Run::end);
        let sizes = Sizes {
            allocated: clusters * u64::from(volume.geometry.cluster_size),
            size: needed as u64,
            initialized: needed as u64,
        };
        self.replace(spot, record_edit::non_resident(kind::ATTRIBUTE_LIST, &[], &runs, sizes))
    }

    fn list_spot(&self) -> Result<Spot> {
        let spot = self.spot(kind::ATTRIBUTE_LIST, &[])?.filter(|s| s.record == 0);
        spot.ok_or_else(|| {
            Error::new(Kind::Conflict, format!("file {} has lost its attribute list", self.file.reference))
        })
    }

    fn list_len(&self) -> Result<usize> {
        let mut len = 0;
        self.file.for_each(|_, a| {
            if a.kind != kind::ATTRIBUTE_LIST {
                len += entry_len(a.name.len());
            }
            Ok(())
        })?;
        Ok(len)
    }

    /// Makes the attribute list anew from the attributes.
    fn write_list(&mut self, volume: &mut Volume) -> Result<()> {
        let list = self.list_bytes(volume)?;
        let spot = self.list_spot()?;
        match self.file.stream(kind::ATTRIBUTE_LIST, &[], &volume.geometry)? {
            Some(Stream::Clusters(clusters)) => {
                let size = list.len() as u64;
                let mut padded = list;
                padded.resize(clusters.allocated as usize, 0);
                let whole = Clusters { initialized: clusters.allocated, ..clusters };
                volume.stage_clusters(&whole, 0, &padded, Touch::FileRecord(self.file.number()))?;
                crate::file_edit::set_sizes(self.bytes_mut(spot), size, size);
                Ok(())
            }
            _ => self.replace(spot, record_edit::resident(kind::ATTRIBUTE_LIST, &[], &list, false)),
        }
    }

    fn list_bytes(&self, volume: &Volume) -> Result<Vec<u8>> {
        let mut entries = Vec::new();
        self.file.for_each(|index, a| {
            if a.kind != kind::ATTRIBUTE_LIST {
                let owner = self.file.records[index].view()?.reference();
                entries.push((a.kind, a.name_units(), a.extent().map_or(0, |e| e.first_vcn), owner, a.id));
            }
            Ok(())
        })?;
        entries.sort_by(|a, b| {
            let names = || volume.upcase.compare(a.1.iter().copied(), b.1.iter().copied());
            a.0.cmp(&b.0).then_with(names).then(a.2.cmp(&b.2))
        });
        let mut out = Vec::new();
        for (kind, name, vcn, owner, id) in entries {
            let start = out.len();
            let len = entry_len(2 * name.len());
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&(len as u16).to_le_bytes());
            out.extend_from_slice(&[name.len() as u8, 0x1a]);
            out.extend_from_slice(&vcn.to_le_bytes());
            out.extend_from_slice(&owner.0.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
            name.iter().for_each(|u| out.extend_from_slice(&u.to_le_bytes()));
            out.resize(start + len, 0);
        }
        Ok(out)
    }

    /// Each extent of `$MFT` must be found in the parts that the extents before it describe.
    fn check_mft_order(&self, volume: &Volume) -> Result<()> {
        if self.file.number() != system::MFT {
            return Ok(());
        }
        let size = u64::from(volume.geometry.record_size);
        let cluster = u64::from(volume.geometry.cluster_size);
        self.file.for_each(|index, a| {
            let number = self.file.records[index].number;
            let first = a.extent().filter(|_| a.is(kind::DATA, &[])).map_or(0, |e| e.first_vcn);
            if index > 0 && first > 0 && (number + 1) * size > first.saturating_mul(cluster) {
                let detail = format!("record {number} is to hold the clusters of $MFT from {first} on, and lies there");
                return Err(Error::new(Kind::NoSpace, detail));
            }
            Ok(())
        })
    }

    /// Puts everything into the base record and drops the attribute list, if it fits. Whether it did.
    fn unite(&mut self, volume: &mut Volume) -> Result<bool> {
        let size = volume.geometry.record_size as usize;
        let mut least = 0;
        self.file.for_each(|_, a| {
            let later = a.extent().is_some_and(|e| e.first_vcn > 0);
            least += if later || a.kind == kind::ATTRIBUTE_LIST { 0 } else { a.len };
            Ok(())
        })?;
        // The volume's own files stay as they were laid out.
        if least > size || self.file.number() < crate::replace::FIRST_ORDINARY {
            return Ok(false);
        }
        let mut trial = self.clone();
        let list = trial.list_spot()?;
        trial.remove(list)?;
        trial.join_extents(volume)?;
        while let Some(&spot) = trial.spots(|_| true)?.iter().rfind(|s| s.record > 0) {
            let attribute = trial.bytes_mut(spot).to_vec();
            trial.remove(spot)?;
            trial.insert_into(volume, 0, attribute)?;
        }
        if trial.file.records[0].excess()? > 0 {
            return Ok(false);
        }
        if let Some(Stream::Clusters(clusters)) = self.file.stream(kind::ATTRIBUTE_LIST, &[], &volume.geometry)? {
            volume.release(&clusters.runs)?;
        }
        // Attributes have left their records.
        volume.own_descriptors = std::sync::OnceLock::new();
        *self = trial;
        self.file.has_list = false;
        Ok(true)
    }

    /// Makes each attribute of several extents one of one extent.
    fn join_extents(&mut self, volume: &Volume) -> Result<()> {
        let mut extents: BTreeMap<(u32, Vec<u16>), usize> = BTreeMap::new();
        self.file.for_each(|_, a| {
            if a.extent().is_some() {
                *extents.entry((a.kind, a.name_units())).or_default() += 1;
            }
            Ok(())
        })?;
        for ((kind, name), _) in extents.into_iter().filter(|(_, count)| *count > 1) {
            let Some(Stream::Clusters(clusters)) = self.file.stream(kind, &name, &volume.geometry)? else { continue };
            let Some(spot) = self.spot(kind, &name)? else { continue };
            let first = self.bytes_mut(spot).to_vec();
            let pairs_offset = usize::from(u16::from_le_bytes([first[0x20], first[0x21]]));
            let runs = runs::merged(&clusters.runs);
            self.replace(spot, record_edit::extent_like(&first, &runs, pairs_offset))?;
            volume.drop_later_extents(self, kind, &name)?;
        }
        Ok(())
    }
}

/// Bytes of an entry of the list; `name` counts bytes.
fn entry_len(name: usize) -> usize {
    (0x1a + name).next_multiple_of(8)
}

/// Bytes that the attributes of a new extension record may have.
fn extension_capacity(volume: &Volume) -> usize {
    let size = volume.geometry.record_size;
    record_edit::blank(0, 0, size, 1, 0, 0).room().unwrap_or(0)
}
