//! Tasks of the scheduler go as a whole: the file, its key below `TaskCache\Tasks`, its place in `Tree`, and its entry in the
//! list of those that start at logon, at boot, in maintenance or otherwise. What does not fit together is left, and found.

use crate::MachineHive::Software;
use crate::error::{Result, Within};
use crate::session::Session;
use crate::tree::{NodeId, Tree};
use reseal_dtyp::{Guid, Level};
use std::collections::{BTreeMap, BTreeSet};

/// Where the files lie, and where the scheduler keeps what it has read of them.
pub(super) const FOLDER: &str = r"Windows\System32\Tasks";
pub(super) const CACHE: &str = r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache";
/// Lists of task ids by what starts them.
const LISTS: [&str; 4] = ["Plain", "Logon", "Boot", "Maintenance"];

/// Folders of tasks nest at most this deep.
const MAX_DEPTH: usize = 32;
/// A longer file is no task.
const MAX_FILE: u64 = 4 << 20;

/// A task, by file or by key.
#[derive(Debug, Default)]
pub(super) struct Task {
    /// From the folder of tasks on, with a leading backslash.
    pub(super) path: String,
    file: Option<NodeId>,
    /// `Id` in `Tree`.
    id: Option<String>,
}

/// All tasks below a folder of tasks, which is empty for all or begins with a backslash, by path.
pub(super) fn below(session: &Session<'_>, root: &str) -> Result<Vec<Task>> {
    let mut out: BTreeMap<String, Task> = BTreeMap::new();
    files(session.tree, root, &mut out)?;
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let key = format!(r"{CACHE}\Tree{path}");
        if let Some(id) = session.value(Software, &key, "Id")? {
            let task = out.entry(path.to_lowercase()).or_insert_with(|| Task { path: path.clone(), ..Task::default() });
            task.id = Some(id.as_text().unwrap_or_default());
        }
        if depth < MAX_DEPTH {
            let names = session.subkey_names(Software, &key)?.into_iter().filter(|name| !name.contains('\\'));
            open.extend(names.map(|name| (format!(r"{path}\{name}"), depth + 1)));
        }
    }
    Ok(out.into_values().collect())
}

fn files(tree: &dyn Tree, root: &str, out: &mut BTreeMap<String, Task>) -> Result<()> {
    let Some(folder) = tree.resolve(tree.root(), &format!("{FOLDER}{root}")).within(FOLDER)? else { return Ok(()) };
    let (mut open, mut entered) = (vec![(folder, root.to_owned(), 0)], BTreeSet::new());
    while let Some((folder, path, depth)) = open.pop() {
        if !entered.insert(folder) {
            continue;
        }
        for entry in tree.entries(folder).within(format!("{FOLDER}{path}"))? {
            let own = format!(r"{path}\{}", entry.name_lossy());
            if !entry.is_dir {
                out.insert(own.to_lowercase(), Task { path: own, file: Some(entry.node), id: None });
            } else if !entry.is_reparse && depth < MAX_DEPTH {
                open.push((entry.node, own, depth + 1));
            }
        }
    }
    Ok(())
}

/// The file of a task; `None` when there is none, or one that is longer than any task.
pub(super) fn content(session: &Session<'_>, task: &Task) -> Result<Option<Vec<u8>>> {
    let Some(node) = task.file else { return Ok(None) };
    let path = format!("{FOLDER}{}", task.path);
    if session.tree.size(node).within(&path)? > MAX_FILE {
        return Ok(None);
    }
    session.tree.read(node).within(&path).map(Some)
}

/// Removes a task with all that belongs to it, or nothing.
pub(super) fn remove(session: &mut Session<'_>, task: &Task) -> Result<()> {
    let path = format!(r"\{FOLDER}{}", task.path);
    let parts = match whole(session, task)? {
        Ok(parts) => parts,
        Err(why) => {
            session.find(Level::Inconsistent, "task-left", &path, format!("the task is left: {why}"));
            return Ok(());
        }
    };
    let (file, id) = parts;
    session.remove_file(&path, file)?;
    for list in LISTS {
        session.delete_key(Software, &format!(r"{CACHE}\{list}\{id}"))?;
    }
    session.delete_key(Software, &format!(r"{CACHE}\Tasks\{id}"))?;
    session.delete_key(Software, &format!(r"{CACHE}\Tree{}", task.path))?;
    Ok(())
}

/// File and id of a task whose parts name each other; or why it is none.
fn whole(session: &Session<'_>, task: &Task) -> Result<std::result::Result<(NodeId, String), String>> {
    let Some(id) = &task.id else { return Ok(Err("the cache has no such task".to_owned())) };
    let Some(file) = task.file else { return Ok(Err("it has no file".to_owned())) };
    if Guid::parse(id.trim_matches(['{', '}'])).is_none() {
        return Ok(Err(format!("its id `{}` in the cache is no GUID", id.escape_debug())));
    }
    if !session.subkey_names(Software, &format!(r"{CACHE}\Tree{}", task.path))?.is_empty() {
        return Ok(Err("it is a folder of tasks, too".to_owned()));
    }
    let named = session.value(Software, &format!(r"{CACHE}\Tasks\{id}"), "Path")?;
    match named.and_then(|path| path.as_text()) {
        Some(path) if path.to_lowercase() == task.path.to_lowercase() => Ok(Ok((file, id.clone()))),
        Some(path) => Ok(Err(format!("its id belongs to {}", path.escape_debug()))),
        None => Ok(Err("the cache has no description of it".to_owned())),
    }
}
