//! The last table on disk: served when no scheduler answers, and the floor below which versions never fall.

use slipway_model::route::RouteTable;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One file, replaced as a whole.
#[derive(Debug, Clone)]
pub struct SavedTable {
    path: PathBuf,
}

impl SavedTable {
    /// In this folder, which is made when it is missing.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { path: folder.join("table.json") })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved. A file that cannot be read is no reason not to start: the scheduler has the table.
    pub fn load(&self) -> Option<RouteTable> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return None,
            Err(e) => {
                tracing::error!("saved table {}: {e}; the router waits for a scheduler", self.path.display());
                return None;
            }
        };
        serde_json::from_slice(&bytes)
            .inspect_err(|e| tracing::error!("saved table {}: {e}; the router waits for a scheduler", self.path.display()))
            .ok()
    }

    /// Replaces it; when this returns, a power cut leaves the old or the new one.
    pub fn save(&self, json: &[u8]) -> io::Result<()> {
        let next = self.path.with_extension("json.next");
        let mut file = File::create(&next)?;
        file.write_all(json)?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_comes_back_as_it_was_and_a_torn_file_is_no_table() {
        let folder = tempfile::tempdir().unwrap();
        let saved = SavedTable::in_folder(&folder.path().join("router")).unwrap();
        assert_eq!(saved.load(), None);
        let table = RouteTable { version: 7, environments: vec![] };
        saved.save(&serde_json::to_vec(&table).unwrap()).unwrap();
        assert_eq!(saved.load(), Some(table));
        fs::write(saved.path(), b"{\"version\":").unwrap();
        assert_eq!(saved.load(), None);
    }
}
