//! What a process costs: wall time and memory, the median of several runs.

use anyhow::{Context, Result, bail};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 5;

/// Wall time and peak memory of one process.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) wall: Duration,
    pub(super) peak_kib: u64,
}

/// The median time of five runs; the peak memory of one before them, which warms the cache and is watched.
pub(super) fn median(mut one: impl FnMut(Watch) -> Result<Cost>) -> Result<Cost> {
    let peak_kib = one(Watch::Memory)?.peak_kib;
    let mut costs = (0..RUNS).map(|_| one(Watch::Time)).collect::<Result<Vec<_>>>()?;
    costs.sort_by_key(|cost| cost.wall);
    Ok(Cost { peak_kib, ..costs[RUNS / 2] })
}

/// What is looked at while a process runs: asking for its memory takes processor time from it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Watch {
    Time,
    Memory,
}

/// Runs a process to its end.
pub(super) fn cost(command: &mut Command, watch: Watch) -> Result<Cost> {
    cost_to(command, Stdio::null(), watch)
}

/// [`cost`] with its output kept.
pub(super) fn cost_to(command: &mut Command, output: Stdio, watch: Watch) -> Result<Cost> {
    cost_ending(command, output, &[0], watch)
}

/// [`cost_to`] of a process that may end with any of these codes.
pub(super) fn cost_ending(command: &mut Command, output: Stdio, codes: &[i32], watch: Watch) -> Result<Cost> {
    let start = Instant::now();
    let mut child = command.stdout(output).stderr(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
    let peak_kib = if watch == Watch::Memory { peak_memory(&mut child)? } else { 0 };
    let code = child.wait()?;
    let wall = start.elapsed();
    if !code.code().is_some_and(|code| codes.contains(&code)) {
        bail!("{command:?} ends with {code}");
    }
    Ok(Cost { wall, peak_kib })
}

/// Reads the highest use of memory until the process ends.
fn peak_memory(child: &mut Child) -> Result<u64> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    while child.try_wait()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        if let Some(line) = text.lines().find(|l| l.starts_with("VmHWM")) {
            let number: String = line.chars().filter(char::is_ascii_digit).collect();
            peak_kib = number.parse().unwrap_or(peak_kib);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(peak_kib)
}
