//! What scripts rely on: exit codes, JSON documents, help, and that nothing is written that was not asked for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{Container, ImageBuilder};
use rig::{Bench, FIXED, hash, made_up, old_sid, reseal, seal};

#[test]
fn exit_codes() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let out = bench.arg("sealed.vhdx");
    let old = old_sid();

    reseal(["inspect", &gold]).exits(0);
    reseal(["generalize", &gold, "--dry-run"]).exits(0);
    reseal(["verify", &gold]).exits(0);
    reseal(["verify", &gold, "--no-trace-of", &old]).exits(4);
    reseal(["fs", "check", &gold]).exits(0);
    reseal(["steps"]).exits(0);
    seal(&gold, &out, &[]);
    reseal(["verify", &out, "--no-trace-of", &old]).exits(0);
    reseal(["diff", &gold, &gold]).exits(0);
    reseal(["diff", &gold, &out]).exits(4);
    reseal(["generalize", &out, "--dry-run"]).exits(5).says("nothing to do");
    reseal(["generalize", &out, "-o", &bench.arg("again.vhdx")]).exits(5);
    assert!(!bench.path("again.vhdx").exists(), "nothing to do means nothing written");

    // 1: it was understood and it failed.
    let missing = bench.arg("missing.vhdx");
    for line in [
        vec!["inspect", &missing],
        vec!["generalize", &missing, "-n"],
        vec!["verify", &missing],
        vec!["diff", &gold, &missing],
        vec!["diff", &missing, &gold],
        vec!["fs", "check", &missing],
    ] {
        reseal(&line).exits(1).says("missing.vhdx");
    }
    reseal(["fs", "cat", &gold, r"Windows\nothing.txt"]).exits(1).says("nothing.txt");
    reseal(["fs", "ls", &gold, "Nowhere"]).exits(1);
    reseal(["hive", "get", &gold, "--hive", "SYSTEM", "Setup", "NoSuchValue"]).exits(1).says("NoSuchValue");
    reseal(["hive", "ls", &gold, "--hive", "SYSTEM", "NoSuchKey"]).exits(1).says("NoSuchKey");
    reseal(["hive", "ls", &gold, "--hive", "COMPONENTS"]).exits(1).says("COMPONENTS");
    reseal(["inspect", &format!("{gold}#p7")]).exits(1).says("no partition 7");
    reseal(["generalize", &gold, "-n", "--unattend", &bench.arg("none.xml")]).exits(1).says("none.xml");
    reseal(["generalize", &gold, "-n", "--installation", "2"]).exits(1).says("installation 2");
}

#[test]
fn usage_errors_exit_2() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let before = hash(&gold);
    let bad_xml = bench.write("bad.xml", b"<unattend><settings></unattend>");
    let named = bench.write(
        "named.xml",
        br#"<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="specialize"><component name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"><ComputerName>OTHER</ComputerName></component></settings></unattend>"#,
    );
    let lines: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["generalize", &gold],
        &["generalize", &gold, "-n", "--steps", "nonsense"],
        &["generalize", &gold, "-n", "--steps", "-all"],
        &["generalize", &gold, "-n", "--allow", "nonsense"],
        &["generalize", &gold, "-n", "--allow", "bitlocker"],
        &["generalize", &gold, "-n", "--sid", "nonsense"],
        &["generalize", &gold, "-n", "--sid", "S-1-5-21-1-2"],
        &["generalize", &gold, "-n", "--sid", "S-1-5-21-1-2-3-500"],
        &["generalize", &gold, "-n", "--sid", "S-1-5-21-1-2-4294967296"],
        &["generalize", &gold, "-n", "--sid", "S-1-5-32-1-2-3"],
        &["generalize", &gold, "-n", "--computer-name", "THIS-NAME-IS-TOO-LONG"],
        &["generalize", &gold, "-n", "--computer-name", "12345"],
        &["generalize", &gold, "-n", "--computer-name", "a b"],
        &["generalize", &gold, "-n", "--time", "yesterday"],
        &["generalize", &gold, "-n", "--progress", "loud"],
        &["generalize", &gold, "-n", "--unattend", &bad_xml],
        &["generalize", &gold, "-n", "--unattend", &named, "--computer-name", "WEB-01"],
        &["verify", &gold, "--no-trace-of", ""],
        &["diff", &gold],
        &["diff", &gold, &gold, "--ignore", ""],
        &["hive", "export", &gold, "--hive", "SAM", "--root", "SAM"],
        &["hive", "import", &gold, "--hive", "SAM", &bad_xml, "-o", &bench.arg("x.vhdx")],
        &["steps", "nonsense"],
        &["hive", "set", &gold, "--hive", "SYSTEM", "Setup", "X", "nonsense", "-o", &bench.arg("x.vhdx")],
        &["hive", "ls", &gold, "Setup"],
        &["inspect", &format!("{gold}#pX")],
    ];
    let runs: Vec<_> =
        lines.iter().map(|line| reseal(*line)).filter(|run| run.code != 2 || run.err.is_empty()).collect();
    assert!(runs.is_empty(), "not refused as usage: {runs:#?}");
    assert_eq!(hash(&gold), before);
    assert_eq!(bench.files(), ["bad.xml", "gold.vhdx", "named.xml"]);
}

