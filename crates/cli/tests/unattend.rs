//! Answer files: what is wrong with them is said before a machine finds out, and what is right passes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use rig::machine::{self, Mangle};
use rig::{Bench, reseal};
use std::path::{Path, PathBuf};
use std::process::Command;

const SHELL: &str = "Microsoft-Windows-Shell-Setup";
const DEPLOYMENT: &str = "Microsoft-Windows-Deployment";

fn component(name: &str, inner: &str) -> String {
    format!(
        "<component name=\"{name}\" processorArchitecture=\"amd64\" publicKeyToken=\"31bf3856ad364e35\" \
         language=\"neutral\" versionScope=\"nonSxS\">\n{inner}\n</component>"
    )
}

fn pass(pass: &str, inner: &str) -> String {
    format!("<settings pass=\"{pass}\">\n{inner}\n</settings>")
}

fn file(inner: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n{inner}\n</unattend>\n")
}

fn shell(in_pass: &str, inner: &str) -> String {
    file(&pass(in_pass, &component(SHELL, inner)))
}

fn commands(inner: &str) -> String {
    file(&pass("specialize", &component(DEPLOYMENT, &format!("<RunSynchronous>{inner}</RunSynchronous>"))))
}

fn account(inner: &str) -> String {
    shell(
        "oobeSystem",
        &format!("<UserAccounts><LocalAccounts><LocalAccount>{inner}</LocalAccount></LocalAccounts></UserAccounts>"),
    )
}

/// What a file says wrongly, the line, and a part of what is said about it.
type Wrong = (&'static str, String, usize, &'static str);

fn wrong_structure() -> Vec<Wrong> {
    let settings = |inner: &str| file(&format!("<settings pass=\"specialize\">\n{inner}\n</settings>"));
    vec![
        (
            "not well formed",
            "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\">\n<settings>".into(),
            2,
            "not closed",
        ),
        ("a bare ampersand", file("<!-- -->\n<a>b & c</a>"), 4, "not well formed"),
        ("another root", "<Unattend xmlns=\"urn:schemas-microsoft-com:unattend\"/>".into(), 1, "is not the root"),
        ("no namespace", "<unattend></unattend>".into(), 1, "not in the namespace"),
        ("an undeclared prefix", file("<settings pass=\"specialize\" wcm:action=\"add\"/>"), 3, "prefix `wcm:`"),
        ("an unknown pass", file("<settings pass=\"Specialise\"/>"), 3, "there is no pass `Specialise`"),
        ("a pass in another case", file("<settings pass=\"oobesystem\"/>"), 3, "it is written oobeSystem"),
        ("no pass", file("<settings/>"), 3, "no attribute `pass`"),
        ("a component outside", file("<component name=\"X\"/>"), 3, "<component> is no part of an answer file"),
        ("a setting outside", settings("<ComputerName>A</ComputerName>"), 4, "where only <component> does"),
        (
            "half an identity",
            settings("<component name=\"X\" processorArchitecture=\"amd64\"/>"),
            4,
            "`publicKeyToken`",
        ),
        ("an unknown architecture", settings(&component("X", "").replace("amd64", "x64")), 4, "no architecture `x64`"),
    ]
}

fn wrong_settings() -> Vec<Wrong> {
    vec![
        (
            "a long name",
            shell("specialize", "<ComputerName>WEBSERVER-BERLIN-01</ComputerName>"),
            5,
            "1 to 15 characters",
        ),
        ("a name with a variable", shell("specialize", "<ComputerName>%SERIAL%</ComputerName>"), 5, "letters A to Z"),
        (
            "two names",
            shell("specialize", "<ComputerName>A</ComputerName>\n<ComputerName>B</ComputerName>"),
            6,
            "stands twice",
        ),
        ("a product key", shell("specialize", "<ProductKey>AAAAA-BBBBB</ProductKey>"), 5, "five groups"),
        ("a switch", shell("oobeSystem", "<OOBE><HideEULAPage>yes</HideEULAPage></OOBE>"), 5, "`true` or `false`"),
        ("a number", shell("oobeSystem", "<OOBE><ProtectYourPC>9</ProtectYourPC></OOBE>"), 5, "from 1 to 3"),
        (
            "a loop",
            file(&pass(
                "oobeSystem",
                &component(DEPLOYMENT, "<Reseal><Mode>OOBE</Mode><ForceShutdownNow>true</ForceShutdownNow></Reseal>"),
            )),
            5,
            "never ends OOBE",
        ),
        (
            "a mode",
            file(&pass("oobeSystem", &component(DEPLOYMENT, "<Reseal><Mode>Desktop</Mode></Reseal>"))),
            5,
            "Audit, OOBE",
        ),
    ]
}

