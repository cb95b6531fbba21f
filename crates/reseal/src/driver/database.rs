//! Where Windows looks for the driver of a device that it meets before anything is installed.

use super::Work;
use super::package::{Package, Service};
use crate::error::{Error, Kind, Result};
use crate::hives::{HiveAt, Which};
use crate::scope::MachineHive;
use crate::session::{Session, sz};
use reseal_dtyp::Guid;
use reseal_hive::types;

/// The root of the database, in SYSTEM for what Windows starts from, in DRIVERS for the rest.
pub(super) const ROOT: &str = "DriverDatabase";

/// Makes the devices of a package known. `guid` is the class; `services` are those that start with Windows.
pub(super) fn register(
    work: &mut Work<'_>,
    label: &str,
    package: &Package,
    guid: Guid,
    services: &[&Service],
) -> Result<&'static str> {
    if !work.target.has_driver_database() {
        critical_devices(work, package, guid)?;
        return Ok("CriticalDeviceDatabase");
    }
    if work.session.hive(MachineHive::System).and_then(|hive| hive.key(ROOT).transpose()).transpose()?.is_none() {
        let detail =
            format!(r"SYSTEM\{ROOT} is missing, which Windows {} looks its devices up in", work.target.version.2);
        return Err(Error::new(Kind::Unsupported, detail));
    }
    driver_database(work, label, package, guid, services)?;
    Ok(ROOT)
}

/// Up to Windows 7: the id with `#` for each backslash, class and service (measured there).
fn critical_devices(work: &mut Work<'_>, package: &Package, guid: Guid) -> Result<()> {
    let class = sz(&format!("{{{}}}", guid.to_string().to_uppercase()));
    for set in work.control_sets()? {
        for model in &package.models {
            let Some(service) = &model.service else { continue };
            for id in &model.ids {
                let key = format!(r"{set}\Control\CriticalDeviceDatabase\{}", id.replace('\\', "#"));
                if let Some(other) = work.session.value(MachineHive::System, &key, "Service")?
                    && !other.as_text().is_some_and(|text| text.eq_ignore_ascii_case(service))
                {
                    let detail = format!("another driver serves {id}: {}", other.as_text().unwrap_or_default());
                    return Err(Error::new(Kind::Conflict, detail));
                }
                work.put(&key, "ClassGUID", types::SZ, &class)?;
                work.put(&key, "Service", types::SZ, &sz(service))?;
            }
        }
    }
    Ok(())
}

/// Since Windows 8. Date and version stay zero: the package itself, which Windows finds later, is then the better one.
fn driver_database(
    work: &mut Work<'_>,
    label: &str,
    package: &Package,
    guid: Guid,
    services: &[&Service],
) -> Result<()> {
    let name = package_name(label);
    let models: Vec<_> = package
        .models
        .iter()
        .filter(|m| m.service.as_ref().is_some_and(|own| services.iter().any(|s| s.name.eq_ignore_ascii_case(own))))
        .collect();
    let mut configurations: Vec<&str> = models.iter().map(|m| m.install.as_str()).collect();
    configurations.sort_unstable();
    configurations.dedup();
    let lines = |list: &[&str]| -> Vec<u8> { list.iter().flat_map(|line| sz(line)).chain([0, 0]).collect() };

    let key = format!(r"{ROOT}\DriverInfFiles\{label}");
    work.put(&key, "", types::MULTI_SZ, &lines(&[&name]))?;
    work.put(&key, "Active", types::SZ, &sz(&name))?;
    work.put(&key, "Configurations", types::MULTI_SZ, &lines(&configurations))?;

    let key = format!(r"{ROOT}\DriverPackages\{name}");
    let architecture = work.target.architecture.number().to_le_bytes();
    let version = [&[0x00, 0xff][..], &architecture, &[0; 4], &guid.0, &[0; 24]].concat();
    work.put(&key, "Version", types::BINARY, &version)?;
    for model in models {
        let configuration = format!(r"{key}\Configurations\{}", model.install);
        work.put(&configuration, "ConfigFlags", types::DWORD, &[0; 4])?;
        work.put(&configuration, "Service", types::SZ, &sz(model.service.as_deref().unwrap_or_default()))?;
        for (index, id) in model.ids.iter().enumerate() {
            let descriptor = format!(r"{key}\Descriptors\{id}");
            work.put(&descriptor, "Configuration", types::SZ, &sz(&model.install))?;
            // 1: the hardware id of the device; 2: one that is compatible with it.
            let kind = if index == 0 { 1 } else { 2 };
            let ids = format!(r"{ROOT}\DeviceIds\{id}");
            if work.session.value(MachineHive::System, &ids, label)?.is_none_or(|have| have.data.first() != Some(&1)) {
                work.put(&ids, label, types::BINARY, &[kind, 0xff, 0, 0])?;
            }
        }
    }
    work.put(&format!(r"{ROOT}\DeviceIds\{{{guid}}}"), label, types::NONE, &[])
}

/// How the INF of an added package is called in the database: no name that Windows gives.
pub(super) fn label_of(inf: &str) -> String {
    format!("reseal-{}", inf.to_ascii_lowercase())
}

fn package_name(label: &str) -> String {
    format!("{label}_tmp")
}

/// Packages that an INF of a database stands for.
pub(super) fn packages_of(session: &Session<'_>, hive: impl Which, inf: &str) -> Result<Vec<String>> {
    let key = format!(r"{ROOT}\DriverInfFiles\{inf}");
    let list = session.value(hive, &key, "")?.and_then(|value| value.as_multi_text()).unwrap_or_default();
    Ok(list.into_iter().filter(|name| !name.is_empty() && !name.contains('\\')).collect())
}

/// Removes an INF, its packages and its devices from a database. A key that nothing is left in goes, up to the list's own.
pub(super) fn unregister(session: &mut Session<'_>, hive: HiveAt, inf: &str) -> Result<()> {
    for package in packages_of(session, hive, inf)? {
        session.delete_key(hive, &format!(r"{ROOT}\DriverPackages\{package}"))?;
    }
    session.delete_key(hive, &format!(r"{ROOT}\DriverInfFiles\{inf}"))?;
    let mut holders = Vec::new();
    let mut open = vec![format!(r"{ROOT}\DeviceIds")];
    while let Some(key) = open.pop() {
        if session.value(hive, &key, inf)?.is_some() {
            holders.push(key.clone());
        }
        open.extend(session.subkey_names(hive, &key)?.into_iter().map(|name| format!(r"{key}\{name}")));
    }
    holders.sort();
    for holder in holders {
        session.delete_value(hive, &holder, inf)?;
        let mut key = holder.as_str();
        while key.matches('\\').count() > 1
            && session.value_names(hive, key)?.is_empty()
            && session.subkey_names(hive, key)?.is_empty()
        {
            session.delete_key(hive, key)?;
            key = key.rsplit_once('\\').map_or("", |(above, _)| above);
        }
    }
    Ok(())
}
