//! An open volume.

use crate::attribute::kind;
use crate::attribute_list;
use crate::file::{File, Record};
use crate::geometry::{Geometry, Probe};
use crate::log_file::{self, LogState};
use crate::record::FileRecord;
use crate::reference::{FileReference, system};
use crate::store::{Store, Touched};
use crate::stream::{Clusters, Stream};
use crate::upcase::{self, UpCase};
use crate::volume_flags::VolumeFlags;
use reseal_disk::WriteAt;
use reseal_dtyp::{Error, Result, View};
use std::collections::HashMap;
use std::sync::Arc;

/// An NTFS volume.
///
/// Reading takes `&self` and may be done from several threads; writing takes `&mut self`, and each operation either happens
/// whole or, when it is refused, not at all.
pub struct Volume {
    pub(crate) store: Store,
    pub(crate) geometry: Geometry,
    pub(crate) mft: Clusters,
    pub(crate) mirror: Clusters,
    pub(crate) upcase: UpCase,
    /// Set when `$MFTMirr` differs from `$MFT`: such a volume is read but not written.
    pub(crate) mirror_fault: Option<String>,
    /// Made when the first cluster is needed, and dropped when an operation fails.
    pub(crate) allocator: Option<crate::allocate::Allocator>,
    /// Records with a security descriptor of their own, once a pass over all records has seen them. No operation adds one.
    pub(crate) own_descriptors: std::sync::OnceLock<Vec<u64>>,
    /// Security ids that folders with an id hand down to files (`false`) and folders, as far as they were asked for.
    pub(crate) inherited: HashMap<(u32, bool), u32>,
    /// Whether a change of usage has to be told to `$Quota`, once that is known.
    pub(crate) counts_usage: Option<bool>,
    pub(crate) facts: VolumeFacts,
}

#[derive(Debug, Clone)]
pub(crate) struct VolumeFacts {
    label: String,
    version: (u8, u8),
    pub(crate) flags: VolumeFlags,
    pub(crate) log_state: LogState,
}

/// What a volume says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// The label; empty for none.
    pub label: String,
    /// Major and minor version: 3.1 since Windows XP.
    pub version: (u8, u8),
    /// The flags of `$VOLUME_INFORMATION`.
    pub flags: VolumeFlags,
    /// The state of `$LogFile`.
    pub log_state: LogState,
    /// Bytes per sector.
    pub sector_size: u32,
    /// Bytes per cluster.
    pub cluster_size: u32,
    /// Bytes per file record.
    pub record_size: u32,
    /// Serial number of the boot sector.
    pub serial: u64,
    /// Clusters of the volume.
    pub clusters: u64,
    /// File records in `$MFT`, free ones included.
    pub records: u64,
}

impl Volume {
    /// Opens the volume that fills `storage`: reads the boot sector, finds `$MFT` (through its attribute list too), compares
    /// `$MFTMirr`, loads `$UpCase` and the state of the volume. Nothing is written.
    ///
    /// `Unsupported` for another file system, `Damaged` when one of these structures contradicts itself. A stale `$MFTMirr`
    /// does not keep a volume from being read; it is a finding, and every write is refused.
    pub fn open(storage: Arc<dyn WriteAt>) -> Result<Volume> {
        let store = Store::new(storage);
        let mut sector = [0; 512];
        if store.len() < 512 {
            return Err(Error::damaged("boot sector", "", 0, format!("the partition has {} bytes", store.len())));
        }
        store.read(0, &mut sector)?;
        let geometry = Geometry::read(&sector, store.len())?;
        let mut volume = Volume {
            store,
            geometry,
            mft: Clusters::default(),
            mirror: Clusters::default(),
            upcase: UpCase::new(&vec![0; upcase::TABLE_BYTES])?,
            mirror_fault: None,
            allocator: None,
            inherited: HashMap::new(),
            own_descriptors: std::sync::OnceLock::new(),
            counts_usage: None,
            facts: VolumeFacts {
                label: String::new(),
                version: (0, 0),
                flags: VolumeFlags(0),
                log_state: LogState::Damaged,
            },
        };
        volume.find_mft()?;
        match volume.system_stream(system::MFT_MIRROR, kind::DATA, &[])? {
            Stream::Clusters(clusters) => volume.mirror = clusters,
            Stream::Resident(_) => return Err(Error::damaged("$MFTMirr", "", 0, "$MFTMirr is resident")),
        }
        volume.mirror_fault = volume.compare_mirror()?;
        let table = volume.system_stream(system::UPCASE, kind::DATA, &[])?;
        volume.upcase = UpCase::new(&volume.read_metadata(&table, upcase::TABLE_BYTES as u64, "$UpCase")?)?;
        volume.facts = volume.read_facts()?;
        Ok(volume)
    }

    /// What the first 512 bytes of a partition say about its content.
    pub fn probe(first_512: &[u8]) -> Probe {
        Probe::of(first_512)
    }

