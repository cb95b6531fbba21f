//! Taking over solid resources: of contents that nobody names any more no byte stays.

use crate::blobs::{Blob, Place, Sha1Hash};
use crate::chunks::SOLID_HEADER;
use crate::resource::ResourceHeader;
use crate::wim::Wim;
use crate::writer::Writer;
use reseal_dtyp::{Error, Kind, Result};
use std::ops::Range;

impl Writer<'_> {
    /// Takes over every solid resource that holds a content which `is_used`. Chunks in which all is used stay as they are stored;
    /// in the others the rest becomes zero, and they are compressed anew.
    pub fn copy_solids(&mut self, from: &Wim, is_used: &dyn Fn(&Sha1Hash) -> bool) -> Result<()> {
        for resource in 0..from.table().solids.len() {
            let inside = |blob: &&Blob| blob.solid() == Some(resource) && is_used(&blob.hash) && !self.has(&blob.hash);
            let blobs: Vec<Blob> = from.blobs().iter().filter(inside).cloned().collect();
            if !blobs.is_empty() {
                self.copy_solid(from, resource, blobs)?;
            }
        }
        Ok(())
    }

    fn copy_solid(&mut self, from: &Wim, resource: usize, blobs: Vec<Blob>) -> Result<()> {
        let (header, size) = from.table().solids[resource];
        let unused = unused(&blobs, size);
        let start = self.position();
        if unused.is_empty() {
            self.copy_bytes(from, header.offset, header.stored)?;
        } else {
            self.copy_chunks(from, resource, &unused)?;
        }
        let copied = ResourceHeader { stored: self.position() - start, ..header.moved_to(start) };
        let number = self.table.solids.len();
        self.table.solids.push((copied, size));
        for blob in blobs {
            if let Place::Solid { offset, .. } = blob.place {
                let place = Place::Solid { resource: number, offset };
                self.table.add(Blob { references: 0, place, ..blob });
            }
        }
        Ok(())
    }

    fn copy_chunks(&mut self, from: &Wim, resource: usize, unused: &[Range<u64>]) -> Result<()> {
        let chunks = from.solid_chunks(resource)?;
        let start = self.position();
        let mut head = vec![0; SOLID_HEADER];
        from.read_stored(from.table().solids[resource].0.offset, &mut head)?;
        head.resize(SOLID_HEADER + 4 * chunks.count(), 0);
        self.put(&head)?;
        for index in 0..chunks.count() {
            let before = self.position();
            let content = chunks.content_of(index);
            let gaps: Vec<_> = unused.iter().filter(|gap| gap.start < content.end && content.start < gap.end).collect();
            if gaps.is_empty() {
                let stored = chunks.stored(index);
                self.copy_bytes(from, stored.start, stored.end - stored.start)?;
            } else {
                let mut bytes = from.unpack_solid(chunks, index)?;
                for gap in gaps {
                    let from = gap.start.max(content.start) - content.start;
                    let to = gap.end.min(content.end) - content.start;
                    bytes[from as usize..to as usize].fill(0);
                }
                self.put(&chunks.packing().one(&bytes))?;
            }
            let stored = u32::try_from(self.position() - before)
                .map_err(|_| Error::new(Kind::Limit, format!("a chunk of {:#x} bytes", self.position() - before)))?;
            head[SOLID_HEADER + 4 * index..][..4].copy_from_slice(&stored.to_le_bytes());
        }
        self.put_at(start, &head)
    }
}

/// What no blob has of a resource that unpacks to `size` bytes.
fn unused(blobs: &[Blob], size: u64) -> Vec<Range<u64>> {
    let place = |blob: &Blob| match blob.place {
        Place::Solid { offset, .. } => Some(offset..offset + blob.size),
        Place::Own(_) => None,
    };
    let mut used: Vec<Range<u64>> = blobs.iter().filter_map(place).collect();
    used.sort_by_key(|range| range.start);
    let (mut at, mut out) = (0, Vec::new());
    for range in used {
        if range.start > at {
            out.push(at..range.start);
        }
        at = at.max(range.end);
    }
    if at < size {
        out.push(at..size);
    }
    out
}
