//! Security descriptors as SDDL, each unique one put into words once.

use super::DescriptorSummary;
use super::side::Files;
use reseal_dtyp::Descriptor;
use std::collections::HashMap;
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

/// How the unique descriptors of two sides differ.
pub(super) fn summary(sides: [&dyn Files; 2]) -> DescriptorSummary {
    let [a, b] = sides.map(Files::descriptors);
    DescriptorSummary {
        before: a.len(),
        after: b.len(),
        removed: a.difference(&b).count(),
        added: b.difference(&a).count(),
    }
}
