//! The located error of the format crates.

use std::fmt;

/// What went wrong, for branching only; the text carries the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The host's I/O failed.
    Io,
    /// The bytes contradict their specification.
    Damaged,
    /// A legal structure that this program does not handle.
    Unsupported,
    /// A stated limit of this program was reached.
    Limit,
    /// No room left, in a structure or on the host.
    NoSpace,
    /// A thing that was asked for by name does not exist.
    NotFound,
    /// The request contradicts the state: name exists, image in use.
    Conflict,
    /// The target cannot be written.
    ReadOnly,
    /// An interrupted commit lies beside the image: recover it first.
    Interrupted,
}

/// Where in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// The structure's standard name, such as `nk` or `file record`.
    pub structure: &'static str,
    /// The field's name; empty for the structure as a whole.
    pub field: &'static str,
    /// Byte offset in the container that the crate works on (hive, volume, disk, file).
    pub offset: u64,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.structure, self.offset)?;
        if self.field.is_empty() { Ok(()) } else { write!(f, ", field {}", self.field) }
    }
}

/// The one error of the format crates: kind, place, text with the numbers, cause.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    at: Option<At>,
    detail: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of the format crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error without a place.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, at: None, detail: detail.into(), source: None }))
    }

    /// Bytes that contradict their specification, with the place.
    pub fn damaged(structure: &'static str, field: &'static str, offset: u64, detail: impl Into<String>) -> Self {
        Error::new(Kind::Damaged, detail).at(structure, field, offset)
    }

    /// A legal structure that is not handled.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Error::new(Kind::Unsupported, detail)
    }

    /// A named thing that does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Error::new(Kind::NotFound, detail)
    }

    /// Host I/O failed while doing `what`; "no space left" becomes [`Kind::NoSpace`].
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        let kind = if source.kind() == std::io::ErrorKind::StorageFull { Kind::NoSpace } else { Kind::Io };
        let mut e = Error::new(kind, what);
        e.0.source = Some(Box::new(source));
        e
    }

    /// Sets the place.
    #[must_use]
    pub fn at(mut self, structure: &'static str, field: &'static str, offset: u64) -> Self {
        self.0.at = Some(At { structure, field, offset });
        self
    }

    /// Puts a subject before the text: `context: text`.
    #[must_use]
    pub fn within(mut self, context: impl fmt::Display) -> Self {
        self.0.detail = format!("{context}: {}", self.0.detail);
        self
    }

    /// For branching.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The place, where one is known.
    pub fn place(&self) -> Option<At> {
        self.0.at
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)?;
        match &self.0.at {
            Some(at) => write!(f, " ({at})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}
