//! Damaged images: never a panic, never long, never large; and what no check sees does no harm but to itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal::{Image, Inputs, Options, Silent};
use reseal_ntfs::{ByteOwner, Owners, Volume};
use reseal_testdata::{Container, ImageBuilder, WindowsImage};
use rig::content;
use rig::logical::Logical;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Single-byte damages of each kind of structure; `RESEAL_DAMAGES` asks for another number.
const DAMAGES: u64 = 10_000;
/// No case may take longer.
const MAX_TIME: Duration = Duration::from_secs(10);
/// Nor may all of them together ever hold more.
const MAX_MEMORY_KIB: u64 = 1 << 20;

/// A sound image, and what comes out of it.
struct Sound {
    dir: TempDir,
    bytes: Vec<u8>,
    /// Who holds each byte of the volume.
    owners: Owners,
    /// Paths of its files by their records.
    names: BTreeMap<u64, String>,
    sealed: Sealed,
}

/// The sealed image: its volume byte by byte, and as readers see it.
struct Sealed {
    volume: Vec<u8>,
    owners: Owners,
    logical: Logical,
}

impl Sealed {
    fn of(image: &Path) -> Sealed {
        let owners = Volume::open(content::partition(image)).expect("it opens").owners().expect("it is sound");
        Sealed { volume: partition_bytes(image), owners, logical: Logical::of(image).expect("it is sound") }
    }
}

fn partition_bytes(image: &Path) -> Vec<u8> {
    let bytes = content::partition(image);
    let mut out = vec![0; bytes.len() as usize];
    bytes.read_at(0, &mut out).expect("it can be read");
    out
}

/// What became of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It does not open.
    Closed,
    /// It opens, and a check or a guard says what is wrong.
    Reported,
    /// Nothing is reported, and `generalize` refuses.
    Refused,
    /// Nothing is reported; the sealed image is the sound one's twin.
    Equal,
    /// Nothing is reported; the sealed image differs in the damaged structure only.
    Local,
}

fn options() -> Options {
    Options {
        sid: Some(reseal::SidChoice::Given(reseal::DomainSid([4_000_000_001, 2, 33]))),
        computer_name: Some("WEB-01".into()),
        ..Options::default()
    }
}

fn inputs() -> Inputs {
    Inputs::seeded("hostile", reseal::FileTime::from_unix(1_767_225_600))
}

/// Seals; the message of whatever refused.
fn seal(image: &Path, out: &Path) -> Result<(), String> {
    let open = Image::open(image.to_str().expect("a plain name")).map_err(|e| e.to_string())?;
    let planned = reseal::plan(open, &options(), &inputs(), &Silent).map_err(|e| e.to_string())?;
    planned.commit_to(out, &Silent).map(drop).map_err(|e| e.to_string())
}

/// Whether everything that looks is content.
fn clean(image: &Path) -> Option<bool> {
    let open = Image::open(image.to_str().expect("a plain name")).ok()?;
    let inspected = reseal::inspect(&open).ok()?;
    let quiet = inspected.partitions.iter().all(|p| p.error.is_none() && (p.content == "ntfs"))
        && !inspected.partitions.is_empty()
        && inspected
            .installations
            .iter()
            .all(|i| i.refusals.is_empty() && i.findings.iter().all(|f| f.level == "note"))
        && !inspected.installations.is_empty();
    // `verify` runs every check of the volume and of every hive.
    Some(reseal::verify(&open, &[]).is_ok_and(|v| quiet && v.findings.iter().all(|f| f.level == "note")))
}

impl Sound {
    fn new(builder: ImageBuilder) -> Sound {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
            .expect("a temporary folder");
        let gold = dir.path().join("gold");
        let image = WindowsImage { files: 12, ..WindowsImage::default() };
        builder.build(&gold, |volume| image.fill(volume)).expect("the image can be built");
        assert_eq!(clean(&gold), Some(true));
        let out = dir.path().join("sealed");
        seal(&gold, &out).expect("a sound image can be sealed");
        let volume = Volume::open(content::partition(&gold)).expect("it opens");
        let names = content::tree(&volume).into_iter().map(|(path, file)| (file.record(), path)).collect();
        let owners = volume.owners().expect("it is sound");
        Sound { bytes: std::fs::read(&gold).expect("just built"), sealed: Sealed::of(&out), owners, names, dir }
    }

    /// Judges the image at `path`, of which the byte at `damaged` (of the volume) is not what it was.
    fn judge(&self, path: &Path, damaged: Option<u64>) -> Verdict {
        let out = path.with_extension("out");
        // A case that failed leaves its result.
        let _ = std::fs::remove_file(&out);
        let state = clean(path);
        let sealed = seal(path, &out);
        match (state, &sealed) {
            (None, Ok(())) => panic!("what cannot be inspected was sealed"),
            (None, Err(_)) => Verdict::Closed,
            (Some(false), _) => Verdict::Reported,
            (Some(true), Err(_)) => Verdict::Refused,
            (Some(true), Ok(())) => self.compare(&out, damaged),
        }
    }

