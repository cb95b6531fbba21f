//! Text for people.

use crate::Exit;
use reseal::{BootStoreInfo, Change, CheckStage, Checklist, Inspection, Kind, Plan, Refusal, Report, ShownFinding};
use std::io::Write;

/// Prints to stdout; a closed pipe ends the output and not the program.
pub(crate) fn out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Prints to stderr.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    out(&(serde_json::to_string_pretty(value)? + "\n"));
    Ok(())
}

/// Prints an error with its chain and hint, and gives its exit code.
pub(crate) fn error(error: &anyhow::Error) -> Exit {
    let Some(known) = error.downcast_ref::<reseal::Error>() else {
        note(&format!("error: {error:#}"));
        return Exit::Failed;
    };
    note(&format!("error: {known}"));
    if !known.subjects().is_empty() {
        note(&format!("  in {}", known.subjects().join(" › ")));
    }
    let mut source = std::error::Error::source(known);
    while let Some(cause) = source {
        note(&format!("  caused by: {cause}"));
        source = cause.source();
    }
    refusals(known.refusals());
    if let Some(hint) = known.next_step() {
        note(&format!("hint: {hint}"));
    }
    match known.kind() {
        Kind::Usage => Exit::Usage,
        Kind::Refused => Exit::Refused,
        Kind::NothingToDo => Exit::NothingToDo,
        Kind::Interrupted => Exit::Interrupted,
        Kind::Damaged | Kind::Unsupported => Exit::BadInput,
        _ => Exit::Failed,
    }
}

fn refusals(list: &[Refusal]) {
    for refusal in list.iter().filter(|r| !r.allowed) {
        note(&format!("  {}: {} ({})", refusal.id, refusal.reason, refusal.place));
        note(&format!("    {}", refusal.hint));
        if refusal.allowable {
            note(&format!("    to go on anyway: --allow {}", refusal.id));
        }
    }
    if !list.is_empty() {
        note("nothing was written");
    }
}

pub(crate) fn findings(list: &[ShownFinding]) -> String {
    list.iter().map(|f| format!("  {}\n", finding(f))).collect()
}

/// One stage of `fs check`, a finding per line.
pub(crate) fn check_stage(stage: &CheckStage) -> String {
    let count = match stage.findings.len() {
        0 => "no findings".to_owned(),
        n => format!("{n} findings"),
    };
    let head = format!("  stage {} of 3, {}: {} {}, {count}\n", stage.stage, stage.title, stage.examined, stage.unit);
    stage.findings.iter().fold(head, |text, f| text + &format!("    {}\n", finding(f)))
}

fn finding(f: &ShownFinding) -> String {
    format!("{}: {}: {} [{}]", f.level, f.place, f.detail, f.id)
}

fn or_dash(text: Option<&str>) -> &str {
    text.unwrap_or("-")
}

/// Where a boot store lies, and what it starts.
fn boot_store(store: &BootStoreInfo) -> String {
    let mut s = format!("  boot store on {}: {} ({})\n", store.partition, store.path, store.state);
    if let Some(error) = &store.error {
        s += &format!("    cannot be read: {error}\n");
    }
    if let Some(loader) = &store.default_loader {
        let (name, path) = (or_dash(loader.description.as_deref()), or_dash(loader.path.as_deref()));
        s += &format!("    starts {name} {}, {path} on {}\n", loader.id, or_dash(loader.device.as_deref()));
    }
    if !store.missing.is_empty() && store.error.is_none() {
        s += &format!("    missing: {}\n", store.missing.join(", "));
    }
    s
}

pub(crate) fn inspection(i: &Inspection) -> String {
    let what = match &i.wim {
        Some(wim) => crate::wim::format_of(wim),
        None => format!("disk of {} bytes, {}", i.disk_bytes, i.scheme),
    };
    let mut s = match i.format {
        "folder" => format!("{}: a folder where a volume is mounted\n", i.image),
        format => format!("{}: {format}, {} bytes, {what}\n", i.image, i.file_bytes),
    };
    for parent in &i.parents {
        s += &format!("  parent {}: {}, id {}\n", parent.image, parent.format, or_dash(parent.id.as_deref()));
    }
    for child in &i.children {
        s += &format!("  parent of {child}: not to be changed, `--in-place` refuses\n");
    }
    s += &i.container_notes.iter().map(|note| format!("  note: {note}\n")).collect::<String>();
    for p in &i.partitions {
        let detail = match (&p.ntfs, &p.error) {
            (Some(v), _) => {
                format!("NTFS {} \"{}\", clusters of {} bytes, log {}", v.version, v.label, v.cluster_bytes, v.log)
            }
            (None, Some(e)) => format!("{}: {e}", p.content),
            (None, None) => p.content.to_owned(),
        };
        s += &format!(
            "  partition {}: {} bytes at {}, {} {}\n    {detail}\n",
            p.number, p.bytes, p.offset, p.ty, p.name
        );
    }
    s += &i.boot_stores.iter().map(boot_store).collect::<String>();
    for (n, w) in i.installations.iter().enumerate() {
        let f = &w.facts;
        s += &format!("installation {} on {}:\n", n + 1, w.partition);
        let product = [
            f.product.name.as_deref(),
            f.product.version.as_deref(),
            f.product.build.as_deref(),
            f.product.architecture.as_deref(),
        ];
        s += &format!("  Windows        {}\n", product.into_iter().flatten().collect::<Vec<_>>().join(" "));
        s += &format!("  computer name  {}\n", or_dash(f.computer_name.as_deref()));
        s += &format!("  machine SID    {}\n", f.machine_sid.map_or("-".to_owned(), |sid| sid.to_string()));
        let membership = if f.domain_sid.is_some() { "domain" } else { "workgroup" };
        s += &format!("  {membership:14} {}\n", or_dash(f.domain.as_deref()));
        let state = if w.sealed { "sealed to OOBE" } else { or_dash(f.setup.image_state.as_deref()) };
        s += &format!("  state          {state}\n  files          {}\n", w.files);
        for u in &f.users {
            let words = [
                (u.enabled, "enabled"),
                (!u.enabled, "disabled"),
                (u.administrator, "administrator"),
                (u.has_password, "password"),
            ];
            let words: Vec<&str> = words.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
            s += &format!("  user {:5}     {} ({})\n", u.rid, u.name, words.join(", "));
        }
        for h in &w.hives {
            s += &format!("  hive           {} ({})\n", h.path, h.state);
        }
        for r in &w.refusals {
            s += &format!("  refuses        {}: {} ({})\n                 {}\n", r.id, r.reason, r.place, r.hint);
        }
        s += &findings(&w.findings);
    }
    s
}

