//! WIM files against wimlib: sealing one against applying, editing and capturing again; unpacking; capturing.

use super::cost::{Cost, Watch, cost, cost_ending, median};
use super::{NEW_SID, Print, Volume};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is changed on either side: the SID in descriptors and, on ours, in the hives.
const SEAL: [&str; 6] = ["--allow", "dirty-hive", "--sid", NEW_SID, "--steps", "machine-sid"];

pub(super) fn measure(
    reseal: &Path,
    rival: Option<&Path>,
    volume: &Volume,
    work: &Path,
    print: Print<'_>,
) -> Result<()> {
    let bench = Bench { reseal, rival, volume, source: work.join("bench.wim"), target: work.join("bench-out.wim") };
    for compression in ["LZX", "XPRESS"] {
        let theirs = bench.captured_by_wimlib(&volume.partition, &bench.source, compression)?;
        print(&format!("wimlib capture, {compression}"), theirs, None);
        let size = std::fs::metadata(&bench.source)?.len();
        let ours = bench.captured_by_us(compression)?;
        print(&format!("wim capture, {compression}"), ours, Some(("wimlib capture", theirs)));
        let ratio = std::fs::metadata(&bench.target)?.len() as f64 / size as f64;
        println!("| {} | | wim capture, {compression}: size | {ratio:.3} | wimlib's | | |", volume.name);
        bench.unpacking(compression, print)?;
        if compression == "LZX" {
            bench.sealing(work, print)?;
        }
    }
    for path in [&bench.source, &bench.target] {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

struct Bench<'a> {
    reseal: &'a Path,
    /// The fastest way known to edit an applied volume.
    rival: Option<&'a Path>,
    volume: &'a Volume,
    source: PathBuf,
    target: PathBuf,
}

impl Bench<'_> {
    fn captured_by_wimlib(&self, volume: &Path, out: &Path, compression: &str) -> Result<Cost> {
        median(|watch| {
            let _ = std::fs::remove_file(out);
            cost(&mut capture(volume, out, compression), watch)
        })
    }

    fn captured_by_us(&self, compression: &str) -> Result<Cost> {
        median(|watch| {
            let _ = std::fs::remove_file(&self.target);
            let mut command = Command::new(self.reseal);
            command.args(["wim", "capture"]).arg(&self.volume.partition).arg(&self.target);
            cost(command.args(["--name", "bench", "--compress", &compression.to_lowercase()]), watch)
        })
    }

    /// Every content unpacked and held against its SHA-1.
    fn unpacking(&self, compression: &str, print: Print<'_>) -> Result<()> {
        let theirs = median(|watch| cost(Command::new("wimlib-imagex").arg("verify").arg(&self.source), watch))?;
        print(&format!("wimlib verify, {compression}"), theirs, None);
        for threads in ["1", "2"] {
            let ours = median(|watch| {
                let mut command = Command::new(self.reseal);
                cost(command.args(["--threads", threads, "wim", "verify"]).arg(&self.source), watch)
            })?;
            let name = format!("wim verify, {compression}, threads: {threads}");
            print(&name, ours, Some(("wimlib verify", theirs)));
        }
        Ok(())
    }

    fn sealing(&self, work: &Path, print: Print<'_>) -> Result<()> {
        let theirs = self.applied_edited_captured(work)?;
        let what = if self.rival.is_some() { "wimlib apply, edit, capture" } else { "wimlib apply, capture" };
        print(what, theirs, None);
        for storage in ["plain", "compressed"] {
            let ours = median(|watch| {
                std::fs::copy(&self.source, &self.target)?;
                // What the copy left to be written is not what is measured.
                File::open(&self.target)?.sync_all()?;
                self.seal(&self.target, &["--in-place", "--wim-resources", storage], watch)
            })?;
            print(&format!("WIM in place, {storage}"), ours, Some((what, theirs)));
        }
        let out = self.target.to_str().context("path")?;
        let ours = median(|watch| {
            let _ = std::fs::remove_file(&self.target);
            self.seal(&self.source, &["-o", out], watch)
        })?;
        print("WIM rebuilt", ours, Some((what, theirs)));
        Ok(())
    }

    fn seal(&self, image: &Path, how: &[&str], watch: Watch) -> Result<Cost> {
        let mut command = Command::new(self.reseal);
        command.arg("generalize").arg(format!("{}:1", image.display())).args(how).args(SEAL);
        cost_ending(&mut command, Stdio::null(), &[0], watch)
    }

    /// What is done today: apply to a volume, edit that, capture it.
    fn applied_edited_captured(&self, work: &Path) -> Result<Cost> {
        let volume = work.join("bench-applied.ntfs");
        let cost = median(|watch| {
            let _ = std::fs::remove_file(&volume);
            let _ = std::fs::remove_file(&self.target);
            File::create(&volume)?.set_len(std::fs::metadata(&self.volume.partition)?.len())?;
            crate::shell::run(Command::new("mkntfs").args(["-q", "-Q", "-F"]).arg(&volume).stdout(Stdio::null()))?;
            let start = Instant::now();
            let mut peak_kib = 0;
            let mut jobs = vec![Command::new("wimlib-imagex"), capture(&volume, &self.target, "LZX")];
            jobs[0].arg("apply").arg(&self.source).arg("1").arg(&volume);
            if let Some(rival) = self.rival {
                let mut edit = Command::new(rival);
                edit.arg(&volume);
                jobs.insert(1, edit);
            }
            for job in &mut jobs {
                peak_kib = peak_kib.max(cost(job, watch)?.peak_kib);
            }
            Ok(Cost { wall: start.elapsed(), peak_kib })
        })?;
        std::fs::remove_file(&volume)?;
        Ok(cost)
    }
}

fn capture(volume: &Path, out: &Path, compression: &str) -> Command {
    let mut command = Command::new("wimlib-imagex");
    command.arg("capture").arg(volume).arg(out).arg("bench").arg(format!("--compress={compression}"));
    command
}