    /// Whether the result is sound and equal to the sealed sound image but for the damaged structure.
    fn compare(&self, out: &Path, damaged: Option<u64>) -> Verdict {
        let verified =
            reseal::verify(&Image::open(out.to_str().expect("a plain name")).expect("it was just written"), &[]);
        let findings = verified.expect("it can be verified").findings;
        let worst = findings.iter().find(|f| f.level != "note");
        assert!(worst.is_none(), "nothing was reported, and the result does not pass its check: {worst:?}");
        let volume = partition_bytes(out);
        if volume == self.sealed.volume {
            return Verdict::Equal;
        }
        // Damage to the container, or a volume that has lost its last sector, changes nothing that a reader sees.
        let Some(at) = damaged else { return self.compare_logically(out, None) };
        let owner = record_of(&self.owners.of(at));
        // Every byte that differs is the damaged one or lies in the structure that holds it: then nothing else can differ.
        let chunks = volume.chunks(512).zip(self.sealed.volume.chunks(512)).enumerate().filter(|(_, (a, b))| a != b);
        let mut others = chunks
            .flat_map(|(i, (a, b))| (0..a.len()).filter(move |j| a[*j] != b[*j]).map(move |j| (512 * i + j) as u64));
        let elsewhere = others.any(|differs| differs != at && record_of(&self.sealed.owners.of(differs)) != owner);
        match owner.filter(|_| !elsewhere) {
            Some(record) => self.hive_lines(out, record),
            None if !elsewhere => Verdict::Equal,
            None => self.compare_logically(out, owner),
        }
    }

    /// The same by path, stream, name and descriptor: the result may lie elsewhere on the volume.
    fn compare_logically(&self, out: &Path, owner: Option<u64>) -> Verdict {
        let result = Logical::of(out).expect("what passes its check can be read");
        let differing = self.sealed.logical.differing(&result);
        let damaged = owner.and_then(|record| self.names.get(&record));
        for (path, number) in &differing {
            // A log that stays keeps its file record, so what sealing makes gets another one, and is else the same.
            let is_moved = damaged.is_some_and(|d| d.starts_with(STORES))
                && self.sealed.logical.differs_in_its_record_only(&result, path);
            let follows = is_moved || damaged.is_some_and(|damaged| decides(damaged, path));
            assert!(Some(*number) == owner || follows, "damage to file {owner:?} changes {path} (file {number})");
            if Some(*number) != owner {
                self.hive_lines(out, *number);
            }
        }
        match owner {
            Some(record) if !differing.is_empty() => self.hive_lines(out, record),
            _ => Verdict::Equal,
        }
    }

    /// A damaged byte of a hive changes one key, and what is below it when it hit the key's name.
    fn hive_lines(&self, out: &Path, record: u64) -> Verdict {
        if let Err(e) = self.sealed.logical.hive_differs_in_one_key(out, record) {
            panic!("{e}");
        }
        Verdict::Local
    }
}

/// The folder of the Store's databases and their logs.
const STORES: &str = r"\ProgramData\Microsoft\Windows\AppRepository";

/// What else a file's content decides: that of a task its checksums in SOFTWARE, that of a database or of its log what becomes of
/// both.
fn decides(damaged: &str, changed: &str) -> bool {
    const TASKS: &str = r"\Windows\System32\Tasks\";
    const SOFTWARE: &str = r"\Windows\System32\config\SOFTWARE";
    damaged.starts_with(TASKS) && changed == SOFTWARE || damaged.starts_with(STORES) && changed.starts_with(STORES)
}

/// The number of the file that holds a byte; `None` for free space.
fn record_of(owner: &ByteOwner) -> Option<u64> {
    match owner {
        ByteOwner::Record(number) => Some(*number),
        ByteOwner::File { file, .. } => Some(file.record()),
        ByteOwner::Free => None,
    }
}

/// A copy of the image to damage, one per worker.
struct Copy {
    path: PathBuf,
    file: std::fs::File,
}

static COPIES: AtomicU64 = AtomicU64::new(0);

