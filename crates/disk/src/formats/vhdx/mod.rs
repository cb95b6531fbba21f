//! VHDX, [MS-VHDX]: fixed, dynamic and differencing, read and written through the overlay.
//!
//! ```text
//! 0        64K    128K   192K   256K    1M
//! │ ident │ head │ head │ regi │ regi │ … log … metadata … BAT … payload blocks (1 MiB aligned) …
//! ```

mod bat;
mod content;
mod create;
mod format;
mod header;
mod locator;
mod log;
mod metadata;

use super::chain::{Parent, windows_path};
use super::{Commit, Container, Format, Opening};
use crate::changed::Layout;
use crate::child::{CreateChild, NewDisk};
use crate::io::{ReadAt, WriteAt};
use crate::overlay::Overlay;
use bat::{Bat, Shape, offset_of, state_of};
pub use create::{CreateVhdx, create_vhdx};
use format::*;
use header::{Header, Regions};
use metadata::Metadata;
use reseal_dtyp::{Guid, Result};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, RwLock};

/// A virtual disk in a VHDX file.
#[derive(Debug)]
struct Vhdx {
    file: Arc<Overlay>,
    metadata: Metadata,
    header: Header,
    regions: Regions,
    shape: Shape,
    parent: Option<Parent>,
    /// BAT entries of the sector bitmap blocks, by chunk.
    bitmaps: Vec<u64>,
    blocks: RwLock<Blocks>,
    /// Held while a block becomes fully present, so that two writers do not make it so twice.
    filling: Mutex<()>,
    replayed: usize,
}

/// The payload blocks.
#[derive(Debug)]
struct Blocks {
    /// BAT entries by block number.
    entries: Vec<u64>,
    /// Those that became fully present since the file was opened, in a disk with a parent.
    filled: BTreeSet<usize>,
}

impl Format {
    /// [MS-VHDX], every block in place.
    pub const VHDX_FIXED: Format = Format("vhdx-fixed");
    /// [MS-VHDX], blocks where needed.
    pub const VHDX_DYNAMIC: Format = Format("vhdx-dynamic");
    /// [MS-VHDX], blocks where they differ from a parent.
    pub const VHDX_DIFFERENCING: Format = Format("vhdx-differencing");
}

/// Opens a file that starts with the signature of a VHDX.
pub(super) fn open(file: &Arc<Overlay>, opening: &Opening) -> Result<Option<Arc<dyn Container>>> {
    let mut signature = [0; 8];
    if file.len() < MIB {
        return Ok(None);
    }
    file.read_at(0, &mut signature)?;
    if &signature != FILE_SIGNATURE {
        return Ok(None);
    }
    Ok(Some(Arc::new(Vhdx::open(Arc::clone(file), opening)?)))
}

impl Vhdx {
    /// Opens the file, replaying its log into the overlay, and the parents. `Damaged` when blocks overlap each other, a region or
    /// the end of the file.
    fn open(file: Arc<Overlay>, opening: &Opening) -> Result<Vhdx> {
        let header = Header::current(&*file)?;
        let replayed = if header.log_guid == Guid::NIL { 0 } else { log::replay(&file, &header)? };
        let regions = Regions::read(&*file)?;
        let metadata = Metadata::read(&*file, regions.metadata)?;
        let shape = Shape::new(metadata.disk_len, metadata.block_len, metadata.sector_size, metadata.parent.is_some());
        let Bat { blocks, bitmaps } = Bat::read(&*file, shape, &metadata, &regions, &header)?;
        let parent = match &metadata.parent {
            None => None,
            Some(locator) => {
                let wanted = locator.wanted(metadata.sector_size)?;
                Some(Parent::find(file.host().path(), wanted, opening)?)
            }
        };
        let blocks = RwLock::new(Blocks { entries: blocks, filled: BTreeSet::new() });
        let filling = Mutex::new(());
        Ok(Vhdx { file, metadata, header, regions, shape, parent, bitmaps, blocks, filling, replayed })
    }

