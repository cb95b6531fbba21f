//! A machine leaves its domain: what Windows keeps of a membership goes, in the form that Windows gives to a workgroup.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test may fail and tell")]

mod rig;

use reseal_dtyp::{DomainSid, Sid, utf16le};
use reseal_hive::{Hive, types};
use reseal_testdata::{ImageBuilder, real};
use rig::explained::assert_plan_is_diff;
use rig::machine::{self, Machine, Mangle};
use rig::{Bench, content, old_sid, reseal, seal, value, values};
use std::collections::BTreeMap;

const DOMAIN: DomainSid = DomainSid([11, 22, 33]);
const ALIASES: &str = r"SAM\Domains\Builtin\Aliases";
const POLICY: &str = r"Microsoft\Windows\CurrentVersion\Group Policy";
const WINLOGON: &str = r"Microsoft\Windows NT\CurrentVersion\Winlogon";

/// {u16 length, u16 room, u32 8, UTF-16, NUL}.
fn name(text: &str) -> Vec<u8> {
    let units = utf16le(text);
    let len = units.len() as u16;
    [len.to_le_bytes().to_vec(), (len + 2).to_le_bytes().to_vec(), vec![8, 0, 0, 0], units, vec![0, 0]].concat()
}

fn put(hive: &mut Hive, key: &str, name: &str, ty: u32, data: &[u8]) {
    let key = hive.create_path(key).unwrap();
    hive.set_value(key, name, ty, data).unwrap();
}

/// Adds members to a local group, with their twins as Windows counts them; makes the group when it is not there.
fn add_to_group(hive: &mut Hive, group: u32, added: &[Sid]) {
    let path = format!(r"{ALIASES}\{group:08X}");
    let key = hive.create_path(&path).unwrap();
    let mut c = hive
        .value(key, "C")
        .unwrap()
        .map_or_else(|| [group.to_le_bytes().to_vec(), vec![0; 48]].concat(), |value| value.data);
    let number = |c: &[u8], at: usize| u32::from_le_bytes(c[at..at + 4].try_into().unwrap());
    let (mut len, mut count) = (number(&c, 44), number(&c, 48));
    for sid in added {
        let bytes = sid.to_bytes();
        (len, count) = (len + bytes.len() as u32, count + 1);
        c.extend(bytes);
        let (domain, rid) = (sid.domain().unwrap(), sid.rid().unwrap());
        let domain = format!(r"{ALIASES}\Members\{domain}");
        let twin = hive.create_path(&format!(r"{domain}\{rid:08X}")).unwrap();
        let mut groups = hive.value(twin, "").unwrap().map(|v| v.data).unwrap_or_default();
        groups.extend(group.to_le_bytes());
        hive.set_value(twin, "", groups.len() as u32 / 4, &groups).unwrap();
        let domain = hive.key(&domain).unwrap().unwrap();
        let number = hive.subkeys(domain).unwrap().len() as u32;
        hive.set_value(domain, "", number, &[]).unwrap();
    }
    c[44..48].copy_from_slice(&len.to_le_bytes());
    c[48..52].copy_from_slice(&count.to_le_bytes());
    hive.set_value(key, "C", types::BINARY, &c).unwrap();
}

