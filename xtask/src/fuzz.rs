//! Fuzz targets: one per parser and editor, with exact oracles (see `reseal_testdata::fuzz`).

use crate::shell::{command, root, run, text};
use anyhow::{Context, Result, bail};
use reseal_testdata::fuzz::TARGETS;

pub(crate) fn fuzz(args: &[String]) -> Result<()> {
    crate::setup::setup()?;
    if text(&mut command("cargo", &["fuzz", "--version"])).is_err() {
        run(&mut command("cargo", &["install", "--locked", "cargo-fuzz"])).context("cargo-fuzz is needed")?;
    }
    let chosen: Vec<&str> = match args.first().map(String::as_str) {
        None | Some("all") => TARGETS.to_vec(),
        Some(name) if TARGETS.contains(&name) => vec![name],
        Some(name) => bail!("there is no target {name}; there are {}", TARGETS.join(", ")),
    };
    let seconds: u64 = args.get(1).map_or(Ok(600), |s| s.parse()).context("seconds")?;
    for target in chosen {
        println!("== {target}, {seconds} s");
        let corpus = root().join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&corpus)?;
        for (i, seed) in reseal_testdata::fuzz::seeds(target)?.into_iter().enumerate() {
            std::fs::write(corpus.join(format!("seed-{i:03}")), seed)?;
        }
        let limits = [
            format!("-max_total_time={seconds}"),
            "-timeout=10".into(),
            "-rss_limit_mb=1024".into(),
            "-max_len=65536".into(),
        ];
        run(command("cargo", &["+nightly", "fuzz", "run", "--release", "--sanitizer", "none", target, "--"])
            .args(limits))?;
    }
    Ok(())
}
