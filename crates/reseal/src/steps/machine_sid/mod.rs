//! The machine SID, everywhere.

mod files;
mod request;
mod system_volume;

use super::{Evidence, Spec, Step, task_cache};
use crate::error::{Error, Kind, Result, Within};
use crate::hives::{HiveFile, HiveSet};
use crate::inputs::Stream;
use crate::options::SidChoice;
use crate::scope::Scope;
use crate::session::Session;
use crate::tree::{DescriptorCounts, NodeId, TreeEdit};
use crate::{MachineHive, Target};
use rayon::prelude::*;
use reseal_dtyp::{DomainSid, FileTime, Level};
use reseal_hive::SidEdits;
use reseal_sid::SidMap;
use serde::Serialize;

/// Replaces the machine SID everywhere.
pub(super) struct MachineSid;

static SPEC: Spec = Spec {
    id: "machine-sid",
    title: "Replace the machine SID",
    about: "Replaces the SID in SAM\\Domains\\Account\\V with a new one wherever it stands: values, value names, key names and \
            descriptors of every hive, every security descriptor of the volume, names of files and folders, Windows.old; \
            the same on the system volume that holds the boot store of an MBR disk; \
            tasks with their checksums in TaskCache, group policy files, the Store's databases (SQLite). \
            Foreign S-1-5-21 SIDs stay, but that of a domain which --leave-domain leaves: one that nobody has stands in its \
            place. Cost follows the number of unique descriptors, not of files. Every copy of the \
            sealed image starts with the one new SID.",
    phase: "identity",
    mirrors: &["setupcl.exe", "spopk.dll!Sysprep_Generalize_Opk"],
    evidence: Evidence::Confirmed,
    unproven: "sign-in, Start menu and Store of kept users after the change; the cross-boot machine id of 24H2, 25H2 and Server \
               2025; which bytes of a task's file its checksums are of; StateRepository after its rows were edited",
    writes: &[
        Scope::SidsInHives,
        Scope::SidsInVolume,
        Scope::SidsInFiles,
        Scope::Key(MachineHive::Software, task_cache::TASKS_KEY),
        // The logs of its databases go when they are in them.
        Scope::File(r"ProgramData\Microsoft\Windows\AppRepository"),
        request::SCOPE,
    ],
    ..Spec::BASE
};

/// What became of the machine SID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SidOutcome {
    /// Before.
    pub old: String,
    /// After; the same when only the SID of a domain was replaced.
    pub new: String,
    /// The SID of the domain that was left, and the one that nobody has and stands in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_domain: Option<[String; 2]>,
    /// Every copy of the image starts with the new SID.
    pub shared_by_copies: bool,
    /// SIDs replaced in hives: binary, ASCII, UTF-16.
    pub in_hives: [usize; 3],
    /// Unique descriptors of the volume, and how many of them changed.
    pub descriptors: [usize; 2],
    /// Names of files and folders that changed.
    pub names: usize,
    /// SIDs replaced in the content of files, and in how many files.
    pub in_files: [usize; 2],
    /// Users whose DPAPI keys (saved passwords, certificates, EFS) become unreadable.
    pub users_losing_keys: Vec<String>,
}

impl Step for MachineSid {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let Some(old) = session.facts.machine_sid else {
            return Err(Error::new(Kind::NotFound, "the installation has no SAM hive: its machine SID is not known")
                .hint("an image whose accounts are made at first boot needs no new SID: use `--steps default,-machine-sid`"));
        };
        let (new, why_kept) = new_sid(session, old)?;
        let left_domain = left_domain(session)?;
        if new.is_none() && left_domain.is_none() {
            return Ok(why_kept);
        }
        let new = new.unwrap_or(old);
        let (mut outcome, map) = SidOutcome::of(old, new, left_domain)?;
        // Looked up before the folders are renamed.
        outcome.users_losing_keys = if new == old { Vec::new() } else { users_with_keys(session, old)? };
        everywhere(session, &map, &mut outcome)?;
        if new != old {
            request::withdraw(session)?;
        }
        for user in &outcome.users_losing_keys {
            let detail = "saved passwords, certificates with private keys and EFS files of this user become unreadable";
            session.find(Level::Note, "dpapi-keys-lost", user, detail);
        }
        *session.sid = Some(outcome);
        Ok(None)
    }
}

