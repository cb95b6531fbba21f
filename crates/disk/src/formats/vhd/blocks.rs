//! A dynamic or differencing VHD: blocks of sectors, each behind a bitmap that says which of them are there.

use super::Found;
use super::footer::*;
use super::locator::Locator;
use crate::changed::Layout;
use crate::child::{CreateChild, NewDisk};
use crate::disk::Disk;
use crate::formats::blocks::{alike, pieces, refuse_overlap};
use crate::formats::chain::{Parent, windows_path};
use crate::formats::{Commit, Container, Format, Opening};
use crate::io::{ReadAt, WriteAt, checked_range};
use crate::overlay::Overlay;
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock, RwLockWriteGuard};

/// Where data of a block begin, as Windows has it since 2012: a multiple of this.
const ALIGNMENT: u64 = 4096;
/// Bytes that are copied at a time while a block is filled.
const STEP: u64 = 1 << 20;

/// A virtual disk in blocks.
#[derive(Debug)]
pub(super) struct Vhd {
    file: Arc<Overlay>,
    found: Found,
    header: Header,
    parent: Option<(Locator, Parent)>,
    state: RwLock<State>,
    /// Held while a block becomes fully present, so that two writers do not make it so twice.
    filling: Mutex<()>,
}

#[derive(Debug)]
struct State {
    places: Vec<Place>,
    /// Where the footer stands now.
    footer_at: u64,
    /// What lay between the old end of the data and a new block, and bitmaps that were written.
    structures: Vec<Range<u64>>,
    /// Blocks whose sectors were not all there, and are now.
    filled: BTreeSet<usize>,
}

/// Where a block is: the sector of its bitmap.
#[derive(Debug, Clone, Copy)]
enum Place {
    Absent,
    /// Its bitmap was not looked at.
    Unread(u32),
    /// Every sector is there.
    Full(u32),
    /// Some sectors are there.
    Partial(u32),
}

impl Place {
    /// Byte offset of the bitmap.
    fn at(self) -> Option<u64> {
        match self {
            Place::Absent => None,
            Place::Unread(sector) | Place::Full(sector) | Place::Partial(sector) => Some(u64::from(sector) * SECTOR),
        }
    }
}

impl Vhd {
    /// Opens the file and its parents. `Damaged` when blocks overlap each other, a structure or the end of the file.
    pub(super) fn open(file: Arc<Overlay>, found: Found, opening: &Opening) -> Result<Vhd> {
        let header = Header::read(&*file, found.footer.header_offset, found.end)?;
        let count = found.footer.disk_len.div_ceil(header.block_len);
        if count > u64::from(header.entries) {
            let detail = format!("{count} blocks, {} entries", header.entries);
            return Err(Error::damaged("VHD header", "Max Table Entries", header.at + 28, detail));
        }
        // Bounded by the table, which lies within the file.
        let mut table = vec![0; count as usize * 4];
        file.read_at(header.bat_offset, &mut table)?;
        let places = table.chunks_exact(4).map(|entry| match u32_at(entry, 0) {
            ABSENT => Place::Absent,
            sector => Place::Unread(sector),
        });
        let places: Vec<Place> = places.collect();
        let mut locator = match found.footer.ty {
            DiskType::Differencing => Some(Locator::read(&*file, &header, found.end)?),
            _ => None,
        };
        let parts = parts(&places, &header, &found, locator.as_ref())?;
        if let Some(locator) = &mut locator {
            locator.limit_room(&parts);
        }
        refuse_overlap(parts, "VHD BAT", header.bat_offset)?;
        let parent = match locator {
            None => None,
            Some(locator) => {
                let parent = Parent::find(file.host().path(), locator.wanted(&header)?, opening)?;
                Some((locator, parent))
            }
        };
        let footer_at = found.end;
        let state = State { places, footer_at, structures: Vec::new(), filled: BTreeSet::new() };
        Ok(Vhd { file, found, header, parent, state: RwLock::new(state), filling: Mutex::new(()) })
    }

