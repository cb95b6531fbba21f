//! The commit: what is there is kept, then changed, then read again. Whatever fails, everything is taken back.

use super::apply::{hold, write_new, write_over};
use super::host::{Folder, HostKind, Way};
use super::manifest::{Content as Kept, MARK, Manifest, Place, Reader, Removed, Shelf, Was, Writer, digest_of};
use super::nodes::{FolderTree, Node};
use super::recover::take_back;
use super::tree::read_at;
use super::work::{At, Remove, Replace, Secure, Work};
use super::{TIMES, nodes};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{InPlace, Observer};
use crate::tree::NodeId;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::FileExt;

/// What the mark says to whoever finds it.
const MARK_TEXT: &str = "reseal was changing this volume and has not ended: it is half written.\r\n\
                         Run `reseal recover FOLDER` on the machine where its undo manifest lies.\r\n";

/// Does the work. The bytes of the undo manifest.
///
/// `Conflict`, with nothing written, when a file is not as it was planned for; `Interrupted` when neither the work nor taking it
/// back succeeded. After every other error the files are as they were.
pub(super) fn commit(tree: &FolderTree, work: &Work, how: InPlace<'_>, observer: &dyn Observer) -> Result<u64> {
    let shelf = Shelf::of(&tree.host, how.journal_folder)?;
    if how.keep_undo && shelf.kept().exists() {
        let detail = format!("what an earlier commit kept is there: {}", shelf.kept().display());
        return Err(Error::new(Kind::Conflict, detail).hint("remove it, or take that commit back first"));
    }
    observer.phase("keeping what is there");
    unchanged(tree, work)?;
    let kept = keep(tree, work, &shelf);
    let journal = kept.inspect_err(|_| drop(shelf.remove(&shelf.unfinished())))?;
    observer.phase("writing");
    let done = apply(tree, work, observer);
    if let Err(error) = done {
        let taken = Reader::open(&shelf.running()).and_then(|kept| take_back(&tree.host, tree.mount, &kept));
        return Err(match taken.and_then(|()| shelf.remove(&shelf.running())) {
            Ok(()) => error.hint("everything was put back as it was"),
            Err(second) => Error::new(Kind::Interrupted, format!("{error}; and it could not be put back: {second}"))
                .hint("make room, or mend what failed, then run `reseal recover FOLDER`"),
        });
    }
    let keep =
        || if how.keep_undo { shelf.rename(&shelf.running(), &shelf.kept()) } else { shelf.remove(&shelf.running()) };
    keep().map_err(|e| e.hint("the folder is sealed; the undo manifest beside it could not be removed"))?;
    Ok(journal)
}

/// The folder of a place, open.
fn folder_of(tree: &FolderTree, at: &At) -> Result<Folder> {
    tree.host.folder(&at.way).within(at.shown())
}

