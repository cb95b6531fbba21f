//! What a user asks for.

use crate::error::{Error, Kind, Result};
use crate::steps::{Spec, Use};
use crate::unattend::{self, LintFor};
use reseal_dtyp::DomainSid;
use reseal_wim::Storage as WimStorage;

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
    /// The old one stays, and Windows is asked to replace it at its first start. Experimental.
    Defer,
}

/// To where a sealed image starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BootTo {
    /// Specialize, then the out-of-box experience.
    #[default]
    Oobe,
    /// Audit mode, by way of the answer file.
    Audit,
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

    /// Whether the user named the step.
    fn names(&self, id: &str) -> bool {
        self.added.contains(&id)
    }
}

/// What `generalize` shall do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// To where the image starts.
    pub boot_to: BootTo,
    /// Only set the image to start there; what belongs to the machine stays, and specialize does not come again.
    pub no_generalize: bool,
    /// The copies run on virtual machines of one kind: what the image's recipe excludes for these is left.
    pub vm_mode: bool,
    /// Seal an image in which Sysprep began to generalize and did not end.
    pub repair: bool,
    /// A sealed image of the same build, whose setup state is taken over.
    pub reference: Option<crate::Reference>,
    /// Machine SID; `None` when the user said nothing: random, and not again on a sealed image.
    pub sid: Option<SidChoice>,
    /// Computer name.
    pub computer_name: Option<String>,
    /// Content of the answer file.
    pub unattend: Option<Vec<u8>>,
    /// Leave the domain, which otherwise refuses.
    pub leave_domain: bool,
    /// The workgroup to be in afterwards; `WORKGROUP` for a machine that leaves a domain when not given.
    pub workgroup: Option<String>,
    /// Leave Entra ID, which otherwise refuses, and device management.
    pub leave_entra: bool,
    /// Local users to remove, by name.
    pub remove_users: Vec<String>,
    /// Local users to keep: where any is named, all other enabled users who are not built in go.
    pub keep_users: Vec<String>,
    /// Remove Store packages that only a user has.
    pub remove_user_appx: bool,
    /// Take the password of the built-in Administrator away.
    pub blank_administrator: bool,
    /// Steps.
    pub steps: StepSelection,
    /// Further rules, of the user.
    pub rules: Vec<crate::rules::RuleFile>,
    /// Have Windows check the volume at its next start.
    pub schedule_chkdsk: bool,
    /// Remove the shadow copies of the volume and restore points, which otherwise refuse.
    pub drop_snapshots: bool,
    /// Wipe what belongs to nothing.
    pub scrub: bool,
    /// Guards that the user allows.
    pub allow: Vec<String>,
    /// Notes count, too.
    pub strict: bool,
    /// Remove the machine's private keys, its certificates and what protects them, as one unit.
    pub drop_machine_secrets: bool,
    /// Forget devices that another machine will not have.
    pub drop_devices: bool,
    /// Have each copy rearm its licensing at the first start.
    pub rearm: bool,
    /// Give the boot store devices that name no partition. Experimental.
    pub generalize_boot: bool,
    /// How new contents and metadata of a WIM are stored.
    pub wim_storage: WimStorage,
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
        self.check_together()?;
        if let Some(bytes) = &self.unattend {
            unattend::refuse_errors(&unattend::lint_answer_file(bytes, LintFor::default())?)?;
        }
        for id in &self.allow {
            if !ALLOWABLE_GUARDS.contains(&id.as_str()) {
                let hint = format!("guards that can be allowed: {}", ALLOWABLE_GUARDS.join(", "));
                return Err(
                    Error::new(Kind::Usage, format!("the guard `{id}` does not exist or cannot be allowed")).hint(hint)
                );
            }
        }
        if let Some(name) = self.computer_name.as_deref()
            && let Some(why) = computer_name_fault(name)
        {
            return Err(Error::new(Kind::Usage, format!("`{name}` is no computer name: {why}")));
        }
        if let Some(name) = self.workgroup.as_deref()
            && let Some(why) = workgroup_fault(name)
        {
            return Err(Error::new(Kind::Usage, format!("`{name}` is no name of a workgroup: {why}")));
        }
        Ok(())
    }
}

impl Options {
    /// What does not go together.
    fn check_together(&self) -> Result<()> {
        let usage = |detail: &str, hint: &str| Err(Error::new(Kind::Usage, detail).hint(hint));
        if self.vm_mode && (self.no_generalize || self.boot_to == BootTo::Audit) {
            return usage(
                "--mode vm goes only with generalizing to OOBE, as Sysprep's /mode:vm does",
                "leave --audit and --no-generalize away, or --mode vm",
            );
        }
        if self.no_generalize && self.reference.is_some() {
            return usage(
                "--reference gives the state of a generalized image, --no-generalize asks for another",
                "leave one of them away",
            );
        }
        if self.no_generalize && self.repair {
            return usage(
                "--repair generalizes what Sysprep has left half-way, --no-generalize does not",
                "leave one of them away",
            );
        }
        if self.workgroup.is_some() && !self.leave_domain {
            return usage("--workgroup says where a machine is that has left its domain", "give --leave-domain, too");
        }
        Ok(())
    }

    /// Whether the user has asked for what a check warns of or refuses, so that it is solved.
    pub(crate) fn solves(&self, check: &str) -> bool {
        match check {
            crate::guards::HALF_GENERALIZED_CHECK => self.repair,
            "domain-member" | "machine-account" => self.leave_domain,
            "entra-joined" | "mdm-enrolled" => self.leave_entra,
            "snapshots" => self.drop_snapshots,
            "store-apps" => self.remove_user_appx,
            "activation" => self.rearm,
            "recovery-partition" => self.steps.names("recovery-environment"),
            // Without a new SID nobody loses anything.
            "user-secrets" => self.sid == Some(SidChoice::Keep) || !self.runs_by_id("machine-sid"),
            _ => false,
        }
    }