fn join(m: &mut Machine) {
    m.hive("SECURITY", |hive| {
        for (key, data) in [
            ("PolPrDmN", name("LAB")),
            ("PolPrDmS", DOMAIN.sid().to_bytes()),
            ("PolDnDDN", name("lab.example")),
            ("PolDnTrN", name("lab.example")),
            ("PolDnDmG", vec![7; 16]),
            ("PolMachineAccountR", vec![0x51, 4, 0, 0]),
            ("PolMachineAccountS", DOMAIN.account(1105).to_bytes()),
        ] {
            put(hive, &format!(r"Policy\{key}"), "", types::NONE, &data);
        }
        for secret in ["$MACHINE.ACC", "_SC_GMSA_DPAPI_{1}", "NL$KM", "_SC_Backup"] {
            for part in ["CurrVal", "OldVal"] {
                put(hive, &format!(r"Policy\Secrets\{secret}\{part}"), "", types::NONE, &[0x5a; 64]);
            }
        }
        put(hive, "Cache", "NL$1", types::BINARY, &[0x5a; 500]);
    });
    m.hive("SAM", |hive| {
        let machine = reseal_testdata::machine_sid();
        add_to_group(hive, 544, &[DOMAIN.account(512), DOMAIN.account(1120)]);
        add_to_group(hive, 545, &[machine.account(1002), DOMAIN.account(513), machine.account(1001)]);
    });
    m.hive("SYSTEM", |hive| {
        for set in ["ControlSet001", "ControlSet002"] {
            let parameters = format!(r"{set}\Services\Tcpip\Parameters");
            put(hive, &parameters, "Domain", types::SZ, &utf16le("lab.example\0"));
            put(hive, &parameters, "NV Domain", types::SZ, &utf16le("lab.example\0"));
            put(hive, &format!(r"{set}\Services\Netlogon"), "Start", types::DWORD, &[2, 0, 0, 0]);
        }
    });
    m.hive("SOFTWARE", |hive| {
        for key in ["DataStore", "History", "State", "Status"] {
            put(hive, &format!(r"{POLICY}\{key}\{}", DOMAIN.account(1120)), "GPO", types::SZ, &utf16le("x\0"));
        }
        put(hive, WINLOGON, "DefaultDomainName", types::SZ, &utf16le("LAB\0"));
        let profile = format!(r"Microsoft\Windows NT\CurrentVersion\ProfileList\{}", DOMAIN.account(1120));
        put(hive, &profile, "ProfileImagePath", types::EXPAND_SZ, &utf16le("C:\\Users\\carl\0"));
    });
    m.file(r"Users\carl\NTUSER.POL", b"a domain user's");
    m.file(r"Windows\System32\GroupPolicy\DataStore\0\sysvol\lab.example\gpt.ini", b"x");
    m.file(r"ProgramData\Microsoft\Group Policy\History\{1}\gpt.ini", b"x");
}

fn hives(image: &str) -> BTreeMap<String, Hive> {
    content::hives(&content::volume(image))
}

fn of<'h>(hives: &'h BTreeMap<String, Hive>, name: &str) -> &'h Hive {
    &hives[&format!(r"\Windows\System32\config\{name}")]
}

fn raw(hive: &Hive, key: &str, name: &str) -> Option<(u32, Vec<u8>)> {
    let id = hive.key(key).unwrap()?;
    hive.value(id, name).unwrap().map(|v| (v.ty, v.data))
}

fn findings(report: &serde_json::Value, id: &str) -> Vec<String> {
    let list = report["plan"]["findings"].as_array().unwrap();
    let own = list.iter().filter(|f| f["id"] == id);
    own.map(|f| format!("{} {}", f["place"].as_str().unwrap(), f["detail"].as_str().unwrap())).collect()
}

/// Members of a local group, of which all are accounts of a machine or domain, and end where the value ends.
fn members(sam: &Hive, group: u32) -> Vec<Sid> {
    let c = raw(sam, &format!(r"{ALIASES}\{group:08X}"), "C").unwrap().1;
    let number = |at: usize| u32::from_le_bytes(c[at..at + 4].try_into().unwrap()) as usize;
    let at = 52 + number(40);
    assert_eq!((at + number(44), number(44)), (c.len(), 28 * number(48)));
    c[at..].chunks(28).map(|b| Sid::read_exact(b).unwrap()).collect()
}

/// The policy of a workgroup, as two real machines have it.
fn assert_workgroup(security: &Hive, workgroup: &str) {
    assert_eq!(raw(security, r"Policy\PolPrDmN", "").unwrap(), (0, name(workgroup)));
    for key in ["PolPrDmS", "PolDnDDN", "PolDnTrN"] {
        assert_eq!(raw(security, &format!(r"Policy\{key}"), "").unwrap(), (0, Vec::new()), "{key}");
    }
    assert_eq!(raw(security, r"Policy\PolDnDmG", "").unwrap(), (0, vec![0; 16]));
}

