//! `$Secure`: every security descriptor of the volume once, found by id (`$SII`) and by hash (`$SDH`).
//!
//! ```text
//! $SDS   256 KiB of entries │ the same 256 KiB again │ next 256 KiB │ again …
//! entry  hash u32, id u32, offset u64, length u32 (with these 20 bytes), descriptor; the next one at a multiple of 16
//! $SII   key: id            data: hash id offset length
//! $SDH   key: hash id       data: hash id offset length
//! ```

use crate::attribute::{kind, name};
use crate::file::File;
use crate::reference::{FileReference, system};
use crate::stream::{Clusters, Stream};
use crate::tree::Tree;
use crate::volume::Volume;
use reseal_dtyp::{Error, Result, View};

/// Bytes of a block of `$SDS`; its copy follows it.
pub(crate) const BLOCK: u64 = 256 << 10;
/// Bytes of an entry before the descriptor.
pub(crate) const HEADER: u64 = 20;
/// Stated limit: real volumes have 1 to 5 MiB.
const MAX_SDS: u64 = 1 << 30;
/// A descriptor and its header fit into a block.
pub(crate) const MAX_ENTRY: u64 = BLOCK;

/// Where a descriptor lies: the header of its `$SDS` entry, which both indexes repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) hash: u32,
    pub(crate) id: u32,
    pub(crate) offset: u64,
    /// With the header.
    pub(crate) len: u32,
}

impl Place {
    pub(crate) fn read(bytes: &[u8], at: u64) -> Result<Place> {
        let view = View::new("security descriptor header", at, bytes);
        Ok(Place {
            hash: view.u32(0, "Hash")?,
            id: view.u32(4, "SecurityId")?,
            offset: view.u64(8, "Offset")?,
            len: view.u32(16, "Length")?,
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEADER as usize] {
        let mut out = [0; HEADER as usize];
        out[..4].copy_from_slice(&self.hash.to_le_bytes());
        out[4..8].copy_from_slice(&self.id.to_le_bytes());
        out[8..16].copy_from_slice(&self.offset.to_le_bytes());
        out[16..].copy_from_slice(&self.len.to_le_bytes());
        out
    }

    /// The range in `$SDS`; `Damaged` when it leaves the stream, lies in a copy or crosses the end of its block.
    pub(crate) fn range(&self, sds_len: u64) -> Result<std::ops::Range<usize>> {
        let end = self.offset.checked_add(u64::from(self.len));
        let good = end.is_some_and(|end| {
            u64::from(self.len) > HEADER
                && self.offset.is_multiple_of(16)
                && (self.offset / BLOCK).is_multiple_of(2)
                && (end - 1) / BLOCK == self.offset / BLOCK
                && end + BLOCK <= sds_len
        });
        if !good {
            let detail = format!("id {}: {} bytes of {sds_len:#x}", self.id, self.len);
            return Err(Error::damaged("$SDS", "Offset", self.offset, detail));
        }
        Ok(self.offset as usize..(self.offset + u64::from(self.len)) as usize)
    }
}

/// The hash of a descriptor: each 32-bit word added to the sum rotated left by three; a rest of one to three bytes is ignored.
pub(crate) fn hash(descriptor: &[u8]) -> u32 {
    descriptor
        .chunks_exact(4)
        .fold(0u32, |h, w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]).wrapping_add(h.rotate_left(3)))
}

/// `$Secure` in memory.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) clusters: Clusters,
    /// The whole of `$SDS`.
    pub(crate) sds: Vec<u8>,
    pub(crate) sii: Tree,
    pub(crate) sdh: Tree,
    /// What `$SII` says, in order of id.
    pub(crate) places: Vec<Place>,
}

impl Volume {
    /// Loads `$Secure`. The places come from `$SII` as it is, unchecked.
    pub(crate) fn secure(&self) -> Result<Secure> {
        let file = self.file_by_number(system::SECURE)?;
        let stream = file.stream(kind::DATA, name::SDS, &self.geometry)?;
        let Some(Stream::Clusters(clusters)) = stream else {
            return Err(Error::damaged("$Secure", "$SDS", file.base()?.at, "there is no $SDS in clusters"));
        };
        let sds = self.read_metadata(&Stream::Clusters(clusters.clone()), MAX_SDS, "$SDS")?;
        let (sii, sdh) = (self.secure_index(&file, name::SII)?, self.secure_index(&file, name::SDH)?);
        let places = self.places(&sii)?;
        Ok(Secure { clusters, sds, sii, sdh, places })
    }

