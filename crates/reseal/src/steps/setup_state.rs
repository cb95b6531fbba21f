use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::{Software, System};
use crate::error::{Error, Kind, Result};
use crate::facts::SEALED_TO_OOBE;
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use reseal_dtyp::{FileTime, Level};

/// Sets the image to boot to specialize and OOBE.
pub(super) struct SetupState;

const STATE_INI: &str = r"Windows\Setup\State\State.ini";
const SYSPREP: &str = r"Windows\System32\Sysprep";

static SPEC: Spec = Spec {
    id: "setup-state",
    title: "Boot to OOBE",
    about: "Sets what winlogon and setup read at the next boot: SystemSetupInProgress 1, SetupType 2, CmdLine \
            oobe\\windeploy.exe, OOBEInProgress 1, SetupPhase 4; the progress of child setups and answer file passes 0; \
            ImageState in the registry and State.ini; Sysprep_succeeded.tag. Values that are absent are not invented \
            and the key Setup is edited, never made anew. SysprepStatus is deleted: its number in a sealed image is not known.",
    phase: "handoff",
    mirrors: &["sysprep.exe", "spopk.dll!Sysprep_Generalize_Opk", "setupcl.exe"],
    evidence: Evidence::Inferred,
    unproven: "that each build boots through specialize and OOBE; OOBEInProgress and SetupPhase on Windows 10 and 11; SysprepStatus",
    client: Use::On,
    server: Use::On,
    writes: &[
        Scope::Key(System, "Setup"),
        Scope::Key(Software, r"Microsoft\Windows\CurrentVersion\Setup"),
        Scope::File(STATE_INI),
        Scope::File(SYSPREP),
    ],
    actions: &[],
};

impl Step for SetupState {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        for name in ["SystemSetupInProgress", "SetupType", "CmdLine"] {
            if session.value(System, "Setup", name)?.is_none() {
                let detail = format!(r"SYSTEM\Setup has no value {name}: Windows could not boot to OOBE");
                return Err(
                    Error::new(Kind::Damaged, detail).hint("the SYSTEM hive is not that of an installed Windows")
                );
            }
        }
        session.set_existing_u32(System, "Setup", "SystemSetupInProgress", 1)?;
        session.set_existing_u32(System, "Setup", "SetupType", 2)?;
        session.set_existing_text(System, "Setup", "CmdLine", r"oobe\windeploy.exe")?;
        session.set_existing_u32(System, "Setup", "OOBEInProgress", 1)?;
        session.set_existing_u32(System, "Setup", "SetupPhase", 4)?;
        session.set_existing_u32(System, r"Setup\Status", "AuditBoot", 0)?;
        for key in [r"Setup\Status\ChildCompletion", r"Setup\Status\UnattendPasses"] {
            for name in session.value_names(System, key)? {
                session.set_existing_u32(System, key, &name, 0)?;
            }
        }
        session.delete_key(System, r"Setup\Status\SysprepStatus")?;
        // A request of setupcl besides a SID that was written or kept would be a second writer of one SID.
        if session.facts.setup.pending_request > 0 && !session.facts.setup.is_sealed() {
            let detail = format!(
                "{} values waited for setupcl in an image that was not sealed: removed",
                session.facts.setup.pending_request
            );
            session.find(Level::Note, "pending-request", r"SYSTEM\Setup\SetupCl\PendingRequest", detail);
        }
        session.clear_values(System, r"Setup\SetupCl\PendingRequest")?;
        if !session.facts.setup.is_sealed() {
            let tag: Vec<u8> =
                [clone_tag(session.inputs.now()), String::new()].iter().flat_map(|s| crate::session::sz(s)).collect();
            session.set_existing(System, "Setup", "CloneTag", &tag)?;
        }
        let state = r"Microsoft\Windows\CurrentVersion\Setup\State";
        session.set_existing_text(Software, state, "ImageState", SEALED_TO_OOBE)?;
        let servicing = r"Microsoft\Windows\CurrentVersion\Setup\ImageServicingData";
        session.set_existing_text(Software, servicing, "ImageState", SEALED_TO_OOBE)?;
        state_ini(session)?;
        tag_file(session)?;
        Ok(None)
    }
}