#[test]
fn damaged_and_foreign_input_exits_7_or_1() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    // The boot sector of the volume is gone in part: it is still NTFS by name, and damaged.
    let mut raw = vec![0; 4 << 20];
    raw[3..11].copy_from_slice(b"NTFS    ");
    raw[510..512].copy_from_slice(&[0x55, 0xaa]);
    let bare = bench.write("bare.raw", &raw);
    for line in [vec!["generalize", &bare, "-n"], vec!["fs", "check", &bare], vec!["fs", "ls", &bare]] {
        reseal(&line).exits(7);
    }
    let bytes = std::fs::read(&gold).expect("just built");
    let cut = bench.write("cut.vhdx", &bytes[..bytes.len() / 2]);
    reseal(["inspect", &cut]).exits(7);
    reseal(["diff", &gold, &cut]).exits(7).says("cut.vhdx");
    reseal(["generalize", &cut, "-n"]).exits(7);
    let qcow = bench.write("disk.qcow2", &[b"QFI\xfb\0\0\0\x03".to_vec(), vec![0; 8192]].concat());
    reseal(["inspect", &qcow]).exits(7).says("qcow2");
    let empty = bench.write("empty.raw", b"");
    assert_ne!(reseal(["generalize", &empty, "-n"]).code, 0);
    let text = bench.write("text.raw", &[b'a'; 100_000]);
    reseal(["generalize", &text, "-n"]).exits(1).says("no Windows installation");
    // A hive whose base block is wrong.
    let hive = bench.write("SAM", &[b"regf".to_vec(), vec![0; 8188]].concat());
    reseal(["hive", "ls", &hive]).exits(7);
    reseal(["hive", "ls", &text]).exits(2);
}

#[test]
fn refusals_exit_3_and_name_what_to_run() {
    let bench = Bench::new();
    let builder = ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
    let image = made_up();
    let gold = bench.build("gold.raw", builder, &image);
    // VOLUME_IS_DIRTY in $VOLUME_INFORMATION, which starts 8 bytes before its version 3.1.
    let mut bytes = std::fs::read(&gold).expect("just built");
    let places = volume_flags(&bytes);
    assert_eq!(places.len(), 2, "the record and its mirror");
    places.iter().for_each(|at| bytes[*at] |= 1);
    let dirty = bench.write("dirty.raw", &bytes);
    let run = reseal(["generalize", &dirty, "-o", &bench.arg("out.raw")])
        .exits(3)
        .says("dirty-volume")
        .says("chkdsk")
        .says("nothing was written");
    assert!(run.err.contains("--allow dirty-volume"), "{}", run.err);
    assert_eq!(bench.files(), ["dirty.raw", "gold.raw"]);
    reseal(["generalize", &dirty, "-n", "--allow", "dirty-volume"]).exits(0);

    for (signature, id, hint) in [(b"-FVE-FS-", "bitlocker", "manage-bde -off"), (b"ReFS\0\0\0\0", "refs", "NTFS")] {
        let mut other = vec![0; 4 << 20];
        other[3..11].copy_from_slice(signature);
        other[510..512].copy_from_slice(&[0x55, 0xaa]);
        let image = bench.write(&format!("{id}.raw"), &other);
        reseal(["generalize", &image, "-n"]).exits(3).says(id).says(hint);
    }
    // Notes are findings; --strict refuses on them.
    reseal(["generalize", &gold, "-n", "--strict"]).exits(3).says("--strict");
}

