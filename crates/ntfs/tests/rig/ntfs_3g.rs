//! What libntfs-3g makes of a whole volume, through the small program `ntfs_3g.c`, which is compiled when it is first needed.

use super::required;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

const SOURCE: &str = include_str!("ntfs_3g.c");

/// A file as ntfs-3g sees it: one that has a base record in use, folders and the volume's own files included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Record number and, in the highest 16 bits, sequence number.
    pub reference: u64,
    /// Of the file record: 1 in use, 2 folder, 8 view index.
    pub flags: u16,
    pub links: u16,
    /// Created, changed, record changed, accessed; 100 ns since 1601.
    pub times: [u64; 4],
    /// Of `$STANDARD_INFORMATION`.
    pub attributes: u32,
    pub owner: u32,
    pub security: u32,
    pub charged: u64,
    pub usn: u64,
    /// In the order of the record.
    pub names: Vec<SeenName>,
    /// All attributes but `$STANDARD_INFORMATION` and `$FILE_NAME`, each once, in the order of the file.
    pub content: Vec<SeenAttribute>,
    /// Data of the reparse point.
    pub reparse: Option<Vec<u8>>,
    /// The security descriptor, wherever it lies; empty where it was not read.
    pub descriptor: Vec<u8>,
    /// What the index of a folder lists, in its order, without `.` and `..`.
    pub entries: Vec<SeenEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenName {
    pub parent: u64,
    /// 0 POSIX, 1 Win32, 2 DOS, 3 both.
    pub namespace: u8,
    pub name: Vec<u16>,
    pub allocated: u64,
    pub size: u64,
    pub attributes: u32,
    pub times: [u64; 4],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAttribute {
    pub kind: u32,
    /// Empty for none.
    pub name: Vec<u16>,
    /// 1 compressed, 0x4000 encrypted, 0x8000 sparse.
    pub flags: u16,
    pub is_resident: bool,
    pub size: u64,
    /// What holes leave of it, for sparse and compressed ones.
    pub allocated: u64,
    pub initialized: u64,
    /// [`checksum`] of the content; `None` where it was not read.
    pub checksum: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenEntry {
    pub reference: u64,
    pub namespace: u8,
    pub name: Vec<u16>,
    /// What a search for the name through the index finds.
    pub found: u64,
}

/// A volume as ntfs-3g sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenVolume {
    /// By record number.
    pub files: BTreeMap<u64, Seen>,
    /// Record number and what could not be read of it.
    pub faults: Vec<(u64, String)>,
}

impl Seen {
    /// The unnamed and named `$DATA` streams.
    pub fn streams(&self) -> impl Iterator<Item = &SeenAttribute> {
        self.content.iter().filter(|a| a.kind == 0x80)
    }

    pub fn is_folder(&self) -> bool {
        self.flags & 2 != 0
    }
}

/// FNV-1a with 64 bits.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &b| (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// Reads a whole volume: all files with all names, streams, sizes and checksums, all folders. The image is the volume alone,
/// without a partition table; it is not written.
///
/// `None` when the program cannot be compiled here, which is printed, or a failure where oracles are required. Fails when
/// ntfs-3g does not mount the image; what it does not read of a mounted one is in `faults`.
pub fn read(image: &Path) -> Option<SeenVolume> {
    let seen = try_read(image)?;
    Some(seen.unwrap_or_else(|complaints| panic!("ntfs-3g does not read {}: {complaints}", image.display())))
}

/// The same for a volume that may be damaged: what ntfs-3g says when it does not mount the image.
pub fn try_read(image: &Path) -> Option<Result<SeenVolume, String>> {
    let out = Command::new(program()?).arg(image).env("LC_ALL", "C").output().unwrap();
    if out.status.success() {
        return Some(Ok(parse(std::str::from_utf8(&out.stdout).unwrap())));
    }
    Some(Err(String::from_utf8_lossy(&out.stderr).into_owned()))
}

/// Compiled once for each process, and found by the others that the same source was compiled in.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM.get_or_init(compile).as_deref()
}

