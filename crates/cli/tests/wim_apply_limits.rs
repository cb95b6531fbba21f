//! `wim apply` where it must not go on: images that lie, kills, a host without room.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{ImageBuilder, oracle};
use reseal_wim::{Compression, Image, NewFile, Stream, StreamKind, hash_of};
use rig::odd::{BARE, TIME, blank, capture, oddities, reparse, units};
use rig::wims::{ARCHIVE, FOLDER, REPARSE_POINT, add, by_hand, file, folder, reparse_point, stream, target, write};
use rig::{Bench, hash, reseal};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// An image that is never applied whole: to a new file and in place it ends alike, and the disk stays as it was.
struct Hostile {
    bench: Bench,
    disk: String,
    before: String,
}

impl Hostile {
    fn new() -> Hostile {
        let bench = Bench::new();
        let disk = blank(&bench, "blank.ntfs", BARE);
        let before = hash(&disk);
        Hostile { bench, disk, before }
    }

    /// Refused with this code, and with all of these words.
    #[track_caller]
    fn refuses(&self, wim: &str, code: i32, words: &[&str]) {
        let out = self.bench.arg("out.ntfs");
        for how in [&["-o", &out][..], &["--in-place"], &["-n"]] {
            let run = reseal([&["wim", "apply", wim, &self.disk][..], &TIME, how].concat()).exits(code);
            words.iter().fold(run, |run, word| run.says(word));
        }
        assert!(hash(&self.disk) == self.before, "the disk was written");
        let left = self.bench.files();
        let is_known = |name: &String| name != "out.ntfs" && (name.ends_with(".wim") || name.ends_with(".ntfs"));
        let foreign = left.iter().find(|name| !is_known(name));
        assert_eq!(foreign, None, "something is left beside the disk");
    }

    /// An image whose root has one entry.
    #[track_caller]
    fn refuses_name(&self, name: &[u16], short: &[u16], words: &[&str]) {
        let wim = by_hand(&self.bench, "name.wim", &[b"x"], |image| {
            image.create(image.root(), name, short, file(b"x"));
        });
        self.refuses(&wim, 7, words);
    }

    /// Applied; the report, and where it is.
    #[track_caller]
    fn applies(&self, wim: &str, out: &str) -> (serde_json::Value, String) {
        let out = self.bench.arg(out);
        let run = reseal([&["wim", "apply", wim, &self.disk, "-o", &out, "--json"][..], &TIME].concat()).exits(0);
        reseal(["fs", "check", &out, "--strict"]).exits(0);
        oracle::agree("ntfsfix", ["-n", &out]);
        assert!(hash(&self.disk) == self.before);
        (run.json(), out)
    }
}

/// How often a report has a finding.
fn finding(report: &serde_json::Value, id: &str) -> usize {
    report["findings"].as_array().unwrap().iter().filter(|f| f["id"] == id).count()
}

#[test]
fn names_that_no_folder_can_have() {
    let hostile = Hostile::new();
    for name in ["..", ".", "a/b", r"a\b", "a\0b"] {
        hostile.refuses_name(&units(name), &[], &["is no name of a file"]);
    }
    hostile.refuses_name(&[], &[], &["is no name of a file"]);
    for name in ["a:b", "a*", "a\u{1}", "blank ", "dot.", "a|b"] {
        hostile.refuses_name(&units(name), &[], &["no file can have this name"]);
    }
    hostile.refuses_name(&[u16::from(b'x'); 256], &[], &["no file can have this name", "255"]);
    for short in ["NOT AN 8.3", "TOOLONGBASE.TXT", "A.LONG", "..", "A:B", r"..\X"] {
        hostile.refuses_name(&units("a long name.text"), &units(short), &["8.3"]);
    }
    // The longest one there is.
    let longest = [u16::from(b'x'); 255];
    let wim = by_hand(&hostile.bench, "longest.wim", &[b"x"], |image| {
        image.create(image.root(), &longest, &[], file(b"x"));
    });
    let (_, out) = hostile.applies(&wim, "longest.ntfs");
    assert_eq!(reseal(["fs", "cat", &out, &"x".repeat(255)]).exits(0).text(), "x");
}

