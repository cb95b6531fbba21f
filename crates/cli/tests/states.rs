//! The states that an image can be sealed to: OOBE, audit, without generalizing, by reference, after a half-done Sysprep.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_hive::types;
use rig::machine::{self, Machine, Mangle, Rig};
use rig::{new_sid, old_sid, reseal, seal, value, values};

const AUDIT_FILE: &str = r"Windows\Panther\Unattend\Unattend.xml";
const CACHED_FILE: &str = r"Windows\Panther\unattend.xml";
const REQUEST: &str = r"Setup\SetupCl\PendingRequest";
const PASSES: &str = r"Setup\Status\UnattendPasses";
const PNP: &str = r"Setup\Sysprep\Settings\sppnp";

fn exists(image: &str, path: &str) -> bool {
    reseal(["fs", "ls", image, path]).code == 0
}

fn image_state(image: &str) -> String {
    let key = r"Microsoft\Windows\CurrentVersion\Setup\State";
    value(image, "SOFTWARE", key, "ImageState").unwrap().as_str().unwrap().to_owned()
}

#[test]
fn audit_mode_by_the_answer_file() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        m.file(CACHED_FILE, b"<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"/>");
    });
    let out = rig.out("audit.raw");
    let report = seal(&gold, &out, &["--audit"]);
    // The documented way is a sealed image and a file that asks for audit mode.
    assert_eq!(image_state(&out), "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");
    let file = reseal(["fs", "cat", &out, AUDIT_FILE]).exits(0).text();
    assert!(file.contains("<Reseal><Mode>Audit</Mode></Reseal>"), "{file}");
    assert!(!exists(&out, CACHED_FILE), "one answer file is in force");
    assert_eq!(reseal(["fs", "acl", &out, AUDIT_FILE]).text().trim(), "O:BAG:SYD:PAI(A;;FA;;;SY)(A;;FA;;;BA)");
    assert_ne!(new_sid(&report), old_sid());
    reseal(["verify", &out]).exits(0);
    reseal(["generalize", &out, "-n", "--audit"]).exits(5);

    // Back to OOBE: the file that asks for audit mode goes.
    let again = rig.out("oobe.raw");
    let answer = rig.bench.write("answer.xml", b"<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"></unattend>");
    seal(&out, &again, &["--oobe", "--unattend", &answer]);
    assert!(!exists(&again, AUDIT_FILE) && exists(&again, CACHED_FILE));
    reseal(["generalize", &gold, "-n", "--audit", "--oobe"]).exits(2);
}

#[test]
fn only_the_state_without_generalizing() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        for (pass, number) in [("specialize", 9), ("oobeSystem", 2), ("auditUser", 9)] {
            m.dword("SYSTEM", PASSES, pass, number);
        }
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 7);
    });
    let out = rig.out("oobe.raw");
    let report = seal(&gold, &out, &["--no-generalize", "--oobe", "--computer-name", "WEB-07"]);
    assert_eq!(image_state(&out), "IMAGE_STATE_SPECIALIZE_RESEAL_TO_OOBE");
    assert!(report["plan"]["sid"].is_null());
    // What only specialize makes anew is still there.
    for (hive, key, name) in [
        ("SOFTWARE", r"Microsoft\Cryptography", "MachineGuid"),
        ("SYSTEM", "RNG", "Seed"),
        ("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState"),
    ] {
        assert_eq!(value(&out, hive, key, name), value(&gold, hive, key, name), "{key}");
    }
    assert_eq!(values(&out, "SYSTEM", "MountedDevices"), values(&gold, "SYSTEM", "MountedDevices"));
    let pass = |name| value(&out, "SYSTEM", PASSES, name).unwrap();
    assert_eq!((pass("specialize"), pass("oobeSystem"), pass("auditUser")), ("9".into(), "0".into(), "9".into()));
    // Specialize does not come, so the hives alone name the computer.
    let name = value(&out, "SYSTEM", r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName");
    assert_eq!(name.unwrap(), "WEB-07");
    assert!(!exists(&out, CACHED_FILE));
    let verified = reseal(["verify", &out, "--json"]).exits(0).json();
    assert_eq!(verified["states"][0], "sealed to OOBE without generalizing");
    reseal(["generalize", &out, "-n", "--no-generalize", "--computer-name", "WEB-07"]).exits(5);

    // It was not generalized: that comes now, with a SID of its own.
    let sealed = rig.out("sealed.raw");
    let report = seal(&out, &sealed, &[]);
    assert_ne!(new_sid(&report), old_sid());
    assert_eq!(value(&sealed, "SOFTWARE", r"Microsoft\Cryptography", "MachineGuid"), None);
    assert_eq!(image_state(&sealed), "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");

    reseal(["generalize", &gold, "-n", "--no-generalize", "--mode", "vm"]).exits(2).says("--mode vm");
    reseal(["generalize", &gold, "-n", "--audit", "--mode", "vm"]).exits(2);
}

