//! Fixups: the update sequence array that shows torn writes of FILE and INDX blocks.
//!
//! The stride is 512 bytes on every disk. On the medium the last two bytes of each stride hold the update sequence number;
//! the bytes that belong there wait in the array.

use reseal_dtyp::{Error, Result};

const STRIDE: usize = 512;

fn get(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

/// Where the array lies and how many strides there are.
fn array(block: &[u8], structure: &'static str, at: u64) -> Result<(usize, usize)> {
    let offset = usize::from(get(block, 4).unwrap_or(0));
    let count = usize::from(get(block, 6).unwrap_or(0));
    let strides = block.len() / STRIDE;
    if !block.len().is_multiple_of(STRIDE)
        || count != strides + 1
        || offset < 0x18
        || offset % 2 != 0
        || offset + 2 * count > STRIDE - 2
    {
        let detail =
            format!("update sequence array of {count} words at {offset:#x}, the block has {} bytes", block.len());
        return Err(Error::damaged(structure, "UpdateSequenceArray", at, detail));
    }
    Ok((offset, strides))
}

/// Puts the true bytes back, in place. `Damaged` when a stride was torn or the array does not fit.
pub(crate) fn unprotect(block: &mut [u8], structure: &'static str, at: u64) -> Result<()> {
    let (offset, strides) = array(block, structure, at)?;
    let usn = [block[offset], block[offset + 1]];
    for i in 1..=strides {
        let end = i * STRIDE;
        if block[end - 2..end] != usn {
            let detail = format!(
                "torn write: bytes {:#x} hold {:02x}{:02x}, the update sequence number is {:02x}{:02x}",
                end - 2,
                block[end - 1],
                block[end - 2],
                usn[1],
                usn[0]
            );
            return Err(Error::damaged(structure, "UpdateSequenceNumber", at + end as u64 - 2, detail));
        }
        block.copy_within(offset + 2 * i..offset + 2 * i + 2, end - 2);
    }
    Ok(())
}

/// Prepares a block for the medium: next update sequence number (never 0 or 0xFFFF), ends of strides into the array.
pub(crate) fn protect(block: &mut [u8], structure: &'static str, at: u64) -> Result<()> {
    let (offset, strides) = array(block, structure, at)?;
    let usn = match get(block, offset).unwrap_or(0) {
        0xfffe.. => 1,
        n => n + 1,
    };
    block[offset..offset + 2].copy_from_slice(&usn.to_le_bytes());
    for i in 1..=strides {
        let end = i * STRIDE;
        block.copy_within(end - 2..end, offset + 2 * i);
        block[end - 2..end].copy_from_slice(&usn.to_le_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_torn() {
        let mut block = vec![0u8; 1024];
        block[..8].copy_from_slice(b"FILE\x30\0\x03\0");
        block[0x30..0x32].copy_from_slice(&0xfffeu16.to_le_bytes());
        block[510] = 7;
        block[1023] = 9;
        let clean = block.clone();
        protect(&mut block, "file record", 0).unwrap();
        assert_eq!((block[510], block[1022], block[0x30]), (1, 1, 1), "0xFFFE is followed by 1");
        let mut torn = block.clone();
        unprotect(&mut block, "file record", 0).unwrap();
        assert_eq!(block[0x36..], clean[0x36..]);
        torn[1023] ^= 1;
        assert!(unprotect(&mut torn, "file record", 0).is_err());
    }

    #[test]
    fn refuses_arrays_that_do_not_fit() {
        for (offset, count) in [(0x30u16, 2u16), (0x30, 4), (0x1fe, 3), (0x31, 3), (4, 3), (0xffff, 3)] {
            let mut block = vec![0u8; 1024];
            block[4..6].copy_from_slice(&offset.to_le_bytes());
            block[6..8].copy_from_slice(&count.to_le_bytes());
            assert!(unprotect(&mut block.clone(), "file record", 0).is_err());
            assert!(protect(&mut block, "file record", 0).is_err());
        }
    }
}
