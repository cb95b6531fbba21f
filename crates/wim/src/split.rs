//! Dividing a WIM into parts: each content lies whole in one part, the metadata of all images in the first.

use crate::blobs::{Blob, BlobTable, Place};
use crate::header::HEADER_LEN;
use crate::integrity;
use crate::resource::ResourceHeader;
use crate::wim::Wim;
use crate::writer::Output;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::collections::HashMap;

/// Bytes that are copied at once.
const STEP: u64 = 16 << 20;
/// Most parts that a header can number.
const MAX_PARTS: usize = 0xffff;
/// Length of an entry of the blob table, and where the number of the part stands in it.
const ENTRY: usize = 50;
const PART: usize = 24;

/// Which contents lie in which part.
#[derive(Debug, Clone)]
pub struct SplitPlan {
    parts: Vec<Vec<Blob>>,
    /// Metadata of each image, which the first part has.
    metadata: Vec<Blob>,
    xml: Vec<u8>,
    has_integrity: bool,
    size: u64,
}

impl SplitPlan {
    /// How many parts there are, never none.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// How many contents a part has, from 0; the metadata is not counted.
    pub fn contents(&self, part: usize) -> usize {
        self.parts[part].len()
    }

    /// Bytes of resources that a part holds, from 0.
    pub fn stored(&self, part: usize) -> u64 {
        self.resources(part).map(stored).fold(0, u64::saturating_add)
    }

    /// Whether a part, from 0, is larger than was asked for: because of one content, or of the metadata.
    pub fn is_larger(&self, part: usize) -> bool {
        length(self.stored(part), self.resources(part).count(), self.xml.len(), self.has_integrity) > self.size
    }

    fn resources(&self, part: usize) -> impl Iterator<Item = &Blob> {
        let metadata = if part == 0 { &self.metadata[..] } else { &[] };
        metadata.iter().chain(&self.parts[part])
    }
}

/// Bytes of a content in the file.
fn stored(blob: &Blob) -> u64 {
    match blob.place {
        Place::Own(header) => header.stored,
        Place::Solid { .. } => 0,
    }
}

/// What a part with so many bytes in so many resources is at most.
fn length(stored: u64, resources: usize, xml: usize, has_integrity: bool) -> u64 {
    let table = 7 + (ENTRY * resources) as u64;
    let covered = stored.saturating_add(table);
    let integrity = if has_integrity { integrity::table_len(covered) } else { 0 };
    covered.saturating_add(HEADER_LEN as u64 + xml as u64 + integrity)
}

impl Wim {
    /// Divides what the images name into parts of at most `size` bytes, in the order in which it lies in the file. A content
    /// that does not fit into such a part makes a larger one. `Unsupported` for a WIM with solid resources: none of them
    /// can be divided. `Damaged` where an image names what is not there.
    pub fn plan_split(&self, size: u64, has_integrity: bool) -> Result<SplitPlan> {
        if self.has_solid() {
            return Err(Error::unsupported("contents are packed together in solid resources, which cannot be divided"));
        }
        let numbers: Vec<u32> = (1..=self.header().images).collect();
        let mut references = self.references(&numbers, &HashMap::new())?;
        let mut blobs: Vec<Blob> = Vec::new();
        for blob in self.blobs() {
            // Of two entries with one content, the first.
            blobs.extend(references.remove(&blob.hash).map(|references| Blob { references, ..blob.clone() }));
        }
        if let Some(missing) = references.keys().min() {
            self.blob(missing)?;
        }
        blobs.sort_by_key(|blob| match blob.place {
            Place::Own(header) => header.offset,
            Place::Solid { .. } => 0,
        });
        let metadata = numbers.iter().map(|number| Ok(self.metadata_of(*number)?.0.clone()));
        let metadata = metadata.collect::<Result<Vec<Blob>>>()?;
        let mut plan = SplitPlan { parts: vec![Vec::new()], metadata, xml: self.xml()?, has_integrity, size };
        let (mut bytes, mut count) = (plan.stored(0), plan.metadata.len());
        for blob in blobs {
            let fits = length(bytes.saturating_add(stored(&blob)), count + 1, plan.xml.len(), has_integrity) <= size;
            if !fits && count > 0 {
                plan.parts.push(Vec::new());
                (bytes, count) = (0, 0);
            }
            (bytes, count) = (bytes.saturating_add(stored(&blob)), count + 1);
            if let Some(part) = plan.parts.last_mut() {
                part.push(blob);
            }
        }
        if plan.parts.len() > MAX_PARTS {
            let detail = format!("{} parts; a WIM has at most {MAX_PARTS}", plan.parts.len());
            return Err(Error::new(Kind::Limit, detail));
        }
        Ok(plan)
    }