fn wrong_commands_and_accounts() -> Vec<Wrong> {
    let long = "x".repeat(260);
    vec![
        (
            "a long command",
            commands(&format!("<RunSynchronousCommand><Order>1</Order><Path>{long}</Path></RunSynchronousCommand>")),
            5,
            "at most 259",
        ),
        (
            "a command of nothing",
            commands("<RunSynchronousCommand><Order>1</Order></RunSynchronousCommand>"),
            5,
            "nothing would run",
        ),
        (
            "a command without order",
            commands("<RunSynchronousCommand><Path>a</Path></RunSynchronousCommand>"),
            5,
            "no <Order>",
        ),
        (
            "an order twice",
            commands(
                "<RunSynchronousCommand><Order>1</Order><Path>a</Path></RunSynchronousCommand>\n\
                 <RunSynchronousCommand><Order>1</Order><Path>b</Path></RunSynchronousCommand>",
            ),
            6,
            "also in line 5",
        ),
        (
            "a reboot",
            commands(
                "<RunSynchronousCommand><Order>1</Order><Path>a</Path><WillReboot>Yes</WillReboot></RunSynchronousCommand>",
            ),
            5,
            "Always, OnRequest, Never",
        ),
        ("an account name", account("<Name>a/b</Name><Group>Users</Group>"), 5, "`/` is not allowed"),
        ("a long account name", account("<Name>a-very-long-account-name</Name>"), 5, "1 to 20 are allowed"),
        (
            "a hidden password",
            account("<Name>a</Name><Password><Value>not base64!</Value><PlainText>false</PlainText></Password>"),
            5,
            "no base64",
        ),
        (
            "a used file",
            account("<Name>a</Name><Password><Value>*SENSITIVE*DATA*DELETED*</Value></Password>"),
            5,
            "was deleted by setup",
        ),
        (
            "nobody signs in",
            shell("oobeSystem", "<AutoLogon><Enabled>true</Enabled></AutoLogon>"),
            5,
            "names no Username",
        ),
    ]
}

#[test]
fn each_wrong_file_gets_one_clear_error() {
    let bench = Bench::new();
    let image = machine::sound(&bench);
    let wrong = [wrong_structure(), wrong_settings(), wrong_commands_and_accounts()].concat();
    assert!(wrong.len() >= 20);
    for (what, text, line, says) in wrong {
        let path = bench.write("wrong.xml", text.as_bytes());
        let run = reseal(["unattend", &path]);
        let said = run.text() + &run.err;
        let errors: Vec<&str> = said.lines().filter(|l| l.contains("error: ")).collect();
        let [error] = &errors[..] else { panic!("{what}: {said}") };
        assert!(error.contains(says) && error.contains(&format!("line {line}:")), "{what}: {error}");
        assert!(matches!(run.code, 2 | 4), "{what}: exit {}", run.code);
        // With the image it is a wrong request, and nothing is read or written.
        let out = bench.arg("out.raw");
        reseal(["generalize", &image, "-o", &out, "--unattend", &path]).exits(2).says(says);
        assert!(!bench.path("out.raw").exists());
    }
}

