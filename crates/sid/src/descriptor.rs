//! Replacement inside a self-relative security descriptor.

use crate::{Form, SidMap};
use reseal_dtyp::{Descriptor, Error, Result};

/// How many SIDs of a descriptor were replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DescriptorRewrite {
    /// SIDs that the structure names: owner, group, ACEs, conditions, claims.
    pub structural: usize,
    /// Further SIDs found by pattern: slack, garbage, opaque application data.
    pub by_pattern: usize,
}

impl DescriptorRewrite {
    /// All together.
    pub fn total(&self) -> usize {
        self.structural + self.by_pattern
    }
}

impl SidMap {
    /// Replaces every old SID of a self-relative descriptor in place: those that its structure names, then those that
    /// stand anywhere else in its bytes. Length, layout, order and masks stay. `Damaged`, with nothing changed, when it does
    /// not parse or would not parse alike afterwards.
    pub fn rewrite_descriptor(&self, sd: &mut [u8]) -> Result<DescriptorRewrite> {
        // Most descriptors name no account of the machine: one search settles that before anything is parsed.
        let found: Vec<_> = self.find(sd).filter(|o| o.form == Form::Binary).collect();
        if found.is_empty() {
            return Ok(DescriptorRewrite::default());
        }
        let named = Descriptor::sid_offsets(sd)?;
        let before = sd.to_vec();
        let mut out = DescriptorRewrite::default();
        for occurrence in found {
            let start = occurrence.offset + 2;
            sd[start..start + 22].copy_from_slice(&self.pairs()[occurrence.pair].1.pattern());
            if named.binary_search(&occurrence.offset).is_ok() {
                out.structural += 1;
            } else {
                out.by_pattern += 1;
            }
        }
        // Bytes that look like the SID may lie across the structure itself; then nothing can be replaced there.
        if out.by_pattern > 0 && Descriptor::sid_offsets(sd).ok().as_ref() != Some(&named) {
            sd.copy_from_slice(&before);
            let detail = format!(
                "the bytes of an old SID lie across its structure ({} SIDs, {} elsewhere)",
                out.structural, out.by_pattern
            );
            return Err(Error::damaged("security descriptor", "", 0, detail));
        }
        Ok(out)
    }
}