#[test]
fn a_member_becomes_a_machine_in_a_workgroup() {
    let bench = Bench::new();
    let sound = machine::sound(&bench);
    machine::planted(&sound, &bench.path("member.raw"), Mangle::No, join);
    let (member, out) = (bench.arg("member.raw"), bench.arg("sealed.raw"));
    reseal(["generalize", &member, "-n"]).exits(3).says("domain-member").says("--leave-domain");
    // What every step is asked for does not take a machine out of its domain.
    reseal(["generalize", &member, "-n", "--steps", "all"]).exits(3).says("domain-member");
    let report = seal(&member, &out, &["--leave-domain", "--workgroup", "Werk-7"]);
    let counts = assert_plan_is_diff(&member, &out, &report);
    println!("{} planned changes, {} differences", counts.planned, counts.found);

    let after = hives(&out);
    let security = of(&after, "SECURITY");
    assert_workgroup(security, "WERK-7");
    for key in ["PolMachineAccountR", "PolMachineAccountS"] {
        assert_eq!(raw(security, &format!(r"Policy\{key}"), "").unwrap(), (0, Vec::new()), "{key}");
    }
    for (secret, stays) in
        [("$MACHINE.ACC", false), ("_SC_GMSA_DPAPI_{1}", false), ("NL$KM", true), ("_SC_Backup", true)]
    {
        assert_eq!(security.key(&format!(r"Policy\Secrets\{secret}")).unwrap().is_some(), stays, "{secret}");
    }
    assert_eq!(raw(security, "Cache", "NL$1").unwrap().1.len(), 168);

    let new = rig::new_sid(&report).parse::<DomainSid>().unwrap();
    let sam = of(&after, "SAM");
    assert_eq!(members(sam, 544), [new.account(500), new.account(1001)]);
    assert_eq!(members(sam, 545), [new.account(1002), new.account(1001)]);
    let nobody = report["plan"]["sid"]["left_domain"][1].as_str().unwrap();
    assert_eq!(sam.key(&format!(r"{ALIASES}\Members\{DOMAIN}")).unwrap(), None);
    assert_eq!(sam.key(&format!(r"{ALIASES}\Members\{nobody}")).unwrap(), None);
    let own = format!(r"{ALIASES}\Members\{new}");
    let both = [544u32, 545].map(u32::to_le_bytes).concat();
    assert_eq!(raw(sam, &format!(r"{own}\{:08X}", 1001), "").unwrap(), (2, both));

    let system = of(&after, "SYSTEM");
    for set in ["ControlSet001", "ControlSet002"] {
        for name in ["Domain", "NV Domain"] {
            assert_eq!(raw(system, &format!(r"{set}\Services\Tcpip\Parameters"), name).unwrap(), (1, vec![0, 0]));
        }
        assert_eq!(raw(system, &format!(r"{set}\Services\Netlogon"), "Start").unwrap(), (4, vec![3, 0, 0, 0]));
    }
    for key in ["DataStore", "History", "State", "Status"] {
        let key = of(&after, "SOFTWARE").key(&format!(r"{POLICY}\{key}")).unwrap().expect("the key stays");
        assert!(of(&after, "SOFTWARE").subkeys(key).unwrap().is_empty());
    }
    assert_eq!(value(&out, "SOFTWARE", WINLOGON, "DefaultDomainName"), None);
    for folder in [r"Windows\System32\GroupPolicy\DataStore", r"ProgramData\Microsoft\Group Policy\History"] {
        assert_eq!(reseal(["fs", "ls", &out, folder]).exits(0).text().trim(), "", "{folder} is empty");
    }
    // Domain users' profiles stay, and are named; so is who was a member.
    reseal(["fs", "cat", &out, r"Users\carl\NTUSER.POL"]).exits(0);
    let profiles = findings(&report, "domain-profile");
    assert!(profiles.len() == 1 && profiles[0].contains(r"C:\Users\carl"), "{profiles:?}");
    let accounts = findings(&report, "domain-account");
    assert!(accounts.iter().any(|a| a.contains("group 544") && a.contains("-1120")), "{accounts:?}");
    let allowed = report["plan"]["allowed"].as_array().unwrap();
    assert!(allowed.iter().any(|r| r["id"] == "domain-member" && r["allowed"] == true));

    reseal(["verify", &out, "--no-trace-of", &old_sid()]).exits(0);
    // Who gets the image does not learn where it was a member.
    reseal(["verify", &out, "--no-trace-of", &DOMAIN.to_string()]).exits(0);
    reseal(["fs", "check", &out]).exits(0);
    // Twice is once, with and without the name.
    reseal(["generalize", &out, "-n", "--leave-domain", "--workgroup", "Werk-7"]).exits(5);
    reseal(["generalize", &out, "-n", "--leave-domain"]).exits(5);
    reseal(["generalize", &out, "-n"]).exits(5);
}

