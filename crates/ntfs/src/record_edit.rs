//! Edits of a file record: attributes put in, taken out, resized.

use crate::attribute::{Attribute, flag, kind};
use crate::file::Record;
use crate::reference::FileReference;
use crate::runs::{self, Run};
use crate::upcase::UpCase;
use reseal_dtyp::{Error, Kind, Result, from_utf16le};

fn put<const N: usize>(bytes: &mut [u8], offset: usize, value: [u8; N]) {
    bytes[offset..offset + N].copy_from_slice(&value);
}

/// The bytes of a resident attribute; the id is set when it is put into a record.
pub(crate) fn resident(kind: u32, name: &[u16], value: &[u8], indexed: bool) -> Vec<u8> {
    let value_offset = (0x18 + 2 * name.len()).next_multiple_of(8);
    let mut out = vec![0; (value_offset + value.len()).next_multiple_of(8)];
    head(&mut out, kind, name, 0x18);
    put(&mut out, 0x10, (value.len() as u32).to_le_bytes());
    put(&mut out, 0x14, (value_offset as u16).to_le_bytes());
    out[0x16] = u8::from(indexed);
    out[value_offset..value_offset + value.len()].copy_from_slice(value);
    out
}

/// While it is edited, a record may grow to this many bytes; no run list of a volume that can be opened comes near.
const MAX_WHILE_EDITED: usize = 64 << 20;

/// Sizes of a non-resident attribute in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) allocated: u64,
    pub(crate) size: u64,
    pub(crate) initialized: u64,
}

/// The bytes of a non-resident attribute like `template` with other runs, which start at any virtual cluster. Sizes stay in an
/// extent that starts at cluster 0 and are zero in a later one, as only the first extent has them.
pub(crate) fn extent_like(template: &[u8], extent: &[Run], pairs_offset: usize) -> Vec<u8> {
    let pairs = runs::encode(extent);
    let mut out = template[..pairs_offset].to_vec();
    out.extend_from_slice(&pairs);
    out.resize(out.len().next_multiple_of(8), 0);
    let len = out.len() as u32;
    put(&mut out, 4, len.to_le_bytes());
    let first = extent.first().map_or(0, |r| r.vcn);
    put(&mut out, 0x10, first.to_le_bytes());
    put(&mut out, 0x18, extent.last().map_or(0, Run::end).wrapping_sub(1).to_le_bytes());
    if first > 0 {
        out[0x28..0x40].fill(0);
        let flags = u16::from_le_bytes([out[0xc], out[0xd]]);
        if pairs_offset >= 0x48 && flags & (flag::COMPRESSION_MASK | flag::SPARSE) != 0 {
            out[0x40..0x48].fill(0);
        }
    }
    out
}

/// The bytes of a plain non-resident attribute with one extent that starts at virtual cluster 0.
pub(crate) fn non_resident(kind: u32, name: &[u16], extent: &[Run], sizes: Sizes) -> Vec<u8> {
    let pairs = runs::encode(extent);
    let pairs_offset = (0x40 + 2 * name.len()).next_multiple_of(8);
    let mut out = vec![0; (pairs_offset + pairs.len()).next_multiple_of(8)];
    head(&mut out, kind, name, 0x40);
    out[8] = 1;
    let last = extent.last().map_or(0, Run::end).wrapping_sub(1);
    put(&mut out, 0x18, last.to_le_bytes());
    put(&mut out, 0x20, (pairs_offset as u16).to_le_bytes());
    put(&mut out, 0x28, sizes.allocated.to_le_bytes());
    put(&mut out, 0x30, sizes.size.to_le_bytes());
    put(&mut out, 0x38, sizes.initialized.to_le_bytes());
    out[pairs_offset..pairs_offset + pairs.len()].copy_from_slice(&pairs);
    out
}

fn head(out: &mut [u8], kind: u32, name: &[u16], name_offset: usize) {
    put(out, 0, kind.to_le_bytes());
    put(out, 4, (out.len() as u32).to_le_bytes());
    out[9] = name.len() as u8;
    put(out, 0xa, (name_offset as u16).to_le_bytes());
    for (i, unit) in name.iter().enumerate() {
        put(out, name_offset + 2 * i, unit.to_le_bytes());
    }
}

/// Sets the id of attribute bytes.
pub(crate) fn set_id(attribute: &mut [u8], id: u16) {
    put(attribute, 0xe, id.to_le_bytes());
}

impl Record {
    /// Bytes left for attributes.
    pub(crate) fn room(&self) -> Result<usize> {
        Ok(self.size.saturating_sub(self.view()?.end_offset()? + 8))
    }

    /// Bytes that are too many.
    pub(crate) fn excess(&self) -> Result<usize> {
        Ok((self.view()?.end_offset()? + 8).saturating_sub(self.size))
    }

