//! What is done only when it is asked for, and new ids that are drawn.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::types;
use rig::machine::{Machine, Rig};
use rig::{reseal, seal, value, values};

const KEYS: &str = r"ProgramData\Microsoft\Crypto\RSA\MachineKeys";
const SCRIPT: &str = r"Windows\Setup\Scripts\SetupComplete.cmd";
const ENUM: &str = r"ControlSet001\Enum";

fn is_there(image: &str, path: &str) -> bool {
    reseal(["fs", "ls", image, path]).code == 0
}

fn has_key(image: &str, hive: &str, key: &str) -> bool {
    reseal(["hive", "ls", image, "--hive", hive, key]).code == 0
}

fn plant_secrets(m: &mut Machine) {
    m.file(&format!(r"{KEYS}\f0e1_machine"), b"a private key");
    m.file(r"ProgramData\Microsoft\Crypto\Keys\0a_cng", b"another");
    m.file(r"Windows\System32\Microsoft\Protect\S-1-5-18\User\guid", b"a master key");
    m.file(r"Windows\ServiceProfiles\LocalService\AppData\Roaming\Microsoft\Protect\S-1-5-19\guid", b"a master key");
    m.set("SECURITY", r"Policy\Secrets\DPAPI_SYSTEM\CurrVal", "", types::NONE, &[7; 60]);
    m.set("SOFTWARE", r"Microsoft\SystemCertificates\MY\Certificates\AB12", "Blob", types::BINARY, &[7; 60]);
}

#[test]
fn secrets_of_the_machine_go_as_a_whole_or_stay() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", plant_secrets);
    let places = [
        format!(r"{KEYS}\f0e1_machine"),
        r"ProgramData\Microsoft\Crypto\Keys\0a_cng".to_owned(),
        r"Windows\System32\Microsoft\Protect\S-1-5-18\User".to_owned(),
        r"Windows\ServiceProfiles\LocalService\AppData\Roaming\Microsoft\Protect\S-1-5-19".to_owned(),
    ];
    let secret = |image: &str| has_key(image, "SECURITY", r"Policy\Secrets\DPAPI_SYSTEM");
    let certificate = |image: &str| has_key(image, "SOFTWARE", r"Microsoft\SystemCertificates\MY\Certificates\AB12");
    let (kept, dropped) = (rig.out("kept.raw"), rig.out("dropped.raw"));
    seal(&gold, &kept, &[]);
    assert!(places.iter().all(|place| is_there(&kept, place)) && secret(&kept) && certificate(&kept));
    seal(&gold, &dropped, &["--machine-secrets", "drop"]);
    assert!(!places.iter().any(|place| is_there(&dropped, place)) && !secret(&dropped) && !certificate(&dropped));
    assert!(is_there(&dropped, KEYS), "the folder stays");
    reseal(["generalize", &dropped, "-n", "--machine-secrets", "drop"]).exits(5);

    // A half is the failure: with keys of IIS all of it stays, or all of it goes.
    let iis = rig.planted("iis.raw", |m| {
        plant_secrets(m);
        m.file(&format!(r"{KEYS}\6de9cb26d2b98c01ec4e9e8b34824aa2_guid"), b"iisConfigurationKey");
    });
    let run = reseal(["generalize", &iis, "-n", "--machine-secrets", "drop"]).exits(3);
    run.says("IIS keeps 1 keys");
    let given_up = rig.out("given-up.raw");
    seal(&iis, &given_up, &["--machine-secrets", "drop", "--allow", "role"]);
    assert!(!secret(&given_up) && !places.iter().any(|place| is_there(&given_up, place)));
}

