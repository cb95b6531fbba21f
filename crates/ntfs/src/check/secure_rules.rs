//! Stage 3: `$Secure`.

use super::{Findings, Visitor};
use crate::attribute::name;
use crate::security::{HEADER, Place, Secure};
use crate::tree::Tree;
use crate::volume::Volume;
use reseal_dtyp::View;
use std::collections::HashMap;

impl Volume {
    /// Returns how many descriptors there are.
    pub(crate) fn check_secure(&self, findings: &mut Findings, visitor: &dyn Visitor) -> u64 {
        let secure = match self.secure() {
            Ok(secure) => secure,
            Err(error) => {
                findings.unreadable("secure-unreadable", "$Secure".into(), &error);
                return 0;
            }
        };
        let mut ends: Vec<(u64, u64, u32)> = Vec::with_capacity(secure.places.len());
        for place in &secure.places {
            match secure.verified(*place) {
                Ok(range) => visitor.descriptor(&secure.sds[range.start + HEADER as usize..range.end]),
                Err(error) => findings.damage("secure-descriptor", "$Secure:$SDS".into(), error.to_string()),
            }
            ends.push((place.offset, place.offset.saturating_add(u64::from(place.len)), place.id));
        }
        ends.sort_unstable();
        for pair in ends.windows(2).filter(|w| w[0].1 > w[1].0) {
            let detail = format!("the descriptors {} and {} overlap at {:#x}", pair[0].2, pair[1].2, pair[1].0);
            findings.damage("secure-overlap", "$Secure:$SDS".into(), detail);
        }
        self.check_secure_index(&secure, &secure.sii, name::SII, findings);
        self.check_secure_index(&secure, &secure.sdh, name::SDH, findings);
        secure.places.len() as u64
    }

    fn check_secure_index(&self, secure: &Secure, tree: &Tree, index: &[u16], findings: &mut Findings) {
        let label = format!("$Secure:{}", String::from_utf16_lossy(index));
        let mut missing: HashMap<u32, Place> = secure.places.iter().map(|p| (p.id, *p)).collect();
        let known = missing.len();
        if known != secure.places.len() {
            let detail = format!("{} entries for {known} ids", secure.places.len());
            findings.damage("secure-index", label.clone(), detail);
        }
        self.check_tree(tree, label.clone(), findings, &mut |entry, findings| {
            let data = entry.data().filter(|d| d.len() == HEADER as usize);
            let Some(place) = data.and_then(|d| Place::read(d, 0).ok()) else {
                return findings.damage("secure-index", label.clone(), "an entry has no 20 bytes of data".into());
            };
            let mut key = Vec::with_capacity(8);
            if index == name::SDH {
                key.extend_from_slice(&place.hash.to_le_bytes());
            }
            key.extend_from_slice(&place.id.to_le_bytes());
            if entry.key != key {
                let id = View::new("key", 0, entry.key).u32(0, "").unwrap_or(0);
                let detail = format!(
                    "a key starting with {id:#x} leads to the descriptor {} with hash {:#010x}",
                    place.id, place.hash
                );
                findings.damage("secure-index", label.clone(), detail);
            }
            if missing.remove(&place.id) != Some(place) {
                let detail = format!("the entry of id {} is not the one of $SII", place.id);
                findings.damage("secure-index", label.clone(), detail);
            }
        });
        for id in missing.keys() {
            findings.damage("secure-index", label.clone(), format!("id {id} is missing"));
        }
    }
}
