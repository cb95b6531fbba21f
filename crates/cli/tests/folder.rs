//! A volume mounted by ntfs-3g is sealed as the same volume is as a raw image.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]
#![allow(unreachable_pub, missing_debug_implementations, missing_docs, dead_code, reason = "modules of other tests")]

#[path = "../../ntfs/tests/rig/ntfs_3g.rs"]
mod ntfs_3g;
mod rig;

use ntfs_3g::{SeenAttribute, SeenVolume};
use reseal_dtyp::FileTime;
use reseal_ntfs::{Security, Volume};
use reseal_testdata::{Container, ImageBuilder, oracle};
use rig::mount::Mount;
use rig::{Bench, FIXED, census, made_up, old_sid, reseal, seal};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Asked by the reader with libntfs-3g.
fn required() -> bool {
    std::env::var_os("RESEAL_ORACLES").is_some_and(|v| v == "require")
}

/// A SID of its own, so that both get the same one.
const NEW: &str = "S-1-5-21-1404338348-2277238915-682803330";
const BARE: ImageBuilder =
    ImageBuilder { container: Container::Raw, volume_len: 64 << 20, sector_size: 512, cluster_size: 4096, bare: true };
const TIME: FileTime = FileTime(133_500_000_000_000_000);

/// A bare volume with the made-up machine, and what a mount makes hard: folders named after the SID with files named after it,
/// a hard link, a stream, and a removed folder that holds all of these.
fn gold(bench: &Bench) -> Option<String> {
    let fill = |volume: &mut Volume| {
        made_up().fill(volume)?;
        let root = volume.root();
        let sid = old_sid();
        let bin = match volume.resolve("$Recycle.Bin")? {
            Some(bin) => bin,
            None => volume.create_dir(root, "$Recycle.Bin", Security::SameAs(root), TIME)?,
        };
        let named = volume.create_dir(bin, &format!("{sid}-1777"), Security::SameAs(bin), TIME)?;
        let inner = volume.create_dir(named, &format!("below {sid}-1778"), Security::SameAs(bin), TIME)?;
        let file = volume.create_file(inner, &format!("{sid}.txt"), b"content", Security::SameAs(bin), TIME)?;
        volume.link(file, named, &"another name".encode_utf16().collect::<Vec<_>>(), TIME)?;
        volume.replace(file, &"stream".encode_utf16().collect::<Vec<_>>(), &[7; 5000], TIME)?;
        Ok(())
    };
    BARE.build(&bench.path("gold.ntfs"), fill).unwrap();
    let gold = bench.arg("gold.ntfs");
    // A hive that ntfs-3g wrote: it has no 8.3 name, and so a new file takes its place.
    let mount = Mount::new(&gold, &bench.path("win"), "")?;
    let config = mount.path("Windows/System32/config");
    std::fs::copy(config.join("SOFTWARE"), config.join("copy")).unwrap();
    std::fs::rename(config.join("copy"), config.join("SOFTWARE")).unwrap();
    mount.end();
    Some(gold)
}

fn copy(bench: &Bench, gold: &str, name: &str) -> String {
    std::fs::copy(gold, bench.path(name)).unwrap();
    bench.arg(name)
}

fn in_place<'a>(folder: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["generalize", folder, "--in-place", "--sid", NEW, "--json"], &FIXED[..], more].concat()
}

/// What two images are said to differ in.
fn differences(a: &str, b: &str, more: &[&str]) -> BTreeSet<String> {
    let diff = reseal([&["diff", a, b, "--json"], more].concat()).json();
    let entries = diff["volumes"].as_array().unwrap().iter().flat_map(|v| v["entries"].as_array().unwrap().clone());
    entries.map(|e| e.to_string()).collect()
}

/// What ntfs-3g says of a file: flags of the record, attributes, created, written, streams, reparse data, descriptor.
type Facts = (u16, u32, [u64; 2], Vec<SeenAttribute>, Option<Vec<u8>>, Vec<u8>);

