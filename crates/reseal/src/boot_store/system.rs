//! The volume of an MBR disk from which the firmware starts, where that is not Windows' own ("System Reserved").
//!
//! It belongs to the installation that its boot store starts, and is changed with it as the volume of Windows is: hives through
//! [`HiveSet`], descriptors and names through [`NtfsTree`], checked before and after.

use super::device::Device;
use super::find::Store;
use super::objects::{APPLICATION_DEVICE, ElementValue, LOADER, OS_DEVICE, Objects};
use crate::change::{Change, Target};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::read_back;
use crate::hives::HiveSet;
use crate::image::DiskImage;
use crate::ntfs_tree::NtfsTree;
use crate::staging::sound;
use crate::tree::{Survey, Tree};
use crate::volume_state::VolumeState;
use reseal_disk::{Partition, PartitionType};
use reseal_dtyp::{FileTime, Finding};

/// The volume, with what is edited of it in memory.
#[derive(Debug)]
pub(crate) struct SystemVolume {
    pub(crate) partition: Partition,
    pub(crate) state: VolumeState,
    pub(crate) tree: NtfsTree,
    pub(crate) hives: HiveSet,
    /// What one pass over it found; made when it is to be changed.
    survey: Option<Survey>,
}

/// A system volume that a plan writes.
#[derive(Debug, Clone)]
pub(crate) struct SystemAt {
    pub(crate) partition: Partition,
    /// Paths of the hives that are written, from the volume's root.
    pub(crate) hives: Vec<String>,
}

impl Store {
    /// Whether one of its loaders starts the Windows of a partition: it names that one, or takes the first that has the path.
    fn starts(&self, windows: &Partition) -> bool {
        let Ok(objects) = Objects::read(&self.hive) else { return false };
        let loaders = objects.list.iter().filter(|object| object.ty == LOADER);
        let devices = loaders.flat_map(|object| [APPLICATION_DEVICE, OS_DEVICE].map(|element| object.element(element)));
        devices.flatten().any(|element| match &element.value {
            ElementValue::Device(device) => matches!(device, Device::Locate(_)) || device.names(windows),
            _ => false,
        })
    }
}

impl SystemVolume {
    /// The volume of a store on another NTFS volume than Windows'. `None` when it is none of this installation: the firmware
    /// does not read NTFS, so only an MBR disk has one; its store starts another Windows; or a Windows lies on it.
    pub(super) fn of(image: &DiskImage, store: &Store, windows: &Partition) -> Result<Option<SystemVolume>> {
        if !matches!(store.partition.ty, PartitionType::Mbr(_)) || !store.starts(windows) {
            return Ok(None);
        }
        let tree = NtfsTree { volume: image.volume(&store.partition)? };
        let root = tree.root();
        if tree.resolve(root, r"Windows\System32\config\SYSTEM")?.is_some() {
            return Ok(None);
        }
        let hives = HiveSet::load(&tree, &[(root, String::new())])?;
        let state = VolumeState::of(&tree.volume, store.place.clone());
        Ok(Some(SystemVolume { partition: store.partition.clone(), state, tree, hives, survey: None }))
    }

    /// How plans name a path of it: with the partition before it.
    pub(crate) fn named(&self, path: &str) -> String {
        format!("{}: {path}", self.state.place)
    }

    /// Checks the volume once, before its first change; what is found and does not refuse is returned then. `Damaged` as for the
    /// volume of Windows.
    pub(crate) fn ready(&mut self) -> Result<(&Survey, Vec<Finding>)> {
        let mut findings = Vec::new();
        let survey = match self.survey.take() {
            Some(survey) => survey,
            None => {
                let mut survey = self.tree.survey().within(&self.state.place)?;
                findings = sound(std::mem::take(&mut survey.findings), "before").within(&self.state.place)?;
                findings.extend(std::mem::take(&mut self.hives.findings));
                findings.iter_mut().for_each(|f| f.place = format!("{}: {}", self.state.place, f.place));
                survey
            }
        };
        Ok((self.survey.insert(survey), findings))
    }

    /// An edit of what logs do not cover would be an edit of something else than Windows reads.
    pub(crate) fn refuse_dirty(&self) -> Result<()> {
        let edited = |path: &str| self.hives.files.iter().any(|file| file.edited && file.path == path);
        match self.hives.dirty.iter().find(|dirty| edited(&dirty.path)) {
            None => Ok(()),
            Some(dirty) => {
                Err(Error::new(Kind::Damaged, format!("the hive has to change and is not whole: {}", dirty.why))
                    .subject(self.named(&dirty.path))
                    .hint("boot the image once and shut it down fully, or leave out the step that changes it"))
            }
        }
    }

    /// Puts its hives back and checks the volume as it is then. `None` when nothing of it changed.
    pub(super) fn write(
        &mut self,
        image: &DiskImage,
        now: FileTime,
        findings: &mut Vec<Finding>,
    ) -> Result<Option<SystemAt>> {
        self.refuse_dirty()?;
        let mut write = |system: &mut SystemVolume| -> Result<Vec<String>> {
            findings.extend(system.hives.self_check(&system.tree)?);
            system.hives.store(&mut system.tree, now)?;
            let edited = system.hives.files.iter().filter(|file| file.edited);
            let hives = edited.map(|file| file.path.clone()).collect();
            if !system.tree.volume.touched().is_empty() {
                read_back(image, &system.partition, &system.tree, &system.hives)?;
            }
            Ok(hives)
        };
        let hives = write(self).map_err(|e| e.subject(self.state.place.clone()))?;
        let touched = !self.tree.volume.touched().is_empty();
        Ok(touched.then(|| SystemAt { partition: self.partition.clone(), hives }))
    }
}

impl SystemAt {
    /// The changes of a plan that lie on this volume, with paths from its root.
    pub(crate) fn changes(&self, all: &[Change]) -> Vec<Change> {
        let prefix = format!("{}: ", DiskImage::place(&self.partition));
        all.iter().filter_map(|change| below(change, &prefix)).collect()
    }
}

fn below(change: &Change, prefix: &str) -> Option<Change> {
    let strip = |path: &String| path.strip_prefix(prefix).map(str::to_owned);
    let target = match &change.target {
        Target::Value { hive, key, name } => Target::Value { hive: strip(hive)?, key: key.clone(), name: name.clone() },
        Target::Key { hive, key } => Target::Key { hive: strip(hive)?, key: key.clone() },
        Target::HiveSids { hive } => Target::HiveSids { hive: strip(hive)? },
        Target::File { path } => Target::File { path: strip(path)? },
        Target::Folder { path } => Target::Folder { path: strip(path)? },
        Target::Descriptors { .. } | Target::Unused { .. } | Target::ShadowHeader { .. } => return None,
    };
    // A rename says where from and where to.
    let side = |text: &Option<String>| text.as_ref().map(|text| strip(text).unwrap_or_else(|| text.clone()));
    Some(Change { step: change.step, target, before: side(&change.before), after: side(&change.after) })
}