impl SidOutcome {
    /// Before anything was replaced, and what is to be.
    fn of(old: DomainSid, new: DomainSid, domain: Option<(DomainSid, DomainSid)>) -> Result<(SidOutcome, SidMap)> {
        let outcome = SidOutcome {
            old: old.to_string(),
            new: new.to_string(),
            left_domain: domain.map(|(old, new)| [old.to_string(), new.to_string()]),
            shared_by_copies: new != old,
            in_hives: [0; 3],
            descriptors: [0; 2],
            names: 0,
            in_files: [0; 2],
            users_losing_keys: Vec::new(),
        };
        let map = outcome.map()?;
        Ok((outcome, map))
    }

    /// What was replaced by what.
    pub(crate) fn map(&self) -> Result<SidMap> {
        let mut pairs: Vec<(DomainSid, DomainSid)> = Vec::new();
        let machine = [&self.old, &self.new];
        let domain = self.left_domain.as_ref().map(|[old, new]| [old, new]);
        for [old, new] in [Some(machine), domain].into_iter().flatten().filter(|[old, new]| old != new) {
            pairs.push((old.parse()?, new.parse()?));
        }
        Ok(SidMap::new(pairs)?)
    }
}

/// The new machine SID; or none, and why it is kept where that is worth telling.
fn new_sid(session: &mut Session<'_>, old: DomainSid) -> Result<(Option<DomainSid>, Option<String>)> {
    let choice = match session.options.sid {
        None if session.facts.setup.is_generalized() => {
            return Ok((None, Some("already sealed: the SID was drawn then".to_owned())));
        }
        None => SidChoice::Random,
        Some(choice) => choice,
    };
    match choice {
        SidChoice::Keep => {
            request::withdraw(session)?;
            Ok((None, Some(format!("kept: {old}"))))
        }
        SidChoice::Defer => {
            request::ask(session)?;
            Ok((None, Some(format!("left to Windows, which is asked to replace {old} at its first start"))))
        }
        SidChoice::Given(sid) if sid == old => Ok((None, Some(format!("it is {old} already")))),
        // A drawn SID is one of 2^96 and avoids the domains on the volume; one that was given may stand anywhere.
        SidChoice::Given(sid) => refuse_if_present(session, sid).map(|()| (Some(sid), None)),
        SidChoice::Random => Ok((Some(draw(session, old)), None)),
    }
}

/// The SID of the domain that the machine leaves, and one that nobody has: whoever gets the image shall not read where it was a
/// member, and who joins the domain again gets no rights that stood there for others.
fn left_domain(session: &Session<'_>) -> Result<Option<(DomainSid, DomainSid)>> {
    let Some(sid) = session.facts.domain_sid.as_ref().filter(|_| session.options.leave_domain) else { return Ok(None) };
    let domain = sid.parse::<DomainSid>()?;
    Ok(Some((domain, draw(session, domain))))
}

/// Replaces SIDs wherever they stand.
fn everywhere(session: &mut Session<'_>, map: &SidMap, outcome: &mut SidOutcome) -> Result<()> {
    let edited = files::rewrite(session, map)?;
    let checksums = task_cache::recompute(session, &edited.tasks)?;
    (outcome.in_hives, outcome.descriptors) = hives_and_descriptors(session, map)?;
    task_cache::write(session, checksums)?;
    outcome.names = rename(session, map)?;
    let beside = system_volume::rewrite(session, map)?;
    outcome.in_hives.iter_mut().zip(beside.in_hives).for_each(|(all, n)| *all += n);
    outcome.descriptors.iter_mut().zip(beside.descriptors).for_each(|(all, n)| *all += n);
    outcome.names += beside.names;
    outcome.in_files = [edited.sids, edited.files];
    Ok(())
}