#[test]
fn a_sid_that_windows_shall_draw() {
    let rig = Rig::new();
    let out = rig.out("deferred.raw");
    let report = seal(&rig.sound, &out, &["--sid", "defer"]);
    assert!(report["plan"]["sid"].is_null());
    assert_eq!(value(&out, "SYSTEM", REQUEST, "OperationFlags").unwrap(), "4");
    let findings = report["plan"]["findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|f| f["id"] == "sid-deferred" && f["detail"].as_str().unwrap().contains("experimental"))
    );
    reseal(["generalize", &rig.sound, "-o", &rig.out("x.raw"), "--sid", "defer"]).exits(0).says("experimental");
    reseal(["generalize", &out, "-n", "--sid", "defer"]).exits(5);

    // An image that was sealed with a request keeps it, or each copy would keep the one old SID.
    reseal(["generalize", &out, "-n"]).exits(5);
    // A SID that is written or kept leaves no second writer.
    for (name, sid) in [("random.raw", "random"), ("keep.raw", "keep")] {
        let other = rig.out(name);
        seal(&out, &other, &["--sid", sid]);
        assert_eq!(values(&other, "SYSTEM", REQUEST), []);
    }
    // Where no setupcl has ever left its key, nobody knows whether one would look.
    let without = rig.planted("without.raw", |m| {
        m.hive("SYSTEM", |hive| {
            let key = hive.key(REQUEST).unwrap().unwrap();
            hive.delete_key(key).unwrap();
        });
    });
    reseal(["generalize", &without, "-n", "--sid", "defer"]).exits(7).says("PendingRequest");
}

#[test]
fn the_state_of_a_reference() {
    let rig = Rig::new();
    // As Sysprep might have left it: other numbers than ours, and a state that nobody has documented.
    let sealed = rig.out("sealed.raw");
    seal(&rig.sound, &sealed, &[]);
    machine::planted(&sealed, &rig.bench.path("reference.raw"), Mangle::No, |m| {
        m.dword("SYSTEM", "Setup", "OOBEInProgress", 0);
        m.dword("SYSTEM", "Setup", "RestartSetup", 1);
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 4);
        m.dword("SYSTEM", PASSES, "generalize", 9);
        m.dword("SYSTEM", REQUEST, "OperationFlags", 4);
        m.set("SYSTEM", r"ControlSet001\Control\Session Manager", "SETUPEXECUTE", types::MULTI_SZ, &[0, 0]);
    });
    let reference = rig.out("reference.raw");
    let gold = rig.planted("gold.raw", |m| {
        m.dword("SYSTEM", PASSES, "auditUser", 9);
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 7);
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "CleanupState", 2);
    });
    let out = rig.out("out.raw");
    seal(&gold, &out, &["--reference", &reference]);
    for key in ["Setup", PASSES, r"Setup\Status\ChildCompletion", r"Setup\Status\SysprepStatus"] {
        assert_eq!(values(&out, "SYSTEM", key), values(&reference, "SYSTEM", key), "{key}");
    }
    for set in ["ControlSet001", "ControlSet002"] {
        assert!(value(&out, "SYSTEM", &format!(r"{set}\Control\Session Manager"), "SETUPEXECUTE").is_some());
    }
    assert_eq!(values(&out, "SYSTEM", REQUEST), [], "the SID was written: the request is not taken over");
    reseal(["generalize", &out, "-n", "--reference", &reference]).exits(5);

    // What is no reference.
    reseal(["generalize", &gold, "-n", "--reference", &gold]).exits(3).says("it is no sealed image");
    machine::planted(&reference, &rig.bench.path("other.raw"), Mangle::No, |m| {
        m.sz("SOFTWARE", r"Microsoft\Windows NT\CurrentVersion", "CurrentBuild", "17763");
    });
    reseal(["generalize", &gold, "-n", "--reference", &rig.out("other.raw")]).exits(3).says("same build");
    let wim = rig.bench.write("install.wim", b"MSWIM\0\0\0 and so on");
    reseal(["generalize", &gold, "-n", "--reference", &wim]).exits(7).says("WIM header");
    reseal(["generalize", &gold, "-n", "--reference", &reference, "--no-generalize"]).exits(2);
}

