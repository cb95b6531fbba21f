//! Installs what is missing; changes nothing that is there.

use crate::shell::{command, real, root, run, shared, text};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

/// Debian packages: the program that tells that one is there, and its package.
const PROGRAMS: &[(&str, &str)] = &[
    ("mkntfs", "ntfs-3g"),
    ("ntfssecaudit", "ntfs-3g"),
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("hivexml", "libhivex-bin"),
    ("mkfs.fat", "dosfstools"),
    ("fsck.fat", "dosfstools"),
    ("mcopy", "mtools"),
    ("hivexregedit", "libwin-hivex-perl"),
    ("vshadowinfo", "libvshadow-utils"),
    ("7z", "p7zip-full"),
    ("sqlite3", "sqlite3"),
    ("xz", "xz-utils"),
    ("bzip2", "bzip2"),
    ("python3", "python3"),
    ("cc", "gcc"),
    // SQLite is C: the check for Windows hosts compiles it, too.
    ("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32"),
];

/// The same for headers: a test compiles a reader with libntfs-3g.
const HEADERS: &[(&str, &str)] = &[("ntfs-3g/volume.h", "ntfs-3g-dev"), ("stdio.h", "libc6-dev")];

/// Packages without a program of their own: needed for the account oracle and the benchmark volumes, only with shared tools.
const FOR_TOOLS: &[&str] = &[
    "python3-impacket",
    "python3-libvhdi",
    "python3-hivex",
    "python3-pycryptodome",
    "wimtools",
    "gdisk",
    "qemu-system-x86",
    "cpio",
];

pub(crate) fn setup() -> Result<()> {
    packages()?;
    toolchains();
    real_data()
}

fn has_program(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).chain(["/sbin".into(), "/usr/sbin".into()]).any(|dir| dir.join(name).exists())
}

fn has_header(name: &str) -> bool {
    ["/usr/include", "/usr/local/include"].iter().any(|dir| Path::new(dir).join(name).exists())
}

fn has_package(name: &str) -> bool {
    Command::new("dpkg").args(["-s", name]).output().is_ok_and(|o| o.status.success())
}

/// The Debian packages that are not here yet.
fn missing() -> Vec<&'static str> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !has_program(program)).map(|(_, package)| *package).collect();
    missing.extend(HEADERS.iter().filter(|(header, _)| !has_header(header)).map(|(_, package)| *package));
    if shared().is_some() {
        missing.extend(FOR_TOOLS.iter().filter(|package| !has_package(package)));
    }
    missing.sort_unstable();
    missing.dedup();
    missing
}

fn packages() -> Result<()> {
    // Twice: where Debian's backports are mixed in, installing one package can remove another that was there (`qemu-system-x86` of
    // the release and `qemu-utils` of the backports exclude each other), and only the second look sees it.
    for _ in 0..2 {
        let missing = missing();
        if missing.is_empty() {
            return Ok(());
        }
        install(&missing)?;
    }
    match missing().as_slice() {
        [] => Ok(()),
        still => bail!("installed, and still not here: {}", still.join(" ")),
    }
}

fn install(missing: &[&str]) -> Result<()> {
    if !has_program("apt-get") {
        bail!("please install these (their Debian names): {}", missing.join(" "));
    }
    println!("installing {}", missing.join(" "));
    let root_user = text(&mut command("id", &["-u"]))?.trim() == "0";
    let apt = |args: &[&str]| {
        let mut all = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get"];
        all.extend(args);
        let mut command =
            if root_user { command("env", &all) } else { command("sudo", &[&["env"], &all[..]].concat()) };
        run(&mut command)
    };
    let install = [&["install", "-y", "-qq", "--no-install-recommends"], missing].concat();
    // The package lists of a fresh machine may be older than the packages.
    apt(&["update", "-qq"])?;
    apt(&install).context("apt-get install")
}

/// Nightly for fuzzing and the Windows target. Neither is needed to build, test or use the program.
fn toolchains() {
    let Ok(list) = text(&mut command("rustup", &["toolchain", "list"])) else {
        println!("rustup is not here: fuzzing needs a nightly toolchain");
        return;
    };
    if !list.lines().any(|line| line.starts_with("nightly")) {
        let added = run(&mut command("rustup", &["toolchain", "install", "nightly", "--profile", "minimal"]));
        if added.is_err() {
            println!("no nightly toolchain could be added: `cargo xtask fuzz` will not run");
        }
    }
    let targets = text(&mut command("rustup", &["target", "list", "--installed"])).unwrap_or_default();
    if !targets.lines().any(|line| line == "x86_64-pc-windows-gnu") {
        let added = command("rustup", &["target", "add", "x86_64-pc-windows-gnu"]).output();
        if !added.is_ok_and(|o| o.status.success()) {
            println!("the target x86_64-pc-windows-gnu could not be added: `cargo xtask test` leaves its check out");
        }
    }
}

/// Unpacks the real data once.
fn real_data() -> Result<()> {
    let Some(shared) = shared() else {
        println!("no real data here: tests that need it are skipped");
        return Ok(());
    };
    let target = real();
    let done = target.join(".complete");
    if done.exists() || std::env::var_os("RESEAL_DATA").is_some() {
        return Ok(());
    }
    println!("unpacking real data (520 MB)");
    std::fs::create_dir_all(&target)?;
    for name in ["hives", "ntfs", "disks", "wim", "text"] {
        let archive = root().join(&shared).join(format!("data/{name}.tar.xz"));
        run(Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(&target))?;
    }
    std::fs::write(done, "")?;
    Ok(())
}
