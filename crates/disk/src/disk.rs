//! An image file as a disk: format, partitions, changes, commit.

use crate::changed::Layout;
use crate::commit::{self, Committed, Progress};
use crate::formats::{self, Container, Format, Opening};
use crate::host::{Access, HostFile};
use crate::io::{ReadAt, WriteAt};
use crate::journal::{self, Change, Commit, HostMedia, Written};
use crate::overlay::Overlay;
use crate::partition::{Partition, PartitionTable, Slice};
use reseal_dtyp::{Error, Guid, Kind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk image. Writes go to the overlay; [`Disk::commit_to`] makes a new file of it, [`Disk::commit_in_place`] alone
/// changes the file itself.
#[derive(Debug)]
pub struct Disk {
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) container: Arc<dyn Container>,
}

/// How to commit in place.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPlace<'a> {
    /// Byte offsets of the OEM ids of the volumes that change: they are marked while the image is half written.
    pub marks: &'a [u64],
    /// Folder of the journal; beside the image when not given. A block device needs one.
    pub journal_folder: Option<&'a Path>,
    /// Whether what stood there before is kept, for [`journal::undo`].
    pub keep_undo: bool,
}

/// The bytes of a host file that is no disk, such as a WIM; nobody may write it meanwhile. `Conflict` when somebody does.
pub fn open_file(path: &Path) -> Result<Arc<dyn ReadAt>> {
    let host = HostFile::open(path, Access::Read)?;
    journal::interrupted(path)?;
    Ok(Arc::new(Overlay::new(host)))
}

/// Opens a file that is no disk, to be read and then written through the second value; nobody else may use it meanwhile.
/// `Interrupted` when a half-done commit lies beside it.
pub fn open_file_for_writing(path: &Path) -> Result<(Arc<dyn ReadAt>, HostMedia)> {
    let host = HostFile::open(path, Access::Write)?;
    journal::interrupted(path)?;
    let media = HostMedia::of(&host, None)?;
    Ok((Arc::new(Overlay::new(host)), media))
}

impl Disk {
    /// Opens an image file or block device for reading. `Conflict` when another program writes to it; `Unsupported` for a
    /// format that is not handled; `Interrupted` when a half-done commit lies beside it.
    pub fn open(path: &Path) -> Result<Disk> {
        Disk::open_as(path, Access::Read)
    }

    /// [`Disk::open`] for [`Disk::commit_in_place`]. `Conflict` when another program uses the image in any way.
    pub fn open_for_writing(path: &Path) -> Result<Disk> {
        Disk::open_as(path, Access::Write)
    }

    fn open_as(path: &Path, access: Access) -> Result<Disk> {
        let host = HostFile::open(path, access)?;
        // Looked for under the lock: whoever makes a journal holds it.
        journal::interrupted(path)?;
        Disk::of(host, &Opening { chain: Vec::new(), follow: true })
    }

    /// Opens a parent for reading.
    pub(crate) fn open_in_chain(path: &Path, opening: &Opening) -> Result<Disk> {
        let host = HostFile::open(path, Access::Read)?;
        journal::interrupted(path)?;
        Disk::of(host, opening)
    }

    /// The disk as it is in the image file, without the changes.
    pub fn original(&self) -> Result<Disk> {
        Disk::of(self.overlay.host().again()?, &Opening { chain: Vec::new(), follow: true })
    }

    /// What the parts of the image file are for.
    pub(crate) fn layout(&self) -> Layout {
        self.container.layout()
    }

    fn of(host: HostFile, opening: &Opening) -> Result<Disk> {
        let overlay = Arc::new(Overlay::new(host));
        let container = formats::open(&overlay, opening)?;
        Ok(Disk { overlay, container })
    }

    /// The image file.
    pub fn path(&self) -> &Path {
        self.overlay.host().path()
    }

    /// Length of the image file in bytes, as it was opened.
    pub fn file_len(&self) -> u64 {
        self.overlay.host().len()
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.container.format()
    }

    /// Logical sector size in bytes, where the container states it.
    pub fn sector_size(&self) -> Option<u32> {
        self.container.sector_size()
    }

    /// Size in bytes of the blocks in which the container holds the disk, where it does so.
    pub fn block_len(&self) -> Option<u64> {
        self.container.block_len()
    }

    /// Identity of the virtual disk, where the container has one.
    pub fn container_id(&self) -> Option<Guid> {
        self.container.id()
    }

    /// Entries of the container's own log that were replayed into the overlay on opening.
    pub fn replayed_log_entries(&self) -> usize {
        self.container.replayed_log_entries()
    }

    /// The disk below a differencing disk, open for reading.
    pub fn parent(&self) -> Option<&Disk> {
        self.container.parent().and_then(|parent| parent.disk().ok())
    }

    /// The id by which children know this disk as their parent: the DataWriteGuid of a VHDX, the unique id of a VHD.
    pub fn link_id(&self) -> Option<Guid> {
        self.container.link_id()
    }

    /// What is wrong with the container and yet does not keep it from being read. Such a disk is not written.
    pub fn container_damage(&self) -> Option<&str> {
        self.container.damage()
    }

    /// Something odd about the container that is no damage.
    pub fn container_note(&self) -> Option<String> {
        self.container.note()
    }

