//! `driver`: packages of device drivers in an image, listed, added, removed.
//!
//! ```text
//!  DIR/x.inf ─▶ inf (text) ─▶ package (what it says to this Windows) ─▶ add ─▶ files, service, database ─▶ commit
//!                                     image ─▶ list: INF, driver store, DriverDatabase ─▶ remove ──────────┘
//! ```
//!
//! What is known of each place, and how, stands in docs/decisions/0011-drivers.md.

mod add;
mod commit;
mod database;
mod enable;
mod inf;
mod list;
mod package;
mod registry;
mod remove;
mod source;
mod target;

pub use add::driver_add;
pub use commit::DriverPlanned;
use commit::stage;
pub use enable::driver_enable;
pub use list::{DriverList, DriverPackage, DriverService, driver_list};
pub use remove::driver_remove;

use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result};
use crate::generalize::{Observer, ShownFinding};
use crate::guards::{self, Refusal, Subject};
use crate::hives::HiveSet;
use crate::image::DiskFacts;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::scope::{MachineHive, Scope};
use crate::session::Session;
use crate::steps::{Evidence, Spec, Use};
use crate::tree::{Survey, Tree, TreeEdit};
use crate::volume_state::VolumeState;
use crate::{Change, Facts, invariants, staging};
use reseal_dtyp::{Finding, Guid};
use serde::Serialize;
use std::path::PathBuf;
use target::Target;

/// Where added packages wait for the first start, from the volume's root.
const STAGED: &str = r"Windows\Drivers\Reseal";
/// The same as Windows spells it in `DevicePath`.
const STAGED_FOR_WINDOWS: &str = r"%SystemRoot%\Drivers\Reseal";
/// Where Windows keeps the INFs of what is installed.
const INF_FOLDER: &str = r"Windows\INF";
/// Where Windows keeps packages.
const STORE: &str = r"Windows\System32\DriverStore\FileRepository";
/// Binaries that are loaded from a known place.
const BINARIES: &str = r"Windows\System32\drivers";
/// Catalogs of what is installed: the folder of the driver catalogs (DRIVER_ACTION_VERIFY).
const CATALOGS: &str = r"Windows\System32\CatRoot\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";

/// {4D36E97B-…} SCSIAdapter and {4D36E96A-…} HDC: what starts Windows hangs on these.
const SCSI_ADAPTER: &str = "4d36e97b-e325-11ce-bfc1-08002be10318";
const HDC: &str = "4d36e96a-e325-11ce-bfc1-08002be10318";
/// {4D36E97D-…} System: buses; boot-critical when the INF starts the service at boot.
const SYSTEM: &str = "4d36e97d-e325-11ce-bfc1-08002be10318";

/// Whether disks hang on a class of devices.
fn is_storage(class: Guid) -> bool {
    [SCSI_ADAPTER, HDC].contains(&class.to_string().as_str())
}

/// What concerns who writes, whatever it is.
const GUARDS: [&str; 3] = ["dirty-volume", "hibernated", "dirty-hive"];

static SPEC: Spec = Spec {
    id: "driver",
    title: "Drivers",
    about: "Adds, removes and enables drivers.",
    phase: "drivers",
    mirrors: &[],
    evidence: Evidence::Inferred,
    unproven: "",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[
        Scope::Key(MachineHive::System, r"{CCS}\Services"),
        Scope::Key(MachineHive::System, r"{CCS}\Control\CriticalDeviceDatabase"),
        Scope::Key(MachineHive::System, "DriverDatabase"),
        Scope::Key(MachineHive::Software, r"Microsoft\Windows\CurrentVersion"),
        Scope::File(r"Windows\Drivers"),
        Scope::File(INF_FOLDER),
        Scope::File(STORE),
        Scope::File(BINARIES),
        Scope::File(CATALOGS),
    ],
    actions: &[],
};

