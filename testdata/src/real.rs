//! Real Windows data: published test sets, unpacked into one folder. Nothing of it is part of this project.

use crate::oracle::required;
use crate::windows::WindowsImage;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder with the unpacked sets: `RESEAL_DATA`, or `target/real`. `None` (with the reason printed) where it is absent;
/// panics when `RESEAL_REAL=require`.
#[allow(clippy::print_stdout, clippy::panic, reason = "a test says what it skips and ends with a panic")]
pub fn root() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/real");
    let root = std::env::var_os("RESEAL_DATA").map_or_else(default, PathBuf::from);
    if root.is_dir() {
        return Some(root);
    }
    if required("RESEAL_REAL") {
        panic!("RESEAL_REAL=require, but {} does not exist (run `cargo xtask setup`)", root.display());
    }
    println!("skipped: {} does not exist", root.display());
    None
}

/// A file of the sets; one that ends in `.xz` is unpacked.
pub fn read(root: &Path, path: &str) -> Result<Vec<u8>> {
    let full = root.join(path);
    if !path.ends_with(".xz") {
        return std::fs::read(&full).with_context(|| full.display().to_string());
    }
    let output =
        Command::new("xz").arg("-dc").arg(&full).stderr(Stdio::inherit()).output().context("xz does not run")?;
    if !output.status.success() {
        bail!("xz -dc {} ends with {}", full.display(), output.status);
    }
    Ok(output.stdout)
}

