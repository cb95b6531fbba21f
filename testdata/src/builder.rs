//! Disk images: a container, a partition table, a blank volume, and what the caller puts into it.

use anyhow::{Context, Result, bail};
use reseal_disk::{
    CreateChild, CreateVhd, CreateVhdx, Disk, GptPartition, WriteAt, create_vhd, create_vhdx, write_gpt,
};
use reseal_dtyp::Guid;
use reseal_ntfs::Volume;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// What holds the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Bytes one by one.
    Raw,
    /// VHDX, dynamic or fixed.
    Vhdx {
        /// Every block has its place from the start.
        fixed: bool,
    },
    /// VHD, dynamic or fixed.
    Vhd {
        /// Every sector has its place from the start.
        fixed: bool,
    },
    /// The machine lies in a parent beside it, `parent-of-NAME`, and a child without content is named.
    Child {
        /// VHD, or VHDX.
        vhd: bool,
    },
}

/// A disk image with one NTFS volume.
#[derive(Debug, Clone, Copy)]
pub struct ImageBuilder {
    /// What holds the disk.
    pub container: Container,
    /// Size of the volume in bytes.
    pub volume_len: u64,
    /// Logical sector size: 512 or 4096.
    pub sector_size: u32,
    /// Cluster size in bytes.
    pub cluster_size: u32,
    /// A bare volume without a partition table (raw only).
    pub bare: bool,
}

impl Default for ImageBuilder {
    fn default() -> ImageBuilder {
        ImageBuilder {
            container: Container::Vhdx { fixed: false },
            volume_len: 64 << 20,
            sector_size: 512,
            cluster_size: 4096,
            bare: false,
        }
    }
}

/// The first partition starts here, as Windows places it.
const PARTITION_OFFSET: u64 = 1 << 20;
/// Room for the backup GPT.
const TAIL: u64 = 1 << 20;

/// The first sector of an MBR disk in sectors of 512 bytes: up to four NTFS partitions (first byte, length in bytes), of which
/// the last one is active. Without cylinders: their fields say that the numbers do not fit.
pub fn mbr(signature: u32, partitions: &[(u64, u64)]) -> [u8; 512] {
    let mut out = [0; 512];
    out[440..444].copy_from_slice(&signature.to_le_bytes());
    for (n, (offset, len)) in partitions.iter().take(4).enumerate() {
        let entry = &mut out[446 + 16 * n..][..16];
        entry[0] = if n + 1 == partitions.len() { 0x80 } else { 0 };
        entry[1..8].copy_from_slice(&[0xfe, 0xff, 0xff, 7, 0xfe, 0xff, 0xff]);
        entry[8..12].copy_from_slice(&((offset / 512) as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&((len / 512) as u32).to_le_bytes());
    }
    out[510..].copy_from_slice(&[0x55, 0xaa]);
    out
}

/// Formats a sparse file as NTFS with `mkntfs`, always with the same serial number and times.
pub fn blank_volume(path: &Path, len: u64, sector_size: u32, cluster_size: u32, start: u64) -> Result<()> {
    let file = std::fs::File::create(path)?;
    file.set_len(len)?;
    drop(file);
    let start = (start / u64::from(sector_size)).to_string();
    let output = Command::new("mkntfs")
        .args(["-F", "-Q", "-q", "-L", "Windows", "-s", &sector_size.to_string(), "-c", &cluster_size.to_string()])
        .args(["-p", &start, "-H", "255", "-S", "63"])
        .arg(path)
        .output()
        .context("mkntfs does not run (package ntfs-3g; `cargo xtask setup` installs it)")?;
    if !output.status.success() {
        bail!("mkntfs ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

impl ImageBuilder {
    /// Builds the image at `out`: formats the volume and lets `fill` write into it.
    pub fn build(&self, out: &Path, fill: impl FnOnce(&mut Volume) -> Result<()>) -> Result<()> {
        let Container::Child { vhd } = self.container else { return self.build_whole(out, fill) };
        let name = out.file_name().context("a file name")?.to_string_lossy();
        let parent = out.with_file_name(format!("parent-of-{name}"));
        let container = if vhd { Container::Vhd { fixed: false } } else { Container::Vhdx { fixed: false } };
        ImageBuilder { container, ..*self }.build_whole(&parent, fill)?;
        let options = CreateChild { block_len: 2 << 20, id: Guid([7; 16]), time: 0 };
        Disk::open(&parent)?.new_child(out, &options)?.write_to(out)?;
        Ok(())
    }

    fn build_whole(&self, out: &Path, fill: impl FnOnce(&mut Volume) -> Result<()>) -> Result<()> {
        let scratch = tempfile::tempdir()?;
        let blank = scratch.path().join("blank.ntfs");
        let offset = if self.bare { 0 } else { PARTITION_OFFSET };
        blank_volume(&blank, self.volume_len, self.sector_size, self.cluster_size, offset)?;
        let empty = scratch.path().join("empty.img");
        self.empty(&empty)?;
        let disk = Disk::open(&empty)?;
        let storage: Arc<dyn WriteAt> = if self.bare {
            disk.bytes()
        } else {
            let id = |n| Guid([n; 16]);
            let basic_data = Guid::parse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7").context("a constant")?;
            let part = GptPartition {
                ty: basic_data,
                id: id(2),
                name: "Basic data partition".into(),
                offset,
                len: self.volume_len,
            };
            write_gpt(&*disk.bytes(), self.sector_size, id(1), &[part])?;
            let table = disk.partitions()?;
            disk.partition(table.partitions.first().context("the partition just written")?)
        };
        copy(&blank, &*storage)?;
        let mut volume = Volume::open(storage)?;
        fill(&mut volume)?;
        drop(volume);
        disk.commit_to(out, [Guid([3; 16]), Guid([4; 16])], &|_, _| {})?;
        Ok(())
    }

    fn empty(&self, path: &Path) -> Result<()> {
        let tail = if self.bare { 0 } else { PARTITION_OFFSET + TAIL };
        let disk_len = self.volume_len + tail;
        let (head, len) = match self.container {
            Container::Raw => (Vec::new(), disk_len),
            Container::Vhd { fixed } => {
                let options = CreateVhd { disk_len, block_len: 2 << 20, fixed, disk_id: Guid([5; 16]), time: 0 };
                create_vhd(&options)?.write_to(path)?;
                return Ok(());
            }
            Container::Child { .. } => bail!("a child is made of its parent"),
            Container::Vhdx { fixed } => create_vhdx(&CreateVhdx {
                disk_len,
                block_len: 2 << 20,
                sector_size: self.sector_size,
                fixed,
                disk_id: Guid([5; 16]),
                write_guid: Guid([6; 16]),
            })?,
        };
        std::fs::write(path, head)?;
        std::fs::OpenOptions::new().write(true).open(path)?.set_len(len)?;
        Ok(())
    }
}

/// Copies what is not zero.
fn copy(from: &Path, to: &dyn WriteAt) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::open(from)?;
    let len = file.metadata()?.len().min(to.len());
    let mut buf = vec![0; 64 << 10];
    let mut at = 0;
    while at < len {
        let n = (len - at).min(buf.len() as u64) as usize;
        file.read_exact_at(&mut buf[..n], at)?;
        if buf[..n].iter().any(|b| *b != 0) {
            to.write_at(at, &buf[..n])?;
        }
        at += n as u64;
    }
    Ok(())
}
