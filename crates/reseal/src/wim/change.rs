//! One image of a WIM, changed by a verb that is not sealing: staged in memory, guarded, and committed in the same two ways.

use super::commit::WimCommit;
use super::guard;
use super::images::WimImages;
use super::tree::WimTree;
use crate::error::{Error, Kind, Result, Within};
use crate::hives::HiveSet;
use crate::inputs::Inputs;
use crate::staging::Staged;
use crate::{Change, Facts};
use std::path::Path;
use std::sync::Arc;

/// The image that is meant, as it was and as it is changed.
#[derive(Debug)]
pub(crate) struct WimEdit {
    images: WimImages,
    index: u32,
    original: WimTree,
    pub(crate) tree: WimTree,
}

impl WimEdit {
    /// Opens the one image that is meant. `Usage` when several are.
    pub(crate) fn open(images: WimImages) -> Result<WimEdit> {
        let meant = images.meant()?;
        let [index] = meant[..] else {
            let what = format!("{} images are meant, and one is changed at a time", meant.len());
            return Err(Error::new(Kind::Usage, what).hint("name one, as in install.wim:2"));
        };
        let tree = WimTree::open(Arc::clone(images.wim()), index).within(WimImages::place(index))?;
        Ok(WimEdit { images, index, original: tree.clone(), tree })
    }

    /// The same of an image that must hold a Windows.
    pub(crate) fn of_windows(images: WimImages) -> Result<WimEdit> {
        let edit = WimEdit::open(images)?;
        if edit.tree.has_windows()? { Ok(edit) } else { Err(edit.images.no_windows()) }
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn path(&self) -> &Path {
        self.images.path()
    }

    /// Reads back what is staged, and holds it against what was said to change; the hives are those that were put into the tree.
    pub(crate) fn finish(self, hives: HiveSet, changes: &[Change], facts: Facts, inputs: &Inputs) -> Result<WimCommit> {
        if self.tree.is_changed {
            hives.read_back(&self.tree)?;
            let staged = Staged::of_changes(hives, changes.to_vec(), facts);
            guard::refuse(&self.original, &self.tree.as_written(&self.tree.image.to_metadata()?)?, &staged)?;
        }
        Ok(WimCommit {
            guid: inputs.stream(&[b"wim-guid", &self.images.wim().header().guid.0]).guid(),
            now: inputs.now(),
            storage: crate::WimStorage::default(),
            kept: self.images.file.numbers(),
            changed: vec![(self.index, self.tree)],
            images: self.images,
        })
    }
}

impl WimCommit {
    /// Bytes of contents that are new and named, and of metadata that changed.
    pub(crate) fn new_bytes(&self) -> Result<u64> {
        let mut out = 0;
        for (_, tree) in self.changed.iter().filter(|(_, tree)| tree.is_changed) {
            out += tree.new_bytes() + tree.image.to_metadata()?.len() as u64;
        }
        Ok(out)
    }
}
