//! What is looked at before anything is staged: one table of checks, each with what to run in Windows.
//!
//! A check that refuses is a guard: `generalize` ends with exit 3 unless `--allow` names it. The others warn or note. A check
//! that meets something that it does not understand says `unknown`; where it is a guard, that refuses too.

pub(crate) mod apps;
mod boot;
mod disk;
mod hives;
mod look;
mod membership;
pub(crate) mod profiles;
mod remote;
mod role_table;
mod roles;
mod secrets;
mod servicing;
mod setup_state;
mod table;
mod users;
mod volume;

pub(crate) use look::{Notices, Stop, Subject};
pub(crate) use roles::installed as installed_roles;
pub(crate) use setup_state::HALF_GENERALIZED_CHECK;

use crate::error::{Kind, Result};
use crate::options::Options;
use crate::steps::Evidence;
use reseal_dtyp::{Finding, Level};
use serde::Serialize;

/// One guard that refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Stable id, as `--allow` takes it.
    pub id: &'static str,
    /// Whether `--allow` can overrule it.
    pub allowable: bool,
    /// What is wrong.
    pub reason: String,
    /// Where.
    pub place: String,
    /// What to run, in Windows as a rule.
    pub hint: String,
    /// Whether the user allowed it.
    pub allowed: bool,
}

impl Refusal {
    pub(crate) fn new(id: &'static str, place: impl Into<String>, reason: impl Into<String>, hint: &str) -> Refusal {
        let allowable = crate::options::ALLOWABLE_GUARDS.contains(&id);
        Refusal { id, allowable, reason: reason.into(), place: place.into(), hint: hint.into(), allowed: false }
    }
}

/// What a check does when it finds something, from the lightest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Worth knowing; never counts.
    Note,
    /// A finding of the plan and the report; refuses under `--strict`.
    Warn,
    /// Exit 3, unless it is allowed.
    Refuse,
}

impl Weight {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Weight::Note => "note",
            Weight::Warn => "warn",
            Weight::Refuse => "refuse",
        }
    }
}

/// One check of the table. The documentation, `inspect --check` and `generalize` read the same one.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Stable id.
    pub id: &'static str,
    /// One line: what is looked for.
    pub title: &'static str,
    /// What it belongs to.
    pub group: &'static str,
    /// The most that it does.
    pub weight: Weight,
    /// For a check that refuses: the guard, as `--allow` takes it.
    pub guard: Option<&'static str>,
    /// What in Sysprep, or in Microsoft's documentation of it, it answers.
    pub answers: &'static str,
    /// What it rests on.
    pub evidence: Evidence,
    /// What to run or to do.
    pub remedy: &'static str,
    /// Who looks.
    #[serde(skip)]
    pub(crate) look: Look,
}

/// Who looks.
#[derive(Debug)]
pub(crate) enum Look {
    /// Code.
    With(fn(&Subject<'_>, &mut Notices) -> std::result::Result<(), Stop>),
    /// Signs of an installed role.
    Role(&'static roles::Signs),
}

/// What a check saw in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// What it does here: at most the check's own weight.
    pub weight: Weight,
    /// Two things in the image disagree; the finding then is one even where notes do not count.
    pub inconsistent: bool,
    /// Where.
    pub place: String,
    /// What.
    pub detail: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing was found.
    Ok,
    /// Something worth knowing.
    Note,
    /// A finding.
    Warn,
    /// It refuses.
    Refuse,
    /// It cannot be told, and why is said.
    Unknown,
}

impl Outcome {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Note => "note",
            Outcome::Warn => "warn",
            Outcome::Refuse => "refuse",
            Outcome::Unknown => "unknown",
        }
    }
}

/// A check with its result.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The check.
    #[serde(flatten)]
    pub check: &'static Check,
    /// The result.
    pub outcome: Outcome,
    /// Whether `generalize` refuses for it: what it found, or what it could not tell as a guard.
    pub refuses: bool,
    /// What it saw.
    pub notices: Vec<Notice>,
    /// Why it cannot be told, or not in full.
    pub unknown: Option<String>,
    /// What it reads is there and is not understood; what is merely absent is no finding.
    #[serde(skip)]
    doubtful: bool,
}

/// Every check there is, in the order in which they run.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    table::TABLE.iter().flat_map(|group| group.iter())
}