    /// Writes a part, from 0, whole; `guid` is that of all parts. `copied` hears of every piece how many bytes it had. Returns the
    /// length of the part in bytes.
    pub fn write_part(
        &self,
        plan: &SplitPlan,
        part: usize,
        guid: Guid,
        output: &mut dyn Output,
        copied: &mut dyn FnMut(u64),
    ) -> Result<u64> {
        let (mut table, mut at) = (BlobTable::default(), HEADER_LEN as u64);
        for blob in plan.resources(part) {
            let Place::Own(header) = blob.place else { continue };
            self.copy_resource(&header, output, at, copied)?;
            let moved = Blob { place: Place::Own(header.moved_to(at)), ..blob.clone() };
            at += header.stored;
            if header.is_metadata() { table.metadata.push(moved) } else { table.add(moved) }
        }
        let (own, numbers) = ((part as u16 + 1).to_le_bytes(), (plan.count() as u16).to_le_bytes());
        let put = |at: &mut u64, bytes: &[u8], output: &mut dyn Output| -> Result<ResourceHeader> {
            let header = ResourceHeader::plain(*at, bytes.len() as u64);
            output.write_at(*at, bytes)?;
            *at += bytes.len() as u64;
            Ok(header)
        };
        let gap = at.next_multiple_of(8) - at;
        put(&mut at, &[0; 8][..gap as usize], output)?;
        let mut header = self.header().of_part(guid, plan.count());
        let boot = header.boot_image.checked_sub(1).and_then(|boot| table.metadata.get(boot as usize));
        header.boot_metadata = match boot.map(|blob| blob.place) {
            Some(Place::Own(metadata)) => metadata,
            _ => ResourceHeader::default(),
        };
        // A part without the metadata has nothing that could be started.
        header.boot_image = if boot.is_some() { header.boot_image } else { 0 };
        let mut entries = table.to_bytes();
        entries.chunks_exact_mut(ENTRY).for_each(|entry| entry[PART..PART + 2].copy_from_slice(&own));
        header.blob_table = put(&mut at, &entries, output)?;
        let end_of_table = at;
        header.xml = put(&mut at, &plan.xml, output)?;
        header.integrity = ResourceHeader::default();
        if plan.has_integrity {
            let table = integrity::table(output, end_of_table, &[])?;
            header.integrity = put(&mut at, &table, output)?;
        }
        let mut bytes = header.to_bytes();
        bytes[0x28..0x2a].copy_from_slice(&own);
        bytes[0x2a..0x2c].copy_from_slice(&numbers);
        output.write_at(0, &bytes)?;
        Ok(at)
    }

    /// Copies a resource as it is stored.
    fn copy_resource(
        &self,
        header: &ResourceHeader,
        output: &mut dyn Output,
        to: u64,
        copied: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let (mut done, mut buf) = (0, Vec::new());
        while done < header.stored {
            buf.resize((header.stored - done).min(STEP) as usize, 0);
            self.read_stored(header.offset + done, &mut buf)?;
            output.write_at(to + done, &buf)?;
            done += buf.len() as u64;
            copied(buf.len() as u64);
        }
        Ok(())
    }
}
