//! A folder or a git tree, as far as the checker sees it.

use std::collections::BTreeMap;

/// A file below the root, by its slash-separated path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeEntry {
    pub path: String,
    pub size: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("file not found")]
    NotFound,
    #[error("larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// The store failed: an accident, not the author's fault.
    #[error("could not be read: {0}")]
    Unreadable(String),
}

/// The only door to the outside.
pub trait Tree {
    /// Regular files below the root, sorted by path; symbolic links and submodules are not among them.
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError>;

    /// The bytes of one file, or `TooLarge` without reading more than `limit`.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError>;
}

/// A tree held in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree(pub BTreeMap<String, Vec<u8>>);

impl Tree for MemoryTree {
    fn list(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self
            .0
            .iter()
            .map(|(path, bytes)| TreeEntry {
                path: path.clone(),
                size: bytes.len() as u64,
            })
            .collect())
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, TreeError> {
        let bytes = self.0.get(path).ok_or(TreeError::NotFound)?;
        if bytes.len() as u64 > limit {
            return Err(TreeError::TooLarge { limit });
        }
        Ok(bytes.clone())
    }
}
