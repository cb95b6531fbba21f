use super::*;
use reseal_hive::types;
use reseal_testdata::drivers::STORAGE;

fn read(text: &str) -> Result<Package> {
    Package::read(&Inf::parse(text.as_bytes())?, &Target::made_up())
}

#[test]
fn a_storage_driver() {
    let package = read(STORAGE).unwrap();
    let header = &package.header;
    assert_eq!((header.class.as_str(), header.provider.as_str()), ("SCSIAdapter", "Made-up Devices, Ltd."));
    assert_eq!(header.class_guid.unwrap().to_string(), "4d36e97b-e325-11ce-bfc1-08002be10318");
    assert_eq!((header.date.as_deref(), header.version.as_deref()), (Some("2024-03-14"), Some("100.2.3.4")));
    assert_eq!(header.catalog.as_deref(), Some("blkmade.cat"));
    assert_eq!(
        package.hardware_ids(),
        [r"PCI\VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00", r"PCI\VEN_1AF4&DEV_1042"].map(str::to_owned)
    );
    let first = &package.models[0];
    assert_eq!((first.install.as_str(), first.service.as_deref()), ("Blk_Inst.NT", Some("blkmade")));
    assert_eq!(first.ids[1], r"PCI\VEN_1AF4&DEV_1001");
    let [service] = &package.services[..] else { panic!("{package:?}") };
    assert_eq!((service.kind, service.start, service.error_control), (1, 0, 1));
    assert_eq!((service.group.as_deref(), service.binary.as_str()), (Some("SCSI miniport"), "blkmade.sys"));
    assert!(service.is_function && service.has_known_folder);
    let values: Vec<_> = service.registry.iter().map(|edit| (edit.key.as_str(), edit.value.clone().unwrap())).collect();
    let one = vec![1, 0, 0, 0];
    assert_eq!(values[0], (r"Parameters\PnpInterface", ("5".into(), types::DWORD, one.clone())));
    assert_eq!(values[1], ("Parameters", ("BusType".into(), types::DWORD, one)));
    assert_eq!(package.source_of(service).unwrap().path, "blkmade.sys");
}

#[test]
fn files_in_folders_and_under_other_names() {
    let text = STORAGE
        .replace("1 = %Disk%,,,", "1 = %Disk%,,,\\w10\\\n\n[SourceDisksFiles.amd64]\nstored.sys = 1, x64")
        .replace("blkmade.sys,,,2", "blkmade.sys,stored.sys,,2");
    let package = read(&text).unwrap();
    let paths: Vec<&str> = package.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, [r"w10\x64\stored.sys", r"w10\blkmade.sys"]);
    assert_eq!(package.source_of(&package.services[0]).unwrap().path, r"w10\x64\stored.sys");
}

#[test]
fn what_does_not_fit_is_named() {
    for (from, to, word) in [
        ("$Windows NT$", "$Other$", "signature"),
        ("03/14/2024", "2024", "no date"),
        ("03/14/2024", "13/14/2024", "no day"),
        ("NTamd64, NTamd64.10.0, NTx86", "NTx86", "no driver for Windows 10.0.22631 on amd64"),
        ("[Made.NTamd64.10.0]", "[Other]", "no section [Made.NTamd64.10.0]"),
        ("[Blk_Inst.NT]", "[Other]", "no section [Blk_Inst]"),
        ("[Blk_Service]", "[Other]", "no section [Blk_Service]"),
        ("StartType      = 0", "", "StartType"),
        ("ServiceBinary  = %12%\\blkmade.sys", "", "ServiceBinary"),
        ("%12%\\blkmade.sys", "%12%\\..", "no name of a file"),
        ("blkmade.sys = 1", "..\\x = 1", "no name of a file"),
        ("blkmade.sys = 1", "blkmade.sys = 1, ..\\..", "no name of a file"),
        ("blkmade.sys = 1", "blkmade.sys = 2", "no disk"),
        ("@blkmade.sys, Files", "None", "no section [None]"),
        ("PCI\\VEN_1AF4&DEV_1042", "PCI\\\\VEN", "no hardware id"),
    ] {
        let text = STORAGE.replacen(from, to, 1);
        assert_ne!(text, STORAGE, "{from}");
        let error = read(&text).map(drop).unwrap_err().to_string();
        assert!(error.contains(word), "{from}: {error}");
    }
    let no_file = read(&STORAGE.replace("blkmade.sys = 1", "")).unwrap();
    assert!(no_file.source_of(&no_file.services[0]).unwrap_err().to_string().contains("blkmade.sys"));
}
