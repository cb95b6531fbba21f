//! Security cells (`sk`): a ring of descriptors that keys share, each counting its keys.

use crate::image::{Image, place};
use crate::key::nk;
use reseal_dtyp::{Error, Kind, Result};

/// Field offsets in a security cell's content.
pub(crate) mod sk {
    pub(crate) const FLINK: usize = 4;
    pub(crate) const BLINK: usize = 8;
    pub(crate) const REFS: usize = 12;
    pub(crate) const LEN: usize = 16;
    pub(crate) const DESCRIPTOR: usize = 20;
}

/// A checked security cell.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Security<'a> {
    pub(crate) flink: u32,
    pub(crate) blink: u32,
    pub(crate) refs: u32,
    pub(crate) descriptor: &'a [u8],
}

impl Image {
    /// The security cell at `at`.
    pub(crate) fn security(&self, at: u32) -> Result<Security<'_>> {
        let view = self.view(at, "sk")?;
        if view.bytes(0, 2, "signature")? != b"sk" {
            return Err(view.damaged(0, "signature", "is not `sk`"));
        }
        let len = view.u32(sk::LEN, "length")? as usize;
        Ok(Security {
            flink: view.u32(sk::FLINK, "flink")?,
            blink: view.u32(sk::BLINK, "blink")?,
            refs: view.u32(sk::REFS, "reference count")?,
            descriptor: view.bytes(sk::DESCRIPTOR, len, "descriptor")?,
        })
    }

    /// The ring of security cells, from the root key's on. `Damaged` when it does not close or its links disagree.
    pub(crate) fn ring(&self, root: u32) -> Result<Vec<u32>> {
        let start = self.key(root)?.sk();
        let (mut ring, mut at) = (Vec::new(), start);
        // The smallest security cell takes 48 bytes: a longer ring does not close.
        let most = self.size as usize / 48 + 1;
        loop {
            ring.push(at);
            let next = self.security(at)?.flink;
            if self.security(next)?.blink != at {
                let detail = format!("flink leads to {next:#x}, whose blink does not lead back");
                return Err(Error::damaged("sk", "flink", place(at) + 4, detail));
            }
            if next == start {
                return Ok(ring);
            }
            if ring.len() > most {
                return Err(Error::damaged("sk", "flink", place(at) + 4, "the ring does not close"));
            }
            at = next;
        }
    }

    /// The cell of a descriptor, made if the ring has none; its count is not touched.
    pub(crate) fn intern_descriptor(&mut self, root: u32, descriptor: &[u8]) -> Result<u32> {
        for at in self.ring(root)? {
            if self.security(at)?.descriptor == descriptor {
                return Ok(at);
            }
        }
        let len = u32::try_from(descriptor.len())
            .map_err(|_| Error::new(Kind::Limit, format!("a descriptor of {} bytes", descriptor.len())))?;
        let before = self.key(root)?.sk();
        let after = self.security(before)?.flink;
        let at = self.allocate(sk::DESCRIPTOR + descriptor.len())?;
        self.put(at, 0, b"sk", "sk")?;
        self.put_u32(at, sk::FLINK, after, "sk")?;
        self.put_u32(at, sk::BLINK, before, "sk")?;
        self.put_u32(at, sk::LEN, len, "sk")?;
        self.put(at, sk::DESCRIPTOR, descriptor, "sk")?;
        self.put_u32(before, sk::FLINK, at, "sk")?;
        self.put_u32(after, sk::BLINK, at, "sk")?;
        Ok(at)
    }

    /// Counts `keys` more keys.
    pub(crate) fn retain_security(&mut self, at: u32, keys: u32) -> Result<()> {
        let refs = self.security(at)?.refs;
        let more = refs.checked_add(keys).ok_or_else(|| {
            Error::damaged(
                "sk",
                "reference count",
                place(at) + 4,
                format!("{refs} keys already, no more can be counted"),
            )
        })?;
        self.put_u32(at, sk::REFS, more, "sk")
    }

    /// Counts one key less; a cell without keys leaves the ring and is given back.
    pub(crate) fn release_security(&mut self, at: u32) -> Result<()> {
        let security = self.security(at)?;
        let (refs, flink, blink) = (security.refs, security.flink, security.blink);
        match refs {
            0 => Err(Error::damaged("sk", "reference count", place(at) + 4, "is 0, yet a key refers to the cell")),
            1 => self.drop_security(at, flink, blink),
            more => self.put_u32(at, sk::REFS, more - 1, "sk"),
        }
    }

    /// Takes a cell out of the ring and gives it back.
    pub(crate) fn drop_security(&mut self, at: u32, flink: u32, blink: u32) -> Result<()> {
        if flink == at || self.security(flink)?.blink != at || self.security(blink)?.flink != at {
            let detail = "the ring is broken here, or this is its only cell: the reference count is too low";
            return Err(Error::damaged("sk", "links", place(at) + 4, detail));
        }
        self.put_u32(blink, sk::FLINK, flink, "sk")?;
        self.put_u32(flink, sk::BLINK, blink, "sk")?;
        self.free(at, "sk")
    }

    /// Gives a key another security cell, counts kept.
    pub(crate) fn assign_security(&mut self, key: u32, new: u32) -> Result<()> {
        let old = self.key(key)?.sk();
        if old == new {
            return Ok(());
        }
        self.retain_security(new, 1)?;
        self.put_u32(key, nk::SK, new, "nk")?;
        self.release_security(old)
    }
}
