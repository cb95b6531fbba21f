//! Changing an image in memory.

use crate::dentry::{Extra, Stream, StreamKind, Times};
use crate::image::{Entry, File, FileId, Image};
use crate::{Sha1Hash, names};
use reseal_dtyp::{Error, Kind, Result};

/// What a new file is.
#[derive(Debug, Clone, Default)]
pub struct NewFile {
    /// Attributes as `FILE_ATTRIBUTE_…`.
    pub attributes: u32,
    /// Which of the image's descriptors it has, as [`Image::add_descriptor`] returned it.
    pub security: Option<u32>,
    /// Its times.
    pub times: Times,
    /// The tag of a reparse point; 0 of others.
    pub reparse_tag: u32,
    /// Its streams.
    pub streams: Vec<Stream>,
}

impl From<NewFile> for File {
    fn from(new: NewFile) -> File {
        File {
            attributes: new.attributes,
            security: new.security,
            times: new.times,
            reparse_tag: new.reparse_tag,
            streams: new.streams,
            extra: Extra::default(),
            entries: Vec::new(),
            names: Vec::new(),
        }
    }
}

impl Image {
    /// An image of an empty folder.
    pub fn new(root: NewFile) -> Image {
        Image { descriptors: Vec::new(), files: vec![root.into()] }
    }

    fn file_mut(&mut self, file: FileId) -> &mut File {
        &mut self.files[file.0 as usize]
    }

    /// Adds a self-relative descriptor, unless there is such a one; which one it is.
    pub fn add_descriptor(&mut self, descriptor: &[u8]) -> u32 {
        let known = self.descriptors.iter().position(|one| one == descriptor);
        known.unwrap_or_else(|| {
            self.descriptors.push(descriptor.to_vec());
            self.descriptors.len() - 1
        }) as u32
    }

    /// Which of the descriptors a file has.
    pub fn security(&self, file: FileId) -> Option<u32> {
        self.file(file).security
    }

    /// Gives a file one of the descriptors.
    pub fn set_security(&mut self, file: FileId, security: Option<u32>) {
        self.file_mut(file).security = security;
    }

    /// Every descriptor, to be changed.
    pub fn descriptors_mut(&mut self) -> impl Iterator<Item = &mut Vec<u8>> {
        self.descriptors.iter_mut()
    }

    /// Makes a file or folder. That no other of the folder has its name is the caller's to see to.
    pub fn create(&mut self, folder: FileId, name: &[u16], short_name: &[u16], new: NewFile) -> FileId {
        let file = FileId(self.files.len() as u32);
        self.files.push(new.into());
        self.link(folder, name, short_name, file);
        file
    }

    /// Gives a file one more name. That no other of the folder has it is the caller's to see to.
    pub fn link(&mut self, folder: FileId, name: &[u16], short_name: &[u16], file: FileId) {
        let entries = &mut self.file_mut(folder).entries;
        let place = entries.len() as u32;
        entries.push(Some(Entry { name: name.to_vec(), short_name: short_name.to_vec(), file }));
        self.file_mut(file).names.push((folder, place));
    }

    /// Takes all names of a file and gives it this one.
    pub fn move_to(&mut self, file: FileId, folder: FileId, name: &[u16]) {
        self.unlink(file);
        self.link(folder, name, &[], file);
    }

    fn unlink(&mut self, file: FileId) {
        for (folder, place) in std::mem::take(&mut self.file_mut(file).names) {
            self.file_mut(folder).entries[place as usize] = None;
        }
    }

    /// Removes a file with all its names, or an empty folder. `Conflict` for a folder that is not, and for the root.
    pub fn remove(&mut self, file: FileId) -> Result<()> {
        if file == self.root() || self.entries(file).next().is_some() {
            return Err(Error::new(Kind::Conflict, "the folder is not empty, or the root"));
        }
        self.unlink(file);
        Ok(())
    }

    /// Removes a folder with all in it; files that have names elsewhere live on there. Returns how many files went, folders not counted.
    /// `Conflict` for the root.
    pub fn remove_tree(&mut self, folder: FileId) -> Result<u64> {
        let (mut folders, mut queue, mut gone) = (Vec::new(), vec![folder], 0);
        while let Some(folder) = queue.pop() {
            for (place, entry) in std::mem::take(&mut self.file_mut(folder).entries).into_iter().enumerate() {
                let Some(entry) = entry else { continue };
                if self.is_dir(entry.file) {
                    // It keeps its name until it is empty: a folder has one, so the place stays unique.
                    queue.push(entry.file);
                    self.file_mut(entry.file).names.clear();
                    continue;
                }
                let names = &mut self.file_mut(entry.file).names;
                names.retain(|name| *name != (folder, place as u32));
                gone += u64::from(names.is_empty());
            }
            folders.push(folder);
        }
        self.remove(folder)?;
        Ok(gone)
    }

    /// Renames within the folder; the 8.3 twin of the old name goes.
    pub fn rename(&mut self, file: FileId, folder: FileId, old: &[u16], new: &[u16]) -> Result<()> {
        if self.entries(folder).any(|entry| entry.file != file && names::same(&entry.name, new)) {
            let name = reseal_dtyp::utf16_lossy(new);
            return Err(Error::new(Kind::Conflict, format!("the folder has the name {name} already")));
        }
        let entries = self.file_mut(folder).entries.iter_mut().flatten();
        let Some(entry) = entries.into_iter().find(|entry| entry.file == file && entry.name == old) else {
            return Err(Error::not_found(format!("the file has no name {}", reseal_dtyp::utf16_lossy(old))));
        };
        entry.name = new.to_vec();
        entry.short_name.clear();
        Ok(())
    }

    /// Gives a stream of content another one, or adds it.
    pub fn set_stream(&mut self, file: FileId, name: &[u16], hash: Sha1Hash) {
        let streams = &mut self.file_mut(file).streams;
        match streams.iter_mut().find(|stream| stream.kind == StreamKind::Data && stream.name == name) {
            Some(stream) => stream.hash = hash,
            None => streams.push(Stream { kind: StreamKind::Data, name: name.to_vec(), hash }),
        }
    }

    /// Sets the times of a file.
    pub fn set_times(&mut self, file: FileId, times: Times) {
        self.file_mut(file).times = times;
    }
}
