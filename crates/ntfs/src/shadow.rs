//! Shadow copies, as far as the volume itself knows of them: the header in the boot area, and the catalog that it names.
//!
//! Windows looks for the copies of a volume by this header, not by the files that hold them, and trusts the block lists that it
//! finds from there. Layout: "Volume Shadow Snapshot (VSS) format" of the libvshadow documentation, and headers of ten real
//! volumes. Of these, volumes that never had a copy hold zeros there; where the last copy was deleted, the header stays and
//! names no catalog.

use crate::attribute::kind;
use crate::store::Touch;
use crate::stream::Stream;
use crate::volume::Volume;
use reseal_dtyp::{Error, Guid, Result, View};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of the volume that are the header: the last sector of `$Boot`, whatever the sector size.
pub const SHADOW_HEADER: std::ops::Range<u64> = 0x1e00..0x2000;

/// `$Boot`.
const BOOT: u64 = 7;
/// With what the header and each block of the catalog begin: {3808876b-c176-4e48-b7ae-04046e6cc752}.
const IDENTIFIER: [u8; 16] =
    [0x6b, 0x87, 0x08, 0x38, 0x76, 0xc1, 0x48, 0x4e, 0xb7, 0xae, 0x04, 0x04, 0x6e, 0x6c, 0xc7, 0x52];
/// Record types, and the only version.
const VERSION: u32 = 1;
const HEADER_RECORD: u32 = 1;
const CATALOG_RECORD: u32 = 2;
/// Bytes of a block of the catalog, of its head, and of an entry.
const BLOCK: usize = 0x4000;
const ENTRY: usize = 0x80;
/// Blocks of a catalog at most: 16 MiB. Windows makes four, and no volume has more than 512 copies.
const MAX_BLOCKS: usize = 1024;

/// What stands where Windows looks for shadow copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShadowHeader {
    /// Zeros: the volume never had a copy.
    Absent,
    /// A header.
    Present {
        /// Byte offset of the catalog on the volume; 0 where there is no copy any more.
        catalog: u64,
    },
    /// Something else.
    Foreign {
        /// Its first bytes.
        starts: [u8; 16],
        /// How many of the 512 bytes are not zero.
        held: usize,
    },
}

/// What the catalog says of one copy. Either half may lie on another volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowCopy {
    /// Identifier, with which the name of its store file begins.
    pub id: Guid,
    /// Whether the copy is one of this volume.
    pub of_volume: bool,
    /// Whether its store lies on this volume.
    pub stored_here: bool,
}

impl Volume {
    /// Looks at the header. `Unsupported` where the bytes are not those of `$Boot`.
    pub fn shadow_header(&self) -> Result<ShadowHeader> {
        let bytes = self.shadow_sector()?;
        let held = bytes.iter().filter(|&&b| b != 0).count();
        let mut starts = [0; 16];
        starts.copy_from_slice(&bytes[..16]);
        let view = View::new("shadow copy header", SHADOW_HEADER.start, &bytes);
        let is_header = starts == IDENTIFIER
            && view.u32(0x10, "version")? == VERSION
            && view.u32(0x14, "record type")? == HEADER_RECORD
            && view.u64(0x18, "offset")? == SHADOW_HEADER.start;
        Ok(match held {
            0 => ShadowHeader::Absent,
            _ if is_header => ShadowHeader::Present { catalog: view.u64(0x30, "catalog offset")? },
            held => ShadowHeader::Foreign { starts, held },
        })
    }

