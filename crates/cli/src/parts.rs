//! The smaller verbs: inspect, recover, verify, steps, checks, hive, fs.

use crate::args::{Checks, Fs, Hive, HiveTarget, Inspect, Recover, Steps, Unattend, Verify};
use crate::{Exit, hive_text, render};
use anyhow::{Context, Result};
use reseal::{
    CheckObserver, CheckStage, Files, FsEntry, Gravity, HiveAccess, Image, KeyListing, LintFor, Recovery, RegText,
    ShownFinding,
};

pub(crate) fn inspect(args: &Inspect) -> Result<Exit> {
    if args.check {
        let list = reseal::check(&Image::open(&args.image)?)?;
        if args.json {
            render::json(&list)?;
        } else {
            render::out(&render::checklist(&list));
        }
        return Ok(if list.refuses { Exit::Refused } else { Exit::Done });
    }
    let inspection = reseal::inspect(&Image::open(&args.image)?)?;
    if args.json {
        render::json(&inspection)?;
    } else {
        render::out(&render::inspection(&inspection));
    }
    Ok(Exit::Done)
}

pub(crate) fn recover(args: &Recover) -> Result<Exit> {
    let how = Recovery { journal_folder: args.journal.as_deref(), undo: args.undo };
    let report = reseal::recover(&args.image, how)?;
    if args.json {
        render::json(&report)?;
    } else {
        let text = match report.outcome {
            "finished" => "the interrupted commit was finished: this is the sealed image",
            "discarded" => "what had not been decided was removed: this is the image as it was",
            _ => "the last commit was taken back: this is the image as it was",
        };
        render::out(&format!("{}: {text}\n", report.image.display()));
    }
    Ok(Exit::Done)
}

pub(crate) fn verify(args: &Verify) -> Result<Exit> {
    let verification = reseal::verify(&Image::open(&args.image)?, &needles(&args.no_trace_of)?)?;
    if args.json {
        render::json(&verification)?;
    } else {
        let mut text = render::findings(&verification.findings);
        for trace in &verification.traces {
            let within = trace.within.as_deref().map(|within| format!(", {within}")).unwrap_or_default();
            let why = trace.on_purpose.map(|why| format!(" [left on purpose: {why}]")).unwrap_or_default();
            text += &format!(
                "  trace: {} ({}) {} times in {}{within}, first at {:#x}{why}\n",
                trace.of, trace.form, trace.count, trace.region, trace.offset
            );
        }
        text += &format!(
            "{}: {} bytes searched, {} findings, {} traces, state {}\n",
            args.image,
            verification.searched_bytes,
            verification.findings.len(),
            verification.traces.iter().map(|t| t.count).sum::<u64>(),
            verification.states.join(", ")
        );
        render::out(&text);
    }
    let found = verification.findings.iter().any(|f| args.strict || f.level != "note");
    Ok(if found || !verification.traces.is_empty() { Exit::Found } else { Exit::Done })
}

pub(crate) fn unattend(args: &Unattend) -> Result<Exit> {
    #[derive(serde::Serialize)]
    struct Document<'a> {
        schema: &'static str,
        file: &'a std::path::Path,
        complaints: Vec<reseal::Complaint>,
    }
    let name = args.file.display();
    let bytes = std::fs::read(&args.file).with_context(|| format!("cannot read {name}"))?;
    let machine = LintFor { architecture: args.architecture.as_deref(), server: args.server.then_some(true) };
    let complaints = reseal::lint_answer_file(&bytes, machine)?;
    let grave = complaints.iter().filter(|c| c.gravity > Gravity::Note).count();
    if args.json {
        render::json(&Document { schema: "reseal.unattend/1", file: &args.file, complaints })?;
    } else {
        let lines: String = complaints.iter().map(|complaint| format!("{complaint}\n")).collect();
        render::out(&format!("{lines}{name}: {grave} errors and warnings\n"));
    }
    Ok(if grave > 0 { Exit::Found } else { Exit::Done })
}

/// Needles as they were given, and those in files that were named with an `@`: one a line, empty lines do not count.
fn needles(given: &[String]) -> Result<Vec<String>> {
    let mut out = Vec::new();
    for needle in given {
        match needle.strip_prefix('@') {
            None => out.push(needle.clone()),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
                let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_end);
                out.extend(lines.filter(|line| !line.is_empty()).map(str::to_owned));
            }
        }
    }
    Ok(out)
}

