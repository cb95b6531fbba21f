//! `driver rm`: a third party's package goes, with what only it needs.

use super::list::{self, DriverPackage, drivers_hive, is_in_binaries, oem_number};
use super::{CATALOGS, DriverOptions, DriverPlanned, INF_FOLDER, STAGED, STAGED_FOR_WINDOWS, Work, database, enable};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use crate::image::Image;
use crate::inputs::Inputs;
use crate::scope::MachineHive;
use crate::session::sz;
use reseal_hive::types;

const CURRENT: &str = r"Microsoft\Windows\CurrentVersion";

/// Plans to remove the package of an INF (oem4.inf, or the name of one that `driver add` left for the first start), or of a
/// service. `NotFound` for what is Windows' own; `Refused` for what Windows may start from, unless it is forced.
pub fn driver_remove(
    image: Image,
    what: &str,
    options: &DriverOptions,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<DriverPlanned> {
    super::stage(image, options, inputs, "remove", observer, |work| {
        let session = &work.session;
        let packages = list::packages(session.hives, session.tree, session.facts, &work.target)?;
        let is_it = |package: &&DriverPackage| {
            package.inf.eq_ignore_ascii_case(what)
                || package.services.iter().any(|service| service.name.eq_ignore_ascii_case(what))
        };
        let matching: Vec<&DriverPackage> = packages.iter().filter(is_it).collect();
        let package = match matching[..] {
            [one] => one.clone(),
            [] => {
                return Err(Error::new(
                    Kind::NotFound,
                    format!("no third party's package is called `{what}` or has such a service"),
                )
                .hint("`reseal driver ls IMAGE` lists them; what is part of Windows is never removed"));
            }
            _ => {
                let names: Vec<&str> = matching.iter().map(|p| p.inf.as_str()).collect();
                return Err(Error::new(Kind::Usage, format!("several packages have `{what}`: {}", names.join(", "))));
            }
        };
        refuse_needed(&package, options.force)?;
        let others: Vec<&DriverPackage> = packages.iter().filter(|other| **other != package).collect();
        if package.added { remove_added(work, &package, &others) } else { remove_installed(work, &package, &others) }
    })
}

/// What Windows may start from stays, unless the user knows better.
fn refuse_needed(package: &DriverPackage, force: bool) -> Result<()> {
    // An added one was never started from.
    let needed = package.services.iter().find(|service| service.boot_start && service.storage);
    match needed {
        Some(service) if !force && !package.added => Err(Error::new(
            Kind::Refused,
            format!("{}: its service {} starts with Windows and drives disks", package.inf, service.name),
        )
        .hint("if no machine starts from such a device any more: --force")),
        _ => Ok(()),
    }
}

/// A package that waits for the first start: as `driver add` found the image.
fn remove_added(work: &mut Work<'_>, package: &DriverPackage, others: &[&DriverPackage]) -> Result<()> {
    let label = database::label_of(&package.inf);
    if let Some(system) = work.session.hives.position(MachineHive::System) {
        database::unregister(&mut work.session, system, &label)?;
    }
    critical_devices(work, package)?;
    remove_services(work, package, others, None)?;
    let folder = package.folder.clone().unwrap_or_default();
    let folder = folder.trim_start_matches('\\');
    let name = folder.rsplit('\\').next().unwrap_or_default();
    forget_device_path(work, &format!(r"{STAGED_FOR_WINDOWS}\{name}"))?;
    remove_folder(work, folder)?;
    // Folders that are empty now were made for it.
    for above in [STAGED, r"Windows\Drivers"] {
        let root = work.session.tree.root();
        if let Some(node) = work.session.tree.resolve(root, above).within(above)?
            && work.session.tree.entries(node).within(above)?.is_empty()
        {
            work.session.remove_folder(above, node)?;
        }
    }
    Ok(())
}

/// A package that Windows has installed.
fn remove_installed(work: &mut Work<'_>, package: &DriverPackage, others: &[&DriverPackage]) -> Result<()> {
    if !work.target.has_driver_database() {
        let detail = "up to Windows 7 the driver store keeps an index of its own (infstor.dat), which is not edited";
        return Err(Error::new(Kind::Unsupported, detail).hint("in Windows run `pnputil -d` for the INF"));
    }
    let hives = [work.session.hives.position(MachineHive::System), drivers_hive(work.session.hives)];
    let Some(number) = oem_number(&package.inf) else {
        return Err(Error::new(Kind::Internal, format!("{} is no name that Windows gives", package.inf)));
    };
    let inf = format!("oem{number}.inf");
    let mut folders = Vec::new();
    for hive in hives.into_iter().flatten() {
        folders.extend(database::packages_of(&work.session, hive, &inf)?);
        // What the scopes allow are hives of the machine; DRIVERS is named here alone.
        work.session.in_rule = work.session.hives.at(hive).machine.is_none();
        let done = database::unregister(&mut work.session, hive, &inf);
        work.session.in_rule = false;
        done?;
    }
    remove_services(work, package, others, Some(&inf))?;
    for file in [
        format!(r"{INF_FOLDER}\{inf}"),
        format!(r"{INF_FOLDER}\oem{number}.PNF"),
        format!(r"{CATALOGS}\oem{number}.cat"),
    ] {
        remove_file(work, &file)?;
    }
    for folder in folders {
        remove_folder(work, &format!(r"{}\{folder}", super::STORE))?;
    }
    work.notes.push(format!(
        "devices that were installed with {inf} stay below Enum without a driver; OemInfMap keeps its number"
    ));
    work.unproven.push("that Windows bears a package that went without it: no image of reseal was started so");
    Ok(())
}

/// Up to Windows 7: entries that name a service of the package, for the package's devices.
fn critical_devices(work: &mut Work<'_>, package: &DriverPackage) -> Result<()> {
    if work.target.has_driver_database() {
        return Ok(());
    }
    for set in work.control_sets()? {
        let list = format!(r"{set}\Control\CriticalDeviceDatabase");
        for id in work.session.subkey_names(MachineHive::System, &list)? {
            let key = format!(r"{list}\{id}");
            let service = work.session.value(MachineHive::System, &key, "Service")?.and_then(|v| v.as_text());
            if service.is_some_and(|s| package.services.iter().any(|own| own.name.eq_ignore_ascii_case(&s))) {
                work.session.delete_key(MachineHive::System, &key)?;
            }
        }
    }
    Ok(())
}

/// Removes the services that nobody else needs, and their binaries. `inf` is what Windows notes as the owner of a service
/// that it made; one that `driver add` made has none until Windows has installed a package for it.
fn remove_services(
    work: &mut Work<'_>,
    package: &DriverPackage,
    others: &[&DriverPackage],
    inf: Option<&str>,
) -> Result<()> {
    for service in &package.services {
        let name = &service.name;
        if let Some(other) = others.iter().find(|o| o.services.iter().any(|s| s.name.eq_ignore_ascii_case(name))) {
            work.notes.push(format!("the service {name} stays: {} needs it", other.inf));
            continue;
        }
        let mut binaries = Vec::new();
        let mut stays = false;
        for set in work.control_sets()? {
            let key = format!(r"{set}\Services\{name}");
            let session = &work.session;
            let owners = session.value(MachineHive::System, &key, "Owners")?.and_then(|v| v.as_multi_text());
            let owners: Vec<String> = owners.unwrap_or_default().into_iter().filter(|o| !o.is_empty()).collect();
            // A name after `!` is of a package that was replaced.
            let foreign = |o: &&String| !o.starts_with('!') && inf.is_none_or(|inf| !o.eq_ignore_ascii_case(inf));
            if let Some(owner) = owners.iter().find(foreign) {
                work.notes.push(format!(r"SYSTEM\{key} stays: {owner} owns it, too"));
                stays = true;
                continue;
            }
            if session.value(MachineHive::System, &key, "ImagePath")?.is_some() {
                let path = session.value(MachineHive::System, &key, "ImagePath")?.and_then(|v| v.as_text());
                binaries.push(enable::binary(path.as_deref(), name));
            }
            if work.session.delete_key(MachineHive::System, &key)? && !work.services.contains(name) {
                work.services.push(name.clone());
            }
        }
        binaries.sort();
        binaries.dedup();
        for binary in binaries.iter().filter(|path| !stays && is_in_binaries(path)) {
            if is_used(work, binary)? {
                work.notes.push(format!(r"\{binary} stays: another service loads it"));
            } else {
                remove_file(work, binary)?;
            }
        }
    }
    Ok(())
}

/// Whether a service of any control set loads a file.
fn is_used(work: &Work<'_>, path: &str) -> Result<bool> {
    for set in work.control_sets()? {
        let list = format!(r"{set}\Services");
        for name in work.session.subkey_names(MachineHive::System, &list)? {
            let key = format!(r"{list}\{name}");
            let image_path = work.session.value(MachineHive::System, &key, "ImagePath")?.and_then(|v| v.as_text());
            let is_driver = image_path.is_some() || work.session.value(MachineHive::System, &key, "Type")?.is_some();
            if is_driver && enable::binary(image_path.as_deref(), &name).eq_ignore_ascii_case(path) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Removes a file that has one name only; with others it belongs to someone else, too.
fn remove_file(work: &mut Work<'_>, path: &str) -> Result<()> {
    let root = work.session.tree.root();
    let Some(node) = work.session.tree.resolve(root, path).within(path)? else { return Ok(()) };
    let links = work.session.tree.link_count(node).within(path)?;
    if links > 1 {
        work.notes.push(format!(r"\{path} stays: it has {links} names"));
        return Ok(());
    }
    work.session.remove_file(path, node)
}

fn remove_folder(work: &mut Work<'_>, path: &str) -> Result<()> {
    let root = work.session.tree.root();
    match work.session.tree.resolve(root, path).within(path)? {
        Some(node) => work.session.remove_folder(path, node),
        None => Ok(()),
    }
}

fn forget_device_path(work: &mut Work<'_>, folder: &str) -> Result<()> {
    let value = work.session.value(MachineHive::Software, CURRENT, "DevicePath")?;
    let Some((ty, text)) = value.and_then(|v| Some((v.ty, v.as_text()?))) else { return Ok(()) };
    if !matches!(ty, types::SZ | types::EXPAND_SZ) {
        return Ok(());
    }
    let parts: Vec<&str> = text.split(';').filter(|part| !part.trim().eq_ignore_ascii_case(folder)).collect();
    work.session.set(MachineHive::Software, CURRENT, "DevicePath", ty, &sz(&parts.join(";")))
}
