//! The BIOS parameter block: where the FATs, the root folder and the clusters lie.

use reseal_dtyp::{Error, Kind, Result, View};

/// Width of an entry of the FAT in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatType {
    /// 12 bits.
    Fat12,
    /// 16 bits.
    Fat16,
    /// 32 bits, of which 28 count.
    Fat32,
}

impl FatType {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            FatType::Fat12 => "FAT12",
            FatType::Fat16 => "FAT16",
            FatType::Fat32 => "FAT32",
        }
    }

    /// Bytes of the FAT that `entries` take.
    fn bytes_for(self, entries: u64) -> u64 {
        match self {
            FatType::Fat12 => (entries * 3).div_ceil(2),
            FatType::Fat16 => entries * 2,
            FatType::Fat32 => entries * 4,
        }
    }
}

/// The root folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// A region of its own: byte offset, length.
    Region(u64, u64),
    /// A chain that begins with this cluster.
    Chain(u32),
}

/// Where everything lies, in bytes from the start of the volume; all of it within the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) ty: FatType,
    /// The FAT that counts.
    pub(crate) fat_at: u64,
    pub(crate) root: Root,
    /// Cluster 2.
    pub(crate) data_at: u64,
    pub(crate) cluster_len: u64,
    /// Clusters are numbered from 2 to one below this.
    pub(crate) end_cluster: u32,
}

const BOOT: &str = "FAT boot sector";
/// Length of a folder's entry.
pub(crate) const ENTRY: u64 = 32;

/// Bytes in a sector, and sectors in a cluster.
fn sizes(view: &View<'_>) -> Result<[u64; 2]> {
    if view.bytes(3, 8, "BS_OEMName")? == b"EXFAT   " {
        return Err(Error::unsupported("exFAT, which no firmware starts from, is not read").at(BOOT, "BS_OEMName", 3));
    }
    if view.bytes(510, 2, "Signature_word")? != [0x55, 0xaa] {
        return Err(view.damaged(510, "Signature_word", "the first sector does not end with 55 AA"));
    }
    let sector = u64::from(view.u16(11, "BPB_BytsPerSec")?);
    if !matches!(sector, 512 | 1024 | 2048 | 4096) {
        return Err(view.damaged(11, "BPB_BytsPerSec", format!("{sector} bytes in a sector")));
    }
    let per_cluster = u64::from(view.u8(13, "BPB_SecPerClus")?);
    // Windows makes clusters of up to 64 KiB.
    if !per_cluster.is_power_of_two() || per_cluster * sector > 64 << 10 {
        let detail = format!("{per_cluster} sectors of {sector} bytes in a cluster");
        return Err(view.damaged(13, "BPB_SecPerClus", detail));
    }
    Ok([sector, per_cluster])
}

