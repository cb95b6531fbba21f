//! `reseal hive export` and `reseal hive import`.

use crate::render;
use anyhow::{Context, Result};
use reseal::{HiveAccess, RegText};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::Path;

/// Standard output; whoever reads it may stop reading.
struct Pipe(std::io::StdoutLock<'static>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.0.write(bytes) {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            other => other,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self.0.flush() {
            Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// Standard output as the end of a long text.
pub(crate) fn stdout() -> impl Write {
    BufWriter::with_capacity(1 << 16, Pipe(std::io::stdout().lock()))
}

pub(crate) fn export(hive: &HiveAccess, key: &str, output: Option<&Path>, text: &RegText) -> Result<()> {
    let Some(path) = output else {
        let mut out = stdout();
        hive.export(key, text, &mut out)?;
        return Ok(out.flush()?);
    };
    let context = || format!("cannot write {}", path.display());
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).with_context(context)?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written = hive.export(key, text, &mut out).map_err(anyhow::Error::from);
    let written = written.and_then(|()| out.flush().and_then(|()| out.get_ref().sync_all()).with_context(context));
    if written.is_err() {
        // Half a text is no export; the error says why there is none.
        drop(out);
        let _ = std::fs::remove_file(path);
    }
    written
}

pub(crate) fn import(mut hive: HiveAccess, file: &Path, output: &Path, text: &RegText) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let done = hive.import(&bytes, text)?;
    hive.save(output)?;
    render::out(&format!("{} keys, {} values set, {} deleted\n", done.keys, done.values, done.deleted));
    Ok(())
}