fn compile() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let done = folder.join(format!("ntfs_3g-{:016x}", checksum(SOURCE.as_bytes())));
    if done.exists() {
        return Some(done);
    }
    // Other tests may do the same right now: each makes its own, and the last one stays.
    let own = folder.join(format!("ntfs_3g-{}", std::process::id()));
    let source = own.with_extension("c");
    std::fs::write(&source, SOURCE).unwrap();
    let mut compiler = Command::new("cc");
    // What the headers of the library ask for.
    compiler.args(["-DHAVE_TIME_H", "-DHAVE_SYS_STAT_H", "-DHAVE_SYS_TYPES_H", "-DHAVE_STDINT_H"]);
    compiler.args(["-O2", "-o"]).arg(&own).arg(&source).arg("-lntfs-3g").stdin(Stdio::null());
    let fault = match compiler.output() {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(String::from_utf8_lossy(&out.stderr).into_owned()),
        Err(error) => Some(error.to_string()),
    };
    std::fs::remove_file(&source).unwrap();
    if let Some(fault) = fault {
        assert!(!required(), "a reader with libntfs-3g (ntfs-3g-dev) is required and cannot be compiled: {fault}");
        println!("skipped: a reader with libntfs-3g (ntfs-3g-dev) cannot be compiled: {fault}");
        return None;
    }
    std::fs::rename(&own, &done).unwrap();
    Some(done)
}

fn decimal(word: &str) -> u64 {
    word.parse().unwrap()
}

fn hexadecimal(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap()
}

fn units(word: &str) -> Vec<u16> {
    let digits = if word == "-" { "" } else { word };
    digits.as_bytes().chunks(4).map(|d| u16::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn bytes(word: &str) -> Vec<u8> {
    let digits = if word == "-" { "" } else { word };
    digits.as_bytes().chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn times(words: &[&str]) -> [u64; 4] {
    [0, 1, 2, 3].map(|i| decimal(words[i]))
}

fn parse(text: &str) -> SeenVolume {
    let mut volume = SeenVolume::default();
    let (mut current, mut count) = (0, None);
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let (what, words) = words.split_first().unwrap();
        match *what {
            "file" => {
                current = decimal(words[0]);
                let reference = current | decimal(words[1]) << 48;
                let (flags, links) = (hexadecimal(words[2]) as u16, decimal(words[3]) as u16);
                volume.files.insert(current, Seen { reference, flags, links, ..Seen::default() });
            }
            "fault" => volume.faults.push((decimal(words[0]), words[1..].join(" "))),
            "end" => count = Some(decimal(words[0])),
            _ => volume.files.get_mut(&current).unwrap().add(what, words),
        }
    }
    assert_eq!(count, Some(volume.files.len() as u64), "the list of files is cut off");
    volume
}

impl Seen {
    fn add(&mut self, what: &str, words: &[&str]) {
        match what {
            "times" => self.times = times(words),
            "info" => {
                self.attributes = hexadecimal(words[0]) as u32;
                (self.owner, self.security) = (decimal(words[1]) as u32, decimal(words[2]) as u32);
                (self.charged, self.usn) = (decimal(words[3]), decimal(words[4]));
            }
            "name" => self.names.push(SeenName {
                parent: hexadecimal(words[0]),
                namespace: decimal(words[1]) as u8,
                name: units(words[2]),
                allocated: decimal(words[3]),
                size: decimal(words[4]),
                attributes: hexadecimal(words[5]) as u32,
                times: times(&words[6..]),
            }),
            "attribute" => self.content.push(SeenAttribute {
                kind: hexadecimal(words[0]) as u32,
                name: units(words[1]),
                flags: hexadecimal(words[2]) as u16,
                is_resident: words[3] == "1",
                size: decimal(words[4]),
                allocated: decimal(words[5]),
                initialized: decimal(words[6]),
                checksum: (words[7] != "-").then(|| hexadecimal(words[7])),
            }),
            "descriptor" => self.descriptor = bytes(words[0]),
            "reparse" => self.reparse = Some(bytes(words[0])),
            "entry" => {
                let name = units(words[2]);
                if name != [0x2e] && name != [0x2e, 0x2e] {
                    let (reference, found) = (hexadecimal(words[0]), hexadecimal(words[3]));
                    self.entries.push(SeenEntry { reference, namespace: decimal(words[1]) as u8, name, found });
                }
            }
            _ => panic!("ntfs_3g says `{what}`"),
        }
    }
}