impl Layout {
    /// Reads the first 512 bytes of a volume of `len` bytes. `Damaged`, with the field, when they contradict the
    /// specification or the length.
    pub(crate) fn read(first: &[u8], len: u64) -> Result<Layout> {
        let view = View::new(BOOT, 0, first);
        let bad = |at: usize, field: &'static str, detail: String| Err(view.damaged(at, field, detail));
        let [sector, per_cluster] = sizes(&view)?;
        let reserved = u64::from(view.u16(14, "BPB_RsvdSecCnt")?);
        if reserved == 0 {
            return bad(14, "BPB_RsvdSecCnt", "no reserved sector, not even this one".into());
        }
        let fats = u64::from(view.u8(16, "BPB_NumFATs")?);
        if !(1..=2).contains(&fats) {
            return bad(16, "BPB_NumFATs", format!("{fats} FATs"));
        }
        let root_entries = u64::from(view.u16(17, "BPB_RootEntCnt")?);
        let total = match view.u16(19, "BPB_TotSec16")? {
            0 => u64::from(view.u32(32, "BPB_TotSec32")?),
            total => u64::from(total),
        };
        if total * sector > len {
            let detail = format!("{total} sectors of {sector} bytes; the partition has {len} bytes");
            return bad(32, "BPB_TotSec32", detail);
        }
        let small = u64::from(view.u16(22, "BPB_FATSz16")?);
        let fat_sectors = if small == 0 { u64::from(view.u32(36, "BPB_FATSz32")?) } else { small };
        if fat_sectors == 0 {
            return bad(36, "BPB_FATSz32", "a FAT without a sector".into());
        }
        // Windows and Linux tell FAT32 by this field; images made elsewhere have too few clusters for the rule of the count.
        let is_fat32 = small == 0;
        if is_fat32 == (root_entries != 0) {
            return bad(17, "BPB_RootEntCnt", format!("{root_entries} entries of the root folder"));
        }
        let root_sectors = (root_entries * ENTRY).div_ceil(sector);
        let data_sector = reserved + fats * fat_sectors + root_sectors;
        let Some(data_sectors) = total.checked_sub(data_sector).filter(|n| *n >= per_cluster) else {
            return bad(32, "BPB_TotSec32", format!("{total} sectors, of which the first {data_sector} are no data"));
        };
        let clusters = data_sectors / per_cluster;
        let ty = match clusters {
            _ if is_fat32 => FatType::Fat32,
            0..4085 => FatType::Fat12,
            4085..65525 => FatType::Fat16,
            _ => return bad(22, "BPB_FATSz16", format!("{clusters} clusters with a small FAT")),
        };
        let entries = clusters + 2;
        if entries > 0x0fff_fff7 || ty.bytes_for(entries) > fat_sectors * sector {
            return bad(22, "BPB_FATSz", format!("{fat_sectors} sectors of FAT for {clusters} clusters"));
        }
        let mut out = Layout {
            ty,
            fat_at: reserved * sector,
            root: Root::Region((data_sector - root_sectors) * sector, root_entries * ENTRY),
            data_at: data_sector * sector,
            cluster_len: per_cluster * sector,
            end_cluster: entries as u32,
        };
        if is_fat32 {
            out.fat32(&view, fats, fat_sectors * sector)?;
        }
        Ok(out)
    }

    /// What only FAT32 has.
    fn fat32(&mut self, view: &View<'_>, fats: u64, fat_len: u64) -> Result<()> {
        let version = view.u16(42, "BPB_FSVer")?;
        if version != 0 {
            let detail = format!("FAT32 of version {version:#06x}, 0 is known");
            return Err(Error::new(Kind::Unsupported, detail).at(BOOT, "BPB_FSVer", 42));
        }
        let flags = view.u16(40, "BPB_ExtFlags")?;
        // Bit 7: the copies are not kept alike, and the low bits name the one that counts.
        if flags & 0x80 != 0 {
            let active = u64::from(flags & 0xf);
            if active >= fats {
                return Err(view.damaged(40, "BPB_ExtFlags", format!("FAT {active} of {fats} counts")));
            }
            self.fat_at += active * fat_len;
        }
        let root = view.u32(44, "BPB_RootClus")?;
        self.cluster_at(root).map_err(|e| e.at(BOOT, "BPB_RootClus", 44))?;
        self.root = Root::Chain(root);
        Ok(())
    }

    /// Where a cluster lies; `Damaged` when there is none of that number.
    pub(crate) fn cluster_at(&self, cluster: u32) -> Result<u64> {
        if !(2..self.end_cluster).contains(&cluster) {
            let detail = format!("cluster {cluster:#x}, there are 2 to {:#x}", self.end_cluster - 1);
            return Err(Error::new(Kind::Damaged, detail));
        }
        Ok(self.data_at + u64::from(cluster - 2) * self.cluster_len)
    }

    /// Where the FAT holds the entry of a cluster: byte offset and how many bytes it touches.
    pub(crate) fn entry_at(&self, cluster: u32) -> (u64, usize) {
        let cluster = u64::from(cluster);
        match self.ty {
            FatType::Fat12 => (self.fat_at + cluster + cluster / 2, 2),
            FatType::Fat16 => (self.fat_at + cluster * 2, 2),
            FatType::Fat32 => (self.fat_at + cluster * 4, 4),
        }
    }
}
