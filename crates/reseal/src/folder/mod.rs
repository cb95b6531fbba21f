//! A folder in which a volume is mounted, as an image.
//!
//! ```text
//!  mount ─▶ Host (openat2, no links, one file system) ─▶ FolderTree: a Tree, edits in memory
//!                                                             │
//!     plan: the steps of a disk ─▶ Work: what differs ─▶ guard ─▶ undo manifest, durable
//!                                                                     │
//!                                       change, read again, remove the manifest; killed: `recover` takes all of it back
//! ```
//!
//! What a mount cannot keep is in [`PROMISES`], in each plan and in `docs/limits.md`.

mod apply;
mod commit;
mod edit;
mod host;
mod manifest;
mod names;
mod nodes;
mod recover;
mod seal;
mod tree;
mod work;

use crate::error::{Error, Kind, Result, Within};
use crate::tree::Tree;
use host::{Folder, Host, HostKind, HostStat};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use nodes::FolderTree;
pub(crate) use recover::recover;
pub(crate) use seal::FolderPlanned;

/// What a mount cannot keep, for every plan.
pub(crate) const PROMISES: [&str; 5] = [
    "a mounted folder is not changed at one instant: after a crash `reseal recover FOLDER` takes everything back, from the \
     undo manifest beside it",
    "free space, and what of removed and shortened files lies in it, is not wiped: whoever reads the disk may find the old \
     SID there; the volume's store of descriptors keeps the old ones",
    "files that are made anew have other record numbers and, as the mount allows it, no 8.3 names; names that are changed \
     lose theirs",
    "the time of the record's own change, and of the last access, are the host's",
    "the disk around the volume is not seen: boot stores on other partitions, BitLocker, shadow copies, $LogFile",
];

/// What a mount offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The extended attribute that holds descriptors.
    pub(crate) descriptors: Option<&'static str>,
    /// `FILE_ATTRIBUTE_*` as four bytes, big endian, which ntfs-3g and ntfs3 have in one form.
    has_attributes: bool,
    /// Streams are extended attributes `user.*`.
    pub(crate) has_streams: bool,
    /// The times of Windows can be set, that of creation too; and 8.3 names.
    is_ntfs_3g: bool,
}

/// `FILE_ATTRIBUTE_*`, big endian.
const ATTRIBUTES: &str = "system.ntfs_attrib_be";
/// Time of creation, of the last change, of the last access (ntfs-3g), each as a little-endian FILETIME.
const TIMES: &str = "system.ntfs_times";
/// The 8.3 name (ntfs-3g).
const SHORT_NAME: &str = "system.ntfs_dos_name";
/// Tag, length and data of a reparse point (ntfs-3g).
const REPARSE: &str = "system.ntfs_reparse_data";
/// Further things of a file that a copy must have (ntfs-3g).
const OBJECT_ID: &str = "system.ntfs_object_id";
const EXTENDED: &str = "system.ntfs_ea";
/// What streams are called as extended attributes.
const STREAM: &str = "user.";

impl Mount {
    /// Asks the root what it has.
    fn probe(host: &Host) -> reseal_dtyp::Result<Mount> {
        let (root, here) = (host.folder(&[])?, OsStr::new("."));
        let mut descriptors = None;
        for attribute in ["system.ntfs_acl", "system.ntfs_security"] {
            if descriptors.is_none() && root.attribute(here, attribute)?.is_some() {
                descriptors = Some(attribute);
            }
        }
        let is_ntfs_3g = descriptors == Some("system.ntfs_acl");
        Ok(Mount {
            descriptors,
            has_attributes: root.attribute(here, ATTRIBUTES)?.is_some_and(|bytes| bytes.len() == 4),
            // The kernel's ntfs3 keeps extended attributes (EA) under that name.
            has_streams: is_ntfs_3g && root.has_kind(here, "user.reseal")?,
            is_ntfs_3g,
        })
    }

