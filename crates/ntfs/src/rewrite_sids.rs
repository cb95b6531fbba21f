//! Replacing machine SIDs in every security descriptor of the volume.
//!
//! Descriptors keep their length, so nothing moves: `$SDS` is patched in both copies, `$SII` gets the new hashes, `$SDH` the
//! new keys, its entries sorted over the same slots. Files refer to descriptors by id and are not touched.

use crate::attribute::{Form, kind, name};
use crate::record::FileRecord;
use crate::reference::{FileReference, system};
use crate::scan::Scanned;
use crate::security::{BLOCK, HEADER, Place, Secure, hash};
use crate::slots::Slots;
use crate::store::{PAGE, Touch};
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};
use reseal_sid::SidMap;
use std::cmp::Ordering;
use std::collections::HashMap;

/// What [`Volume::rewrite_sids`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SecurityRewrite {
    /// Descriptors in `$Secure`.
    pub descriptors: usize,
    /// Descriptors in `$Secure` that held an old SID.
    pub changed: usize,
    /// SIDs replaced in them.
    pub sids: usize,
    /// SIDs replaced in bytes of `$SDS` that no index refers to.
    pub orphaned: usize,
    /// `$SECURITY_DESCRIPTOR` attributes of single files that held an old SID.
    pub own_descriptors: usize,
    /// Entries of `$Quota` that held an old SID.
    pub quota_entries: usize,
    /// The entries of `$Quota:$O` had to trade places, by an order that is not documented. Only where quotas are off.
    pub quota_reordered: bool,
}

/// Where a scan found an old SID in a `$SECURITY_DESCRIPTOR` attribute.
enum Own {
    Resident { record: u64, offset: usize, len: usize },
    InClusters { owner: FileReference },
}

impl Volume {
    /// Replaces every old SID of `map` in `$Secure` (both copies, both indexes), in `$SECURITY_DESCRIPTOR` attributes and in
    /// `$Quota`, all or nothing. A second call changes nothing.
    ///
    /// `Unsupported` when quotas are in use and their index would have to be sorted anew. `Damaged` when a descriptor's copies differ, its hash is wrong, or the indexes disagree with `$SDS`: what was broken
    /// before is not written over.
    pub fn rewrite_sids(&mut self, map: &SidMap) -> Result<SecurityRewrite> {
        self.inherited.clear();
        self.operation(|volume| {
            let mut counts = SecurityRewrite::default();
            let secure = volume.secure()?;
            counts.descriptors = secure.places.len();
            volume.rewrite_secure(map, secure, &mut counts)?;
            volume.rewrite_own_descriptors(map, &mut counts)?;
            volume.rewrite_quota(map, &mut counts)?;
            Ok(counts)
        })
    }

    fn rewrite_secure(&mut self, map: &SidMap, mut secure: Secure, counts: &mut SecurityRewrite) -> Result<()> {
        let before = secure.sds.clone();
        let mut hashes = HashMap::new();
        for index in 0..secure.places.len() {
            let place = secure.places[index];
            let range = secure.verified(place)?;
            let body = range.start + HEADER as usize..range.end;
            let mut descriptor = secure.sds[body.clone()].to_vec();
            let replaced = map.rewrite_descriptor(&mut descriptor).map_err(|e| e.within(format!("id {}", place.id)))?;
            if replaced.total() == 0 {
                continue;
            }
            let new = Place { hash: hash(&descriptor), ..place };
            for start in [range.start, range.start + BLOCK as usize] {
                secure.sds[start..start + HEADER as usize].copy_from_slice(&new.to_bytes());
                secure.sds[start + HEADER as usize..start + range.len()].copy_from_slice(&descriptor);
            }
            hashes.insert(place.id, (place.hash, new.hash));
            counts.changed += 1;
            counts.sids += replaced.total();
        }
        counts.orphaned = rewrite_orphans(map, &mut secure);
        self.stage_differing(&secure, &before)?;
        self.rewrite_indexes(secure, &hashes)
    }

