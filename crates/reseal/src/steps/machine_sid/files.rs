//! SIDs in files that Windows reads: tasks, group policy, databases of the Store. One table says which.

use crate::error::{Result, Within};
use crate::rules::place::{fits, is_pattern};
use crate::session::Session;
use crate::steps::task_cache::{EditedTask, TASKS_FOLDER};
use crate::tree::{NodeId, Tree, TreeEntry};
use crate::{policy_file, sqlite_store};
use reseal_dtyp::{Kind, Level};
use reseal_sid::SidMap;
use std::collections::BTreeSet;

/// A larger text is left: Windows writes none.
const MAX_TEXT: u64 = 64 << 20;
/// Folders nest at most this deep.
const MAX_DEPTH: usize = 64;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// UTF-16LE, or UTF-8 and what resembles it.
    Text,
    /// `PReg`.
    Policy,
    /// SQLite, with its log beside it.
    Store,
}

/// Names of files, and what such a file is.
type Names = &'static [(&'static str, Form)];

const TASKS: Names = &[("*", Form::Text)];
/// `GPT.INI`, `GptTmpl.inf`, preferences, scripts' lists, and `Registry.pol`.
const GROUP_POLICY: Names =
    &[("*.xml", Form::Text), ("*.ini", Form::Text), ("*.inf", Form::Text), ("*.pol", Form::Policy)];
const POLICY: Names = &[("*.pol", Form::Policy)];

/// Where such files lie.
struct Place {
    /// From the volume's root; `*` in a name stands for any.
    folder: &'static str,
    /// Whether folders below count.
    below: bool,
    names: Names,
}

const fn under(folder: &'static str, names: Names) -> Place {
    Place { folder, below: true, names }
}

const fn directly_in(folder: &'static str, names: Names) -> Place {
    Place { folder, below: false, names }
}

static PLACES: &[Place] = &[
    under(r"Windows\System32\Tasks", TASKS),
    under(r"Windows\SysWOW64\Tasks", TASKS),
    under(r"Windows\Tasks", &[("*.xml", Form::Text)]),
    under(r"Windows\System32\GroupPolicy", GROUP_POLICY),
    under(r"Windows\System32\GroupPolicyUsers", GROUP_POLICY),
    under(r"Windows\SysWOW64\GroupPolicy", GROUP_POLICY),
    under(r"Windows\SysWOW64\GroupPolicyUsers", GROUP_POLICY),
    under(r"ProgramData\Microsoft\Group Policy", GROUP_POLICY),
    under(r"ProgramData\Microsoft\GroupPolicy", GROUP_POLICY),
    under(r"Windows\security\templates", &[("*.inf", Form::Text)]),
    directly_in("ProgramData", POLICY),
    directly_in(r"Users\*", POLICY),
    directly_in(r"ProgramData\Microsoft\Windows\AppRepository", &[("StateRepository-*.srd", Form::Store)]),
];

/// What was done to files.
#[derive(Debug, Default)]
pub(super) struct Edited {
    /// Files, and the SIDs in them.
    pub(super) files: usize,
    pub(super) sids: usize,
    /// Files of tasks, whose checksums stand in the registry.
    pub(super) tasks: Vec<EditedTask>,
}

/// A file that the table names.
struct File {
    path: String,
    folder: NodeId,
    entry: TreeEntry,
    form: Form,
}

/// Replaces SIDs in all of them. What cannot be, is left and found.
pub(super) fn rewrite(session: &mut Session<'_>, map: &SidMap) -> Result<Edited> {
    let mut out = Edited::default();
    for file in files(session.tree)? {
        let done = match file.form {
            Form::Text | Form::Policy => text_or_policy(session, &file, map, &mut out)?,
            Form::Store => store(session, &file, map)?,
        };
        out.files += usize::from(done > 0);
        out.sids += done;
    }
    Ok(out)
}

