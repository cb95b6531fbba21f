//! A hive as a value: opened from bytes and logs, given back as bytes.

use crate::base_block::{self, BaseBlock, LEN, NIL, PRIMARY, at, put32};
use crate::descriptor;
use crate::image::{BIN_HEADER, Image};
use crate::key::{Key, nk};
use crate::log;
use crate::memory::Memory;
use crate::name::{self, encode};
use crate::security::sk;
use crate::space::Space;
use crate::value::Value;
use reseal_dtyp::{Error, FileTime, Kind, Result, utf16_lossy};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Keys nest at most this deep (Windows allows 512 levels).
pub(crate) const MAX_DEPTH: usize = 512;

/// What to do with a dirty hive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recover {
    /// It needs logs that replay; otherwise opening fails with [`Kind::Conflict`] and says why.
    Replay,
    /// Logs that replay are replayed; otherwise the primary is taken as it stands, without what its logs held.
    AsIs,
}

/// How the hive was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadState {
    /// Written completely; logs were not looked at.
    Clean,
    /// Dirty, and its logs were replayed.
    Replayed {
        /// Log entries applied; an old-format log counts as one.
        entries: usize,
        /// What made it dirty.
        why: String,
    },
    /// Dirty, taken as it stands; only with [`Recover::AsIs`].
    Unrecovered {
        /// What made it dirty, and why its logs did not help.
        why: String,
    },
}

/// A key of an open hive: the offset of its cell. A rename may move a key and give it another id; other ids stay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct KeyId(pub(crate) u32);

/// A registry hive in memory.
///
/// Nothing is repaired silently: every reference is checked where it is followed, and an edit in the way of damage fails.
/// An edit that fails with [`Kind::Damaged`] may be half done: drop the hive then. Other failures leave it as it was.
#[derive(Debug, Clone)]
pub struct Hive {
    pub(crate) image: Image,
    pub(crate) root: u32,
    pub(crate) clock: Option<FileTime>,
    /// Keys that edits touched.
    pub(crate) touched: BTreeSet<u32>,
    /// Length of the bytes that were opened; none for a new hive.
    opened_len: Option<usize>,
    state: LoadState,
    /// The highest sequence number known, so that no stale log entry can continue the new one.
    sequence: u32,
}

impl Hive {
    /// Opens a hive from its bytes and those of its logs (`.LOG`, `.LOG1`, `.LOG2` in any order; empty or zero-filled ones
    /// and all logs of a clean hive are ignored).
    ///
    /// The base block and the hbins are checked, not every cell: see [`Hive::check`]. `Damaged` and `Unsupported` for
    /// what is not a hive of version 1.3 to 1.6, `Conflict` for a dirty hive without logs that replay.
    pub fn open(primary: &[u8], logs: &[&[u8]], how: Recover) -> Result<Hive> {
        Hive::open_vec(primary.to_vec(), logs, how)
    }

    /// [`Hive::open`] without a copy of the bytes.
    pub fn open_vec(primary: Vec<u8>, logs: &[&[u8]], how: Recover) -> Result<Hive> {
        Hive::open_memory(primary.into(), logs, how)
    }

    /// [`Hive::open`] for a hive file of `len` bytes that `read` puts into the hive's own memory: the fastest way for a
    /// large one. Fails as `read` does, too.
    pub fn open_with(
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<()>,
        logs: &[&[u8]],
        how: Recover,
    ) -> Result<Hive> {
        let mut memory = Memory::zeroed(len);
        read(&mut memory)?;
        Hive::open_memory(memory, logs, how)
    }

    fn open_memory(primary: Memory, logs: &[&[u8]], how: Recover) -> Result<Hive> {
        let found = BaseBlock::read(&primary).filter(|_| primary.len() >= LEN).ok_or_else(|| {
            Error::damaged("base block", "", 0, format!("{} bytes, a base block has {LEN}", primary.len()))
        })?;
        let opened_len = primary.len();
        let sequence = log::highest_sequence(&primary, logs);
        let (bytes, state) = match found.dirty() {
            None => (primary, LoadState::Clean),
            Some(why) => match (log::recover(&primary, logs), how) {
                (Ok(done), _) => (done.bytes.into(), LoadState::Replayed { entries: done.entries, why }),
                (Err(e), Recover::AsIs) => (primary, LoadState::Unrecovered { why: format!("{why}; {e}") }),
                (Err(e), Recover::Replay) => {
                    return Err(Error::new(Kind::Conflict, format!("the hive is dirty: {why}; {e}")));
                }
            },
        };
        let base = BaseBlock::read(&bytes).unwrap_or(found);
        base.admit(bytes.len())?;
        let image = Image::new(bytes, &base)?;
        image.key(base.root)?;
        Ok(Hive {
            image,
            root: base.root,
            clock: None,
            touched: BTreeSet::new(),
            opened_len: Some(opened_len),
            state,
            sequence,
        })
    }