    /// Stages the pages of `$SDS` that changed.
    fn stage_differing(&mut self, secure: &Secure, before: &[u8]) -> Result<()> {
        let page = PAGE as usize;
        for (index, (new, old)) in secure.sds.chunks(page).zip(before.chunks(page)).enumerate() {
            if new != old {
                self.stage_clusters(&secure.clusters, (index * page) as u64, new, Touch::Data(system::SECURE))?;
            }
        }
        Ok(())
    }

    fn rewrite_indexes(&mut self, secure: Secure, hashes: &HashMap<u32, (u32, u32)>) -> Result<()> {
        let count = secure.places.len();
        let places: HashMap<u32, Place> = secure.places.iter().map(|p| (p.id, *p)).collect();
        for (tree, index_name, data_at) in [(secure.sii, name::SII, 0x14), (secure.sdh, name::SDH, 0x18)] {
            let label = String::from_utf16_lossy(index_name);
            let bad = |detail: String| Err(Error::damaged("$Secure", "$INDEX_ROOT", 0, format!("{label}: {detail}")));
            let mut slots = self.slots(tree)?;
            if slots.len() != count || places.len() != count {
                return bad(format!("{} entries for {count} descriptors", slots.len()));
            }
            if !slots.is_sorted(self)? {
                return bad("the entries are not in order".into());
            }
            for i in 0..slots.len() {
                let entry = slots.entry(i);
                let data = entry.get(data_at..data_at + HEADER as usize).unwrap_or_default();
                let place = Place::read(data, 0).map_err(|e| e.within(&label))?;
                if places.get(&place.id) != Some(&place) || !key_agrees(entry, &place, index_name) {
                    return bad(format!("the entry of id {} contradicts $SDS", place.id));
                }
                if let Some((_, new)) = hashes.get(&place.id) {
                    let entry = slots.entry_mut(i);
                    entry[data_at..data_at + 4].copy_from_slice(&new.to_le_bytes());
                    if index_name == name::SDH {
                        entry[0x10..0x14].copy_from_slice(&new.to_le_bytes());
                    }
                }
            }
            if hashes.is_empty() {
                continue;
            }
            if index_name == name::SDH {
                slots.sort(self)?;
            }
            self.stage_slots(&slots, index_name)?;
        }
        Ok(())
    }

    /// `$SECURITY_DESCRIPTOR` attributes: system files, and files from before NTFS 3.0.
    fn rewrite_own_descriptors(&mut self, map: &SidMap, counts: &mut SecurityRewrite) -> Result<()> {
        for own in self.own_descriptors_with(map)? {
            let replaced = match own {
                Own::Resident { record, offset, len } => {
                    let mut record = self.record(record)?;
                    let replaced = map.rewrite_descriptor(&mut record.bytes[offset..offset + len])?;
                    self.stage_record(&record)?;
                    replaced.total()
                }
                Own::InClusters { owner } => {
                    let file = self.file(owner)?;
                    let stream = file.stream(kind::SECURITY_DESCRIPTOR, &[], &self.geometry)?;
                    let Some(Stream::Clusters(clusters)) = stream else { continue };
                    let mut value =
                        self.read_metadata(&Stream::Clusters(clusters.clone()), BLOCK, "$SECURITY_DESCRIPTOR")?;
                    let replaced = map.rewrite_descriptor(&mut value)?;
                    if replaced.total() > 0 {
                        self.stage_clusters(&clusters, 0, &value, Touch::Data(owner.record()))?;
                    }
                    replaced.total()
                }
            };
            counts.own_descriptors += usize::from(replaced > 0);
        }
        Ok(())
    }

