//! Programs that share no code with ours. A missing one is a printed skip, or a failure with `RESEAL_ORACLES=require`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a variable demands what may be absent elsewhere.
pub(crate) fn required(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|v| v == "require")
}

/// Says that something independent is missing, so that a test leaves a part out; panics when `RESEAL_ORACLES=require`.
#[allow(clippy::print_stdout, clippy::panic, reason = "a test says what it skips and ends with a panic")]
pub fn missing(what: &str) {
    if required("RESEAL_ORACLES") {
        panic!("RESEAL_ORACLES=require, but {what}");
    }
    println!("skipped: {what}");
}

/// The folder with tools that were written for this project and do not ship: `RESEAL_SHARED`, or `../shared` beside the
/// workspace. `None` (with the reason printed) where it is absent.
pub fn shared_tools() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let tools = std::env::var_os("RESEAL_SHARED").map_or_else(default, PathBuf::from).join("tools");
    if tools.is_dir() {
        return Some(tools);
    }
    missing(&format!("{} does not exist", tools.display()));
    None
}

/// Runs a tool. `None` when it is not installed (and not required); panics when it is required and missing.
#[allow(clippy::print_stdout, clippy::panic, reason = "a test says what it skips and ends with a panic")]
pub fn run<S: AsRef<OsStr>>(tool: &str, args: impl IntoIterator<Item = S>) -> Option<Output> {
    match Command::new(tool).args(args).output() {
        Ok(output) => Some(output),
        Err(e) if required("RESEAL_ORACLES") => panic!("RESEAL_ORACLES=require, but {tool} does not run: {e}"),
        Err(e) => {
            println!("skipped: {tool} does not run: {e}");
            None
        }
    }
}

/// Runs a tool that must end with exit code 0; panics with its output otherwise. `None` when it is not installed.
#[allow(clippy::panic, reason = "a test ends with a panic")]
pub fn agree<S: AsRef<OsStr>>(tool: &str, args: impl IntoIterator<Item = S>) -> Option<String> {
    let output = run(tool, args)?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        panic!("{tool} ends with {}:\n{text}", output.status);
    }
    Some(text)
}

/// Reads a disk with libvhdi: the chain of files from the leaf to the one without a parent, the content to a file.
const VHDI: &str = "
import sys, pyvhdi
files = []
for path in sys.argv[2:]:
    files.append(pyvhdi.file())
    files[-1].open(path)
for child, parent in zip(files, files[1:]):
    child.set_parent(parent)
size, at = files[0].get_media_size(), 0
with open(sys.argv[1], 'wb') as out:
    while at < size:
        n = min(size - at, 1 << 20)
        out.write(files[0].read_buffer_at_offset(n, at))
        at += n
";

/// The content of a VHD or VHDX as libvhdi (package `python3-libvhdi`) reads it; `chain` names the disk, its parent, and so on.
/// `None` when it is not installed; panics when it reads nothing.
pub fn vhdi(chain: &[&Path]) -> Option<Vec<u8>> {
    // Where Debian's modules are; another Python may come first in the path.
    let python = if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
    if !run(python, ["-c", "import pyvhdi"])?.status.success() {
        missing("python3-libvhdi is not installed");
        return None;
    }
    let out = tempfile::NamedTempFile::new().expect("a temporary file");
    let paths = [out.path()].into_iter().chain(chain.iter().copied()).map(|path| path.as_os_str().to_owned());
    agree(python, ["-c".into(), VHDI.into()].into_iter().chain(paths))?;
    Some(std::fs::read(out.path()).expect("it was written"))
}