    /// Loads the run list of `$MFT`: the first extent from record 0, further ones from records that the extents before hold.
    fn find_mft(&mut self) -> Result<()> {
        let size = self.geometry.record_size;
        // Before its runs are known, record 0 lies where the boot sector says.
        let clusters = self.geometry.clusters_for(u64::from(size));
        let run = crate::runs::Run { vcn: 0, lcn: Some(self.geometry.mft_lcn), len: clusters };
        if self.geometry.mft_lcn.saturating_add(clusters) > self.geometry.clusters {
            return Err(Error::damaged("boot sector", "MftLcn", 0x30, "$MFT leaves the volume"));
        }
        let bytes = u64::from(size);
        self.mft =
            Clusters { runs: vec![run], allocated: bytes, size: bytes, initialized: bytes, ..Clusters::default() };
        let record = self.record(system::MFT)?;
        let at = record.at;
        let list = {
            let view = record.view()?;
            let data = view.find(kind::DATA, &[])?.and_then(|a| a.extent().map(|e| (a, e)));
            let (attribute, extent) = data.filter(|(_, e)| e.first_vcn == 0).ok_or_else(|| {
                Error::damaged("file record", "$DATA", at, "record 0 does not hold the start of $MFT")
            })?;
            self.mft.runs = extent.runs(self.geometry.clusters, at + attribute.offset as u64).collect::<Result<_>>()?;
            self.mft.allocated = extent.allocated;
            self.mft.size = extent.size;
            self.mft.initialized = extent.initialized.min(extent.size);
            self.mft.flags = attribute.flags;
            self.mft.extents = 1;
            let whole = File { reference: view.reference(), records: vec![record.clone()], has_list: false };
            whole.stream(kind::ATTRIBUTE_LIST, &[], &self.geometry)?
        };
        if let Some(list) = list {
            let list = self.attribute_list(&list)?;
            self.find_mft_extents(&list)?;
        }
        let reach = self.mft.end_vcn().saturating_mul(u64::from(self.geometry.cluster_size));
        if reach < self.mft.initialized
            || self.mft.initialized > self.store.len()
            || self.record_count() < 16
            || !self.mft.is_plain()
        {
            let detail = format!("$MFT: runs reach {reach:#x}, initialized size {:#x}", self.mft.initialized);
            return Err(Error::damaged("file record", "$DATA", at, detail));
        }
        Ok(())
    }

    fn find_mft_extents(&mut self, list: &[u8]) -> Result<()> {
        for entry in attribute_list::entries(list) {
            let entry = entry?;
            if entry.kind != kind::DATA || !entry.name.is_empty() || entry.first_vcn == 0 {
                continue;
            }
            let record = self.record(entry.record.record())?;
            let view = record.view()?;
            for attribute in view.attributes() {
                let attribute = attribute?;
                let Some(extent) =
                    attribute.extent().filter(|e| attribute.is(kind::DATA, &[]) && e.first_vcn == entry.first_vcn)
                else {
                    continue;
                };
                let owner = view.base().map_or(record.number, FileReference::record);
                if extent.first_vcn != self.mft.end_vcn() || owner != system::MFT {
                    let detail = format!(
                        "extent at cluster {} of file {owner}, expected {}",
                        extent.first_vcn,
                        self.mft.end_vcn()
                    );
                    return Err(Error::damaged("attribute", "LowestVcn", record.at, detail));
                }
                for run in extent.runs(self.geometry.clusters, record.at + attribute.offset as u64) {
                    self.mft.runs.push(run?);
                }
                self.mft.extents += 1;
            }
        }
        Ok(())
    }

    /// What differs between `$MFTMirr` and the first records of `$MFT`, byte for byte; `None` when nothing does.
    fn compare_mirror(&self) -> Result<Option<String>> {
        let mirror = &self.mirror;
        if mirror.runs.first().and_then(|r| r.lcn) != Some(self.geometry.mirror_lcn) {
            return Ok(Some(format!(
                "$MFTMirr does not lie at cluster {} as the boot sector says",
                self.geometry.mirror_lcn
            )));
        }
        let size = u64::from(self.geometry.record_size);
        let count = self.geometry.mirrored_records().min(self.record_count());
        if mirror.size < count * size {
            return Ok(Some(format!("$MFTMirr has {} bytes, {count} records need {}", mirror.size, count * size)));
        }
        let (mut a, mut b) = (vec![0; size as usize], vec![0; size as usize]);
        for number in 0..count {
            self.read_clusters(&self.mft, number * size, &mut a)?;
            self.read_clusters(mirror, number * size, &mut b)?;
            if a != b {
                let first = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(0);
                return Ok(Some(format!("file record {number} differs from its copy in $MFTMirr at byte {first:#x}")));
            }
        }
        Ok(None)
    }

