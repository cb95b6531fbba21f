//! A boot store as a value: objects by GUID, with their elements.

use super::device::Device;
use crate::error::{Result, Within};
use reseal_dtyp::{Guid, utf16_lossy};
use reseal_hive::{Hive, KeyId, Value};

/// Objects that every store of a running system has, by the names of `bcdedit`. All but the first are inherited from.
pub(crate) const WELL_KNOWN: [(&str, &str); 8] = [
    ("bootmgr", "9dea862c-5cdd-4e70-acc1-f32b344d4795"),
    ("globalsettings", "7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e"),
    ("bootloadersettings", "6efb52bf-1766-41db-a6b3-0ee5eff72bd7"),
    ("resumeloadersettings", "1afa9c49-16ab-4a5c-901b-212802da9460"),
    ("dbgsettings", "4636856e-540f-4170-a130-a84776f4c654"),
    ("emssettings", "0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9"),
    ("badmemory", "5189b25c-5558-4bf2-bca4-289b11bd29e2"),
    ("memdiag", "b2721d73-1db4-4c62-bf78-c548a880142d"),
];

/// Types of objects: applications of the boot manager.
pub(crate) const LOADER: u32 = 0x1020_0003;
pub(crate) const RESUME: u32 = 0x1020_0004;
pub(crate) const MEMORY_TEST: u32 = 0x1020_0005;

/// Elements.
pub(crate) const APPLICATION_DEVICE: u32 = 0x1100_0001;
pub(crate) const APPLICATION_PATH: u32 = 0x1200_0002;
pub(crate) const DESCRIPTION: u32 = 0x1200_0004;
pub(crate) const OS_DEVICE: u32 = 0x2100_0001;
pub(crate) const OS_PATH: u32 = 0x2200_0002;
/// Of the boot manager: the loader that starts when nobody chooses.
const DEFAULT_OBJECT: u32 = 0x2300_0003;
/// Of a loader: the object that wakes the system up.
const RESUME_OBJECT: u32 = 0x2300_0003;

/// The key below the root with the objects.
const OBJECTS: &str = "Objects";

/// What an element holds; bits 24 to 27 of its type say in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ElementValue {
    /// Where something lies.
    Device(Device),
    /// Text.
    Text(String),
    /// Another object.
    Object(Guid),
    /// Other objects, in order.
    Objects(Vec<Guid>),
    /// A number of up to eight bytes.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Numbers, eight bytes each.
    Numbers(Vec<u64>),
    /// Not of the form that its type states, and why.
    Strange(String),
}

/// One element of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    /// Its type.
    pub(crate) ty: u32,
    /// Path of its key below the hive's root.
    pub(crate) key: String,
    pub(crate) value: ElementValue,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: Guid,
    /// Its type; 0 where the store states none.
    pub(crate) ty: u32,
    pub(crate) elements: Vec<Element>,
}

impl Object {
    /// Its name in `bcdedit`, when it is one that every store has.
    pub(crate) fn known(&self) -> Option<&'static str> {
        let id = self.id.to_string();
        WELL_KNOWN.iter().find(|(_, known)| *known == id).map(|(name, _)| *name)
    }

    pub(crate) fn element(&self, ty: u32) -> Option<&Element> {
        self.elements.iter().find(|element| element.ty == ty)
    }

    pub(crate) fn text(&self, ty: u32) -> Option<&str> {
        match &self.element(ty)?.value {
            ElementValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn object(&self, ty: u32) -> Option<Guid> {
        match &self.element(ty)?.value {
            ElementValue::Object(id) => Some(*id),
            _ => None,
        }
    }
}

/// A whole store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Objects {
    /// Whether it says that it is the system's own (`Description\System` = 1).
    pub(crate) is_system: bool,
    /// In stored order.
    pub(crate) list: Vec<Object>,
}

impl Objects {
    /// Reads the hive of a store. An element of another form than its type states is [`ElementValue::Strange`]; `Damaged` for
    /// a hive that cannot be walked.
    pub(crate) fn read(hive: &Hive) -> Result<Objects> {
        let system = hive.key("Description")?.map(|key| hive.value(key, "System")).transpose()?.flatten();
        let is_system = system.and_then(|value| value.as_u32()) == Some(1);
        let mut list = Vec::new();
        if let Some(objects) = hive.key(OBJECTS)? {
            for key in hive.subkeys(objects)? {
                let name = utf16_lossy(&hive.name(key)?);
                // A key of another name is no object: the boot manager does not look at it.
                let Some(id) = Guid::parse(&name) else { continue };
                list.push(object(hive, key, id, &name).within(name)?);
            }
        }
        Ok(Objects { is_system, list })
    }

