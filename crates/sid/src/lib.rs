//! Replaces machine SIDs wherever they stand: security descriptors, binary data, text.
//!
//! A machine SID `S-1-5-21-a-b-c` is recognized by its 22 bytes from the authority on, so that accounts (with a RID) and the
//! machine itself (without) are both found; the replacement has the same length, so descriptors keep their layout, ACE order
//! and masks. Text is replaced in ASCII, UTF-8 and UTF-16LE and may change its length.
#![forbid(unsafe_code)]

mod descriptor;
mod map;

pub use descriptor::DescriptorRewrite;
pub use map::{Form, Hits, InPlace, Occurrence, SidMap, TextEdit};
