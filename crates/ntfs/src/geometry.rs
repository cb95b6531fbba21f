//! The boot sector: what the volume is made of.

use reseal_dtyp::{Error, Kind, Result, View};

/// What the first sector of a partition says about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `NTFS    ` at byte 3.
    Ntfs,
    /// `-FVE-FS-` at byte 3: a BitLocker volume.
    BitLocker,
    /// `ReFS` at byte 3.
    ReFs,
    /// A FAT12, FAT16, FAT32 or exFAT boot sector.
    Fat,
    /// None of these.
    Unknown,
}

impl Probe {
    /// Looks at the signature of a partition's first 512 bytes; a shorter slice is `Unknown`.
    pub fn of(sector: &[u8]) -> Probe {
        let at = |offset: usize, text: &[u8]| sector.get(offset..offset + text.len()) == Some(text);
        if at(3, b"NTFS    ") {
            Probe::Ntfs
        } else if at(3, b"-FVE-FS-") {
            Probe::BitLocker
        } else if at(3, b"ReFS") {
            Probe::ReFs
        } else if at(3, b"EXFAT   ") || at(0x36, b"FAT") || at(0x52, b"FAT32") {
            Probe::Fat
        } else {
            Probe::Unknown
        }
    }
}

/// Sizes and places from the boot sector, all checked against each other and the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) sector_size: u32,
    pub(crate) cluster_size: u32,
    pub(crate) record_size: u32,
    pub(crate) index_size: u32,
    /// Sectors of the volume, without the backup boot sector that follows them.
    pub(crate) sectors: u64,
    /// Whole clusters.
    pub(crate) clusters: u64,
    pub(crate) mft_lcn: u64,
    pub(crate) mirror_lcn: u64,
    pub(crate) serial: u64,
}

/// Stated limit: Windows itself addresses 2^32 - 1 clusters; the cluster bitmap is held in memory.
const MAX_CLUSTERS: u64 = 1 << 32;

impl Geometry {
    /// Reads the boot sector. `Unsupported` for other file systems, `Damaged` for contradictions.
    pub(crate) fn read(sector: &[u8], storage_len: u64) -> Result<Geometry> {
        match Probe::of(sector) {
            Probe::Ntfs => {}
            Probe::BitLocker => return Err(Error::unsupported("the volume is encrypted with BitLocker")),
            Probe::ReFs => return Err(Error::unsupported("the volume is ReFS, not NTFS")),
            other => {
                return Err(Error::damaged("boot sector", "OemId", 3, format!("no NTFS signature ({other:?})")));
            }
        }
        let view = View::new("boot sector", 0, sector);
        let sector_size = u32::from(view.u16(0x0b, "BytesPerSector")?);
        if !sector_size.is_power_of_two() || !(512..=4096).contains(&sector_size) {
            return Err(view.damaged(0x0b, "BytesPerSector", format!("{sector_size} is not 512, 1024, 2048 or 4096")));
        }
        let cluster_size = cluster_size(&view, sector_size)?;
        let record_size = unit(&view, 0x40, "ClustersPerFileRecord", cluster_size, 512..=4096)?;
        let index_size = unit(&view, 0x44, "ClustersPerIndexBlock", cluster_size, 512..=65536)?;
        let sectors = view.u64(0x28, "NumberSectors")?;
        let bytes = sectors.checked_mul(u64::from(sector_size)).filter(|&b| b > 0 && b <= storage_len);
        let bytes = bytes.ok_or_else(|| {
            let detail = format!("{sectors} sectors of {sector_size} bytes, the partition has {storage_len} bytes");
            view.damaged(0x28, "NumberSectors", detail)
        })?;
        let clusters = bytes / u64::from(cluster_size);
        if clusters > MAX_CLUSTERS {
            return Err(Error::new(Kind::Limit, format!("{clusters} clusters; at most {MAX_CLUSTERS} are handled")));
        }
        let (mft_lcn, mirror_lcn) = (view.u64(0x30, "MftLcn")?, view.u64(0x38, "MftMirrLcn")?);
        for (offset, field, lcn) in [(0x30, "MftLcn", mft_lcn), (0x38, "MftMirrLcn", mirror_lcn)] {
            if lcn >= clusters {
                return Err(view.damaged(offset, field, format!("cluster {lcn} of {clusters}")));
            }
        }
        let serial = view.u64(0x48, "SerialNumber")?;
        Ok(Geometry {
            sector_size,
            cluster_size,
            record_size,
            index_size,
            sectors,
            clusters,
            mft_lcn,
            mirror_lcn,
            serial,
        })
    }

    /// Byte offset of a cluster; run lists are checked against `clusters` when decoded, so it cannot overflow.
    pub(crate) fn offset_of(&self, lcn: u64) -> u64 {
        lcn.saturating_mul(u64::from(self.cluster_size))
    }

    /// Clusters that `bytes` need.
    pub(crate) fn clusters_for(&self, bytes: u64) -> u64 {
        bytes.div_ceil(u64::from(self.cluster_size))
    }

    /// What a child VCN of an index counts: clusters, or 512-byte units when an index block is smaller than a cluster.
    pub(crate) fn index_vcn_unit(&self, index_size: u32) -> u32 {
        if self.cluster_size <= index_size { self.cluster_size } else { 512 }
    }

    /// How many of the first file records `$MFTMirr` repeats: four, or a whole cluster of them.
    pub(crate) fn mirrored_records(&self) -> u64 {
        u64::from((self.cluster_size / self.record_size).max(4))
    }

    /// Offset of the backup boot sector: right behind the last sector of the volume.
    pub(crate) fn backup_boot_offset(&self) -> u64 {
        self.sectors.saturating_mul(u64::from(self.sector_size))
    }
}

/// Sectors per cluster; above 0x80 it is a negative power of two (clusters beyond 64 KiB).
fn cluster_size(view: &View<'_>, sector_size: u32) -> Result<u32> {
    let raw = view.u8(0x0d, "SectorsPerCluster")?;
    let sectors = if raw > 0x80 { 1u32.checked_shl(256 - u32::from(raw)).unwrap_or(0) } else { u32::from(raw) };
    sectors
        .checked_mul(sector_size)
        .filter(|size| size.is_power_of_two() && *size <= 2 << 20)
        .ok_or_else(|| view.damaged(0x0d, "SectorsPerCluster", format!("{raw:#x} is no power of two up to 2 MiB")))
}

/// A size in clusters, or as a negative exponent of two in bytes.
fn unit(
    view: &View<'_>,
    offset: usize,
    field: &'static str,
    cluster_size: u32,
    legal: std::ops::RangeInclusive<u32>,
) -> Result<u32> {
    let raw = view.u8(offset, field)? as i8;
    let size = if raw > 0 {
        u32::from(raw.unsigned_abs()).checked_mul(cluster_size)
    } else {
        1u32.checked_shl(u32::from(raw.unsigned_abs()))
    };
    size.filter(|s| s.is_power_of_two() && legal.contains(s)).ok_or_else(|| {
        view.damaged(
            offset,
            field,
            format!("{raw} does not give a power of two from {} to {}", legal.start(), legal.end()),
        )
    })
}
