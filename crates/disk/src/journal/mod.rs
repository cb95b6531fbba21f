//! Commit in place: a redo journal beside the image, so that the image is the old one or the new one at every instant.
//!
//! ```text
//!  write IMAGE.reseal-journal.tmp ─ sync ─ rename to IMAGE.reseal-journal ─ sync folder     ◀ from here on it is the new image
//!  mark boot sectors ─ sync ─ write ─ sync ─ read back ─ unmark ─ sync ─ remove journal ─ sync folder
//! ```
//!
//! The journal holds what changes, sector by sector, and a digest of what stood there before: a sector that is neither shows
//! that the image went on to live (it was booted), and then nothing is written. While sectors are being written the marked
//! boot sectors read [`MARK`], so that nobody mounts a half-written image whose journal was lost. `docs/formats/journal.md`
//! has the bytes.

mod commit;
mod format;
mod host;
mod media;
mod reader;
mod recover;
mod roll;

pub use commit::{Change, Commit, Written, commit};
pub use host::HostMedia;
pub use media::{Media, Name};
pub use recover::{Recovered, recover, undo};

pub(crate) use host::interrupted;

/// What stands in the OEM id of a marked boot sector while the image is half written.
pub const MARK: [u8; 8] = *b"RESEAL!!";

/// Bytes that reach the medium as a whole: the smallest sector there is.
pub const SECTOR: u64 = 512;