/// Every long name of a volume but the volume's own, and what it names, by libntfs-3g.
fn listing(bench: &Bench, volume: &str) -> BTreeMap<String, Facts> {
    let seen: SeenVolume = ntfs_3g::read(&bench.path(volume)).unwrap();
    assert_eq!(seen.faults, [], "ntfs-3g does not read all of it");
    let (mut out, mut queue) = (BTreeMap::new(), vec![(5, String::new())]);
    while let Some((number, path)) = queue.pop() {
        let file = &seen.files[&number];
        for entry in file.entries.iter().filter(|e| e.reference << 16 >> 16 >= 24 && e.namespace != DOS) {
            assert_eq!(entry.found, entry.reference, "{path}: its index does not find what it lists");
            let name: String = entry.name.iter().map(|u| char::from_u32((*u).into()).unwrap_or('\u{fffd}')).collect();
            queue.push((entry.reference << 16 >> 16, format!("{path}/{name}")));
        }
        let mut streams: Vec<SeenAttribute> = file.streams().cloned().collect();
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        let times = [file.times[0], file.times[1]];
        out.insert(path, (file.flags, file.attributes, times, streams, file.reparse.clone(), file.descriptor.clone()));
    }
    out
}

/// The namespace of 8.3 names that stand beside a long one.
const DOS: u8 = 2;

#[test]
fn a_sealed_mount_is_the_sealed_disk() {
    let bench = Bench::new();
    let Some(gold) = gold(&bench) else { return };
    let sealed = bench.arg("sealed.ntfs");
    let report = seal(&gold, &sealed, &["--sid", NEW]);
    let mounted = copy(&bench, &gold, "mounted.ntfs");
    let Some(mount) = Mount::new(&mounted, &bench.path("win"), "") else { return };
    let host = mount.arg();
    // What is read through the mount is what is read of the disk; ntfs-3g tells no 8.3 name of a file with several names.
    let told = differences(&gold, &host, &[]);
    assert!(
        told.len() == 1 && told.iter().all(|d| d.contains("short-name") && d.contains("another name")),
        "{told:#?}"
    );
    let text = reseal(["inspect", &host]).exits(0).text();
    assert!(text.contains("a folder where a volume is mounted") && text.contains(&old_sid()), "{text}");
    let before = listing(&bench, &gold);
    let plan = reseal([&["generalize", &host, "-n", "--json", "--sid", NEW], &FIXED[..]].concat()).exits(0).json();
    assert!(plan["notes"].to_string().contains("is not changed at one instant"), "{plan}");
    assert_eq!(differences(&gold, &host, &[]), told, "a plan writes nothing");
    let done = reseal(in_place(&host, &[])).exits(0).json();
    assert_eq!(done["method"], "files");
    let (ours, disks) = (changes(&done["plan"]), changes(&report["plan"]));
    assert_eq!(ours.symmetric_difference(&disks).collect::<Vec<_>>(), Vec::<&String>::new(), "one plan for both");
    assert_eq!(changes(&plan), changes(&done["plan"]));
    assert_eq!(bench.files(), ["gold.ntfs", "mounted.ntfs", "sealed.ntfs", "win"], "the manifest is gone");
    let seen = differences(&sealed, &host, &[]);
    let is_short = |d: &String| d.contains("\"short-name\"") && (d.contains("another name") || d.contains(".tag"));
    assert!(seen.iter().all(is_short), "{seen:#?}");
    let verified = reseal(["verify", &host, "--no-trace-of", &old_sid(), "--json"]).exits(0).json();
    assert_eq!(
        (verified["states"][0].as_str(), verified["traces"].as_array().map(Vec::len)),
        (Some("sealed to OOBE"), Some(0))
    );
    assert!(verified["findings"].to_string().contains("folder-unseen"));
    reseal(["generalize", &host, "-n"]).exits(5);
    assert_eq!(
        reseal(["fs", "acl", &host, r"Users\ann"]).exits(0).text(),
        reseal(["fs", "acl", &sealed, r"Users\ann"]).text()
    );
    mount.end();

    // The volume itself: as sealed as the other, but for 8.3 names of what is new or renamed and the times that the host gives.
    let told = differences(&sealed, &mounted, &[]);
    assert!(told.iter().all(|d| d.contains("\"short-name\"") || d.contains(r"\\$")), "{told:#?}");
    assert_eq!(told.iter().filter(|d| !d.contains(r"\\$Extend")).count(), told.len().min(3), "{told:#?}");
    reseal(["fs", "check", &mounted]).exits(0);
    for tool in [&["ntfsresize", "-i", "-f"][..], &["ntfsfix", "-n"]] {
        oracle::agree(tool[0], [&tool[1..], &[&mounted]].concat());
    }
    // Every place of the old SID has the new one; the old descriptors stay in the volume's store, where no file has them.
    let (was, is) = (census::of_image(&gold), census::of_image(&mounted));
    assert_eq!(is[NEW], was[&old_sid()]);
    let searched = reseal(["verify", &mounted, "--no-trace-of", &old_sid(), "--json"]).exits(4).json();
    let traces = searched["traces"].as_array().unwrap();
    let outside = traces.iter().filter(|t| t["kind"] == "content" && !t["region"].to_string().contains("$Secure"));
    assert_eq!(outside.collect::<Vec<_>>(), Vec::<&serde_json::Value>::new());
    assert_eq!(listing(&bench, &mounted), listing(&bench, &sealed), "as ntfs-3g lists it");
    assert_ne!(before, listing(&bench, &mounted));
}