/// A hive with its logs, to be placed at a path of an image.
#[derive(Debug, Clone)]
pub struct PlacedFile {
    /// Path from the volume's root.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

fn place(root: &Path, folder: &str, list: &[(&str, &str)]) -> Result<Vec<PlacedFile>> {
    list.iter()
        .map(|(from, to)| Ok(PlacedFile { path: (*to).to_owned(), bytes: read(root, &format!("{folder}{from}"))? }))
        .collect()
}

/// Machine SID of set C.
pub const SET_C_SID: &str = "S-1-5-21-2290304894-658537038-505560459";
/// Machine SID of set A.
pub const SET_A_SID: &str = "S-1-5-21-4070822719-3404542230-2541167049";

const CONFIG: &str = r"Windows\System32\config\";

/// Set C: a Windows 10 workgroup machine; SYSTEM of set G (with its logs) and SOFTWARE of set F stand in for the two that
/// the set lacks.
pub fn set_c(root: &Path) -> Result<Vec<PlacedFile>> {
    let c = "AndrewRathbun+DFIRArtifactMuseum@history/Windows/Registry/Win10/RathbunVM/";
    let mut files = Vec::new();
    let config = [
        "SAM",
        "SAM.LOG1",
        "SAM.LOG2",
        "SECURITY",
        "SECURITY.LOG1",
        "DEFAULT",
        "DEFAULT.LOG1",
        "DEFAULT.LOG2",
        "BBI",
        "BBI.LOG1",
        "BBI.LOG2",
        "ELAM",
        "BCD-Template",
    ];
    for name in config {
        files.extend(place(root, c, &[(name, &format!("{CONFIG}{name}"))])?);
    }
    files.extend(place(
        root,
        c,
        &[
            ("NTUSER.DAT", r"Users\rathbun\NTUSER.DAT"),
            ("ntuser.dat.LOG1", r"Users\rathbun\ntuser.dat.LOG1"),
            ("ntuser.dat.LOG2", r"Users\rathbun\ntuser.dat.LOG2"),
            ("UsrClass.dat", r"Users\rathbun\AppData\Local\Microsoft\Windows\UsrClass.dat"),
            ("UsrClass.dat.LOG1", r"Users\rathbun\AppData\Local\Microsoft\Windows\UsrClass.dat.LOG1"),
            ("UsrClass.dat.LOG2", r"Users\rathbun\AppData\Local\Microsoft\Windows\UsrClass.dat.LOG2"),
            ("DEFAULT (NTUSER)/NTUSER.DAT", r"Users\Default\NTUSER.DAT"),
            ("DEFAULT (NTUSER)/NTUSER.DAT.LOG1", r"Users\Default\NTUSER.DAT.LOG1"),
            ("DEFAULT (NTUSER)/NTUSER.DAT.LOG2", r"Users\Default\NTUSER.DAT.LOG2"),
            ("LocalService/NTUSER.DAT", r"Windows\ServiceProfiles\LocalService\NTUSER.DAT"),
            ("LocalService/NTUSER.DAT.LOG1", r"Windows\ServiceProfiles\LocalService\NTUSER.DAT.LOG1"),
            ("LocalService/NTUSER.DAT.LOG2", r"Windows\ServiceProfiles\LocalService\NTUSER.DAT.LOG2"),
            ("NetworkService/NTUSER.DAT", r"Windows\ServiceProfiles\NetworkService\NTUSER.DAT"),
            ("NetworkService/NTUSER.DAT.LOG1", r"Windows\ServiceProfiles\NetworkService\NTUSER.DAT.LOG1"),
            ("NetworkService/NTUSER.DAT.LOG2", r"Windows\ServiceProfiles\NetworkService\NTUSER.DAT.LOG2"),
        ],
    )?);
    let amcache = "AndrewRathbun+DFIRArtifactMuseum/Amcache/Win10/RathbunVM/";
    let programs = r"Windows\AppCompat\Programs\";
    for name in ["Amcache.hve", "Amcache.hve.LOG1", "Amcache.hve.LOG2"] {
        files.extend(place(root, amcache, &[(name, &format!("{programs}{name}"))])?);
    }
    let g = "mkorman90+regipy/";
    for (from, to) in
        [("SYSTEM_B.xz", "SYSTEM"), ("SYSTEM_B.LOG1.xz", "SYSTEM.LOG1"), ("SYSTEM_B.LOG2.xz", "SYSTEM.LOG2")]
    {
        files.extend(place(root, g, &[(from, &format!("{CONFIG}{to}"))])?);
    }
    files.extend(place(root, "deb_plaso_20241006/", &[("SOFTWARE", &format!("{CONFIG}SOFTWARE"))])?);
    Ok(files)
}

/// Set A: a Windows 8.1 domain member whose SYSTEM and SOFTWARE are dirty and have lost their logs.
pub fn set_a(root: &Path) -> Result<Vec<PlacedFile>> {
    let list = [("SAM", "SAM"), ("SECURITY", "SECURITY"), ("SYSTEM", "SYSTEM"), ("SOFTWARE", "SOFTWARE")];
    let mut files = Vec::new();
    for (from, to) in list {
        files.extend(place(root, "deb_dfwinreg_20240316/", &[(from, &format!("{CONFIG}{to}"))])?);
    }
    files.extend(place(
        root,
        "deb_dfwinreg_20240316/",
        &[
            ("NTUSER.DAT", r"Users\user\NTUSER.DAT"),
            ("UsrClass.dat", r"Users\user\AppData\Local\Microsoft\Windows\UsrClass.dat"),
        ],
    )?);
    Ok(files)
}

/// Machine SID of set F.
pub const SET_F_SID: &str = "S-1-5-21-1760460187-1592185332-161725925";

/// Set F: a Windows 7 machine of a domain, without its SECURITY.
pub fn set_f(root: &Path) -> Result<Vec<PlacedFile>> {
    let list = ["SAM", "SYSTEM", "SOFTWARE"].map(|name| (name, format!("{CONFIG}{name}")));
    let mut files = Vec::new();
    for (from, to) in &list {
        files.extend(place(root, "deb_plaso_20241006/", &[(from, to)])?);
    }
    files.extend(place(root, "deb_plaso_20241006/", &[("NTUSER-WIN7.DAT", r"Users\user\NTUSER.DAT")])?);
    Ok(files)
}

/// The unique descriptors of set C's `$SDS` stream: entries of {hash, id, offset u64, length u32, descriptor}, aligned to 16,
/// in blocks of 256 KiB of which every second is a copy.
pub fn set_c_descriptors(root: &Path) -> Result<Vec<Vec<u8>>> {
    let path = "AndrewRathbun+DFIRArtifactMuseum/NTFSArtifacts/Secure_$SDS/Win10/RathbunVM/$Secure_$SDS";
    let bytes = read(root, path)?;
    let number = |at: usize| bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    let (mut out, mut at) = (Vec::new(), 0);
    while at + 20 <= bytes.len() {
        let (offset, len) = (number(at + 8), number(at + 16));
        if (at >> 18) & 1 == 1 || offset != at || len < 20 || at + len > bytes.len() {
            at = (at | 0x3_ffff) + 1;
            continue;
        }
        out.push(bytes[at + 20..at + len].to_vec());
        at = (at + len).next_multiple_of(16);
    }
    Ok(out)
}

/// The machine of set A, with its hives in their places.
pub fn machine_a(root: &Path) -> Result<WindowsImage> {
    Ok(WindowsImage { sid: SET_A_SID.parse()?, placed: set_a(root)?, ..WindowsImage::default() })
}

/// The machine of set C, with a file for each of its descriptors.
pub fn machine_c(root: &Path) -> Result<WindowsImage> {
    let descriptors = set_c_descriptors(root)?;
    Ok(WindowsImage { sid: SET_C_SID.parse()?, placed: set_c(root)?, descriptors, ..WindowsImage::default() })
}

/// The machine of set F.
pub fn machine_f(root: &Path) -> Result<WindowsImage> {
    Ok(WindowsImage { sid: SET_F_SID.parse()?, placed: set_f(root)?, ..WindowsImage::default() })
}
