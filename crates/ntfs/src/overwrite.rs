//! Overwriting parts of a stream where they lie.

use crate::attribute::kind;
use crate::file_edit::FileEdit;
use crate::names_edit::stamp;
use crate::reference::FileReference;
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{FileTime, Result};

impl Volume {
    /// Writes `pieces` (byte offset in the stream, bytes) over a stream where it lies: its length and its clusters stay, and
    /// the cost follows the pieces. The times in all names follow.
    ///
    /// `false`, with nothing written, when that is not possible: the stream lies in the file record, is compressed, sparse
    /// or stored by WOF, has a hole there, or a piece reaches beyond what was ever written. [`Volume::replace`]
    /// serves then. `Unsupported` for EFS.
    pub fn overwrite(
        &mut self,
        reference: FileReference,
        stream: &[u16],
        pieces: &[(u64, &[u8])],
        now: FileTime,
    ) -> Result<bool> {
        self.operation(|volume| volume.overwrite_stream(reference, stream, pieces, now))
            .map_err(|e| e.within(format!("file {reference}")))
    }

    fn overwrite_stream(
        &mut self,
        reference: FileReference,
        stream: &[u16],
        pieces: &[(u64, &[u8])],
        now: FileTime,
    ) -> Result<bool> {
        self.refuse_own(reference)?;
        let file = self.file(reference)?;
        let Some(Stream::Clusters(clusters)) = file.stream(kind::DATA, stream, &self.geometry)? else {
            return Ok(false);
        };
        let mut edit = FileEdit::new(file);
        let written = clusters.initialized.min(clusters.size);
        let inside = |(at, bytes): &(u64, &[u8])| at.checked_add(bytes.len() as u64).is_some_and(|end| end <= written);
        if !clusters.is_plain() || self.obstacle(&edit, stream)?.is_some() || !pieces.iter().all(inside) {
            return Ok(false);
        }
        for (at, bytes) in pieces {
            let places = clusters.pieces(*at, bytes.len() as u64, self.geometry.cluster_size)?;
            if places.iter().any(|(place, _)| place.is_none()) {
                return Ok(false);
            }
        }
        stamp(&mut edit, now)?;
        self.sync_names(&mut edit, |facts| {
            facts.times[1] = now;
            facts.times[2] = now;
        })?;
        let number = edit.file.number();
        edit.finish(self)?;
        for (at, bytes) in pieces {
            self.write_clusters(&clusters, *at, bytes, number)?;
        }
        Ok(true)
    }
}
