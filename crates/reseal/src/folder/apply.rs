//! Writing to the host: contents, and what a file has beside its content.

use super::host::{Folder, HostKind, HostStat};
use super::manifest::{Reader, Traits, Writer};
use super::nodes::{Content, Node};
use super::tree::read_at;
use super::{ATTRIBUTES, EXTENDED, Mount, OBJECT_ID, REPARSE, SHORT_NAME, TIMES};
use crate::error::{Error, Kind, Result};
use crate::tree::StreamRead;
use reseal_dtyp::{Error as FormatError, FileTime};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;

/// `FILE_ATTRIBUTE_SPARSE_FILE`, `_REPARSE_POINT`, `_COMPRESSED` and `_ENCRYPTED`: a new file would be none of it.
const STORED_OTHERWISE: u32 = 0x200 | 0x400 | 0x800 | 0x4000;
/// The three times that can be set: created, written, accessed.
const SETTABLE: usize = 24;

impl Mount {
    /// What a file has beside its content, with what is large in `writer`.
    pub(super) fn traits_of(
        &self,
        folder: &Folder,
        name: &OsStr,
        descriptor: Option<usize>,
        writer: &mut Writer,
    ) -> Result<Traits> {
        let told = folder.attribute(name, ATTRIBUTES)?.and_then(|bytes| bytes.try_into().ok());
        let attributes = told.filter(|_| self.has_attributes).map(u32::from_be_bytes);
        let mut traits = Traits { attributes, descriptor, ..self.times_of(folder, name)? };
        if self.is_ntfs_3g {
            traits.short_name = folder.attribute(name, SHORT_NAME)?.filter(|short| !short.is_empty());
        }
        let mut others = folder.attributes(name)?;
        others.extend([OBJECT_ID, EXTENDED, REPARSE].map(OsString::from).into_iter().filter(|_| self.is_ntfs_3g));
        for attribute in others {
            if let Some(value) = folder.attribute_os(name, &attribute)? {
                let blob = writer.add(&value)?;
                traits.others.push((attribute.into_vec(), blob));
            }
        }
        Ok(traits)
    }

    /// Whether a new file can take a file's place without a loss: another record has no further names, no 8.3 name, and nothing
    /// that the mount does not show.
    pub(super) fn can_be_made_anew(&self, folder: &Folder, name: &OsStr, stat: &HostStat) -> Result<bool> {
        if !self.has_streams || stat.links != 1 || stat.kind != HostKind::File || !folder.attributes(name)?.is_empty() {
            return Ok(false);
        }
        for attribute in [SHORT_NAME, OBJECT_ID, EXTENDED, REPARSE] {
            if folder.attribute(name, attribute)?.is_some_and(|value| !value.is_empty()) {
                return Ok(false);
            }
        }
        Ok(self.attributes_of(folder, name, stat)? & STORED_OTHERWISE == 0)
    }

    /// The three times that can be set, and those that the host tells.
    pub(super) fn times_of(&self, folder: &Folder, name: &OsStr) -> Result<Traits> {
        let times = if self.is_ntfs_3g { folder.attribute(name, TIMES)? } else { None };
        Ok(Traits {
            times: times.and_then(|times| Some(times.get(..SETTABLE)?.to_vec())),
            host_times: (folder.stat(name)?.written.0, folder.accessed(name)?.0),
            ..Traits::default()
        })
    }

    /// Gives a file a descriptor, and reads it again.
    pub(super) fn secure(&self, folder: &Folder, name: &OsStr, descriptor: &[u8]) -> Result<()> {
        let Some(attribute) = self.descriptors else { return Ok(()) };
        folder.set_attribute(name, attribute, descriptor)?;
        match folder.attribute(name, attribute)? {
            Some(back) if back == descriptor => Ok(()),
            _ => Err(Error::new(Kind::Io, format!("the mount did not take the descriptor of {}", name.display()))),
        }
    }

    /// Sets attributes that Windows shows; those of how a file is stored are the file system's.
    pub(super) fn set_attributes(&self, folder: &Folder, name: &OsStr, attributes: u32) -> Result<()> {
        if self.has_attributes {
            folder.set_attribute(name, ATTRIBUTES, &attributes.to_be_bytes())?;
        }
        Ok(())
    }

    /// Sets the time of the last change; those of creation and the last access are as `traits` says, or this one, too.
    pub(super) fn set_written(
        &self,
        folder: &Folder,
        name: &OsStr,
        written: FileTime,
        traits: Option<&Traits>,
    ) -> Result<()> {
        let accessed = traits.map_or(written, |traits| FileTime(traits.host_times.1));
        if !self.is_ntfs_3g {
            return Ok(folder.set_times(name, written, accessed)?);
        }
        let created = traits.and_then(|traits| traits.times.as_deref()?.get(..8)).map(<[u8]>::to_vec);
        let created = created.unwrap_or_else(|| written.0.to_le_bytes().to_vec());
        let times = [&created[..], &written.0.to_le_bytes(), &accessed.0.to_le_bytes()].concat();
        Ok(folder.set_attribute(name, TIMES, &times)?)
    }

    /// Sets all times as they were.
    pub(super) fn restore_times(&self, folder: &Folder, name: &OsStr, traits: &Traits) -> Result<()> {
        match &traits.times {
            Some(times) if self.is_ntfs_3g => Ok(folder.set_attribute(name, TIMES, times)?),
            _ => Ok(folder.set_times(name, FileTime(traits.host_times.0), FileTime(traits.host_times.1))?),
        }
    }