#[test]
fn what_is_asked_for_wrongly() {
    let bench = Bench::new();
    let sound = machine::sound(&bench);
    reseal(["generalize", &sound, "-n", "--workgroup", "LAB"]).exits(2);
    for bad in ["", "A/B", "sixteen letters!"] {
        reseal(["generalize", &sound, "-n", "--leave-domain", "--workgroup", bad]).exits(2).says("workgroup");
    }
    // A machine in a workgroup keeps its workgroup, or gets the one that was named.
    let run = reseal(["generalize", &sound, "-n", "--leave-domain", "--json"]).exits(0).json();
    let changes = |run: &serde_json::Value| {
        run["changes"].as_array().unwrap().iter().filter(|c| c["step"] == "leave-domain").count()
    };
    assert_eq!(changes(&run), 0);
    let run = reseal(["generalize", &sound, "-n", "--leave-domain", "--workgroup", "lab", "--json"]).exits(0).json();
    assert_eq!(changes(&run), 1);
    // A service that an administrator has disabled stays so, and a controller does not leave.
    machine::planted(&sound, &bench.path("member.raw"), Mangle::No, |m| {
        join(m);
        m.dword("SYSTEM", r"ControlSet001\Services\Netlogon", "Start", 4);
    });
    let (member, out) = (bench.arg("member.raw"), bench.arg("sealed.raw"));
    seal(&member, &out, &["--leave-domain"]);
    assert_eq!(value(&out, "SYSTEM", r"ControlSet001\Services\Netlogon", "Start").unwrap(), "4");
    assert_workgroup(of(&hives(&out), "SECURITY"), "WORKGROUP");
    machine::planted(&sound, &bench.path("dc.raw"), Mangle::No, |m| {
        join(m);
        m.sz("SYSTEM", r"ControlSet001\Control\ProductOptions", "ProductType", "LanmanNT");
    });
    let dc = bench.arg("dc.raw");
    reseal(["generalize", &dc, "-n", "--leave-domain"]).exits(3).says("domain-controller");
    let all = ["--leave-domain", "--allow", "domain-controller"];
    reseal(["generalize", &dc, "-n"].into_iter().chain(all)).exits(3).says("cannot leave");
}