    fn read_facts(&self) -> Result<VolumeFacts> {
        let file = self.file_by_number(system::VOLUME)?;
        let information = file.resident(kind::VOLUME_INFORMATION, &[])?.unwrap_or_default();
        let view = View::new("$VOLUME_INFORMATION", file.base()?.at, information);
        let label = file.resident(kind::VOLUME_NAME, &[])?.unwrap_or_default();
        let log = self.system_stream(system::LOG_FILE, kind::DATA, &[])?;
        let log_state = match &log {
            Stream::Resident(_) => LogState::Damaged,
            Stream::Clusters(clusters) => {
                let mut head = vec![0; clusters.size.min(log_file::LOOKED_AT as u64) as usize];
                self.read_clusters(clusters, 0, &mut head)?;
                log_file::state(&head, clusters.size)
            }
        };
        Ok(VolumeFacts {
            label: reseal_dtyp::utf16_lossy(&reseal_dtyp::from_utf16le(label)),
            version: (view.u8(8, "MajorVersion")?, view.u8(9, "MinorVersion")?),
            flags: VolumeFlags(view.u16(0xa, "Flags")?),
            log_state,
        })
    }

    /// A stream of a file that every volume has; `Damaged` when it is missing.
    pub(crate) fn system_stream(&self, number: u64, kind: u32, name: &[u16]) -> Result<Stream> {
        let file = self.file_by_number(number)?;
        file.stream(kind, name, &self.geometry)?.ok_or_else(|| {
            let name = String::from_utf16_lossy(name);
            Error::damaged("file record", "", 0, format!("record {number} has no attribute {kind:#x} `{name}`"))
        })
    }

    /// How many file records `$MFT` holds.
    pub fn record_count(&self) -> u64 {
        self.mft.initialized.min(self.mft.size) / u64::from(self.geometry.record_size)
    }

    /// What the volume says about itself. Clusters in use are counted by [`Volume::free_clusters`].
    pub fn info(&self) -> VolumeInfo {
        VolumeInfo {
            label: self.facts.label.clone(),
            version: self.facts.version,
            flags: self.facts.flags,
            log_state: self.facts.log_state,
            sector_size: self.geometry.sector_size,
            cluster_size: self.geometry.cluster_size,
            record_size: self.geometry.record_size,
            serial: self.geometry.serial,
            clusters: self.geometry.clusters,
            records: self.record_count(),
        }
    }

    /// How many clusters `$Bitmap` shows as free.
    pub fn free_clusters(&self) -> Result<u64> {
        let words = self.cluster_bitmap()?;
        let used: u64 = words.iter().map(|w| u64::from(w.count_ones())).sum();
        Ok((words.len() as u64 * 64).saturating_sub(used))
    }

    /// `$Bitmap` as words, one bit per cluster from the lowest on; bits behind the last cluster are set.
    pub(crate) fn cluster_bitmap(&self) -> Result<Vec<u64>> {
        let clusters = self.geometry.clusters;
        let stream = self.system_stream(system::BITMAP, kind::DATA, &[])?;
        let needed = clusters.div_ceil(8);
        if stream.size() < needed {
            let detail = format!("$Bitmap has {} bytes, {clusters} clusters need {needed}", stream.size());
            return Err(Error::damaged("$Bitmap", "", 0, detail));
        }
        let mut bytes = vec![0; (clusters.div_ceil(64) * 8) as usize];
        match &stream {
            Stream::Resident(value) => bytes[..needed as usize].copy_from_slice(&value[..needed as usize]),
            Stream::Clusters(c) => self.read_clusters(c, 0, &mut bytes[..needed as usize])?,
        }
        let mut words: Vec<u64> = bytes
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]))
            .collect();
        if let Some(last) = words.last_mut().filter(|_| !clusters.is_multiple_of(64)) {
            *last |= u64::MAX << (clusters % 64);
        }
        Ok(words)
    }

    /// The root directory.
    pub fn root(&self) -> FileReference {
        FileReference::ROOT
    }

    /// Byte ranges written since the volume was opened, in order of offset.
    pub fn touched(&self) -> Vec<Touched> {
        self.store.touched()
    }

    /// The offset on the volume of a record's first byte.
    pub(crate) fn record_offset(&self, number: u64) -> u64 {
        let size = u64::from(self.geometry.record_size);
        let pieces = self.mft.pieces(number.saturating_mul(size), 1, self.geometry.cluster_size);
        pieces.ok().and_then(|p| p.first().and_then(|x| x.0)).unwrap_or(0)
    }

    /// The reference of the record with this number as it is now.
    pub fn reference_of(&self, number: u64) -> Result<FileReference> {
        let record: Record = self.record(number)?;
        Ok(FileRecord::reference(&record.view()?))
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("geometry", &self.geometry).field("facts", &self.facts).finish_non_exhaustive()
    }
}
