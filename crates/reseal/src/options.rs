//! What a user asks for.

use crate::error::{Error, Kind, Result};
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

/// Which steps run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepSelection(Vec<&'static str>);

impl Default for StepSelection {
    fn default() -> StepSelection {
        StepSelection(crate::steps::STEPS.iter().map(|step| step.spec().id).collect())
    }
}

impl StepSelection {
    /// Reads `default,-event-logs` or `machine-sid,setup-state`: names add, `-` removes, `default` and `all` are all steps.
    /// `Usage` for an unknown name.
    pub fn parse(text: &str) -> Result<StepSelection> {
        let all = StepSelection::default().0;
        let mut chosen: Vec<&'static str> = Vec::new();
        for (i, word) in text.split(',').map(str::trim).filter(|w| !w.is_empty()).enumerate() {
            let (remove, name) = match word.strip_prefix('-') {
                Some(name) => (true, name),
                None => (false, word.strip_prefix('+').unwrap_or(word)),
            };
            // `-event-logs` alone means: all but that.
            if i == 0 && (remove || word.starts_with('+')) {
                chosen.clone_from(&all);
            }
            if matches!(name, "default" | "all") {
                chosen = if remove { Vec::new() } else { all.clone() };
                continue;
            }
            let id = all.iter().find(|id| **id == name).copied().ok_or_else(|| {
                Error::new(Kind::Usage, format!("there is no step `{name}`"))
                    .hint(format!("the steps are: {}", all.join(", ")))
            })?;
            chosen.retain(|have| *have != id);
            if !remove {
                chosen.push(id);
            }
        }
        if chosen.is_empty() {
            return Err(Error::new(Kind::Usage, format!("`{text}` selects no step"))
                .hint(format!("the steps are: {}", all.join(", "))));
        }
        Ok(StepSelection(chosen))
    }

    /// Whether a step runs.
    pub fn contains(&self, id: &str) -> bool {
        self.0.contains(&id)
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
    /// Have Windows check the volume at its next start.
    pub schedule_chkdsk: bool,
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