/// How to change the drivers of an image.
#[derive(Debug, Clone, Default)]
pub struct DriverOptions {
    /// Which installation, from 1; needed where there are several.
    pub installation: Option<usize>,
    /// Guards that the user allows.
    pub allow: Vec<String>,
    /// Findings refuse, such as a package without a catalog.
    pub strict: bool,
    /// Remove what the image may start from.
    pub force: bool,
}

/// A package that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddedPackage {
    /// File name of the INF.
    pub inf: String,
    /// Who says that it made it.
    pub provider: String,
    /// Class of its devices.
    pub class: String,
    /// Date, `yyyy-mm-dd`.
    pub date: Option<String>,
    /// Version.
    pub version: Option<String>,
    /// Its catalog, when it is there; the signature in it is not verified.
    pub catalog: Option<String>,
    /// Hardware ids of its devices.
    pub hardware_ids: Vec<String>,
    /// Where it waits for the first start.
    pub folder: String,
    /// Services that now start with Windows; empty for what Windows only installs later.
    pub boot_services: Vec<String>,
    /// Where Windows finds its devices before it has installed it: DriverDatabase or CriticalDeviceDatabase.
    pub registered_in: Option<&'static str>,
}

/// What would be done to the drivers, or was done.
#[derive(Debug, Clone, Serialize)]
pub struct DriverReport {
    /// Version of this document.
    pub schema: &'static str,
    /// add, remove or enable.
    pub verb: &'static str,
    /// The image.
    pub image: String,
    /// Where Windows lies: a partition, or an image of a WIM.
    pub partition: String,
    /// What was added.
    pub packages: Vec<AddedPackage>,
    /// Every change.
    pub changes: Vec<Change>,
    /// Guards that would refuse and were allowed.
    pub allowed: Vec<Refusal>,
    /// What was noticed.
    pub findings: Vec<ShownFinding>,
    /// What Windows does at its first start, and what was left.
    pub notes: Vec<String>,
    /// What only a real Windows can confirm.
    pub unproven: Vec<&'static str>,
    /// Hives that are written.
    pub hives_written: usize,
    /// Bytes of the image file that change, in pages of 4 KiB; of a WIM, the contents and metadata that are written.
    pub changed_bytes: u64,
    /// The written image; none after a dry run.
    pub output: Option<PathBuf>,
    /// reflink, copy or in-place; of a WIM, rebuilt or appended.
    pub method: Option<&'static str>,
}

/// What the verbs work with.
struct Work<'a> {
    session: Session<'a>,
    target: Target,
    packages: Vec<AddedPackage>,
    notes: Vec<String>,
    unproven: Vec<&'static str>,
    /// Services that are made, changed or removed.
    services: Vec<String>,
}

impl Work<'_> {
    /// The control sets, the current one first.
    fn control_sets(&self) -> Result<Vec<String>> {
        match &self.session.facts.control_sets[..] {
            [] => Err(Error::new(Kind::Damaged, "SYSTEM has no control set")),
            sets => Ok(sets.to_vec()),
        }
    }

    /// Sets a value, and makes its key.
    fn put(&mut self, key: &str, name: &str, ty: u32, data: &[u8]) -> Result<()> {
        self.session.make_key(MachineHive::System, key)?;
        self.session.set(MachineHive::System, key, name, ty, data)
    }
}

/// What staging gave: the report, but for what the medium knows, and the hives as they are put back.
struct Done {
    report: DriverReport,
    hives: HiveSet,
    facts: Facts,
}

/// Where an installation lies.
struct Place<'a> {
    image: String,
    state: &'a VolumeState,
    disk: &'a DiskFacts,
}

