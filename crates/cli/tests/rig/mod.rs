//! What the tests of the command share: running it, the images it works on, and a look at what is in them.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod accounts;
pub(crate) mod boot;
pub(crate) mod canaries;
pub(crate) mod census;
pub(crate) mod content;
pub(crate) mod drivers;
pub(crate) mod explained;
pub(crate) mod fixtures;
pub(crate) mod logical;
pub(crate) mod machine;
pub(crate) mod mount;
pub(crate) mod odd;
pub(crate) mod remains;
pub(crate) mod secrets;
pub(crate) mod snapshots;
pub(crate) mod wims;

use reseal_testdata::{ImageBuilder, WindowsImage, machine_sid};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What a run of the command left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
    line: String,
}

/// Runs the command under test.
pub(crate) fn reseal<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reseal"));
    command.args(args).env_remove("SOURCE_DATE_EPOCH");
    let line = format!("{command:?}");
    let output = command.output().expect("the command was built by this test run");
    let code = output.status.code().unwrap_or_else(|| panic!("{line} died: {}", output.status));
    Run { code, out: output.stdout, err: String::from_utf8_lossy(&output.stderr).into_owned(), line }
}

impl Run {
    /// The run, when it ended with this code; panics with everything it said otherwise.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{}\nstdout:\n{}\nstderr:\n{}", self.line, self.text(), self.err);
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.out)
            .unwrap_or_else(|e| panic!("{}: stdout is no JSON document: {e}\n{}", self.line, self.text()))
    }

    /// Whether stderr says this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Run {
        assert!(self.err.contains(text), "{} does not say `{text}`:\n{}", self.line, self.err);
        self
    }
}

/// Inputs that make runs comparable.
pub(crate) const FIXED: [&str; 4] = ["--seed", "acceptance", "--time", "2026-01-01T00:00:00Z"];

/// A folder for one test.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path as an argument.
    pub(crate) fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.path(name), bytes).expect("it can be written");
        self.arg(name)
    }

    /// The made-up machine in a dynamic VHDX.
    pub(crate) fn synthetic(&self) -> String {
        self.build("gold.vhdx", ImageBuilder::default(), &made_up())
    }

    pub(crate) fn build(&self, name: &str, builder: ImageBuilder, image: &WindowsImage) -> String {
        builder.build(&self.path(name), |volume| image.fill(volume)).expect("the image can be built");
        self.arg(name)
    }

    /// Names in the folder, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let read = std::fs::read_dir(self.dir.path()).expect("it exists");
        let mut out: Vec<String> =
            read.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        out.sort();
        out
    }
}

/// The made-up machine with some program files.
pub(crate) fn made_up() -> WindowsImage {
    WindowsImage { files: 120, ..WindowsImage::default() }
}

/// The machine SID of the made-up machine as text.
pub(crate) fn old_sid() -> String {
    machine_sid().to_string()
}

pub(crate) fn hash(path: impl AsRef<Path>) -> String {
    let bytes = std::fs::read(path.as_ref()).expect("it can be read");
    Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// `generalize IMAGE -o OUT` with fixed inputs and further arguments; the report.
#[track_caller]
pub(crate) fn seal(image: &str, out: &str, more: &[&str]) -> Value {
    let args = ["generalize", image, "-o", out, "--json"].into_iter().chain(FIXED).chain(more.iter().copied());
    let report = reseal(args).exits(0).json();
    assert_eq!(report["schema"], "reseal.report/1");
    report
}

/// The new machine SID of a report.
pub(crate) fn new_sid(report: &Value) -> String {
    report["plan"]["sid"]["new"].as_str().expect("the SID was replaced").to_owned()
}

/// How many values that hold the new SID as text a report says are removed.
pub(crate) fn sids_gone(report: &Value) -> usize {
    let new = new_sid(report);
    let changes = report["plan"]["changes"].as_array().expect("a list");
    let gone = |c: &&Value| c["after"].is_null() && c["before"].as_str().is_some_and(|before| before.contains(&new));
    changes.iter().filter(gone).count()
}

/// How many SIDs a report says are left: text of another length inside a value that is no text.
pub(crate) fn sids_left(report: &Value) -> usize {
    let findings = report["plan"]["findings"].as_array().expect("a list");
    findings.iter().filter(|f| f["id"] == "sid-left").count()
}

/// A value of a hive in an image, as `hive get --json` shows it; `None` where it is absent.
pub(crate) fn value(image: &str, hive: &str, key: &str, name: &str) -> Option<Value> {
    let run = reseal(["hive", "get", image, "--hive", hive, key, name, "--json"]);
    match run.code {
        0 => Some(run.json()["value"]["shown"].clone()),
        1 => None,
        _ => panic!("{run:?}"),
    }
}

/// Values of a key by name.
#[track_caller]
pub(crate) fn values(image: &str, hive: &str, key: &str) -> Vec<(String, String)> {
    let listing = reseal(["hive", "ls", image, "--hive", hive, key, "--json"]).exits(0).json();
    let list = listing["keys"][0]["values"].as_array().expect("a list").clone();
    list.iter().map(|v| (text(&v["name"]), text(&v["shown"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
