//! `reseal wim`.

use crate::args::{CompressWith, Edit, ProgressMode, Wim, now};
use crate::progress::Progress;
use crate::{Exit, render};
use anyhow::Result;
use reseal::{ApplyOptions, CaptureOptions, Inputs, WimCompression, WimFile, WimInfo, WimPart, WimResult};
use std::path::Path;

pub(crate) fn wim(command: &Wim) -> Result<Exit> {
    match command {
        Wim::Info { file, json } => {
            let info = WimFile::open(file)?.info();
            if *json {
                render::json(&info)?;
            } else {
                render::out(&shown(&info));
            }
            Ok(Exit::Done)
        }
        Wim::Verify { file, json } => verify(file, *json),
        Wim::Capture { image, output, name, description, compress, check, exclude, time, json } => {
            let options = CaptureOptions {
                name: name.clone(),
                description: description.clone(),
                compression: match compress {
                    CompressWith::Lzx => WimCompression::Lzx,
                    CompressWith::Xpress => WimCompression::Xpress,
                    CompressWith::None => WimCompression::None,
                },
                integrity: *check,
                exclude: exclude.clone(),
                now: now(time.as_deref())?,
            };
            let progress = Progress::new(ProgressMode::Auto);
            let done = reseal::wim_capture(image, output, &options, &progress)?;
            drop(progress);
            if *json {
                render::json(&done)?;
            } else {
                render::out(&format!("{}: {} bytes, image 1: {name}\n", done.output.display(), done.bytes));
            }
            Ok(Exit::Done)
        }
        Wim::Apply { source, image, edit } => apply(source, image, edit),
        Wim::Optimize { file, output, rebuild: _, json } => {
            let progress = Progress::new(ProgressMode::Auto);
            let done = reseal::wim_optimize(file, output.as_deref(), &progress)?;
            drop(progress);
            match done {
                Some(done) => written(&done, *json),
                None => {
                    render::note("nothing to do: all of the file belongs to something");
                    Ok(Exit::NothingToDo)
                }
            }
        }
        Wim::Export { image, output, json } => {
            let progress = Progress::new(ProgressMode::Auto);
            let done = reseal::wim_export(image, output, &progress)?;
            drop(progress);
            written(&done, *json)
        }
        Wim::Split { file, output, size, check, json } => split(file, output, *size, *check, *json),
    }
}

fn verify(file: &Path, json: bool) -> Result<Exit> {
    let wim = WimFile::open(file)?;
    let progress = Progress::new(ProgressMode::Auto);
    let findings = wim.verify(&progress)?;
    drop(progress);
    if json {
        let document = serde_json::json!({ "schema": "reseal.wim-verify/1", "findings": findings });
        render::json(&document)?;
    } else {
        let info = wim.info();
        let read = format!("{} contents of {} bytes were read", info.blobs, info.unpacked_bytes);
        render::out(&format!("{}{read}, {} findings\n", render::findings(&findings), findings.len()));
    }
    Ok(if findings.is_empty() { Exit::Done } else { Exit::Found })
}

fn split(file: &Path, output: &Path, size: u64, check: bool, json: bool) -> Result<Exit> {
    let progress = Progress::new(ProgressMode::Auto);
    let done = reseal::wim_split(file, output, size, check, &progress)?;
    drop(progress);
    for part in done.parts.iter().filter(|part| part.larger) {
        let why = if part.contents > 0 { "a content" } else { "the metadata" };
        let path = part.output.display();
        render::note(&format!("{path}: larger than asked for, {} bytes: {why} is not divided", part.bytes));
    }
    if json {
        render::json(&done)?;
    } else {
        let line =
            |part: &WimPart| format!("{}: {} bytes, {} contents\n", part.output.display(), part.bytes, part.contents);
        done.parts.iter().for_each(|part| render::out(&line(part)));
    }
    Ok(Exit::Done)
}