    fn state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }

    fn disk_len(&self) -> u64 {
        self.found.footer.disk_len
    }

    /// Sectors of a block that belong to the disk.
    fn sectors(&self, block: usize) -> u64 {
        let rest = self.disk_len() - block as u64 * self.header.block_len;
        rest.min(self.header.block_len) / SECTOR
    }

    /// Where a block is, after a look at its bitmap.
    fn place(&self, block: usize) -> Result<Place> {
        let place = self.state.read().unwrap_or_else(|e| e.into_inner()).places[block];
        let Place::Unread(sector) = place else { return Ok(place) };
        let bits = self.bits(place)?;
        let is_full = (0..self.sectors(block)).all(|n| is_set(&bits, n));
        let place = if is_full { Place::Full(sector) } else { Place::Partial(sector) };
        let mut state = self.state();
        // Somebody may have filled it meanwhile.
        if let Place::Unread(_) = state.places[block] {
            state.places[block] = place;
        }
        Ok(state.places[block])
    }

    fn bits(&self, place: Place) -> Result<Vec<u8>> {
        let mut bits = vec![0; self.header.bitmap_len() as usize];
        if let Some(at) = place.at() {
            self.file.read_at(at, &mut bits)?;
        }
        Ok(bits)
    }

    /// Byte offset in the file of a block's data.
    fn data_at(&self, place: Place) -> Option<u64> {
        place.at().map(|at| at + self.header.bitmap_len())
    }

    /// Reads part of a block; `at` is its byte offset on the disk.
    fn read_piece(&self, block: usize, within: u64, at: u64, buf: &mut [u8]) -> Result<()> {
        let place = self.place(block)?;
        match (place, self.data_at(place)) {
            (Place::Full(_), Some(data)) => self.file.read_at(data + within, buf),
            (Place::Partial(_), Some(data)) => {
                let bits = self.bits(place)?;
                for (part, is_here) in alike(within, buf.len(), SECTOR, |n| is_set(&bits, n)) {
                    let skip = part.start as u64;
                    if is_here {
                        self.file.read_at(data + within + skip, &mut buf[part])?;
                    } else {
                        self.read_below(at + skip, &mut buf[part])?;
                    }
                }
                Ok(())
            }
            _ => self.read_below(at, buf),
        }
    }

    /// Reads what the file does not have: the parent's, or zeros.
    fn read_below(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        match &self.parent {
            Some((_, parent)) => parent.read_at(at, buf),
            None => {
                buf.fill(0);
                Ok(())
            }
        }
    }

    /// Gives every sector of a block a place of its own, with what it reads as now, and the block its BAT entry. Returns where
    /// its data begin.
    fn fill(&self, block: usize) -> Result<u64> {
        let _alone = self.filling.lock().unwrap_or_else(|e| e.into_inner());
        let old = self.place(block)?;
        let at = match (old, old.at()) {
            (Place::Full(_), Some(at)) => return Ok(at + self.header.bitmap_len()),
            (_, Some(at)) => at,
            _ => self.append()?,
        };
        let bitmap_len = self.header.bitmap_len();
        let was_here = old.at().is_some();
        if was_here || self.parent.is_some() {
            let (start, len) = (block as u64 * self.header.block_len, self.sectors(block) * SECTOR);
            let mut buf = Vec::new();
            let mut done = 0;
            while done < len {
                buf.resize((len - done).min(STEP) as usize, 0);
                self.read_piece(block, done, start + done, &mut buf)?;
                if was_here || buf.iter().any(|b| *b != 0) {
                    self.file.write_at(at + bitmap_len + done, &buf)?;
                }
                done += buf.len() as u64;
            }
        }
        self.file.write_at(at, &vec![0xff; bitmap_len as usize])?;
        let sector = u32::try_from(at / SECTOR)
            .ok()
            .filter(|sector| *sector != ABSENT)
            .ok_or_else(|| Error::new(Kind::Limit, format!("a block at {at:#x}: a VHD file cannot be so long")))?;
        self.file.write_at(self.header.bat_offset + 4 * block as u64, &sector.to_be_bytes())?;
        let mut state = self.state();
        state.places[block] = Place::Full(sector);
        state.structures.push(at..at + bitmap_len);
        if was_here || self.parent.is_some() {
            state.filled.insert(block);
        }
        Ok(at + bitmap_len)
    }

    /// Room for a bitmap and a block where the footer stands, which moves behind it. It reads as zero.
    fn append(&self) -> Result<u64> {
        let mut state = self.state();
        let (old, bitmap_len) = (state.footer_at, self.header.bitmap_len());
        let at = (old + bitmap_len).next_multiple_of(ALIGNMENT) - bitmap_len;
        let footer_at = at + bitmap_len + self.header.block_len;
        if at / SECTOR >= u64::from(ABSENT) {
            return Err(Error::new(Kind::Limit, format!("a block at {at:#x}: a VHD file cannot be so long")));
        }
        self.file.grow(footer_at + FOOTER as u64);
        // The old footer may reach beyond the bitmap in front of nothing.
        self.file.write_at(old, &vec![0; (at + bitmap_len - old) as usize])?;
        self.file.write_at(footer_at, self.found.footer.bytes())?;
        state.structures.push(old..at + bitmap_len);
        state.structures.push(footer_at..footer_at + FOOTER as u64);
        state.footer_at = footer_at;
        Ok(at)
    }
}