/// `State.ini` says what the registry says. The quoted value is replaced; encoding and other lines stay.
fn state_ini(session: &mut Session<'_>) -> Result<()> {
    let Some(node) = session.tree.resolve(session.tree.root(), STATE_INI)? else { return Ok(()) };
    let old = session.tree.read(node)?;
    match replace_image_state(&old) {
        Some(new) => session.write_file(STATE_INI, &new, FileSecurity::Sibling),
        None => {
            session.find(Level::Inconsistent, "state-ini", STATE_INI, "no line ImageState=\"…\": left as it is");
            Ok(())
        }
    }
}

/// Replaces what stands between the quotes after `ImageState=`, in ASCII or UTF-16LE.
fn replace_image_state(old: &[u8]) -> Option<Vec<u8>> {
    let wide = old.starts_with(&[0xff, 0xfe]) || old.get(1) == Some(&0);
    let encode = |text: &str| if wide { reseal_dtyp::utf16le(text) } else { text.as_bytes().to_vec() };
    let find = |from: usize, text: &str| {
        let needle = encode(text);
        let hay = old.get(from..)?;
        let fold = |b: &[u8]| b.to_ascii_lowercase();
        hay.windows(needle.len()).position(|w| fold(w) == fold(&needle)).map(|at| from + at + needle.len())
    };
    let start = find(0, "ImageState=\"")?;
    let end = find(start, "\"")? - encode("\"").len();
    Some([&old[..start], &encode(SEALED_TO_OOBE), &old[end..]].concat())
}

/// The marker that deployment tools look for. Windows without a Sysprep folder (Server Core of old) gets none.
fn tag_file(session: &mut Session<'_>) -> Result<()> {
    if session.tree.resolve(session.tree.root(), SYSPREP)?.is_some() {
        session.write_file(&format!(r"{SYSPREP}\Sysprep_succeeded.tag"), &[], FileSecurity::Sibling)?;
    }
    Ok(())
}

/// `Fri Sep 29 06:49:45 2017`: asctime without the newline (measured).
fn clone_tag(now: FileTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = now.to_iso();
    // 1970-01-01 was a Thursday.
    let day = DAYS[now.to_unix().div_euclid(86_400).rem_euclid(7) as usize];
    let number = |range: std::ops::Range<usize>| iso[range].parse::<usize>().unwrap_or(1);
    let month = MONTHS[(number(5..7) - 1).min(11)];
    format!("{day} {month} {:2} {} {}", number(8..10), &iso[11..19], &iso[..4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clone_tag_is_asctime() {
        assert_eq!(clone_tag(FileTime::from_unix(1_506_667_785)), "Fri Sep 29 06:49:45 2017");
        assert_eq!(clone_tag(FileTime::from_unix(0)), "Thu Jan  1 00:00:00 1970");
    }

    #[test]
    fn state_ini_keeps_encoding_and_lines() {
        let ascii = b"[State]\r\nImageState=\"IMAGE_STATE_COMPLETE\"\r\nOther=1\r\n";
        let new = replace_image_state(ascii).unwrap();
        assert_eq!(new, format!("[State]\r\nImageState=\"{SEALED_TO_OOBE}\"\r\nOther=1\r\n").into_bytes());
        let wide = [vec![0xff, 0xfe], reseal_dtyp::utf16le("[State]\nImageState=\"X\"\n")].concat();
        let new = replace_image_state(&wide).unwrap();
        assert_eq!(
            new,
            [vec![0xff, 0xfe], reseal_dtyp::utf16le(&format!("[State]\nImageState=\"{SEALED_TO_OOBE}\"\n"))].concat()
        );
        assert_eq!(replace_image_state(b"[State]\nImageState=x\n"), None);
    }
}
