//! A host that can lose power: what was not synchronized is lost, kept or torn, sector by sector.

use reseal_disk::journal::{Media, Name, SECTOR};
use reseal_dtyp::{Error, Kind, Result};
use std::cell::Cell;
use std::collections::BTreeMap;

/// A small generator of test choices, so that every case can be repeated from its number.
#[derive(Debug)]
pub struct Choice(u64);

impl Choice {
    /// Equal seeds give equal choices.
    pub fn new(seed: u64) -> Choice {
        Choice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n.max(1)
    }
}

#[derive(Debug, Clone)]
enum ImageOp {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Debug, Clone)]
enum FolderOp {
    Make(Name, usize),
    Rename(Name, Name),
    Remove(Name),
}

/// Content of a file: what is durable, and all of it.
#[derive(Debug, Clone, Default)]
struct Content {
    durable: Vec<u8>,
    now: Vec<u8>,
}

/// What shall go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The n-th synchronization does nothing.
    LostSync(usize),
    /// Operation number n, reads included, fails; half of a write is done.
    Error(usize, Kind),
    /// Operation number n and all after it fail.
    Broken(usize, Kind),
}

/// An image, the files beside it, and what of both is durable.
#[derive(Debug, Clone)]
pub struct Sim {
    durable: Vec<u8>,
    /// The image as programs see it.
    pub image: Vec<u8>,
    image_ops: Vec<ImageOp>,
    contents: Vec<Content>,
    folder: BTreeMap<Name, usize>,
    durable_folder: BTreeMap<Name, usize>,
    folder_ops: Vec<FolderOp>,
    /// What shall go wrong.
    pub fault: Fault,
    /// Power is lost at this write operation: it may or may not reach the medium.
    pub cut_at: Option<usize>,
    writes: usize,
    syncs: usize,
    calls: Cell<usize>,
    dead: bool,
}

/// Longer images are a disk that is full.
const FULL: u64 = 64 << 20;

impl Sim {
    /// A host with a durable image and nothing beside it.
    pub fn new(image: Vec<u8>) -> Sim {
        Sim {
            durable: image.clone(),
            image,
            image_ops: Vec::new(),
            contents: Vec::new(),
            folder: BTreeMap::new(),
            durable_folder: BTreeMap::new(),
            folder_ops: Vec::new(),
            fault: Fault::None,
            cut_at: None,
            writes: 0,
            syncs: 0,
            calls: Cell::new(0),
            dead: false,
        }
    }

    /// Operations that change something so far.
    pub fn writes(&self) -> usize {
        self.writes
    }

    /// All operations so far.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    /// Synchronizations so far.
    pub fn syncs(&self) -> usize {
        self.syncs
    }

    /// The files beside the image.
    pub fn names(&self) -> Vec<Name> {
        self.folder.keys().copied().collect()
    }

    /// The bytes of a file, to damage them; durable at once.
    pub fn change_file(&mut self, name: Name, change: impl FnOnce(&mut Vec<u8>)) {
        let content = &mut self.contents[self.folder[&name]];
        change(&mut content.now);
        content.durable.clone_from(&content.now);
    }