/// The first sector is the highest bit, other than in a VHDX.
fn is_set(bits: &[u8], sector: u64) -> bool {
    bits.get((sector / 8) as usize).is_some_and(|byte| byte << (sector % 8) & 0x80 != 0)
}

/// When the host says that the file of a disk was written last, in seconds since 2000-01-01 UTC.
fn written_at(disk: &Disk) -> Option<u32> {
    const FROM_1970: u64 = 946_684_800;
    let time = std::fs::metadata(disk.path()).and_then(|m| m.modified()).ok()?;
    let seconds = time.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    u32::try_from(seconds.checked_sub(FROM_1970)?).ok()
}

/// What lies in the file, as (byte offset, length). `Damaged` for a block outside.
fn parts(places: &[Place], header: &Header, found: &Found, locator: Option<&Locator>) -> Result<Vec<(u64, u64)>> {
    let mut out = vec![(0, FOOTER as u64), (header.at, HEADER as u64)];
    out.push((header.bat_offset, 4 * u64::from(header.entries)));
    out.push((found.end, found.len as u64));
    out.extend(locator.into_iter().flat_map(Locator::places));
    for (index, at) in places.iter().enumerate().filter_map(|(i, place)| Some((i, place.at()?))) {
        // The last block may end with the disk.
        let rest = found.footer.disk_len - index as u64 * header.block_len;
        let len = header.bitmap_len() + header.block_len.min(rest);
        if at + len > found.end {
            let detail = format!("block {index}: {len:#x} bytes at {at:#x}, the data end at {:#x}", found.end);
            return Err(Error::damaged("VHD BAT", "entry", header.bat_offset + 4 * index as u64, detail));
        }
        out.push((at, len));
    }
    Ok(out)
}

impl Container for Vhd {
    fn format(&self) -> Format {
        if self.parent.is_some() { Format::VHD_DIFFERENCING } else { Format::VHD_DYNAMIC }
    }

    fn sector_size(&self) -> Option<u32> {
        Some(SECTOR as u32)
    }

    fn block_len(&self) -> Option<u64> {
        Some(self.header.block_len)
    }

    fn id(&self) -> Option<Guid> {
        Some(self.found.footer.id)
    }

    fn file_offset(&self, offset: u64) -> Result<Option<u64>> {
        let (block, within) = (offset / self.header.block_len, offset % self.header.block_len);
        if offset >= self.disk_len() {
            return Ok(None);
        }
        Ok(match self.place(block as usize)? {
            place @ Place::Full(_) => self.data_at(place).map(|data| data + within),
            _ => None,
        })
    }

    /// `cxsparse`.
    fn signature_offset(&self) -> Option<u64> {
        Some(self.header.at)
    }