    /// Files that hold a descriptor themselves, beside or instead of a security id, with an old SID in it as far as it lies
    /// in the record: one pass over all records.
    pub fn files_with_own_sids(&self, map: &SidMap) -> Result<Vec<FileReference>> {
        let found = self.scan(Vec::new, |out: &mut Vec<FileReference>, scanned| {
            if let Scanned::Record(record) = scanned {
                let mut own = Vec::new();
                own_descriptors_of(&record, map, &mut own);
                out.extend((!own.is_empty()).then(|| record.owner()));
            }
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Attributes that hold an old SID. The records that have any are known when all records were checked before.
    fn own_descriptors_with(&self, map: &SidMap) -> Result<Vec<Own>> {
        let Some(records) = self.own_descriptors.get() else {
            let found = self.scan(Vec::new, |out: &mut Vec<Own>, scanned| {
                if let Scanned::Record(record) = scanned {
                    own_descriptors_of(&record, map, out);
                }
            })?;
            return Ok(found.into_iter().flatten().collect());
        };
        let mut out = Vec::new();
        for &number in records {
            let record = self.record(number)?;
            // A file that was removed meanwhile keeps its record's content.
            let view = record.view()?;
            if view.is_in_use() {
                own_descriptors_of(&view, map, &mut out);
            }
        }
        Ok(out)
    }

    /// `$Quota`: `$O` finds the owner id by SID, `$Q` holds the SID beside the numbers.
    fn rewrite_quota(&mut self, map: &SidMap, counts: &mut SecurityRewrite) -> Result<()> {
        let Some(reference) = self.extend_file("$Quota")? else { return Ok(()) };
        let file = self.file(reference)?;
        for index_name in [name::O, name::Q] {
            let Some(tree) = self.tree(&file, index_name)? else { continue };
            let mut slots = self.slots(tree)?;
            let before = orders(&slots);
            let mut changed = 0;
            for i in 0..slots.len() {
                // The two header words are no part of a SID: 16 bytes of lengths and flags, then key and data.
                changed += usize::from(map.rewrite_binary(&mut slots.entry_mut(i)[0x10..]) > 0);
            }
            if changed == 0 {
                continue;
            }
            // How Windows orders SIDs is not documented: every reading that fits the old order has to fit the new one.
            let keeps = before.contains(&true) && before.iter().zip(orders(&slots)).all(|(old, new)| !old || new);
            if index_name == name::O && !keeps {
                if self.has_quotas()? {
                    let detail = "$Quota: the new SIDs change the order of $O in a way that is not documented";
                    return Err(Error::new(Kind::Unsupported, detail));
                }
                // Nobody searches it before quotas are switched on.
                slots.sort(self)?;
                if !orders(&slots)[0] {
                    return Err(Error::new(Kind::Unsupported, "$Quota: $O would have a SID twice"));
                }
                counts.quota_reordered = true;
            }
            self.stage_slots(&slots, index_name)?;
            counts.quota_entries += changed;
        }
        Ok(())
    }

    /// A file in `$Extend` by name; `None` when there is none.
    pub(crate) fn extend_file(&self, file_name: &str) -> Result<Option<FileReference>> {
        let extend = self.reference_of(system::EXTEND)?;
        if !self.file(extend)?.base()?.is_directory() {
            return Ok(None);
        }
        self.lookup(extend, &file_name.encode_utf16().collect::<Vec<_>>())
    }
}

impl Secure {
    /// The range of an entry whose header, copy and hash are right.
    pub(crate) fn verified(&self, place: Place) -> Result<std::ops::Range<usize>> {
        let range = place.range(self.sds.len() as u64)?;
        let copy = range.start + BLOCK as usize..range.end + BLOCK as usize;
        let bad = |what: &str| Err(Error::damaged("$SDS", "", place.offset, format!("id {}: {what}", place.id)));
        if Place::read(&self.sds[range.clone()], place.offset)? != place {
            return bad("the header differs from $SII");
        }
        if self.sds[range.clone()] != self.sds[copy] {
            return bad("the two copies differ");
        }
        let real = hash(&self.sds[range.start + HEADER as usize..range.end]);
        if real != place.hash {
            return bad(&format!("the hash is {real:#010x}, the header says {:#010x}", place.hash));
        }
        Ok(range)
    }

    /// The ranges that no entry of `$SII` nor its copy covers.
    fn gaps(&self) -> Vec<std::ops::Range<usize>> {
        let mut taken: Vec<(usize, usize)> = Vec::with_capacity(self.places.len() * 2);
        for place in &self.places {
            for start in [place.offset as usize, place.offset as usize + BLOCK as usize] {
                taken.push((start, start + place.len as usize));
            }
        }
        taken.sort_unstable();
        let mut out = Vec::new();
        let mut at = 0;
        for (start, end) in taken.into_iter().chain([(self.sds.len(), self.sds.len())]) {
            if start > at {
                out.push(at..start);
            }
            at = at.max(end);
        }
        out
    }
}

/// Whether the key of an entry says what its data says.
fn key_agrees(entry: &[u8], place: &Place, index_name: &[u16]) -> bool {
    let mut key = Vec::with_capacity(8);
    if index_name == name::SDH {
        key.extend_from_slice(&place.hash.to_le_bytes());
    }
    key.extend_from_slice(&place.id.to_le_bytes());
    entry.get(0x10..0x10 + key.len()) == Some(&key[..])
}

/// Descriptors that chkdsk or a crash left behind: nothing refers to them, but they would keep the old SID on the medium.
fn rewrite_orphans(map: &SidMap, secure: &mut Secure) -> usize {
    let mut replaced = 0;
    for gap in secure.gaps() {
        if !map.is_in(&secure.sds[gap.clone()]) {
            continue;
        }
        let mut at = gap.start.next_multiple_of(16);
        while at + HEADER as usize <= gap.end {
            let place = Place::read(&secure.sds[at..gap.end], 0).ok();
            let end = place.map_or(0, |p| at.saturating_add(p.len as usize));
            let body = at + HEADER as usize;
            let Some(place) = place.filter(|p| body < end && end <= gap.end && hash(&secure.sds[body..end]) == p.hash)
            else {
                at += 16;
                continue;
            };
            replaced += map.rewrite_binary(&mut secure.sds[body..end]);
            let new = Place { hash: hash(&secure.sds[body..end]), ..place };
            secure.sds[at..body].copy_from_slice(&new.to_bytes());
            at = end.next_multiple_of(16);
        }
        replaced += map.rewrite_binary(&mut secure.sds[gap]);
    }
    replaced
}

/// Whether the SIDs that are the keys of the slots ascend: by length and then as bytes, as bytes alone, and as 32-bit words, which
/// compares sub-authorities as the numbers that they are.
fn orders(slots: &Slots) -> [bool; 3] {
    let keys: Vec<&[u8]> = (0..slots.len()).map(|i| slots.key_of(i)).collect();
    let ascend = |compare: fn(&[u8], &[u8]) -> Ordering| keys.windows(2).all(|w| compare(w[0], w[1]).is_lt());
    [
        ascend(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b))),
        ascend(<[u8]>::cmp),
        ascend(crate::tree::compare_words),
    ]
}

fn own_descriptors_of(record: &FileRecord<'_>, map: &SidMap, out: &mut Vec<Own>) {
    let attributes = record.attributes().map_while(Result::ok).take_while(|a| a.kind <= kind::SECURITY_DESCRIPTOR);
    for attribute in attributes.filter(|a| a.kind == kind::SECURITY_DESCRIPTOR) {
        match attribute.form {
            Form::Resident { value, offset, .. } if map.is_in(value) => {
                out.push(Own::Resident {
                    record: record.number(),
                    offset: attribute.offset + offset,
                    len: value.len(),
                });
            }
            Form::NonResident(extent) if extent.first_vcn == 0 => out.push(Own::InClusters { owner: record.owner() }),
            _ => {}
        }
    }
}