#[test]
fn names_of_one_folder_that_collide() {
    let hostile = Hostile::new();
    let wim = by_hand(&hostile.bench, "case.wim", &[b"one", b"two"], |image| {
        image.create(image.root(), &units("Twice.text"), &units("TWICE~1.TEX"), file(b"one"));
        image.create(image.root(), &units("TWICE.TEXT"), &[], file(b"two"));
    });
    let (report, out) = hostile.applies(&wim, "case.ntfs");
    assert_eq!(finding(&report, "apply-short-name"), 1, "{report:#}");
    for (name, content) in [("Twice.text", "one"), ("TWICE.TEXT", "two")] {
        assert_eq!(reseal(["fs", "cat", &out, name]).exits(0).text(), content);
    }
    // 8.3 names: one that is the long name of another file, before it and behind it, and one that two files have.
    let pairs: [[(&str, &str); 2]; 4] = [
        [("a long name.text", "OTHER"), ("other", "")],
        [("other", ""), ("a long name.text", "OTHER")],
        [("a long name.text", "SAME~1.TEX"), ("b long name.text", "same~1.tex")],
        [("a long name.text", "OTHER"), ("other", "OTHER")],
    ];
    for pair in pairs {
        let wim = by_hand(&hostile.bench, "short.wim", &[b"one"], |image| {
            for (name, short) in pair {
                image.create(image.root(), &units(name), &units(short), file(b"one"));
            }
        });
        hostile.refuses(&wim, 7, &["8.3 name", "collides"]);
    }
    // In another folder, and beside the file's own long name, it collides with nothing.
    let wim = by_hand(&hostile.bench, "apart.wim", &[b"one"], |image| {
        let below = add(image, "below", folder());
        image.create(below, &units("a long name.text"), &units("OTHER"), file(b"one"));
        image.create(image.root(), &units("other"), &units("OTHER"), file(b"one"));
    });
    let (report, _) = hostile.applies(&wim, "apart.ntfs");
    assert_eq!((&report["files"], finding(&report, "apply-short-name")), (&2.into(), 0));
}

#[test]
fn streams_that_no_file_can_have() {
    let hostile = Hostile::new();
    let with = |streams: Vec<Stream>| {
        let contents: [&[u8]; 2] = [b"one", b"two"];
        by_hand(&hostile.bench, "stream.wim", &contents, |image| {
            add(image, "file", NewFile { attributes: ARCHIVE, streams, ..NewFile::default() });
        })
    };
    let named = |name: &str, content: &[u8]| stream(&units(name), content);
    for streams in [
        vec![stream(&[], b"two"), named("s", b"one"), named("s", b"two")],
        vec![stream(&[], b"two"), named("s", b"one"), named("s", b"one")],
        vec![named("s", b""), named("S", b"two")],
    ] {
        hostile.refuses(&with(streams), 7, &[r"\file", "twice"]);
    }
    for name in ["a:b", "a/b", r"a\b", "a\0"] {
        hostile.refuses(&with(vec![named(name, b"one")]), 7, &[r"\file", "no stream can have this name"]);
    }
    hostile.refuses(&with(vec![stream(&[7; 256], b"one")]), 7, &["no stream can have this name"]);
    // What only names of files must not have.
    let (report, out) = hostile.applies(&with(vec![named("a*b?. ", b"one"), stream(&[7; 255], b"two")]), "good.ntfs");
    assert_eq!((&report["named_streams"], &report["bytes"]), (&2.into(), &6.into()));
    let volume = reseal_ntfs::Volume::open(reseal_disk::Disk::open(Path::new(&out)).unwrap().bytes()).unwrap();
    let file = volume.resolve(r"\file").unwrap().unwrap();
    assert_eq!(volume.read(file, &units("a*b?. ")).unwrap(), b"one");
    assert_eq!(volume.read(file, &[7; 255]).unwrap(), b"two");
}