/// Runs every check. An error is the host's (a read that fails); whatever the image holds is a result.
pub(crate) fn run(subject: &Subject<'_>) -> Result<Vec<Checked>> {
    checks().map(|check| run_one(check, subject)).collect()
}

/// [`run`] for who is about to write: `Refused`, with all refusals, when one of them is not allowed.
pub(crate) fn preflight(subject: &Subject<'_>, options: &Options) -> Result<(Vec<Checked>, Vec<Refusal>)> {
    let checked = run(subject)?;
    let refusals: Vec<Refusal> = checked.iter().flat_map(|c| c.refusals(options)).collect();
    if refusals.iter().any(|r| !r.allowed) { Err(crate::Error::refused(refusals)) } else { Ok((checked, refusals)) }
}

fn run_one(check: &'static Check, subject: &Subject<'_>) -> Result<Checked> {
    let mut notices = Notices::of(check.weight);
    let looked = match &check.look {
        Look::With(look) => look(subject, &mut notices),
        Look::Role(signs) => signs.look(check.title, subject, &mut notices),
    };
    let (unknown, doubtful) = match looked {
        Ok(()) => (None, false),
        Err(Stop::Absent(why)) => (Some(why), false),
        Err(Stop::Unknown(why)) => (Some(why), true),
        Err(Stop::Failed(error)) if error.kind() == Kind::Io => return Err(error),
        Err(Stop::Failed(error)) => {
            let place: Vec<String> = error.subjects().iter().map(|s| format!("{s}: ")).collect();
            (Some(place.concat() + &error.to_string()), true)
        }
    };
    let mut notices = notices.list;
    notices.sort_by(|a, b| (b.weight, &a.place, &a.detail).cmp(&(a.weight, &b.place, &b.detail)));
    let worst = notices.iter().map(|n| n.weight).max();
    let outcome = match (worst, &unknown) {
        (Some(Weight::Refuse), _) => Outcome::Refuse,
        (_, Some(_)) => Outcome::Unknown,
        (Some(Weight::Warn), None) => Outcome::Warn,
        (Some(Weight::Note), None) => Outcome::Note,
        (None, None) => Outcome::Ok,
    };
    let refuses = worst == Some(Weight::Refuse) || (doubtful && check.guard.is_some());
    Ok(Checked { check, outcome, refuses, notices, unknown, doubtful })
}

impl Checked {
    /// The refusals that come of it, one per place.
    pub(crate) fn refusals(&self, options: &Options) -> Vec<Refusal> {
        let Some(guard) = self.check.guard.filter(|_| self.refuses) else { return Vec::new() };
        let found = self.notices.iter().filter(|n| n.weight == Weight::Refuse);
        let found = found.map(|n| Refusal::new(guard, &n.place, &n.detail, self.check.remedy));
        let doubt = self.unknown.iter().map(|why| {
            Refusal::new(guard, self.check.group, format!("{} cannot be told: {why}", self.check.id), self.check.remedy)
        });
        let allow = |mut refusal: Refusal| {
            refusal.allowed =
                (refusal.allowable && options.allow.iter().any(|id| id == refusal.id)) || options.solves(self.check.id);
            refusal
        };
        found.chain(doubt).map(allow).collect()
    }

    /// The findings that come of it: warnings, and what could not be told of a check that is no guard. None of what the user
    /// has asked to solve.
    pub(crate) fn findings(&self, options: &Options) -> Vec<Finding> {
        if options.solves(self.check.id) {
            return Vec::new();
        }
        let level = |inconsistent| if inconsistent { Level::Inconsistent } else { Level::Note };
        let warned = self.notices.iter().filter(|n| n.weight == Weight::Warn);
        let warned = warned.map(|n| Finding::new(level(n.inconsistent), self.check.id, &n.place, &n.detail));
        let unknown = self.unknown.iter().filter(|_| self.doubtful && !self.refuses);
        let unknown = unknown
            .map(|why| Finding::new(Level::Note, self.check.id, self.check.group, format!("it cannot be told: {why}")));
        warned.chain(unknown).collect()
    }

    /// What is worth knowing and never counts, as lines; nothing of what the user has asked to solve.
    pub(crate) fn notes(&self, options: &Options) -> impl Iterator<Item = String> {
        let is_solved = options.solves(self.check.id);
        let notes = self.notices.iter().filter(move |n| n.weight == Weight::Note && !is_solved);
        notes.map(|n| format!("{}: {}: {}", self.check.id, n.place, n.detail))
    }
}
