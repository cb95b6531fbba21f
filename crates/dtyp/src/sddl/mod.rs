//! SDDL, [MS-DTYP] 2.5.1: descriptors as text, out and in.

mod expression;
mod names;
mod parse;
mod print;

use crate::{Descriptor, Result, Sid};

impl Descriptor {
    /// The descriptor as SDDL. Well-known SIDs are abbreviated; accounts of a machine or domain stand in full.
    /// `Unsupported` for what SDDL cannot say: compound ACEs, opaque application data.
    pub fn to_sddl(&self) -> Result<String> {
        print::descriptor(self)
    }

    /// Reads SDDL. Abbreviations that depend on a domain (`LA`, `DA`, …) are refused.
    pub fn from_sddl(text: &str) -> Result<Descriptor> {
        parse::descriptor(text)
    }
}

/// A SID as SDDL prints it: abbreviated where it is well known.
pub fn sddl_sid(sid: &Sid) -> String {
    print::sid(sid)
}
