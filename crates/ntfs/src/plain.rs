//! Content that was compressed, sparse or stored by WOF, stored plainly when it is replaced.

use crate::attribute::{flag, kind, name};
use crate::attributes::change_attributes;
use crate::file_edit::FileEdit;
use crate::names_edit::Duplicated;
use crate::record_edit;
use crate::stat::file_attribute;
use crate::stream::{Clusters, Stream};
use crate::volume::Volume;
use crate::wof::Wof;
use reseal_dtyp::{Error, Kind, Result};

/// What files and names stop saying when content becomes plain.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cleared {
    /// `FILE_ATTRIBUTE_*` that go.
    attributes: u32,
    /// Whether the file is no reparse point any more.
    reparse: bool,
}

impl Cleared {
    pub(crate) fn apply(self, facts: &mut Duplicated) {
        facts.attributes &= !self.attributes;
        if self.reparse {
            facts.reparse_tag = 0;
        }
    }
}

impl Volume {
    /// What has to change so that a stream can be written plainly; `None` when it is plain already. `Unsupported` for EFS and
    /// for content that lies outside the volume.
    pub(crate) fn obstacle(&self, edit: &FileEdit, stream: &[u16]) -> Result<Option<Cleared>> {
        let Some(spot) = edit.spot(kind::DATA, stream)? else { return Ok(None) };
        let flags = edit.flags(spot)?;
        if flags & flag::ENCRYPTED != 0 {
            return Err(Error::unsupported("it is encrypted with EFS"));
        }
        let wof = match self.reparse_data_of(&edit.file)?.and_then(|data| Wof::of(&data)).filter(|_| stream.is_empty())
        {
            Some(how @ (Wof::Wim | Wof::Unknown)) => {
                return Err(Error::unsupported(format!("its content is stored by WOF as {how:?}")));
            }
            other => other.is_some(),
        };
        if !wof && flags & (flag::COMPRESSION_MASK | flag::SPARSE) == 0 {
            return Ok(None);
        }
        let mut cleared = Cleared { attributes: 0, reparse: wof };
        if stream.is_empty() {
            let sparse = |a: &crate::attribute::Attribute<'_>| {
                a.kind == kind::DATA && !a.name.is_empty() && a.flags & flag::SPARSE != 0
            };
            cleared.attributes |= file_attribute::COMPRESSED;
            cleared.attributes |= if edit.spots(sparse)?.is_empty() { file_attribute::SPARSE } else { 0 };
            cleared.attributes |= if wof { file_attribute::REPARSE_POINT } else { 0 };
        }
        Ok(Some(cleared))
    }

    /// Gives up how the stream is stored and makes it a plain one for `data`.
    pub(crate) fn store_plainly(
        &mut self,
        edit: &mut FileEdit,
        stream: &[u16],
        data: &[u8],
        cleared: Cleared,
    ) -> Result<Option<Clusters>> {
        if cleared.reparse {
            let mut key = self.reparse_data_of(&edit.file)?.unwrap_or_default();
            key.truncate(4);
            key.extend_from_slice(&edit.file.reference.0.to_le_bytes());
            self.remove_key("$Reparse", name::R, &key, edit.file.reference)?;
            self.drop_attribute(edit, kind::REPARSE_POINT, &[])?;
            self.drop_attribute(edit, kind::DATA, name::WOF)?;
        }
        change_attributes(edit, cleared.attributes, 0)?;
        self.drop_attribute(edit, kind::DATA, stream)?;
        edit.insert(self, record_edit::resident(kind::DATA, stream, &[], false))?;
        let spot = edit.spot(kind::DATA, stream)?;
        let spot = spot.ok_or_else(|| Error::new(Kind::Conflict, "the new stream got lost"))?;
        self.replace_resident(edit, spot, stream, data)
    }

    /// Takes an attribute out with all its extents and clusters.
    pub(crate) fn drop_attribute(&mut self, edit: &mut FileEdit, kind: u32, name: &[u16]) -> Result<()> {
        if let Some(Stream::Clusters(clusters)) = edit.file.stream(kind, name, &self.geometry)? {
            self.release(&clusters.runs)?;
        }
        // Each removal moves what follows it, so places are looked up anew.
        while let Some(&spot) = edit.spots(|a| a.is(kind, name))?.last() {
            edit.remove(spot)?;
        }
        Ok(())
    }

    /// Whether a stream reads as these bytes, however it is stored.
    pub(crate) fn reads_as(&self, edit: &FileEdit, stream: &[u16], data: &[u8]) -> Result<bool> {
        let reader = self.stream_of(&edit.file, stream)?;
        if reader.size() != data.len() as u64 {
            return Ok(false);
        }
        let mut buffer = vec![0; (1 << 20).min(data.len())];
        let mut at = 0;
        for part in data.chunks(buffer.len().max(1)) {
            reader.read_at(at, &mut buffer[..part.len()])?;
            if buffer[..part.len()] != *part {
                return Ok(false);
            }
            at += part.len() as u64;
        }
        Ok(true)
    }
}
