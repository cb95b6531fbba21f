//! What a user asks for.

use crate::error::{Error, Kind, Result};
use crate::steps::{Spec, Use};
use reseal_dtyp::DomainSid;

/// The machine SID that the sealed image shall have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SidChoice {
    /// A new one, drawn from the seed.
    #[default]
    Random,
    /// The old one stays.
    Keep,
    /// This one.
    Given(DomainSid),
}

/// Which steps run: the defaults of the installation's kind, or none, and what was added and taken away by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSelection {
    base: Base,
    added: Vec<&'static str>,
    removed: Vec<&'static str>,
}

/// What a selection starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Nothing,
    Defaults,
    All,
}

impl Default for StepSelection {
    fn default() -> StepSelection {
        StepSelection { base: Base::Defaults, added: Vec::new(), removed: Vec::new() }
    }
}

impl StepSelection {
    /// Reads `default,-event-logs` or `machine-sid,setup-state`: names add, `-` removes; `default` are the steps that run
    /// when nothing is said, `all` are those too that have to be asked for. `Usage` for an unknown name.
    pub fn parse(text: &str) -> Result<StepSelection> {
        let mut chosen = StepSelection { base: Base::Nothing, ..StepSelection::default() };
        let known = || crate::steps::catalogue().map(|spec| spec.id);
        let listed = || known().collect::<Vec<_>>().join(", ");
        for (i, word) in text.split(',').map(str::trim).filter(|w| !w.is_empty()).enumerate() {
            let (remove, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word.strip_prefix('+').unwrap_or(word)),
            };
            // `-event-logs` alone means: all but that.
            if i == 0 && (remove || word.starts_with('+')) {
                chosen.base = Base::Defaults;
            }
            if matches!(name, "default" | "all") {
                let base = if name == "all" { Base::All } else { Base::Defaults };
                chosen = StepSelection { base: if remove { Base::Nothing } else { base }, ..StepSelection::default() };
                continue;
            }
            let id = known().find(|id| *id == name).ok_or_else(|| {
                Error::new(Kind::Usage, format!("there is no step `{name}`"))
                    .hint(format!("the steps are: {}", listed()))
            })?;
            chosen.added.retain(|have| *have != id);
            chosen.removed.retain(|have| *have != id);
            if remove { &mut chosen.removed } else { &mut chosen.added }.push(id);
        }
        if chosen.base == Base::Nothing && chosen.added.is_empty() {
            return Err(Error::new(Kind::Usage, format!("`{text}` selects no step"))
                .hint(format!("the steps are: {}", listed())));
        }
        Ok(chosen)
    }

    /// Whether a step runs, on a server or on a client.
    pub fn runs(&self, spec: &Spec, is_server: bool) -> bool {
        let default = if is_server { spec.server } else { spec.client } == Use::On;
        let based = match self.base {
            Base::Nothing => false,
            Base::Defaults => default,
            Base::All => true,
        };
        !self.removed.contains(&spec.id) && (based || self.added.contains(&spec.id))
    }

    /// [`StepSelection::runs`] by id, for a step that runs on both by default.
    pub(crate) fn contains(&self, id: &str) -> bool {
        crate::steps::catalogue().any(|spec| spec.id == id && self.runs(spec, false))
    }
}

/// What `generalize` shall do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Machine SID; `None` when the user said nothing: random, and not again on a sealed image.
    pub sid: Option<SidChoice>,
    /// Computer name.
    pub computer_name: Option<String>,
    /// Content of the answer file.
    pub unattend: Option<Vec<u8>>,
    /// Steps.
    pub steps: StepSelection,
    /// Further rules, of the user.
    pub rules: Vec<crate::rules::RuleFile>,
    /// Have Windows check the volume at its next start.
    pub schedule_chkdsk: bool,
    /// Wipe what belongs to nothing.
    pub scrub: bool,
    /// Guards that the user allows.
    pub allow: Vec<String>,
    /// Notes count, too.
    pub strict: bool,
    /// Which installation, from 1; needed where there are several.
    pub installation: Option<usize>,
}

/// Ids that `--allow` takes.
pub const ALLOWABLE_GUARDS: &[&str] = &[
    "dirty-volume",
    "hibernated",
    "dirty-hive",
    "pending-servicing",
    "domain-controller",
    "domain-member",
    "entra-joined",
    "efs",
    "role",
    "snapshots",
    "upgraded-image",
];

impl Options {
    /// Whether a step runs; one that an option of its own asks for does whatever was selected.
    pub(crate) fn runs(&self, spec: &Spec, is_server: bool) -> bool {
        self.steps.runs(spec, is_server) || self.scrub && spec.id == crate::steps::SCRUB
    }

    /// Checks what can be checked without an image. `Usage` for an unknown guard or an illegal computer name.
    pub fn check(&self) -> Result<()> {
        for id in &self.allow {
            if !ALLOWABLE_GUARDS.contains(&id.as_str()) {
                let hint = format!("guards that can be allowed: {}", ALLOWABLE_GUARDS.join(", "));
                return Err(
                    Error::new(Kind::Usage, format!("the guard `{id}` does not exist or cannot be allowed")).hint(hint)
                );
            }
        }
        self.computer_name.as_deref().map_or(Ok(()), check_computer_name)
    }
}

/// NetBIOS rules for computer names ([MS-NBTE] and Setup's own): 1 to 15 letters, digits and hyphens, not digits only.
fn check_computer_name(name: &str) -> Result<()> {
    let bad = |why: &str| Err(Error::new(Kind::Usage, format!("`{name}` is no computer name: {why}")));
    if name.is_empty() || name.len() > 15 {
        return bad("1 to 15 characters are needed");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return bad("letters A to Z, digits and hyphens only");
    }
    if name.bytes().all(|b| b.is_ascii_digit()) {
        return bad("it must not consist of digits only");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return bad("it must not begin or end with a hyphen");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_grammar() {
        let only = StepSelection::parse("machine-sid").unwrap();
        assert!(only.contains("machine-sid") && !only.contains("event-logs"));
        let but = StepSelection::parse("default,-event-logs").unwrap();
        assert!(but.contains("machine-sid") && !but.contains("event-logs"));
        assert_eq!(StepSelection::parse("-event-logs").unwrap(), but);
        assert_eq!(StepSelection::parse("nonsense").unwrap_err().kind(), Kind::Usage);
        assert_eq!(StepSelection::parse("-all").unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn computer_names() {
        for good in ["WEB-01", "a", "X23456789012345"] {
            check_computer_name(good).unwrap();
        }
        for bad in ["", "X234567890123456", "12345", "-a", "a-", "a b", "ä"] {
            assert_eq!(check_computer_name(bad).unwrap_err().kind(), Kind::Usage, "{bad}");
        }
    }
}
