//! Commit in place under loss of power, faults and foreign hands: the image is the old one or the new one.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use reseal_disk::journal::{Change, Commit, MARK, Name, Recovered, commit, recover, undo};
use reseal_disk::{CreateChild, CreateVhd, CreateVhdx, Disk, NewDisk, create_vhd, create_vhdx};
use reseal_dtyp::{Guid, Kind, Result};
use reseal_testdata::power::{Choice, Fault, Sim};
use sha2::{Digest, Sha256};

/// Where the boot sector's OEM id stands.
const MARK_AT: u64 = 33 * 512 + 3;

/// An old image, its changes, and the new image.
struct Case {
    old: Vec<u8>,
    new: Vec<u8>,
    changes: Vec<Change>,
    keep_undo: bool,
    /// What is marked while the image is half written.
    mark: u64,
}

impl Case {
    /// Changes at the start, in the boot sector's page, across pages, to zeros, at the end and behind it.
    fn new(seed: u64, keep_undo: bool) -> Case {
        let mut choice = Choice::new(seed);
        let len = 200 * 1024 + if seed.is_multiple_of(2) { 0 } else { 512 * choice.below(8) as usize };
        let mut old: Vec<u8> = (0..len).map(|_| choice.below(251) as u8).collect();
        old[MARK_AT as usize..][..8].copy_from_slice(b"NTFS    ");
        let mut new = old.clone();
        if choice.below(2) == 0 {
            new.resize(len + 4096 + 512 * choice.below(9) as usize, 0);
        }
        let places: Vec<usize> = [1, 33 * 512 + 100, 9000, 70_000, 140_000, len - 10]
            .into_iter()
            .chain((0..choice.below(6)).map(|_| choice.below(new.len() as u64 - 3000) as usize))
            .collect();
        for at in places {
            let end = (at + 1 + choice.below(2500) as usize).min(new.len());
            let zero = choice.below(3) == 0;
            for byte in &mut new[at..end] {
                *byte = if zero { 0 } else { byte.wrapping_add(1 + choice.below(200) as u8) };
            }
        }
        new[MARK_AT as usize..][..8].copy_from_slice(b"NTFS    ");
        Case::of(old, new, keep_undo, MARK_AT)
    }

    fn of(old: Vec<u8>, new: Vec<u8>, keep_undo: bool, mark: u64) -> Case {
        let len = old.len();
        let pages =
            new.chunks(4096).enumerate().map(|(i, page)| Change { offset: i as u64 * 4096, data: page.to_vec() });
        let changes = pages.filter(|c| old.get(c.offset as usize..c.offset as usize + c.data.len()) != Some(&c.data));
        let changes = changes.filter(|c| c.offset < len as u64 || c.data.iter().any(|b| *b != 0)).collect();
        Case { old, new, changes, keep_undo, mark }
    }

    /// A disk in a container and what comes of it when blocks are changed, added and become zero.
    fn in_container(kind: Kinds, keep_undo: bool) -> Case {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let [empty, base, child, out] = ["empty", "base", "child", "out"].map(path);
        let (disk_len, id) = (4 << 20, |n| Guid([n; 16]));
        match kind {
            Kinds::Vhd { fixed, .. } => {
                let options = CreateVhd { disk_len, block_len: 512 << 10, fixed, disk_id: id(1), time: 0 };
                create_vhd(&options).unwrap().write_to(&empty).unwrap();
            }
            Kinds::Vhdx { fixed, .. } => {
                let (block_len, sector_size, disk_id, write_guid) = (1 << 20, 512, id(1), id(2));
                let options = CreateVhdx { disk_len, block_len, sector_size, fixed, disk_id, write_guid };
                let (head, len) = create_vhdx(&options).unwrap();
                NewDisk { parts: vec![(0, head)], len }.write_to(&empty).unwrap();
            }
        }
        let disk = Disk::open(&empty).unwrap();
        let bytes = disk.bytes();
        bytes.write_at(3, b"NTFS    ").unwrap();
        bytes.write_at((3 << 20) + 77, &[0x33; 9000]).unwrap();
        disk.commit_to(&base, [id(3), id(4)], &|_, _| {}).unwrap();
        let (start, mark): (_, &[u8]) = match kind {
            Kinds::Vhd { child: true, .. } => (&child, b"cxsparse"),
            Kinds::Vhdx { child: true, .. } => (&child, b"vhdxfile"),
            _ => (&base, b"NTFS    "),
        };
        if start == &child {
            let block_len = if matches!(kind, Kinds::Vhd { .. }) { 512 << 10 } else { 1 << 20 };
            let options = CreateChild { block_len, id: id(5), time: 0 };
            Disk::open(&base).unwrap().new_child(&child, &options).unwrap().write_to(&child).unwrap();
        }
        let disk = Disk::open(start).unwrap();
        let bytes = disk.bytes();
        bytes.write_at(600, &[0x44; 5000]).unwrap();
        bytes.write_at((2 << 20) - 50, &[0x55; 100]).unwrap();
        bytes.write_at((3 << 20) + 77, &[0; 9000]).unwrap();
        disk.commit_to(&out, [id(6), id(7)], &|_, _| {}).unwrap();
        let (old, new) = (std::fs::read(start).unwrap(), std::fs::read(&out).unwrap());
        let at = old.windows(8).position(|w| w == mark).unwrap();
        Case::of(old, new, keep_undo, at as u64)
    }