    /// An empty hive of version 1.`minor` (3 to 5) whose root key carries a descriptor.
    pub fn new(root_name: &str, minor: u32, descriptor: &[u8], time: FileTime) -> Result<Hive> {
        if !(3..=5).contains(&minor) {
            return Err(Error::unsupported(format!("hives of version 1.3 to 1.5 are made, not 1.{minor}")));
        }
        descriptor::validate(descriptor)
            .map_err(|why| Error::new(Kind::Damaged, format!("not a descriptor: {why}")))?;
        let mut bytes = vec![0; LEN];
        bytes[..4].copy_from_slice(b"regf");
        for (offset, value) in
            [(at::MAJOR, 1), (at::MINOR, minor), (at::TYPE, PRIMARY), (at::FORMAT, 1), (at::CLUSTERING, 1)]
        {
            put32(&mut bytes, offset, value);
        }
        bytes[at::TIME..at::TIME + 8].copy_from_slice(&time.0.to_le_bytes());
        let mut image = Image {
            bytes: bytes.into(),
            bins: Vec::new(),
            size: 0,
            minor,
            space: Space::default(),
            changed: true,
            pages: BTreeSet::new(),
        };
        let (name, compressed) = encode(&name::units(root_name));
        let root = image.allocate(nk::NAME + name.len())?;
        let flags = nk::ROOT | nk::NO_DELETE | if compressed { nk::COMPRESSED } else { 0 };
        image.init_key(root, flags, time, &name)?;
        let security = image.allocate(sk::DESCRIPTOR + descriptor.len())?;
        image.put(security, 0, b"sk", "sk")?;
        for (offset, value) in
            [(sk::FLINK, security), (sk::BLINK, security), (sk::REFS, 1), (sk::LEN, descriptor.len() as u32)]
        {
            image.put_u32(security, offset, value, "sk")?;
        }
        image.put(security, sk::DESCRIPTOR, descriptor, "sk")?;
        image.put_u32(root, nk::SK, security, "nk")?;
        image.put_u32(root, nk::PARENT, NIL, "nk")?;
        put32(&mut image.bytes, at::ROOT, root);
        Ok(Hive {
            image,
            root,
            clock: None,
            touched: BTreeSet::new(),
            opened_len: None,
            state: LoadState::Clean,
            sequence: 0,
        })
    }

    /// How the hive was found.
    pub fn state(&self) -> &LoadState {
        &self.state
    }

    /// Whether the bytes differ from what was opened: an edit or a replay.
    pub fn is_changed(&self) -> bool {
        self.image.changed || matches!(self.state, LoadState::Replayed { .. })
    }

