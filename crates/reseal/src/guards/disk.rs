//! The disk as a whole: drive letters, other volumes, other installations.

use super::look::{Looked, Notices, Subject};
use super::{Check, Look, Weight};
use crate::scope::MachineHive::{Software, System};
use crate::steps::Evidence;
use reseal_hive::Value;
use reseal_ntfs::Probe;

const GROUP: &str = "disk";
const CURRENT: &str = r"Microsoft\Windows NT\CurrentVersion";

pub(super) static CHECKS: &[Check] = &[
    Check {
        id: "drive-letters",
        title: "the letter of Windows leads to another partition, or to none",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: drive letters; spmpm.dll Sysprep_Generalize_MountPointManager",
        evidence: Evidence::Inferred,
        remedy: "let the step mounted-devices forget the letters; in Windows `mountvol` shows them",
        look: Look::With(letters),
    },
    Check {
        id: "other-letters",
        title: "Windows, profiles, page files or services lie on another letter",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: drive letters",
        evidence: Evidence::Confirmed,
        remedy: "move them to the Windows volume in Windows, or check the letters on each copy with `mountvol`",
        look: Look::With(other_letters),
    },
    Check {
        id: "data-volumes",
        title: "other volumes have letters, or lie on the same disk",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: multi-OS; the SID is replaced on the Windows volume only",
        evidence: Evidence::Inferred,
        remedy: "grant the files of a data volume anew on a copy: `icacls D:\\ /reset /T`; `mountvol` shows letters",
        look: Look::With(data_volumes),
    },
    Check {
        id: "several-windows",
        title: "several Windows lie on one disk",
        group: GROUP,
        weight: Weight::Warn,
        guard: None,
        answers: "table of limits: multi-OS",
        evidence: Evidence::Confirmed,
        remedy: "seal each: `reseal generalize IMAGE --installation N`",
        look: Look::With(several),
    },
];

/// `C:` of `C:\Windows` or `\??\C:\pagefile.sys`, as one letter in capitals.
fn letter(path: &str) -> Option<char> {
    let path = path.trim_start().trim_start_matches('"').trim_start_matches(r"\??\");
    let mut chars = path.chars();
    let (first, second) = (chars.next()?, chars.next()?);
    (first.is_ascii_alphabetic() && second == ':').then(|| first.to_ascii_uppercase())
}

/// The letter that Windows gives its own volume.
fn own_letter(subject: &Subject<'_>) -> Looked<char> {
    let root = subject.text(Software, CURRENT, "SystemRoot")?;
    Ok(root.as_deref().and_then(letter).unwrap_or('C'))
}

/// Letters with what `MountedDevices` maps them to.
fn mounted(subject: &Subject<'_>) -> Looked<Vec<(char, Value)>> {
    let mut out = Vec::new();
    for name in subject.value_names(System, "MountedDevices")? {
        let upper = name.to_ascii_uppercase();
        if let Some(letter) = upper.strip_prefix(r"\DOSDEVICES\").and_then(letter)
            && let Some(value) = subject.value(System, "MountedDevices", &name)?
        {
            out.push((letter, value));
        }
    }
    Ok(out)
}

/// 24 bytes are `DMIO:ID:` and the GUID of a GPT partition, 12 are an MBR disk's signature and a byte offset; other data names
/// a device, as that of an optical or removable drive.
fn letters(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let (own, mounted) = (own_letter(subject)?, mounted(subject)?);
    let place = format!(r"SYSTEM\MountedDevices \DosDevices\{own}:");
    let Some((_, value)) = mounted.iter().find(|(letter, _)| *letter == own) else {
        if !mounted.is_empty() {
            out.inconsistent(
                place,
                format!("letters are assigned, and none to {own}:, where Windows says that it lies"),
            );
        }
        return Ok(());
    };
    let Some(this) = subject.disk.own() else { return Ok(()) };
    let leads_here = if let Some(guid) = value.data.strip_prefix(b"DMIO:ID:") {
        this.partition.id.0 == [0; 16] || guid == this.partition.id.0
    } else if let (12, Some(offset)) = (value.data.len(), value.data.last_chunk::<8>()) {
        u64::from_le_bytes(*offset) == this.partition.offset
    } else {
        true
    };
    if !leads_here {
        out.inconsistent(
            place,
            format!("it leads to another partition than {}: a stale letter is worse than none", this.place),
        );
    }
    Ok(())
}

fn other_letters(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let root = subject.text(Software, CURRENT, "SystemRoot")?;
    let other = |path: &str| letter(path).is_some_and(|letter| letter != 'C');
    if let Some(root) = root.filter(|root| other(root)) {
        out.add(format!(r"SOFTWARE\{CURRENT}"), format!("SystemRoot is {root}: Windows must keep that letter"));
    }
    for profile in subject.facts.profiles.iter().filter(|p| other(&p.path)) {
        out.add("SOFTWARE", format!("the profile {} lies on another volume", profile.path));
    }
    let memory = subject.control(r"Control\Session Manager\Memory Management")?;
    for file in subject.lines(System, &memory, "PagingFiles")?.iter().filter(|file| other(file)) {
        out.add(format!(r"SYSTEM\{memory}"), format!("PagingFiles names {file}"));
    }
    let services = subject.control("Services")?;
    for name in subject.subkeys(System, &services)? {
        let key = format!(r"{services}\{name}");
        let program = subject.value(System, &key, "ImagePath")?.and_then(|v| v.as_text());
        if let Some(program) = program.filter(|program| other(program)) {
            out.add(format!(r"SYSTEM\{key}"), format!("the service starts {program}"));
        }
    }
    Ok(())
}

fn data_volumes(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    let others = subject.disk.others().filter(|p| p.probe == Probe::Ntfs && p.is_data() && !p.has_windows);
    for volume in others.filter(|p| subject.boot.system(&p.partition).is_none()) {
        out.add(&volume.place, "a data volume: its descriptors keep the old machine SID");
    }
    let own = own_letter(subject)?;
    // Optical and removable drives are named by their device; A and B are floppies.
    let disk = |value: &Value| value.data.len() == 12 || value.data.starts_with(b"DMIO:ID:");
    let more = mounted(subject)?;
    let more = more.iter().filter(|(letter, value)| *letter != own && !matches!(letter, 'A' | 'B') && disk(value));
    let more: Vec<String> = more.map(|(letter, _)| format!("{letter}:")).collect();
    if !more.is_empty() {
        let detail = format!("{} had letters besides Windows' own: copies assign them anew", more.join(", "));
        out.add(r"SYSTEM\MountedDevices", detail);
    }
    Ok(())
}

fn several(subject: &Subject<'_>, out: &mut Notices) -> Looked {
    for other in subject.disk.others().filter(|p| p.has_windows) {
        out.add(&other.place, "another Windows lies there: one run seals one installation");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::letter;

    #[test]
    fn letters_of_paths() {
        for (path, wanted) in [
            (r"C:\Windows", Some('C')),
            (r"\??\d:\pagefile.sys 0 0", Some('D')),
            (r#""E:\Program Files\x.exe" -k"#, Some('E')),
            (r"\SystemRoot\System32\x.sys", None),
            ("", None),
            ("ä:", None),
        ] {
            assert_eq!(letter(path), wanted, "{path}");
        }
    }
}