    fn commit(&self, sim: &mut Sim) -> Result<()> {
        let how = Commit { len_after: self.new.len() as u64, marks: &[self.mark], keep_undo: self.keep_undo };
        commit(sim, how, &mut self.changes.iter().cloned().map(Ok)).map(drop)
    }

    /// The host after a commit that kept an undo.
    fn committed(&self) -> Sim {
        let mut sim = Sim::new(self.old.clone());
        self.commit(&mut sim).unwrap();
        assert_eq!(sim.image, self.new);
        sim.healthy()
    }

    fn is_whole(&self, image: &[u8]) -> bool {
        image == self.old || image == self.new
    }

    /// What is wrong with a host that has just lost power, and with what a recovery makes of it. `wanted` is the image that
    /// was promised, if the work had ended.
    fn fault_of(&self, found: &Sim, wanted: Option<&[u8]>, choice: &mut Choice) -> Option<String> {
        let at = self.mark as usize;
        let marked = found.image.get(at..at + 8) == Some(&MARK);
        if !self.is_whole(&found.image) && !marked {
            return Some("half written, and nothing shows it".into());
        }
        if let Some(wanted) = wanted {
            if found.image != wanted {
                return Some("done, and not the promised image".into());
            }
            if let Some(name) = found.names().iter().find(|n| matches!(n, Name::Journal | Name::Rollback)) {
                return Some(format!("done, and {name:?} came back"));
            }
        }
        let mut again = found.clone();
        // The power may fail again, and again.
        for _ in 0..choice.below(3) {
            again.cut_at = Some(choice.below(12) as usize);
            if recover(&mut again).is_ok() {
                break;
            }
            again = again.restart(choice);
        }
        let mut again = again.healthy();
        if let Err(e) = recover(&mut again) {
            return Some(format!("no recovery: {e}"));
        }
        if !self.is_whole(&again.image) {
            return Some("recovered to something else".into());
        }
        if let Some(name) = again.names().iter().find(|n| **n != Name::Undo) {
            return Some(format!("{name:?} is left"));
        }
        match recover(&mut again) {
            Ok(Recovered::Nothing) => None,
            other => Some(format!("a second recovery: {other:?}")),
        }
    }

    /// Loses power at every write of `work` and tries what may be left; the first thing that is wrong.
    fn explore(
        &self,
        start: &Sim,
        work: &dyn Fn(&mut Sim) -> Result<()>,
        fault: Fault,
        promised: &[u8],
        samples: u64,
    ) -> Option<String> {
        let mut whole = start.clone();
        whole.fault = fault;
        work(&mut whole).unwrap();
        for at in 0..=whole.writes() {
            let mut sim = start.clone();
            sim.fault = fault;
            // One more than there are: the power is lost after the end.
            sim.cut_at = Some(at);
            let ended = work(&mut sim).is_ok();
            assert_eq!(ended, at == whole.writes(), "power lost at {at}");
            for seed in 0..samples {
                let mut choice = Choice::new(seed * 1009 + at as u64);
                let found = sim.restart(&mut choice);
                let wrong = self.fault_of(&found, ended.then_some(promised), &mut choice);
                if let Some(wrong) = wrong {
                    return Some(format!("power lost at {at}, sample {seed}: {wrong}"));
                }
            }
        }
        None
    }
}

#[test]
fn every_write_may_be_the_last() {
    for seed in 0..24 {
        let case = Case::new(seed, seed % 3 == 0);
        let start = Sim::new(case.old.clone());
        let wrong = case.explore(&start, &|sim| case.commit(sim), Fault::None, &case.new, 12);
        assert_eq!(wrong, None, "case {seed}");
    }
}

/// Every format that is written, and children whose boot sector is their parent's.
#[derive(Debug, Clone, Copy)]
enum Kinds {
    Vhd { fixed: bool, child: bool },
    Vhdx { fixed: bool, child: bool },
}

#[test]
fn every_write_to_a_container_may_be_the_last() {
    for (fixed, child) in [(true, false), (false, false), (false, true)] {
        for kind in [Kinds::Vhd { fixed, child }, Kinds::Vhdx { fixed, child }] {
            let case = Case::in_container(kind, child);
            let start = Sim::new(case.old.clone());
            let wrong = case.explore(&start, &|sim| case.commit(sim), Fault::None, &case.new, 3);
            assert_eq!(wrong, None, "{kind:?}");
        }
    }
}

