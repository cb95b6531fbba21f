//! Edits of keys: create, delete, rename, class name, descriptor.

use crate::base_block::NIL;
use crate::descriptor;
use crate::hive::{Hive, KeyId, MAX_DEPTH};
use crate::image::place;
use crate::key::nk;
use crate::name::{self, encode};
use reseal_dtyp::{Error, FileTime, Kind, Result, utf16_lossy};
use std::collections::BTreeSet;

/// Characters of a key name (Windows' limit).
const MAX_NAME: usize = 255;

fn check_key_name(units: &[u16]) -> Result<()> {
    if units.is_empty() || units.len() > MAX_NAME || units.contains(&u16::from(b'\\')) {
        let detail = format!("`{}` is no key name: 1 to {MAX_NAME} characters without backslash", utf16_lossy(units));
        return Err(Error::new(Kind::Conflict, detail));
    }
    Ok(())
}

impl Hive {
    /// The time that edits write into keys; `None` (the default) leaves times as they are, and a new key has its parent's.
    pub fn set_clock(&mut self, time: Option<FileTime>) {
        self.clock = time;
    }

    pub(crate) fn touch(&mut self, key: u32) -> Result<()> {
        self.touched.insert(key);
        match self.clock {
            Some(time) => self.image.put(key, nk::TIME, &time.0.to_le_bytes(), "nk"),
            None => Ok(()),
        }
    }

    /// The subkey of a name, made if there is none; a new key shares its parent's descriptor.
    pub fn create_key(&mut self, parent: KeyId, name: &str) -> Result<KeyId> {
        self.create_key_units(parent, &name::units(name))
    }

    /// [`Hive::create_key`] for a name that may hold lone surrogates.
    pub fn create_key_units(&mut self, parent: KeyId, name: &[u16]) -> Result<KeyId> {
        if let Some(found) = self.subkey(parent, name)? {
            return Ok(found);
        }
        check_key_name(name)?;
        let (stored, compressed) = encode(name);
        let above = self.nk(parent)?;
        let (time, security) = (self.clock.unwrap_or(above.time()), above.sk());
        if self.depth(parent)? >= MAX_DEPTH {
            return Err(Error::new(
                Kind::Limit,
                format!("`{}` would lie deeper than {MAX_DEPTH} keys", utf16_lossy(name)),
            ));
        }
        self.image.security(security)?;
        let at = self.image.allocate(nk::NAME + stored.len())?;
        self.image.init_key(at, if compressed { nk::COMPRESSED } else { 0 }, time, &stored)?;
        self.image.put_u32(at, nk::PARENT, parent.0, "nk")?;
        self.image.put_u32(at, nk::SK, security, "nk")?;
        self.image.retain_security(security, 1)?;
        self.image.insert_subkey(parent.0, at)?;
        self.touched.insert(at);
        self.touch(parent.0)?;
        Ok(KeyId(at))
    }

    fn depth(&self, key: KeyId) -> Result<usize> {
        let (mut depth, mut at) = (0, key);
        while let Some(parent) = self.parent(at)? {
            (depth, at) = (depth + 1, parent);
            if depth > MAX_DEPTH {
                return Err(Error::damaged("nk", "parent", place(key.0) + 4, "parents form a ring"));
            }
        }
        Ok(depth)
    }

