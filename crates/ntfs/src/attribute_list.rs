//! `$ATTRIBUTE_LIST`: which record holds which attribute of a file that needs several records.

use crate::reference::FileReference;
use reseal_dtyp::{Result, View};

/// Windows' own limit.
pub(crate) const MAX_BYTES: u64 = 256 << 10;

/// One attribute, or one extent of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Offset in the list.
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) kind: u32,
    pub(crate) name: &'a [u8],
    pub(crate) first_vcn: u64,
    pub(crate) record: FileReference,
    pub(crate) id: u16,
}

/// The entries of a list, in order; ends at the first error.
pub(crate) fn entries(list: &[u8]) -> impl Iterator<Item = Result<Entry<'_>>> {
    let mut offset = Some(0);
    std::iter::from_fn(move || {
        let start = offset.take().filter(|&o| o < list.len())?;
        let entry = read(list, start);
        if let Ok(e) = &entry {
            offset = Some(start + e.len);
        }
        Some(entry)
    })
}

fn read(list: &[u8], offset: usize) -> Result<Entry<'_>> {
    let view = View::new("attribute list", offset as u64, &list[offset..]);
    let len = usize::from(view.u16(4, "RecordLength")?);
    if len < 0x1a || len % 8 != 0 || len > view.len() {
        return Err(view.damaged(4, "RecordLength", format!("{len} of {} bytes", view.len())));
    }
    let view = View::new("attribute list", offset as u64, &list[offset..offset + len]);
    let name_len = 2 * usize::from(view.u8(6, "NameLength")?);
    let name =
        if name_len == 0 { &[][..] } else { view.bytes(usize::from(view.u8(7, "NameOffset")?), name_len, "Name")? };
    Ok(Entry {
        offset,
        len,
        kind: view.u32(0, "TypeCode")?,
        name,
        first_vcn: view.u64(8, "LowestVcn")?,
        record: FileReference(view.u64(0x10, "SegmentReference")?),
        id: view.u16(0x18, "Instance")?,
    })
}
