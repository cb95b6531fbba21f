use super::{Evidence, Spec, Step};
use crate::MachineHive::{Software, System};
use crate::error::Result;
use crate::facts;
use crate::scope::Scope;
use crate::session::Session;

/// Forgets drive letters.
pub(super) struct MountedDevices;

static SPEC: Spec = Spec {
    id: "mounted-devices",
    title: "Forget drive letters",
    about: "MountedDevices maps drive letters to the partitions of this disk. A stale letter is worse than none: sign-in \
            fails or the profile is missing. All values are removed and Windows assigns letters anew; the key stays. \
            Nothing is removed when Windows, its page file or its profiles use a letter other than C:, or when a server \
            has letters for several data volumes.",
    phase: "identity",
    mirrors: &["spmpm.dll!Sysprep_Generalize_MountPointManager"],
    evidence: Evidence::Inferred,
    unproven: "what Windows assigns when several volumes had letters",
    writes: &[Scope::Key(System, "MountedDevices")],
    ..Spec::BASE
};

impl Step for MountedDevices {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let letters: Vec<String> = session
            .value_names(System, "MountedDevices")?
            .into_iter()
            .filter_map(|name| name.to_ascii_uppercase().strip_prefix(r"\DOSDEVICES\").map(str::to_owned))
            .collect();
        if !session.specialize_comes() {
            return Ok(Some("kept: specialize, which makes them anew, does not come".to_owned()));
        }
        if let Some(why) = other_letter(session)? {
            return Ok(Some(format!("kept: {why}")));
        }
        // A and B are floppies, C is Windows; optical drives cannot be told from disks here.
        let data = letters.iter().filter(|l| !matches!(l.as_str(), "A:" | "B:" | "C:")).count();
        if session.facts.is_server() && data > 1 {
            return Ok(Some(format!("kept: the server has {data} lettered volumes besides C:")));
        }
        session.clear_values(System, "MountedDevices")?;
        Ok(None)
    }
}

/// A path of Windows that names another letter than C:.
fn other_letter(session: &Session<'_>) -> Result<Option<String>> {
    let other = |path: &str| {
        let path = path.trim_start_matches(r"\??\");
        let letter = path.as_bytes();
        letter.len() >= 2
            && letter[1] == b':'
            && letter[0].is_ascii_alphabetic()
            && !letter[0].eq_ignore_ascii_case(&b'C')
    };
    if let Some(hive) = session.hive(Software) {
        let root = facts::text(hive, r"Microsoft\Windows NT\CurrentVersion", "SystemRoot")?;
        if let Some(root) = root.filter(|root| other(root)) {
            return Ok(Some(format!("SystemRoot is {root}")));
        }
    }
    if let Some(profile) = session.facts.profiles.iter().find(|p| other(&p.path)) {
        return Ok(Some(format!("the profile {} lies on another volume", profile.path)));
    }
    let Some(hive) = session.hive(System) else { return Ok(None) };
    for set in &session.facts.control_sets {
        let memory = format!(r"{set}\Control\Session Manager\Memory Management");
        let Some(key) = hive.key(&memory)? else { continue };
        for name in ["PagingFiles", "ExistingPageFiles"] {
            let files = hive.value(key, name)?.and_then(|v| v.as_multi_text()).unwrap_or_default();
            if let Some(file) = files.iter().find(|file| other(file)) {
                return Ok(Some(format!("{name} names {file}")));
            }
        }
    }
    Ok(None)
}
