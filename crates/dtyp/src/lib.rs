//! Windows data types ([MS-DTYP]) read from bytes that nobody vouches for.
//!
//! ```text
//!  View ──▶ Guid, FileTime, Sid ──▶ Ace ──▶ Acl ──▶ Descriptor ◀──▶ SDDL
//!    └─ every failed read becomes an Error that names structure, field, offset and the numbers
//! ```
//!
//! The crate does no I/O, knows no container and does not know what a SID means on a machine. The error and finding types
//! of all format crates live here too, since each of them is "a located fact about untrusted bytes".
#![forbid(unsafe_code)]

mod ace;
pub mod claim;
pub mod condition;
mod descriptor;
mod error;
mod finding;
mod guid;
mod sddl;
mod sid;
mod time;
mod utf16;
mod view;

pub use ace::{Ace, AceBody, Acl, ace_type};
pub use descriptor::{Descriptor, control};
pub use error::{At, Error, Kind, Result};
pub use finding::{Finding, Level};
pub use guid::Guid;
pub use sddl::sddl_sid;
pub use sid::{DomainSid, Sid};
pub use time::FileTime;
pub use utf16::{from_utf16le, utf16_lossy, utf16le};
pub use view::View;