/// Where the flags of `$VOLUME_INFORMATION` lie, in record 3 and in its mirror: the value is 8 reserved bytes, version 3.1, flags.
fn volume_flags(bytes: &[u8]) -> Vec<usize> {
    let records = (0..bytes.len() - 1024)
        .step_by(512)
        .filter(|at| bytes[*at..].starts_with(b"FILE") && bytes[at + 44..at + 48] == [3, 0, 0, 0]);
    let value = |start: usize| bytes[start..start + 1024].windows(10).position(|w| w == [0, 0, 0, 0, 0, 0, 0, 0, 3, 1]);
    records.filter_map(|start| Some(start + value(start)? + 10)).collect()
}

#[test]
fn a_hibernated_windows_is_refused() {
    let bench = Bench::new();
    let builder = || ImageBuilder { container: Container::Raw, bare: true, ..ImageBuilder::default() };
    let image = made_up();
    let stored = |signature: &[u8], len: usize| [signature, &vec![0; len - signature.len()]].concat();
    let cases = [
        (stored(b"HIBR", 8192), true),
        (stored(b"hibr", 8192), true),
        (stored(b"Hibr", 4096), true),
        // Shorter than a page: Windows has not written it to its end.
        (stored(b"WAKE", 4095), true),
        (Vec::new(), true),
        (stored(b"WAKE", 4096), false),
        (stored(b"", 8192), false),
    ];
    for (index, (content, is_refused)) in cases.into_iter().enumerate() {
        let path = bench.path(&format!("{index}.raw"));
        let built = builder().build(&path, |volume| {
            image.fill(volume)?;
            let (root, time) = (volume.root(), reseal_dtyp::FileTime(133_500_000_000_000_000));
            volume.create_file(root, "hiberfil.sys", &content, reseal_ntfs::Security::Inherit, time)?;
            Ok(())
        });
        built.expect("the image can be built");
        let run = reseal(["generalize", path.to_str().expect("a plain name"), "-n"]);
        if is_refused {
            run.exits(3).says("hibernated").says("powercfg /h off");
        } else {
            run.exits(0);
        }
    }
}

#[test]
fn one_json_document_with_a_schema() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let lines: &[(&[&str], i32, &str)] = &[
        (&["inspect", &gold, "--json"], 0, "reseal.inspect/1"),
        (&["generalize", &gold, "-n", "--json"], 0, "reseal.plan/1"),
        (&["verify", &gold, "--json"], 0, "reseal.verify/1"),
        (&["verify", &gold, "--json", "--no-trace-of", "GOLD-07"], 4, "reseal.verify/1"),
        (&["diff", &gold, &gold, "--json"], 0, "reseal.diff/1"),
        (&["steps", "--json"], 0, "reseal.steps/1"),
        (&["steps", "--coverage", "--json"], 0, "reseal.coverage/1"),
        (&["steps", "machine-sid", "--json"], 0, "reseal.steps/1"),
        (&["fs", "ls", &gold, "--json"], 0, "reseal.fs/1"),
        (&["fs", "check", &gold, "--json"], 0, "reseal.fs-check/1"),
        (&["hive", "ls", &gold, "--hive", "SAM", "--json"], 0, "reseal.hive/1"),
        (&["hive", "check", &gold, "--hive", "SAM", "--json"], 0, "reseal.hive-check/1"),
        (&["hive", "get", &gold, "--hive", "SYSTEM", "Select", "Current", "--json"], 0, "reseal.value/1"),
    ];
    for (line, code, schema) in lines {
        let run = reseal(*line).exits(*code);
        assert_eq!(run.json()["schema"], *schema, "{line:?}");
    }
    let out = bench.arg("sealed.vhdx");
    let report = seal(&gold, &out, &[]);
    assert_eq!(report["output"], out.as_str());
    assert_eq!(report["plan"]["schema"], "reseal.plan/1");
    assert_eq!(report["plan"]["sid"]["shared_by_copies"], true);
    assert_eq!(report["plan"]["sid"]["old"], old_sid());
    // Progress goes to stderr, as JSON lines when asked for.
    let line = ["generalize", &gold, "-n", "--json", "--progress", "json"];
    let run = reseal(line).exits(0);
    run.json();
    let phases: Vec<serde_json::Value> =
        run.err.lines().map(|l| serde_json::from_str(l).expect("a JSON line")).collect();
    assert!(phases.iter().any(|p| p["phase"] == "staging"), "{}", run.err);
    let run = reseal(["diff", &gold, &out, "--json", "--progress", "json"]).exits(4);
    assert_eq!(run.json()["schema"], "reseal.diff/1");
    let first: serde_json::Value = serde_json::from_str(run.err.lines().next().unwrap()).expect("a JSON line");
    assert_eq!(first["phase"], "listing");
    assert_eq!(reseal(["diff", &gold, &out]).exits(4).err, "");
    // In a pipe there is no bar.
    assert_eq!(reseal(["generalize", &gold, "-n"]).exits(0).err, "");
}

