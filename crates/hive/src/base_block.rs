//! The base block: the first 4,096 bytes of a hive, of which a log repeats the first 512.

use reseal_dtyp::{Error, Kind, Result};

/// Length of the base block; cell offsets count from its end.
pub(crate) const LEN: usize = 4096;
/// The part that the checksum covers, with the checksum: one sector.
pub(crate) const SECTOR: usize = 512;
/// No cell.
pub(crate) const NIL: u32 = u32::MAX;

/// File types at offset 28.
pub(crate) const PRIMARY: u32 = 0;
pub(crate) const OLD_LOG: u32 = 1;
pub(crate) const NEW_LOG: u32 = 6;

pub(crate) mod at {
    pub(crate) const SEQ1: usize = 4;
    pub(crate) const SEQ2: usize = 8;
    pub(crate) const TIME: usize = 12;
    pub(crate) const MAJOR: usize = 20;
    pub(crate) const MINOR: usize = 24;
    pub(crate) const TYPE: usize = 28;
    pub(crate) const FORMAT: usize = 32;
    pub(crate) const ROOT: usize = 36;
    pub(crate) const BINS: usize = 40;
    pub(crate) const CLUSTERING: usize = 44;
    pub(crate) const FLAGS: usize = 144;
    pub(crate) const CHECKSUM: usize = 508;
}

/// The fields that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BaseBlock {
    pub(crate) signature: bool,
    pub(crate) seq: [u32; 2],
    pub(crate) time: u64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) kind: u32,
    pub(crate) format: u32,
    pub(crate) root: u32,
    /// Length of all hbins in bytes.
    pub(crate) bins: u32,
    pub(crate) flags: u32,
    pub(crate) checksum: u32,
    pub(crate) computed: u32,
}

pub(crate) fn get32(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn get16(bytes: &[u8], at: usize) -> Option<u16> {
    let b = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes([b[0], b[1]]))
}

/// The exclusive or of the first 127 dwords; −1 is stored as −2 and 0 as 1.
pub(crate) fn checksum(sector: &[u8]) -> u32 {
    let sum = sector.chunks_exact(4).take(127).fold(0, |sum, b| sum ^ u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match sum {
        u32::MAX => u32::MAX - 1,
        0 => 1,
        other => other,
    }
}

impl BaseBlock {
    /// Reads the fields without judging them; `None` when there is less than a sector.
    pub(crate) fn read(bytes: &[u8]) -> Option<BaseBlock> {
        let sector = bytes.get(..SECTOR)?;
        let dword = |offset| get32(sector, offset).unwrap_or(0);
        Some(BaseBlock {
            signature: sector.starts_with(b"regf"),
            seq: [dword(at::SEQ1), dword(at::SEQ2)],
            time: u64::from(dword(at::TIME + 4)) << 32 | u64::from(dword(at::TIME)),
            major: dword(at::MAJOR),
            minor: dword(at::MINOR),
            kind: dword(at::TYPE),
            format: dword(at::FORMAT),
            root: dword(at::ROOT),
            bins: dword(at::BINS),
            flags: dword(at::FLAGS),
            checksum: dword(at::CHECKSUM),
            computed: checksum(sector),
        })
    }

    /// Signature and checksum are right.
    pub(crate) fn intact(&self) -> bool {
        self.signature && self.checksum == self.computed
    }

    /// Why Windows would replay logs before it believes this hive; `None` when it is clean.
    pub(crate) fn dirty(&self) -> Option<String> {
        if !self.signature {
            Some("the base block has no `regf` signature".into())
        } else if self.checksum != self.computed {
            Some(format!(
                "the base block's checksum is {:#010x}, its bytes give {:#010x}",
                self.checksum, self.computed
            ))
        } else if self.seq[0] != self.seq[1] {
            Some(format!("its sequence numbers differ ({} and {}): it was being written", self.seq[0], self.seq[1]))
        } else {
            None
        }
    }

    /// Whether this program handles such a hive; errors name the field.
    pub(crate) fn admit(&self, file_len: usize) -> Result<()> {
        let bad = |field, offset: usize, detail: String| Error::damaged("base block", field, offset as u64, detail);
        if !self.signature {
            return Err(bad("signature", 0, "is not `regf`".into()));
        }
        if self.major != 1 || !(3..=6).contains(&self.minor) || self.format != 1 {
            let detail =
                format!("hive version {}.{} format {}; 1.3 to 1.6 are known", self.major, self.minor, self.format);
            return Err(Error::new(Kind::Unsupported, detail).at("base block", "version", at::MAJOR as u64));
        }
        if self.kind != PRIMARY {
            return Err(bad("type", at::TYPE, format!("is {}, a log or unknown; a primary hive has 0", self.kind)));
        }
        let bins = self.bins as usize;
        if bins == 0 || !bins.is_multiple_of(LEN) || bins > i32::MAX as usize {
            return Err(bad(
                "hbins size",
                at::BINS,
                format!("{bins:#x} is not a positive multiple of 4096 below 2^31"),
            ));
        }
        if file_len < LEN + bins {
            let detail = format!("{bins:#x} bytes of hbins do not fit a file of {file_len:#x} bytes");
            return Err(bad("hbins size", at::BINS, detail));
        }
        Ok(())
    }
}

/// Writes both sequence numbers and the checksum.
pub(crate) fn seal(block: &mut [u8], seq: u32) {
    put32(block, at::SEQ1, seq);
    put32(block, at::SEQ2, seq);
    let sum = checksum(block);
    put32(block, at::CHECKSUM, sum);
}

/// Stores a dword; out of range is ignored, since every caller owns the whole block.
pub(crate) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(slot) = bytes.get_mut(at..at + 4) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_never_is_zero_or_minus_one() {
        let mut sector = [0u8; SECTOR];
        assert_eq!(checksum(&sector), 1);
        sector[..4].copy_from_slice(&[0xff; 4]);
        assert_eq!(checksum(&sector), 0xffff_fffe);
        sector[4] = 0x10;
        assert_eq!(checksum(&sector), 0xffff_ffef);
    }

    #[test]
    fn sealing_makes_clean() {
        let mut block = vec![0u8; LEN];
        block[..4].copy_from_slice(b"regf");
        put32(&mut block, at::SEQ1, 5);
        assert!(BaseBlock::read(&block).unwrap().dirty().is_some());
        seal(&mut block, 9);
        let read = BaseBlock::read(&block).unwrap();
        assert_eq!((read.dirty(), read.seq), (None, [9, 9]));
        assert!(BaseBlock::read(&block[..511]).is_none());
    }
}
