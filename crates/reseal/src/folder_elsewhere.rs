//! Mounted folders on a host whose calls for them are not written yet: a folder is refused, and nothing else is there.

use crate::error::{Error, Kind, Result};
use crate::generalize::{InPlace, Observer, Plan, Report};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::recover::{Recovery, RecoveryReport};
use crate::tree::{NodeId, Stat, StreamRead, Survey, Tree, TreeEntry};
use reseal_dtyp::{Finding, Result as FormatResult};
use std::path::Path;

/// No folder is ever opened here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FolderTree {}

fn refused(text: &str) -> Error {
    Error::new(Kind::Unsupported, "mounted folders and drives are not handled on this host")
        .hint("give the disk or the WIM itself; on Linux, a volume that ntfs-3g mounted")
        .subject(text)
}

/// The folder that a user means.
#[derive(Debug)]
pub(crate) struct FolderImage {
    pub(crate) tree: FolderTree,
}

impl FolderImage {
    pub(crate) fn open(text: &str) -> Option<Result<FolderImage>> {
        Path::new(text).is_dir().then(|| Err(refused(text)))
    }

    pub(crate) fn open_for_writing(text: &str) -> Option<Result<FolderImage>> {
        FolderImage::open(text)
    }

    pub(crate) fn path(&self) -> &Path {
        match self.tree {}
    }

    pub(crate) fn place() -> String {
        "mounted folder".to_owned()
    }

    pub(crate) fn has_windows(&self) -> Result<bool> {
        match self.tree {}
    }

    pub(crate) fn no_windows(&self) -> Error {
        match self.tree {}
    }
}

/// A plan for a folder.
#[derive(Debug)]
pub(crate) struct FolderPlanned(FolderTree);

impl FolderPlanned {
    pub(crate) fn new(
        image: FolderImage,
        _options: &Options,
        _inputs: &Inputs,
        _observer: &dyn Observer,
    ) -> Result<FolderPlanned> {
        match image.tree {}
    }

    pub(crate) fn plan(&self) -> &Plan {
        match self.0 {}
    }

    pub(crate) fn refuse_output(&self) -> Error {
        match self.0 {}
    }

    pub(crate) fn commit_in_place(self, _how: InPlace<'_>, _observer: &dyn Observer) -> Result<Report> {
        match self.0 {}
    }
}

pub(crate) fn recover(folder: &str, _how: Recovery<'_>) -> Result<RecoveryReport> {
    Err(refused(folder))
}

impl FolderTree {
    pub(crate) fn all(&self) -> FormatResult<Vec<NodeId>> {
        match *self {}
    }

    pub(crate) fn attributes_of(&self, _: NodeId) -> FormatResult<u32> {
        match *self {}
    }

    pub(crate) fn reparse_data(&self, _: NodeId) -> FormatResult<Option<Vec<u8>>> {
        match *self {}
    }

    pub(crate) fn created_and_accessed(&self, _: NodeId) -> FormatResult<[Option<reseal_dtyp::FileTime>; 2]> {
        match *self {}
    }

    pub(crate) fn short_name(&self, _: NodeId) -> FormatResult<Option<Vec<u16>>> {
        match *self {}
    }
}

impl Tree for FolderTree {
    fn root(&self) -> NodeId {
        match *self {}
    }

    fn lookup(&self, _: NodeId, _: &[u16]) -> FormatResult<Option<NodeId>> {
        match *self {}
    }

    fn entries(&self, _: NodeId) -> FormatResult<Vec<TreeEntry>> {
        match *self {}
    }

    fn size(&self, _: NodeId) -> FormatResult<u64> {
        match *self {}
    }

    fn size_at_once(&self, _: NodeId) -> FormatResult<usize> {
        match *self {}
    }

    fn read(&self, _: NodeId) -> FormatResult<Vec<u8>> {
        match *self {}
    }

    fn read_at(&self, _: NodeId, _: u64, _: &mut [u8]) -> FormatResult<usize> {
        match *self {}
    }

    fn stat(&self, _: NodeId) -> FormatResult<Stat> {
        match *self {}
    }

    fn reader(&self, _: NodeId, _: &[u16]) -> FormatResult<Box<dyn StreamRead + '_>> {
        match *self {}
    }

    fn stream_at(&self, _: NodeId, _: &[u16], _: u64, _: &mut [u8]) -> FormatResult<usize> {
        match *self {}
    }

    fn descriptor(&self, _: NodeId) -> FormatResult<Vec<u8>> {
        match *self {}
    }

    fn descriptors(&self) -> FormatResult<Vec<Vec<u8>>> {
        match *self {}
    }

    fn link_count(&self, _: NodeId) -> FormatResult<usize> {
        match *self {}
    }

    fn path(&self, _: NodeId) -> FormatResult<String> {
        match *self {}
    }

    fn survey(&self) -> FormatResult<Survey> {
        match *self {}
    }

    fn check(&self) -> FormatResult<Vec<Finding>> {
        match *self {}
    }
}
