//! The memory that holds a hive: huge pages for a large one.
//!
//! A SOFTWARE hive has 50 to 200 MiB. With pages of 4 KiB the page faults cost as much as the reading itself.

use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};

/// Hives of fewer bytes live on the heap.
const LARGE: usize = 512 << 10;

/// Room for hbins that edits add, in bytes; memory that is not touched is not taken.
const ROOM: usize = 256 << 10;

/// A huge page of x86-64 and of most arm64. Linux aligns a mapping to it when its length is a multiple of it.
const HUGE: usize = 2 << 20;

/// Bytes that can grow.
#[derive(Debug)]
pub(crate) struct Memory(Kind);

#[derive(Debug)]
enum Kind {
    Heap(Vec<u8>),
    Pages { map: MmapMut, len: usize },
}

impl Memory {
    /// `len` zero bytes.
    pub(crate) fn zeroed(len: usize) -> Memory {
        let pages = (len >= LARGE).then(|| pages(len)).flatten();
        Memory(pages.map_or_else(|| Kind::Heap(vec![0; len]), |map| Kind::Pages { map, len }))
    }

    /// Makes them longer; the new ones are zero.
    pub(crate) fn grow(&mut self, new: usize) {
        match &mut self.0 {
            Kind::Heap(bytes) => bytes.resize(new.max(bytes.len()), 0),
            // What lies behind the length was never written.
            Kind::Pages { map, len } if new <= map.len() => *len = new.max(*len),
            Kind::Pages { .. } => {
                let mut longer = Memory::zeroed(new);
                longer[..self.len()].copy_from_slice(self);
                *self = longer;
            }
        }
    }

    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Pages { map, len } => map[..len].to_vec(),
        }
    }
}

/// Anonymous memory of at least `len` bytes in huge pages, where the system has such.
fn pages(len: usize) -> Option<MmapMut> {
    let map = MmapMut::map_anon(len.checked_add(ROOM)?.checked_next_multiple_of(HUGE)?).ok()?;
    // A system without them ignores or refuses the advice, and the memory serves all the same.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Some(map)
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::from(Vec::new())
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Memory {
        Memory(Kind::Heap(bytes))
    }
}

impl Clone for Memory {
    fn clone(&self) -> Memory {
        let mut new = Memory::zeroed(self.len());
        new.copy_from_slice(self);
        new
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Pages { map, len } => &map[..*len],
        }
    }
}

impl DerefMut for Memory {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Kind::Heap(bytes) => bytes,
            Kind::Pages { map, len } => &mut map[..*len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_zeros_and_keeps_content() {
        for len in [0, 10, LARGE - 1, LARGE, LARGE + 5] {
            let mut memory = Memory::zeroed(len);
            memory.fill(7);
            for longer in [len + 1, len + 4096, len + 2 * HUGE] {
                let before = memory.len();
                memory.grow(longer);
                memory.grow(before);
                assert_eq!(memory.len(), longer);
                assert!(memory[before..].iter().all(|b| *b == 0));
                memory[before..].fill(7);
            }
            assert_eq!(memory.clone().into_vec(), memory.to_vec());
            assert!(memory.iter().all(|b| *b == 7));
        }
    }
}
