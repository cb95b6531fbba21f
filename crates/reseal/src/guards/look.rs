//! How checks read an image: whatever is absent is `None`, whatever is of another type is `Stop::Unknown`.

use super::{Notice, Weight};
use crate::Facts;
use crate::boot_store::BootStores;
use crate::error::Within;
use crate::hives::HiveSet;
use crate::image::DiskFacts;
use crate::leaving::Leaving;
use crate::scope::MachineHive;
use crate::tree::{NodeId, Survey, Tree, TreeEntry};
use crate::volume_state::VolumeState;
use reseal_hive::{Hive, Value};

/// What checks look at.
pub(crate) struct Subject<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) hives: &'a HiveSet,
    pub(crate) tree: &'a dyn Tree,
    pub(crate) volume: &'a VolumeState,
    pub(crate) survey: &'a Survey,
    pub(crate) disk: &'a DiskFacts,
    pub(crate) boot: &'a BootStores,
    /// The answer file that will be placed.
    pub(crate) answer: Option<&'a [u8]>,
    /// Who will be removed.
    pub(crate) leaving: &'a Leaving,
}

/// Why a check cannot tell.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What it reads is not part of this image: a hive, or a control set, that does not exist.
    Absent(String),
    /// What it reads is not of the form that Windows writes.
    Unknown(String),
    /// It cannot be read: damage, or the host's error.
    Failed(crate::Error),
}

pub(crate) type Looked<T = ()> = Result<T, Stop>;

impl From<crate::Error> for Stop {
    fn from(error: crate::Error) -> Stop {
        Stop::Failed(error)
    }
}

impl From<reseal_dtyp::Error> for Stop {
    fn from(error: reseal_dtyp::Error) -> Stop {
        Stop::Failed(error.into())
    }
}

/// What one check has seen.
#[derive(Debug)]
pub(crate) struct Notices {
    weight: Weight,
    pub(super) list: Vec<Notice>,
}

impl Notices {
    pub(super) fn of(weight: Weight) -> Notices {
        Notices { weight, list: Vec::new() }
    }

    /// Something that weighs what the check weighs.
    pub(crate) fn add(&mut self, place: impl Into<String>, detail: impl Into<String>) {
        self.push(self.weight, false, place, detail);
    }

    /// Something lighter than the check itself.
    pub(crate) fn lighter(&mut self, weight: Weight, place: impl Into<String>, detail: impl Into<String>) {
        self.push(weight.min(self.weight), false, place, detail);
    }

    /// Two things in the image disagree.
    pub(crate) fn inconsistent(&mut self, place: impl Into<String>, detail: impl Into<String>) {
        self.push(self.weight, true, place, detail);
    }

    fn push(&mut self, weight: Weight, inconsistent: bool, place: impl Into<String>, detail: impl Into<String>) {
        self.list.push(Notice { weight, inconsistent, place: place.into(), detail: detail.into() });
    }
}

/// A value that is not of the type that Windows writes.
fn strange(which: MachineHive, key: &str, value: &Value, wanted: &str) -> Stop {
    let (name, ty, len) = (value.name_lossy(), value.ty, value.data.len());
    Stop::Unknown(format!(
        r"{}\{key} {name} is of type {ty} with {len} bytes, {wanted} was expected",
        which.file_name()
    ))
}

