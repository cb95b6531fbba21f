//! The files of an image on their way onto a volume.
//!
//! ```text
//!  names ─▶ folders, and files that are more than one content ─▶ contents in the order of the WIM ─▶ hard links ─▶ times
//! ```

use super::apply::VOLUME_INFORMATION;
use super::faults::{self, Place};
use crate::error::{Error, Kind, Result, Within};
use crate::generalize::Observer;
use rayon::prelude::*;
use reseal_dtyp::{FileTime, Finding, Level, utf16_lossy};
use reseal_ntfs::{FileReference, NewFile, NewName, Security, Volume};
use reseal_wim::{Blob, Entry, FileId, Image, Sha1Hash, StreamKind, Wim};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of contents that are read at once.
const BATCH: u64 = 32 << 20;
/// A content above this goes from the WIM to the volume in parts.
const LARGE: u64 = 16 << 20;
/// MAXIMUM_REPARSE_DATA_BUFFER_SIZE, and what stands before the stream of a WIM in it.
const MAX_REPARSE: u64 = 16 << 10;
const REPARSE_HEADER: usize = 8;
/// Bytes of a GUID behind the header of a tag that is not Microsoft's; its length does not count them.
const GUID: usize = 16;
/// The bit of a tag that is Microsoft's.
const MICROSOFT: u32 = 0x8000_0000;

mod attribute {
    pub(super) const SPARSE: u32 = 0x200;
    pub(super) const COMPRESSED: u32 = 0x800;
}

/// What came onto the volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Files, each once.
    pub files: u64,
    /// Folders, without the root.
    pub folders: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Streams with a name.
    pub named_streams: u64,
    /// Reparse points.
    pub reparse_points: u64,
    /// Different security descriptors.
    pub descriptors: u64,
    /// Bytes of all streams.
    pub bytes: u64,
    /// Contents that were read from the WIM, each once.
    pub contents: u64,
}

/// A name that is to be made; folders come before what lies in them.
struct Name<'a> {
    folder: FileId,
    entry: &'a Entry,
    /// Another name of the folder differs from it in case only.
    exact: bool,
}

/// A content, and the streams that get it.
type Content<'a> = (&'a Blob, Vec<Goal<'a>>);

/// A stream that gets a content.
struct Goal<'a> {
    file: FileId,
    stream: &'a [u16],
}

pub(super) struct Applying<'a> {
    wim: &'a Wim,
    image: &'a Image,
    volume: &'a mut Volume,
    now: FileTime,
    names: Vec<Name<'a>>,
    /// Which of the names a file is made with.
    first: HashMap<FileId, usize>,
    /// Contents in the order of the WIM, with the streams that get them.
    contents: BTreeMap<(Option<usize>, u64, Sha1Hash), Content<'a>>,
    made: HashMap<FileId, FileReference>,
    /// Security ids on the volume.
    ids: HashMap<&'a [u8], u32>,
    /// Files that changed after they were made.
    touched: BTreeSet<FileId>,
    done: Applied,
    findings: Vec<Finding>,
}

