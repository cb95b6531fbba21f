//! The hives of an installation: found, loaded with their logs in parallel, and put back.

use crate::error::{Kind, Result, Within};
use crate::scope::MachineHive;
use crate::tree::{NodeId, Tree, TreeEdit, TreeEntry};
use rayon::prelude::*;
use reseal_dtyp::{DomainSid, FileTime, Finding, Level};
use reseal_hive::{Hive, LoadState, Recover};
use reseal_sid::SidMap;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Log suffixes of a hive: the old single log and the two of Windows Vista and later.
pub(crate) const LOG_SUFFIXES: [&str; 3] = [".LOG", ".LOG1", ".LOG2"];

/// A hive file with its logs.
#[derive(Debug)]
pub(crate) struct HiveFile {
    /// Path from the volume's root.
    pub(crate) path: String,
    pub(crate) node: NodeId,
    pub(crate) machine: Option<MachineHive>,
    /// Of an app: Windows works without it.
    is_app: bool,
    pub(crate) hive: Hive,
    logs: Vec<(NodeId, Vec<u8>)>,
    /// A step changed it: it is written back and its logs are emptied.
    pub(crate) edited: bool,
}

impl HiveFile {
    /// Whether its logs hold anything.
    fn has_log_data(&self) -> bool {
        self.logs.iter().any(|(_, bytes)| bytes.iter().any(|b| *b != 0))
    }

    /// The logs' bytes, for a search.
    pub(crate) fn log_bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.logs.iter().map(|(_, bytes)| bytes.as_slice())
    }

    /// Whether it may stay as it is: Windows works without it, and neither it nor its logs hold one of the SIDs.
    pub(crate) fn may_be_left(&self, map: &SidMap) -> bool {
        self.is_app && !map.is_in(&self.hive.to_bytes()) && !self.log_bytes().any(|log| map.is_in(log))
    }

    /// Whether its content is the primary's with the logs' pages over it.
    pub(crate) fn is_replayed(&self) -> bool {
        matches!(self.hive.state(), LoadState::Replayed { .. })
    }
}

/// A hive that was not shut down cleanly and whose logs do not cover it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirtyHive {
    pub(crate) path: String,
    pub(crate) why: String,
}

/// Every hive of an installation.
#[derive(Debug, Default)]
pub(crate) struct HiveSet {
    pub(crate) files: Vec<HiveFile>,
    pub(crate) dirty: Vec<DirtyHive>,
    pub(crate) findings: Vec<Finding>,
}

/// One of the hives of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HiveAt(usize);

/// What names a hive: its place in the set, or its role.
pub(crate) trait Which: Copy {
    /// Its place; `None` when the installation has none.
    fn find(self, set: &HiveSet) -> Option<HiveAt>;
    /// Its name for messages.
    fn name(self, set: &HiveSet) -> String;
}

impl Which for HiveAt {
    fn find(self, _: &HiveSet) -> Option<HiveAt> {
        Some(self)
    }

    fn name(self, set: &HiveSet) -> String {
        set.at(self).path.clone()
    }
}

impl Which for MachineHive {
    fn find(self, set: &HiveSet) -> Option<HiveAt> {
        set.position(self)
    }

    fn name(self, _: &HiveSet) -> String {
        self.file_name().to_owned()
    }
}

/// A file that may be a hive.
struct Candidate {
    path: String,
    node: NodeId,
    folder: NodeId,
    name: Vec<u16>,
    machine: Option<MachineHive>,
    /// Of an app: Windows works without it.
    is_app: bool,
}

impl HiveSet {
    /// Loads all hives below `root` (the volume's root or `Windows.old`). A machine hive that cannot be read is an error;
    /// another one is a finding, and stays as it is.
    pub(crate) fn load(tree: &dyn Tree, roots: &[(NodeId, String)]) -> Result<HiveSet> {
        let mut candidates = Vec::new();
        for (i, (root, prefix)) in roots.iter().enumerate() {
            find_candidates(tree, *root, prefix, i == 0, &mut candidates)?;
        }
        HiveSet::load_candidates(tree, candidates)
    }

