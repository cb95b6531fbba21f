//! The only writable thing below a session: changed pages over a host file that stays as it is.

use crate::host::{HostFile, read_exact_at, write_all_at};
use crate::io::{ReadAt, WriteAt, checked_range};
use reseal_dtyp::{Error, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Granule of the overlay in bytes.
pub(crate) const PAGE: usize = 4096;

/// Bytes of the longest run of pages.
const RUN: u64 = 1 << 20;

/// Pages kept in memory before further ones go to an unnamed temporary file (64 MiB).
const PAGES_IN_MEMORY: usize = (64 << 20) / PAGE;

/// Changed pages over a host file.
#[derive(Debug)]
pub struct Overlay {
    host: HostFile,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<u64, Page>,
    in_memory: usize,
    spill: Option<Spill>,
    len: u64,
}

#[derive(Debug)]
enum Page {
    Memory(Box<[u8]>),
    /// Slot number in the spill file.
    Spilled(u64),
    Zero,
}

#[derive(Debug)]
struct Spill {
    file: File,
    slots: u64,
}

impl Overlay {
    pub(crate) fn new(host: HostFile) -> Overlay {
        let len = host.len();
        Overlay { host, state: RwLock::new(State { len, ..State::default() }) }
    }

    pub(crate) fn host(&self) -> &HostFile {
        &self.host
    }

    /// Makes the file longer; the new part reads as zero. Never shorter.
    pub(crate) fn grow(&self, len: u64) {
        let mut state = self.write();
        state.len = state.len.max(len);
    }

    /// Byte ranges of pages that were written, in order; pages that lie together come together, up to a MiB. The last page
    /// of the file may be short.
    pub(crate) fn runs(&self) -> Vec<Range<u64>> {
        let state = self.read();
        let mut out: Vec<Range<u64>> = Vec::new();
        for &index in state.pages.keys() {
            let start = index * PAGE as u64;
            let end = (start + PAGE as u64).min(state.len);
            match out.last_mut() {
                Some(last) if last.end == start && end - last.start <= RUN => last.end = end,
                _ => out.push(start..end),
            }
        }
        out
    }

    /// Content of one of [`Overlay::runs`].
    pub(crate) fn run(&self, run: &Range<u64>, now: &mut Vec<u8>) -> Result<()> {
        now.resize((run.end - run.start) as usize, 0);
        let state = self.read();
        for (i, part) in now.chunks_mut(PAGE).enumerate() {
            match state.pages.get(&(run.start / PAGE as u64 + i as u64)) {
                Some(page) => state.load(page, 0, part)?,
                None => return Err(Error::unsupported(format!("{:#x} is in no changed page", run.start))),
            }
        }
        Ok(())
    }

    /// Calls `act` with every run: its byte offset, its content now, and that of the host file, which is zero behind its end.
    pub(crate) fn each_run(&self, mut act: impl FnMut(u64, &[u8], &[u8]) -> Result<()>) -> Result<()> {
        let (mut now, mut before) = (Vec::new(), Vec::new());
        for run in self.runs() {
            self.run(&run, &mut now)?;
            before.resize(now.len(), 0);
            self.host.read(run.start, &mut before)?;
            act(run.start, &now, &before)?;
        }
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(|e| e.into_inner())
    }

    /// Replaces part of one page.
    fn write_page(&self, state: &mut State, index: u64, at: usize, data: &[u8]) -> Result<()> {
        if data.len() == PAGE {
            return state.store(index, data.into());
        }
        let mut page = vec![0; PAGE].into_boxed_slice();
        match state.pages.get(&index) {
            Some(page_now) => state.load(page_now, 0, &mut page)?,
            None => self.host.read(index * PAGE as u64, &mut page)?,
        }
        page[at..at + data.len()].copy_from_slice(data);
        state.store(index, page)
    }
}

impl State {
    /// Part of a page, from a byte of it on.
    fn load(&self, page: &Page, from: usize, out: &mut [u8]) -> Result<()> {
        match page {
            Page::Memory(bytes) => out.copy_from_slice(&bytes[from..from + out.len()]),
            Page::Zero => out.fill(0),
            Page::Spilled(slot) => {
                let spill = self.spill.as_ref().expect("a spilled page has a spill file");
                read_exact_at(&spill.file, slot * PAGE as u64 + from as u64, out)
                    .map_err(|e| Error::io("cannot read the temporary file of changes", e))?;
            }
        }
        Ok(())
    }

    fn store(&mut self, index: u64, bytes: Box<[u8]>) -> Result<()> {
        let zero = bytes.iter().all(|b| *b == 0);
        match self.pages.get_mut(&index) {
            Some(Page::Memory(old)) if !zero => {
                *old = bytes;
                return Ok(());
            }
            Some(Page::Memory(_)) => self.in_memory -= 1,
            // The slot keeps the page: it is rewritten in place.
            Some(Page::Spilled(slot)) if !zero => {
                let slot = *slot;
                return self.write_slot(slot, &bytes);
            }
            _ => {}
        }
        let page = if zero {
            Page::Zero
        } else if self.in_memory < PAGES_IN_MEMORY {
            self.in_memory += 1;
            Page::Memory(bytes)
        } else {
            let slot = self.new_slot()?;
            self.write_slot(slot, &bytes)?;
            Page::Spilled(slot)
        };
        self.pages.insert(index, page);
        Ok(())
    }

    fn new_slot(&mut self) -> Result<u64> {
        if self.spill.is_none() {
            let file = tempfile::tempfile().map_err(|e| Error::io("cannot make a temporary file for changes", e))?;
            self.spill = Some(Spill { file, slots: 0 });
        }
        let spill = self.spill.as_mut().expect("made above");
        spill.slots += 1;
        Ok(spill.slots - 1)
    }

    fn write_slot(&mut self, slot: u64, bytes: &[u8]) -> Result<()> {
        let spill = self.spill.as_ref().expect("a slot belongs to a spill file");
        write_all_at(&spill.file, slot * PAGE as u64, bytes)
            .map_err(|e| Error::io("cannot write the temporary file of changes", e))
    }
}

impl ReadAt for Overlay {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let state = self.read();
        checked_range(offset, buf.len(), state.len)?;
        if buf.is_empty() || state.pages.is_empty() {
            return self.host.read(offset, buf);
        }
        let end = offset + buf.len() as u64;
        // What lies in one page, as most metadata does, is read from one place only.
        if offset / PAGE as u64 == (end - 1) / PAGE as u64 {
            return match state.pages.get(&(offset / PAGE as u64)) {
                Some(page) => state.load(page, (offset % PAGE as u64) as usize, buf),
                None => self.host.read(offset, buf),
            };
        }
        self.host.read(offset, buf)?;
        for (index, page) in state.pages.range(offset / PAGE as u64..end.div_ceil(PAGE as u64)) {
            let page_start = index * PAGE as u64;
            let (from, to) = (offset.max(page_start), end.min(page_start + PAGE as u64));
            let part = &mut buf[(from - offset) as usize..(to - offset) as usize];
            state.load(page, (from - page_start) as usize, part)?;
        }
        Ok(())
    }

    fn len(&self) -> u64 {
        self.read().len
    }

    fn is_hole(&self, offset: u64, len: u64) -> bool {
        let Some(end) = offset.checked_add(len) else { return false };
        let state = self.read();
        let pages = offset / PAGE as u64..end.div_ceil(PAGE as u64);
        end <= state.len && state.pages.range(pages).next().is_none() && self.host.is_hole(offset, len)
    }
}

impl WriteAt for Overlay {
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.write();
        checked_range(offset, data.len(), state.len)?;
        let (mut offset, mut data) = (offset, data);
        while !data.is_empty() {
            let at = (offset % PAGE as u64) as usize;
            let n = data.len().min(PAGE - at);
            self.write_page(&mut state, offset / PAGE as u64, at, &data[..n])?;
            offset += n as u64;
            data = &data[n..];
        }
        Ok(())
    }
}