/// Changes of a plan, in no order: files have other numbers in each tree.
fn changes(plan: &serde_json::Value) -> BTreeSet<String> {
    // How many unique descriptors there are depends on what counts: the volume's store also holds those of no file.
    // Of a file with several names, each tree has its own that comes first.
    let counts = |change: &&serde_json::Value| {
        change["target"]["kind"] != "descriptors"
            && !change.to_string().contains("another name")
            && !change.to_string().contains("below S-1")
    };
    plan["changes"].as_array().unwrap().iter().filter(counts).map(ToString::to_string).collect()
}

/// Mounts a copy of the gold volume.
fn mounted(bench: &Bench, gold: &str) -> Option<Mount> {
    Mount::new(&copy(bench, gold, "mounted.ntfs"), &bench.path("win"), "")
}

#[test]
fn what_is_kept_takes_a_finished_commit_back() {
    let bench = Bench::new();
    let Some(gold) = gold(&bench) else { return };
    let Some(mount) = mounted(&bench, &gold) else { return };
    let host = mount.arg();
    reseal(["recover", &host]).exits(5);
    reseal(in_place(&host, &["--keep-undo"])).exits(0);
    assert!(bench.path("win.reseal-kept").is_dir());
    reseal(["generalize", &host, "-n"]).exits(5);
    // What came later is not thrown away.
    let ini = mount.path("Windows/System32/config/SOFTWARE");
    let sealed = std::fs::read(&ini).unwrap();
    std::fs::write(&ini, [&sealed[..], b"later"].concat()).unwrap();
    reseal(["recover", &host, "--undo"]).exits(1).says("was changed after the commit");
    std::fs::write(&ini, &sealed).unwrap();
    // A manifest that somebody touched is not believed.
    let manifest = bench.path("win.reseal-kept/manifest");
    let text = std::fs::read(&manifest).unwrap();
    std::fs::write(&manifest, [&text[..], b" "].concat()).unwrap();
    reseal(["recover", &host, "--undo"]).exits(7).says("checksum");
    std::fs::write(&manifest, &text).unwrap();
    reseal(["recover", &host, "--undo"]).exits(0);
    assert_eq!(bench.files(), ["gold.ntfs", "mounted.ntfs", "win"]);
    mount.end();
    assert_eq!(listing(&bench, &bench.arg("mounted.ntfs")), listing(&bench, &gold));
    let told = differences(&gold, &bench.arg("mounted.ntfs"), &[]);
    // ntfs-3g does not tell the 8.3 name of a file with several names: it went when one of them was changed.
    let is_lost = |d: &String| d.contains("\"short-name\"") && d.contains("another name");
    assert!(told.len() == 1 && told.iter().all(is_lost), "{told:#?}");
    reseal(["fs", "check", &bench.arg("mounted.ntfs")]).exits(0);
}

