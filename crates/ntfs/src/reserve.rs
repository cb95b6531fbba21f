//! Content that is too long for the memory: a stream gets its length and its clusters first, and then its bytes from the front.

use crate::attribute::kind;
use crate::file_edit::{FileEdit, set_sizes};
use crate::names_edit::stamp;
use crate::record_edit::{self, Sizes};
use crate::reference::FileReference;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

impl Volume {
    /// Gives an empty stream `size` bytes, which read as zero until [`Volume::append`] has written them; a named stream is made
    /// if it does not exist. The times and sizes in all names follow.
    ///
    /// `Conflict` for a stream that is not empty, or a `size` of 0; `NoSpace` when clusters or file records are missing.
    pub fn reserve(&mut self, reference: FileReference, stream: &[u16], size: u64, now: FileTime) -> Result<()> {
        self.operation(|volume| volume.reserve_stream(reference, stream, size, now))
            .map_err(|e| e.within(format!("file {reference}")))
    }

    fn reserve_stream(&mut self, reference: FileReference, stream: &[u16], size: u64, now: FileTime) -> Result<()> {
        self.refuse_own_but_root(reference)?;
        let mut edit = FileEdit::new(self.file(reference)?);
        let spot = match edit.spot(kind::DATA, stream)? {
            None if stream.is_empty() => return Err(Error::not_found("it has no unnamed stream")),
            None => {
                edit.insert(self, record_edit::resident(kind::DATA, stream, &[], false))?;
                edit.spot(kind::DATA, stream)?
            }
            spot => spot,
        };
        let spot = spot.ok_or_else(|| Error::new(Kind::Conflict, "the new stream got lost"))?;
        let is_empty = matches!(edit.file.stream(kind::DATA, stream, &self.geometry)?,
            Some(Stream::Resident(value)) if value.is_empty());
        if size == 0 || !is_empty || edit.flags(spot)? != 0 {
            return Err(Error::new(Kind::Conflict, format!("{size} bytes for a stream that is not empty and plain")));
        }
        let needed = self.geometry.clusters_for(size);
        let runs = self.allocate(needed, 0, None)?;
        let allocated = needed * u64::from(self.geometry.cluster_size);
        let sizes = Sizes { allocated, size, initialized: 0 };
        edit.replace(spot, record_edit::non_resident(kind::DATA, stream, &runs, sizes))?;
        stamp(&mut edit, now)?;
        self.sync_names_but_root(&mut edit, |facts| {
            facts.times[1] = now;
            facts.times[2] = now;
            if stream.is_empty() {
                facts.allocated = allocated;
                facts.size = size;
            }
        })?;
        edit.finish(self)?;
        self.recount_usage()
    }

    /// Writes the next bytes of a stream that [`Volume::reserve`] made: behind those that were ever written. No time changes.
    ///
    /// `Conflict` for more than there is left, and for a stream that is stored in another way.
    pub fn append(&mut self, reference: FileReference, stream: &[u16], data: &[u8]) -> Result<()> {
        self.operation(|volume| volume.append_stream(reference, stream, data))
            .map_err(|e| e.within(format!("file {reference}")))
    }

    fn append_stream(&mut self, reference: FileReference, stream: &[u16], data: &[u8]) -> Result<()> {
        self.refuse_own_but_root(reference)?;
        let mut edit = FileEdit::new(self.file(reference)?);
        let wrong = |detail: String| Err(Error::new(Kind::Conflict, detail));
        let (old, spot) = match (edit.file.stream(kind::DATA, stream, &self.geometry)?, edit.spot(kind::DATA, stream)?)
        {
            (Some(Stream::Clusters(old)), Some(spot)) if old.is_plain() => (old, spot),
            _ => return wrong("the stream does not lie in plain clusters".into()),
        };
        let (at, size) = (old.initialized, old.size);
        let end = at.saturating_add(data.len() as u64);
        if end > size || self.obstacle(&edit, stream)?.is_some() {
            return wrong(format!("{} bytes behind {at:#x} of {size:#x}", data.len()));
        }
        let number = edit.file.number();
        set_sizes(edit.bytes_mut(spot), size, end);
        edit.finish(self)?;
        let clusters = Clusters { initialized: end, ..old };
        self.write_clusters(&clusters, at, data, number)?;
        if end == size {
            // What a former owner of the clusters left.
            let tail = clusters.allocated.saturating_sub(size);
            for (place, len) in clusters.pieces(size, tail, self.geometry.cluster_size)? {
                if let Some(at) = place {
                    self.store.zero(at, len)?;
                }
            }
        }
        Ok(())
    }
}
