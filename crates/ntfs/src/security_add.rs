//! Security descriptors for new files: found in `$Secure` or added to it.

use crate::attribute::{kind, name};
use crate::file_edit::{FileEdit, set_sizes};
use crate::inherit;
use crate::record_edit;
use crate::reference::{FileReference, system};
use crate::security::{BLOCK, HEADER, MAX_ENTRY, Place, hash};
use crate::stat::StandardInformation;
use crate::store::Touch;
use crate::stream::Clusters;
use crate::tree_edit::payload;
use crate::volume::Volume;
use reseal_dtyp::{Error, Kind, Result};

/// Which security descriptor a file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security<'a> {
    /// What its folder hands down ([MS-DTYP] 2.5.3.4); the folder's own when it hands nothing down.
    Inherit,
    /// The one with this id.
    Id(u32),
    /// The one that another file has.
    SameAs(FileReference),
    /// This one, self-relative; it is added to `$Secure` unless it is there already.
    Descriptor(&'a [u8]),
}

impl Volume {
    /// Gives a file another security descriptor. One that lies in the file itself, as the root's does after formatting by others
    /// than Windows, goes.
    pub fn set_security_id(&mut self, reference: FileReference, security: Security<'_>) -> Result<()> {
        self.operation(|volume| {
            if reference.record() != system::ROOT {
                crate::replace::refuse_system(reference)?;
            }
            let file = volume.file(reference)?;
            let is_directory = file.base()?.is_directory();
            let parent = crate::stat::names(&file)?.first().map_or(volume.root(), |n| n.parent);
            let id = volume.security_id(security, parent, is_directory)?;
            let mut edit = FileEdit::new(file);
            let spot = edit.spot(kind::STANDARD_INFORMATION, &[])?;
            let spot =
                spot.ok_or_else(|| Error::damaged("file record", "$STANDARD_INFORMATION", 0, "there is none"))?;
            let mut value = edit.value_mut(spot)?.to_vec();
            // The form of NTFS 1.2 is shorter and has no security id; the fields that it lacks are zero.
            value.resize(value.len().max(StandardInformation::LEN), 0);
            value[StandardInformation::SECURITY_ID..][..4].copy_from_slice(&id.to_le_bytes());
            edit.replace(spot, record_edit::resident(kind::STANDARD_INFORMATION, &[], &value, false))?;
            if edit.spot(kind::SECURITY_DESCRIPTOR, &[])?.is_some() {
                volume.drop_attribute(&mut edit, kind::SECURITY_DESCRIPTOR, &[])?;
                volume.own_descriptors = std::sync::OnceLock::new();
            }
            edit.finish(volume)?;
            // The descriptor may name another owner.
            volume.recount_usage()
        })
        .map_err(|e| e.within(format!("file {reference}")))
    }

    /// The id for a file in folder `parent`.
    pub(crate) fn security_id(
        &mut self,
        security: Security<'_>,
        parent: FileReference,
        is_directory: bool,
    ) -> Result<u32> {
        match security {
            Security::Id(id) => self.descriptor_by_id(id).map(|_| id),
            Security::SameAs(other) => {
                let file = self.file(other)?;
                match self.standard_information(&file)?.security_id {
                    Some(id) if id != 0 => Ok(id),
                    _ => self.ensure_descriptor(&self.descriptor(other)?),
                }
            }
            Security::Descriptor(bytes) => {
                if !inherit::is_descriptor(bytes) {
                    return Err(Error::new(Kind::Conflict, "the descriptor is not a valid self-relative one"));
                }
                self.ensure_descriptor(bytes)
            }
            Security::Inherit => self.inherited_id(parent, is_directory),
        }
    }

    /// What a folder hands down. What an id says never changes but by [`Volume::rewrite_sids`], so the answer is kept.
    fn inherited_id(&mut self, parent: FileReference, is_directory: bool) -> Result<u32> {
        let file = self.file(parent)?;
        let from = self.standard_information(&file)?.security_id.filter(|id| *id != 0);
        let known = from.and_then(|id| self.inherited.get(&(id, is_directory)));
        if let Some(id) = known {
            return Ok(*id);
        }
        let descriptor = self.descriptor(parent)?;
        let descriptor = inherit::handed_down(&descriptor, is_directory).unwrap_or(descriptor);
        let id = self.ensure_descriptor(&descriptor)?;
        if let Some(from) = from {
            self.inherited.insert((from, is_directory), id);
        }
        Ok(id)
    }

