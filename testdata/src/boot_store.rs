//! A made-up boot store, in the forms that real ones show.

use anyhow::Result;
use reseal_dtyp::{Descriptor, FileTime, Guid};
use reseal_hive::{Hive, types};

/// The loader of Windows, its resume object, the recovery environment's loader.
pub const LOADER: &str = "{11111111-aaaa-11ee-8000-0123456789ab}";
/// What wakes the loader's system up.
pub const RESUME: &str = "{22222222-aaaa-11ee-8000-0123456789ab}";
/// The loader of the recovery environment, from a RAM disk.
pub const RECOVERY: &str = "{33333333-aaaa-11ee-8000-0123456789ab}";

/// Element data that names a partition of a GPT disk.
pub fn partition(partition: Guid, disk: Guid) -> Vec<u8> {
    let mut out = vec![0; 88];
    (out[16], out[24]) = (6, 72);
    out[32..48].copy_from_slice(&partition.0);
    out[56..72].copy_from_slice(&disk.0);
    out
}

/// Element data that names a partition of an MBR disk by the byte where it begins.
pub fn mbr_partition(offset: u64, signature: u32) -> Vec<u8> {
    let mut out = vec![0; 88];
    (out[16], out[24], out[52]) = (6, 72, 1);
    out[32..40].copy_from_slice(&offset.to_le_bytes());
    out[56..60].copy_from_slice(&signature.to_le_bytes());
    out
}

/// Element and text.
type Elements = &'static [(&'static str, &'static str)];

/// Objects with type and elements; a text, a GUID or a list of GUIDs, else bytes.
const OBJECTS: &[(&str, u32, Elements)] = &[
    (
        "{9dea862c-5cdd-4e70-acc1-f32b344d4795}",
        0x1010_0002,
        &[
            ("12000002", r"\EFI\Microsoft\Boot\bootmgfw.efi"),
            ("12000004", "Windows Boot Manager"),
            ("14000006", "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"),
            ("23000003", LOADER),
            ("24000001", LOADER),
        ],
    ),
    ("{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}", 0x2010_0000, &[]),
    ("{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}", 0x2020_0003, &[]),
    ("{1afa9c49-16ab-4a5c-901b-212802da9460}", 0x2020_0004, &[]),
    ("{4636856e-540f-4170-a130-a84776f4c654}", 0x2010_0000, &[]),
    ("{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}", 0x2010_0000, &[]),
    ("{5189b25c-5558-4bf2-bca4-289b11bd29e2}", 0x2010_0000, &[]),
    (
        "{b2721d73-1db4-4c62-bf78-c548a880142d}",
        0x1020_0005,
        &[("12000002", r"\EFI\Microsoft\Boot\memtest.efi"), ("12000004", "Windows Memory Diagnostic")],
    ),
    (
        LOADER,
        0x1020_0003,
        &[
            ("12000002", r"\Windows\system32\winload.efi"),
            ("12000004", "Windows 11"),
            ("22000002", r"\Windows"),
            ("23000003", RESUME),
        ],
    ),
    (RESUME, 0x1020_0004, &[("12000002", r"\Windows\system32\winresume.efi"), ("22000002", r"\hiberfil.sys")]),
    (RECOVERY, 0x1020_0003, &[("12000004", "Windows Recovery Environment"), ("22000002", r"\windows")]),
];

/// A complete store: `windows` and `system` are the data of the elements that name the two partitions. With a SID, a
/// descriptor and a value hold it.
pub fn store(windows: &[u8], system: &[u8], sid: Option<&str>) -> Result<Vec<u8>> {
    let plain = Descriptor::from_sddl("O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KA;;;SY)")?.to_bytes()?;
    let mut hive = Hive::new("NewStoreRoot", 3, &plain, FileTime(133_500_000_000_000_000))?;
    let wide = |text: &str| text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let description = hive.create_path("Description")?;
    hive.set_value(description, "KeyName", types::SZ, &wide("BCD00000000"))?;
    hive.set_value(description, "System", types::DWORD, &1u32.to_le_bytes())?;
    let set = |hive: &mut Hive, object: &str, element: &str, ty: u32, data: &[u8]| -> Result<()> {
        let key = hive.create_path(&format!(r"Objects\{object}\Elements\{element}"))?;
        hive.set_value(key, "Element", ty, data)?;
        Ok(())
    };
    for (object, ty, elements) in OBJECTS {
        let key = hive.create_path(&format!(r"Objects\{object}\Description"))?;
        hive.set_value(key, "Type", types::DWORD, &ty.to_le_bytes())?;
        hive.create_path(&format!(r"Objects\{object}\Elements"))?;
        for (element, text) in *elements {
            let list = element.as_bytes()[1] == b'4';
            let data = if list { [wide(text), vec![0, 0]].concat() } else { wide(text) };
            set(&mut hive, object, element, if list { types::MULTI_SZ } else { types::SZ }, &data)?;
        }
    }
    for object in [LOADER, RESUME] {
        set(&mut hive, object, "11000001", types::BINARY, windows)?;
        set(&mut hive, object, "21000001", types::BINARY, windows)?;
    }
    set(&mut hive, "{9dea862c-5cdd-4e70-acc1-f32b344d4795}", "11000001", types::BINARY, system)?;
    set(&mut hive, "{b2721d73-1db4-4c62-bf78-c548a880142d}", "11000001", types::BINARY, system)?;
    // A file in a RAM disk: options, kind 0, and a partition inside, which only Windows can take apart.
    let mut inner = vec![0x5a; 16];
    inner.extend([0, 0, 0, 0, 1, 0, 0, 0, 104, 0, 0, 0, 0, 0, 0, 0]);
    inner.extend(&windows[..88.min(windows.len())]);
    inner.resize(120, 0);
    set(&mut hive, RECOVERY, "11000001", types::BINARY, &inner)?;
    set(&mut hive, RECOVERY, "21000001", types::BINARY, &inner)?;
    if let Some(sid) = sid {
        let own = Descriptor::from_sddl(&format!("O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KR;;;{sid}-1001)"))?.to_bytes()?;
        let key = hive.create_path(&format!(r"Objects\{LOADER}"))?;
        hive.set_descriptor(key, &own)?;
        set(&mut hive, LOADER, "12000030", types::SZ, &wide(&format!("/owner={sid}-1001")))?;
    }
    Ok(hive.to_bytes())
}