fn apply(source: &str, image: &str, edit: &Edit) -> Result<Exit> {
    let now = match edit.now() {
        Ok(now) if edit.installation.is_none() => now,
        Ok(_) => {
            render::note(
                "error: --installation goes with images that hold one; an image is applied to an empty volume",
            );
            return Ok(Exit::Usage);
        }
        Err(e) => {
            render::note(&format!("error: {e:#}"));
            return Ok(Exit::Usage);
        }
    };
    let inputs = Inputs::seeded("wim-apply", now);
    let options = ApplyOptions { allow: edit.allow.clone() };
    let opened = edit.open(image)?;
    let progress = Progress::new(edit.progress);
    let planned = reseal::wim_apply(source, opened, &options, &inputs, &progress)?;
    let report = match &edit.output {
        _ if edit.dry_run => planned.report().clone(),
        Some(output) => planned.commit_to(output, &progress)?,
        None => planned.commit_in_place(edit.how(), &progress)?,
    };
    drop(progress);
    if edit.json {
        render::json(&report)?;
        return Ok(Exit::Done);
    }
    let done = &report.applied;
    let mut text = format!("{}:{} › {} › {}\n", report.wim, report.index, report.image, report.partition);
    text += &format!("  {} files with {} further names, {} folders", done.files, done.hard_links, done.folders);
    text += &format!(", {} reparse points, {} named streams\n", done.reparse_points, done.named_streams);
    text += &format!("  {} bytes in {} contents, {} descriptors\n", done.bytes, done.contents, done.descriptors);
    text += &render::findings(&report.findings);
    if let (Some(output), Some(method)) = (&report.output, report.method) {
        text += &format!("{}: written ({method})\n", output.display());
    }
    render::out(&text);
    Ok(Exit::Done)
}

fn written(done: &WimResult, json: bool) -> Result<Exit> {
    if json {
        render::json(done)?;
    } else {
        render::out(&format!(
            "{}: {} bytes, before {}, of which {} belonged to nothing\n",
            done.output.display(),
            done.bytes,
            done.bytes_before,
            done.unused_bytes
        ));
    }
    Ok(Exit::Done)
}

/// How it is stored, and how many images it has.
pub(crate) fn format_of(info: &WimInfo) -> String {
    let mut s = match (info.compression, info.chunk_bytes) {
        ("none", _) => "not compressed".to_owned(),
        (format, chunk) => format!("{format} in chunks of {chunk} bytes"),
    };
    s += if info.solid { ", solid" } else { "" };
    s += if info.read_only { ", read-only" } else { "" };
    s += &if info.parts > 1 { format!(", {} parts", info.parts) } else { String::new() };
    let plural = if info.images.len() == 1 { "" } else { "s" };
    s + &format!(", {} image{plural}", info.images.len())
}

fn shown(info: &WimInfo) -> String {
    let mut s = format!("{}: {} bytes, {}", info.file, info.bytes, format_of(info));
    s += &format!("\n  {} contents of {} bytes, id {}\n", info.blobs, info.unpacked_bytes, info.guid);
    for image in &info.images {
        let name = image.name.as_deref().unwrap_or("-");
        let boot = if info.boot_image == Some(image.index) { " (boot image)" } else { "" };
        s += &format!("image {}: {name}{boot}\n", image.index);
        let windows = [&image.edition, &image.version, &image.architecture];
        let windows: Vec<&str> = windows.into_iter().filter_map(|text| text.as_deref()).collect();
        if !windows.is_empty() {
            s += &format!("  Windows      {}\n", windows.join(" "));
        }
        if let Some(text) = image.description.as_deref().filter(|text| *text != name) {
            s += &format!("  description  {text}\n");
        }
        if let (Some(files), Some(folders), Some(bytes)) = (image.files, image.folders, image.bytes) {
            s += &format!("  {files} files in {folders} folders, {bytes} bytes\n");
        }
    }
    s
}