    /// The key at a path, with every key on the way made if there is none.
    pub fn create_path(&mut self, path: &str) -> Result<KeyId> {
        let mut at = self.root();
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            at = self.create_key(at, part)?;
        }
        Ok(at)
    }

    /// Deletes a key and everything below it. `Conflict` for the root.
    pub fn delete_key(&mut self, key: KeyId) -> Result<()> {
        let Some(parent) = self.parent(key)? else {
            return Err(Error::new(Kind::Conflict, "the root key cannot be deleted"));
        };
        let doomed = self.subtree(key)?;
        self.image.editable()?;
        self.image.remove_subkey(parent.0, key.0)?;
        for at in doomed {
            self.free_key(at)?;
        }
        self.touch(parent.0)
    }

    /// A key and all below it; `Damaged` when one is reached twice or names another parent.
    fn subtree(&self, key: KeyId) -> Result<Vec<u32>> {
        let (mut out, mut seen) = (vec![key.0], BTreeSet::from([key.0]));
        let mut next = 0;
        while let Some(&at) = out.get(next) {
            for child in self.image.subkeys(&self.image.key(at)?)? {
                let parent = self.image.key(child)?.parent();
                if parent != at || !seen.insert(child) {
                    let detail = format!("listed under {at:#x}, says {parent:#x}, or is listed twice");
                    return Err(Error::damaged("nk", "parent", place(child) + 4, detail));
                }
                out.push(child);
            }
            next += 1;
        }
        Ok(out)
    }

    /// Gives back one key's cells: values, lists, class name, its share of the descriptor, the key itself.
    fn free_key(&mut self, at: u32) -> Result<()> {
        self.touched.remove(&at);
        let image = &mut self.image;
        for value in image.value_offsets(&image.key(at)?)? {
            let storage = image.storage(&image.value_cell(value)?)?;
            image.free_data(storage)?;
            image.free(value, "vk")?;
        }
        image.write_value_list(at, &[])?;
        let key = image.key(at)?;
        let (list, class, security, subkeys) = (image.subkey_list(&key)?, key.class(), key.sk(), key.subkeys());
        if subkeys > 0 {
            for leaf in list.leaves {
                image.free(leaf.at, "subkey list")?;
            }
            if let Some(ri) = list.ri {
                image.free(ri, "ri")?;
            }
        }
        if let Some((class, _)) = class {
            image.free(class, "class name")?;
        }
        image.release_security(security)?;
        image.free(at, "nk")
    }

    /// Renames a key; its place in the parent's list follows. `Conflict` if a sibling has the name.
    ///
    /// Returns the key's id: another one when the longer name did not fit the cell. Other ids stay.
    pub fn rename_key(&mut self, key: KeyId, new_name: &[u16]) -> Result<KeyId> {
        check_key_name(new_name)?;
        if self.name(key)? == new_name {
            return Ok(key);
        }
        let parent = self.parent(key)?;
        if let Some(parent) = parent
            && let Some(other) = self.subkey(parent, new_name)?.filter(|&other| other != key)
        {
            let detail = format!("`{}` exists already (key at {:#x})", utf16_lossy(new_name), place(other.0));
            return Err(Error::new(Kind::Conflict, detail));
        }
        if let Some(parent) = parent {
            self.image.editable()?;
            self.image.remove_subkey(parent.0, key.0)?;
        }
        let moved = self.rewrite_name(key, new_name)?;
        if let Some(parent) = parent {
            self.image.insert_subkey(parent.0, moved.0)?;
            self.touch(parent.0)?;
        }
        self.touch(moved.0)?;
        Ok(moved)
    }

    /// Writes the name into the key's cell; a cell that moves takes its children, and the base block, along.
    fn rewrite_name(&mut self, key: KeyId, new_name: &[u16]) -> Result<KeyId> {
        let (stored, compressed) = encode(new_name);
        let children = self.image.subkeys(&self.nk(key)?)?;
        let at = self.image.resize(key.0, nk::NAME, nk::NAME + stored.len(), "nk")?;
        let flags = self.image.view(at, "nk")?.u16(nk::FLAGS, "flags")? & !nk::COMPRESSED;
        self.image.put_u16(at, nk::FLAGS, flags | if compressed { nk::COMPRESSED } else { 0 }, "nk")?;
        self.image.put_u16(at, nk::NAME_LEN, stored.len() as u16, "nk")?;
        self.image.put(at, nk::NAME, &stored, "nk")?;
        if at != key.0 {
            for child in children {
                self.image.put_u32(child, nk::PARENT, at, "nk")?;
            }
            if key == self.root() {
                self.image.set_root(at);
                self.root = at;
            }
        }
        Ok(KeyId(at))
    }

    /// Sets or removes the class name.
    pub fn set_class_name(&mut self, key: KeyId, class: Option<&[u16]>) -> Result<()> {
        if self.class_name(key)?.as_deref() == class.filter(|c| !c.is_empty()) {
            return Ok(());
        }
        let bytes: Vec<u8> = class.unwrap_or(&[]).iter().flat_map(|u| u.to_le_bytes()).collect();
        let len = u16::try_from(bytes.len())
            .map_err(|_| Error::new(Kind::Limit, format!("a class name of {} bytes", bytes.len())))?;
        let old = self.nk(key)?.class();
        let at = match (old, bytes.is_empty()) {
            (None, _) => self.image.allocate(bytes.len())?,
            (Some((at, _)), true) => {
                self.image.free(at, "class name")?;
                NIL
            }
            (Some((at, _)), false) => self.image.resize(at, 0, bytes.len(), "class name")?,
        };
        if !bytes.is_empty() {
            self.image.put(at, 0, &bytes, "class name")?;
        }
        self.image.put_u32(key.0, nk::CLASS, at, "nk")?;
        self.image.put_u16(key.0, nk::CLASS_LEN, len, "nk")?;
        if let Some(parent) = self.parent(key)? {
            self.raise(parent.0, nk::MAX_CLASS, u32::from(len))?;
        }
        self.touch(key.0)
    }

    /// Raises a largest-so-far field; such a field may be too big, never too small.
    pub(crate) fn raise(&mut self, key: u32, field: usize, value: u32) -> Result<()> {
        if self.image.key(key)?.field(field) < value { self.image.put_u32(key, field, value, "nk") } else { Ok(()) }
    }

    /// Gives a key a descriptor; keys with equal descriptors share one cell. `Damaged` for what is not a descriptor.
    pub fn set_descriptor(&mut self, key: KeyId, descriptor: &[u8]) -> Result<()> {
        descriptor::validate(descriptor)
            .map_err(|why| Error::new(Kind::Damaged, format!("not a descriptor: {why}")))?;
        if self.descriptor(key)? == descriptor {
            return Ok(());
        }
        let security = self.image.intern_descriptor(self.root, descriptor)?;
        self.image.assign_security(key.0, security)?;
        self.touch(key.0)
    }
}
