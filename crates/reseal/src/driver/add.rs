//! `driver add`: a package waits where Windows looks at its first start; what Windows starts from is registered at once.

use super::package::{Package, Service};
use super::source::{self, Source};
use super::{
    AddedPackage, BINARIES, DriverOptions, DriverPlanned, STAGED, STAGED_FOR_WINDOWS, SYSTEM, Work, database,
    is_storage,
};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use crate::image::Image;
use crate::inputs::Inputs;
use crate::scope::MachineHive;
use crate::session::{FileSecurity, sz};
use reseal_dtyp::{Guid, Level};
use reseal_hive::types;
use std::path::Path;

/// SERVICE_KERNEL_DRIVER and SERVICE_BOOT_START.
const KERNEL_DRIVER: u32 = 1;
const BOOT_START: u32 = 0;
const CURRENT: &str = r"Microsoft\Windows\CurrentVersion";

/// Plans to add the package of an INF, or every package of a folder. `Unsupported` when one is for another architecture or
/// version; `Conflict` when another driver of the name is there.
pub fn driver_add(
    image: Image,
    package: &Path,
    options: &DriverOptions,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<DriverPlanned> {
    let infs = source::infs(package)?;
    super::stage(image, options, inputs, "add", observer, |work| {
        for path in &infs {
            let source = source::read(path, &work.target).within(path.display())?;
            add(work, &source).within(path.display())?;
        }
        Ok(())
    })
}

/// The folder of an added package, and how Windows spells it.
pub(super) fn folder_name(inf: &str, architecture: &str) -> String {
    let stem = inf.get(..inf.len().saturating_sub(4)).unwrap_or(inf);
    format!("{}_{architecture}", stem.to_ascii_lowercase())
}

fn add(work: &mut Work<'_>, source: &Source) -> Result<()> {
    let package = &source.package;
    check_machines(work, source)?;
    let name = folder_name(&source.inf, work.target.architecture.name());
    let is_known = put_files(work, source, &format!(r"{STAGED}\{name}"))?;
    device_path(work, &format!(r"{STAGED_FOR_WINDOWS}\{name}"))?;
    if source.catalog.is_none() && work.target.architecture.number() != 0 {
        let why = match &package.header.catalog {
            None => "the INF names no catalog".to_owned(),
            Some(name) => format!("its catalog {name} is not there"),
        };
        let detail = format!("{why}: a 64-bit Windows refuses drivers that are not signed");
        work.session.find(Level::Note, "driver-unsigned", &source.inf, detail);
    }
    let label = database::label_of(&source.inf);
    let mut registered_in = None;
    let mut boot_services = Vec::new();
    if let Some((guid, services)) = boot_critical(package)? {
        for service in &services {
            let binary = source_bytes(source, service)?;
            put_service(work, service, binary, is_known)?;
            boot_services.push(service.name.clone());
        }
        registered_in = Some(database::register(work, &label, package, guid, &services)?);
        let unproven = if work.target.has_driver_database() {
            "that Windows finds the driver by its entry in DriverDatabase: virt-v2v, which writes these values, relies on it; no image \
             of reseal was started so"
        } else {
            "that Windows finds the driver by its entry in CriticalDeviceDatabase: documented; no image of reseal was started so"
        };
        work.unproven.push(unproven);
    }
    work.notes.push(format!(
        r"{}: Windows installs it at its first start from {STAGED_FOR_WINDOWS}\{name}, which DevicePath names; the signature is its to judge",
        source.inf
    ));
    let header = &package.header;
    work.packages.push(AddedPackage {
        inf: source.inf.clone(),
        provider: header.provider.clone(),
        class: header.class.clone(),
        date: header.date.clone(),
        version: header.version.clone(),
        catalog: source.catalog.clone(),
        hardware_ids: package.hardware_ids(),
        folder: format!(r"\{STAGED}\{name}"),
        boot_services,
        registered_in,
    });
    Ok(())
}

/// Class and services, when Windows may have to start from a device of the package.
pub(super) fn boot_critical(package: &Package) -> Result<Option<(Guid, Vec<&Service>)>> {
    let Some(guid) = package.header.class_guid else { return Ok(None) };
    let wanted = |s: &&Service| s.is_function && (is_storage(guid) || s.start == BOOT_START);
    let services: Vec<&Service> = package.services.iter().filter(wanted).collect();
    if !is_storage(guid) && (guid.to_string() != SYSTEM || services.is_empty()) {
        return Ok(None);
    }
    if services.is_empty() {
        return Err(Error::new(
            Kind::Unsupported,
            "its class is one that Windows starts from, and it makes no service for its devices",
        )
        .hint("it takes the service from another INF (Include, Needs), which is not read"));
    }
    for service in &services {
        if service.kind != KERNEL_DRIVER || !service.has_known_folder {
            let detail = format!(
                "line {}: the service {} is of type {:#x} and not loaded from System32\\drivers: Windows cannot start from it",
                service.line, service.name, service.kind
            );
            return Err(Error::new(Kind::Unsupported, detail));
        }
    }
    Ok(Some((guid, services)))
}

fn source_bytes<'a>(source: &'a Source, service: &Service) -> Result<&'a [u8]> {
    let file = source.package.source_of(service)?;
    let found = source.files.iter().find(|(path, _)| *path == file.path);
    found
        .map(|(_, bytes)| bytes.as_slice())
        .ok_or_else(|| Error::new(Kind::NotFound, format!("{} was not read", file.path)))
}