/// Hives, survey and facts of an installation, after the guards let it pass.
fn open(tree: &dyn Tree, place: &Place<'_>, options: &Options) -> Result<(HiveSet, Survey, Facts, Vec<Refusal>)> {
    let roots = staging::roots(tree)?;
    let (hives, survey) = rayon::join(|| HiveSet::load(tree, &roots), || tree.survey());
    let (hives, survey) = (hives?, survey?);
    let facts = Facts::read(&hives)?;
    let (volume, disk, answer, leaving) = (place.state, place.disk, None, &crate::leaving::Leaving::default());
    // Of the disk, drivers touch the volume of Windows only.
    let boot = &BootStores::default();
    let subject = Subject { facts: &facts, hives: &hives, tree, volume, survey: &survey, disk, boot, answer, leaving };
    let checked = guards::run(&subject)?;
    let ours = checked.iter().filter(|c| c.check.guard.is_some_and(|guard| GUARDS.contains(&guard)));
    let refusals: Vec<Refusal> = ours.flat_map(|c| c.refusals(options)).collect();
    if refusals.iter().any(|refusal| !refusal.allowed) {
        return Err(Error::refused(refusals));
    }
    Ok((hives, survey, facts, refusals))
}

/// Lets `work` stage its changes in an installation, and checks what came of it.
fn stage_in<T: TreeEdit>(
    tree: &mut T,
    place: &Place<'_>,
    how: &DriverOptions,
    inputs: &Inputs,
    verb: &'static str,
    observer: &dyn Observer,
    work: impl FnOnce(&mut Work<'_>) -> Result<()>,
) -> Result<Done> {
    observer.phase("reading");
    let options = Options { installation: how.installation, allow: how.allow.clone(), ..Options::default() };
    let (mut hives, mut survey, facts, allowed) = open(tree, place, &options)?;
    let target = Target::of(&facts)?;
    staging::sound(std::mem::take(&mut survey.findings), "before")?;
    let broken = invariants::broken(&hives, tree)?;
    let fixed = invariants::untouchable(&hives)?;

    observer.phase("staging");
    let (mut changes, mut findings): (Vec<Change>, Vec<Finding>) = (Vec::new(), Vec::new());
    let session = Session {
        spec: &SPEC,
        facts: &facts,
        options: &options,
        inputs,
        hives: &mut hives,
        boot: &mut BootStores::default(),
        disk: place.disk,
        tree,
        survey: &survey,
        changes: &mut changes,
        findings: &mut findings,
        recipe: &mut Vec::new(),
        in_rule: false,
        sid: &mut None,
    };
    let empty = || (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (packages, notes, unproven, services) = empty();
    let mut done = Work { session, target, packages, notes, unproven, services };
    work(&mut done)?;
    let Work { packages, notes, unproven, services, .. } = done;
    if let (true, Some(first)) = (how.strict, findings.first()) {
        return Err(Error::new(Kind::Refused, format!("--strict: {first} ({} findings)", findings.len()))
            .hint("without --strict findings are reported only"));
    }
    findings.extend(hives.self_check(tree)?);
    let hives_written = hives.store(tree, inputs.now())?;

    observer.phase("self-check");
    staging::compare_invariants(broken, invariants::broken(&hives, tree)?)?;
    others_stay(&fixed, &invariants::untouchable(&hives)?, &services)?;
    let report = DriverReport {
        schema: "reseal.driver/1",
        verb,
        image: place.image.clone(),
        partition: place.state.place.clone(),
        packages,
        changes,
        allowed,
        findings: staging::shown(findings),
        notes,
        unproven,
        hives_written,
        changed_bytes: 0,
        output: None,
        method: None,
    };
    Ok(Done { report, hives, facts })
}

/// The boot key and the start of every service but those that were named stay as they were.
fn others_stay(before: &[(String, Vec<u8>)], after: &[(String, Vec<u8>)], services: &[String]) -> Result<()> {
    let named = |path: &str| {
        path.split_once(r"\Services\").is_some_and(|(_, name)| services.iter().any(|s| s.eq_ignore_ascii_case(name)))
    };
    let rest = |list: &[(String, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
        list.iter().filter(|(path, _)| !named(path)).cloned().collect()
    };
    if rest(before) == rest(after) {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "the boot key or the start of another service changed")
        .hint("this is a defect of reseal; nothing was written"))
}
