//! Programs that share no code with ours read what was sealed: ntfs-3g, libhivex, QEMU, the Linux kernel, impacket.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_testdata::{ImageBuilder, WindowsImage, oracle, real};
use rig::{Bench, content, new_sid, old_sid, seal, secrets};
use std::collections::BTreeSet;
use std::path::Path;

/// Every name that ntfs-3g lists, as a path with slashes; `None` where it is not installed.
fn listed(volume: &Path) -> Option<BTreeSet<String>> {
    let path = volume.to_str().expect("a plain name");
    let text = oracle::agree("env", ["LC_ALL=C.UTF-8", "ntfsls", "-R", "-f", path])?;
    let (mut out, mut folder) = (BTreeSet::new(), String::new());
    for line in text.lines() {
        if let Some(path) = line.strip_prefix('/').and_then(|l| l.strip_suffix(':')) {
            folder = if path.is_empty() { String::new() } else { format!("/{path}") };
        } else if !matches!(line, "" | "." | "..") {
            out.insert(format!("{folder}/{line}"));
        }
    }
    Some(out)
}

fn tool_is_there(tool: &str) -> bool {
    oracle::run(tool, ["--version"]).is_some()
}

/// What the steps change in the tree: names that hold the SID, logs that go, files that come.
fn planned(before: BTreeSet<String>, old: &str, new: &str) -> BTreeSet<String> {
    let made = ["/Windows/Panther", "/Windows/Panther/unattend.xml", "/Windows/System32/Sysprep/Sysprep_succeeded.tag"];
    let goes = |path: &String| [".evtx", ".srd-wal", ".srd-shm"].iter().any(|end| path.ends_with(end));
    let kept = before.into_iter().map(|path| path.replace(old, new)).filter(|path| !goes(path));
    kept.chain(made.map(str::to_owned)).collect()
}

/// Seals and lets every reader look; content is compared for hives, for what a step wrote and for every `stride`th file.
fn agree(bench: &Bench, gold: &str, old: &str, stride: usize) {
    if !tool_is_there("ntfsls") {
        return;
    }
    let out = bench.arg("sealed.vhdx");
    let new = new_sid(&seal(gold, &out, &["--computer-name", "WEB-01"]));
    let (before, after) = (bench.path("before.ntfs"), bench.path("after.ntfs"));
    content::extract(gold, &before);
    content::extract(&out, &after);
    let volume = after.to_str().expect("a plain name");

    oracle::agree("qemu-img", ["check", "-f", "vhdx", &out]);
    oracle::agree("ntfsresize", ["-i", "-f", volume]);
    if let Some(audit) = oracle::agree("ntfssecaudit", ["-a", volume]) {
        // In the second copy it reads behind the end of $SDS and judges what its buffer held before; its exit code leaves that out.
        for line in ["0 errors in $SDS-1", "0 errors in $SII", "0 errors in $SDH", "All keys are present in all lists"]
        {
            assert!(audit.contains(line), "ntfssecaudit does not say `{line}`");
        }
    }
    let (Some(was), Some(is)) = (listed(&before), listed(&after)) else { return };
    assert_eq!(is, planned(was, old, &new), "ntfs-3g lists the same tree but for the planned changes");
    contents(bench, &out, volume, &is, stride);
}

fn contents(bench: &Bench, out: &str, volume: &str, theirs: &BTreeSet<String>, stride: usize) {
    let ours = content::volume(out);
    let tree = content::tree(&ours);
    let names: BTreeSet<String> = tree.keys().map(|path| path.replace('\\', "/")).collect();
    assert_eq!(&names, theirs, "two readers see one tree");
    let (mut compared, mut hives) = (0, 0);
    for (i, (path, file)) in tree.iter().enumerate() {
        let Some(bytes) = content::read(&ours, *file) else { continue };
        let is_hive = bytes.starts_with(b"regf") && !path.to_ascii_lowercase().contains(".log");
        let written = [".ini", ".xml", ".tag"].iter().any(|end| path.ends_with(end));
        if i % stride != 0 && !is_hive && !written {
            continue;
        }
        let read =
            oracle::run("ntfscat", ["-f", volume, &path.replace('\\', "/")]).expect("ntfsls was there, so ntfscat is");
        assert!(read.status.success(), "ntfscat {path}: {}", String::from_utf8_lossy(&read.stderr));
        assert!(read.stdout == bytes, "{path}: ntfs-3g reads other bytes");
        compared += 1;
        if is_hive {
            std::fs::write(bench.path("hive"), &bytes).expect("it can be written");
            if oracle::agree("hivexml", [bench.path("hive")]).is_some() {
                hives += 1;
            }
        }
    }
    println!("{compared} of {} files compared byte by byte, {hives} hives read by hivexml", tree.len());
}

