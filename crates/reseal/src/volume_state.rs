//! What the guards need to know of the volume that holds Windows.

use reseal_ntfs::Volume;

/// The state of the Windows volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VolumeState {
    /// The partition, for messages.
    pub(crate) place: String,
    /// Why it counts as dirty.
    pub(crate) dirty: Option<String>,
}

impl VolumeState {
    /// That of a tree which is no volume, and so never half written.
    pub(crate) fn clean(place: String) -> VolumeState {
        VolumeState { place, dirty: None }
    }

    pub(crate) fn of(volume: &Volume, place: String) -> VolumeState {
        let info = volume.info();
        let dirty = if info.flags.is_dirty() || info.flags.has_pending_work() {
            Some(format!("the volume is marked dirty (flags {:#06x})", info.flags.0))
        } else if info.log_state.is_settled() {
            None
        } else {
            Some(format!("$LogFile is {}: Windows did not dismount the volume", info.log_state))
        };
        VolumeState { place, dirty }
    }
}
