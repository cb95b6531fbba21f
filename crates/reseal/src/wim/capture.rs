//! Capturing an NTFS volume as an image of a new WIM.

use super::description::{About, Counts, Description};
use super::optimize::WimResult;
use super::output::ToNewFile;
use crate::browse;
use crate::error::{Error, Result, Within};
use crate::facts::{Facts, Product};
use crate::generalize::Observer;
use crate::hives::HiveSet;
use crate::image::DiskImage;
use crate::ntfs_tree::NtfsTree;
use crate::scope::MachineHive;
use reseal_disk::{NewFile, open_file};
use reseal_dtyp::{FileTime, Guid, utf16_lossy};
use reseal_ntfs::{DirEntry, FileReference, FileStat, Namespace, StreamReader, Volume};
use reseal_wim::{
    Compression, FileId, Header, Image, NewFile as NewEntry, Sha1Hash, Storage, Stream, StreamKind, Times, Wim, Writer,
    names,
};
use std::collections::HashMap;
use std::path::Path;

/// Bytes of files that are read, hashed and compressed at once.
const BATCH: u64 = 16 << 20;
/// A file above this is compressed on its own, piece by piece.
const LARGE: u64 = 16 << 20;
/// Files of the volume's own have numbers below.
const FIRST_ORDINARY: u64 = 24;
/// The tag of files that WOF compresses (`IO_REPARSE_TAG_WOF`): they are captured as what they hold.
const WOF: u32 = 0x8000_0017;

/// What is never captured, from the volume's root: the default list of DISM, and what setup leaves beside it.
pub(crate) const NEVER_CAPTURED: &[&str] = &[
    r"\$ntfs.log",
    r"\hiberfil.sys",
    r"\pagefile.sys",
    r"\swapfile.sys",
    r"\System Volume Information",
    r"\RECYCLER",
    r"\$Recycle.Bin",
    r"\$Windows.~BT",
    r"\$Windows.~LS",
    r"\Windows\CSC",
];

mod attribute {
    pub(super) const SPARSE: u32 = 0x200;
    pub(super) const REPARSE_POINT: u32 = 0x400;
    pub(super) const COMPRESSED: u32 = 0x800;
    pub(super) const DIRECTORY: u32 = 0x10;
}

/// How a volume is captured.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// Name of the image.
    pub name: String,
    /// Its description; empty for none.
    pub description: String,
    /// XPRESS, LZX, or none.
    pub compression: Compression,
    /// Whether the WIM gets an integrity table.
    pub integrity: bool,
    /// Paths that are left out besides the default ones, from the volume's root.
    pub exclude: Vec<String>,
    /// The time that counts as now.
    pub now: FileTime,
}

/// Captures the NTFS volume that `disk.vhdx` or `disk.vhdx#p3` means. `Unsupported` for a file that is encrypted and not
/// excluded: what EFS needs of it is not written.
pub fn wim_capture(image: &str, out: &Path, options: &CaptureOptions, observer: &dyn Observer) -> Result<WimResult> {
    let run = || -> Result<WimResult> {
        let disk = DiskImage::open(image)?;
        let volume = browse::volume(&disk)?;
        let tree = NtfsTree { volume };
        let product = product(&tree);
        let file = NewFile::create(out)?;
        let chunk = if options.compression == Compression::None { 0 } else { 32 << 10 };
        let guid = guid(&tree.volume, options);
        let header = Header::new(options.compression, chunk, guid);
        let mut output = ToNewFile(&file);
        let mut writer = Writer::new(&mut output, header, Storage::Compressed, options.integrity);
        observer.phase("listing");
        let mut capture = Capture::new(&tree.volume, options, &mut writer)?;
        capture.list()?;
        observer.phase("capturing");
        capture.contents(observer)?;
        let Capture { image: captured, sizes, .. } = capture;
        let counts = Counts::of(&captured, |stream| Ok(sizes.get(&stream.hash).copied().unwrap_or(0)))?;
        let about = About {
            name: &options.name,
            description: &options.description,
            counts,
            now: options.now,
            product: product.as_ref(),
        };
        let metadata = captured.to_metadata()?;
        let references = captured.references();
        drop(captured);
        writer.metadata(&metadata, None)?;
        let done = writer.finish(&references, 0, &Description::of_one(&about).to_bytes())?;
        file.set_len(done.len)?;
        file.write_at(0, &done.header)?;
        file.sync()?;
        let written = Wim::open(open_file(file.path())?)?;
        if written.metadata(1)? != metadata {
            return Err(Error::new(crate::Kind::Io, "the image reads back differently"));
        }
        file.publish()?;
        let (output, bytes_before) = (out.to_owned(), disk.disk.file_len());
        Ok(WimResult { schema: "reseal.wim-result/1", output, bytes_before, bytes: done.len, unused_bytes: 0 })
    };
    run().within(image)
}

/// What the installation says of itself; `None` when there is none, or it cannot be read: the XML data is for people.
fn product(tree: &NtfsTree) -> Option<Product> {
    let hives = HiveSet::load_machine(tree, &[MachineHive::Software, MachineHive::System]).ok()?;
    let facts = Facts::read(&hives).ok()?;
    facts.product.build.is_some().then_some(facts.product)
}

