//! The long runs of the random tests.

use crate::shell::{cargo, command, run};
use anyhow::{Context, Result};

/// The model test plays 5,000 operations on each geometry by itself: with this factor 100,000.
const TIMES: u32 = 20;

pub(crate) fn soak(args: &[String]) -> Result<()> {
    let times = args.first().map_or(Ok(TIMES), |s| s.parse()).context("how many times as long as `cargo test`")?;
    println!("== NTFS against a tree in memory, {times} times as long");
    let tests = ["test", "--package", "reseal-ntfs", "--test", "model", "--test", "folders", "--", "--nocapture"];
    // Its witnesses are half of it: the kernel's driver and ntfs-3g every 20,000 operations.
    run(command(cargo(), &tests).env("RESEAL_SOAK", times.to_string()).env("RESEAL_ORACLES", "require"))?;
    // Each of them is opened, read, checked and written to, which takes its time.
    let times = times.div_ceil(5);
    println!("== hostile volumes, {times} times as many");
    let tests = ["test", "--package", "reseal-ntfs", "--test", "hostile", "--", "--nocapture"];
    run(command(cargo(), &tests).env("RESEAL_SOAK", times.to_string()).env("RESEAL_ORACLES", "require"))
}