/// `reseal steps --coverage`
fn coverage(json: bool) -> Result<Exit> {
    let tables = reseal::coverage()?;
    if json {
        render::json(&serde_json::json!({ "schema": "reseal.coverage/1", "tables": tables }))?;
        return Ok(Exit::Done);
    }
    for table in tables {
        let mut text = format!("{}\n", table.name);
        for row in table.rows {
            let by: Vec<String> =
                row.answers.into_iter().map(|a| a.id.map_or(a.kind.clone(), |id| format!("{} {id}", a.kind))).collect();
            let remark = if row.remark.is_empty() { String::new() } else { format!(" ({})", row.remark) };
            text += &format!("  {}: {}{remark}\n", row.what, by.join(", "));
        }
        render::out(&(text + "\n"));
    }
    Ok(Exit::Done)
}

pub(crate) fn steps(args: &Steps) -> Result<Exit> {
    if args.coverage {
        return coverage(args.json);
    }
    let chosen: Vec<_> = reseal::catalogue().filter(|spec| args.id.as_deref().is_none_or(|id| id == spec.id)).collect();
    if let (Some(id), true) = (&args.id, chosen.is_empty()) {
        render::note(&format!("error: there is no step `{id}`; `reseal steps` lists them"));
        return Ok(Exit::Usage);
    }
    if args.json {
        render::json(&serde_json::json!({ "schema": "reseal.steps/1", "steps": chosen }))?;
        return Ok(Exit::Done);
    }
    for spec in chosen {
        render::out(&format!("{:16} {:10} {}\n", spec.id, spec.evidence.name(), spec.title));
        if args.id.is_some() {
            let mut text = format!("\n{}\n\n", spec.about);
            spec.mirrors.iter().for_each(|part| text += &format!("mirrors: {part}\n"));
            spec.writes.iter().for_each(|scope| text += &format!("writes:  {scope}\n"));
            spec.actions.iter().for_each(|action| text += &format!("rule:    {action}\n"));
            let ask =
                [("client", spec.client), ("server", spec.server)].into_iter().filter(|(_, u)| *u == reseal::Use::Ask);
            ask.for_each(|(kind, _)| {
                text += &format!("on a {kind}: only when it is asked for (--steps +{})\n", spec.id)
            });
            if !spec.unproven.is_empty() {
                text += &format!("unproven: {}\n", spec.unproven);
            }
            render::out(&text);
        }
    }
    Ok(Exit::Done)
}

pub(crate) fn checks(args: &Checks) -> Result<Exit> {
    let chosen: Vec<_> = reseal::checks().filter(|check| args.id.as_deref().is_none_or(|id| id == check.id)).collect();
    if let (Some(id), true) = (&args.id, chosen.is_empty()) {
        render::note(&format!("error: there is no check `{id}`; `reseal checks` lists them"));
        return Ok(Exit::Usage);
    }
    if args.json {
        render::json(&serde_json::json!({ "schema": "reseal.checks/1", "checks": chosen }))?;
        return Ok(Exit::Done);
    }
    for check in chosen {
        render::out(&format!(
            "{:22} {:7} {:10} {}\n",
            check.id,
            check.weight.name(),
            check.evidence.name(),
            check.title
        ));
        if args.id.is_some() {
            let allow = check.guard.map(|guard| format!("guard:   {guard}\n")).unwrap_or_default();
            render::out(&format!("\nanswers: {}\n{allow}remedy:  {}\n", check.answers, check.remedy));
        }
    }
    Ok(Exit::Done)
}

fn open(target: &HiveTarget) -> Result<HiveAccess> {
    Ok(HiveAccess::open(&target.image, target.hive.as_deref())?)
}

fn listing(listing: &KeyListing) -> String {
    let mut text = format!("[{}]\n", listing.key);
    listing
        .values
        .iter()
        .for_each(|v| text += &format!("  {:24} {:12} {}\n", format!("\"{}\"", v.name), v.type_name, v.shown));
    listing.subkeys.iter().for_each(|name| text += &format!("  {name}\\\n"));
    text
}

