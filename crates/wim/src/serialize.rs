//! Writing a metadata resource.

use crate::dentry;
use crate::image::{Entry, FileId, Image};
use crate::names;
use reseal_dtyp::{Error, Kind, Result};
use std::collections::{HashMap, VecDeque};

impl Image {
    /// The metadata resource, not compressed. The same image gives the same bytes: folders are in the order of their names.
    ///
    /// `Limit` for more than 4 GiB of descriptors, `Conflict` when a folder has a name twice.
    pub fn to_metadata(&self) -> Result<Vec<u8>> {
        let mut out = self.security_data()?;
        let root = dentry::write(&mut out, self.file(self.root()), (&[], &[]), 0)?;
        out.extend([0; 8]);
        let mut queue = VecDeque::from([(self.root(), root)]);
        let mut groups = HashMap::new();
        while let Some((folder, offset_at)) = queue.pop_front() {
            let mut entries: Vec<&Entry> = self.entries(folder).collect();
            if entries.is_empty() {
                continue;
            }
            entries.sort_by_cached_key(|entry| (names::upper(&entry.name), entry.name.clone()));
            if let Some(twice) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
                let name = reseal_dtyp::utf16_lossy(&twice[0].name);
                return Err(Error::new(Kind::Conflict, format!("a folder would have the name {name} twice")));
            }
            let at = out.len() as u64;
            out[offset_at..offset_at + 8].copy_from_slice(&at.to_le_bytes());
            for entry in entries {
                let offset_at = self.write_entry(&mut out, entry, &mut groups)?;
                if self.is_dir(entry.file) {
                    queue.push_back((entry.file, offset_at));
                }
            }
            out.extend([0; 8]);
        }
        Ok(out)
    }

    /// `groups`: the numbers of files with several names, in the order they are met; 0 stands for a file with one name.
    fn write_entry(&self, out: &mut Vec<u8>, entry: &Entry, groups: &mut HashMap<FileId, u64>) -> Result<usize> {
        let file = self.file(entry.file);
        let next = groups.len() as u64 + 1;
        let group = if file.names.len() > 1 { *groups.entry(entry.file).or_insert(next) } else { 0 };
        dentry::write(out, file, (&entry.name, &entry.short_name), group)
    }

    /// Length, count, sizes, descriptors; padded to where the root's entry begins.
    fn security_data(&self) -> Result<Vec<u8>> {
        let len = 8 + self.descriptors.iter().map(|one| 8 + one.len() as u64).sum::<u64>();
        let total = u32::try_from(len).map_err(|_| {
            let count = self.descriptors.len();
            Error::new(Kind::Limit, format!("{count} descriptors of {len:#x} bytes, an image has room for 4 GiB"))
        })?;
        let mut out = Vec::with_capacity(len as usize + 128 * self.files.len());
        out.extend(total.to_le_bytes());
        out.extend((self.descriptors.len() as u32).to_le_bytes());
        self.descriptors.iter().for_each(|one| out.extend((one.len() as u64).to_le_bytes()));
        self.descriptors.iter().for_each(|one| out.extend(one));
        out.resize(out.len().next_multiple_of(8), 0);
        Ok(out)
    }

    /// How often each content is named, each name of a file counted; what is not named is not in it.
    pub fn references(&self) -> HashMap<crate::Sha1Hash, u32> {
        let mut out = HashMap::new();
        for file in self.files() {
            let names = if file == FileId(0) { 1 } else { self.names(file).count() as u32 };
            for stream in self.streams(file).iter().filter(|stream| stream.hash != [0; 20]) {
                let count = out.entry(stream.hash).or_insert(0u32);
                *count = count.saturating_add(names);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewFile;

    #[test]
    fn links_are_numbered_as_they_are_met() {
        let mut image = Image::new(NewFile { attributes: 0x10, ..NewFile::default() });
        let name = |text: &str| text.encode_utf16().collect::<Vec<u16>>();
        // Made in another order than that of their names.
        for (first, second) in [("x", "c"), ("b", "y"), ("a", "z")] {
            let file = image.create(image.root(), &name(first), &[], NewFile::default());
            image.link(image.root(), &name(second), &[], file);
        }
        let written = image.to_metadata().unwrap();
        let again = Image::read(&written).unwrap();
        assert_eq!(again.to_metadata().unwrap(), written);
    }
}
