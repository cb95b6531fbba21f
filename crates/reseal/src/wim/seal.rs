//! Sealing images of a WIM: the same steps as on a disk, committed by appending or by writing the file anew.

use super::description::{Counts, Description};
use super::images::WimImages;
use super::output::{Append, ToNewFile};
use super::tree::WimTree;
use super::{guard, output};
use crate::boot_store::BootStores;
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::{InPlace, Observer, Plan, Report};
use crate::image::DiskFacts;
use crate::inputs::Inputs;
use crate::options::Options;
use crate::staging::{Around, Staged, strict};
use crate::tree::Tree;
use crate::volume_state::VolumeState;
use reseal_disk::journal::Media;
use reseal_disk::{NewFile, open_file};
use reseal_wim::{Finished, Image, Sha1Hash, Storage, Wim, Writer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A plan for images of a WIM.
#[derive(Debug)]
pub(crate) struct WimPlanned {
    images: WimImages,
    inputs: Inputs,
    storage: Storage,
    sealed: Vec<Sealed>,
}

/// An image after all steps.
#[derive(Debug)]
struct Sealed {
    index: u32,
    tree: WimTree,
    plan: Plan,
}

impl WimPlanned {
    /// Plans every image that is meant. `Refused` when a guard refuses one of them; nothing is written to any then.
    pub(crate) fn new(
        images: WimImages,
        options: &Options,
        inputs: &Inputs,
        observer: &dyn Observer,
    ) -> Result<WimPlanned> {
        let path = images.path().display().to_string();
        let run = || -> Result<Vec<Sealed>> {
            only_for_disks(options)?;
            let windows = windows(&images)?;
            let one = |(index, tree)| seal(&images, index, tree, options, inputs, observer);
            windows.into_iter().map(one).collect()
        };
        let sealed = run().within(path)?;
        Ok(WimPlanned { images, inputs: *inputs, storage: options.wim_storage, sealed })
    }

    pub(crate) fn plans(&self) -> Vec<&Plan> {
        self.sealed.iter().map(|sealed| &sealed.plan).collect()
    }

    /// Writes a new WIM with all images, those that are meant sealed. What no image names any more is nowhere in it.
    pub(crate) fn commit_to(self, out: &Path, observer: &dyn Observer) -> Result<Report> {
        let run = || -> Result<u64> {
            let file = NewFile::create(out)?;
            observer.phase("writing");
            let mut output = ToNewFile(&file);
            let header = self.images.wim().header().of_copy(self.guid());
            let wim = self.images.wim();
            let mut writer = Writer::new(&mut output, header, self.storage, wim.has_integrity());
            let changed = self.changed();
            let references = wim.references(&changed)?;
            self.write_new(&mut writer, &references)?;
            copy_blobs(&mut writer, wim, &references, observer)?;
            let done = self.write_tables(writer, &changed, &references, false)?;
            file.set_len(done.len)?;
            file.write_at(0, &done.header)?;
            file.sync()?;
            self.read_back(&Wim::open(open_file(file.path())?)?, observer)?;
            file.publish()?;
            Ok(done.len)
        };
        let written = run().within(out.display())?;
        self.report(out.to_owned(), "rebuilt", written)
    }

    /// Appends what changed and then writes the header, in one sector: before that it is the old WIM, with bytes behind its end
    /// that mean nothing.
    pub(crate) fn commit_in_place(mut self, how: InPlace<'_>, observer: &dyn Observer) -> Result<Report> {
        if how.keep_undo || how.journal_folder.is_some() {
            return Err(Error::new(
                Kind::Usage,
                "a WIM is changed by appending: there is no journal, and no undo file",
            )
            .hint("keep a copy of the file, or write a new one with `-o`"));
        }
        let path = self.images.path().to_owned();
        let media = self.images.media.take();
        let run = || -> Result<u64> {
            let mut media = media.ok_or_else(|| {
                Error::new(Kind::Internal, "the WIM is not open for writing").hint("this is a defect of reseal")
            })?;
            observer.phase("writing");
            let wim = Arc::clone(self.images.wim());
            let changed = self.changed();
            let references = wim.references(&changed)?;
            let written = output::commit(&mut media, &wim, &mut |append: &mut Append<'_>| {
                let mut writer = Writer::behind(append, &wim, self.storage)?;
                self.write_new(&mut writer, &references)?;
                self.write_tables(writer, &changed, &references, true)
            })?;
            let len = media.image_len()?;
            self.read_back(&Wim::open(Arc::new(output::Written { media, len }))?, observer)?;
            Ok(written)
        };
        let written = run().within(path.display())?;
        self.report(path, "appended", written)
    }

    fn report(self, output: PathBuf, method: &'static str, written: u64) -> Result<Report> {
        let mut plans = self.sealed.into_iter().map(|sealed| sealed.plan);
        let none = || Error::new(Kind::Internal, "a plan without an image").hint("this is a defect of reseal");
        let plan = plans.next().ok_or_else(none)?;
        Ok(Report {
            schema: "reseal.report/1",
            output,
            method,
            written_bytes: written,
            journal_bytes: 0,
            plan,
            more: plans.collect(),
        })
    }

    /// The images that differ.
    fn changed(&self) -> HashMap<u32, &Image> {
        let changed = self.sealed.iter().filter(|sealed| sealed.tree.is_changed);
        changed.map(|sealed| (sealed.index, &sealed.tree.image)).collect()
    }

    fn guid(&self) -> reseal_dtyp::Guid {
        self.inputs.stream(&[b"wim-guid", &self.images.wim().header().guid.0]).guid()
    }

    /// Writes contents that are new and named, in the order of their hashes: the same plan gives the same bytes.
    fn write_new(&self, writer: &mut Writer<'_>, references: &HashMap<Sha1Hash, u32>) -> reseal_dtyp::Result<()> {
        let mut new: Vec<(&Sha1Hash, &Arc<Vec<u8>>)> = self.sealed.iter().flat_map(|sealed| &sealed.tree.new).collect();
        new.retain(|(hash, _)| references.contains_key(*hash));
        new.sort();
        new.into_iter().try_for_each(|(_, content)| writer.blob(content).map(drop))
    }

    /// Metadata of every image, XML data, tables.
    fn write_tables(
        &self,
        mut writer: Writer<'_>,
        changed: &HashMap<u32, &Image>,
        references: &HashMap<Sha1Hash, u32>,
        same_file: bool,
    ) -> reseal_dtyp::Result<Finished> {
        let wim = self.images.wim();
        for number in 1..=wim.header().images {
            match changed.get(&number) {
                Some(image) => writer.image(image)?,
                None => writer.copy_image(wim, number, same_file)?,
            }
        }
        let xml = self.xml().map_err(|e| reseal_dtyp::Error::new(reseal_dtyp::Kind::Damaged, e.to_string()))?;
        writer.finish(references, wim.header().boot_image, &xml)
    }

    fn xml(&self) -> Result<Vec<u8>> {
        let mut description = Description::read(&self.images.wim().xml()?);
        for sealed in self.sealed.iter().filter(|sealed| sealed.tree.is_changed) {
            description.update(sealed.index, sealed.tree.counts()?, self.inputs.now())?;
        }
        Ok(description.to_bytes())
    }

    /// What was written must read back: every changed image as it was planned, every new content by its SHA-1.
    fn read_back(&self, written: &Wim, observer: &dyn Observer) -> Result<()> {
        observer.phase("reading back");
        for sealed in &self.sealed {
            let image = written.image(sealed.index)?;
            if sealed.tree.is_changed && image.to_metadata()? != sealed.tree.image.to_metadata()? {
                let detail = format!("image {} reads back differently", sealed.index);
                return Err(Error::new(Kind::Io, detail));
            }
            for hash in image.references().keys().filter(|hash| sealed.tree.new.contains_key(*hash)) {
                if let Some(blob) = written.blob(hash)? {
                    written.read(blob, u64::MAX)?;
                }
            }
        }
        Ok(())
    }
}

