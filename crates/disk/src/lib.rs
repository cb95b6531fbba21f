//! A host file as a virtual disk.
//!
//! ```text
//!  image file ──▶ Overlay (changed pages) ──▶ raw │ VHD │ VHDX ──▶ partition ──▶ ReadAt + WriteAt
//!       │             │
//!       ├── copy ─────┼──▶ new file: reflink or copy, write, fsync, read back, rename
//!       └── journal ──┴──▶ in place: see [`journal`]
//! ```
//!
//! Opening never writes: a VHDX log is replayed into the overlay. The crate knows no file system and no Windows.
#![forbid(unsafe_code)]

mod changed;
mod child;
mod commit;
mod disk;
mod formats;
mod host;
mod io;
pub mod journal;
mod new_file;
mod overlay;
mod partition;

pub use child::{CreateChild, NewDisk};
pub use commit::{Committed, CopyMethod, Progress};
pub use disk::{Disk, InPlace, open_file, open_file_for_writing};
pub use formats::Format;
pub use formats::vhd::{CreateVhd, create_vhd};
pub use formats::vhdx::{CreateVhdx, create_vhdx};
pub use io::{MemoryDisk, ReadAt, WriteAt, checked_range};
pub use journal::{HostMedia, Recovered};
pub use new_file::NewFile;
pub use overlay::Overlay;
pub use partition::{GptPartition, Partition, PartitionTable, PartitionType, Scheme, write_gpt};