    /// What `$SII` says, in order of id.
    fn places(&self, sii: &Tree) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        self.walk_tree(sii, &mut |entry| {
            places.push(Place::read(entry.data().unwrap_or_default(), 0).map_err(|e| e.within("$SII"))?);
            Ok(())
        })?;
        Ok(places)
    }

    /// The place of `$SDS` and what `$SII` says, without the descriptors.
    pub(crate) fn secure_places(&self) -> Result<(Clusters, Vec<Place>)> {
        let file = self.file_by_number(system::SECURE)?;
        let Some(Stream::Clusters(clusters)) = file.stream(kind::DATA, name::SDS, &self.geometry)? else {
            return Err(Error::damaged("$Secure", "$SDS", file.base()?.at, "there is no $SDS in clusters"));
        };
        Ok((clusters, self.places(&self.secure_index(&file, name::SII)?)?))
    }

    /// The ids that `$SDH` lists for a hash, in order.
    pub(crate) fn ids_of_hash(&self, hash: u32) -> Result<Vec<u32>> {
        let sdh = self.secure_index(&self.file_by_number(system::SECURE)?, name::SDH)?;
        let compare = |key: &[u8]| Ok(hash.cmp(&View::new("$SDH", 0, key).u32(0, "Hash")?));
        let mut ids = Vec::new();
        self.walk_equal(&sdh, &compare, &mut |entry| {
            ids.push(View::new("$SDH", 0, entry.key).u32(4, "SecurityId")?);
            Ok(())
        })?;
        Ok(ids)
    }

    fn secure_index(&self, file: &File, name: &[u16]) -> Result<Tree> {
        self.tree(file, name)?.ok_or_else(|| {
            let detail = format!("$Secure has no index {}", String::from_utf16_lossy(name));
            Error::damaged("$Secure", "$INDEX_ROOT", 0, detail)
        })
    }

    /// The security descriptor of a file: the one that its security id names, or else the one that it holds itself.
    pub fn descriptor(&self, reference: FileReference) -> Result<Vec<u8>> {
        let file = self.file(reference)?;
        match self.standard_information(&file)?.security_id {
            Some(id) if id != 0 => self.descriptor_by_id(id).map_err(|e| e.within(format!("file {reference}"))),
            _ => {
                let stream = file.stream(kind::SECURITY_DESCRIPTOR, &[], &self.geometry)?;
                let stream = stream.ok_or_else(|| Error::not_found(format!("file {reference} has no descriptor")))?;
                self.read_metadata(&stream, BLOCK, "$SECURITY_DESCRIPTOR")
            }
        }
    }

    /// The descriptor with this id. `NotFound` when `$SII` does not know it.
    pub fn descriptor_by_id(&self, id: u32) -> Result<Vec<u8>> {
        let file = self.file_by_number(system::SECURE)?;
        let sii = self.secure_index(&file, name::SII)?;
        let compare = |key: &[u8]| Ok(id.cmp(&View::new("$SII", 0, key).u32(0, "SecurityId")?));
        let data = self.search(&sii, &compare, &|entry| entry.data().map(<[u8]>::to_vec))?.flatten();
        let data = data.ok_or_else(|| Error::not_found(format!("security id {id} is not in $SII")))?;
        let place = Place::read(&data, 0)?;
        let sds = self.system_stream(system::SECURE, kind::DATA, name::SDS)?;
        let range = place.range(sds.size())?;
        let Stream::Clusters(clusters) = &sds else {
            return Err(Error::damaged("$Secure", "$SDS", 0, "$SDS is resident"));
        };
        let mut entry = vec![0; range.len()];
        self.read_clusters(clusters, place.offset, &mut entry)?;
        if Place::read(&entry, place.offset)? != place {
            return Err(Error::damaged(
                "$SDS",
                "",
                place.offset,
                format!("the entry is not the one of id {id} in $SII"),
            ));
        }
        entry.drain(..HEADER as usize);
        Ok(entry)
    }

    /// Every descriptor of `$Secure` once, with its id, in order of id.
    pub fn descriptors(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let secure = self.secure()?;
        let one = |place: &Place| {
            let range = place.range(secure.sds.len() as u64)?;
            Ok((place.id, secure.sds[range.start + HEADER as usize..range.end].to_vec()))
        };
        secure.places.iter().map(one).collect()
    }

    /// The ids of all descriptors of `$Secure`, in order.
    pub fn security_ids(&self) -> Result<Vec<u32>> {
        let file = self.file_by_number(system::SECURE)?;
        let sii = self.secure_index(&file, name::SII)?;
        let mut ids = Vec::new();
        self.walk_tree(&sii, &mut |entry| {
            ids.push(View::new("$SII", 0, entry.key).u32(0, "SecurityId")?);
            Ok(())
        })?;
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_of_a_known_descriptor() {
        let hex = "0100048048000000580000000000000014000000020034000200000000001400890012000101000000000005120000000000180089\
                   001200010200000000000520000000200200000102000000000005200000002002000001020000000000052000000020020000";
        let hex: String = hex.split_whitespace().collect();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
        assert_eq!(hash(&bytes), 0xf803_12f0);
    }
}