impl<'a> Applying<'a> {
    /// Looks at all of the image; nothing is read but its metadata.
    pub(super) fn new(wim: &'a Wim, image: &'a Image, volume: &'a mut Volume, now: FileTime) -> Result<Applying<'a>> {
        let mut out = Applying {
            wim,
            image,
            made: HashMap::from([(image.root(), volume.root())]),
            volume,
            now,
            names: Vec::new(),
            first: HashMap::new(),
            contents: BTreeMap::new(),
            ids: HashMap::new(),
            touched: BTreeSet::from([image.root()]),
            done: Applied::default(),
            findings: Vec::new(),
        };
        out.list()?;
        out.plan(image.root()).within(out.path(image.root()))?;
        for index in 0..out.names.len() {
            let file = out.names[index].entry.file;
            if out.first[&file] == index {
                out.plan(file).within(out.path(file))?;
            }
        }
        out.notice();
        Ok(out)
    }

    /// All names, folders before what is in them.
    fn list(&mut self) -> Result<()> {
        // Folders, with the length of their paths.
        let mut queue = vec![(self.image.root(), 0)];
        while let Some((folder, len)) = queue.pop() {
            let exact = faults::of_names(self.image, folder)?;
            for entry in self.image.entries(folder) {
                if folder == self.image.root() && utf16_lossy(&entry.name).eq_ignore_ascii_case(VOLUME_INFORMATION) {
                    let detail = "Windows makes its own on each volume: it was left out".to_owned();
                    self.findings.push(Finding::new(
                        Level::Note,
                        "apply-left-out",
                        format!(r"\{VOLUME_INFORMATION}"),
                        detail,
                    ));
                    continue;
                }
                let len = faults::of_length(len, entry)?;
                let name = Name { folder, entry, exact: exact.contains(&entry.name) };
                if let Some(fault) = name.new_name().fault() {
                    return Err(Error::new(Kind::Unsupported, format!("no file can have this name: {fault}"))
                        .subject(Place::of_entry(self.image, folder, entry).to_string()));
                }
                // A file has one 8.3 name at most: it is made with the name that has one.
                let (index, file) = (self.names.len(), entry.file);
                let names = &self.names;
                let first = self.first.entry(file).or_insert(index);
                if names.get(*first).is_some_and(|f| f.entry.short_name.is_empty()) && !entry.short_name.is_empty() {
                    *first = index;
                }
                if self.image.is_dir(file) {
                    queue.push((file, len));
                }
                self.names.push(name);
            }
        }
        Ok(())
    }

    /// Notes which contents a file needs. `Unsupported` for what cannot be applied.
    fn plan(&mut self, file: FileId) -> Result<()> {
        faults::of_file(self.image, file)?;
        for stream in self.image.streams(file).iter().filter(|stream| stream.kind == StreamKind::Data) {
            self.done.named_streams += u64::from(!stream.name.is_empty());
            let Some(blob) = self.wim.blob(&stream.hash)?.filter(|blob| blob.size > 0) else { continue };
            self.done.bytes = self.done.bytes.saturating_add(blob.size);
            let (solid, offset) = blob.position();
            let known = self.contents.entry((solid, offset, blob.hash)).or_insert_with(|| (blob, Vec::new()));
            known.1.push(Goal { file, stream: &stream.name });
        }
        Ok(())
    }

    /// Tells once what of the image is not on the volume.
    fn notice(&mut self) {
        let count = |bit| self.first.keys().filter(|file| self.image.attributes(**file) & bit != 0).count();
        for (bit, id, what) in [
            (attribute::COMPRESSED, "apply-compressed", "are marked as compressed: they are stored plainly"),
            (attribute::SPARSE, "apply-sparse", "are marked as sparse: they are stored plainly, holes and all"),
        ] {
            if let count @ 1.. = count(bit) {
                self.findings.push(Finding::new(Level::Note, id, "image", format!("{count} files or folders {what}")));
            }
        }
        let lost = self.names.iter().enumerate().filter(|(index, name)| {
            !name.entry.short_name.is_empty() && (name.exact || self.first[&name.entry.file] != *index)
        });
        if let count @ 1.. = lost.count() {
            let detail = format!(
                "{count} 8.3 names are left out: a file has one, and none beside a name that differs in case only"
            );
            self.findings.push(Finding::new(Level::Note, "apply-short-name", "image", detail));
        }
        let links = self.first.keys().filter(|file| self.image.is_reparse(**file)).count();
        if self.wim.header().has_fixed_targets() && links > 0 {
            let detail = "targets of absolute links begin at the root of the image, and stay so: they are right where the volume gets \
                          the letter that they name"
                .to_owned();
            self.findings.push(Finding::new(Level::Note, "apply-link-targets", "image", detail));
        }
    }

    /// An error before anything is done when the volume cannot hold the contents and the file records.
    pub(super) fn refuse_too_small(&self, free: u64) -> Result<()> {
        let info = self.volume.info();
        let (cluster, record) = (u64::from(info.cluster_size), u64::from(info.record_size));
        // What is shorter may lie in the file record.
        let goals = self.contents.values().filter(|(blob, _)| blob.size >= record);
        let contents = goals
            .map(|(blob, goals)| {
                (blob.size.div_ceil(cluster)).saturating_mul(cluster).saturating_mul(goals.len() as u64)
            })
            .fold(0u64, u64::saturating_add);
        let records = (self.first.len() as u64).saturating_sub(self.volume.record_count()).saturating_mul(record);
        let needed = contents.saturating_add(records);
        if needed > free {
            let detail = format!("the image needs at least {needed} bytes on the volume, {free} are free");
            return Err(Error::new(Kind::Io, detail).hint("take a larger volume; nothing was written"));
        }
        Ok(())
    }

    /// Makes everything. `Damaged` for an image that asks for what contradicts itself: what is on the volume is of the image alone.
    pub(super) fn run(&mut self, observer: &dyn Observer) -> Result<()> {
        self.make_all(observer).map_err(|e| if e.kind() == Kind::Conflict { e.with_kind(Kind::Damaged) } else { e })
    }

    fn make_all(&mut self, observer: &dyn Observer) -> Result<()> {
        observer.phase("folders");
        self.describe_root()?;
        let alone: BTreeSet<FileId> = self.alone();
        for index in 0..self.names.len() {
            let file = self.names[index].entry.file;
            if self.first[&file] == index && !alone.contains(&file) {
                self.make(file, b"").within(self.path(file))?;
            }
        }
        observer.phase("contents");
        self.give(observer)?;
        observer.phase("names");
        for index in 0..self.names.len() {
            let Name { folder, entry, .. } = self.names[index];
            if self.first[&entry.file] != index {
                let (file, parent) = (self.reference(entry.file)?, self.reference(folder)?);
                self.volume.link(file, parent, &entry.name, self.now).within(self.path(entry.file))?;
                self.done.hard_links += 1;
            }
        }
        for file in std::mem::take(&mut self.touched) {
            let (reference, times) = (self.reference(file)?, self.times(file));
            self.volume.set_times(reference, times).within(self.path(file))?;
        }
        Ok(())
    }

    /// What there is to tell.
    pub(super) fn finish(self) -> (Applied, Vec<Finding>) {
        (self.done, self.findings)
    }

    /// Files that are made with their one content, when it is read.
    fn alone(&self) -> BTreeSet<FileId> {
        let mut streams: HashMap<FileId, u32> = HashMap::new();
        let mut out = BTreeSet::new();
        for (blob, goals) in self.contents.values() {
            for goal in goals {
                *streams.entry(goal.file).or_default() += 1;
                if goal.stream.is_empty() && blob.size <= LARGE {
                    out.insert(goal.file);
                }
            }
        }
        out.retain(|file| streams.get(file) == Some(&1) && !self.image.is_reparse(*file));
        // An empty named stream needs its file, too.
        out.retain(|file| self.image.streams(*file).len() == 1);
        out
    }

    fn describe_root(&mut self) -> Result<()> {
        let (file, root) = (self.image.root(), self.volume.root());
        if let Some(descriptor) = self.image.descriptor(file).filter(|d| !d.is_empty()) {
            self.volume.set_security_id(root, Security::Descriptor(descriptor)).within("\\")?;
            self.remember(root, descriptor)?;
        }
        self.volume.set_attributes(root, self.image.attributes(file), self.now)?;
        if self.image.object_id(file).is_some() {
            let detail = "the root of a volume has an object id of its own, or none: it was left out".to_owned();
            self.findings.push(Finding::new(Level::Note, "apply-object-id", "\\", detail));
        }
        self.empty_streams(file, root)
    }

    /// Makes a file or folder, whatever it is, with all but its contents.
    fn make(&mut self, file: FileId, content: &[u8]) -> Result<()> {
        let image = self.image;
        let Name { folder, entry: _, .. } = self.names[self.first[&file]];
        let parent = self.reference(folder)?;
        let is_dir = image.is_dir(file);
        let descriptor = image.descriptor(file).filter(|d| !d.is_empty());
        let security = match descriptor {
            None => Security::Inherit,
            Some(descriptor) => match self.ids.get(descriptor) {
                Some(id) => Security::Id(*id),
                None => Security::Descriptor(descriptor),
            },
        };
        let data = (!is_dir).then_some(content);
        let new = NewFile { data, security, times: self.times(file), attributes: image.attributes(file) };
        let name = self.names[self.first[&file]].new_name();
        let reference = self.volume.create_with(parent, name, &new)?;
        self.made.insert(file, reference);
        if let (Security::Descriptor(_), Some(descriptor)) = (security, descriptor) {
            self.remember(reference, descriptor)?;
        }
        *if is_dir { &mut self.done.folders } else { &mut self.done.files } += 1;
        if is_dir {
            self.touched.insert(file);
        }
        if image.is_reparse(file) {
            let data = self.reparse_data(file)?;
            self.volume.set_reparse(reference, &data, self.now)?;
            self.done.reparse_points += 1;
        }
        if let Some(id) = image.object_id(file) {
            match self.volume.set_object_id(reference, id, self.now) {
                Err(e) if e.kind() == reseal_dtyp::Kind::Unsupported => {
                    let place = self.path(file).to_string();
                    self.findings.push(Finding::new(Level::Note, "apply-object-id", place, e.to_string()));
                }
                other => other?,
            }
        }
        self.empty_streams(file, reference)
    }

    /// Named streams are made in the order of the image; contents come into them later.
    fn empty_streams(&mut self, file: FileId, reference: FileReference) -> Result<()> {
        for stream in self.image.streams(file) {
            if stream.kind == StreamKind::Data && !stream.name.is_empty() {
                self.volume.replace(reference, &stream.name, b"", self.now)?;
                self.touched.insert(file);
            }
        }
        Ok(())
    }

    fn remember(&mut self, reference: FileReference, descriptor: &'a [u8]) -> Result<()> {
        if let Some(id) = self.volume.stat(reference)?.standard.security_id {
            self.done.descriptors += u64::from(self.ids.insert(descriptor, id).is_none());
        }
        Ok(())
    }

    /// The data of a reparse point: what the WIM has, behind tag and length.
    fn reparse_data(&self, file: FileId) -> Result<Vec<u8>> {
        let stream = self.image.streams(file).iter().find(|stream| stream.kind == StreamKind::Reparse);
        let blob = stream.map(|stream| self.wim.blob(&stream.hash)).transpose()?.flatten();
        let rest =
            blob.map(|blob| self.wim.read(blob, MAX_REPARSE - REPARSE_HEADER as u64)).transpose()?.unwrap_or_default();
        let tag = self.image.reparse_tag(file);
        let counted = if tag & MICROSOFT != 0 { rest.len() } else { rest.len().saturating_sub(GUID) };
        // At most 16 KiB.
        let mut out = [&tag.to_le_bytes()[..], &(counted as u16).to_le_bytes(), &[0, 0]].concat();
        out.extend_from_slice(&rest);
        Ok(out)
    }

    /// Reads every content once, in the order of the WIM, and gives it to the streams that have it.
    fn give(&mut self, observer: &dyn Observer) -> Result<()> {
        let contents: Vec<Content<'a>> = std::mem::take(&mut self.contents).into_values().collect();
        let total = contents.iter().map(|(blob, _)| blob.size).fold(0, u64::saturating_add);
        let (mut done, mut rest) = (0u64, &contents[..]);
        while let Some((blob, goals)) = rest.first() {
            let count = if blob.size > LARGE {
                self.large(blob, goals)?;
                1
            } else {
                let mut bytes = 0;
                let fits = |(blob, _): &&Content<'_>| {
                    bytes += blob.size;
                    blob.size <= LARGE && bytes <= BATCH
                };
                let count = rest.iter().take_while(fits).count().max(1);
                self.batch(&rest[..count])?;
                count
            };
            done += rest[..count].iter().map(|(blob, _)| blob.size).sum::<u64>();
            self.done.contents += count as u64;
            rest = &rest[count..];
            observer.bytes(done, total);
        }
        Ok(())
    }

