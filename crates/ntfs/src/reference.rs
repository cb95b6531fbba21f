//! File references: which file record, and which of its lives.

use std::fmt;

/// A file record's number (48 bits) and sequence number (16 bits), as directory entries and attribute lists store it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileReference(pub u64);

impl FileReference {
    /// The root directory: record 5, whose sequence number is always 5.
    pub const ROOT: FileReference = FileReference::new(5, 5);

    /// From its two parts; the record number is cut to 48 bits.
    pub const fn new(record: u64, sequence: u16) -> FileReference {
        FileReference(record & 0xffff_ffff_ffff | (sequence as u64) << 48)
    }

    /// Number of the file record.
    pub const fn record(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }

    /// Sequence number: how often the record was reused.
    pub const fn sequence(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

impl fmt::Display for FileReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.record(), self.sequence())
    }
}

impl fmt::Debug for FileReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Numbers of the file records that every volume has.
pub(crate) mod system {
    pub(crate) const MFT: u64 = 0;
    pub(crate) const MFT_MIRROR: u64 = 1;
    pub(crate) const LOG_FILE: u64 = 2;
    pub(crate) const VOLUME: u64 = 3;
    pub(crate) const ROOT: u64 = 5;
    pub(crate) const BITMAP: u64 = 6;
    pub(crate) const BAD_CLUSTERS: u64 = 8;
    pub(crate) const SECURE: u64 = 9;
    pub(crate) const UPCASE: u64 = 10;
    pub(crate) const EXTEND: u64 = 11;
    /// From here to 23 records are set aside for the run list of `$MFT`.
    pub(crate) const FIRST_SPARE: u64 = 16;
    /// Records below are the volume's own; new files get 64 and above, as Windows' formatter leaves it.
    pub(crate) const FIRST_USER: u64 = 64;
}