    /// The differencing disks in the folder of this one whose parent it is, by name. They read rubbish once it has changed.
    ///
    /// What is damaged, or no disk, is no child; an error of the host is an error.
    pub fn children(&self) -> Result<Vec<PathBuf>> {
        let context = |e| Error::io(format!("cannot look for children of {}", self.path().display()), e);
        let Some(id) = self.link_id() else { return Ok(Vec::new()) };
        let own = std::fs::canonicalize(self.path()).map_err(context)?;
        let folder = own.parent().unwrap_or(Path::new("/"));
        let mut out = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(context)? {
            let path = entry.map_err(context)?.path();
            let ending = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
            let is_disk = matches!(ending.as_deref(), Some("vhd" | "vhdx" | "avhd" | "avhdx"));
            if !is_disk || path == own || !std::fs::metadata(&path).is_ok_and(|m| m.is_file()) {
                continue;
            }
            let look = HostFile::open(&path, Access::Look)
                .and_then(|host| Disk::of(host, &Opening { chain: Vec::new(), follow: false }));
            match look {
                Ok(disk) if disk.container.parent().is_some_and(|parent| parent.ids.contains(&id)) => out.push(path),
                Err(e) if e.kind() == Kind::Io => return Err(e.within(path.display())),
                _ => {}
            }
        }
        out.sort();
        Ok(out)
    }

    /// The virtual disk's bytes.
    pub fn bytes(&self) -> Arc<dyn WriteAt> {
        Arc::clone(&self.container) as _
    }

    /// Reads the partition table.
    pub fn partitions(&self) -> Result<PartitionTable> {
        PartitionTable::read(&*self.bytes(), self.sector_size())
    }

    /// The bytes of one partition.
    pub fn partition(&self, partition: &Partition) -> Arc<dyn WriteAt> {
        Arc::new(Slice { offset: partition.offset, len: partition.len, disk: self.bytes() })
    }

    /// Bytes that differ from the image file, in whole pages.
    pub fn changed_bytes(&self) -> Result<u64> {
        let mut changed = 0;
        let host_len = self.overlay.host().len();
        self.overlay.each_run(|offset, now, before| {
            let pages = commit::changed_pages(offset, now, before, host_len);
            changed += pages.iter().map(|range| range.len() as u64).sum::<u64>();
            Ok(())
        })?;
        Ok(changed)
    }

    /// Finishes the container's own metadata, then writes image and changes to the new file `out`. `write_guids` are new ids:
    /// the write identifiers of a VHDX, the unique id of a VHD. A differencing disk names its parent from where `out` lies.
    /// `Conflict` when `out` exists.
    pub fn commit_to(self, out: &Path, write_guids: [Guid; 2], progress: Progress<'_>) -> Result<Committed> {
        let is_changed = self.changed_bytes()? > 0;
        if is_changed || self.parent().is_some() {
            self.refuse_damaged()?;
            self.container.before_commit(formats::Commit { ids: write_guids, is_changed, out: Some(out) })?;
        }
        commit::commit_to(&self.overlay, out, progress)
    }

    /// Finishes the container's own metadata, then writes the changes into the image: all of them or, after a crash and
    /// [`journal::recover`], all or none. The disk must be open for writing.
    ///
    /// `Interrupted` when the image needs a recovery now; after any other error it is untouched.
    pub fn commit_in_place(self, how: InPlace<'_>, write_guids: [Guid; 2], progress: Progress<'_>) -> Result<Written> {
        if self.changed_bytes()? == 0 {
            return Ok(Written::default());
        }
        self.refuse_damaged()?;
        self.container.before_commit(formats::Commit { ids: write_guids, is_changed: true, out: None })?;
        let marks = self.marks(how.marks)?;
        let mut media = HostMedia::of(self.overlay.host(), how.journal_folder)?;
        let runs = self.overlay.runs();
        let (mut done, in_all) = (0, runs.iter().map(|run| run.end - run.start).sum());
        let mut changes = runs.into_iter().map(|run| {
            let mut data = Vec::new();
            self.overlay.run(&run, &mut data)?;
            done += data.len() as u64;
            progress(done, in_all);
            Ok(Change { offset: run.start, data })
        });
        let commit = Commit { len_after: self.overlay.len(), marks: &marks, keep_undo: how.keep_undo };
        journal::commit(&mut media, commit, &mut changes)
    }

    /// Where bytes of the virtual disk lie in the image file, to be marked. Where it holds none of them yet, as a differencing
    /// disk whose parent has the boot sector, the signature of the container is marked.
    fn marks(&self, wanted: &[u64]) -> Result<Vec<u64>> {
        let before = self.original()?.container;
        let mut marks = Vec::new();
        for &at in wanted {
            let mark = match before.file_offset(at)? {
                Some(mark) => Some(mark),
                None => before.signature_offset(),
            };
            marks.push(mark.ok_or_else(|| {
                Error::unsupported(format!("byte {at:#x} of the disk lies in a block that the file does not hold"))
            })?);
        }
        marks.sort_unstable();
        marks.dedup();
        Ok(marks)
    }

    fn refuse_damaged(&self) -> Result<()> {
        match self.container.damage() {
            Some(damage) => Err(Error::new(Kind::Damaged, format!("{damage}; it can be read, and is not written"))),
            None => Ok(()),
        }
    }
}
