//! A FAT12, FAT16 or FAT32 volume, by Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03): finds files by
//! path, reads them, tells where they lie, and overwrites them there. Nothing is ever allocated, moved, renamed or made.
//!
//! Every number of the volume may be crafted: the boot sector is held against the length of the partition before anything
//! else is read, a chain of clusters has an end that its file's size gives, and no cluster may come twice in it.
#![forbid(unsafe_code)]

mod chain;
mod directory;
mod layout;
mod volume;

pub use directory::Entry;
pub use layout::FatType;
pub use volume::{Extent, Volume};
