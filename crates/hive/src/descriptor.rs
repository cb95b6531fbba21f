//! Whether bytes are a self-relative security descriptor that a registry key can carry ([MS-DTYP] 2.4.6).
//!
//! Windows validates every descriptor of a hive when it loads it, so a bad one must never be written.

use crate::base_block::{get16, get32};
use reseal_dtyp::Sid;

/// Header: revision, control, four offsets.
const HEADER: usize = 20;
/// SE_SELF_RELATIVE: the four fields are offsets.
const SELF_RELATIVE: u16 = 0x8000;
/// SE_DACL_PRESENT and SE_SACL_PRESENT.
const PRESENT: [(u16, usize, &str); 2] = [(0x0010, 12, "SACL"), (0x0004, 16, "DACL")];

/// Says what is wrong with a descriptor.
pub(crate) fn validate(sd: &[u8]) -> Result<(), String> {
    let short = || format!("{} bytes, a descriptor has at least {HEADER}", sd.len());
    let control = get16(sd, 2).ok_or_else(short)?;
    get32(sd, HEADER - 4).ok_or_else(short)?;
    if sd[0] != 1 {
        return Err(format!("revision {}, not 1", sd[0]));
    }
    if control & SELF_RELATIVE == 0 {
        return Err(format!("control {control:#06x} does not say self-relative"));
    }
    for (offset, what) in [(4, "owner"), (8, "group")] {
        let at = get32(sd, offset).unwrap_or(0) as usize;
        if at == 0 {
            continue;
        }
        let sid = part(sd, at, what)?;
        Sid::read(sid).map_err(|e| format!("{what} at {at:#x}: {e}"))?;
    }
    for (bit, offset, what) in PRESENT {
        let at = get32(sd, offset).unwrap_or(0) as usize;
        if control & bit != 0 && at != 0 {
            acl(part(sd, at, what)?).map_err(|e| format!("{what} at {at:#x}: {e}"))?;
        }
    }
    Ok(())
}

fn part<'a>(sd: &'a [u8], at: usize, what: &str) -> Result<&'a [u8], String> {
    let inside = at >= HEADER && at.is_multiple_of(4);
    sd.get(at..).filter(|rest| inside && rest.len() >= 8).ok_or_else(|| {
        format!("{what} at {at:#x} is not an aligned place within the {:#x} bytes after the header", sd.len())
    })
}

/// An access control list: the entries lie within its size, and each SID within its entry.
fn acl(bytes: &[u8]) -> Result<(), String> {
    let (size, count) = (usize::from(get16(bytes, 2).unwrap_or(0)), get16(bytes, 4).unwrap_or(0));
    let body =
        bytes.get(..size).filter(|b| b.len() >= 8).ok_or_else(|| format!("size {size:#x} of {:#x}", bytes.len()))?;
    if !(2..=4).contains(&body[0]) {
        return Err(format!("ACL revision {}", body[0]));
    }
    let mut at = 8;
    for i in 0..count {
        let len = usize::from(get16(body, at + 2).unwrap_or(0));
        let ace = body.get(at..at + len).filter(|a| a.len() >= 8 && a.len().is_multiple_of(4));
        let ace = ace.ok_or_else(|| format!("entry {i} of {count}: {len:#x} bytes at {at:#x} of {size:#x}"))?;
        let sid_at = match ace[0] {
            0..=3 | 9 | 0xa | 0xd | 0xe | 0x11..=0x15 => Some(8),
            // Object entries: flags say which of two GUIDs precede the SID.
            5..=8 | 0xb | 0xc | 0xf | 0x10 => {
                let flags = get32(ace, 8).unwrap_or(0);
                Some(12 + 16 * (flags & 1) as usize + 16 * (flags >> 1 & 1) as usize)
            }
            _ => None,
        };
        if let Some(sid_at) = sid_at {
            Sid::read(ace.get(sid_at..).unwrap_or(&[])).map_err(|e| format!("entry {i} of {count}: {e}"))?;
        }
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_defect() {
        let good = crate::fixture::descriptor(500);
        assert_eq!(validate(&good), Ok(()));
        for cut in 0..good.len() {
            assert!(validate(&good[..cut]).is_err(), "{cut}");
        }
        // revision, control, owner offset, group SID revision, ACL size, ACE size, ACE SID revision
        let dacl = usize::from(good[16]);
        let group = usize::from(good[8]);
        for (at, byte) in [(0, 9), (3, 0), (4, 3), (group, 0), (dacl + 2, 4), (dacl + 10, 3), (dacl + 16, 7)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(validate(&bad).is_err(), "byte {at}");
        }
    }
}
