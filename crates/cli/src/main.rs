//! The `reseal` command: arguments, progress, rendering, exit codes; nothing else.
#![forbid(unsafe_code)]

mod args;
mod diff;
mod driver;
mod generalize;
mod hive_text;
mod parts;
mod progress;
mod render;
mod wim;

use args::{Cli, Command};
use clap::Parser;
use std::process::ExitCode;

/// Exit codes, a contract with scripts (docs/architecture.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Found = 4,
    NothingToDo = 5,
    Interrupted = 6,
    BadInput = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let run = || run(cli.command);
    let result = match cli.threads {
        Some(threads) => reseal::with_threads(threads, run).map_err(anyhow::Error::from).and_then(|result| result),
        None => run(),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => render::error(&error).into(),
    }
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Inspect(args) => parts::inspect(&args),
        Command::Generalize(args) => generalize::generalize(&args),
        Command::Recover(args) => parts::recover(&args),
        Command::Verify(args) => parts::verify(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Unattend(args) => parts::unattend(&args),
        Command::Steps(args) => parts::steps(&args),
        Command::Checks(args) => parts::checks(&args),
        Command::Driver(command) => driver::driver(command),
        Command::Hive(command) => parts::hive(command),
        Command::Fs(command) => parts::fs(command),
        Command::Wim(command) => wim::wim(&command),
    }
}