#[test]
fn what_sysprep_left_half_way_is_repaired() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 3);
        m.dword("SOFTWARE", r"Microsoft\Windows\CurrentVersion\Setup\Sysprep", "SysprepCorrupt", 1);
        m.sz("SOFTWARE", r"Microsoft\Windows\CurrentVersion\Setup\State", "ImageState", "IMAGE_STATE_UNDEPLOYABLE");
    });
    reseal(["generalize", &gold, "-n"]).exits(3).says("--repair");
    let out = rig.out("repaired.raw");
    seal(&gold, &out, &["--repair"]);
    assert_eq!(image_state(&out), "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");
    reseal(["hive", "ls", &out, "--hive", "SYSTEM", r"Setup\Status\SysprepStatus"]).exits(1);
    let marker = r"Microsoft\Windows\CurrentVersion\Setup\Sysprep";
    assert_eq!(value(&out, "SOFTWARE", marker, "SysprepCorrupt"), None);
    reseal(["verify", &out]).exits(0);
    reseal(["generalize", &out, "-n", "--repair"]).exits(5);
}

#[test]
fn verify_tells_a_half_sealed_image() {
    let rig = Rig::new();
    let sealed = rig.out("sealed.raw");
    seal(&rig.sound, &sealed, &[]);
    type Fault = (&'static str, fn(&mut Machine));
    let faults: [Fault; 5] = [
        ("SystemSetupInProgress is 0", |m| m.dword("SYSTEM", "Setup", "SystemSetupInProgress", 0)),
        ("SetupType is 0", |m| m.dword("SYSTEM", "Setup", "SetupType", 0)),
        ("CmdLine is \"\"", |m| m.sz("SYSTEM", "Setup", "CmdLine", "")),
        ("GeneralizationState is 3", |m| {
            m.dword("SYSTEM", r"Setup\Status\SysprepStatus", "GeneralizationState", 3);
        }),
        ("it does not say", |m| m.file(r"Windows\Setup\State\State.ini", b"[State]\r\nImageState=\"X\"\r\n")),
    ];
    for (what, plant) in faults {
        let name = rig.out("half.raw");
        machine::planted(&sealed, &rig.bench.path("half.raw"), Mangle::No, plant);
        let verified = reseal(["verify", &name, "--json"]).exits(4).json();
        let findings = verified["findings"].as_array().unwrap();
        let [finding] = &findings[..] else { panic!("{what}: {findings:?}") };
        assert_eq!(finding["id"], "half-sealed");
        assert!(finding["detail"].as_str().unwrap().contains(what), "{finding}");
        std::fs::remove_file(name).unwrap();
    }
}

#[test]
fn settings_of_passes_that_do_not_run() {
    let rig = Rig::new();
    let answer = |switches: &str, name: &str| {
        let component = |name: &str, inner: &str| {
            format!(
                "<component name=\"{name}\" processorArchitecture=\"amd64\" publicKeyToken=\"31bf3856ad364e35\" \
                 language=\"neutral\" versionScope=\"nonSxS\">{inner}</component>"
            )
        };
        let text = format!(
            "<unattend xmlns=\"urn:schemas-microsoft-com:unattend\"><settings pass=\"generalize\">{}{}</settings>\
             <settings pass=\"offlineServicing\">{}</settings></unattend>",
            component("Microsoft-Windows-PnpSysprep", switches),
            component("Microsoft-Windows-Security-SPP", "<SkipRearm>1</SkipRearm>"),
            component("Microsoft-Windows-Shell-Setup", &format!("<ComputerName>{name}</ComputerName>"))
        );
        rig.bench.write("answer.xml", text.as_bytes())
    };
    let out = rig.out("a.raw");
    let file = answer(
        "<PersistAllDeviceInstalls>false</PersistAllDeviceInstalls><DoNotCleanUpNonPresentDevices>true</DoNotCleanUpNonPresentDevices>",
        "LAB-03",
    );
    seal(&rig.sound, &out, &["--unattend", &file]);
    let pnp = |image: &str, name| value(image, "SYSTEM", PNP, name);
    assert_eq!(pnp(&out, "PersistAllDeviceInstalls").unwrap(), "0");
    assert_eq!(pnp(&out, "DoNotCleanUpNonPresentDevices").unwrap(), "1");
    // The name that DISM would apply is applied, and stays in specialize.
    let name = value(&out, "SYSTEM", r"ControlSet001\Control\ComputerName\ComputerName", "ComputerName");
    assert_eq!(name.unwrap(), "LAB-03");
    let placed = reseal(["fs", "cat", &out, CACHED_FILE]).exits(0).text();
    let specialize = placed.split("<settings pass=\"specialize\">").nth(1).unwrap();
    assert!(specialize.contains("<ComputerName>LAB-03</ComputerName>"), "{placed}");
    reseal(["generalize", &out, "-n", "--unattend", &file]).exits(5);
    reseal(["generalize", &rig.sound, "-n", "--unattend", &file, "--computer-name", "B"]).exits(2).says("LAB-03");

    // Without an answer file the key is not made, and where it is, devices are kept.
    let (plain, there) = (rig.out("plain.raw"), rig.out("there.raw"));
    seal(&rig.sound, &plain, &[]);
    assert_eq!(pnp(&plain, "PersistAllDeviceInstalls"), None);
    let gold = rig.planted("gold.raw", |m| m.dword("SYSTEM", PNP, "PersistAllDeviceInstalls", 0));
    seal(&gold, &there, &[]);
    assert_eq!(pnp(&there, "PersistAllDeviceInstalls").unwrap(), "1");
}

#[test]
fn what_the_recipe_excludes_for_virtual_machines() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        let recipe = r#"<sysprepInformation><imaging exclude="vm"><assemblyIdentity name="A" processorArchitecture="amd64"/>
            <sysprepOrder order="0x0100"/><registryActions>
            <deleteValue path="HKEY_LOCAL_MACHINE\SOFTWARE\Made up" name="Id"/></registryActions></imaging></sysprepInformation>"#;
        m.file(r"Windows\System32\Sysprep\ActionFiles\Generalize.xml", recipe.as_bytes());
        m.sz("SOFTWARE", "Made up", "Id", "4711");
    });
    let id = |image: &str| value(image, "SOFTWARE", "Made up", "Id");
    let (plain, vm) = (rig.out("plain.raw"), rig.out("vm.raw"));
    seal(&gold, &plain, &[]);
    assert_eq!(id(&plain), None);
    let report = seal(&gold, &vm, &["--mode", "vm"]);
    assert_eq!(id(&vm).unwrap(), "4711");
    assert_eq!(report["plan"]["recipe"][0]["outcome"], "left");
}

