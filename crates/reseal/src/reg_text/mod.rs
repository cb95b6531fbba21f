//! `.reg` text, as regedit writes and reads it: keys, values, deletions; no class names, descriptors and times.
//!
//! ```text
//! Windows Registry Editor Version 5.00        UTF-16LE with BOM, or UTF-8
//! [HKEY_LOCAL_MACHINE\SYSTEM\Setup]           a key; [-…] deletes it with all below
//! "name"="text"  @=dword:00000001             @ is the default value
//! "name"=hex(7):61,00,00,00,\                 any type; folded at 80 columns
//!   00,00
//! "name"=-                                    deletes the value
//! ```

mod parse;
mod root;
mod write;

pub(crate) use parse::{Edit, parse};
pub(crate) use root::Root;
pub(crate) use write::{Encoding, Writer, data_notation};
