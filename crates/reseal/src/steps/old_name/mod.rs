//! The old computer name, wherever it stands as text: Windows keeps it in many places beside those that name the machine.

mod text;

use super::{Evidence, Spec, Step, task_cache, tasks};
use crate::MachineHive::Software;
use crate::error::{Kind, Result};
use crate::hive_walk::Walk;
use crate::hives::HiveFile;
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use crate::task_triggers;
use rayon::prelude::*;
use reseal_dtyp::{Level, utf16_lossy};
use reseal_hive::{KeyId, Value, types};
use task_cache::{EditedTask, TASKS_KEY};
use text::Names;

/// Puts the new computer name in place of the old one.
pub(super) struct OldName;

/// Text as the value of a device's property: DEVPROP_TYPE_STRING in the form that the registry gives to such types.
const PROPERTY_TEXT: u32 = 0xffff_0012;

static SPEC: Spec = Spec {
    id: "old-name",
    title: "Replace the old computer name in texts",
    about: "With a new computer name: puts it in place of the old one where that stands as a word in a text of any hive, in \
            the machine's id in shell links that hives hold, and in the tasks of the scheduler with their users and \
            checksums. A name that is an ordinary word (no digit and no hyphen, or below four characters) is left, and \
            found; so is one inside other data. Files of users are not looked at.",
    phase: "identity",
    evidence: Evidence::Inferred,
    unproven: "which bytes of a task's file its checksums are of",
    writes: &[Scope::OldName, Scope::Key(Software, TASKS_KEY), Scope::File(tasks::FOLDER)],
    ..Spec::BASE
};

impl Step for OldName {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let Some(new) = session.computer_name()? else {
            return Ok(Some("no new computer name".to_owned()));
        };
        let old: Vec<String> =
            [&session.facts.computer_name, &session.facts.host_name].into_iter().flatten().cloned().collect();
        let Some(names) = Names::new(&old, &new) else {
            return Ok(Some("the name is the old one, or the image has none".to_owned()));
        };
        if let Some(word) = names.ordinary() {
            let detail = format!(
                "`{word}` is an ordinary word, which may mean something else where it stands: texts that name it are left"
            );
            session.find(Level::Note, "computer-name-left", "", detail);
            return Ok(Some("the old name is an ordinary word".to_owned()));
        }
        in_tasks(session, &names)?;
        in_hives(session, &names)?;
        Ok(None)
    }
}

/// Files of tasks, and what the cache keeps of them.
fn in_tasks(session: &mut Session<'_>, names: &Names) -> Result<()> {
    let mut edited = Vec::new();
    for task in tasks::below(session, "")? {
        let Some(old) = tasks::content(session, &task)? else { continue };
        let Some(new) = names.in_file(&old) else { continue };
        let path = format!(r"{}{}", tasks::FOLDER, task.path);
        match session.write_file(&path, &new, FileSecurity::Sibling) {
            Err(e) if e.kind() == Kind::Unsupported => {
                session.find(Level::Note, "computer-name-left", &path, format!("it names the old computer, and {e}"));
                continue;
            }
            done => done?,
        }
        edited.push(EditedTask { name: task.path, old, new });
    }
    let sums = task_cache::recompute(session, &edited)?;
    task_cache::write(session, sums)
}

/// A value with its new data.
struct Edit {
    key: String,
    name: String,
    ty: u32,
    data: Vec<u8>,
}

/// What is to be done in a hive.
#[derive(Default)]
struct Edits {
    values: Vec<Edit>,
    /// Names of keys and values, and data that is no text, by path.
    left: Vec<String>,
}

fn in_hives(session: &mut Session<'_>, names: &Names) -> Result<()> {
    let all: Vec<_> = session.hives.files.par_iter().map(|file| edits(file, names)).collect();
    let mut left = Vec::new();
    for (at, edits) in session.hives.where_path(|_| true).into_iter().zip(all) {
        let path = session.hives.at(at).path.clone();
        let edits = match edits {
            Ok(edits) => edits,
            Err(why) => {
                session.findings.push(crate::hives::left(&path, &why.to_string()));
                continue;
            }
        };
        left.extend(edits.left.into_iter().map(|place| format!(r"{path}, {place}")));
        for Edit { key, name, ty, data } in edits.values {
            session.set_old_name(at, &key, &name, ty, &data)?;
        }
    }
    if let Some(first) = left.first() {
        let detail = format!("the old computer name stands in {} names or data that are no text: left", left.len());
        session.find(Level::Note, "computer-name-left", first, detail);
    }
    Ok(())
}

/// Looks through a whole hive.
fn edits(file: &HiveFile, names: &Names) -> reseal_dtyp::Result<Edits> {
    let hive = &file.hive;
    let (mut walk, mut out) = (Walk::new(hive), Edits::default());
    let mut open: Vec<(KeyId, String, usize)> = vec![(hive.root(), String::new(), 0)];
    while let Some((id, path, depth)) = open.pop() {
        let (values, subkeys) = walk.enter(id, depth)?;
        for value in &values {
            let name = value.name_lossy();
            if let Some(data) = replaced(file, names, &path, value) {
                // Paths and names that are no Unicode, or hold a backslash, do not lead back here.
                if hive.key(&path)? == Some(id) && hive.value(id, &name)?.as_ref() == Some(value) {
                    out.values.push(Edit { key: path.clone(), name: name.clone(), ty: value.ty, data });
                    continue;
                }
            }
            let wide: Vec<u8> = value.name.iter().flat_map(|u| u.to_le_bytes()).collect();
            if names.is_in(&value.data) && !is_text(value.ty) || names.is_in(&wide) {
                out.left.push(format!("{path} → {name}"));
            }
        }
        for (name, child) in subkeys.into_iter().rev() {
            let text = utf16_lossy(&name);
            let own = if path.is_empty() { text } else { format!(r"{path}\{text}") };
            let wide: Vec<u8> = name.iter().flat_map(|u| u.to_le_bytes()).collect();
            if names.is_in(&wide) {
                out.left.push(own.clone());
            }
            open.push((child, own, depth + 1));
        }
    }
    Ok(out)
}

fn is_text(ty: u32) -> bool {
    matches!(ty, types::SZ | types::EXPAND_SZ | types::MULTI_SZ | PROPERTY_TEXT)
}

/// New data of a value; `None` when the old name is not in it, or not where it can be replaced.
fn replaced(file: &HiveFile, names: &Names, key: &str, value: &Value) -> Option<Vec<u8>> {
    if is_text(value.ty) {
        return names.in_utf16(&value.data);
    }
    let is_task = file.machine == Some(Software)
        && key.get(..TASKS_KEY.len()).is_some_and(|start| start.eq_ignore_ascii_case(TASKS_KEY));
    if is_task && value.name_lossy().eq_ignore_ascii_case("Triggers") {
        return task_triggers::with_texts(&value.data, |text| names.in_utf16(text));
    }
    names.in_links(&value.data)
}
