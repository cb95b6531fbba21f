//! Speed as ratios against a rival measured in the same run: whole processes, warm cache, median of five.
//!
//! The rival is `sidswap_lib`: SID replacement over a volume with libntfs-3g, without a mount, the fastest way known. Its
//! source lies beside the real data; without it, volumes that this project builds are measured against `ntfscat` alone.

mod codec;
mod cost;
mod scan;
mod wim;
mod writer;

use crate::shell::{release_binary, run, shared, target, text};
use anyhow::{Context, Result, bail};
use cost::{Cost, Watch, cost, cost_to, median};
use reseal_testdata::{Container, ImageBuilder, WindowsImage};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Prints a row: what, its cost, and what it is compared with.
type Print<'a> = &'a dyn Fn(&str, Cost, Option<(&str, Cost)>);
/// What `bench` calls the jobs for the NTFS writer.
const WRITER: &str = "writer";
/// What `bench` calls the jobs for WIM files, which take the volume M.
const WIM: &str = "wim";
/// What `bench` calls the codecs, which are measured alone.
const CODEC: &str = "codec";
/// The rival has both SIDs in its source.
const NEW_SID: &str = "S-1-5-21-3623811015-3361044348-30300820";

/// One volume to measure on.
struct Volume {
    name: String,
    /// The disk image.
    image: PathBuf,
    /// Its NTFS partition as a file of its own.
    partition: PathBuf,
}

pub(crate) fn bench(args: &[String]) -> Result<()> {
    crate::setup::setup()?;
    let work = target().join("bench");
    std::fs::create_dir_all(&work)?;
    if args == [CODEC] {
        return codec::measure(&work);
    }
    let reseal = release_binary()?;
    let asked = if args.is_empty() { ["S", "M", "L", WRITER].map(String::from).to_vec() } else { args.to_vec() };
    let (writer, names): (Vec<String>, Vec<String>) = asked.into_iter().partition(|name| name == WRITER);
    let of_wims = names == [WIM];
    let names = if of_wims { vec!["M".to_owned()] } else { names };
    let (volumes, rival) = match shared() {
        _ if names.is_empty() => (Vec::new(), None),
        Some(shared) => prepared(&reseal, &shared, &work, &names)?,
        None => (built(&work)?, None),
    };
    println!("| volume | files | what | median s | against | ratio | peak MiB |");
    println!("|---|--:|---|--:|---|--:|--:|");
    for volume in &volumes {
        if of_wims {
            wim::measure(&reseal, rival.as_deref(), volume, &work, &printer(volume, files(&reseal, &volume.image)?))?;
        } else {
            measure(&reseal, rival.as_deref(), volume, &work)?;
        }
    }
    if !writer.is_empty() {
        writer::measure(&work)?;
    }
    Ok(())
}

fn prepared(reseal: &Path, shared: &Path, work: &Path, names: &[String]) -> Result<(Vec<Volume>, Option<PathBuf>)> {
    let script = shared.join("tools/prepare.sh").canonicalize()?;
    run(Command::new("bash").arg(script).args(names).current_dir(work))?;
    let mut volumes = Vec::new();
    for name in names {
        let image = work.join(format!("work/img/{name}.raw"));
        let partition = work.join(format!("{name}.ntfs"));
        if !partition.exists() {
            extract(reseal, &image, &partition)?;
        }
        volumes.push(Volume { name: name.clone(), image, partition });
    }
    Ok((volumes, Some(work.join("work/sidswap_lib"))))
}

/// Volumes of our own: 2,000 and 20,000 files.
fn built(work: &Path) -> Result<Vec<Volume>> {
    let mut volumes = Vec::new();
    for (name, files) in [("2k", 2_000), ("20k", 20_000)] {
        let image = work.join(format!("{name}.raw"));
        if !image.exists() {
            let windows = WindowsImage { files, ..WindowsImage::default() };
            let builder = ImageBuilder {
                container: Container::Raw,
                volume_len: 512 << 20,
                bare: true,
                ..ImageBuilder::default()
            };
            builder.build(&image, |volume| windows.fill(volume))?;
        }
        volumes.push(Volume { name: name.to_owned(), partition: image.clone(), image });
    }
    Ok(volumes)
}

