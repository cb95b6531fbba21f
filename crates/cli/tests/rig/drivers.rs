//! Machines with drivers, and packages for them.

use super::Bench;
use super::machine::Machine;
use reseal_dtyp::{Descriptor, FileTime};
use reseal_hive::{Hive, types};
use reseal_testdata::drivers::{NETWORK, STORAGE, program};

/// The processor of the made-up machines, as programs name it.
pub(crate) const AMD64: u16 = 0x8664;

/// A string as the registry keeps it.
pub(crate) fn sz(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// The database that Windows 8 and later keep in SYSTEM, with one driver of Windows.
pub(crate) fn database(m: &mut Machine) {
    m.dword("SYSTEM", "DriverDatabase", "Architecture", 9);
    m.lines("SYSTEM", r"DriverDatabase\DriverInfFiles\stornvme.inf", "", &["stornvme.inf_amd64_1"]);
    let id = r"DriverDatabase\DeviceIds\PCI\CC_010802";
    m.set("SYSTEM", id, "stornvme.inf", types::BINARY, &[1, 0xff, 0, 0]);
    m.key("SYSTEM", r"DriverDatabase\DriverPackages\stornvme.inf_amd64_1");
    let path = r"Microsoft\Windows\CurrentVersion";
    m.set("SOFTWARE", path, "DevicePath", types::EXPAND_SZ, &sz(r"%SystemRoot%\inf"));
    m.file(r"Windows\System32\drivers\stornvme.sys", &program(AMD64, "inbox"));
    m.file(r"Windows\INF\stornvme.inf", b"; of Windows");
    for set in ["ControlSet001", "ControlSet002"] {
        let key = format!(r"{set}\Services\stornvme");
        m.dword("SYSTEM", &key, "Type", 1);
        m.dword("SYSTEM", &key, "Start", 3);
        m.set("SYSTEM", &key, "ImagePath", types::EXPAND_SZ, &sz(r"System32\drivers\stornvme.sys"));
        m.dword("SYSTEM", &format!(r"{key}\StartOverride"), "0", 3);
    }
}

/// Two packages that Windows has installed: a network driver, known in DRIVERS, and a storage driver, known in SYSTEM.
pub(crate) fn installed(m: &mut Machine) {
    database(m);
    let descriptor = Descriptor::from_sddl("O:BAG:SYD:(A;CI;KA;;;SY)").unwrap().to_bytes().unwrap();
    let hive = Hive::new("DRIVERS", 5, &descriptor, FileTime(133_500_000_000_000_000)).unwrap();
    m.file(r"Windows\System32\config\DRIVERS", &hive.to_bytes());
    let packages = [
        ("DRIVERS", 3, "netmade", NETWORK, r"PCI\VEN_1AF4&DEV_1041", "4d36e972", 3),
        ("SYSTEM", 12, "blkmade", STORAGE, r"PCI\VEN_1AF4&DEV_1042", "4d36e97b", 0),
    ];
    for (hive, number, name, inf, id, class, start) in packages {
        let (oem, package) = (format!("oem{number}.inf"), format!("{name}.inf_amd64_0123456789abcdef"));
        let key = format!(r"DriverDatabase\DriverInfFiles\{oem}");
        m.lines(hive, &key, "", &[&package]);
        m.sz(hive, &key, "Active", &package);
        let key = format!(r"DriverDatabase\DriverPackages\{package}");
        m.sz(hive, &key, "InfName", &format!("{name}.inf"));
        m.sz(hive, &key, "Provider", "Made-up Devices, Ltd.");
        m.sz(hive, &format!(r"{key}\Configurations\Inst"), "Service", name);
        m.set(hive, &format!(r"DriverDatabase\DeviceIds\{id}"), &oem, types::BINARY, &[1, 0xff, 0, 0]);
        let class = format!(r"DriverDatabase\DeviceIds\{{{class}-e325-11ce-bfc1-08002be10318}}");
        m.set(hive, &class, &oem, types::NONE, &[]);
        m.set(hive, &class, "other.inf", types::NONE, &[]);
        let binary = program(AMD64, name);
        m.file(&format!(r"Windows\INF\{oem}"), inf.as_bytes());
        m.file(&format!(r"Windows\INF\oem{number}.PNF"), b"PNF");
        let catalogs = r"Windows\System32\CatRoot\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";
        m.file(&format!(r"{catalogs}\oem{number}.cat"), b"catalog");
        let store = format!(r"Windows\System32\DriverStore\FileRepository\{package}");
        m.file(&format!(r"{store}\{name}.inf"), inf.as_bytes());
        m.file(&format!(r"{store}\{name}.sys"), &binary);
        m.file(&format!(r"Windows\System32\drivers\{name}.sys"), &binary);
        for set in ["ControlSet001", "ControlSet002"] {
            let key = format!(r"{set}\Services\{name}");
            m.dword("SYSTEM", &key, "Type", 1);
            m.dword("SYSTEM", &key, "Start", start);
            m.set(
                "SYSTEM",
                &key,
                "ImagePath",
                types::EXPAND_SZ,
                &sz(&format!(r"\SystemRoot\System32\drivers\{name}.sys")),
            );
            m.lines("SYSTEM", &key, "Owners", &[&oem]);
        }
    }
}

/// A folder with a package: INF, programs, catalog.
pub(crate) fn package(bench: &Bench, name: &str, inf: &str, machine: u16) -> String {
    let folder = bench.path(name);
    std::fs::create_dir_all(folder.join("Tools")).unwrap();
    std::fs::write(folder.join(format!("{name}.inf")), inf).unwrap();
    // Names have no case.
    std::fs::write(folder.join(format!("{}.SYS", name.to_uppercase())), program(machine, name)).unwrap();
    std::fs::write(folder.join("Tools").join(format!("{name}.dll")), program(machine, "dll")).unwrap();
    std::fs::write(folder.join(format!("{name}.cat")), b"catalog").unwrap();
    bench.arg(name)
}