impl Subject<'_> {
    /// A hive of the machine.
    pub(crate) fn hive(&self, which: MachineHive) -> Looked<&Hive> {
        let file = self.hives.machine(which).map(|file| &file.hive);
        file.ok_or_else(|| Stop::Absent(format!("the image has no hive {}", which.file_name())))
    }

    /// A path below the current control set.
    pub(crate) fn control(&self, path: &str) -> Looked<String> {
        self.hive(MachineHive::System)?;
        let set = self.facts.control_sets.first();
        set.map(|set| format!(r"{set}\{path}")).ok_or_else(|| Stop::Absent("SYSTEM has no control set".to_owned()))
    }

    /// A value as stored.
    pub(crate) fn value(&self, which: MachineHive, key: &str, name: &str) -> Looked<Option<Value>> {
        let hive = self.hive(which)?;
        let read = || hive.key(key)?.map_or(Ok(None), |id| hive.value(id, name));
        Ok(read().within(key).map_err(|e| e.subject(which.file_name()))?)
    }

    /// A text.
    pub(crate) fn text(&self, which: MachineHive, key: &str, name: &str) -> Looked<Option<String>> {
        let Some(value) = self.value(which, key, name)? else { return Ok(None) };
        value.as_text().map(Some).ok_or_else(|| strange(which, key, &value, "a text"))
    }

    /// A list of texts.
    pub(crate) fn lines(&self, which: MachineHive, key: &str, name: &str) -> Looked<Vec<String>> {
        let Some(value) = self.value(which, key, name)? else { return Ok(Vec::new()) };
        value.as_multi_text().ok_or_else(|| strange(which, key, &value, "a list of texts"))
    }

    /// A DWORD.
    pub(crate) fn number(&self, which: MachineHive, key: &str, name: &str) -> Looked<Option<u32>> {
        let Some(value) = self.value(which, key, name)? else { return Ok(None) };
        value.as_u32().map(Some).ok_or_else(|| strange(which, key, &value, "a DWORD"))
    }

    pub(crate) fn has_key(&self, which: MachineHive, key: &str) -> Looked<bool> {
        Ok(self.hive(which)?.key(key).within(key)?.is_some())
    }

    /// Names of the subkeys; empty when the key is absent.
    pub(crate) fn subkeys(&self, which: MachineHive, key: &str) -> Looked<Vec<String>> {
        let hive = self.hive(which)?;
        let read = || -> reseal_dtyp::Result<Vec<String>> {
            let Some(id) = hive.key(key)? else { return Ok(Vec::new()) };
            hive.subkeys(id)?.into_iter().map(|k| Ok(reseal_dtyp::utf16_lossy(&hive.name(k)?))).collect()
        };
        Ok(read().within(key).map_err(|e| e.subject(which.file_name()))?)
    }

    /// Names of the values; empty when the key is absent.
    pub(crate) fn value_names(&self, which: MachineHive, key: &str) -> Looked<Vec<String>> {
        let hive = self.hive(which)?;
        let read = || -> reseal_dtyp::Result<Vec<String>> {
            let Some(id) = hive.key(key)? else { return Ok(Vec::new()) };
            Ok(hive.values(id)?.iter().map(Value::name_lossy).collect())
        };
        Ok(read().within(key).map_err(|e| e.subject(which.file_name()))?)
    }

    /// A file or folder by path.
    pub(crate) fn node(&self, path: &str) -> Looked<Option<NodeId>> {
        Ok(self.tree.resolve(self.tree.root(), path).within(path)?)
    }

    /// What a folder holds; empty when it is absent or no folder.
    pub(crate) fn entries(&self, path: &str) -> Looked<Vec<TreeEntry>> {
        Ok(self.tree.entries_of(self.tree.root(), path).within(path)?)
    }

    /// A small file; `Unknown` when it is larger than any that Windows writes there.
    pub(crate) fn small_file(&self, path: &str) -> Looked<Option<Vec<u8>>> {
        const MOST: u64 = 16 << 20;
        let Some(node) = self.node(path)? else { return Ok(None) };
        let size = self.tree.size(node).within(path)?;
        if size > MOST {
            return Err(Stop::Unknown(format!(r"\{path} has {size} bytes, at most {MOST} are read")));
        }
        Ok(Some(self.tree.read(node).within(path)?))
    }

    /// The build number.
    pub(crate) fn build(&self) -> Looked<u32> {
        let text = self.facts.product.build.as_deref().and_then(|b| b.split('.').next());
        let number = text.and_then(|text| text.parse().ok());
        number.ok_or_else(|| Stop::Absent(format!("the build is {}", text.unwrap_or("not stated"))))
    }
}