/// Every binary of a service is for the processor of the image.
fn check_machines(work: &Work<'_>, source: &Source) -> Result<()> {
    for service in &source.package.services {
        let wanted = work.target.architecture;
        let found = source::machine(source_bytes(source, service)?);
        if found != Some(wanted.machine()) {
            let what = found.map_or("no program".to_owned(), |machine| format!("for machine {machine:#06x}"));
            let detail =
                format!("{} is {what}; Windows on {} needs {:#06x}", service.binary, wanted.name(), wanted.machine());
            return Err(Error::new(Kind::Unsupported, detail));
        }
    }
    Ok(())
}

/// Puts the package where it waits; tells whether the very same one waits there already.
fn put_files(work: &mut Work<'_>, source: &Source, folder: &str) -> Result<bool> {
    let root = work.session.tree.root();
    let mut same = 0;
    for (path, bytes) in &source.files {
        let path = format!(r"{folder}\{path}");
        let Some(node) = work.session.tree.resolve(root, &path).within(&path)? else { continue };
        if work.session.tree.read(node).within(&path)? != *bytes {
            return Err(Error::new(
                Kind::Conflict,
                format!(r"another version of {} was added before: \{path} differs", source.inf),
            )
            .hint(format!("`reseal driver rm IMAGE {}` removes it", source.inf)));
        }
        same += 1;
    }
    for (path, bytes) in &source.files {
        let path = format!(r"{folder}\{path}");
        work.session.make_folder_of(&path)?;
        work.session.write_file(&path, bytes, FileSecurity::Sibling)?;
    }
    Ok(same == source.files.len())
}

/// Adds a folder to those in which Windows looks for drivers of new devices.
fn device_path(work: &mut Work<'_>, folder: &str) -> Result<()> {
    let before = work.session.value(MachineHive::Software, CURRENT, "DevicePath")?;
    let text = match &before {
        None => r"%SystemRoot%\inf".to_owned(),
        Some(value) if matches!(value.ty, types::SZ | types::EXPAND_SZ) => value
            .as_text()
            .ok_or_else(|| Error::new(Kind::Damaged, format!(r"SOFTWARE\{CURRENT} DevicePath is no text")))?,
        Some(value) => {
            let detail = format!(r"SOFTWARE\{CURRENT} DevicePath is of type {}, a text was expected", value.ty);
            return Err(Error::new(Kind::Damaged, detail));
        }
    };
    if text.split(';').any(|part| part.trim().eq_ignore_ascii_case(folder)) {
        return Ok(());
    }
    let text = if text.is_empty() { folder.to_owned() } else { format!("{};{folder}", text.trim_end_matches(';')) };
    // The added part needs its variable replaced.
    work.session.set(MachineHive::Software, CURRENT, "DevicePath", types::EXPAND_SZ, &sz(&text))
}

/// Makes a service that starts with Windows, in every control set, and puts its binary in place.
fn put_service(work: &mut Work<'_>, service: &Service, binary: &[u8], is_known: bool) -> Result<()> {
    let path = format!(r"{BINARIES}\{}", service.binary);
    let root = work.session.tree.root();
    let other = match work.session.tree.resolve(root, &path).within(&path)? {
        Some(node) => work.session.tree.read(node).within(&path)? != binary,
        None => false,
    };
    let sets = work.control_sets()?;
    let image_path = format!(r"System32\drivers\{}", service.binary);
    for set in &sets {
        let key = format!(r"{set}\Services\{}", service.name);
        let have = work.session.value(MachineHive::System, &key, "ImagePath")?;
        if other || (have.is_some() && !is_known) {
            let detail = format!(r"a driver {} is there: SYSTEM\{key}, \{path}", service.name);
            return Err(Error::new(Kind::Conflict, detail).hint(format!(
                "`reseal driver enable IMAGE {0}` has it start with Windows; `driver rm` removes a third party's",
                service.name
            )));
        }
    }
    work.session.make_folder(BINARIES)?;
    work.session.write_file(&path, binary, FileSecurity::Sibling)?;
    work.services.push(service.name.clone());
    for set in &sets {
        let key = format!(r"{set}\Services\{}", service.name);
        work.put(&key, "Type", types::DWORD, &service.kind.to_le_bytes())?;
        work.put(&key, "Start", types::DWORD, &BOOT_START.to_le_bytes())?;
        work.put(&key, "ErrorControl", types::DWORD, &service.error_control.to_le_bytes())?;
        work.put(&key, "ImagePath", types::EXPAND_SZ, &sz(&image_path))?;
        if let Some(group) = &service.group {
            work.put(&key, "Group", types::SZ, &sz(group))?;
        }
        work.session.delete_key(MachineHive::System, &format!(r"{key}\StartOverride"))?;
        for edit in &service.registry {
            let below = if edit.key.is_empty() { key.clone() } else { format!(r"{key}\{}", edit.key) };
            let Some((name, ty, data)) = &edit.value else {
                work.session.make_key(MachineHive::System, &below)?;
                continue;
            };
            if !(edit.keeps && work.session.value(MachineHive::System, &below, name)?.is_some()) {
                work.put(&below, name, *ty, data)?;
            }
        }
    }
    Ok(())
}
