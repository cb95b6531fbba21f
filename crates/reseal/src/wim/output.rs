//! Where a WIM is written: a new file, or behind the end of the old one.

use crate::error::{Error, Kind, Result};
use reseal_disk::journal::Media;
use reseal_disk::{HostMedia, NewFile, ReadAt};
use reseal_wim::{Finished, Output, Wim};

/// Room is made in such steps.
const STEP: u64 = 1 << 20;
/// Length of a WIM's header.
const HEADER: usize = 208;

/// A new file.
pub(crate) struct ToNewFile<'f>(pub(crate) &'f NewFile);

impl Output for ToNewFile<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> reseal_dtyp::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> reseal_dtyp::Result<()> {
        self.0.read_at(offset, buf)
    }
}

/// A file that was written, to be read under the same lock.
pub(crate) struct Written {
    pub(crate) media: HostMedia,
    pub(crate) len: u64,
}

impl ReadAt for Written {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> reseal_dtyp::Result<()> {
        self.media.read_image(offset, buf)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// The old file. What it refers to is not written to.
pub(crate) struct Append<'m> {
    media: &'m mut dyn Media,
    /// Where what the old header refers to ends.
    floor: u64,
    len: u64,
    written: u64,
}

impl Output for Append<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> reseal_dtyp::Result<()> {
        let end = offset + bytes.len() as u64;
        if offset < self.floor {
            let detail = format!("a write to {offset:#x}, below the old end at {:#x}", self.floor);
            return Err(reseal_dtyp::Error::new(reseal_dtyp::Kind::Conflict, detail));
        }
        if end > self.len {
            let len = end.next_multiple_of(STEP);
            self.media.set_image_len(len)?;
            self.len = len;
        }
        self.written += bytes.len() as u64;
        self.media.write_image(offset, bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> reseal_dtyp::Result<()> {
        self.media.read_image(offset, buf)
    }
}

/// Appends what `write` writes and then the header, each made durable. Returns the bytes written.
///
/// After an error the file is what it was, unless the error came with the last act, which says so.
pub(crate) fn commit(
    media: &mut dyn Media,
    wim: &Wim,
    write: &mut dyn FnMut(&mut Append<'_>) -> reseal_dtyp::Result<Finished>,
) -> Result<u64> {
    let old_len = media.image_len()?;
    if old_len != wim.file_len() {
        let detail = format!("the file has {old_len:#x} bytes, and had {:#x}", wim.file_len());
        return Err(Error::new(Kind::Conflict, detail).hint("another program has changed it"));
    }
    let mut append = Append { media, floor: wim.end(), len: old_len, written: 0 };
    let appended = write(&mut append).and_then(|done| {
        // What a run before left behind the end may be longer.
        let len = done.len.max(old_len);
        append.media.set_image_len(len)?;
        append.media.sync_image()?;
        Ok(done)
    });
    let written = append.written + HEADER as u64;
    let done = match appended {
        Ok(done) => done,
        Err(e) => {
            // Nothing refers to what was written; the file is what it was with or without it.
            let _ = media.set_image_len(old_len);
            return Err(e.into());
        }
    };
    let switched = media.write_image(0, &done.header).and_then(|()| media.sync_image());
    switched.map_err(|e| {
        Error::from(e).hint("the file holds the old images or the new ones, whole: `reseal verify` tells which")
    })?;
    if done.len < old_len {
        media.set_image_len(done.len)?;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reseal_disk::MemoryDisk;
    use reseal_dtyp::{Guid, utf16le};
    use reseal_testdata::power::{Choice, Fault, Sim};
    use reseal_wim::{Compression, Header, Image, NewFile, Storage, Stream, StreamKind, Writer};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn file(image: &mut Image, name: &str, hash: reseal_wim::Sha1Hash) {
        let stream = Stream { kind: StreamKind::Data, name: Vec::new(), hash };
        let new = NewFile { attributes: 0x20, streams: vec![stream], ..NewFile::default() };
        let name: Vec<u16> = name.encode_utf16().collect();
        image.create(image.root(), &name, &[], new);
    }

    /// A WIM with one image and one file, what a run before left behind its end, and an integrity table.
    fn old(junk: usize) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        let header = Header::new(Compression::None, 0, Guid([3; 16]));
        let mut writer = Writer::new(&mut bytes, header, Storage::Plain, true);
        let mut image = Image::new(NewFile { attributes: 0x10, ..NewFile::default() });
        let hash = writer.blob(&[7; 3000]).unwrap();
        file(&mut image, "old", hash);
        writer.image(&image).unwrap();
        let xml = utf16le("\u{feff}<WIM><IMAGE INDEX=\"1\"/></WIM>");
        let done = writer.finish(&image.references(), 1, &xml).unwrap();
        bytes.truncate(done.len as usize);
        bytes[..HEADER].copy_from_slice(&done.header);
        bytes.extend(vec![0xee; junk]);
        bytes
    }

    fn open(bytes: &[u8]) -> reseal_dtyp::Result<Wim> {
        Wim::open(Arc::new(MemoryDisk::new(bytes.to_vec())))
    }

    /// Adds a file.
    fn append(sim: &mut Sim, old: &[u8]) -> Result<u64> {
        let wim = open(old).unwrap();
        let mut image = wim.image(1).unwrap();
        commit(sim, &wim, &mut |append| {
            let mut writer = Writer::behind(append, &wim, Storage::Plain)?;
            let hash = writer.blob(&[9; 5000])?;
            file(&mut image, "new", hash);
            writer.image(&image)?;
            let references = wim.references(&[1], &HashMap::from([(1, &image)]))?;
            writer.finish(&references, 1, &wim.xml()?)
        })
    }

    /// Which of the two states a file is in, whatever stands behind its end; `None` for neither.
    fn state(found: &[u8]) -> Option<&'static str> {
        if found.starts_with(&old(0)) {
            return Some("old");
        }
        let wim = open(found).ok()?;
        let image = wim.image(1).ok()?;
        let all = wim.blobs().iter().all(|blob| wim.read(blob, 1 << 20).is_ok());
        let sound = all && wim.blobs().len() == 2 && wim.check_integrity().is_ok_and(|wrong| wrong == Some(Vec::new()));
        (sound && image.entries(image.root()).count() == 2).then_some("new")
    }

    /// Loses power at every write; the first thing that is wrong.
    fn explore(old: &[u8], fault: Fault) -> Option<String> {
        let start = Sim::new(old.to_vec());
        let mut whole = start.clone();
        whole.fault = fault;
        append(&mut whole, old).unwrap();
        for at in 0..=whole.writes() {
            let mut sim = start.clone();
            (sim.fault, sim.cut_at) = (fault, Some(at));
            let ended = append(&mut sim, old).is_ok();
            for seed in 0..40 {
                let found = sim.restart(&mut Choice::new(seed * 1009 + at as u64));
                match state(&found.image) {
                    None => return Some(format!("power lost at {at}, sample {seed}: neither old nor new")),
                    Some("old") if ended => {
                        return Some(format!("power lost at {at}, sample {seed}: promised, and old"));
                    }
                    Some(_) => {}
                }
            }
        }
        None
    }

    #[test]
    fn power_may_be_lost_at_every_write() {
        for junk in [0, 500, 100_000] {
            let old = old(junk);
            assert_eq!(explore(&old, Fault::None), None, "{junk} bytes behind the end");
            // No synchronization is idle: without either, something is found.
            for sync in 0..2 {
                assert!(explore(&old, Fault::LostSync(sync)).is_some(), "synchronization {sync}");
            }
        }
    }

    #[test]
    fn every_call_may_fail() {
        let old = old(0);
        let mut whole = Sim::new(old.clone());
        append(&mut whole, &old).unwrap();
        assert_eq!(state(&whole.image), Some("new"));
        for at in 0..whole.calls() {
            for kind in [reseal_dtyp::Kind::Io, reseal_dtyp::Kind::NoSpace] {
                for fault in [Fault::Error(at, kind), Fault::Broken(at, kind)] {
                    let mut sim = Sim::new(old.clone());
                    sim.fault = fault;
                    let failed = append(&mut sim, &old).unwrap_err().to_string();
                    assert!(failed.contains("seeded fault"), "{failed}");
                    let state = state(&sim.image);
                    assert!(state.is_some(), "{fault:?}: neither old nor new");
                    // Only when the header itself could not be written is it unknown which of the two it is.
                    let unknown = at + 2 >= whole.calls();
                    assert!(state == Some("old") || unknown, "{fault:?}: failed, and {state:?}");
                    let is_cut = sim.image.len() == old.len();
                    assert!(is_cut || unknown || matches!(fault, Fault::Broken(..)), "{fault:?}");
                }
            }
        }
    }

    /// What stands below the old end is never written, but for the header.
    #[test]
    fn what_is_there_stays() {
        let old = old(0);
        let mut sim = Sim::new(old.clone());
        let wim = open(&old).unwrap();
        let error = commit(&mut sim, &wim, &mut |append| {
            append.write_at(old.len() as u64 - 1, b"stray")?;
            unreachable!("it is refused")
        });
        assert!(error.unwrap_err().to_string().contains("below the old end"));
        assert_eq!(sim.image, old);
        // Another program has made the file longer meanwhile.
        sim.image.push(0);
        assert!(append(&mut sim, &old).unwrap_err().to_string().contains("the file has"));
    }
}
