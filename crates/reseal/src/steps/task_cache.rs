//! `TaskCache`: the task scheduler keeps two checksums of each task's file in SOFTWARE.
//!
//! Which bytes of the file they are of is not documented: the form that gives the old checksum from the old file gives the new one
//! from the new file. Where none does, the checksum is left, and that is found.

use crate::MachineHive;
use crate::error::Result;
use crate::session::Session;
use crate::task_triggers;
use reseal_dtyp::Level;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Where the tasks are whose checksums the cache holds.
pub(super) const TASKS_FOLDER: &str = r"\Windows\System32\Tasks";
/// One key for each task, named by a GUID.
pub(super) const TASKS_KEY: &str = r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache\Tasks";

/// The file of a task, before and after.
#[derive(Debug)]
pub(super) struct EditedTask {
    /// From the folder of the tasks on, with a leading backslash, as it was before renames.
    pub(super) name: String,
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

/// Which bytes of a file are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    WithoutMark,
    /// With the NUL that ends a text in memory.
    WithoutMarkWithNul,
    WithNul,
    Utf8,
}

const FORMS: [Form; 5] = [Form::Whole, Form::WithoutMark, Form::WithoutMarkWithNul, Form::WithNul, Form::Utf8];

impl Form {
    fn of(self, file: &[u8]) -> Vec<u8> {
        let text = file.strip_prefix(&[0xff, 0xfe]).unwrap_or(file);
        match self {
            Form::Whole => file.to_vec(),
            Form::WithoutMark => text.to_vec(),
            Form::WithoutMarkWithNul => [text, &[0, 0]].concat(),
            Form::WithNul => [file, &[0, 0]].concat(),
            Form::Utf8 => reseal_dtyp::utf16_lossy(&reseal_dtyp::from_utf16le(text)).into_bytes(),
        }
    }
}

/// The new checksum, where a form explains the old one.
fn recomputed<T: PartialEq>(task: &EditedTask, old: &T, sum: impl Fn(&[u8]) -> T) -> Option<T> {
    let form = FORMS.into_iter().find(|form| sum(&form.of(&task.old)) == *old)?;
    Some(sum(&form.of(&task.new)))
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    Sha256::digest(bytes).to_vec()
}

/// New checksums of one task.
#[derive(Debug, Default)]
pub(super) struct Sums {
    key: String,
    hash: Option<Vec<u8>>,
    crc: Option<u32>,
}

/// Works out the checksums, by the cache as it was before SIDs were replaced in it.
pub(super) fn recompute(session: &mut Session<'_>, tasks: &[EditedTask]) -> Result<Vec<Sums>> {
    if tasks.is_empty() || session.hive(MachineHive::Software).is_none() {
        return Ok(Vec::new());
    }
    let by_name: BTreeMap<String, &EditedTask> = tasks.iter().map(|task| (task.name.to_lowercase(), task)).collect();
    let (mut out, mut hashes_left, mut crcs_left) = (Vec::new(), Vec::new(), Vec::new());
    for key in session.subkey_names(MachineHive::Software, TASKS_KEY)? {
        let key = format!(r"{TASKS_KEY}\{key}");
        let value = |name: &str| session.value(MachineHive::Software, &key, name);
        let name = value("Path")?.and_then(|path| path.as_text()).unwrap_or_default();
        let Some(task) = by_name.get(&name.to_lowercase()) else { continue };
        let mut sums = Sums { key: key.clone(), ..Sums::default() };
        if let Some(hash) = value("Hash")? {
            sums.hash = recomputed(task, &hash.data, sha256);
            hashes_left.extend(sums.hash.is_none().then(|| name.clone()));
        }
        if let Some(triggers) = value("Triggers")? {
            let old = task_triggers::checksum(&triggers.data).ok();
            sums.crc = old.and_then(|old| recomputed(task, &old, crc32fast::hash));
            crcs_left.extend(sums.crc.is_none().then_some(name));
        }
        out.push(sums);
    }
    let hash = "SHA-256 in `Hash` is of no form of the old file that is known, and is left: Windows 7 and 8 call such a task corrupt";
    report(session, Level::Inconsistent, "task-hash-left", &hashes_left, hash);
    let crc = "CRC-32 in `Triggers` is of no form of the old file that is known, or stands elsewhere, and is left";
    report(session, Level::Note, "task-checksum-left", &crcs_left, crc);
    Ok(out)
}

/// One finding for all tasks.
fn report(session: &mut Session<'_>, level: Level, id: &'static str, tasks: &[String], what: &str) {
    let Some(first) = tasks.first() else { return };
    session.find(level, id, &format!("{TASKS_FOLDER}{first}"), format!("{} tasks: {what}", tasks.len()));
}

/// Writes them, after SIDs were replaced in the cache.
pub(super) fn write(session: &mut Session<'_>, sums: Vec<Sums>) -> Result<()> {
    for Sums { key, hash, crc } in sums {
        if let Some(hash) = hash {
            session.set_existing(MachineHive::Software, &key, "Hash", &hash)?;
        }
        let triggers = crc.map(|_| session.value(MachineHive::Software, &key, "Triggers")).transpose()?.flatten();
        if let (Some(crc), Some(mut triggers)) = (crc, triggers) {
            let at = task_triggers::CHECKSUM;
            if let Some(place) = triggers.data.get_mut(at..at + 4) {
                place.copy_from_slice(&crc.to_le_bytes());
                session.set_existing(MachineHive::Software, &key, "Triggers", &triggers.data)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_dtyp::utf16le;

    #[test]
    fn the_form_that_explains_the_old_sum_makes_the_new_one() {
        let file = |text: &str| [vec![0xff, 0xfe], utf16le(text)].concat();
        let task = EditedTask { name: r"\x".into(), old: file("<a>ä</a>"), new: file("<a>b</a>") };
        let forms = [
            (task.old.clone(), task.new.clone()),
            (utf16le("<a>ä</a>"), utf16le("<a>b</a>")),
            (utf16le("<a>ä</a>\0"), utf16le("<a>b</a>\0")),
            (file("<a>ä</a>\0"), file("<a>b</a>\0")),
            ("<a>ä</a>".into(), "<a>b</a>".into()),
        ];
        for (old, new) in forms {
            assert_eq!(recomputed(&task, &sha256(&old), sha256), Some(sha256(&new)));
            assert_eq!(recomputed(&task, &crc32fast::hash(&old), crc32fast::hash), Some(crc32fast::hash(&new)));
        }
        assert_eq!(recomputed(&task, &sha256(b"another file"), sha256), None);
    }
}
