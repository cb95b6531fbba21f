//! The boot store (BCD): found on every partition of the disk, read, and written back where it lies.
//!
//! A store on the volume of Windows itself is one of its hives ([`crate::hives`]). One on a FAT partition is edited here and
//! overwritten in place: it never grows. One on another NTFS volume is a hive of that one, where it is the system volume of
//! this installation ([`SystemVolume`]); elsewhere it is read only.

mod device;
mod edit;
mod find;
mod objects;
mod system;
#[cfg(test)]
mod tests;

pub(crate) use device::Device;
pub(crate) use edit::{StoreAt, StoresWritten, named_ranges, original_ranges};
pub(crate) use find::{BootStores, Home, PATHS, Store};
pub(crate) use objects::{APPLICATION_DEVICE, APPLICATION_PATH, DESCRIPTION, LOADER, MEMORY_TEST, OS_DEVICE, OS_PATH};
pub(crate) use objects::{ElementValue, Object, Objects, RESUME};
pub(crate) use system::{SystemAt, SystemVolume};

use reseal_hive::LoadState;
use serde::Serialize;

/// A boot store, for people and JSON.
#[derive(Debug, Clone, Serialize)]
pub struct BootStoreInfo {
    /// On which partition.
    pub partition: String,
    /// Path from the volume's root.
    pub path: String,
    /// clean, replayed or unrecovered.
    pub state: String,
    /// How many objects it has.
    pub objects: usize,
    /// The loader that starts when nobody chooses.
    pub default_loader: Option<BootLoaderInfo>,
    /// What specialize needs and is not there.
    pub missing: Vec<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// A loader of a boot store.
#[derive(Debug, Clone, Serialize)]
pub struct BootLoaderInfo {
    /// Its object.
    pub id: String,
    /// Its name in the menu.
    pub description: Option<String>,
    /// The program.
    pub path: Option<String>,
    /// Where Windows lies.
    pub device: Option<String>,
}

/// A hive's state as a word, with the reason.
pub(crate) fn state(state: &LoadState) -> String {
    match state {
        LoadState::Clean => "clean".to_owned(),
        LoadState::Replayed { entries, .. } => format!("replayed ({entries} log entries)"),
        LoadState::Unrecovered { why } => format!("unrecovered: {why}"),
    }
}

fn info(store: &Store) -> BootStoreInfo {
    let mut out = BootStoreInfo {
        partition: store.place.clone(),
        path: store.path.clone(),
        state: state(store.hive.state()),
        objects: 0,
        default_loader: None,
        missing: Vec::new(),
        error: None,
    };
    match Objects::read(&store.hive) {
        Err(e) => out.error = Some(e.to_string()),
        Ok(objects) => {
            out.objects = objects.list.len();
            out.missing = objects.missing();
            out.default_loader = objects.default_loader().map(|(id, loader)| loader_info(&id.to_string(), loader));
        }
    }
    out
}

fn loader_info(id: &str, loader: Option<&Object>) -> BootLoaderInfo {
    let text = |ty| loader.and_then(|loader| loader.text(ty)).map(str::to_owned);
    let device = loader.and_then(|loader| match &loader.element(OS_DEVICE)?.value {
        ElementValue::Device(device) => Some(device.to_string()),
        _ => None,
    });
    BootLoaderInfo { id: format!("{{{id}}}"), description: text(DESCRIPTION), path: text(APPLICATION_PATH), device }
}

impl BootStores {
    /// What `inspect` says of them, and of partitions that may hold one and cannot be read.
    pub(crate) fn infos(&self) -> Vec<BootStoreInfo> {
        let faults = self.faults.iter().map(|fault| BootStoreInfo {
            partition: fault.place.clone(),
            path: String::new(),
            state: "unknown".to_owned(),
            objects: 0,
            default_loader: None,
            missing: Vec::new(),
            error: Some(fault.why.clone()),
        });
        self.stores.iter().map(info).chain(faults).collect()
    }
}
