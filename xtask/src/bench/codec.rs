//! Our codecs against wimlib's library, in turns over the same chunks: processor time of one thread.

use crate::shell::{cargo, command, real, root, run, target, text};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// Formats and chunk sizes; whether we have a compressor for it.
const FORMATS: &[(&str, usize, bool)] = &[
    ("XPRESS", 4 << 10, true),
    ("XPRESS", 32 << 10, true),
    ("LZX", 32 << 10, true),
    ("LZX", 2 << 20, true),
    ("LZMS", 128 << 10, false),
];
/// Rounds, of which the median and the extremes are told.
const ROUNDS: usize = 5;
/// Bytes of each file.
const MOST: usize = 2_000_000;

pub(super) fn measure(work: &Path) -> Result<()> {
    run(&mut command(cargo(), &["build", "--release", "--quiet", "--package", "reseal-codec", "--example", "speed"]))?;
    let ours = target().join("release/examples/speed");
    let script = root().join("oracles/wimlib.py");
    let museum = "AndrewRathbun+DFIRArtifactMuseum/setupapi.dev.log/Win10/RathbunVM/setupapi.dev.log";
    let files = [
        ("hive", real().join("deb_plaso_20241006/SYSTEM")),
        ("text", real().join(museum)),
        ("code", std::env::current_exe()?),
    ];
    println!(
        "\n| content | format | chunk | what | ours MB/s | wimlib MB/s | speed, ours to wimlib's | size, ours to wimlib's |"
    );
    println!("|---|---|--:|---|--:|--:|--:|--:|");
    for (name, path) in &files {
        let mut content = std::fs::read(path).with_context(|| path.display().to_string())?;
        content.truncate(MOST);
        let source = work.join("codec.content");
        std::fs::write(&source, &content)?;
        for &(kind, chunk, compresses) in FORMATS {
            let packed = work.join("codec.packed");
            let python = || {
                let mut command = Command::new("python3");
                command.arg(&script);
                command
            };
            let size = chunk.to_string();
            let theirs = Job { verb: "pack", kind, chunk: &size, source: &source, target: &packed };
            theirs.seconds(python(), 1)?;
            let back = work.join("codec.back");
            let unpack = Job { verb: "unpack", source: &packed, target: &back, ..theirs };
            let row = format!("{name} | {kind} | {chunk}");
            compare(&row, &unpack, 20, || Command::new(&ours), python)?;
            if compresses {
                let pack = Job { target: &back, ..theirs };
                compare(&row, &pack, 1, || Command::new(&ours), python)?;
            }
        }
    }
    Ok(())
}

/// What is run, with us and with them.
#[derive(Clone, Copy)]
struct Job<'a> {
    verb: &'a str,
    kind: &'a str,
    chunk: &'a str,
    source: &'a Path,
    target: &'a Path,
}

impl Job<'_> {
    /// Content, stored bytes and seconds, as the program says.
    fn seconds(&self, mut program: Command, runs: u32) -> Result<[f64; 3]> {
        program.args([self.verb, self.kind, self.chunk]).arg(self.source).arg(self.target).arg(runs.to_string());
        let printed = text(&mut program)?;
        let mut numbers = printed.split_whitespace().map(str::parse::<f64>);
        let mut next = || numbers.next().context("no number").and_then(|n| Ok(n?));
        Ok([next()?, next()?, next()?])
    }
}

/// Runs both in turns and prints the medians, and the extremes of their ratio.
fn compare(
    row: &str,
    job: &Job<'_>,
    runs: u32,
    ours: impl Fn() -> Command,
    theirs: impl Fn() -> Command,
) -> Result<()> {
    let (mut our_times, mut their_times, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut content, mut sizes) = (0.0, 1.0);
    for _ in 0..ROUNDS {
        let [_, our_size, our_time] = job.seconds(ours(), runs)?;
        let [size, their_size, their_time] = job.seconds(theirs(), runs)?;
        (content, sizes) = (size, our_size / their_size);
        our_times.push(our_time);
        their_times.push(their_time);
        ratios.push(their_time / our_time);
    }
    [&mut our_times, &mut their_times, &mut ratios].into_iter().for_each(|list| list.sort_by(f64::total_cmp));
    let speed = |times: &[f64]| content / times[ROUNDS / 2] / 1e6;
    println!(
        "| {row} | {} | {:.0} | {:.0} | {:.2} ({:.2} to {:.2}) | {sizes:.3} |",
        job.verb,
        speed(&our_times),
        speed(&their_times),
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
    Ok(())
}
