//! Replacing the content of a stream.

use crate::attribute::kind;
use crate::file_edit::{FileEdit, Spot, set_sizes};
use crate::names_edit::stamp;
use crate::plain::Cleared;
use crate::record_edit::{self, Sizes};
use crate::reference::{FileReference, system};
use crate::runs::{self, Run};
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use reseal_dtyp::{Error, FileTime, Kind, Result};

/// Records below are the volume's own files.
pub(crate) const FIRST_ORDINARY: u64 = 24;

impl Volume {
    /// Gives a stream new content of any length; a named stream is made if it does not exist. Content stays where it is as far
    /// as it fits: only the 4 KiB pages that differ are written, what the stream gives up is zeroed. When it has to grow, it
    /// grows behind its last run, in further runs, or moves to one run. The times and sizes in all names follow.
    ///
    /// A stream that was compressed, sparse or stored by WOF is stored plainly from then on. `Unsupported` for EFS, WIMBoot and
    /// WOF algorithms that are not known; `NoSpace` when clusters or file records are missing. Nothing is changed
    /// then.
    pub fn replace(&mut self, reference: FileReference, stream: &[u16], data: &[u8], now: FileTime) -> Result<()> {
        self.operation(|volume| volume.replace_stream(reference, stream, data, now))
            .map_err(|e| e.within(format!("file {reference}")))
    }

    fn replace_stream(&mut self, reference: FileReference, stream: &[u16], data: &[u8], now: FileTime) -> Result<()> {
        self.refuse_own_but_root(reference)?;
        let file = self.file(reference)?;
        let old = file.stream(kind::DATA, stream, &self.geometry)?;
        let mut edit = FileEdit::new(file);
        let spot = edit.spot(kind::DATA, stream)?;
        let obstacle = self.obstacle(&edit, stream)?;
        if old.is_some() && self.reads_as(&edit, stream, data)? {
            return Ok(());
        }
        let target = match (old, spot) {
            (None, _) | (_, None) if stream.is_empty() => return Err(Error::not_found("it has no unnamed stream")),
            (None, _) | (_, None) => self.add_stream(&mut edit, stream, data)?,
            (Some(_), Some(_)) if let Some(cleared) = obstacle => {
                self.store_plainly(&mut edit, stream, data, cleared)?
            }
            (Some(Stream::Resident(_)), Some(spot)) => self.replace_resident(&mut edit, spot, stream, data)?,
            (Some(Stream::Clusters(clusters)), Some(spot)) => {
                Some(self.replace_clusters(&mut edit, spot, clusters, data.len() as u64)?)
            }
        };
        self.finish_replace(edit, (stream, data), target, obstacle.unwrap_or_default(), now)
    }

    /// Takes a named stream away, its clusters are freed and zeroed. `NotFound` when there is none; the unnamed stream stays.
    pub fn remove_stream(&mut self, reference: FileReference, stream: &[u16], now: FileTime) -> Result<()> {
        self.operation(|volume| {
            volume.refuse_own_but_root(reference)?;
            let mut edit = FileEdit::new(volume.file(reference)?);
            if stream.is_empty() || edit.spot(kind::DATA, stream)?.is_none() {
                let text = reseal_dtyp::utf16_lossy(stream);
                return Err(Error::not_found(format!("it has no named stream `{text}`")));
            }
            volume.drop_attribute(&mut edit, kind::DATA, stream)?;
            volume.finish_replace(edit, (stream, &[]), None, Cleared::default(), now)
        })
        .map_err(|e| e.within(format!("file {reference}")))
    }

    fn finish_replace(
        &mut self,
        mut edit: FileEdit,
        (stream, data): (&[u16], &[u8]),
        target: Option<Clusters>,
        cleared: Cleared,
        now: FileTime,
    ) -> Result<()> {
        stamp(&mut edit, now)?;
        let size = data.len() as u64;
        let allocated = target.as_ref().map_or(size.next_multiple_of(8), |clusters| clusters.allocated);
        self.sync_names_but_root(&mut edit, |facts| {
            facts.times[1] = now;
            facts.times[2] = now;
            cleared.apply(facts);
            if stream.is_empty() {
                facts.allocated = allocated;
                facts.size = size;
            }
        })?;
        let number = edit.file.number();
        edit.finish(self)?;
        self.recount_usage()?;
        let Some(clusters) = target else { return Ok(()) };
        // Content goes last: every refusal lies behind us.
        self.write_clusters(&clusters, 0, data, number)?;
        // The tail holds old content, or what a former owner of the clusters left.
        let tail = clusters.allocated.saturating_sub(size);
        for (place, len) in clusters.pieces(size, tail, self.geometry.cluster_size)? {
            if let Some(at) = place {
                self.store.zero(at, len)?;
            }
        }
        Ok(())
    }