    fn shadow_sector(&self) -> Result<Vec<u8>> {
        let stream = self.system_stream(BOOT, kind::DATA, &[])?;
        let reach = SHADOW_HEADER.end;
        let covered = match &stream {
            Stream::Clusters(c) if c.is_plain() && c.size >= reach => {
                let mut at = 0;
                let pieces = c.pieces(0, reach, self.geometry.cluster_size)?;
                pieces.iter().all(|(place, len)| {
                    let fits = *place == Some(at);
                    at += len;
                    fits
                })
            }
            _ => false,
        };
        if !covered {
            let size = stream.size();
            let detail = format!(
                "$Boot ({size:#x} bytes) is not what lies in the first {reach:#x} bytes of the volume: the place of the shadow \
                 copy header is not known"
            );
            return Err(Error::unsupported(detail));
        }
        let mut bytes = vec![0; (reach - SHADOW_HEADER.start) as usize];
        self.store.read(SHADOW_HEADER.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads the catalog at a byte offset of the volume, which the header names: the copies by identifier. `Damaged` where it
    /// is none.
    pub fn shadow_catalog(&self, offset: u64) -> Result<Vec<ShadowCopy>> {
        let mut out: BTreeMap<Guid, ShadowCopy> = BTreeMap::new();
        let (mut at, mut seen) = (offset, BTreeSet::new());
        while at != 0 {
            let damaged = |field, detail| Error::damaged("shadow copy catalog", field, at, detail);
            if !seen.insert(at) || seen.len() > MAX_BLOCKS {
                return Err(damaged("next block", format!("{} blocks lead to one another", seen.len())));
            }
            if at.checked_add(BLOCK as u64).is_none_or(|end| end > self.store.len()) {
                let len = self.store.len();
                return Err(damaged("block", format!("{BLOCK:#x} bytes do not fit into a volume of {len:#x}")));
            }
            let mut bytes = vec![0; BLOCK];
            self.store.read(at, &mut bytes)?;
            let view = View::new("shadow copy catalog", at, &bytes);
            let own = (view.u32(0x10, "version")?, view.u32(0x14, "record type")?, view.u64(0x20, "offset")?);
            if bytes[..16] != IDENTIFIER || own != (VERSION, CATALOG_RECORD, at) {
                let (version, record, offset) = own;
                let detail = format!(
                    "version {version}, record type {record}, offset {offset:#x} where {VERSION}, {CATALOG_RECORD} and {at:#x} \
                     belong, or another identifier"
                );
                return Err(damaged("block header", detail));
            }
            for entry in (ENTRY..BLOCK).step_by(ENTRY) {
                // 0 and 1 are free, 2 says what was copied, 3 where it is stored.
                let kind = match view.u64(entry, "entry type")? {
                    0 | 1 => continue,
                    kind @ (2 | 3) => kind,
                    other => return Err(damaged("entry type", format!("{other} in the entry at {entry:#x}"))),
                };
                let mut id = Guid::NIL;
                id.0.copy_from_slice(view.bytes(entry + 0x10, 16, "store identifier")?);
                let copy = out.entry(id).or_insert(ShadowCopy { id, of_volume: false, stored_here: false });
                copy.of_volume |= kind == 2;
                copy.stored_here |= kind == 3;
            }
            at = view.u64(0x28, "next block")?;
        }
        Ok(out.into_values().collect())
    }

    /// Makes the header what it is on a volume that never had a shadow copy: zeros. `false`, with nothing written, when it is.
    /// `Unsupported` when something else stands there.
    pub fn clear_shadow_header(&mut self) -> Result<bool> {
        match self.shadow_header()? {
            ShadowHeader::Absent => Ok(false),
            ShadowHeader::Present { .. } => {
                let zeros = vec![0; (SHADOW_HEADER.end - SHADOW_HEADER.start) as usize];
                self.operation(|volume| volume.store.stage(SHADOW_HEADER.start, &zeros, Touch::Data(BOOT)))?;
                Ok(true)
            }
            ShadowHeader::Foreign { starts, held } => Err(foreign(starts, held)),
        }
    }
}

/// The error for a sector that holds something else.
fn foreign(starts: [u8; 16], held: usize) -> Error {
    let starts: String = starts.iter().map(|b| format!("{b:02x}")).collect();
    let at = SHADOW_HEADER.start;
    Error::unsupported(format!("the sector at {at:#x} is no shadow copy header: {held} bytes in it, from {starts} on"))
}
