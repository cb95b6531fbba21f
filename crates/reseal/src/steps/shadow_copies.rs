use super::{Evidence, Spec, Step, Use};
use crate::MachineHive::Software;
use crate::Target;
use crate::error::{Error, Kind, Result, Within};
use crate::scope::Scope;
use crate::session::Session;
use crate::tree::{Tree, TreeEntry};
use reseal_dtyp::Level;
use reseal_ntfs::{SHADOW_HEADER, ShadowCopy, ShadowHeader};

/// Removes the shadow copies of the volume as a whole: header, catalog, stores and what belongs to restore points.
pub(super) struct ShadowCopies;

/// Its id: the option asks for it whatever `--steps` says.
pub(crate) const ID: &str = "shadow-copies";

/// Where Windows keeps them.
const FOLDER: &str = "System Volume Information";
/// With what the names of the catalog and of the stores end.
const SUFFIX: &str = "{3808876b-c176-4e48-b7ae-04046e6cc752}";
const SETTINGS: &str = r"Microsoft\Windows NT\CurrentVersion\SystemRestore";
/// What tells of restore points that are gone.
const COUNTERS: &[&str] = &["LastIndex", "LastIndexBC", "LastMainenanceTaskRunTimeStamp", "SRInitDone"];
const IN_WINDOWS: &str = "in Windows run `vssadmin delete shadows /all /quiet`, or keep the copies with --allow snapshots; nothing was written";

static SPEC: Spec = Spec {
    id: ID,
    title: "Remove shadow copies and restore points",
    about: "With --drop-snapshots: the stores of all shadow copies, their catalog and the header in the boot area by which \
            Windows finds them go together, since Windows would trust the block lists of what is left. The header becomes \
            zeros, as on a volume that never had a copy. What describes restore points (SPP, SystemRestore, _restore) goes \
            with them, and System Restore counts anew. Refused when a copy lies on another volume, or this volume stores \
            one of another. Previous versions of files in these copies are lost.",
    phase: "traces",
    mirrors: &["srclient.dll!SysprepGeneralize"],
    evidence: Evidence::Unverified,
    unproven: "that Windows takes the volume for one without shadow copies, and System Restore makes its first point anew",
    client: Use::Ask,
    server: Use::Ask,
    writes: &[Scope::File(FOLDER), Scope::ShadowHeader, Scope::Key(Software, SETTINGS)],
    ..Spec::BASE
};

/// Whether a file of the folder holds shadow copies or their catalog.
pub(crate) fn is_store_file(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(SUFFIX)
}

impl Step for ShadowCopies {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn stage(&self, session: &mut Session<'_>) -> Result<Option<String>> {
        let tree: &dyn Tree = session.tree;
        let entries = tree.entries_of(tree.root(), FOLDER).within(FOLDER)?;
        let stores: Vec<&TreeEntry> = entries.iter().filter(|e| !e.is_dir && is_store_file(&e.name_lossy())).collect();
        let header = tree.shadow_header()?;
        let copies = match header {
            ShadowHeader::Absent => Vec::new(),
            // Neither a catalog nor a store is left: whatever lies at the place that the header names now is none.
            ShadowHeader::Present { .. } if stores.is_empty() => Vec::new(),
            ShadowHeader::Present { catalog } => catalog_of(session, catalog, &stores)?,
            // Nothing that is known leads to a copy, and none is there.
            ShadowHeader::Foreign { .. } if stores.is_empty() => Vec::new(),
            ShadowHeader::Foreign { starts, held } => return Err(foreign(stores.len(), starts, held)),
        };
        for entry in &stores {
            session.remove_file(&path_of(entry), entry.node)?;
        }
        if matches!(header, ShadowHeader::Present { .. }) {
            session.allow(Scope::ShadowHeader)?;
            session.tree.clear_shadow_header()?;
            let before = format!("header of {} shadow copies", copies.len());
            session.record(
                Target::ShadowHeader { offset: SHADOW_HEADER.start },
                Some(before),
                Some("zeros".to_owned()),
            );
        }
        for entry in entries.iter().filter(|e| e.is_dir && !e.is_reparse && of_restore_points(&e.name_lossy())) {
            session.remove_folder(&path_of(entry), entry.node)?;
        }
        session.set_existing_u32(Software, SETTINGS, "FirstRun", 1)?;
        for name in COUNTERS {
            session.delete_value(Software, SETTINGS, name)?;
        }
        Ok((stores.is_empty() && copies.is_empty()).then(|| "the volume holds no shadow copies".to_owned()))
    }
}

fn path_of(entry: &TreeEntry) -> String {
    format!(r"{FOLDER}\{}", entry.name_lossy())
}

/// Folders of System Restore: those of Windows Vista and later, and that of Windows XP, which is numbered.
fn of_restore_points(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(name.as_str(), "spp" | "systemrestore") || name.starts_with("_restore{")
}

/// What the catalog lists. `Refused` when one half of a copy lies on another volume.
fn catalog_of(session: &mut Session<'_>, offset: u64, stores: &[&TreeEntry]) -> Result<Vec<ShadowCopy>> {
    let copies = session
        .tree
        .shadow_catalog(offset)
        .map_err(|e| Error::from(e).hint(IN_WINDOWS))
        .within("the catalog of shadow copies")?;
    for copy in &copies {
        let half = match (copy.of_volume, copy.stored_here) {
            (true, true) => None,
            (true, false) => Some("is one of this volume, and stored on another one"),
            (false, _) => Some("is stored here, and one of another volume"),
        };
        if let Some(half) = half {
            let detail = format!("--drop-snapshots: the shadow copy {{{}}} {half}", copy.id);
            return Err(Error::new(Kind::Refused, detail).hint(IN_WINDOWS));
        }
        let name = format!("{{{}}}{SUFFIX}", copy.id);
        if !stores.iter().any(|e| e.name_lossy().eq_ignore_ascii_case(&name)) {
            let why = "the catalog lists the copy, and its file is missing: it was broken before";
            session.find(Level::Note, "shadow-copy-broken", &format!(r"\{FOLDER}\{name}"), why);
        }
    }
    Ok(copies)
}

fn foreign(stores: usize, starts: [u8; 16], held: usize) -> Error {
    let starts: String = starts.iter().map(|b| format!("{b:02x}")).collect();
    let at = SHADOW_HEADER.start;
    let detail = format!(
        "--drop-snapshots: {stores} files hold shadow copies, and the sector at {at:#x} of the volume is no header of them: \
         {held} bytes in it, from {starts} on"
    );
    Error::new(Kind::Refused, detail).hint(IN_WINDOWS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_store_file("{3808876B-C176-4E48-B7AE-04046E6CC752}"));
        assert!(is_store_file("{de81cc22-aa8b-11eb-9339-8cdcd4557abc}{3808876b-c176-4e48-b7ae-04046e6cc752}"));
        assert!(!is_store_file("{de81cc22-aa8b-11eb-9339-8cdcd4557abc}") && !is_store_file("tracking.log"));
        assert!(of_restore_points("SPP") && of_restore_points("_restore{1A2B}") && !of_restore_points("DFSR"));
    }
}
