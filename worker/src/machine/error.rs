//! What can go wrong between us and the machine.

use std::path::{Path, PathBuf};

/// The result of a primitive.
pub type Result<T> = std::result::Result<T, Error>;

/// An accident of the machine; the chain reads as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} {}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("containerd could not {what}: {} ({:?})", status.message(), status.code())]
    Containerd { what: String, status: Box<tonic::Status> },
    #[error("containerd cannot be reached at {}: {why}", socket.display())]
    Unreachable { socket: PathBuf, why: String },
    #[error("{program} {arguments} {how}: {stderr}")]
    Program { program: String, arguments: String, how: String, stderr: String },
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// For `map_err`: what was done to which path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { what, path, source }
    }

    /// For `map_err` on a call of containerd.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(tonic::Status) -> Error {
        let what = what.into();
        move |status| Error::Containerd { what, status: Box::new(status) }
    }

    /// The thing that was named does not exist.
    pub fn is_absent(&self) -> bool {
        match self {
            Error::Containerd { status, .. } => status.code() == tonic::Code::NotFound,
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The thing that should be made exists already.
    pub fn is_present(&self) -> bool {
        match self {
            Error::Containerd { status, .. } => status.code() == tonic::Code::AlreadyExists,
            Error::Io { source, .. } => source.kind() == std::io::ErrorKind::AlreadyExists,
            _ => false,
        }
    }
}
