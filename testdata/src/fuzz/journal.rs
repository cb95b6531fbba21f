//! The fuzz target of the journal, on a host in memory.

use reseal_disk::journal::{Change, Commit, MARK, Media, Name, Recovered, commit, recover, undo};
use reseal_dtyp::{Error, Kind, Result};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// An image and the files beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    image: Vec<u8>,
    files: BTreeMap<Name, Vec<u8>>,
}

/// No image of a host in memory grows beyond this, as one on a disk that is full.
const LIMIT: u64 = 4 << 20;

fn part(bytes: &[u8], offset: u64, len: usize) -> Result<&[u8]> {
    let range = usize::try_from(offset).ok().and_then(|at| Some(at..at.checked_add(len)?));
    range.and_then(|range| bytes.get(range)).ok_or_else(|| Error::new(Kind::Io, format!("{len} bytes at {offset:#x}")))
}

impl Host {
    fn file(&self, name: Name) -> Result<&Vec<u8>> {
        self.files.get(&name).ok_or_else(|| Error::not_found(format!("{name:?}")))
    }
}

impl Media for Host {
    fn image_len(&self) -> Result<u64> {
        Ok(self.image.len() as u64)
    }

    fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(part(&self.image, offset, buf.len())?);
        Ok(())
    }

    fn write_image(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        part(&self.image, offset, data.len())?;
        self.image[offset as usize..offset as usize + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn reserve_image(&mut self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn set_image_len(&mut self, len: u64) -> Result<()> {
        if len > LIMIT {
            return Err(Error::new(Kind::NoSpace, format!("{len} bytes")));
        }
        self.image.resize(len as usize, 0);
        Ok(())
    }

    fn sync_image(&mut self) -> Result<()> {
        Ok(())
    }

    fn exists(&self, name: Name) -> Result<bool> {
        Ok(self.files.contains_key(&name))
    }

    fn create_temporary(&mut self) -> Result<()> {
        self.files.insert(Name::Temporary, Vec::new());
        Ok(())
    }

    fn append(&mut self, data: &[u8]) -> Result<()> {
        self.files.entry(Name::Temporary).or_default().extend_from_slice(data);
        Ok(())
    }

    fn sync_temporary(&mut self) -> Result<()> {
        Ok(())
    }

    fn file_len(&self, name: Name) -> Result<u64> {
        Ok(self.file(name)?.len() as u64)
    }

    fn read_file(&self, name: Name, offset: u64, buf: &mut [u8]) -> Result<()> {
        buf.copy_from_slice(part(self.file(name)?, offset, buf.len())?);
        Ok(())
    }

    fn rename(&mut self, from: Name, to: Name) -> Result<()> {
        let file = self.files.remove(&from).ok_or_else(|| Error::not_found(format!("{from:?}")))?;
        self.files.insert(to, file);
        Ok(())
    }

    fn remove(&mut self, name: Name) -> Result<()> {
        self.files.remove(&name).map(drop).ok_or_else(|| Error::not_found(format!("{name:?}")))
    }

    fn sync_folder(&mut self) -> Result<()> {
        Ok(())
    }
}

/// An image before and after a commit, and the journal between them.
struct Case {
    old: Vec<u8>,
    new: Vec<u8>,
    journal: Vec<u8>,
}

fn case() -> &'static Case {
    static CASE: OnceLock<Case> = OnceLock::new();
    CASE.get_or_init(|| {
        let old: Vec<u8> = (0..40_000_u32).map(|i| (i / 700) as u8).collect();
        let mut host = Host { image: old.clone(), files: BTreeMap::new() };
        let change = |offset: u64, data: &[u8]| Ok(Change { offset, data: data.to_vec() });
        let list = [change(1024, &[0; 2048]), change(8192, &[7; 512]), change(39_936, &[9; 1024])];
        let how = Commit { len_after: 40_960, marks: &[3], keep_undo: true };
        commit(&mut host, how, &mut list.into_iter()).expect("a host in memory does not fail");
        let journal = host.files.remove(&Name::Undo).expect("an undo was asked for");
        Case { old, new: host.image, journal }
    })
}

/// Damage to a journal, to the image, or to both; the first byte says what is damaged, whether the journal's sum is made
/// right again, and whether an undo is asked for. A refusal leaves the image as it is, or the journal with which the
/// recovery can be repeated; what is done twice does no harm.
pub(super) fn journal(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    let case = case();
    let (made_right, is_undo, half_done) = (how & 1 != 0, how & 2 != 0, how & 4 != 0);
    let mut journal = case.journal.clone();
    let mut image = if is_undo { case.new.clone() } else { case.old.clone() };
    if half_done {
        let half = image.len() / 2;
        image[..half].copy_from_slice(&case.new[..half]);
        image[3..11].copy_from_slice(&MARK);
    }
    for (at, value) in super::patches(rest, journal.len() + image.len()) {
        match at.checked_sub(journal.len()) {
            None => journal[at] = value,
            Some(at) => image[at] = value,
        }
    }
    if made_right {
        let end = journal.len() - 32;
        let sum = Sha256::digest(&journal[..end]);
        journal[end..].copy_from_slice(&sum);
    }
    let intact = journal == case.journal;
    let name = if is_undo { Name::Undo } else { Name::Journal };
    let mut host = Host { image, files: BTreeMap::from([(name, journal)]) };
    let before = host.clone();
    let act = |host: &mut Host| if is_undo { undo(host) } else { recover(host) };
    match act(&mut host) {
        Ok(done) => {
            assert_eq!(done, if is_undo { Recovered::Undone } else { Recovered::Finished });
            let wanted = if is_undo { &case.old } else { &case.new };
            // The image is shorter than what the witness covers, so no change of it goes unnoticed.
            assert!(!intact || host.image == *wanted, "neither old nor new");
            let settled = host.clone();
            assert_eq!(recover(&mut host).expect("nothing is left to do"), Recovered::Nothing);
            assert_eq!(host, settled);
        }
        Err(_) if host == before => {}
        Err(_) => {
            let left = [Name::Journal, Name::Rollback].iter().any(|name| host.files.contains_key(name));
            assert!(left, "the image was changed and nothing leads on");
        }
    }
}

/// Inputs to start from.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    (0..8).flat_map(|how| [vec![how], vec![how, 40, 0, 0, 0xff], vec![how, 12, 0, 0, 1, 200, 60, 0, 9]]).collect()
}
