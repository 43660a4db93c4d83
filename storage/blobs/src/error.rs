//! What can go wrong with stored bytes.

use std::path::{Path, PathBuf};

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// Why bytes could not be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's address or settings are wrong.
    #[error("the object store '{url}' cannot be opened: {why}")]
    Open { url: String, why: String },
    /// The store answers conditional puts wrongly: two writers could both win.
    #[error("the object store '{url}' is not safe to use: {why}. Use a store with conditional puts (If-None-Match)")]
    Unsafe { url: String, why: String },
    /// It does not answer, or refuses.
    #[error("the object store could not {deed} {path}")]
    Store {
        deed: &'static str,
        path: String,
        #[source]
        source: object_store::Error,
    },
    /// No such object.
    #[error("the object store has no {path}")]
    Absent { path: String },
    /// What was read is not what was written.
    #[error("{what} is damaged: {why}")]
    Damaged { what: String, why: String },
    /// The tree cannot be a slug.
    #[error("the tree cannot be stored: {0}")]
    Refused(String),
    /// The local disk.
    #[error("could not {deed} {path}")]
    Disk {
        deed: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// git said no.
    #[error("git {arguments}: {stderr}")]
    Git { arguments: String, stderr: String },
    /// A thread of ours broke.
    #[error("an internal task ended early: {0}")]
    Task(String),
}

impl Error {
    /// For `map_err`: what was done to which path.
    pub(crate) fn disk(deed: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Disk { deed, path, source }
    }

    /// The object is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Error::Absent { .. })
    }

    /// The pushed tree is at fault, not the machine.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Error::Refused(_))
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Error::Task(error.to_string())
    }
}
