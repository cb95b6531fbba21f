//! The logical content as text lines: two hives are equal to their readers when their dumps are.

use crate::hive::{Hive, KeyId, MAX_DEPTH};
use crate::image::place;
use crate::key::nk;
use crate::marvin::marvin;
use crate::owners::CellSet;
use reseal_dtyp::{Error, Kind, Result};
use std::fmt::Write;

/// A dump may be this many times as long as its hive; only one whose keys share cells is longer.
const MAX_GROWTH: usize = 32;

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

/// The lines so far, bounded.
struct Lines {
    list: Vec<String>,
    room: usize,
}

impl Lines {
    fn push(&mut self, line: String) -> Result<()> {
        self.room = self.room.checked_sub(line.len()).ok_or_else(|| {
            Error::new(Kind::Limit, format!("the dump is more than {MAX_GROWTH} times as long as the hive"))
        })?;
        self.list.push(line);
        Ok(())
    }
}

impl Hive {
    /// One line per key (path, flags, time, class name, length and hash of the descriptor) and per value (name, type,
    /// data), in stored order.
    ///
    /// Everything that a reader of the registry can see is in it, and nothing of how the cells lie.
    pub fn dump(&self) -> Result<Vec<String>> {
        let mut out = Lines { list: Vec::new(), room: self.image.size as usize * MAX_GROWTH + (1 << 20) };
        let mut seen = CellSet::new(self.image.size);
        // The path to the key at hand, one name per level.
        let mut names: Vec<String> = Vec::new();
        let mut stack = vec![(self.root(), 0)];
        while let Some((key, depth)) = stack.pop() {
            names.truncate(depth);
            if depth > 0 {
                names.push(text(&self.name(key)?));
            }
            let path = names.get(1..).unwrap_or(&[]).join("\\");
            if !seen.insert(key.0) || depth > MAX_DEPTH {
                let detail = format!("`{path}` is reached a second time or deeper than {MAX_DEPTH} levels");
                return Err(Error::damaged("nk", "", place(key.0) + 4, detail));
            }
            if depth == 0 {
                names.push(String::new());
            }
            self.dump_key(key, &path, &mut out)?;
            stack.extend(self.subkeys(key)?.into_iter().rev().map(|child| (child, depth + 1)));
        }
        Ok(out.list)
    }

    fn dump_key(&self, key: KeyId, path: &str, out: &mut Lines) -> Result<()> {
        let class = self.class_name(key)?.map_or(String::new(), |class| format!(" class=\"{}\"", text(&class)));
        // Whether a name is stored compressed is how it lies, not what it says.
        let (flags, time) = (self.flags(key)? & !nk::COMPRESSED, self.timestamp(key)?.0);
        let sd = self.descriptor(key)?;
        let (len, hash) = (sd.len(), marvin(sd));
        out.push(format!("[{path}] flags={flags:#06x} time={time:#018x}{class} sd={len}:{hash:016x}"))?;
        for value in self.values(key)? {
            out.push(format!("[{path}] \"{}\" type={:#x} data={}", text(&value.name), value.ty, hex(&value.data)))?;
        }
        Ok(())
    }
}