    fn batch(&mut self, batch: &[Content<'a>]) -> Result<()> {
        let (wim, place) =
            (self.wim, |goals: &[Goal<'_>]| self.path(goals.first().map_or(self.image.root(), |goal| goal.file)));
        let read = |(blob, goals): &Content<'a>| wim.read(blob, LARGE).within(place(goals));
        // Contents of a solid resource lie side by side in chunks, of which each is unpacked once.
        let read: Vec<Vec<u8>> = if batch.iter().any(|(blob, _)| blob.is_solid()) {
            batch.iter().map(read).collect::<Result<_>>()?
        } else {
            batch.par_iter().map(read).collect::<Result<_>>()?
        };
        for ((_, goals), content) in batch.iter().zip(&read) {
            for goal in goals {
                self.one(goal, content).within(self.path(goal.file))?;
            }
        }
        Ok(())
    }

    fn one(&mut self, goal: &Goal<'a>, content: &[u8]) -> Result<()> {
        let Some(&reference) = self.made.get(&goal.file) else { return self.make(goal.file, content) };
        self.volume.replace(reference, goal.stream, content, self.now)?;
        self.touched.insert(goal.file);
        Ok(())
    }

    fn large(&mut self, blob: &Blob, goals: &[Goal<'a>]) -> Result<()> {
        let place = self.path(goals.first().map_or(self.image.root(), |goal| goal.file));
        let mut open = Vec::new();
        for goal in goals {
            let reference = self.reference(goal.file)?;
            self.volume.reserve(reference, goal.stream, blob.size, self.now).within(self.path(goal.file))?;
            self.touched.insert(goal.file);
            open.push((reference, goal.stream));
        }
        let volume = &mut *self.volume;
        let mut append = |part: &[u8]| open.iter().try_for_each(|(file, stream)| volume.append(*file, stream, part));
        self.wim.read_in_parts(blob, &mut append).within(place)
    }

    fn times(&self, file: FileId) -> [FileTime; 4] {
        let times = self.image.times(file);
        [times.created, times.written, self.now, times.accessed]
    }

    fn reference(&self, file: FileId) -> Result<FileReference> {
        let made = self.made.get(&file).copied();
        made.ok_or_else(|| Error::new(Kind::Internal, format!("{} was not made", self.path(file))))
    }

    /// The path of a file in the image, put together when somebody reads it.
    fn path(&self, file: FileId) -> Place<'a> {
        Place::of(self.image, file)
    }
}

impl<'a> Name<'a> {
    fn new_name(&self) -> NewName<'a> {
        if self.exact {
            return NewName::Exact(&self.entry.name);
        }
        let short = &self.entry.short_name[..];
        NewName::Given(&self.entry.name, (!short.is_empty()).then_some(short))
    }
}
