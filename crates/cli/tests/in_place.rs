//! `generalize --in-place` and `recover` with the real binary: killed, locked out, with foreign hands between.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder, system_volume};
use rig::{Bench, FIXED, made_up, reseal};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What lies beside an image.
fn beside(image: &str, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{image}.{suffix}"))
}

fn raw() -> ImageBuilder {
    ImageBuilder { container: Container::Raw, volume_len: 16 << 20, ..ImageBuilder::default() }
}

/// An image, and what it is to become.
struct Pair {
    bench: Bench,
    image: String,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Pair {
    fn new(builder: ImageBuilder) -> Pair {
        let bench = Bench::new();
        let image = bench.build("image", builder, &made_up());
        Pair::of(bench, image)
    }

    /// An MBR disk whose boot store lies on an NTFS volume of its own: both volumes are written.
    fn two_volumes() -> Pair {
        let bench = Bench::new();
        let single = bench.build("single", raw(), &made_up());
        let volume = &std::fs::read(&single).unwrap()[1 << 20..17 << 20];
        let sid = Some(reseal_testdata::machine_sid());
        let store = system_volume::store(volume.len() as u64, sid).unwrap();
        system_volume::write(&bench.path("image"), volume, &store, sid, |_| {}).unwrap();
        std::fs::remove_file(single).unwrap();
        let image = bench.arg("image");
        Pair::of(bench, image)
    }

    fn of(bench: Bench, image: String) -> Pair {
        let sealed = bench.arg("sealed");
        rig::seal(&image, &sealed, &[]);
        let (old, new) = (std::fs::read(&image).unwrap(), std::fs::read(&sealed).unwrap());
        assert!(old != new && old.len() <= 64 << 20);
        Pair { bench, image, old, new }
    }

    fn seal(&self, more: &[&str]) -> Vec<String> {
        let line = ["generalize", &self.image, "--in-place"].into_iter().chain(FIXED).chain(more.iter().copied());
        line.map(str::to_owned).collect()
    }

    fn reset(&self) {
        std::fs::write(&self.image, &self.old).unwrap();
    }

    fn now(&self) -> Vec<u8> {
        std::fs::read(&self.image).unwrap()
    }

    fn is_clean(&self) -> bool {
        self.bench.files() == ["image", "sealed"]
    }

    /// Starts the command and leaves it alone.
    fn start(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
        command.args(self.seal(&[])).env_remove("SOURCE_DATE_EPOCH");
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Kills the command once its journal has its name, `later` after that; whether it was still there.
    fn kill_after_journal(&self, later: Duration) -> bool {
        let journal = beside(&self.image, "reseal-journal");
        let mut child = self.start();
        while !journal.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        std::thread::sleep(later);
        child.kill().unwrap();
        child.wait().unwrap();
        journal.exists()
    }

    /// An image whose commit was decided and not finished.
    fn interrupted(&self) {
        for _ in 0..200 {
            self.reset();
            if self.kill_after_journal(Duration::ZERO) {
                return;
            }
        }
        panic!("the command was never caught with its journal");
    }
}

#[test]
fn in_place_gives_the_same_image_as_a_new_file() {
    let vhd = ImageBuilder { container: Container::Vhd { fixed: false }, ..raw() };
    for builder in [raw(), ImageBuilder::default(), vhd] {
        let pair = Pair::new(builder);
        reseal(pair.seal(&["--dry-run"])).exits(0);
        assert!(pair.now() == pair.old, "a dry run writes nothing");
        let report = reseal(pair.seal(&["--json"])).exits(0).json();
        assert_eq!(report["method"], "in-place");
        let (journal, written) = (report["journal_bytes"].as_u64().unwrap(), report["written_bytes"].as_u64().unwrap());
        assert!(journal > 0 && written > 0 && journal < 2 * written + 65_536, "{journal} for {written}");
        assert!(pair.now() == pair.new && pair.is_clean());
        reseal(pair.seal(&[])).exits(5);
        reseal(["recover", &pair.image]).exits(5);
        assert!(pair.now() == pair.new);
    }
}

#[test]
fn an_undo_gives_the_original_back() {
    let pair = Pair::new(ImageBuilder::default());
    reseal(pair.seal(&["--keep-undo"])).exits(0);
    assert!(pair.now() == pair.new && beside(&pair.image, "reseal-undo").exists());
    // It would not fit the image any more.
    let other = ["generalize", &pair.image, "--in-place", "--sid", "random", "--steps", "machine-sid"];
    reseal(other).exits(1).says("undo file");
    reseal(["inspect", &pair.image]).exits(0);
    let report = reseal(["recover", &pair.image, "--undo", "--json"]).exits(0).json();
    assert_eq!(report["outcome"], "undone");
    assert!(pair.now() == pair.old && pair.is_clean());
    reseal(["recover", &pair.image, "--undo"]).exits(1).says("no undo file");
    // Not after somebody else wrote to it: the first sector that the undo would write.
    reseal(pair.seal(&["--keep-undo"])).exits(0);
    let at = pair.old.iter().zip(&pair.new).position(|(a, b)| a != b).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&pair.image).unwrap();
    file.write_all_at(&[!pair.old[at] ^ pair.new[at]], at as u64).unwrap();
    let before = pair.now();
    reseal(["recover", &pair.image, "--undo"]).exits(1).says("changed since");
    assert!(pair.now() == before && beside(&pair.image, "reseal-undo").exists());
}

#[test]
fn every_verb_notices_an_interrupted_commit() {
    let pair = Pair::new(raw());
    pair.interrupted();
    let between = pair.now();
    let (image, out) = (pair.image.as_str(), pair.bench.arg("out"));
    let verbs: &[&[&str]] = &[
        &["inspect", image],
        &["generalize", image, "-n"],
        &["generalize", image, "-o", &out],
        &["generalize", image, "--in-place"],
        &["verify", image],
        &["hive", "ls", image, "--hive", "SYSTEM"],
        &["hive", "set", image, "--hive", "SYSTEM", "Setup", "SetupType", "dword:2", "-o", &out],
        &["fs", "ls", image],
        &["fs", "check", image],
        &["inspect", &format!("{image}#p1")],
    ];
    for verb in verbs {
        reseal(*verb).exits(6).says("reseal recover");
    }
    let link = pair.bench.path("link");
    std::os::unix::fs::symlink(&pair.image, &link).unwrap();
    reseal(["inspect", link.to_str().unwrap()]).exits(6);
    assert!(pair.now() == between, "nobody writes");
    reseal(["recover", link.to_str().unwrap()]).exits(0);
    std::fs::remove_file(link).unwrap();
    assert!(pair.now() == pair.new && pair.is_clean());
}

#[test]
fn a_lost_or_foreign_journal_is_no_reason_to_guess() {
    let pair = Pair::new(ImageBuilder::default());
    pair.interrupted();
    let journal = beside(&pair.image, "reseal-journal");
    let bytes = std::fs::read(&journal).unwrap();
    // Damaged: not believed.
    let mut bad = bytes.clone();
    bad[bytes.len() / 2] ^= 1;
    std::fs::write(&journal, &bad).unwrap();
    let before = pair.now();
    reseal(["recover", &pair.image]).exits(7).says("journal");
    std::fs::write(&journal, b"").unwrap();
    reseal(["recover", &pair.image]).exits(7);
    assert!(pair.now() == before);
    // Of another folder: found there.
    std::fs::remove_file(&journal).unwrap();
    let folder = pair.bench.path("journals");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("image.reseal-journal"), &bytes).unwrap();
    // Half written for certain, whatever was caught above: the boot sector is marked.
    let mut marked = pair.old.clone();
    let boot = marked.windows(8).position(|w| w == b"NTFS    ").unwrap();
    marked[boot..boot + 8].copy_from_slice(b"RESEAL!!");
    std::fs::write(&pair.image, &marked).unwrap();
    for verb in ["inspect", "verify", "recover"] {
        reseal([verb, &pair.image]).exits(6).says("half written");
    }
    assert!(pair.now() == marked);
    reseal(["recover", &pair.image, "--journal", folder.to_str().unwrap()]).exits(0);
    assert!(pair.now() == pair.new);
    // A bare volume that is marked is one still.
    let bare = pair.bench.build("bare", ImageBuilder { bare: true, ..raw() }, &made_up());
    let file = std::fs::OpenOptions::new().write(true).open(&bare).unwrap();
    file.write_all_at(b"RESEAL!!", 3).unwrap();
    reseal(["inspect", &bare]).exits(6).says("half written");
}

