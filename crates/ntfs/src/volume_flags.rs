//! What Windows shall do with the volume at its next mount: the flags of `$VOLUME_INFORMATION`.

use crate::attribute::kind;
use crate::file_edit::FileEdit;
use crate::reference::system;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result};

/// VOLUME_IS_DIRTY.
const DIRTY: u16 = 1;
/// Offset of the flags in the attribute.
const FLAGS: std::ops::Range<usize> = 0xa..0xc;

/// The flags of `$VOLUME_INFORMATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VolumeFlags(pub u16);

impl VolumeFlags {
    /// The volume must be checked before it is used.
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// Windows has work to finish at the next mount: resize the log (2), upgrade (4), delete the change journal (0x10), or a
    /// running chkdsk (0x4000).
    pub fn has_pending_work(self) -> bool {
        self.0 & (2 | 4 | 0x10 | 0x4000) != 0
    }
}

impl Volume {
    /// Marks the volume dirty, as `fsutil dirty set` does: Windows runs autochk on it at its next start. `false`, with
    /// nothing written, when it is marked already.
    pub fn schedule_check(&mut self) -> Result<bool> {
        if self.facts.flags.is_dirty() {
            return Ok(false);
        }
        let flags = VolumeFlags(self.facts.flags.0 | DIRTY);
        self.operation(|volume| {
            let mut edit = FileEdit::new(volume.file_by_number(system::VOLUME)?);
            let missing = |what| Error::damaged("$Volume", "$VOLUME_INFORMATION", 0, what);
            let spot = edit.spot(kind::VOLUME_INFORMATION, &[])?.ok_or_else(|| missing("there is none"))?;
            let value = edit.value_mut(spot)?;
            let field = value.get_mut(FLAGS).ok_or_else(|| missing("it ends before its flags"))?;
            field.copy_from_slice(&flags.0.to_le_bytes());
            edit.finish(volume)
        })?;
        self.facts.flags = flags;
        Ok(true)
    }
}
