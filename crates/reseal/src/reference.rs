//! A sealed image of the same build: the setup state that no document tells is taken from it.

use crate::error::{Error, Kind, Result, Within};
use crate::facts::{Facts, HALF_GENERALIZED};
use crate::hives::HiveSet;
use crate::image::DiskImage;
use crate::scope::MachineHive;
use crate::tree::Tree;
use crate::wim::WimFile;
use reseal_hive::{Hive, Value};

/// Values of `SYSTEM\Setup` that say how the next start goes on.
const SETUP_VALUES: &[&str] =
    &["SystemSetupInProgress", "SetupType", "CmdLine", "OOBEInProgress", "SetupPhase", "RestartSetup"];
/// Keys whose values all belong to the state. `SetupCl\PendingRequest` does not: it would be a second writer of the SID.
const WHOLE_KEYS: &[&str] =
    &[r"Setup\Status\ChildCompletion", r"Setup\Status\UnattendPasses", r"Setup\Status\SysprepStatus"];
/// Programs that the session manager starts before winlogon.
const SESSION_MANAGER: &str = r"Control\Session Manager";
const SETUP_EXECUTE: &str = "SETUPEXECUTE";

/// The setup state of a sealed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The image's name, for messages.
    image: String,
    build: Option<String>,
    architecture: Option<String>,
    keys: Vec<KnownKey>,
}

/// What the reference has in a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownKey {
    /// Path in SYSTEM; `{CCS}` stands for every control set.
    pub(crate) key: &'static str,
    pub(crate) values: Vec<Value>,
    /// Values that it does not have are none of the state.
    pub(crate) is_whole: bool,
}

impl KnownKey {
    /// Whether the reference has the value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|value| value.name_lossy().eq_ignore_ascii_case(name))
    }
}

impl Reference {
    /// Reads the state of `sealed.vhdx`, of one partition of it, `sealed.vhdx#p3`, or of `install.wim:2`. `Refused` when that image is not
    /// generalized and sealed to OOBE.
    pub fn open(text: &str) -> Result<Reference> {
        let read = || -> Result<Reference> {
            let tree: Box<dyn Tree> = match WimFile::tree(text) {
                Some(tree) => Box::new(tree?),
                None => Box::new(DiskImage::open(text)?.one_windows(None)?.tree),
            };
            let hives = HiveSet::load(&*tree, &[(tree.root(), String::new())])?;
            let facts = Facts::read(&hives)?;
            let Some(system) = hives.machine(MachineHive::System) else {
                return Err(Error::new(Kind::NotFound, "the reference has no SYSTEM hive"));
            };
            sealed(&facts)?;
            let keys = known_keys(&system.hive, &facts).within(&system.path)?;
            let product = facts.product;
            Ok(Reference { image: text.to_owned(), build: product.build, architecture: product.architecture, keys })
        };
        read().within(text)
    }

    /// `Refused` when the image is of another build.
    pub(crate) fn must_fit(&self, facts: &Facts) -> Result<()> {
        // The revision behind the dot changes with every update, the state does not.
        let major = |build: &Option<String>| build.as_deref().map(|b| b.split('.').next().unwrap_or(b).to_owned());
        let own = (major(&facts.product.build), &facts.product.architecture);
        let others = (major(&self.build), &self.architecture);
        if own == others && own.0.is_some() {
            return Ok(());
        }
        let shown = |(build, architecture): &(Option<String>, &Option<String>)| {
            format!("{} {}", build.as_deref().unwrap_or("of unknown build"), architecture.as_deref().unwrap_or(""))
        };
        let detail =
            format!("the reference {} is Windows {}, the image is {}", self.image, shown(&others), shown(&own));
        Err(Error::new(Kind::Refused, detail).hint("name a sealed image of the same build, or leave --reference away"))
    }

    /// What the reference says.
    pub(crate) fn keys(&self) -> &[KnownKey] {
        &self.keys
    }
}

fn sealed(facts: &Facts) -> Result<()> {
    let setup = &facts.setup;
    let why = if setup.image_state.as_deref() != Some(crate::facts::GENERALIZED_TO_OOBE) || !setup.is_sealed() {
        format!("its ImageState is {}", setup.image_state.as_deref().unwrap_or("absent"))
    } else if setup.generalization_state == Some(HALF_GENERALIZED) {
        "Sysprep did not end there".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Refused, format!("it is no sealed image: {why}"))
        .hint("a reference is an image that Sysprep has sealed with /generalize /oobe, and that was not started since"))
}

fn known_keys(system: &Hive, facts: &Facts) -> reseal_dtyp::Result<Vec<KnownKey>> {
    let mut keys = Vec::new();
    if let Some(setup) = system.key("Setup")? {
        let mut values = system.values(setup)?;
        values.retain(|value| SETUP_VALUES.iter().any(|name| value.name_lossy().eq_ignore_ascii_case(name)));
        keys.push(KnownKey { key: "Setup", values, is_whole: false });
    }
    for key in WHOLE_KEYS {
        // A key that the sealed image does not have holds nothing in it.
        let values = system.key(key)?.map_or(Ok(Vec::new()), |id| system.values(id))?;
        keys.push(KnownKey { key, values, is_whole: true });
    }
    let current = facts.control_sets.first().map(|set| format!(r"{set}\{SESSION_MANAGER}"));
    if let Some(id) = current.map_or(Ok(None), |key| system.key(&key))? {
        let values = system.value(id, SETUP_EXECUTE)?.into_iter().collect();
        keys.push(KnownKey { key: r"{CCS}\Control\Session Manager", values, is_whole: false });
    }
    Ok(keys)
}