/// Values that Windows would not write: an error that names the place, and nothing is written.
#[test]
fn crafted_accounts_and_policies_are_refused() {
    let bench = Bench::new();
    let sound = machine::sound(&bench);
    type Fault = (&'static str, fn(&mut Machine));
    let faults: [Fault; 9] = [
        ("PolDnDmG", |m| m.set("SECURITY", r"Policy\PolDnDmG", "", types::NONE, &[1; 15])),
        ("00000221", |m| m.patch("SAM", &format!(r"{ALIASES}\00000221"), "C", |c| c[48] = 2)),
        ("00000221", |m| m.patch("SAM", &format!(r"{ALIASES}\00000221"), "C", |c| c[44] += 1)),
        ("00000221", |m| m.patch("SAM", &format!(r"{ALIASES}\00000221"), "C", |c| c[43] = 0xff)),
        ("00000221", |m| m.patch("SAM", &format!(r"{ALIASES}\00000221"), "C", |c| c.extend([0; 4]))),
        ("00000201", |m| m.set("SAM", &format!(r"{ALIASES}\Members\{DOMAIN}\00000201"), "", 2, &[0x21, 2, 0, 0])),
        ("00000201", |m| m.set("SAM", &format!(r"{ALIASES}\Members\{DOMAIN}\00000201"), "", 1, &[0x21, 2, 0])),
        ("00000209", |m| m.key("SAM", &format!(r"{ALIASES}\Members\{DOMAIN}\00000209"))),
        ("PolPrDmS", |m| {
            m.set("SECURITY", r"Policy\PolPrDmS", "", types::NONE, &"S-1-5-32".parse::<Sid>().unwrap().to_bytes())
        }),
    ];
    for (i, (place, fault)) in faults.into_iter().enumerate() {
        let name = format!("{i}.raw");
        machine::planted(&sound, &bench.path(&name), Mangle::No, |m| {
            join(m);
        });
        let crafted = bench.path(&format!("crafted{i}.raw"));
        machine::planted(&bench.arg(&name), &crafted, Mangle::No, fault);
        let crafted = crafted.to_str().unwrap();
        let out = bench.arg("out.raw");
        let run = reseal(["generalize", crafted, "-o", &out, "--leave-domain"]);
        assert!(run.code == 7 && run.err.contains(place), "{i}: {run:?}");
        assert!(!bench.path("out.raw").exists());
        for gone in [bench.path(&name), bench.path(&format!("crafted{i}.raw"))] {
            std::fs::remove_file(gone).unwrap();
        }
    }
}

/// A Windows 8.1 member of a real domain.
#[test]
fn a_real_member_leaves() {
    let Some(root) = real::root() else { return };
    let bench = Bench::new();
    let image = real::machine_a(&root).unwrap();
    let gold = bench.build("a.vhdx", ImageBuilder { volume_len: 256 << 20, ..ImageBuilder::default() }, &image);
    let domain: DomainSid = "S-1-5-21-226059406-2984137831-1201299043".parse().unwrap();
    let out = bench.arg("sealed.vhdx");
    let more = ["--leave-domain", "--allow", "dirty-hive"];
    let report = seal(&gold, &out, &more);
    let counts = assert_plan_is_diff(&gold, &out, &report);
    println!("set A: {} planned changes, {} differences", counts.planned, counts.found);
    let after = hives(&out);
    assert_workgroup(of(&after, "SECURITY"), "WORKGROUP");
    let secrets = of(&after, "SECURITY").key(r"Policy\Secrets").unwrap().unwrap();
    assert_eq!(of(&after, "SECURITY").subkeys(secrets).unwrap().len(), 2, "DPAPI_SYSTEM and NL$KM");
    assert_eq!(of(&after, "SAM").key(&format!(r"{ALIASES}\Members\{domain}")).unwrap(), None);
    assert_eq!(raw(of(&after, "SAM"), &format!(r"{ALIASES}\Members"), "").unwrap().0, 1, "it counts something else");
    assert_eq!(findings(&report, "domain-profile").len(), 4);
    assert!(values(&out, "SOFTWARE", &format!(r"{POLICY}\History")).is_empty());
    let facts = reseal(["inspect", &out, "--json"]).exits(0).json()["installations"][0]["facts"].clone();
    assert!(facts["domain_sid"].is_null() && facts["domain"] == "WORKGROUP", "{facts}");
    // Free cells keep their bytes without --scrub.
    let traces = reseal(["verify", &out, "--no-trace-of", &domain.to_string(), "--json"]).json();
    let live: Vec<_> = traces["traces"].as_array().unwrap().iter().filter(|t| t["within"] != "free cell").collect();
    assert!(live.is_empty(), "{live:#?}");
    reseal(["generalize", &out, "-n", "--leave-domain"]).exits(5);
}

const CACHE: &str = r"Microsoft\Windows NT\CurrentVersion\Schedule\TaskCache";
const MANAGED: &str = r"\Microsoft\Windows\EnterpriseMgmt\0B1D4A0D-1111-2222-3333-444455556666";
const MY: &str = r"Microsoft\SystemCertificates\MY\Certificates";

/// A value in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len() as u16;
    let head = if len < 128 { vec![tag, len as u8] } else { [vec![tag, 0x82], len.to_be_bytes().to_vec()].concat() };
    [head, content.to_vec()].concat()
}

/// A certificate as the registry keeps it, of an issuer.
fn certificate(issuer: &str) -> Vec<u8> {
    let common_name = |text: &str| {
        let pair = [der(6, &[0x55, 4, 3]), der(0x13, text.as_bytes())].concat();
        der(0x30, &der(0x31, &der(0x30, &pair)))
    };
    let subject = common_name("MS-Organization-Access is who I am");
    let signed = [der(0xa0, &der(2, &[2])), der(2, &[9]), der(0x30, &[]), common_name(issuer), subject].concat();
    let whole = der(0x30, &[der(0x30, &signed), der(0x30, &[]), der(3, &[0; 257])].concat());
    let property = |id: u32, data: &[u8]| {
        [&id.to_le_bytes()[..], &[1, 0, 0, 0], &(data.len() as u32).to_le_bytes(), data].concat()
    };
    [property(3, &[9; 20]), property(32, &whole)].concat()
}

