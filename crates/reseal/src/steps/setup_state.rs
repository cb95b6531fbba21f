use super::{Evidence, Spec, Step};
use crate::MachineHive::{Software, System};
use crate::error::{Error, Kind, Result};
use crate::facts::{GENERALIZED_TO_OOBE, SPECIALIZED_TO_OOBE};
use crate::options::BootTo;
use crate::reference::Reference;
use crate::scope::Scope;
use crate::session::{FileSecurity, Session};
use reseal_dtyp::{FileTime, Level};

/// Sets the image to boot to specialize and OOBE, or to OOBE alone.
pub(super) struct SetupState;

const STATE_INI: &str = r"Windows\Setup\State\State.ini";
const SYSPREP_FOLDER: &str = r"Windows\System32\Sysprep";
/// Where Sysprep says that it has given an image up.
pub(crate) const SYSPREP: &str = r"Microsoft\Windows\CurrentVersion\Setup\Sysprep";
/// The value that says so.
pub(crate) const CORRUPT: &str = "SysprepCorrupt";
/// What the values of `SYSTEM\Setup` are in a sealed image.
const SETUP_NUMBERS: &[(&str, u32)] =
    &[("SystemSetupInProgress", 1), ("SetupType", 2), ("OOBEInProgress", 1), ("SetupPhase", 4)];
const SYSPREP_STATUS: &str = r"Setup\Status\SysprepStatus";

static SPEC: Spec = Spec {
    id: "setup-state",
    title: "Boot to OOBE",
    about: "Sets what winlogon and setup read at the next boot: SystemSetupInProgress 1, SetupType 2, CmdLine \
            oobe\\windeploy.exe, OOBEInProgress 1, SetupPhase 4; the progress of child setups and answer file passes 0; \
            ImageState in the registry and State.ini; Sysprep_succeeded.tag. Values that are absent are not invented \
            and the key Setup is edited, never made anew. SysprepStatus is deleted: its number in a sealed image is not \
            known. With --reference all of these are as a sealed image of the same build has them. With --no-generalize \
            specialize does not come again: its pass and SysprepStatus stay as they are. --audit is this state and an \
            answer file that asks for audit mode.",
    phase: "handoff",
    mirrors: &["sysprep.exe", "spopk.dll!Sysprep_Generalize_Opk", "setupcl.exe"],
    evidence: Evidence::Inferred,
    unproven: "that each build boots through specialize and OOBE; OOBEInProgress and SetupPhase on Windows 10 and 11; SysprepStatus",
    writes: &[
        Scope::Key(System, "Setup"),
        Scope::Key(System, r"{CCS}\Control\Session Manager"),
        Scope::Key(Software, r"Microsoft\Windows\CurrentVersion\Setup"),
        Scope::File(STATE_INI),
        Scope::File(SYSPREP_FOLDER),
    ],
    ..Spec::BASE
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
        let generalize = !session.options.no_generalize;
        match &session.options.reference {
            Some(reference) => take_over(session, reference)?,
            None => {
                for (name, number) in SETUP_NUMBERS {
                    session.set_existing_u32(System, "Setup", name, *number)?;
                }
                session.set_existing_text(System, "Setup", "CmdLine", r"oobe\windeploy.exe")?;
                progress(session)?;
                if generalize {
                    session.delete_key(System, SYSPREP_STATUS)?;
                }
            }
        }
        session.set_existing_u32(System, r"Setup\Status", "AuditBoot", 0)?;
        if generalize && !session.facts.setup.is_generalized() {
            let tag = [clone_tag(session.inputs.now()), String::new()];
            let tag: Vec<u8> = tag.iter().flat_map(|s| crate::session::sz(s)).collect();
            session.set_existing(System, "Setup", "CloneTag", &tag)?;
        }
        if session.options.repair {
            session.delete_value(Software, SYSPREP, CORRUPT)?;
        }
        let image_state = if generalize { GENERALIZED_TO_OOBE } else { SPECIALIZED_TO_OOBE };
        let state = r"Microsoft\Windows\CurrentVersion\Setup\State";
        session.set_existing_text(Software, state, "ImageState", image_state)?;
        let servicing = r"Microsoft\Windows\CurrentVersion\Setup\ImageServicingData";
        session.set_existing_text(Software, servicing, "ImageState", image_state)?;
        state_ini(session, image_state)?;
        tag_file(session)?;
        Ok(None)
    }
}

/// Child setups and passes of the answer file that have to come again. Without generalizing, specialize does not.
fn progress(session: &mut Session<'_>) -> Result<()> {
    let children = r"Setup\Status\ChildCompletion";
    for name in session.value_names(System, children)? {
        session.set_existing_u32(System, children, &name, 0)?;
    }
    let passes = r"Setup\Status\UnattendPasses";
    let audit = session.options.boot_to == BootTo::Audit;
    for name in session.value_names(System, passes)? {
        let comes = match name.to_ascii_lowercase().as_str() {
            "oobesystem" => true,
            "auditsystem" | "audituser" => audit || !session.options.no_generalize,
            _ => !session.options.no_generalize,
        };
        if comes {
            session.set_existing_u32(System, passes, &name, 0)?;
        }
    }
    Ok(())
}

