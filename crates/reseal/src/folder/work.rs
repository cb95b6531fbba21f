//! What has to be done to the files of the host so that they become what is staged.

use super::host::{HostStat, Way};
use super::nodes::{Content, Fate, FolderTree, Node, State};
use super::{names, shown};
use crate::SidOutcome;
use crate::error::{Error, Kind, Result};
use crate::staging::Staged;
use crate::wim::Allowed;
use reseal_dtyp::utf16_lossy;
use reseal_sid::SidMap;
use reseal_wim::names as letters;
use std::collections::BTreeSet;
use std::ffi::OsString;

/// A name on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    pub(super) way: Way,
    pub(super) name: OsString,
}

impl At {
    pub(super) fn shown(&self) -> String {
        shown(&self.way, &self.name)
    }
}

/// A file with another content.
#[derive(Debug)]
pub(super) struct Replace {
    pub(super) at: At,
    pub(super) node: Node,
}

/// A name that goes.
#[derive(Debug)]
pub(super) struct Remove {
    pub(super) at: At,
    pub(super) stat: HostStat,
    pub(super) is_dir: bool,
    /// Another name of the same file, that stays or goes before this one.
    pub(super) same_as: Option<At>,
}

/// A file or folder that is made.
#[derive(Debug)]
pub(super) struct Make {
    pub(super) at: At,
    pub(super) node: Node,
}

/// A name that becomes another one.
#[derive(Debug)]
pub(super) struct Rename {
    pub(super) from: At,
    pub(super) to: At,
    pub(super) stat: HostStat,
}

/// A file with another descriptor: the numbers of the old one and the new one.
#[derive(Debug)]
pub(super) struct Secure {
    pub(super) at: At,
    pub(super) stat: HostStat,
    pub(super) was: usize,
    pub(super) now: usize,
}

/// Everything, in the order in which it is done. Places are named as they are before anything is renamed, which is done last.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) replace: Vec<Replace>,
    pub(super) secure: Vec<Secure>,
    /// Files, then folders from the deepest.
    pub(super) remove: Vec<Remove>,
    /// Folders from the highest, then files.
    pub(super) make: Vec<Make>,
    /// From the deepest.
    pub(super) rename: Vec<Rename>,
    /// Folders on the host whose times will change: those of names that come and go, of files that are made anew, and the root,
    /// in which the mark lies.
    pub(super) touched: BTreeSet<u64>,
    /// The descriptors that numbers mean.
    pub(super) was: Vec<Vec<u8>>,
    pub(super) now: Vec<Vec<u8>>,
}

/// The way to a folder before anything is renamed, be it on the host or not.
fn way_before(state: &State, root: u64, folder: u64) -> Result<Way> {
    let (mut at, mut made) = (folder, Vec::new());
    while at != root {
        let node = state.nodes.get(&at).ok_or_else(|| lost(at))?;
        if node.host.is_some() {
            let mut way = state.way(root, at)?;
            way.extend(made.into_iter().rev());
            return Ok(way);
        }
        let (above, name) = node.places.first().ok_or_else(|| lost(at))?;
        made.push(name.clone());
        at = *above;
    }
    made.reverse();
    Ok(made)
}

fn lost(node: u64) -> Error {
    Error::new(Kind::Internal, format!("the file {node} has no name")).hint("this is a defect of reseal")
}

