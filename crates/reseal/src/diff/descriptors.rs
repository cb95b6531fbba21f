//! Security descriptors as SDDL, each unique one put into words once.

use super::DescriptorSummary;
use reseal_dtyp::{Descriptor, Result};
use reseal_ntfs::{FileStat, Volume};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Words for descriptors, shared by everything that shows them.
#[derive(Debug, Default)]
pub(super) struct Words(Mutex<HashMap<Vec<u8>, Arc<str>>>);

impl Words {
    /// SDDL, or for what is no descriptor its length and digest.
    pub(super) fn of(&self, descriptor: &[u8]) -> Arc<str> {
        let known = |map: &HashMap<Vec<u8>, Arc<str>>| map.get(descriptor).cloned();
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known(&map) {
            return found;
        }
        let sddl = Descriptor::read(descriptor).and_then(|d| d.to_sddl());
        let shown: Arc<str> = match sddl {
            Ok(sddl) => sddl.into(),
            Err(e) => format!("no descriptor: {}: {e}", super::content::digest_of(descriptor)).into(),
        };
        map.insert(descriptor.to_vec(), Arc::clone(&shown));
        shown
    }

    /// What both sides show, when it differs: bytes may lie in another order and say the same.
    pub(super) fn differing(&self, sides: [Option<&[u8]>; 2]) -> Option<[Option<Arc<str>>; 2]> {
        if sides[0] == sides[1] {
            return None;
        }
        let shown = sides.map(|side| side.map(|bytes| self.of(bytes)));
        (shown[0] != shown[1]).then_some(shown)
    }
}

/// The descriptors of a volume's store by id.
#[derive(Debug, Default)]
pub(super) struct Store(HashMap<u32, Vec<u8>>);

impl Store {
    /// Reads the store; one that is damaged counts as empty, and each file tells of its own descriptor.
    pub(super) fn of(volume: &Volume) -> Store {
        Store(volume.descriptors().map(|list| list.into_iter().collect()).unwrap_or_default())
    }

    /// The descriptor of a file; `None` for a file that has none.
    pub(super) fn descriptor(&self, volume: &Volume, stat: &FileStat) -> Result<Option<Cow<'_, [u8]>>> {
        let known = stat.standard.security_id.filter(|id| *id != 0).and_then(|id| self.0.get(&id));
        if let Some(bytes) = known {
            return Ok(Some(Cow::Borrowed(bytes)));
        }
        let has_none = stat.standard.security_id.is_none_or(|id| id == 0) && !stat.own_descriptor;
        if has_none { Ok(None) } else { volume.descriptor(stat.reference).map(|bytes| Some(Cow::Owned(bytes))) }
    }
}

/// How the unique descriptors of two stores differ.
pub(super) fn summary(stores: [&Store; 2]) -> DescriptorSummary {
    let [a, b] = stores.map(|store| store.0.values().collect::<HashSet<_>>());
    DescriptorSummary {
        before: a.len(),
        after: b.len(),
        removed: a.difference(&b).count(),
        added: b.difference(&a).count(),
    }
}