/// Fails with `Conflict` where anything that is to be changed is not as it was when it was planned for.
fn unchanged(tree: &FolderTree, work: &Work) -> Result<()> {
    let moved = |at: &At, what: &str| {
        Err(Error::new(Kind::Conflict, format!("{what} since it was read; nothing was written"))
            .subject(at.shown())
            .hint("let nobody else write to the volume, and run it again"))
    };
    let replaced = work.replace.iter().filter_map(|replace| Some((&replace.at, replace.node.host?)));
    let removed = work.remove.iter().map(|remove| (&remove.at, remove.stat));
    let renamed = work.rename.iter().map(|rename| (&rename.from, rename.stat));
    let known: Vec<_> = replaced.chain(removed).chain(renamed).collect();
    known.par_iter().try_for_each(|(at, was)| match folder_of(tree, at)?.stat(&at.name) {
        Ok(now) if now.is_unchanged(was) => Ok(()),
        Ok(_) => moved(at, "it was changed"),
        Err(e) if e.kind() == reseal_dtyp::Kind::NotFound => moved(at, "it was removed"),
        Err(e) => Err(e).within(at.shown()),
    })?;
    work.secure.par_iter().try_for_each(|secure| {
        let folder = folder_of(tree, &secure.at)?;
        let is_same = folder.stat(&secure.at.name)?.ino == secure.stat.ino;
        let descriptor = tree.mount.descriptor_of(&folder, &secure.at.name)?;
        if is_same && descriptor.as_ref() == work.was.get(secure.was) {
            return Ok(());
        }
        moved(&secure.at, "its descriptor was changed")
    })?;
    for remove in work.remove.iter().filter(|remove| remove.is_dir) {
        let way: Way = remove.at.way.iter().chain([&remove.at.name]).cloned().collect();
        let now = tree.host.folder(&way).within(remove.at.shown())?.names(usize::MAX - 1)?;
        let state = tree.lock();
        let was = state.listed.get(&remove.stat.ino).map(|list| list.iter().map(|e| e.host.clone()).collect());
        if was.as_ref() != Some(&now) {
            return moved(&remove.at, "its list of names was changed");
        }
    }
    let new = work.make.iter().map(|make| &make.at).chain(work.rename.iter().map(|rename| &rename.to));
    let made = |at: &At| work.make.iter().any(|make| make.node.is_dir && is_below(at, &make.at));
    for at in new.filter(|at| !made(at)) {
        if folder_of(tree, at)?.exists(&at.name)? {
            return moved(at, "a file of that name came");
        }
    }
    Ok(())
}

/// Whether a place lies in a folder or below it.
fn is_below(at: &At, folder: &At) -> bool {
    at.way.len() > folder.way.len() && at.way.starts_with(&folder.way) && at.way[folder.way.len()] == folder.name
}

/// The name under which a file is made before it takes another one's place.
fn temporary(number: usize) -> OsString {
    format!("reseal-{number:08x}.tmp").into()
}

/// Keeps what is there, durably.
fn keep(tree: &FolderTree, work: &Work, shelf: &Shelf) -> Result<u64> {
    let mut writer = Writer::new(shelf)?;
    let (root, here) = (tree.host.folder(&[])?, OsStr::new("."));
    let created = root.attribute(here, TIMES)?.and_then(|times| Some(times.get(..8)?.to_vec()));
    let mut manifest = Manifest {
        folder: tree.host.path.display().to_string(),
        root: (tree.root, created),
        descriptors: work.was.clone(),
        ..Manifest::default()
    };
    for (number, replace) in work.replace.iter().enumerate() {
        manifest.contents.push(keep_content(tree, replace, number, &mut writer).within(replace.at.shown())?);
    }
    manifest.secured = work.secure.iter().map(|secure| (Place::from(&secure.at), secure.was)).collect();
    for remove in &work.remove {
        manifest.removed.push(keep_removed(tree, remove, &mut writer).within(remove.at.shown())?);
    }
    manifest.made = work.make.iter().map(|make| (Place::from(&make.at), make.node.is_dir)).collect();
    for rename in &work.rename {
        let traits = tree.mount.name_traits_of(&folder_of(tree, &rename.from)?, &rename.from.name)?;
        manifest.renamed.push((Place::from(&rename.from), Place::from(&rename.to), traits));
    }
    for folder in &work.touched {
        let (way, name) = tree.lock().on_host(tree.root, NodeId(*folder))?;
        let traits = tree.mount.times_of(&tree.host.folder(&way)?, &name)?;
        manifest.touched.push((Place::from(&At { way, name }), traits));
    }
    writer.finish(shelf, manifest)
}