    /// Somebody else writes to the image.
    pub fn change_image(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.image);
        self.durable.clone_from(&self.image);
    }

    /// Somebody removes a file, durably.
    pub fn forget(&mut self, name: Name) {
        self.folder.remove(&name);
        self.durable_folder.remove(&name);
    }

    /// The same host with no fault and with counters at zero.
    pub fn healthy(mut self) -> Sim {
        (self.fault, self.cut_at) = (Fault::None, None);
        (self.writes, self.syncs, self.dead) = (0, 0, false);
        self.calls.set(0);
        self
    }

    /// What a restart finds: everything durable, and what chance kept of the rest.
    pub fn restart(&self, choice: &mut Choice) -> Sim {
        // None, all, or about half of the sectors.
        let keep = match choice.below(4) {
            0 => 0,
            1 => 100,
            _ => 50,
        };
        let mut image = self.durable.clone();
        for op in &self.image_ops {
            match op {
                ImageOp::Len(len) if choice.below(100) < keep => image.resize(*len as usize, 0),
                ImageOp::Len(_) => {}
                ImageOp::Write(offset, data) => {
                    for (i, sector) in data.chunks(SECTOR as usize).enumerate() {
                        let at = *offset as usize + i * SECTOR as usize;
                        if choice.below(100) < keep
                            && let Some(room) = image.get_mut(at..at + sector.len())
                        {
                            room.copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        let mut folder = self.durable_folder.clone();
        // Names reach the medium in their order, as far as they do.
        let kept = choice.below(self.folder_ops.len() as u64 + 1) as usize;
        for op in &self.folder_ops[..kept] {
            apply(&mut folder, op);
        }
        let contents = self.contents.iter().map(|content| content.restart(keep, choice)).collect();
        let mut out = Sim::new(image);
        (out.folder, out.durable_folder, out.contents) = (folder.clone(), folder, contents);
        out
    }

    fn call(&self) -> Result<()> {
        let n = self.calls.get();
        self.calls.set(n + 1);
        let failed = |kind| Err(Error::new(kind, format!("seeded fault at call {n}")));
        match self.fault {
            _ if self.dead => failed(Kind::Io),
            Fault::Error(at, kind) if at == n => failed(kind),
            Fault::Broken(at, kind) if at <= n => failed(kind),
            _ => Ok(()),
        }
    }

    /// Counts an operation that changes something; an error when it is not to be done, or no more than half.
    fn write(&mut self) -> Result<()> {
        self.call()?;
        let n = self.writes;
        self.writes += 1;
        if self.cut_at == Some(n) {
            self.dead = true;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<bool> {
        // Power that is lost during a synchronization may come before its first sector.
        self.write()?;
        self.alive()?;
        let n = self.syncs;
        self.syncs += 1;
        Ok(self.fault != Fault::LostSync(n))
    }

    /// After power was lost nobody gets an answer.
    fn alive(&self) -> Result<()> {
        if self.dead { Err(Error::new(Kind::Io, "no power")) } else { Ok(()) }
    }
}

impl Content {
    fn restart(&self, keep: u64, choice: &mut Choice) -> Content {
        let mut now = self.durable.clone();
        if self.now.len() > now.len() && choice.below(100) < keep.max(20) {
            let start = now.len();
            now.resize(self.now.len(), 0);
            for at in (start..now.len()).step_by(SECTOR as usize) {
                let end = (at + SECTOR as usize).min(now.len());
                if choice.below(100) < keep {
                    now[at..end].copy_from_slice(&self.now[at..end]);
                }
            }
        }
        Content { durable: now.clone(), now }
    }
}

fn apply(folder: &mut BTreeMap<Name, usize>, op: &FolderOp) {
    match op {
        FolderOp::Make(name, content) => drop(folder.insert(*name, *content)),
        FolderOp::Rename(from, to) => {
            if let Some(content) = folder.remove(from) {
                folder.insert(*to, content);
            }
        }
        FolderOp::Remove(name) => drop(folder.remove(name)),
    }
}

impl Media for Sim {
    fn image_len(&self) -> Result<u64> {
        self.call()?;
        Ok(self.image.len() as u64)
    }

    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.call()?;
        buf.copy_from_slice(&self.image[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn write_image(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        let result = self.write();
        // A write that fails may have done half of its work, in whole sectors.
        let half = data.len() / 2 / SECTOR as usize * SECTOR as usize;
        let data = if result.is_ok() { data } else { &data[..half] };
        self.image[offset as usize..][..data.len()].copy_from_slice(data);
        self.image_ops.push(ImageOp::Write(offset, data.to_vec()));
        result.and_then(|()| self.alive())
    }

    fn reserve_image(&mut self, offset: u64, len: u64) -> Result<()> {
        self.call()?;
        if offset + len > FULL {
            return Err(Error::new(Kind::NoSpace, "the disk is full"));
        }
        Ok(())
    }

    fn set_image_len(&mut self, len: u64) -> Result<()> {
        self.write()?;
        if len > FULL {
            return Err(Error::new(Kind::NoSpace, "the disk is full"));
        }
        self.image.resize(len as usize, 0);
        self.image_ops.push(ImageOp::Len(len));
        self.alive()
    }

    fn sync_image(&mut self) -> Result<()> {
        if self.sync()? {
            self.durable.clone_from(&self.image);
            self.image_ops.clear();
        }
        Ok(())
    }

    fn exists(&self, name: Name) -> Result<bool> {
        self.call()?;
        Ok(self.folder.contains_key(&name))
    }

    fn create_temporary(&mut self) -> Result<()> {
        self.write()?;
        self.contents.push(Content::default());
        let op = FolderOp::Make(Name::Temporary, self.contents.len() - 1);
        apply(&mut self.folder, &op);
        self.folder_ops.push(op);
        self.alive()
    }

    fn append(&mut self, data: &[u8]) -> Result<()> {
        let result = self.write();
        let data = if result.is_ok() { data } else { &data[..data.len() / 2] };
        self.contents[self.folder[&Name::Temporary]].now.extend_from_slice(data);
        result.and_then(|()| self.alive())
    }

    fn sync_temporary(&mut self) -> Result<()> {
        if self.sync()? {
            let content = &mut self.contents[self.folder[&Name::Temporary]];
            content.durable.clone_from(&content.now);
        }
        Ok(())
    }

    fn file_len(&self, name: Name) -> Result<u64> {
        self.call()?;
        Ok(self.contents[self.folder[&name]].now.len() as u64)
    }

    fn read_file(&self, name: Name, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.call()?;
        buf.copy_from_slice(&self.contents[self.folder[&name]].now[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn rename(&mut self, from: Name, to: Name) -> Result<()> {
        self.write()?;
        assert!(!self.folder.contains_key(&to), "{to:?} would be replaced");
        let op = FolderOp::Rename(from, to);
        apply(&mut self.folder, &op);
        self.folder_ops.push(op);
        self.alive()
    }

    fn remove(&mut self, name: Name) -> Result<()> {
        self.write()?;
        let op = FolderOp::Remove(name);
        apply(&mut self.folder, &op);
        self.folder_ops.push(op);
        self.alive()
    }

    fn sync_folder(&mut self) -> Result<()> {
        if self.sync()? {
            self.durable_folder = self.folder.clone();
            self.folder_ops.clear();
        }
        Ok(())
    }
}
