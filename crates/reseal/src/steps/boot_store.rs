use super::{Evidence, Spec, Step, Use};
use crate::boot_store::{
    APPLICATION_DEVICE, APPLICATION_PATH, Device, ElementValue, Home, LOADER, MEMORY_TEST, OS_DEVICE, OS_PATH, Object,
    Objects, RESUME,
};
use crate::error::{Error, Kind, Result, Within};
use crate::scope::Scope;
use crate::session::Session;
use crate::{Change, Target};
use reseal_disk::Partition;
use reseal_dtyp::Level;
use reseal_hive::{Hive, types};

/// Makes the boot store independent of partitions.
pub(super) struct BootStore;

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "boot-store";

static SPEC: Spec = Spec {
    id: ID,
    title: "Make the boot store independent of partitions (experimental)",
    about: "With --boot generalize, loaders and resume objects that name the partition of Windows are given the form that finds \
            it: `boot` where the store lies on the same volume, else `locate`, by the path that the object itself states. The \
            memory test, which lies beside the store, gets `boot`. A copied disk keeps its partitions' identities and starts \
            without this; one report of a store generalized by Sysprep itself ended in STOP c000021a. So nothing is done \
            unless it is asked for, and a store that names another partition than expected is refused. Entries of a RAM \
            disk (the recovery environment) stay.",
    phase: "identity",
    mirrors: &["spbcd.dll!Sysprep_Generalize_Bcd"],
    evidence: Evidence::Inferred,
    unproven: "that a copy starts with it: both forms are taken from real stores, and no Windows has been started with what \
               this step wrote",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::BootStore],
    ..Spec::BASE
};

/// One element that changes.
struct Edit {
    key: String,
    before: Device,
    after: Vec<u8>,
}

impl Step for BootStore {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        session.allow(Scope::BootStore)?;
        if let Some(fault) = session.boot.faults.first() {
            let detail = format!("a boot store may lie there, and cannot be read: {}", fault.why);
            return Err(Error::new(Kind::Damaged, detail).subject(fault.place.clone()));
        }
        if session.boot.stores.is_empty() {
            return Ok(Some("the disk has no boot store".to_owned()));
        }
        for index in 0..session.boot.stores.len() {
            let name = session.boot.stores[index].name();
            stage(session, index, &name).map_err(|e| e.subject(name))?;
        }
        Ok(None)
    }
}

fn stage(session: &mut Session<'_>, index: usize, name: &str) -> Result<()> {
    let store = &session.boot.stores[index];
    let objects = Objects::read(&store.hive)?;
    let windows = session.disk.own().map(|own| own.partition.clone());
    let windows = windows.ok_or_else(|| Error::new(Kind::NotFound, "the partition of Windows is not known"))?;
    let same_volume = matches!(store.home, Home::Own);
    let system = store.partition.clone();
    let (mut edits, mut left) = (Vec::new(), Vec::new());
    for object in objects.list.iter().filter(|object| [LOADER, RESUME, MEMORY_TEST].contains(&object.ty)) {
        let at = Place { windows: &windows, system: &system, same_volume };
        at.edits(object, &mut edits, &mut left).within(format!("{{{}}}", object.id))?;
    }
    if matches!(store.home, Home::Other) && !edits.is_empty() {
        let Some(volume) = session.boot.systems.iter_mut().find(|v| v.partition.number == system.number) else {
            let detail =
                "the store lies on an NTFS volume that is not the system volume of this installation: only read";
            return Err(Error::new(Kind::Unsupported, detail));
        };
        session.findings.extend(volume.ready()?.1);
    }
    for detail in left {
        session.find(Level::Note, "boot-device-left", name, detail);
    }
    for edit in edits {
        set(session, index, &edit)?;
        let after = Device::read(&edit.after)?.to_string();
        let target = Target::Value { hive: name.to_owned(), key: edit.key, name: "Element".to_owned() };
        let before = Some(edit.before.to_string());
        session.changes.push(Change { step: ID, target, before, after: Some(after) });
    }
    Ok(())
}

/// What devices are held against.
struct Place<'a> {
    windows: &'a Partition,
    system: &'a Partition,
    /// The store lies on the volume of Windows.
    same_volume: bool,
}

impl Place<'_> {
    fn edits(&self, object: &Object, edits: &mut Vec<Edit>, left: &mut Vec<String>) -> Result<()> {
        for element in &object.elements {
            let device = match &element.value {
                ElementValue::Device(device) => device,
                ElementValue::Strange(why) if element.ty >> 24 & 0xf == 1 => {
                    return Err(Error::new(Kind::Damaged, format!("element {:08x}: {why}", element.ty)));
                }
                _ => continue,
            };
            let known = [APPLICATION_DEVICE, OS_DEVICE].contains(&element.ty);
            match device {
                Device::Boot | Device::Locate(_) => {}
                _ if known && device.is_partition() => {
                    let after = self.form(object, element.ty, device)?;
                    edits.push(Edit { key: element.key.clone(), before: device.clone(), after });
                }
                _ => left.push(format!("{{{}}}: element {:08x} is {device}: left", object.id, element.ty)),
            }
        }
        Ok(())
    }

    /// The form of an element that names no partition.
    fn form(&self, object: &Object, element: u32, device: &Device) -> Result<Vec<u8>> {
        let expected = if object.ty == MEMORY_TEST { self.system } else { self.windows };
        if !device.names(expected) {
            let detail = format!(
                "element {element:08x} names {device}, and partition {} was expected: which one a copy shall start cannot be told",
                expected.number
            );
            return Err(Error::new(Kind::Conflict, detail)
                .hint("leave --boot generalize away, or mend the store in Windows with `bcdboot C:\\Windows`"));
        }
        if self.same_volume || object.ty == MEMORY_TEST {
            return Ok(Device::boot());
        }
        let by = if element == APPLICATION_DEVICE { APPLICATION_PATH } else { OS_PATH };
        match object.text(by) {
            Some(path) if !path.is_empty() => Ok(Device::locate(by)),
            _ => Err(Error::new(
                Kind::Damaged,
                format!("element {element:08x} cannot be located: there is no path in element {by:08x}"),
            )),
        }
    }
}

fn set(session: &mut Session<'_>, index: usize, edit: &Edit) -> Result<()> {
    let now = session.inputs.now();
    let write = |hive: &mut Hive| -> reseal_dtyp::Result<()> {
        hive.set_clock(Some(now));
        match hive.key(&edit.key)? {
            Some(key) => hive.set_value(key, "Element", types::BINARY, &edit.after),
            None => Err(reseal_dtyp::Error::not_found(format!("the key {} is missing", edit.key))),
        }
    };
    let store = &mut session.boot.stores[index];
    store.refuse_dirty()?;
    if let Home::Fat { .. } = store.home {
        write(&mut store.hive).within(&edit.key)?;
        store.edited = true;
        return Ok(());
    }
    let (path, number) = (store.path.to_ascii_lowercase(), store.partition.number);
    let hives = match store.home {
        Home::Own => Some(&mut *session.hives),
        _ => session.boot.systems.iter_mut().find(|v| v.partition.number == number).map(|volume| &mut volume.hives),
    };
    let found = hives.and_then(|hives| Some((hives.where_path(|own| own == path).first().copied()?, hives)));
    let (at, hives) =
        found.ok_or_else(|| Error::new(Kind::NotFound, "the store is not among the hives of the volume"))?;
    let file = hives.at_mut(at);
    write(&mut file.hive).within(&edit.key)?;
    file.edited = true;
    Ok(())
}
