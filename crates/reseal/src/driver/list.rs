//! `driver ls`: third parties' packages, by INF.

use super::inf::Inf;
use super::package::{Header, Package, Target};
use super::{BINARIES, INF_FOLDER, STAGED, STORE, database, enable, is_storage};
use crate::Facts;
use crate::error::{Result, Within};
use crate::facts::{number, text};
use crate::folder::FolderImage;
use crate::hives::HiveSet;
use crate::image::{Image, Medium};
use crate::scope::MachineHive;
use crate::tree::{NodeId, Tree};
use crate::wim::{WimImages, WimTree};
use reseal_dtyp::Guid;
use reseal_hive::Hive;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// No INF of a package is longer than what is read of it.
const MAX_INF: u64 = 4 << 20;

/// The third parties' packages of an installation.
#[derive(Debug, Clone, Serialize)]
pub struct DriverList {
    /// Version of this document.
    pub schema: &'static str,
    /// The image.
    pub image: String,
    /// Where Windows lies: a partition, or an image of a WIM.
    pub partition: String,
    /// The packages, by INF.
    pub packages: Vec<DriverPackage>,
}

/// A package that is not part of Windows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DriverPackage {
    /// Name that Windows gave its INF (oem4.inf), or its own, while it waits for the first start.
    pub inf: String,
    /// Added by `driver add`: Windows installs it at its first start.
    pub added: bool,
    /// Name that its maker gave the INF.
    pub original: Option<String>,
    /// Who says that it made it.
    pub provider: Option<String>,
    /// Class of its devices.
    pub class: Option<String>,
    /// Class by GUID.
    pub class_guid: Option<String>,
    /// Date, `yyyy-mm-dd`.
    pub date: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Catalog that the INF names.
    pub catalog: Option<String>,
    /// Hardware ids of its devices on this Windows.
    pub hardware_ids: Vec<String>,
    /// Its services.
    pub services: Vec<DriverService>,
    /// Folder of the package, from the volume's root.
    pub folder: Option<String>,
    /// The hive whose DriverDatabase knows it: SYSTEM or DRIVERS.
    pub database: Option<&'static str>,
    /// What is odd about it.
    pub notes: Vec<String>,
}

/// A service of a package, in the current control set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriverService {
    /// Name.
    pub name: String,
    /// `Start`; none when there is no such service.
    pub start: Option<u32>,
    /// Whether it starts with Windows (0).
    pub boot_start: bool,
    /// Whether disks hang on its class of devices.
    pub storage: bool,
    /// Path of the binary, from the volume's root.
    pub binary: Option<String>,
}

/// Lists the packages of the only installation, or of number `installation` from 1; of a WIM, those of the image that is meant.
pub fn driver_list(image: &Image, installation: Option<usize>) -> Result<DriverList> {
    let path = image.path().display().to_string();
    let run = || -> Result<(String, Vec<DriverPackage>)> {
        match &image.0 {
            Medium::Disk(disk) => {
                let windows = disk.one_windows(installation)?;
                let place = windows.state.place;
                let packages = packages_of(&windows.tree).within(&place)?;
                Ok((place, packages))
            }
            Medium::Wim(images) => {
                let index = images.one()?;
                let place = WimImages::place(index);
                let tree = WimTree::open(Arc::clone(images.wim()), index).within(&place)?;
                if !tree.has_windows()? {
                    return Err(images.no_windows());
                }
                let packages = packages_of(&tree).within(&place)?;
                Ok((place, packages))
            }
            Medium::Folder(folder) => {
                if !folder.has_windows()? {
                    return Err(folder.no_windows());
                }
                Ok((FolderImage::place(), packages_of(&folder.tree)?))
            }
        }
    };
    let (partition, packages) = run().within(&path)?;
    Ok(DriverList { schema: "reseal.drivers/1", image: path, partition, packages })
}