#[test]
fn what_does_nothing_is_a_warning_and_goes_on() {
    let bench = Bench::new();
    for (text, says) in [
        (shell("oobeSystem", "<ComputerName>A</ComputerName>"), "it belongs in specialize or offlineServicing"),
        (file(&pass("generalize", &component("Microsoft-Windows-Other", "<A>1</A>"))), "this pass never runs"),
        (
            file(&pass(
                "offlineServicing",
                &component("Microsoft-Windows-LUA-Settings", "<EnableLUA>false</EnableLUA>"),
            )),
            "DISM",
        ),
        (
            commands(
                "<RunSynchronousCommand><Order>1</Order><Path>cmd /c shutdown /r /t 0</Path></RunSynchronousCommand>",
            ),
            "WillReboot",
        ),
        (
            commands(
                "<RunSynchronousCommand><Order>1</Order><Path>C:\\Windows\\System32\\Sysprep\\sysprep.exe /oobe</Path></RunSynchronousCommand>",
            ),
            "not supported",
        ),
        (
            account("<Name>a</Name><Password><Value>YQBiAGMA</Value><PlainText>false</PlainText></Password>"),
            "does not end in `Password`",
        ),
        (file(&(pass("specialize", &(component(SHELL, "") + &component(SHELL, ""))))), "stands twice in the pass"),
    ] {
        let path = bench.write("warned.xml", text.as_bytes());
        let said = reseal(["unattend", &path]).exits(4).text();
        assert!(said.contains(": warning: ") && said.contains(says) && !said.contains(": error: "), "{said}");
    }
    // The same as findings of the plan.
    let image = machine::sound(&bench);
    let path = bench.write("warned.xml", shell("oobeSystem", "<ComputerName>A</ComputerName>").as_bytes());
    let plan = reseal(["generalize", &image, "-n", "--json", "--unattend", &path]).exits(0).json();
    let findings = plan["findings"].as_array().unwrap();
    assert!(findings.iter().any(|f| f["id"] == "answer-file" && f["place"] == "answer file, line 5"), "{findings:?}");
    reseal(["generalize", &image, "-n", "--strict", "--unattend", &path]).exits(3);
}

#[test]
fn what_depends_on_the_machine() {
    let bench = Bench::new();
    let path = bench.write("a.xml", shell("oobeSystem", "<OOBE/>").as_bytes());
    reseal(["unattend", &path]).exits(0);
    let server = reseal(["unattend", &path, "--server"]).exits(4).text();
    assert!(server.contains("without AdministratorPassword"), "{server}");
    let other = reseal(["unattend", &path, "--architecture", "arm64", "--json"]).exits(4).json();
    assert_eq!(other["complaints"][0]["id"], "architecture");

    // The image knows what it is.
    let sound = machine::sound(&bench);
    let arm = bench.write("arm.xml", shell("oobeSystem", "<OOBE/>").replace("amd64", "arm64").as_bytes());
    reseal(["generalize", &sound, "-n", "--unattend", &arm]).exits(2).says("this Windows is amd64");
    machine::planted(&sound, &bench.path("server.raw"), Mangle::No, machine::Machine::server);
    let plan = reseal(["generalize", &bench.arg("server.raw"), "-n", "--json", "--unattend", &path]).exits(0).json();
    assert!(plan["findings"].as_array().unwrap().iter().any(|f| f["id"] == "answer-file"));
}

fn answer_files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            answer_files(&path, out);
        } else if path.to_string_lossy().contains("unattend") && path.to_string_lossy().contains(".xml") {
            out.push(path);
        }
    }
}

/// The answer files that people use are read as an independent parser reads them, and none holds what we take for an error.
#[test]
fn the_corpus_is_read() {
    let Some(data) = reseal_testdata::real::root() else { return };
    let mut files = Vec::new();
    answer_files(&data, &mut files);
    assert!(files.len() >= 30, "{} answer files", files.len());
    let mut malformed = 0;
    for path in &files {
        let parse =
            "import sys, xml.dom.minidom\ntry: xml.dom.minidom.parse(sys.argv[1])\nexcept Exception: sys.exit(9)";
        let code = Command::new("python3").args(["-c", parse]).arg(path).status().unwrap().code();
        assert!(matches!(code, Some(0 | 9)), "python3 is needed as a witness");
        let run = reseal(["unattend".as_ref(), path.as_os_str()]);
        let said = run.text() + &run.err;
        assert_eq!(run.code == 2, code == Some(9), "{}: {said}", path.display());
        assert!(run.code == 2 || !said.contains(": error: "), "{}: {said}", path.display());
        malformed += usize::from(run.code == 2);
    }
    println!("{} answer files read, {malformed} of them not well formed, as Python's expat says too", files.len());
}