/// Draws a SID. Preferred: as many decimal digits in each number as the old one (below six digits this is not imitated, it
/// would be guessable) and the same order among the other domains on the volume, so that texts keep their length and
/// indexes their order. After 1,000 draws any will do.
fn draw(session: &Session<'_>, old: DomainSid) -> DomainSid {
    // How each foreign domain is ordered against the old SID, as text and as bytes.
    let others: Vec<_> = session.survey.domains.iter().filter(|domain| **domain != old).collect();
    let order = |sid: DomainSid| {
        let (text, bytes) = (sid.to_string(), sid.pattern());
        others.iter().map(|o| (o.to_string().cmp(&text), o.pattern().cmp(&bytes))).collect::<Vec<_>>()
    };
    let order_of_old = order(old);
    let label = old.to_string();
    let mut stream: Stream = session.inputs.stream(&[b"machine-sid", label.as_bytes()]);
    let mut candidate = DomainSid([0; 3]);
    for _ in 0..1000 {
        candidate = DomainSid([stream.u32(), stream.u32(), stream.u32()]);
        let digits = |n: u32| n.to_string().len();
        let same_digits = old.0.iter().zip(candidate.0).all(|(a, b)| digits(b) == digits(*a).max(6));
        if same_digits && order(candidate) == order_of_old && !others.contains(&&candidate) {
            break;
        }
    }
    candidate
}

/// A new SID that stands anywhere already would merge two identities.
fn refuse_if_present(session: &Session<'_>, new: DomainSid) -> Result<()> {
    // A map needs a target; only its search for the "old" side is used.
    let probe = SidMap::new([(new, DomainSid([!new.0[0], !new.0[1], !new.0[2]]))])?;
    let in_hive = session.hives.files.par_iter().find_any(|file| !file.hive.residue(&probe).is_empty());
    let place = match in_hive {
        Some(file) => Some(file.path.clone()),
        None if let Some(place) = session.boot.holding(&probe)? => Some(place),
        None => {
            session.tree.descriptors()?.iter().any(|sd| probe.is_in(sd)).then(|| "a security descriptor".to_owned())
        }
    };
    match place {
        None => Ok(()),
        Some(place) => Err(Error::new(Kind::Conflict, format!("the new SID {new} stands already in {place}"))
            .hint("give another SID, or leave it to `--sid random`")),
    }
}

/// Both at once: they share nothing.
fn hives_and_descriptors(session: &mut Session<'_>, map: &SidMap) -> Result<([usize; 3], [usize; 2])> {
    session.allow(Scope::SidsInHives)?;
    session.allow(Scope::SidsInVolume)?;
    let (hives, tree, now) = (&mut *session.hives, &mut *session.tree, session.inputs.now());
    let (edits, counts) = rayon::join(|| rewrite_hives(hives, map, now), || tree.map_descriptors(map));
    let (in_stores, left) = session.boot.rewrite_sids(map, now)?;
    for name in left {
        let detail = "the old SID stands in a boot store on an NTFS volume that is not the system volume of this \
                      installation: it is only read";
        session.find(Level::Inconsistent, "boot-store-left", &name, detail);
    }
    let in_stores = in_stores.into_iter().map(|(name, edits, logs_only)| (name, Ok(edits), logs_only));
    let edits = edits?.into_iter().chain(in_stores).collect();
    Ok((record_hives(session, edits), record_descriptors(session, "volume", counts?)))
}

/// Path, what was replaced, whether only its logs have to go. In place of the second, why a hive is left.
type HiveEdits = (String, std::result::Result<SidEdits, String>, bool);

/// What was done in each hive.
fn rewrite_hives(hives: &mut HiveSet, map: &SidMap, now: FileTime) -> Result<Vec<HiveEdits>> {
    let one = |file: &mut HiveFile| {
        file.hive.set_clock(Some(now));
        let edits = match file.hive.rewrite_sids(map) {
            Ok(edits) => edits,
            Err(e) if file.may_be_left(map) => return Ok((file.path.clone(), Err(e.to_string()), false)),
            Err(e) => return Err(e).within(&file.path),
        };
        file.edited |= edits.any();
        let logs_only = file.touch_for_logs(map);
        Ok((file.path.clone(), Ok(edits), logs_only))
    };
    hives.files.par_iter_mut().map(one).collect()
}