fn packages_of(tree: &dyn Tree) -> Result<Vec<DriverPackage>> {
    let hives = HiveSet::load(tree, &[(tree.root(), String::new())])?;
    let facts = Facts::read(&hives)?;
    let target = Target::of(&facts)?;
    packages(&hives, tree, &facts, &target)
}

/// The hive that holds the database of what Windows does not start from.
pub(super) fn drivers_hive(hives: &HiveSet) -> Option<crate::hives::HiveAt> {
    hives.where_path(|path| path == r"\windows\system32\config\drivers").first().copied()
}

/// `oem` and a number, then `.inf`: the number.
pub(super) fn oem_number(name: &str) -> Option<u32> {
    let lower = name.to_ascii_lowercase();
    let digits = lower.strip_prefix("oem")?.strip_suffix(".inf")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Every package, those of Windows' numbering first.
pub(super) fn packages(hives: &HiveSet, tree: &dyn Tree, facts: &Facts, target: &Target) -> Result<Vec<DriverPackage>> {
    let mut found: BTreeMap<(u32, String), DriverPackage> = BTreeMap::new();
    let root = tree.root();
    for entry in tree.entries_of(root, INF_FOLDER).within(INF_FOLDER)? {
        let name = entry.name_lossy();
        let Some(number) = oem_number(&name).filter(|_| !entry.is_dir) else { continue };
        let package = found.entry((number, String::new())).or_default();
        package.inf = name.to_ascii_lowercase();
        read_inf(tree, entry.node, entry.size, target, package);
    }
    let system = hives.machine(MachineHive::System).map(|file| ("SYSTEM", &file.hive));
    let drivers = drivers_hive(hives).map(|at| ("DRIVERS", &hives.at(at).hive));
    for (hive_name, hive) in system.into_iter().chain(drivers) {
        in_database(tree, hive_name, hive, &mut found)?;
    }
    for entry in tree.entries_of(root, STAGED).within(STAGED)?.iter().filter(|e| e.is_dir && !e.is_reparse) {
        let folder = format!(r"{STAGED}\{}", entry.name_lossy());
        for inf in tree.entries(entry.node).within(&folder)? {
            let name = inf.name_lossy();
            if inf.is_dir || !name.to_ascii_lowercase().ends_with(".inf") {
                continue;
            }
            let package = found.entry((u32::MAX, format!(r"{folder}\{name}"))).or_default();
            (package.inf, package.added, package.folder) = (name, true, Some(format!(r"\{folder}")));
            read_inf(tree, inf.node, inf.size, target, package);
        }
    }
    let mut packages: Vec<DriverPackage> = found.into_values().collect();
    if let (Some((_, system)), Some(set)) = (system, facts.control_sets.first()) {
        for package in &mut packages {
            describe_services(system, set, package)?;
        }
    }
    Ok(packages)
}

/// What the INF says; what cannot be read is a note.
fn read_inf(tree: &dyn Tree, node: NodeId, size: u64, target: &Target, package: &mut DriverPackage) {
    let inf = if size > MAX_INF {
        Err(crate::Error::new(crate::Kind::Unsupported, format!("{size} bytes; {MAX_INF} are read at most")))
    } else {
        tree.read(node).map_err(crate::Error::from).and_then(|bytes| Inf::parse(&bytes))
    };
    let inf = match inf {
        Ok(inf) => inf,
        Err(e) => return package.notes.push(format!("the INF cannot be read: {e}")),
    };
    let header = match Package::read(&inf, target) {
        Ok(read) => {
            package.hardware_ids = read.hardware_ids();
            let storage = read.header.class_guid.is_some_and(is_storage);
            package.services = read.services.iter().map(|s| service(&s.name, storage)).collect();
            Ok(read.header)
        }
        Err(e) => {
            package.notes.push(format!("the INF says nothing of its devices: {e}"));
            Header::read(&inf, target)
        }
    };
    match header {
        Ok(header) => {
            let some = |text: String| Some(text).filter(|text| !text.is_empty());
            package.provider = some(header.provider);
            package.class = some(header.class);
            package.class_guid = header.class_guid.map(|guid| guid.to_string());
            (package.date, package.version, package.catalog) = (header.date, header.version, header.catalog);
        }
        Err(e) => package.notes.push(format!("[Version] cannot be read: {e}")),
    }
}

fn service(name: &str, storage: bool) -> DriverService {
    DriverService { name: name.to_owned(), start: None, boot_start: false, storage, binary: None }
}

/// What a DriverDatabase says of the packages of others.
fn in_database(
    tree: &dyn Tree,
    hive_name: &'static str,
    hive: &Hive,
    found: &mut BTreeMap<(u32, String), DriverPackage>,
) -> Result<()> {
    let infs = format!(r"{}\DriverInfFiles", database::ROOT);
    for name in names(hive, &infs).within(hive_name)? {
        let Some(number) = oem_number(&name) else { continue };
        let package = found.entry((number, String::new())).or_default();
        if package.inf.is_empty() {
            package.inf = name.to_ascii_lowercase();
            package.notes.push(format!(r"\{INF_FOLDER}\{name} is missing"));
        }
        package.database = Some(hive_name);
        let Some(active) = text(hive, &format!(r"{infs}\{name}"), "Active")?.filter(|a| !a.contains('\\')) else {
            package.notes.push(format!("{hive_name} names no active package for it"));
            continue;
        };
        let key = format!(r"{}\DriverPackages\{active}", database::ROOT);
        package.original = text(hive, &key, "InfName")?;
        package.provider = package.provider.take().or(text(hive, &key, "Provider")?);
        package.catalog = package.catalog.take().or(text(hive, &key, "Catalog")?);
        if package.class_guid.is_none()
            && let Some(id) = hive.key(&key)?
            && let Some(version) = hive.value(id, "Version")?
        {
            let guid = version.data.get(8..24).and_then(|bytes| bytes.try_into().ok());
            package.class_guid = guid.map(|bytes| Guid(bytes).to_string());
        }
        let storage = package.class_guid.as_deref().and_then(Guid::parse).is_some_and(is_storage);
        for configuration in names(hive, &format!(r"{key}\Configurations"))? {
            let own = text(hive, &format!(r"{key}\Configurations\{configuration}"), "Service")?;
            let Some(own) = own.filter(|s| !s.is_empty() && !s.contains('\\')) else { continue };
            if !package.services.iter().any(|have| have.name.eq_ignore_ascii_case(&own)) {
                package.services.push(service(&own, storage));
            }
        }
        let folder = format!(r"{STORE}\{active}");
        match tree.resolve(tree.root(), &folder).within(&folder)? {
            Some(_) => package.folder = Some(format!(r"\{folder}")),
            None => package.notes.push(format!(r"\{folder} is missing")),
        }
    }
    Ok(())
}

/// Names of the subkeys of a key; empty when it is absent.
fn names(hive: &Hive, key: &str) -> reseal_dtyp::Result<Vec<String>> {
    let Some(id) = hive.key(key)? else { return Ok(Vec::new()) };
    hive.subkeys(id)?.into_iter().map(|child| hive.name(child).map(|name| reseal_dtyp::utf16_lossy(&name))).collect()
}

/// How the services of a package stand.
fn describe_services(system: &Hive, set: &str, package: &mut DriverPackage) -> Result<()> {
    for own in &mut package.services {
        let key = format!(r"{set}\Services\{}", own.name);
        own.start = number(system, &key, "Start")?;
        own.boot_start = own.start == Some(0);
        if own.start.is_some() {
            let path = text(system, &key, "ImagePath")?;
            own.binary = Some(format!(r"\{}", enable::binary(path.as_deref(), &own.name)));
        }
    }
    package.services.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(())
}

/// Whether a path, from the volume's root, lies in System32\drivers itself.
pub(super) fn is_in_binaries(path: &str) -> bool {
    path.trim_start_matches('\\').to_ascii_lowercase().rsplit_once('\\').map(|(above, _)| above)
        == Some(BINARIES.to_ascii_lowercase().as_str())
}