    /// Gives a file back what it had, but for its times.
    pub(super) fn restore(&self, folder: &Folder, name: &OsStr, traits: &Traits, kept: &Reader) -> Result<()> {
        let descriptor = traits.descriptor.and_then(|number| kept.manifest.descriptors.get(number));
        if let Some(descriptor) = descriptor {
            self.secure(folder, name, descriptor)?;
        }
        for (attribute, blob) in &traits.others {
            let (attribute, value) = (OsStr::from_bytes(attribute), kept.bytes(blob)?);
            if folder.attribute_os(name, attribute)?.as_deref() != Some(&value) {
                folder.set_attribute_os(name, attribute, &value)?;
            }
        }
        self.restore_short_name(folder, name, traits.short_name.as_deref())?;
        if let Some(attributes) = traits.attributes.filter(|_| name != OsStr::new(".")) {
            self.set_attributes(folder, name, attributes)?;
        }
        Ok(())
    }

    /// The 8.3 name that stands beside a long one; none for a name that is both.
    pub(super) fn short_name_of(&self, folder: &Folder, name: &OsStr) -> Result<Option<Vec<u8>>> {
        let short = if self.is_ntfs_3g { folder.attribute(name, SHORT_NAME)? } else { None };
        Ok(short.filter(|short| !short.is_empty() && short != name.as_bytes()))
    }

    /// What ntfs-3g may change when a name is changed: attributes, the 8.3 name, times.
    pub(super) fn name_traits_of(&self, folder: &Folder, name: &OsStr) -> Result<Traits> {
        let attributes = self.attributes_of(folder, name, &folder.stat(name)?)?;
        let short_name = self.short_name_of(folder, name)?;
        Ok(Traits { attributes: Some(attributes), short_name, ..self.times_of(folder, name)? })
    }

    /// Gives a file another name. Its attributes stay, where ntfs-3g would set one; so does its 8.3 name, unless the folder
    /// has it already.
    pub(super) fn rename(&self, (from, old): (&Folder, &OsStr), (to, new): (&Folder, &OsStr)) -> Result<()> {
        let traits = self.name_traits_of(from, old)?;
        from.rename(old, to, new, false)?;
        self.set_attributes(to, new, traits.attributes.unwrap_or_default())?;
        match self.restore_short_name(to, new, traits.short_name.as_deref()) {
            Err(e) if e.kind() == Kind::Conflict => {}
            other => other?,
        }
        self.restore_times(to, new, &traits)
    }

    /// Gives a file an 8.3 name that it had.
    pub(super) fn restore_short_name(&self, folder: &Folder, name: &OsStr, short: Option<&[u8]>) -> Result<()> {
        if let Some(short) = short
            && folder.attribute(name, SHORT_NAME)?.as_deref() != Some(short)
        {
            folder.set_attribute(name, SHORT_NAME, short)?;
        }
        Ok(())
    }
}

/// An error of a write as one of ours.
pub(super) fn written(name: &OsStr) -> impl Fn(std::io::Error) -> Error {
    let what = format!("cannot write {}", name.display());
    move |e| FormatError::io(what.clone(), e).into()
}

/// Writes the staged content over a file where it lies.
pub(super) fn write_over(folder: &Folder, name: &OsStr, content: &Content) -> Result<()> {
    let file = folder.write(name)?;
    let write = || -> std::io::Result<()> {
        match content {
            Content::Stored => {}
            Content::Whole(bytes) => {
                file.write_all_at(bytes, 0)?;
                file.set_len(bytes.len() as u64)?;
            }
            Content::Pieces(pieces) => pieces.iter().try_for_each(|(at, piece)| file.write_all_at(piece, *at))?,
        }
        file.sync_all()
    };
    write().map_err(written(name))
}

/// Writes a content to a new file.
pub(super) fn write_new(file: &File, name: &OsStr, mut content: Box<dyn StreamRead + '_>) -> Result<()> {
    let (mut buf, mut at) = (vec![0; 1 << 20], 0);
    loop {
        let n = content.read_at(at, &mut buf)?;
        if n == 0 {
            return file.sync_all().map_err(written(name));
        }
        file.write_all_at(&buf[..n], at).map_err(written(name))?;
        at += n as u64;
    }
}

/// Fails when a file does not hold what it should.
pub(super) fn hold(folder: &Folder, name: &OsStr, node: &Node) -> Result<()> {
    let file = folder.read(name)?;
    let same = |at: u64, bytes: &[u8]| -> Result<bool> {
        let mut back = vec![0; bytes.len()];
        Ok(read_at(&file, at, &mut back)? == bytes.len() && back == bytes)
    };
    let len = file.metadata().map_err(written(name))?.len();
    let holds = match &node.content {
        Content::Stored => true,
        Content::Whole(bytes) => len == bytes.len() as u64 && same(0, bytes)?,
        Content::Pieces(pieces) => {
            let mut all = len == node.size();
            for (at, piece) in pieces.iter() {
                all = all && same(*at, piece)?;
            }
            all
        }
    };
    if holds { Ok(()) } else { Err(Error::new(Kind::Io, format!("{} reads back differently", name.display()))) }
}