fn keep_removed(tree: &FolderTree, remove: &Remove, writer: &mut Writer) -> Result<Removed> {
    let (folder, name) = (folder_of(tree, &remove.at)?, remove.at.name.as_os_str());
    let descriptor = tree.lock().nodes.get(&remove.stat.ino).and_then(|node| node.descriptors.0);
    let traits = tree.mount.traits_of(&folder, name, descriptor, writer)?;
    let has_data = traits.others.iter().any(|(name, _)| name == super::REPARSE.as_bytes());
    let is_dir = traits.attributes.is_some_and(|attributes| attributes & nodes::DIRECTORY != 0);
    let what = match (&remove.same_as, remove.stat.kind) {
        (Some(other), _) => Was::NameOf(Place::from(other)),
        (None, HostKind::Folder) => Was::Folder,
        (None, HostKind::Link) if has_data && is_dir => Was::Folder,
        (None, HostKind::Link) if has_data => Was::File(writer.add(&[])?),
        (None, HostKind::Link) => Was::Link(folder.target(name)?),
        (None, HostKind::File) => {
            let file = folder.read(name)?;
            Was::File(writer.copy(|at, buf| read_at(&file, at, buf))?)
        }
        (None, HostKind::Special) => {
            return Err(Error::new(Kind::Unsupported, "a device, a pipe, a socket or a mount is not removed"));
        }
    };
    Ok(Removed { place: Place::from(&remove.at), traits, what })
}

fn keep_content(tree: &FolderTree, replace: &Replace, number: usize, writer: &mut Writer) -> Result<Kept> {
    let Replace { at, node } = replace;
    let (folder, stat) = (folder_of(tree, at)?, node.host.ok_or_else(|| Error::new(Kind::Internal, "a new file"))?);
    let traits = tree.mount.traits_of(&folder, &at.name, node.descriptors.0, writer)?;
    let file = folder.read(&at.name)?;
    let mut pieces = Vec::new();
    match &node.content {
        nodes::Content::Pieces(staged) => {
            for (start, piece) in staged.iter() {
                let mut old = vec![0; piece.len()];
                read_at(&file, *start, &mut old)?;
                pieces.push((*start, writer.add(&old)?));
            }
        }
        _ => pieces.push((0, writer.copy(|at, buf| read_at(&file, at, buf))?)),
    }
    let is_new = tree.mount.can_be_made_anew(&folder, &at.name, &stat)?;
    let temporary = is_new.then(|| At { way: at.way.clone(), name: temporary(number) });
    if let Some(temporary) = &temporary
        && folder.exists(&temporary.name)?
    {
        return Err(Error::new(Kind::Conflict, "there is a file of that name").subject(temporary.shown()));
    }
    let mut content = tree.open(NodeId(stat.ino))?;
    Ok(Kept {
        place: Place::from(at),
        traits,
        size: stat.size,
        pieces,
        temporary: temporary.as_ref().map(Place::from),
        after: digest_of(|at, buf| content.read_at(at, buf))?,
    })
}

/// Changes the files, and reads them again.
fn apply(tree: &FolderTree, work: &Work, observer: &dyn Observer) -> Result<()> {
    let root = tree.host.folder(&[])?;
    let mark = root.create(OsStr::new(MARK))?;
    mark.write_all_at(MARK_TEXT.as_bytes(), 0).map_err(super::apply::written(OsStr::new(MARK)))?;
    mark.sync_all().map_err(super::apply::written(OsStr::new(MARK)))?;
    for (number, replace) in work.replace.iter().enumerate() {
        put(tree, work, replace, number).within(replace.at.shown())?;
    }
    secure(tree, work)?;
    for remove in &work.remove {
        folder_of(tree, &remove.at)?.remove(&remove.at.name, remove.stat.kind == HostKind::Folder)?;
    }
    for make in &work.make {
        make_one(tree, work, &make.at, &make.node).within(make.at.shown())?;
    }
    tree.host.sync()?;
    observer.phase("reading back");
    work.replace.par_iter().try_for_each(|replace| {
        hold(&folder_of(tree, &replace.at)?, &replace.at.name, &replace.node).within(replace.at.shown())
    })?;
    let files: Vec<_> = work.make.iter().filter(|make| !make.node.is_dir).collect();
    files
        .par_iter()
        .try_for_each(|make| hold(&folder_of(tree, &make.at)?, &make.at.name, &make.node).within(make.at.shown()))?;
    for rename in &work.rename {
        let (from, to) = (folder_of(tree, &rename.from)?, folder_of(tree, &rename.to)?);
        tree.mount.rename((&from, &rename.from.name), (&to, &rename.to.name)).within(rename.from.shown())?;
    }
    root.remove(OsStr::new(MARK), false)?;
    times(tree, work)?;
    root.sync()?;
    tree.host.sync()?;
    Ok(())
}

