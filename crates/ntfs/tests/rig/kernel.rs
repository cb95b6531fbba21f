//! What Linux' own NTFS driver (ntfs3) makes of a volume: mounted in a virtual machine by `tools/ntfs3-check.sh` of the shared
//! folder, every file read, then 200 files made and deleted on a throw-away copy.

use super::required;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the driver found. The volume's own files are not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Names of files: one with hard links counts once for each.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// What could not be looked up or read to its end.
    pub errors: u64,
    /// Files without a security descriptor; the root counts where it has no security id.
    pub without_descriptor: u64,
    /// Files made and deleted, of 200 each.
    pub probes: u64,
    /// What the driver wrote to the kernel's log.
    pub complaints: Vec<String>,
}

fn tool() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let tool = std::env::var_os("RESEAL_SHARED").map_or_else(default, PathBuf::from).join("tools/ntfs3-check.sh");
    if tool.is_file() {
        return Some(tool);
    }
    assert!(!required(), "the kernel's driver is required as a witness, and {} does not exist", tool.display());
    println!("skipped: {} does not exist", tool.display());
    None
}

/// Only one process may prepare the kernel, which happens on the first call and after the tool was changed.
fn turn(tool: &Path) -> Option<File> {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    let cache = std::env::var_os("NTFS3_CACHE").map_or_else(|| home.join(".cache/reseal-ntfs3"), PathBuf::from);
    let made = |path: PathBuf| path.metadata().and_then(|meta| meta.modified());
    let source = made(tool.with_file_name("ntfs3ls.c")).unwrap();
    if made(cache.join("initrd.gz")).is_ok_and(|prepared| prepared >= source) {
        return None;
    }
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("ntfs3.lock")).unwrap();
    lock.lock().unwrap();
    Some(lock)
}

/// Mounts the volume, reads it whole, and tries the writer of the driver on it. The image stays as it is.
///
/// `None` without the tool, which is printed, or a failure where oracles are required.
pub fn mount(image: &Path) -> Option<Mounted> {
    let tool = tool()?;
    let turn = turn(&tool);
    let out = Command::new(tool).arg(image).args(["--full", "--rw"]).stdin(Stdio::null()).output().unwrap();
    drop(turn);
    let text = String::from_utf8_lossy(&out.stdout);
    let complaints = String::from_utf8_lossy(&out.stderr);
    let Some(counts) = text.lines().find(|l| l.starts_with("NTFS3 files ")) else {
        panic!("the kernel's driver does not mount {}: {text}{complaints}", image.display());
    };
    let number = |line: &str, name: &str| {
        let mut words = line.split(' ').skip_while(|w| *w != name);
        words.nth(1).and_then(|w| w.split('/').next()?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    let probe = text.lines().find(|l| l.starts_with("rw probe")).unwrap_or_else(|| panic!("no probe: {text}"));
    Some(Mounted {
        files: number(counts, "files"),
        folders: number(counts, "dirs"),
        errors: number(counts, "errs"),
        without_descriptor: number(counts, "nosd"),
        probes: number(probe, "ok"),
        complaints: text.lines().filter(|l| l.contains("ntfs3:")).map(str::to_string).collect(),
    })
}