/// The same volume, captured under the same name at the same time, is the same WIM.
fn guid(volume: &Volume, options: &CaptureOptions) -> Guid {
    let serial = volume.info().serial.to_le_bytes();
    let inputs = crate::Inputs::seeded(&options.name, options.now);
    inputs.stream(&[b"wim-capture", &serial, &options.now.0.to_le_bytes()]).guid()
}

/// A stream whose content is still to be read.
struct Pending {
    file: FileId,
    source: FileReference,
    name: Vec<u16>,
    size: u64,
}

struct Capture<'a, 'o> {
    volume: &'a Volume,
    writer: &'a mut Writer<'o>,
    /// In capital letters, as [`names::upper`] makes them.
    excluded: Vec<String>,
    image: Image,
    /// Files of the volume that have names in the image already.
    known: HashMap<FileReference, FileId>,
    /// Which descriptor of the image a security id of the volume is.
    descriptors: HashMap<u32, u32>,
    pending: Vec<Pending>,
    sizes: HashMap<Sha1Hash, u64>,
}

impl<'a, 'o> Capture<'a, 'o> {
    fn new(volume: &'a Volume, options: &CaptureOptions, writer: &'a mut Writer<'o>) -> Result<Capture<'a, 'o>> {
        let own = options.exclude.iter().map(|path| format!(r"\{}", path.trim_matches(['\\', '/']).replace('/', r"\")));
        let excluded =
            NEVER_CAPTURED.iter().map(|path| (*path).to_owned()).chain(own).map(|path| upper(&path)).collect();
        let stat = volume.stat(volume.root())?;
        let mut image =
            Image::new(NewEntry { attributes: attributes(&stat), times: times(&stat), ..NewEntry::default() });
        let security = image.add_descriptor(&volume.descriptor(volume.root())?);
        image.set_security(image.root(), Some(security));
        let mut capture = Capture {
            volume,
            writer,
            excluded,
            image,
            known: HashMap::new(),
            descriptors: HashMap::new(),
            pending: Vec::new(),
            sizes: HashMap::new(),
        };
        capture.streams(&stat, capture.image.root());
        Ok(capture)
    }

    /// Every file and folder, without contents.
    fn list(&mut self) -> Result<()> {
        let mut queue = vec![(self.volume.root(), self.image.root(), String::new())];
        while let Some((source, folder, path)) = queue.pop() {
            let entries = self.volume.entries(source).within(&path)?;
            let twins: HashMap<FileReference, &DirEntry> =
                entries.iter().filter(|e| e.namespace == Namespace::Dos).map(|e| (e.reference, e)).collect();
            // Few folders hold what is left out.
            let folder_path = upper(&path);
            let excluded: Vec<&str> = self.excluded.iter().filter_map(|one| name_below(one, &folder_path)).collect();
            let is_excluded =
                |name: &[u16]| !excluded.is_empty() && excluded.contains(&utf16_lossy(&names::upper(name)).as_str());
            let mut listed = Vec::new();
            for entry in entries.iter().filter(|e| e.namespace != Namespace::Dos) {
                let is_own = path.is_empty() && entry.reference.record() < FIRST_ORDINARY;
                if !is_own && !is_excluded(&entry.name) {
                    listed.push(entry);
                }
            }
            for entry in listed {
                let here = || format!(r"{path}\{}", utf16_lossy(&entry.name));
                // A twin belongs to one of the names that a file has in a folder: the long one.
                let short_name = match entry.namespace {
                    Namespace::Win32 => twins.get(&entry.reference).map_or(&[][..], |twin| &twin.name),
                    Namespace::Win32AndDos => &entry.name,
                    Namespace::Posix | Namespace::Dos => &[],
                };
                let file = self.entry(entry, folder, short_name).map_err(|e| e.subject(here()))?;
                if let Some(file) = file
                    && entry.is_directory()
                    && !self.image.is_reparse(file)
                {
                    queue.push((entry.reference, file, here()));
                }
            }
        }
        Ok(())
    }

    /// One name. The file, when it is new.
    fn entry(&mut self, entry: &DirEntry, folder: FileId, short_name: &[u16]) -> Result<Option<FileId>> {
        if let Some(known) = self.known.get(&entry.reference) {
            self.image.link(folder, &entry.name, short_name, *known);
            return Ok(None);
        }
        let stat = self.volume.stat(entry.reference)?;
        if stat.efs {
            return Err(Error::new(crate::Kind::Unsupported, "the file is encrypted (EFS)")
                .hint("decrypt it in Windows, or leave it out with --exclude"));
        }
        let mut new = NewEntry {
            attributes: attributes(&stat),
            security: Some(self.security(&stat)?),
            times: times(&stat),
            ..NewEntry::default()
        };
        if let Some(tag) = stat.reparse_tag.filter(|tag| *tag != WOF) {
            let data = self.volume.reparse_data(entry.reference)?.unwrap_or_default();
            new.reparse_tag = tag;
            // Tag, length, a reserved number; what follows is the stream.
            let hash = self.writer.blob(data.get(8..).unwrap_or_default())?;
            self.sizes.insert(hash, data.len().saturating_sub(8) as u64);
            new.streams.push(Stream { kind: StreamKind::Reparse, name: Vec::new(), hash });
        }
        let file = self.image.create(folder, &entry.name, short_name, new);
        self.known.insert(entry.reference, file);
        self.streams(&stat, file);
        Ok(Some(file))
    }

    fn security(&mut self, stat: &FileStat) -> Result<u32> {
        let id = stat.standard.security_id.filter(|id| *id != 0 && !stat.own_descriptor);
        if let Some(known) = id.and_then(|id| self.descriptors.get(&id)) {
            return Ok(*known);
        }
        let descriptor = self.volume.descriptor(stat.reference)?;
        let security = self.image.add_descriptor(&descriptor);
        if let Some(id) = id {
            self.descriptors.insert(id, security);
        }
        Ok(security)
    }

    /// Notes the streams of a file; empty ones are done.
    fn streams(&mut self, stat: &FileStat, file: FileId) {
        for stream in &stat.streams {
            // WOF keeps what it makes of the content in a stream of its own.
            let is_wof = stat.wof.is_some() && stream.name == "WofCompressedData".encode_utf16().collect::<Vec<u16>>();
            // Beside what a reparse point points at, an entry of a WIM does not tell an empty content from none.
            let is_nothing = self.image.is_reparse(file) && stream.name.is_empty() && stream.size == 0;
            if is_wof || is_nothing {
                continue;
            }
            self.image.set_stream(file, &stream.name, [0; 20]);
            if stream.size > 0 {
                let (name, size) = (stream.name.clone(), stream.size);
                self.pending.push(Pending { file, source: stat.reference, name, size });
            }
        }
    }

    /// Reads, hashes, compresses and writes all contents.
    fn contents(&mut self, observer: &dyn Observer) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let total = pending.iter().map(|one| one.size).fold(0, u64::saturating_add);
        let mut done = 0;
        let mut rest = &pending[..];
        while let Some(first) = rest.first() {
            if first.size > LARGE {
                self.large(first)?;
                done += first.size;
                rest = &rest[1..];
            } else {
                let mut bytes = 0;
                let fits = |one: &&Pending| {
                    bytes += one.size;
                    one.size <= LARGE && bytes <= BATCH
                };
                let count = rest.iter().take_while(fits).count().max(1);
                self.batch(&rest[..count])?;
                done += rest[..count].iter().map(|one| one.size).sum::<u64>();
                rest = &rest[count..];
            }
            observer.bytes(done, total);
        }
        Ok(())
    }

    fn batch(&mut self, batch: &[Pending]) -> Result<()> {
        let volume = self.volume;
        let read = |number: usize, out: &mut Vec<u8>| {
            let one: &Pending = &batch[number];
            out.resize(one.size as usize, 0);
            volume.stream(one.source, &one.name).and_then(|stream| read_all(&stream, 0, out)).within(path(volume, one))
        };
        let written = self.writer.blobs(batch.len(), read)?;
        for (one, (hash, size)) in batch.iter().zip(written) {
            self.image.set_stream(one.file, &one.name, hash);
            self.sizes.insert(hash, size);
        }
        Ok(())
    }

    fn large(&mut self, one: &Pending) -> Result<()> {
        let reader = self.volume.stream(one.source, &one.name).within(path(self.volume, one))?;
        let mut read = |at: u64, buf: &mut [u8]| read_all(&reader, at, buf);
        let hash = self.writer.large_blob(one.size, &mut read).within(path(self.volume, one))?;
        self.image.set_stream(one.file, &one.name, hash);
        self.sizes.insert(hash, one.size);
        Ok(())
    }
}

fn read_all(reader: &StreamReader<'_>, at: u64, buf: &mut [u8]) -> reseal_dtyp::Result<()> {
    match reader.read_at(at, buf)? {
        n if n == buf.len() => Ok(()),
        n => Err(reseal_dtyp::Error::damaged("stream", "length", at, format!("{n} of {} bytes", buf.len()))),
    }
}

fn path(volume: &Volume, one: &Pending) -> String {
    volume.path_of(one.source).unwrap_or_else(|_| format!("file {}", one.source))
}

/// The last name of a path that lies in this folder itself.
fn name_below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    path.strip_prefix(folder)?.strip_prefix('\\').filter(|name| !name.contains('\\'))
}

fn upper(path: &str) -> String {
    utf16_lossy(&names::upper(&path.encode_utf16().collect::<Vec<u16>>()))
}

/// Attributes as a WIM has them: how NTFS stores the content is no property of it.
fn attributes(stat: &FileStat) -> u32 {
    let mut out = stat.standard.attributes & 0x7fff;
    out |= if stat.is_directory { attribute::DIRECTORY } else { 0 };
    if stat.reparse_tag == Some(WOF) {
        out &= !(attribute::REPARSE_POINT | attribute::SPARSE | attribute::COMPRESSED);
    }
    out
}

fn times(stat: &FileStat) -> Times {
    let [created, written, _, accessed] = stat.standard.times;
    Times { created, accessed, written }
}
