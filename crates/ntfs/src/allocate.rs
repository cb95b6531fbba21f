//! Free clusters.

/// Which clusters may be given out.
#[derive(Debug)]
pub(crate) struct Allocator {
    /// Bits of clusters that are in use by `$Bitmap` or by any run.
    pub(crate) used: Vec<u64>,
}