/// The image of set C with a file for each of its descriptors.
fn set_c(bench: &Bench) -> Option<String> {
    let root = real::root()?;
    let image = real::machine_c(&root).expect("the set is whole");
    Some(bench.build("c.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, &image))
}

#[test]
fn the_made_up_machine() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    agree(&bench, &gold, &old_sid(), 1);
}

#[test]
fn the_made_up_machine_in_other_clusters() {
    for cluster_size in [512, 65_536] {
        let bench = Bench::new();
        let gold = bench.build("gold.vhdx", ImageBuilder { cluster_size, ..ImageBuilder::default() }, &rig::made_up());
        agree(&bench, &gold, &old_sid(), 4);
    }
}

#[test]
fn set_c_through_user_space_readers() {
    let bench = Bench::new();
    if let Some(gold) = set_c(&bench) {
        agree(&bench, &gold, real::SET_C_SID, 16);
    }
}

/// The three numbers of a machine SID, as the kernel's check takes them.
fn numbers(sid: &str) -> String {
    sid.strip_prefix("S-1-5-21-").expect("a machine SID").replace('-', ",")
}

/// The Linux kernel's NTFS driver mounts the sealed volume, reads every byte and writes to it.
fn kernel(out: &str, old: &str, new: &str) -> Option<()> {
    let tool = oracle::shared_tools()?.join("ntfs3-check.sh");
    let args = [tool.to_str()?, out, "1", "--full", "--rw", "--old", &numbers(old), "--new", &numbers(new)];
    let text = oracle::agree("bash", args)?;
    assert!(text.contains("rw probe ops ok 400/400"), "{text}");
    assert!(text.contains(" errs 0 ") && text.contains(" sd_with_old 0 "), "{text}");
    assert!(!text.contains(" sd_with_new 0"), "{text}");
    // The driver reports every structure that it finds wrong.
    assert!(!text.contains("ntfs3:"), "{text}");
    Some(())
}

#[test]
fn the_linux_kernel_mounts_it() {
    let bench = Bench::new();
    let gold = bench.synthetic();
    let out = bench.arg("sealed.vhdx");
    let new = new_sid(&seal(&gold, &out, &["--computer-name", "WEB-01", "--sid", "S-1-5-21-4294967295-1-4000000000"]));
    kernel(&out, &old_sid(), &new);
    let bench = Bench::new();
    let Some(gold) = set_c(&bench) else { return };
    let out = bench.arg("sealed.vhdx");
    let new = new_sid(&seal(&gold, &out, &[]));
    kernel(&out, real::SET_C_SID, &new);
}

#[test]
fn impacket_decrypts_the_same_hashes() {
    let bench = Bench::new();
    let Some(placed) = secrets::matched_hives(&bench) else { return };
    let image = WindowsImage { placed, ..WindowsImage::default() };
    let gold = bench.build("gold.vhdx", ImageBuilder { volume_len: 128 << 20, ..ImageBuilder::default() }, &image);
    let Some(before) = secrets::dump(&bench, &gold, "before") else { return };
    // MD4 of UTF-16 "Passw0rd!", "hunter2" and "Admin#1".
    for known in
        ["fc525c9683e8fe067095ba2ddc971889", "6608e4bc7b2b7a5f77ce3573570775af", "26cb569f507516db724c966871d735da"]
    {
        assert!(before.contains(known), "{before}");
    }
    assert!(before.contains("lsa NL$KM") && before.contains("dpapi_machinekey"), "{before}");
    // The password of automatic sign-in goes, and nothing else.
    let kept: String = before
        .lines()
        .filter(|line| !line.starts_with("lsa DefaultPassword"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(kept, before);
    for (i, sid) in ["random", "S-1-5-21-1-2-3"].into_iter().enumerate() {
        let out = bench.arg(&format!("sealed{i}.vhdx"));
        let report =
            seal(&gold, &out, &["--computer-name", "WEB-01", "--sid", sid, "--allow", "dirty-hive,domain-member"]);
        assert_ne!(new_sid(&report), old_sid());
        assert_eq!(secrets::dump(&bench, &out, &format!("after{i}")).as_ref(), Some(&kept));
        rig::accounts::assert_equal_but_for_the_sid(&gold, &out, &old_sid(), &new_sid(&report));
    }
}
