//! The only source of randomness and time.

use reseal_dtyp::{FileTime, Guid};
use sha2::{Digest, Sha256};

/// Seed and clock of a run. The same image with the same inputs and options gives the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct Inputs {
    seed: [u8; 32],
    now: FileTime,
}

impl Inputs {
    /// A seed from the system's random generator. `None` when the system has none.
    pub fn random(now: FileTime) -> Option<Inputs> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).ok()?;
        Some(Inputs { seed, now })
    }

    /// A seed from a text: equal texts give equal values, so equal images then get equal SIDs.
    pub fn seeded(text: &str, now: FileTime) -> Inputs {
        Inputs { seed: Sha256::digest(text.as_bytes()).into(), now }
    }

    /// Inputs of a further installation in the same run: it gets values of its own, though it be a copy of the first one.
    pub(crate) fn for_further(&self, number: u32) -> Inputs {
        Inputs { seed: self.stream(&[b"installation", &number.to_le_bytes()]).bytes(), now: self.now }
    }

    /// The time that counts as now.
    pub fn now(&self) -> FileTime {
        self.now
    }

    /// An endless stream of bytes for one purpose: SHA-256 of seed, labels and a counter.
    pub(crate) fn stream(&self, labels: &[&[u8]]) -> Stream {
        let mut hasher = Sha256::new();
        hasher.update(self.seed);
        for label in labels {
            hasher.update((label.len() as u64).to_le_bytes());
            hasher.update(label);
        }
        Stream { key: hasher.finalize().into(), counter: 0 }
    }
}

/// Bytes derived from a seed for one purpose.
pub(crate) struct Stream {
    key: [u8; 32],
    counter: u64,
}

impl Stream {
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for chunk in out.chunks_mut(32) {
            let block = Sha256::new().chain_update(self.key).chain_update(self.counter.to_le_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
        out
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    pub(crate) fn guid(&mut self) -> Guid {
        Guid::from_random(self.bytes())
    }
}

/// The first eight bytes of a SHA-256, for plans and reports: it identifies a value without showing it.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)[..8].iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_depend_on_seed_and_labels_only() {
        let a = Inputs::seeded("x", FileTime(1));
        let same = Inputs::seeded("x", FileTime(2));
        assert_eq!(a.stream(&[b"sid", b"1"]).bytes::<40>(), same.stream(&[b"sid", b"1"]).bytes::<40>());
        assert_ne!(a.stream(&[b"sid", b"1"]).u32(), a.stream(&[b"sid1"]).u32());
        assert_ne!(a.stream(&[b"sid"]).u32(), Inputs::seeded("y", FileTime(1)).stream(&[b"sid"]).u32());
    }
}
