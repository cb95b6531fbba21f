//! An NTFS volume over positional reads and writes: reads all, writes what servicing needs, checks itself.
//!
//! ```text
//!  boot sector ─▶ $MFT ─▶ file record ─▶ attribute ─▶ runs ─▶ stream
//!                            │ $I30 ─▶ index root, index blocks ─▶ names
//!                            └ $Secure ─▶ $SDS, $SII, $SDH ─▶ security descriptors
//! ```
//!
//! A [`Volume`] is opened on anything that can be read and written at an offset; what lies below (a partition, a container, an
//! overlay) is not its business. Every byte of it is taken as hostile: each offset, length and count is checked before it is
//! used, every loop has a limit, and what contradicts itself is refused, never repaired.
#![forbid(unsafe_code)]

mod allocate;
mod attribute;
mod attribute_list;
mod attributes;
mod bits;
mod check;
mod content;
mod create;
mod directory;
mod file;
mod file_edit;
mod file_name;
mod fixup;
mod free_space;
mod geometry;
mod grow;
mod idle;
mod index;
mod inherit;
mod links;
mod log_file;
mod make_room;
mod names_edit;
mod overwrite;
mod plain;
mod quota;
mod record;
mod record_edit;
mod reference;
mod remove;
mod remove_tree;
mod rename;
mod reparse;
mod replace;
mod reserve;
mod rewrite_sids;
mod runs;
mod scan;
mod scrub;
mod security;
mod security_add;
mod shadow;
mod short_name;
mod slots;
mod spread;
mod stat;
mod store;
mod stream;
mod sweep;
mod tree;
mod tree_edit;
mod tree_layout;
mod upcase;
mod volume;
mod volume_flags;
mod wof;
mod write;

pub use check::{Stage, StageResult, Visitor};
pub use content::{StreamExtent, StreamReader};
pub use create::{NewFile, NewName};
pub use directory::DirEntry;
pub use file_name::{FileName, NameView, Namespace};
pub use free_space::FreeClusters;
pub use geometry::Probe;
pub use idle::Part;
pub use log_file::LogState;
pub use record::FileRecord;
pub use reference::FileReference;
pub use remove_tree::RemovedTree;
pub use rewrite_sids::SecurityRewrite;
pub use runs::Run;
pub use scan::Scanned;
pub use scrub::Scrubbed;
pub use security_add::Security;
pub use shadow::{SHADOW_HEADER, ShadowCopy, ShadowHeader};
pub use stat::{FileStat, StandardInformation, StreamInfo};
pub use store::{Touch, Touched};
pub use sweep::{ByteOwner, Owners, SweepPlace};
pub use volume::{Volume, VolumeInfo};
pub use volume_flags::VolumeFlags;
pub use wof::Wof;