#[test]
fn reparse_points_that_are_none() {
    let hostile = Hostile::new();
    let large = [7; 20 << 10];
    let one = |new: NewFile| {
        by_hand(&hostile.bench, "link.wim", &[&large[..], b"0123456789abcdef"], |image| {
            add(image, "link", new);
        })
    };
    // A tag that is not Microsoft's has a GUID behind its header; the reserved ones have nothing.
    hostile.refuses(&one(reparse_point(0x4711, vec![])), 7, &[r"\link", "reparse data of 8 bytes"]);
    hostile.refuses(&one(reparse_point(0, vec![])), 7, &[r"\link"]);
    hostile.refuses(&one(reparse_point(1, vec![target(b"0123456789abcdef")])), 7, &[r"\link", "reserved"]);
    for tag in [0xa000_000c, 0x4711] {
        hostile.refuses(&one(reparse_point(tag, vec![target(&large)])), 7, &[r"\link", "20480"]);
    }
    hostile.refuses(&one(reparse_point(0x8000_0017, vec![target(b"0123456789abcdef")])), 7, &[r"\link", "WOF"]);
    // A folder that points elsewhere and has entries, which nobody would find.
    let wim = by_hand(&hostile.bench, "full.wim", &[b"x"], |image| {
        let new = NewFile { attributes: FOLDER | REPARSE_POINT, reparse_tag: 0xa000_0003, ..NewFile::default() };
        let junction = add(image, "junction", new);
        image.create(junction, &units("inside"), &[], file(b"x"));
    });
    hostile.refuses(&wim, 7, &[r"\junction", "has entries"]);
    // Microsoft's may be without data.
    let (report, out) = hostile.applies(&one(reparse_point(0xa000_000c, vec![])), "good.ntfs");
    assert_eq!(report["reparse_points"], 1);
    let volume = reseal_ntfs::Volume::open(reseal_disk::Disk::open(Path::new(&out)).unwrap().bytes()).unwrap();
    let link = volume.resolve(r"\link").unwrap().unwrap();
    assert_eq!(volume.reparse_data(link).unwrap().unwrap(), reparse(0xa000_000c, &[]));
}

/// The root of an image is the root of the volume: it cannot be all that a folder can.
#[test]
fn roots_that_no_volume_has() {
    let hostile = Hostile::new();
    let root = |root: NewFile| {
        by_hand(&hostile.bench, "root.wim", &[b"one"], |image| {
            *image = Image::new(NewFile { attributes: root.attributes | FOLDER, ..root });
        })
    };
    hostile.refuses(&root(reparse_point(0xa000_0003, vec![target(b"one")])), 7, &["root", "reparse point"]);
    hostile.refuses(&root(reparse_point(0x9000_001a, vec![target(b"one")])), 7, &["root", "reparse point"]);
    hostile.refuses(&root(NewFile { attributes: 0x4000, ..NewFile::default() }), 7, &["encrypted"]);
    hostile.refuses(&root(file(b"one")), 7, &["a folder has content"]);
    let (report, _) = hostile.applies(&root(NewFile { streams: vec![stream(&units("s"), b"one")], ..folder() }), "x");
    assert_eq!((&report["named_streams"], &report["files"]), (&1.into(), &0.into()));
}