/// A task with its file and all its keys.
fn task(m: &mut Machine, path: &str, id: &str, list: &str) {
    m.file(&format!(r"Windows\System32\Tasks{path}"), b"\xff\xfe<\0T\0a\0s\0k\0/\0>\0");
    m.sz("SOFTWARE", &format!(r"{CACHE}\Tree{path}"), "Id", id);
    m.sz("SOFTWARE", &format!(r"{CACHE}\Tasks\{id}"), "Path", path);
    m.key("SOFTWARE", &format!(r"{CACHE}\{list}\{id}"));
}

fn enrol(m: &mut Machine) {
    m.key("SYSTEM", r"ControlSet001\Control\CloudDomainJoin\JoinInfo\AB12");
    m.key("SYSTEM", r"ControlSet002\Control\CloudDomainJoin\TenantInfo\AB12");
    let enrolment = r"Microsoft\Enrollments\0B1D4A0D-1111-2222-3333-444455556666";
    m.dword("SOFTWARE", enrolment, "EnrollmentState", 1);
    m.sz("SOFTWARE", enrolment, "ProviderID", "MS DM Server");
    m.key("SOFTWARE", r"Microsoft\Enrollments\ValidNodePaths\x");
    m.key("SOFTWARE", r"Microsoft\Enrollments\Status\0B1D4A0D-1111-2222-3333-444455556666");
    m.dword("SOFTWARE", r"Microsoft\PolicyManager\current\device\Camera", "AllowCamera", 0);
    m.dword("SOFTWARE", r"Microsoft\PolicyManager\default\Camera", "AllowCamera", 1);
    for (name, issuer) in [
        ("A1", "MS-Organization-Access"),
        ("A2", "MS-Organization-P2P-Access [2024]"),
        ("A3", "Microsoft Intune MDM Device CA"),
        ("B1", "Contoso Issuing CA"),
    ] {
        m.set("SOFTWARE", &format!(r"{MY}\{name}"), "Blob", types::BINARY, &certificate(issuer));
    }
    task(m, &format!(r"{MANAGED}\Schedule #1"), "{0D0D0D0D-1111-2222-3333-444455556666}", "Plain");
    task(m, &format!(r"{MANAGED}\PushLaunch"), "{0E0E0E0E-1111-2222-3333-444455556666}", "Logon");
    task(m, r"\Microsoft\Windows\Other\Stays", "{0F0F0F0F-1111-2222-3333-444455556666}", "Plain");
}

fn keys(hive: &Hive, path: &str) -> Vec<String> {
    let Some(key) = hive.key(path).unwrap() else { return Vec::new() };
    let names = hive.subkeys(key).unwrap().into_iter().map(|k| hive.name(k).unwrap());
    names.map(|units| String::from_utf16(&units).unwrap()).collect()
}

