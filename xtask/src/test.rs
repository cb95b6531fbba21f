//! Every check and every test.

use crate::shell::{cargo, command, release_binary, run, text};
use anyhow::Result;
use std::time::Instant;

pub(crate) fn test() -> Result<()> {
    let start = Instant::now();
    let step = |name: &str| println!("== {name} ({} s)", start.elapsed().as_secs());
    step("setup");
    crate::setup::setup()?;
    step("format");
    run(&mut command(cargo(), &["fmt", "--all", "--check"]))?;
    step("tidy");
    crate::tidy::tidy()?;
    step("lints");
    run(&mut command(cargo(), &["clippy", "--quiet", "--workspace", "--", "-D", "warnings"]))?;
    // A test ends with a panic and says what it skips.
    let in_tests = ["-A", "clippy::unwrap_used", "-A", "clippy::panic", "-A", "clippy::print_stdout"];
    run(
        command(cargo(), &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]).args(in_tests)
    )?;
    windows_target()?;
    step("release build");
    release_binary()?;
    step("demo");
    crate::demo::demo()?;
    step("tests");
    run(&mut command(cargo(), &["test", "--quiet", "--workspace", "--no-fail-fast"]))?;
    step("documentation");
    documentation()?;
    step("done");
    Ok(())
}

/// The command and the library share the name `reseal`, and so the folder of their pages: cargo empties it for each, also while
/// the other writes into it. One after the other, the library last: its pages stay.
fn documentation() -> Result<()> {
    for packages in [&["--package", "reseal-cli"][..], &["--workspace", "--exclude", "reseal-cli"]] {
        run(command(cargo(), &["doc", "--quiet", "--no-deps"]).args(packages).env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    Ok(())
}

/// The library type-checks for Windows hosts, where that target is installed.
fn windows_target() -> Result<()> {
    let installed = text(&mut command("rustup", &["target", "list", "--installed"])).unwrap_or_default();
    if !installed.lines().any(|line| line == "x86_64-pc-windows-gnu") {
        println!("left out: the target x86_64-pc-windows-gnu is not installed");
        return Ok(());
    }
    run(&mut command(cargo(), &["check", "--quiet", "--package", "reseal-cli", "--target", "x86_64-pc-windows-gnu"]))
}