    /// Loads those of the machine's hives that are wanted, for facts that stand in them.
    pub(crate) fn load_machine(tree: &dyn Tree, wanted: &[MachineHive]) -> Result<HiveSet> {
        let mut candidates = Vec::new();
        find_candidates(tree, tree.root(), "", true, &mut candidates)?;
        candidates.retain(|one| one.machine.is_some_and(|machine| wanted.contains(&machine)));
        HiveSet::load_candidates(tree, candidates)
    }

    fn load_candidates(tree: &dyn Tree, candidates: Vec<Candidate>) -> Result<HiveSet> {
        let loaded: Vec<_> = candidates.into_par_iter().map(|c| (c.path.clone(), c.machine, load(tree, c))).collect();
        let mut set = HiveSet::default();
        for (path, machine, result) in loaded {
            match result {
                Ok(None) => {}
                Ok(Some((file, dirty))) => {
                    set.dirty.extend(dirty.map(|why| DirtyHive { path, why }));
                    set.files.push(file);
                }
                Err(e) if machine.is_some() => return Err(e),
                Err(e) => set.findings.push(Finding::new(Level::Damage, "hive-unreadable", path, e.to_string())),
            }
        }
        set.files.sort_by_key(|file| file.node);
        set.leave_dirty_apps();
        Ok(set)
    }

    /// A dirty hive of an app refuses nothing, as long as nothing in it has to change.
    fn leave_dirty_apps(&mut self) {
        let machine = self.machine(MachineHive::Sam).and_then(|file| crate::sam::machine_sid(&file.hive).ok());
        // A map needs a target; only its search for the "old" side is used.
        let search = machine.and_then(|sid| SidMap::new([(sid, DomainSid(sid.0.map(|n| !n)))]).ok());
        let Some(search) = search else { return };
        let HiveSet { files, dirty, findings } = self;
        dirty.retain(|hive| {
            let may = |file: &HiveFile| file.path == hive.path && file.may_be_left(&search);
            let Some(at) = files.iter().position(may) else { return true };
            files.remove(at);
            findings.push(left(&hive.path, &hive.why));
            false
        });
    }

    pub(crate) fn machine(&self, which: MachineHive) -> Option<&HiveFile> {
        self.files.iter().find(|file| file.machine == Some(which))
    }

    /// Where the hive of the machine stands.
    pub(crate) fn position(&self, which: MachineHive) -> Option<HiveAt> {
        self.files.iter().position(|file| file.machine == Some(which)).map(HiveAt)
    }

    /// The hives whose path, in small letters, is wanted.
    pub(crate) fn where_path(&self, wanted: impl Fn(&str) -> bool) -> Vec<HiveAt> {
        let fits = |file: &HiveFile| wanted(&file.path.to_ascii_lowercase());
        self.files.iter().enumerate().filter(|(_, file)| fits(file)).map(|(i, _)| HiveAt(i)).collect()
    }

    pub(crate) fn at(&self, at: HiveAt) -> &HiveFile {
        &self.files[at.0]
    }

    pub(crate) fn at_mut(&mut self, at: HiveAt) -> &mut HiveFile {
        &mut self.files[at.0]
    }

    /// A file or folder is gone, and the hives in it with it.
    pub(crate) fn forget_below(&mut self, path: &str) {
        let gone = path.trim_start_matches('\\').to_ascii_lowercase();
        self.files.retain(|file| {
            let own = file.path.trim_start_matches('\\').to_ascii_lowercase();
            !own.strip_prefix(&gone).is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
        });
    }

    /// Puts edited hives back, one by one in file-reference order, and empties their logs. Returns how many.
    pub(crate) fn store(&self, tree: &mut dyn TreeEdit, now: FileTime) -> Result<usize> {
        let mut stored = 0;
        for file in self.files.iter().filter(|file| file.edited) {
            file.store(tree, now).within(&file.path)?;
            for (node, log) in file.logs.iter().filter(|(_, log)| log.iter().any(|b| *b != 0)) {
                tree.replace(*node, &vec![0; log.len()], now).within(&file.path)?;
            }
            stored += 1;
        }
        Ok(stored)
    }

