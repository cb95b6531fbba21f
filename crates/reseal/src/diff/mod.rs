//! `diff`: files, registry and descriptors that differ between two images. Nothing is written.
//!
//! ```text
//!  partitions ─▶ pairs ─┬─ NTFS ─▶ merged list of names ─▶ each file once, in parallel ─┬─ streams, byte by byte
//!                       │                                                               ├─ attributes, links, SDDL, …
//!                       │                                                               └─ a hive: key by key, one by one
//!                       └─ anything else: byte by byte
//!  image of a WIM or a mounted folder, and another one or a volume ─▶ as two NTFS volumes
//! ```
//!
//! What is asked of NTFS and of a WIM is one trait, `side::Files`. A WIM knows the SHA-1 of each content, so one that both sides
//! have is not unpacked. Against a disk, what a WIM cannot hold does not count: `docs/limits.md` lists it.
//!
//! It knows nothing of steps and plans: what it finds between an image and its sealed self can be held against the plan.
//!
//! Memory: about 100 bytes for every name of both volumes, 512 KiB for every thread, the two hives at hand with their logs,
//! and what is found.

mod census;
mod content;
mod descriptors;
mod fat;
mod file;
mod filter;
mod folder;
mod hives;
mod images;
mod ntfs;
mod pairs;
mod registry;
mod side;
mod volume;
mod wim;

use crate::Observer;
use crate::error::{Error, Kind, Result, Within};
use crate::image::{DiskImage, Image, Medium};
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// What is compared, and how it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffOptions {
    /// Times of files and keys count.
    pub times: bool,
    /// Streams of system files, and hives that are stored differently and read the same, are told.
    pub raw: bool,
    /// Long data is shown whole.
    pub full: bool,
    /// Values of SAM and SECURITY, boot key and random state are shown as they are.
    pub secrets: bool,
    /// 8.3 names don't count.
    pub no_short_names: bool,
    /// Only what lies below one of these paths, from the volume's root or from a predefined registry key
    /// (`HKEY_LOCAL_MACHINE\SYSTEM\Setup`); everything when empty.
    pub paths: Vec<String>,
    /// Leave out what matches: `?` one character, `*` any within a name, `**` any.
    pub ignore: Vec<String>,
}

/// What kind of thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiffKind {
    /// The disk's division, a partition's place, or the content of one that is not NTFS.
    Partition,
    /// What `$Volume` and the boot sector say: label, version, flags, serial number, cluster size.
    Volume,
    /// A file or folder.
    File,
    /// Content of a stream; `name` names it, absent for the unnamed one.
    Stream,
    /// FILE_ATTRIBUTE_*.
    Attributes,
    /// Data of a reparse point.
    Reparse,
    /// The names of a file that has several.
    Links,
    /// The 8.3 name beside a long one.
    ShortName,
    /// Created, changed, record changed, accessed.
    Times,
    /// A file's security descriptor.
    Descriptor,
    /// A hive's log.
    HiveLog,
    /// Whether a hive's logs cover it.
    HiveState,
    /// A hive that reads the same and is stored differently.
    HiveBytes,
    /// A registry key.
    Key,
    /// A registry value.
    Value,
    /// A key's class name.
    Class,
    /// A key's flags.
    KeyFlags,
    /// A key's security descriptor.
    KeyDescriptor,
    /// A key's time.
    KeyTime,
    /// A stream of a system file.
    SystemStream,
    /// What could not be read, on the side that shows a reason.
    Unreadable,
}

impl DiffKind {
    /// Its name in JSON and text.
    pub fn name(self) -> &'static str {
        match self {
            DiffKind::Partition => "partition",
            DiffKind::Volume => "volume",
            DiffKind::File => "file",
            DiffKind::Stream => "stream",
            DiffKind::Attributes => "attributes",
            DiffKind::Reparse => "reparse",
            DiffKind::Links => "links",
            DiffKind::ShortName => "short-name",
            DiffKind::Times => "times",
            DiffKind::Descriptor => "descriptor",
            DiffKind::HiveLog => "hive-log",
            DiffKind::HiveState => "hive-state",
            DiffKind::HiveBytes => "hive-bytes",
            DiffKind::Key => "key",
            DiffKind::Value => "value",
            DiffKind::Class => "class",
            DiffKind::KeyFlags => "key-flags",
            DiffKind::KeyDescriptor => "key-descriptor",
            DiffKind::KeyTime => "key-time",
            DiffKind::SystemStream => "system-stream",
            DiffKind::Unreadable => "unreadable",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Only the second image has it.
    Added,
    /// Only the first image has it.
    Removed,
    /// Both have it.
    Changed,
}

/// One difference. The same descriptor stands in many of them, so texts are shared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffEntry {
    /// What kind of thing.
    pub kind: DiffKind,
    /// The file, from the volume's root; of a file with several names the first one. Empty for what is no file.
    pub path: String,
    /// The registry key in full, as `.reg` text names it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub key: Option<Arc<str>>,
    /// Name of the value or stream, or which fact; empty for a default value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What became of it.
    pub what: What,
    /// In the first image; absent where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub before: Option<Arc<str>>,
    /// In the second image.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "text")]
    pub after: Option<Arc<str>>,
}

