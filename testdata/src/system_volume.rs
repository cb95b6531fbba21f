//! An MBR disk for a BIOS: Windows, and behind it the system volume ("System Reserved") with boot manager and boot store.

use crate::{blank_volume, boot_store, mbr};
use anyhow::{Context, Result};
use reseal_disk::Disk;
use reseal_dtyp::{Descriptor, DomainSid, FileTime, Guid};
use reseal_ntfs::{Security, Volume};
use std::ops::Range;
use std::path::Path;

const TIME: FileTime = FileTime(133_500_000_000_000_000);
const SIGNATURE: u32 = 0x5eed_0001;
const SYSTEM_LEN: u64 = 12 << 20;
/// What follows the last partition.
const TAIL: u64 = 1 << 20;
/// Where Windows lies when its volume has this many bytes.
fn windows(len: u64) -> Range<u64> {
    1 << 20..(1 << 20) + len
}

/// The store of such a disk: its loader starts the first partition, whose volume has `windows_len` bytes.
pub fn store(windows_len: u64, sid: Option<DomainSid>) -> Result<Vec<u8>> {
    let at = windows(windows_len);
    let device = |offset| boot_store::mbr_partition(offset, SIGNATURE);
    boot_store::store(&device(at.start), &device(at.end), sid.map(|sid| sid.to_string()).as_deref())
}

/// Writes a raw disk: the bytes of the volume of Windows, and a system volume with this store and an emptied log. With a SID,
/// a descriptor, the log and the name of a folder hold it, too. `plant` changes the system volume. Where that lies.
pub fn write(
    out: &Path,
    windows_volume: &[u8],
    store: &[u8],
    sid: Option<DomainSid>,
    plant: impl FnOnce(&mut Volume),
) -> Result<Range<u64>> {
    let scratch = tempfile::tempdir()?;
    let blank = scratch.path().join("blank.ntfs");
    let at = windows(windows_volume.len() as u64);
    let system = at.end..at.end + SYSTEM_LEN;
    blank_volume(&blank, SYSTEM_LEN, 512, 4096, system.start)?;
    let mut bytes = vec![0; (system.end + TAIL) as usize];
    bytes[..512].copy_from_slice(&mbr(SIGNATURE, &[at.clone(), system.clone()].map(|r| (r.start, r.end - r.start))));
    bytes[at.start as usize..at.end as usize].copy_from_slice(windows_volume);
    bytes[system.start as usize..system.end as usize].copy_from_slice(&std::fs::read(&blank)?);
    let draft = scratch.path().join("draft.raw");
    std::fs::write(&draft, bytes)?;
    let disk = Disk::open(&draft)?;
    let table = disk.partitions()?;
    let mut volume = Volume::open(disk.partition(table.partitions.get(1).context("two were written")?))?;
    fill(&mut volume, store, sid)?;
    plant(&mut volume);
    drop(volume);
    disk.commit_to(out, [Guid([3; 16]), Guid([4; 16])], &|_, _| {})?;
    Ok(system)
}

fn fill(volume: &mut Volume, store: &[u8], sid: Option<DomainSid>) -> Result<()> {
    let root = volume.root();
    let boot = volume.create_dir(root, "Boot", Security::SameAs(root), TIME)?;
    volume.create_file(boot, "BCD", store, Security::SameAs(boot), TIME)?;
    let mut log = vec![0; 8192];
    volume.create_file(root, "bootmgr", &[0x4d; 30_000], Security::SameAs(root), TIME)?;
    if let Some(sid) = sid {
        let text = reseal_dtyp::utf16le(&sid.to_string());
        log[2048..2048 + text.len()].copy_from_slice(&text);
        let bin = volume.create_dir(root, "$RECYCLE.BIN", Security::SameAs(root), TIME)?;
        let own = volume.create_dir(bin, &format!("{sid}-1001"), Security::SameAs(bin), TIME)?;
        volume.create_file(own, "desktop.ini", b"[.ShellClassInfo]\r\n", Security::SameAs(own), TIME)?;
        let descriptor = Descriptor::from_sddl(&format!("O:{sid}-1001G:{sid}-513D:(A;;FA;;;SY)"))?.to_bytes()?;
        volume.create_file(root, "BOOTSECT.BAK", &[0x42; 8192], Security::Descriptor(&descriptor), TIME)?;
    }
    volume.create_file(boot, "BCD.LOG", &log, Security::SameAs(boot), TIME)?;
    Ok(())
}