/// Every check with its result; what to do stands below those that found something.
pub(crate) fn checklist(list: &Checklist) -> String {
    let mut s = String::new();
    for (n, installation) in list.installations.iter().enumerate() {
        s += &format!("{}: installation {} on {}\n", list.image, n + 1, installation.partition);
        for c in &installation.checks {
            s += &format!("  {:8} {:22} {}\n", c.outcome.name(), c.check.id, c.check.title);
            for notice in &c.notices {
                s += &format!("             {}: {} [{}]\n", notice.place, notice.detail, notice.weight.name());
            }
            if let Some(why) = &c.unknown {
                s += &format!("             it cannot be told: {why}\n");
            }
            if c.refuses || c.outcome == reseal::Outcome::Warn {
                s += &format!("             to do: {}\n", c.check.remedy);
            }
        }
        let count = |outcome| installation.checks.iter().filter(|c| c.outcome == outcome).count();
        use reseal::Outcome::{Note, Ok, Refuse, Unknown, Warn};
        let [ok, notes, warn, refuse, unknown] = [Ok, Note, Warn, Refuse, Unknown].map(count);
        let verdict = if installation.refuses { "generalize would refuse" } else { "generalize would go on" };
        s += &format!("  {ok} ok, {notes} notes, {warn} warn, {refuse} refuse, {unknown} unknown: {verdict}\n");
    }
    s
}

pub(crate) fn written(report: &Report) -> String {
    let how = match report.method {
        "in-place" => format!("in place, after a journal of {} bytes", report.journal_bytes),
        "files" => format!("file by file, after an undo manifest of {} bytes", report.journal_bytes),
        "appended" => "behind the end of the WIM, then its header".to_owned(),
        "rebuilt" => "to a WIM that holds nothing else".to_owned(),
        copy => format!("over a {copy}"),
    };
    format!("{}: {} bytes written {how}\n", report.output.display(), report.written_bytes)
}

/// A change a line.
pub(crate) fn changes<'a>(list: impl IntoIterator<Item = &'a Change>) -> String {
    let line = |change: &Change| match (&change.before, &change.after) {
        (Some(a), Some(b)) => format!("  ~ {}: {a} → {b}\n", change.target),
        (None, Some(b)) => format!("  + {}: {b}\n", change.target),
        (Some(a), None) => format!("  - {}: {a}\n", change.target),
        (None, None) => format!("  ~ {}\n", change.target),
    };
    list.into_iter().map(line).collect()
}

pub(crate) fn plan(p: &Plan, done: bool) -> String {
    let mut s = format!("{} › {}: {}\n", p.image, p.partition, if done { "sealed" } else { "plan" });
    let (idle, busy): (Vec<_>, Vec<_>) = p.steps.iter().partition(|step| step.changes == 0 && step.note.is_none());
    for step in busy {
        let note = step.note.as_deref().map(|n| format!(" ({n})")).unwrap_or_default();
        s += &format!("{} [{}]: {} changes{note}\n", step.id, step.evidence.name(), step.changes);
        s += &changes(p.changes.iter().filter(|c| c.step == step.id));
    }
    if !idle.is_empty() {
        s += &format!("nothing to do: {}\n", idle.iter().map(|step| step.id).collect::<Vec<_>>().join(", "));
    }
    for guard in p.allowed.iter().filter(|g| g.allowed) {
        s += &format!("allowed: {}: {} ({})\n", guard.id, guard.reason, guard.place);
    }
    if !p.findings.is_empty() {
        s += &format!("findings:\n{}", findings(&p.findings));
    }
    for line in &p.notes {
        s += &format!("note: {line}\n");
    }
    if let Some(left) = &p.unwiped {
        s += &format!("not wiped: {left}\n");
    }
    for line in &p.unproven {
        s += &format!("unproven without a real Windows: {line}\n");
    }
    s += &format!("{} hives, {} bytes of the image change\n", p.hives_written, p.changed_bytes);
    s
}
