//! What a file's records say about it.

use crate::attribute::{Form, flag, kind, name};
use crate::file::File;
use crate::file_name::{FileName, NameView};
use crate::reference::FileReference;
use crate::volume::Volume;
use crate::wof::Wof;
use reseal_dtyp::{Error, FileTime, Result, View};

/// `FILE_ATTRIBUTE_*`.
pub(crate) mod file_attribute {
    pub(crate) const ARCHIVE: u32 = 0x20;
    pub(crate) const SPARSE: u32 = 0x200;
    pub(crate) const REPARSE_POINT: u32 = 0x400;
    pub(crate) const COMPRESSED: u32 = 0x800;
}

/// `$STANDARD_INFORMATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StandardInformation {
    /// Created, content changed, record changed, accessed.
    pub times: [FileTime; 4],
    /// `FILE_ATTRIBUTE_*`.
    pub attributes: u32,
    /// Id of the security descriptor in `$Secure`; `None` in the 48-byte form of NTFS 1.2, `Some(0)` for none.
    pub security_id: Option<u32>,
    /// Owner id in `$Quota`.
    pub owner_id: u32,
}

impl StandardInformation {
    /// Offset of the security id in the 72-byte form.
    pub(crate) const SECURITY_ID: usize = 0x34;
    /// Length of that form in bytes.
    pub(crate) const LEN: usize = 0x48;

    pub(crate) fn read(value: &[u8], at: u64) -> Result<StandardInformation> {
        let view = View::new("$STANDARD_INFORMATION", at, value);
        let mut times = [FileTime::default(); 4];
        for (i, time) in times.iter_mut().enumerate() {
            *time = FileTime(view.u64(8 * i, "times")?);
        }
        let long = value.len() >= Self::LEN;
        Ok(StandardInformation {
            times,
            attributes: view.u32(0x20, "FileAttributes")?,
            security_id: if long { Some(view.u32(Self::SECURITY_ID, "SecurityId")?) } else { None },
            owner_id: if long { view.u32(0x30, "OwnerId")? } else { 0 },
        })
    }
}

/// A stream of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name; empty for the unnamed one.
    pub name: Vec<u16>,
    /// Length in bytes.
    pub size: u64,
    /// Bytes behind this one read as zero.
    pub initialized: u64,
    /// Bytes that its clusters hold; 0 for a resident stream.
    pub allocated: u64,
    /// Whether it lies in the file record.
    pub resident: bool,
    /// Compressed with LZNT1.
    pub compressed: bool,
    /// May have holes.
    pub sparse: bool,
    /// Encrypted with EFS.
    pub encrypted: bool,
}

/// Everything about a file but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// The file.
    pub reference: FileReference,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// Times, attributes, security id.
    pub standard: StandardInformation,
    /// All names, 8.3 names included.
    pub names: Vec<FileName>,
    /// What the record counts as names.
    pub link_count: u16,
    /// The tag of the reparse point, if it is one.
    pub reparse_tag: Option<u32>,
    /// All `$DATA` streams.
    pub streams: Vec<StreamInfo>,
    /// How the content is stored, if WOF compresses the file.
    pub wof: Option<Wof>,
    /// Whether it has a stream `$EFS`: content is encrypted.
    pub efs: bool,
    /// Whether it has a security descriptor of its own beside or instead of a security id.
    pub own_descriptor: bool,
    /// How many file records it needs.
    pub records: usize,
}

impl Volume {
    /// What the records of a file say. `NotFound` for a stale reference.
    pub fn stat(&self, reference: FileReference) -> Result<FileStat> {
        let file = self.file(reference)?;
        let base = file.base()?;
        let mut stat = FileStat {
            reference,
            is_directory: base.is_directory(),
            standard: self.standard_information(&file)?,
            names: names(&file)?,
            link_count: base.link_count(),
            reparse_tag: None,
            streams: Vec::new(),
            wof: None,
            efs: false,
            own_descriptor: false,
            records: file.records.len(),
        };
        if let Some(data) = self.reparse_data_of(&file)? {
            stat.reparse_tag = data.get(..4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            stat.wof = Wof::of(&data);
        }
        file.for_each(|_, attribute| {
            match attribute.kind {
                kind::LOGGED_UTILITY_STREAM => stat.efs |= crate::attribute::same_name(attribute.name, name::EFS),
                kind::SECURITY_DESCRIPTOR => stat.own_descriptor = true,
                kind::DATA => {
                    if let Some(info) = stream_info(&attribute) {
                        stat.streams.push(info);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(stat)
    }

    pub(crate) fn standard_information(&self, file: &File) -> Result<StandardInformation> {
        let at = file.base()?.at;
        let value = file.resident(kind::STANDARD_INFORMATION, &[])?.ok_or_else(|| {
            let detail = format!("file {} has no $STANDARD_INFORMATION", file.reference);
            Error::damaged("file record", "", at, detail)
        })?;
        StandardInformation::read(value, at)
    }

    /// All reparse points of the volume, as `$Reparse:$R` lists them: tag and file. Empty without that index.
    pub fn reparse_points(&self) -> Result<Vec<(u32, FileReference)>> {
        let mut out = Vec::new();
        let Some(index) = self.extend_file("$Reparse")? else { return Ok(out) };
        if let Some(tree) = self.tree(&self.file(index)?, name::R)? {
            self.walk_tree(&tree, &mut |entry| {
                let key = View::new("$Reparse", 0, entry.key);
                out.push((key.u32(0, "ReparseTag")?, FileReference(key.u64(4, "FileReference")?)));
                Ok(())
            })?;
        }
        Ok(out)
    }

    /// All names of a file.
    pub fn names_of(&self, reference: FileReference) -> Result<Vec<FileName>> {
        names(&self.file(reference)?)
    }
}

pub(crate) fn names(file: &File) -> Result<Vec<FileName>> {
    let mut out = Vec::new();
    file.for_each(|_, attribute| {
        if attribute.kind == kind::FILE_NAME {
            out.push(NameView::read(attribute.resident().unwrap_or_default(), 0)?.to_owned());
        }
        Ok(())
    })
    .map_err(|e| e.within(format!("file {}", file.reference)))?;
    Ok(out)
}

/// `None` for a later extent of a stream.
fn stream_info(attribute: &crate::attribute::Attribute<'_>) -> Option<StreamInfo> {
    let (size, initialized, allocated, resident) = match attribute.form {
        Form::Resident { value, .. } => (value.len() as u64, value.len() as u64, 0, true),
        Form::NonResident(e) if e.first_vcn == 0 => (e.size, e.initialized, e.total.unwrap_or(e.allocated), false),
        Form::NonResident(_) => return None,
    };
    Some(StreamInfo {
        name: attribute.name_units(),
        size,
        initialized,
        allocated,
        resident,
        compressed: attribute.flags & flag::COMPRESSION_MASK != 0,
        sparse: attribute.flags & flag::SPARSE != 0,
        encrypted: attribute.flags & flag::ENCRYPTED != 0,
    })
}