impl Copy {
    fn new(sound: &Sound) -> Copy {
        let path = sound.dir.path().join(format!("copy-{}", COPIES.fetch_add(1, Ordering::Relaxed)));
        std::fs::write(&path, &sound.bytes).expect("it can be written");
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("just made");
        Copy { path, file }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Verdicts and the longest case.
#[derive(Default)]
struct Tally {
    verdicts: BTreeMap<Verdict, u64>,
    longest: Duration,
    failures: Vec<String>,
}

impl Tally {
    fn add(mut self, (what, took, verdict): (String, Duration, Result<Verdict, String>)) -> Tally {
        self.longest = self.longest.max(took);
        match verdict {
            Ok(verdict) => *self.verdicts.entry(verdict).or_default() += 1,
            Err(e) => self.failures.push(format!("{what}: {e}")),
        }
        if took > MAX_TIME {
            self.failures.push(format!("{what}: {took:?}"));
        }
        self
    }

    fn merge(mut self, other: Tally) -> Tally {
        other.verdicts.into_iter().for_each(|(verdict, n)| *self.verdicts.entry(verdict).or_default() += n);
        self.longest = self.longest.max(other.longest);
        self.failures.extend(other.failures);
        self
    }

    fn finish(self, what: &str, start: Instant) {
        let peak = peak_memory_kib();
        println!(
            "{what}: {:?}, longest {:?}, all {:?}, peak {} MiB",
            self.verdicts,
            self.longest,
            start.elapsed(),
            peak >> 10
        );
        let shown: Vec<&String> = self.failures.iter().take(20).collect();
        assert!(self.failures.is_empty(), "{what}: {} failures, among them {shown:#?}", self.failures.len());
        assert!(peak < MAX_MEMORY_KIB, "{peak} KiB of memory");
        // A test in which everything is refused at the door would show nothing.
        assert!(self.verdicts.len() >= 2, "{:?}", self.verdicts);
    }
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// One case: panics become failures.
fn timed(what: String, case: impl FnOnce() -> Verdict) -> (String, Duration, Result<Verdict, String>) {
    let start = Instant::now();
    let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(case)).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_else(|| "a panic".to_owned())
    });
    (what, start.elapsed(), verdict)
}

/// xorshift64*: the same cases in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
}

fn damages() -> u64 {
    std::env::var("RESEAL_DAMAGES").ok().and_then(|n| n.parse().ok()).unwrap_or(DAMAGES)
}

/// Judges cases on threads of their own: in the pool that the program itself uses, a case that waits would take up others,
/// and its time would be theirs, too.
fn spread<C: Sync, S>(
    cases: &[C],
    start: impl Fn() -> S + Sync,
    judge: impl Fn(&mut S, &C) -> Vec<(String, Duration, Result<Verdict, String>)> + Sync,
) -> Tally {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut state, mut tally) = (start(), Tally::default());
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            tally = judge(&mut state, case).into_iter().fold(tally, Tally::add);
        }
        tally
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("it does not panic")).fold(Tally::default(), Tally::merge)
    })
}

/// Damages a byte at a time, at offsets of the file that `places` holds.
fn damage(what: &str, sound: &Sound, places: &[u64], in_volume: impl Fn(u64) -> Option<u64> + Sync) {
    let start = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ places.len() as u64);
    let cases: Vec<(u64, u8)> = (0..damages())
        .map(|_| (places[(random.next() % places.len() as u64) as usize], (random.next() % 255 + 1) as u8))
        .collect();
    let tally = spread(
        &cases,
        || Copy::new(sound),
        |copy, &(at, change)| {
            let old = sound.bytes[at as usize];
            copy.file.write_all_at(&[old ^ change], at).expect("it can be written");
            let done = timed(format!("byte {at:#x} {old:#04x} → {:#04x}", old ^ change), || {
                sound.judge(&copy.path, in_volume(at))
            });
            copy.file.write_all_at(&[old], at).expect("it can be written");
            vec![done]
        },
    );
    tally.finish(what, start);
}

/// Cuts the file at every multiple of 512 bytes.
fn truncate(what: &str, sound: &Sound) {
    let start = Instant::now();
    let lengths: Vec<u64> = (0..sound.bytes.len() as u64).step_by(512).collect();
    let chunks: Vec<&[u64]> = lengths.chunks(64).collect();
    let tally = spread(
        &chunks,
        || (),
        |(), chunk| {
            let copy = Copy::new(sound);
            let cut = |len: &u64| {
                copy.file.set_len(*len).expect("it can shrink");
                timed(format!("cut at {len:#x}"), || sound.judge(&copy.path, None))
            };
            chunk.iter().rev().map(cut).collect()
        },
    );
    tally.finish(what, start);
}

fn bare() -> Sound {
    Sound::new(ImageBuilder {
        container: Container::Raw,
        bare: true,
        volume_len: 3 << 20,
        cluster_size: 512,
        ..ImageBuilder::default()
    })
}

fn in_vhdx() -> Sound {
    Sound::new(ImageBuilder { volume_len: 3 << 20, cluster_size: 512, ..ImageBuilder::default() })
}