#[test]
fn every_write_of_an_undo_may_be_the_last() {
    for seed in 0..12 {
        let case = Case::new(seed, true);
        let start = case.committed();
        assert_eq!(start.names(), [Name::Undo]);
        let wrong = case.explore(&start, &|sim| undo(sim).map(drop), Fault::None, &case.old, 12);
        assert_eq!(wrong, None, "case {seed}");
    }
}

#[test]
fn no_synchronization_is_idle() {
    let case = Case::new(3, false);
    let mut whole = Sim::new(case.old.clone());
    case.commit(&mut whole).unwrap();
    assert_eq!(whole.syncs(), 6);
    for n in 0..whole.syncs() {
        let start = Sim::new(case.old.clone());
        let wrong = case.explore(&start, &|sim| case.commit(sim), Fault::LostSync(n), &case.new, 200);
        assert!(wrong.is_some(), "synchronization {n} of a commit is not needed, or its loss is not noticed");
    }
    let case = Case::new(4, true);
    let start = case.committed();
    let mut whole = start.clone();
    undo(&mut whole).unwrap();
    assert_eq!(whole.syncs(), 5);
    for n in 0..whole.syncs() {
        let wrong = case.explore(&start, &|sim| undo(sim).map(drop), Fault::LostSync(n), &case.old, 200);
        assert!(wrong.is_some(), "synchronization {n} of an undo is not needed, or its loss is not noticed");
    }
}

#[test]
fn every_call_may_fail() {
    let case = Case::new(5, false);
    let mut whole = Sim::new(case.old.clone());
    case.commit(&mut whole).unwrap();
    for kind in [Kind::Io, Kind::NoSpace] {
        for at in 0..whole.calls() {
            for fault in [Fault::Error(at, kind), Fault::Broken(at, kind)] {
                let mut sim = Sim::new(case.old.clone());
                sim.fault = fault;
                let error = case.commit(&mut sim).expect_err("the fault is reported");
                let mut sim = sim.healthy();
                if error.kind() != Kind::Interrupted {
                    assert_eq!(sim.image, case.old, "{fault:?}: {error}");
                    assert!(sim.names().is_empty(), "{fault:?}: {error}: {:?}", sim.names());
                }
                recover(&mut sim).unwrap();
                assert!(case.is_whole(&sim.image), "{fault:?}");
                assert!(sim.names().is_empty(), "{fault:?}");
            }
        }
    }
}

#[test]
fn a_recovery_that_fails_can_be_repeated() {
    let case = Case::new(6, false);
    let half = half_written(&case);
    let mut whole = half.clone();
    assert_eq!(recover(&mut whole).unwrap(), Recovered::Finished);
    for at in 0..whole.calls() {
        let mut sim = half.clone();
        sim.fault = Fault::Error(at, Kind::Io);
        recover(&mut sim).expect_err("the fault is reported");
        let mut sim = sim.healthy();
        recover(&mut sim).unwrap();
        assert_eq!(sim.image, case.new, "call {at}");
    }
}

/// Power was lost while sectors were being written, half of them.
fn half_written(case: &Case) -> Sim {
    for at in 0.. {
        let mut sim = Sim::new(case.old.clone());
        sim.cut_at = Some(at);
        assert!(case.commit(&mut sim).is_err(), "the commit ends before it is half done");
        for seed in 0..50 {
            let found = sim.restart(&mut Choice::new(seed));
            if found.names() == [Name::Journal] && !case.is_whole(&found.image) && changed(case, &found) > 4 {
                return found;
            }
        }
    }
    unreachable!()
}

fn changed(case: &Case, found: &Sim) -> usize {
    case.old.chunks(512).zip(found.image.chunks(512)).filter(|(a, b)| a != b).count()
}

#[test]
fn an_image_that_lived_on_is_left_alone() {
    let case = Case::new(7, false);
    let half = half_written(&case);
    let places = [case.changes[0].offset as usize + 1, case.old.len() - 100, 70_100, 30_000];
    for (i, at) in places.into_iter().enumerate() {
        let mut sim = half.clone();
        sim.change_image(|image| image[at] ^= 0x55);
        let before = sim.image.clone();
        assert_eq!(recover(&mut sim).expect_err("foreign bytes").kind(), Kind::Conflict, "place {i}");
        assert_eq!((sim.image.as_slice(), sim.names()), (before.as_slice(), vec![Name::Journal]));
    }
    let mut sim = half.clone();
    sim.change_image(|image| image.truncate(image.len() - 512));
    assert_eq!(recover(&mut sim).expect_err("another length").kind(), Kind::Conflict);
    // An undo of an image that was booted.
    let case = Case::new(8, true);
    let mut sim = case.committed();
    sim.change_image(|image| image[70_100] ^= 1);
    assert_eq!(undo(&mut sim).expect_err("foreign bytes").kind(), Kind::Conflict);
    assert_eq!(sim.names(), [Name::Undo]);
}