#[test]
fn killed_at_any_instant_the_old_state_comes_back() {
    let rounds: u32 = std::env::var("RESEAL_KILLS").map_or(10, |n| n.parse().expect("a number"));
    let bench = Bench::new();
    let Some(gold) = gold(&bench) else { return };
    let old = listing(&bench, &gold);
    let Some(mount) = mounted(&bench, &gold) else { return };
    let start = Instant::now();
    reseal(in_place(&mount.arg(), &[])).exits(0);
    let whole = start.elapsed();
    mount.end();
    let (mut untouched, mut recovered, mut done) = (0, 0, 0);
    for round in 0..rounds {
        let Some(mount) = mounted(&bench, &gold) else { return };
        let host = mount.arg();
        let part = f64::from(round.wrapping_mul(2_654_435_761) >> 8) / f64::from(1 << 24);
        // At any time, and some time after the first instant at which there is something to take back.
        let decided = bench.path("win.reseal-undo");
        if round % 2 == 0 {
            kill(&in_place(&host, &[]), whole.mul_f64(1.1 * part), None);
        } else {
            kill(&in_place(&host, &[]), whole.mul_f64(0.2 * part), Some(&decided));
        }
        let look = reseal(["generalize", &host, "-n"]);
        match look.code {
            6 => {
                recovered += 1;
                reseal(["inspect", &host]).exits(6).says("reseal recover");
                // A recovery that is killed is recovered, too.
                kill(&["recover", &host], Duration::from_millis(u64::from(round * 7 % 40)), None);
                let again = reseal(["recover", &host]);
                assert!([0, 5].contains(&again.code), "{again:?}");
                reseal(["generalize", &host, "-n"]).exits(0);
            }
            0 => untouched += 1,
            5 => done += 1,
            _ => panic!("{look:?}"),
        }
        mount.end();
        if look.code != 5 {
            let now = listing(&bench, &bench.arg("mounted.ntfs"));
            let differ: BTreeSet<&String> =
                old.keys().chain(now.keys()).filter(|path| old.get(*path) != now.get(*path)).collect();
            assert_eq!(differ, BTreeSet::new(), "round {round}, exit {}: not the old state", look.code);
        }
        reseal(["fs", "check", &bench.arg("mounted.ntfs")]).exits(0);
        for rest in ["win.reseal-undo", "win.reseal-undo.new"] {
            let _ = std::fs::remove_dir_all(bench.path(rest));
        }
    }
    println!("{rounds} kills: {untouched} untouched, {recovered} recovered, {done} done, a run takes {whole:?}");
    assert!(recovered > 0, "no kill came while the volume was being written");
}

