//! `$Quota`: how many bytes are charged to whom, and whether anybody counts.
//!
//! ```text
//! file     $STANDARD_INFORMATION: owner id @30, bytes charged for it @38
//! $Q       owner id ─▶ version │ flags @4 │ bytes used @8 │ changed @10 │ threshold @18 │ limit @20 │ exceeded @28 │ SID @30
//! $Q       1 ─▶ the defaults: their flags tell whether quotas are tracked, and whether Windows has to count anew
//! ```

use crate::attribute::{kind, name};
use crate::file::File;
use crate::tree_edit::TreeEdit;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result};
use std::ops::Range;

/// The owner id of the entry with the defaults.
const DEFAULTS: u32 = 1;
/// Flags of an owner: the limit is reached.
const LIMIT_REACHED: u32 = 2;
/// Flags of the defaults: tracked (0x10), enforced (0x20), to be tracked when all has been counted (0x40).
const IN_USE: u32 = 0x70;
/// Flags of the defaults: the usage is out of date (0x200) or corrupt (0x400). Windows counts anew.
const OUT_OF_DATE: u32 = 0x200;
const TO_BE_COUNTED: u32 = 0x600;

const FLAGS: usize = 4;
const USED: usize = 8;
const EXCEEDED: usize = 0x28;
/// Bytes of an entry's data before the SID.
const CONTROL: usize = 0x30;

/// Where the numbers of an entry of `$Q` lie; `None` when it is too short for them.
fn control(entry: &[u8]) -> Option<Range<usize>> {
    let start = usize::from(u16::from_le_bytes([*entry.first()?, *entry.get(1)?]));
    (start >= 0x14 && start + CONTROL <= entry.len()).then_some(start..start + CONTROL)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Takes `charged` bytes from an entry of `$Q`. `false`, with nothing changed, where that is not all that would have to change: an
/// owner beyond a threshold or at a limit has a time and a flag for it, which Windows sets by rules that are not documented.
fn take(entry: &mut [u8], charged: u64) -> bool {
    let Some(control) = control(entry).and_then(|range| entry.get_mut(range)) else { return false };
    let is_plain = u32_at(control, FLAGS) & LIMIT_REACHED == 0 && u64_at(control, EXCEEDED) == 0;
    match u64_at(control, USED).checked_sub(charged) {
        Some(left) if is_plain => {
            control[USED..USED + 8].copy_from_slice(&left.to_le_bytes());
            true
        }
        _ => false,
    }
}

impl Volume {
    /// The flags of the defaults; 0, as where quotas are off, without `$Quota` or without that entry.
    fn quota_flags(&self) -> Result<u32> {
        let Some(mut tree) = self.edit_quotas()? else { return Ok(0) };
        let Some(entry) = tree.get(self, &DEFAULTS.to_le_bytes())? else { return Ok(0) };
        let range = control(&entry)
            .ok_or_else(|| Error::damaged("$Quota", "$Q", 0, format!("the defaults have {} bytes", entry.len())))?;
        Ok(u32_at(&entry[range], FLAGS))
    }

    fn edit_quotas(&self) -> Result<Option<TreeEdit>> {
        let Some(reference) = self.extend_file("$Quota")? else { return Ok(None) };
        let file = self.file(reference)?;
        if self.tree(&file, name::Q)?.is_none() {
            return Ok(None);
        }
        self.edit_tree(file, name::Q).map(Some)
    }

    /// Whether Windows tracks or enforces quotas on this volume.
    pub(crate) fn has_quotas(&self) -> Result<bool> {
        Ok(self.quota_flags()? & IN_USE != 0)
    }

    /// Whether usage is counted and not going to be counted anew anyway.
    fn counts_usage(&mut self) -> Result<bool> {
        if let Some(known) = self.counts_usage {
            return Ok(known);
        }
        let flags = self.quota_flags()?;
        let counts = flags & IN_USE != 0 && flags & TO_BE_COUNTED == 0;
        self.counts_usage = Some(counts);
        Ok(counts)
    }

    /// A file goes: what was charged for it is taken from the usage of its owner. Where the numbers do not allow that, Windows is
    /// told to count anew. Nothing happens where quotas are off.
    pub(crate) fn discharge(&mut self, file: &File) -> Result<()> {
        let information = file.resident(kind::STANDARD_INFORMATION, &[])?.unwrap_or_default();
        // In the form of NTFS 1.2 both are missing.
        let (owner, charged) = (u32_at(information, 0x30), u64_at(information, 0x38));
        if owner == 0 || charged == 0 || !self.counts_usage()? {
            return Ok(());
        }
        let Some(mut tree) = self.edit_quotas()? else { return Ok(()) };
        let mut taken = false;
        tree.update(self, &owner.to_le_bytes(), |entry| taken = take(entry, charged))?;
        if taken {
            return tree.finish(self);
        }
        self.recount_usage()
    }

    /// Sizes or owners of files change in a way whose charge only Windows knows: it is told to count anew, by the flag that it
    /// sets itself when its numbers are out of date. Nothing happens where quotas are off.
    pub(crate) fn recount_usage(&mut self) -> Result<()> {
        if !self.counts_usage()? {
            return Ok(());
        }
        let Some(mut tree) = self.edit_quotas()? else { return Ok(()) };
        tree.update(self, &DEFAULTS.to_le_bytes(), |entry| {
            if let Some(control) = control(entry).and_then(|range| entry.get_mut(range)) {
                let flags = u32_at(control, FLAGS) | OUT_OF_DATE;
                control[FLAGS..FLAGS + 4].copy_from_slice(&flags.to_le_bytes());
            }
        })?;
        tree.finish(self)?;
        // Forgotten when the operation fails and the flag is not written.
        self.counts_usage = Some(false);
        Ok(())
    }
}
