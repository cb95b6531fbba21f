//! The state of `$LogFile`, from its two restart pages. The log is never replayed; a scrub alone
//! writes it, as a whole.

use std::fmt;

/// What the restart pages of `$LogFile` say about the last dismount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LogState {
    /// Version 1.0 or 1.1, dismounted cleanly.
    Clean,
    /// Filled with 0xFF: freshly formatted or reset; Windows makes a new log.
    Empty,
    /// Version 1.0 or 1.1 with records that only a replay would bring into the volume.
    Dirty,
    /// Version 2.0: mounted by Windows 8 or later and not dismounted (hibernation, fast startup, pulled plug), or a volume on
    /// which the downgrade at dismount was switched off. `clean` is what its restart area says.
    Version2 {
        /// Whether the restart area carries the clean mark.
        clean: bool,
    },
    /// chkdsk ran and left its signature; Windows makes a new log.
    ChkdskRan,
    /// No valid restart page.
    Damaged,
}

impl LogState {
    /// Whether the metadata on the medium is all there is.
    pub fn is_settled(self) -> bool {
        matches!(self, LogState::Clean | LogState::Empty | LogState::ChkdskRan)
    }
}

impl fmt::Display for LogState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogState::Clean => "clean",
            LogState::Empty => "empty",
            LogState::Dirty => "dirty",
            LogState::Version2 { clean: true } => "version 2.0, marked clean",
            LogState::Version2 { clean: false } => "version 2.0, not dismounted",
            LogState::ChkdskRan => "reset by chkdsk",
            LogState::Damaged => "damaged",
        })
    }
}

/// Bytes of `$LogFile` that [`state`] looks at.
pub(crate) const LOOKED_AT: usize = 16 << 10;

/// RESTART_VOLUME_IS_CLEAN.
const CLEAN: u16 = 2;

struct RestartPage {
    current_lsn: u64,
    major: u16,
    clean: bool,
    chkdsk: bool,
}

fn field(bytes: &[u8], offset: usize, len: usize) -> Option<u64> {
    let mut wide = [0; 8];
    wide[..len].copy_from_slice(bytes.get(offset..offset.checked_add(len)?)?);
    Some(u64::from_le_bytes(wide))
}

fn restart_page(page: &[u8]) -> Option<RestartPage> {
    let signature = page.get(..4)?;
    if signature != b"RSTR" && signature != b"CHKD" {
        return None;
    }
    let system_page = field(page, 0x10, 4)? as usize;
    if !system_page.is_power_of_two() || !(512..=page.len()).contains(&system_page) {
        return None;
    }
    let mut page = page[..system_page].to_vec();
    crate::fixup::unprotect(&mut page, "restart page", 0).ok()?;
    let area = field(&page, 0x18, 2)? as usize;
    let (in_use, flags) =
        (field(&page, area.checked_add(0xc)?, 2)? as u16, field(&page, area.checked_add(0xe)?, 2)? as u16);
    Some(RestartPage {
        current_lsn: field(&page, area, 8)?,
        major: field(&page, 0x1c, 2)? as u16,
        // No client uses the log, or the log says that the volume was dismounted.
        clean: in_use == 0xffff || flags & CLEAN != 0,
        chkdsk: signature == b"CHKD",
    })
}

/// Judges the first [`LOOKED_AT`] bytes of `$LogFile`; `size` is the length of the file.
pub(crate) fn state(head: &[u8], size: u64) -> LogState {
    if size == 0 || (!head.is_empty() && head.iter().all(|&b| b == 0xff)) {
        return LogState::Empty;
    }
    let first = restart_page(head);
    let second_at = field(head, 0x10, 4).map_or(4096, |v| v as usize);
    let second = head.get(second_at..).and_then(restart_page).or_else(|| head.get(4096..).and_then(restart_page));
    let newest = match (first, second) {
        (Some(a), Some(b)) => Some(if b.current_lsn > a.current_lsn { b } else { a }),
        (a, b) => a.or(b),
    };
    match newest {
        None => LogState::Damaged,
        Some(page) if page.chkdsk => LogState::ChkdskRan,
        Some(page) if page.major >= 2 => LogState::Version2 { clean: page.clean },
        Some(page) if page.clean => LogState::Clean,
        Some(_) => LogState::Dirty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(lsn: u64, major: u16, in_use: u16, flags: u16) -> Vec<u8> {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(b"RSTR\x1e\0\x09\0");
        page[0x10..0x14].copy_from_slice(&4096u32.to_le_bytes());
        page[0x18] = 0x30;
        page[0x1c..0x1e].copy_from_slice(&major.to_le_bytes());
        page[0x30..0x38].copy_from_slice(&lsn.to_le_bytes());
        page[0x3c..0x3e].copy_from_slice(&in_use.to_le_bytes());
        page[0x3e..0x40].copy_from_slice(&flags.to_le_bytes());
        crate::fixup::protect(&mut page, "restart page", 0).unwrap();
        page
    }

    #[test]
    fn the_newer_page_decides() {
        let both = |a: Vec<u8>, b: Vec<u8>| state(&[a, b].concat(), 1 << 20);
        assert_eq!(both(page(1, 1, 0, 0), page(2, 1, 0xffff, 0)), LogState::Clean);
        assert_eq!(both(page(3, 1, 0, 0), page(2, 1, 0xffff, 0)), LogState::Dirty);
        assert_eq!(both(page(3, 1, 0, 2), page(2, 1, 0, 0)), LogState::Clean);
        assert_eq!(both(page(3, 2, 0, 2), page(2, 1, 0, 0)), LogState::Version2 { clean: true });
        assert_eq!(both(vec![0; 4096], page(2, 2, 0, 0)), LogState::Version2 { clean: false });
        assert_eq!(both(vec![0; 4096], vec![0; 4096]), LogState::Damaged);
        assert_eq!(state(&[0xff; 8192], 1 << 20), LogState::Empty);
    }
}
