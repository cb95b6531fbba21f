//! Reparse points made and taken away: the attribute, the key in `$Reparse`, and what the names repeat of it.
//!
//! ```text
//! $REPARSE_POINT   tag u32 │ length of the data u16 │ 0 u16 │ [GUID, of tags that are not Microsoft's] │ data
//! $Reparse:$R      tag u32, file reference u64 ─▶ nothing
//! ```

use crate::attribute::{kind, name};
use crate::attributes::change_attributes;
use crate::file_edit::FileEdit;
use crate::record_edit::{self, Sizes};
use crate::reference::FileReference;
use crate::rename::stamp_changed;
use crate::stat::file_attribute;
use crate::stream::Clusters;
use crate::tree_edit::payload;
use crate::volume::Volume;
use crate::wof;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// MAXIMUM_REPARSE_DATA_BUFFER_SIZE: all of the attribute.
const MAX: usize = 16 << 10;
/// Bytes before the data, and before that of a tag that is not Microsoft's ([MS-FSCC] 2.1.2.2, 2.1.2.3).
const HEADER: usize = 8;
const GUID_HEADER: usize = 24;
/// Bits of a tag ([MS-FSCC] 2.1.2.1): it is Microsoft's, and folders with it may have entries.
const MICROSOFT: u32 = 0x8000_0000;
const MAY_HAVE_ENTRIES: u32 = 0x1000_0000;

impl Volume {
    /// Makes a file or folder a reparse point, or gives one other data under the tag that it has. `data` is the whole
    /// attribute: tag, length, and what follows.
    ///
    /// `Conflict` for data whose lengths contradict each other or the limit of 16 KiB, for a file that has another tag, and for
    /// a folder with entries unless the tag is one of those that allow it; `Unsupported` for the tag of WOF, which says
    /// how content is stored, for a file with extended attributes, which had no room beside a tag before Windows 10, and
    /// for a volume without `$Extend\$Reparse`.
    pub fn set_reparse(&mut self, reference: FileReference, data: &[u8], now: FileTime) -> Result<()> {
        self.operation(|volume| volume.set_reparse_data(reference, data, now))
            .map_err(|e| e.within(format!("making file {reference} a reparse point")))
    }

    fn set_reparse_data(&mut self, reference: FileReference, data: &[u8], now: FileTime) -> Result<()> {
        self.refuse_own(reference)?;
        let tag = checked_tag(data)?;
        let file = self.file(reference)?;
        let old = self.reparse_data_of(&file)?.map(|old| tag_of(&old));
        if let Some(old) = old.filter(|old| *old != tag) {
            return Err(Error::new(Kind::Conflict, format!("it is a reparse point with the tag {old:#010x} already")));
        }
        if file.base()?.is_directory() && tag & MAY_HAVE_ENTRIES == 0 && !self.entries(reference)?.is_empty() {
            return Err(Error::new(Kind::Conflict, format!("a folder with entries cannot have the tag {tag:#010x}")));
        }
        let mut edit = FileEdit::new(file);
        if !edit.spots(|a| matches!(a.kind, kind::EA | kind::EA_INFORMATION))?.is_empty() {
            return Err(Error::unsupported("it has extended attributes"));
        }
        if old.is_none() {
            self.add_reparse_key(tag, reference)?;
        }
        self.drop_attribute(&mut edit, kind::REPARSE_POINT, &[])?;
        let clusters = self.put_reparse(&mut edit, data)?;
        change_attributes(&mut edit, file_attribute::REPARSE_POINT, file_attribute::REPARSE_POINT)?;
        stamp_changed(&mut edit, now)?;
        self.sync_names(&mut edit, |facts| {
            facts.times[2] = now;
            facts.attributes |= file_attribute::REPARSE_POINT;
            facts.reparse_tag = tag;
        })?;
        edit.finish(self)?;
        self.recount_usage()?;
        match clusters {
            Some(clusters) => self.fill(&clusters, data, reference.record()),
            None => Ok(()),
        }
    }

    /// Makes a reparse point an ordinary file or folder again. `NotFound` when it is none; `Unsupported` for one of WOF, which
    /// becomes ordinary by [`Volume::replace`].
    pub fn remove_reparse(&mut self, reference: FileReference, now: FileTime) -> Result<()> {
        self.operation(|volume| volume.remove_reparse_data(reference, now))
            .map_err(|e| e.within(format!("taking the reparse point from file {reference}")))
    }