/// Options that mean something on a disk only.
fn only_for_disks(options: &Options) -> Result<()> {
    let asked = [
        (options.schedule_chkdsk, "--schedule-chkdsk"),
        (options.drop_snapshots, "--drop-snapshots"),
        (options.scrub, "--scrub"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, option)) => {
            Err(Error::new(Kind::Usage, format!("{option} is for volumes; an image of a WIM is none"))
                .hint("a WIM that is written anew, with `-o`, holds nothing of what was removed"))
        }
        None => Ok(()),
    }
}

/// The images that are meant, each of which must be a Windows unless all are meant.
fn windows(images: &WimImages) -> Result<Vec<(u32, WimTree)>> {
    let meant = images.meant()?;
    let several = meant.len() > 1;
    let mut out = Vec::new();
    for index in meant {
        let tree = WimTree::open(Arc::clone(images.wim()), index).within(WimImages::place(index))?;
        if tree.has_windows()? {
            out.push((index, tree));
        } else if !several {
            return Err(images.no_windows());
        }
    }
    if out.is_empty() { Err(images.no_windows()) } else { Ok(out) }
}

fn seal(
    images: &WimImages,
    index: u32,
    mut tree: WimTree,
    options: &Options,
    inputs: &Inputs,
    observer: &dyn Observer,
) -> Result<Sealed> {
    let place = WimImages::place(index);
    let run = || -> Result<Sealed> {
        let original = tree.clone();
        let state = VolumeState::clean(place.clone());
        let (disk, mut boot) = (DiskFacts::none(), BootStores::default());
        let around = Around { state: &state, disk: &disk, boot: &mut boot };
        let mut staged = Staged::run(&mut tree, around, options, inputs, observer)?;
        let hives_written = staged.hives.store(&mut tree, inputs.now())?;
        observer.phase("self-check");
        staged.check_invariants(&tree, options)?;
        let mut written = 0;
        if tree.is_changed {
            staged.hives.read_back(&tree)?;
            guard::refuse(&original, &tree.as_written()?, &staged)?;
            written = tree.written_bytes()?;
        }
        strict(options, &staged.findings)?;
        let mut plan = staged.into_plan(images.path().display().to_string(), state.place.clone(), options);
        plan.hives_written = hives_written;
        plan.changed_bytes = written;
        Ok(Sealed { index, tree, plan })
    };
    run().within(&place)
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

impl WimTree {
    /// Whether it is an installation.
    pub(crate) fn has_windows(&self) -> Result<bool> {
        let tree: &dyn Tree = self;
        Ok(tree.resolve(tree.root(), r"Windows\System32\config\SYSTEM")?.is_some())
    }

    /// Bytes of contents that are new and named, and of the metadata.
    fn written_bytes(&self) -> Result<u64> {
        let named = self.image.references();
        let new =
            self.new.iter().filter(|(hash, _)| named.contains_key(*hash)).map(|(_, content)| content.len() as u64);
        Ok(new.sum::<u64>() + self.image.to_metadata()?.len() as u64)
    }

    /// What the XML data says of the image.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for file in self.image.files() {
            let names = self.image.names(file).count() as u64;
            if self.image.is_dir(file) {
                counts.folders += u64::from(names > 0);
            } else {
                counts.files += names;
            }
            let mut bytes = 0u64;
            for stream in self.image.streams(file) {
                bytes = bytes.saturating_add(self.size_of(stream)?);
            }
            let all = bytes.saturating_mul(names.max(1));
            counts.bytes = counts.bytes.saturating_add(all);
            counts.hard_link_bytes = counts.hard_link_bytes.saturating_add(all - bytes);
        }
        Ok(counts)
    }
}
