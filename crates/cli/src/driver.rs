//! `reseal driver`.

use crate::args::{Driver, Edit};
use crate::progress::Progress;
use crate::{Exit, render};
use anyhow::Result;
use reseal::{DriverList, DriverOptions, DriverPlanned, DriverReport, Image, Inputs};
use std::path::Path;

pub(crate) fn driver(command: Driver) -> Result<Exit> {
    match command {
        Driver::Ls { image, installation, json } => {
            let list = reseal::driver_list(&Image::open(&image)?, installation)?;
            if json {
                render::json(&list)?;
            } else {
                render::out(&listing(&list));
            }
            Ok(Exit::Done)
        }
        Driver::Add { image, package, strict, edit } => {
            let options = DriverOptions { strict, ..options(&edit) };
            change(&image, &edit, |image, inputs, progress| {
                reseal::driver_add(image, Path::new(&package), &options, inputs, progress)
            })
        }
        Driver::Rm { image, what, force, edit } => {
            let options = DriverOptions { force, ..options(&edit) };
            change(&image, &edit, |image, inputs, progress| {
                reseal::driver_remove(image, &what, &options, inputs, progress)
            })
        }
        Driver::Enable { image, service, edit } => {
            let options = options(&edit);
            change(&image, &edit, |image, inputs, progress| {
                reseal::driver_enable(image, &service, &options, inputs, progress)
            })
        }
    }
}

fn options(edit: &Edit) -> DriverOptions {
    DriverOptions { installation: edit.installation, allow: edit.allow.clone(), ..DriverOptions::default() }
}

/// Plans, then writes as the arguments say, and shows what was done.
fn change(
    image: &str,
    edit: &Edit,
    plan: impl FnOnce(Image, &Inputs, &Progress) -> reseal::Result<DriverPlanned>,
) -> Result<Exit> {
    let now = match edit.now() {
        Ok(now) => now,
        Err(e) => {
            render::note(&format!("error: {e:#}"));
            return Ok(Exit::Usage);
        }
    };
    let inputs = Inputs::seeded("driver", now);
    let opened = edit.open(image)?;
    let progress = Progress::new(edit.progress);
    let planned = plan(opened, &inputs, &progress)?;
    let empty = planned.is_empty();
    let report = match &edit.output {
        _ if edit.dry_run || empty => planned.report().clone(),
        Some(output) => planned.commit_to(output, &progress)?,
        None => planned.commit_in_place(edit.how(), &progress)?,
    };
    drop(progress);
    if edit.json {
        render::json(&report)?;
    } else {
        render::out(&shown(&report));
    }
    if empty {
        render::note("nothing to do; nothing was written");
        return Ok(Exit::NothingToDo);
    }
    Ok(Exit::Done)
}

/// Text of an INF or an image for a terminal: no control character of it gets there.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { c.escape_unicode().to_string() } else { c.to_string() })
        .collect()
}

fn listing(list: &DriverList) -> String {
    let mut s = String::new();
    for p in &list.packages {
        let words =
            [p.original.as_deref(), p.class.as_deref(), p.version.as_deref(), p.date.as_deref(), p.provider.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        let added = if p.added { " (added, waits for the first start)" } else { "" };
        s += &format!("{}: {}{added}\n", p.inf, words.join(", "));
        for id in &p.hardware_ids {
            s += &format!("  device   {id}\n");
        }
        for service in &p.services {
            let start = service.start.map_or("absent".to_owned(), |start| format!("start {start}"));
            let boot = if service.boot_start { ", starts with Windows" } else { "" };
            let storage = if service.storage { ", storage" } else { "" };
            s += &format!("  service  {} ({start}{boot}{storage})\n", service.name);
        }
        if let Some(catalog) = &p.catalog {
            s += &format!("  catalog  {catalog}\n");
        }
        if let Some(folder) = &p.folder {
            s += &format!("  package  {folder}\n");
        }
        for note in &p.notes {
            s += &format!("  note: {note}\n");
        }
    }
    s += &format!("{} packages of third parties\n", list.packages.len());
    visible(&s)
}

fn shown(report: &DriverReport) -> String {
    let done = if report.output.is_some() { "done" } else { "plan" };
    let mut s = format!("{} › {}: driver {}, {done}\n", report.image, report.partition, report.verb);
    for p in &report.packages {
        s += &format!("{} {} {}: ", p.inf, p.version.as_deref().unwrap_or("-"), p.class);
        s += &match p.registered_in {
            Some(database) => format!("starts with Windows ({}), known in {database}\n", p.boot_services.join(", ")),
            None => "installed by Windows at its first start\n".to_owned(),
        };
    }
    s += &render::changes(&report.changes);
    for guard in report.allowed.iter().filter(|g| g.allowed) {
        s += &format!("allowed: {}: {} ({})\n", guard.id, guard.reason, guard.place);
    }
    if !report.findings.is_empty() {
        s += &format!("findings:\n{}", render::findings(&report.findings));
    }
    report.notes.iter().for_each(|line| s += &format!("note: {line}\n"));
    report.unproven.iter().for_each(|line| s += &format!("unproven without a real Windows: {line}\n"));
    s += &format!("{} hives, {} bytes of the image change\n", report.hives_written, report.changed_bytes);
    if let (Some(output), Some(method)) = (&report.output, report.method) {
        s += &format!("{}: written ({method})\n", output.display());
    }
    visible(&s)
}