#[test]
fn help_fits_and_shows_examples() {
    let verbs: &[&[&str]] = &[
        &[],
        &["inspect"],
        &["generalize"],
        &["verify"],
        &["diff"],
        &["steps"],
        &["hive"],
        &["hive", "ls"],
        &["hive", "get"],
        &["hive", "set"],
        &["hive", "rm"],
        &["hive", "export"],
        &["hive", "import"],
        &["hive", "check"],
        &["fs"],
        &["fs", "ls"],
        &["fs", "cat"],
        &["fs", "acl"],
        &["fs", "check"],
    ];
    for verb in verbs {
        let text = reseal(verb.iter().copied().chain(["--help"])).exits(0).text();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{verb:?}: a line of {} columns: {line}", line.chars().count());
        }
        // Sub-verbs of hive and fs are shown by example in their parent's help.
        if verb.len() < 2 && *verb != ["steps"] {
            let examples =
                text.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{verb:?} has no examples:\n{text}"));
            assert!(examples.lines().next().is_some_and(|l| l.trim().starts_with("reseal ")), "{examples}");
        }
    }
    let version = reseal(["--version"]).exits(0).text();
    assert_eq!(version.trim(), concat!("reseal ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_the_run_does() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let (before, modified) = (hash(&gold), std::fs::metadata(&gold).unwrap().modified().unwrap());
    let dry = reseal(["generalize", &gold, "-n", "--json"].into_iter().chain(FIXED)).exits(0).json();
    reseal(["generalize", &gold, "-n", "-o", &bench.arg("out.vhdx")].into_iter().chain(FIXED)).exits(0);
    assert_eq!(bench.files(), ["gold.vhdx"], "a dry run leaves no file");
    let report = seal(&gold, &bench.arg("sealed.vhdx"), &[]);
    assert_eq!(dry["changes"], report["plan"]["changes"], "the dry run is the run");
    assert_eq!(dry["changed_bytes"], report["plan"]["changed_bytes"]);
    assert_eq!(bench.files(), ["gold.vhdx", "sealed.vhdx"], "no temporary file is left");
    assert_eq!(hash(&gold), before);
    assert_eq!(std::fs::metadata(&gold).unwrap().modified().unwrap(), modified, "the input was not opened for writing");
}

#[test]
fn a_file_that_exists_is_not_overwritten() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let before = hash(&gold);
    let taken = bench.write("taken.vhdx", b"precious");
    reseal(["generalize", &gold, "-o", &taken]).exits(1).says("taken.vhdx");
    assert_eq!(std::fs::read(&taken).unwrap(), b"precious");
    reseal(["generalize", &gold, "-o", &gold]).exits(1);
    reseal(["hive", "set", &gold, "--hive", "SYSTEM", "Setup", "X", "dword:1", "-o", &taken]).exits(1);
    reseal(["hive", "rm", &gold, "--hive", "SYSTEM", "Setup", "CloneTag", "-o", &gold]).exits(1);
    reseal(["hive", "export", &gold, "--hive", "SYSTEM", "Setup", "-o", &taken]).exits(1);
    assert_eq!(std::fs::read(&taken).unwrap(), b"precious");
    assert_eq!(hash(&gold), before);
    // A link that leads nowhere is a name that exists.
    std::os::unix::fs::symlink(bench.path("nowhere"), bench.path("link.vhdx")).unwrap();
    reseal(["generalize", &gold, "-o", &bench.arg("link.vhdx")]).exits(1);
    assert!(!bench.path("nowhere").exists());
    // No folder, no file.
    reseal(["generalize", &gold, "-o", &bench.arg("none/out.vhdx")]).exits(1);
    assert_eq!(bench.files(), ["gold.vhdx", "link.vhdx", "taken.vhdx"]);
}

#[test]
fn the_input_can_be_read_only() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let gold = bench.synthetic();
    std::fs::set_permissions(&gold, std::fs::Permissions::from_mode(0o444)).unwrap();
    let before = hash(&gold);
    seal(&gold, &bench.arg("out.vhdx"), &[]);
    assert_eq!(hash(&gold), before);
}
