//! The search for traces against `grep` and `cat` over the same bytes, and what each step costs.

use super::cost::{Cost, cost, cost_ending, median};
use super::{Print, Volume};
use crate::shell::text;
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A SID that stands nowhere.
const ABSENT: &str = "S-1-5-21-3141592653-2718281828-1618033988";
/// A step that does nothing unless its option is given.
const NO_OP: &str = "schedule-chkdsk";
/// What is below this is noise.
const WORTH_A_ROW: Duration = Duration::from_millis(5);

pub(super) fn measure(reseal: &Path, volume: &Volume, work: &Path, print: Print<'_>) -> Result<()> {
    let cat = median(|watch| cost(Command::new("cat").arg(&volume.image), watch))?;
    print("cat", cat, None);
    let verify = |list: Option<&Path>| {
        let mut command = Command::new(reseal);
        command.arg("verify").arg(&volume.image);
        if let Some(list) = list {
            command.arg("--no-trace-of").arg(format!("@{}", list.display()));
        }
        command
    };
    // Findings about the volume itself end with 4, too.
    let checks = median(|watch| cost_ending(&mut verify(None), Stdio::null(), &[0, 4], watch))?;
    print("verify, nothing to look for", checks, Some(("cat", cat)));
    let many: Vec<String> = (0..200).map(|n| format!("canary {n:03} of the bench")).collect();
    for (what, needles) in [("one SID", &[ABSENT.to_owned()][..]), ("200 needles", &many)] {
        let (list, patterns) = (work.join("needles.txt"), work.join("patterns.bin"));
        std::fs::write(&list, needles.join("\n"))?;
        std::fs::write(&patterns, forms(needles))?;
        let ours = median(|watch| cost_ending(&mut verify(Some(&list)), Stdio::null(), &[0, 4], watch))?;
        let grep = median(|watch| {
            let mut command = Command::new("grep");
            command.env("LC_ALL", "C").args(["-a", "-c", "-F", "-f"]).arg(&patterns).arg(&volume.image);
            cost_ending(&mut command, Stdio::null(), &[0, 1], watch)
        })?;
        let name = format!("verify, {what}, all forms");
        print(&name, ours, Some(("grep -a -F, 4 of the forms", grep)));
        print(&name, ours, Some(("cat", cat)));
        std::fs::remove_file(list)?;
        std::fs::remove_file(patterns)?;
    }
    Ok(())
}

/// Text, UTF-16, and both in hexadecimal digits, a line each: what `grep` can be told. Our own search has base64, capitals, big
/// endian and binary besides.
fn forms(needles: &[String]) -> Vec<u8> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>().into_bytes();
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for needle in needles {
        let wide: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
        lines.extend([needle.as_bytes().to_vec(), hex(needle.as_bytes()), hex(&wide), wide]);
    }
    lines.join(&b'\n')
}

/// The dry run with one step alone against one that does nothing.
pub(super) fn steps(reseal: &Path, volume: &Volume, print: Print<'_>) -> Result<()> {
    let alone = |id: &str| -> Result<Cost> {
        median(|watch| {
            let mut command = Command::new(reseal);
            command.arg("generalize").arg(&volume.image).args(["--dry-run", "--allow", "dirty-hive", "--steps", id]);
            // 7: hives of other machines were put into the volume, and a step may refuse what it meets there.
            cost_ending(&mut command, Stdio::null(), &[0, 5, 7], watch)
        })
    };
    let base = alone(NO_OP)?;
    print("dry run without a step", base, None);
    let catalogue: serde_json::Value = serde_json::from_str(&text(Command::new(reseal).args(["steps", "--json"]))?)?;
    for step in catalogue["steps"].as_array().context("steps")? {
        let id = step["id"].as_str().context("id")?;
        // What ends a join runs by its own option only.
        if id.starts_with("leave-") || id == NO_OP {
            continue;
        }
        let cost = alone(id)?;
        if cost.wall >= base.wall + WORTH_A_ROW {
            print(&format!("dry run, only {id}"), cost, Some(("dry run without a step", base)));
        }
    }
    Ok(())
}
