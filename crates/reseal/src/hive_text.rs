//! `hive export` and `hive import`: `.reg` text out of a hive and into it.

use crate::browse::HiveAccess;
use crate::error::{Error, Kind, Result, Within};
use crate::hive_walk::Walk;
use crate::reg_text::{Edit, Encoding, Root, Writer, parse};
use reseal_dtyp::utf16_lossy;
use reseal_hive::{Hive, KeyId};
use serde::Serialize;
use std::io::Write;

/// How `.reg` text is written and where its keys hang.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegText {
    /// UTF-8 instead of UTF-16LE with a byte order mark.
    pub utf8: bool,
    /// The key that stands for the hive's root; when not given it follows from the hive's name, as
    /// `HKEY_LOCAL_MACHINE\SYSTEM` from SYSTEM.
    pub root: Option<String>,
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Keys that the text names.
    pub keys: usize,
    /// Values set.
    pub values: usize,
    /// Keys and values that were there and were deleted.
    pub deleted: usize,
}

impl HiveAccess {
    fn root(&self, text: &RegText) -> Result<Root> {
        text.root.as_deref().map_or_else(|| Ok(Root::of_file(&self.subject)), Root::given)
    }

    /// Writes a key with all below it as `.reg` text: keys, values, types and data exactly; class names, descriptors and
    /// times have no place in this form. `Unsupported` for a name with a line end or a NUL, and in UTF-8 for half of a
    /// surrogate pair.
    pub fn export(&self, key: &str, text: &RegText, out: &mut dyn Write) -> Result<()> {
        let root = self.root(text)?;
        let mut run = || -> Result<()> {
            let start = self.key(key)?;
            let encoding = if text.utf8 { Encoding::Utf8 } else { Encoding::Utf16 };
            let mut writer = Writer::start(out, encoding)?;
            let prefix = below_root(&self.hive, start, &root)?;
            write_keys(&self.hive, start, prefix, &mut writer)?;
            Ok(writer.end()?)
        };
        run().within(&self.subject)
    }

    /// Applies `.reg` text to the hive in memory; [`HiveAccess::save`] writes it. Nothing of a text that is not understood as
    /// a whole is applied. Errors name the line.
    pub fn import(&mut self, bytes: &[u8], text: &RegText) -> Result<Imported> {
        let root = self.root(text)?;
        let mut edits = Vec::new();
        for (line, edit) in parse(bytes)? {
            let path = match &edit {
                Edit::Key(key) | Edit::DeleteKey(key) => {
                    let parts = root.below(key).map_err(|why| {
                        let shown = utf16_lossy(key);
                        Error::new(Kind::Usage, format!("[{shown}]: {why}")).subject(format!("line {line}"))
                    })?;
                    parts.into_iter().map(<[u16]>::to_vec).collect()
                }
                _ => Vec::new(),
            };
            edits.push((line, edit, path));
        }
        let mut hive = self.hive.clone();
        let mut done = Imported::default();
        let mut current = hive.root();
        for (line, edit, path) in edits {
            let step = apply(&mut hive, edit, &path, &mut current, &mut done);
            step.within(format!("line {line}")).map_err(|e: Error| e.subject(self.subject.clone()))?;
        }
        self.hive = hive;
        Ok(done)
    }
}

/// The full name of a key.
fn below_root(hive: &Hive, key: KeyId, root: &Root) -> Result<Vec<u16>> {
    let mut names = Vec::new();
    let mut at = key;
    while let Some(parent) = hive.parent(at)? {
        names.push(hive.name(at)?);
        // The path was walked from the root down, so it has an end.
        at = parent;
    }
    let mut path: Vec<u16> = root.path.encode_utf16().collect();
    for name in names.iter().rev() {
        path.push(u16::from(b'\\'));
        path.extend(name);
    }
    Ok(path)
}

/// Depth first, subkeys in stored order. The path is one buffer that grows and shrinks.
fn write_keys(hive: &Hive, start: KeyId, mut path: Vec<u16>, writer: &mut Writer<'_>) -> Result<()> {
    let mut walk = Walk::new(hive);
    let mut stack = vec![(start, Vec::new(), path.len(), 0)];
    while let Some((key, name, prefix, depth)) = stack.pop() {
        path.truncate(prefix);
        if depth > 0 {
            path.push(u16::from(b'\\'));
            path.extend(&name);
        }
        let (values, subkeys) = walk.enter(key, depth)?;
        writer.key(&path)?;
        for value in &values {
            writer.value(value).within(utf16_lossy(&path))?;
        }
        let len = path.len();
        stack.extend(subkeys.into_iter().rev().map(|(name, child)| (child, name, len, depth + 1)));
    }
    Ok(())
}

fn find(hive: &Hive, path: &[Vec<u16>]) -> reseal_dtyp::Result<Option<KeyId>> {
    let mut at = hive.root();
    for name in path {
        match hive.subkey(at, name)? {
            Some(next) => at = next,
            None => return Ok(None),
        }
    }
    Ok(Some(at))
}

fn apply(
    hive: &mut Hive,
    edit: Edit,
    path: &[Vec<u16>],
    current: &mut KeyId,
    done: &mut Imported,
) -> reseal_dtyp::Result<()> {
    match edit {
        Edit::Key(_) => {
            *current = hive.root();
            for name in path {
                *current = hive.create_key_units(*current, name)?;
            }
            done.keys += 1;
        }
        Edit::DeleteKey(_) => {
            if let Some(key) = find(hive, path)? {
                hive.delete_key(key)?;
                done.deleted += 1;
            }
        }
        Edit::Value { name, ty, data } => {
            hive.set_value_units(*current, &name, ty, &data)?;
            done.values += 1;
        }
        Edit::DeleteValue(name) => done.deleted += usize::from(hive.delete_value_units(*current, &name)?),
    }
    Ok(())
}
