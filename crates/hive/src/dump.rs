//! The logical content as text lines: two hives are equal to their readers when their dumps are.

use crate::hive::{Hive, KeyId};
use crate::image::place;
use reseal_dtyp::{Error, Result};
use std::collections::HashSet;
use std::fmt::Write;

/// Printable text of a name: lone surrogates, control characters and quotes are escaped.
fn text(units: &[u16]) -> String {
    let mut out = String::new();
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(c) if c.is_control() || matches!(c, '"' | '\\') => out.extend(c.escape_default()),
            Ok(c) => out.push(c),
            // Writing to a string cannot fail.
            Err(lone) => drop(write!(out, "\\u{{{:x}}}", lone.unpaired_surrogate())),
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let digit = |d: u8| char::from_digit(u32::from(d), 16).unwrap_or('?');
        out.extend([digit(b >> 4), digit(b & 15)]);
        out
    })
}

impl Hive {
    /// One line per key (path, flags, time, class name, descriptor) and per value (name, type, data), in stored order.
    ///
    /// Everything that a reader of the registry can see is in it, and nothing of how the cells lie.
    pub fn dump(&self) -> Result<Vec<String>> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        let mut stack = vec![(self.root(), String::new())];
        while let Some((key, path)) = stack.pop() {
            if !seen.insert(key) {
                return Err(Error::damaged("nk", "", place(key.0) + 4, format!("`{path}` is reached a second time")));
            }
            self.dump_key(key, &path, &mut out)?;
            for child in self.subkeys(key)?.into_iter().rev() {
                let name = text(&self.name(child)?);
                let path = if path.is_empty() { name } else { format!("{path}\\{name}") };
                stack.push((child, path));
            }
        }
        Ok(out)
    }

    fn dump_key(&self, key: KeyId, path: &str, out: &mut Vec<String>) -> Result<()> {
        let class = self.class_name(key)?.map_or(String::new(), |class| format!(" class=\"{}\"", text(&class)));
        let (flags, time, sd) = (self.flags(key)?, self.timestamp(key)?, hex(self.descriptor(key)?));
        // Whether a name is stored compressed is how it lies, not what it says.
        let flags = flags & !crate::key::nk::COMPRESSED;
        out.push(format!("[{path}] flags={flags:#06x} time={:#018x}{class} sd={sd}", time.0));
        for value in self.values(key)? {
            out.push(format!("[{path}] \"{}\" type={:#x} data={}", text(&value.name), value.ty, hex(&value.data)));
        }
        Ok(())
    }
}
