use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::System;
use crate::error::Result;
use crate::scope::Scope;
use crate::session::Session;

/// Forgets devices that another machine will not have.
pub(super) struct Devices;

/// Classes whose devices Windows finds again without being told, and starts without: GUID and name. Storage, system, network
/// and everything that a start needs is not among them.
const CLASSES: &[(&str, &str)] = &[
    ("{4d36e968-e325-11ce-bfc1-08002be10318}", "Display"),
    ("{4d36e96e-e325-11ce-bfc1-08002be10318}", "Monitor"),
    ("{4d36e96c-e325-11ce-bfc1-08002be10318}", "MEDIA"),
    ("{4d36e96d-e325-11ce-bfc1-08002be10318}", "Modem"),
    ("{4d36e96f-e325-11ce-bfc1-08002be10318}", "Mouse"),
    ("{4d36e978-e325-11ce-bfc1-08002be10318}", "Ports"),
    ("{4d36e979-e325-11ce-bfc1-08002be10318}", "Printer"),
    ("{50dd5230-ba8a-11d1-bf5d-0000f805f530}", "SmartCardReader"),
    ("{53d29ef7-377c-4d14-864b-eb3a85769359}", "Biometric"),
    ("{6bdd1fc6-810f-11d0-bec7-08002be2092f}", "Image"),
    ("{72631e54-78a4-11d0-bcf7-00aa00b7b32a}", "Battery"),
    ("{745a17a0-74d3-11d0-b6fe-00a0c90f57da}", "HIDClass"),
    ("{ca3e7ab9-b4c3-4ae6-8251-579ef933890f}", "Camera"),
    ("{e0cbf06c-cd8b-4647-bb8a-263b43f0f974}", "Bluetooth"),
    ("{eec5ad98-8080-425f-922a-dabf3de3f69a}", "WPD"),
];
/// Buses of what is not plugged in, whatever the class.
const KEPT_BUSES: &[&str] = &["ROOT", "HTREE", "SWD", "SW", "ACPI", "ACPI_HAL", "UMB", "UEFI"];

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "devices";

static SPEC: Spec = Spec {
    id: ID,
    title: "Forget devices that belong to this machine",
    about: "With --devices drop: instances of display, sound, input, camera, Bluetooth, printer and similar devices go, with \
            their driver keys and interfaces; drivers stay. Devices of ROOT, HTREE, SWD and ACPI, storage controllers and \
            their disks, system devices and network adapters are never touched: a start or a fixed address may need them.",
    phase: "identity",
    mirrors: &["sppnp.dll!Sysprep_Generalize_Pnp"],
    evidence: Evidence::Unverified,
    unproven: "that the Plug and Play manager installs the devices anew at the next start, as it does for new ones",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[
        Scope::Key(System, r"{CCS}\Enum"),
        Scope::Key(System, r"{CCS}\Control\Class"),
        Scope::Key(System, r"{CCS}\Control\DeviceClasses"),
        Scope::Key(System, r"{CCS}\Control\DeviceContainers"),
    ],
    ..Spec::BASE
};

impl Step for Devices {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let mut gone = 0;
        for set in session.facts.control_sets.clone() {
            let instances = instances(session, &set)?;
            forget_interfaces(session, &set, &instances)?;
            for instance in &instances {
                forget(session, &set, instance)?;
            }
            gone += instances.len();
        }
        Ok(Some(format!("{gone} devices forgotten")))
    }
}

/// A device of a class that goes.
struct Instance {
    /// `USB\VID_046D&PID_C52B\5&2c`
    path: String,
    /// `{4d36e96f-…}\0001`: its driver key.
    driver: Option<String>,
    /// `{…}`: the box that it came in.
    container: Option<String>,
}

fn instances(session: &Session<'_>, set: &str) -> Result<Vec<Instance>> {
    let mut out = Vec::new();
    let root = format!(r"{set}\Enum");
    for bus in session.subkey_names(System, &root)? {
        if KEPT_BUSES.iter().any(|kept| kept.eq_ignore_ascii_case(&bus)) {
            continue;
        }
        for device in session.subkey_names(System, &format!(r"{root}\{bus}"))? {
            for name in session.subkey_names(System, &format!(r"{root}\{bus}\{device}"))? {
                let path = format!(r"{bus}\{device}\{name}");
                let key = format!(r"{root}\{path}");
                let text = |value| session.value(System, &key, value).map(|v| v.and_then(|v| v.as_text()));
                if text("ClassGUID")?.is_some_and(|class| goes(&class)) {
                    let driver = text("Driver")?.filter(|driver| driver.split_once('\\').is_some_and(|(c, _)| goes(c)));
                    out.push(Instance { path, driver, container: text("ContainerID")? });
                }
            }
        }
    }
    Ok(out)
}

fn goes(class: &str) -> bool {
    CLASSES.iter().any(|(guid, _)| guid.eq_ignore_ascii_case(class))
}

fn forget(session: &mut Session<'_>, set: &str, instance: &Instance) -> Result<()> {
    if let Some(driver) = &instance.driver {
        session.delete_key(System, &format!(r"{set}\Control\Class\{driver}"))?;
    }
    if let Some(container) = &instance.container {
        let key = format!(r"{set}\Control\DeviceContainers\{container}\BaseContainers\{container}");
        session.delete_value(System, &key, &instance.path)?;
    }
    session.delete_key(System, &format!(r"{set}\Enum\{}", instance.path)).map(drop)
}

/// Interfaces are named after their device: `##?#USB#VID_046D&PID_C52B#5&2c#{…}`.
fn forget_interfaces(session: &mut Session<'_>, set: &str, instances: &[Instance]) -> Result<()> {
    let starts: Vec<String> =
        instances.iter().map(|i| format!("##?#{}#", i.path.replace('\\', "#")).to_ascii_lowercase()).collect();
    let root = format!(r"{set}\Control\DeviceClasses");
    for class in session.subkey_names(System, &root)? {
        for name in session.subkey_names(System, &format!(r"{root}\{class}"))? {
            let lower = name.to_ascii_lowercase();
            if starts.iter().any(|start| lower.starts_with(start)) {
                session.delete_key(System, &format!(r"{root}\{class}\{name}"))?;
            }
        }
    }
    Ok(())
}
