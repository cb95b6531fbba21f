//! A Windows registry hive (regf) as an editable value: bytes and logs in, bytes out.
//!
//! ```text
//!  bytes + logs ──▶ Hive ──▶ keys, values, class names, descriptors
//!                    │ edit cell by cell: cells are reused, lists stay sorted, counts stay right
//!                    ▼
//!                  bytes that load without logs
//! ```
//!
//! The crate does no I/O and knows no file names and no meaning of any key. Every byte may be crafted: references are
//! checked where they are followed, and nothing that is broken is repaired silently. [`Hive::check`] reports every
//! invariant of the format that does not hold.
//!
//! ```
//! # fn main() -> reseal_dtyp::Result<()> {
//! use reseal_dtyp::FileTime;
//! use reseal_hive::{Hive, Recover, types};
//!
//! # let descriptor = [1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
//! let mut hive = Hive::new("ROOT", 5, &descriptor, FileTime::from_unix(1_700_000_000))?;
//! let setup = hive.create_path(r"Setup\Status")?;
//! hive.set_value(setup, "OOBEInProgress", types::DWORD, &1u32.to_le_bytes())?;
//!
//! let hive = Hive::open_vec(hive.into_bytes(), &[], Recover::Replay)?;
//! let setup = hive.key(r"setup\STATUS")?.expect("names are case-insensitive");
//! assert_eq!(hive.value(setup, "oobeinprogress")?.and_then(|v| v.as_u32()), Some(1));
//! assert!(hive.check().is_empty() && !hive.is_changed());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod base_block;
mod big_data;
mod check;
mod check_tree;
mod descriptor;
mod dump;
mod edit;
mod edit_value;
#[cfg(test)]
mod fixture;
mod hive;
mod idle;
mod image;
mod key;
mod list;
mod log;
mod marvin;
mod memory;
mod name;
mod owners;
mod residue;
mod scan;
mod security;
mod sids;
mod space;
mod upcase;
mod value;

pub use big_data::SEGMENT as BIG_DATA_SEGMENT;
pub use hive::{Hive, KeyId, LoadState, Recover};
pub use name::fold_name;
pub use residue::Residue;
pub use sids::{Place, Region, SidEdits};
pub use value::{Value, types};
