//! What state an image is in, and whether everything that says so agrees.

use crate::error::Result;
use crate::facts::{Facts, GENERALIZED_TO_OOBE, HALF_GENERALIZED, SPECIALIZED_TO_OOBE, SetupState};
use crate::tree::Tree;
use reseal_dtyp::{Finding, Level};

const STATE_INI: &str = r"Windows\Setup\State\State.ini";
const SYSPREP: &str = r"Windows\System32\Sysprep";
const TAG: &str = r"Windows\System32\Sysprep\Sysprep_succeeded.tag";

/// The state in words: `sealed to OOBE` for what `generalize` leaves.
pub(crate) fn describe(setup: &SetupState) -> String {
    let state = setup.image_state.as_deref().unwrap_or("unknown");
    if !setup.is_sealed() {
        return state.to_owned();
    }
    let words = match state {
        GENERALIZED_TO_OOBE => "sealed to OOBE",
        SPECIALIZED_TO_OOBE => "sealed to OOBE without generalizing",
        "IMAGE_STATE_GENERALIZE_RESEAL_TO_AUDIT" => "sealed to audit mode",
        _ => "sealed to audit mode without generalizing",
    };
    words.to_owned()
}

/// What contradicts the state that `ImageState` claims. An image that does not claim to be sealed has nothing to agree with.
pub(crate) fn contradictions(facts: &Facts, tree: &dyn Tree) -> Result<Vec<Finding>> {
    let setup = &facts.setup;
    let Some(claimed) = setup.image_state.as_deref().filter(|state| state.contains("_RESEAL_TO_")) else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    let mut add = |level, place: &str, detail: String| out.push(Finding::new(level, "half-sealed", place, detail));
    let shown = |number: Option<u32>| number.map_or_else(|| "absent".to_owned(), |n| n.to_string());
    if setup.in_progress != Some(1) {
        let detail = format!("ImageState is {claimed}, and SystemSetupInProgress is {}", shown(setup.in_progress));
        add(Level::Inconsistent, r"SYSTEM\Setup", detail);
    }
    if setup.setup_type.is_none_or(|ty| ty == 0) {
        let detail = format!("ImageState is {claimed}, and SetupType is {}", shown(setup.setup_type));
        add(Level::Inconsistent, r"SYSTEM\Setup", detail);
    }
    if !setup.command_line.as_deref().is_some_and(|line| line.to_ascii_lowercase().contains("windeploy")) {
        let line = setup.command_line.as_deref().unwrap_or_default();
        add(Level::Inconsistent, r"SYSTEM\Setup", format!("ImageState is {claimed}, and CmdLine is \"{line}\""));
    }
    if setup.generalization_state == Some(HALF_GENERALIZED) {
        let detail = "GeneralizationState is 3: Sysprep did not end, and specialize would not run".to_owned();
        add(Level::Inconsistent, r"SYSTEM\Setup\Status\SysprepStatus", detail);
    }
    let root = tree.root();
    if let Some(node) = tree.resolve(root, STATE_INI)? {
        let bytes = tree.read(node)?;
        let says = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
        if !says(claimed.as_bytes()) && !says(&reseal_dtyp::utf16le(claimed)) {
            add(Level::Inconsistent, STATE_INI, format!("it does not say {claimed}, as the registry does"));
        }
    }
    if tree.resolve(root, SYSPREP)?.is_some() && tree.resolve(root, TAG)?.is_none() {
        add(
            Level::Note,
            TAG,
            "it is missing: tools that look for it take the image for one that is not sealed".to_owned(),
        );
    }
    Ok(out)
}