#[test]
fn a_joined_machine_leaves_entra_and_management() {
    let bench = Bench::new();
    let sound = machine::sound(&bench);
    machine::planted(&sound, &bench.path("joined.raw"), Mangle::No, enrol);
    let (joined, out) = (bench.arg("joined.raw"), bench.arg("sealed.raw"));
    reseal(["generalize", &joined, "-n"]).exits(3).says("entra-joined").says("--leave-entra");
    reseal(["generalize", &joined, "-n", "--steps", "all"]).exits(3).says("entra-joined");
    let report = seal(&joined, &out, &["--leave-entra"]);
    assert_plan_is_diff(&joined, &out, &report);
    assert!(findings(&report, "mdm-enrolled").is_empty(), "it is solved");
    assert!(findings(&report, "task-left").is_empty());

    let after = hives(&out);
    let (system, software) = (of(&after, "SYSTEM"), of(&after, "SOFTWARE"));
    assert!(keys(system, r"ControlSet001\Control\CloudDomainJoin\JoinInfo").is_empty());
    assert!(keys(system, r"ControlSet002\Control\CloudDomainJoin\TenantInfo").is_empty());
    assert_eq!(keys(software, r"Microsoft\Enrollments"), ["Status", "ValidNodePaths"]);
    assert!(keys(software, r"Microsoft\Enrollments\Status").is_empty());
    assert_eq!(keys(software, r"Microsoft\Enrollments\ValidNodePaths"), ["x"]);
    assert!(keys(software, r"Microsoft\PolicyManager\current").is_empty());
    assert_eq!(keys(software, r"Microsoft\PolicyManager\default"), ["Camera"]);
    assert_eq!(keys(software, MY), ["B1"], "a certificate of another issuer stays");
    for id in ["{0D0D0D0D-1111-2222-3333-444455556666}", "{0E0E0E0E-1111-2222-3333-444455556666}"] {
        for list in ["Tasks", "Plain", "Logon"] {
            assert!(!keys(software, &format!(r"{CACHE}\{list}")).contains(&id.to_owned()), "{list} {id}");
        }
    }
    assert!(keys(software, &format!(r"{CACHE}\Tree\Microsoft\Windows\EnterpriseMgmt")).is_empty());
    assert_eq!(keys(software, &format!(r"{CACHE}\Tree\Microsoft\Windows\Other")), ["Stays"]);
    let tasks = r"Windows\System32\Tasks\Microsoft\Windows";
    assert_eq!(reseal(["fs", "ls", &out, &format!(r"{tasks}\EnterpriseMgmt")]).exits(0).text().trim(), "");
    reseal(["fs", "cat", &out, &format!(r"{tasks}\Other\Stays")]).exits(0);
    reseal(["fs", "check", &out]).exits(0);
    reseal(["verify", &out]).exits(0);
    reseal(["generalize", &out, "-n", "--leave-entra"]).exits(5);
    reseal(["generalize", &out, "-n"]).exits(5);
}

#[test]
fn what_of_management_does_not_fit_together() {
    let bench = Bench::new();
    let sound = machine::sound(&bench);
    let (joined, out) = (bench.arg("joined.raw"), bench.arg("sealed.raw"));
    // Tasks whose parts disagree stay as a whole, and are named.
    machine::planted(&sound, &bench.path("joined.raw"), Mangle::No, |m| {
        enrol(m);
        m.sz("SOFTWARE", &format!(r"{CACHE}\Tasks\{{0E0E0E0E-1111-2222-3333-444455556666}}"), "Path", r"\Another");
        m.sz("SOFTWARE", &format!(r"{CACHE}\Tree{MANAGED}\No file"), "Id", "{01010101-1111-2222-3333-444455556666}");
        m.sz("SOFTWARE", &format!(r"{CACHE}\Tree{MANAGED}\Up"), "Id", r"..\Tasks");
        m.file(&format!(r"Windows\System32\Tasks{MANAGED}\Up"), b"x");
        m.file(&format!(r"Windows\System32\Tasks{MANAGED}\No key"), b"x");
    });
    let report = seal(&joined, &out, &["--leave-entra"]);
    let left = findings(&report, "task-left");
    for (name, why) in
        [("PushLaunch", "belongs to"), ("No file", "no file"), ("Up", "no GUID"), ("No key", "no such task")]
    {
        assert!(left.iter().any(|f| f.contains(name) && f.contains(why)), "{name}: {left:#?}");
    }
    assert_eq!(left.len(), 4);
    let names = reseal(["fs", "ls", &out, &format!(r"Windows\System32\Tasks{MANAGED}")]).exits(0).text();
    assert!(
        ["PushLaunch", "Up", "No key"].iter().all(|name| names.contains(name)) && !names.contains("Schedule"),
        "{names}"
    );
    reseal(["generalize", &out, "-n", "--leave-entra"]).exits(5);
    // A certificate that cannot be read may be one of those that go.
    machine::planted(&joined, &bench.path("crafted.raw"), Mangle::No, |m| {
        m.patch("SOFTWARE", &format!(r"{MY}\B1"), "Blob", |blob| blob.truncate(60));
    });
    let run = reseal(["generalize", &bench.arg("crafted.raw"), "-n", "--leave-entra"]).exits(7);
    assert!(run.err.contains(r"Certificates\B1") && run.err.contains("0x"), "{}", run.err);
}