/// The values of a sealed image of the same build, byte for byte.
fn take_over(session: &mut Session<'_>, reference: &Reference) -> Result<()> {
    reference.must_fit(session.facts)?;
    // What the reference does not say is as it is without one.
    let says = |name: &str| reference.keys().iter().any(|k| k.key == "Setup" && k.has(name));
    let missing = SETUP_NUMBERS.iter().filter(|(name, _)| !says(name));
    for (name, number) in missing {
        session.set_existing_u32(System, "Setup", name, *number)?;
    }
    for known in reference.keys() {
        let key = match known.key.strip_prefix(r"{CCS}\") {
            // One control set is in force in the reference; here all of them get what it says.
            Some(rest) => session.facts.control_sets.iter().map(|set| format!(r"{set}\{rest}")).collect(),
            None => vec![known.key.to_owned()],
        };
        for key in key {
            if session.hive(System).map_or(Ok(None), |hive| hive.key(&key))?.is_none() {
                continue;
            }
            for value in &known.values {
                session.set(System, &key, &value.name_lossy(), value.ty, &value.data)?;
            }
            if !known.is_whole {
                continue;
            }
            for name in session.value_names(System, &key)? {
                if !known.has(&name) {
                    session.delete_value(System, &key, &name)?;
                }
            }
        }
    }
    Ok(())
}

/// `State.ini` says what the registry says. The quoted value is replaced; encoding and other lines stay.
fn state_ini(session: &mut Session<'_>, image_state: &str) -> Result<()> {
    let Some(node) = session.tree.resolve(session.tree.root(), STATE_INI)? else { return Ok(()) };
    let old = session.tree.read(node)?;
    let new = replace_image_state(&old, image_state).unwrap_or_else(|| {
        let detail = "there was no line ImageState=\"…\": one was added";
        session.find(Level::Note, "state-ini", STATE_INI, detail);
        with_image_state(&old, image_state)
    });
    session.write_file(STATE_INI, &new, FileSecurity::Sibling)
}

/// Whether a text is UTF-16LE.
fn is_wide(text: &[u8]) -> bool {
    text.starts_with(&[0xff, 0xfe]) || text.get(1) == Some(&0)
}

/// Writes a text as another one is encoded.
fn encoded_as(text: &[u8]) -> fn(&str) -> Vec<u8> {
    if is_wide(text) { reseal_dtyp::utf16le } else { |new| new.as_bytes().to_vec() }
}

/// Behind a word, whatever its case.
fn behind(text: &[u8], from: usize, word: &[u8]) -> Option<usize> {
    let at = text.get(from..)?.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))?;
    Some(from + at + word.len())
}

/// The text with the line as the first one of its section `[State]`, which is added where there is none: of several sections
/// of one name Windows reads the first.
fn with_image_state(old: &[u8], image_state: &str) -> Vec<u8> {
    let encode = encoded_as(old);
    let line = encode(&format!("ImageState=\"{image_state}\"\r\n"));
    match behind(old, 0, &encode("[State]")) {
        Some(header) => match behind(old, header, &encode("\n")) {
            Some(at) => [&old[..at], &line, &old[at..]].concat(),
            None => [old, &encode("\r\n"), &line].concat(),
        },
        None => [old, &encode("\r\n[State]\r\n"), &line].concat(),
    }
}

/// Replaces what stands between the quotes after `ImageState=`, in ASCII or UTF-16LE.
fn replace_image_state(old: &[u8], image_state: &str) -> Option<Vec<u8>> {
    let encode = encoded_as(old);
    let start = behind(old, 0, &encode("ImageState=\""))?;
    let end = behind(old, start, &encode("\""))? - encode("\"").len();
    Some([&old[..start], &encode(image_state), &old[end..]].concat())
}

/// The marker that deployment tools look for. Windows without a Sysprep folder (Server Core of old) gets none.
fn tag_file(session: &mut Session<'_>) -> Result<()> {
    if session.tree.resolve(session.tree.root(), SYSPREP_FOLDER)?.is_some() {
        session.write_file(&format!(r"{SYSPREP_FOLDER}\Sysprep_succeeded.tag"), &[], FileSecurity::Sibling)?;
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
        let new = replace_image_state(ascii, GENERALIZED_TO_OOBE).unwrap();
        assert_eq!(new, format!("[State]\r\nImageState=\"{GENERALIZED_TO_OOBE}\"\r\nOther=1\r\n").into_bytes());
        let wide = [vec![0xff, 0xfe], reseal_dtyp::utf16le("[State]\nImageState=\"X\"\n")].concat();
        let new = replace_image_state(&wide, GENERALIZED_TO_OOBE).unwrap();
        assert_eq!(
            new,
            [vec![0xff, 0xfe], reseal_dtyp::utf16le(&format!("[State]\nImageState=\"{GENERALIZED_TO_OOBE}\"\n"))]
                .concat()
        );
        for old in [&b"[State]\nImageState=x\n"[..], b"", &reseal_dtyp::utf16le("[State]\nImageSt\u{86}te=\"x\"\n")] {
            assert_eq!(replace_image_state(old, GENERALIZED_TO_OOBE), None);
            let new = with_image_state(old, GENERALIZED_TO_OOBE);
            assert_eq!(replace_image_state(&new, GENERALIZED_TO_OOBE).as_deref(), Some(&new[..]), "it is there");
        }
        let new = with_image_state(b"[state]\r\nother=1\r\n[Next]\r\n", "X");
        assert_eq!(new, b"[state]\r\nImageState=\"X\"\r\nother=1\r\n[Next]\r\n");
        assert_eq!(with_image_state(b"[State]", "X"), b"[State]\r\nImageState=\"X\"\r\n");
        assert_eq!(with_image_state(b"a=1", "X"), b"a=1\r\n[State]\r\nImageState=\"X\"\r\n");
    }
}
