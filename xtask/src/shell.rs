//! Running programs.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Build output.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The folder with real data and tools, where there is one.
pub(crate) fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("RESEAL_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    path.join("data").is_dir().then_some(path)
}

/// Unpacked real data.
pub(crate) fn real() -> PathBuf {
    std::env::var_os("RESEAL_DATA").map_or_else(|| root().join("target/real"), PathBuf::from)
}

/// A command in the workspace's root.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Runs it with its output shown; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} does not run"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} ends with {status}") }
}

/// Runs it with its output captured, whatever its exit code.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("{command:?} does not run"))
}

/// Runs it and returns what it printed; an error unless it succeeds.
pub(crate) fn text(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{command:?} ends with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Builds the command line for release and returns its path.
pub(crate) fn release_binary() -> Result<PathBuf> {
    run(&mut command(cargo(), &["build", "--release", "--quiet", "--package", "reseal-cli"]))?;
    Ok(target().join("release/reseal"))
}

pub(crate) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
