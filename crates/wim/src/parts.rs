//! A split WIM as one: its parts side by side, every offset counted through all of them.

use crate::blobs::BlobTable;
use crate::chunks::Chunks;
use crate::header::{HEADER_LEN, Header};
use crate::resource::ResourceHeader;
use crate::wim::{MAX_TABLE, Wim, read_whole};
use reseal_disk::ReadAt;
use reseal_dtyp::{Error, Result, View};
use std::ops::Range;
use std::sync::Arc;

/// Length of an entry of the blob table, where its offset stands, and where the number of the part.
const ENTRY: usize = 50;
const OFFSET: usize = 8;
const PART: usize = 24;

/// A part, for what belongs to it alone.
pub(crate) struct Part {
    pub(crate) store: Arc<dyn ReadAt>,
    pub(crate) header: Header,
    /// Where it begins in all parts.
    pub(crate) start: u64,
}

impl Part {
    /// Header and tables, in all parts.
    pub(crate) fn tables(&self) -> impl Iterator<Item = Range<u64>> {
        let header = &self.header;
        let tables = [header.blob_table, header.xml, header.integrity].map(|table| table.offset..table.end());
        let start = self.start;
        std::iter::once(0..HEADER_LEN as u64)
            .chain(tables)
            .map(move |range| start.saturating_add(range.start)..start.saturating_add(range.end))
    }
}

/// All parts one behind the other.
struct Joined(Vec<(u64, Arc<dyn ReadAt>)>);

impl ReadAt for Joined {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = offset.saturating_add(done as u64);
            let index = self.0.partition_point(|(start, _)| *start <= at).saturating_sub(1);
            let (start, store) = &self.0[index];
            let left = store.len().saturating_sub(at - start).min((buf.len() - done) as u64) as usize;
            // Behind the end of the last one, its own error says so.
            let len = if left == 0 { buf.len() - done } else { left };
            store.read_at(at - start, &mut buf[done..done + len])?;
            done += len;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.last().map_or(0, |(start, store)| start + store.len())
    }
}

impl Wim {
    /// Which part of how many a file is: (1, 1) for a WIM that is not split.
    pub fn part_of(store: &dyn ReadAt) -> Result<(u16, u16)> {
        let (_, part, parts) = Header::read_part(&head(store)?)?;
        Ok((part, parts))
    }

    /// Opens a split WIM for reading; `stores` are its parts in their order. `Damaged` when they are not the parts of one WIM,
    /// `Unsupported` for parts with solid resources.
    pub fn open_parts(stores: Vec<Arc<dyn ReadAt>>) -> Result<Wim> {
        let (mut parts, mut tables, mut start): (Vec<Part>, Vec<u8>, u64) = (Vec::new(), Vec::new(), 0);
        let count = stores.len();
        for (index, store) in stores.into_iter().enumerate() {
            let (header, number, of) = Header::read_part(&head(&*store)?)?;
            let part = Part { store, header, start };
            if (usize::from(number), usize::from(of)) != (index + 1, count) || !parts.iter().all(|p| same(p, &part)) {
                let detail = format!(
                    "part {number} of {of}, id {}, where part {} of {count} is needed",
                    part.header.guid,
                    index + 1
                );
                return Err(Error::damaged("WIM header", "part", 0x28, detail));
            }
            tables.extend(table(&part, number)?);
            start = start.saturating_add(part.store.len());
            parts.push(part);
        }
        let Some(first) = parts.first() else { return Err(Error::not_found("a WIM without parts")) };
        let header = first.header.whole();
        let joined = Joined(parts.iter().map(|part| (part.start, Arc::clone(&part.store))).collect());
        let store: Arc<dyn ReadAt> = Arc::new(joined);
        let blobs = BlobTable::read(&tables, store.len(), |solid| Chunks::size_of_solid(&*store, solid))?;
        Wim::new(store, header, blobs, parts)
    }
}

fn head(store: &dyn ReadAt) -> Result<Vec<u8>> {
    let mut head = vec![0; HEADER_LEN.min(usize::try_from(store.len()).unwrap_or(HEADER_LEN))];
    store.read_at(0, &mut head)?;
    Ok(head)
}

/// Whether two parts belong together.
fn same(a: &Part, b: &Part) -> bool {
    let of = |part: &Part| (part.header.guid, part.header.compression, part.header.chunk, part.header.images);
    of(a) == of(b)
}

/// The blob table of a part, its offsets counted through all parts.
fn table(part: &Part, number: u16) -> Result<Vec<u8>> {
    let mut out = read_whole(&*part.store, &part.header, &part.header.blob_table, "blob table", MAX_TABLE)?;
    if !out.len().is_multiple_of(ENTRY) {
        let detail = format!("{} bytes are no whole number of {ENTRY}-byte entries", out.len());
        return Err(Error::damaged("blob table", "length", 0, detail));
    }
    for (index, entry) in out.chunks_exact_mut(ENTRY).enumerate() {
        let view = View::new("blob table", (index * ENTRY) as u64, entry);
        let resource = ResourceHeader::read(&view, 0)?;
        if resource.is_solid() {
            return Err(Error::unsupported("a split WIM with solid resources"));
        }
        let stated = view.u16(PART, "part")?;
        if stated != number {
            return Err(view.damaged(PART, "part", format!("{stated} in the table of part {number}")));
        }
        resource.check_place("resource", part.store.len())?;
        entry[OFFSET..OFFSET + 8].copy_from_slice(&(part.start + resource.offset).to_le_bytes());
        entry[PART..PART + 2].copy_from_slice(&1u16.to_le_bytes());
    }
    Ok(out)
}
