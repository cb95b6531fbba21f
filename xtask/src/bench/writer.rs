//! The NTFS writer against a volume mounted by ntfs-3g, job by job.
//!
//! All sides start from the same image in the page cache and end when it is synchronized. The writer straight into the file
//! promises what a mount does: after a crash the volume is what it is. The commit in place adds the journal, and the old
//! image or the new one at every instant. The rival is mount, work, unmount, and the end of its daemon, which synchronizes
//! the image last.

use super::cost::{Cost, Watch, cost, median};
use crate::shell::{cargo, command, run, target};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Jobs of `testdata/examples/writer.rs`, and what they do.
const JOBS: [(&str, &str); 4] = [
    ("create", "create 1,000 files of 4 KiB"),
    ("delete", "delete 1,000 files"),
    ("tree", "delete a tree of 10,000"),
    ("replace", "replace a file of 60 MB"),
];

pub(super) fn measure(work: &Path) -> Result<()> {
    run(&mut command(
        cargo(),
        &["build", "--release", "--quiet", "--package", "reseal-testdata", "--example", "writer"],
    ))?;
    let writer = target().join("release/examples/writer");
    let base = work.join("writer.ntfs");
    if !base.exists() {
        fill(&writer, &base)?;
    }
    let copy = work.join("writer-copy.ntfs");
    let rival = Rival { writer: &writer, image: &copy, folder: work.join("mounted") };
    for (job, what) in JOBS {
        let theirs = median(|_| {
            fresh(&base, &copy)?;
            rival.run(job)
        })?;
        println!("| writer | | {what}: ntfs-3g | {:.3} | | | |", theirs.wall.as_secs_f64());
        for how in ["direct", "in-place"] {
            let ours = median(|watch| {
                fresh(&base, &copy)?;
                cost(Command::new(&writer).args([how, job]).arg(&copy), watch)
            })?;
            let (wall, ratio) = (ours.wall.as_secs_f64(), ours.wall.as_secs_f64() / theirs.wall.as_secs_f64());
            println!("| writer | | {what}: {how} | {wall:.3} | ntfs-3g | {ratio:.2} | {} |", ours.peak_kib / 1024);
        }
    }
    Ok(std::fs::remove_file(&copy)?)
}

/// The volume that the jobs work on.
fn fill(writer: &Path, base: &Path) -> Result<()> {
    let part = base.with_extension("part");
    std::fs::File::create(&part)?.set_len(512 << 20)?;
    run(Command::new("mkntfs").args(["-F", "-Q", "-q"]).arg(&part).stdout(Stdio::null()).stderr(Stdio::null()))?;
    run(Command::new(writer).args(["in-place", "fill"]).arg(&part))?;
    Ok(std::fs::rename(part, base)?)
}

/// A copy in the page cache with nothing left to be written.
fn fresh(base: &Path, copy: &Path) -> Result<()> {
    run(Command::new("cp").arg("--sparse=always").arg(base).arg(copy))?;
    run(Command::new("sync").arg(copy))
}

struct Rival<'a> {
    writer: &'a Path,
    image: &'a Path,
    folder: PathBuf,
}

impl Rival<'_> {
    /// From the mount to the end of the daemon.
    fn run(&self, job: &str) -> Result<Cost> {
        std::fs::create_dir_all(&self.folder)?;
        let start = Instant::now();
        let mut daemon = Command::new("ntfs-3g")
            .args(["-o", "no_detach,big_writes,noatime"])
            .args([self.image, &self.folder])
            .stderr(Stdio::null())
            .spawn()
            .context("ntfs-3g does not run")?;
        self.wait_for_mount(&mut daemon)?;
        let work = cost(Command::new(self.writer).args(["mounted", job]).arg(&self.folder), Watch::Time);
        // Unmounted also when the work failed.
        run(Command::new("umount").arg(&self.folder))?;
        let code = daemon.wait()?;
        let wall = start.elapsed();
        work?;
        if !code.success() {
            bail!("ntfs-3g ends with {code}");
        }
        Ok(Cost { wall, peak_kib: 0 })
    }

    fn wait_for_mount(&self, daemon: &mut Child) -> Result<()> {
        let folder = self.folder.display().to_string();
        while daemon.try_wait()?.is_none() {
            if std::fs::read_to_string("/proc/mounts")?.split_whitespace().any(|word| word == folder) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        bail!("ntfs-3g does not mount {} (it needs root and /dev/fuse)", self.image.display())
    }
}