    /// `FILE_ATTRIBUTE_*`; of a mount that does not tell, what the host says.
    fn attributes_of(&self, folder: &Folder, name: &OsStr, stat: &HostStat) -> reseal_dtyp::Result<u32> {
        let made_up = match stat.kind {
            HostKind::Folder => nodes::DIRECTORY,
            HostKind::Link => nodes::REPARSE_POINT,
            HostKind::File | HostKind::Special => 0x80,
        };
        if !self.has_attributes || stat.kind == HostKind::Special {
            return Ok(made_up);
        }
        let told = folder.attribute(name, ATTRIBUTES)?;
        Ok(told.and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?))).unwrap_or(made_up))
    }

    /// The self-relative descriptor; `None` where the mount tells none.
    fn descriptor_of(&self, folder: &Folder, name: &OsStr) -> reseal_dtyp::Result<Option<Vec<u8>>> {
        match self.descriptors {
            Some(attribute) => folder.attribute(name, attribute),
            None => Ok(None),
        }
    }
}

/// The folder that a user means.
#[derive(Debug)]
pub(crate) struct FolderImage {
    pub(crate) tree: FolderTree,
}

impl FolderImage {
    /// Opens a folder, when the text names one. `Interrupted` when a commit has to be taken back first.
    pub(crate) fn open(text: &str) -> Option<Result<FolderImage>> {
        let path = Path::new(text);
        path.is_dir().then(|| FolderImage::of(path).within(text))
    }

    /// The same, to be written; nobody else may work on it meanwhile.
    pub(crate) fn open_for_writing(text: &str) -> Option<Result<FolderImage>> {
        let open = |image: FolderImage| -> Result<FolderImage> {
            if image.tree.host.is_read_only()? {
                return Err(Error::new(Kind::Unsupported, "the volume is mounted read-only").hint(
                    "mount it read-write; ntfs-3g mounts read-only what is hibernated or was not shut down cleanly: \
                     start that Windows and shut it down with `shutdown /s /f /t 0`",
                ));
            }
            image.tree.host.lock()?;
            Ok(image)
        };
        FolderImage::open(text).map(|image| image.and_then(|image| open(image).within(text)))
    }

    fn of(path: &Path) -> Result<FolderImage> {
        let host = Arc::new(Host::open(path)?);
        manifest::refuse_interrupted(&host)?;
        let mount = Mount::probe(&host)?;
        Ok(FolderImage { tree: FolderTree::new(host, mount)? })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.tree.host.path
    }

    /// How messages name what is in it.
    pub(crate) fn place() -> String {
        "mounted folder".to_owned()
    }

    /// Whether it is an installation.
    pub(crate) fn has_windows(&self) -> Result<bool> {
        let tree: &dyn Tree = &self.tree;
        Ok(tree.resolve(tree.root(), r"Windows\System32\config\SYSTEM")?.is_some())
    }

    /// Why nothing can be sealed there.
    pub(crate) fn no_windows(&self) -> Error {
        Error::new(Kind::NotFound, "no Windows installation was found in the folder")
            .hint("name the folder where the volume with `Windows` is mounted")
    }

    /// `Unsupported` for a mount that does not tell who may do what: a SID could not be replaced there.
    pub(crate) fn need_descriptors(&self) -> Result<()> {
        if self.tree.mount.descriptors.is_some() {
            return Ok(());
        }
        Err(Error::new(
            Kind::Unsupported,
            "the mount offers no security descriptors: neither `system.ntfs_acl` (ntfs-3g) nor `system.ntfs_security` \
             (ntfs3) can be read of the folder",
        )
        .hint(
            "mount the NTFS volume with `ntfs-3g VOLUME FOLDER`, as root, or work on the disk itself; a WIM is sealed as a \
             file: `reseal generalize install.wim:1`",
        ))
    }
}

/// A path of the host for people.
fn shown(way: &[std::ffi::OsString], name: &OsStr) -> String {
    let path: PathBuf = way.iter().map(std::ffi::OsString::as_os_str).chain([name]).collect();
    path.display().to_string()
}
