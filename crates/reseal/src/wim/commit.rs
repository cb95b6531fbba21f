//! Committing changed images of a WIM: by appending, or by a new file.

use super::description::Description;
use super::images::WimImages;
use super::output::{self, Append, ToNewFile};
use super::tree::{NewContent, WimTree};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use rayon::prelude::*;
use reseal_disk::journal::Media;
use reseal_disk::{NewFile, open_file};
use reseal_dtyp::{FileTime, Guid};
use reseal_wim::{Finished, Image, Sha1Hash, Storage, Wim, Writer};
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// A WIM, and those of its images that differ from what it holds.
#[derive(Debug)]
pub(crate) struct WimCommit {
    pub(crate) images: WimImages,
    /// Numbers of the images that stay; the others are left out of a new file.
    pub(crate) kept: Vec<u32>,
    /// Numbers and images.
    pub(crate) changed: Vec<(u32, WimTree)>,
    /// How what is new is stored.
    pub(crate) storage: Storage,
    /// Id of a new WIM.
    pub(crate) guid: Guid,
    /// When images were changed.
    pub(crate) now: FileTime,
}

impl WimCommit {
    /// Writes a new WIM with all images. What no image names any more is nowhere in it. Returns its length in bytes.
    pub(crate) fn write_to(&self, out: &Path, observer: &dyn Observer) -> Result<u64> {
        let run = || -> Result<u64> {
            let file = NewFile::create(out)?;
            let len = self.write_new_file(&file, observer)?;
            file.publish()?;
            Ok(len)
        };
        run().within(out.display())
    }

    /// The same in place of the old one. Before its last act, a rename, it is the old one.
    pub(crate) fn replace(&self, observer: &dyn Observer) -> Result<u64> {
        let path = self.images.path();
        let run = || -> Result<u64> {
            // A symbolic link is followed, not replaced.
            let path = std::fs::canonicalize(path).map_err(|e| reseal_dtyp::Error::io("cannot follow the path", e))?;
            let file = NewFile::beside(&path)?;
            let len = self.write_new_file(&file, observer)?;
            file.replace()?;
            Ok(len)
        };
        run().within(path.display())
    }

    fn write_new_file(&self, file: &NewFile, observer: &dyn Observer) -> Result<u64> {
        observer.phase("writing");
        let wim = self.images.wim();
        let mut output = ToNewFile(file);
        let header = wim.header().of_copy(self.guid);
        let mut writer = Writer::new(&mut output, header, self.storage, wim.has_integrity());
        let changed = self.changed();
        let references = wim.references(&self.kept, &changed)?;
        self.write_new(&mut writer, &references)?;
        copy_blobs(&mut writer, wim, &references, observer)?;
        let metadata = self.metadata()?;
        let done = self.write_tables(writer, &metadata, &references, false)?;
        file.set_len(done.len)?;
        file.write_at(0, &done.header)?;
        file.sync()?;
        self.read_back(&Wim::open(open_file(file.path())?)?, &metadata, &references, observer)?;
        Ok(done.len)
    }