#[test]
fn a_lost_journal_shows_in_the_image() {
    let case = Case::new(9, false);
    let mut half = half_written(&case);
    half.forget(Name::Journal);
    assert_eq!(&half.image[MARK_AT as usize..][..8], &MARK);
    assert_eq!(recover(&mut half).unwrap(), Recovered::Nothing);
    assert_eq!(&half.image[MARK_AT as usize..][..8], &MARK, "nothing is guessed");
}

#[test]
fn what_lies_beside_the_image_is_noticed() {
    let case = Case::new(10, false);
    let mut half = half_written(&case);
    assert_eq!(case.commit(&mut half).expect_err("a journal").kind(), Kind::Interrupted);
    assert_eq!(undo(&mut half).expect_err("a journal").kind(), Kind::Interrupted);
    let kept = Case::new(10, true);
    let mut sim = kept.committed();
    assert_eq!(kept.commit(&mut sim).expect_err("an undo").kind(), Kind::Conflict);
    assert_eq!(undo(&mut sim).unwrap(), Recovered::Undone);
    assert_eq!(sim.image, kept.old);
    assert_eq!(undo(&mut sim).expect_err("nothing to undo").kind(), Kind::NotFound);
    // A commit that was interrupted while it kept an undo keeps it after the recovery.
    let mut half = half_written(&kept);
    assert_eq!(recover(&mut half).unwrap(), Recovered::Finished);
    assert_eq!(half.names(), [Name::Undo]);
    assert_eq!(undo(&mut half).unwrap(), Recovered::Undone);
    assert_eq!(half.image, kept.old);
}

#[test]
fn the_journal_follows_the_change() {
    let mut old = vec![7; 4 << 20];
    old[MARK_AT as usize..][..8].copy_from_slice(b"NTFS    ");
    let mut sim = Sim::new(old.clone());
    let mut page = old[8192..12288].to_vec();
    page[700] = 1;
    let how = Commit { len_after: old.len() as u64, marks: &[MARK_AT], keep_undo: false };
    let mut changes = [Change { offset: 8192, data: page }].into_iter().map(Ok);
    let written = commit(&mut sim, how, &mut changes).unwrap();
    assert_eq!(written.changed, 512);
    assert!(written.journal < 1400, "{} bytes for one sector and a mark", written.journal);
    // Nothing that differs: nothing is written.
    let start = sim.healthy();
    let mut sim = start.clone();
    let mut changes = [Change { offset: 0, data: old[..4096].to_vec() }].into_iter().map(Ok);
    assert_eq!(commit(&mut sim, how, &mut changes).unwrap().changed, 0);
    assert_eq!((&sim.image, sim.names()), (&start.image, vec![]));
}

#[test]
fn damaged_journals_are_refused() {
    let case = Case::new(11, true);
    let half = half_written(&case);
    let mut len = 0;
    half.clone().change_file(Name::Journal, |bytes| len = bytes.len());
    let refused = |sim: &mut Sim| {
        let before = sim.image.clone();
        let error = recover(sim).expect_err("damage is refused");
        assert_eq!(error.kind(), Kind::Damaged, "{error}");
        assert_eq!(sim.image, before);
    };
    for cut in (0..len).step_by(331) {
        let mut sim = half.clone();
        sim.change_file(Name::Journal, |bytes| bytes.truncate(cut));
        refused(&mut sim);
    }
    let mut choice = Choice::new(1);
    for _ in 0..1000 {
        let mut sim = half.clone();
        sim.change_file(Name::Journal, |bytes| {
            bytes[choice.below(len as u64) as usize] ^= 1 + choice.below(255) as u8;
        });
        refused(&mut sim);
    }
    // A journal that was made to deceive: its trailer is right.
    let (mut finished, mut other) = (0, 0);
    for round in 0..3000 {
        let mut sim = half.clone();
        sim.change_file(Name::Journal, |bytes| {
            let area = if round % 2 == 0 { 64 } else { bytes.len() - 72 };
            for _ in 0..=choice.below(3) {
                bytes[choice.below(area as u64) as usize] = choice.below(256) as u8;
            }
            let end = bytes.len() - 32;
            let sum = Sha256::digest(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum);
        });
        match recover(&mut sim) {
            Ok(_) => finished += 1,
            Err(_) => other += 1,
        }
    }
    assert!(finished > 0 && other > 0, "{finished} {other}");
}