    fn add_stream(&mut self, edit: &mut FileEdit, stream: &[u16], data: &[u8]) -> Result<Option<Clusters>> {
        let resident = record_edit::resident(kind::DATA, stream, &[], false);
        edit.insert(self, resident)?;
        let spot = edit.spot(kind::DATA, stream)?;
        let spot = spot.ok_or_else(|| Error::new(Kind::Conflict, "the new stream got lost"))?;
        self.replace_resident(edit, spot, stream, data)
    }

    /// Stays in the record as long as it fits, else moves to clusters.
    pub(crate) fn replace_resident(
        &mut self,
        edit: &mut FileEdit,
        spot: Spot,
        stream: &[u16],
        data: &[u8],
    ) -> Result<Option<Clusters>> {
        let head = (0x18 + 2 * stream.len()).next_multiple_of(8);
        if head + data.len().next_multiple_of(8) <= edit.room_at(spot)? {
            edit.replace(spot, record_edit::resident(kind::DATA, stream, data, false))?;
            return Ok(None);
        }
        Ok(Some(self.move_to_clusters(edit, spot, stream, data.len() as u64)?))
    }

    /// Puts a non-resident attribute with fresh clusters in the place of a resident one.
    pub(crate) fn move_to_clusters(
        &mut self,
        edit: &mut FileEdit,
        spot: Spot,
        stream: &[u16],
        size: u64,
    ) -> Result<Clusters> {
        let needed = self.geometry.clusters_for(size);
        let runs = self.allocate(needed, 0, None)?;
        let allocated = needed * u64::from(self.geometry.cluster_size);
        let sizes = Sizes { allocated, size, initialized: size };
        edit.replace(spot, record_edit::non_resident(kind::DATA, stream, &runs, sizes))?;
        Ok(Clusters { runs, allocated, size, initialized: size, extents: 1, ..Clusters::default() })
    }

    /// Changes sizes and clusters of a non-resident stream; returns where content goes.
    fn replace_clusters(&mut self, edit: &mut FileEdit, spot: Spot, old: Clusters, size: u64) -> Result<Clusters> {
        let needed = self.geometry.clusters_for(size);
        let cluster = u64::from(self.geometry.cluster_size);
        if needed > old.end_vcn() {
            // All content is written anew, so nothing is copied when it moves.
            return self.grow_attribute(edit, spot, &old, needed, 0, (size, size));
        }
        let mut new = Clusters { size, initialized: size, ..old };
        if needed < new.end_vcn() {
            let (kept, cut) = runs::cut(&new.runs, needed);
            self.release(&cut)?;
            new.runs = kept;
            new.allocated = needed * cluster;
            let sizes = Sizes { allocated: new.allocated, size, initialized: size };
            self.place(edit, spot, &new.runs, sizes)?;
        } else {
            set_sizes(edit.bytes_mut(spot), size, size);
        }
        Ok(new)
    }
}

/// The volume's own files are not for this door.
pub(crate) fn refuse_system(reference: FileReference) -> Result<()> {
    if reference.record() < FIRST_ORDINARY {
        return Err(Error::unsupported(format!("file {reference} belongs to the volume itself")));
    }
    Ok(())
}

/// Folders above a file that are looked at: what lies deeper is not of the volume itself.
const LEVELS: usize = 16;

impl Volume {
    /// As [`refuse_system`], and for what lies in `$Extend`: the indexes, the change journal, the transaction logs.
    pub(crate) fn refuse_own(&self, reference: FileReference) -> Result<()> {
        refuse_system(reference)?;
        let mut current = reference;
        for _ in 0..LEVELS {
            let Ok(record) = self.record(current.record()) else { return Ok(()) };
            let Some(parent) = record.view()?.names().next().map(|name| name.parent()) else { return Ok(()) };
            if parent.record() == system::EXTEND {
                return Err(Error::unsupported(format!("file {reference} in $Extend belongs to the volume itself")));
            }
            if parent.record() < FIRST_ORDINARY {
                return Ok(());
            }
            current = parent;
        }
        Ok(())
    }

    /// All clusters of a file, of all attributes and records.
    pub(crate) fn clusters_of(&self, file: &crate::file::File) -> Result<Vec<Run>> {
        let mut out = Vec::new();
        let clusters = self.geometry.clusters;
        file.for_each(|_, attribute| {
            if let Some(extent) = attribute.extent() {
                for run in extent.runs(clusters, attribute.offset as u64) {
                    out.push(run?);
                }
            }
            Ok(())
        })?;
        Ok(out)
    }
}