#[test]
fn each_entry_of_specialize_has_its_twin_beside_it() {
    let rig = Rig::new();
    let gold = rig.planted("gold.raw", |m| {
        let node = |name: &str, order: &str, module: &str, method: &str| {
            format!(
                r#"<imaging exclude=""><assemblyIdentity name="{name}" processorArchitecture="amd64"/><sysprepOrder order="{order}"/>
                <sysprepModule methodName="{method}" moduleName="$(runtime.system32)\{module}"/></imaging>"#
            )
        };
        let file = |nodes: String| format!("<sysprepInformation>{nodes}</sysprepInformation>").into_bytes();
        let generalize = node("A", "0x0100", "capisp.dll", "CAPISysPrep_Generalize")
            + &node("B", "0x0200", "slc.dll", "SLReArmWindows");
        let specialize = node("A", "0x0100", "capisp.dll", "CryptoSysPrep_Specialize")
            + &node("B", "0x0200", "slc.dll", "Later")
            + &node("C", "0x0300", "scecli.dll", "SceSysPrep");
        let folder = r"Windows\System32\Sysprep\ActionFiles";
        m.file(&format!(r"{folder}\Generalize.xml"), &file(generalize));
        m.file(&format!(r"{folder}\Specialize.xml"), &file(specialize));
        m.file(&format!(r"{folder}\Cleanup.xml"), &file(node("D", "0x0100", "spopk.dll", "Sysprep_Clean_Validate_Opk")));
    });
    let report = seal(&gold, &rig.out("out.raw"), &[]);
    let entries = report["plan"]["recipe"].as_array().unwrap();
    let by = |file: &str, wants: &str| {
        let entry = entries.iter().find(|e| e["file"] == file && e["wants"] == wants).unwrap();
        format!("{} {}", entry["outcome"].as_str().unwrap(), entry["by"].as_str().unwrap())
    };
    assert_eq!(by("Generalize.xml", "slc.dll!SLReArmWindows"), "left not asked for: activation");
    assert_eq!(by("Generalize.xml", "capisp.dll!CAPISysPrep_Generalize"), "step machine-ids");
    assert_eq!(
        by("Specialize.xml", "capisp.dll!CryptoSysPrep_Specialize"),
        "first start capisp.dll!CAPISysPrep_Generalize: step machine-ids"
    );
    assert!(by("Specialize.xml", "slc.dll!Later").ends_with("left not asked for: activation"));
    assert!(by("Specialize.xml", "scecli.dll!SceSysPrep").ends_with("no twin in Generalize.xml"));
    assert_eq!(by("Cleanup.xml", "spopk.dll!Sysprep_Clean_Validate_Opk"), "guard pending-servicing");
}
