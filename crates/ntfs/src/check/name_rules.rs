//! Stage 2, continued: the names in the records against the entries of the folders.

use super::Findings;
use super::survey::{NameFact, Summary, Survey, name_hash, summary_flag};
use crate::attribute::name;
use crate::file_name::{self, NameView};
use crate::index::Entry;
use crate::reference::{FileReference, system};
use crate::volume::Volume;
use rayon::prelude::*;
use reseal_dtyp::Level;

/// What names say about the volume's own files is never updated.
const FIRST_ORDINARY: u64 = 24;

/// The names that claim to be in one folder, and which of them an entry was found for.
struct Expected<'a> {
    names: &'a [NameFact],
    met: Vec<bool>,
}

impl<'a> Expected<'a> {
    fn of(survey: &'a Survey, folder: u64) -> Expected<'a> {
        let start = survey.names.partition_point(|n| u64::from(n.parent) < folder);
        let end = survey.names.partition_point(|n| u64::from(n.parent) <= folder);
        let names = &survey.names[start..end];
        Expected { names, met: vec![false; names.len()] }
    }

    /// Whether a name of this file with this hash was expected and not yet met.
    fn meet(&mut self, child: u64, hash: u64) -> bool {
        let from = self.names.partition_point(|n| (u64::from(n.child), n.hash) < (child, hash));
        for i in from..self.names.len() {
            if u64::from(self.names[i].child) != child || self.names[i].hash != hash {
                return false;
            }
            if !std::mem::replace(&mut self.met[i], true) {
                return true;
            }
        }
        false
    }
}

impl Volume {
    pub(crate) fn check_names(&self, survey: Survey, findings: &mut Findings) {
        let is_folder = |s: &Summary| s.flags & (summary_flag::BASE | summary_flag::DIRECTORY) == 3;
        let folders: Vec<u64> =
            survey.summaries.iter().enumerate().filter(|(_, s)| is_folder(s)).map(|(i, _)| i as u64).collect();
        let found: Vec<Findings> = folders.par_iter().map(|&folder| self.check_folder(&survey, folder)).collect();
        found.into_iter().for_each(|f| findings.absorb(f));
        for name in &survey.names {
            let known = survey.summaries.get(name.parent as usize).is_some_and(is_folder);
            if !known {
                let detail = format!("a name of the file lies in record {}, which is no folder", name.parent);
                findings.damage("parent-missing", format!("record {}", name.child), detail);
            }
        }
        self.check_reachable(&survey, findings);
        self.check_view_indexes(&survey, findings);
    }

    fn check_folder(&self, survey: &Survey, number: u64) -> Findings {
        let mut findings = Findings::default();
        let place = format!("folder {number}");
        let tree = match self.file_by_number(number).and_then(|file| self.tree(&file, name::I30)) {
            Ok(Some(tree)) => tree,
            Ok(None) => {
                findings.damage("index-missing", place, "the folder has no index $I30".into());
                return findings;
            }
            Err(error) => {
                findings.unreadable("index-unreadable", place, &error);
                return findings;
            }
        };
        let mut expected = Expected::of(survey, number);
        self.check_tree(&tree, place.clone(), &mut findings, &mut |entry, findings| {
            self.check_entry(survey, number, entry, &mut expected, findings);
        });
        for (name, _) in expected.names.iter().zip(&expected.met).filter(|(_, met)| !**met) {
            let detail = format!("a name of record {} is not in the index", name.child);
            findings.damage("name-not-indexed", place.clone(), detail);
        }
        findings
    }

