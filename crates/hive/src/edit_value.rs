//! Edits of values: set, delete, rename.

use crate::hive::{Hive, KeyId};
use crate::key::nk;
use crate::name::{self, Name, encode};
use crate::value::vk;
use reseal_dtyp::{Error, Kind, Result, utf16_lossy};

/// Characters of a value name (Windows' limit).
const MAX_NAME: usize = 16_383;

impl Hive {
    /// Sets a value, made if there is none; the same type and data as before is no edit at all.
    pub fn set_value(&mut self, key: KeyId, name: &str, ty: u32, data: &[u8]) -> Result<()> {
        self.set_value_units(key, &name::units(name), ty, data)
    }

    /// [`Hive::set_value`] for a name that may hold lone surrogates.
    pub fn set_value_units(&mut self, key: KeyId, name: &[u16], ty: u32, data: &[u8]) -> Result<()> {
        self.refuse_predefined(key)?;
        let at = match self.image.find_value(&self.nk(key)?, name)? {
            Some((_, at)) => {
                let cell = self.image.value_cell(at)?;
                if cell.ty() == ty && *self.image.data(&cell)? == *data {
                    return Ok(());
                }
                at
            }
            None => self.add_value(key, name)?,
        };
        self.image.write_data(at, data)?;
        self.image.put_u32(at, vk::TYPE, ty, "vk")?;
        self.raise(key.0, nk::MAX_VALUE_DATA, u32::try_from(data.len()).unwrap_or(u32::MAX))?;
        self.touch(key.0)
    }

    fn refuse_predefined(&self, key: KeyId) -> Result<()> {
        if self.nk(key)?.flags() & nk::PREDEFINED != 0 {
            return Err(Error::unsupported("the key is a predefined handle, it has no values"));
        }
        Ok(())
    }

    /// A value without data at the end of the list.
    fn add_value(&mut self, key: KeyId, units: &[u16]) -> Result<u32> {
        check_value_name(units)?;
        let mut offsets = self.image.value_offsets(&self.nk(key)?)?;
        let (stored, compressed) = encode(units);
        let at = self.image.allocate(vk::NAME + stored.len())?;
        self.image.put(at, 0, b"vk", "vk")?;
        self.image.put_u16(at, vk::NAME_LEN, stored.len() as u16, "vk")?;
        self.image.put_u32(at, vk::DATA_LEN, vk::INLINE, "vk")?;
        self.image.put_u16(at, vk::FLAGS, if compressed { vk::COMPRESSED } else { 0 }, "vk")?;
        self.image.put(at, vk::NAME, &stored, "vk")?;
        offsets.push(at);
        self.image.write_value_list(key.0, &offsets)?;
        self.raise(key.0, nk::MAX_VALUE_NAME, Name { bytes: &stored, compressed }.utf16_len() as u32)?;
        Ok(at)
    }

    /// Deletes a value; says whether there was one.
    pub fn delete_value(&mut self, key: KeyId, name: &str) -> Result<bool> {
        self.delete_value_units(key, &name::units(name))
    }

    /// [`Hive::delete_value`] for a name that may hold lone surrogates.
    pub fn delete_value_units(&mut self, key: KeyId, name: &[u16]) -> Result<bool> {
        let Some((i, at)) = self.image.find_value(&self.nk(key)?, name)? else { return Ok(false) };
        let mut offsets = self.image.value_offsets(&self.nk(key)?)?;
        let storage = self.image.storage(&self.image.value_cell(at)?)?;
        self.image.free_data(storage)?;
        self.image.free(at, "vk")?;
        offsets.remove(i);
        self.image.write_value_list(key.0, &offsets)?;
        self.touch(key.0)?;
        Ok(true)
    }

    /// Renames a value; its place, type and data stay. `NotFound` without such a value, `Conflict` if the key has another
    /// value of the new name.
    pub fn rename_value(&mut self, key: KeyId, old: &[u16], new: &[u16]) -> Result<()> {
        check_value_name(new)?;
        let Some((i, at)) = self.image.find_value(&self.nk(key)?, old)? else {
            return Err(Error::not_found(format!("the key has no value `{}`", utf16_lossy(old))));
        };
        if self.image.find_value(&self.nk(key)?, new)?.is_some_and(|(other, _)| other != i) {
            return Err(Error::new(Kind::Conflict, format!("the key has a value `{}` already", utf16_lossy(new))));
        }
        let cell = self.image.value_cell(at)?;
        if cell.name().units().eq(new.iter().copied()) {
            return Ok(());
        }
        let flags = cell.flags() & !vk::COMPRESSED;
        let mut offsets = self.image.value_offsets(&self.nk(key)?)?;
        let (stored, compressed) = encode(new);
        let moved = self.image.resize(at, vk::NAME, vk::NAME + stored.len(), "vk")?;
        self.image.put_u16(moved, vk::NAME_LEN, stored.len() as u16, "vk")?;
        self.image.put_u16(moved, vk::FLAGS, flags | if compressed { vk::COMPRESSED } else { 0 }, "vk")?;
        self.image.put(moved, vk::NAME, &stored, "vk")?;
        if moved != at {
            offsets[i] = moved;
            self.image.write_value_list(key.0, &offsets)?;
        }
        self.raise(key.0, nk::MAX_VALUE_NAME, Name { bytes: &stored, compressed }.utf16_len() as u32)?;
        self.touch(key.0)
    }
}

fn check_value_name(units: &[u16]) -> Result<()> {
    if units.len() > MAX_NAME {
        return Err(Error::new(Kind::Limit, format!("a value name of {} characters, {MAX_NAME} fit", units.len())));
    }
    Ok(())
}
