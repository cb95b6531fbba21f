//! After an interrupted commit, and back to the folder before a finished one: from the undo manifest everything is put back as
//! it was. Each act does nothing where it was done before, so that an interrupted recovery is recovered, too.

use super::host::{Folder, Host};
use super::manifest::{Content, MARK, Manifest, Place, Reader, Removed, Shelf, Traits, Was, digest_of};
use super::tree::read_at;
use super::work::At;
use super::{Mount, TIMES};
use crate::error::{Error, Kind, Result, Within};
use crate::recover::{Recovery, RecoveryReport};
use rayon::prelude::*;
use std::ffi::OsStr;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Takes back what a killed commit left half done, or, with `undo`, a finished one that kept its manifest.
pub(crate) fn recover(folder: &str, how: Recovery<'_>) -> Result<RecoveryReport> {
    let run = || -> Result<&'static str> {
        let host = Host::open(Path::new(folder))?;
        host.lock()?;
        let shelf = Shelf::of(&host, how.journal_folder)?;
        let (running, kept, unfinished) = (shelf.running(), shelf.kept(), shelf.unfinished());
        let (path, outcome) = match () {
            () if running.exists() => (&running, "undone"),
            () if how.undo && kept.exists() => (&kept, "undone"),
            () if host.folder(&[])?.exists(OsStr::new(MARK))? => {
                let detail = format!("the volume is half written, and there is no undo manifest {}", running.display());
                return Err(Error::new(Kind::Interrupted, detail)
                    .hint("give `--journal DIR` as the commit had it; without the manifest the volume is lost"));
            }
            () if unfinished.exists() => {
                shelf.remove(&unfinished)?;
                return Ok("discarded");
            }
            () => return Err(Error::new(Kind::NothingToDo, "no interrupted commit lies beside the folder")),
        };
        if host.is_read_only()? {
            return Err(Error::new(Kind::Unsupported, "the volume is mounted read-only").hint("mount it read-write"));
        }
        let (mount, reader) = (Mount::probe(&host)?, Reader::open(path)?);
        if path == &kept {
            // What was changed since then is nobody's to throw away.
            let Manifest { contents, renamed, .. } = &reader.manifest;
            contents.par_iter().try_for_each(|content| is_as_written(&host, content, renamed))?;
            shelf.rename(&kept, &running)?;
        }
        take_back(&host, mount, &reader)?;
        shelf.remove(&running)?;
        Ok(outcome)
    };
    let outcome = run().within(folder)?;
    Ok(RecoveryReport { schema: "reseal.recovery/1", image: folder.into(), outcome })
}

/// `Conflict` when a file that was written is not what was written.
fn is_as_written(host: &Host, content: &Content, renamed: &[(Place, Place, Traits)]) -> Result<()> {
    let at = content.place.after(renamed).at()?;
    let run = || -> Result<bool> {
        let file = host.folder(&at.way)?.read(&at.name)?;
        Ok(digest_of(|at, buf| read_at(&file, at, buf))? == content.after)
    };
    if run().within(at.shown())? {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, "the file was changed after the commit; nothing was written").subject(at.shown()))
}

/// Puts everything back as the manifest says it was.
pub(super) fn take_back(host: &Host, mount: Mount, kept: &Reader) -> Result<()> {
    let (root, here) = (host.folder(&[])?, OsStr::new("."));
    let created = root.attribute(here, TIMES)?.and_then(|times| Some(times.get(..8)?.to_vec()));
    if (root.stat(here)?.ino, created) != kept.manifest.root {
        let detail = format!("the undo manifest is of another volume, that was mounted at {}", kept.manifest.folder);
        return Err(
            Error::new(Kind::Conflict, detail).hint("mount the volume that was being written; nothing was written")
        );
    }
    let back = Back { host, mount, kept };
    for (from, to, traits) in kept.manifest.renamed.iter().rev() {
        back.rename(&from.at()?, &to.at()?, traits)?;
    }
    for (place, is_dir) in kept.manifest.made.iter().rev() {
        back.unmake(&place.at()?, *is_dir)?;
    }
    let folders = kept.manifest.removed.iter().rev().filter(|removed| matches!(removed.what, Was::Folder));
    let files = kept.manifest.removed.iter().filter(|removed| matches!(removed.what, Was::File(_) | Was::Link(_)));
    let names = kept.manifest.removed.iter().filter(|removed| matches!(removed.what, Was::NameOf(_)));
    folders.chain(files).chain(names).try_for_each(|removed| back.bring(removed))?;
    kept.manifest.contents.iter().try_for_each(|content| back.content(content))?;
    kept.manifest.secured.par_iter().try_for_each(|(place, number)| {
        let at = place.at()?;
        let descriptor = kept.manifest.descriptors.get(*number).map(Vec::as_slice).unwrap_or_default();
        mount.secure(&back.folder(&at)?, &at.name, descriptor).within(at.shown())
    })?;
    if root.exists(OsStr::new(MARK))? {
        root.remove(OsStr::new(MARK), false)?;
    }
    back.times()?;
    root.sync()?;
    host.sync()?;
    Ok(())
}