    fn layout(&self) -> Layout {
        let state = self.state.read().unwrap_or_else(|e| e.into_inner());
        let len = self.header.block_len;
        let data = state.places.iter().enumerate().filter_map(|(i, place)| Some((i, self.data_at(*place)?)));
        let mut pieces: Vec<_> = data.map(|(i, at)| (at, i as u64 * len, self.sectors(i) * SECTOR)).collect();
        pieces.sort_unstable();
        let moved = state.filled.iter().map(|&i| i as u64 * len..i as u64 * len + self.sectors(i) * SECTOR).collect();
        let bat = self.header.bat_offset;
        let mut structures = state.structures.clone();
        structures.push(bat..bat + 4 * state.places.len() as u64);
        Layout { pieces, moved, structures, anywhere: false }
    }

    /// Gives the disk a new id, in both footers: children that nobody knows of will not take it for what it was.
    fn before_commit(&self, commit: Commit<'_>) -> Result<()> {
        if let (Some(out), Some((locator, parent))) = (commit.out, &self.parent) {
            let path = windows_path(out, parent.disk()?.path())?;
            locator.move_to(&*self.file, &self.header, &path)?;
        }
        if commit.is_changed {
            let bytes = self.found.footer.with_id(commit.ids[1]);
            let footer_at = self.state().footer_at;
            let is_old = footer_at == self.found.end;
            self.file.write_at(footer_at, &bytes[..if is_old { self.found.len } else { FOOTER }])?;
            self.file.write_at(0, &bytes)?;
        }
        Ok(())
    }

    fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref().map(|(_, parent)| parent)
    }

    fn link_id(&self) -> Option<Guid> {
        Some(self.found.footer.id)
    }

    fn new_child(&self, path: &str, options: &CreateChild) -> Result<NewDisk> {
        self.found.footer.new_child(path, options)
    }

    /// A child says when its parent was written last. Windows itself writes 0 there, and every copy of a file changes the
    /// host's time: it is told, and the id decides.
    fn note(&self) -> Option<String> {
        let (locator, parent) = self.parent.as_ref()?;
        let written = parent.disk().ok().and_then(written_at)?;
        (locator.time != 0 && locator.time != written).then(|| {
            format!("the VHD says that its parent was written {} s after 2000, the host says {written} s", locator.time)
        })
    }

    fn damage(&self) -> Option<&str> {
        self.found.damage.as_deref()
    }
}

impl ReadAt for Vhd {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        checked_range(offset, buf.len(), self.disk_len())?;
        for (block, within, range) in pieces(self.header.block_len, offset, buf.len()) {
            self.read_piece(block, within, offset + range.start as u64, &mut buf[range])?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.disk_len()
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        let Ok(n) = usize::try_from(len) else { return false };
        checked_range(offset, n, self.disk_len()).is_ok()
            && pieces(self.header.block_len, offset, n).all(|(block, within, range)| {
                let len = range.len() as u64;
                let place = self.place(block);
                match (place.as_ref().ok().and_then(|place| self.data_at(*place)), place, &self.parent) {
                    (Some(data), Ok(Place::Full(_)), _) => self.file.is_hole(data + within, len),
                    (_, Ok(Place::Absent), None) => true,
                    (_, Ok(Place::Absent), Some((_, parent))) => parent.is_hole(offset + range.start as u64, len),
                    _ => false,
                }
            })
    }
}

impl WriteAt for Vhd {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        checked_range(offset, data.len(), self.disk_len())?;
        for (block, within, range) in pieces(self.header.block_len, offset, data.len()) {
            let at = offset + range.start as u64;
            let piece = &data[range];
            let place = self.place(block)?;
            let base = match (place, self.data_at(place)) {
                (Place::Full(_), Some(base)) => base,
                _ => {
                    // A block that reads so already gets no place.
                    let mut now = vec![0; piece.len()];
                    self.read_piece(block, within, at, &mut now)?;
                    if now == piece {
                        continue;
                    }
                    self.fill(block)?
                }
            };
            self.file.write_at(base + within, piece)?;
        }
        Ok(())
    }
}