pub(crate) fn hive(command: Hive) -> Result<Exit> {
    match command {
        Hive::Ls { target, key, recursive, json } => {
            let listings = open(&target)?.list(&key, recursive)?;
            if json {
                render::json(&serde_json::json!({ "schema": "reseal.hive/1", "keys": listings }))?;
            } else {
                listings.iter().for_each(|l| render::out(&listing(l)));
            }
        }
        Hive::Get { target, key, name, json } => {
            let value = open(&target)?.get(&key, &name)?;
            if json {
                render::json(&serde_json::json!({ "schema": "reseal.value/1", "value": value }))?;
            } else {
                render::out(&format!("{}\n", value.shown));
            }
        }
        Hive::Set { target, key, name, data, output } => {
            let mut access = open(&target)?;
            access.set(&key, &name, &data)?;
            access.save(&output)?;
        }
        Hive::Rm { target, key, name, output } => {
            let mut access = open(&target)?;
            access.remove(&key, name.as_deref())?;
            access.save(&output)?;
        }
        Hive::Export { target, key, output, utf8, root } => {
            hive_text::export(&open(&target)?, &key, output.as_deref(), &RegText { utf8, root })?;
        }
        Hive::Import { target, file, output, root } => {
            hive_text::import(open(&target)?, &file, &output, &RegText { root, ..RegText::default() })?;
        }
        Hive::Check { target, json } => {
            let findings = open(&target)?.check();
            let tally = Tally::of(&findings, false);
            if json {
                render::json(&serde_json::json!({ "schema": "reseal.hive-check/1", "findings": findings }))?;
            } else {
                render::out(&(render::findings(&findings) + &tally.line()));
            }
            return Ok(tally.exit());
        }
    }
    Ok(Exit::Done)
}

/// How many findings there are, and how many of them count.
#[derive(Default)]
struct Tally {
    all: usize,
    counted: usize,
}

impl Tally {
    fn of<'a>(findings: impl IntoIterator<Item = &'a ShownFinding>, strict: bool) -> Tally {
        findings.into_iter().fold(Tally::default(), |t, f| Tally {
            all: t.all + 1,
            counted: t.counted + usize::from(strict || f.level != "note"),
        })
    }

    fn line(&self) -> String {
        format!("{} findings, {} of them count\n", self.all, self.counted)
    }

    fn exit(&self) -> Exit {
        if self.counted > 0 { Exit::Found } else { Exit::Done }
    }
}

/// Shows each stage as it ends.
struct ShowStages;

impl CheckObserver for ShowStages {
    fn volume(&mut self, volume: &str) {
        render::out(&format!("{volume}:\n"));
    }

    fn stage(&mut self, stage: &CheckStage) {
        render::out(&render::check_stage(stage));
    }
}

/// Shows nothing: the document comes in the end.
struct Quiet;

impl CheckObserver for Quiet {}

fn fs_check(image: &str, strict: bool, json: bool) -> Result<Exit> {
    let observer: &mut dyn CheckObserver = if json { &mut Quiet } else { &mut ShowStages };
    let volumes = reseal::fs_check(&Image::open(image)?, observer)?;
    let tally = Tally::of(volumes.iter().flat_map(|v| &v.stages).flat_map(|s| &s.findings), strict);
    if json {
        render::json(&serde_json::json!({ "schema": "reseal.fs-check/1", "volumes": volumes }))?;
    } else {
        render::out(&tally.line());
    }
    Ok(tally.exit())
}

fn entry_line(entry: &FsEntry) -> String {
    let kind = if entry.directory {
        "d"
    } else if entry.reparse {
        "l"
    } else {
        "-"
    };
    format!("{kind} {:>14} {} {}\n", entry.size, entry.modified, entry.path)
}

pub(crate) fn fs(command: Fs) -> Result<Exit> {
    match command {
        Fs::Ls { image, path, recursive, json } => {
            let entries = Files::open(&image)?.list(&path, recursive)?;
            if json {
                render::json(&serde_json::json!({ "schema": "reseal.fs/1", "entries": entries }))?;
            } else {
                entries.iter().for_each(|e| render::out(&entry_line(e)));
            }
        }
        Fs::Cat { image, path } => {
            let mut stdout = std::io::stdout().lock();
            Files::open(&image)?.read(&path, &mut stdout)?;
        }
        Fs::Acl { image, path } => render::out(&format!("{}\n", Files::open(&image)?.acl(&path)?)),
        Fs::Check { image, strict, json } => return fs_check(&image, strict, json),
    }
    Ok(Exit::Done)
}