/// Every file of the table once, in its order. No reparse point is followed into a folder.
fn files(tree: &dyn Tree) -> Result<Vec<File>> {
    let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
    for place in PLACES {
        let mut open: Vec<(NodeId, String, usize)> = Vec::new();
        for (node, path) in folders(tree, place.folder)? {
            open.push((node, path, 0));
        }
        let mut entered: BTreeSet<NodeId> = BTreeSet::new();
        while let Some((folder, path, depth)) = open.pop() {
            if !entered.insert(folder) {
                continue;
            }
            for entry in tree.entries(folder).within(&path)? {
                let name = entry.name_lossy();
                let own = format!(r"{path}\{name}");
                if entry.is_dir {
                    if place.below && !entry.is_reparse && depth < MAX_DEPTH {
                        open.push((entry.node, own, depth + 1));
                    }
                } else if let Some((_, form)) = place.names.iter().find(|(pattern, _)| fits(pattern, &name))
                    && seen.insert(entry.node)
                {
                    out.push(File { path: own, folder, entry, form: *form });
                }
            }
        }
    }
    Ok(out)
}

/// The real folders that a pattern means.
fn folders(tree: &dyn Tree, pattern: &str) -> Result<Vec<(NodeId, String)>> {
    let mut found = vec![(tree.root(), String::new())];
    for part in pattern.split('\\') {
        let mut next = Vec::new();
        for (folder, path) in found {
            let units: Vec<u16> = part.encode_utf16().collect();
            if !is_pattern(part) && tree.lookup(folder, &units).within(&path)?.is_none() {
                continue;
            }
            let entries = tree.entries(folder).within(&path)?;
            let real = entries.iter().filter(|e| e.is_dir && !e.is_reparse && fits(part, &e.name_lossy()));
            next.extend(real.map(|e| (e.node, format!(r"{path}\{}", e.name_lossy()))));
        }
        found = next;
    }
    Ok(found)
}

/// How many SIDs were replaced.
fn text_or_policy(session: &mut Session<'_>, file: &File, map: &SidMap, out: &mut Edited) -> Result<usize> {
    let (path, node) = (&file.path, file.entry.node);
    let size = session.tree.size(node).within(path)?;
    if size > MAX_TEXT {
        let detail = format!("{size} bytes, of which none was read: at most {MAX_TEXT} are");
        session.find(Level::Inconsistent, "file-left", path, detail);
        return Ok(0);
    }
    let old = match session.tree.read(node) {
        Ok(old) => old,
        Err(e) if e.kind() == Kind::Io => return Err(e).within(path),
        Err(e) => {
            session.find(Level::Inconsistent, "file-left", path, format!("it cannot be read: {e}"));
            return Ok(0);
        }
    };
    if !map.is_in(&old) {
        return Ok(0);
    }
    let rewritten = if file.form == Form::Text { text(&old, map) } else { policy(&old, map) };
    let (new, sids, left) = match rewritten {
        Ok(done) => done,
        Err(why) => {
            session.find(Level::Inconsistent, "file-left", path, format!("it holds the old SID, and {why}"));
            return Ok(0);
        }
    };
    if left > 0 {
        let detail = format!("text of another length inside data that is no text: {left} left");
        session.find(Level::Inconsistent, "sid-left", path, detail);
    }
    if sids == 0 || !session.replace_sids(path, node, &old, &new)? {
        return Ok(0);
    }
    if let Some(name) = path.get(TASKS_FOLDER.len()..).filter(|_| path.starts_with(TASKS_FOLDER)) {
        out.tasks.push(EditedTask { name: name.to_owned(), old, new });
    }
    Ok(sids)
}

/// New bytes, how many SIDs were replaced, and how many left; or why none can be.
type Replaced = std::result::Result<(Vec<u8>, usize, usize), String>;

/// A text in one encoding keeps it, with everything in it but the SIDs.
fn text(old: &[u8], map: &SidMap) -> Replaced {
    let hits = map.count(old);
    let is_wide = old.starts_with(&[0xff, 0xfe]) || old.len() >= 2 && old[0] != 0 && old[1] == 0;
    let odd = map.find(old).any(|o| o.form == reseal_sid::Form::Utf16 && o.offset % 2 == 1);
    let one_encoding = if is_wide { hits.ascii == 0 && !odd } else { hits.utf16 == 0 && !old.contains(&0) };
    if !one_encoding || hits.binary > 0 {
        return Err("it is no text in one encoding".to_owned());
    }
    match map.rewrite_text(old) {
        Some(edit) => Ok((edit.bytes, edit.hits.total(), 0)),
        None => Ok((old.to_vec(), 0, 0)),
    }
}

fn policy(old: &[u8], map: &SidMap) -> Replaced {
    match policy_file::rewrite(old, map) {
        Ok(Some(done)) => Ok((done.bytes, done.sids, done.left)),
        Ok(None) => Ok((old.to_vec(), 0, 0)),
        Err(e) => Err(e.to_string()),
    }
}