    fn remove_reparse_data(&mut self, reference: FileReference, now: FileTime) -> Result<()> {
        self.refuse_own(reference)?;
        let file = self.file(reference)?;
        let data = self.reparse_data_of(&file)?.ok_or_else(|| Error::not_found("it is no reparse point"))?;
        refuse_wof(tag_of(&data))?;
        let mut edit = FileEdit::new(file);
        self.remove_key("$Reparse", name::R, &key(tag_of(&data), reference), reference)?;
        self.drop_attribute(&mut edit, kind::REPARSE_POINT, &[])?;
        change_attributes(&mut edit, file_attribute::REPARSE_POINT, 0)?;
        stamp_changed(&mut edit, now)?;
        self.sync_names(&mut edit, |facts| {
            facts.times[2] = now;
            facts.attributes &= !file_attribute::REPARSE_POINT;
            facts.reparse_tag = 0;
        })?;
        edit.finish(self)?;
        self.recount_usage()
    }

    fn add_reparse_key(&mut self, tag: u32, reference: FileReference) -> Result<()> {
        let missing = || Error::unsupported("the volume has no index of reparse points ($Extend\\$Reparse)");
        let index = self.extend_file("$Reparse")?.ok_or_else(missing)?;
        let file = self.file(index)?;
        if self.tree(&file, name::R)?.is_none() {
            return Err(missing());
        }
        let mut tree = self.edit_tree(file, name::R)?;
        let key = key(tag, reference);
        // No data belongs to the key; its place would be behind it.
        let mut head = [0; 8];
        head[..2].copy_from_slice(&(0x10 + key.len() as u16).to_le_bytes());
        // A key that an earlier file left behind, or Windows: nothing is lost.
        if tree.get(self, &key)?.is_none() {
            tree.insert(self, payload(head, &key, &[]))?;
        }
        tree.finish(self)
    }

    /// Puts the attribute into a record that has room, else into clusters, which are returned.
    fn put_reparse(&mut self, edit: &mut FileEdit, data: &[u8]) -> Result<Option<Clusters>> {
        let resident = record_edit::resident(kind::REPARSE_POINT, &[], data, false);
        for record in &edit.file.records {
            if record.room()? >= resident.len() {
                edit.insert(self, resident)?;
                return Ok(None);
            }
        }
        let size = data.len() as u64;
        let needed = self.geometry.clusters_for(size);
        let runs = self.allocate(needed, 0, None)?;
        let allocated = needed * u64::from(self.geometry.cluster_size);
        let sizes = Sizes { allocated, size, initialized: size };
        edit.insert(self, record_edit::non_resident(kind::REPARSE_POINT, &[], &runs, sizes))?;
        Ok(Some(Clusters { runs, allocated, size, initialized: size, extents: 1, ..Clusters::default() }))
    }
}

fn key(tag: u32, reference: FileReference) -> Vec<u8> {
    [&tag.to_le_bytes()[..], &reference.0.to_le_bytes()].concat()
}

fn tag_of(data: &[u8]) -> u32 {
    data.get(..4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn refuse_wof(tag: u32) -> Result<()> {
    match tag {
        wof::TAG => Err(Error::unsupported("the tag of WOF says how content is stored")),
        _ => Ok(()),
    }
}

/// The tag of data whose lengths are right.
fn checked_tag(data: &[u8]) -> Result<u32> {
    let wrong = |detail: String| Err(Error::new(Kind::Conflict, detail));
    let tag = tag_of(data);
    let header = if tag & MICROSOFT != 0 { HEADER } else { GUID_HEADER };
    if data.len() > MAX || data.len() < header {
        return wrong(format!("reparse data of {} bytes, {header} to {MAX} are possible", data.len()));
    }
    let len = usize::from(u16::from_le_bytes([data[4], data[5]]));
    if header + len != data.len() {
        return wrong(format!("reparse data says {len} bytes behind a header of {header}, there are {}", data.len()));
    }
    // IO_REPARSE_TAG_RESERVED_ZERO to _TWO.
    if tag <= 2 {
        return wrong(format!("the reparse tag {tag:#010x} is reserved"));
    }
    refuse_wof(tag)?;
    Ok(tag)
}