/// Starts the command and kills it after a while, counted from when a file comes that is named.
fn kill(args: &[&str], after: Duration, from: Option<&Path>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
    let mut child = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while from.is_some_and(|path| !path.exists()) && child.try_wait().unwrap().is_none() {
        std::hint::spin_loop();
    }
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A plan for the folder, by the library.
fn planned(host: &str) -> ::reseal::Planned {
    let options =
        ::reseal::Options { sid: Some(::reseal::SidChoice::Given(NEW.parse().unwrap())), ..Default::default() };
    let inputs = ::reseal::Inputs::seeded("acceptance", TIME);
    let image = ::reseal::Image::open_for_writing(host).unwrap();
    ::reseal::plan(image, &options, &inputs, &::reseal::Silent).unwrap()
}

fn refused(planned: ::reseal::Planned) -> ::reseal::Error {
    planned.commit_in_place(::reseal::InPlace::default(), &::reseal::Silent).unwrap_err()
}

#[test]
fn what_changed_since_it_was_planned_is_refused() {
    let bench = Bench::new();
    let Some(gold) = gold(&bench) else { return };
    let Some(mount) = mounted(&bench, &gold) else { return };
    let host = mount.arg();
    let config = mount.path("Windows/System32/config");
    let unchanged = || {
        assert_eq!(bench.files(), ["gold.ntfs", "mounted.ntfs", "outside", "win"]);
        let text = reseal(["inspect", &host]).exits(0).text();
        assert!(text.contains(&old_sid()) && !text.contains("sealed to OOBE"), "{text}");
    };
    std::fs::create_dir(bench.path("outside")).unwrap();
    std::fs::write(bench.path("outside/SYSTEM"), "precious").unwrap();

    // A hive is written to.
    let plan = planned(&host);
    let software = std::fs::read(config.join("SOFTWARE")).unwrap();
    std::fs::write(config.join("SOFTWARE"), &software).unwrap();
    assert_eq!(refused(plan).kind(), ::reseal::Kind::Conflict);
    unchanged();

    // A link that leads out takes the place of a folder, then that of a file.
    let plan = planned(&host);
    std::fs::rename(&config, mount.path("Windows/System32/moved")).unwrap();
    std::os::unix::fs::symlink(bench.path("outside"), &config).unwrap();
    assert_eq!(refused(plan).kind(), ::reseal::Kind::Conflict);
    reseal(["fs", "cat", &host, r"Windows\System32\config\SYSTEM"]).exits(7);
    std::fs::remove_file(&config).unwrap();
    std::fs::rename(mount.path("Windows/System32/moved"), &config).unwrap();
    let plan = planned(&host);
    std::fs::rename(config.join("SYSTEM"), config.join("moved")).unwrap();
    std::os::unix::fs::symlink(bench.path("outside/SYSTEM"), config.join("SYSTEM")).unwrap();
    assert_eq!(refused(plan).kind(), ::reseal::Kind::Conflict);
    std::fs::remove_file(config.join("SYSTEM")).unwrap();
    std::fs::rename(config.join("moved"), config.join("SYSTEM")).unwrap();
    assert_eq!(std::fs::read(bench.path("outside/SYSTEM")).unwrap(), b"precious");
    unchanged();

    // Two at a time are one too many.
    let plan = planned(&host);
    reseal(in_place(&host, &[])).exits(1).says("in use by another run");
    drop(plan);

    // No room: what was begun is put back.
    let plan = planned(&host);
    let mut room = std::fs::File::create(mount.path("room")).unwrap();
    let mut piece = vec![0x5a; 1 << 20];
    while !piece.is_empty() {
        if std::io::Write::write_all(&mut room, &piece).is_err() {
            piece.truncate(piece.len() / 2);
        }
    }
    drop(room);
    let error = refused(plan);
    assert_eq!(error.kind(), ::reseal::Kind::Io, "{error:?}");
    assert!(error.next_step().unwrap().contains("put back"), "{error:?}");
    std::fs::remove_file(mount.path("room")).unwrap();
    unchanged();
    reseal(in_place(&host, &[])).exits(0);
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    let bench = Bench::new();
    // A folder of the host: no Windows, then one whose descriptors nobody has.
    std::fs::create_dir_all(bench.path("plain/Windows/System32/config")).unwrap();
    let plain = bench.arg("plain");
    reseal(["generalize", &plain, "-n"]).exits(1).says("no Windows installation");
    std::fs::write(bench.path("plain/Windows/System32/config/SYSTEM"), [0; 4096]).unwrap();
    reseal(["generalize", &plain, "-n"]).exits(7).says("no security descriptors").says("ntfs-3g VOLUME FOLDER");
    reseal(["fs", "check", &plain]).exits(7).says("shows files only");
    reseal(["fs", "ls", &plain, "windows"]).exits(0);
    std::os::unix::fs::symlink("/etc", bench.path("plain/out")).unwrap();
    reseal(["fs", "ls", &plain, r"out\passwd"]).exits(7);

    let Some(gold) = gold(&bench) else { return };
    let Some(mount) = mounted(&bench, &gold) else { return };
    let host = mount.arg();
    let out = bench.arg("out.ntfs");
    reseal(["generalize", &host, "-o", &out]).exits(2).says("--in-place");
    for option in ["--scrub", "--schedule-chkdsk", "--drop-snapshots"] {
        reseal(["generalize", &host, "-n", option]).exits(2).says("is for disks");
    }
    let inside = mount.path("Users").to_str().unwrap().to_owned();
    reseal(in_place(&host, &["--journal", &inside])).exits(2).says("would lie on the volume");
    reseal(["driver", "rm", &host, "oem1.inf", "-n"]).exits(7).says("shows files only");
    reseal(["hive", "get", &host, "--hive", "SYSTEM", "Setup", "SetupType"]).exits(0);
    mount.end();
    let Some(mount) = Mount::new(&gold, &bench.path("win"), "ro") else { return };
    reseal(in_place(&mount.arg(), &[])).exits(7).says("mounted read-only");
    reseal(["generalize", &mount.arg(), "-n"]).exits(0);
}