#[test]
fn files_that_contradict_themselves() {
    let hostile = Hostile::new();
    let one = |new: NewFile| {
        by_hand(&hostile.bench, "one.wim", &[b"one"], |image| {
            let below = add(image, "below", folder());
            image.create(below, &units("it"), &[], new);
        })
    };
    hostile.refuses(
        &one(NewFile { streams: vec![stream(&[], b"one")], ..folder() }),
        7,
        &["a folder has content", r"\below\it"],
    );
    // Encrypted: a file as EFS gives it, a folder in which new files are to be encrypted.
    let raw = Stream { kind: StreamKind::EncryptedRaw, ..stream(&[], b"one") };
    let encrypted = NewFile { attributes: 0x4020, streams: vec![raw], ..NewFile::default() };
    hostile.refuses(&one(encrypted), 7, &["encrypted (EFS)", r"\below\it"]);
    hostile.refuses(&one(NewFile { attributes: 0x4010, ..NewFile::default() }), 7, &["encrypted (EFS)", r"\below\it"]);
    // Descriptors that are none.
    for bytes in [&b"no descriptor"[..], &[1, 0, 4, 0x80, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let wim = by_hand(&hostile.bench, "descriptor.wim", &[b"one"], |image| {
            let security = Some(image.add_descriptor(bytes));
            add(image, "it", NewFile { security, ..file(b"one") });
        });
        hostile.refuses(&wim, 7, &[r"\it"]);
    }
    // A folder that two folders name: a WIM states its entries twice, and they are two.
    let wim = by_hand(&hostile.bench, "linked.wim", &[b"one"], |image| {
        let (a, b) = (add(image, "a", folder()), add(image, "b", folder()));
        let shared = image.create(a, &units("shared"), &[], folder());
        image.create(shared, &units("inside"), &[], file(b"one"));
        image.link(b, &units("shared"), &[], shared);
    });
    let (report, out) = hostile.applies(&wim, "linked.ntfs");
    assert_eq!((&report["folders"], &report["files"], &report["hard_links"]), (&4.into(), &2.into(), &0.into()));
    for path in [r"a\shared\inside", r"b\shared\inside"] {
        assert_eq!(reseal(["fs", "cat", &out, path]).exits(0).text(), "one");
    }
}

#[test]
fn contents_that_lie_or_are_missing() {
    let hostile = Hostile::new();
    let large = vec![7; 17 << 20];
    let other = vec![8; 17 << 20];
    for (told, held) in [(&b"told"[..], &b"held"[..]), (&large, &other)] {
        for compression in [Compression::None, Compression::Xpress] {
            let lies = [(hash_of(told), held)];
            let wim = write(&hostile.bench, "lies.wim", compression, &lies, |image| {
                add(image, "sound", file(b""));
                add(image, "liar", file(told));
            });
            hostile.refuses(&wim, 7, &[r"\liar", "SHA-1"]);
        }
    }
    let lies = [(hash_of(b"told"), &b"held"[..])];
    let wim = write(&hostile.bench, "link.wim", Compression::None, &lies, |image| {
        add(image, "liar", reparse_point(0xa000_000c, vec![target(b"told")]));
    });
    hostile.refuses(&wim, 7, &[r"\liar", "SHA-1"]);
    // None of the WIM's contents is it.
    for new in [file(b"missing"), reparse_point(0xa000_000c, vec![target(b"missing")])] {
        let wim = by_hand(&hostile.bench, "missing.wim", &[b"held"], |image| {
            add(image, "sound", file(b"held"));
            add(image, "without", new);
        });
        hostile.refuses(&wim, 7, &[r"\without"]);
    }
}

/// Folders in folders: what a path costs must not be paid for each of them, and no program of Windows opens the deepest.
#[test]
fn folders_that_lie_too_deep() {
    let hostile = Hostile::new();
    let nested = |depth: usize| {
        by_hand(&hostile.bench, "deep.wim", &[b"x"], |image| {
            let deepest = (0..depth).fold(image.root(), |at, _| image.create(at, &units("d"), &[], folder()));
            image.create(deepest, &units("x"), &[], file(b"x"));
        })
    };
    hostile.refuses(&nested(200_000), 7, &["32767"]);
    let (report, out) = hostile.applies(&nested(1_000), "deep.ntfs");
    assert_eq!(report["folders"], 1_000);
    assert_eq!(reseal(["fs", "cat", &out, &format!("{}x", r"d\".repeat(1_000))]).exits(0).text(), "x");
}

/// A disk, a WIM for it, and what it is to become.
struct Pair {
    bench: Bench,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Pair {
    fn new(builder: ImageBuilder) -> Pair {
        let bench = Bench::new();
        builder.build(&bench.path("odd"), oddities).unwrap();
        capture(&bench.arg("odd"), &bench.arg("wim"), "xpress");
        let disk = blank(&bench, "disk", builder);
        std::fs::remove_file(bench.path("odd")).unwrap();
        let old = std::fs::read(&disk).unwrap();
        reseal([&["wim", "apply", &bench.arg("wim"), &disk, "-o", &bench.arg("new")][..], &TIME].concat()).exits(0);
        let new = std::fs::read(bench.path("new")).unwrap();
        std::fs::remove_file(bench.path("new")).unwrap();
        assert!(old != new);
        Pair { bench, old, new }
    }

    /// Kills the command once its journal has its name, `later` after that; whether the journal was still there.
    fn kill(&self, later: Duration) -> bool {
        std::fs::write(self.bench.path("disk"), &self.old).unwrap();
        let journal = self.bench.path("disk.reseal-journal");
        let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
        command.args(["wim", "apply", &self.bench.arg("wim"), &self.bench.arg("disk"), "--in-place"]).args(TIME);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !journal.exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        std::thread::sleep(later);
        child.kill().unwrap();
        child.wait().unwrap();
        journal.exists()
    }

    fn now(&self) -> Vec<u8> {
        std::fs::read(self.bench.path("disk")).unwrap()
    }

    /// After a kill: the old disk or the new one, and nothing beside it. Whether it is the new one.
    fn recovers(&self, has_journal: bool) -> bool {
        let disk = self.bench.arg("disk");
        if has_journal {
            let between = self.now();
            let other = ["wim", "apply", &self.bench.arg("wim"), &disk, "--in-place"];
            reseal(other).exits(6).says("reseal recover");
            assert!(self.now() == between, "nobody writes before it is recovered");
        }
        let run = reseal(["recover", &disk]);
        assert!(run.code == 0 || run.code == 5, "{run:?}");
        let now = self.now();
        assert!(now == self.old || now == self.new, "neither the old disk nor the new one");
        assert!(!has_journal || now == self.new, "decided, and not the new disk");
        assert_eq!(self.bench.files(), ["disk", "wim"]);
        now == self.new
    }
}

#[test]
fn killed_while_it_writes_it_is_the_old_disk_or_the_new_one() {
    for builder in [BARE, ImageBuilder::default()] {
        let pair = Pair::new(builder);
        // Before there is a journal: nothing has happened. How long it takes to there depends on the machine.
        let mut early = 0;
        for millis in [1, 5, 10, 20, 40] {
            std::fs::write(pair.bench.path("disk"), &pair.old).unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
            command.args(["wim", "apply", &pair.bench.arg("wim"), &pair.bench.arg("disk"), "--in-place"]).args(TIME);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(millis));
            child.kill().unwrap();
            child.wait().unwrap();
            let has_journal = pair.bench.path("disk.reseal-journal").exists();
            early += u32::from(!pair.recovers(has_journal));
        }
        assert!(early > 0, "no kill came before the commit was decided");
        // Between the journal's name and its end: how long that is depends on the machine, so later kills aim at what was met.
        let (mut caught, mut rounds, mut window) = (0, 0, Duration::from_millis(64));
        while caught < 6 {
            assert!(rounds < 200, "only {caught} of {rounds} kills fell between the journal's name and its end");
            let has_journal = pair.kill(window.mul_f64(f64::from(rounds % 4) / 3.0));
            pair.recovers(has_journal);
            caught += u32::from(has_journal);
            rounds += 1;
            window = if has_journal { window.mul_f64(1.25) } else { window / 2 };
        }
        println!("{rounds} kills, {caught} between the journal's name and its end, {early} before");
        // What was recovered is a volume with all that was captured.
        assert!(pair.kill(Duration::ZERO) && pair.recovers(true) || pair.now() == pair.new);
        reseal(["fs", "check", &pair.bench.arg("disk"), "--strict"]).exits(0);
    }
}

/// Applies in place where only `$free` bytes are left, lists the disk, makes room and recovers. Prints a line for each.
const SCRIPT: &str = r#"
mount -t tmpfs -o size=160m tmpfs "$dir" && cp --sparse=always "$gold" "$dir/disk" || exit 99
room=$(( $(stat -f -c %f "$dir") * $(stat -f -c %S "$dir") ))
head -c $(( room - free )) /dev/zero > "$dir/filler"
"$reseal" wim apply "$wim" "$dir/disk" --in-place $time > "$dir/../out" 2>&1; echo "$?"
"$reseal" fs ls "$dir/disk" > "$dir/../out2" 2>&1; echo "$?"
sha256sum < "$dir/disk"
rm "$dir/filler"
"$reseal" recover "$dir/disk" > "$dir/../out3" 2>&1; echo "$?"
sha256sum < "$dir/disk"
ls "$dir"
"#;

#[test]
fn a_full_host_disk_leaves_the_volume_empty() {
    let pair = Pair::new(BARE);
    let (bench, dir) = (&pair.bench, pair.bench.path("small"));
    let (disk, wim) = (bench.arg("disk"), bench.arg("wim"));
    let copy = bench.arg("copy");
    std::fs::copy(&disk, &copy).unwrap();
    let args = ["wim", "apply", &wim, &copy, "--in-place", "--json"];
    let changed = reseal([&args[..], &TIME].concat()).exits(0).json()["changed_bytes"].as_u64().unwrap();
    let (old, new) = (hash(&disk), hash(&copy));
    assert!(old != new && changed > 20_000_000);
    std::fs::create_dir_all(&dir).unwrap();
    // The journal holds what changes, and the holes of the disk are filled: none, a part, the journal alone, all of it.
    let mut outcomes = Vec::new();
    for free in [0, 4096, changed / 2, changed + (1 << 20), 3 * changed + (1 << 20)] {
        let lines = [
            format!("dir='{}' gold='{disk}' wim='{wim}' free={free} time='{}'", dir.display(), TIME.join(" ")),
            format!("reseal='{}'", env!("CARGO_BIN_EXE_reseal")),
            SCRIPT.to_owned(),
        ];
        let namespace = ["--map-root-user", "--mount", "sh", "-c"];
        let Some(output) = oracle::run("unshare", namespace.into_iter().chain([lines.join("\n").as_str()])) else {
            return;
        };
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return oracle::missing(&format!("no file system can be mounted here: {said}"));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "-").collect();
        let said = std::fs::read_to_string(bench.path("out")).unwrap();
        let [applied, listed, between, recovered, after, names @ ..] = words.as_slice() else { panic!("{words:?}") };
        println!("{free} bytes free for {changed}: {applied}, {listed}, {recovered}");
        assert_eq!(names, ["disk"], "{free}: {said}");
        let wanted = if *applied == "0" { &new } else { &old };
        assert!([between, after].iter().all(|hash| *hash == wanted), "{free}: {words:?}: {said}");
        assert!(*applied == "0" || said.contains("untouched") && said.contains("No space left"), "{free}: {said}");
        assert_eq!((*listed, *recovered), ("0", "5"), "{free}: nothing is left to recover");
        outcomes.push((*applied).to_owned());
    }
    assert_eq!(outcomes, ["1", "1", "1", "1", "0"]);
}
