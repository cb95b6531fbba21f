//! The product's error: what failed, where in the image in user words, and what to do next.

use std::fmt;

/// What went wrong, for branching and exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The host's I/O failed, or no space was left.
    Io,
    /// The request makes no sense: an unknown step, two different names.
    Usage,
    /// A guard refused; nothing was written.
    Refused,
    /// The image is damaged.
    Damaged,
    /// The image holds something that is not handled.
    Unsupported,
    /// Something named was not found.
    NotFound,
    /// The output exists, or the image is in use.
    Conflict,
    /// Nothing is left to do.
    NothingToDo,
    /// An interrupted commit lies beside the image: recover it first.
    Interrupted,
    /// A defect of this program: a step wrote outside its scope, a self-check failed.
    Internal,
}

/// An error with the chain image › partition › file › key, the cause and a hint.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    subject: Vec<String>,
    detail: String,
    hint: Option<String>,
    refusals: Vec<crate::Refusal>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result of the product's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Error {
        let detail = detail.into();
        Error(Box::new(Inner { kind, subject: Vec::new(), detail, hint: None, refusals: Vec::new(), source: None }))
    }

    pub(crate) fn refused(refusals: Vec<crate::Refusal>) -> Error {
        let mut ids: Vec<&str> = refusals.iter().filter(|r| !r.allowed).map(|r| r.id).collect();
        ids.dedup();
        let mut error = Error::new(Kind::Refused, format!("refused: {}", ids.join(", ")));
        error.0.refusals = refusals;
        error
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same, as an error of another kind.
    pub(crate) fn with_kind(mut self, kind: Kind) -> Error {
        self.0.kind = kind;
        self
    }

    /// Puts a wider subject before the ones that are there.
    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Error {
        self.0.subject.insert(0, subject.into());
        self
    }

    /// For branching.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Image, partition, file, key: from wide to narrow.
    pub fn subjects(&self) -> &[String] {
        &self.0.subject
    }

    /// What to do next, where that is known.
    pub fn next_step(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The guards that refused.
    pub fn refusals(&self) -> &[crate::Refusal] {
        &self.0.refusals
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

impl From<reseal_dtyp::Error> for Error {
    fn from(error: reseal_dtyp::Error) -> Error {
        use reseal_dtyp::Kind as Format;
        let kind = match error.kind() {
            Format::Io | Format::NoSpace => Kind::Io,
            Format::NotFound => Kind::NotFound,
            Format::Conflict => Kind::Conflict,
            Format::Interrupted => Kind::Interrupted,
            Format::Unsupported | Format::Limit | Format::ReadOnly => Kind::Unsupported,
            _ => Kind::Damaged,
        };
        let detail = error.to_string();
        let mut out = Error::new(kind, detail);
        // The format error's own text is the detail; what lies below it is the source.
        out.0.source = std::error::Error::source(&error).map(|s| s.to_string().into());
        if kind == Kind::Interrupted { out.hint("run `reseal recover IMAGE`") } else { out }
    }
}

/// Adds the subject to an error on its way up.
pub(crate) trait Within<T> {
    fn within(self, subject: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Within<T> for std::result::Result<T, E> {
    fn within(self, subject: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().subject(subject.to_string()))
    }
}