struct Back<'a> {
    host: &'a Host,
    mount: Mount,
    kept: &'a Reader,
}

impl Back<'_> {
    fn folder(&self, at: &At) -> Result<Folder> {
        self.host.folder(&at.way).within(at.shown())
    }

    /// Whether a name is there; not in a folder that is not.
    fn exists(&self, at: &At) -> Result<bool> {
        match self.host.folder(&at.way) {
            Ok(folder) => Ok(folder.exists(&at.name)?),
            Err(e) if e.kind() == reseal_dtyp::Kind::NotFound => Ok(false),
            Err(e) => Err(e).within(at.shown()),
        }
    }

    /// The name, and what ntfs-3g changes with it, also where a rename was cut off between the two.
    fn rename(&self, from: &At, to: &At, traits: &Traits) -> Result<()> {
        let is_back = self.exists(from)?;
        if !is_back && !self.exists(to)? {
            let detail = format!("neither it nor {}, as it was renamed, is there", to.shown());
            return Err(Error::new(Kind::Conflict, detail).subject(from.shown()));
        }
        let old = self.folder(from)?;
        if !is_back {
            self.folder(to)?.rename(&to.name, &old, &from.name, false).within(from.shown())?;
        }
        if let Some(attributes) = traits.attributes {
            self.mount.set_attributes(&old, &from.name, attributes).within(from.shown())?;
        }
        self.mount.restore_short_name(&old, &from.name, traits.short_name.as_deref()).within(from.shown())
    }

    fn unmake(&self, at: &At, is_dir: bool) -> Result<()> {
        if self.exists(at)? {
            self.folder(at)?.remove(&at.name, is_dir).within(at.shown())?;
        }
        Ok(())
    }

    /// Brings back what was removed.
    fn bring(&self, removed: &Removed) -> Result<()> {
        let at = removed.place.at()?;
        let run = || -> Result<()> {
            let (folder, name) = (self.folder(&at)?, at.name.as_os_str());
            let is_there = folder.exists(name)?;
            match &removed.what {
                Was::NameOf(other) => {
                    let other = other.at()?;
                    if !is_there {
                        self.folder(&other)?.link(&other.name, &folder, name)?;
                    }
                    return Ok(());
                }
                Was::Folder if !is_there => folder.make_folder(name)?,
                Was::Link(target) if !is_there => folder.make_link(name, target)?,
                Was::File(_) if !is_there => match self.other_name(&removed.place)? {
                    Some(other) => self.folder(&other)?.link(&other.name, &folder, name)?,
                    None => drop(folder.create(name)?),
                },
                Was::Folder | Was::Link(_) | Was::File(_) => {}
            }
            if let Was::File(blob) = &removed.what
                && removed.traits.others.iter().all(|(name, _)| name != super::REPARSE.as_bytes())
            {
                let file = folder.write(name)?;
                if digest_of(|at, buf| read_at(&file, at, buf))? != blob.sha256 {
                    let set = |len: u64| file.set_len(len).map_err(super::apply::written(name));
                    set(0)?;
                    self.kept
                        .give(blob, |at, bytes| file.write_all_at(bytes, at).map_err(super::apply::written(name)))?;
                    file.sync_all().map_err(super::apply::written(name))?;
                }
            }
            self.mount.restore(&folder, name, &removed.traits, self.kept)?;
            self.mount.restore_times(&folder, name, &removed.traits)
        };
        run().within(at.shown())
    }

    /// Another name of a removed file that is still there.
    fn other_name(&self, place: &Place) -> Result<Option<At>> {
        for removed in &self.kept.manifest.removed {
            if matches!(&removed.what, Was::NameOf(of) if of == place) {
                let at = removed.place.at()?;
                if self.exists(&at)? {
                    return Ok(Some(at));
                }
            }
        }
        Ok(None)
    }

    /// Puts the old bytes back.
    fn content(&self, content: &Content) -> Result<()> {
        let at = content.place.at()?;
        let run = || -> Result<()> {
            let (folder, name) = (self.folder(&at)?, at.name.as_os_str());
            if let Some(temporary) = &content.temporary {
                self.unmake(&temporary.at()?, false)?;
            }
            let file = folder.write(name)?;
            let failed = super::apply::written(name);
            for (start, blob) in &content.pieces {
                self.kept.give(blob, |at, bytes| file.write_all_at(bytes, start + at).map_err(&failed))?;
            }
            file.set_len(content.size).map_err(&failed)?;
            file.sync_all().map_err(&failed)?;
            self.mount.restore(&folder, name, &content.traits, self.kept)
        };
        run().within(at.shown())
    }

    /// Times last: every other act changes them.
    fn times(&self) -> Result<()> {
        let contents = self.kept.manifest.contents.iter().map(|content| (&content.place, &content.traits));
        let touched = self.kept.manifest.touched.iter().map(|(place, traits)| (place, traits));
        let renamed = self.kept.manifest.renamed.iter().map(|(from, _, traits)| (from, traits));
        for (place, traits) in renamed.chain(contents).chain(touched) {
            let at = place.at()?;
            self.mount.restore_times(&self.folder(&at)?, &at.name, traits).within(at.shown())?;
        }
        Ok(())
    }
}
