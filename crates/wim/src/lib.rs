//! A WIM file: header, blob table, images with their files, blobs.
//!
//! ```text
//! header ─▶ blob table ─▶ resources: plain, in chunks, or solid (many blobs in one)
//!    │          └ the n-th metadata resource is image n: security data, then directory entries
//!    ├─▶ XML data, integrity table
//! ```
//!
//! Sources: Microsoft's "Windows Imaging File Format (WIM)" white paper; what it leaves out (solid resources, hard-link
//! groups, streams of reparse points) from WIM files of Windows and the documentation of wimlib. What is relied on stands in
//! `docs/formats/wim.md`.
#![forbid(unsafe_code)]

mod blobs;
mod chunks;
mod dentry;
mod earlier;
mod edit;
mod header;
mod image;
mod integrity;
pub mod names;
mod pack;
mod parse;
mod parts;
mod reader;
mod resource;
mod serialize;
mod solid;
mod split;
mod wim;
mod writer;

pub use blobs::{Blob, Sha1Hash, hash_of};
pub use dentry::{Stream, StreamKind, Times};
pub use earlier::Earlier;
pub use edit::NewFile;
pub use header::{Compression, Header};
pub use image::{Entry, FileId, Image};
pub use reader::BlobReader;
pub use split::SplitPlan;
pub use wim::Wim;
pub use writer::{Finished, Output, Storage, Writer};