/// Every offset once, and those of bytes that say something as often again as fills the other half.
fn half_in_use(bytes: &[u8]) -> Vec<u64> {
    let used: Vec<u64> =
        bytes.iter().enumerate().filter(|(_, b)| **b != 0 && **b != 0xff).map(|(at, _)| at as u64).collect();
    let all = 0..bytes.len() as u64;
    let more = bytes.len() / used.len().max(1);
    all.chain(std::iter::repeat_n(used, more).flatten()).collect()
}

#[test]
fn a_damaged_volume() {
    let sound = bare();
    damage("volume, one byte", &sound, &half_in_use(&sound.bytes), Some);
}

#[test]
fn a_truncated_volume() {
    truncate("volume, cut", &bare());
}

#[test]
fn a_damaged_hive() {
    let sound = bare();
    // Every byte of the volume that lies in a hive.
    let gold = sound.dir.path().join("gold");
    let volume = content::volume(&gold);
    let hives: Vec<_> = content::hives(&volume)
        .keys()
        .map(|path| volume.resolve(path).expect("it was listed").expect("it is there"))
        .collect();
    let is_hive =
        |at: &u64| matches!(sound.owners.of(*at), ByteOwner::File { file, kind: 0x80, .. } if hives.contains(&file));
    let places: Vec<u64> = (0..sound.bytes.len() as u64).filter(is_hive).collect();
    assert!(places.len() > 60_000, "{} bytes of hives", places.len());
    damage("hive, one byte", &sound, &places, Some);
}

#[test]
fn a_truncated_hive() {
    use reseal_hive::{Hive, Recover};
    let sound = bare();
    let volume = content::volume(sound.dir.path().join("gold"));
    let mut cases = 0;
    for path in content::hives(&volume).keys() {
        let bytes = content::file(&volume, path);
        for len in (0..bytes.len()).step_by(512) {
            let cut = &bytes[..len];
            for how in [Recover::Replay, Recover::AsIs] {
                cases += 1;
                let Ok(hive) = Hive::open(cut, &[], how) else { continue };
                let _ = hive.dump();
                let findings = hive.check();
                assert!(
                    findings.iter().any(|f| f.level > reseal_dtyp::Level::Note),
                    "{path} cut at {len:#x} passes its check"
                );
            }
        }
    }
    println!("hive, cut: {cases} cases");
}

#[test]
fn a_damaged_vhdx() {
    let sound = in_vhdx();
    let payload = Payload::of(&sound);
    // Half of the damages to the container's own structures (headers, region tables, log, block allocation table, metadata),
    // half to anything.
    let (first, len) = (payload.blocks.values().min().copied().expect("it has blocks"), sound.bytes.len() as u64);
    let head = half_in_use(&sound.bytes[..first as usize]);
    let mut places: Vec<u64> = (0..len).collect();
    let more = places.len() / head.len();
    places.extend(std::iter::repeat_n(head, more.max(1)).flatten());
    damage("vhdx, one byte", &sound, &places, |at| payload.in_volume(at));
}

/// Where the blocks of the disk lie in the file.
struct Payload {
    /// File offset of each block that is stored, by its offset on the disk.
    blocks: BTreeMap<u64, u64>,
}

impl Payload {
    const BLOCK: u64 = 2 << 20;
    /// The first partition's offset on the disk.
    const PARTITION: u64 = 1 << 20;

    fn of(sound: &Sound) -> Payload {
        let disk = reseal_disk::Disk::open(&sound.dir.path().join("gold")).expect("it opens").bytes();
        let mut block = vec![0; Payload::BLOCK as usize];
        let mut blocks = BTreeMap::new();
        for at in (0..disk.len()).step_by(block.len()) {
            let n = (disk.len() - at).min(Payload::BLOCK) as usize;
            disk.read_at(at, &mut block[..n]).expect("it can be read");
            let places = (0..=sound.bytes.len() - n).step_by(1 << 20);
            let found = places.into_iter().find(|place| sound.bytes[*place..*place + n] == block[..n]);
            if let Some(place) = found.filter(|_| block[..n].iter().any(|b| *b != 0)) {
                blocks.insert(at, place as u64);
            }
        }
        assert!(blocks.len() >= 3, "{blocks:?}");
        Payload { blocks }
    }

    /// The offset in the volume of a byte of the file.
    fn in_volume(&self, file: u64) -> Option<u64> {
        let (disk, place) =
            self.blocks.iter().find(|(_, place)| (**place..**place + Payload::BLOCK).contains(&file))?;
        (disk + file - place).checked_sub(Payload::PARTITION)
    }
}

#[test]
fn a_truncated_vhdx() {
    truncate("vhdx, cut", &in_vhdx());
}
