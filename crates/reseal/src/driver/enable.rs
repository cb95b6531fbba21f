//! `driver enable`: a driver that is there starts with Windows.

use super::{DriverOptions, DriverPlanned};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use crate::image::Image;
use crate::inputs::Inputs;
use crate::scope::MachineHive;
use reseal_hive::types;

/// Plans to have a kernel driver of the image start with Windows (Start 0, no StartOverride), in every control set that has
/// it. `NotFound` without such a service or its binary; `Unsupported` for what is no kernel driver.
pub fn driver_enable(
    image: Image,
    service: &str,
    options: &DriverOptions,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<DriverPlanned> {
    super::stage(image, options, inputs, "enable", observer, |work| {
        let mut found = false;
        for set in work.control_sets()? {
            let key = format!(r"{set}\Services\{service}");
            let session = &mut work.session;
            let Some(kind) = session.value(MachineHive::System, &key, "Type")? else { continue };
            // SERVICE_KERNEL_DRIVER
            if kind.as_u32() != Some(1) {
                return Err(Error::new(Kind::Unsupported, format!(r"SYSTEM\{key} is no kernel driver: Type is not 1")));
            }
            let path = session.value(MachineHive::System, &key, "ImagePath")?.and_then(|value| value.as_text());
            let path = binary(path.as_deref(), service);
            if session.tree.resolve(session.tree.root(), &path).within(&path)?.is_none() {
                return Err(Error::new(Kind::NotFound, format!(r"\{path}, the binary of SYSTEM\{key}, is missing")));
            }
            found = true;
            session.set(MachineHive::System, &key, "Start", types::DWORD, &[0; 4])?;
            session.delete_key(MachineHive::System, &format!(r"{key}\StartOverride"))?;
            if !work.services.iter().any(|have| have == service) {
                work.services.push(service.to_owned());
            }
        }
        if !found {
            return Err(Error::new(Kind::NotFound, format!("no control set has a service `{service}`")));
        }
        work.unproven.push(
            "that a device which the image was not installed on is matched with the driver before its first start",
        );
        Ok(())
    })
}

/// Where a driver lies, from the volume's root: `ImagePath` as the kernel reads it, System32\drivers without one.
pub(super) fn binary(image_path: Option<&str>, service: &str) -> String {
    let Some(path) = image_path.filter(|path| !path.is_empty()) else {
        return format!(r"{}\{service}.sys", super::BINARIES);
    };
    let lower = path.to_ascii_lowercase();
    for (prefix, stands_for) in [(r"\systemroot\", r"Windows\"), (r"%systemroot%\", r"Windows\"), (r"\??\c:\", "")] {
        if lower.starts_with(prefix) {
            return format!("{stands_for}{}", path.get(prefix.len()..).unwrap_or_default());
        }
    }
    format!(r"Windows\{}", path.trim_start_matches('\\'))
}