/// The journal marks the boot sector of each volume that it writes; either mark alone says that the image is half written.
#[test]
fn each_volume_that_is_written_is_marked() {
    for (pair, wanted) in [(Pair::new(raw()), 1), (Pair::two_volumes(), 2)] {
        pair.interrupted();
        let journal = std::fs::read(beside(&pair.image, "reseal-journal")).unwrap();
        let marks = u32::from_le_bytes(journal[12..16].try_into().unwrap());
        assert_eq!(marks, wanted);
        reseal(["recover", &pair.image]).exits(0);
        assert!(pair.now() == pair.new && pair.is_clean());
    }
    let pair = Pair::two_volumes();
    let mut marked = pair.old.clone();
    let boot = (17 << 20) + 3;
    assert_eq!(&marked[boot..boot + 8], b"NTFS    ");
    marked[boot..boot + 8].copy_from_slice(b"RESEAL!!");
    std::fs::write(&pair.image, &marked).unwrap();
    reseal(["inspect", &pair.image]).exits(6).says("partition 2").says("half written");
}

#[test]
fn an_image_that_was_booted_meanwhile_is_left_alone() {
    let pair = Pair::new(raw());
    pair.interrupted();
    let at = pair.old.iter().zip(&pair.new).rposition(|(a, b)| a != b).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&pair.image).unwrap();
    let (a, b) = (pair.old[at], pair.new[at]);
    let foreign = (0..=255).find(|n| *n != a && *n != b).unwrap();
    file.write_all_at(&[foreign], at as u64).unwrap();
    let before = pair.now();
    reseal(["recover", &pair.image]).exits(1).says("changed since");
    assert!(pair.now() == before && beside(&pair.image, "reseal-journal").exists());
}

