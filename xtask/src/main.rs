//! `cargo xtask COMMAND`: everything that is done with the project besides using it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks")]

mod bench;
mod demo;
mod docs;
mod fuzz;
mod setup;
mod shell;
mod soak;
mod test;
mod tidy;

use anyhow::Result;
use std::process::ExitCode;

const HELP: &str = "cargo xtask COMMAND

  setup            install what tests, demo and benchmarks need (Debian packages, real data, nightly)
  demo             build a small Windows-like VHDX, inspect, seal and verify it
  test             setup, then every check and every test
  bench [S M L writer]
                   ratios against the fastest rivals known, in one run
  bench codec      our decoders and compressors against wimlib's library
  soak [TIMES]     the random tests of NTFS, 20 times as long: 100,000 operations on each geometry
  fuzz [TARGET] [SECONDS]
                   run the fuzz targets, 600 seconds each when nothing is said
  tidy             edges between crates, file and function sizes, licences, generated documents
  docs             write the generated documents (docs/steps.md, docs/checks.md, docs/cli.md)

RESEAL_REAL=require and RESEAL_ORACLES=require make missing data and tools a failure.
RESEAL_SHARED names the folder with `data` and `tools` (default: ../shared).";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let rest = args.get(1..).unwrap_or_default();
    match args.first().map(String::as_str) {
        Some("setup") => setup::setup(),
        Some("demo") => demo::demo(),
        Some("test") => test::test(),
        Some("bench") => bench::bench(rest),
        Some("soak") => soak::soak(rest),
        Some("fuzz") => fuzz::fuzz(rest),
        Some("tidy") => tidy::tidy(),
        Some("docs") => docs::write(),
        _ => {
            println!("{HELP}");
            Ok(())
        }
    }
}