#[test]
fn licensing_is_rearmed_by_a_script_that_overwrites_none() {
    let rig = Rig::new();
    let (gold, out) = (rig.planted("gold.raw", |_| {}), rig.out("out.raw"));
    let says_it_stays = |more: &[&str]| {
        let plan =
            reseal(["generalize", &gold, "-n", "--json"].into_iter().chain(more.iter().copied())).exits(0).json();
        plan["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().starts_with("activation: "))
    };
    assert!(says_it_stays(&[]) && !says_it_stays(&["--activation", "rearm"]));
    seal(&gold, &out, &["--activation", "rearm"]);
    let script = reseal(["fs", "cat", &out, SCRIPT]).exits(0).text();
    assert!(script.lines().any(|line| line.ends_with(r#"slmgr.vbs" /rearm"#)), "{script}");
    reseal(["generalize", &out, "-n", "--activation", "rearm"]).exits(5);

    let own = rig.planted("own.raw", |m| m.file(SCRIPT, b"echo mine\r\n"));
    let kept = rig.out("kept.raw");
    let report = seal(&own, &kept, &["--activation", "rearm"]);
    assert_eq!(reseal(["fs", "cat", &kept, SCRIPT]).exits(0).text(), "echo mine\r\n");
    let findings = report["plan"]["findings"].as_array().unwrap();
    let told = findings.iter().find(|f| f["id"] == "setup-complete-kept").expect("it is told");
    assert!(told["detail"].as_str().unwrap().contains("slmgr.vbs"), "{told}");

    let skip = r#"<unattend xmlns="urn:schemas-microsoft-com:unattend"><settings pass="generalize"><component name="Microsoft-Windows-Security-SPP"
        processorArchitecture="amd64" publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"><SkipRearm>1</SkipRearm></component></settings></unattend>"#;
    let answer = rig.bench.write("skip.xml", skip.as_bytes());
    reseal(["generalize", &gold, "-n", "--activation", "rearm", "--unattend", &answer]).exits(2).says("SkipRearm");
}

const MOUSE: &str = "{4d36e96f-e325-11ce-bfc1-08002be10318}";
const DISPLAY: &str = "{4d36e968-e325-11ce-bfc1-08002be10318}";
const STORAGE: &str = "{4d36e97b-e325-11ce-bfc1-08002be10318}";
const NETWORK: &str = "{4d36e972-e325-11ce-bfc1-08002be10318}";
const INTERFACES: &str = r"ControlSet001\Control\DeviceClasses\{378de44c-56ef-11d1-bc8c-00a0c91405dd}";
const BOX: &str = r"ControlSet001\Control\DeviceContainers\{11111111-2222-3333-4444-555555555555}\BaseContainers\{11111111-2222-3333-4444-555555555555}";

/// Path below `Enum`, class, and whether it goes.
const DEVICES: &[(&str, &str, bool)] = &[
    (r"USB\VID_046D&PID_C52B\5&2c", MOUSE, true),
    (r"PCI\VEN_1234&DEV_1111\3&13", DISPLAY, true),
    (r"PCI\VEN_1AF4&DEV_1001\3&14", STORAGE, false),
    (r"PCI\VEN_8086&DEV_100E\3&15", NETWORK, false),
    (r"ROOT\BasicDisplay\0000", DISPLAY, false),
    (r"ACPI\PNP0F13\4&1d", MOUSE, false),
];

#[test]
fn devices_that_a_start_needs_are_never_forgotten() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        for (at, (path, class, _)) in DEVICES.iter().enumerate() {
            m.sz("SYSTEM", &format!(r"{ENUM}\{path}"), "ClassGUID", class);
            m.sz("SYSTEM", &format!(r"{ENUM}\{path}"), "Driver", &format!(r"{class}\{at:04}"));
            m.sz("SYSTEM", &format!(r"{ENUM}\{path}"), "ContainerID", "{11111111-2222-3333-4444-555555555555}");
            m.sz("SYSTEM", &format!(r"ControlSet001\Control\Class\{class}\{at:04}"), "DriverDesc", path);
            m.sz(
                "SYSTEM",
                &format!(r"{INTERFACES}\##?#{}#{{378de44c}}", path.replace('\\', "#")),
                "DeviceInstance",
                path,
            );
            m.sz("SYSTEM", BOX, path, "");
        }
    });
    let (kept, dropped) = (rig.out("kept.raw"), rig.out("dropped.raw"));
    seal(&gold, &kept, &[]);
    assert_eq!(values(&kept, "SYSTEM", BOX).len(), DEVICES.len());
    seal(&gold, &dropped, &["--devices", "drop"]);
    for (at, (path, class, goes)) in DEVICES.iter().enumerate() {
        let places = [
            format!(r"{ENUM}\{path}"),
            format!(r"ControlSet001\Control\Class\{class}\{at:04}"),
            format!(r"{INTERFACES}\##?#{}#{{378de44c}}", path.replace('\\', "#")),
        ];
        for place in places {
            assert!(has_key(&kept, "SYSTEM", &place), "{place}");
            assert_eq!(has_key(&dropped, "SYSTEM", &place), !goes, "{place}");
        }
        assert_eq!(value(&dropped, "SYSTEM", BOX, path).is_none(), *goes, "{path}");
    }
    reseal(["generalize", &dropped, "-n", "--devices", "drop"]).exits(5);
}

const CONTACT: &str = "0b89eb4a-dc57-463c-851c-0630c8218116";
const SERVICE: &str = "ced2de40-bff6-11ce-9de8-00aa00a3f464";

#[test]
fn ids_of_transactions_and_queues_are_new_everywhere() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        for list in [r"Classes\CID", r"Classes\CID.Local"] {
            m.sz("SOFTWARE", &format!(r"{list}\{CONTACT}\Description"), "", "MSDTCUIS");
            m.sz("SOFTWARE", &format!(r"{list}\{CONTACT}\Svcid"), "", SERVICE);
        }
        let service = format!(r"Classes\SVCID\{SERVICE}");
        m.sz("SOFTWARE", &format!(r"{service}\DefaultProvider"), "", CONTACT);
        m.sz("SOFTWARE", &format!(r"{service}\Providers\{CONTACT}"), "", "");
        m.set("SOFTWARE", r"Microsoft\MSDTC\Security\XAKeyCNGKeyDataBlob", CONTACT, types::BINARY, &[1; 28]);
        m.set("SOFTWARE", r"Microsoft\MSMQ\Parameters\MachineCache", "QMId", types::BINARY, &[9; 16]);
    });
    let out = rig.out("out.raw");
    seal(&gold, &out, &[]);
    let text = |key: &str| value(&out, "SOFTWARE", key, "").map(|v| v.as_str().unwrap().to_owned());
    let provider = text(&format!(r"Classes\SVCID\{SERVICE}\DefaultProvider")).unwrap();
    assert!(provider.len() == 36 && provider != CONTACT, "{provider}");
    for list in [r"Classes\CID", r"Classes\CID.Local"] {
        assert_eq!(text(&format!(r"{list}\{provider}\Description")).unwrap(), "MSDTCUIS");
        assert_eq!(
            text(&format!(r"{list}\{provider}\Svcid")).unwrap(),
            SERVICE,
            "the service's id is the same everywhere"
        );
        assert!(!has_key(&out, "SOFTWARE", &format!(r"{list}\{CONTACT}")));
    }
    assert!(has_key(&out, "SOFTWARE", &format!(r"Classes\SVCID\{SERVICE}\Providers\{provider}")));
    assert_eq!(values(&out, "SOFTWARE", r"Microsoft\MSDTC\Security\XAKeyCNGKeyDataBlob")[0].0, provider);
    let id = value(&out, "SOFTWARE", r"Microsoft\MSMQ\Parameters\MachineCache", "QMId").unwrap();
    assert!(id.as_str().is_some_and(|hex| hex.len() == 32 && hex != "09".repeat(16)), "{id}");
    assert_eq!(value(&out, "SOFTWARE", r"Microsoft\MSMQ\Parameters", "SysPrep").unwrap(), "1");
    reseal(["verify", &out, "--no-trace-of", CONTACT]).exits(0);
    reseal(["generalize", &out, "-n"]).exits(5);
}