/// Copies the last partition of a raw disk, holes kept.
fn extract(reseal: &Path, image: &Path, partition: &Path) -> Result<()> {
    let seen: serde_json::Value =
        serde_json::from_str(&text(Command::new(reseal).arg("inspect").arg(image).arg("--json"))?)?;
    let part = seen["partitions"].as_array().and_then(|p| p.last()).context("no partition")?;
    let number = |key: &str| part[key].as_u64().context("inspect");
    let (start, size) = (number("offset")?, number("bytes")?);
    let blocks = |bytes: u64| (bytes >> 20).to_string();
    if start % (1 << 20) != 0 {
        bail!("the partition starts at {start}, not on a MiB");
    }
    run(Command::new("dd")
        .args(["bs=1M", "conv=sparse", "status=none", "iflag=fullblock"])
        .arg(format!("skip={}", blocks(start)))
        .arg(format!("if={}", image.display()))
        .arg(format!("of={}", partition.display())))?;
    std::fs::OpenOptions::new().write(true).open(partition)?.set_len(size)?;
    Ok(())
}

fn measure(reseal: &Path, rival: Option<&Path>, volume: &Volume, work: &Path) -> Result<()> {
    let dry = |steps: &[&str]| {
        let mut command = Command::new(reseal);
        command.arg("generalize").arg(&volume.image).args(["--dry-run", "--allow", "dirty-hive"]).args(steps);
        command
    };
    let files = files(reseal, &volume.image)?;
    let print = printer(volume, files);
    let ntfscat = || {
        let mut command = Command::new("ntfscat");
        command.args(["-f", "-i", "0"]).arg(&volume.partition);
        command
    };
    let mft = median(|watch| cost(&mut ntfscat(), watch))?;
    print("ntfscat $MFT", mft, None);
    let sid = median(|watch| cost(&mut dry(&["--steps", "machine-sid"]), watch))?;
    let full = median(|watch| cost(&mut dry(&[]), watch))?;
    print("dry run, machine-sid", sid, Some(("ntfscat $MFT", mft)));
    scan::measure(reseal, volume, work, &print)?;
    if volume.name == "L" {
        scan::steps(reseal, volume, &print)?;
    }
    let Some(rival) = rival else {
        print("dry run, all steps", full, Some(("ntfscat $MFT", mft)));
        return Ok(());
    };
    let copy = work.join("rival.ntfs");
    let descriptors = median(|watch| {
        run(Command::new("cp").arg("--sparse=always").arg(&volume.partition).arg(&copy))?;
        // The first read after the copy is not what is measured.
        cost(Command::new("ntfscat").args(["-f", "-i", "0"]).arg(&copy), Watch::Time)?;
        cost(Command::new(rival).arg(&copy), watch)
    })?;
    print("rival, descriptors", descriptors, None);
    print("dry run, machine-sid", sid, Some(("rival, descriptors", descriptors)));
    print("dry run, all steps", full, Some(("rival, descriptors", descriptors)));
    outputs(reseal, rival, volume, work, &print)?;
    in_place(reseal, volume, work, descriptors, &print)
}

/// Prints rows of a volume.
fn printer(volume: &Volume, files: u64) -> impl Fn(&str, Cost, Option<(&str, Cost)>) {
    move |what, cost, against| {
        let (name, ratio) = against.map_or(("", String::new()), |(n, c)| {
            (n, format!("{:.3}", cost.wall.as_secs_f64() / c.wall.as_secs_f64()))
        });
        println!(
            "| {} | {files} | {what} | {:.3} | {name} | {ratio} | {} |",
            volume.name,
            cost.wall.as_secs_f64(),
            cost.peak_kib / 1024
        );
    }
}

