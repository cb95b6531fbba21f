//! The command line's grammar and help.

mod edit;
mod generalize;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub(crate) use edit::{Edit, now};
pub(crate) use generalize::{Generalize, KeepOrDrop, KeepOrGeneralize, KeepOrRearm, Mode, WimResources};

const AFTER: &str = "Examples:
  reseal inspect gold.vhdx
  reseal generalize gold.vhdx -o sealed.vhdx --unattend unattend.xml
  reseal generalize gold.vhdx --in-place --keep-undo
  reseal verify sealed.vhdx --no-trace-of S-1-5-21-1-2-3
  reseal diff gold.vhdx sealed.vhdx

Exit codes:
  0 done (with --dry-run: there is something to do)   4 verify, diff or fs check found something
  1 failed                                            5 nothing to do
  2 usage                                             6 an interrupted commit lies beside the image
  3 refused by a guard, nothing written               7 damaged or unsupported input

The input image is written with --in-place only, and then it is the old image or the new one
at every instant. Microsoft supports Sysprep only; what no real Windows
has confirmed yet is called unproven, in the report and in docs/limits.md.";

/// Generalizes a Windows image that is not running: machine SID, names, ids, OOBE.
#[derive(Debug, Parser)]
#[command(name = "reseal", version, after_help = AFTER, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Threads to use; as many as there are cores when not given.
    #[arg(short = 'j', long, global = true, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what an image holds: partitions, Windows, SIDs, users, guards.
    Inspect(Inspect),
    /// Seal an image, to a new file or in place.
    Generalize(Box<Generalize>),
    /// Finish or discard an interrupted commit in place, or take a finished one back.
    Recover(Recover),
    /// Check an image, and prove that something is gone from it.
    Verify(Verify),
    /// Show what differs between two images: files, registry, descriptors.
    Diff(Diff),
    /// Say what is wrong with an answer file.
    Unattend(Unattend),
    /// List the steps, or show one.
    Steps(Steps),
    /// List the checks, or show one.
    Checks(Checks),
    /// List, add, remove and enable device drivers.
    #[command(subcommand)]
    Driver(Driver),
    /// Look into and edit registry hives.
    #[command(subcommand)]
    Hive(Hive),
    /// Look into the file system.
    #[command(subcommand)]
    Fs(Fs),
    /// Look into WIM files, check, capture, apply, export and split them.
    #[command(subcommand)]
    Wim(Wim),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reseal inspect gold.vhdx\n  reseal inspect gold.vhdx#p3 --json\n  reseal inspect gold.vhdx --check"
)]
pub(crate) struct Inspect {
    /// disk.vhdx, disk.vhd, disk.raw, one partition of it: disk.vhdx#p3, install.wim:2, or a folder where a volume is mounted.
    pub(crate) image: String,
    /// Run every check, and say of each what came of it; exit 3 when generalize would refuse.
    #[arg(long)]
    pub(crate) check: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, nothing in a pipe.
    Auto,
    /// Nothing.
    Never,
    /// A JSON line per event on stderr.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  reseal recover gold.vhdx
  reseal recover gold.vhdx --undo
  reseal recover /dev/sdb --journal /var/lib/reseal
  reseal recover /mnt/win")]
pub(crate) struct Recover {
    /// The image that was being written, or the folder where the volume is mounted.
    pub(crate) image: String,
    /// Give back the image as it was before `generalize --in-place --keep-undo`.
    #[arg(long)]
    pub(crate) undo: bool,
    /// Folder that holds the journal, when it does not lie beside the image.
    #[arg(long, value_name = "DIR")]
    pub(crate) journal: Option<PathBuf>,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  reseal verify sealed.vhdx
  reseal verify sealed.vhdx --no-trace-of S-1-5-21-1-2-3 --no-trace-of GOLD-07
  reseal verify sealed.vhdx --no-trace-of @needles.txt

Each is looked for as ASCII and UTF-16 (either byte order; letters in either case), as base64 at every
alignment and as hexadecimal digits of both as given, a SID and a GUID in binary, too. Compressed
content is searched unpacked. What is found is named with its place: file and stream, key and value,
free cell, end of a file, record or index block, free space, $LogFile, $UsnJrnl, outside of partitions.
Places that sealing leaves on purpose are named as such, and still exit 4.")]
pub(crate) struct Verify {
    /// disk.vhdx, disk.vhd, disk.raw, or one partition of it: disk.vhdx#p3.
    pub(crate) image: String,
    /// A SID or a text of at least four characters that must not stand anywhere: files, hives, descriptors, names, free space;
    /// @FILE names a file with one a line. Repeatable.
    #[arg(long, value_name = "TEXT-OR-SID")]
    pub(crate) no_trace_of: Vec<String>,
    /// Notes count, too.
    #[arg(long)]
    pub(crate) strict: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  reseal diff gold.vhdx sealed.vhdx
  reseal diff gold.vhdx sealed.vhdx --path Users --path 'HKEY_LOCAL_MACHINE\\SYSTEM\\Setup'
  reseal diff gold.vhdx#p3 other.raw --ignore '**.log' --times --json
  reseal diff install.wim:1 sealed.wim:1
  reseal diff custom.wim:1 gold.vhdx#p3

Exit codes: 0 alike, 4 something differs. A renamed file shows as removed and added. Values of SAM
and SECURITY show as length and digest.")]
pub(crate) struct Diff {
    /// disk.vhdx, disk.vhd, disk.raw, or one partition of it: disk.vhdx#p3; an image of a WIM: install.wim:2.
    pub(crate) before: String,
    /// The image to compare with; partitions pair by number, an image of a WIM with another one or with a Windows volume.
    pub(crate) after: String,
    /// Only below this path or registry key (HKEY_LOCAL_MACHINE\SYSTEM\Setup). Repeatable.
    #[arg(long, value_name = "PREFIX")]
    pub(crate) path: Vec<String>,
    /// Leave out paths and keys that match: ? one character, * within a name, ** any. Repeatable.
    #[arg(long, value_name = "GLOB")]
    pub(crate) ignore: Vec<String>,
    /// Times of files and keys count, too.
    #[arg(long)]
    pub(crate) times: bool,
    /// Streams of system files and the way hives are stored count, too.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Show long data whole.
    #[arg(long)]
    pub(crate) full: bool,
    /// Show secret values as they are.
    #[arg(long)]
    pub(crate) secrets: bool,
    /// 8.3 names don't count.
    #[arg(long)]
    pub(crate) no_short_names: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
    /// Progress on stderr.
    #[arg(long, value_enum, default_value = "auto", value_name = "MODE")]
    pub(crate) progress: ProgressMode,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  reseal unattend unattend.xml
  reseal unattend unattend.xml --architecture arm64 --server --json

Exit codes: 0 nothing but notes, 4 an error or a warning, 2 it is no answer file.")]
pub(crate) struct Unattend {
    /// The answer file.
    pub(crate) file: PathBuf,
    /// Architecture of the Windows that shall use it: amd64, x86, arm64.
    #[arg(long, value_name = "WORD")]
    pub(crate) architecture: Option<String>,
    /// It is for a server.
    #[arg(long)]
    pub(crate) server: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Steps {
    /// The step to show.
    pub(crate) id: Option<String>,
    /// What Sysprep does, row by row, and what answers it here.
    #[arg(long, conflicts_with = "id")]
    pub(crate) coverage: bool,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Checks {
    /// The check to show.
    pub(crate) id: Option<String>,
    /// One JSON document on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  reseal driver ls gold.vhdx
  reseal driver add gold.vhdx virtio/viostor/w11/amd64 -o kvm.vhdx
  reseal driver add gold.vhdx virtio/vioscsi/w11/amd64/vioscsi.inf --dry-run
  reseal driver enable gold.vhdx stornvme -o nvme.vhdx
  reseal driver rm gold.vhdx oem4.inf --in-place

Exit codes: 0 done, 3 refused, 5 nothing to do: it was added before.")]
pub(crate) enum Driver {
    /// List the packages that are not part of Windows: devices, services, folders.
    Ls {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2.
        image: String,
        /// Which installation, from 1, where the image has several.
        #[arg(long, value_name = "N")]
        installation: Option<usize>,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Add a package: Windows installs it at its first start, and starts from the disks that it drives.
    ///
    /// The package is copied to Windows\Drivers\Reseal, which DevicePath names from then on. Of a storage driver, or a bus driver
    /// that its INF starts at boot, the binary, the service and the entry by which Windows finds its devices are made at once.
    Add {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2. It is written with --in-place only.
        image: String,
        /// The INF, or a folder with INFs for the Windows version and architecture of the image.
        #[arg(value_name = "DIR|INF")]
        package: PathBuf,
        /// Refuse on any finding, such as a package without a catalog.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        edit: Edit,
    },
    /// Remove a package that is not part of Windows, with what nothing else needs.
    Rm {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2. It is written with --in-place only.
        image: String,
        /// oemN.inf, the name of an INF that was added, or a service of the package.
        #[arg(value_name = "INF|SERVICE")]
        what: String,
        /// Even when its service starts with Windows and drives disks.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        edit: Edit,
    },
    /// Have a driver that is there start with Windows, such as stornvme or storahci.
    Enable {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2. It is written with --in-place only.
        image: String,
        /// The service.
        service: String,
        #[command(flatten)]
        edit: Edit,
    },
}

/// Which hive.
#[derive(Debug, Args)]
pub(crate) struct HiveTarget {
    /// A disk image or an image of a WIM, install.wim:2 (then --hive names the hive in it), or a hive file.
    pub(crate) image: String,
    /// SYSTEM, SOFTWARE, SAM, SECURITY, or a path such as Users\ann\NTUSER.DAT.
    #[arg(long, value_name = "HIVE")]
    pub(crate) hive: Option<String>,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  reseal hive ls gold.vhdx --hive SYSTEM Setup
  reseal hive get gold.vhdx --hive SOFTWARE 'Microsoft\\Windows NT\\CurrentVersion' ProductName
  reseal hive set gold.vhdx --hive SYSTEM Setup SetupType dword:2 -o changed.vhdx
  reseal hive rm NTUSER.DAT Software\\Test -o NTUSER.new
  reseal hive export gold.vhdx --hive SYSTEM Setup -o setup.reg
  reseal hive import gold.vhdx --hive SYSTEM setup.reg -o changed.vhdx")]
pub(crate) enum Hive {
    /// List subkeys and values of a key.
    Ls {
        #[command(flatten)]
        target: HiveTarget,
        /// Key, from the hive's root; the root when not given.
        #[arg(default_value = "")]
        key: String,
        /// All keys below, too.
        #[arg(short, long)]
        recursive: bool,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Print one value.
    Get {
        #[command(flatten)]
        target: HiveTarget,
        /// Key.
        key: String,
        /// Value name; the default value when not given.
        #[arg(default_value = "")]
        name: String,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Set a value: sz:text, expand:text, dword:1, qword:1, hex:0a0b, hex(7):… with any type.
    Set {
        #[command(flatten)]
        target: HiveTarget,
        /// Key; made when it does not exist.
        key: String,
        /// Value name; empty for the default value.
        name: String,
        /// Typed data.
        data: String,
        /// The new image or hive file; it must not exist.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Remove a value, or a key with all below it.
    Rm {
        #[command(flatten)]
        target: HiveTarget,
        /// Key.
        key: String,
        /// Value name; the whole key when not given.
        name: Option<String>,
        /// The new image or hive file; it must not exist.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Write a key and all below it as .reg text, as regedit does.
    ///
    /// Keys, values, types and data come back exactly; class names, security descriptors and times have no place in
    /// .reg text and are not in it.
    Export {
        #[command(flatten)]
        target: HiveTarget,
        /// Key, from the hive's root; the whole hive when not given.
        #[arg(default_value = "")]
        key: String,
        /// The new file; it must not exist. Standard output when not given.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// UTF-8 instead of UTF-16LE with a byte order mark.
        #[arg(long)]
        utf8: bool,
        /// The key that stands for the hive's root; HKEY_LOCAL_MACHINE\SYSTEM for SYSTEM, and so on.
        #[arg(long, value_name = "KEY")]
        root: Option<String>,
    },
    /// Apply .reg text: keys and values are set, [-KEY] and "name"=- delete.
    ///
    /// UTF-16LE, UTF-8 and ASCII; version 5.00 and REGEDIT4. A new key has its parent's security descriptor and no
    /// class name: .reg text says nothing of them.
    Import {
        #[command(flatten)]
        target: HiveTarget,
        /// The .reg file.
        file: PathBuf,
        /// The new image or hive file; it must not exist.
        #[arg(short, long)]
        output: PathBuf,
        /// The key that stands for the hive's root; HKEY_LOCAL_MACHINE\SYSTEM for SYSTEM, and so on.
        #[arg(long, value_name = "KEY")]
        root: Option<String>,
    },
    /// Check a hive against every invariant of the format.
    Check {
        #[command(flatten)]
        target: HiveTarget,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}

/// A format of a WIM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressWith {
    /// Small.
    Lzx,
    /// Fast.
    Xpress,
    /// Not at all.
    None,
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  reseal wim info install.wim
  reseal wim verify install.esd --json
  reseal wim capture sealed.vhdx install.wim --name Pro
  reseal wim apply install.wim:1 blank.vhdx -o disk.vhdx
  reseal wim optimize custom.wim --rebuild
  reseal wim export install.wim:2 pro.wim
  reseal wim split install.wim install.swm --size 3800M
  reseal wim export install.swm:all install.wim
  reseal fs ls install.wim:2 Windows\\System32\\config
  reseal hive get install.wim:Core --hive SOFTWARE 'Microsoft\\Windows NT\\CurrentVersion' CurrentBuild")]
pub(crate) enum Wim {
    /// Say what it is, and which images it holds.
    Info {
        /// install.wim or install.esd.
        file: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Read all of it: integrity table, metadata, and every content against its SHA-1. Exit 4 when something is wrong.
    Verify {
        /// install.wim or install.esd.
        file: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Apply an image to the empty NTFS volume of a disk. `reseal fs check` and `reseal generalize` work on what comes out.
    Apply {
        /// install.wim:2 or install.wim:NAME; the only image when nothing is said.
        source: String,
        /// disk.vhdx, disk.vhd, disk.raw, or one partition of it: disk.vhdx#p3.
        image: String,
        #[command(flatten)]
        edit: Box<Edit>,
    },
    /// Capture the NTFS volume of a disk as an image of a new WIM. Page, hibernation and swap files, System Volume Information,
    /// recycle bins and Windows\\CSC are left out.
    Capture {
        /// disk.vhdx, disk.vhd, disk.raw, or one partition of it: disk.vhdx#p3.
        image: String,
        /// The new file; it must not exist.
        output: PathBuf,
        /// Name of the image.
        #[arg(long, default_value = "Windows")]
        name: String,
        /// Its description.
        #[arg(long, default_value = "")]
        description: String,
        /// How contents are compressed.
        #[arg(long, value_enum, default_value = "lzx", value_name = "FORMAT")]
        compress: CompressWith,
        /// Write an integrity table.
        #[arg(long)]
        check: bool,
        /// Leave out this file or folder, from the volume's root; repeatable.
        #[arg(long, value_name = "PATH")]
        exclude: Vec<String>,
        /// The time that counts as now: seconds since 1970 or 2026-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME", env = "SOURCE_DATE_EPOCH")]
        time: Option<String>,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Write it without what belongs to nothing, which changes by appending leave. Exit 5 when there is no such thing.
    Optimize {
        /// install.wim or install.esd.
        file: PathBuf,
        /// The new file; it must not exist.
        #[arg(short, long, value_name = "OUT", required_unless_present = "rebuild")]
        output: Option<PathBuf>,
        /// Put the new file in the old one's place, by a rename.
        #[arg(long, conflicts_with = "output")]
        rebuild: bool,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Write a new WIM with one image, or `:all`.
    Export {
        /// install.wim:2, install.wim:NAME or install.wim:all.
        image: String,
        /// The new file; it must not exist.
        output: PathBuf,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Divide it into parts for media that hold no large files: OUT.swm, OUT2.swm, …; the metadata is in the first. No content is
    /// divided, so one that is larger makes a larger part.
    Split {
        /// install.wim; solid ones (install.esd) cannot be divided.
        file: PathBuf,
        /// The first part; neither it nor the others must exist.
        output: PathBuf,
        /// Most bytes of a part, in units of 1024: 3800M, 700K, 2G.
        #[arg(long, value_name = "SIZE", value_parser = size)]
        size: u64,
        /// Write integrity tables, though the WIM has none.
        #[arg(long)]
        check: bool,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}

/// `3800M` in bytes.
fn size(text: &str) -> Result<u64, String> {
    let units = [("K", 10), ("M", 20), ("G", 30)];
    let parsed = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(1 << shift).filter(|bytes| *bytes > 0 && *bytes < 1 << 60)
    });
    parsed.ok_or_else(|| "a number with K, M or G is needed, as in 3800M".to_owned())
}

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  reseal fs ls gold.vhdx Windows\\System32\\config
  reseal fs cat gold.vhdx Windows\\Setup\\State\\State.ini
  reseal fs acl gold.vhdx Users
  reseal fs check gold.vhdx")]
pub(crate) enum Fs {
    /// List a folder, or show a file.
    Ls {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2.
        image: String,
        /// Path from the volume's root; `file:stream` names a stream.
        #[arg(default_value = "")]
        path: String,
        /// Everything below, too.
        #[arg(short, long)]
        recursive: bool,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
    /// Write a file's content to stdout.
    Cat {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2.
        image: String,
        /// Path; `file:stream` names a stream.
        path: String,
    },
    /// Show a security descriptor as SDDL.
    Acl {
        /// disk.vhdx, one partition of it: disk.vhdx#p3, or an image of a WIM: install.wim:2.
        image: String,
        /// Path.
        path: String,
    },
    /// Check NTFS as chkdsk does: records, indexes, security. Nothing is repaired.
    Check {
        /// disk.vhdx, disk.vhd, disk.raw, or one partition of it.
        image: String,
        /// Notes count, too.
        #[arg(long)]
        strict: bool,
        /// One JSON document on stdout.
        #[arg(long)]
        json: bool,
    },
}
