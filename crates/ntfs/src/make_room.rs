//! Room in a file record: what can lie in clusters goes there.

use crate::attribute::{Attribute, kind, name};
use crate::file::File;
use crate::file_edit::FileEdit;
use crate::store::Touch;
use crate::stream::Clusters;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

/// Shorter values are not worth a run list.
const WORTH_MOVING: usize = 0x60;

impl Volume {
    /// Moves the longest resident stream of a file, or the entries in the root of a folder, to clusters. `NoSpace` when there
    /// is nothing to move. Returns the file as it is then.
    pub(crate) fn make_room(&mut self, file: File) -> Result<File> {
        let reference = file.reference;
        if file.base()?.is_directory() {
            let mut tree = self.edit_tree(file, name::I30)?;
            if tree.is_root_bare() {
                return Err(nothing_to_move());
            }
            tree.push_down_root(self)?;
            tree.finish(self)?;
        } else {
            self.move_stream(file)?;
        }
        self.file(reference)
    }

    fn move_stream(&mut self, file: File) -> Result<()> {
        let number = file.number();
        let mut edit = FileEdit::new(file);
        let movable = |a: &Attribute<'_>| a.kind == kind::DATA && a.resident().is_some_and(|v| v.len() >= WORTH_MOVING);
        let longest = edit.spots(movable)?.into_iter().max_by_key(|s| s.len).ok_or_else(nothing_to_move)?;
        let (_, stream) = edit.named(longest)?;
        let data = edit.value_mut(longest)?.to_vec();
        let clusters = self.move_to_clusters(&mut edit, longest, &stream, data.len() as u64)?;
        let mut padded = data;
        padded.resize(clusters.allocated as usize, 0);
        let whole = Clusters { initialized: clusters.allocated, ..clusters.clone() };
        self.stage_clusters(&whole, 0, &padded, Touch::Data(number))?;
        if stream.is_empty() {
            self.sync_names(&mut edit, |facts| facts.allocated = clusters.allocated)?;
        }
        edit.finish(self)
    }
}

fn nothing_to_move() -> Error {
    Error::new(Kind::NoSpace, "nothing in the file record can lie in clusters")
}