    /// Whether a step has an option of its own that was given: it runs, whatever was selected.
    fn wants(&self, id: &str) -> bool {
        match id {
            crate::steps::SCRUB => self.scrub,
            crate::steps::LEAVE_DOMAIN => self.leave_domain,
            crate::steps::LEAVE_ENTRA => self.leave_entra,
            crate::steps::REMOVE_USERS => !(self.remove_users.is_empty() && self.keep_users.is_empty()),
            crate::steps::REMOVE_USER_APPX => self.remove_user_appx,
            crate::steps::BLANK_ADMINISTRATOR => self.blank_administrator,
            crate::steps::MACHINE_SECRETS => self.drop_machine_secrets,
            crate::steps::DEVICES => self.drop_devices,
            crate::steps::ACTIVATION => self.rearm,
            crate::steps::SHADOW_COPIES => self.drop_snapshots,
            crate::steps::BOOT_STORE => self.generalize_boot,
            _ => false,
        }
    }

    /// Whether a step runs, on a server or on a client.
    pub fn runs(&self, spec: &Spec, is_server: bool) -> bool {
        let asked_for = self.steps.names(spec.id)
            || match spec.id {
                "machine-sid" => self.sid.is_some_and(|sid| sid != SidChoice::Keep),
                "computer-name" => self.computer_name.is_some(),
                _ => false,
            };
        let selected =
            self.steps.runs(spec, is_server) && (!self.no_generalize || spec.phase == "handoff" || asked_for);
        selected || self.wants(spec.id)
    }

    /// Whether a step runs ([`Options::runs`]) that runs on both by default.
    pub(crate) fn runs_by_id(&self, id: &str) -> bool {
        crate::steps::catalogue().any(|spec| spec.id == id && self.runs(spec, false))
    }
}

/// Why a text is no computer name: the NetBIOS rules ([MS-NBTE]) and Setup's own ask for 1 to 15 letters, digits and
/// hyphens, not digits only.
pub(crate) fn computer_name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > 15 {
        Some("1 to 15 characters are needed")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        Some("letters A to Z, digits and hyphens only")
    } else if name.bytes().all(|b| b.is_ascii_digit()) {
        Some("it must not consist of digits only")
    } else if name.starts_with('-') || name.ends_with('-') {
        Some("it must not begin or end with a hyphen")
    } else {
        None
    }
}

/// Why a text is no name of a workgroup: a NetBIOS name of 1 to 15 characters, without those that Windows forbids in names of
/// computers and domains.
fn workgroup_fault(name: &str) -> Option<&'static str> {
    let forbidden = |c: char| c.is_control() || "\"/\\[]:;|=,+*?<>".contains(c);
    if name.trim().is_empty() || name.encode_utf16().count() > 15 {
        Some("1 to 15 characters are needed")
    } else if name.contains(forbidden) {
        Some("none of \" / \\ [ ] : ; | = , + * ? < > may be in it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_grammar() {
        let runs = |steps: &StepSelection, id| crate::catalogue().any(|spec| spec.id == id && steps.runs(spec, false));
        let only = StepSelection::parse("machine-sid").unwrap();
        assert!(runs(&only, "machine-sid") && !runs(&only, "event-logs"));
        let but = StepSelection::parse("default,-event-logs").unwrap();
        assert!(runs(&but, "machine-sid") && !runs(&but, "event-logs"));
        assert_eq!(StepSelection::parse("-event-logs").unwrap(), but);
        assert_eq!(StepSelection::parse("nonsense").unwrap_err().kind(), Kind::Usage);
        assert_eq!(StepSelection::parse("-all").unwrap_err().kind(), Kind::Usage);
    }

    #[test]
    fn without_generalizing_only_the_handoff_runs() {
        let runs = |options: &Options| {
            let ids = crate::catalogue().filter(|spec| options.runs(spec, false)).map(|spec| spec.id);
            ids.collect::<Vec<_>>()
        };
        let mut options = Options { no_generalize: true, ..Options::default() };
        assert_eq!(runs(&options), ["answer-file", "setup-state", "schedule-chkdsk", "scrub"]);
        options.sid = Some(SidChoice::Random);
        options.computer_name = Some("A".to_owned());
        options.steps = StepSelection::parse("default,event-logs,-schedule-chkdsk").unwrap();
        let want = ["machine-sid", "computer-name", "event-logs", "answer-file", "setup-state", "scrub"];
        assert_eq!(runs(&options), want);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let bad = [
            Options { vm_mode: true, no_generalize: true, ..Options::default() },
            Options { vm_mode: true, boot_to: BootTo::Audit, ..Options::default() },
            Options { repair: true, no_generalize: true, ..Options::default() },
            Options { workgroup: Some("LAB".to_owned()), ..Options::default() },
        ];
        assert!(bad.iter().all(|options| options.check().is_err_and(|e| e.kind() == Kind::Usage)));
        Options { no_generalize: true, boot_to: BootTo::Audit, ..Options::default() }.check().unwrap();
    }

    #[test]
    fn computer_names() {
        for good in ["WEB-01", "a", "X23456789012345"] {
            assert_eq!(computer_name_fault(good), None, "{good}");
        }
        for bad in ["", "X234567890123456", "12345", "-a", "a-", "a b", "ä"] {
            assert!(computer_name_fault(bad).is_some(), "{bad}");
        }
        assert!(["LAB", "Fifteen letters", "ä"].iter().all(|good| workgroup_fault(good).is_none()));
        assert!(["", " ", "Sixteen letters!", "A/B", "A\\B"].iter().all(|bad| workgroup_fault(bad).is_some()));
    }
}
