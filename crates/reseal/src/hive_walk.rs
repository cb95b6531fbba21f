//! Reads each key of a hive once, within bounds that only a crafted hive meets.

use reseal_dtyp::{Error, Kind, Result, utf16_lossy};
use reseal_hive::{Hive, KeyId, Value};
use std::collections::HashSet;

/// Keys nest at most this deep (Windows allows 512 levels).
const MAX_DEPTH: usize = 512;
/// What is read may have this many times the hive's bytes; only a hive whose keys share cells has more.
const MAX_GROWTH: u64 = 32;

/// A subkey with its name.
pub(crate) type Subkey = (Vec<u16>, KeyId);

/// A walk over a hive.
pub(crate) struct Walk<'h> {
    hive: &'h Hive,
    seen: HashSet<KeyId>,
    room: u64,
}

impl<'h> Walk<'h> {
    pub(crate) fn new(hive: &'h Hive) -> Walk<'h> {
        let room = (hive.byte_len() as u64).saturating_mul(MAX_GROWTH) + (1 << 20);
        Walk { hive, seen: HashSet::new(), room }
    }

    /// Values and subkeys of a key, which lies `depth` levels below the root and is read for the first time. `Damaged` when it
    /// was reached before or lies too deep, `Limit` when keys share their values beyond measure.
    pub(crate) fn enter(&mut self, key: KeyId, depth: usize) -> Result<(Vec<Value>, Vec<Subkey>)> {
        if depth > MAX_DEPTH || !self.seen.insert(key) {
            let name = utf16_lossy(&self.hive.name(key)?);
            let detail = format!("`{name}` is reached a second time, or deeper than {MAX_DEPTH} levels");
            return Err(Error::damaged("nk", "", 0, detail));
        }
        let values = self.hive.values(key)?;
        let mut bytes: u64 = values.iter().map(|v| (v.data.len() + 2 * v.name.len()) as u64).sum();
        let mut subkeys = Vec::new();
        for child in self.hive.subkeys(key)? {
            let name = self.hive.name(child)?;
            bytes += 2 * name.len() as u64 + 1;
            subkeys.push((name, child));
        }
        self.room = self.room.checked_sub(bytes).ok_or_else(|| {
            Error::new(
                Kind::Limit,
                format!("keys and values have more than {MAX_GROWTH} times the bytes of their hive"),
            )
        })?;
        Ok((values, subkeys))
    }
}