impl Work {
    /// What differs between the host and what is staged.
    pub(super) fn of(tree: &FolderTree) -> Result<Work> {
        let state = tree.lock();
        let touched = BTreeSet::from([tree.root]);
        let mut work = Work { was: state.was.clone(), now: state.now.clone(), touched, ..Work::default() };
        let mut ids: Vec<u64> = state.nodes.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(node) = state.nodes.get(&id) else { continue };
            match node.host {
                Some(stat) => work.of_known(&state, tree.root, (id, node), stat)?,
                None if node.fate == Fate::Stays => {
                    let (folder, name) = node.places.first().ok_or_else(|| lost(id))?;
                    let at = At { way: way_before(&state, tree.root, *folder)?, name: name.clone() };
                    work.make.push(Make { at, node: node.clone() });
                }
                None => {}
            }
        }
        work.remove.sort_by_key(|gone| (gone.is_dir, std::cmp::Reverse(gone.at.way.len())));
        work.make.sort_by_key(|new| (!new.node.is_dir, new.at.way.len()));
        work.rename.sort_by_key(|renamed| std::cmp::Reverse(renamed.from.way.len()));
        Ok(work)
    }

    fn of_known(&mut self, state: &State, root: u64, (id, node): (u64, &Node), stat: HostStat) -> Result<()> {
        let at = |(folder, name): &(u64, OsString)| -> Result<At> {
            Ok(At { way: state.way(root, *folder)?, name: name.clone() })
        };
        let own = match node.origin.first() {
            Some(origin) => at(origin)?,
            None => At { way: Way::new(), name: OsString::from(".") },
        };
        if node.fate == Fate::Goes {
            for (number, origin) in node.origin.iter().enumerate() {
                let same_as = (number > 0).then(|| own.clone());
                self.remove.push(Remove { at: at(origin)?, stat, is_dir: node.is_open(), same_as });
            }
            return Ok(());
        }
        if !matches!(node.content, Content::Stored) {
            self.replace.push(Replace { at: own.clone(), node: node.clone() });
        }
        if let (Some(was), Some(now)) = node.descriptors
            && state.was.get(was) != state.now.get(now)
        {
            self.secure.push(Secure { at: own.clone(), stat, was, now });
        }
        let gone = node.origin.iter().filter(|origin| !node.places.contains(origin));
        let mut come = node.places.iter().filter(|place| !node.origin.contains(place));
        for origin in gone {
            match come.next() {
                Some((folder, name)) => {
                    let to = At { way: way_before(state, root, *folder)?, name: name.clone() };
                    self.rename.push(Rename { from: at(origin)?, to, stat });
                }
                None => {
                    let kept = node.origin.iter().find(|origin| node.places.contains(origin));
                    let same_as = Some(at(kept.ok_or_else(|| lost(id))?)?);
                    self.remove.push(Remove { at: at(origin)?, stat, is_dir: false, same_as });
                }
            }
        }
        if node.written.is_some() {
            self.touched.extend(if node.is_dir { Some(id) } else { node.origin.first().map(|(folder, _)| *folder) });
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.replace.is_empty()
            && self.secure.is_empty()
            && self.remove.is_empty()
            && self.make.is_empty()
            && self.rename.is_empty()
    }

    /// Bytes of files that are written.
    pub(super) fn bytes(&self) -> u64 {
        let of = |node: &Node| match &node.content {
            Content::Stored => 0,
            Content::Whole(bytes) => bytes.len() as u64,
            Content::Pieces(pieces) => pieces.values().map(|piece| piece.len() as u64).sum(),
        };
        let secured: usize = self.secure.iter().filter_map(|secure| self.now.get(secure.now)).map(Vec::len).sum();
        self.replace.iter().map(|r| of(&r.node)).chain(self.make.iter().map(|m| of(&m.node))).sum::<u64>()
            + secured as u64
    }

    /// The guard against stray changes: `Internal` for one that the plan does not name.
    pub(super) fn refuse_strays(&self, staged: &Staged) -> Result<()> {
        let map = staged.sid.as_ref().map(SidOutcome::map).transpose()?;
        let map = map.as_ref();
        let allowed = Allowed::of(staged, map);
        let named = |at: &At| if allowed.has(&upper(at, map)) { Ok(()) } else { Err(stray(at)) };
        self.replace.iter().try_for_each(|replace| named(&replace.at))?;
        self.remove.iter().try_for_each(|remove| named(&remove.at))?;
        self.make.iter().try_for_each(|make| named(&make.at))?;
        for rename in &self.rename {
            let (old, new) = (names::units(&rename.from.name).0, names::units(&rename.to.name).0);
            let is_sid = rename.from.way == rename.to.way && map.and_then(|map| map.rewrite_units(&old)) == Some(new);
            if !is_sid {
                named(&rename.from)?;
                named(&rename.to)?;
            }
        }
        for secure in &self.secure {
            let mut was = self.was.get(secure.was).cloned().unwrap_or_default();
            if let Some(map) = map {
                map.rewrite_descriptor(&mut was)?;
            }
            if self.now.get(secure.now) != Some(&was) {
                named(&secure.at)?;
            }
        }
        Ok(())
    }
}

fn stray(at: &At) -> Error {
    Error::new(Kind::Internal, format!("a change that the plan does not name: {}", at.shown()))
        .hint("this is a defect of reseal; nothing was written")
}

/// A place as the guard names it: in capitals, as it will be called.
fn upper(at: &At, map: Option<&SidMap>) -> String {
    let name = |host: &OsString| {
        let units = names::units(host).0;
        let renamed = map.and_then(|map| map.rewrite_units(&units)).unwrap_or(units);
        format!(r"\{}", utf16_lossy(&letters::upper(&renamed)))
    };
    at.way.iter().chain([&at.name]).map(name).collect()
}
