//! Bytes that belong to nothing, as a reader sees them: which they are, and whether two states of a volume differ in them
//! only, for whoever wants to be sure that a scrub did not touch anything else. What the writer did is not asked.

use crate::index::header;
use crate::sweep::{ByteOwner, Owners};
use crate::tree::Node;
use crate::volume::Volume;
use reseal_dtyp::Result;

/// Bytes before the first attribute of a free record that may change with it: all but these.
const SEQUENCE: std::ops::Range<usize> = 0x10..0x12;

/// What a byte of the medium is to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Part of the content.
    Content,
    /// Part of the attribute of this type in a file record.
    Attribute(u32),
    /// Behind what is in use: the content of a stream, the entries of an index block, the attributes of a record; or all of a
    /// record or block that is free.
    Rest,
}

impl Volume {
    /// What the byte at `offset` is to the owner that [`Owners::of`] names; what cannot be read counts as content.
    pub fn part_of(&self, owners: &Owners, offset: u64) -> Part {
        self.part(owners, offset).ok().flatten().unwrap_or(Part::Content)
    }

    fn part(&self, owners: &Owners, offset: u64) -> Result<Option<Part>> {
        let rest = |is_rest: bool| Ok(Some(if is_rest { Part::Rest } else { Part::Content }));
        match owners.of(offset) {
            ByteOwner::Free => rest(true),
            ByteOwner::Record(number) => {
                let Some(at) = owners.offset_in_record(offset).and_then(|at| usize::try_from(at).ok()) else {
                    return Ok(None);
                };
                let record = self.record(number)?;
                let view = record.view()?;
                if !view.is_in_use() || at >= view.end_offset()? {
                    return rest(true);
                }
                let mut attributes = view.attributes().map_while(Result::ok);
                let holds = attributes.find(|a| (a.offset..a.offset + a.len).contains(&at));
                Ok(holds.map(|a| Part::Attribute(a.kind)))
            }
            ByteOwner::File { file, kind, name } => {
                let Some(at) = owners.offset_in_stream(offset) else { return Ok(None) };
                if kind != crate::attribute::kind::INDEX_ALLOCATION {
                    return rest(self.initialized(file.record(), kind, &name)?.is_some_and(|end| at >= end));
                }
                let Some((used, node)) = self.block_at(file.record(), &name, at)? else { return Ok(None) };
                let end = header(&node.bytes, node.header, node.at)?.end as u64;
                rest(!used || at % (node.bytes.len() as u64) >= end)
            }
        }
    }

    /// The index block that holds byte `offset` of `$INDEX_ALLOCATION`, and whether it is in use.
    fn block_at(&self, number: u64, name: &[u16], offset: u64) -> Result<Option<(bool, Node)>> {
        let Some(tree) = self.tree(&self.file_by_number(number)?, name)? else { return Ok(None) };
        let block = offset / u64::from(tree.block_size);
        let used = tree.bitmap.get((block / 8) as usize).is_some_and(|b| b >> (block % 8) & 1 != 0);
        let vcn = block * u64::from(tree.block_size) / u64::from(tree.vcn_unit);
        Ok(Some((used, self.index_block(&tree, vcn)?)))
    }

    /// Whether a file record differs from `was` only in what stands behind its attributes, and that is zero now; of a free
    /// record only its sequence number has to be the same.
    pub fn record_differs_in_rest_only(&self, was: &Volume, number: u64) -> Result<bool> {
        let (before, after) = (was.record(number)?, self.record(number)?);
        let (old, new) = (before.view()?, after.view()?);
        if old.is_in_use() != new.is_in_use() || old.sequence() != new.sequence() {
            return Ok(false);
        }
        if !new.is_in_use() {
            let rest = &after.bytes[(new.attributes_offset() + 8).min(after.bytes.len())..];
            let same = before.bytes.get(SEQUENCE) == after.bytes.get(SEQUENCE);
            return Ok(same && rest.iter().all(|&b| b == 0));
        }
        let end = new.end_offset()? + 8;
        Ok(old.end_offset()? + 8 == end && differs_behind(&before.bytes, &after.bytes, end))
    }

    /// Whether the index block that holds byte `offset` of `$INDEX_ALLOCATION` `name` of a file differs from `was` only in
    /// what stands behind its entries, and that is zero now; of a block that is free in both, all may differ.
    pub fn index_block_differs_in_rest_only(
        &self,
        was: &Volume,
        number: u64,
        name: &[u16],
        offset: u64,
    ) -> Result<bool> {
        let (before, after) = (was.block_at(number, name, offset)?, self.block_at(number, name, offset)?);
        let (Some((used_before, before)), Some((used, after))) = (before, after) else { return Ok(false) };
        let head = header(&after.bytes, after.header, after.at)?;
        if !used && !used_before {
            return Ok(after.bytes.get(head.end..).is_some_and(|rest| rest.iter().all(|&b| b == 0)));
        }
        let same_end = header(&before.bytes, before.header, before.at)?.end == head.end;
        Ok(used == used_before && same_end && differs_behind(&before.bytes, &after.bytes, head.end))
    }

    /// Bytes of the medium as they lie there.
    pub fn read_medium(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.store.read(offset, buf)
    }

    /// The initialized part of a stream, in bytes; `None` for a resident or absent one.
    pub fn initialized(&self, number: u64, kind: u32, name: &[u16]) -> Result<Option<u64>> {
        let stream = self.file_by_number(number)?.stream(kind, name, &self.geometry)?;
        Ok(match stream {
            Some(crate::stream::Stream::Clusters(c)) => Some(c.initialized.min(c.size)),
            _ => None,
        })
    }
}

/// Whether two blocks with an update sequence array are alike up to `end`, and zero behind it in `after`. The array counts
/// writes, and holds what stands at the ends of sectors, which is compared there.
fn differs_behind(before: &[u8], after: &[u8], end: usize) -> bool {
    let word = |at: usize| after.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let array = word(4)..word(4) + 2 * word(6);
    let alike = |at: usize| array.contains(&at) || before.get(at) == after.get(at);
    before.len() == after.len()
        && end <= after.len()
        && (0..end).all(alike)
        && (end..after.len()).all(|at| after[at] == 0)
}
