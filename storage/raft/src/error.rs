//! What can go wrong with the directory, in words that name the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why the store did not open, read or write.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the ledger in {} is in use by {holder} (lock file {}): stop that process, or give this node a directory of its own",
        dir.display(), lock.display()
    )]
    Locked { dir: PathBuf, lock: PathBuf, holder: String },
    #[error(
        "{} belongs to node {stored}, and this node is {asked}: node ids are never reused; start it as node {stored}, or with an empty directory",
        dir.display()
    )]
    OtherNode { dir: PathBuf, stored: u64, asked: u64 },
    #[error(
        "{} has ledger format {found}, and this program reads {known}: start the version of slipway that wrote it, or a newer one",
        path.display()
    )]
    Format { path: PathBuf, found: u64, known: u64 },
    #[error("{} is not a ledger: it has no FORMAT file, and holds `{found}`; name an empty directory", dir.display())]
    NotALedger { dir: PathBuf, found: String },
    #[error(
        "{} is damaged: {detail}; put a backup of the directory in its place, or, when other nodes hold the ledger, join as a new node with a new id",
        path.display()
    )]
    Corrupt { path: PathBuf, detail: String },
    #[error("no space is left on the disk that holds {}: free some, then start the node again", path.display())]
    DiskFull { path: PathBuf },
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the ledger in {} refused: {detail}", path.display())]
    Database { path: PathBuf, detail: String },
    #[error("the ledger is closed")]
    Closed,
}

impl StoreError {
    /// Tells a full disk from other troubles: an operator acts on it differently.
    pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::DiskFull { path: path.into() },
            _ => StoreError::Io { verb, path: path.into(), source },
        }
    }

    pub(crate) fn database(path: &Path) -> impl FnOnce(rocksdb::Error) -> StoreError {
        move |error| {
            let detail = error.to_string();
            if detail.contains("No space left") || detail.contains("NoSpace") {
                StoreError::DiskFull { path: path.into() }
            } else if error.kind() == rocksdb::ErrorKind::Corruption {
                StoreError::Corrupt { path: path.into(), detail }
            } else {
                StoreError::Database { path: path.into(), detail }
            }
        }
    }

    /// The error and its sources in one line, for openraft, which keeps only text.
    pub(crate) fn line(&self) -> String {
        match self {
            StoreError::Io { source, .. } => format!("{self}: {source}"),
            _ => self.to_string(),
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        io::Error::other(error.line())
    }
}