fn text<S: Serializer>(text: &Option<Arc<str>>, out: S) -> std::result::Result<S::Ok, S::Error> {
    text.as_deref().serialize(out)
}

impl DiffEntry {
    /// A difference between what the two sides have; `what` follows from which of them has anything.
    pub(crate) fn new(kind: DiffKind, path: &str, sides: [Option<Arc<str>>; 2]) -> DiffEntry {
        let [before, after] = sides;
        let what = match (&before, &after) {
            (None, Some(_)) => What::Added,
            (Some(_), None) => What::Removed,
            _ => What::Changed,
        };
        DiffEntry { kind, path: path.to_owned(), key: None, name: None, what, before, after }
    }

    pub(crate) fn named(mut self, name: impl Into<String>) -> DiffEntry {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn of_key(mut self, key: &Arc<str>) -> DiffEntry {
        self.key = Some(Arc::clone(key));
        self
    }

    /// The side (0 or 1) that cannot be read, and why.
    pub(crate) fn unreadable(path: &str, side: usize, why: impl std::fmt::Display) -> DiffEntry {
        let mut sides = [None, None];
        if let Some(slot) = sides.get_mut(side) {
            *slot = Some(why.to_string().into());
        }
        DiffEntry { what: What::Changed, ..DiffEntry::new(DiffKind::Unreadable, path, sides) }
    }
}

/// The image that has a volume alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The first image.
    Before,
    /// The second image.
    After,
    /// Both.
    Both,
}

/// How many unique descriptors the stores of both volumes have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DescriptorSummary {
    /// In the first image.
    pub before: usize,
    /// In the second image.
    pub after: usize,
    /// Only in the first image.
    pub removed: usize,
    /// Only in the second image.
    pub added: usize,
}

/// What differs on one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VolumeDifference {
    /// Which partition of the first image, or of the second when only that has it.
    pub volume: String,
    /// Which image has it.
    pub side: Side,
    /// Files compared, each with all its names once.
    pub files: u64,
    /// Hives compared as registry.
    pub hives: u64,
    /// Unique descriptors; absent for what is not NTFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub descriptors: Option<DescriptorSummary>,
    /// Paths that only a disk has and that capturing it leaves out, such as the page file; none between images of one kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// In order of path, key and name.
    pub entries: Vec<DiffEntry>,
}

impl VolumeDifference {
    fn new(volume: String, side: Side) -> VolumeDifference {
        VolumeDifference {
            volume,
            side,
            files: 0,
            hives: 0,
            descriptors: None,
            left_out: Vec::new(),
            entries: Vec::new(),
        }
    }
}

/// Everything that differs between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Version of this document.
    pub schema: &'static str,
    /// The first image.
    pub before: String,
    /// The second image.
    pub after: String,
    /// Each volume that at least one of them has, in order.
    pub volumes: Vec<VolumeDifference>,
}

impl Difference {
    /// Whether nothing differs.
    pub fn is_alike(&self) -> bool {
        self.volumes.iter().all(|volume| volume.entries.is_empty())
    }
}

/// Compares two images volume by volume; neither is written. Of a WIM one image is meant, and compared with one image or with
/// the NTFS volume that a disk's path means, and so is a mounted folder.
///
/// A renamed file shows as removed and added. A volume that cannot be opened is an error; a file or hive that cannot be read is
/// an entry of kind [`DiffKind::Unreadable`]. The result does not depend on the number of threads.
pub fn diff(before: &Image, after: &Image, options: &DiffOptions, observer: &dyn Observer) -> Result<Difference> {
    let filter = filter::Filter::new(&options.paths, &options.ignore)?;
    let volumes = match (&before.0, &after.0) {
        (Medium::Disk(before), Medium::Disk(after)) => disks([before, after], options, &filter, observer)?,
        (before, after) => vec![images::compare([before, after], options, &filter, observer)?],
    };
    let shown = |image: &Image| image.path().display().to_string();
    Ok(Difference { schema: "reseal.diff/1", before: shown(before), after: shown(after), volumes })
}

fn disks(
    images: [&DiskImage; 2],
    options: &DiffOptions,
    filter: &filter::Filter,
    observer: &dyn Observer,
) -> Result<Vec<VolumeDifference>> {
    if let Some(unknown) = images.iter().find(|image| image.partitions().next().is_none()) {
        let detail = "neither a partition table nor a volume that is known";
        return Err(Error::new(Kind::Unsupported, detail).subject(unknown.path().display().to_string()));
    }
    let mut volumes = Vec::new();
    for pair in pairs::pairs(images) {
        let place = pair.place();
        volumes.push(volume::compare(&pair, images, options, filter, observer).within(place)?);
    }
    Ok(volumes)
}