    fn check_entry(
        &self,
        survey: &Survey,
        folder: u64,
        entry: &Entry<'_>,
        expected: &mut Expected<'_>,
        findings: &mut Findings,
    ) {
        let place = format!("folder {folder}");
        let view = match NameView::read(entry.key, 0) {
            Ok(view) => view,
            Err(error) => return findings.unreadable("name-unreadable", place, &error),
        };
        let child = FileReference(entry.reference());
        let text = || reseal_dtyp::utf16_lossy(&view.units().collect::<Vec<_>>());
        let hash = name_hash(child, view.parent(), view.namespace().byte(), view.name_bytes());
        if view.parent().record() != folder {
            let detail = format!("entry `{}` says that it lies in folder {}", text(), view.parent());
            findings.damage("entry-parent", place.clone(), detail);
        }
        if !expected.meet(child.record(), hash) {
            let detail = format!("entry `{}` for file {child}: {}", text(), self.describe(child));
            return findings.damage("entry-dangling", place, detail);
        }
        let Some(summary) = survey.summaries.get(child.record() as usize) else { return };
        let is_directory = summary.flags & summary_flag::DIRECTORY != 0;
        if (view.attributes() & file_name::DIRECTORY != 0) != is_directory && child.record() >= system::FIRST_USER {
            let detail = format!("entry `{}` has attributes {:#010x}, the record disagrees", text(), view.attributes());
            findings.inconsistent("directory-flag", place.clone(), detail);
        }
        let ordinary = child.record() >= FIRST_ORDINARY && !is_directory;
        if summary.flags & summary_flag::SIZED != 0 && ordinary && view.size() != summary.size {
            let detail = format!("entry `{}` says {} bytes, the file has {}", text(), view.size(), summary.size);
            findings.push(Level::Note, "entry-size-stale", place, detail);
        }
    }

    /// Folders that no path from the root leads to: their parents form a circle.
    fn check_reachable(&self, survey: &Survey, findings: &mut Findings) {
        const UNKNOWN: u32 = u32::MAX;
        let count = survey.summaries.len();
        let mut parent = vec![UNKNOWN; count];
        for name in &survey.names {
            let folder =
                |i: u32| survey.summaries.get(i as usize).is_some_and(|s| s.flags & summary_flag::DIRECTORY != 0);
            if folder(name.child)
                && u64::from(name.child) != system::ROOT
                && let Some(slot) = parent.get_mut(name.child as usize)
            {
                *slot = name.parent;
            }
        }
        // Not seen, on the path under way, decided.
        let mut state = vec![0u8; count];
        for start in 0..count {
            let mut path = Vec::new();
            let mut next = Some(start);
            while let Some(at) = next.filter(|&at| state.get(at) == Some(&0)) {
                state[at] = 1;
                path.push(at);
                next = Some(parent[at] as usize).filter(|_| parent[at] != UNKNOWN);
            }
            if let Some(at) = next.filter(|&at| state.get(at) == Some(&1)) {
                let detail = format!("the parents of folder {at} form a circle: no path from the root leads to it");
                findings.damage("folder-unreachable", format!("folder {at}"), detail);
            }
            path.into_iter().for_each(|i| state[i] = 2);
        }
    }

    /// The order and shape of the other indexes: `$Quota`, `$ObjId`, `$Reparse`.
    fn check_view_indexes(&self, survey: &Survey, findings: &mut Findings) {
        for (file_name, indexes) in
            [("$Quota", &[name::O, name::Q][..]), ("$ObjId", &[name::O][..]), ("$Reparse", &[name::R][..])]
        {
            let file = match self.extend_file(file_name).and_then(|r| r.map(|r| self.file(r)).transpose()) {
                Ok(Some(file)) => file,
                Ok(None) => continue,
                Err(error) => {
                    findings.unreadable("index-unreadable", file_name.into(), &error);
                    continue;
                }
            };
            for index in indexes {
                let place = format!("{file_name}:{}", String::from_utf16_lossy(index));
                match self.tree(&file, index) {
                    Ok(Some(tree)) => self.check_tree(&tree, place.clone(), findings, &mut |entry, findings| {
                        let target = match file_name {
                            "$Reparse" => entry.key.get(4..12),
                            "$ObjId" => entry.data().and_then(|d| d.get(..8)),
                            _ => None,
                        };
                        let Some(target) = target.and_then(|b| b.try_into().ok()).map(u64::from_le_bytes) else {
                            return;
                        };
                        let target = FileReference(target);
                        let alive = survey.summaries.get(target.record() as usize);
                        if !alive.is_some_and(|s| s.flags & summary_flag::BASE != 0 && s.sequence == target.sequence())
                        {
                            let detail = format!("an entry names file {target}: {}", self.describe(target));
                            findings.inconsistent("view-index-dangling", place.clone(), detail);
                        }
                    }),
                    Ok(None) => {}
                    Err(error) => findings.unreadable("index-unreadable", place, &error),
                }
            }
        }
    }
}
