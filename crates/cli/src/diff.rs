//! `reseal diff`: registry in `.reg` notation, descriptors in SDDL, files one per line.

use crate::args::Diff;
use crate::progress::Progress;
use crate::{Exit, hive_text};
use anyhow::Result;
use reseal::{DiffEntry, DiffKind, DiffOptions, Difference, Image, Side, VolumeDifference, What};
use std::io::Write;

pub(crate) fn diff(args: &Diff) -> Result<Exit> {
    let options = DiffOptions {
        times: args.times,
        raw: args.raw,
        full: args.full,
        secrets: args.secrets,
        no_short_names: args.no_short_names,
        paths: args.path.clone(),
        ignore: args.ignore.clone(),
    };
    let images = [Image::open(&args.before)?, Image::open(&args.after)?];
    let progress = Progress::new(args.progress);
    let difference = reseal::diff(&images[0], &images[1], &options, &progress)?;
    drop(progress);
    // Piece by piece: a descriptor that thousands of files share would be in a whole text thousands of times.
    let mut out = hive_text::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &difference)?;
        out.write_all(b"\n")?;
    } else {
        text(&difference, &mut out)?;
    }
    out.flush()?;
    Ok(if difference.is_alike() { Exit::Done } else { Exit::Found })
}

fn text(difference: &Difference, out: &mut impl Write) -> std::io::Result<()> {
    for volume in &difference.volumes {
        head(volume, out)?;
        let (mut hive, mut key) = ("", "");
        for entry in &volume.entries {
            match entry.key.as_deref() {
                None => {
                    file_line(entry, out)?;
                    (hive, key) = ("", "");
                }
                Some(of) => {
                    if hive != entry.path {
                        writeln!(out, "; hive {}", visible(&entry.path))?;
                    }
                    if key != of && entry.kind != DiffKind::Key {
                        writeln!(out, "[{}]", visible(of))?;
                    }
                    // A key's own line heads what follows of it.
                    (hive, key) = (&entry.path, of);
                    key_lines(entry, of, out)?;
                }
            }
        }
    }
    let found = difference.volumes.iter().map(|v| v.entries.len()).sum::<usize>();
    writeln!(out, "{found} differences")
}

fn head(volume: &VolumeDifference, out: &mut impl Write) -> std::io::Result<()> {
    match volume.side {
        Side::Both => writeln!(out, "{}: {} files, {} hives by key", volume.volume, volume.files, volume.hives)?,
        Side::Before => writeln!(out, "{}: only in the first image", volume.volume)?,
        Side::After => writeln!(out, "{}: only in the second image", volume.volume)?,
    }
    for path in &volume.left_out {
        writeln!(out, "left out, as capturing leaves it out: {}", visible(path))?;
    }
    match &volume.descriptors {
        Some(d) => {
            writeln!(out, "unique descriptors: {} and {}, {} removed, {} added", d.before, d.after, d.removed, d.added)
        }
        None => Ok(()),
    }
}

/// What belongs to a file or to the volume: one line, or one for each side of what is long.
fn file_line(entry: &DiffEntry, out: &mut impl Write) -> std::io::Result<()> {
    let mark = match entry.what {
        What::Added => '+',
        What::Removed => '-',
        What::Changed => '~',
    };
    let mut subject = visible(&entry.path);
    if let Some(name) = &entry.name {
        subject += if entry.path.is_empty() { "" } else { ":" };
        subject += &visible(name);
    }
    let head = format!("{mark} {} {subject}", entry.kind.name());
    let [before, after] = [&entry.before, &entry.after].map(|side| side.as_deref().map(visible));
    match (before, after) {
        (Some(a), Some(b)) if entry.kind == DiffKind::Descriptor || a.len() + b.len() > 160 => {
            writeln!(out, "{head}\n  -{a}\n  +{b}")
        }
        (Some(a), Some(b)) => writeln!(out, "{head}: {a} → {b}"),
        (Some(one), None) if entry.kind == DiffKind::Unreadable => writeln!(out, "{head}: in the first image: {one}"),
        (None, Some(one)) if entry.kind == DiffKind::Unreadable => writeln!(out, "{head}: in the second image: {one}"),
        (Some(one), None) | (None, Some(one)) => writeln!(out, "{head}: {one}"),
        (None, None) => writeln!(out, "{head}"),
    }
}

/// What belongs to a key, before with a minus and after with a plus.
fn key_lines(entry: &DiffEntry, key: &str, out: &mut impl Write) -> std::io::Result<()> {
    for (mark, side) in [('-', &entry.before), ('+', &entry.after)] {
        let Some(side) = side.as_deref().map(visible) else { continue };
        match entry.kind {
            // The name as this side spells it; a root has none of its own.
            DiffKind::Key => {
                let above =
                    if entry.what == What::Changed { key.rsplit_once('\\').map(|(above, _)| above) } else { None };
                let full = above.map_or_else(|| key.to_owned(), |above| format!(r"{above}\{side}"));
                writeln!(out, "{mark}[{}]", visible(&full))?;
            }
            DiffKind::Value => {
                let name = entry.name.as_deref().unwrap_or_default();
                let quoted = format!("\"{}\"", visible(name).replace('\\', r"\\").replace('"', "\\\""));
                let name = if name.is_empty() { "@" } else { &quoted };
                writeln!(out, "{mark}{name}={side}")?;
            }
            kind => writeln!(out, "{mark}; {}: {side}", kind.name())?,
        }
    }
    Ok(())
}

/// Text of an image for a terminal: no control character of it gets there.
fn visible(text: &str) -> String {
    let show = |c: char| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}
