//! A host file as a virtual disk: raw, VHDX, partitions, overlay and commit.
#![forbid(unsafe_code)]

mod io;

pub use io::{MemoryDisk, ReadAt, WriteAt, checked_range};
