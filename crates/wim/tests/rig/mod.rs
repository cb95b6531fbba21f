//! What the tests of WIM files share: WIMs that wimlib makes, and what it says of one.
#![allow(dead_code, reason = "each test binary uses its own part")]

use reseal_disk::MemoryDisk;
use reseal_dtyp::{FileTime, utf16_lossy};
use reseal_testdata::{Container, ImageBuilder, WindowsImage, oracle};
use reseal_wim::{FileId, Image, StreamKind, Wim};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ways in which wimlib stores: options of `capture`.
pub(crate) const KINDS: &[&[&str]] = &[
    &["--compress=none"],
    &["--compress=XPRESS"],
    &["--compress=XPRESS", "--chunk-size=4096"],
    &["--compress=LZX", "--check"],
    &["--compress=LZX", "--chunk-size=2097152"],
    &["--compress=LZMS"],
    &["--solid"],
    &["--solid", "--solid-chunk-size=131072", "--check"],
    &["--solid", "--solid-compress=LZX"],
];

/// A folder with what a WIM can hold, and what it is called.
pub(crate) struct Sources {
    dir: tempfile::TempDir,
}

impl Sources {
    /// A volume of a made-up Windows with named streams, and a folder with links. `None` where a tool is missing.
    pub(crate) fn new() -> Option<Sources> {
        let sources = Sources { dir: tempfile::tempdir().unwrap() };
        let builder =
            ImageBuilder { container: Container::Raw, bare: true, volume_len: 24 << 20, ..ImageBuilder::default() };
        let machine = WindowsImage { files: 150, ..WindowsImage::default() };
        builder.build(&sources.volume(), |volume| machine.fill(volume)).unwrap();
        let stream = sources.path("stream");
        for (len, file, name) in [(10, "Windows/System32/config/SAM", "tiny"), (300_000, "Users", "of a folder")] {
            std::fs::write(&stream, "stream ".repeat(len).as_bytes()).unwrap();
            let volume = sources.volume();
            oracle::agree("ntfscp", ["-f", "-N", name, volume.to_str()?, stream.to_str()?, file])?;
        }
        let folder = sources.folder();
        std::fs::create_dir_all(folder.join("a/deep/folder")).unwrap();
        std::fs::write(folder.join("a/first"), "one file with three names".repeat(40_000)).unwrap();
        std::fs::hard_link(folder.join("a/first"), folder.join("second")).unwrap();
        std::fs::hard_link(folder.join("a/first"), folder.join("a/deep/third")).unwrap();
        std::fs::write(folder.join("empty"), "").unwrap();
        std::fs::write(folder.join("ünïcödé 名"), "name").unwrap();
        std::os::unix::fs::symlink("a/first", folder.join("link")).unwrap();
        Some(sources)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn volume(&self) -> PathBuf {
        self.path("volume.ntfs")
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.path("folder")
    }

    /// A WIM of both: image 1 is the volume, image 2 the folder.
    pub(crate) fn capture(&self, options: &[&str]) -> Option<PathBuf> {
        let out = self.path("captured.wim");
        let _ = std::fs::remove_file(&out);
        let run = |verb: &str, from: &Path, options: &[&str]| {
            let [from, to] = [from, &out].map(|p| p.to_str().unwrap());
            let name = if verb == "capture" { "Volume" } else { "Folder" };
            let args = [&[verb, from, to, name][..], options].concat();
            oracle::agree("wimlib-imagex", args)
        };
        run("capture", &self.volume(), options)?;
        let check: &[&str] = if options.contains(&"--check") { &["--check"] } else { &[] };
        run("append", &self.folder(), check)?;
        Some(out)
    }
}

pub(crate) fn open(path: &Path) -> reseal_dtyp::Result<Wim> {
    open_bytes(std::fs::read(path).unwrap())
}

pub(crate) fn open_bytes(bytes: Vec<u8>) -> reseal_dtyp::Result<Wim> {
    Wim::open(Arc::new(MemoryDisk::new(bytes)))
}

/// What one path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    short_name: String,
    attributes: u32,
    descriptor: String,
    reparse_tag: u32,
    times: [String; 3],
    links: usize,
    /// Kind and name, SHA-1, size.
    streams: BTreeSet<(String, String, u64)>,
}

pub(crate) type Listing = BTreeMap<String, Seen>;

