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
        let layout = self.layout().sorted();
        self.changed_contents(&layout.moved, &mut out)?;
        let mut add = |range: Range<u64>| match out.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => out.push(range),
        };
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

    /// Adds the sectors of some ranges of the disk whose content differs from that of the image file.
    fn changed_contents(&self, ranges: &[Range<u64>], out: &mut Vec<Range<u64>>) -> Result<()> {
        if ranges.is_empty() {
            return Ok(());
        }
        let (disk, original) = (self.bytes(), self.original()?.bytes());
        let (mut now, mut before) = (Vec::new(), Vec::new());
        for range in ranges {
            let mut at = range.start;
            while at < range.end {
                let n = (range.end - at).min(1 << 20) as usize;
                now.resize(n, 0);
                before.resize(n, 0);
                disk.read_at(at, &mut now)?;
                original.read_at(at, &mut before)?;
                for (i, (now, before)) in now.chunks(SECTOR as usize).zip(before.chunks(SECTOR as usize)).enumerate() {
                    if now != before {
                        let start = at + i as u64 * SECTOR;
                        match out.last_mut() {
                            Some(last) if last.end == start => last.end += now.len() as u64,
                            _ => out.push(start..start + now.len() as u64),
                        }
                    }
                }
                at += n as u64;
            }
        }
        Ok(())
    }
}

/// What the parts of an image file are for.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Parts of the virtual disk: byte offset in the file, on the disk, length; ascending, without overlap.
    pub(crate) pieces: Vec<(u64, u64, u64)>,
    /// Ranges of the disk that got a place in the file, or whose sectors got one: what changed there is told by comparing
    /// contents, not by comparing the file.
    pub(crate) moved: Vec<Range<u64>>,
    /// Parts of the container that may change.
    pub(crate) structures: Vec<Range<u64>>,
    /// Whether all else may change, too.
    pub(crate) anywhere: bool,
}

impl Layout {
    fn sorted(mut self) -> Layout {
        self.moved.sort_unstable_by_key(|range| range.start);
        self.structures.sort_unstable_by_key(|range| range.start);
        // Those that touch become one, so that one look finds it.
        let structures = std::mem::take(&mut self.structures);
        for range in structures {
            match self.structures.last_mut() {
                Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
                _ => self.structures.push(range),
            }
        }
        self
    }

    fn place_of(&self, at: u64) -> Place {
        let next = self.pieces.partition_point(|(start, _, _)| *start <= at);
        let piece = next.checked_sub(1).map(|i| self.pieces[i]).filter(|(start, _, len)| at - start < *len);
        match piece {
            Some((start, disk, _)) if is_in(&self.moved, disk + (at - start)) => Place::Structure,
            Some((start, disk, _)) => Place::Disk(disk + (at - start)),
            None if self.anywhere || is_in(&self.structures, at) => Place::Structure,
            None => Place::Stray,
        }
    }
}

/// Whether one of the ascending ranges holds this byte.
fn is_in(ranges: &[Range<u64>], at: u64) -> bool {
    let next = ranges.partition_point(|range| range.start <= at);
    next.checked_sub(1).is_some_and(|i| ranges[i].contains(&at))
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