#[test]
fn a_temporary_journal_is_worth_nothing() {
    let pair = Pair::new(raw());
    std::fs::write(beside(&pair.image, "reseal-journal.tmp"), b"half a journal").unwrap();
    reseal(["inspect", &pair.image]).exits(0);
    let report = reseal(["recover", &pair.image, "--json"]).exits(0).json();
    assert_eq!(report["outcome"], "discarded");
    assert!(pair.now() == pair.old && pair.is_clean());
    std::fs::write(beside(&pair.image, "reseal-journal.tmp"), b"half a journal").unwrap();
    reseal(pair.seal(&[])).exits(0);
    assert!(pair.now() == pair.new && pair.is_clean());
}

#[test]
fn an_image_in_use_is_not_written() {
    let pair = Pair::new(raw());
    // A virtual machine's way of holding a disk.
    let mut vm = Command::new("qemu-io");
    vm.args(["-f", "raw", &pair.image]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut vm = vm.spawn().expect("qemu-io is installed by `cargo xtask setup`");
    let mut greeting = [0; 1];
    std::io::Read::read_exact(vm.stdout.as_mut().unwrap(), &mut greeting).unwrap();
    reseal(pair.seal(&[])).exits(1).says("in use");
    reseal(["recover", &pair.image]).exits(1).says("in use");
    vm.kill().unwrap();
    vm.wait().unwrap();
    // Somebody who reads only, and another run of this program.
    let reader = reseal_disk::Disk::open(Path::new(&pair.image)).unwrap();
    reseal(pair.seal(&[])).exits(1).says("in use");
    drop(reader);
    let writer = reseal_disk::Disk::open_for_writing(Path::new(&pair.image)).unwrap();
    reseal(pair.seal(&[])).exits(1).says("in use");
    reseal(["inspect", &pair.image]).exits(1).says("in use");
    drop(writer);
    assert!(pair.now() == pair.old && pair.is_clean());
    reseal(pair.seal(&[])).exits(0);
}

#[test]
fn what_cannot_be_written_is_said_before() {
    let pair = Pair::new(raw());
    reseal(pair.seal(&["--journal", &pair.bench.arg("no-such-folder")])).exits(1).says("untouched");
    assert!(pair.now() == pair.old && pair.is_clean());
    reseal(["generalize", &pair.image, "--journal", "/tmp"]).exits(2);
    reseal(["generalize", &pair.image, "--in-place", "-o", &pair.bench.arg("out")]).exits(2);
    reseal(["generalize", &pair.image]).exits(2);
}

/// What a loop of kills met.
#[derive(Default)]
struct Kills {
    rounds: u32,
    /// Kills that left a journal with its name behind.
    caught: u32,
    /// Kills after which the image was the new one.
    finished: u32,
}

/// Kills the command at moments spread over its whole run and over the time that its journal exists, `rounds` times and
/// on until a quarter of `rounds` fell between the journal's name and its end.
///
/// How long the journal exists depends on the machine and on what else it does, so the second kind aims at what it met.
fn killed(pair: &Pair, rounds: u32) -> Kills {
    let start = Instant::now();
    let mut child = pair.start();
    assert!(child.wait().unwrap().success());
    let whole = start.elapsed();
    let mut window = whole.mul_f64(0.3);
    let mut kills = Kills::default();
    while kills.rounds < rounds || kills.caught * 4 < rounds {
        let round = kills.rounds;
        assert!(
            round < 10 * rounds,
            "only {} of {round} kills fell between the journal's name and its end",
            kills.caught
        );
        pair.reset();
        // A moment of its own for each round, without chance.
        let part = f64::from(round.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        let has_journal = if round.is_multiple_of(2) {
            let mut child = pair.start();
            std::thread::sleep(whole.mul_f64(1.2 * part));
            child.kill().unwrap();
            child.wait().unwrap();
            beside(&pair.image, "reseal-journal").exists()
        } else {
            let caught = pair.kill_after_journal(window.mul_f64(part));
            window = if caught { whole.min(window.mul_f64(1.25)) } else { window / 2 };
            caught
        };
        let run = reseal(["recover", &pair.image]);
        assert!(run.code == 0 || run.code == 5, "round {round}: {}: {}", run.code, run.err);
        let now = pair.now();
        assert!(now == pair.old || now == pair.new, "round {round}: neither the old image nor the new one");
        assert!(!has_journal || now == pair.new, "round {round}: decided, and not the new image");
        assert!(pair.is_clean(), "round {round}: {:?}", pair.bench.files());
        kills.rounds += 1;
        kills.caught += u32::from(has_journal);
        kills.finished += u32::from(now == pair.new);
    }
    kills
}

#[test]
fn killed_at_any_instant_it_is_the_old_image_or_the_new_one() {
    let rounds = std::env::var("RESEAL_KILLS").map_or(200, |n| n.parse().expect("a number"));
    let vhd =
        ImageBuilder { container: Container::Vhd { fixed: false }, volume_len: 16 << 20, ..ImageBuilder::default() };
    let pairs = [
        ("raw", Pair::new(raw())),
        ("vhdx", Pair::new(ImageBuilder::default())),
        ("vhd", Pair::new(vhd)),
        ("two volumes", Pair::two_volumes()),
    ];
    let share = rounds / pairs.len() as u32;
    for (what, pair) in pairs {
        let start = Instant::now();
        let Kills { rounds, caught, finished } = killed(&pair, share);
        println!(
            "{what}: {rounds} kills, {caught} between the journal's name and its end, {finished} new, {:?}",
            start.elapsed()
        );
        assert!(finished < rounds, "no kill came early enough to leave the old image");
    }
}
