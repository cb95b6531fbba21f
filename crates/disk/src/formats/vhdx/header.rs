//! The two headers and the two region tables, [MS-VHDX] 2.2.

use super::format::*;
use crate::io::ReadAt;
use reseal_dtyp::{Error, Guid, Result, View};

/// The current header.
#[derive(Debug, Clone)]
pub(super) struct Header {
    /// Which of the two slots holds it.
    pub(super) slot: usize,
    pub(super) sequence: u64,
    pub(super) log_guid: Guid,
    /// By it children know their parent.
    pub(super) data_write: Guid,
    pub(super) log: (u64, u64),
    bytes: Vec<u8>,
}

/// CRC-32C with the checksum field taken as zero.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &[0; 4]), &bytes[8..])
}

pub(super) fn guid_at(view: &View<'_>, offset: usize, field: &'static str) -> Result<Guid> {
    let mut raw = [0; 16];
    raw.copy_from_slice(view.bytes(offset, 16, field)?);
    Ok(Guid(raw))
}

fn read_header(file: &dyn ReadAt, slot: usize) -> Result<Header> {
    let mut bytes = vec![0; HEADER_LEN];
    file.read_at(HEADERS[slot], &mut bytes)?;
    let view = View::new("VHDX header", HEADERS[slot], &bytes);
    if view.bytes(0, 4, "Signature")? != b"head" || view.u32(4, "Checksum")? != checksum(&bytes) {
        return Err(view.damaged(4, "Checksum", "signature or checksum is wrong"));
    }
    let (log_version, version) = (view.u16(64, "LogVersion")?, view.u16(66, "Version")?);
    if version != 1 || log_version != 0 {
        return Err(Error::unsupported(format!(
            "VHDX version {version}, log version {log_version}; 1 and 0 are known"
        )));
    }
    let sequence = view.u64(8, "SequenceNumber")?;
    let log_guid = guid_at(&view, 48, "LogGuid")?;
    let log = (view.u64(72, "LogOffset")?, u64::from(view.u32(68, "LogLength")?));
    let data_write = guid_at(&view, 32, "DataWriteGuid")?;
    Ok(Header { slot, sequence, log_guid, data_write, log, bytes })
}

impl Header {
    /// The valid header with the larger sequence number; `Damaged` when neither is valid.
    pub(super) fn current(file: &dyn ReadAt) -> Result<Header> {
        match (read_header(file, 0), read_header(file, 1)) {
            (Ok(a), Ok(b)) if a.sequence == b.sequence && a.bytes != b.bytes => Err(Error::damaged(
                "VHDX header",
                "SequenceNumber",
                HEADERS[1],
                format!("two different headers share number {}", a.sequence),
            )),
            (Ok(a), Ok(b)) => Ok(if b.sequence > a.sequence { b } else { a }),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(a), Err(b)) => {
                Err(Error::damaged("VHDX header", "", HEADERS[0], format!("no header is valid: {a}; {b}")))
            }
        }
    }

    /// The bytes of the next header for the other slot: next number, new GUIDs, no log.
    pub(super) fn next(&self, file_write: Guid, data_write: Guid) -> (u64, Vec<u8>) {
        let mut bytes = self.bytes.clone();
        bytes[8..16].copy_from_slice(&self.sequence.wrapping_add(1).to_le_bytes());
        bytes[16..32].copy_from_slice(&file_write.0);
        bytes[32..48].copy_from_slice(&data_write.0);
        bytes[48..64].fill(0);
        let sum = checksum(&bytes);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        (HEADERS[1 - self.slot], bytes)
    }
}

/// Where BAT and metadata lie: (offset, length).
#[derive(Debug, Clone, Copy)]
pub(super) struct Regions {
    pub(super) bat: (u64, u64),
    pub(super) metadata: (u64, u64),
}

impl Regions {
    /// The first valid region table; `Damaged` when neither is, `Unsupported` for an unknown required region.
    pub(super) fn read(file: &dyn ReadAt) -> Result<Regions> {
        Regions::read_one(file, REGION_TABLES[0]).or_else(|first| match first.kind() {
            reseal_dtyp::Kind::Damaged => Regions::read_one(file, REGION_TABLES[1]),
            _ => Err(first),
        })
    }

    fn read_one(file: &dyn ReadAt, offset: u64) -> Result<Regions> {
        let mut bytes = vec![0; REGION_TABLE_LEN];
        file.read_at(offset, &mut bytes)?;
        let view = View::new("VHDX region table", offset, &bytes);
        let count = view.u32(8, "EntryCount")? as usize;
        if view.bytes(0, 4, "Signature")? != b"regi" || view.u32(4, "Checksum")? != checksum(&bytes) || count > 2047 {
            return Err(view.damaged(4, "Checksum", "signature, checksum or entry count is wrong"));
        }
        let (mut bat, mut metadata) = (None, None);
        for i in 0..count {
            let at = 16 + 32 * i;
            let id = guid_at(&view, at, "Guid")?;
            let region = (view.u64(at + 16, "FileOffset")?, u64::from(view.u32(at + 24, "Length")?));
            let required = view.u32(at + 28, "Required")? & 1 != 0;
            let end = region.0.checked_add(region.1).filter(|&end| end <= file.len());
            if region.0 < MIB || region.0 % MIB != 0 || region.1 == 0 || region.1 % MIB != 0 || end.is_none() {
                return Err(view.damaged(
                    at + 16,
                    "FileOffset",
                    format!("region of {:#x} bytes at {:#x}, the file has {:#x}", region.1, region.0, file.len()),
                ));
            }
            let slot = match id {
                BAT_REGION => &mut bat,
                METADATA_REGION => &mut metadata,
                _ if required => return Err(Error::unsupported(format!("required VHDX region {id}"))),
                _ => continue,
            };
            if slot.replace(region).is_some() {
                return Err(view.damaged(at, "Guid", format!("region {id} stands twice")));
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata }),
            _ => Err(view.damaged(8, "EntryCount", "the BAT or the metadata region is missing")),
        }
    }
}
