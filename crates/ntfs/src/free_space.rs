//! What was free and stays free: space of which nobody knows what lies in it.

use crate::volume::Volume;
use reseal_dtyp::Result;

/// The clusters that were free at one time, one bit each.
#[derive(Debug, Clone)]
pub struct FreeClusters(Vec<u64>);

impl Volume {
    /// The clusters that are free now.
    pub fn free_map(&self) -> Result<FreeClusters> {
        Ok(FreeClusters(self.cluster_bitmap()?.into_iter().map(|word| !word).collect()))
    }

    /// Bytes of the clusters that are free now and were free before: they hold what they held.
    pub fn still_free(&self, before: &FreeClusters) -> Result<u64> {
        let now = self.cluster_bitmap()?;
        let both = now.iter().zip(&before.0).map(|(used, free)| u64::from((!used & free).count_ones()));
        Ok(both.sum::<u64>() * u64::from(self.geometry.cluster_size))
    }
}