    /// The id of a descriptor with exactly these bytes; added when there is none.
    fn ensure_descriptor(&mut self, descriptor: &[u8]) -> Result<u32> {
        let hash = hash(descriptor);
        for id in self.ids_of_hash(hash)? {
            if self.descriptor_by_id(id)? == descriptor {
                return Ok(id);
            }
        }
        let (sds, places) = self.secure_places()?;
        self.add_descriptor(&sds, &places, descriptor, hash)
    }

    fn add_descriptor(&mut self, sds: &Clusters, places: &[Place], descriptor: &[u8], hash: u32) -> Result<u32> {
        let len = HEADER + descriptor.len() as u64;
        if len > MAX_ENTRY {
            return Err(Error::new(Kind::Limit, format!("a descriptor of {} bytes", descriptor.len())));
        }
        let last = places.iter().max_by_key(|p| p.offset);
        let mut offset = last.map_or(0, |p| (p.offset + u64::from(p.len)).next_multiple_of(16));
        let block = offset / BLOCK;
        // Odd blocks are the copies; an entry does not cross the end of its block.
        if block % 2 == 1 || (offset + len - 1) / BLOCK != block {
            offset = (block / 2 + 1) * 2 * BLOCK;
        }
        let id = places.iter().map(|p| p.id).max().unwrap_or(0xff).max(0xff).checked_add(1);
        let id = id.ok_or_else(|| Error::new(Kind::Limit, "all security ids are in use"))?;
        let place = Place { hash, id, offset, len: len as u32 };
        let mut entry = place.to_bytes().to_vec();
        entry.extend_from_slice(descriptor);
        let clusters = self.reach_sds(sds, offset + BLOCK + len)?;
        for at in [offset, offset + BLOCK] {
            self.stage_clusters(&clusters, at, &entry, Touch::Data(system::SECURE))?;
        }
        self.index_descriptor(place)?;
        Ok(id)
    }

    /// Makes `$SDS` at least `size` bytes long; what is new is zero.
    fn reach_sds(&mut self, old: &Clusters, size: u64) -> Result<Clusters> {
        if size <= old.size && old.initialized == old.size {
            return Ok(old.clone());
        }
        if !old.is_plain() || old.initialized != old.size {
            return Err(Error::unsupported("$SDS is sparse or not initialized to its end"));
        }
        let mut edit = FileEdit::new(self.file_by_number(system::SECURE)?);
        let spot = edit.spot(kind::DATA, name::SDS)?;
        let spot = spot.ok_or_else(|| Error::damaged("$Secure", "$SDS", 0, "the stream got lost"))?;
        let needed = self.geometry.clusters_for(size);
        let new = if needed > old.end_vcn() {
            self.grow_attribute(&mut edit, spot, old, needed, old.size, (size, size))?
        } else {
            set_sizes(edit.bytes_mut(spot), size, size);
            Clusters { size, initialized: size, ..old.clone() }
        };
        edit.finish(self)?;
        let mut at = old.size;
        let zeros = vec![0; 64 << 10];
        while at < size {
            let n = (size - at).min(zeros.len() as u64);
            self.stage_clusters(&new, at, &zeros[..n as usize], Touch::Data(system::SECURE))?;
            at += n;
        }
        Ok(new)
    }

    fn index_descriptor(&mut self, place: Place) -> Result<()> {
        let data = place.to_bytes();
        let id = place.id.to_le_bytes();
        let hash_and_id = [place.hash.to_le_bytes(), id].concat();
        let entries = [
            (name::SII, id.to_vec(), &[][..]),
            // The filler that Windows puts behind the data.
            (name::SDH, hash_and_id, &b"I\0I\0"[..]),
        ];
        for (index, key, filler) in entries {
            let file = self.file_by_number(system::SECURE)?;
            let mut tree = self.edit_tree(file, index)?;
            let data_offset = (0x10 + key.len()) as u16;
            let mut head = [0; 8];
            head[..2].copy_from_slice(&data_offset.to_le_bytes());
            head[2..4].copy_from_slice(&(HEADER as u16).to_le_bytes());
            tree.insert(self, payload(head, &key, &[&data[..], filler].concat()))?;
            tree.finish(self)?;
        }
        Ok(())
    }
}
