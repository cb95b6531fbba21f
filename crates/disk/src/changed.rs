//! Where the overlay differs from the image file, said in bytes of the virtual disk.

use crate::disk::Disk;
use crate::journal::SECTOR;
use reseal_dtyp::{Error, Kind, Result};
use std::ops::Range;

impl Disk {
    /// The ranges of the virtual disk that differ from the image file, in whole sectors, ascending.
    ///
    /// What changes in the container itself is checked here: a VHDX may get another header, new entries in its BAT and, when
    /// its log was replayed, what the log holds. `Conflict`, with the place, for any other change of the file.
    pub fn changed_ranges(&self) -> Result<Vec<Range<u64>>> {
        let mut out: Vec<Range<u64>> = Vec::new();
        let mut add = |range: Range<u64>| match out.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => out.push(range),
        };
        let layout = self.layout();
        self.overlay.each_run(|offset, now, before| {
            for (i, (now, before)) in now.chunks(SECTOR as usize).zip(before.chunks(SECTOR as usize)).enumerate() {
                if now == before {
                    continue;
                }
                let at = offset + i as u64 * SECTOR;
                match layout.place_of(at) {
                    Place::Disk(offset) => add(offset..offset + now.len() as u64),
                    Place::Structure => {}
                    Place::Stray => {
                        let detail = format!("a change at {at:#x} of the file belongs to nothing that may change");
                        return Err(Error::new(Kind::Conflict, detail));
                    }
                }
            }
            Ok(())
        })?;
        // Blocks of a container may lie in any order.
        out.sort_unstable_by_key(|range| range.start);
        Ok(out)
    }
}

/// What the parts of an image file are for.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Parts of the virtual disk: byte offset in the file, on the disk, length; ascending, without overlap.
    pub(crate) pieces: Vec<(u64, u64, u64)>,
    /// Parts of the container that may change.
    pub(crate) structures: Vec<Range<u64>>,
    /// Whether all else may change, too.
    pub(crate) anywhere: bool,
}

impl Layout {
    fn place_of(&self, at: u64) -> Place {
        let next = self.pieces.partition_point(|(start, _, _)| *start <= at);
        let piece = next.checked_sub(1).map(|i| self.pieces[i]).filter(|(start, _, len)| at - start < *len);
        match piece {
            Some((start, disk, _)) => Place::Disk(disk + (at - start)),
            None if self.anywhere || self.structures.iter().any(|s| s.contains(&at)) => Place::Structure,
            None => Place::Stray,
        }
    }
}

/// What a byte of the image file belongs to.
enum Place {
    /// The virtual disk, at this byte.
    Disk(u64),
    /// A part of the container that may change.
    Structure,
    /// Nothing that may change.
    Stray,
}