    /// Appends what changed and then writes the header, in one sector: before that it is the old WIM, with bytes behind its end
    /// that mean nothing. Returns the bytes written.
    pub(crate) fn append(mut self, observer: &dyn Observer) -> Result<u64> {
        let path = self.images.path().to_owned();
        let media = self.images.media.take();
        let run = || -> Result<u64> {
            let mut media = media.ok_or_else(|| {
                Error::new(Kind::Internal, "the WIM is not open for writing").hint("this is a defect of reseal")
            })?;
            observer.phase("writing");
            let wim = Arc::clone(self.images.wim());
            let changed = self.changed();
            let references = wim.references(&self.kept, &changed)?;
            let metadata = self.metadata()?;
            let written = output::commit(&mut media, &wim, &mut |append: &mut Append<'_>| {
                let mut writer = Writer::behind(append, &wim, self.storage)?;
                self.write_new(&mut writer, &references)?;
                self.write_tables(writer, &metadata, &references, true)
            })?;
            let len = media.image_len()?;
            self.read_back(&Wim::open(Arc::new(output::Written { media, len }))?, &metadata, &references, observer)?;
            Ok(written)
        };
        run().within(path.display())
    }

    /// The images that differ.
    fn changed(&self) -> HashMap<u32, &Image> {
        let changed = self.changed.iter().filter(|(_, tree)| tree.is_changed);
        changed.map(|(index, tree)| (*index, &tree.image)).collect()
    }

    /// Their metadata, as it is written.
    fn metadata(&self) -> reseal_dtyp::Result<HashMap<u32, Cow<'_, [u8]>>> {
        let changed: Vec<_> = self.changed.iter().filter(|(_, tree)| tree.is_changed).collect();
        changed.into_par_iter().map(|(index, tree)| Ok((*index, tree.metadata()?))).collect()
    }

    /// Writes contents that are new and named, in the order of their hashes: the same plan gives the same bytes.
    fn write_new(&self, writer: &mut Writer<'_>, references: &HashMap<Sha1Hash, u32>) -> reseal_dtyp::Result<()> {
        let mut new: Vec<(&Sha1Hash, &NewContent)> = self.changed.iter().flat_map(|(_, tree)| &tree.new).collect();
        new.retain(|(hash, _)| references.contains_key(*hash));
        new.sort_by_key(|(hash, _)| *hash);
        new.into_iter().try_for_each(|(hash, content)| {
            let earlier = content.earlier.as_ref().and_then(|earlier| self.images.wim().earlier(earlier));
            writer.hashed_blob(*hash, &content.bytes, earlier.as_ref()).map(drop)
        })
    }

    /// Metadata of every image, XML data, tables.
    fn write_tables(
        &self,
        mut writer: Writer<'_>,
        metadata: &HashMap<u32, Cow<'_, [u8]>>,
        references: &HashMap<Sha1Hash, u32>,
        same_file: bool,
    ) -> reseal_dtyp::Result<Finished> {
        let wim = self.images.wim();
        for number in &self.kept {
            match metadata.get(number) {
                Some(metadata) => writer.metadata(metadata, wim.earlier_metadata(*number).as_ref())?,
                None => writer.copy_image(wim, *number, same_file)?,
            }
        }
        let boot = self.kept.iter().position(|number| *number == wim.header().boot_image);
        let boot = boot.map_or(0, |at| at as u32 + 1);
        let xml = self.xml().map_err(|e| reseal_dtyp::Error::new(reseal_dtyp::Kind::Damaged, e.to_string()))?;
        writer.finish(references, boot, &xml)
    }

    fn xml(&self) -> Result<Vec<u8>> {
        let mut description = Description::read(&self.images.wim().xml()?);
        for (index, tree) in self.changed.iter().filter(|(_, tree)| tree.is_changed) {
            description.update(*index, tree.counts()?, self.now)?;
        }
        description.keep(&self.kept)?;
        Ok(description.to_bytes())
    }

    /// What was written must read back: the metadata of every changed image as it was planned, every new content by its SHA-1.
    fn read_back(
        &self,
        written: &Wim,
        metadata: &HashMap<u32, Cow<'_, [u8]>>,
        references: &HashMap<Sha1Hash, u32>,
        observer: &dyn Observer,
    ) -> Result<()> {
        observer.phase("reading back");
        for (place, number) in self.kept.iter().enumerate() {
            if let Some(planned) = metadata.get(number)
                && written.metadata(place as u32 + 1)? != **planned
            {
                return Err(Error::new(Kind::Io, format!("image {number} reads back differently")));
            }
        }
        let new: BTreeSet<&Sha1Hash> = self.changed.iter().flat_map(|(_, tree)| tree.new.keys()).collect();
        new.into_par_iter().filter(|hash| references.contains_key(*hash)).try_for_each(|hash| -> Result<()> {
            if let Some(blob) = written.blob(hash)? {
                written.read_in_parts(blob, &mut |_| Ok(()))?;
            }
            Ok(())
        })
    }
}

/// Every content that an image names.
fn copy_blobs(
    writer: &mut Writer<'_>,
    wim: &Wim,
    references: &HashMap<Sha1Hash, u32>,
    observer: &dyn Observer,
) -> reseal_dtyp::Result<()> {
    let named: Vec<_> =
        wim.blobs().iter().filter(|blob| !blob.is_solid() && references.contains_key(&blob.hash)).collect();
    let total = named.iter().map(|blob| blob.size).fold(0, u64::saturating_add);
    let mut done = 0;
    for blob in named {
        writer.copy(wim, blob)?;
        done += blob.size;
        observer.bytes(done, total);
    }
    writer.copy_solids(wim, &|hash| references.contains_key(hash))
}