    pub(crate) fn get(&self, id: Guid) -> Option<&Object> {
        self.list.iter().find(|object| object.id == id)
    }

    /// The loader that starts when nobody chooses, if the boot manager names one.
    pub(crate) fn default_loader(&self) -> Option<(Guid, Option<&Object>)> {
        let manager = self.list.iter().find(|object| object.known() == Some("bootmgr"))?;
        let id = manager.object(DEFAULT_OBJECT)?;
        Some((id, self.get(id)))
    }

    /// What specialize needs and is not there, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let has = |name: &str| self.list.iter().any(|object| object.known() == Some(name));
        let mut out: Vec<String> =
            WELL_KNOWN.iter().filter(|(name, _)| !has(name)).map(|(name, _)| format!("{{{name}}}")).collect();
        match self.default_loader() {
            None => out.push("a default loader".to_owned()),
            Some((id, None)) => out.push(format!("the default loader {{{id}}}")),
            Some((_, Some(loader))) => match loader.object(RESUME_OBJECT) {
                None => out.push("the default loader's resume object".to_owned()),
                Some(id) if self.get(id).is_none() => out.push(format!("the default loader's resume object {{{id}}}")),
                Some(_) => {}
            },
        }
        if !self.is_system {
            out.push(r"Description\System = 1".to_owned());
        }
        out
    }
}

fn object(hive: &Hive, key: KeyId, id: Guid, name: &str) -> Result<Object> {
    let below = |child: &str| -> Result<Option<KeyId>> {
        let units: Vec<u16> = child.encode_utf16().collect();
        Ok(hive.subkey(key, &units)?)
    };
    let ty = below("Description")?.map(|key| hive.value(key, "Type")).transpose()?.flatten();
    let mut elements = Vec::new();
    if let Some(list) = below("Elements")? {
        for element in hive.subkeys(list)? {
            let digits = utf16_lossy(&hive.name(element)?);
            let Some(ty) = u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 8) else { continue };
            let value = match hive.value(element, "Element")? {
                Some(value) => element_value(ty, &value),
                None => ElementValue::Strange("no value Element".to_owned()),
            };
            elements.push(Element { ty, key: format!(r"{OBJECTS}\{name}\Elements\{digits}"), value });
        }
    }
    Ok(Object { id, ty: ty.and_then(|value| value.as_u32()).unwrap_or(0), elements })
}

fn element_value(ty: u32, value: &Value) -> ElementValue {
    use ElementValue::{Flag, Number, Numbers, Objects, Strange, Text};
    let strange =
        |what: &str| Strange(format!("{what}, of registry type {} with {} bytes", value.ty, value.data.len()));
    let number = || {
        let mut out = [0; 8];
        let n = value.data.len();
        (1..=8).contains(&n).then(|| {
            out[..n].copy_from_slice(&value.data);
            u64::from_le_bytes(out)
        })
    };
    match ty >> 24 & 0xf {
        1 => Device::read(&value.data).map_or_else(|e| Strange(e.to_string()), ElementValue::Device),
        2 => value.as_text().map_or_else(|| strange("no text"), Text),
        3 => {
            let id = value.as_text().and_then(|text| Guid::parse(&text));
            id.map_or_else(|| strange("no GUID"), ElementValue::Object)
        }
        4 => {
            let ids = value.as_multi_text().and_then(|list| list.iter().map(|text| Guid::parse(text)).collect());
            ids.map_or_else(|| strange("no list of GUIDs"), Objects)
        }
        5 => number().map_or_else(|| strange("no number"), Number),
        6 => number().map_or_else(|| strange("no flag"), |n| Flag(n != 0)),
        7 if value.data.len().is_multiple_of(8) => {
            let words = value.data.chunks_exact(8).filter_map(|word| word.first_chunk());
            Numbers(words.map(|word| u64::from_le_bytes(*word)).collect())
        }
        _ => strange("no form that is known"),
    }
}