    /// Reads every written hive again, in another view of the tree: what was changed must read back, and the hive must be
    /// one that loads without logs.
    pub(crate) fn read_back(&self, tree: &dyn Tree) -> Result<()> {
        self.files.par_iter().filter(|file| file.edited).try_for_each(|file| match file.reads_back(tree) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let hint = "this is a defect of reseal; nothing was written";
                Err(crate::Error::new(Kind::Internal, "the hive reads back differently")
                    .subject(file.path.clone())
                    .hint(hint))
            }
            Err(e) => Err(e).within(&file.path),
        })
    }

    /// Checks every edited hive before it is put back: nothing is worse than it was, and nothing is damaged. What other tools
    /// left inconsistent without loss (free cells side by side, a leaked cell) is returned as findings, one per rule.
    pub(crate) fn self_check(&self, tree: &dyn Tree) -> Result<Vec<Finding>> {
        let edited: Vec<&HiveFile> = self.files.iter().filter(|file| file.edited).collect();
        let found = edited.par_iter().map(|file| file.self_check(tree)).collect::<Result<Vec<_>>>()?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// A hive of an app that stays as it is.
pub(crate) fn left(path: &str, why: &str) -> Finding {
    let detail = format!("left as it is, the old SID does not stand in it: {why}");
    Finding::new(Level::Note, "hive-left", path, detail)
}

/// How often each rule is broken.
fn by_rule(findings: &[Finding]) -> BTreeMap<(Level, &'static str), usize> {
    let mut out = BTreeMap::new();
    for finding in findings.iter().filter(|f| f.level > Level::Note) {
        *out.entry((finding.level, finding.id)).or_default() += 1;
    }
    out
}

impl HiveFile {
    /// Only pages that differ are written, where the file allows it.
    fn store(&self, tree: &mut dyn TreeEdit, now: FileTime) -> reseal_dtyp::Result<()> {
        if let Some(pages) = self.hive.changed_pages() {
            let pages: Vec<(u64, Cow<'_, [u8]>)> = pages.collect();
            let pieces: Vec<(u64, &[u8])> = pages.iter().map(|(at, bytes)| (*at, bytes.as_ref())).collect();
            if tree.overwrite(self.node, &pieces, now)? {
                return Ok(());
            }
        }
        tree.replace_with(self.node, self.hive.to_bytes(), now)
    }

    fn reads_back(&self, tree: &dyn Tree) -> reseal_dtyp::Result<bool> {
        let Some(pages) = self.hive.changed_pages() else {
            return Ok(tree.read(self.node)? == self.hive.to_bytes());
        };
        let mut back = [0; 4096];
        for (at, page) in pages {
            let n = tree.read_at(self.node, at, &mut back[..page.len()])?;
            if back[..n] != *page {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What edits touched is checked; only when something is wrong there, the whole hive is, before and after.
    fn self_check(&self, tree: &dyn Tree) -> Result<Vec<Finding>> {
        if by_rule(&self.hive.check_edits()).is_empty() {
            return Ok(Vec::new());
        }
        let after = self.hive.check();
        let rules = by_rule(&after);
        let before = by_rule(&self.original(tree)?.check());
        let worse = |rule: &(Level, &'static str)| rules[rule] > before.get(rule).copied().unwrap_or(0);
        let refused = |finding: &&Finding| finding.level == Level::Damage || worse(&(finding.level, finding.id));
        if let Some(first) = after.iter().filter(|f| f.level > Level::Note).find(refused) {
            let known = before.contains_key(&(first.level, first.id));
            let hint = if known {
                "the hive was damaged before: boot the image once, or restore the hive"
            } else {
                "this is a defect of reseal"
            };
            return Err(crate::Error::new(Kind::Damaged, format!("the hive does not pass its check: {first}"))
                .subject(self.path.clone())
                .hint(format!("{hint}; nothing was written; `reseal hive check` lists all findings")));
        }
        let finding = |((level, id), count): (&(Level, &'static str), &usize)| {
            Finding::new(
                *level,
                id,
                &self.path,
                format!("{count} times, and so before: left by another tool, nothing is lost"),
            )
        };
        Ok(rules.iter().map(finding).collect())
    }

    /// The hive as it was, read again: edits live in memory until they are stored.
    fn original(&self, tree: &dyn Tree) -> Result<Hive> {
        let logs: Vec<&[u8]> = self.log_bytes().collect();
        open(tree, self.node, &logs).within(&self.path)
    }
}

/// A hive with its logs replayed, or as it stands where they do not help.
fn open(tree: &dyn Tree, node: NodeId, logs: &[&[u8]]) -> reseal_dtyp::Result<Hive> {
    let read = |bytes: &mut [u8]| tree.read_at(node, 0, bytes).map(drop);
    Hive::open_with(tree.size_at_once(node)?, read, logs, Recover::AsIs)
}

fn units(text: &str) -> Vec<u16> {
    text.encode_utf16().collect()
}

/// A folder with its path for people. Every path is followed once: what lies below starts from here.
struct Place<'t> {
    tree: &'t dyn Tree,
    node: NodeId,
    path: String,
}

impl<'t> Place<'t> {
    /// The folder at a path below; `None` when there is none.
    fn below(&self, path: &str) -> Result<Option<Place<'t>>> {
        let node = self.tree.resolve(self.node, path).within(path)?;
        Ok(node.map(|node| Place { tree: self.tree, node, path: format!(r"{}\{path}", self.path) }))
    }

    /// The real folders (no junctions) in this one.
    fn folders(&self) -> Result<Vec<Place<'t>>> {
        let entries = self.tree.entries(self.node).within(&self.path)?;
        let real = entries.iter().filter(|e| e.is_dir && !e.is_reparse);
        let place =
            |e: &TreeEntry| Place { tree: self.tree, node: e.node, path: format!(r"{}\{}", self.path, e.name_lossy()) };
        Ok(real.map(place).collect())
    }

    /// The files that may be hives and whose name, in small letters, is accepted.
    fn candidates(&self, accept: impl Fn(&str) -> bool, out: &mut Vec<Candidate>) -> Result<()> {
        for entry in self.tree.entries(self.node).within(&self.path)? {
            let name = entry.name_lossy();
            if entry.is_dir || entry.is_reparse || entry.size < 4096 || !accept(&name.to_ascii_lowercase()) {
                continue;
            }
            let (path, node) = (format!(r"{}\{name}", self.path), entry.node);
            out.push(Candidate { path, node, folder: self.node, name: entry.name, machine: None, is_app: false });
        }
        Ok(())
    }
}

/// All files of an installation that may be hives; with `is_main`, the hives of its own configuration are told apart.
fn find_candidates(tree: &dyn Tree, root: NodeId, prefix: &str, is_main: bool, out: &mut Vec<Candidate>) -> Result<()> {
    let root = Place { tree, node: root, path: prefix.to_owned() };
    // Where one partition is both the firmware's and Windows' own, the boot store lies on it.
    if let Some(boot) = root.below("Boot")? {
        boot.candidates(|name| name == "bcd", out)?;
    }
    if let Some(windows) = root.below("Windows")? {
        if let Some(config) = windows.below(r"System32\config")? {
            machine_hives(&config, is_main, out)?;
        }
        if let Some(programs) = windows.below(r"AppCompat\Programs")? {
            programs.candidates(|name| name.ends_with(".hve"), out)?;
        }
        if let Some(store) = windows.below(r"System32\SMI\Store\Machine")? {
            store.candidates(|name| name == "schema.dat", out)?;
        }
        profiles(&windows, "ServiceProfiles", out)?;
    }
    // Apps of all users: one folder for each package, in it one for each user.
    if let Some(packages) = root.below(r"ProgramData\Packages")? {
        for package in packages.folders()? {
            for user in package.folders()? {
                app_hives(&user, out)?;
            }
        }
    }
    profiles(&root, "Users", out)
}

/// The hives of every profile in a folder.
fn profiles(above: &Place<'_>, folder: &str, out: &mut Vec<Candidate>) -> Result<()> {
    let homes = above.below(folder)?.map(|homes| homes.folders()).transpose()?;
    homes.into_iter().flatten().try_for_each(|home| profile_hives(&home, out))
}

/// What an app keeps for a user.
fn app_hives(package: &Place<'_>, out: &mut Vec<Candidate>) -> Result<()> {
    for settings in ["Settings", r"SystemAppData\Helium"] {
        if let Some(folder) = package.below(settings)? {
            let first = out.len();
            folder.candidates(|name| name.ends_with(".dat"), out)?;
            out[first..].iter_mut().for_each(|candidate| candidate.is_app = true);
        }
    }
    Ok(())
}

/// Hives in `System32\config`, its backups, and the profile of the system itself.
fn machine_hives(config: &Place<'_>, is_main: bool, out: &mut Vec<Candidate>) -> Result<()> {
    let any =
        |name: &str| ![".log", ".log1", ".log2", ".blf", ".regtrans-ms", ".evt"].iter().any(|s| name.ends_with(s));
    let first = out.len();
    config.candidates(any, out)?;
    for candidate in out[first..].iter_mut().filter(|_| is_main) {
        let name = reseal_dtyp::utf16_lossy(&candidate.name);
        candidate.machine = MachineHive::ALL.into_iter().find(|m| m.file_name().eq_ignore_ascii_case(&name));
    }
    if let Some(backups) = config.below("RegBack")? {
        backups.candidates(any, out)?;
    }
    match config.below("systemprofile")? {
        Some(home) => profile_hives(&home, out),
        None => Ok(()),
    }
}

/// The two hives of a profile, and those of its apps.
fn profile_hives(home: &Place<'_>, out: &mut Vec<Candidate>) -> Result<()> {
    home.candidates(|name| matches!(name, "ntuser.dat" | "ntuser.man"), out)?;
    if let Some(classes) = home.below(r"AppData\Local\Microsoft\Windows")? {
        classes.candidates(|name| name == "usrclass.dat", out)?;
    }
    let packages = home.below(r"AppData\Local\Packages")?.map(|packages| packages.folders()).transpose()?;
    packages.into_iter().flatten().try_for_each(|package| app_hives(&package, out))
}

/// `None` when the file is no hive.
fn load(tree: &dyn Tree, candidate: Candidate) -> Result<Option<(HiveFile, Option<String>)>> {
    let Candidate { path, node, folder, name, machine, is_app } = candidate;
    let mut magic = [0; 4];
    tree.read_at(node, 0, &mut magic).within(&path)?;
    if &magic != b"regf" {
        return Ok(None);
    }
    let mut logs = Vec::new();
    for suffix in LOG_SUFFIXES {
        let log_name: Vec<u16> = name.iter().copied().chain(units(suffix)).collect();
        if let Some(log) = tree.lookup(folder, &log_name).within(&path)? {
            logs.push((log, tree.read(log).within(&path)?));
        }
    }
    let log_bytes: Vec<&[u8]> = logs.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    let hive = open(tree, node, &log_bytes).within(&path)?;
    let dirty = match hive.state() {
        LoadState::Unrecovered { why } => Some(why.clone()),
        _ => None,
    };
    Ok(Some((HiveFile { path, node, machine, is_app, hive, logs, edited: false }, dirty)))
}

impl HiveFile {
    /// Marks the hive for writing when its logs or its replayed pages still hold one of the SIDs; tells whether it was not
    /// to be written before.
    pub(crate) fn touch_for_logs(&mut self, map: &SidMap) -> bool {
        let newly =
            !self.edited && self.has_log_data() && (self.is_replayed() || self.log_bytes().any(|log| map.is_in(log)));
        self.edited |= newly;
        newly
    }
}