    fn entry(&self, block: usize) -> Option<u64> {
        self.blocks.read().unwrap_or_else(|e| e.into_inner()).entries.get(block).copied()
    }

    /// File offset of a block's data, when all of it is there.
    fn block_offset(&self, block: usize) -> Option<u64> {
        let entry = self.entry(block)?;
        (state_of(entry) == state::FULLY_PRESENT).then_some(offset_of(entry))
    }
}

impl Container for Vhdx {
    fn format(&self) -> Format {
        match (&self.parent, self.metadata.fixed) {
            (Some(_), _) => Format::VHDX_DIFFERENCING,
            (None, true) => Format::VHDX_FIXED,
            (None, false) => Format::VHDX_DYNAMIC,
        }
    }

    fn sector_size(&self) -> Option<u32> {
        Some(self.metadata.sector_size)
    }

    fn block_len(&self) -> Option<u64> {
        Some(self.metadata.block_len)
    }

    fn id(&self) -> Option<Guid> {
        Some(self.metadata.disk_id)
    }

    fn file_offset(&self, offset: u64) -> Result<Option<u64>> {
        let Ok(block) = usize::try_from(offset / self.metadata.block_len) else { return Ok(None) };
        Ok(self.block_offset(block).map(|base| base + offset % self.metadata.block_len))
    }

    /// `vhdxfile`.
    fn signature_offset(&self) -> Option<u64> {
        Some(0)
    }

    fn layout(&self) -> Layout {
        let blocks = self.blocks.read().unwrap_or_else(|e| e.into_inner());
        let is_here = |entry| matches!(state_of(entry), state::FULLY_PRESENT | state::PARTIALLY_PRESENT);
        let present = blocks.entries.iter().enumerate().filter(|(_, entry)| is_here(**entry));
        let len = self.metadata.block_len;
        let mut pieces: Vec<_> = present.map(|(i, entry)| (offset_of(*entry), i as u64 * len, len)).collect();
        pieces.sort_unstable();
        let moved = blocks.filled.iter().map(|&i| i as u64 * len..((i as u64 + 1) * len).min(self.metadata.disk_len));
        let headers = 64 << 10..192 << 10;
        let bat = self.regions.bat.0;
        let structures = vec![headers, bat..bat + 8 * self.shape.entries];
        // A log that is replayed may write to every structure of the container.
        Layout { pieces, moved: moved.collect(), structures, anywhere: self.replayed > 0 }
    }

    /// Writes the next header into the slot that is not current: new GUIDs tell caches and children that the file changed.
    fn before_commit(&self, commit: Commit<'_>) -> Result<()> {
        let mut is_changed = commit.is_changed;
        if let (Some(out), Some(parent), Some(locator)) = (commit.out, &self.parent, &self.metadata.parent) {
            let path = windows_path(out, parent.disk()?.path())?;
            is_changed |= locator.move_to(&*self.file, &path, self.regions.metadata, self.metadata.used)?;
        }
        if !is_changed {
            return Ok(());
        }
        let data_write = if commit.is_changed { commit.ids[1] } else { self.header.data_write };
        let (offset, bytes) = self.header.next(commit.ids[0], data_write);
        self.file.write_at(offset, &bytes)
    }

    fn replayed_log_entries(&self) -> usize {
        self.replayed
    }

    fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    fn link_id(&self) -> Option<Guid> {
        Some(self.header.data_write)
    }

    fn new_child(&self, path: &str, options: &CreateChild) -> Result<NewDisk> {
        let Metadata { disk_len, sector_size, disk_id, .. } = self.metadata;
        let CreateChild { block_len, id, .. } = *options;
        let options = CreateVhdx { disk_len, block_len, sector_size, fixed: false, disk_id, write_guid: id };
        let (head, len) = create::create_child(&options, self.header.data_write, path)?;
        Ok(NewDisk { parts: vec![(0, head)], len })
    }
}