/// The commit in place, journal and synchronizations included, against the rival, which has neither.
fn in_place(reseal: &Path, volume: &Volume, work: &Path, rival: Cost, print: Print<'_>) -> Result<()> {
    let copy = work.join("in-place.raw");
    let report = work.join("in-place.json");
    let ours = median(|watch| {
        run(Command::new("cp").arg("--sparse=always").arg(&volume.image).arg(&copy))?;
        // What the copy left to be written is not what is measured.
        run(Command::new("sync").arg(&copy))?;
        let options = ["--in-place", "--allow", "dirty-hive", "--sid", NEW_SID, "--steps", "machine-sid", "--json"];
        let mut command = Command::new(reseal);
        command.arg("generalize").arg(&copy).args(options);
        cost_to(&mut command, std::fs::File::create(&report)?.into(), watch)
    })?;
    print("in place, machine-sid", ours, Some(("rival, descriptors", rival)));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    println!(
        "| {} | | in place: journal of {} bytes, {} written | | | | |",
        volume.name, json["journal_bytes"], json["written_bytes"]
    );
    std::fs::remove_file(&copy)?;
    Ok(std::fs::remove_file(&report)?)
}

/// The new image against a copy with the rival run over it, and what each leaves behind.
fn outputs(reseal: &Path, rival: &Path, volume: &Volume, work: &Path, print: Print<'_>) -> Result<()> {
    let copy = work.join("rival.ntfs");
    let left = old_sids(&copy)?;
    let out = work.join("out.raw");
    let ours = median(|watch| {
        let _ = std::fs::remove_file(&out);
        let mut command = Command::new(reseal);
        let options = ["--allow", "dirty-hive", "--sid", NEW_SID, "--steps", "machine-sid"];
        cost(command.arg("generalize").arg(&volume.image).arg("-o").arg(&out).args(options), watch)
    })?;
    let theirs = median(|watch| {
        let _ = std::fs::remove_file(&copy);
        let start = Instant::now();
        let cp = cost(Command::new("cp").arg("--sparse=always").arg(&volume.partition).arg(&copy), watch)?;
        let swap = cost(Command::new(rival).arg(&copy), watch)?;
        Ok(Cost { wall: start.elapsed(), peak_kib: cp.peak_kib.max(swap.peak_kib) })
    })?;
    print("-o, machine-sid", ours, Some(("cp + rival", theirs)));
    let ours_left = old_sids_in_image(reseal, &out)?;
    println!("| {} | | old SIDs left in $SDS | {ours_left} | rival | {left} | |", volume.name);
    let _ = std::fs::remove_file(&out);
    let _ = std::fs::remove_file(&copy);
    Ok(())
}

fn files(reseal: &Path, image: &Path) -> Result<u64> {
    let json: serde_json::Value =
        serde_json::from_str(&text(Command::new(reseal).arg("inspect").arg(image).arg("--json"))?)?;
    json["installations"][0]["files"].as_u64().context("inspect names no files")
}

/// The old SID's 16 bytes in `$SDS`.
fn old_sids(partition: &Path) -> Result<usize> {
    let output = Command::new("ntfscat").args(["-f", "-i", "9", "-a", "0x80", "-n", "$SDS"]).arg(partition).output()?;
    Ok(count(&output.stdout))
}

fn old_sids_in_image(reseal: &Path, image: &Path) -> Result<usize> {
    let output = Command::new(reseal).args(["fs", "cat"]).arg(image).arg("$Secure:$SDS").output()?;
    if !output.status.success() {
        bail!("cannot read $Secure:$SDS of {}", image.display());
    }
    Ok(count(&output.stdout))
}

fn count(bytes: &[u8]) -> usize {
    let pattern = &reseal_testdata::machine_sid().pattern()[6..];
    bytes.windows(pattern.len()).filter(|w| *w == pattern).count()
}