/// Names that come and go, and the mark, gave folders the host's time: they get the one that was planned, or their own again.
fn times(tree: &FolderTree, work: &Work) -> Result<()> {
    for id in &work.touched {
        let (at, when) = {
            let state = tree.lock();
            let Some(node) = state.nodes.get(id).filter(|node| node.fate == nodes::Fate::Stays) else { continue };
            let Some(when) = node.written.or(node.host.map(|stat| stat.written)) else { continue };
            let mut way = state.way_to_be(tree.root, *id)?;
            let name = way.pop().unwrap_or_else(|| OsString::from("."));
            (At { way, name }, when)
        };
        let folder = folder_of(tree, &at)?;
        let traits = tree.mount.times_of(&folder, &at.name)?;
        tree.mount.set_written(&folder, &at.name, when, Some(&traits)).within(at.shown())?;
    }
    Ok(())
}

/// One file with its new content: a new file that takes its place, or the same one.
fn put(tree: &FolderTree, work: &Work, replace: &Replace, number: usize) -> Result<()> {
    let Replace { at, node } = replace;
    let folder = folder_of(tree, at)?;
    let stat = folder.stat(&at.name)?;
    let traits = tree.mount.times_of(&folder, &at.name)?;
    let when = node.written.unwrap_or(stat.written);
    if tree.mount.can_be_made_anew(&folder, &at.name, &stat)? {
        let name = temporary(number);
        let file = folder.create(&name)?;
        write_new(&file, &name, tree.open(NodeId(stat.ino))?)?;
        if let Some(descriptor) = node.descriptors.0.and_then(|number| work.was.get(number)) {
            tree.mount.secure(&folder, &name, descriptor)?;
        }
        tree.mount.set_attributes(&folder, &name, node.attributes)?;
        folder.rename(&name, &folder, &at.name, true)?;
        folder.sync()?;
    } else {
        write_over(&folder, &at.name, &node.content)?;
    }
    tree.mount.set_written(&folder, &at.name, when, Some(&traits))
}

/// Descriptors, folder by folder, side by side.
fn secure(tree: &FolderTree, work: &Work) -> Result<()> {
    let mut folders: BTreeMap<&Way, Vec<&Secure>> = BTreeMap::new();
    for secure in &work.secure {
        folders.entry(&secure.at.way).or_default().push(secure);
    }
    folders.into_iter().collect::<Vec<_>>().par_iter().try_for_each(|(way, files)| {
        let folder = tree.host.folder(way)?;
        files.iter().try_for_each(|file| {
            let descriptor = work.now.get(file.now).map(Vec::as_slice).unwrap_or_default();
            tree.mount.secure(&folder, &file.at.name, descriptor).within(file.at.shown())
        })
    })
}

fn make_one(tree: &FolderTree, work: &Work, at: &At, node: &Node) -> Result<()> {
    let folder = folder_of(tree, at)?;
    if node.is_dir {
        folder.make_folder(&at.name)?;
    } else {
        let file = folder.create(&at.name)?;
        let nodes::Content::Whole(bytes) = &node.content else {
            return Err(Error::new(Kind::Internal, "a new file without a content"));
        };
        file.write_all_at(bytes, 0).and_then(|()| file.sync_all()).map_err(super::apply::written(&at.name))?;
        tree.mount.set_attributes(&folder, &at.name, node.attributes)?;
    }
    if let Some(descriptor) = node.descriptors.1.and_then(|number| work.now.get(number)) {
        tree.mount.secure(&folder, &at.name, descriptor)?;
    }
    folder.sync()?;
    tree.mount.set_written(&folder, &at.name, node.written.unwrap_or_default(), None)
}