    /// Replaces the attribute at `offset`, `len` bytes long, by `new` (none to take it out). The record may become longer than
    /// its place on the volume.
    pub(crate) fn splice(&mut self, offset: usize, len: usize, new: &[u8]) -> Result<()> {
        let end = self.view()?.end_offset()?;
        if offset + len > end || end + new.len() > MAX_WHILE_EDITED {
            let detail = format!(
                "record {}: {} bytes in the place of {len} at {offset:#x}, the attributes end at {end:#x}",
                self.number,
                new.len()
            );
            return Err(Error::new(Kind::Limit, detail));
        }
        let new_end = end - len + new.len();
        self.bytes.truncate(end);
        self.bytes.splice(offset..offset + len, new.iter().copied());
        self.bytes.resize(self.size.max(new_end + 8), 0);
        self.end_at(new_end);
        Ok(())
    }

    /// Writes the end marker and the size in use.
    fn end_at(&mut self, end: usize) {
        put(&mut self.bytes, end, kind::END.to_le_bytes());
        put(&mut self.bytes, end + 4, [0; 4]);
        put(&mut self.bytes, 0x18, (end as u32 + 8).to_le_bytes());
    }

    /// Puts an attribute at its place in the order and gives it an id, which is returned.
    pub(crate) fn insert(&mut self, mut attribute: Vec<u8>, upcase: &UpCase) -> Result<u16> {
        let new = Attribute::read(&attribute, 0, 0)?;
        let units = |bytes: &[u8]| from_utf16le(bytes);
        let mut at = self.view()?.end_offset()?;
        for old in self.view()?.attributes() {
            let old = old?;
            let vcn = |a: &Attribute<'_>| a.extent().map_or(0, |e| e.first_vcn);
            let order = new
                .kind
                .cmp(&old.kind)
                .then_with(|| upcase.compare(units(new.name).into_iter(), units(old.name).into_iter()))
                .then_with(|| vcn(&new).cmp(&vcn(&old)));
            if order.is_lt() {
                at = old.offset;
                break;
            }
        }
        let id = self.free_id()?;
        set_id(&mut attribute, id);
        self.splice(at, 0, &attribute)?;
        if id >= self.view()?.next_id() {
            put(&mut self.bytes, 0x28, (id + 1).to_le_bytes());
        }
        Ok(id)
    }

    /// The next attribute id, or a gap when the numbers are used up.
    fn free_id(&self) -> Result<u16> {
        let mut used = Vec::new();
        for attribute in self.view()?.attributes() {
            used.push(attribute?.id);
        }
        let next = self.view()?.next_id();
        if next < 0x7fff && !used.contains(&next) {
            return Ok(next);
        }
        // A record holds far fewer attributes than there are ids.
        Ok((0..0x7fff).find(|id| !used.contains(id)).unwrap_or(0))
    }

    /// Makes it an extension of another record.
    pub(crate) fn set_base(&mut self, base: FileReference) {
        put(&mut self.bytes, 0x20, base.0.to_le_bytes());
    }

    pub(crate) fn set_link_count(&mut self, count: u16) {
        put(&mut self.bytes, 0x12, count.to_le_bytes());
    }

    /// The record as a free one: nothing of the file stays in it, and its sequence number has moved on, so that old references
    /// do not fit.
    pub(crate) fn freed(&self) -> Result<Record> {
        Ok(self.blanked(next_sequence(self.view()?.sequence())))
    }

    /// A blank, free record in the place of this one.
    pub(crate) fn blanked(&self, sequence: u16) -> Record {
        blank(self.number, self.at, self.size as u32, sequence, 0, self.update_sequence_number())
    }

    /// What the next write counts on from.
    pub(crate) fn update_sequence_number(&self) -> u16 {
        let array = self.bytes.get(4..6).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
        self.bytes.get(array..array + 2).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]))
    }
}

/// Sequence numbers skip 0.
pub(crate) fn next_sequence(sequence: u16) -> u16 {
    match sequence.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}

/// An empty record: header and end marker. The update sequence number goes on where the old one was.
pub(crate) fn blank(number: u64, at: u64, size: u32, sequence: u16, flags: u16, usn: u16) -> Record {
    let usa_count = size as usize / 512 + 1;
    let start = (0x30 + 2 * usa_count).next_multiple_of(8);
    let mut record = Record { number, at, size: size as usize, bytes: vec![0; size as usize] };
    let bytes = &mut record.bytes;
    bytes[..4].copy_from_slice(b"FILE");
    put(bytes, 4, 0x30u16.to_le_bytes());
    put(bytes, 6, (usa_count as u16).to_le_bytes());
    put(bytes, 0x10, sequence.to_le_bytes());
    put(bytes, 0x14, (start as u16).to_le_bytes());
    put(bytes, 0x16, flags.to_le_bytes());
    put(bytes, 0x1c, size.to_le_bytes());
    put(bytes, 0x2c, (number as u32).to_le_bytes());
    put(bytes, 0x30, usn.to_le_bytes());
    record.end_at(start);
    record
}