/// A database with the log beside it. How many SIDs were replaced.
fn store(session: &mut Session<'_>, file: &File, map: &SidMap) -> Result<usize> {
    let path = &file.path;
    let beside = |suffix: &str| -> Vec<u16> { file.entry.name.iter().copied().chain(suffix.encode_utf16()).collect() };
    let (mut log, mut extra) = (Vec::new(), Vec::new());
    let mut sizes = vec![(path.clone(), session.tree.size(file.entry.node).within(path)?)];
    for suffix in ["-wal", "-shm", "-journal"] {
        let Some(node) = session.tree.lookup(file.folder, &beside(suffix)).within(path)? else { continue };
        let own = format!("{path}{suffix}");
        sizes.push((own.clone(), session.tree.size(node).within(&own)?));
        extra.push((suffix, own, node));
    }
    if let Some((large, size)) = sizes.iter().find(|(_, size)| *size > sqlite_store::MAX_LEN as u64) {
        session.find(Level::Inconsistent, "store-left", large, format!("{size} bytes, of which none was read"));
        return Ok(0);
    }
    let read = |session: &Session<'_>, node: NodeId| session.tree.read(node);
    let mut run = || -> reseal_dtyp::Result<(Vec<u8>, Option<sqlite_store::Rewritten>)> {
        let old = read(session, file.entry.node)?;
        for (suffix, _, node) in &extra {
            match *suffix {
                "-wal" => log = read(session, *node)?,
                // A journal that begins with zeros is settled.
                "-journal" if read(session, *node)?.iter().take(8).any(|byte| *byte != 0) => {
                    return Err(reseal_dtyp::Error::unsupported(
                        "a transaction was not finished: a journal lies beside it",
                    ));
                }
                _ => {}
            }
        }
        let done = sqlite_store::rewrite(&old, &log, map)?;
        Ok((old, done))
    };
    match run() {
        Ok((_, None)) => Ok(0),
        Ok((old, Some(done))) => {
            if !session.replace_sids(path, file.entry.node, &old, &done.database)? {
                return Ok(0);
            }
            // The log is in the database now, and its index goes with it.
            for (_, own, node) in extra.iter().filter(|(suffix, ..)| *suffix != "-journal") {
                session.remove_file(own, *node)?;
            }
            Ok(done.sids + done.erased)
        }
        Err(e) if e.kind() == Kind::Io => Err(e).within(path),
        Err(e) => {
            let detail =
                format!("kept users may lose Start menu and Store apps, for it keeps the old SID if it held it: {e}");
            session.find(Level::Inconsistent, "store-left", path, detail);
            Ok(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::{DomainSid, utf16le};

    const OLD: DomainSid = DomainSid([1_004_336_348, 1_177_238_915, 682_003_330]);
    const NEW: DomainSid = DomainSid([7, 8, 9]);

    #[test]
    fn texts_keep_their_encoding_and_everything_else() {
        let map = SidMap::new([(OLD, NEW)]).unwrap();
        let page =
            |sid: DomainSid| format!("<UserId>{sid}-1001</UserId>\r\n<!-- ä {OLD}1 -->{sid}<b/>S-1-5-21-1-2-3-500\n");
        for (head, encode) in [
            (vec![0xff, 0xfe], utf16le as fn(&str) -> Vec<u8>),
            (vec![], utf16le),
            (vec![0xef, 0xbb, 0xbf], |text| text.as_bytes().to_vec()),
            (vec![], |text| text.as_bytes().to_vec()),
            (vec![], |text| text.chars().map(|c| c as u32 as u8).collect()),
        ] {
            let file = |sid| [head.clone(), encode(&page(sid))].concat();
            let (new, sids, left) = text(&file(OLD), &map).unwrap();
            assert_eq!((new, sids, left), (file(NEW), 2, 0));
        }
        for odd in [
            [vec![0xff, 0xfe], OLD.to_string().into_bytes()].concat(),
            [b"text\0".to_vec(), OLD.to_string().into_bytes()].concat(),
            [vec![0xff, 0xfe, 0], utf16le(&OLD.to_string())].concat(),
            [vec![0xff, 0xfe], OLD.account(500).to_bytes()].concat(),
        ] {
            assert!(text(&odd, &map).is_err(), "{odd:?}");
        }
    }
}