fn record_hives(session: &mut Session<'_>, edits: Vec<HiveEdits>) -> [usize; 3] {
    let mut totals = [0; 3];
    for (path, edits, logs_only) in edits {
        let edits = match edits {
            Ok(edits) => edits,
            Err(why) => {
                session.findings.push(crate::hives::left(&path, &why));
                continue;
            }
        };
        if logs_only {
            let after = "logs emptied: they held it, or would bring it back".to_owned();
            session.record(Target::HiveSids { hive: path.clone() }, None, Some(after));
        }
        let hits = edits.replaced;
        for (total, n) in totals.iter_mut().zip([hits.binary, hits.ascii, hits.utf16]) {
            *total += n;
        }
        if edits.any() {
            let after = format!(
                "{} SIDs ({} descriptors, {} values, {} value names, {} keys renamed, {} erased in free space)",
                hits.total(),
                edits.descriptors,
                edits.values,
                edits.value_names,
                edits.key_names,
                edits.erased
            );
            session.record(Target::HiveSids { hive: path.clone() }, None, Some(after));
        }
        for place in &edits.left_places {
            let detail = format!("text of another length inside a value that is no text: left ({:?})", place.value);
            session.find(
                Level::Inconsistent,
                "sid-left",
                &format!("{path} {}", place.key.as_deref().unwrap_or_default()),
                detail,
            );
        }
    }
    totals
}

fn record_descriptors(session: &mut Session<'_>, place: &str, counts: DescriptorCounts) -> [usize; 2] {
    if counts.changed > 0 {
        let place = Target::Descriptors { place: place.to_owned() };
        let after = format!("{} SIDs in {} of {} unique descriptors", counts.sids, counts.changed, counts.unique);
        session.record(place, None, Some(after));
    }
    if counts.quota_reordered {
        let detail = "quotas are off; the entries of owners were put in the order of their new SIDs, by a rule that no \
                      published source confirms: look at the quotas before they are turned on";
        session.find(Level::Note, "quota-reordered", r"\$Extend\$Quota", detail);
    }
    [counts.unique, counts.changed]
}

fn rename(session: &mut Session<'_>, map: &SidMap) -> Result<usize> {
    let renamed = names(session.tree, &session.survey.named_after_sids, map, session.inputs.now())?;
    let count = renamed.iter().map(|(_, _, names)| names).sum();
    for (before, after, _) in renamed {
        session.record(Target::file(&before), Some(before), Some(after));
    }
    Ok(count)
}

type Renamed = (String, String, usize);

/// Gives files and folders that are named after an old SID the name with the new one: path before, path after, how
/// many of its names changed.
fn names(tree: &mut dyn TreeEdit, nodes: &[NodeId], map: &SidMap, now: FileTime) -> Result<Vec<Renamed>> {
    let mut renamed = Vec::new();
    for &node in nodes {
        // A step before this one may have removed it.
        let path = match tree.path(node) {
            Err(e) if e.kind() == reseal_dtyp::Kind::NotFound => continue,
            path => path?,
        };
        let count = tree.rename_sids(node, map, now).within(&path)?;
        // Of one that keeps its names they hold a foreign SID.
        if count > 0 {
            renamed.push((path, tree.path(node)?, count));
        }
    }
    Ok(renamed)
}

/// Users with a folder of DPAPI master keys that hang on the old SID.
fn users_with_keys(session: &Session<'_>, old: DomainSid) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let root = session.tree.root();
    for user in &session.facts.users {
        let sid = old.account(user.rid).to_string();
        let folder = session.facts.profiles.iter().find(|p| p.sid.eq_ignore_ascii_case(&sid)).map(|p| p.path.clone());
        let folder = folder.unwrap_or_else(|| format!(r"C:\Users\{}", user.name));
        let below = folder.split_once(':').map_or(folder.as_str(), |(_, rest)| rest);
        if session.tree.resolve(root, &format!(r"{below}\AppData\Roaming\Microsoft\Protect\{sid}"))?.is_some() {
            out.push(user.name.clone());
        }
    }
    Ok(out)
}
