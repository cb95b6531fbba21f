//! Commit to a new file: copy or reflink, write the changes, make them durable, read them back, then rename.
//!
//! Before the rename there is at most a `*.reseal-tmp` file beside the output; after it the whole new image.

use crate::host::{read_exact_at, write_all_at};
use crate::io::ReadAt;
use crate::new_file::NewFile;
use crate::overlay::{Overlay, PAGE};
use reseal_dtyp::{Error, Kind, Result};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How the unchanged part of the image came into the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    /// The file system shares the blocks.
    Reflink,
    /// The bytes were copied; holes stayed holes.
    Copy,
}

/// What a commit wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The new image.
    pub path: PathBuf,
    /// How the old bytes came there.
    pub method: CopyMethod,
    /// Changed bytes written on top, a multiple of the page size but for the last page.
    pub changed_bytes: u64,
    /// Length of the new image in bytes.
    pub len: u64,
}

/// Called with the bytes done and the bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Writes the image with its changes to `out`, which must not exist.
pub(crate) fn commit_to(overlay: &Overlay, out: &Path, progress: Progress<'_>) -> Result<Committed> {
    let new = NewFile::create(out)?;
    let context = |e| new.failed("write", e);
    let file = new.file();
    let method = copy_all(overlay, file, progress).map_err(context)?;
    let changed_bytes = write_changes(overlay, file).map_err(|e| e.within(new.path().display()))?;
    file.set_len(overlay.len()).map_err(context)?;
    file.sync_all().map_err(context)?;
    check(overlay, file).map_err(|e| e.within(new.path().display()))?;
    new.publish()?;
    Ok(Committed { path: out.to_owned(), method, changed_bytes, len: overlay.len() })
}

fn copy_all(overlay: &Overlay, out: &File, progress: Progress<'_>) -> std::io::Result<CopyMethod> {
    let host = overlay.host();
    #[cfg(target_os = "linux")]
    if rustix::fs::ioctl_ficlone(out, host.file()).is_ok() {
        return Ok(CopyMethod::Reflink);
    }
    out.set_len(host.len())?;
    let mut done = 0;
    while let Some((start, end)) = host.next_data(done)? {
        copy_range(host.file(), out, start, end, |at| progress(at, host.len()))?;
        done = end;
    }
    progress(host.len(), host.len());
    Ok(CopyMethod::Copy)
}

fn copy_range(from: &File, to: &File, start: u64, end: u64, progress: impl Fn(u64)) -> std::io::Result<()> {
    const STEP: u64 = 8 << 20;
    let mut at = start;
    let mut buf = Vec::new();
    while at < end {
        let n = (end - at).min(STEP);
        #[cfg(target_os = "linux")]
        {
            let (mut source, mut target) = (at, at);
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), n as usize) {
                Ok(copied) if copied > 0 => {
                    at += copied as u64;
                    progress(at);
                    continue;
                }
                // Another file system, or one that does not offer it: read and write below.
                Ok(_)
                | Err(
                    rustix::io::Errno::XDEV
                    | rustix::io::Errno::INVAL
                    | rustix::io::Errno::NOSYS
                    | rustix::io::Errno::OPNOTSUPP,
                ) => {}
                Err(e) => return Err(e.into()),
            }
        }
        buf.resize(n as usize, 0);
        read_exact_at(from, at, &mut buf)?;
        write_all_at(to, at, &buf)?;
        at += n;
        progress(at);
    }
    Ok(())
}

fn write_changes(overlay: &Overlay, out: &File) -> Result<u64> {
    let mut written = 0;
    overlay.each_run(|offset, now, before| {
        for range in changed_pages(offset, now, before, overlay.host().len()) {
            let at = offset + range.start as u64;
            written += range.len() as u64;
            if now[range.clone()].iter().all(|b| *b == 0) && punch(out, at, range.len() as u64) {
                continue;
            }
            write_all_at(out, at, &now[range]).map_err(|e| Error::io(format!("cannot write at {at:#x}"), e))?;
        }
        Ok(())
    })?;
    Ok(written)
}

/// Makes zeros a hole; whether the file system can.
#[cfg(target_os = "linux")]
fn punch(out: &File, offset: u64, len: u64) -> bool {
    use rustix::fs::{FallocateFlags, fallocate};
    fallocate(out, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn punch(_out: &File, _offset: u64, _len: u64) -> bool {
    false
}

/// The pages of a run, by offset in it, that differ from the host file of `host_len` bytes; those that lie together as one.
/// Behind its end everything is zero in the new file already.
pub(crate) fn changed_pages(offset: u64, now: &[u8], before: &[u8], host_len: u64) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for (i, (page, old)) in now.chunks(PAGE).zip(before.chunks(PAGE)).enumerate() {
        let (start, end) = (i * PAGE, i * PAGE + page.len());
        let beyond = offset + end as u64 > host_len;
        if page != old || beyond && page.iter().any(|b| *b != 0) {
            match out.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => out.push(start..end),
            }
        }
    }
    out
}

/// Reads every changed page back.
fn check(overlay: &Overlay, out: &File) -> Result<()> {
    let (mut now, mut back) = (Vec::new(), Vec::new());
    for run in overlay.runs() {
        overlay.run(&run, &mut now)?;
        back.resize(now.len(), 0);
        read_exact_at(out, run.start, &mut back)
            .map_err(|e| Error::io(format!("cannot read back at {:#x}", run.start), e))?;
        if let Some(at) = now.chunks(PAGE).zip(back.chunks(PAGE)).position(|(a, b)| a != b) {
            let at = run.start + (at * PAGE) as u64;
            return Err(Error::new(Kind::Io, format!("what was written at {at:#x} reads back differently")));
        }
    }
    Ok(())
}