/// What `wimlib-imagex dir --detailed` says of an image, and which paths share a link group.
pub(crate) fn by_wimlib(wim: &Path, image: u32) -> Option<(Listing, BTreeSet<BTreeSet<String>>)> {
    let text = oracle::agree("wimlib-imagex", ["dir", wim.to_str()?, &image.to_string(), "--detailed"])?;
    let (mut out, mut groups) = (Listing::new(), BTreeMap::<String, BTreeSet<String>>::new());
    for block in text.split(&"-".repeat(76)).filter(|block| block.contains("Full Path")) {
        let mut streams = BTreeSet::new();
        let (head, rest) = block.split_at(block.find("\n\t").unwrap_or(block.len()));
        let value = |text: &str, key: &str| -> String {
            let line = text.lines().find(|line| line.starts_with(key) && line.contains(" = "));
            line.map(|line| line.split_once(" = ").unwrap().1.trim().to_owned()).unwrap_or_default()
        };
        for stream in rest.split("\n\t").filter(|s| !s.trim().is_empty()) {
            let size = value(stream, "Uncompressed size").split(' ').next().unwrap().parse().unwrap();
            let kind = stream.lines().next().unwrap().trim_end_matches(':').to_owned();
            let hash = value(stream, "Hash").trim_start_matches("0x").to_owned();
            streams.insert((kind, hash, size));
        }
        let number = |key: &str| u32::from_str_radix(value(head, key).trim_start_matches("0x"), 16).unwrap_or(0);
        let unquoted = |text: String| text.trim_matches('"').to_owned();
        let path = unquoted(value(head, "Full Path"));
        let group = value(head, "Link Group ID");
        if group != "0x0000000000000000" {
            groups.entry(group).or_default().insert(path.clone());
        }
        let seen = Seen {
            short_name: unquoted(value(head, "Short Name")),
            attributes: number("Attributes"),
            descriptor: value(head, "Security Descriptor"),
            reparse_tag: number("Reparse Tag"),
            times: ["Creation Time", "Last Write Time", "Last Access Time"].map(|key| value(head, key)[4..].to_owned()),
            links: value(head, "Link Count").parse().unwrap(),
            streams,
        };
        assert!(out.insert(path.clone(), seen).is_none(), "{path} twice");
    }
    Some((out, groups.into_values().filter(|paths| paths.len() > 1).collect()))
}

/// The same of what we read.
pub(crate) fn by_us(wim: &Wim, image: &Image) -> (Listing, BTreeSet<BTreeSet<String>>) {
    let (mut out, mut groups) = (Listing::new(), BTreeMap::<FileId, BTreeSet<String>>::new());
    let mut queue = vec![(image.root(), String::new(), String::new())];
    while let Some((file, path, short_name)) = queue.pop() {
        for entry in image.entries(file) {
            queue.push((entry.file, format!("{path}/{}", utf16_lossy(&entry.name)), utf16_lossy(&entry.short_name)));
        }
        let path = if path.is_empty() { "/".to_owned() } else { path };
        groups.entry(file).or_default().insert(path.clone());
        out.insert(path, seen(wim, image, file, short_name));
    }
    (out, groups.into_values().filter(|paths| paths.len() > 1).collect())
}

fn seen(wim: &Wim, image: &Image, file: FileId, short_name: String) -> Seen {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut streams: BTreeSet<(String, String, u64)> = image
        .streams(file)
        .iter()
        .map(|stream| {
            let size = wim.blob(&stream.hash).unwrap().map_or(0, |blob| blob.size);
            let kind = match stream.kind {
                StreamKind::Reparse => "Reparse point stream".to_owned(),
                StreamKind::EncryptedRaw => "EFSRPC raw data stream".to_owned(),
                StreamKind::Data if stream.name.is_empty() => "Unnamed data stream".to_owned(),
                StreamKind::Data => format!("Named data stream \"{}\"", utf16_lossy(&stream.name)),
            };
            (kind, hex(&stream.hash), size)
        })
        .collect();
    // wimlib tells an empty one of folders, too.
    let is_unnamed = |kind: &str| kind.starts_with("Unnamed");
    if !streams.iter().any(|(kind, _, _)| is_unnamed(kind)) && !image.is_reparse(file) {
        streams.insert(("Unnamed data stream".to_owned(), "0".repeat(40), 0));
    }
    let times = image.times(file);
    Seen {
        short_name,
        attributes: image.attributes(file),
        descriptor: image.descriptor(file).map(hex).unwrap_or_default(),
        reparse_tag: image.reparse_tag(file),
        times: [times.created, times.written, times.accessed].map(date),
        links: image.names(file).count().max(1),
        streams,
    }
}

/// A time as `date -u` writes it, but for the day of the week.
fn date(time: FileTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = time.to_iso();
    let month: usize = iso[5..7].parse().unwrap();
    format!("{} {} {} {} UTC", MONTHS[month - 1], &iso[8..10], &iso[11..19], &iso[..4])
}

/// Every WIM, and part of one, below a folder.
pub(crate) fn wims_below(root: &Path) -> Vec<PathBuf> {
    let (mut out, mut queue) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = queue.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                queue.push(path);
            } else if path
                .extension()
                .is_some_and(|e| ["wim", "swm", "esd"].iter().any(|known| e.eq_ignore_ascii_case(known)))
            {
                out.push(path);
            }
        }
    }
    out
}