    /// The hive's bytes.
    ///
    /// Unchanged: the very input. Changed: a clean hive that loads without logs, with both sequence numbers above every
    /// one that stands in the hive or its logs, the length of the input if the hbins fit it. The logs must then be
    /// zero-filled, their lengths kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.sealed(self.image.bytes.to_vec())
    }

    /// [`Hive::to_bytes`] without a copy.
    pub fn into_bytes(mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.image.bytes);
        self.sealed(bytes.into_vec())
    }

    /// The pages of 4 KiB that differ from what was opened, as (byte offset, content), ascending; the base block is one of
    /// them. `None` when every page may differ: the hive was replayed, is new or has another length.
    pub fn changed_pages(&self) -> Option<impl Iterator<Item = (u64, Cow<'_, [u8]>)>> {
        if self.opened_len != Some(self.image.bytes.len()) || matches!(self.state, LoadState::Replayed { .. }) {
            return None;
        }
        let first = self.is_changed().then_some(0);
        let pages = first.into_iter().chain(self.image.pages.iter().copied().filter(|&p| p > 0));
        Some(pages.map(|p| {
            let start = p as usize * LEN;
            let page = &self.image.bytes[start..(start + LEN).min(self.image.bytes.len())];
            let mut page = Cow::Borrowed(page);
            if p == 0 {
                self.seal_block(page.to_mut());
            }
            (start as u64, page)
        }))
    }

    fn sealed(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        self.seal_block(&mut bytes);
        bytes
    }

    /// Writes sequence numbers and checksum of a changed hive into its base block.
    pub(crate) fn seal_block(&self, block: &mut [u8]) {
        if self.is_changed() {
            base_block::seal(block, self.sequence.checked_add(1).unwrap_or(1));
        }
    }

    /// Length of the hive's bytes as it is now in memory.
    pub fn byte_len(&self) -> usize {
        self.image.bytes.len()
    }

    /// Minor version of the format: 3 to 6.
    pub fn minor_version(&self) -> u32 {
        self.image.minor
    }

    /// The root key.
    pub fn root(&self) -> KeyId {
        KeyId(self.root)
    }

    /// The key at a backslash path below the root, case-insensitive; the empty path is the root.
    pub fn key(&self, path: &str) -> Result<Option<KeyId>> {
        let mut at = self.root();
        for part in path.split('\\').filter(|part| !part.is_empty()) {
            match self.subkey(at, &name::units(part))? {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    pub(crate) fn nk(&self, key: KeyId) -> Result<Key<'_>> {
        self.image.key(key.0)
    }

    /// The subkey of a name, case-insensitive.
    pub fn subkey(&self, parent: KeyId, name: &[u16]) -> Result<Option<KeyId>> {
        Ok(self.image.find_subkey(&self.nk(parent)?, name)?.map(KeyId))
    }

    /// All subkeys, in stored (sorted) order.
    pub fn subkeys(&self, key: KeyId) -> Result<Vec<KeyId>> {
        Ok(self.image.subkeys(&self.nk(key)?)?.into_iter().map(KeyId).collect())
    }

    /// The parent; `None` for the root.
    pub fn parent(&self, key: KeyId) -> Result<Option<KeyId>> {
        if key == self.root() {
            return Ok(None);
        }
        let parent = KeyId(self.nk(key)?.parent());
        self.nk(parent)?;
        Ok(Some(parent))
    }

    /// The path below the root, backslashes between names; empty for the root.
    pub fn path(&self, key: KeyId) -> Result<String> {
        let (mut names, mut at) = (Vec::new(), key);
        while let Some(parent) = self.parent(at)? {
            names.push(utf16_lossy(&self.name(at)?));
            if names.len() > MAX_DEPTH {
                let detail = format!("more than {MAX_DEPTH} levels up, or parents that form a ring");
                return Err(Error::damaged("nk", "parent", crate::image::place(key.0) + 4, detail));
            }
            at = parent;
        }
        names.reverse();
        Ok(names.join("\\"))
    }

    /// The name's code units.
    pub fn name(&self, key: KeyId) -> Result<Vec<u16>> {
        Ok(self.nk(key)?.name().units().collect())
    }

    /// The class name's code units.
    pub fn class_name(&self, key: KeyId) -> Result<Option<Vec<u16>>> {
        Ok(self.image.class_bytes(&self.nk(key)?)?.map(reseal_dtyp::from_utf16le))
    }

    /// When the key was last written.
    pub fn timestamp(&self, key: KeyId) -> Result<FileTime> {
        Ok(self.nk(key)?.time())
    }

    /// The key's flags as stored.
    pub fn flags(&self, key: KeyId) -> Result<u16> {
        Ok(self.nk(key)?.flags())
    }

    /// Bytes of the key's security descriptor.
    pub fn descriptor(&self, key: KeyId) -> Result<&[u8]> {
        Ok(self.image.security(self.nk(key)?.sk())?.descriptor)
    }

    /// All values, in stored order.
    pub fn values(&self, key: KeyId) -> Result<Vec<Value>> {
        let (mut out, mut total) = (Vec::new(), 0usize);
        for at in self.image.value_offsets(&self.nk(key)?)? {
            let value = self.read_value(at)?;
            // Values that share their cells would let a small hive claim more than memory holds.
            total = total.saturating_add(value.data.len() + 2 * value.name.len());
            if total > 2 * self.image.size as usize {
                let detail = format!("the values have more than the hive's {:#x} bytes", self.image.size);
                return Err(Error::damaged("value list", "", crate::image::place(key.0) + 4, detail));
            }
            out.push(value);
        }
        Ok(out)
    }

    /// The value of a name, case-insensitive; the empty name is the default value.
    pub fn value(&self, key: KeyId, name: &str) -> Result<Option<Value>> {
        self.value_units(key, &name::units(name))
    }

    /// [`Hive::value`] for a name that may hold lone surrogates.
    pub fn value_units(&self, key: KeyId, name: &[u16]) -> Result<Option<Value>> {
        let found = self.image.find_value(&self.nk(key)?, name)?;
        found.map(|(_, at)| self.read_value(at)).transpose()
    }

    fn read_value(&self, at: u32) -> Result<Value> {
        let cell = self.image.value_cell(at)?;
        Ok(Value { name: cell.name().units().collect(), ty: cell.ty(), data: self.image.data(&cell)?.into_owned() })
    }

    /// End of the hbins in the file; what follows is the tail.
    pub(crate) fn bins_end(&self) -> usize {
        LEN + self.image.size as usize
    }
}

impl Image {
    /// Fills a fresh key cell: no subkeys, no values, no class name.
    pub(crate) fn init_key(&mut self, at: u32, flags: u16, time: FileTime, name: &[u8]) -> Result<()> {
        self.put(at, 0, b"nk", "nk")?;
        self.put_u16(at, nk::FLAGS, flags, "nk")?;
        self.put(at, nk::TIME, &time.0.to_le_bytes(), "nk")?;
        for list in [nk::SUBKEY_LIST, nk::VOLATILE_LIST, nk::VALUE_LIST, nk::CLASS] {
            self.put_u32(at, list, NIL, "nk")?;
        }
        let len = u16::try_from(name.len())
            .map_err(|_| Error::new(Kind::Limit, format!("a key name of {} bytes", name.len())))?;
        self.put_u16(at, nk::NAME_LEN, len, "nk")?;
        self.put(at, nk::NAME, name, "nk")
    }
}

const _: () = assert!(BIN_HEADER == 32);
